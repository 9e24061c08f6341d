import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { call, errorOf, freshKey, sessionBy } from "../api.js";
import { measureIn, metres, roundLengths, speed } from "../fmt.js";
import { lastScan } from "../judge.js";
import { Store } from "../store.js";
import { NO_PLAN } from "../yard.js";
import { stopsOf } from "../view/asset.js";
import { onWall, pageOf } from "../view/board.js";
import { Kept } from "../view/cab.js";
import { answerOf } from "../view/delivery.js";
import { faultText } from "../view/dialog.js";
import { dump, outcome, scopeOf, whatOf } from "../view/failures.js";
import { delivered, steps } from "../view/first.js";
import { lostWords } from "../view/health.js";

const T = Date.UTC(2026, 10, 20, 13, 14, 8);
const fetched = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = fetched;
  measureIn("metric");
});

const turn = (/** @type {string} */ change, /** @type {string} */ place, /** @type {number} */ since_ms) => ({ change, place, since_ms });

test("where an asset was before is told newest first, without where it is now", () => {
  const turns = [turn("enter", "dock-6", 50), turn("exit", "p04", 40), turn("enter", "p04", 30), turn("exit", "gate-a", 20), turn("enter", "gate-a", 10)];
  assert.deepEqual(stopsOf(turns, "dock-6"), [{ place: "p04", from: 30, to: 40 }, { place: "gate-a", from: 10, to: 20 }]);
});

test("an asset that came back to where it was before has both stays, and one that is gone has them all", () => {
  const turns = [turn("enter", "d", 5), turn("exit", "d", 4), turn("enter", "d", 3)];
  assert.deepEqual(stopsOf(turns, "d"), [{ place: "d", from: 3, to: 4 }]);
  assert.deepEqual(stopsOf([turn("exit", "d", 6), ...turns], undefined), [{ place: "d", from: 5, to: 6 }, { place: "d", from: 3, to: 4 }]);
});

test("a wall turns its pages only when there is more than one", () => {
  assert.deepEqual(pageOf([1, 2, 3], 8, 25_000), { lines: [1, 2, 3], page: 0, pages: 1, left: 5 });
  assert.deepEqual(pageOf([1, 2, 3], 2, 10_000).lines, [3]);
  assert.deepEqual(pageOf([1, 2, 3], 2, 20_000).lines, [1, 2]);
  assert.deepEqual(pageOf([], 0, 0), { lines: [], page: 0, pages: 1, left: 10 });
});

test("a wall shows the end of a long number, where two of them differ, and a name as it is", () => {
  assert.deepEqual([onWall("sscc:395212340000010051"), onWall("sscc:395212340000010068"), onWall("TRL-1041"), onWall("raw:MSKU3054383")], ["…00010051", "…00010068", "TRL-1041", "MSKU3054383"]);
});

test("a letter without its bytes says that they are hidden, not which field of a label was wrong", () => {
  assert.equal(whatOf({ letter: 4, detail: "00" }), "hidden until log-in");
  assert.equal(whatOf({ letter: 4, detail: "00", bytes: "00395" }), "00395");
  assert.equal(whatOf({ letter: 4, detail: "sscc:395212340000010051" }), "sscc:395212340000010051");
  assert.equal(whatOf({ letter: 4, detail: "" }), "#4");
});

test("what was lost is told with its count and when that was found", () => {
  assert.equal(lostWords(34, [], T, "UTC"), "34 events are lost for good and counted as that.");
  assert.equal(lostWords(34, [{ from: 828, to: 861, reason: "rolled_back", at_ms: T - 60_000 }], T, "UTC"), "34 events are lost for good and counted as that. Found 13:13: the store was older than what it had committed, as after a restore; 828 to 861 are missing in it.");
});

test("every answer to whether it arrived has a word, a shape and a sentence", () => {
  const of = (/** @type {object} */ sheet) => answerOf(sheet, T, "UTC");
  assert.deepEqual(of({ state: "acknowledged", acked_ms: T }), { shape: "ok", word: "Sent", more: "The broker took it by 13:14." });
  assert.equal(answerOf({ state: "acknowledged", acked_ms: Date.UTC(2026, 10, 20, 1, 42, 20) }, T - 11 * 3600e3, "UTC").more, "The broker took it by 01:44.", "the log keeps the minute by its beginning: never before it was stored");
  assert.deepEqual([of({ state: "acknowledged", acked_ms: T, unheard: true }).shape, of({ state: "acknowledged", acked_ms: T, unheard: true }).word], ["warn", "Sent, nobody listened"]);
  assert.deepEqual(of({ state: "waiting", ahead: 1, waiting_s: 90 }), { shape: "warn", word: "Waits here", more: "1 event goes before it. It has waited 1 min." });
  for (const state of ["confirmed", "passed", "in_flight", "local", "dead", "discarded", "archived"]) {
    const { word, more } = of({ state });
    assert.ok(word && word !== state && more, state);
  }
  assert.deepEqual(of({ state: "of_tomorrow", text: "It flies." }), { shape: "wait", word: "of_tomorrow", more: "It flies." });
});

test("a bulk deed says its scope: what is on this page, what is on others, and for which reason", () => {
  assert.deepEqual(scopeOf({ picked: 0, page: 9, total: 121, all: true, reason: "unknown tag" }), { what: "All 121 with the reason “unknown tag”", more: "9 on this page, 112 on others. Oldest first; it can be stopped." });
  assert.equal(scopeOf({ picked: 1, page: 9, total: 121, all: false, reason: "" }).what, "1 letter picked");
});

test("what became of a job is told in numbers: done, failed again, left, stopped", () => {
  assert.equal(outcome({ job: 1, action: "retry", state: "stopped", ok: 40, failed_again: 3, skipped: 2 }), "40 tried again, 3 failed again, 2 left as they were, stopped");
  assert.equal(outcome({ job: 1, action: "discard", state: "done", ok: 1 }), "1 given up");
});

test("bytes are shown in rows with what of them is text, and hidden characters cannot turn the row around", () => {
  assert.equal(dump("0245e28102", ".E\u202e."), "02 45 e2 81 02                      .E␣.");
  assert.equal(dump("41".repeat(30), "A".repeat(30)).split("\n").length, 3);
});

test("a first run names what is missing with the line to write, and a source that delivered is done with", () => {
  const store = new Store();
  store.snapshot({ cursor: "a.1", t: T, tz: "UTC", boot: 1, states: [
    { k: "source", v: { id: "gps0", kind: "gps", port: "/dev/ttyUSB0", state: "no_fix" } },
    { k: "source", v: { id: "door", kind: "scanner", port: "/dev/waypost/door", state: "up" } },
    { k: "ledger", v: { balance: 0, sources: { door: { frames: 3 }, gps0: { frames: 0 } } } }, { k: "uplink", v: { configured: false, state: "off" } },
  ] }, 0);
  const scene = /** @type {any} */ ({ state: store.state, plan: NO_PLAN, fresh: true, shown: T });
  const [door, gps0] = ["door", "gps0"].map((id) => /** @type {any} */ (store.state.sources.get(id)));
  assert.deepEqual([delivered(door, scene), delivered(gps0, scene)], [true, false]);
  const all = steps(scene);
  assert.deepEqual(all.map((step) => [step.key, step.shape]), [["s:door", "ok"], ["s:gps0", "warn"], ["plan", "stale"], ["upstream", "stale"]]);
  assert.equal(steps({ ...scene, state: new Store().state })[0].code, "waypost devices");
});

test("the last scan is the one that was read last, not the one that was retried last", () => {
  const store = new Store();
  store.snapshot({ cursor: "a.1", t: T, boot: 1, scans: [{ id: "again", seq: 9, kind: "scan", ts_ms: 1, received_ms: 1, tq: "gnss" }, { id: "new", seq: 5, kind: "scan", ts_ms: 2, received_ms: 2, tq: "gnss" }] }, 0);
  assert.equal(lastScan(store.state)?.id, "new");
  assert.equal(lastScan(new Store().state), undefined);
});

test("who drives in miles sees miles, and a scale bar of round feet", () => {
  measureIn("imperial");
  assert.equal(speed(10), "22 mph");
  assert.equal(metres(30.48), "100 ft");
  assert.equal(metres(roundLengths()[5]), "200 ft");
});

test("an error that is not ours is told in plain words, and ours with its findings", () => {
  assert.deepEqual(errorOf(502, "<html>"), { code: "http_502", message: "The gateway answered 502.", hint: "" });
  const ours = errorOf(400, { error: { code: "invalid", message: "the list has a mistake", hint: "Mend it", findings: ["line 2: no id"] } });
  assert.equal(faultText(ours), "The list has a mistake. Mend it. line 2: no id");
});

test("a call that changes something carries the header that a foreign page cannot send, and its key", async () => {
  /** @type {any} */
  let sent;
  globalThis.fetch = async (url, init) => {
    sent = { url, ...init };
    return new Response("{\"job\":1}", { status: 202 });
  };
  const answer = await call("/letters/actions", { method: "POST", json: { ids: [1] }, key: "k" });
  assert.deepEqual([answer.ok, answer.body.job, sent.headers["x-waypost"], sent.headers["idempotency-key"], sent.url], [true, 1, "1", "k", "/api/v1/letters/actions"]);
  assert.match(freshKey(), /^[0-9a-f]{32}$/);
  assert.notEqual(freshKey(), freshKey());
});

test("a call that wants the operator's session asks for the PIN once and is made again", async () => {
  let asked = 0;
  let calls = 0;
  sessionBy(async () => {
    asked += 1;
    return asked === 1;
  });
  globalThis.fetch = async () => new Response("{\"error\":{\"code\":\"session_needed\",\"message\":\"m\",\"hint\":\"h\"}}", { status: (calls += 1) === 2 ? 200 : 401 });
  assert.equal((await call("/x", { method: "POST" })).ok, true);
  assert.equal((await call("/x", { method: "POST" })).status, 401);
  assert.deepEqual([asked, calls], [2, 3]);
});

test("a gateway that cannot be reached is an answer too, and never an exception", async () => {
  globalThis.fetch = async () => { throw new TypeError("Failed to fetch"); };
  assert.deepEqual([(await call("/x")).status, (await call("/x")).error?.code], [0, "unreachable"]);
});

test("a cab says that a read was kept aside only when one was, why, and for half a minute", () => {
  const kept = new Kept();
  const letters = (/** @type {Record<string, number>} */ counts) => ({ open: 9, by_reason: Object.entries(counts).map(([reason, n]) => ({ reason, n })) });
  assert.equal(kept.of(null, 0), null);
  assert.equal(kept.of(letters({ unknown_tag: 40, noread: 2 }), 1000), null, "those there were are no news");
  assert.equal(kept.of(letters({ unknown_tag: 40, noread: 3 }), 2000)?.reason, "noread");
  assert.equal(kept.of(letters({ unknown_tag: 40, noread: 3, broker_refused: 1 }), 3000)?.reason, "noread", "the broker is no scanner");
  assert.equal(kept.of(letters({ unknown_tag: 12 }), 33_000), null);
  assert.equal(kept.of(letters({ unknown_tag: 13 }), 34_000)?.reason, "unknown_tag");
});
