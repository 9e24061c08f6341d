// @ts-check
// The first screen: the plan, and beside it the asset that was picked and all of them as a list, those first that need a
// person. What a picked asset is asked for beside that comes with view/asset.js.

import { attr, button, h, hide, icon, put, rows, terms } from "../dom.js";
import { ago, clock, count, course, degrees, isNum, lasting, plain, speed, when, words } from "../fmt.js";
import { few, t } from "../i18n.js";
import { deed, GROUPS, lastScan, newest, quality, verdict } from "../judge.js";
import { hrefOf } from "../route.js";
import { called, carrierOf, meant, nameOf, plateOf } from "../yard.js";
import { plan } from "./plan.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Asset} Asset */

const SHOWN = 100;

/** The order of names as people count: TRL 9 before TRL 10. */
export const COMPARE = new Intl.Collator("en", { numeric: true }).compare;

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh");
  const map = plan({ pick: page.select, place: (place) => look(place), over: () => editing?.over() });
  /** Somebody draws the plan. @type {ReturnType<typeof import("./editor.js").editor>|null} */
  let editing = null;
  const edit = button("btn sm zbegin", "", () => void begin());
  const ticker = tickerRow();
  const card = cardOf(page);
  const list = listOf(page);
  const look = list.look;
  const side = h("section", "side", card.node, list.node);
  const node = h("div", "yard", title, h("div", "ground", map.node, ticker.node), side);
  let frozen = false;
  map.node.append(edit);

  /** Opens the editor, or says why there is none. */
  async function begin() {
    const loaded = await import("./editor.js").catch(() => null);
    if (!loaded) return page.say(t("The gateway did not answer."), true);
    const { begin: read, editor, notNow, readOnly } = loaded;
    if (!page.plan().kept) return void readOnly();
    const wrong = await read();
    if (wrong) return void notNow(wrong);
    if (editing) return;
    edit.hidden = true;
    editing = editor(page, map, end);
    node.classList.add("drawing");
    card.node.hidden = list.node.hidden = true;
    side.append(editing.node);
    page.redraw();
    editing.focus();
  }

  function end() {
    editing?.node.remove();
    editing?.off();
    editing = null;
    edit.hidden = false;
    node.classList.remove("drawing");
    card.node.hidden = list.node.hidden = false;
    page.redraw();
    edit.focus();
  }

  return {
    node,
    leave: () => editing?.off(),
    get title() { return t("Live"); },
    move(scene) {
      if (editing) return editing.draw(scene);
      if (!frozen) map.draw(scene);
      card.draw(scene);
    },
    draw(scene) {
      put(title, t("Live"));
      put(edit, t("Edit plan"));
      ticker.draw(scene);
      if (editing) return editing.draw(scene);
      if (!frozen) map.draw(scene);
      card.draw(scene);
      list.draw(scene);
    },
    scan(text) {
      list.look(text);
      return true;
    },
    key(key) {
      if (editing) return editing.key(key);
      if (key === "/") list.focus();
      else if (key === "p") {
        frozen = !frozen;
        map.node.classList.toggle("frozen", frozen);
        page.say(frozen ? t("The plan stands still.") : t("The plan moves again."), false);
        page.redraw();
      } else if (key === "Escape" && !list.clear()) page.select(null);
      else if (key === "j" || key === "k") list.step(key === "j" ? 1 : -1);
      else return false;
      return true;
    },
  };
}

/** Who read it, as it is called. @param {string|undefined} source */
export const readerOf = (source) => (source === "manual" ? t("by hand") : plain(source ?? "", 40));

/** A place as it stands in a row: on a plate, or what it rides on. */
export function plateCell() {
  const node = h("span", "plate");
  return {
    node,
    /** @param {string|undefined} place @param {Scene} scene */
    fill(place, scene) {
      hide(node, !place);
      if (!place) return;
      const rides = place.startsWith("@");
      attr(node, "class", rides ? "rides" : scene.fresh ? "plate" : "plate off");
      put(node, rides ? t("on {asset}", { asset: called(place.slice(1)) }) : plateOf(place, scene.plan));
      attr(node, "title", rides ? null : nameOf(place, scene.plan));
    },
  };
}

/** What was scanned last, at the foot of a plan. */
export function tickerRow() {
  const mark = icon();
  const word = h("b", "word");
  const code = h("bdi");
  const plate = plateCell();
  const by = h("span", "by");
  const age = h("span", "age num");
  const node = h("a", "ticker", mark.node, word, code, plate.node, by, age);
  return {
    node,
    /** @param {Scene} scene */
    draw(scene) {
      const scan = lastScan(scene.state);
      attr(node, "href", hrefOf("scans", new URLSearchParams(location.search)));
      hide(node, !scene.known);
      if (!scan) {
        mark.set("wait");
        put(word, t("No scans yet"));
        for (const one of [code, by, age]) put(one, "");
        plate.fill(undefined, scene);
        return;
      }
      const said = verdict(scan);
      const shape = scene.fresh ? said.shape : "stale";
      mark.set(shape);
      put(word, said.word);
      attr(word, "class", `word ${shape}`);
      put(code, scan.asset ? called(scan.asset) : plain(scan.code ?? scan.key, 40));
      plate.fill(scan.place, scene);
      put(by, readerOf(scan.source));
      const at = scan.received_ms ?? scan.ts_ms;
      put(age, scene.fresh ? ago(scene.shown - at) : clock(at, scene.tz));
    },
  };
}

/** The picked asset, or the newest position. @param {import("../types").Page} page */
function cardOf(page) {
  const mark = icon();
  const name = h("h2");
  const phrase = h("small");
  const plate = plateCell();
  const none = h("p", "none");
  const list = h("dl");
  const doubt = h("p", "doubt");
  const more = h("div", "more");
  const node = h("section", "sheet", h("div", "who", mark.node, h("div", "", name, phrase), plate.node), none, list, doubt, more);
  node.id = "facts";
  const draw = terms(list, "num");
  /** What belongs to the picked asset alone. @type {{asset: string, view: {node: HTMLElement, draw(scene: Scene): void}}|null} */
  let detail = null;
  let wanted = "";

  /** @param {string} asset */
  async function open(asset) {
    const { detailOf } = await import("./asset.js");
    if (wanted !== asset) return;
    detail = { asset, view: detailOf(page, asset) };
    more.replaceChildren(detail.view.node);
    page.redraw();
  }

  return {
    node,
    /** @param {Scene} scene */
    draw(scene) {
      const { asset, fix, picked } = newest(scene);
      attr(node, "aria-label", picked ? t("Picked asset") : t("Newest position"));
      const want = picked && asset ? asset.asset : "";
      if (want !== wanted) {
        wanted = want;
        detail = null;
        more.replaceChildren();
        if (want) void open(want);
      }
      attr(node, "class", picked ? "sheet" : asset ? "sheet newest" : "sheet empty");
      hide(none, asset !== null);
      put(none, why(scene));
      const doubtful = scene.state.doubtful;
      const doubted = doubtful !== null && doubtful.seq > (scene.state.fix?.seq ?? 0);
      hide(doubt, !doubted);
      put(doubt, doubted ? t("The newest fix is kept but does not move it: {why}.", { why: (doubtful.doubt ?? []).map((word) => t(words(word))).join(", ") }) : "");
      if (!asset) return draw([]);
      const said = deed(asset, scene);
      mark.set(said.shape);
      put(name, called(asset.asset));
      attr(name, "title", plain(asset.asset, 120));
      put(phrase, said.phrase);
      attr(phrase, "class", said.shape);
      plate.fill(asset.place, scene);
      draw(facts(asset, fix, scene));
      detail?.view.draw(scene);
    },
  };
}

/** @param {Asset} asset @param {import("../types").WireEvent|null} fix @param {Scene} scene @returns {[string, string][]} */
function facts(asset, fix, scene) {
  /** @type {[string, string][]} */
  const lines = [];
  const at = (/** @type {number} */ ms) => `${asset.tq === "none" ? "~" : ""}${when(ms, scene.shown, scene.tz)}`;
  if (asset.place && isNum(asset.since_ms)) {
    const label = carrierOf(asset) ? t("On it since") : t("There since");
    lines.push([label, `${at(asset.since_ms)}${scene.fresh ? ` (${lasting(scene.shown - asset.since_ms)})` : ""}`]);
  }
  const age = scene.fresh ? ago(scene.shown - asset.ts_ms) : t("at {time}", { time: clock(asset.ts_ms, scene.tz) });
  lines.push([t("Seen by"), asset.source ? `${readerOf(asset.source)}, ${age}` : age]);
  if (isNum(asset.lat) && isNum(asset.lon)) {
    lines.push([t("Position"), `${degrees(asset.lat, "lat")}, ${degrees(asset.lon, "lon")}`]);
    if (isNum(asset.speed_mps)) lines.push([t("Speed"), `${speed(asset.speed_mps)}${isNum(asset.course_deg) ? `, ${course(asset.course_deg)}` : ""}`]);
    const sky = fix ? [fix.mode?.toUpperCase(), isNum(fix.satellites) ? few(fix.satellites, "{n} satellite", "{n} satellites") : "", quality(fix)].filter(Boolean).join(", ") : "";
    if (sky) lines.push([t("Signal"), sky]);
  }
  return lines;
}

/** @param {Scene} scene */
function why({ known, state }) {
  if (!known) return t("Waiting for the gateway.");
  const gps = [...state.sources.values()].filter((one) => one.kind === "gps");
  if (gps.length === 0) return t("Pick an asset to see where it was and what is known of it.");
  return t("No position yet. A receiver that starts cold needs a minute or more under open sky.");
}

/** The assets, those first that need a person. @param {import("../types").Page} page */
function listOf(page) {
  const find = h("input");
  find.type = "search";
  find.id = "find";
  find.autocomplete = "off";
  find.spellcheck = false;
  find.setAttribute("autocapitalize", "off");
  const label = h("span", "vh");
  const seg = h("div", "seg");
  attr(seg, "role", "group");
  /** @type {"all"|"docks"|"alert"} */
  let only = "all";
  const tabs = (/** @type {const} */ (["all", "docks", "alert"])).map((name) => {
    const one = button("", "", () => {
      only = name;
      if (scene) self.draw(scene);
    });
    seg.append(one);
    return { name, node: one };
  });
  const list = h("ul", "alist num");
  const none = h("p", "none");
  const scroll = h("div", "scroll", list, none);
  scroll.id = "assets";
  const node = h("div", "lister", h("div", "tools", h("label", "find", label, find), seg), scroll);
  /** @type {Scene} */
  let scene;
  /** @type {string[]} */
  let order = [];
  find.addEventListener("input", () => scene && self.draw(scene));
  const draw = rows(list, () => row((name) => page.select(scene.selected === name ? null : name)),
    (one, /** @type {Asset} */ asset) => one.fill(asset, scene));
  const self = {
    node,
    focus: () => find.focus(),
    /** @param {string} text */
    look(text) {
      find.value = text;
      if (scene) self.draw(scene);
    },
    clear() {
      if (!find.value) return false;
      self.look("");
      return true;
    },
    /** @param {number} by */
    step(by) {
      const at = scene.selected === null ? (by > 0 ? -1 : order.length) : order.indexOf(scene.selected);
      const next = order[at + by];
      if (next === undefined) return;
      page.select(next);
      [...list.children][order.indexOf(next)]?.scrollIntoView({ block: "nearest" });
    },
    /** @param {Scene} now */
    draw(now) {
      scene = now;
      put(label, t("Find an asset or place"));
      attr(find, "placeholder", t("Find asset or place"));
      attr(seg, "aria-label", t("Which assets"));
      const all = [...now.state.assets.values()].map((asset) => ({ asset, group: deed(asset, now).group }));
      const sets = { all, docks: all.filter(({ asset }) => now.plan.by.get(asset.place ?? "")?.kind === "dock"), alert: all.filter(({ group }) => group === GROUPS.attention) };
      const names = { all: t("All"), docks: t("Docks"), alert: t("Alert") };
      for (const { name, node: one } of tabs) {
        put(one, `${names[name]} ${count(name === "all" ? all.length + now.state.more : sets[name].length)}`);
        attr(one, "aria-pressed", String(only === name));
      }
      const wanted = find.value.trim() !== "";
      const words = meant(find.value);
      const hits = sets[only].filter(({ asset }) => !wanted || [asset.asset, asset.place ?? "", nameOf(asset.place ?? "", now.plan)].some((text) => words.some((word) => text.toLowerCase().includes(word))));
      hits.sort((a, b) => a.group - b.group || (a.group <= GROUPS.dock && a.group !== GROUPS.moving ? (a.asset.since_ms ?? 0) - (b.asset.since_ms ?? 0) : 0) || COMPARE(a.asset.asset, b.asset.asset));
      order = hits.slice(0, SHOWN).map((one) => one.asset.asset);
      draw(hits.slice(0, SHOWN).map((one) => one.asset), (one) => one.asset);
      const left = hits.length - SHOWN + (wanted || only !== "all" ? 0 : now.state.more);
      hide(none, hits.length > 0 && left <= 0);
      put(none, left > 0 && hits.length > 0 ? few(left, "{n} more asset: type a part of the name to find it.", "{n} more assets: type a part of the name to find one.")
        : !now.known ? t("Waiting for the gateway.")
          : all.length === 0 ? t("No assets yet. The first fix or scan makes one.")
            : wanted ? t("No asset and no place here has “{text}” in its name.", { text: plain(find.value.trim(), 40) })
              : only === "alert" ? t("Nothing needs attention.") : t("No dock is taken."));
    },
  };
  return self;
}

/** @param {(asset: string) => void} pick */
function row(pick) {
  const mark = icon();
  const name = h("bdi");
  const phrase = h("small");
  const plate = plateCell();
  const by = h("small", "by");
  let shown = "";
  const one = button("pick", "", () => pick(shown));
  one.append(mark.node, h("span", "", name, phrase), h("span", "r", plate.node, by));
  const node = h("li", "", one);
  return {
    node,
    /** @param {Asset} asset @param {Scene} scene */
    fill(asset, scene) {
      shown = asset.asset;
      const said = deed(asset, scene);
      const picked = scene.selected === asset.asset;
      attr(node, "class", picked ? "sel" : null);
      attr(one, "aria-pressed", String(picked));
      mark.set(said.shape);
      put(name, called(asset.asset));
      put(phrase, said.phrase);
      plate.fill(asset.place, scene);
      put(by, asset.place ? "" : readerOf(asset.source));
    },
  };
}
