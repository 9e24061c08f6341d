// @ts-check
// A QR code of a short text: byte mode, error correction M, versions 1 to 6 (106 bytes). For the address of the gateway, so
// that a phone need not type it. Pure.

/** Of each version: data bytes, error correction bytes a block, blocks. @type {[number, number, number][]} */
const VERSIONS = [[16, 10, 1], [28, 16, 1], [44, 26, 1], [64, 18, 2], [86, 24, 2], [108, 16, 4]];

const EXP = new Uint8Array(512);
const LOG = new Uint8Array(256);
for (let n = 0, x = 1; n < 255; n += 1) {
  EXP[n] = x;
  EXP[n + 255] = x;
  LOG[x] = n;
  x = x & 0x80 ? (x << 1) ^ 0x11d : x << 1;
}

/** The error correction bytes of a block. @param {number[]} data @param {number} count @returns {number[]} */
export function correction(data, count) {
  let poly = [1];
  for (let n = 0; n < count; n += 1) {
    const next = new Array(poly.length + 1).fill(0);
    poly.forEach((c, at) => {
      next[at] ^= c;
      next[at + 1] ^= c && EXP[LOG[c] + n];
    });
    poly = next;
  }
  const rest = [...data, ...new Array(count).fill(0)];
  for (let n = 0; n < data.length; n += 1) {
    const lead = rest[n];
    if (lead) poly.forEach((c, at) => { rest[n + at] ^= c && EXP[(LOG[c] + LOG[lead]) % 255]; });
  }
  return rest.slice(data.length);
}

/** The bytes of a text as they stand in the code: blocks interleaved. @param {Uint8Array} text @param {number} version */
function codewords(text, version) {
  const [room, ec, blocks] = VERSIONS[version - 1];
  const bits = [0, 1, 0, 0];
  const push = (/** @type {number} */ value, /** @type {number} */ width) => {
    for (let n = width - 1; n >= 0; n -= 1) bits.push((value >> n) & 1);
  };
  push(text.length, 8);
  for (const byte of text) push(byte, 8);
  push(0, Math.min(4, room * 8 - bits.length));
  while (bits.length % 8) bits.push(0);
  const data = [];
  for (let n = 0; n < bits.length; n += 8) data.push(parseInt(bits.slice(n, n + 8).join(""), 2));
  for (let n = 0; data.length < room; n += 1) data.push(n % 2 ? 0x11 : 0xec);
  const size = Math.floor(room / blocks);
  const long = room % blocks;
  const parts = [];
  for (let n = 0, at = 0; n < blocks; n += 1) {
    const length = size + (n >= blocks - long ? 1 : 0);
    parts.push(data.slice(at, at + length));
    at += length;
  }
  const checks = parts.map((part) => correction(part, ec));
  const weave = (/** @type {number[][]} */ all) => Array.from({ length: Math.max(...all.map((one) => one.length)) }, (_, n) => all.flatMap((one) => (n < one.length ? [one[n]] : []))).flat();
  return [...weave(parts), ...weave(checks)];
}

/** The fifteen bits that say correction M and the mask. @param {number} mask */
export function format(mask) {
  let rest = mask << 10;
  for (let n = 14; n >= 10; n -= 1) if ((rest >> n) & 1) rest ^= 0x537 << (n - 10);
  return ((mask << 10) | rest) ^ 0x5412;
}

/** @type {((x: number, y: number) => boolean)[]} */
const MASKS = [
  (x, y) => (x + y) % 2 === 0, (_, y) => y % 2 === 0, (x) => x % 3 === 0, (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2 === 0, (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** How hard a picture is to read: long runs, blocks, what looks like a corner, too dark or too light. @param {boolean[][]} m */
function penalty(m) {
  const size = m.length;
  let sum = 0;
  const lines = [...m, ...m.map((_, x) => m.map((row) => row[x]))];
  for (const line of lines) {
    const text = line.map((dark) => (dark ? "1" : "0")).join("");
    for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) sum += run.length - 2;
    for (let at = 0; at + 11 <= size; at += 1) if (text.startsWith("10111010000", at) || text.startsWith("00001011101", at)) sum += 40;
  }
  let dark = 0;
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      dark += Number(m[y][x]);
      if (x && y && m[y][x] === m[y][x - 1] && m[y][x] === m[y - 1][x] && m[y][x] === m[y - 1][x - 1]) sum += 3;
    }
  }
  return sum + Math.floor(Math.abs(dark / size / size - 0.5) * 20) * 10;
}

/** The picture of a code: rows of dark or light; null when the text is too long. @param {string} text @returns {boolean[][]|null} */
export function qr(text) {
  const bytes = new TextEncoder().encode(text);
  const version = VERSIONS.findIndex(([room]) => bytes.length <= room - 2) + 1;
  if (version === 0) return null;
  const size = 17 + 4 * version;
  /** @type {(boolean|null)[][]} */
  const fixed = Array.from({ length: size }, () => new Array(size).fill(null));
  const put = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ dark) => {
    if (x >= 0 && y >= 0 && x < size && y < size) fixed[y][x] = dark;
  };
  const square = (/** @type {number} */ cx, /** @type {number} */ cy, /** @type {number} */ reach, /** @type {(far: number) => boolean} */ dark) => {
    for (let y = -reach; y <= reach; y += 1) for (let x = -reach; x <= reach; x += 1) put(cx + x, cy + y, dark(Math.max(Math.abs(x), Math.abs(y))));
  };
  for (let n = 8; n < size - 8; n += 1) {
    put(n, 6, n % 2 === 0);
    put(6, n, n % 2 === 0);
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, (far) => far !== 2 && far !== 4);
  if (version > 1) square(size - 7, size - 7, 2, (far) => far !== 1);
  put(8, size - 8, true);
  const words = codewords(bytes, version);
  const bits = words.flatMap((word) => [7, 6, 5, 4, 3, 2, 1, 0].map((n) => Boolean((word >> n) & 1)));
  let best = null;
  let least = Infinity;
  for (let mask = 0; mask < 8; mask += 1) {
    const m = fixed.map((row) => [...row]);
    const said = format(mask);
    for (let n = 0; n < 15; n += 1) {
      const dark = Boolean((said >> n) & 1);
      if (n < 6) m[n][8] = dark;
      else if (n < 8) m[n + 1][8] = dark;
      else if (n === 8) m[8][7] = dark;
      else m[8][14 - n] = dark;
      if (n < 8) m[8][size - 1 - n] = dark;
      else m[size - 15 + n][8] = dark;
    }
    let at = 0;
    for (let right = size - 1; right > 0; right -= 2) {
      if (right === 6) right -= 1;
      for (let n = 0; n < size; n += 1) {
        const y = ((right + 1) & 2) === 0 ? size - 1 - n : n;
        for (const x of [right, right - 1]) {
          if (m[y][x] !== null) continue;
          m[y][x] = (bits[at] ?? false) !== MASKS[mask](x, y);
          at += 1;
        }
      }
    }
    const whole = /** @type {boolean[][]} */ (m);
    const bad = penalty(whole);
    if (bad < least) [best, least] = [whole, bad];
  }
  return best;
}
