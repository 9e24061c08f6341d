// Every screen in every theme, size and state: a picture of each in target/look, axe over each, and nothing that is wider than
// its screen, cut off or an error in the console. `make look` runs it; it ends with 1 when something was found.
//
// The gateway is the real one (`waypost demo`). A state that takes days or a broken disk is put into what it says, on the way to
// the page: there the page is looked at, not the gateway.

import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const need = createRequire(`${process.cwd()}/target/look/`);
const { chromium } = need("playwright-core");
const axe = readFileSync(need.resolve("axe-core/axe.min.js"), "utf8");
const only = process.argv[2] ?? "";
const folder = "target/look/screens";

const SIZES = { wall: [1920, 1080], desk: [1280, 800], phone: [390, 844], tablet: [800, 1280] };
const THEMES = ["light", "dark", "night"];
const SCREENS = { live: "/?view=live", edit: "/?view=live", geojson: "/?view=live", picked: "/?view=live&asset=TRK-07", scans: "/scans", assets: "/assets", failures: "/failures", health: "/health", about: "/about", first: "/first", board: "/?view=board", cab: "/?view=cab" };
const MIN = 60_000;

/** What a person does before a picture. */
const draws = async (page) => {
  await page.click(".zbegin");
  await page.click(".zlist li:nth-child(4) .pick");
};
const ACTS = {
  edit: draws,
  geojson: async (page) => {
    await draws(page);
    await page.click(".ztools button:nth-of-type(4)");
  },
};

/** What the gateway would say in each state of the state matrix, from a moment on. */
const states = (now) => ({
  upstream: {
    uplink: { configured: true, state: "waiting", url: "mqtts://broker.example:8883", since_ms: now - 126 * MIN, last_error: "connection refused", next_try_s: 51, inflight: 0, unsent: { scan: 284, fix: 1000 }, oldest_unsent_s: 7560 },
    disk: { used_pct: 38, free_bytes: 21e9, writable: true, intake: "open", autonomy_s: 19 * 86_400 },
    alarm: { name: "uplink_down", severity: "warn", since_ms: now - 126 * MIN, text: "The platform has not been reached for 10 minutes", advice: "Check the line and the broker." },
  },
  gps: { source: { id: "gps0", kind: "gps", port: "/dev/waypost/gps0", state: "no_fix", since_ms: now - 14 * MIN }, alarm: { name: "stale_fix_gps0", severity: "fault", since_ms: now - 14 * MIN, text: "gps0 has given no position for 14 minutes", advice: "Check the antenna: it needs a free view of the sky." } },
  scanner: { source: { id: "dock-1", kind: "scanner", port: "/dev/waypost/dock-1", state: "absent", since_ms: now - 3 * MIN }, alarm: { name: "source_dock-1", severity: "fault", since_ms: now - 3 * MIN, text: "dock-1 is unplugged", advice: "Plug it back in: it reconnects by itself." } },
  worker: { worker: { worker: "source:dock-1", state: "fresh", restarts: 3, last_reason: "it did not beat for 30 s" }, alarm: { name: "worker_restarts", severity: "warn", since_ms: now - MIN, text: "source:dock-1 was restarted", advice: "Nothing, if it stays the only time; else send the log to support." } },
  disk: { disk: { used_pct: 97, db_bytes: 5.4e9, archive_bytes: 3.2e9, free_bytes: 1e9, writable: true, intake: "open", autonomy_s: 2 * 86_400, thin_s: 10 }, alarm: { name: "room", severity: "fault", since_ms: now - MIN, text: "97 % of the store's room is used", advice: "Free space, or raise store.max_mib." } },
  clock: { clock: { tq: "none" } },
  ledger: { ledger: { balance: 3, sources: { gps0: { frames: 5000, stored: 4000, thinned: 997 } }, events: { total: 4000, unsent: 0, sent: 4000 } } },
  lost: {},
  empty: {},
});

/** The same thing, by kind and name. */
const named = (v) => v.id ?? v.worker ?? "";

/** Puts a state into what is said to a page. In the page, so it stands by itself. */
function stage({ said, lost }) {
  const listen = EventSource.prototype.addEventListener;
  const name = (v) => v.id ?? v.worker ?? "";
  EventSource.prototype.addEventListener = function (type, hear) {
    return listen.call(this, type, (event) => {
      if (lost && performance.now() > 2500) return undefined;
      if (type !== "delta") return hear(event);
      const delta = JSON.parse(event.data);
      delta.items = delta.items.filter((item) => !said[item.k] || name(said[item.k]) !== name(item.v));
      return hear({ data: JSON.stringify(delta), lastEventId: event.lastEventId });
    });
  };
}

/** What in a page is wider than its screen or cut off without a sign. In the page. */
function cut() {
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth + 1) found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  for (const one of document.querySelectorAll("main b, main span, main small, main p, main h2, main button")) {
    const style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    if (one.closest(".vh, .marks, .scrollx, .scroll") || style.visibility === "hidden" || box.width === 0) continue;
    if (box.right > innerWidth + 2) found.push(`beyond the edge: ${one.textContent.slice(0, 40)}`);
    if (style.overflow === "hidden" && style.textOverflow !== "ellipsis" && !style.webkitLineClamp && one.scrollWidth > one.clientWidth + 2) found.push(`cut: ${one.textContent.slice(0, 40)}`);
  }
  return [...new Set(found)].slice(0, 4);
}

/** A gateway of its own, and its address. */
function gateway() {
  const child = spawn(process.env.WAYPOST ?? "target/debug/waypost", ["demo", "--listen", "127.0.0.1:8780"], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RUST_LOG: "error", WAYPOST_WEB_DIR: "web" } });
  return new Promise((done, fail) => {
    let said = "";
    child.on("exit", (code) => fail(new Error(`waypost demo ended with ${code}`)));
    child.stdout.on("data", (text) => {
      said += text;
      const address = /screen\s+(\S+)\//.exec(said)?.[1];
      if (address) done({ address, end: () => child.kill("SIGINT") });
    });
  });
}

const { address, end } = await gateway();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
mkdirSync(folder, { recursive: true });
const tours = [
  ...Object.keys(SCREENS).flatMap((screen) => THEMES.flatMap((theme) => Object.keys(SIZES).map((size) => ({ screen, theme, size, state: "ok", lang: "en" })))),
  ...Object.keys(states(0)).flatMap((state) => ["live", "scans", "health", "board", "cab"].flatMap((screen) => ["desk", "phone"].map((size) => ({ screen, theme: "dark", size, state, lang: "en" })))),
  ...Object.keys(SCREENS).flatMap((screen) => ["desk", "phone"].map((size) => ({ screen, theme: "light", size, state: "ok", lang: "de" }))),
].map((one) => ({ ...one, name: `${one.screen}-${one.theme}-${one.size}-${one.state}-${one.lang}` })).filter((one) => one.name.includes(only));
let bad = 0;
const wrong = (name, what) => {
  bad += 1;
  console.log(`${name}: ${what}`);
};
for (const { screen, theme, size, state, lang, name } of tours) {
  const [width, height] = SIZES[size];
  const said = state === "ok" ? {} : states(Date.now())[state];
  const context = await browser.newContext({ viewport: { width, height }, bypassCSP: true });
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong(name, error.message));
  page.on("console", (line) => line.type() === "error" && wrong(name, line.text()));
  await page.addInitScript(stage, { said, lost: state === "lost" });
  await page.addInitScript(() => sessionStorage.setItem("waypost.later", "1"));
  await page.route("**/api/v1/snapshot", async (route) => {
    const answer = await route.fetch();
    const snap = await answer.json();
    for (const [k, v] of Object.entries(said)) snap.states = [...snap.states.filter((one) => one.k !== k || named(one.v) !== named(v)), { k, v }];
    if (state === "empty") Object.assign(snap, { assets: [], scans: [], fix: null, states: snap.states.filter((one) => !["source", "uplink"].includes(one.k)) });
    await route.fulfill({ response: answer, json: snap });
  });
  const at = new URL(SCREENS[screen], address);
  for (const [key, value] of Object.entries({ theme, lang, alone: "1" })) at.searchParams.set(key, value);
  await page.goto(at.href);
  await page.waitForTimeout(state === "lost" ? 16_000 : 1500);
  await ACTS[screen]?.(page);
  await page.screenshot({ path: `${folder}/${name}.png` });
  for (const what of await page.evaluate(cut)) wrong(name, what);
  if (state === "lost") {
    const green = await page.evaluate(() => [...document.querySelectorAll("#truth svg, main .word, main .verd svg, .alist svg")].filter((one) => /\b(ok|live|dock|move)\b/.test(one.getAttribute("class") ?? "")).length);
    if (green) wrong(name, `${green} marks are green while the gateway is gone`);
  }
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const one of violations) wrong(name, `axe ${one.impact} ${one.id}: ${one.nodes[0].html.slice(0, 140)}`);
  await context.close();
}
await browser.close();
end();
console.log(`${tours.length} pictures in ${folder}, ${bad} findings`);
process.exitCode = bad ? 1 : 0;
