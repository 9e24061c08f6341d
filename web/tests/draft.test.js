// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { added, copied, draftOf, drawn, faults, freshId, heart, KINDS, merged, moved, rectangle, reshaped, split, textOf, told, turned, unplaced, without, zoneOf } from "../draft.js";
import { bounds, flat, unflat } from "../yard.js";

/** @type {import("../draft.js").At} */
const HERE = [11.3875, 59.1246];
const one = () => added([], "dock", HERE, 0);
const corner = (/** @type {number} */ n) => ({ polygon: 0, ring: 0, n });

/** How far apart two corners are, metres. @param {import("../draft.js").At} a @param {import("../draft.js").At} b */
function far(a, b) {
  return Math.hypot(...flat(a[1], a[0])(b[1], b[0]));
}

test("a plan that is read and written says the same, a zone a line, with what only others understand", () => {
  const geo = { type: "FeatureCollection", features: [
    { type: "Feature", properties: { id: "a", name: "Hall <b>1</b>", kind: "building", note: "keep", doors: [1] }, geometry: { type: "Polygon", coordinates: [[[11, 59], [11.001, 59], [11.001, 59.001], [11, 59]], [[11.0005, 59.0001], [11.0006, 59.0001], [11.0006, 59.0002], [11.0005, 59.0001]]] } },
    { type: "Feature", properties: { id: "b", kind: "gate" }, geometry: { type: "MultiPolygon", coordinates: [[[[11, 59], [11.001, 59], [11.001, 59.001], [11, 59]]], [[[12, 59], [12.001, 59], [12.001, 59.001], [12, 59]]]] } },
  ] };
  const { zones, left } = draftOf(geo);
  assert.equal(left, 0);
  assert.deepEqual(JSON.parse(textOf(zones)), geo);
  assert.match(textOf(zones).split("\n")[2], /"id":"b"/, "feature 2 stands on line 3");
  assert.deepEqual(drawn(zones).map((zone) => [zone.id, zone.rings.length]), [["a", 2], ["b", 2]]);
});

test("what is no zone is counted, what has no name yet is taken in and cannot be saved before it has one", () => {
  const ring = [[11, 59], [11.001, 59], [11.001, 59.001], [11, 59]];
  const feature = (/** @type {any} */ properties, type = "Polygon", /** @type {any} */ coordinates = [ring]) => ({ type: "Feature", properties, geometry: { type, coordinates } });
  const { zones, left } = draftOf({ features: [feature({}), feature(null), feature({ id: "a", kind: "dokk" }), feature({ id: "p" }, "Point", [1, 2]), feature({ id: "q" }, "Polygon", [[[1, "x"]]]), null] });
  assert.deepEqual([zones.length, left], [3, 3]);
  assert.deepEqual(faults(zones), ["id", "id", "kind"]);
  const same = told(told(told(zones, 0, { id: "x", kind: "bay" }), 1, { id: "x", kind: "bay" }), 2, { id: "no/slash" });
  assert.deepEqual(faults(same), ["twice", "twice", "id"]);
  for (const nothing of [null, undefined, 1, [], {}, { features: 1 }]) assert.deepEqual(draftOf(nothing), { zones: [], left: 0 });
});

test("a new zone has a free id, lies as the plan is turned and is as large as its kind", () => {
  const docks = added(added(one(), "dock", HERE, 90), "gate", HERE, 0);
  assert.deepEqual(docks.map((zone) => zone.id), ["dock-1", "dock-2", "gate-1"]);
  const [a, b, c] = one()[0].polygons[0][0];
  assert.ok(Math.abs(far(a, b) - 4.5) < 0.01 && Math.abs(far(b, c) - 18) < 0.01);
  const [d, e] = docks[1].polygons[0][0];
  assert.ok(Math.abs(d[0] - e[0]) < 1e-9 && d[1] !== e[1], "its short side points north when east is up");
  assert.deepEqual([freshId(docks, "dock-1"), freshId([], ""), freshId([], "Tor 09"), freshId([], "a")], ["dock-3", "zone-1", "Tor 10", "a-1"]);
  for (const kind of KINDS) assert.deepEqual(faults(added([], kind, HERE, 0)), [null], kind);
});

test("zones are moved, turned, reshaped and taken out, and what was before is as it was", () => {
  const zones = one();
  const before = JSON.stringify(zones);
  assert.deepEqual(heart(moved(zones, 0, [0.001, -0.001])[0]).map((v) => v.toFixed(6)), ["11.388500", "59.123600"]);
  const shaped = reshaped(zones, 0, corner(2), [11.4, 59.2]);
  assert.deepEqual(shaped[0].polygons[0][0][2], [11.4, 59.2]);
  const more = split(zones, 0, corner(3));
  assert.equal(more[0].polygons[0][0].length, 5, "the side from the last corner to the first has a middle too");
  assert.equal(merged(merged(more, 0, corner(4)), 0, corner(0))[0].polygons[0][0].length, 3);
  assert.equal(merged(merged(merged(more, 0, corner(0)), 0, corner(0)), 0, corner(0))[0].polygons[0][0].length, 3, "three corners remain");
  const around = turned(turned(zones, 0, 30), 0, -30)[0].polygons[0][0];
  around.forEach((at, n) => assert.ok(far(at, zones[0].polygons[0][0][n]) < 0.01));
  assert.equal(turned(zones, 0, 90)[0].polygons[0][0].every((at) => far(at, HERE) < 10), true);
  assert.deepEqual(without(zones, 0), []);
  assert.equal(JSON.stringify(zones), before);
});

test("a copied dock goes on with its row, with the next number in id and name", () => {
  const row = told(one(), 0, { name: "Dock 1" });
  const two = copied(row, 0);
  const three = copied(two, 1);
  assert.deepEqual(three.map((zone) => [zone.id, zone.name]), [["dock-1", "Dock 1"], ["dock-2", "Dock 2"], ["dock-3", "Dock 3"]]);
  const [a, b, c] = three.map(heart);
  assert.ok(Math.abs(far(a, b) - 4.5) < 0.05 && Math.abs(far(b, c) - 4.5) < 0.05 && Math.abs(far(a, c) - 9) < 0.1);
});

test("the way back from the flat picture leads to where it came from, however it is turned", () => {
  for (const bearing of [0, 33, 90, 271.5]) {
    const [lon, lat] = unflat(59, 11, bearing)(120, -45);
    const [x, y] = flat(59, 11, bearing)(lat, lon);
    assert.ok(Math.abs(x - 120) < 1e-6 && Math.abs(y + 45) < 1e-6, String(bearing));
  }
  assert.equal(rectangle(HERE, [10, 4], 45).length, 4);
});

test("a finding of the gateway names its zone", () => {
  assert.equal(zoneOf("4:12: feature 3 \"dock-3\": the ring crosses itself; move a corner"), 2);
  assert.deepEqual([zoneOf("feature 1: x"), zoneOf("is longer than 2 MiB; leave out"), zoneOf("1:2: is no JSON")], [0, null, null]);
});

test("a zone that crosses or touches itself is told while it is drawn, and only that one", () => {
  const shape = (/** @type {import("../draft.js").At[]} */ ring) => ({ id: `z${ring.length}${ring[1][0]}`, name: "", kind: "dock", polygons: [[ring]], more: {} });
  const of = (/** @type {[number, number][]} */ ...ring) => faults([shape(ring.map(([x, y]) => [11 + x / 1e4, 59 + y / 1e4]))])[0];
  assert.equal(of([0, 0], [4, 0], [4, 4], [0, 4]), null);
  assert.equal(of([0, 0], [4, 0], [4, 4], [2, 1], [0, 4]), null, "hollow is not crossed");
  assert.equal(of([0, 0], [4, 0], [0, 4], [4, 4]), "crosses");
  assert.equal(of([0, 0], [4, 0], [4, 4], [2, 0], [0, 4]), "crosses", "a corner on another side");
  assert.equal(of([0, 0], [4, 0], [2, 0], [2, 4]), "crosses", "a side back over the one before");
  assert.equal(of([0, 0], [4, 0], [4, 4], [4, 4], [0, 4]), "crosses", "a corner twice");
  assert.equal(of([0, 0], [2, 0], [4, 0], [4, 4], [0, 4]), null, "a corner on a straight side");
  const [a] = one();
  const crossed = reshaped([a], 0, corner(0), [HERE[0] + 0.001, HERE[1]]);
  assert.deepEqual(faults([a, ...told(crossed, 0, { id: "other" })])[1], "crosses");
});

test("what the gateway finds is told without lines of a file that nobody has", () => {
  assert.equal(unplaced('17:126: feature 16 "dock-9": the ring crosses or touches itself: the edge from here and that from line 17 column 174; move a corner, or draw two zones'), '"dock-9": the ring crosses or touches itself; move a corner, or draw two zones');
  assert.equal(unplaced('4:12: feature 3 "x": the id "x" is that of feature 1 on line 2; choose another'), '"x": the id "x" is another one\'s; choose another');
  assert.equal(unplaced("the plan is too large"), "the plan is too large");
});

test("a new zone lies in the middle, or beside what is there, as large as its handles need", () => {
  const box = (/** @type {import("../draft.js").Shape} */ zone) => bounds(zone.polygons.flat(2).map(([lon, lat]) => flat(HERE[1], HERE[0])(lat, lon)));
  let zones = added([], "dock", HERE, 0, 12, [80, 60]);
  assert.ok(far(heart(zones[0]), HERE) < 0.1);
  assert.ok(far(zones[0].polygons[0][0][0], zones[0].polygons[0][0][1]) > 11.9, "4.5 m would be too narrow to take hold of");
  for (let n = 0; n < 5; n += 1) zones = added(zones, "dock", HERE, 0, 12, [80, 60]);
  const boxes = zones.map(box);
  boxes.forEach((a, n) => boxes.slice(n + 1).forEach((b) => assert.ok(a.x1 <= b.x0 || b.x1 <= a.x0 || a.y1 <= b.y0 || b.y1 <= a.y0, `${n} lies on another`)));
  assert.ok(zones.every((zone) => far(heart(zone), HERE) <= 100));
});
