import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { chips, conditions, deed, isFresh, missing, newest, verdict } from "../judge.js";
import { Store } from "../store.js";
import { NO_PLAN, planOf } from "../yard.js";

const T = Date.UTC(2026, 10, 20, 13, 14, 8);

function scene(states = [], more = {}) {
  const store = new Store();
  store.snapshot({ cursor: "a.1", t: T, node: "wp-07", tz: "UTC", boot: 1, states, ...more.snap }, 0);
  return { state: store.state, plan: NO_PLAN, prefs: {}, link: { state: "live", why: "", lastByte: 0, nextTry: null }, fresh: true, known: true, shown: T, wall: T, now: 400, tz: "UTC", quiet: false, muted: true, mute() {}, selected: null, select() {}, kick() {}, ...more.scene };
}
const source = (id, kind, state, more = {}) => ({ k: "source", v: { id, kind, state, ...more } });
const chip = (s, id) => chips(s).find((one) => one.id === id);

test("a node without upstream shows no upstream", () => {
  assert.equal(chip(scene([{ k: "uplink", v: { configured: false, state: "off" } }]), "upstream"), undefined);
});

test("what is left of the day's budget is said of the upstream", () => {
  const s = scene([{ k: "uplink", v: { configured: true, state: "connected", unsent: { scan: 0, fix: 3 }, budget_left_kib: 1250 } }]);
  assert.equal(chip(s, "upstream").small, "3 waiting, 1,250 KiB of the budget left");
});

test("an upstream that is away is orange, says how much waits and that nothing is lost", () => {
  const s = scene([{ k: "uplink", v: { configured: true, state: "waiting", unsent: { scan: 284, fix: 1000 }, oldest_unsent_s: 7560 } }]);
  assert.deepEqual(chip(s, "upstream"), { id: "upstream", shape: "warn", word: "Upstream offline", small: "1,284 waiting, 2 h 06" });
  const [worst] = conditions(s);
  assert.equal(worst.what, "Upstream is offline, since 11:08.");
  assert.match(worst.advice, /^Nothing is lost: 1,284 events are stored here/);
});

test("a scanner that the test sheet found fault with is named with the setting to change, and is not called broken", () => {
  const s = scene([source("door-3", "scanner", "up", { advice: "Test sheet: no AIM id. Switch on AIM ids." }), source("gps0", "gps", "up")]);
  const found = conditions(s).filter((one) => one.key.startsWith("source:"));
  assert.deepEqual(found.map((one) => [one.shape, one.what, one.advice]), [["warn", "Scanner door-3 needs another setting.", "Test sheet: no AIM id. Switch on AIM ids."]]);
});

test("a lost link turns every chip into a question and leaves one alarm", () => {
  const s = scene([source("gps0", "gps", "absent"), { k: "disk", v: { used_pct: 99 } }], {
    scene: { fresh: false, link: { state: "lost", why: "error", lastByte: 0, nextTry: 112_000 }, now: 108_000 },
  });
  assert.ok(chips(s).every((one) => one.shape === "stale"));
  const all = conditions(s);
  assert.equal(all.length, 1);
  assert.equal(all[0].what, "This screen lost the gateway 1 min ago.");
  assert.equal(all[0].advice, "What you see is from 13:14:08. Trying again in 4 s.");
});

test("a disk without room says that it is full, one that cannot be written says that", () => {
  const of = (/** @type {object} */ v) => chip(scene([{ k: "disk", v }]), "disk");
  assert.deepEqual([of({ used_pct: 97, intake: "refused", writable: false }).word, of({ used_pct: 97, intake: "refused" }).shape], ["Disk full", "fail"]);
  assert.equal(of({ used_pct: 12, intake: "open", writable: false }).word, "Disk not writable");
  assert.deepEqual([of({ used_pct: 12, intake: "open", writable: true }).word, of({ used_pct: 12 }).shape], ["Disk 12 %", "ok"]);
});

test("freshness ends twelve seconds after the last byte whatever the state says", () => {
  assert.ok(isFresh({ state: "live", why: "", lastByte: 0, nextTry: null }, 11_999));
  assert.ok(!isFresh({ state: "live", why: "", lastByte: 0, nextTry: null }, 12_000));
  assert.ok(!isFresh({ state: "lost", why: "error", lastByte: 0, nextTry: null }, 1));
  assert.ok(!isFresh({ state: "connecting", why: "", lastByte: null, nextTry: null }, 1));
});

test("a scanner that nobody uses is well, one that is unplugged is not", () => {
  const s = scene([source("a", "scanner", "silent"), source("b", "scanner", "up")]);
  assert.deepEqual([chip(s, "scanners").shape, chip(s, "scanners").word], ["ok", "Scanners 2 of 2"]);
  const bad = scene([source("a", "scanner", "absent", { since_ms: T - 180_000 }), source("b", "scanner", "up")]);
  assert.deepEqual(chip(bad, "scanners"), { id: "scanners", shape: "fail", word: "Scanners 1 of 2", small: "a unplugged 3 min" });
});

test("events that are known to be lost are history: no chip, no alarm, nothing red", () => {
  const s = scene([{ k: "ledger", v: { balance: 0, sources: { gps0: { frames: 827, stored: 827 } }, events: { lost: 34 } } }]);
  assert.deepEqual([chip(s, "ledger"), missing(s), conditions(s).length], [undefined, 0, 0]);
});

test("an upstream that was never reached since the start is not called away since some time", () => {
  const up = { configured: true, state: "waiting", ever_connected: false, since_ms: T - 120_000, unsent: { scan: 2, fix: 0 } };
  const s = scene([{ k: "uplink", v: up }]);
  assert.equal(conditions(s)[0].what, "Upstream is not connected yet, since the start.");
  assert.equal(chip(s, "upstream").word, "Upstream not connected yet");
  assert.equal(conditions(scene([{ k: "uplink", v: { ...up, ever_connected: true } }]))[0].what, "Upstream is offline, since 13:12.");
});

test("a place that the plan does not have is said to be none of it, and is no dock", () => {
  const plan = planOf({ plan: { features: [{ type: "Feature", properties: { id: "dock-3", kind: "dock" }, geometry: { type: "Polygon", coordinates: [[[11, 59], [11.1, 59], [11.1, 59.1], [11, 59]]] } }] } });
  const said = (/** @type {string} */ place, /** @type {any} */ on) => deed({ asset: "TRL-7", ts_ms: T, place, since_ms: T - 300_000 }, { ...scene(), plan: on });
  assert.deepEqual([said("door-3", plan).shape, said("door-3", plan).phrase], ["park", "There for 5 min, not on the plan"]);
  assert.deepEqual([said("dock-3", plan).shape, said("dock-3", plan).phrase], ["dock", "There for 5 min"]);
  assert.equal(said("door-3", NO_PLAN).phrase, "There for 5 min", "without a plan there is nothing to be on");
});

test("a balanced ledger needs no chip, an unbalanced one says how many are missing", () => {
  const l = (balance) => scene([{ k: "ledger", v: { balance, sources: { gps0: { frames: 100 } } } }]);
  assert.equal(chip(l(0), "ledger"), undefined);
  assert.deepEqual([chip(l(3), "ledger").shape, chip(l(3), "ledger").word], ["fail", "3 missing"]);
  assert.equal(conditions(l(3))[0].what, "The ledger is off by 3.");
});

test("what the gateway calls an alarm is not told a second time by the page", () => {
  const s = scene([source("gps0", "gps", "absent"), { k: "alarm", v: { name: "source_absent.gps0", severity: "fault", since_ms: T - 60_000, text: "GPS gps0 is unplugged", advice: "Plug it in" } }]);
  assert.deepEqual(conditions(s).map((one) => one.what), ["GPS gps0 is unplugged, since 13:13."]);
});

test("the worst condition comes first and the oldest of equals before the newer", () => {
  const alarm = (name, severity, since_ms) => ({ k: "alarm", v: { name, severity, since_ms, text: name } });
  const s = scene([alarm("w", "warn", 1), alarm("f2", "fault", 20), alarm("f1", "fault", 10), alarm("i", "info", 0)]);
  assert.deepEqual(conditions(s).map((one) => one.key), ["alarm:f1", "alarm:f2", "alarm:w", "alarm:i"]);
});

test("a clock that nothing vouches for is said once, a good one not at all", () => {
  assert.equal(chip(scene([{ k: "clock", v: { tq: "gnss" } }]), "clock"), undefined);
  assert.equal(chip(scene([{ k: "clock", v: { tq: "none" } }]), "clock").word, "Clock ±?");
});

test("an asset whose receiver is gone is last known, one that was scanned stays true", () => {
  const s = scene([source("gps0", "gps", "absent")]);
  assert.equal(deed({ asset: "T", ts_ms: T, lat: 1, lon: 1, speed_mps: 3, source: "gps0" }, s).shape, "stale");
  assert.equal(deed({ asset: "B", ts_ms: T, place: "dock-3", source: "door" }, s).shape, "dock");
});

test("a row keeps its group when the screen loses the gateway", () => {
  const asset = { asset: "T", ts_ms: T, lat: 1, lon: 1, speed_mps: 3 };
  assert.equal(deed(asset, scene()).group, deed(asset, scene([], { scene: { fresh: false } })).group);
});

test("the newest position follows the asset also when its later fixes were thinned", () => {
  const fix = { id: "f", seq: 1, kind: "fix", ts_ms: T - 9000, tq: "gnss", asset: "TRK", lat: 1, lon: 1 };
  const s = scene([], { snap: { fix, assets: [{ asset: "TRK", ts_ms: T, lat: 2, lon: 2 }, { asset: "X", ts_ms: T + 5, lat: 3, lon: 3 }] } });
  assert.equal(newest(s).asset.lat, 2);
  assert.equal(newest({ ...s, selected: "X" }).asset.lat, 3);
  assert.equal(newest({ ...s, selected: "gone" }).asset.lat, 2);
});

test("a verdict says repeats and bad labels in shape and word", () => {
  const scan = { id: "a", seq: 1, kind: "scan", ts_ms: 1, tq: "gnss" };
  assert.deepEqual(verdict(scan), { shape: "ok", word: "Accepted", more: "" });
  assert.deepEqual(verdict({ ...scan, repeats: 2 }), { shape: "dup", word: "Accepted once", more: "read 3 times" });
  assert.deepEqual(verdict({ ...scan, late: true }), { shape: "wait", word: "Late", more: "place not changed" });
  assert.equal(verdict({ ...scan, warn: ["trimmed", "sscc_bad_check"] }).shape, "warn");
  assert.deepEqual(verdict({ ...scan, warn: ["trimmed"] }), { shape: "ok", word: "Accepted", more: "spaces left out" });
  assert.deepEqual(verdict({ ...scan, warn: ["no_symbology_id"] }), { shape: "ok", word: "Accepted", more: "the scanner did not say what kind of code it is" });
  assert.deepEqual(verdict({ ...scan, warn: ["of_tomorrow"] }), { shape: "ok", word: "Accepted", more: "of tomorrow" });
  const loss = readFileSync(new URL("../../src/domain/loss.rs", import.meta.url), "utf8").split("warns! {").at(-1) ?? "";
  const codes = [...loss.split("\n}")[0].matchAll(/, "([a-z0-9_]+)", "/g)].map(([, code]) => code);
  assert.equal(codes.length, 11);
  for (const code of codes) assert.ok(!verdict({ ...scan, warn: [code] }).more.includes(code.replace(/_/g, " ")), code);
});

test("a gateway that restarted says so for a minute", () => {
  const s = scene();
  s.state.restart = { at: T, gap: 12_000 };
  assert.match(conditions(s)[0].what, /^The gateway restarted at 13:14:08/);
  assert.equal(conditions({ ...s, shown: T + 60_000 }).length, 0);
});

test("what stands at a dock for too long comes before everything that moves, and only where the plan says how long", () => {
  const square = [[11, 59], [11.1, 59], [11.1, 59.1], [11, 59]];
  const zones = { plan: { features: [{ properties: { id: "dock-6", name: "Dock 6", kind: "dock" }, geometry: { type: "Polygon", coordinates: [square] } }] } };
  const asset = { asset: "TRL", ts_ms: T, place: "dock-6", since_ms: T - 5 * 3600e3 };
  const with_ = (/** @type {object} */ more) => deed(asset, { ...scene(), plan: planOf({ ...zones, ...more }) });
  assert.deepEqual(with_({ overstay_min: 240 }), { shape: "warn", phrase: "Too long: 5 h 00", group: 0 });
  assert.equal(with_({}).shape, "dock");
});

test("while upstream is away the first words are that nothing is lost and for how long there is room, also when the gateway raised the alarm", () => {
  const s = scene([
    { k: "uplink", v: { configured: true, state: "waiting", unsent: { scan: 4, fix: 0 }, oldest_unsent_s: 60 } }, { k: "disk", v: { used_pct: 3, autonomy_s: 19 * 86400 } },
    { k: "alarm", v: { name: "uplink_down", severity: "warn", since_ms: T, text: "The platform has not been reached for 10 minutes", advice: "Check the line." } },
  ]);
  assert.equal(conditions(s)[0].advice, "Nothing is lost: 4 events are stored here and will be sent in order. Room for 19 days more. Keep scanning. Check the line.");
});

test("a part that was restarted stands in the strip until the gateway says that it is over, red from the third time on", () => {
  const of = (/** @type {number} */ restarts) => chip(scene([{ k: "worker", v: { worker: "source:gps0", state: "fresh", restarts } }, { k: "alarm", v: { name: "worker_restarts", severity: "warn", text: "x", since_ms: T } }]), "worker");
  assert.deepEqual([of(1).shape, of(1).small, of(3).shape], ["warn", "source:gps0 ×1", "fail"]);
  assert.equal(chip(scene([{ k: "worker", v: { worker: "uplink", state: "fresh", restarts: 5 } }]), "worker"), undefined);
});

test("a fix is called good in words, for no receiver says metres here", () => {
  const of = (/** @type {number} */ hdop) => chip(scene([source("gps0", "gps", "up")], { snap: { fix: { id: "f", seq: 1, kind: "fix", ts_ms: T, tq: "gnss", mode: "3d", satellites: 9, hdop } } }), "gps");
  assert.deepEqual([of(0.9).word, of(0.9).small], ["GPS 3D", "9 satellites, sharp"]);
  assert.deepEqual([of(9).word, of(9).shape, of(9).small], ["GPS weak", "warn", "9 satellites, weak"]);
});
