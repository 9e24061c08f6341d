import assert from "node:assert/strict";
import { test } from "node:test";
import { toneFor } from "../sound.js";

const calm = { scan: null, wasBad: false, isBad: false, letters: false };

test("good scans are silent unless somebody wants them", () => {
  assert.equal(toneFor({ ...calm, scan: "ok" }, "bad"), null);
  assert.equal(toneFor({ ...calm, scan: "ok" }, "all"), "good");
});

test("a bad scan and something kept aside sound the same, and a part that is lost sounds worse", () => {
  assert.equal(toneFor({ ...calm, scan: "bad" }, "bad"), "bad");
  assert.equal(toneFor({ ...calm, letters: true }, "bad"), "bad");
  assert.equal(toneFor({ ...calm, scan: "bad", isBad: true }, "bad"), "lost");
});

test("a fault sounds once when it begins and once when it is over", () => {
  assert.equal(toneFor({ ...calm, wasBad: true, isBad: true }, "all"), null);
  assert.equal(toneFor({ ...calm, wasBad: true }, "bad"), "well");
});
