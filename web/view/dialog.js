// @ts-check
// Questions to a person: one at a time, over the screen, closed with Esc. The answer to an error stands where it was made.

import { sessionBy, call } from "../api.js";
import { button, h, put } from "../dom.js";
import { plain } from "../fmt.js";
import { t } from "../i18n.js";

/** @typedef {NonNullable<import("../api.js").Answer["error"]>} Fault */

/** What went wrong, as one text for a person. @param {Fault} fault */
export function faultText(fault) {
  const all = [t(plain(fault.message, 300)), fault.hint ? t(plain(fault.hint, 300)) : ""].filter(Boolean);
  return [...all.map((text) => text.charAt(0).toUpperCase() + text.slice(1)).map((text) => (/[.!?…]$/.test(text) ? text : `${text}.`)), ...(fault.findings ?? []).slice(0, 8).map((one) => plain(one, 200))].join(" ");
}

/**
 * A question with a way out; `only` a word to a person, with nothing to decide. `run` answers null when it is done, or what went wrong; then the question stays.
 * @param {{title: string, text?: string, body?: Node[], label: string, danger?: boolean, only?: boolean, run: () => Promise<Fault|string|null>, ready?: () => boolean}} what
 * @returns {Promise<boolean>} whether it was done
 */
export function ask({ title, text = "", body = [], label, danger = false, only = false, run, ready = () => true }) {
  return new Promise((done) => {
    const wrong = h("p", "wrong");
    wrong.setAttribute("role", "alert");
    wrong.hidden = true;
    const go = h("button", danger ? "btn dang" : "btn pri", label);
    go.type = "submit";
    const form = h("form", "", h("h2", "", title), ...(text ? [h("p", "mut", text)] : []), ...body, wrong,
      h("div", "acts", ...(only ? [] : [button("btn", t("Cancel"), () => box.close())]), go));
    const box = h("dialog", "box", form);
    let ok = false;
    const check = () => { go.disabled = !ready(); };
    form.addEventListener("input", check);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (go.disabled) return;
      go.disabled = true;
      const said = await run();
      if (said === null) {
        ok = true;
        box.close();
        return;
      }
      wrong.hidden = false;
      put(wrong, typeof said === "string" ? said : faultText(said));
      check();
    });
    box.addEventListener("close", () => {
      box.remove();
      done(ok);
    });
    document.body.append(box);
    check();
    box.showModal();
  });
}

/** A labelled field. @template {HTMLElement} T @param {string} label @param {T} input @param {string} [hint] @returns {HTMLLabelElement} */
export function field(label, input, hint = "") {
  return h("label", "field", h("span", "", label), input, ...(hint ? [h("small", "mut", hint)] : []));
}

/** A text to type. @param {{type?: string, value?: string, max?: number, list?: string}} [how] */
export function textField({ type = "text", value = "", max = 200, list } = {}) {
  const input = h("input");
  input.type = type;
  input.value = value;
  input.maxLength = max;
  input.autocomplete = "off";
  input.spellcheck = false;
  if (list) input.setAttribute("list", list);
  return input;
}

/** Texts to choose from while typing. @param {string} id @param {Iterable<string>} values */
export function choices(id, values) {
  const list = h("datalist");
  list.id = id;
  list.append(...[...values].map((value) => {
    const one = h("option");
    one.value = value;
    return one;
  }));
  return list;
}

/** Asks for the PIN of the operator and opens a session with it. */
export function askPin() {
  const pin = textField({ type: "password", max: 12 });
  pin.inputMode = "numeric";
  pin.autocomplete = "current-password";
  return ask({
    title: t("Operator PIN"), text: t("Changes need the PIN of this gateway. It holds for 8 hours on this device."),
    body: [field(t("PIN, 6 to 12 digits"), pin)], label: t("Go on"), ready: () => /^\d{6,12}$/.test(pin.value),
    run: async () => {
      const answer = await call("/session", { method: "POST", json: { pin: pin.value } });
      if (answer.ok) return null;
      pin.value = "";
      return answer.status === 401 ? t("That is not the PIN.") : answer.error;
    },
  });
}

sessionBy(askPin);
