// @ts-check
// What belongs to a picked asset: what it is called, where it has been, whether its events have been sent, and what a
// person can say of it: that it is somewhere else, or gone.

import { call } from "../api.js";
import { button, h, icon, put, rows } from "../dom.js";
import { plain, when } from "../fmt.js";
import { t } from "../i18n.js";
import { called, nameOf } from "../yard.js";
import { ask, choices, field, textField } from "./dialog.js";

/** @typedef {import("../types").Scene} Scene */

const STOPS = 6;

/** @param {import("../types").Page} page @param {string} asset */
export function detailOf(page, asset) {
  const named = h("p", "mut");
  const way = h("ol", "way num");
  const wayTitle = h("h3", "", t("Before that"));
  const sent = icon();
  const sentText = h("span");
  const sentRow = h("p", "sent", sent.node, sentText);
  const place = button("btn", t("Move …"), () => void move(page, asset, scene));
  const gone = button("btn", t("Gone from here …"), () => void leave(page, asset, scene));
  const node = h("div", "detail", named, sentRow, wayTitle, way, h("div", "acts", place, gone));
  sentRow.hidden = true;
  wayTitle.hidden = true;
  /** @type {Scene} */
  let scene;
  /** @type {{place: string, change: string, since_ms: number, tq?: string}[]} */
  let turns = [];
  let read = "";
  const draw = rows(way, () => {
    const at = h("span", "mut");
    const where = h("b");
    return { node: h("li", "", where, at), at, where };
  }, (row, /** @type {{place: string, from: number, to: number|null}} */ stop) => {
    put(row.where, nameOf(stop.place, scene.plan));
    const times = [stop.from, stop.to].filter((one) => one !== null).map((one) => when(one, scene.shown, scene.tz));
    put(row.at, times.join(" – "));
  });

  /** Asked anew when the asset was seen anew. @param {string} key */
  async function look(key) {
    read = key;
    const id = encodeURIComponent(asset);
    const [what, history, events] = await Promise.all([call(`/assets/${id}`), call(`/assets/${id}/history?limit=20`), call(`/events?asset=${id}&limit=1`)]);
    if (read !== key) return;
    if (what.ok) put(named, [what.body.name, what.body.kind].filter(Boolean).map((text) => plain(text, 80)).join(", "));
    if (history.ok) turns = history.body.items ?? [];
    const newest = events.ok ? events.body.items?.[0] : null;
    const delivery = newest ? await call(`/events/${newest.id}/delivery`) : null;
    if (read !== key) return;
    sentRow.hidden = !delivery?.ok;
    if (delivery?.ok) {
      const [shape, text] = toldOf(delivery.body);
      sent.set(shape);
      put(sentText, text);
    }
    page.redraw();
  }

  return {
    node,
    /** @param {Scene} now */
    draw(now) {
      scene = now;
      const one = now.state.assets.get(asset);
      const key = `${one?.place ?? ""} ${one?.seq ?? one?.ts_ms ?? ""} ${now.state.uplink?.state ?? ""}`;
      if (now.fresh && one && !read.startsWith(`${one.place ?? ""} `)) void look(key);
      else if (now.fresh && read === "") void look(key);
      named.hidden = named.textContent === "";
      gone.hidden = !one?.place;
      const stops = stopsOf(turns, one?.place);
      wayTitle.hidden = stops.length === 0;
      draw(stops.slice(0, STOPS), (stop) => `${stop.from} ${stop.place}`);
    },
  };
}

/** What a delivery answer says of an asset's newest event. @param {any} sheet @returns {[import("../types").Shape, string]} */
function toldOf(sheet) {
  if (sheet.unheard) return ["warn", t("Newest event sent, nobody listened")];
  if (["acknowledged", "confirmed", "passed", "archived"].includes(sheet.state)) return ["ok", t("Newest event sent")];
  if (sheet.state === "local") return ["ok", t("Stored here; nothing is to be sent")];
  if (sheet.state === "dead" || sheet.state === "discarded") return ["fail", t("Newest event refused by the broker")];
  return ["wait", t("Newest event waits to be sent")];
}

/**
 * Where it was, newest first, each with from and to; without where it is now.
 * @param {{place: string, change: string, since_ms: number}[]} turns newest first @param {string|undefined} now
 * @returns {{place: string, from: number, to: number|null}[]}
 */
export function stopsOf(turns, now) {
  /** @type {{place: string, from: number, to: number|null}[]} */
  const stops = [];
  /** @type {Map<string, number>} */
  const left = new Map();
  let present = now !== undefined;
  for (const turn of turns) {
    if (turn.change === "exit") left.set(turn.place, turn.since_ms);
    else if (turn.change === "enter") {
      if (present && turn.place === now && !left.has(turn.place)) present = false;
      else stops.push({ place: turn.place, from: turn.since_ms, to: left.get(turn.place) ?? null });
      left.delete(turn.place);
    }
  }
  return stops;
}

/** @param {import("../types").Page} page @param {string} asset @param {Scene} scene */
async function move(page, asset, scene) {
  const to = textField({ max: 64, list: "places" });
  const note = textField({ max: 120 });
  const known = new Set([...scene.plan.zones.map((zone) => zone.id), ...[...scene.state.assets.values()].flatMap((one) => (one.place && !one.place.startsWith("@") ? [one.place] : []))]);
  const places = choices("places", [...known].sort());
  await ask({
    title: t("Where is {asset}?", { asset: called(asset) }), text: t("The gateway believes you from now on, until a scanner or GPS sees it elsewhere. It can be undone the same way."),
    body: [field(t("Place"), to), places, field(t("Note"), note)], label: t("Move it there"), ready: () => to.value.trim() !== "",
    run: () => placed(page, asset, to.value.trim(), note.value.trim(), t("{asset} is now at {place}.", { asset: called(asset), place: plain(to.value, 40) })),
  });
}

/** @param {import("../types").Page} page @param {string} asset @param {Scene} scene */
async function leave(page, asset, scene) {
  const note = textField({ max: 120 });
  const place = scene.state.assets.get(asset)?.place ?? "";
  await ask({
    title: t("Is {asset} gone from {place}?", { asset: called(asset), place: nameOf(place, scene.plan) }), text: t("It stays in the list without a place. It can be undone by moving it back."),
    body: [field(t("Note"), note)], label: t("It is gone"),
    run: () => placed(page, asset, null, note.value.trim(), t("{asset} is gone from {place}.", { asset: called(asset), place: nameOf(place, scene.plan) })),
  });
}

/** @param {import("../types").Page} page @param {string} asset @param {string|null} place @param {string} note @param {string} told */
async function placed(page, asset, place, note, told) {
  const answer = await call(`/assets/${encodeURIComponent(asset)}/place`, { method: "POST", json: { place, note } });
  if (answer.ok) page.say(told, false);
  return answer.error;
}
