// @ts-check
// The scan feed: newest first, a verdict in shape and word, at most fifty rows that are used again and again.

import { attr, el, h, icon, put, rows } from "../dom.js";
import { ago, clock, isNum, plain } from "../fmt.js";
import { verdict } from "../judge.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").WireEvent} WireEvent */

// On a phone the feed begins this short (screen.css), so that the assets below it can be reached.
const SHORT = 8;

/** @param {(text: string, fault: boolean) => void} say tells who cannot see the feed */
export function scans(say) {
  const box = el("scans");
  const list = h("ol", "feed");
  const none = h("p", "none");
  const fresh = h("button", "jump");
  fresh.type = "button";
  fresh.hidden = true;
  const all = h("button", "all");
  all.type = "button";
  all.addEventListener("click", () => {
    attr(all, "aria-expanded", String(list.classList.toggle("whole")));
    self.draw(scene);
  });
  attr(all, "aria-expanded", "false");
  box.append(fresh, none, list, all);
  const total = el("reads-n");
  /** @type {Scene} */
  let scene;
  const draw = rows(list, row, (one, /** @type {WireEvent} */ scan) => one.fill(scan, scene));
  /** The newest scan that was announced, and that was seen at the top. */
  let told = "";
  let seen = 0;
  const atTop = () => box.scrollTop < 24;
  fresh.addEventListener("click", () => { box.scrollTop = 0; });
  box.addEventListener("scroll", () => {
    if (!atTop() || fresh.hidden) return;
    seen = scene?.state.scans[0]?.seq ?? 0;
    fresh.hidden = true;
  }, { passive: true });
  const self = {
    /** @param {Scene} now */
    draw(now) {
      scene = now;
      const items = now.state.scans;
      const before = box.scrollHeight;
      const held = !atTop();
      draw(items, (scan) => scan.id);
      // Who reads further down keeps the place; a count tells of what came.
      if (held && box.scrollHeight !== before) box.scrollTop += box.scrollHeight - before;
      if (!held) seen = items[0]?.seq ?? 0;
      const unseen = items.filter((scan) => scan.seq > seen).length;
      fresh.hidden = !held || unseen === 0;
      put(fresh, `${unseen} new`);
      none.hidden = items.length > 0;
      put(none, now.known ? "No scans yet. They show here the moment a scanner reads." : "Waiting for the gateway.");
      put(total, items.length > 1 ? `the last ${items.length}` : "");
      all.hidden = items.length <= SHORT;
      put(all, list.classList.contains("whole") ? "Show fewer" : `Show all ${items.length}`);
      const newest = items[0];
      if (newest && newest.id !== told) {
        if (told) say(`${verdict(newest).word}: ${plain(newest.code ?? newest.key)}${newest.place ? `, ${plain(newest.place)}` : ""}`, false);
        told = newest.id;
      }
    },
  };
  return self;
}

function row() {
  const mark = icon();
  const code = h("bdi");
  const word = h("span", "word");
  const by = h("span");
  const plate = h("span", "plate");
  const age = h("span", "age num");
  const node = h("li", "", mark.node, h("div", "what", code, h("p", "", word, by)), h("div", "r", plate, age));
  return {
    node,
    /** @param {WireEvent} scan @param {Scene} scene */
    fill(scan, scene) {
      const said = verdict(scan);
      const at = scan.received_ms ?? scan.ts_ms;
      mark.set(scene.fresh ? said.shape : "stale");
      put(code, plain(scan.code ?? scan.key ?? ""));
      put(word, said.word);
      attr(word, "class", `word ${scene.fresh ? said.shape : "stale"}`);
      const kind = scan.code_kind && scan.code_kind !== "plain" ? `, ${plain(scan.code_kind, 16).toUpperCase()}` : "";
      put(by, `${scan.source ? `, by ${plain(scan.source, 40)}` : ""}${kind}`);
      const place = scan.place ?? "";
      plate.hidden = place === "";
      // "@TRK-07" is no place of the yard: it is on that asset and goes with it.
      attr(plate, "class", place.startsWith("@") ? "on" : "plate");
      put(plate, place.startsWith("@") ? `on ${plain(place.slice(1), 32)}` : plain(place, 32));
      const time = `${scan.tq === "none" ? "~" : ""}${clock(scan.ts_ms, scene.tz)}`;
      put(age, scene.fresh && isNum(at) && scene.shown - at < 3600e3 ? ago(scene.shown - at) : time);
      attr(age, "title", time);
    },
  };
}
