// @ts-check
// The ledger as a picture: what was received, and as what it ended, to scale. Pure.

/** @typedef {import("./types").Ledger} Ledger */

/** A part is seen however small it is. px */
export const LEAST_PX = 6;

/** The ways a frame ends, in the order they are drawn, and how each is told. */
export const WAYS = /** @type {const} */ ([
  ["stored", "ok", "stored"],
  ["repeat", "mark", "repeats, counted once"],
  ["duplicate", "mark", "duplicates, counted once"],
  ["thinned", "move", "GPS points thinned out"],
  ["no_fix", "stale", "without a position"],
  ["test", "stale", "of the test sheet"],
  ["rejected", "fail", "kept aside as failures"],
]);

/**
 * What was received and what became of it.
 * @param {Ledger} ledger
 * @returns {{received: number, accounted: number, missing: number, lost: number, parts: {way: string, colour: string, text: string, n: number}[]}}
 */
export function account(ledger) {
  const sources = Object.values(ledger.sources ?? {});
  const sum = (/** @type {string} */ way) => sources.reduce((all, one) => all + (Number(one[way]) || 0), 0);
  const parts = WAYS.map(([way, colour, text]) => ({ way, colour, text, n: sum(way) })).filter((part) => part.n > 0);
  const received = sum("frames");
  const accounted = parts.reduce((all, part) => all + part.n, 0);
  // The gateway's own balance and nothing else: it is between events and letters too, and one verdict everywhere. What is
  // known to be lost is accounted for: it is told as what happened.
  return { received, accounted, missing: Math.abs(ledger.balance ?? 0), lost: ledger.events?.lost ?? 0, parts };
}

/**
 * Widths of parts that are to scale, but none under the least, together just as wide as the bar.
 * @param {number[]} counts @param {number} width px @param {number} [gap] px between two
 * @returns {number[]}
 */
export function widths(counts, width, gap = 2) {
  const room = Math.max(0, width - gap * Math.max(0, counts.length - 1));
  const total = counts.reduce((a, b) => a + b, 0);
  if (total <= 0) return counts.map(() => 0);
  const small = counts.map((n) => (n / total) * room < LEAST_PX);
  const rest = counts.reduce((all, n, at) => (small[at] ? all : all + n), 0);
  const left = Math.max(0, room - small.filter(Boolean).length * LEAST_PX);
  return counts.map((n, at) => (small[at] ? LEAST_PX : (n / rest) * left));
}
