import assert from "node:assert/strict";
import { test } from "node:test";
import { BURST_MS, Wedge } from "../keys.js";

const type = (/** @type {Wedge} */ wedge, /** @type {string} */ text, /** @type {number} */ each, at = 0) => [...text].map((key, n) => wedge.take(key, at + n * each)).concat([wedge.take("Enter", at + text.length * each)]).at(-1);

test("a burst that no hand types is a code, with the Enter at its end", () => {
  assert.equal(type(new Wedge(), "00395212340000010013", 8), "00395212340000010013");
});

test("what a hand types is no code, however it ends", () => {
  assert.equal(type(new Wedge(), "TRL-7", 120), null);
});

test("a single key before a scan is no part of the code", () => {
  const wedge = new Wedge();
  wedge.take("j", 0);
  assert.equal(type(wedge, "TRL-1041", 5, 2000), "TRL-1041");
});

test("shift and other silent keys of a scanner do not end its burst", () => {
  const wedge = new Wedge();
  [["Shift", 0], ["T", 4], ["Shift", 8], ["R", 12], ["L", 16], ["7", 20]].forEach(([key, at]) => wedge.take(String(key), Number(at)));
  assert.equal(wedge.take("Enter", 24), "TRL7");
});

test("a slow Enter or three quick keys are no scan, and a code of any length takes bounded room", () => {
  const wedge = new Wedge();
  [..."TRL-7"].forEach((key, n) => wedge.take(key, n * 5));
  assert.equal(wedge.take("Enter", 25 + BURST_MS + 1), null);
  assert.equal(type(new Wedge(), "abc", 5), null);
  assert.equal(type(new Wedge(), "x".repeat(9000), 1)?.length, 1024);
});
