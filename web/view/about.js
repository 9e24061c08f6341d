// @ts-check
// What this is, and how this device shows it: language, theme, units, time zone, sound, keys. Kept on the device.

import { call } from "../api.js";
import { attr, button, h, put, rows, s, terms } from "../dom.js";
import { clock, isNum, plain, span } from "../fmt.js";
import { LANGS, t } from "../i18n.js";
import { CHOICES } from "../prefs.js";
import { qr } from "../qr.js";
import { hrefOf } from "../route.js";
import { soundSwitch } from "./scans.js";
import { askPin } from "./dialog.js";

/** @typedef {import("../types").Scene} Scene */

/** The clock of this device is told of when it is off by more. ms */
const SKEW_MS = 5000;

/** The address by which another device reaches the gateway; none when all that is known is this very machine. @param {string[]} listen @param {URL} here */
export function reached(listen, here) {
  const near = (/** @type {string} */ host) => /^(127\.|localhost$|\[?::1|0\.0\.0\.0|\[?::\]?$)/.test(host);
  if (!near(here.hostname)) return `${here.origin}/`;
  const one = listen.find((address) => !near(address.replace(/:\d+$/, "")));
  return one ? `${here.protocol}//${one}/` : "";
}

/** A QR code as a picture. @param {string} text */
function picture(text) {
  const m = qr(text);
  if (!m) return null;
  const d = m.map((row, y) => row.map((dark, x) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : "")).join("")).join("");
  return s("svg", { class: "qr", viewBox: `0 0 ${m.length + 8} ${m.length + 8}`, role: "img", "aria-label": t("QR code of {address}", { address: text }) }, s("path", { d }));
}

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh");
  const node = h("div", "about");
  const own = { head: h("h2"), list: h("dl", "num") };
  const device = h("h2");
  const hint = h("p", "mut");
  const phone = h("figure", "phone");
  let drawnFor = "";
  const views = h("h2");
  const links = h("ul", "links");
  const licence = h("h2");
  const words = h("p", "mut");
  const font = h("a", "", "Overpass");
  const pin = button("btn", "", () => void askPin().then((ok) => ok && kick()));
  const keys = button("btn", "", () => void import("./help.js").then(({ help }) => help()));
  const sound = soundSwitch(page);
  /** @type {{name: keyof import("../prefs.js").Prefs, label: HTMLElement, seg: HTMLElement, tabs: {value: string, node: HTMLButtonElement}[]}[]} */
  const settings = (/** @type {const} */ (["theme", "lang", "units", "zone", "keys"])).map((name) => {
    const seg = h("div", "seg");
    attr(seg, "role", "group");
    const tabs = CHOICES[name].map((value) => {
      const one = button("", "", () => page.set(name, value));
      seg.append(one);
      return { value, node: one };
    });
    return { name, label: h("h3"), seg, tabs };
  });
  node.append(title,
    h("section", "card", own.head, own.list, phone, h("div", "acts", pin, keys)),
    h("section", "card settings", device, ...settings.flatMap(({ label, seg }) => [label, seg]), hint), sound.node,
    h("section", "card", views, links), h("section", "card", licence, words, h("p", "", font)));
  /** Who shows its yard only with the PIN shows it now. */
  let kick = () => {};
  /** @type {any} */
  let health = null;
  let asked = -Infinity;
  const drawOwn = terms(own.list);
  const drawLinks = rows(links, () => {
    const link = h("a");
    const text = h("small", "mut");
    return { node: h("li", "", link, text), link, text };
  }, (row, /** @type {[string, string, string]} */ [href, name, text]) => {
    attr(row.link, "href", href);
    put(row.link, name);
    put(row.text, text);
  });

  async function read() {
    const answer = await call("/health");
    if (answer.ok) health = answer.body;
    page.redraw();
  }

  return {
    node,
    get title() { return t("About"); },
    draw(scene) {
      if (scene.fresh && scene.now - asked > 15_000) {
        asked = scene.now;
        void read();
      }
      kick = scene.kick;
      const { node: gateway } = scene.state;
      put(title, t("About"));
      put(own.head, t("This gateway"));
      const skew = Date.now() - scene.wall;
      drawOwn(/** @type {[string, string][]} */ ([
        [t("Name"), plain(gateway.name || gateway.id, 80)],
        [t("Node"), [gateway.site, gateway.id].filter(Boolean).map((one) => plain(one, 64)).join(" / ")],
        [t("Version"), plain(gateway.version, 40)],
        [t("Boot"), isNum(gateway.boot) ? t("number {n}", { n: gateway.boot }) : ""],
        [t("Addresses"), (health?.listen ?? []).map((/** @type {string} */ one) => plain(one, 60)).join(", ")],
        [t("This screen came from"), location.host],
        [t("Screens connected"), isNum(health?.streams) ? String(health.streams) : ""],
        [t("Life of the store"), plain(health?.epoch ?? "", 20)],
        [t("Time zone of the site"), plain(gateway.tz, 40)],
        [t("Page"), plain(document.documentElement.dataset.page ?? "", 20)],
        [t("Clock of this device"), scene.fresh && Math.abs(skew) > SKEW_MS ? t("{span} wrong; times here are those of the gateway", { span: span(Math.abs(skew)) }) : ""],
      ]));
      const address = reached(health?.listen ?? [], new URL(location.href));
      if (address !== drawnFor) {
        drawnFor = address;
        const drawn = address ? picture(address) : null;
        phone.replaceChildren(...(drawn ? [drawn, h("figcaption", "", address)] : []));
      }
      phone.hidden = !phone.firstChild;
      put(pin, t("Operator PIN …"));
      put(keys, t("Keys …"));
      put(device, t("On this device"));
      const names = { theme: t("Appearance"), lang: t("Language"), units: t("Units"), zone: t("Times"), keys: t("Single keys as shortcuts") };
      /** @type {Record<string, string>} */
      const labels = { auto: t("By itself"), light: t("Light"), dark: t("Dark"), night: t("Night"), metric: "km/h, m", imperial: "mph, ft", site: t("Of the site"), device: t("Of this device"), utc: "UTC", on: t("On"), off: t("Off") };
      for (const { name, label, seg, tabs } of settings) {
        put(label, names[/** @type {keyof typeof names} */ (name)]);
        attr(seg, "aria-label", names[/** @type {keyof typeof names} */ (name)]);
        for (const { value, node: tab } of tabs) {
          put(tab, name === "lang" && value !== "auto" ? LANGS[value].name : labels[value]);
          attr(tab, "aria-pressed", String(scene.prefs[name] === value));
        }
      }
      put(hint, `${t("It is {time} in the zone that is shown.", { time: clock(scene.wall, scene.tz) })} ${scene.tz}`);
      sound.draw(scene);
      put(views, t("Other screens"));
      const query = new URLSearchParams(location.search);
      drawLinks([
        [hrefOf("board", query), t("Board"), t("for a wall: plan, docks, last scan")],
        [hrefOf("cab", query), t("Cab"), t("for a driver: where am I, did my scan count, is my data safe")],
        [hrefOf("first", query), t("First run"), t("what was found, what still waits")],
        ["/metrics", "/metrics", t("for Prometheus")],
        ["/healthz", "/healthz", t("for a monitor")],
      ], (one) => one[0]);
      put(licence, t("Licences"));
      put(words, t("waypost is free software; its licence comes with it. The typeface is Overpass under the SIL Open Font License:"));
      attr(font, "href", new URL("../fonts/overpass-ofl.txt", import.meta.url).pathname);
    },
  };
}
