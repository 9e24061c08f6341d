import assert from "node:assert/strict";
import { test } from "node:test";
import { DEAD_MS, HELLO_MS, HIDDEN_MS, Link, POLL_MS, POLL_TURNS, STALE_MS } from "../stream.js";
import { world } from "./world.js";

/** A link in a browser with its own clock. */
function linked() {
  const w = world(0, (url) => { w.gets.push(url); return w.answer ? Promise.resolve(w.answer) : Promise.reject(new Error("no route")); });
  Object.assign(w, { gets: [], seen: [], answer: { status: 200, body: { cursor: "e.1", t: 0, page: "p1" } } });
  Object.defineProperty(w, "state", { get: () => w.link.view.state });
  const note = (name) => (said) => w.seen.push([name, said]);
  w.link = new Link(w.ground, {
    snapshot: note("snapshot"), hello: note("hello"), delta: note("delta"), beat: note("beat"), page: note("page"), changed() {},
  });
  return w;
}

async function live() {
  const w = linked();
  w.link.start();
  await w.go(0);
  w.wire.say("hello", { t: 1, page: "p1" });
  return w;
}

test("it fetches the snapshot and then follows the stream from its cursor", async () => {
  const w = await live();
  assert.deepEqual(w.gets, ["/api/v1/snapshot"]);
  assert.equal(w.wire.url, "/api/v1/stream?after=e.1");
  assert.equal(w.state, "live");
});

test("twelve seconds without a byte are stale, and a heartbeat brings it back", async () => {
  const w = await live();
  await w.go(STALE_MS - 1);
  assert.equal(w.state, "live");
  await w.go(1001);
  assert.equal(w.state, "stale");
  w.wire.say("hb", { t: 2 });
  assert.equal(w.state, "live");
});

test("a half-open connection is given up after thirty seconds and tried again", async () => {
  const w = await live();
  await w.go(DEAD_MS + 1000);
  assert.equal(w.state, "lost");
  await w.go(2000);
  assert.equal(w.wires.length, 2);
  assert.equal(w.open().length, 1);
});

test("it resumes behind the last event that it took, without a new snapshot", async () => {
  const w = await live();
  w.wire.say("delta", { t: 2, items: [] }, "e.42");
  w.wire.say("delta", { t: 3, items: [] });
  w.wire.fail();
  await w.go(1000);
  assert.equal(w.wire.url, "/api/v1/stream?after=e.42");
  assert.equal(w.gets.length, 1);
});

test("one hiccup is not a loss, the second failure in a row is", async () => {
  const w = await live();
  w.wire.fail();
  assert.equal(w.state, "connecting");
  await w.go(600);
  w.wire.fail();
  assert.equal(w.state, "lost");
});

test("it tries for ever, ever more slowly, and never more often than its cap", async () => {
  const w = await live();
  w.answer = null;
  const gaps = [];
  for (let n = 0; n < 12; n += 1) {
    w.wire.fail();
    gaps.push(w.link.view.nextTry - w.now);
    await w.go(gaps[n]);
  }
  assert.deepEqual(gaps.slice(0, 6), [500, 1000, 2000, 4000, 8000, 15000]);
  assert.equal(gaps[11], 15000);
  assert.equal(w.open().length, 1);
});

test("a hello alone does not end the backoff, so a stream that resets at once is not hammered", async () => {
  const w = await live();
  for (let n = 0; n < 4; n += 1) {
    w.wire.say("reset", { reason: "too_old" });
    await w.go(w.link.view.nextTry - w.now);
    w.wire.say("hello", { t: 1 });
  }
  w.wire.say("reset", { reason: "too_old" });
  assert.equal(w.link.view.nextTry - w.now, 8000);
});

test("a reset fetches the snapshot anew and follows from its cursor", async () => {
  const w = await live();
  w.answer = { status: 200, body: { cursor: "f.7", t: 5 } };
  w.wire.say("reset", { reason: "epoch" });
  await w.go(1000);
  assert.equal(w.gets.length, 2);
  assert.equal(w.wire.url, "/api/v1/stream?after=f.7");
});

test("a batch that cannot be read is no reason to stop: it begins again from a snapshot", async () => {
  const w = await live();
  w.wire.say("delta", "{half", "e.9");
  await w.go(1000);
  assert.equal(w.gets.length, 2);
  assert.equal(w.open().length, 1);
});

test("a kind bye is obeyed: it comes back no earlier than it was told", async () => {
  const w = await live();
  w.wire.say("bye", { reason: "shutdown", retry_ms: 4000 });
  assert.equal(w.link.view.nextTry - w.now, 4000);
});

test("a gateway that has no room for another screen is polled, and asked for a stream once a minute", async () => {
  const w = await live();
  w.wire.say("bye", { reason: "full", retry_ms: 5000 });
  await w.go(0);
  assert.equal(w.state, "poll");
  assert.equal(w.link.view.why, "full");
  const streams = w.wires.length;
  await w.go(POLL_MS * 3);
  assert.equal(w.gets.length, 5);
  assert.equal(w.wires.length, streams);
  await w.go(POLL_MS * (POLL_TURNS - 4));
  assert.equal(w.wires.length, streams + 1);
  w.wire.say("hello", { t: 9 });
  assert.equal(w.state, "live");
});

test("a proxy that holds the stream back twice makes it poll and say so", async () => {
  const w = linked();
  w.link.start();
  await w.go(HELLO_MS * 2 + 2000);
  assert.equal(w.state, "poll");
  assert.equal(w.link.view.why, "slow");
});

test("a gateway that wants a PIN is lost with that reason", async () => {
  const w = linked();
  w.answer = { status: 401, body: null };
  w.link.start();
  await w.go(0);
  assert.deepEqual([w.state, w.link.view.why], ["lost", "pin"]);
});

test("a page out of sight gives its stream back after a minute and resumes by cursor", async () => {
  const w = await live();
  w.link.hidden();
  const beat = async (ms) => {
    for (let at = 0; at < ms; at += 5000) {
      await w.go(5000);
      if (!w.wire.closed) w.wire.say("hb", { t: at });
    }
  };
  await beat(HIDDEN_MS);
  assert.equal(w.state, "paused");
  assert.equal(w.open().length, 0);
  w.link.visible();
  await w.go(0);
  assert.equal(w.state, "connecting");
  assert.equal(w.open().length, 1);
});

test("a page that comes back before the minute keeps its stream", async () => {
  const w = await live();
  w.link.hidden();
  await w.go(5000);
  w.link.visible();
  await w.go(2000);
  assert.equal(w.wires.length, 1);
  assert.equal(w.state, "live");
});

test("somebody who asks is served at once, whatever the backoff says", async () => {
  const w = await live();
  for (let n = 0; n < 6; n += 1) {
    w.wire.fail();
    await w.go(n < 5 ? w.link.view.nextTry - w.now : 0);
  }
  const before = w.wires.length;
  w.link.kick();
  assert.equal(w.wires.length, before + 1);
});

test("what an older attempt still says is not heard", async () => {
  const w = await live();
  const old = w.wire;
  old.fail();
  await w.go(1000);
  const count = w.seen.length;
  old.say("delta", { t: 9, items: [] }, "e.999");
  assert.equal(w.seen.length, count);
  assert.equal(w.link.cursor, "e.1");
});

test("another page hash is told, from the snapshot and from the hello", async () => {
  const w = await live();
  assert.deepEqual(w.seen.filter(([name]) => name === "page").map(([, hash]) => hash), ["p1", "p1"]);
});

test("what waited on the line while the device slept makes nothing live: it is asked for anew, from the same cursor", async () => {
  const w = await live();
  w.wire.say("delta", { t: 2, items: [] }, "e.2");
  const [wire, states] = [w.wire, []];
  w.link.listener.changed = () => states.push(w.state);
  // Ten minutes pass in which no timer fires.
  w.now += 600_000;
  wire.say("hb", { t: 3 });
  wire.say("delta", { t: 3, items: [{}] }, "e.3");
  assert.deepEqual(states, ["stale", "lost"]);
  assert.equal(w.seen.filter(([name]) => name === "delta").length, 1, "only what came before");
  await w.go(1000);
  assert.match(w.wire.url, /after=e\.2$/);
  w.wire.say("hello", { t: 4 });
  assert.equal(w.state, "live");
});

test("a page that comes back is live when it has all that was stored meanwhile, not before", async () => {
  const w = await live();
  w.wire.say("delta", { t: 2, items: [] }, "e.2");
  w.link.hidden();
  for (let n = 0; n < 12; n += 1) {
    w.wire.say("hb", { t: 3 });
    await w.go(5000);
  }
  assert.equal(w.state, "paused");
  await w.go(600_000);
  w.link.visible();
  w.wire.say("hello", { t: 9, head: "e.4" });
  w.wire.say("delta", { t: 9, items: [] });
  assert.equal(w.state, "connecting");
  assert.ok(w.link.silence() >= 600_000, "what comes of the past is no word of the present");
  w.wire.say("delta", { t: 9, items: [] }, "e.3");
  assert.equal(w.state, "connecting");
  w.wire.say("delta", { t: 9, items: [] }, "e.4");
  assert.equal(w.state, "live");
  assert.equal(w.link.silence(), 0);
});

test("a goal that no event reaches is given up after a beat without one", async () => {
  const w = linked();
  w.link.start();
  await w.go(0);
  w.wire.say("hello", { t: 1, head: "e.9" });
  w.wire.say("hb", { t: 1 });
  assert.equal(w.state, "connecting");
  w.wire.say("hb", { t: 2 });
  assert.equal(w.state, "live");
});
