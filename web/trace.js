// @ts-check
// A first plan from what was recorded: a box around each spot where something with a receiver stood for a while, called as the
// scanner that read it there. No more is known: roads and buildings are for a person to draw.

import { call } from "./api.js";
import { freshId, ID, rectangle } from "./draft.js";
import { isNum, when } from "./fmt.js";
import { few, t } from "./i18n.js";
import { flat } from "./yard.js";

/** @typedef {import("./types").WireEvent} WireEvent */
/** @typedef {import("./draft.js").Shape} Shape */
/** @typedef {{asset: string, from: number, to: number, lat: number, lon: number, n: number}} Stay */

/** Something stands that is not further than this from where it stood. Metres */
const STAY_M = 15;
/** And for so long. ms */
export const STAY_MS = 5 * 60_000;
/** Without a word for longer than this nobody knows whether it was still there; a parked asset speaks each five minutes. ms */
const SILENCE_MS = 15 * 60_000;
/** Spots nearer to each other than this are one. Metres */
const SAME_M = 10;
/** The box around a spot: a trailer, and what a receiver is off by. Metres */
const BOX = /** @type {[number, number]} */ ([20, 8]);
/** Zones of one trace at most. */
const ZONES_MAX = 100;
/** Answers of the log that are read, each of 500 events. */
const PAGES = 10;

/** @param {{lat: number, lon: number}} a @param {{lat: number, lon: number}} b */
const apart = (a, b) => Math.hypot(...flat(a.lat, a.lon)(b.lat, b.lon));

/**
 * Where things stood. Fixes in doubt, or of a receiver that does not lead, say nothing.
 * @param {any[]} fixes in any order @returns {Stay[]}
 */
export function stays(fixes) {
  /** @type {Stay[]} */
  const found = [];
  /** @type {Map<string, Stay>} */
  const open = new Map();
  const good = fixes.filter((one) => isNum(one.lat) && isNum(one.lon) && typeof one.asset === "string" && !one.spare && !(one.doubt ?? []).length);
  for (const { asset, lat, lon, ts_ms: at } of good.sort((a, b) => a.ts_ms - b.ts_ms)) {
    const stay = open.get(asset);
    if (stay && at - stay.to <= SILENCE_MS && apart(stay, { lat, lon }) <= STAY_M) {
      stay.n += 1;
      stay.lat += (lat - stay.lat) / stay.n;
      stay.lon += (lon - stay.lon) / stay.n;
      stay.to = at;
      continue;
    }
    if (stay) found.push(stay);
    open.set(asset, { asset, from: at, to: at, lat, lon, n: 1 });
  }
  return [...found, ...open.values()].filter((stay) => stay.to - stay.from >= STAY_MS);
}

/**
 * Zones for these stays: those at one spot are one zone, called as the place that something was read at there meanwhile.
 * Where a zone is already, none is made.
 * @param {Stay[]} all @param {any[]} scans @param {Shape[]} known @returns {Shape[]}
 */
export function boxes(all, scans, known) {
  /** @type {{lat: number, lon: number, ms: number, stays: Stay[]}[]} */
  const spots = [];
  for (const stay of [...all].sort((a, b) => b.to - b.from - (a.to - a.from))) {
    const spot = spots.find((one) => apart(one, stay) <= SAME_M);
    if (spot) spot.stays.push(stay);
    else spots.push({ lat: stay.lat, lon: stay.lon, ms: stay.to - stay.from, stays: [stay] });
  }
  /** @type {Shape[]} */
  const zones = [];
  for (const spot of spots.filter((one) => !known.some((zone) => zone.polygons.some(([ring]) => inside(ring, [one.lon, one.lat])))).slice(0, ZONES_MAX)) {
    const read = scans.find((scan) => typeof scan.place === "string" && ID.test(scan.place)
      && spot.stays.some((stay) => scan.asset === stay.asset && scan.ts_ms >= stay.from && scan.ts_ms <= stay.to))?.place;
    const taken = [...known, ...zones];
    const id = read && !taken.some((zone) => zone.id === read) ? read : freshId(taken, "stand");
    const kind = /dock|door|ramp|tor/i.test(id) ? "dock" : /gate|einfahrt/i.test(id) ? "gate" : "bay";
    zones.push({ id, name: "", kind, polygons: [[rectangle([spot.lon, spot.lat], BOX, 0)]], more: {} });
  }
  return zones;
}

/** @param {[number, number][]} ring @param {[number, number]} point */
export function inside(ring, [x, y]) {
  let is = false;
  ring.forEach(([ax, ay], n) => {
    const [bx, by] = ring[(n + 1) % ring.length];
    if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) is = !is;
  });
  return is;
}

/** The newest events of a kind, as many as are looked at. @param {string} kind @returns {Promise<{items: any[], more: boolean}|null>} */
async function newest(kind) {
  const items = [];
  let before = "";
  for (let page = 0; page < PAGES; page += 1) {
    const answer = await call(`/events?kind=${kind}&limit=500${before && `&before=${before}`}`);
    if (!answer.ok) return null;
    items.push(...answer.body.items);
    before = answer.body.next ?? "";
    if (!before) return { items, more: false };
  }
  return { items, more: true };
}

/** Zones from what the gateway has recorded, and in words what they are made of. @param {Shape[]} known @returns {Promise<{zones: Shape[], told: string}>} */
export async function traced(known) {
  const [fixes, scans] = [await newest("fix"), await newest("scan")];
  if (!fixes || !scans) return { zones: [], told: t("The gateway did not answer.") };
  if (fixes.items.length === 0) return { zones: [], told: t("No position has been recorded yet. A receiver on a truck that drives through the yard for a day makes a good first plan.") };
  const times = fixes.items.map((one) => one.ts_ms);
  const to = Math.max(...times);
  const looked = few(fixes.items.length, "{n} position looked at, from {from} on.", "{n} positions looked at, from {from} on.", { from: when(Math.min(...times), to, "UTC") });
  const all = stays(fixes.items);
  const zones = boxes(all, scans.items, known);
  const found = zones.length
    ? few(zones.length, "{n} spot where something stood for five minutes or more. It gets a box of 20 by 8 metres; name it, move it into place, then save.", "{n} spots where something stood for five minutes or more. Each gets a box of 20 by 8 metres; name them, move them into place, then save.")
    : all.length ? t("Where something stood there is a zone already.") : t("Nothing stood in one spot for five minutes.");
  return { zones, told: `${looked} ${found}` };
}
