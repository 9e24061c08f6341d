// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { carriedBy, carrierOf, contradiction, where, zonesOf } from "../yard.js";

const square = [[11, 59], [11.1, 59], [11.1, 59.1], [11, 59]];

test("a plan becomes rings to draw, and what is no zone is left out", () => {
  const feature = (/** @type {any} */ id, /** @type {string} */ type, /** @type {any} */ coordinates) =>
    ({ type: "Feature", properties: { id, kind: "dock" }, geometry: { type, coordinates } });
  const plan = { type: "FeatureCollection", features: [
    feature("dock-3", "Polygon", [square]),
    feature("hall", "MultiPolygon", [[square], [square, square]]),
    feature(7, "Polygon", [square]),
    feature("line", "LineString", square),
    feature("broken", "Polygon", [[[11, "59"]]]),
    null,
  ] };
  const zones = zonesOf({ bearing_deg: 0, plan });
  assert.deepEqual(zones.map((zone) => [zone.id, zone.rings.length]), [["dock-3", 1], ["hall", 3]]);
  for (const nothing of [undefined, null, {}, { plan: null }, { plan: { features: 1 } }]) assert.deepEqual(zonesOf(nothing), []);
});

test("what rides on a truck is where the truck is", () => {
  const truck = { asset: "TRK-07", ts_ms: 1, lat: 59, lon: 11, speed_mps: 3 };
  const pallet = { asset: "P-1", ts_ms: 1, place: "@TRK-07", lat: 1, lon: 1 };
  const assets = new Map([["TRK-07", truck]]);
  assert.equal(carrierOf(pallet), "TRK-07");
  assert.deepEqual([where(pallet, assets).lat, where(pallet, assets).speed_mps], [59, 3]);
  assert.equal(where({ ...pallet, place: "dock-3" }, assets).lat, 1);
  assert.equal(where({ ...pallet, place: "@TRK-99" }, assets).lat, 1);
});

test("a pallet on a trailer on a truck is where the truck is, and what is on each other stands where it stood", () => {
  const at = (/** @type {string} */ asset, /** @type {string} */ place, /** @type {number} */ lat) => ({ asset, ts_ms: 1, place, lat, lon: 11 });
  const all = [at("TRK-07", "gate", 59), at("TRL-7", "@TRK-07", 2), at("P-1", "@TRL-7", 1), at("A", "@B", 3), at("B", "@A", 4), at("C", "@C", 5)];
  const assets = new Map(all.map((one) => [one.asset, one]));
  assert.deepEqual(all.map((one) => carriedBy(one, assets)?.asset ?? null), [null, "TRK-07", "TRK-07", null, null, null]);
  assert.deepEqual(all.map((one) => where(one, assets).lat), [59, 59, 59, 3, 4, 5]);
});

test("a contradiction is said, and its absence is not", () => {
  const asset = { asset: "A", ts_ms: 1, place: "door-7" };
  assert.equal(contradiction(asset), "");
  assert.equal(contradiction({ ...asset, gps_place: "slot-41" }), "GPS sees it at slot-41");
  assert.equal(contradiction({ ...asset, gps_place: "" }), "GPS sees it outside of every zone");
});
