// What a person may change on the page, and what keeps everybody else from it: failures, the PIN, the keyboard.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, test } from "node:test";
import { close, givePin, open, PIN, says, text, until, yard, YARD } from "./rig.mjs";

after(close);

const HOLD = "[assets]\nunknown = \"hold\"\n";

/** How many letters stand in the list. */
const letters = (page) => page.locator("#letters tbody tr").count();

test("a scan that waits for its asset is retried when the asset is there, and is a scan with its own time", async (t) => {
  const { gateway, scanner } = await yard(t, { more: HOLD });
  gateway.setPin();
  await scanner.scan("TRL-9");
  const page = await open(t, `${gateway.url}/failures`);
  await says(page, ".reasons", "1", "waits for a decision");
  await says(page, "#letters", "door-3");
  gateway.command(["assets", "add", "TRL-9", "TRL-9"]);
  await page.getByRole("checkbox", { name: /^Pick letter/ }).check();
  await page.getByRole("button", { name: "Try again: 1" }).click();
  await givePin(page);
  await says(page, ".job", "Done", "1 tried again");
  await says(page, ".reasons", "Nothing waits for a decision.");
  await page.getByRole("button", { name: "Tried again", exact: true }).click();
  const { items } = await gateway.json("/api/v1/events?kind=scan&limit=5");
  assert.equal(items.length, 1);
  assert.equal(items[0].asset, "TRL-9");
});

test("letters are given up with a reason that a person writes, and that is taken back with one button", async (t) => {
  const { gateway, scanner } = await yard(t, { more: HOLD });
  gateway.setPin();
  for (const code of ["TRL-1", "TRL-2", "TRL-3"]) await scanner.scan(code);
  const page = await open(t, `${gateway.url}/failures`);
  await says(page, ".reasons", "3");
  await until("three letters", async () => (await letters(page)) === 3);
  await page.getByRole("checkbox", { name: "Pick all on this page" }).check();
  await says(page, ".bulk", "3 letters picked");
  await page.getByRole("button", { name: "Give up 3 …" }).click();
  const sure = page.getByRole("button", { name: "Give up 3", exact: true });
  assert.equal(await sure.isDisabled(), true, "not without a reason");
  await page.getByLabel("Why").fill("Test data");
  await sure.click();
  await givePin(page);
  await says(page, ".job", "3 given up", "Undo");
  await says(page, ".reasons", "Nothing waits for a decision.");
  await page.getByRole("button", { name: "Undo" }).click();
  await says(page, ".reasons", "3");
  await until("all three are open again", async () => (await gateway.json("/api/v1/letters?state=open&limit=9")).items.length === 3);
});

test("Undo works for as long as it is shown, and the headline goes on while somebody picks, asks or has given up", async (t) => {
  const { gateway, scanner } = await yard(t, { more: HOLD });
  gateway.setPin();
  for (const code of ["TRL-1", "TRL-2"]) await scanner.scan(code);
  const page = await open(t, `${gateway.url}/failures`);
  await page.clock.install();
  const headline = (n) => says(page, ".reasons .hd", `${n}`, "for a decision");
  const boxes = page.getByRole("checkbox", { name: /^Pick letter/ });
  await headline(2);
  await boxes.first().check();
  await page.getByRole("button", { name: "Give up 1 …" }).click();
  await says(page, "dialog", "Needed: it is kept with the letters.");
  await scanner.scan("TRL-3");
  await headline(3);
  await page.getByLabel("Why").fill("Test data");
  await page.getByRole("button", { name: "Give up 1", exact: true }).click();
  await givePin(page);
  await says(page, ".job", "1 given up", "Undo");
  await headline(2);
  // As many as before it: the badge said the same once already.
  await scanner.scan("TRL-4");
  await headline(3);
  await page.clock.runFor(60_000);
  await page.getByRole("button", { name: "Undo" }).click();
  await says(page, ".job", "1 opened again");
  await headline(4);
  await boxes.first().check();
  await scanner.scan("TRL-5");
  await headline(5);
  assert.equal(await boxes.first().isChecked(), true, "what was picked stays so");
});

test("what was counted on the page must still be so when all of a reason are given up", async (t) => {
  const { gateway, scanner } = await yard(t, { more: HOLD });
  gateway.setPin();
  await scanner.scan("TRL-1");
  await until("a letter", async () => (await gateway.json("/api/v1/letters?limit=9")).items.length === 1);
  const cookie = await session(gateway);
  const asked = { method: "POST", headers: { ...own(gateway), cookie, "idempotency-key": "0123456789abcdef0123456789abcdef" }, body: JSON.stringify({ action: "discard", filter: { reason: "unknown_tag" }, expect: 7, note: "x" }) };
  const { status, body } = await gateway.ask("/api/v1/letters/actions", asked);
  assert.equal(status, 409, body);
  assert.equal(JSON.parse(body).error.now, 1);
});

/** What the page sends with what changes something. */
const own = (gateway) => ({ origin: gateway.url, "x-waypost": "1", "content-type": "application/json" });

/** A session as a program opens it: its cookie. */
async function session(gateway) {
  const { status, headers, body } = await gateway.ask("/api/v1/session", { method: "POST", headers: own(gateway), body: JSON.stringify({ pin: PIN }) });
  assert.ok(status < 300, body);
  return headers["set-cookie"][0].split(";")[0];
}

test("the PIN: a wrong one is told, the right one holds, a new one on the gateway ends the session, five wrong ones close the gate", async (t) => {
  const { gateway, scanner } = await yard(t, { zones: YARD });
  const page = await open(t, `${gateway.url}/?view=live`);
  await scanner.scan("TRL-1041");
  await says(page, "#assets", "TRL-1041");
  await page.locator("#assets .pick", { hasText: "TRL-1041" }).click();
  const move = async (place) => {
    await page.getByRole("button", { name: "Move …" }).click();
    await page.locator("dialog input").first().fill(place);
    await page.locator("dialog button[type=submit]").click();
  };
  const placed = (place) => until(`it is at ${place}`, async () => (await gateway.json("/api/v1/assets/raw:TRL-1041")).place === place);
  await move("dock-1");
  await says(page, "dialog", "PIN", "waypost pin set");
  await page.keyboard.press("Escape");
  gateway.setPin();
  await move("dock-1");
  await givePin(page, "111111");
  await says(page, "dialog:last-of-type", "That is not the PIN.");
  await givePin(page);
  await placed("dock-1");
  await move("dock-2");
  await placed("dock-2");
  await until("no further question: the session holds", async () => (await page.locator("dialog").count()) === 0);
  gateway.setPin("135790");
  await move("dock-4");
  await givePin(page, PIN);
  await says(page, "dialog:last-of-type", "That is not the PIN.");
  for (let n = 0; n < 4; n += 1) {
    await givePin(page, `00000${n}`);
    await until("an answer", async () => (await page.locator("dialog input[type=password]").inputValue()) === "");
  }
  const told = await until("the gate closes", async (there) => {
    const said = await text(page, "dialog:last-of-type");
    there(said);
    return /minutes|Wait|wait|too many/i.test(said) && said;
  });
  await givePin(page, "135790");
  await until("the right one is not heard either", async () => (await page.locator("dialog input[type=password]").inputValue()) === "");
  assert.ok(told);
  assert.equal((await gateway.json("/api/v1/assets/raw:TRL-1041")).place, "dock-2");
  assert.ok((await gateway.metric("waypost_pin_refused_total")) >= 0);
});

test("the operator draws the plan on the page, and is told when somebody else has saved another meanwhile", async (t) => {
  const { gateway, gps } = await yard(t);
  gateway.setPin();
  await gps.fix(59.1240, 11.3880);
  const page = await open(t, `${gateway.url}/?view=live`);
  await says(page, "#facts", "TRK-07");
  const zones = () => gateway.json("/api/v1/zones");
  const revised = (rev) => until(`plan ${rev}`, async () => (await zones()).rev === rev);
  await page.locator(".zbegin").click();
  await says(page, "#editor", "Edit the plan", "No zone yet");
  await page.locator(".ztools button").first().click();
  await says(page, "#editor", "Dock, dock-1");
  const name = "<img src=x onerror=window.hurt=1>";
  await page.locator(".zform input").first().fill(name);
  await page.locator("#editor .pri").click();
  await givePin(page);
  await revised(1);
  const [zone] = (await zones()).plan.features;
  assert.deepEqual(zone.properties, { id: "dock-1", name, kind: "dock" });
  const [ring] = zone.geometry.coordinates;
  assert.equal(ring.length, 5);
  assert.deepEqual(ring[0], ring[4], "a ring is closed");
  await until("the zone drawn", async () => (await page.locator(".zones .zone").count()) === 1);
  assert.equal(await page.evaluate(() => "hurt" in window || document.querySelector("main img") !== null), false);

  await says(page, "#editor .done", "The plan with 1 zone is saved.");

  const box = () => page.locator(".hit").getAttribute("d");
  const [before, grip] = [await box(), await page.locator(".grip.whole").boundingBox()];
  await page.mouse.move(grip.x + 22, grip.y + 22);
  await page.mouse.down();
  await page.mouse.move(grip.x + 90, grip.y + 60, { steps: 4 });
  await page.mouse.up();
  await until("the drag is drawn", async () => (await box()) !== before);
  await page.locator(".zform input").first().focus();
  await page.keyboard.press("Control+z");
  await until("the drag is taken back", async () => (await box()) === before);
  assert.equal(await page.locator(".zform input").first().inputValue(), name, "and not what stands in the field");
  await page.keyboard.press("Control+Shift+Z");
  await until("the drag is there again", async () => (await box()) !== before);
  await page.keyboard.press("Control+z");

  const corner = await page.locator(".grip:not(.whole):not(.mid)").first().boundingBox();
  const far = await page.locator(".grip:not(.whole):not(.mid)").nth(2).boundingBox();
  await page.mouse.move(corner.x + 22, corner.y + 22);
  await page.mouse.down();
  await page.mouse.move(far.x + 62, (corner.y + far.y) / 2 + 22, { steps: 4 });
  await page.mouse.up();
  await says(page, "#editor", "Its sides cross or touch each other");
  assert.equal(await page.locator("#editor .pri").isDisabled(), true);
  await page.keyboard.press("Control+z");
  await until("whole again", async () => (await box()) === before);

  await page.locator(".ztools button").first().click();
  await says(page, "#editor", "Dock, dock-2");
  const grips = await page.locator(".grip:not(.whole):not(.mid)").all();
  const at = await Promise.all(grips.map((one) => one.boundingBox()));
  at.forEach((a, n) => at.slice(n + 1).forEach((b) => assert.ok(Math.hypot(a.x - b.x, a.y - b.y) > 44, "handles that touch")));
  await page.keyboard.press("Control+z");
  await until("one zone", async () => (await page.locator(".zlist li").count()) === 1);
  await page.locator(".zlist .pick").click();

  await page.locator(".zform .dang").click();
  await says(page, "#editor", "No zone yet");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Undo", "what brings it back has the focus");
  await page.keyboard.press("Enter");
  await says(page, "#editor", "Dock, dock-1");
  await page.locator(".zlist .pick").click();

  writeFileSync(gateway.path("other.geojson"), "{\"type\":\"FeatureCollection\",\"features\":[]}");
  gateway.command(["plan", "import", gateway.path("other.geojson")]);
  await says(page, "#editor", "Somebody else has saved another plan meanwhile.");
  await page.locator(".zform input").first().fill("Mine");
  await page.locator("#editor .pri").click();
  await until("the question", async () => (await page.locator("dialog .dang").count()) === 1);
  assert.equal((await zones()).rev, 2, "nothing is put in the place of what was not seen");
  await page.locator("dialog .dang").click();
  await revised(3);
  assert.equal((await zones()).plan.features[0].properties.name, "Mine");
});

test("everything goes without a pointer: screens by number, marks by arrows, a search, a move, and the way out of each", async (t) => {
  const { gateway, gps, scanner } = await yard(t, { zones: YARD });
  gateway.setPin();
  await gps.fix(59.1240, 11.3880);
  await scanner.scan("TRL-1041");
  await scanner.scan("TRL-1042");
  const page = await open(t, `${gateway.url}/?view=live`);
  await says(page, "#assets", "TRL-1041", "TRL-1042", "TRK-07");
  const { keyboard } = page;
  // As a hand does it: what is faster is a scanner.
  const press = (key) => keyboard.press(key, { delay: 60 });
  await press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "skip", "the first stop leads past the strip");
  for (const [key, path] of [["2", "/scans"], ["3", "/assets"], ["4", "/failures"], ["5", "/health"], ["6", "/about"], ["1", "/"]]) {
    await press(key);
    await until(path, () => page.evaluate((path) => location.pathname === path, path));
  }
  await until("the yard", () => page.evaluate(() => document.getElementById("find") !== null));
  await press("?");
  await until("the list of keys", () => page.evaluate(() => document.querySelector("dialog[open]") !== null));
  await press("Escape");
  await until("no question", () => page.evaluate(() => document.querySelector("dialog[open]") === null));
  await press("/");
  await until("the search has the focus", () => page.evaluate(() => document.activeElement?.id === "find"));
  await keyboard.type("1042", { delay: 80 });
  await until("one hit", async () => (await page.locator("#assets li").count()) === 1);
  await press("Tab");
  for (let n = 0; n < 5 && !(await page.evaluate(() => document.activeElement?.className === "pick")); n += 1) await press("Tab");
  await press("Enter");
  await says(page, "#facts", "TRL-1042");
  await until("Move …", () => page.getByRole("button", { name: "Move …" }).isVisible());
  await page.getByRole("button", { name: "Move …" }).focus();
  await press("Enter");
  await until("the question", () => page.evaluate(() => document.querySelector("dialog[open]")?.contains(document.activeElement)));
  await keyboard.type("dock-1", { delay: 80 });
  await press("Enter");
  await until("the PIN is asked for", () => page.evaluate(() => /** @type {HTMLInputElement} */ (document.activeElement)?.type === "password"));
  await keyboard.type(PIN, { delay: 80 });
  await press("Enter");
  await until("it is there", async () => (await gateway.json("/api/v1/assets/raw:TRL-1042")).place === "dock-1");
  // The row that has the focus keeps it while others come and go.
  await press("Escape");
  await page.evaluate(() => /** @type {HTMLInputElement} */ (document.getElementById("find")).value = "");
  await page.locator("#find").dispatchEvent("input");
  await page.locator("#assets .pick", { hasText: "TRL-1041" }).focus();
  await scanner.scan("TRL-1043");
  await says(page, "#assets", "TRL-1043");
  assert.match(await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).innerText), /TRL-1041/);
  const marks = page.locator(".marks button");
  await marks.first().focus();
  await press("ArrowRight");
  assert.equal(await page.evaluate(() => document.activeElement?.closest(".marks") !== null), true);
});

test("who keeps the yard behind the PIN sees it with the PIN and nothing of it without", async (t) => {
  const { gateway, scanner } = await yard(t, { http: "read = \"pin\"\n" });
  gateway.setPin();
  await scanner.scan("SECRET-1");
  const page = await open(t, `${gateway.url}/?view=live`);
  await says(page, "body", "PIN");
  for (const path of ["/api/v1/snapshot", "/api/v1/stream", "/api/v1/events", "/api/v1/assets", "/api/v1/letters", "/api/v1/zones"]) {
    const { status, body } = await gateway.ask(path);
    assert.equal(status, 401, path);
    assert.ok(!body.includes("SECRET"), body);
  }
  assert.ok(!(await gateway.ask("/metrics")).body.includes("SECRET"));
  assert.ok(!(await text(page, "body")).includes("SECRET"));
});
