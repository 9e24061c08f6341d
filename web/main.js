// @ts-check
// The page: a store that the link fills, one screen that draws from it, and what stands around it. Verdicts and alarms are
// drawn at once, positions at most four times a second, ages once a second.

import { el, h, put } from "./dom.js";
import { elapsed, Far, worker } from "./far.js";
import { measureIn, plain } from "./fmt.js";
import { LANGS, speak, spoken, t } from "./i18n.js";
import { isFresh } from "./judge.js";
import { keep, load } from "./prefs.js";
import { hrefOf, screenOf, SCREENS } from "./route.js";
import { Store } from "./store.js";
import { alarms, navigation, strip } from "./view/shell.js";
import { NO_PLAN, planOf } from "./yard.js";

/** @typedef {import("./types").Scene} Scene */
/** @typedef {import("./types").View} View */
/** @typedef {import("./types").Page} Page */

const POSITIONS_MS = 250;
/** Scans that come faster than this are drawn together. ms */
const SCANS_MS = 100;
const SAY_MS = 5000;
const AHEAD_MS = 4000;
const MUTE_MS = 600_000;
/** What is drawn at once, beside scans; and what has time until the positions are drawn next. */
const URGENT = ["source", "uplink", "alarm", "letters", "job"];
const CALM = ["disk", "clock", "worker", "ledger"];
const DEVICE_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const OWN_PAGE = document.documentElement.dataset.page ?? "dev";

/** Each screen comes when it is opened. @type {Record<import("./route.js").Screen, () => Promise<{view(page: Page): View}>>} */
const VIEWS = {
  live: () => import("./view/live.js"),
  scans: () => import("./view/scans.js"),
  assets: () => import("./view/assets.js"),
  failures: () => import("./view/failures.js"),
  health: () => import("./view/health.js"),
  about: () => import("./view/about.js"),
  first: () => import("./view/first.js"),
  board: () => import("./view/board.js"),
  cab: () => import("./view/cab.js"),
};

let prefs = load();
let plan = NO_PLAN;
/** @type {string|null} */
let selected = null;
/** @type {import("./route.js").Screen} */
let screen = screenOf(location.pathname, new URLSearchParams(location.search));
/** @type {View|null} */
let shown = null;
/** Which opening of a screen is the newest: one that comes late is dropped. */
let opening = 0;

/** Tones, when somebody wants them. @type {import("./sound.js").Sounds|null} */
let sounds = null;

const store = new Store();
const frame = { strip: strip(), alarms: alarms(say), navigation: navigation() };

/** @type {import("./stream.js").Listener} */
const listener = {
  snapshot(snap) {
    store.snapshot(snap, elapsed());
    drawAll();
    void readPlan();
    begin();
  },
  hello(hello) {
    store.hello(hello, elapsed());
    drawAll();
  },
  delta(delta) {
    const kinds = store.delta(delta, elapsed());
    if (kinds.has("zones") && store.state.planRev !== plan.rev) void readPlan();
    const calm = CALM.some((kind) => kinds.has(kind));
    // A verdict and what is wrong are drawn at once.
    if (kinds.has("scan") || URGENT.some((kind) => kinds.has(kind))) drawNow();
    else if (calm || kinds.has("asset") || kinds.has("fix")) drawSoon(calm);
    heard(delta, kinds);
  },
  beat: (at) => store.hear(at, elapsed()),
  changed: drawAll,
  page: renew,
};

// ?alone=1: this page has a connection of its own, for a screen that a person keeps apart.
const alone = new URLSearchParams(location.search).has("alone");
const link = new Far(() => (alone ? null : worker()), async () => {
  const { Link, browser } = await import("./stream.js");
  return new Link(browser(), listener);
}, listener);

/** @type {Page} */
const page = {
  store,
  plan: () => plan,
  prefs: () => prefs,
  set(name, value) {
    keep(name, value);
    prefs = { ...prefs, [name]: value };
    void settle();
  },
  select(asset) {
    selected = asset;
    drawAll();
  },
  say,
  redraw: drawAll,
  open,
};

/** A plan that is a file changes with a restart of the gateway, and after one there is a new snapshot; of a kept one the stream tells. Without it the grid remains. */
async function readPlan() {
  try {
    const answer = await fetch("/api/v1/zones", { cache: "no-store" });
    if (answer.ok) plan = planOf(await answer.json());
    drawAll();
  } catch {
    // The link tells of a gateway that cannot be reached.
  }
}

/** What is true at this moment. @returns {Scene} */
function scene() {
  const now = elapsed();
  const fresh = isFresh(link.view, now);
  const wall = store.wall(now) ?? 0;
  const zones = { site: store.state.node.tz, device: DEVICE_ZONE, utc: "UTC" };
  return {
    state: store.state, plan, prefs, link: link.view, fresh, known: store.heard !== null, now, wall,
    shown: fresh ? wall : store.heard?.t ?? 0,
    tz: zones[prefs.zone], quiet: prefs.sound !== "off" && (sounds?.locked() ?? false), muted: sounds?.muted() ?? true, mute, selected, select: page.select, kick: () => link.kick(),
  };
}

/** The drawing that is due, when, and whether it is of all; when all was drawn last. @type {ReturnType<typeof setTimeout>|null} */
let soon = null;
let [due, whole, drawn] = [Infinity, false, -Infinity];

function drawAll() {
  if (soon !== null) clearTimeout(soon);
  [soon, due, whole, drawn] = [null, Infinity, false, elapsed()];
  const now = scene();
  document.documentElement.classList.toggle("gone", !now.fresh);
  frame.strip.draw(now);
  frame.alarms.draw(now);
  frame.navigation.draw(now, screen);
  if (!shown) return;
  shown.draw(now);
  const name = plain(now.state.node.name || now.state.node.id || "waypost", 48);
  const title = screen === "live" ? name : `${shown.title}, ${name}`;
  if (document.title !== title) document.title = title;
}

/** Draws within a while, or with what is due before that. @param {boolean} all or only what moves @param {number} [ms] */
function drawSoon(all, ms = POSITIONS_MS) {
  whole ||= all;
  const at = elapsed() + ms;
  if (at >= due) return;
  if (soon !== null) clearTimeout(soon);
  due = at;
  soon = setTimeout(() => {
    const all = whole;
    [soon, due, whole] = [null, Infinity, false];
    if (document.hidden) return;
    if (all) drawAll();
    else shown?.move?.(scene());
  }, ms);
}

/** Draws all at once; what comes in a burst shortly after that, together. */
function drawNow() {
  const since = elapsed() - drawn;
  if (since >= SCANS_MS) drawAll();
  else drawSoon(true, SCANS_MS - since);
}

/** Opens the screen of the present address. */
async function show() {
  const mine = ++opening;
  const query = new URLSearchParams(location.search);
  screen = screenOf(location.pathname, query);
  if (query.has("asset")) selected = query.get("asset");
  document.documentElement.dataset.screen = screen;
  /** @type {View} */
  let next;
  try {
    next = (await VIEWS[screen]()).view(page);
  } catch {
    // The gateway went away between two screens: the one that is shown stays, the bar above says why.
    if (mine === opening && !shown) el("main").replaceChildren(h("p", "none", t("This part of the page could not be loaded. It is tried again.")));
    if (mine === opening) setTimeout(() => mine === opening && void show(), 3000);
    return;
  }
  if (mine !== opening) return;
  const first = shown === null;
  shown?.leave?.();
  shown = next;
  el("main").replaceChildren(next.node);
  drawAll();
  // Who came by a link goes on reading in the new screen.
  if (!first) el("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** @param {string} href */
function open(href) {
  history.pushState(null, "", href);
  void show();
}

/** A gateway from which some source has never heard anything is set up first, unless somebody has looked at the yard already. */
function begin() {
  // Who asks for the yard by name gets it: /?view=live
  if (screen !== "live" || new URLSearchParams(location.search).has("view")) return;
  const { sources, ledger } = store.state;
  const counts = ledger?.sources ?? {};
  const waits = sources.size === 0 || [...sources.values()].some((one) => one.frameAt === null && !counts[one.id]?.frames);
  let later = false;
  try {
    later = sessionStorage.getItem("waypost.later") !== null;
  } catch {
    // No storage: it may come once more.
  }
  if (waits && !later) open(hrefOf("first", new URLSearchParams(location.search)));
}

/** Speaks, measures and looks as it is set. */
async function settle() {
  const wanted = prefs.lang === "auto" ? (navigator.languages ?? []).map((one) => one.slice(0, 2)).find((one) => one in LANGS) ?? "en" : prefs.lang;
  if (wanted !== spoken()) await speak(wanted);
  measureIn(prefs.units);
  document.documentElement.lang = spoken();
  if (prefs.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = prefs.theme;
  put(el("skip"), t("Skip to the yard"));
  if (prefs.sound !== "off" && !sounds) {
    const { Sounds } = await import("./sound.js");
    sounds ??= new Sounds();
  }
  drawAll();
}


/** @param {any} delta @param {Set<string>} kinds */
function heard(delta, kinds) {
  if (prefs.sound !== "off") sounds?.hear(delta, kinds, scene());
}

/** Nothing sounds for ten minutes; what is wrong stays to be seen. */
function mute() {
  sounds?.mute(MUTE_MS);
  drawAll();
}

/** What a screen reader should hear: faults at once, the rest at most each five seconds and only the newest. */
let quietUntil = 0;
/** @type {{text: string}|null} */
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
  waiting = { text };
  setTimeout(() => {
    el("say").textContent = waiting?.text ?? "";
    quietUntil = elapsed() + SAY_MS;
    waiting = null;
  }, Math.max(0, quietUntil - elapsed()));
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
addEventListener("pagehide", () => link.leave());
addEventListener("popstate", () => void show());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) link.hidden();
  else {
    link.visible();
    drawAll();
  }
});
// A browser lets nothing sound before somebody has touched the page.
addEventListener("pointerdown", () => sounds?.unlock());
// Links between screens change the screen without loading the page.
document.addEventListener("click", (event) => {
  const at = event.target instanceof Element ? event.target.closest("a") : null;
  if (!at || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || at.target || at.hasAttribute("download")) return;
  const to = new URL(at.href);
  if (to.origin !== location.origin || !Object.values(SCREENS).some((path) => path === to.pathname) || at.getAttribute("href")?.startsWith("#")) return;
  event.preventDefault();
  if (to.href !== location.href) open(at.href);
  document.getElementById(to.hash.slice(1))?.scrollIntoView();
});
void import("./keys.js").then(({ listen }) => listen({
  single: () => prefs.keys === "on",
  screen: (/** @type {keyof typeof SCREENS} */ name) => open(hrefOf(name, new URLSearchParams(location.search))),
  key: (/** @type {string} */ key) => shown?.key?.(key) ?? false,
  scan: (/** @type {string} */ text) => shown?.scan?.(text) ?? false,
}), () => {
  // Without its keys the page works by pointer.
});

// Ages. What moves is drawn with them, not beside them.
setInterval(() => {
  if (!document.hidden) drawSoon(true);
}, 1000);
link.start();
await settle();
await show();
// The other screens come while nothing else is to be done: they are here when the gateway is not.
setTimeout(() => [...Object.values(VIEWS), () => import("./stream.js")].forEach((load) => load().catch(() => null)), AHEAD_MS);
