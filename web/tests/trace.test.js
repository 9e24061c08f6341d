// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { faults } from "../draft.js";
import { boxes, inside, stays, STAY_MS } from "../trace.js";
import { unflat } from "../yard.js";

const at = unflat(59.12, 11.38);

/** A fix so many minutes into the day, so many metres east and north. @param {number} min @param {number} x @param {number} y @param {object} [more] */
function fix(min, x, y, more = {}) {
  const [lon, lat] = at(x, y);
  return { kind: "fix", asset: "TRK-07", ts_ms: min * 60_000, lat, lon, ...more };
}

/** @param {number} from @param {number} to @param {number} x @param {number} y @param {object} [more] */
const stand = (from, to, x, y, more) => Array.from({ length: to - from + 1 }, (_, n) => fix(from + n, x + (n % 3), y - (n % 2), more));

test("a truck stands where it stays within fifteen metres for five minutes, and nowhere on its way", () => {
  const way = [0, 1, 2, 3].map((n) => fix(10 + n, 60 * n, 0));
  const found = stays([...stand(0, 9, 0, 0), ...way, ...stand(14, 20, 300, 40)].reverse());
  assert.deepEqual(found.map((one) => [one.from / 60_000, one.to / 60_000]), [[0, 10], [14, 20]]);
  assert.deepEqual(stays(stand(0, 4, 0, 0)), [], `shorter than ${STAY_MS} ms`);
  assert.deepEqual(stays([fix(0, 0, 0), fix(60, 0, 0)]), [], "an hour of silence is not an hour of standing");
});

test("what is in doubt, of a spare receiver or without a position says nothing", () => {
  for (const more of [{ doubt: ["jump"] }, { spare: true }, { lat: null }, { asset: undefined }]) assert.deepEqual(stays(stand(0, 30, 0, 0, more)), [], JSON.stringify(more));
});

test("one spot is one zone however often, called as the scanner that read the truck there, and none lies on another", () => {
  const all = stays([...stand(0, 20, 0, 0), ...stand(30, 40, 200, 0), ...stand(50, 60, 3, 2), ...stand(0, 20, 400, 0, { asset: "TRK-08" })]);
  const scans = [{ asset: "TRK-07", place: "dock-3", ts_ms: 55 * 60_000 }, { asset: "TRK-09", place: "dock-9", ts_ms: 35 * 60_000 }, { asset: "TRK-08", place: "<b>", ts_ms: 60_000 }];
  const zones = boxes(all, scans, []);
  assert.deepEqual(zones.map((zone) => [zone.id, zone.kind]), [["dock-3", "dock"], ["stand-1", "bay"], ["stand-2", "bay"]]);
  assert.deepEqual(faults(zones), zones.map(() => null));
  assert.ok(inside(zones[0].polygons[0][0], at(1, 0)) && !inside(zones[0].polygons[0][0], at(30, 0)));
  assert.deepEqual(boxes(all, scans, zones), [], "where a zone is there is no other one");
});
