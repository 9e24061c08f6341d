// What the tests in a browser share: a gateway that is the real binary on a folder of its own, ports that a test plays, a
// broker, and pages of a real Chromium that are watched for whatever should not happen.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** A condition that does not come true within this has failed: far beyond what any of them should take. ms */
const PATIENCE_MS = 60_000;
export const BINARY = resolve(process.env.WAYPOST ?? "target/debug/waypost");
export const PIN = "246813";
export const YARD = resolve("hardware/demo/zones.geojson");

const need = createRequire(`${process.cwd()}/target/look/`);

/** Waits until `look` answers something; says what was missing, and what was there instead, when it never does. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  let last;
  for (;;) {
    const found = await look((now) => { last = now; });
    if (found) return found;
    if (Date.now() > end) assert.fail(`never came: ${what}${last === undefined ? "" : `; there is: ${last}`}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** A port that a test plays: the gateway connects to it as to a serial device server. */
export class Port {
  async open() {
    this.lines ??= new Set();
    this.server = createServer({ noDelay: true }, (line) => {
      this.lines.add(line);
      line.on("close", () => this.lines.delete(line));
      line.on("error", () => line.destroy());
      line.resume();
    });
    await new Promise((done) => this.server.listen(this.at ?? 0, "127.0.0.1", done));
    this.at = this.server.address().port;
    return this;
  }

  get url() {
    return `tcp://127.0.0.1:${this.at}`;
  }

  /** Sends bytes as soon as somebody reads; answers when they were handed to the kernel, in ms of Date. @param {string|Buffer} bytes */
  async send(bytes) {
    await until("a reader of the port", () => this.lines.size > 0);
    const at = Date.now();
    for (const line of this.lines) line.write(bytes);
    return at;
  }

  /** A code as a scanner sends it. @param {string|Buffer} code */
  scan(code) {
    return this.send(Buffer.concat([Buffer.from(code), Buffer.from("\r\n")]));
  }

  /** A position as a receiver sends it. @param {number} lat @param {number} lon */
  fix(lat, lon, { at = Date.now(), mps = 5 } = {}) {
    const iso = new Date(at).toISOString();
    const time = `${iso.slice(11, 13)}${iso.slice(14, 16)}${iso.slice(17, 22)}`;
    const part = (value, digits) => `${String(Math.trunc(value)).padStart(digits, "0")}${((value % 1) * 60).toFixed(5).padStart(8, "0")}`;
    const where = `${part(lat, 2)},N,${part(lon, 3)},E`;
    const day = `${iso.slice(8, 10)}${iso.slice(5, 7)}${iso.slice(2, 4)}`;
    return this.send([`GPRMC,${time},A,${where},${(mps * 1.943844).toFixed(1)},090.0,${day},,,A`, `GPGGA,${time},${where},1,09,0.9,12.3,M,46.9,M,,`].map(sentence).join(""));
  }

  /** Takes the plug out. */
  async close() {
    for (const line of this.lines) line.destroy();
    await new Promise((done) => this.server.close(done));
  }
}

/** A line between page and gateway that can stand still: nothing comes through then, and neither side is told. */
export class Line {
  /** @param {import("node:test").TestContext} t @param {Gateway} gateway */
  async open(t, gateway) {
    this.still = false;
    this.ends = new Set();
    const server = createServer({ noDelay: true }, (near) => {
      const far = connect(gateway.port, "127.0.0.1");
      for (const [one, other] of [[near, far], [far, near]]) {
        this.ends.add(one);
        one.on("data", (part) => other.write(part));
        one.on("error", () => other.destroy());
        one.on("close", () => {
          this.ends.delete(one);
          other.destroy();
        });
        if (this.still) one.pause();
      }
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    this.url = `http://127.0.0.1:${server.address().port}`;
    t.after(() => {
      for (const one of this.ends) one.destroy();
      return new Promise((done) => server.close(done));
    });
    return this;
  }

  stop() {
    this.still = true;
    for (const one of this.ends) one.pause();
  }

  go() {
    this.still = false;
    for (const one of this.ends) one.resume();
  }
}

/** @param {string} body */
function sentence(body) {
  const sum = [...body].reduce((sum, one) => sum ^ one.charCodeAt(0), 0);
  return `$${body}*${sum.toString(16).toUpperCase().padStart(2, "0")}\r\n`;
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** A gateway on a folder and an address that stay the same over its lives. */
export class Gateway {
  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), "waypost-page-"));
    mkdirSync(join(this.dir, "store"));
  }

  path(name) {
    return join(this.dir, name);
  }

  /** @param {string} more TOML behind what each gateway has @param {{http?: string}} [how] */
  async configure(more, { http = "" } = {}) {
    this.port ??= await freePort();
    writeFileSync(this.path("waypost.toml"), `[node]\nid = "wp-07"\nsite = "halden"\n\n[store]\ndir = "${this.path("store")}"\n\n[http]\nlisten = ["127.0.0.1:${this.port}"]\npin_file = "${this.path("pin")}"\n${http}\n${more}`);
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    const log = openSync(this.path("log"), "a");
    const env = { ...process.env, RUST_LOG: "info,rumqttc=error" };
    delete env.NOTIFY_SOCKET;
    const child = spawn(BINARY, ["--config", this.path("waypost.toml"), "run"], { stdio: ["ignore", "ignore", log], env });
    this.child = child;
    await until("the gateway's screen", async () => {
      assert.equal(child.exitCode, null, `the gateway ended: ${this.log()}`);
      return (await this.ask("/livez")).status === 200;
    });
  }

  log() {
    return readFileSync(this.path("log"), "utf8");
  }

  /** Ends it: with SIGTERM it closes all in order, with SIGKILL it has no chance to. @param {"SIGTERM"|"SIGKILL"} how */
  async end(how = "SIGTERM") {
    const child = this.child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(how);
    await ended;
  }

  /** A command of the binary on this gateway. @param {string[]} args @param {string} [input] */
  command(args, input = "") {
    const done = spawnSync(BINARY, ["--config", this.path("waypost.toml"), ...args], { input, encoding: "utf8" });
    assert.equal(done.status, 0, `waypost ${args.join(" ")}: ${done.stdout}${done.stderr}`);
    return done.stdout;
  }

  setPin(pin = PIN) {
    this.command(["pin", "set", "--stdin"], `${pin}\n`);
  }

  /** A request as a program makes it, with any header. @returns {Promise<{status: number, body: string, headers: any}>} */
  ask(path, { method = "GET", headers = {}, body } = {}) {
    return new Promise((done) => {
      const asked = request({ host: "127.0.0.1", port: this.port, path, method, headers, agent: false }, (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (part) => { text += part; });
        answer.on("end", () => done({ status: answer.statusCode, body: text, headers: answer.headers }));
        answer.on("error", () => done({ status: 0, body: "", headers: {} }));
      });
      asked.on("error", () => done({ status: 0, body: "", headers: {} }));
      asked.end(body);
    });
  }

  async json(path) {
    const { status, body } = await this.ask(path);
    assert.equal(status, 200, `${path}: ${body}`);
    return JSON.parse(body);
  }

  /** A figure of its metrics, all lines of that name together; 0 when there is none. */
  async metric(name) {
    const { body } = await this.ask("/metrics");
    return body.split("\n").filter((line) => line.startsWith(name) && /[ {]/.test(line[name.length])).reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }
}

/** A gateway with a receiver and a scanner, which ends with the test. @param {import("node:test").TestContext} t */
export async function yard(t, { more = "", http = "", zones = "" } = {}) {
  const gateway = new Gateway();
  const [gps, scanner] = [await new Port().open(), await new Port().open()];
  t.after(async () => {
    await gateway.end();
    await Promise.all([gps.close(), scanner.close()]);
    if (!process.env.WAYPOST_KEEP) rmSync(gateway.dir, { recursive: true, force: true });
  });
  await gateway.configure(`${more}
[[gps]]
id = "gps0"
port = "${gps.url}"
asset = "TRK-07"
track_interval_s = 0
${zones ? `\n[plan]\nzones = "${zones}"\n` : ""}
[[scanner]]
id = "door-3"
port = "${scanner.url}"
place = "dock-3"
`, { http });
  await gateway.start();
  return { gateway, gps, scanner };
}

/** A broker on a port that stays the same over its lives; null, said aloud, where there is none. @param {import("node:test").TestContext} t */
export async function broker(t) {
  const program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"].find(existsSync);
  if (!program) return null;
  const dir = mkdtempSync(join(tmpdir(), "waypost-broker-"));
  const port = await freePort();
  writeFileSync(join(dir, "conf"), `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`);
  /** @type {import("node:child_process").ChildProcess|null} */
  let child = null;
  const self = {
    port,
    start() { child = spawn(program, ["-c", join(dir, "conf")], { stdio: "ignore" }); },
    async end() {
      if (!child) return;
      const ended = new Promise((done) => child?.once("exit", done));
      child.kill("SIGKILL");
      await ended;
      child = null;
    },
  };
  t.after(async () => {
    await self.end();
    rmSync(dir, { recursive: true, force: true });
  });
  return self;
}

/** In the page, before any of its scripts: notes what should never happen. */
function watch() {
  const seen = { refused: [], green: [] };
  Object.defineProperty(window, "seen", { value: seen });
  document.addEventListener("securitypolicyviolation", (event) => seen.refused.push(`${event.effectiveDirective} ${event.blockedURI}`));
  // What a person takes for "all is well": marks and words in the colours of it.
  const greens = () => [...document.querySelectorAll("#truth .t-ok, #truth .t-live, #one.t-ok, #one.t-live, #truth svg, main svg.i, main .word")].filter((one) => one.getClientRects().length > 0 && !one.closest(".legend") && /\b(ok|live|dock|move|t-ok|t-live)\b/.test(one.getAttribute("class") ?? ""));
  const look = () => {
    if (document.documentElement.classList.contains("gone") && document.getElementById("name")?.textContent) {
      for (const one of greens()) seen.green.push(`${location.pathname}: ${one.parentElement?.outerHTML.slice(0, 120)}`);
    }
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] });
}

/** @type {Promise<import("playwright-core").Browser>|null} */
let running = null;

/** The browser of this file; whoever asks first starts it. @param {string[]} [more] */
export function browser(more = []) {
  running ??= need("playwright-core").chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", ...more] });
  return running;
}

/** Ends the browser of this file. */
export async function close() {
  await (await running)?.close();
}

/**
 * A window of its own on the page, as on another device. At its end nothing must have run, failed or been refused in it.
 * @param {import("node:test").TestContext} t
 */
export async function device(t, how = {}) {
  const context = await (await browser()).newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", ...how });
  const wrong = [];
  await context.addInitScript(watch);
  context.on("dialog", (dialog) => {
    wrong.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  context.on("weberror", (error) => wrong.push(error.error().stack ?? String(error.error())));
  t.after(async () => {
    for (const page of context.pages()) {
      const seen = await page.evaluate(() => ({ refused: window.seen.refused, hurt: window.hurt })).catch(() => null);
      if (seen?.refused.length) wrong.push(`refused by the policy: ${seen.refused.join(", ")}`);
      if (seen?.hurt !== undefined) wrong.push(`something ran: window.hurt is ${seen.hurt}`);
    }
    await context.close();
    assert.deepEqual(wrong, []);
  });
  return context;
}

/** A page that shows an address, and what a person reads in it. @param {import("node:test").TestContext} t @param {string} url */
export async function open(t, url, how = {}) {
  const context = await device(t, how);
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

/** What stands in a part of the page, as a person reads it who scrolls to its end: rows out of sight are not in `innerText`. */
export const text = (page, part) => page.evaluate((part) => {
  const node = /** @type {HTMLElement|null} */ (document.querySelector(part));
  const skipped = (one) => one.checkVisibility() && !one.checkVisibility({ contentVisibilityAuto: true });
  const beyond = [...(node?.querySelectorAll("li") ?? [])].filter((row) => row.firstElementChild && skipped(row.firstElementChild));
  return [node?.innerText ?? "", ...beyond.map((row) => row.textContent)].join("\n");
}, part);

/** Waits until a part of the page says all of it. @param {string} part @param {...string} all */
export function says(page, part, ...all) {
  return until(`${JSON.stringify(all)} in ${part}`, async (there) => {
    const said = await text(page, part);
    there(JSON.stringify(said));
    return all.every((one) => said.includes(one)) ? said : null;
  });
}

/** Goes to another screen as a person does, by its link. */
export const go = (page, path) => page.evaluate((path) => /** @type {HTMLElement} */ (document.querySelector(`#nav a[href="${path}"]`)).click(), path);

/** How often a text stands in a part of the page. */
export const times = async (page, part, one) => (await text(page, part)).split(one).length - 1;

/** Types the PIN where the page asks for it. */
export async function givePin(page, pin = PIN) {
  const ask = page.locator("dialog").last();
  await ask.locator("input[type=password]").fill(pin);
  await ask.locator("button[type=submit]").click();
}

/** A yard in which so many trucks drive, each with a receiver of its own that speaks once a second. @param {import("node:test").TestContext} t */
export async function crowd(t, n = 50) {
  const ports = await Promise.all(Array.from({ length: n }, () => new Port().open()));
  t.after(() => Promise.all(ports.map((port) => port.close())));
  const more = ports.map((port, at) => `[[gps]]\nid = "gps-${at}"\nport = "${port.url}"\nasset = "TRK-${100 + at}"\ntrack_interval_s = 0\n`).join("\n");
  const { gateway, gps, scanner } = await yard(t, { more, zones: YARD });
  /** Where truck `at` is after `step` seconds: each on a lane of its own, up and down the yard. */
  const where = (at, step) => {
    const [lane, way] = [at % 10, ((Math.floor(at / 10) * 8 + step) % 80) / 40];
    return [59.1236 + lane * 0.0001, 11.387 + 0.003 * (way < 1 ? way : 2 - way)];
  };
  let step = 0;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  let timer;
  const tick = () => ports.map((port, at) => port.fix(...where(at, step), { mps: 3 }));
  const self = {
    gateway, gps, scanner, where, ports,
    /** Lets them drive until the test ends or `stop`. A tenth of them each 100 ms: receivers do not speak in one voice. */
    drive() {
      timer = setInterval(() => {
        for (let at = step % 10; at < n; at += 10) {
          // A truck whose gateway is ending has nobody to speak to.
          if (ports[at].lines.size > 0) void ports[at].fix(...where(at, Math.floor(step / 10)), { mps: 3 });
        }
        step += 1;
      }, 100);
    },
    stop: () => clearInterval(timer),
    all: () => Promise.all(tick()),
  };
  t.after(self.stop);
  await self.all();
  await until("all trucks", async () => (await gateway.json("/api/v1/snapshot")).assets.length >= n);
  return self;
}

/** The developer's view of a page: throttles its processor, counts its nodes, its heap and its work. */
export async function inspect(page) {
  const cdp = await page.context().newCDPSession(page);
  // In time of the processor: what else this machine does is not counted.
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const metrics = async () => Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value]));
  return {
    cdp, metrics,
    slow: (rate) => cdp.send("Emulation.setCPUThrottlingRate", { rate }),
    /** After what is garbage was taken away. */
    async counts() {
      await cdp.send("HeapProfiler.collectGarbage");
      const { Nodes, JSHeapUsedSize, JSEventListeners } = await metrics();
      return { nodes: Nodes, heap: JSHeapUsedSize, listeners: JSEventListeners };
    },
  };
}
