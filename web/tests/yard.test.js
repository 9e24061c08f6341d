// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { apart, bounds, called, carriedBy, carrierOf, contradiction, flat, lie, meant, middle, planOf, plateOf, shortly, taken, where, within, zonesOf } from "../yard.js";

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

const dock = (/** @type {string} */ id, /** @type {string} */ name, kind = "dock") => ({ properties: { id, name, kind }, geometry: { type: "Polygon", coordinates: [square] } });

test("a plate says the number of a dock and the name of a gate", () => {
  const plan = planOf({ plan: { features: [dock("dock-3", "Dock 3"), dock("tor-7", "Tor 7", "dock"), dock("gate-a", "Gate A", "gate"), dock("wash", "Wash dock", "bay"), dock("d", "Dock", "dock"), dock("bay-3", "Bay 3", "bay"), dock("bay-4", "Bay 4", "bay")] } });
  const apart = planOf({ plan: { features: [dock("dock-3", "Dock 3"), dock("bay-4", "Bay 4", "bay")] } });
  assert.equal(plateOf("bay-4", apart), "4");
  assert.deepEqual(["dock-3", "tor-7", "gate-a", "wash", "d", "door-9", "bay-3", "bay-4"].map((place) => plateOf(place, plan)), ["3", "7", "Gate A", "Wash dock", "Dock", "door-9", "Bay 3", "Bay 4"]);
});

test("a code that nobody named is shown without its kind, and where there is little room by its end", () => {
  assert.deepEqual([called("raw:TRL-7"), called("sscc:376104250021234569"), called("TRK-07"), called("raw:")], ["TRL-7", "376104250021234569", "TRK-07", "raw:"]);
  assert.equal(shortly("sscc:395212340000010013", 10), "…000010013");
  assert.equal(shortly("TRK-07", 10), "TRK-07");
});

test("a label is looked for however it is written: as it stands on it, with what a scanner adds, by its digits", () => {
  for (const text of ["(00) 3 9521234 000001005 1", "00395212340000010051", "]C100395212340000010051", "395212340000010051"]) assert.ok(meant(text).includes("395212340000010051"), text);
  assert.deepEqual(meant(" TRL-7 "), ["trl-7"]);
  assert.deepEqual(meant("0012"), ["0012"]);
  assert.deepEqual(meant("  "), []);
});

test("docks that are taken come longest first, so what has stood too long stands on top", () => {
  const plan = planOf({ overstay_min: 60, plan: { features: [dock("d1", "1"), dock("d2", "2"), dock("d3", "3"), dock("g", "Gate", "gate")] } });
  const at = (/** @type {string} */ asset, /** @type {string} */ place, /** @type {number} */ min) => ({ asset, ts_ms: 0, place, since_ms: -min * 60_000 });
  assert.deepEqual(taken(plan, [at("A", "d1", 10), at("B", "d2", 90), at("C", "d3", 30), at("D", "g", 500), at("E", "nowhere", 1)], 0).map((one) => [one.asset.asset, one.long]), [["B", true], ["C", false], ["A", false]]);
});

test("the flat picture is off by centimetres within a kilometre", () => {
  const [x, y] = flat(59.12, 11.38)(59.12 + 1 / 110.574, 11.38);
  assert.ok(Math.abs(x) < 0.05 && Math.abs(y - 1000) < 0.5);
});

test("a turned plan has the direction it is turned to on top", () => {
  const north = flat(59, 11);
  const turned = flat(59, 11, 90);
  const [east] = [north(59, 11.001)];
  const [x, y] = turned(59, 11.001);
  assert.ok(Math.abs(x) < 1e-6 && Math.abs(y - east[0]) < 1e-6);
});

test("a flat picture has no seam at the date line", () => {
  assert.ok(Math.abs(flat(0, 179.999)(0, -179.999)[0] - 222.64) < 0.1);
});

test("the middle of a zone is inside of it however far from the origin it lies, and a line has one too", () => {
  assert.deepEqual(middle([[1e6, 1e6], [1e6 + 10, 1e6], [1e6 + 10, 1e6 + 4], [1e6, 1e6 + 4], [1e6, 1e6]]).map(Math.round), [1e6 + 5, 1e6 + 2]);
  assert.deepEqual(middle([[0, 0], [4, 0], [0, 0]]), [2, 0]);
});

test("what stands in a dock is drawn inside of it, along its long side", () => {
  const b = bounds(within([[0, 0], [4, 0], [4, 20], [0, 20], [0, 0]], 0.8, 0.5));
  assert.deepEqual([b.x0, b.x1, b.y0, b.y1].map((n) => Math.round(n * 10) / 10), [1, 3, 2, 18]);
});

test("how a zone lies is known however it is turned", () => {
  const r = Math.SQRT1_2;
  const turned = /** @type {[number, number][]} */ ([[0, 0], [20, 0], [20, 4], [0, 4], [0, 0]].map(([x, y]) => [x * r - y * r, x * r + y * r]));
  const how = lie(turned);
  assert.deepEqual([how.long, how.wide].map((n) => Math.round(n)), [10, 2]);
  assert.ok(Math.abs(Math.abs(how.u[0]) - r) < 1e-9 && Math.abs(apart(how.at, turned) - 2) < 1e-9);
});
