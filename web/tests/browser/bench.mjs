// How fast the page is, beside its bars: from the first byte that a port sends to the painted pixel, first live value, work of
// the main thread; at full speed and at a sixth of it. `make bench-page` runs it on the release binary.

import { browser, close, crowd, inspect, says, until } from "./rig.mjs";

const RATES = [1, 6];
const SAMPLES = 60;
const WORK_MS = 10_000;
/** ui.md section 10. */
const BARS = { 1: { first: 1000, work: 10 }, 6: { first: 2500, work: 35 }, task: 100, seen: 1000, };

const ends = [];
const t = { after: (end) => ends.unshift(end), diagnostic() {} };
const share = (values, part) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))];
let missed = 0;
const row = (what, rate, value, bar, unit) => {
  if (value > bar) missed += 1;
  console.log(`${what.padEnd(44)} ${rate}x  ${String(Math.round(value)).padStart(6)} ${unit.padEnd(2)}   bar ${bar} ${unit}${value > bar ? "   MISSED" : ""}`);
};

/** In the page: when a text is painted in a part of it, in ms of Date, by the text. */
function painter() {
  window.painted = {};
  window.await_text = (part, texts) => {
    const look = () => {
      const said = document.querySelector(part)?.textContent ?? "";
      for (const one of texts) {
        if (one in window.painted || !said.includes(one)) continue;
        window.painted[one] = 0;
        // The frame in which it stands is painted before the task behind it.
        requestAnimationFrame(() => setTimeout(() => { window.painted[one] = Date.now(); }));
      }
    };
    new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
  };
  new MutationObserver(() => {
    if (window.first || !document.querySelector("#truth .t-live") || !document.querySelector(".alist li")) return;
    window.first = -1;
    requestAnimationFrame(() => setTimeout(() => { window.first = performance.now(); }));
  }).observe(document, { subtree: true, childList: true, attributes: true });
  window.tasks = [];
  new PerformanceObserver((list) => list.getEntries().forEach((one) => window.tasks.push(one.duration))).observe({ type: "longtask" });
}

/** A page of a device of its own, as slow as that. */
async function slow(url, rate) {
  const context = await (await browser()).newContext({ viewport: { width: 1280, height: 800 } });
  await context.addInitScript(painter);
  const page = await context.newPage();
  const look = await inspect(page);
  await look.slow(rate);
  await page.goto(url);
  await says(page, "#truth", "Live");
  return { page, look, end: () => context.close() };
}

/** From sending to painting, ms, of so many texts that come one after the other. */
async function wire(page, part, texts, send) {
  await page.evaluate(([part, texts]) => window.await_text(part, texts), [part, texts]);
  const sent = [];
  for (let n = 0; n < texts.length; n += 1) {
    sent.push(await send(n));
    // Not in step with any timer of the page.
    await new Promise((done) => setTimeout(done, 600 + ((n * 137) % 250)));
  }
  const painted = await until("the last of them", () => page.evaluate((last) => window.painted[last] && window.painted, texts.at(-1)));
  // One that a newer one overtook was never drawn by itself: it counts up to that one.
  return texts.map((_, n) => texts.slice(n).map((one) => painted[one]).find(Boolean) - sent[n]);
}

try {
  const yard = await crowd(t, 50);
  const { gateway, gps, scanner } = yard;
  for (let n = 0; n < 60; n += 1) await scanner.scan(`PAL-${n}`);
  yard.drive();
  // A receiver that has been heard: its first fixes are another matter.
  for (let n = 0; n < 4; n += 1) {
    await gps.fix(59.1249, 11.388);
    await new Promise((done) => setTimeout(done, 1000));
  }
  for (const rate of RATES) {
    const firsts = [];
    for (let n = 0; n < 5; n += 1) {
      const { page, end } = await slow(`${gateway.url}/?view=live`, rate);
      firsts.push(await until("the first live value", () => page.evaluate(() => window.first > 0 && window.first)));
      await end();
    }
    row("navigation to first live value, median of 5", rate, share(firsts, 0.5), BARS[rate].first, "ms");
    const { page, look, end } = await slow(`${gateway.url}/?view=live&asset=TRK-07`, rate);
    await new Promise((done) => setTimeout(done, 6000));
    await page.evaluate(() => { window.tasks.length = 0; });
    const [before, at] = [await look.metrics(), Date.now()];
    await new Promise((done) => setTimeout(done, WORK_MS));
    const now = await look.metrics();
    row("main thread with 50 assets at 1 Hz", rate, ((now.TaskDuration - before.TaskDuration) * 100_000) / (Date.now() - at), BARS[rate].work, "%");
    row("longest task", rate, Math.max(0, ...(await page.evaluate(() => window.tasks))), BARS.task, "ms");
    const lats = Array.from({ length: SAMPLES }, (_, n) => 59.124 + (rate * 100 + n) * 0.00001);
    const fixes = await wire(page, "#facts", lats.map((lat) => `${lat.toFixed(5)}°`), (n) => gps.fix(lats[n], 11.388));
    row("fix: wire to pixel, p50", rate, share(fixes, 0.5), BARS.seen, "ms");
    row("fix: wire to pixel, p95", rate, share(fixes, 0.95), BARS.seen, "ms");
    await end();
    const feed = await slow(`${gateway.url}/scans`, rate);
    const codes = Array.from({ length: SAMPLES }, (_, n) => `BENCH-${rate}-${String(n).padStart(3, "0")}`);
    const scans = await wire(feed.page, "#scans", codes, (n) => scanner.scan(codes[n]));
    row("scan: wire to pixel, p50", rate, share(scans, 0.5), BARS.seen, "ms");
    row("scan: wire to pixel, p95", rate, share(scans, 0.95), BARS.seen, "ms");
    const { nodes, heap } = await feed.look.counts();
    console.log(`${"nodes and heap of the feed".padEnd(44)} ${rate}x  ${nodes}, ${(heap / 1048576).toFixed(1)} MiB`);
    await feed.end();
  }
  console.log(missed ? `${missed} bars missed` : "every bar kept");
} finally {
  for (const end of ends) await end();
  await close();
}
process.exitCode = missed ? 1 : 0;
