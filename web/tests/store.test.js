import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_ASSETS, MAX_SCANS, Store } from "../store.js";

const put = (k, v) => ({ k, op: "put", v });
const scan = (seq, more = {}) => ({ id: `s${seq}`, seq, kind: "scan", ts_ms: seq * 1000, tq: "gnss", code: `C${seq}`, ...more });
const fix = (seq, ts_ms, more = {}) => ({ id: `f${seq}`, seq, kind: "fix", ts_ms, tq: "gnss", asset: "TRK-07", lat: 59, lon: 11, ...more });
const snap = (more = {}) => ({ cursor: "a.1", t: 1_000_000, node: "wp-07", name: "Halden", tz: "Europe/Oslo", boot: 17, assets: [], scans: [], fix: null, states: [], ...more });

function filled() {
  const store = new Store();
  store.snapshot(snap({ scans: [scan(5), scan(3)], assets: [{ asset: "A", ts_ms: 1 }], states: [{ k: "source", v: { id: "gps0", kind: "gps", state: "up", age_ms: 200 } }] }), 0);
  return store;
}

test("a snapshot replaces everything, also what it does not name", () => {
  const store = filled();
  store.snapshot(snap({ assets: [{ asset: "B", ts_ms: 1 }] }), 0);
  assert.deepEqual([...store.state.assets.keys()], ["B"]);
  assert.equal(store.state.scans.length, 0);
  assert.equal(store.state.sources.size, 0);
});

test("an item applied twice changes nothing the second time", () => {
  const store = filled();
  const items = [put("event", scan(6)), put("asset", { asset: "A", ts_ms: 9 })];
  store.delta({ t: 1, items }, 0);
  const once = JSON.stringify([store.state.scans, [...store.state.assets]]);
  store.delta({ t: 1, items }, 0);
  assert.equal(JSON.stringify([store.state.scans, [...store.state.assets]]), once);
});

test("scans stand newest first, also when one comes late in the stream", () => {
  const store = filled();
  store.delta({ t: 1, items: [put("event", scan(9)), put("event", scan(4))] }, 0);
  assert.deepEqual(store.state.scans.map((one) => one.seq), [9, 5, 4, 3]);
});

test("the feed and the register are bounded whatever is sent", () => {
  const store = new Store();
  store.delta({ t: 1, items: Array.from({ length: 400 }, (_, n) => put("event", scan(n + 1))) }, 0);
  store.delta({ t: 1, items: Array.from({ length: MAX_ASSETS + 20 }, (_, n) => put("asset", { asset: `A${n}`, ts_ms: n })) }, 0);
  assert.equal(store.state.scans.length, MAX_SCANS);
  assert.equal(store.state.scans[0].seq, 400);
  assert.equal(store.state.assets.size, MAX_ASSETS);
  assert.equal(store.state.more, 20);
  assert.ok(!store.state.assets.has("A0"), "the one that was seen longest ago made room");
});

test("a late fix never moves the newest position back", () => {
  const store = new Store();
  store.delta({ t: 1, items: [put("event", fix(1, 5000)), put("event", fix(2, 4000))] }, 0);
  assert.equal(store.state.fix.id, "f1");
});

test("a fix from the future is shown as doubtful and does not hold the position", () => {
  const store = new Store();
  store.delta({ t: 1, items: [put("event", fix(1, 9e12, { doubt: ["future"] })), put("event", fix(2, 5000))] }, 0);
  assert.equal(store.state.fix.id, "f2");
  assert.equal(store.state.doubtful.id, "f1");
});

test("an alarm leaves when it is over", () => {
  const store = filled();
  store.delta({ t: 1, items: [put("alarm", { name: "x", severity: "warn", text: "t" })] }, 0);
  assert.equal(store.state.alarms.size, 1);
  store.delta({ t: 1, items: [{ k: "alarm", op: "del", v: { name: "x" } }] }, 0);
  assert.equal(store.state.alarms.size, 0);
});

test("another boot is a restart with the time nothing was heard", () => {
  const store = filled();
  store.hello({ t: 1_012_000, boot: 18 }, 0);
  assert.deepEqual(store.state.restart, { at: 1_012_000, gap: 12_000 });
});

test("the first boot that is heard of is no restart", () => {
  const store = filled();
  store.hello({ t: 1_012_000, boot: 17 }, 0);
  assert.equal(store.state.restart, null);
});

test("gateway time goes on by this device's monotonic clock", () => {
  const store = filled();
  assert.equal(store.wall(0), 1_000_000);
  assert.equal(store.wall(4000), 1_004_000);
});

test("kinds and values that are not known are passed over", () => {
  const store = filled();
  const kinds = store.delta({ t: 1, items: [put("zones", {}), put("worker", {}), put("event", { kind: "scan" }), put("asset", null), put("event", { id: "p", seq: 9, kind: "place" })] }, 0);
  assert.deepEqual([...kinds], [""]);
  assert.equal(store.state.scans.length, 2);
  assert.doesNotThrow(() => store.delta({ t: 1 }, 0));
});

test("a scan whose place is told late is late, and only that one", () => {
  const store = filled();
  const kinds = store.delta({ t: 1, items: [put("event", { id: "p9", seq: 9, kind: "place", ts_ms: 1, tq: "gnss", late: true, because: "s3" })] }, 1);
  assert.deepEqual([store.state.scans.map((one) => one.late ?? false), [...kinds]], [[false, true], ["scan"]]);
  store.delta({ t: 1, items: [put("event", { id: "p10", seq: 10, kind: "place", ts_ms: 1, tq: "gnss", because: "s5" })] }, 1);
  assert.equal(store.state.scans[0].late, undefined);
});
