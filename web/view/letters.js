// @ts-check
// What could not go on and is kept for a person, counted by reason, with what to do. Reading only: the desk is
// `waypost letters`.

import { el, h, put, rows } from "../dom.js";
import { count, plain, plural, words } from "../fmt.js";

const SHOWN = 5;

export function letters() {
  const box = el("letters");
  const head = h("h3");
  const list = h("ul");
  const how = h("p", "mut");
  box.append(head, list, how);
  const draw = rows(list, () => {
    const what = h("span");
    const advice = h("small");
    const n = h("b", "num");
    return { node: h("li", "", h("div", "", what, advice), n), what, advice, n };
  }, (row, /** @type {import("../types").ReasonCount} */ one) => {
    put(row.what, one.text ? plain(one.text) : words(one.reason));
    put(row.advice, plain(one.advice ?? ""));
    put(row.n, count(one.n));
  });
  return {
    /** @param {import("../types").Scene} scene */
    draw({ state: { letters: said } }) {
      const open = said?.open ?? 0;
      box.hidden = open === 0;
      if (!said || open === 0) return;
      put(head, `${plural(open, "read")} kept aside for a person`);
      const by = [...(said.by_reason ?? [])].sort((a, b) => b.n - a.n);
      draw(by.slice(0, SHOWN), (one) => one.reason);
      const rest = by.length - SHOWN;
      put(how, `${rest > 0 ? `And ${plural(rest, "more reason")}. ` : ""}Nothing of it is gone. On the gateway: waypost letters list`);
    },
  };
}
