// @ts-check
// A wall: the plan, the docks that are taken, the last scan. Read from the other side of the hall, touched by nobody.

import { attr, h, hide, icon, put, rows } from "../dom.js";
import { hm, isNum, span } from "../fmt.js";
import { few, t } from "../i18n.js";
import { deed, GROUPS, lastScan } from "../judge.js";
import { called, shortly, taken } from "../yard.js";
import { COMPARE, plateCell, tickerRow } from "./live.js";
import { plan } from "./plan.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {{asset: import("../types").Asset, long: boolean}} Line */

const ROWS = 8;
const PAGE_MS = 10_000;
const SHIFT_MS = 600_000;
const CURSOR_MS = 5000;
/** In this minute of the night a wall loads its page anew, when nobody scans. */
const NIGHTLY = "03:30";
const CALM_MS = 300_000;
/** And at any time above this heap, where a browser tells it. Bytes. */
const HEAP_MAX = 60e6;

/** Which lines a wall shows now: a page of them, in turn. @template T @param {T[]} all @param {number} room @param {number} now ms @returns {{lines: T[], page: number, pages: number, left: number}} */
export function pageOf(all, room, now) {
  const pages = Math.max(1, Math.ceil(all.length / Math.max(1, room)));
  const page = Math.floor(now / PAGE_MS) % pages;
  return { lines: all.slice(page * room, (page + 1) * room), page, pages, left: Math.ceil((PAGE_MS - (now % PAGE_MS)) / 1000) };
}

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh");
  const map = plan({ type: innerWidth < 1000 ? 13 : 22, still: true });
  const heads = [h("span"), h("span"), h("span"), h("span")];
  const list = h("ol", "lines num");
  const none = h("p", "none");
  const foot = h("p", "foot num");
  const ticker = tickerRow();
  const side = h("section", "list", h("header", "", ...heads), list, none, foot);
  const node = h("div", "board", title, map.node, side, ticker.node);
  document.documentElement.classList.add("tv");
  const draw = rows(list, line, (row, /** @type {Line & {scene: Scene}} */ one) => row.fill(one, one.scene));
  /** @type {ReturnType<typeof setTimeout>} */
  let idle;
  const move = () => {
    document.documentElement.classList.remove("idle");
    clearTimeout(idle);
    idle = setTimeout(() => document.documentElement.classList.add("idle"), CURSOR_MS);
  };
  addEventListener("pointermove", move);
  move();
  return {
    node,
    get title() { return t("Board"); },
    leave() {
      removeEventListener("pointermove", move);
      clearTimeout(idle);
      document.documentElement.classList.remove("tv", "idle");
      document.body.style.transform = "";
    },
    key: (key) => {
      if (key === "Escape") page.open("/");
      return key === "Escape";
    },
    move: (scene) => map.draw(scene),
    draw(scene) {
      put(title, t("Board"));
      if (tired(scene)) location.reload();
      map.draw(scene);
      ticker.draw(scene);
      // A picture that stands for years burns in: it moves by two pixels now and then.
      const shift = [0, 2, 4, 2][Math.floor(scene.now / SHIFT_MS) % 4];
      document.body.style.transform = shift ? `translate(${shift}px, 0)` : "";
      const docks = scene.plan.zones.filter((zone) => zone.kind === "dock").length;
      const assets = [...scene.state.assets.values()];
      /** @type {Line[]} */
      const all = docks ? taken(scene.plan, assets, scene.shown)
        : assets.map((asset) => ({ asset, long: false, group: deed(asset, scene).group })).sort((a, b) => a.group - b.group || COMPARE(a.asset.asset, b.asset.asset));
      const texts = docks ? [t("Dock"), t("Asset"), "", scene.fresh ? t("At dock") : t("at {time}", { time: hm(scene.shown, scene.tz) })] : [t("Place"), t("Asset"), "", t("Since")];
      texts.forEach((text, n) => put(heads[n], text));
      const room = Math.max(1, Math.min(ROWS, Math.floor(list.clientHeight / 74) || ROWS));
      const { lines, page: at, pages, left } = pageOf(all, room, scene.now);
      draw(lines.map((one) => ({ ...one, scene })), (one) => one.asset.asset);
      hide(none, all.length > 0);
      put(none, !scene.known ? t("Waiting for the gateway.") : docks ? t("No dock is taken.") : t("No assets yet."));
      const busy = new Set(all.map((one) => one.asset.place)).size;
      const sum = docks ? (scene.fresh ? t("{n} of {all} docks taken", { n: busy, all: docks }) : t("{n} of {all} docks were taken", { n: busy, all: docks })) : few(all.length, "{n} asset", "{n} assets");
      put(foot, pages > 1 ? `${sum}, ${t("page {n} of {all}, the next in {s} s", { n: at + 1, all: pages, s: left })}` : sum);
    },
  };
}

/** Whether a wall that has stood for long should load its page anew. @param {Scene} scene */
function tired(scene) {
  // Not in its first hour: it would do so for the whole minute.
  if (!scene.fresh || scene.now < 3600e3) return false;
  const last = lastScan(scene.state);
  const calm = !last || scene.shown - (last.received_ms ?? last.ts_ms) > CALM_MS;
  const heap = /** @type {any} */ (performance).memory?.usedJSHeapSize ?? 0;
  return heap > HEAP_MAX || (calm && hm(scene.wall, scene.state.node.tz) === NIGHTLY);
}

/** An asset as a wall names it: of a long number its end, which is what tells two of them apart. @param {string} asset */
export const onWall = (asset) => shortly(asset, /^\d{11,}$/.test(called(asset)) ? 9 : 15);

function line() {
  const plate = plateCell();
  const name = h("b");
  const phrase = h("small");
  const mark = icon();
  const age = h("span", "t num");
  const node = h("li", "", h("span", "p", plate.node), h("div", "who", name, phrase), mark.node, age);
  return {
    node,
    /** @param {Line} one @param {Scene} scene */
    fill({ asset, long }, scene) {
      const said = deed(asset, scene);
      plate.fill(asset.place, scene);
      put(name, onWall(asset.asset));
      put(phrase, long ? t("Over {span}", { span: span(scene.plan.overstayMs) }) : said.group === GROUPS.dock && scene.fresh ? "" : said.phrase);
      mark.set(said.shape);
      put(age, isNum(asset.since_ms) && asset.place ? span(Math.floor((scene.shown - asset.since_ms) / 60_000) * 60_000).replace(/^0[.,]0 s$/, t("now")) : "");
      attr(node, "class", long && scene.fresh ? "a-warn" : null);
    },
  };
}
