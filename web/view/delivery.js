// @ts-check
// Did it arrive? A code, typed or scanned, and where each of its newest events stands: stored, sent, taken by the broker.

import { call } from "../api.js";
import { attr, h, icon, put, rows } from "../dom.js";
import { count, isNum, plain, span, when, words } from "../fmt.js";
import { few, t } from "../i18n.js";

/** @typedef {import("../types").Scene} Scene */

const AGAIN_MS = 3000;

/** The gateway keeps the minute in which the broker took something, by its beginning: when that was over, to the minute. @param {number} ms @param {number} now */
const latest = (ms, now) => Math.min(now, Math.ceil((ms + 60e3) / 60e3) * 60e3);

/**
 * What a delivery answer says, as a shape, a word and a sentence.
 * @param {any} sheet @param {number} now @param {string} tz
 * @returns {{shape: import("../types").Shape, word: string, more: string}}
 */
export function answerOf(sheet, now, tz) {
  const taken = isNum(sheet.acked_ms) ? t("The broker took it by {time}.", { time: when(latest(sheet.acked_ms, now), now, tz) }) : "";
  switch (sheet.state) {
    case "confirmed": return { shape: "ok", word: t("Arrived"), more: `${taken} ${t("The centre says that it has it.")}`.trim() };
    case "acknowledged": return sheet.unheard ? { shape: "warn", word: t("Sent, nobody listened"), more: `${taken} ${t("Nobody listened there then: whoever should have it can ask for it again.")}` } : { shape: "ok", word: t("Sent"), more: taken };
    case "passed": return { shape: "ok", word: t("Sent"), more: t("The log no longer says when.") };
    case "in_flight": return { shape: "wait", word: t("On its way"), more: t("The broker has not answered yet.") };
    case "waiting": return { shape: "warn", word: t("Waits here"), more: `${isNum(sheet.ahead) ? few(sheet.ahead, "{n} event goes before it.", "{n} events go before it.") : ""} ${isNum(sheet.waiting_s) ? t("It has waited {span}.", { span: span(sheet.waiting_s * 1000) }) : ""}`.trim() };
    case "local": return { shape: "ok", word: t("Stored here"), more: t("This gateway sends nothing upstream.") };
    case "dead": return { shape: "fail", word: t("Refused by the broker"), more: t("It waits for a person under Failures.") };
    case "discarded": return { shape: "fail", word: t("Given up"), more: t("A person has given it up.") };
    case "archived": return { shape: "ok", word: t("Archived"), more: t("What is not sent never leaves the log: it was sent before.") };
    default: return { shape: "wait", word: plain(sheet.state, 24), more: plain(sheet.text, 200) };
  }
}

export function delivery() {
  const input = h("input");
  input.type = "search";
  input.maxLength = 1024;
  input.autocomplete = "off";
  input.spellcheck = false;
  const name = h("span");
  const go = h("button", "btn pri");
  const form = h("form", "find", h("label", "", name, input), go);
  const head = h("p", "mut");
  attr(head, "role", "status");
  const list = h("ol", "answers num");
  const node = h("section", "card arrived", form, head, list);
  node.id = "arrived";
  /** @type {Scene|null} */
  let scene = null;
  /** What was asked and what came. @type {{code: string, body: any, error: string}|null} */
  let said = null;
  let attempt = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let due;
  const draw = rows(list, () => {
    const mark = icon();
    const word = h("b");
    const more = h("span");
    const stored = h("small", "mut");
    return { node: h("li", "", mark.node, h("div", "", word, more, stored)), mark, word, more, stored };
  }, (row, /** @type {{shape: import("../types").Shape, word: string, more: string, stored: string}} */ one) => {
    row.mark.set(scene?.fresh ? one.shape : "stale");
    put(row.word, one.word);
    attr(row.word, "class", one.shape);
    put(row.more, ` ${one.more}`);
    put(row.stored, one.stored);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    self.look(input.value);
  });

  /** @param {string} code */
  async function look(code) {
    const mine = ++attempt;
    clearTimeout(due);
    const answer = await call(`/delivery?code=${encodeURIComponent(code)}`);
    if (mine !== attempt) return;
    said = { code, body: answer.body, error: answer.error ? t(answer.error.message) : "" };
    if (scene) self.draw(scene);
    // While something of it is on its way the answer changes by itself.
    const open = (answer.body?.items ?? []).some((/** @type {any} */ one) => one.state === "waiting" || one.state === "in_flight");
    if (open && node.isConnected) due = setTimeout(() => void look(code), AGAIN_MS);
  }

  const self = {
    node,
    focus: () => input.focus(),
    stop() {
      attempt += 1;
      clearTimeout(due);
    },
    /** @param {string} text */
    look(text) {
      const code = text.trim();
      input.value = code;
      if (code) void look(code);
      else {
        said = null;
        self.stop();
        if (scene) self.draw(scene);
      }
    },
    /** @param {Scene} now */
    draw(now) {
      scene = now;
      put(name, t("Did it arrive?"));
      attr(input, "placeholder", t("Scan or type a code"));
      put(go, t("Look"));
      const items = said?.body?.items ?? [];
      const letters = said?.body?.letters ?? [];
      put(head, said === null ? "" : said.error ? said.error
        : items.length + letters.length === 0 ? t("Nothing here has the code {code}. Was it read by this gateway?", { code: plain(said.code, 60) })
          : `${plain(said.code, 60)}: ${few(items.length, "{n} event", "{n} events")}${said.body.more ? ` ${t("(the newest {n})", { n: count(items.length) })}` : ""}`);
      const stored = (/** @type {any} */ one) => [isNum(one.stored_ms) ? t("stored {time}", { time: when(one.stored_ms, now.shown, now.tz) }) : "", one.kind && one.kind !== "scan" ? t(plain(one.kind, 12)) : ""].filter(Boolean).join(", ");
      draw([
        ...letters.map((/** @type {any} */ one) => ({ key: `l${one.letter}`, shape: "fail", word: t("Kept aside"), more: `${t(words(one.reason))}.`, stored: isNum(one.received_ms) ? t("read {time}", { time: when(one.received_ms, now.shown, now.tz) }) : "" })),
        ...items.map((/** @type {any} */ one) => ({ key: one.id, ...answerOf(one, now.shown, now.tz), stored: stored(one) })),
      ], (one) => /** @type {any} */ (one).key);
    },
  };
  return self;
}
