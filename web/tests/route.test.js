import assert from "node:assert/strict";
import { test } from "node:test";
import { hrefOf, screenOf, SCREENS } from "../route.js";

const q = (/** @type {string} */ text) => new URLSearchParams(text);

test("each screen has an address and the address means that screen", () => {
  for (const name of Object.keys(SCREENS)) assert.equal(screenOf(hrefOf(/** @type {any} */ (name), q("")), q("")), name);
});

test("the board and the cab are views of the first address, so that a kiosk is one bookmark", () => {
  assert.equal(screenOf("/", q("view=board&theme=dark")), "board");
  assert.equal(screenOf("/", q("view=cab")), "cab");
  assert.equal(hrefOf("board", q("theme=dark")), "/?theme=dark&view=board");
});

test("an address that means no screen is the yard", () => {
  for (const [path, query] of [["/nowhere", ""], ["/", "view=__proto__"], ["/", "view=constructor"]]) assert.equal(screenOf(path, q(query)), "live");
});

test("what was set in the address for the device stays when another screen is opened, the rest does not", () => {
  assert.equal(hrefOf("scans", q("theme=night&lang=de&asset=TRK-07&view=cab")), "/scans?theme=night&lang=de");
  assert.equal(hrefOf("failures", q(""), { reason: "unknown_tag" }), "/failures?reason=unknown_tag");
});
