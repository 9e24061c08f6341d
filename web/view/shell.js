// @ts-check
// What stands around every screen: the truth strip, the one alarm bar, the navigation. On a phone the strip is one line,
// the worst of it.

import { attr, button, el, h, hide, icon, put, rows, s } from "../dom.js";
import { clock, count, day, plain, zone } from "../fmt.js";
import { few, t } from "../i18n.js";
import { badness, chips, conditions } from "../judge.js";
import { hrefOf, SCREENS } from "../route.js";

/** @typedef {import("../types").Scene} Scene */

/** The screens of the navigation and their signs. @type {[keyof typeof SCREENS, string, string][]} */
const PLACES = [
  ["live", "Live", "map"], ["scans", "Scans", "scan"], ["assets", "Assets", "truck"], ["failures", "Failures", "box"],
  ["health", "Health", "pulse"], ["about", "About", "info"],
];

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
      attr(list, "aria-label", t("State of this gateway"));
      const all = chips(scene);
      draw(all, (said) => said.id);
      const worst = all.reduce((a, b) => (badness(b.shape) > badness(a.shape) ? b : a));
      const bad = all.filter((said) => badness(said.shape) > 0).length;
      const [alarm, ...others] = conditions(scene);
      // "All well" is said only when neither a chip nor an alarm says otherwise.
      const shape = bad === 0 && alarm ? alarm.shape : worst.shape;
      mark.set(shape);
      attr(one, "class", `one t-${shape}`);
      put(word, bad > 0 ? worst.word : alarm ? `${t("Live")}, ${few(others.length + 1, "{n} alarm", "{n} alarms")}` : t("Live, all well"));
      put(small, bad > 1 && scene.fresh ? `${worst.small}, ${t("and {n} more", { n: bad - 1 })}` : worst.small);
      const { state: { node }, wall, tz, known } = scene;
      put(parts.name, plain(node.name || node.site || node.id || "waypost", 48));
      put(parts.node, node.id ? t("gateway {id}", { id: plain(node.id, 64) }) : t("looking for the gateway"));
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
  const link = h("a", "", mark.node, h("span", "", word, small));
  const node = h("li", "", link);
  return {
    node,
    /** @param {import("../types").Chip} said */
    fill(said) {
      attr(node, "class", `t-${said.shape}`);
      attr(link, "href", `${hrefOf("health", new URLSearchParams(location.search))}#${said.id}`);
      mark.set(said.shape);
      put(word, said.word);
      put(small, said.small);
    },
  };
}

/** The alarm bar: only the worst; it leaves when solved. @param {(text: string, fault: boolean) => void} say tells who cannot see it */
export function alarms(say) {
  const bar = el("alarm");
  const mark = icon();
  const what = h("strong");
  const advice = h("span");
  const more = h("a", "more num");
  /** @type {() => void} */
  let kick = () => {};
  const retry = button("btn", "", () => kick());
  /** @type {() => void} */
  let mute = () => {};
  const hush = button("btn", "", () => mute());
  bar.append(mark.node, h("p", "", what, " ", advice), more, hush, retry);
  let told = "";
  return {
    /** @param {Scene} scene */
    draw(scene) {
      const all = conditions(scene);
      const worst = all[0];
      hide(bar, !worst);
      kick = scene.kick;
      hide(retry, worst?.key !== "link" || scene.link.nextTry === null);
      attr(bar, "aria-label", t("Alarm"));
      mute = scene.mute;
      hide(hush, worst?.shape !== "fail" || scene.prefs.sound === "off" || scene.muted);
      put(hush, t("Mute 10 min"));
      put(retry, t("Try now"));
      if (!worst) {
        if (told) say(t("The alarm is over."), false);
        told = "";
        return;
      }
      attr(bar, "class", `alarm t-${worst.shape}`);
      mark.set(worst.shape);
      put(what, worst.what);
      put(advice, worst.advice);
      put(more, all.length > 1 ? t("and {n} more", { n: all.length - 1 }) : "");
      attr(more, "href", hrefOf("health", new URLSearchParams(location.search)));
      hide(more, all.length < 2);
      if (told === worst.key) return;
      told = worst.key;
      say(`${worst.what} ${worst.advice}`, worst.shape === "fail");
    },
  };
}

export function navigation() {
  const nav = el("nav");
  const links = PLACES.map(([screen, label, sign]) => {
    const badge = h("span", "n num");
    const word = h("span");
    const mark = s("svg", { class: "i", "aria-hidden": "true" }, s("use", { href: `#i-${sign}` }));
    const link = h("a", "", mark, word, badge);
    nav.append(link);
    return { screen, label, link, word, badge };
  });
  return {
    /** @param {Scene} scene @param {string} shown */
    draw(scene, shown) {
      attr(nav, "aria-label", t("Screens"));
      const query = new URLSearchParams(location.search);
      for (const { screen, label, link, word, badge } of links) {
        attr(link, "href", hrefOf(screen, query));
        attr(link, "aria-current", shown === screen || (shown === "first" && screen === "live") ? "page" : null);
        put(word, t(label));
        const open = screen === "failures" && scene.fresh ? scene.state.letters?.open ?? 0 : 0;
        hide(badge, open === 0);
        put(badge, open > 999 ? "999+" : count(open));
        attr(badge, "aria-label", open ? t("{n} open", { n: count(open) }) : null);
      }
    },
  };
}
