// @ts-check
// The plan of the yard as the gateway gives it: GeoJSON, turned into rings to draw. And who rides on whom.

import { isNum, plain } from "./fmt.js";

/** @typedef {import("./types").Zone} Zone */
/** @typedef {import("./types").Asset} Asset */

const ZONES_MAX = 500;

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
  return asset.gps_place ? `GPS sees it at ${plain(asset.gps_place, 32)}` : "GPS sees it outside of every zone";
}
