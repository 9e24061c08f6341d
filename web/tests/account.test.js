import assert from "node:assert/strict";
import { test } from "node:test";
import { account, LEAST_PX, widths } from "../account.js";

test("what was received is accounted for by the ways it ended, over all sources", () => {
  const said = account({ balance: 0, sources: { gps0: { frames: 100, stored: 60, thinned: 38, no_fix: 2 }, door: { frames: 12, stored: 10, repeat: 1, rejected: 1 } } });
  assert.deepEqual([said.received, said.accounted, said.missing], [112, 112, 0]);
  assert.deepEqual(said.parts.map((part) => [part.way, part.n]), [["stored", 70], ["repeat", 1], ["thinned", 38], ["no_fix", 2], ["rejected", 1]]);
});

test("what the gateway finds out of balance is missing; what is known to be lost is told apart and is not", () => {
  assert.equal(account({ balance: -3, sources: {} }).missing, 3);
  const restored = account({ balance: 0, sources: { door: { frames: 827, stored: 827 } }, events: { total: 861, lost: 34 } });
  assert.deepEqual([restored.received, restored.accounted, restored.missing, restored.lost], [827, 827, 0, 34]);
});

test("parts are drawn to scale, a small one is seen, and together they are as wide as the bar", () => {
  const px = widths([47_819, 240, 121], 1110);
  assert.equal(px[1], LEAST_PX);
  assert.equal(px[2], LEAST_PX);
  assert.ok(Math.abs(px.reduce((a, b) => a + b, 0) + 4 - 1110) < 0.01);
  const [a, b] = widths([300, 100], 402);
  assert.deepEqual([a, b], [300, 100]);
});

test("a bar of nothing has no parts", () => {
  assert.deepEqual(widths([0, 0], 500), [0, 0]);
  assert.deepEqual(widths([], 500), []);
});
