import assert from "node:assert/strict";
import { test } from "node:test";
import { isNight, sunHeight } from "../sun.js";

test("the sun stands where the almanac has it", () => {
  // Noon in Greenwich at the June solstice of 2026: 90 - 51.48 + 23.44 degrees.
  assert.ok(Math.abs(sunHeight(51.48, 0, Date.UTC(2026, 5, 21, 12, 2)) - 61.96) < 0.3);
  assert.ok(Math.abs(sunHeight(0, 0, Date.UTC(2026, 2, 20, 12, 7)) - 90) < 0.6);
});

test("in Halden in November it is dark at five in the afternoon and light at noon", () => {
  assert.equal(isNight(59.12, 11.39, Date.UTC(2026, 10, 20, 16)), true);
  assert.equal(isNight(59.12, 11.39, Date.UTC(2026, 10, 20, 11)), false);
});

test("north of the polar circle there is a day without a night", () => {
  assert.equal(isNight(69.6, 18.9, Date.UTC(2026, 5, 21, 23)), false);
  assert.equal(isNight(69.6, 18.9, Date.UTC(2026, 11, 21, 11)), true);
});
