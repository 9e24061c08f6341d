import assert from "node:assert/strict";
import { test } from "node:test";
import { ANSWER_MS, Far, GONE_MS, wakeful } from "../far.js";
import { Hub, SILENT_MS } from "../hub.js";
import { HIDDEN_MS } from "../stream.js";
import { settle, world } from "./world.js";

/** A browser with its own clock, a gateway, and tabs whose messages arrive at once. */
function tabbed() {
  const w = world(1000, async () => {
    w.gets += 1;
    const body = { cursor: `e.${w.cursor}`, t: w.now, page: "p" };
    if (w.hold) await w.hold;
    return { status: 200, body };
  });
  Object.assign(w, { gets: 0, cursor: 10, hold: null });
  w.hub = new Hub(w.ground);
  /** A tab: what it heard, in order. */
  w.tab = () => {
    const said = [];
    const listener = Object.fromEntries(["snapshot", "hello", "delta", "beat", "changed", "page"].map((k) => [k, (v) => said.push([k, v])]));
    const here = { onmessage: null, postMessage: (message) => there.onmessage?.({ data: message }) };
    const there = { onmessage: null, postMessage: (message) => here.onmessage?.({ data: structuredClone(message) }) };
    w.hub.join(there);
    const near = { view: { state: "live" }, started: 0, start() { near.started += 1; }, kick() {}, hidden() {}, visible() {} };
    const far = new Far(() => here, async () => near, listener, { now: () => w.now, later: w.ground.later });
    return { far, said, near, here, kinds: () => said.map(([k]) => k).filter((k) => k !== "changed" && k !== "page") };
  };
  return w;
}

test("eight tabs share one connection, and each of them has the state", async () => {
  const w = tabbed();
  const tabs = Array.from({ length: 8 }, () => w.tab());
  for (const tab of tabs) tab.far.start();
  await settle();
  w.open()[0].say("hello", { t: 1 });
  w.open()[0].say("delta", { t: 2, items: [] }, "e.11");
  assert.equal(w.wires.length, 1);
  for (const tab of tabs) assert.deepEqual(tab.kinds(), ["snapshot", "hello", "delta"]);
  assert.equal(tabs[7].far.view.state, "live");
});

test("a tab that comes later gets a snapshot of its own and loses nothing that came meanwhile", async () => {
  const w = tabbed();
  const first = w.tab();
  first.far.start();
  await settle();
  w.open()[0].say("hello", { t: 1 });
  let let_go = () => {};
  w.hold = new Promise((done) => { let_go = () => done(undefined); });
  const late = w.tab();
  late.far.start();
  await settle();
  w.open()[0].say("delta", { t: 2, n: 11 }, "e.11");
  assert.deepEqual(late.kinds(), [], "nothing before its snapshot");
  assert.notEqual(late.far.view.state, "live", "and it is not called live before that");
  let_go();
  await settle();
  assert.deepEqual(late.kinds(), ["snapshot", "delta"]);
  assert.equal(late.far.view.state, "live");
  assert.deepEqual(first.kinds(), ["snapshot", "hello", "delta"]);
  assert.equal(w.wires.length, 1);
});

test("a tab that slept until it was taken for gone shows last known until its snapshot is here", async () => {
  const w = tabbed();
  const [awake, asleep] = [w.tab(), w.tab()];
  awake.far.start();
  asleep.far.start();
  await settle();
  w.open()[0].say("hello", { t: 1 });
  // It is frozen: its timers do not run and it hears nothing.
  asleep.far.watch = () => {};
  const ears = asleep.here.onmessage;
  asleep.here.onmessage = null;
  w.timers = w.timers.filter((one) => !String(one.run).includes("HERE_MS") && !String(one.run).includes("this.near"));
  for (let n = 0; n < 20; n += 1) {
    w.open()[0].say("hb", { t: n });
    awake.here.postMessage({ k: "here" });
    await w.go(SILENT_MS / 18);
  }
  assert.equal(w.hub.tabs.size, 1);
  asleep.here.onmessage = ears;
  const lastByte = asleep.far.view.lastByte;
  let let_go = () => {};
  w.hold = new Promise((done) => { let_go = () => done(undefined); });
  asleep.far.visible();
  await settle();
  assert.equal(asleep.far.view.lastByte, lastByte, "no flash of green");
  let_go();
  await settle();
  assert.equal(asleep.kinds().at(-1), "snapshot");
  assert.ok(w.now - asleep.far.view.lastByte < 12_000);
});

test("when no tab is in sight for a minute the connection is given back, and is there again with the first that is", async () => {
  const w = tabbed();
  const [a, b] = [w.tab(), w.tab()];
  a.far.start();
  b.far.start();
  await settle();
  w.open()[0].say("hello", { t: 1 });
  a.far.hidden();
  const minute = async () => {
    for (let ms = 0; ms < HIDDEN_MS + 5000; ms += 5000) {
      w.open()[0]?.say("hb", { t: ms });
      await w.go(5000);
    }
  };
  await minute();
  assert.equal(w.open().length, 1, "one is still in sight");
  b.far.hidden();
  await minute();
  assert.equal(w.open().length, 0);
  a.far.visible();
  await settle();
  assert.equal(w.open().length, 1);
});

test("a page whose worker never answers, or answers no more, goes on by itself", async () => {
  const w = tabbed();
  const mute = w.tab();
  mute.far.open = () => ({ onmessage: null, postMessage() {} });
  mute.far.start();
  await w.go(ANSWER_MS + 1);
  assert.equal(mute.near.started, 1);
  const dead = w.tab();
  dead.far.start();
  await settle();
  assert.equal(dead.near.started, 0);
  dead.here.postMessage = () => {};
  w.hub.tabs.clear();
  await w.go(2 * GONE_MS + 1);
  assert.equal(dead.near.started, 1);
});

test("a browser without such workers has a connection a page", async () => {
  const w = tabbed();
  const tab = w.tab();
  tab.far.open = () => { throw new Error("forbidden"); };
  tab.far.start();
  await settle();
  assert.equal(tab.near.started, 1);
});

test("a page that cannot load what it needs to go on by itself tries again until it can", async () => {
  const w = tabbed();
  const tab = w.tab();
  let tries = 0;
  tab.far.open = () => null;
  tab.far.make = async () => {
    tries += 1;
    if (tries < 3) throw new TypeError("Failed to fetch");
    return tab.near;
  };
  tab.far.start();
  await w.go(3 * ANSWER_MS);
  assert.deepEqual([tries, tab.near.started], [3, 1]);
});

test("a clock that stands still while the device sleeps is put right by the wall clock, and by nothing smaller than a sleep", () => {
  let [steady, wall] = [1000, 1_700_000_000_000];
  const now = wakeful(() => steady, () => wall);
  const pass = (ms, more = 0) => { steady += ms; wall += ms + more; return now(); };
  assert.equal(pass(1000), 2000);
  assert.equal(pass(1000, 600_000), 603_000, "ten minutes of sleep");
  assert.equal(pass(1000), 604_000);
  assert.equal(pass(1000, 400), 605_000, "a clock that is put right by little");
  assert.equal(pass(1000, -3_600_000), 606_000, "nothing runs back");
  assert.equal(pass(1000), 607_000);
});
