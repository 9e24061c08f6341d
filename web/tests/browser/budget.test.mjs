// What the page may cost: bytes, requests, nodes and heap, in a yard that is as full as it may be. What it may take is
// measured by `make bench-page`: time is no matter for a test.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { close, crowd, device, go, inspect, says, until, yard } from "./rig.mjs";

after(close);

/** ui.md section 10. */
const BARS = { code: 45 * 1024, font: 40 * 1024, requests: 18, nodes: 3000, heap: 12 * 1024 * 1024 };

test(`the first screen is live with ${BARS.requests} requests and ${BARS.code / 1024} KB of code, all of it packed and from the gateway`, async (t) => {
  const { gateway } = await yard(t);
  const page = await (await device(t)).newPage();
  const asked = [];
  page.on("response", (answer) => asked.push({ url: answer.url(), packed: answer.headers()["content-encoding"] }));
  await page.goto(`${gateway.url}/?view=live`);
  await says(page, "#truth", "Live");
  const sizes = new Map(await page.evaluate(() => performance.getEntriesByType("resource").map(({ name, encodedBodySize }) => [name, encodedBodySize])));
  // What the screen needs to be live; its keys and its worker come behind it.
  const first = asked.filter(({ url }) => /\.(js|css|woff2)$|\?view=live$/.test(url) && !/\/(keys|hub|stream)\.js$/.test(url));
  const code = first.filter(({ url }) => /\.(js|css)$/.test(url));
  const font = first.filter(({ url }) => /\.woff2$/.test(url));
  const kib = (some) => some.reduce((sum, { url }) => sum + (sizes.get(url) ?? NaN), 0);
  t.diagnostic(`${first.length} requests (bar ${BARS.requests}), ${(kib(code) / 1024).toFixed(1)} KB of code (bar ${BARS.code / 1024}), ${(kib(font) / 1024).toFixed(1)} KB of font (bar ${BARS.font / 1024})`);
  assert.ok(first.length <= BARS.requests, first.map(({ url }) => url).join("\n"));
  assert.ok(kib(code) > 10_000 && kib(code) <= BARS.code, `${kib(code)} bytes`);
  assert.ok(kib(font) <= BARS.font, `${kib(font)} bytes`);
  assert.deepEqual(code.filter(({ packed }) => packed !== "gzip"), []);
  assert.deepEqual(asked.filter(({ url }) => !url.startsWith(gateway.url) && !url.startsWith("data:")), []);
});

test(`in a full yard no screen has more than ${BARS.nodes} nodes, and the heap stays small`, async (t) => {
  const trucks = await crowd(t, 10);
  const { gateway, scanner } = trucks;
  for (let n = 0; n < 260; n += 1) await scanner.scan(`00395212340000${String(n).padStart(6, "0")}`);
  for (let n = 0; n < 40; n += 1) await scanner.scan("NOREAD");
  await until("all of it", async () => (await gateway.json("/api/v1/snapshot")).assets.length >= 270);
  const page = await (await device(t)).newPage();
  const look = await inspect(page);
  await page.goto(`${gateway.url}/?view=live&asset=TRK-101`);
  await says(page, "#assets", "more assets");
  const figures = {};
  const weigh = async (name) => {
    await page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => setTimeout(done, 400)); }));
    figures[name] = await look.counts();
  };
  await weigh("/");
  for (const path of ["/scans", "/assets", "/failures", "/health", "/about"]) {
    await go(page, path);
    await until(path, () => page.evaluate((path) => location.pathname === path, path));
    await says(page, "main", " ");
    await weigh(path);
    const more = page.getByRole("button", { name: "Show older scans" });
    for (let n = 0; path === "/scans" && n < 3 && (await more.isVisible()); n += 1) {
      const before = await page.locator("#scans li").count();
      await more.click();
      await until("older scans", async () => (await page.locator("#scans li").count()) > before);
      await weigh("/scans, all of it");
    }
  }
  for (const view of ["/?view=board", "/?view=cab"]) {
    await page.goto(gateway.url + view);
    await says(page, "main", " ");
    await weigh(view);
  }
  t.diagnostic(Object.entries(figures).map(([name, { nodes, heap }]) => `${name}: ${nodes} nodes, ${(heap / 1048576).toFixed(1)} MiB`).join("; "));
  for (const [name, { nodes, heap }] of Object.entries(figures)) {
    assert.ok(nodes <= BARS.nodes, `${name} has ${nodes} nodes; ${JSON.stringify(figures)}`);
    assert.ok(heap <= BARS.heap, `${name} holds ${heap} bytes`);
  }
});
