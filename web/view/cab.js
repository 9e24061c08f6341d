// @ts-check
// A cab, read in a glance: where am I, did my scan count, is my data safe. While it drives nothing can be touched but day
// and night.

import { attr, button, h, hide, icon, put } from "../dom.js";
import { ago, clock, count, hm, isNum, plain, speed, words } from "../fmt.js";
import { t } from "../i18n.js";
import { condition, lastScan, missing, newest, quality, unsent, verdict } from "../judge.js";
import { isNight } from "../sun.js";
import { called, carrierOf, kindWord, nameOf, plateOf, shortly } from "../yard.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Shape} Shape */

/** Faster than this nothing can be touched. m/s (8 km/h) */
const LOCK_MPS = 8 / 3.6;
/** What was kept aside is told of for so long. ms */
const KEPT_MS = 30_000;

/** Why a read of a scanner is kept aside; other letters are no news for who scans (contract section 6). */
const OF_SCANS = new Set(["bad_charset", "bad_check", "bad_date", "bad_length", "concatenated", "control_only", "dup_ai_conflict", "framing", "non_ascii", "noread", "overlong", "pii", "truncated_ai", "unknown_ai", "unterminated", "unknown_tag", "storage_full", "storage_error"]);

/** Tells from the counts of letters when a read was kept aside, and why. */
export class Kept {
  constructor() {
    /** @type {Map<string, number>|null} */
    this.counts = null;
    /** @type {{why: import("../types").ReasonCount, at: number}|null} */
    this.last = null;
  }

  /** @param {import("../types").Letters|null} letters @param {number} now elapsed() @returns {import("../types").ReasonCount|null} */
  of(letters, now) {
    if (letters) {
      const all = (letters.by_reason ?? []).filter((one) => OF_SCANS.has(one.reason));
      const more = this.counts && all.find((one) => one.n > (this.counts?.get(one.reason) ?? 0));
      if (more) this.last = { why: more, at: now };
      this.counts = new Map(all.map((one) => [one.reason, one.n]));
    }
    return this.last && now - this.last.at < KEPT_MS ? this.last.why : null;
  }
}

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh");
  const where = { head: h("h2"), plate: h("span", "plate"), name: h("b"), of: h("span"), foot: h("p", "foot num") };
  const scan = { head: h("h2"), mark: icon(), word: h("b"), text: h("span"), foot: h("p", "foot num") };
  const scanCard = h("section", "card", scan.head, h("div", "verd", scan.mark.node, h("div", "", scan.word, scan.text)), scan.foot);
  const tiles = [0, 1, 2].map(() => {
    const mark = icon();
    const head = h("span");
    const text = h("b");
    const value = h("p", "", mark.node, text);
    return { node: h("section", "card num", head, value), mark, head, text, value };
  });
  const themeMark = icon();
  const themeHead = h("span");
  const themeWord = h("b");
  const theme = button("card", "", () => page.set("theme", night(page, last) ? "light" : "night"));
  theme.append(themeHead, h("p", "", themeMark.node, themeWord));
  const out = h("a", "out");
  const node = h("div", "cab", title,
    h("section", "card", where.head, h("div", "big", where.plate, h("div", "", where.name, where.of)), where.foot), scanCard,
    h("div", "cab3", ...tiles.map((tile) => tile.node), theme), out);
  document.documentElement.classList.add("cabv");
  /** @type {Scene|null} */
  let last = null;
  const kept = new Kept();
  /** @type {import("../types").View} */
  const self = {
    node,
    get title() { return t("Cab"); },
    move: (scene) => self.draw(scene),
    leave() {
      document.documentElement.classList.remove("cabv", "driving");
      if (page.prefs().theme === "auto") delete document.documentElement.dataset.theme;
    },
    draw(scene) {
      last = scene;
      put(title, t("Cab"));
      const asset = newest(scene).asset;
      const fix = scene.state.fix;
      // By itself it is dark when the sun is down where the truck is.
      if (scene.prefs.theme === "auto" && isNum(asset?.lat) && isNum(asset?.lon)) {
        const dark = isNight(asset.lat, asset.lon, scene.shown);
        if (dark) document.documentElement.dataset.theme = "night";
        else delete document.documentElement.dataset.theme;
      }
      document.documentElement.classList.toggle("driving", scene.fresh && isNum(asset?.speed_mps) && asset.speed_mps > LOCK_MPS);
      atPlace(where, asset, fix, scene);
      didItCount(scan, scanCard, scene, kept.of(scene.state.letters, scene.now));
      isItSafe(tiles, asset, scene);
      const dark = night(page, scene);
      put(themeHead, t("Screen"));
      themeMark.set(dark ? "sun" : "moon");
      put(themeWord, dark ? t("Day view") : t("Night view"));
      attr(out, "href", "/");
      put(out, t("All screens"));
    },
  };
  return self;
}

/** Whether the screen is dark for the night. @param {import("../types").Page} page @param {Scene|null} scene */
function night(page, scene) {
  return page.prefs().theme === "night" || (scene !== null && document.documentElement.dataset.theme === "night");
}

/** @param {{head: HTMLElement, plate: HTMLElement, name: HTMLElement, of: HTMLElement, foot: HTMLElement}} where @param {import("../types").Asset|null} asset @param {import("../types").WireEvent|null} fix @param {Scene} scene */
function atPlace(where, asset, fix, scene) {
  const place = asset?.place && !carrierOf(asset) ? asset.place : "";
  put(where.head, scene.fresh ? t("You are at") : t("You were at"));
  hide(where.plate, !place);
  attr(where.plate, "class", scene.fresh ? "plate" : "plate off");
  const plate = place ? plateOf(place, scene.plan) : "";
  put(where.plate, plate);
  // The longer it is the smaller it stands (screen.css).
  where.plate.style.setProperty("--n", String(Math.max(2, plate.length)));
  const zone = scene.plan.by.get(place);
  put(where.name, !place ? (asset ? t("On the way") : t("Not known")) : zone ? kindWord(zone.kind) : "");
  const full = place ? nameOf(place, scene.plan) : asset ? called(asset.asset) : t("No position yet.");
  put(where.of, full === plate ? called(asset?.asset ?? "") : full);
  const gps = [...scene.state.sources.values()].filter((one) => one.kind === "gps");
  const bad = gps.find((one) => condition(one)[0] === "fail");
  const signal = bad ? `GPS ${condition(bad)[2]}` : fix ? `GPS ${quality(fix) || (fix.mode ?? "").toUpperCase()}` : "";
  const since = place && isNum(asset?.since_ms) ? t("since {time}", { time: hm(asset.since_ms, scene.tz) }) : asset ? t("seen {span}", { span: scene.fresh ? ago(scene.shown - asset.ts_ms) : clock(asset.ts_ms, scene.tz) }) : "";
  put(where.foot, [since, signal].filter(Boolean).join(", "));
}

/** @param {{head: HTMLElement, mark: import("../dom.js").Icon, word: HTMLElement, text: HTMLElement, foot: HTMLElement}} scan @param {HTMLElement} card @param {Scene} scene @param {import("../types").ReasonCount|null} aside why a read was kept aside just now */
function didItCount(scan, card, scene, aside) {
  put(scan.head, t("Last scan"));
  const newest = lastScan(scene.state);
  /** @type {Shape} */
  let shape = "wait";
  let [word, text, foot] = [t("No scan yet"), "", ""];
  if (scene.fresh && aside) {
    [shape, word] = ["fail", t("Kept aside")];
    text = t(plain(aside.text || words(aside.reason), 120));
    foot = t("Scan again or go on: it is kept.");
  } else if (newest) {
    const said = verdict(newest);
    const at = newest.received_ms ?? newest.ts_ms;
    [shape, word] = [scene.fresh ? said.shape : "stale", said.word];
    text = [newest.asset ? shortly(newest.asset, 18) : plain(newest.code, 40), said.shape === "warn" ? said.more : "", newest.place && !newest.place.startsWith("@") ? nameOf(newest.place, scene.plan) : ""].filter(Boolean).join(", ");
    foot = scene.fresh ? ago(scene.shown - at) : clock(at, scene.tz);
  }
  scan.mark.set(shape);
  put(scan.word, word);
  attr(scan.word, "class", shape);
  put(scan.text, text);
  put(scan.foot, foot);
  attr(card, "class", `card${scene.fresh ? ` s-${shape}` : ""}`);
}

/** @param {{mark: import("../dom.js").Icon, head: HTMLElement, text: HTMLElement, value: HTMLElement, node: HTMLElement}[]} tiles @param {import("../types").Asset|null} asset @param {Scene} scene */
function isItSafe([pace, stored, sent], asset, scene) {
  const { ledger, uplink } = scene.state;
  put(pace.head, t("Speed"));
  pace.mark.node.toggleAttribute("hidden", true);
  put(pace.text, speed(asset?.speed_mps));
  const total = ledger?.events?.total ?? null;
  const gone = missing(scene);
  put(stored.head, t("Stored here"));
  const shape = !scene.fresh || gone === null ? "stale" : gone === 0 ? "ok" : "fail";
  stored.mark.set(shape);
  attr(stored.value, "class", shape);
  put(stored.text, gone === null ? "–" : gone === 0 ? t("All {n}", { n: count(total) }) : t("{n} missing", { n: count(gone) }));
  hide(sent.node, !uplink?.configured);
  const waits = unsent(scene);
  const away = uplink?.state !== "connected";
  const look = !scene.fresh ? "stale" : away ? "warn" : "ok";
  put(sent.head, t("Sent upstream"));
  sent.mark.set(look);
  attr(sent.value, "class", look);
  put(sent.text, waits === 0 ? t("All sent") : t("{n} waiting", { n: count(waits) }));
}
