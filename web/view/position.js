// @ts-check
// The newest position as facts: where, how fast, how old, and how sure.

import { attr, el, h, icon, put } from "../dom.js";
import { ago, clock, course, degrees, isNum, plain, plural, speed, words } from "../fmt.js";
import { deed, newest } from "../judge.js";
import { carrierOf } from "../yard.js";

/** @typedef {import("../types").Scene} Scene */

export function position() {
  const box = el("facts");
  const title = el("where-h");
  const back = h("button", "btn", "Show the newest");
  back.type = "button";
  const mark = icon();
  const name = h("b");
  const phrase = h("small");
  const plate = h("span", "plate");
  const who = h("div", "who", mark.node, h("div", "", name, phrase), plate);
  const none = h("p", "none");
  const lines = ["Latitude", "Longitude", "Speed", "Course", "Age", "Height", "Quality"].map((label) => {
    const value = h("dd", "num");
    return { value, label: h("dt", "", label) };
  });
  const list = h("dl", "", ...lines.map(({ label, value }) => h("div", "", label, value)));
  const doubt = h("p", "doubt");
  box.append(who, none, list, doubt, back);
  /** @type {() => void} */
  let clear = () => {};
  back.addEventListener("click", () => clear());
  return {
    /** @param {Scene} scene */
    draw(scene) {
      clear = () => scene.select(null);
      const { asset, fix, picked } = newest(scene);
      put(title, picked ? "Position" : "Newest position");
      back.hidden = !picked;
      const placed = asset !== null && isNum(asset.lat) && isNum(asset.lon);
      who.hidden = asset === null;
      list.hidden = !placed;
      none.hidden = placed;
      put(none, why(scene, picked));
      const newestDoubt = scene.state.doubtful;
      const doubted = newestDoubt !== null && newestDoubt.seq > (scene.state.fix?.seq ?? 0);
      doubt.hidden = !doubted;
      put(doubt, doubted ? `The newest fix is kept but does not move it: ${words((newestDoubt.doubt ?? []).join(", "))}.` : "");
      if (asset === null) return;
      const said = deed(asset, scene);
      mark.set(said.shape);
      put(name, plain(asset.asset, 80));
      put(phrase, said.phrase);
      plate.hidden = !asset.place;
      attr(plate, "class", scene.fresh ? "plate" : "plate off");
      put(plate, carrierOf(asset) ? `on ${plain(carrierOf(asset), 62)}` : plain(asset.place ?? "", 64));
      if (!placed) return;
      const exact = `${asset.tq === "none" ? "~" : ""}${clock(asset.ts_ms, scene.tz)}`;
      const values = [
        degrees(asset.lat, "lat"), degrees(asset.lon, "lon"), speed(asset.speed_mps), course(asset.course_deg),
        scene.fresh ? `${ago(scene.shown - asset.ts_ms)}, ${exact}` : `at ${exact}`,
        fix && isNum(fix.alt_m) ? `${Math.round(fix.alt_m)} m` : "–",
        quality(fix),
      ];
      values.forEach((value, n) => put(lines[n].value, value));
    },
  };
}

/** @param {Scene} scene @param {boolean} picked */
function why({ known, state }, picked) {
  if (!known) return "Waiting for the gateway.";
  if (picked) return "It has been seen at places only; nothing gives it coordinates.";
  const gps = [...state.sources.values()].filter((one) => one.kind === "gps");
  if (gps.length === 0) return "No GPS receiver is set up. On the gateway: waypost devices";
  return "No position yet. A receiver that starts cold needs a minute or more under open sky.";
}

/** @param {import("../types").WireEvent|null} fix */
function quality(fix) {
  if (!fix) return "–";
  const parts = [];
  if (fix.mode) parts.push(fix.mode.toUpperCase());
  if (isNum(fix.satellites)) parts.push(plural(fix.satellites, "satellite"));
  if (isNum(fix.hdop)) parts.push(`HDOP ${fix.hdop.toFixed(1)}`);
  return parts.join(", ") || "–";
}
