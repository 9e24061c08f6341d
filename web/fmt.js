// @ts-check
// Words for numbers: ages, times, units. Pure, and never "NaN": what is not known is a dash.

const DASH = "–";
const COUNT = new Intl.NumberFormat("en");

/** @param {number|null|undefined} n @returns {n is number} */
export const isNum = (n) => typeof n === "number" && Number.isFinite(n);

/** A count with separators. @param {number|null|undefined} n */
export const count = (n) => (isNum(n) ? COUNT.format(n) : DASH);

/** "1 scan", "2 scans". @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/**
 * A duration as people say it: "0.4 s", "48 s", "14 min", "2 h 06", "3 d 4 h". A negative one is none at all.
 * @param {number|null|undefined} ms
 */
export function span(ms) {
  if (!isNum(ms)) return DASH;
  const whole = Math.max(0, ms);
  if (whole < 1000) return `${(Math.floor(whole / 100) / 10).toFixed(1)} s`;
  const sec = Math.floor(whole / 1000);
  if (sec < 60) return `${sec} s`;
  const min = Math.floor(sec / 60);
  if (min < 60) return `${min} min`;
  const hours = Math.floor(min / 60);
  if (hours < 24) return `${hours} h ${String(min % 60).padStart(2, "0")}`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago, to the second below a minute: rows that are drawn each second need no tenths. @param {number} ms */
export const ago = (ms) => (!isNum(ms) ? DASH : ms < 1500 ? "now" : `${span(ms)} ago`);

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {string} tz @param {Intl.DateTimeFormatOptions} options */
function format(tz, options) {
  const key = tz + JSON.stringify(options);
  let made = formats.get(key);
  if (!made) {
    try {
      made = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: tz });
    } catch {
      // This browser does not know the zone: UTC, and zone() says so.
      made = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" });
    }
    formats.set(key, made);
  }
  return made;
}

/** "14:14:08" in the gateway's zone. @param {number|null|undefined} ms @param {string} tz */
export const clock = (ms, tz) =>
  isNum(ms) ? format(tz, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(ms) : DASH;

/** "14:14". @param {number|null|undefined} ms @param {string} tz */
export const hm = (ms, tz) =>
  isNum(ms) ? format(tz, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(ms) : DASH;

/** "Fri 20 Nov". @param {number} ms @param {string} tz */
export const day = (ms, tz) =>
  isNum(ms) ? format(tz, { weekday: "short", day: "numeric", month: "short" }).format(ms).replace(",", "") : DASH;

/** The short name of the zone: "CET", "UTC". @param {number} ms @param {string} tz */
export function zone(ms, tz) {
  const parts = isNum(ms) ? format(tz, { timeZoneName: "short", hour: "2-digit" }).formatToParts(ms) : [];
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "UTC";
}

/** A time near `now` as a clock time, an older one with its day. @param {number|null|undefined} ms @param {number} now @param {string} tz */
export const when = (ms, now, tz) =>
  !isNum(ms) ? DASH : Math.abs(now - ms) < 12 * 3600e3 ? hm(ms, tz) : `${day(ms, tz)} ${hm(ms, tz)}`;

/** "59.12468° N". @param {number|null|undefined} deg @param {"lat"|"lon"} axis */
export function degrees(deg, axis) {
  if (!isNum(deg)) return DASH;
  const side = axis === "lat" ? (deg < 0 ? "S" : "N") : deg < 0 ? "W" : "E";
  return `${Math.abs(deg).toFixed(5)}° ${side}`;
}

/** "14 km/h". @param {number|null|undefined} mps */
export const speed = (mps) => (isNum(mps) ? `${Math.round(mps * 3.6)} km/h` : DASH);

const ROSE = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];

/** "271° W". @param {number|null|undefined} deg */
export function course(deg) {
  if (!isNum(deg)) return DASH;
  const turn = ((deg % 360) + 360) % 360;
  return `${String(Math.round(turn) % 360).padStart(3, "0")}° ${ROSE[Math.round(turn / 45) % 8]}`;
}

/** "1.2 GB": powers of 1,000, as disks are sold. @param {number|null|undefined} n */
export function bytes(n) {
  if (!isNum(n)) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let rest = Math.max(0, n);
  while (rest >= 999.5 && at < units.length - 1) {
    rest /= 1000;
    at += 1;
  }
  return `${rest >= 10 || at === 0 ? Math.round(rest) : rest.toFixed(1)} ${units[at]}`;
}

/** "50 m", "2 km". @param {number} m */
export const metres = (m) => (m >= 1000 ? `${m / 1000} km` : `${m} m`);

// Labels are written by strangers: controls, bidi overrides and invisible characters would lie about what was read.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Outside text made plain: at most `max` characters, hidden ones shown as a box. @param {unknown} text */
export function plain(text, max = 120) {
  const chars = Array.from(String(text ?? "").slice(0, max * 2 + 2).replace(HIDDEN, "\u2423"));
  return chars.length > max ? `${chars.slice(0, max - 1).join("")}…` : chars.join("");
}

/** A reason or warning code as words: "looks_like_sscc" is "looks like sscc". @param {string} code */
export const words = (code) => plain(code, 60).replace(/_/g, " ");
