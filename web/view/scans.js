// @ts-check
// The scan feed: newest first, a verdict in shape and word, what was kept aside among it, and silence explained. Beside it
// the answer to "did it arrive?", the counts of each reader, and the switch for sounds.

import { call } from "../api.js";
import { attr, button, h, hide, icon, put, rows } from "../dom.js";
import { feedOf, receivedAt } from "../feed.js";
import { ago, clock, count, plain, span, words } from "../fmt.js";
import { few, t } from "../i18n.js";
import { condition, verdict } from "../judge.js";
import { CHOICES } from "../prefs.js";
import { called } from "../yard.js";
import { delivery } from "./delivery.js";
import { plateCell } from "./live.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").WireEvent} WireEvent */

const OLDER = 50;
const OLDER_MAX = 50;
const KEPT = 50;

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh", t("Scans"));
  const list = h("ol", "feed num");
  const none = h("p", "none");
  const fresh = button("jump", "", () => { box.scrollTop = 0; });
  const more = button("all", t("Show older scans"), () => void older());
  const box = h("div", "scroll", fresh, none, list, more);
  box.id = "scans";
  box.tabIndex = 0;
  attr(box, "role", "group");
  const arrived = delivery();
  const readers = readerTable();
  const sound = soundSwitch(page);
  const node = h("div", "scans", title, h("section", "feedbox", box), h("aside", "aside", arrived.node, readers.node, sound.node));
  fresh.hidden = true;
  /** @type {Scene} */
  let scene;
  /** Scans before those of the snapshot, newest first. @type {WireEvent[]} */
  let before = [];
  let end = false;
  /** What was kept aside, newest first. @type {import("../types").Letter[]} */
  let kept = [];
  let keptOf = -1;
  let told = "";
  let seen = 0;
  const atTop = () => box.scrollTop < 24;
  const draw = rows(list, feedRow, (one, /** @type {import("../feed.js").Row} */ row) => one.fill(row, scene));
  box.addEventListener("scroll", () => {
    if (!atTop() || fresh.hidden) return;
    seen = scene?.state.scans[0]?.seq ?? 0;
    fresh.hidden = true;
  }, { passive: true });

  async function older() {
    const last = before[before.length - 1] ?? scene.state.scans[scene.state.scans.length - 1];
    if (!last) return;
    more.disabled = true;
    const answer = await call(`/events?kind=scan&limit=${OLDER}&before=${encodeURIComponent(`${last.epoch ?? ""}.${last.seq}`)}`);
    more.disabled = false;
    if (!answer.ok) {
      page.say(t("The gateway did not answer."), false);
      return;
    }
    before = [...before, ...(answer.body.items ?? [])].slice(0, OLDER_MAX);
    end = answer.body.next === null || before.length >= OLDER_MAX;
    page.redraw();
  }

  /** @param {number} open */
  async function readKept(open) {
    keptOf = open;
    const answer = open > 0 ? await call(`/letters?limit=${KEPT}`) : null;
    kept = answer?.ok ? answer.body.items ?? [] : [];
    page.redraw();
  }

  return {
    node,
    get title() { return t("Scans"); },
    leave: () => arrived.stop(),
    scan(text) {
      arrived.look(text);
      return true;
    },
    key(key) {
      if (key === "/") arrived.focus();
      else if (key === "j" || key === "k") box.scrollBy(0, key === "j" ? 70 : -70);
      else return false;
      return true;
    },
    draw(now) {
      scene = now;
      const open = now.state.letters?.open ?? 0;
      if (now.fresh && open !== keptOf) void readKept(open);
      attr(box, "aria-label", t("Scan feed, newest first"));
      const newestBefore = before[0];
      // The snapshot reaches as far back as it did or further: what is in both is shown once.
      const scans = [...now.state.scans, ...before.filter((one) => !now.state.scans.some((known) => known.id === one.id) && one.seq < (now.state.scans[now.state.scans.length - 1]?.seq ?? Infinity))];
      const scanners = [...now.state.sources.values()].filter((one) => one.kind === "scanner");
      const names = new Set(scanners.map((one) => one.id));
      const last = scans[scans.length - 1];
      const keptHere = kept.filter((one) => names.has(one.source ?? "") && (end || scans.length < 50 || !last || one.received_ms >= receivedAt(last)));
      const items = feedOf(scans, keptHere, scanners, now.shown);
      const high = box.scrollHeight;
      const held = !atTop();
      draw(items, (row) => row.key);
      // Who reads further down keeps the place; a count tells of what came.
      if (held && box.scrollHeight !== high && before[0] === newestBefore) box.scrollTop += box.scrollHeight - high;
      if (!held) seen = scans[0]?.seq ?? 0;
      const unseen = scans.filter((scan) => scan.seq > seen).length;
      hide(fresh, !held || unseen === 0);
      put(fresh, t("{n} new", { n: unseen }));
      hide(none, items.length > 0);
      put(none, now.known ? t("No scans yet. They show here the moment a scanner reads.") : t("Waiting for the gateway."));
      hide(more, end || scans.length < 50);
      const newest = scans[0];
      if (newest && newest.id !== told) {
        if (told) page.say(`${verdict(newest).word}: ${plain(newest.code ?? newest.key)}${newest.place ? `, ${plain(newest.place)}` : ""}`, false);
        told = newest.id;
      }
      readers.draw(now);
      arrived.draw(now);
      sound.draw(now);
    },
  };
}

function feedRow() {
  const mark = icon();
  const code = h("bdi");
  const word = h("span", "word");
  const by = h("span");
  const what = h("div", "what", code, h("p", "", word, by));
  const plate = plateCell();
  const age = h("span", "age num");
  const node = h("li", "", mark.node, what, h("div", "r", plate.node, age));
  return {
    node,
    /** @param {import("../feed.js").Row} row @param {Scene} scene */
    fill(row, scene) {
      attr(node, "class", row.kind === "scan" ? null : row.kind);
      if (row.kind === "gap") {
        const n = [...scene.state.sources.values()].filter((one) => one.kind === "scanner").length;
        mark.set("wait");
        const quiet = t("{span} without scans", { span: span(row.ms) });
        put(code, row.why === "well" ? `${quiet}; ${few(n, "the scanner answered all the while", "all {n} scanners answered all the while")}` : quiet);
        for (const one of [word, by, age]) put(one, "");
        plate.fill(undefined, scene);
        return;
      }
      const { shape, text, bold, tail, place, tq } = row.letter ? keptWords(row.letter) : scanWords(/** @type {WireEvent} */ (row.scan));
      mark.set(scene.fresh ? shape : "stale");
      put(code, text);
      put(word, bold);
      attr(word, "class", `word ${scene.fresh ? shape : "stale"}`);
      put(by, tail);
      plate.fill(place, scene);
      const time = `${tq === "none" ? "~" : ""}${clock(row.at, scene.tz)}`;
      put(age, scene.fresh && scene.shown - row.at < 3600e3 ? ago(scene.shown - row.at) : time);
      attr(age, "title", time);
    },
  };
}

/** @param {WireEvent} scan */
function scanWords(scan) {
  const { shape, word, more } = verdict(scan);
  const kind = scan.code_kind && scan.code_kind !== "plain" ? `, ${plain(scan.code_kind, 16).toUpperCase()}` : "";
  const own = scan.asset && scan.asset !== scan.key ? called(scan.asset) : null;
  const tail = `${more ? `, ${more}` : ""}${scan.source && scan.source !== "manual" ? `, ${plain(scan.source, 40)}` : ""}${own ? `, ${plain(scan.code ?? "", 60)}` : kind}`;
  return { shape, text: plain(own ?? scan.code ?? scan.key ?? ""), bold: word, tail, place: scan.place, tq: scan.tq };
}

/** @param {import("../types").Letter} letter */
function keptWords(letter) {
  const why = letter.text ? t(plain(letter.text, 160)) : t(words(letter.reason));
  // What was read is told to the operator; of a code that nobody named its key is told to all.
  const read = letter.bytes ? plain(letter.bytes, 80) : letter.reason === "unknown_tag" && letter.detail ? called(letter.detail) : "";
  const text = read || why;
  const tail = `, ${read ? why.replace(/\.$/, "") : t(words(letter.reason))}${letter.source ? `, ${plain(letter.source, 40)}` : ""}`;
  return { shape: /** @type {import("../types").Shape} */ ("fail"), text, bold: t("Kept aside"), tail, place: undefined, tq: undefined };
}

/** What each scanner has read since this store began, and what of it was kept aside. */
function readerTable() {
  const body = h("tbody");
  const head = h("tr");
  const title = h("h2");
  const none = h("p", "mut");
  const table = h("table", "num", h("thead", "", head), body);
  const node = h("section", "card readers", title, table, none);
  const draw = rows(body, () => {
    const mark = icon();
    const name = h("bdi");
    const cells = [h("td"), h("td"), h("td")];
    const first = h("th", "", mark.node, name);
    first.scope = "row";
    return { node: h("tr", "", first, ...cells), mark, name, cells };
  }, (row, /** @type {{id: string, shape: import("../types").Shape, how: string, read: number, again: number, kept: number}} */ one) => {
    row.mark.set(one.shape);
    put(row.name, plain(one.id, 40));
    attr(row.name, "title", one.how);
    [one.read, one.again, one.kept].forEach((n, at) => put(row.cells[at], count(n)));
    attr(row.cells[2], "class", one.kept > 0 ? "fail" : null);
  });
  return {
    node,
    /** @param {Scene} scene */
    draw({ state, fresh }) {
      put(title, t("By reader, since this store began"));
      const names = [t("Reader"), t("Read"), t("Again"), t("Kept aside")];
      if (head.children.length === 0) head.append(...names.map(() => {
        const one = h("th");
        one.scope = "col";
        return one;
      }));
      names.forEach((name, n) => put(head.children[n], name));
      const all = [...state.sources.values()].filter((one) => one.kind === "scanner").map((one) => {
        const counts = state.ledger?.sources?.[one.id] ?? { frames: 0 };
        const [shape, , how] = condition(one);
        return { id: one.id, shape: /** @type {import("../types").Shape} */ (fresh ? shape : "stale"), how, read: counts.frames ?? 0, again: counts.repeat ?? 0, kept: counts.rejected ?? 0 };
      });
      draw(all, (one) => one.id);
      hide(table, all.length === 0);
      hide(none, all.length > 0);
      put(none, t("No scanner is set up. On the gateway: waypost devices"));
    },
  };
}

/** Which news make a sound on this device. @param {import("../types").Page} page */
export function soundSwitch(page) {
  const title = h("h2");
  const hint = h("p", "mut");
  const seg = h("div", "seg");
  attr(seg, "role", "group");
  const tabs = CHOICES.sound.map((name) => {
    const one = button("", "", async () => {
      page.set("sound", name);
      const { Sounds } = await import("../sound.js");
      const test = new Sounds();
      test.unlock();
      if (name !== "off") setTimeout(() => test.play(name === "all" ? "good" : "bad"), 60);
    });
    seg.append(one);
    return { name, node: one };
  });
  return {
    node: h("section", "card sounds", title, seg, hint),
    /** @param {Scene} scene */
    draw({ prefs }) {
      put(title, t("Sound on this device"));
      attr(seg, "aria-label", t("Sound on this device"));
      const names = { off: t("Silent"), bad: t("Bad scans"), all: t("All scans") };
      for (const { name, node } of tabs) {
        put(node, names[name]);
        attr(node, "aria-pressed", String(prefs.sound === name));
      }
      put(hint, t("Two low tones for a bad scan, three when a part is lost. Browsers stay silent until somebody has touched the page."));
    },
  };
}
