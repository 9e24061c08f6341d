// @ts-check
// The alarm bar: only the worst condition; what and since when, then what it means and what to do. It leaves when solved.

import { attr, el, h, icon, put } from "../dom.js";
import { conditions } from "../judge.js";

/** @typedef {import("../types").Scene} Scene */

/** @param {(text: string, fault: boolean) => void} say tells who cannot see the bar */
export function alarms(say) {
  const bar = el("alarm");
  const mark = icon();
  const what = h("strong");
  const advice = h("span");
  const more = h("small", "more num");
  const retry = h("button", "btn", "Try now");
  retry.type = "button";
  /** @type {() => void} */
  let kick = () => {};
  retry.addEventListener("click", () => kick());
  bar.append(mark.node, h("p", "", what, " ", advice), more, retry);
  let told = "";
  return {
    /** @param {Scene} scene */
    draw(scene) {
      const all = conditions(scene);
      const worst = all[0];
      bar.hidden = !worst;
      kick = scene.kick;
      retry.hidden = worst?.key !== "link" || scene.link.nextTry === null;
      if (!worst) {
        if (told) say("The alarm is over.", false);
        told = "";
        return;
      }
      attr(bar, "class", `alarm t-${worst.shape}`);
      mark.set(worst.shape);
      put(what, worst.what);
      put(advice, worst.advice);
      put(more, all.length > 1 ? `and ${all.length - 1} more` : "");
      more.hidden = all.length < 2;
      if (told === worst.key) return;
      told = worst.key;
      say(`${worst.what} ${worst.advice}`, worst.shape === "fail");
    },
  };
}
