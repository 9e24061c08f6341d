// What a person in the yard sees: the first hour, a thing that moves, a scan that counts, a gateway that goes and comes back.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { broker, close, givePin, go, open, says, text, times, until, yard, YARD } from "./rig.mjs";

after(close);

test("a new gateway is first set up: that ends by itself when each source has delivered, and a scan shows the moment it is read", async (t) => {
  const { gateway, gps, scanner } = await yard(t);
  const page = await open(t, gateway.url);
  await says(page, "main", "It is running. Scan anything.", "gps0 is looking for satellites", "door-3 is connected", "No yard plan yet");
  await says(page, "#truth", "Live");
  await page.evaluate(() => { window.same = "page"; });
  await gps.fix(59.7166, 11.3875);
  await says(page, "main", "gps0 delivers");
  assert.match(page.url(), /\/first$/, "one of two has delivered");
  await scanner.scan("TRL-1041");
  await says(page, "main", "Everything delivers.", "Accepted: TRL-1041");
  await says(page, "#assets", "TRL-1041", "TRK-07");
  assert.match(page.url(), /:\d+\/$/, "the yard, without a touch");
  await says(page, "#facts", "TRK-07", "59.7166", "11.3875");
  await go(page, "/scans");
  await says(page, "#scans", "TRL-1041", "Accepted", "door-3");
  // Pallets differ in their last digits: a code may take two lines, it may not end in dots.
  await scanner.scan("00395212340000010013");
  await says(page, "#scans", "00395212340000010013");
  assert.equal(await page.evaluate(() => {
    const code = /** @type {HTMLElement} */ (document.querySelector("#scans bdi"));
    return code.scrollWidth > code.clientWidth || code.scrollHeight > code.clientHeight + 9;
  }), false, "the whole code is seen");
  await scanner.scan("NOREAD");
  await says(page, "#scans", "Kept aside", "could not read the label", "00395212340000010013");
  await go(page, "/failures");
  await says(page, "main", "1", "waits for a decision", "The reader says that it could not read the label.");
  await go(page, "/health");
  await says(page, "main", "0 missing", "door-3", "gps0");
  assert.equal(await page.evaluate(() => window.same), "page", "all of it without a reload");
});

test("what a receiver says moves its mark on the plan and its figures, and the zone it enters is named", async (t) => {
  const { gateway, gps } = await yard(t, { zones: YARD });
  const page = await open(t, `${gateway.url}/?view=live`);
  await gps.fix(59.1240, 11.3880);
  const mark = () => page.evaluate(() => document.querySelector('.marks [aria-label*="TRK-07"]')?.style.transform ?? "");
  const before = await until("its mark", mark);
  await says(page, "#facts", "TRK-07", "59.1240");
  for (let n = 0; n < 4; n += 1) await gps.fix(59.1240 + n * 0.0001, 11.3882, { at: Date.now() + n * 1000 });
  await until("a mark elsewhere", async () => (await mark()) !== before);
  await says(page, "#facts", "TRK-07", "59.1243");
  await gps.fix(59.1247, 11.3882, { at: Date.now() + 5000 });
  await says(page, "#assets", "TRK-07", "Dock 3".slice(-1));
});

test("each verdict of a scan is a word: accepted, the same again, kept aside", async (t) => {
  const { gateway, scanner } = await yard(t);
  const page = await open(t, `${gateway.url}/scans`);
  await scanner.scan("TRL-1041");
  await says(page, "#scans", "Accepted", "TRL-1041");
  await scanner.scan("TRL-1041");
  await scanner.scan("NOREAD");
  await says(page, "#scans", "Kept aside", "TRL-1041");
  assert.equal(await times(page, "#scans", "TRL-1041"), 1, "a repeat is no second scan");
  await says(page, ".readers", "door-3", "3");
});

test("one label is found however it is written, where it was read and where it stands", async (t) => {
  const { gateway, scanner } = await yard(t);
  const page = await open(t, `${gateway.url}/scans`);
  await scanner.scan("00395212340000010013");
  await says(page, "#scans", "00395212340000010013");
  const writings = ["395212340000010013", "00395212340000010013", "(00) 395212340000010013", "(00) 3 9521234 000001001 3", "sscc:395212340000010013"];
  for (const written of writings) {
    await page.locator("#arrived input").fill(written);
    await page.locator("#arrived button").click();
    await says(page, "#arrived", `${written}:`, "Stored here");
  }
  await page.locator("#arrived input").fill("395212340000010020");
  await page.locator("#arrived button").click();
  await says(page, "#arrived", "Nothing here has the code 395212340000010020.");
  await go(page, "/");
  await says(page, "#assets", "395212340000010013");
  for (const written of writings.slice(0, 4)) {
    await page.locator("#find").fill(written);
    await until(`${written} is found`, async () => (await page.locator("#assets li").count()) === 1);
  }
  await page.locator("#find").fill("00395212340000010020");
  await until("no other", async () => (await page.locator("#assets li").count()) === 0);
});

test("what a restore lost is told as what happened, with when, and turns nothing red", async (t) => {
  const { gateway, scanner } = await yard(t);
  const page = await open(t, `${gateway.url}/scans`);
  await scanner.scan("TRL-1");
  await says(page, "#scans", "TRL-1");
  gateway.command(["backup", gateway.path("kept.db")]);
  for (const n of [2, 3]) {
    await scanner.scan(`TRL-${n}`);
    await says(page, "#scans", `TRL-${n}`);
  }
  await gateway.end();
  gateway.command(["restore", gateway.path("kept.db"), "--yes"]);
  await gateway.start();
  await until("lost events", async (there) => {
    const { ledger, lost } = await gateway.json("/api/v1/health");
    there(JSON.stringify([ledger?.events, lost]));
    return ledger?.events.lost > 0 && lost.length > 0 && ledger.balance === 0;
  });
  await go(page, "/health");
  await says(page, "#ledger", "0 missing", "lost for good", "as after a restore");
  assert.equal(await page.locator("#ledger .fail, #truth .t-fail").count(), 0);
  await page.goto(`${gateway.url}/?view=cab`);
  await says(page, "main", "Stored here", "All");
  assert.equal(await times(page, "main", "missing"), 0);
});

test("a platform that goes away and comes back is told, with what waits, and nothing turns red for it", async (t) => {
  const there = await broker(t);
  if (!there) return t.skip("no mosquitto here; `make test` installs it");
  there.start();
  const { gateway, scanner } = await yard(t, { more: `[uplink]\nurl = "mqtt://127.0.0.1:${there.port}"\nbackoff_spread_s = 0\nbackoff_max_s = 5\n` });
  const page = await open(t, `${gateway.url}/?view=live`);
  await says(page, "#truth", "Upstream");
  await until("the connection", async () => (await page.locator("#truth .t-ok", { hasText: "Upstream" }).count()) === 1);
  await there.end();
  await until("a sign of it", async () => (await page.locator("#truth .t-warn", { hasText: "Upstream" }).count()) === 1);
  await scanner.scan("TRL-1041");
  await says(page, "#truth", "Upstream offline", "waiting");
  assert.equal(await page.locator("#truth .t-fail", { hasText: "Upstream" }).count(), 0);
  await says(page, "#assets", "TRL-1041");
  there.start();
  await until("the connection again", async () => (await page.locator("#truth .t-ok", { hasText: "Upstream" }).count()) === 1);
});

test("a page whose gateway was killed says so, shows nothing green, and is live again by itself", async (t) => {
  const { gateway, gps, scanner } = await yard(t);
  await gps.fix(59.7166, 11.3875);
  await scanner.scan("BEFORE-1");
  const page = await open(t, `${gateway.url}/scans`);
  await says(page, "#scans", "BEFORE-1");
  await says(page, "#truth", "Live");
  await page.evaluate(() => { window.same = "page"; });
  await gateway.end("SIGKILL");
  await says(page, "#alarm", "This screen lost the gateway");
  const strip = await says(page, "#truth", "Not live", "last known");
  assert.ok(!strip.split("\n").some((line) => line.trim() === "Live"), strip);
  for (const path of ["/", "/assets", "/health", "/failures", "/scans"]) {
    await go(page, path);
    await until("that screen", () => page.evaluate((path) => location.pathname === path, path));
  }
  // What was known is still there.
  await says(page, "#scans", "BEFORE-1");
  assert.equal(await page.evaluate(() => document.documentElement.classList.contains("gone")), true);
  await gateway.start();
  // What is scanned while the screen is away is there when it sees again, and once.
  await scanner.scan("MEANWHILE-1");
  await says(page, "#scans", "MEANWHILE-1", "BEFORE-1");
  await says(page, "#truth", "Live");
  await scanner.scan("AFTER-1");
  await says(page, "#scans", "AFTER-1", "MEANWHILE-1", "BEFORE-1");
  for (const code of ["BEFORE-1", "MEANWHILE-1", "AFTER-1"]) assert.equal(await times(page, "#scans", code), 1, code);
  assert.equal(await page.evaluate(() => document.documentElement.classList.contains("gone")), false);
  assert.deepEqual(await page.evaluate(() => window.seen.green), [], "marks that were green while the gateway was gone");
  assert.equal(await page.evaluate(() => window.same), "page", "without a reload");
});

test("who knows better than the scanners moves an asset on the page, and sees it where he put it", async (t) => {
  const { gateway, scanner } = await yard(t, { zones: YARD });
  gateway.setPin();
  await scanner.scan("TRL-1041");
  const page = await open(t, `${gateway.url}/?view=live`);
  await says(page, "#assets", "TRL-1041");
  await page.locator("#assets .pick", { hasText: "TRL-1041" }).click();
  await page.getByRole("button", { name: "Move …" }).click();
  await page.locator("dialog input").first().fill("dock-1");
  await page.locator("dialog button[type=submit]").click();
  await givePin(page);
  await until("its new place", async () => (await gateway.json("/api/v1/assets/raw:TRL-1041")).place === "dock-1");
  await until("its plate", () => page.evaluate(() => document.querySelector("#facts .plate")?.getAttribute("title") === "Dock 1"));
  await page.getByRole("button", { name: "Gone from here …" }).click();
  await page.locator("dialog button[type=submit]").click();
  await until("no place", async () => (await gateway.json("/api/v1/assets/raw:TRL-1041")).place === undefined);
  await until("no plate", () => page.evaluate(() => /** @type {HTMLElement} */ (document.querySelector("#facts .plate, #facts .rides")).hidden));
});
