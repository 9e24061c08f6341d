// @ts-check
// The first hour: what was found, what still waits, and what to do for each. It ends by itself when every source that is
// set up has delivered once.

import { attr, button, h, icon, put, rows } from "../dom.js";
import { ago, isNum, plain } from "../fmt.js";
import { few, t } from "../i18n.js";
import { condition, lastScan, verdict } from "../judge.js";
import { hrefOf } from "../route.js";
import { called } from "../yard.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Shape} Shape */
/** @typedef {{key: string, shape: Shape, what: string, text: string, code?: string}} Step */

/** After the last source has delivered the yard is shown. ms */
const END_MS = 5000;

/** Whether a source has ever delivered. @param {import("../types").Source & {frameAt: number|null}} source @param {Scene} scene */
export const delivered = (source, { state }) => source.frameAt !== null || Boolean(state.ledger?.sources?.[source.id]?.frames);

/** The steps of setting up, each with what was found. @param {Scene} scene @returns {Step[]} */
export function steps(scene) {
  const { state, plan } = scene;
  const sources = [...state.sources.values()];
  /** @type {Step[]} */
  const found = [];
  for (const kind of /** @type {const} */ (["scanner", "gps"])) {
    const all = sources.filter((one) => one.kind === kind);
    if (all.length === 0) {
      found.push({
        key: kind, shape: "stale", what: kind === "gps" ? t("No GPS receiver is set up") : t("No scanner is set up"),
        text: t("Plug it in, then on the gateway:"), code: "waypost devices",
      });
    }
    for (const one of all) found.push(ofSource(one, scene));
  }
  found.push(plan.zones.length > 0
    ? { key: "plan", shape: "ok", what: t("Yard plan"), text: few(plan.zones.length, "{n} zone", "{n} zones") }
    : { key: "plan", shape: "stale", what: t("No yard plan yet"), text: t("Draw it on the screen Live with “Edit plan”, or load zones as GeoJSON there.") });
  const up = state.uplink;
  found.push(!up?.configured
    ? { key: "upstream", shape: "stale", what: t("Upstream is not set up"), text: t("Events stay here until a broker is given:"), code: "[uplink] url = \"mqtts:…\"" }
    : up.state === "connected" ? { key: "upstream", shape: "ok", what: t("Upstream is connected"), text: plain(up.url ?? "", 80) }
      : { key: "upstream", shape: "warn", what: t("Upstream is not connected yet"), text: plain(up.last_error || up.url || "", 160) });
  return found;
}

/** @param {import("../types").Source & {frameAt: number|null}} one @param {Scene} scene @returns {Step} */
function ofSource(one, scene) {
  const [shape, what] = condition(one);
  const name = one.kind === "gps" ? t("GPS receiver {id}", { id: plain(one.id, 40) }) : t("Scanner {id}", { id: plain(one.id, 40) });
  const counts = scene.state.ledger?.sources?.[one.id];
  const port = plain(one.port ?? "", 80);
  if (shape === "fail" && one.state !== "no_fix") return { key: `s:${one.id}`, shape: "fail", what: `${name} ${what}`, text: one.advice ? t(plain(one.advice, 240)) : port };
  if (delivered(one, scene)) {
    const heard = isNum(one.frameAt) && scene.fresh ? `, ${ago(scene.shown - one.frameAt)}` : "";
    return { key: `s:${one.id}`, shape: "ok", what: t("{name} delivers", { name }), text: `${port}, ${few(counts?.frames ?? 1, "{n} frame", "{n} frames")}${heard}` };
  }
  return one.kind === "gps"
    ? { key: `s:${one.id}`, shape: "warn", what: t("{name} is looking for satellites", { name }), text: `${port}. ${t("The first fix takes 1 to 12 minutes with open sky.")}` }
    : { key: `s:${one.id}`, shape: "warn", what: t("{name} is connected", { name }), text: `${port}. ${t("Waiting for its first scan.")}` };
}

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1");
  const lead = h("p", "mut");
  const list = h("ol", "steps");
  const big = icon();
  const word = h("b");
  const text = h("p", "mut");
  const done = button("btn pri", "", () => leave());
  const left = h("section", "l", title, lead, list, h("div", "acts", done));
  const node = h("div", "first", left, h("section", "r", h("div", "", big.node, h("p", "", word), text)));
  /** Whether something still waited when this was opened: then it ends by itself. */
  let waited = false;
  const draw = rows(list, () => {
    const mark = icon();
    const what = h("b");
    const words = h("small");
    const code = h("code");
    return { node: h("li", "card step", mark.node, h("div", "", what, words, code)), mark, what, words, code };
  }, (row, /** @type {Step} */ step) => {
    row.mark.set(step.shape);
    put(row.what, step.what);
    put(row.words, step.text);
    put(row.code, step.code ?? "");
    row.code.hidden = !step.code;
  });

  function leave() {
    try {
      sessionStorage.setItem("waypost.later", "1");
    } catch {
      // No storage: it may come once more.
    }
    page.open(hrefOf("live", new URLSearchParams(location.search)));
  }

  return {
    node,
    get title() { return t("First run"); },
    draw(scene) {
      const sources = [...scene.state.sources.values()];
      const waits = sources.filter((one) => !delivered(one, scene)).length;
      const scan = lastScan(scene.state);
      put(title, !scene.known ? t("Looking for the gateway") : sources.length === 0 ? t("It is running. Now give it something to hear.") : waits === 0 ? t("Everything delivers.") : t("It is running. Scan anything."));
      put(lead, t("The first scan appears here in under a second and is stored, even before the rest is set up."));
      draw(scene.known ? steps(scene).map((step) => (scene.fresh ? step : { ...step, shape: "stale" })) : [], (step) => step.key);
      put(done, waits === 0 && sources.length > 0 ? t("Go to the yard") : t("Go to the yard, set up the rest later"));
      attr(done, "class", waits === 0 && sources.length > 0 ? "btn pri" : "btn");
      if (scan) {
        const said = verdict(scan);
        big.set(scene.fresh ? said.shape : "stale");
        put(word, `${said.word}: ${scan.asset ? called(scan.asset) : plain(scan.code, 60)}`);
        put(text, scan.source ? t("read by {source}", { source: plain(scan.source, 40) }) : "");
      } else {
        big.set("scan");
        put(word, t("Waiting for the first scan"));
        const n = sources.filter((one) => one.kind === "scanner").length;
        put(text, n === 0 ? "" : few(n, "{n} scanner is set up", "{n} scanners are set up"));
      }
      if (scene.fresh && waits > 0) waited = true;
      else if (scene.fresh && waited && sources.length > 0) {
        waited = false;
        page.say(t("Every source has delivered."), false);
        setTimeout(() => node.isConnected && leave(), END_MS);
      }
    },
  };
}
