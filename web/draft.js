// @ts-check
// A plan while it is drawn: zones with their corners. Each change makes a new list, so every step can be taken back. Pure.

import { isNum } from "./fmt.js";
import { bounds, flat, middle, unflat } from "./yard.js";

/** @typedef {[number, number]} At longitude, latitude */
/** @typedef {{id: string, name: string, kind: string, polygons: At[][][], more: Record<string, unknown>}} Shape rings are open: the first corner stands once */
/** @typedef {{polygon: number, ring: number, n: number}} Corner */

export const KINDS = ["building", "dock", "bay", "gate", "road", "service"];

/** How large a zone of a kind is when it is new: along the bearing and across it, metres. @type {Record<string, [number, number]>} */
const SIZES = { building: [30, 60], dock: [18, 4.5], bay: [18, 4.5], gate: [6, 12], road: [60, 10], service: [15, 15] };
/** The id of a place, as the gateway has it. */
export const ID = /^[A-Za-z0-9 ._-]{1,64}$/;
/** Characters of a name at most. */
export const NAME_MAX = 128;
/** How finely room for a new zone is looked for, from the middle to the edge of what is shown. */
const RINGS = 16;
/** Where a coordinate ends: a centimetre. */
const DIGITS = 7;

const round = (/** @type {number} */ value) => Number(value.toFixed(DIGITS));

/**
 * The zones of a GeoJSON, and how many features are none. What has no id or an unknown kind is taken in all the same: a
 * person can name it.
 * @param {any} geo @returns {{zones: Shape[], left: number}}
 */
export function draftOf(geo) {
  const features = Array.isArray(geo?.features) ? geo.features : geo?.type === "Feature" ? [geo] : [];
  /** @type {Shape[]} */
  const zones = [];
  for (const feature of features) {
    const { type, coordinates } = feature?.geometry ?? {};
    const polygons = (type === "Polygon" ? [coordinates] : type === "MultiPolygon" ? coordinates : []) ?? [];
    const read = (Array.isArray(polygons) ? polygons : []).map((polygon) => (Array.isArray(polygon) ? polygon : []).map(open).filter((ring) => ring.length > 2)).filter((polygon) => polygon.length > 0);
    if (read.length === 0) continue;
    const { id = "", name = "", kind = "", ...more } = feature.properties ?? {};
    zones.push({ id: String(id ?? ""), name: String(name ?? ""), kind: String(kind ?? ""), polygons: read, more });
  }
  return { zones, left: features.length - zones.length };
}

/** A ring without its first corner again. @param {unknown} ring @returns {At[]} */
function open(ring) {
  const all = (Array.isArray(ring) ? ring : []).filter((at) => isNum(at?.[0]) && isNum(at?.[1])).map((at) => /** @type {At} */ ([at[0], at[1]]));
  const [first, last] = [all[0], all[all.length - 1]];
  return all.length > 1 && first[0] === last[0] && first[1] === last[1] ? all.slice(0, -1) : all;
}

/** As GeoJSON, a zone a line: feature 3 stands on line 4. @param {Shape[]} zones */
export function textOf(zones) {
  const lines = zones.map(({ id, name, kind, polygons, more }) => {
    const closed = polygons.map((polygon) => polygon.map((ring) => [...ring, ring[0]].map(([lon, lat]) => [round(lon), round(lat)])));
    const geometry = closed.length === 1 ? { type: "Polygon", coordinates: closed[0] } : { type: "MultiPolygon", coordinates: closed };
    return JSON.stringify({ type: "Feature", properties: { id, ...(name && name !== id ? { name } : {}), kind, ...more }, geometry });
  });
  return `{"type":"FeatureCollection","features":[\n${lines.join(",\n")}\n]}\n`;
}

/** Rings with more corners are not looked at while they are drawn: the gateway looks at them. */
const LOOKED_AT = 500;
/** Whether a zone crosses itself; a zone never changes. @type {WeakMap<Shape, boolean>} */
const crossed = new WeakMap();

/** Whether a ring of a zone crosses or touches itself. @param {Shape} zone */
function crosses(zone) {
  const known = crossed.get(zone);
  if (known !== undefined) return known;
  const found = zone.polygons.flat().some((ring) => ring.length <= LOOKED_AT && knotted(ring.map(([lon, lat]) => [Math.round(lon * 10 ** DIGITS), Math.round(lat * 10 ** DIGITS)])));
  crossed.set(zone, found);
  return found;
}

/** Whether two sides of a ring meet anywhere but in the corner that they share. @param {[number, number][]} ring open, of whole numbers: of others "on the line" is a matter of luck */
function knotted(ring) {
  const n = ring.length;
  const side = (/** @type {At} */ a, /** @type {At} */ b, /** @type {At} */ c) => Math.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]));
  const within = (/** @type {At} */ a, /** @type {At} */ b, /** @type {At} */ c) =>
    Math.min(a[0], b[0]) <= c[0] && c[0] <= Math.max(a[0], b[0]) && Math.min(a[1], b[1]) <= c[1] && c[1] <= Math.max(a[1], b[1]);
  for (let i = 0; i < n; i += 1) {
    const [a, b] = [ring[i], ring[(i + 1) % n]];
    if (a[0] === b[0] && a[1] === b[1]) return true;
    for (let k = i + 1; k < n; k += 1) {
      const [c, d] = [ring[k], ring[(k + 1) % n]];
      const [abc, abd, cda, cdb] = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
      if (k === i + 1 || (i === 0 && k === n - 1)) {
        // Neighbours meet in one corner; one that goes back over the other meets it all along.
        const [far, at, other] = k === i + 1 ? [a, b, d] : [b, a, c];
        const back = (far[0] - at[0]) * (other[0] - at[0]) + (far[1] - at[1]) * (other[1] - at[1]) > 0;
        if (side(far, at, other) === 0 && back) return true;
      } else if ((abc !== abd && cda !== cdb) || (abc === 0 && within(a, b, c)) || (abd === 0 && within(a, b, d)) || (cda === 0 && within(c, d, a)) || (cdb === 0 && within(c, d, b))) return true;
    }
  }
  return false;
}

/** What of each zone the gateway would refuse at once, as a word; the rest it says itself. @param {Shape[]} zones @returns {("id"|"twice"|"kind"|"crosses"|null)[]} */
export function faults(zones) {
  /** @type {Map<string, number>} */
  const times = new Map();
  for (const { id } of zones) times.set(id, (times.get(id) ?? 0) + 1);
  return zones.map((zone) => {
    if (!ID.test(zone.id)) return "id";
    if ((times.get(zone.id) ?? 0) > 1) return "twice";
    if (!KINDS.includes(zone.kind)) return "kind";
    return crosses(zone) ? "crosses" : null;
  });
}

/** Which zone a finding of the gateway is about: "4:12: feature 3 …" is the third. @param {string} finding @returns {number|null} */
export function zoneOf(finding) {
  const n = /^(?:\d+:\d+: )?feature (\d+)\b/.exec(finding)?.[1];
  return n === undefined ? null : Number(n) - 1;
}

/** A finding for who has drawn the plan and has no file: without lines and columns. @param {string} finding */
export const unplaced = (finding) => finding.replace(/^\d+:\d+: /, "").replace(/^feature \d+ (?=")/, "").replace(/: the edge from here and that from line \d+ column \d+/, "").replace(/,? (?:from|at|on|in) line \d+(?:,? column \d+)?/g, "").replace(/ that of feature \d+/, " another one's");

/** An id that no zone has: dock-4 after dock-3. @param {Shape[]} zones @param {string} like */
export function freshId(zones, like) {
  const [, stem, digits] = /^(.*?)[-_ .]?(\d*)$/.exec(like) ?? ["", like, ""];
  const glue = digits ? like.slice(stem.length, like.length - digits.length) : "-";
  const taken = new Set(zones.map((zone) => zone.id));
  for (let n = digits ? Number(digits) + 1 : 1; ; n += 1) {
    const id = `${stem || "zone"}${glue}${String(n).padStart(digits.length, "0")}`;
    if (!taken.has(id)) return id;
  }
}

/** @param {Shape[]} zones @param {number} at @param {(zone: Shape) => Shape} change */
const changed = (zones, at, change) => zones.map((zone, n) => (n === at ? change(zone) : zone));

/** @param {Shape} zone @param {(corner: At) => At} move @returns {Shape} */
const each = (zone, move) => ({ ...zone, polygons: zone.polygons.map((polygon) => polygon.map((ring) => ring.map(move))) });

/** @param {Shape[]} zones @param {number} at @param {Corner} corner @param {(ring: At[]) => At[]} change */
const inRing = (zones, at, corner, change) => changed(zones, at, (zone) => ({
  ...zone, polygons: zone.polygons.map((polygon, p) => (p === corner.polygon ? polygon.map((ring, r) => (r === corner.ring ? change(ring) : ring)) : polygon)),
}));

/** Says what a zone is. @param {Shape[]} zones @param {number} at @param {Partial<Shape>} what */
export const told = (zones, at, what) => changed(zones, at, (zone) => ({ ...zone, ...what }));

/** Takes a zone out. @param {Shape[]} zones @param {number} at */
export const without = (zones, at) => zones.filter((_, n) => n !== at);

/** A zone somewhere else, by degrees. @param {Shape[]} zones @param {number} at @param {At} by */
export const moved = (zones, at, by) => changed(zones, at, (zone) => each(zone, ([lon, lat]) => [lon + by[0], lat + by[1]]));

/** A corner somewhere else. @param {Shape[]} zones @param {number} at @param {Corner} corner @param {At} to */
export const reshaped = (zones, at, corner, to) => inRing(zones, at, corner, (ring) => ring.map((one, n) => (n === corner.n ? to : one)));

/** A corner more, in the middle of the side after one. @param {Shape[]} zones @param {number} at @param {Corner} corner */
export const split = (zones, at, corner) => inRing(zones, at, corner, (ring) => {
  const [a, b] = [ring[corner.n], ring[(corner.n + 1) % ring.length]];
  return [...ring.slice(0, corner.n + 1), [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], ...ring.slice(corner.n + 1)];
});

/** A corner less; three remain. @param {Shape[]} zones @param {number} at @param {Corner} corner */
export const merged = (zones, at, corner) => inRing(zones, at, corner, (ring) => (ring.length > 3 ? ring.filter((_, n) => n !== corner.n) : ring));

/** The middle of a zone. @param {Shape} zone @returns {At} */
export const heart = (zone) => middle(zone.polygons[0][0]);

/** A zone turned around its middle. @param {Shape[]} zones @param {number} at @param {number} by degrees clockwise */
export const turned = (zones, at, by) => changed(zones, at, (zone) => {
  const [lon0, lat0] = heart(zone);
  const [there, back] = [flat(lat0, lon0), unflat(lat0, lon0)];
  const [sin, cos] = [Math.sin((by * Math.PI) / 180), Math.cos((by * Math.PI) / 180)];
  return each(zone, ([lon, lat]) => {
    const [x, y] = there(lat, lon);
    return back(x * cos + y * sin, y * cos - x * sin);
  });
});

/** A rectangle around a point: so far along a bearing, so far across. @param {At} around @param {[number, number]} size metres @param {number} bearing @returns {At[]} */
export function rectangle([lon, lat], [long, wide], bearing) {
  const back = unflat(lat, lon, bearing);
  const [x, y] = [wide / 2, long / 2];
  return [back(-x, -y), back(x, -y), back(x, y), back(-x, y)];
}

/**
 * A new zone of a kind at a point, or beside what is there already: as near as there is room.
 * @param {Shape[]} zones @param {string} kind @param {At} around @param {number} bearing
 * @param {number} [least] how long each of its sides is at least, metres
 * @param {[number, number]} [reach] how far from the point it may be, across the bearing and along it, metres
 */
export function added(zones, kind, around, bearing, least = 0, reach = [0, 0]) {
  const ids = zones.filter((zone) => zone.kind === kind).map((zone) => zone.id);
  const [long, wide] = (SIZES[kind] ?? [15, 15]).map((side) => Math.max(side, least));
  const at = roomFor(zones, around, [long, wide], bearing, reach);
  return [...zones, { id: freshId(zones, ids[ids.length - 1] ?? kind), name: "", kind, polygons: [[rectangle(at, [long, wide], bearing)]], more: {} }];
}

/** Where a rectangle around a point or near it lies on no zone; the point when there is no room. @param {Shape[]} zones @param {At} around @param {[number, number]} size metres @param {number} bearing @param {[number, number]} reach metres @returns {At} */
function roomFor(zones, [lon0, lat0], [long, wide], bearing, reach) {
  const [there, back] = [flat(lat0, lon0, bearing), unflat(lat0, lon0, bearing)];
  const boxes = zones.map((zone) => bounds(zone.polygons.flat(2).map(([lon, lat]) => there(lat, lon))));
  const free = (/** @type {number} */ x, /** @type {number} */ y) => boxes.every((b) => x + wide / 2 < b.x0 || x - wide / 2 > b.x1 || y + long / 2 < b.y0 || y - long / 2 > b.y1);
  // The near ones first; as many to each side as there are rings around the middle.
  const steps = Array.from({ length: 2 * RINGS + 1 }, (_, n) => n / RINGS - 1);
  const spots = steps.flatMap((x) => steps.map((y) => /** @type {[number, number]} */ ([x * Math.max(0, reach[0] - wide / 2), y * Math.max(0, reach[1] - long / 2)])));
  const [x, y] = spots.sort((a, b) => Math.hypot(...a) - Math.hypot(...b)).find(([x, y]) => free(x, y)) ?? [0, 0];
  return back(x, y);
}

/** The like of a zone beside it, on the side where its row goes on. @param {Shape[]} zones @param {number} at */
export function copied(zones, at) {
  const zone = zones[at];
  const own = heart(zone);
  const [there, back] = [flat(own[1], own[0]), unflat(own[1], own[0])];
  const ring = zone.polygons[0][0].map(([lon, lat]) => there(lat, lon));
  // Away from the nearest of its kind: so a row of docks goes on.
  const others = zones.filter((other, n) => n !== at && other.kind === zone.kind).map(heart).map(([lon, lat]) => there(lat, lon)).sort((a, b) => Math.hypot(...a) - Math.hypot(...b));
  const near = others[0] && Math.hypot(...others[0]) < 60 ? others[0] : null;
  const sides = ring.map(([x, y], n) => [ring[(n + 1) % ring.length][0] - x, ring[(n + 1) % ring.length][1] - y]).sort((a, b) => Math.hypot(a[0], a[1]) - Math.hypot(b[0], b[1]));
  const by = near ? [-near[0], -near[1]] : sides[0];
  const name = zone.name && zone.name !== zone.id ? zone.name.replace(/\d+$/, (digits) => String(Number(digits) + 1)) : "";
  const [lon, lat] = back(by[0], by[1]);
  const copy = { ...zone, id: freshId(zones, zone.id), name };
  return moved([...zones, copy], zones.length, [lon - own[0], lat - own[1]]);
}

/** The zones as the plan draws them, those without an id under a name of their own. @param {Shape[]} zones @returns {import("./types").Zone[]} */
export const drawn = (zones) => zones.map(({ id, name, kind, polygons }, n) => ({
  id: id || `#${n + 1}`, name: name || id || `#${n + 1}`, kind, rings: polygons.flat().map((ring) => [...ring, ring[0]]),
}));

/** How large a zone is to the eye: what lies in another one can be taken hold of. @param {Shape} zone */
export function extent(zone) {
  const b = bounds(zone.polygons.flat(2));
  return (b.x1 - b.x0) * (b.y1 - b.y0);
}
