import assert from "node:assert/strict";
import { test } from "node:test";
import { CHOICES, read } from "../prefs.js";

const none = new URLSearchParams();

test("without a word everything is as usual", () => {
  assert.deepEqual(read(null, none), { theme: "auto", lang: "auto", units: "metric", zone: "site", sound: "off", keys: "on" });
});

test("what the address says goes before what was kept", () => {
  const kept = JSON.stringify({ theme: "light", lang: "de", sound: "bad" });
  const prefs = read(kept, new URLSearchParams("theme=night"));
  assert.deepEqual([prefs.theme, prefs.lang, prefs.sound], ["night", "de", "bad"]);
});

test("a value that is none, from the address or from storage, is as if it were not there", () => {
  for (const kept of ["{", "[]", "null", "7", '{"theme":"pink","lang":{"x":1},"units":"__proto__"}']) {
    assert.deepEqual(read(kept, new URLSearchParams("zone=mars&theme=")), read(null, none));
  }
  assert.ok(CHOICES.theme.includes("night"));
});
