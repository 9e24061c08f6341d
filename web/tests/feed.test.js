import assert from "node:assert/strict";
import { test } from "node:test";
import { feedOf, FEED_MAX, GAP_MS } from "../feed.js";

const T = 1_800_000_000_000;
const scan = (seq, at) => ({ id: `s${seq}`, seq, kind: "scan", ts_ms: at, received_ms: at, tq: "gnss" });
const letter = (n, at) => ({ letter: n, received_ms: at, reason: "noread", source: "door" });
const scanner = (more = {}) => ({ id: "door", kind: "scanner", state: "up", since_ms: T - 3600e3, frameAt: null, ...more });
const kinds = (rows) => rows.map((row) => row.kind);

test("what was kept aside stands among the scans at the time when it was read", () => {
  assert.deepEqual(kinds(feedOf([scan(2, T - 1000), scan(1, T - 3000)], [letter(9, T - 2000)], [], T)), ["scan", "kept", "scan"]);
});

test("a silence of five minutes is a row, also the one that still lasts, and a shorter one is none", () => {
  const rows = feedOf([scan(2, T - GAP_MS), scan(1, T - 2 * GAP_MS + 1)], [], [scanner()], T);
  assert.deepEqual(kinds(rows), ["gap", "scan", "scan"]);
  assert.equal(rows[0].ms, GAP_MS);
});

test("a silence says that the scanners answered only when the gateway says so for all of it", () => {
  const why = (/** @type {object} */ more) => feedOf([scan(1, T - GAP_MS)], [], [scanner(), scanner(more)], T)[0].why;
  assert.equal(why({}), "well");
  assert.equal(why({ state: "silent" }), "well");
  assert.equal(why({ state: "absent" }), "unknown");
  assert.equal(why({ since_ms: T - 1000 }), "unknown");
});

test("a silence that goes on keeps its row", () => {
  const key = (/** @type {number} */ now) => feedOf([scan(1, T)], [], [], now)[0].key;
  assert.equal(key(T + GAP_MS), key(T + 2 * GAP_MS));
});

test("a feed holds a bounded number of rows whatever is sent", () => {
  const rows = feedOf(Array.from({ length: 5000 }, (_, n) => scan(5000 - n, T - n * 2 * GAP_MS)), [], [], T);
  assert.ok(rows.length <= FEED_MAX + 1);
});
