// The link between page and gateway as a person meets it: many tabs, too many screens, a tab that slept, a new page, a stream
// that says nothing. Time passes by the page's clock, which a test moves on, not by waiting.

import assert from "node:assert/strict";
import { get } from "node:http";
import { after, test } from "node:test";
import { close, device, Line, says, text, times, until, yard } from "./rig.mjs";

after(close);

const MINUTE = 60_000;

/** Streams that programs hold open. @param {import("node:test").TestContext} t */
async function hold(t, gateway, n) {
  const held = await Promise.all(Array.from({ length: n }, () => new Promise((done, fail) => {
    const asked = get({ host: "127.0.0.1", port: gateway.port, path: "/api/v1/stream", agent: false }, (answer) => {
      answer.once("data", () => done(asked));
      answer.on("error", () => null);
    });
    asked.on("error", fail);
  })));
  const end = () => held.forEach((asked) => {
    asked.on("error", () => null);
    asked.destroy();
  });
  t.after(end);
  return end;
}

test("with 32 screens open the 33rd is told so, asks every few seconds, and goes live when there is room", async (t) => {
  const { gateway, scanner } = await yard(t);
  const end = await hold(t, gateway, 32);
  await until("32 streams", async () => (await gateway.metric("waypost_streams")) === 32);
  const context = await device(t);
  const page = await context.newPage();
  await page.clock.install();
  await page.goto(`${gateway.url}/?view=live&alone=1`);
  await says(page, "#alarm", "This gateway already serves all the screens it may.", "asks every 5 s");
  await says(page, "#truth", "Every 5 s");
  await scanner.scan("TRL-33");
  await until("the scan, by asking", async () => {
    await page.clock.runFor(5_000);
    return (await text(page, "#assets")).includes("TRL-33");
  });
  end();
  await until("no stream is open", async () => (await gateway.metric("waypost_streams")) === 0);
  await until("a stream of its own", async () => {
    await page.clock.runFor(5_000);
    return (await gateway.metric("waypost_streams")) === 1 && (await text(page, "#truth")).includes("Live");
  });
  assert.equal(await page.locator("#alarm:not([hidden])", { hasText: "serves all the screens" }).count(), 0);
});

test("eight tabs of a browser share one connection, and each of them shows a scan once", async (t) => {
  const { gateway, scanner } = await yard(t);
  const context = await device(t);
  const tabs = [];
  for (let n = 0; n < 8; n += 1) {
    const page = await context.newPage();
    await page.goto(`${gateway.url}/scans`);
    tabs.push(page);
  }
  for (const page of tabs) await says(page, "#truth", "Live");
  await scanner.scan("TRL-8");
  for (const page of tabs) {
    await says(page, "#scans", "TRL-8");
    assert.equal(await times(page, "#scans", "TRL-8"), 1);
  }
  assert.equal(await gateway.metric("waypost_streams"), 1);
  // Any of them may close: the others go on.
  await tabs[0].close();
  await scanner.scan("TRL-9");
  for (const page of tabs.slice(1)) await says(page, "#scans", "TRL-9");
  assert.equal(await gateway.metric("waypost_streams"), 1);
});

/** Puts the page out of sight or into it, as a browser does that is laid aside. */
const seen = (page, yes) => page.evaluate((yes) => {
  Object.defineProperty(document, "hidden", { value: !yes, configurable: true });
  Object.defineProperty(document, "visibilityState", { value: yes ? "visible" : "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}, yes);

/** Notes each state of a page in which one of the codes stands in the feed, with whether it was marked as last known. */
const record = (page, codes) => page.evaluate((codes) => {
  window.states = [];
  const note = () => {
    const feed = document.getElementById("scans")?.textContent ?? "";
    const state = `${document.documentElement.classList.contains("gone") ? "last known" : "live"}: ${codes.filter((one) => feed.includes(one)).join(" ")}`;
    if (window.states[window.states.length - 1] !== state) window.states.push(state);
  };
  new MutationObserver(note).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
}, codes);

/** A page on the scans with a clock that the test moves on, behind a line that can stand still. */
async function sleeper(t) {
  const { gateway, scanner } = await yard(t);
  const line = await new Line().open(t, gateway);
  await scanner.scan("BEFORE-1");
  const page = await (await device(t)).newPage();
  await page.clock.install();
  await page.goto(`${line.url}/scans?alone=1`);
  await says(page, "#scans", "BEFORE-1");
  await page.clock.runFor(2000);
  await says(page, "#truth", "Live");
  const stored = async () => {
    await scanner.scan("ASLEEP-1");
    await until("it is stored", async () => (await gateway.json("/api/v1/events?kind=scan&limit=5")).items.length === 2);
  };
  /** What it showed from its waking on, in order. */
  const woke = async () => {
    await until("what came meanwhile", async () => {
      await page.clock.runFor(500);
      return (await text(page, "#scans")).includes("ASLEEP-1") && !(await page.evaluate(() => document.documentElement.classList.contains("gone")));
    });
    for (const code of ["BEFORE-1", "ASLEEP-1"]) assert.equal(await times(page, "#scans", code), 1, code);
    assert.deepEqual(await page.evaluate(() => window.seen.green), []);
    return page.evaluate(() => window.states);
  };
  return { gateway, line, page, stored, woke };
}

test("a tab that was out of sight for ten minutes shows what it knew as last known before anything else, then what came meanwhile, once", async (t) => {
  const { gateway, page, stored, woke } = await sleeper(t);
  await seen(page, false);
  await page.clock.runFor(10 * MINUTE);
  await until("the stream was given back", async () => (await gateway.metric("waypost_streams")) === 0);
  await stored();
  await record(page, ["BEFORE-1", "ASLEEP-1"]);
  await seen(page, true);
  const states = await woke();
  assert.equal(states[0], "last known: BEFORE-1", JSON.stringify(states));
  assert.equal(states.at(-1), "live: BEFORE-1 ASLEEP-1", JSON.stringify(states));
  assert.equal(states.filter((one) => one === "live: BEFORE-1").length, 0, JSON.stringify(states));
});

for (const [first, wake] of /** @type {const} */ ([
  ["its timers", async (page, line) => {
    await page.clock.fastForward(10 * MINUTE);
    line.go();
  }],
  ["what waited on the line", async (page, line) => {
    await page.evaluate(() => { window.slept = 600_000; });
    line.go();
  }],
])) {
  test(`a device that was stopped for ten minutes and wakes with ${first} calls nothing live that is from before`, async (t) => {
    const { line, page, stored, woke } = await sleeper(t);
    line.stop();
    // Its wall clock went on; its timers did not, nor what it counts ages with, as on Linux and Android.
    await page.evaluate(() => {
      const now = Date.now;
      window.slept = 0;
      Date.now = () => now() + window.slept;
    });
    await stored();
    await record(page, ["BEFORE-1", "ASLEEP-1"]);
    await wake(page, line);
    const states = await woke();
    assert.equal(states[0], "last known: BEFORE-1", JSON.stringify(states));
    assert.equal(states.at(-1), "live: BEFORE-1 ASLEEP-1", JSON.stringify(states));
  });
}

test("a page that is older than its gateway loads the new one by itself, once", async (t) => {
  const { gateway } = await yard(t);
  const context = await device(t);
  const page = await context.newPage();
  let loads = 0;
  await page.route(`${gateway.url}/?view=live`, async (route) => {
    const answer = await route.fetch();
    const body = await answer.text();
    loads += 1;
    // What was loaded before the gateway was made anew.
    await route.fulfill({ response: answer, body: loads === 1 ? body.replace(/data-page="[^"]*"/, 'data-page="older"') : body });
  });
  await page.goto(`${gateway.url}/?view=live`);
  await until("the second load", () => loads === 2);
  await until("the new page", () => page.evaluate(() => document.documentElement.dataset.page !== "older").catch(() => false));
  await says(page, "#truth", "Live");
  assert.equal(loads, 2);
});

test("a gateway that says nothing more is not live after 12 seconds, and a bar says since when", async (t) => {
  const { gateway, scanner } = await yard(t);
  await scanner.scan("TRL-1");
  const page = await (await device(t)).newPage();
  await page.clock.install();
  await page.goto(`${gateway.url}/scans?alone=1`);
  await says(page, "#scans", "TRL-1");
  await says(page, "#truth", "Live");
  gateway.child.kill("SIGSTOP");
  t.after(() => gateway.child.kill("SIGCONT"));
  await page.clock.runFor(11_000);
  assert.equal(await page.evaluate(() => document.documentElement.classList.contains("gone")), false);
  await page.clock.runFor(3_000);
  await says(page, "#alarm", "This screen lost the gateway", "What you see is from");
  assert.equal(await page.evaluate(() => document.documentElement.classList.contains("gone")), true);
  gateway.child.kill("SIGCONT");
  await until("it is live again", async () => {
    await page.clock.runFor(1000);
    return (await text(page, "#truth")).split("\n").includes("Live");
  });
  assert.deepEqual(await page.evaluate(() => window.seen.green), []);
});

test("a page whose worker does not answer has a connection of its own", async (t) => {
  const { gateway, scanner } = await yard(t);
  const context = await device(t);
  await context.addInitScript(() => { window.SharedWorker = /** @type {any} */ (class { port = { postMessage() {}, start() {}, onmessage: null }; }); });
  const page = await context.newPage();
  await page.goto(`${gateway.url}/scans`);
  await scanner.scan("TRL-1");
  await says(page, "#scans", "TRL-1");
  await says(page, "#truth", "Live");
});
