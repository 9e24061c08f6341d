// @ts-check
// The truth strip: is this screen live, and is everything behind it well? On a phone one line, the worst of it.

import { attr, el, h, icon, put, rows } from "../dom.js";
import { clock, day, plain, plural, zone } from "../fmt.js";
import { badness, chips, conditions } from "../judge.js";

/** @typedef {import("../types").Scene} Scene */

export function strip() {
  const top = el("top");
  const one = /** @type {HTMLButtonElement} */ (el("one"));
  const list = el("truth");
  const parts = { name: el("name"), node: el("node"), clock: el("clock"), day: el("day") };
  const mark = icon();
  const word = h("b");
  const small = h("small", "num");
  const go = icon();
  go.set("go");
  one.append(mark.node, h("span", "", word, small), go.node);
  one.addEventListener("click", () => {
    const open = one.getAttribute("aria-expanded") !== "true";
    attr(one, "aria-expanded", String(open));
    top.classList.toggle("open", open);
  });
  const draw = rows(list, chip, (row, /** @type {import("../types").Chip} */ said) => row.fill(said));
  return {
    /** @param {Scene} scene */
    draw(scene) {
      const all = chips(scene);
      draw(all, (said) => said.id);
      const worst = all.reduce((a, b) => (badness(b.shape) > badness(a.shape) ? b : a));
      const bad = all.filter((said) => badness(said.shape) > 0).length;
      const [alarm, ...others] = conditions(scene);
      // "All well" is said only when neither a chip nor an alarm says otherwise.
      const shape = bad === 0 && alarm ? alarm.shape : worst.shape;
      mark.set(shape);
      attr(one, "class", `one t-${shape}`);
      put(word, bad > 0 ? worst.word : alarm ? `Live, ${plural(others.length + 1, "alarm")}` : "Live, all well");
      put(small, bad > 1 && scene.fresh ? `${worst.small}, and ${bad - 1} more` : worst.small);
      this.name(scene);
    },
    /** @param {Scene} scene */
    name({ state: { node }, wall, tz, known }) {
      const name = plain(node.name || node.id || "waypost", 48);
      put(parts.name, name);
      put(parts.node, node.id ? `gateway ${plain(node.id, 64)}` : "looking for the gateway");
      if (document.title !== name) document.title = name;
      if (!known) return;
      put(parts.clock, clock(wall, tz));
      put(parts.day, `${day(wall, tz)}, ${zone(wall, tz)}`);
    },
  };
}

function chip() {
  const mark = icon();
  const word = h("b");
  const small = h("small", "num");
  const node = h("li", "", mark.node, h("div", "", word, small));
  return {
    node,
    /** @param {import("../types").Chip} said */
    fill(said) {
      attr(node, "class", `t-${said.shape}`);
      mark.set(said.shape);
      put(word, said.word);
      put(small, said.small);
    },
  };
}
