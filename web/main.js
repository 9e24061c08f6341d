// @ts-check
// The page: a store that the link fills, views that draw from it. Verdicts and alarms are drawn at once, positions at most
// four times a second, ages once a second.

import { el } from "./dom.js";
import { isFresh } from "./judge.js";
import { Store } from "./store.js";
import { Link, browser } from "./stream.js";
import { alarms } from "./view/alarms.js";
import { assets } from "./view/assets.js";
import { letters } from "./view/letters.js";
import { plot } from "./view/plot.js";
import { position } from "./view/position.js";
import { scans } from "./view/scans.js";
import { strip } from "./view/strip.js";
import { zonesOf } from "./yard.js";

/** @typedef {import("./types").Scene} Scene */

const POSITIONS_MS = 250;
const SAY_MS = 5000;
const STATES = ["source", "uplink", "disk", "clock", "worker", "ledger", "alarm"];
const OWN_PAGE = document.documentElement.dataset.page ?? "dev";

const theme = new URLSearchParams(location.search).get("theme");
if (theme === "light" || theme === "dark" || theme === "night") document.documentElement.dataset.theme = theme;

const store = new Store();
/** @type {string|null} */
let selected = null;

const views = {
  strip: strip(), alarms: alarms(say), position: position(), plot: plot(select), assets: assets(), scans: scans(say), letters: letters(),
};

const link = new Link(browser(), {
  snapshot(snap) {
    store.snapshot(snap, performance.now());
    drawAll();
    void readPlan();
  },
  hello(hello) {
    store.hello(hello, performance.now());
    drawAll();
  },
  delta(delta) {
    const kinds = store.delta(delta, performance.now());
    if (kinds.has("asset") || kinds.has("fix")) drawPositionsSoon();
    if (kinds.has("scan")) draw(views.scans, views.strip);
    if (kinds.has("letters")) draw(views.letters);
    if (STATES.some((kind) => kinds.has(kind))) draw(views.strip, views.alarms);
  },
  beat: (t) => store.hear(t, performance.now()),
  changed: drawAll,
  page: renew,
});

/** The plan changes with a restart of the gateway, and after one there is a new snapshot. Without it the grid remains. */
async function readPlan() {
  try {
    const answer = await fetch("/api/v1/zones", { cache: "no-store" });
    if (answer.ok) views.plot.plan(zonesOf(await answer.json()));
  } catch {
    // The link tells of a gateway that cannot be reached.
  }
}

/** What is true at this moment. @returns {Scene} */
function scene() {
  const now = performance.now();
  const fresh = isFresh(link.view, now);
  const wall = store.wall(now) ?? 0;
  return {
    state: store.state, link: link.view, fresh, known: store.heard !== null, now, wall,
    shown: fresh ? wall : store.heard?.t ?? 0,
    tz: store.state.node.tz, selected, select, kick: () => link.kick(),
  };
}

/** @param {...{draw(scene: Scene): void}} some */
function draw(...some) {
  const now = scene();
  document.documentElement.classList.toggle("gone", !now.fresh);
  for (const view of some) view.draw(now);
}

function drawAll() {
  draw(...Object.values(views));
}

/** @type {ReturnType<typeof setTimeout>|null} */
let soon = null;

function drawPositionsSoon() {
  soon ??= setTimeout(() => {
    soon = null;
    if (!document.hidden) draw(views.position, views.plot, views.assets);
  }, POSITIONS_MS);
}

/** @param {string|null} asset */
function select(asset) {
  selected = asset;
  draw(views.position, views.plot, views.assets);
}

/** What a screen reader should hear: faults at once, the rest at most each five seconds and only the newest. */
let quietUntil = 0;
/** @type {{text: string, timer: ReturnType<typeof setTimeout>}|null} */
let waiting = null;

/** @param {string} text @param {boolean} fault */
function say(text, fault) {
  if (fault) {
    el("shout").textContent = text;
    return;
  }
  if (waiting) {
    waiting.text = text;
    return;
  }
  waiting = { text, timer: setTimeout(() => {
    el("say").textContent = waiting?.text ?? "";
    quietUntil = performance.now() + SAY_MS;
    waiting = null;
  }, Math.max(0, quietUntil - performance.now())) };
}

/**
 * The gateway has another page than this one: load it. Once a version only: what holds back the new one would otherwise
 * make this page load for ever.
 * @param {string} hash
 */
function renew(hash) {
  if (hash === OWN_PAGE || hash === "dev" || OWN_PAGE === "dev") return;
  try {
    if (sessionStorage.getItem("waypost.renewed") === hash) return;
    sessionStorage.setItem("waypost.renewed", hash);
  } catch {
    // No storage: nothing remembers that it was tried, so it is not.
    return;
  }
  location.reload();
}

addEventListener("online", () => link.kick());
addEventListener("pageshow", (event) => {
  if (event.persisted) link.visible();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) link.hidden();
  else {
    link.visible();
    drawAll();
  }
});
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    el("find").focus();
  } else if (event.key === "Escape" && typing) {
    /** @type {HTMLInputElement} */ (event.target).value = "";
    draw(views.assets);
  } else if (event.key === "Escape" && selected !== null) select(null);
});

setInterval(() => {
  if (!document.hidden) drawAll();
}, 1000);
drawAll();
link.start();
