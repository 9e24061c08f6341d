// A page that is left alone in a busy yard: 50 events a second for a minute here, for half an hour in `make soak`
// (WAYPOST_SOAK is in seconds). It must not grow, must not ask, and every stream that is opened must come.

import assert from "node:assert/strict";
import { get } from "node:http";
import { after, test } from "node:test";
import { close, crowd, device, inspect, says, text, until } from "./rig.mjs";

after(close);

const SECONDS = Number(process.env.WAYPOST_SOAK ?? 60);
/** What a page may grow by over the whole of it: nodes of rows that come and go, and what a heap has between two looks. */
const BARS = { nodes: 150, heap: 1024 * 1024, requests: 0.05, opens: 0.995 };

/** A stream as another screen opens it; whether its first word came. */
const opens = (gateway) => new Promise((done) => {
  const asked = get({ host: "127.0.0.1", port: gateway.port, path: "/api/v1/stream", agent: false, timeout: 20_000 }, (answer) => {
    let said = "";
    answer.on("data", (part) => {
      said += part;
      if (!said.includes("\n\n")) return;
      done(said.includes("event: hello"));
      asked.destroy();
    });
    answer.on("error", () => done(false));
  });
  asked.on("timeout", () => asked.destroy());
  asked.on("error", () => done(false));
});

const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

test(`a page in a busy yard stays as it is for ${SECONDS} seconds: its heap, its nodes, one connection, no questions`, async (t) => {
  const yard = await crowd(t, 50);
  const { gateway, scanner } = yard;
  const page = await (await device(t)).newPage();
  await page.goto(`${gateway.url}/?view=live&alone=1`);
  const look = await inspect(page);
  for (let n = 0; n < 60; n += 1) await scanner.scan(`PAL-${n}`);
  yard.drive();
  await says(page, "#truth", "Live");
  await says(page, "#assets", "PAL-");
  // The other screens come ahead of their time while nothing else is to be done, on a slow machine later.
  let [asked, last] = [0, Date.now() + 4_000];
  page.on("request", () => { asked += 1; last = Date.now(); });
  await until("the end of what is loaded ahead", async () => Date.now() - last > 4_000 || null);
  asked = 0;
  const before = { stored: (await gateway.json("/api/v1/ledger")).events.total, at: Date.now() };
  const seen = [];
  const streams = [];
  const end = Date.now() + SECONDS * 1000;
  for (let n = 0; Date.now() < end; n += 1) {
    await scanner.scan(`PAL-${n % 60}`);
    streams.push(await opens(gateway), await opens(gateway), await opens(gateway), await opens(gateway));
    if (n % 4 === 0) seen.push(await look.counts());
    await new Promise((done) => setTimeout(done, 1000));
  }
  yard.stop();
  const took = (Date.now() - before.at) / 1000;
  const events = (await gateway.json("/api/v1/ledger")).events.total - before.stored;
  const third = Math.max(1, Math.floor(seen.length / 3));
  const grown = (what) => middle(seen.slice(-third).map((one) => one[what])) - middle(seen.slice(0, third).map((one) => one[what]));
  const came = streams.filter(Boolean).length / streams.length;
  t.diagnostic(`${took.toFixed(0)} s, ${(events / took).toFixed(0)} events/s; nodes ${seen.at(-1).nodes} (${grown("nodes") >= 0 ? "+" : ""}${grown("nodes")}), heap ${(seen.at(-1).heap / 1048576).toFixed(2)} MiB (${(grown("heap") / 1024).toFixed(0)} KiB more), listeners ${seen.at(-1).listeners}; ${asked} requests where polling has ${took.toFixed(0)}; ${streams.length} streams opened, ${(came * 100).toFixed(2)} % came`);
  assert.ok(events / took > 40, `${events} events in ${took} s: this machine could not feed it`);
  assert.ok(grown("nodes") <= BARS.nodes, seen.map(({ nodes }) => nodes).join(" "));
  assert.ok(grown("heap") <= BARS.heap, seen.map(({ heap }) => heap).join(" "));
  assert.ok(grown("listeners") <= 40, seen.map(({ listeners }) => listeners).join(" "));
  assert.ok(asked <= took * BARS.requests, `${asked} requests`);
  assert.ok(came > BARS.opens, `${came * 100} % of ${streams.length} streams came`);
  assert.match(await text(page, "#truth"), /Live/);
  assert.equal(await gateway.metric("waypost_streams"), 1);
  assert.equal((await gateway.json("/api/v1/ledger")).balance, 0);
});
