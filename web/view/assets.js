// @ts-check
// The register and what was seen: every asset as a row of a table, found by name, code or place, also by scanning its label.
// Who has the PIN names things here, puts a list in and takes it out.

import { call } from "../api.js";
import { attr, button, h, icon, put, rows } from "../dom.js";
import { ago, clock, count, isNum, lasting, plain, when } from "../fmt.js";
import { few, t } from "../i18n.js";
import { deed, isLost } from "../judge.js";
import { ask, choices, field, textField } from "./dialog.js";
import { called } from "../yard.js";
import { COMPARE, plateCell, readerOf } from "./live.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Asset & {registered?: boolean, name?: string, kind?: string, codes?: string[]}} Thing */

const SHOWN = 90;
const WAIT_MS = 250;
/** Without a word for so long nothing is heard of it any more. ms */
const QUIET_MS = 12 * 3600e3;

/** @type {["all"|"yard"|"quiet"|"never", (thing: Thing, scene: Scene) => boolean][]} */
const SETS = [
  ["all", () => true],
  ["yard", (thing) => Boolean(thing.place)],
  ["quiet", (thing, scene) => isNum(thing.ts_ms) && (isLost(thing, scene) !== null || scene.shown - thing.ts_ms > QUIET_MS)],
  ["never", (thing) => !isNum(thing.ts_ms)],
];

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh");
  const input = h("input");
  input.type = "search";
  input.maxLength = 200;
  input.autocomplete = "off";
  input.spellcheck = false;
  const label = h("span", "vh");
  const seg = h("div", "seg");
  attr(seg, "role", "group");
  /** @type {"all"|"yard"|"quiet"|"never"} */
  let only = "all";
  const tabs = SETS.map(([name]) => {
    const one = button("", "", () => {
      only = name;
      page.redraw();
    });
    seg.append(one);
    return { name, node: one };
  });
  const add = button("btn", "", () => void edit(null));
  const take = button("btn", "", () => void bringIn());
  const give = button("btn", "", () => void takeOut());
  const head = h("tr");
  const body = h("tbody");
  const table = h("table", "num wide", h("thead", "", head), body);
  const none = h("p", "none");
  const scroll = h("div", "scroll", table, none);
  scroll.tabIndex = 0;
  attr(scroll, "role", "group");
  const node = h("div", "assets", title, h("div", "tools", h("label", "find", label, input), seg, h("div", "acts", add, take, give)), scroll);
  /** @type {Scene} */
  let scene;
  /** What the register answered. @type {Thing[]} */
  let things = [];
  let more = 0;
  let wanted = "";
  let asked = -1;
  let failed = "";
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let due;
  input.addEventListener("input", () => {
    clearTimeout(due);
    due = setTimeout(() => void read(), WAIT_MS);
  });
  const draw = rows(body, () => row((thing) => page.open(`/?asset=${encodeURIComponent(thing.asset)}`), (thing) => void edit(thing)),
    (one, /** @type {Thing} */ thing) => one.fill(thing, scene));

  async function read() {
    const q = input.value.trim();
    wanted = q;
    const answer = await call(`/assets?limit=500${q ? `&q=${encodeURIComponent(q)}` : ""}`);
    if (wanted !== q) return;
    failed = answer.error ? t(answer.error.message) : "";
    if (answer.ok) {
      things = answer.body.items ?? [];
      more = answer.body.more ?? 0;
    }
    page.redraw();
  }

  /** Names a thing, or changes what it is called. @param {Thing|null} known */
  async function edit(known) {
    const whole = known?.registered ? (await call(`/assets/${encodeURIComponent(known.asset)}`)).body ?? known : known;
    const id = textField({ max: 64, value: whole?.registered === false ? "" : whole?.asset ?? "" });
    id.readOnly = Boolean(whole?.registered);
    const name = textField({ value: whole?.name ?? "" });
    const kind = textField({ max: 40, value: whole?.kind ?? "", list: "kinds" });
    const codes = h("textarea");
    codes.rows = 4;
    codes.spellcheck = false;
    codes.value = (whole?.codes ?? (whole && !whole.registered ? [codeOf(whole.asset)] : [])).join("\n");
    const done = await ask({
      title: whole?.registered ? t("Change {asset}", { asset: plain(whole.asset, 60) }) : t("Name an asset"),
      text: t("What was seen under its codes goes on under its name."),
      body: [field(t("Id, as it stands on plates and in events"), id), field(t("Name"), name), field(t("Kind"), kind), choices("kinds", ["trailer", "truck", "container", "pallet", "lift"]), field(t("Codes, one a line, as they are read"), codes)],
      label: t("Save"), ready: () => id.value.trim() !== "",
      run: async () => {
        const list = codes.value.split("\n").map((one) => one.trim()).filter(Boolean);
        return (await call(`/assets/${encodeURIComponent(id.value.trim())}`, { method: "PUT", json: { name: name.value.trim(), kind: kind.value.trim(), codes: list } })).error;
      },
    });
    if (done) await read();
  }

  async function bringIn() {
    const file = h("input");
    file.type = "file";
    file.accept = ".csv,.json,text/csv,application/json";
    const replace = h("input");
    replace.type = "checkbox";
    const done = await ask({
      title: t("Import assets"), text: t("A CSV with id,name,kind,codes, or JSON as it is exported; at most 2 MiB. All of it or nothing: each mistake is named with its line."),
      body: [field(t("File"), file), h("label", "check", replace, h("span", "", t("Take out what is not in the list")))],
      label: t("Import"), ready: () => file.files?.length === 1,
      run: async () => {
        const [one] = file.files ?? [];
        const type = one.name.toLowerCase().endsWith(".json") ? "application/json" : "text/csv";
        return (await call(`/assets/import${replace.checked ? "?replace=1" : ""}`, { method: "POST", text: await one.text(), type })).error;
      },
    });
    if (done) await read();
  }

  async function takeOut() {
    const answer = await call("/assets/export?format=csv");
    if (answer.ok) save("waypost-assets.csv", "text/csv", String(answer.body ?? ""));
    else if (answer.error) await ask({ title: t("Export assets"), text: `${t(answer.error.message)}. ${t(answer.error.hint)}`, label: t("Close"), only: true, run: async () => null });
  }

  return {
    node,
    get title() { return t("Assets"); },
    leave() {
      clearTimeout(due);
      wanted = "\u0000";
    },
    scan(text) {
      input.value = text;
      void read();
      return true;
    },
    key(key) {
      if (key === "/") input.focus();
      else if (key === "j" || key === "k") scroll.scrollBy(0, key === "j" ? 60 : -60);
      else return false;
      return true;
    },
    draw(now) {
      scene = now;
      // The register changes rarely; asked again when the page was reconnected.
      const boot = now.state.node.boot ?? 0;
      if (now.fresh && asked !== boot) {
        asked = boot;
        void read();
      }
      put(title, t("Assets"));
      put(label, t("Search or scan an asset"));
      attr(input, "placeholder", t("Search or scan an asset"));
      put(add, t("Add …"));
      put(take, t("Import …"));
      put(give, t("Export"));
      attr(seg, "aria-label", t("Which assets"));
      attr(scroll, "aria-label", t("Assets"));
      const names = [t("Asset"), t("Place"), t("Since"), t("Last seen"), t("Seen by"), t("Register")];
      if (head.children.length === 0) head.append(...names.map(() => {
        const one = h("th");
        one.scope = "col";
        return one;
      }));
      names.forEach((name, n) => put(head.children[n], name));
      const known = new Map(things.map((thing) => [thing.asset, thing]));
      const q = input.value.trim().toLowerCase();
      // What was seen since it was asked stands here too, and everything is as it is now.
      /** @type {Thing[]} */
      const seen = [...now.state.assets.values()].filter((one) => !known.has(one.asset) && (!q || one.asset.toLowerCase().includes(q)));
      /** @type {Thing[]} */
      const all = [...things.map((thing) => ({ ...thing, ...(now.state.assets.get(thing.asset) ?? {}) })), ...seen];
      const labels = { all: t("All"), yard: t("At a place"), quiet: t("No signal"), never: t("Never seen") };
      for (const { name, node: one } of tabs) {
        const test = SETS.find(([other]) => other === name)?.[1] ?? (() => true);
        put(one, `${labels[name]} ${count(all.filter((thing) => test(thing, now)).length + (name === "all" ? more : 0))}`);
        attr(one, "aria-pressed", String(only === name));
      }
      const test = SETS.find(([name]) => name === only)?.[1] ?? (() => true);
      const hits = all.filter((thing) => test(thing, now)).sort((a, b) => Number(b.registered ?? false) - Number(a.registered ?? false) || COMPARE(a.asset, b.asset));
      draw(hits.slice(0, SHOWN), (thing) => thing.asset);
      table.hidden = hits.length === 0;
      const left = hits.length - SHOWN + more;
      none.hidden = hits.length > 0 && left <= 0;
      put(none, failed && things.length === 0 ? failed
        : hits.length > 0 ? few(left, "{n} more asset: search for it.", "{n} more assets: search for one.")
          : q ? t("No asset has “{text}” in its id, name or codes.", { text: plain(q, 40) }) : t("None."));
    },
  };
}

/** The code in a key of the gateway: `raw:TRL-7` was read as TRL-7. @param {string} key */
const codeOf = (key) => key.replace(/^[a-z0-9]+:/, "");

/** @param {(thing: Thing) => void} open @param {(thing: Thing) => void} edit */
function row(open, edit) {
  const mark = icon();
  const id = h("bdi");
  const name = h("small");
  /** @type {Thing} */
  let thing;
  const go = button("pick", "", () => open(thing));
  go.append(mark.node, h("span", "", id, name));
  const first = h("th", "", go);
  first.scope = "row";
  const plate = plateCell();
  const [place, since, seen, by, last] = [h("td", "", plate.node), h("td"), h("td"), h("td"), h("td", "end")];
  const change = button("btn sm", "", () => edit(thing));
  last.append(change);
  const node = h("tr", "", first, place, since, seen, by, last);
  return {
    node,
    /** @param {Thing} one @param {Scene} scene */
    fill(one, scene) {
      thing = one;
      const said = isNum(one.ts_ms) ? deed(one, scene) : { shape: /** @type {import("../types").Shape} */ ("wait"), phrase: t("Never seen") };
      mark.set(said.shape);
      put(id, called(one.asset));
      attr(id, "title", plain(one.asset, 120));
      put(name, [one.name, one.kind].filter(Boolean).map((text) => plain(text, 60)).join(", ") || said.phrase);
      plate.fill(one.place, scene);
      const long = isNum(one.since_ms) && one.place;
      put(since, !long ? "" : scene.fresh ? lasting(scene.shown - /** @type {number} */ (one.since_ms)) : when(one.since_ms, scene.shown, scene.tz));
      attr(since, "class", said.shape === "warn" ? "warn" : null);
      put(seen, !isNum(one.ts_ms) ? "" : scene.fresh ? ago(scene.shown - one.ts_ms) : clock(one.ts_ms, scene.tz));
      put(by, readerOf(one.source));
      put(change, one.registered ? t("Change …") : t("Name it …"));
    },
  };
}

/** Hands a text to the person as a file. @param {string} name @param {string} type @param {string} text */
export function save(name, type, text) {
  const link = h("a");
  const url = URL.createObjectURL(new Blob([text], { type }));
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
