// @ts-check
// The assets as a table: what each does, where it is since when, and who saw it when. The full equivalent of the plot.

import { attr, el, h, icon, put, rows } from "../dom.js";
import { ago, clock, degrees, isNum, plain, plural, when } from "../fmt.js";
import { deed } from "../judge.js";
import { carrierOf } from "../yard.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Asset} Asset */

const SHOWN = 100;
const COMPARE = new Intl.Collator("en", { numeric: true }).compare;

export function assets() {
  const box = el("assets");
  const find = /** @type {HTMLInputElement} */ (el("find"));
  const title = el("things-h");
  const body = h("tbody");
  const none = h("p", "none");
  const rest = h("p", "none rest");
  const head = ["Asset", "Place", "Position", "Last seen"].map((text, n) => {
    const th = h("th", ["", "", "wide", "end"][n], text);
    th.scope = "col";
    return th;
  });
  const table = h("table", "", h("thead", "", h("tr", "", ...head)), body);
  box.append(table, none, rest);
  /** @type {Scene} */
  let scene;
  const draw = rows(body, () => row((name) => scene.select(scene.selected === name ? null : name)),
    (one, /** @type {Asset} */ asset) => one.fill(asset, scene));
  const redraw = () => view.draw(scene);
  find.addEventListener("input", () => scene && redraw());
  const view = {
    /** @param {Scene} now */
    draw(now) {
      scene = now;
      const all = [...now.state.assets.values()];
      const wanted = find.value.trim().toLowerCase();
      const hits = wanted
        ? all.filter((one) => one.asset.toLowerCase().includes(wanted) || (one.place ?? "").toLowerCase().includes(wanted))
        : all;
      const sorted = hits.map((asset) => ({ asset, group: deed(asset, now).group }))
        .sort((a, b) => a.group - b.group || COMPARE(a.asset.asset, b.asset.asset));
      draw(sorted.slice(0, SHOWN).map((one) => one.asset), (one) => one.asset);
      const left = hits.length - SHOWN + (wanted ? 0 : now.state.more);
      put(title, all.length ? `Assets ${all.length + now.state.more}` : "Assets");
      table.hidden = hits.length === 0;
      none.hidden = hits.length > 0;
      put(none, !now.known ? "Waiting for the gateway."
        : all.length === 0 ? "No assets yet. The first fix or scan makes one."
        : `No asset and no place here has "${plain(find.value.trim(), 40)}" in its name.`);
      rest.hidden = left <= 0 || hits.length === 0;
      put(rest, `${plural(left, "more asset")}: type a part of the name to find one.`);
    },
  };
  return view;
}

/** @param {(asset: string) => void} pick */
function row(pick) {
  const mark = icon();
  const name = h("bdi");
  const phrase = h("small");
  const button = h("button", "pick", mark.node, h("span", "", name, phrase));
  button.type = "button";
  const plate = h("span", "plate");
  const since = h("small", "num");
  const lat = h("span", "num line");
  const lon = h("span", "num line");
  const seen = h("span", "num");
  const by = h("small");
  const first = h("th", "", button);
  first.scope = "row";
  const node = h("tr", "", first, h("td", "", plate, since), h("td", "wide", lat, lon), h("td", "end", seen, by));
  let shown = "";
  button.addEventListener("click", () => pick(shown));
  return {
    node,
    /** @param {Asset} asset @param {Scene} scene */
    fill(asset, scene) {
      shown = asset.asset;
      const said = deed(asset, scene);
      const picked = scene.selected === asset.asset;
      attr(node, "class", picked ? "sel" : null);
      attr(button, "aria-pressed", String(picked));
      mark.set(said.shape);
      put(name, plain(asset.asset, 80));
      put(phrase, said.phrase);
      plate.hidden = !asset.place;
      attr(plate, "class", scene.fresh ? "plate" : "plate off");
      put(plate, carrierOf(asset) ? `on ${plain(carrierOf(asset), 62)}` : plain(asset.place ?? "", 64));
      put(since, asset.place && isNum(asset.since_ms) ? `since ${when(asset.since_ms, scene.shown, scene.tz)}` : "");
      put(lat, isNum(asset.lat) ? degrees(asset.lat, "lat") : "");
      put(lon, isNum(asset.lon) ? degrees(asset.lon, "lon") : "");
      const age = scene.shown - asset.ts_ms;
      put(seen, scene.fresh ? ago(age) : clock(asset.ts_ms, scene.tz));
      attr(seen, "title", `${asset.tq === "none" ? "~" : ""}${clock(asset.ts_ms, scene.tz)}`);
      put(by, asset.source ? `by ${plain(asset.source, 40)}` : "");
    },
  };
}
