// @ts-check
// The plan of the yard as the gateway gives it: GeoJSON, turned into rings to draw. And who rides on whom.

import { isNum, plain } from "./fmt.js";
import { t } from "./i18n.js";

/** @typedef {import("./types").Zone} Zone */
/** @typedef {import("./types").Asset} Asset */

/** @typedef {import("./types").Plan} Plan */

const ZONES_MAX = 500;

/** No plan at all. @type {Plan} */
export const NO_PLAN = { zones: [], by: new Map(), kept: false, rev: null, bearing: 0, overstayMs: null };

/** The plan in an answer of `GET /api/v1/zones`. @param {any} answer @returns {Plan} */
export function planOf(answer) {
  const zones = zonesOf(answer);
  const long = answer?.overstay_min;
  return {
    zones,
    by: new Map(zones.map((zone) => [zone.id, zone])),
    kept: answer?.kept === "store",
    rev: isNum(answer?.rev) ? answer.rev : null,
    bearing: isNum(answer?.bearing_deg) ? answer.bearing_deg : 0,
    overstayMs: isNum(long) && long > 0 ? long * 60_000 : null,
  };
}

/** What a place is called: the name of its zone, else its own id. @param {string} place @param {Plan} plan */
export const nameOf = (place, plan) => plain(plan.by.get(place)?.name || place, 64);

/** What a kind of zone is called; empty for one that is none. @param {string} kind @returns {string} */
export function kindWord(kind) {
  const words = { building: t("Building"), dock: t("Dock"), bay: t("Bay"), gate: t("Gate"), road: t("Road"), service: t("Service") };
  return new Map(Object.entries(words)).get(kind) ?? "";
}

const KIND_WORDS = /^(dock|door|gate|bay|tor|rampe|ladetor|platz|muelle|quai)[\s_.-]*(?=[a-z]?\d)/i;

/** What an asset is called where it is shown: its id; of a code that nobody named the code alone. @param {string} asset */
export const called = (asset) => plain(asset.replace(/^(?:raw|sscc|vin|iso6346|grai|giai):(?=.)/, ""), 80);

/** The same where there is little room: codes differ at their end. @param {string} asset @param {number} most */
export function shortly(asset, most) {
  const chars = Array.from(called(asset));
  return chars.length > most ? `…${chars.slice(1 - most).join("")}` : chars.join("");
}

/** The number of a place that is called as its kind is; else its name. @param {string} name */
const numberOf = (name) => name.replace(KIND_WORDS, "") || name;

/** Whether a bay of a plan has the number of a dock: then a number alone says dock. @type {WeakMap<Plan, boolean>} */
const both = new WeakMap();

/** @param {Plan} plan */
function hasBoth(plan) {
  let known = both.get(plan);
  if (known === undefined) {
    const numbers = (/** @type {string} */ kind) => plan.zones.filter((zone) => zone.kind === kind).map((zone) => numberOf(zone.name));
    const docks = new Set(numbers("dock"));
    known = numbers("bay").some((number) => docks.has(number));
    both.set(plan, known);
  }
  return known;
}

/** A place as it stands on a plate: "Dock 3" and "dock-3" are 3 where a dock is meant, "Bay 3" too where no dock is 3; "Gate A" stays. @param {string} place @param {Plan} plan */
export function plateOf(place, plan) {
  const zone = plan.by.get(place);
  const name = zone?.name || place;
  return plain(zone?.kind === "dock" || (zone?.kind === "bay" && !hasBoth(plan)) ? numberOf(name) : name, 32);
}

/** Whether an asset is at a place that a plan does not have: it stands nowhere on the map. @param {Asset} asset @param {Plan} plan */
export const isOffPlan = (asset, plan) => Boolean(asset.place) && !carrierOf(asset) && plan.zones.length > 0 && !plan.by.has(asset.place ?? "");

/**
 * What somebody may mean who looks for this: the text; its digits without what groups them on a label; and those of an SSCC
 * without the 00 in front, as it is shown.
 * @param {string} text
 */
export function meant(text) {
  const digits = text.replace(/^\s*\]../, "").replace(/[\s()-]/g, "");
  return [...new Set([text.trim().toLowerCase(), ...(/^\d{4,}$/.test(digits) ? [digits] : []), ...(/^00\d{8,}$/.test(digits) ? [digits.slice(2, 20)] : [])])].filter(Boolean);
}

/** Whether an asset has been at its dock for longer than the yard wants. @param {Asset} asset @param {Plan} plan @param {number} now */
export const overstays = (asset, plan, now) =>
  plan.overstayMs !== null && isNum(asset.since_ms) && now - asset.since_ms > plan.overstayMs && plan.by.get(asset.place ?? "")?.kind === "dock";

/**
 * The docks of the plan that are taken, the longest first: so what has stood too long stands on top.
 * @param {Plan} plan @param {Iterable<Asset>} assets @param {number} now
 * @returns {{zone: Zone, asset: Asset, long: boolean}[]}
 */
export function taken(plan, assets, now) {
  const found = [];
  for (const asset of assets) {
    const zone = plan.by.get(asset.place ?? "");
    if (zone?.kind === "dock") found.push({ zone, asset, long: overstays(asset, plan, now) });
  }
  return found.sort((a, b) => (a.asset.since_ms ?? now) - (b.asset.since_ms ?? now));
}

/**
 * The zones of an answer of `GET /api/v1/zones`; what is no zone is left out.
 * @param {any} answer
 * @returns {Zone[]}
 */
export function zonesOf(answer) {
  const features = Array.isArray(answer?.plan?.features) ? answer.plan.features.slice(0, ZONES_MAX) : [];
  return features.flatMap((/** @type {any} */ feature) => {
    const { id, name, kind } = feature?.properties ?? {};
    const { type, coordinates } = feature?.geometry ?? {};
    const polygons = type === "Polygon" ? [coordinates] : type === "MultiPolygon" ? coordinates : [];
    const rings = (Array.isArray(polygons) ? polygons : []).flat().filter(isRing);
    return typeof id === "string" && rings.length ? [{ id, name: String(name ?? id), kind: String(kind ?? ""), rings }] : [];
  });
}

/** @param {any} ring @returns {ring is [number, number][]} */
const isRing = (ring) => Array.isArray(ring) && ring.length > 3 && ring.every((at) => isNum(at?.[0]) && isNum(at?.[1]));

/** The asset that another one rides on: its place is `@TRK-07`. @param {Asset} asset @returns {string|null} */
export const carrierOf = (asset) => (asset.place?.startsWith("@") ? asset.place.slice(1) : null);

/**
 * The asset that carries another one in the end: a pallet is on a trailer that is on a truck. None for what stands by
 * itself, and for two that are said to be on each other.
 * @param {Asset} asset @param {Map<string, Asset>} assets
 * @returns {Asset|null}
 */
export function carriedBy(asset, assets) {
  const met = new Set([asset.asset]);
  for (let at = asset; ;) {
    const next = assets.get(carrierOf(at) ?? "");
    if (!next) return at === asset ? null : at;
    if (met.has(next.asset)) return null;
    met.add(next.asset);
    at = next;
  }
}

/**
 * The asset where it is: what rides on another one is where that one is.
 * @param {Asset} asset @param {Map<string, Asset>} assets
 * @returns {Asset}
 */
export function where(asset, assets) {
  const carrier = carriedBy(asset, assets);
  if (!carrier || !isNum(carrier.lat) || !isNum(carrier.lon)) return asset;
  return { ...asset, lat: carrier.lat, lon: carrier.lon, speed_mps: carrier.speed_mps, course_deg: carrier.course_deg };
}

/** What GPS says against the place of an asset, in words; empty when it says nothing. @param {Asset} asset */
export function contradiction(asset) {
  if (asset.gps_place === undefined || !asset.place) return "";
  return asset.gps_place ? t("GPS sees it at {place}", { place: plain(asset.gps_place, 32) }) : t("GPS sees it outside of every zone");
}

/**
 * A flat picture of a small piece of the earth, turned so that a compass direction is up: metres to the right and up of a
 * point. Off by centimetres within a kilometre.
 * @param {number} lat0 @param {number} lon0 @param {number} [bearing] what is up, degrees
 */
export function flat(lat0, lon0, bearing = 0) {
  const east = Math.max(1e-6, Math.cos((lat0 * Math.PI) / 180)) * 111_320;
  const [sin, cos] = [Math.sin((bearing * Math.PI) / 180), Math.cos((bearing * Math.PI) / 180)];
  /** @param {number} lat @param {number} lon @returns {[number, number]} */
  return (lat, lon) => {
    const x = (((((lon - lon0) % 360) + 540) % 360) - 180) * east;
    const y = (lat - lat0) * 110_574;
    return [x * cos - y * sin, x * sin + y * cos];
  };
}

/** The way back from such a picture: longitude and latitude of a point in it. @param {number} lat0 @param {number} lon0 @param {number} [bearing] */
export function unflat(lat0, lon0, bearing = 0) {
  const east = Math.max(1e-6, Math.cos((lat0 * Math.PI) / 180)) * 111_320;
  const [sin, cos] = [Math.sin((bearing * Math.PI) / 180), Math.cos((bearing * Math.PI) / 180)];
  /** @param {number} x @param {number} y @returns {[number, number]} */
  return (x, y) => [lon0 + (x * cos + y * sin) / east, lat0 + (y * cos - x * sin) / 110_574];
}

/** The smallest window that holds all points. @param {[number, number][]} points */
export function bounds(points) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    x0 = Math.min(x0, x);
    y0 = Math.min(y0, y);
    x1 = Math.max(x1, x);
    y1 = Math.max(y1, y);
  }
  return { x0, y0, x1, y1 };
}

/** The middle of a ring by its area; of one without area the middle of its corners. @param {[number, number][]} ring @returns {[number, number]} */
export function middle(ring) {
  let [area, x, y] = [0, 0, 0];
  // Near the origin: a product of far coordinates would swallow a small area.
  const [ox, oy] = ring[0];
  for (let n = 0; n < ring.length; n += 1) {
    const [ax, ay] = [ring[n][0] - ox, ring[n][1] - oy];
    const [bx, by] = [ring[(n + 1) % ring.length][0] - ox, ring[(n + 1) % ring.length][1] - oy];
    const cross = ax * by - bx * ay;
    area += cross;
    x += (ax + bx) * cross;
    y += (ay + by) * cross;
  }
  if (Math.abs(area) < 1e-9) {
    const b = bounds(ring);
    return [(b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2];
  }
  return [ox + x / (3 * area), oy + y / (3 * area)];
}

/**
 * How a ring lies: its middle, the direction of its longest side, and how far it reaches along it and across it.
 * @param {[number, number][]} ring
 * @returns {{at: [number, number], u: [number, number], long: number, wide: number}}
 */
export function lie(ring) {
  const at = middle(ring);
  let far = 0;
  /** @type {[number, number]} */
  let u = [1, 0];
  for (let n = 0; n + 1 < ring.length; n += 1) {
    const [dx, dy] = [ring[n + 1][0] - ring[n][0], ring[n + 1][1] - ring[n][1]];
    const length = Math.hypot(dx, dy);
    if (length > far) [far, u] = [length, [dx / length, dy / length]];
  }
  let [long, wide] = [0, 0];
  for (const [x, y] of ring) {
    long = Math.max(long, Math.abs((x - at[0]) * u[0] + (y - at[1]) * u[1]));
    wide = Math.max(wide, Math.abs((y - at[1]) * u[0] - (x - at[0]) * u[1]));
  }
  return { at, u, long, wide };
}

/** How far a point is from the sides of a ring. @param {[number, number]} point @param {[number, number][]} ring */
export function apart([x, y], ring) {
  let least = Infinity;
  for (let n = 0; n + 1 < ring.length; n += 1) {
    const [[ax, ay], [bx, by]] = [ring[n], ring[n + 1]];
    const [dx, dy] = [bx - ax, by - ay];
    const t = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
    least = Math.min(least, Math.hypot(x - ax - t * dx, y - ay - t * dy));
  }
  return least;
}

/** A ring made smaller around its middle: along its long side by `long`, across it by `wide`. @param {[number, number][]} ring @param {number} long @param {number} wide @returns {[number, number][]} */
export function within(ring, long, wide) {
  const { at: [cx, cy], u: [ux, uy] } = lie(ring);
  return ring.map(([x, y]) => {
    const along = ((x - cx) * ux + (y - cy) * uy) * long;
    const across = ((y - cy) * ux - (x - cx) * uy) * wide;
    return [cx + along * ux - across * uy, cy + along * uy + across * ux];
  });
}
