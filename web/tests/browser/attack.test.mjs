// What is hostile comes by scanner, by file and by HTTP: nothing of it runs, nothing leaks, and each refusal is to be seen.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { after, test } from "node:test";
import { browser, close, givePin, go, open, PIN, says, until, yard } from "./rig.mjs";

after(close);

const MARKUP = [
  "<script>window.hurt = 1</script>", "<img src=x onerror=\"window.hurt = 2\">", "\"><svg onload=window.hurt=3>", "javascript:window.hurt=4",
  "{{constructor.constructor('window.hurt=5')()}}", "<a href=//evil.example>win</a>", "<iframe srcdoc=\"<script>parent.hurt=6</script>\">",
  "<style>*{display:none}</style>", "</title><script>alert(1)</script>", "${alert(1)}", "<base href=//evil.example/>", "<meta http-equiv=refresh content=0>",
];
const SQL = ["'; DROP TABLE outbox;--", "\" OR 1=1 --", "1); DELETE FROM letters; --", "%' UNION SELECT 1--"];
const FORMULAS = ["=HYPERLINK(\"http://evil.example\",\"x\")", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)*cmd|' /C calc'!A0"];
/** What turns a line around, hides in it, or moves a terminal. */
const UNSEEN = ["A\u202Egnp.exe", "B\u2066\u2067C\u2069", "D\u200BE\uFEFFF", "G\u0007H\u001B[2JI", "J\u0000K", "L\u0085M\u2028N"];
const LONG = "W".repeat(4096);
const HOSTILE_CHARS = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u200B-\u200F\u2028-\u202E\u2066-\u2069\uFEFF]/;
const SCREENS = ["/", "/scans", "/assets", "/failures", "/health", "/about"];

/** The kinds of elements in a page, and what in it could run or lead away. */
const inside = (page) => page.evaluate(() => ({
  armed: [...document.querySelectorAll("body *")].filter((one) => [...one.attributes].some(({ name, value }) => /^on/.test(name) || name === "style" && /url|expression/.test(value) || /javascript:|evil/.test(value) && /^(href|src|action|xlink:href|srcdoc)$/.test(name))).map((one) => one.outerHTML.slice(0, 120)),
  foreign: [...document.querySelectorAll("body script, img, iframe, object, embed, base, meta[http-equiv], body style, body link, marquee")].map((one) => one.outerHTML.slice(0, 120)),
  said: document.body.innerText + [...document.querySelectorAll("[title], [aria-label]")].map((one) => `${one.getAttribute("title") ?? ""}${one.getAttribute("aria-label") ?? ""}`).join("") + document.title,
}));

async function harmless(page, where) {
  const { armed, foreign, said } = await inside(page);
  assert.deepEqual(armed, [], where);
  assert.deepEqual(foreign, [], where);
  assert.equal(HOSTILE_CHARS.exec(said)?.[0].codePointAt(0).toString(16), undefined, `${where}: a character that is not seen`);
}

test("whatever is scanned is text on every screen, and what is no code is kept aside where a person finds it", async (t) => {
  const { gateway, scanner } = await yard(t, { more: "[scanner_defaults]\nrepeat_window_ms = 0\n" });
  gateway.setPin();
  const page = await open(t, `${gateway.url}/scans`);
  const shown = [...MARKUP, ...SQL, ...FORMULAS];
  for (const code of [...shown, ...UNSEEN, LONG, Buffer.from([0xff, 0xfe, 0xc3, 0x28]), Buffer.from("\u00d6".repeat(600))]) await scanner.scan(code);
  await says(page, "#scans", ...MARKUP.slice(0, 3), SQL[0], FORMULAS[0]);
  await scanner.scan("AFTER-ALL");
  await says(page, "#scans", "AFTER-ALL");
  for (const path of SCREENS) {
    await go(page, path);
    await until(path, () => page.evaluate((path) => location.pathname === path, path));
    await says(page, "main", " ");
    await harmless(page, path);
  }
  await go(page, "/");
  await says(page, "#assets", ...shown);
  await page.locator("#assets .pick", { hasText: "onerror" }).click();
  await until("what is known of it", () => page.getByRole("button", { name: "Move …" }).isVisible());
  await harmless(page, "a picked asset");
  for (const view of ["/?view=board", "/?view=cab"]) {
    await page.goto(gateway.url + view);
    await says(page, "main", "AFTER-ALL");
    await harmless(page, view);
  }
  // Each frame that was no scan is a letter, and the counts balance.
  const { open: letters } = await gateway.json("/api/v1/letters/summary?window=24h");
  assert.ok(letters >= 1, "the 4 KiB code is a letter");
  await page.goto(`${gateway.url}/failures`);
  await says(page, ".reasons", String(letters));
  await harmless(page, "/failures");
  assert.equal((await gateway.json("/api/v1/ledger")).balance, 0);
});

test("a plan, names and notes that are hostile are text too", async (t) => {
  const around = (n) => [[[11.38 + n * 0.001, 59.12], [11.3805 + n * 0.001, 59.12], [11.3805 + n * 0.001, 59.1205], [11.38 + n * 0.001, 59.1205], [11.38 + n * 0.001, 59.12]]];
  const names = [...MARKUP, ...FORMULAS, "Dock \u202E3"];
  const { gateway, scanner } = await yard(t);
  await gateway.end();
  const zones = gateway.path("zones.geojson");
  writeFileSync(zones, JSON.stringify({ type: "FeatureCollection", features: names.map((name, n) => ({ type: "Feature", properties: { id: `z-${n}`, name, kind: ["building", "dock", "gate", "road"][n % 4] }, geometry: { type: "Polygon", coordinates: around(n) } })) }));
  const more = `[plan]\nzones = "${zones}"\n`;
  await gateway.configure(`${more}\n[[scanner]]\nid = "door-3"\nport = "${scanner.url}"\nplace = "z-1"\n`);
  const config = gateway.path("waypost.toml");
  writeFileSync(config, (await import("node:fs")).readFileSync(config, "utf8").replace("[node]\n", `[node]\nname = ${JSON.stringify(MARKUP[0] + "\u202E")}\n`));
  gateway.setPin();
  await gateway.start();
  await scanner.scan("TRL-1");
  const page = await open(t, `${gateway.url}/?view=live`);
  await says(page, "#assets", "TRL-1");
  await harmless(page, "the plan");
  await page.locator("#assets .pick", { hasText: "TRL-1" }).click();
  await page.getByRole("button", { name: "Move …" }).click();
  await page.locator("dialog input").first().fill("<b>\u202Ez");
  await page.locator("dialog input").last().fill("=1+1<script>alert(1)</script>");
  await page.locator("dialog button[type=submit]").click();
  await givePin(page);
  await until("an answer", async () => (await page.locator("dialog input[type=password]").count()) === 0);
  await harmless(page, "a place by hand");
  for (const view of ["/?view=board", "/?view=cab", "/health", "/about"]) {
    await page.goto(gateway.url + view);
    await says(page, "main", " ");
    await harmless(page, view);
  }
});

/** A cell that a spreadsheet would take for a formula. */
const counted = (csv) => csv.split(/[\r\n]+/).flatMap((line) => line.match(/("([^"]|"")*"|[^,]*)(,|$)/g) ?? []).map((cell) => cell.replace(/,$/, "").replace(/^"|"$/g, "")).filter((cell) => /^\s*[=+@\t\r]|^\s*-[^\d]/.test(cell));

test("what is taken out as CSV is text to a spreadsheet", async (t) => {
  const { gateway, scanner } = await yard(t, { more: "[assets]\nunknown = \"hold\"\n" });
  gateway.setPin();
  for (const code of [...FORMULAS, "\t=1+1", "\u0009@x"]) await scanner.scan(code);
  const page = await open(t, `${gateway.url}/failures`);
  await says(page, ".reasons", "wait");
  const saved = async (button) => {
    const [file] = await Promise.all([page.waitForEvent("download"), button()]);
    return (await import("node:fs")).readFileSync(await file.path(), "utf8");
  };
  const csv = await saved(async () => {
    await page.getByRole("button", { name: "Export as CSV" }).click();
    await givePin(page);
  });
  assert.ok(csv.includes("HYPERLINK"), csv);
  assert.deepEqual(counted(csv), []);
  gateway.command(["assets", "add", "TRL-7", `x${FORMULAS[1]}`, "--kind", "trailer", "--name", FORMULAS[0]]);
  const list = gateway.command(["assets", "export"]);
  assert.ok(list.includes("HYPERLINK"), list);
  assert.deepEqual(counted(list), []);
  assert.deepEqual(counted("=1+1,\"+x\",ok,-5,'=1"), ["=1+1", "+x"], "such a cell would be seen");
});

/** What the page sends with what changes something. */
const own = (gateway) => ({ origin: gateway.url, "x-waypost": "1", "content-type": "application/json" });

test("a request from elsewhere is refused in words: foreign Host, foreign Origin, no header, no session, garbage", async (t) => {
  const { gateway, scanner } = await yard(t);
  gateway.setPin();
  await scanner.scan("SECRET-1");
  const body = JSON.stringify({ pin: PIN });
  const session = (headers, sent = body) => gateway.ask("/api/v1/session", { method: "POST", headers, body: sent });
  const refused = async (what, asked, codes) => {
    const { status, body: said, headers } = await asked;
    assert.ok(status >= 400, `${what}: ${status}`);
    const { error } = JSON.parse(said);
    assert.match(error.code, codes, `${what}: ${said}`);
    assert.ok(error.message.length > 5 && error.hint.length > 5, said);
    assert.equal(headers["access-control-allow-origin"], undefined);
    assert.ok(!said.includes("SECRET") && !said.includes(PIN), said);
  };
  await refused("a foreign host", gateway.ask("/api/v1/snapshot", { headers: { host: "evil.example" } }), /unknown_host/);
  await refused("a foreign origin", session({ ...own(gateway), origin: "http://evil.example" }), /foreign_origin/);
  await refused("no origin", session({ "x-waypost": "1", "content-type": "application/json" }), /foreign_origin/);
  await refused("origin null", session({ ...own(gateway), origin: "null" }), /foreign_origin/);
  await refused("no header", session({ origin: gateway.url, "content-type": "application/json" }), /./);
  await refused("no JSON", session(own(gateway), "{"), /./);
  await refused("no session", gateway.ask("/api/v1/assets/raw:SECRET-1/place", { method: "POST", headers: own(gateway), body: "{\"place\":\"x\"}" }), /./);
  await refused("an unknown path", gateway.ask("/api/v1/../../etc/passwd"), /./);
  await refused("a cursor of garbage", gateway.ask("/api/v1/stream?after=%27%3BDROP"), /./);
  for (const q of SQL) assert.ok((await gateway.ask(`/api/v1/letters?q=${encodeURIComponent(q)}`)).status < 500);
  assert.ok((await gateway.ask(`/api/v1/events?limit=1e9&kind=${"x".repeat(4000)}`)).status < 500);
  // Six wrong PINs: the sixth is not heard, nor is the right one behind it.
  const codes = [];
  for (let n = 0; n < 6; n += 1) codes.push(JSON.parse((await session(own(gateway), JSON.stringify({ pin: "000000" }))).body).error.code);
  assert.equal(new Set(codes.slice(0, 4)).size, 1, codes.join());
  assert.notEqual(codes[5], codes[0], codes.join());
  const late = await session(own(gateway));
  assert.ok(late.status >= 400 && !late.headers["set-cookie"], late.body);
  // It is to be seen by who looks after the gateway.
  assert.match(gateway.log(), /PIN/i);
  assert.equal((await gateway.json("/api/v1/assets/raw:SECRET-1")).place, "dock-3");
});

test("another site that a person has open can neither read the yard nor change it, nor put it into a frame", async (t) => {
  const { gateway, scanner } = await yard(t);
  gateway.setPin();
  await scanner.scan("SECRET-1");
  // The other site is another port on this machine: another origin.
  const site = (await import("node:http")).createServer((_, answer) => answer.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>elsewhere</title><body>"));
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
  t.after(() => new Promise((done) => site.close(done)));
  const context = await (await browser()).newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  const got = await page.evaluate(async (url) => {
    const tried = async (run) => {
      try {
        return await run();
      } catch (error) {
        return error.name;
      }
    };
    const frame = document.createElement("iframe");
    frame.src = url;
    document.body.append(frame);
    await new Promise((done) => { frame.onload = frame.onerror = done; });
    return {
      read: await tried(async () => (await fetch(`${url}/api/v1/snapshot`)).text()),
      blind: await tried(async () => (await fetch(`${url}/api/v1/session`, { method: "POST", mode: "no-cors", body: "{\"pin\":\"246813\"}" })).type),
      asked: await tried(async () => (await fetch(`${url}/api/v1/session`, { method: "POST", headers: { "x-waypost": "1", "content-type": "application/json" }, body: "{\"pin\":\"246813\"}" })).status),
      stream: await new Promise((done) => {
        const source = new EventSource(`${url}/api/v1/stream`);
        source.onerror = () => done("refused");
        source.addEventListener("hello", () => done("heard"));
      }),
      framed: await tried(async () => frame.contentDocument?.body?.innerText ?? "nothing to be seen"),
    };
  }, gateway.url);
  assert.deepEqual({ ...got, framed: /SECRET|Live/.test(String(got.framed)) }, { read: "TypeError", blind: "opaque", asked: "TypeError", stream: "refused", framed: false });
  assert.equal((await context.cookies()).length, 0, "no session was opened");
});

test("the page asks no other host for anything, and what came to run in it could not either", async (t) => {
  const { gateway, scanner } = await yard(t);
  const other = createServer((line) => line.once("data", (part) => asked.push(String(part))));
  const asked = [];
  await new Promise((done) => other.listen(0, "127.0.0.1", done));
  t.after(() => other.close());
  const context = await (await browser()).newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const seen = [];
  page.on("request", (one) => seen.push(one.url()));
  await page.goto(`${gateway.url}/?view=live&alone=1`);
  await scanner.scan("TRL-7");
  await says(page, "#assets", "TRL-7");
  assert.ok(seen.some((url) => url.includes("/stream")), seen.join("\n"));
  assert.deepEqual(seen.filter((url) => !url.startsWith(`${gateway.url}/`) && !url.startsWith("data:")), []);
  await page.evaluate((url) => {
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.effectiveDirective));
    new Image().src = `${url}image`;
    fetch(`${url}fetch`).catch(() => 0);
    for (const [tag, set] of [["script", { src: `${url}script` }], ["iframe", { src: `${url}frame` }], ["script", { textContent: "window.hurt = 1" }]]) document.head.append(Object.assign(document.createElement(tag), set));
  }, `http://127.0.0.1:${other.address().port}/`);
  await until("five refusals", () => page.evaluate(() => window.refused.length >= 5));
  assert.equal(await page.evaluate(() => window.hurt), undefined);
  assert.deepEqual(asked, []);
});
