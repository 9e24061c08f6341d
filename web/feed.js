// @ts-check
// The scan feed as rows: what was stored, what was kept aside, and the silence between, which is said and explained. Pure.

/** @typedef {import("./types").WireEvent} WireEvent */
/** @typedef {import("./types").Letter} Letter */
/** @typedef {import("./types").Source & {frameAt: number|null}} Source */

/** Silence shorter than this is no news. ms */
export const GAP_MS = 5 * 60_000;
/** Rows of the feed at most. */
export const FEED_MAX = 110;

/**
 * @typedef {object} Row
 * @property {"scan"|"kept"|"gap"} kind
 * @property {string} key
 * @property {number} at when it was received, UTC ms; of a gap its end
 * @property {WireEvent} [scan]
 * @property {Letter} [letter]
 * @property {number} [ms] how long a gap was
 * @property {"well"|"unknown"} [why] whether every scanner answered all the while, as far as the gateway says
 */

/** When a scan was received. @param {WireEvent} scan */
export const receivedAt = (scan) => scan.received_ms ?? scan.ts_ms;

/**
 * @param {WireEvent[]} scans newest first
 * @param {Letter[]} letters newest first
 * @param {Source[]} scanners
 * @param {number} now gateway time: the silence up to now is one too
 * @returns {Row[]} newest first
 */
export function feedOf(scans, letters, scanners, now) {
  /** @type {Row[]} */
  const all = [
    ...scans.map((scan) => ({ kind: /** @type {const} */ ("scan"), key: scan.id, at: receivedAt(scan), scan })),
    ...letters.map((letter) => ({ kind: /** @type {const} */ ("kept"), key: `letter:${letter.letter}`, at: letter.received_ms, letter })),
  ].sort((a, b) => b.at - a.at);
  /** @type {Row[]} */
  const rows = [];
  let later = now;
  for (const row of all) {
    const ms = later - row.at;
    // The silence that still lasts has the key of what was before it: it grows in its place.
    if (ms >= GAP_MS) rows.push({ kind: "gap", key: `gap:${row.key}`, at: later, ms, why: answered(scanners, row.at) });
    rows.push(row);
    later = row.at;
    if (rows.length >= FEED_MAX) break;
  }
  return rows;
}

/** Whether all scanners have answered since a moment. The gateway says since when each is as it is; of what was before it says nothing. @param {Source[]} scanners @param {number} since */
function answered(scanners, since) {
  const well = scanners.length > 0 && scanners.every((one) => (one.state === "up" || one.state === "silent") && (one.since_ms ?? Infinity) <= since);
  return well ? "well" : "unknown";
}
