// @ts-check
// What could not go on, reasons first: thousands of letters are mostly three mistakes. Then the letters of a reason, and
// what a person does with them, one, some or all. The safe deed is the filled button; giving up asks, counts, can be undone.

import { call, freshKey } from "../api.js";
import { attr, button, h, icon, put, rows, s } from "../dom.js";
import { clock, count, isNum, plain, span, when, words } from "../fmt.js";
import { few, t } from "../i18n.js";
import { hrefOf } from "../route.js";
import { ask, choices, faultText, field, textField } from "./dialog.js";
import { save } from "./assets.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Letter} Letter */
/** @typedef {import("../types").ReasonCount} ReasonCount */

const PAGE = 50;
const LETTERS_MAX = 500;
const JOB_MS = 700;
/** From so many on a person types the number before they are given up. */
export const TYPED_FROM = 100;

/** What a bulk bar says of what is picked. @param {{picked: number, page: number, total: number, all: boolean, reason: string}} of @returns {{what: string, more: string}} */
export function scopeOf({ picked, page, total, all, reason }) {
  if (all) {
    const others = Math.max(0, total - page);
    return {
      what: few(total, "The {n} with the reason “{reason}”", "All {n} with the reason “{reason}”", { reason }),
      more: `${others > 0 ? t("{page} on this page, {others} on others.", { page: count(page), others: count(others) }) : ""} ${t("Oldest first; it can be stopped.")}`.trim(),
    };
  }
  return { what: few(picked, "{n} letter picked", "{n} letters picked"), more: t("Oldest first; it can be stopped.") };
}

/** What became of a job. @param {import("../types").Job} job */
export function outcome(job) {
  const ok = job.ok ?? 0;
  const word = job.action === "discard" ? few(ok, "{n} given up", "{n} given up") : job.action === "restore" ? few(ok, "{n} opened again", "{n} opened again") : few(ok, "{n} tried again", "{n} tried again");
  return [word, job.failed_again ? t("{n} failed again", { n: count(job.failed_again) }) : "", job.skipped ? t("{n} left as they were", { n: count(job.skipped) }) : "", job.state === "stopped" ? t("stopped") : ""].filter(Boolean).join(", ");
}

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh");
  const big = h("b", "num");
  const under = h("p");
  const reasonList = h("ul", "num");
  const noise = h("p", "mut noise");
  const left = h("section", "reasons", h("div", "hd", big, under), reasonList, noise);
  const work = h("section", "work");
  const head = { what: h("h2"), advice: h("p"), back: button("btn sm back", "", () => choose(null)), next: h("a", "btn") };
  const find = textField({ type: "search" });
  const states = h("div", "seg");
  attr(states, "role", "group");
  const csv = button("btn sm", "", () => void takeOut("csv"));
  const nd = button("btn sm", "", () => void takeOut("ndjson"));
  const top = h("div", "advice", head.back, h("div", "", head.what, head.advice), head.next);
  const tools = h("div", "tools", h("label", "find", find), states, csv, nd);
  const thead = h("tr");
  const tbody = h("tbody");
  const table = h("table", "num letters", h("thead", "", thead), tbody);
  const well = icon();
  well.set("ok");
  const noneText = h("span");
  const none = h("p", "none", well.node, noneText);
  const more = button("all", "", () => void older());
  const scroll = h("div", "scroll", table, none, more);
  scroll.id = "letters";
  scroll.tabIndex = 0;
  attr(scroll, "role", "group");
  const bulk = h("div", "bulk");
  const bulkWhat = h("b");
  const bulkMore = h("small");
  const allOfThem = button("btn sm", "", () => {
    whole = !whole;
    page.redraw();
  });
  const discard = button("btn dang", "", () => void giveUp());
  const retry = button("btn pri", "", () => void again());
  bulk.append(h("p", "", bulkWhat, bulkMore), allOfThem, discard, retry);
  const running = h("div", "bulk job");
  const jobText = h("b");
  const jobBar = h("progress");
  const shut = button("btn", "", () => hush());
  const stop = button("btn", "", () => void halt());
  running.append(h("p", "", jobText, jobBar), shut, stop);
  running.hidden = true;
  attr(jobText, "role", "status");
  work.append(top, tools, scroll, bulk, running);
  const drawer = h("aside", "drawer");
  drawer.hidden = true;
  const node = h("div", "failures", title, left, work, drawer);

  /** @type {Scene} */
  let scene;
  /** @type {{open: number, noise: number, by: ReasonCount[], hours: number}} */
  let sum = { open: 0, noise: 0, by: [], hours: 24 };
  /** @type {string|null} */
  let reason = new URLSearchParams(location.search).get("reason");
  /** @type {"open"|"retried"|"discarded"} */
  let state = "open";
  /** @type {Letter[]} */
  let letters = [];
  /** @type {number|null} */
  let next = null;
  /** @type {Set<number>} */
  const picked = new Set();
  let whole = false;
  let known = "";
  /** What is shown is older than what the gateway has said since. */
  let stale = true;
  let failed = "";
  let at = -1;
  let turn = 0;
  /** @type {number|null} */
  let jobNow = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let due;
  /** Takes back what the bar tells of; as long as the bar stands. @type {(() => void)|null} */
  let undo = null;

  const drawReasons = rows(reasonList, () => reasonRow((code) => choose(code)), (row, /** @type {ReasonCount} */ one) => row.fill(one, reason, scene));
  const drawLetters = rows(tbody, () => letterRow({
    pick(letter, on) {
      if (on) picked.add(letter.letter);
      else picked.delete(letter.letter);
      whole = false;
      page.redraw();
    },
    open: (letter) => void show(letter.letter),
  }), (row, /** @type {Letter} */ one) => row.fill(one, scene, whole || picked.has(one.letter), letters[at] === one));
  const tabs = (/** @type {const} */ (["open", "retried", "discarded"])).map((name) => {
    const one = button("", "", () => {
      state = name;
      void read();
    });
    states.append(one);
    return { name, node: one };
  });
  find.addEventListener("input", () => {
    clearTimeout(due);
    due = setTimeout(() => void read(), 250);
  });
  const all = h("input");
  all.type = "checkbox";
  all.addEventListener("change", () => {
    picked.clear();
    whole = false;
    if (all.checked) for (const one of letters) picked.add(one.letter);
    page.redraw();
  });

  /** @param {string|null} code */
  function choose(code) {
    reason = code;
    close();
    history.replaceState(null, "", hrefOf("failures", new URLSearchParams(location.search), code ? { reason: code } : {}));
    void read();
  }

  async function summary() {
    const answer = await call("/letters/summary?window=24h");
    if (answer.ok) sum = { open: answer.body.open ?? 0, noise: answer.body.noise ?? 0, by: answer.body.by_reason ?? [], hours: answer.body.window_h ?? 24 };
    if (reason === null && wide() && sum.by.length > 0) reason = sum.by[0].reason;
  }

  const wide = () => matchMedia("(min-width: 900px)").matches;

  /** What the list is asked for. */
  function filter() {
    const asked = new URLSearchParams({ state });
    if (reason) asked.set("reason", reason);
    if (find.value.trim()) asked.set("q", find.value.trim());
    return asked;
  }

  async function read() {
    const mine = ++turn;
    stale = false;
    picked.clear();
    whole = false;
    at = -1;
    await summary();
    if (mine !== turn) return;
    const answer = reason ? await call(`/letters?${filter()}&limit=${PAGE}`) : null;
    if (mine !== turn) return;
    failed = answer?.error ? t(answer.error.message) : "";
    letters = answer?.ok ? answer.body.items ?? [] : [];
    next = answer?.ok ? answer.body.next ?? null : null;
    page.redraw();
  }

  async function older() {
    if (next === null) return;
    const mine = turn;
    const answer = await call(`/letters?${filter()}&limit=${PAGE}&before=${next}`);
    if (mine !== turn || !answer.ok) return;
    letters = [...letters, ...(answer.body.items ?? [])].slice(0, LETTERS_MAX);
    next = letters.length < LETTERS_MAX ? answer.body.next ?? null : null;
    page.redraw();
  }

  const chosen = () => sum.by.find((one) => one.reason === reason);
  const total = () => chosen()?.n ?? letters.length;

  /** Which letters are meant, as the gateway takes it. */
  function meant() {
    return whole ? { filter: { reason }, expect: total() } : { ids: [...picked].sort((a, b) => a - b) };
  }

  /** @param {"retry"|"discard"|"restore"} action @param {object} which @param {string} [note] */
  async function act(action, which, note = "") {
    undo = null;
    const answer = await call("/letters/actions", { method: "POST", json: { action, ...which, note }, key: freshKey() });
    if (answer.ok) void follow(Number(answer.body.job));
    return answer.error;
  }

  async function again() {
    const back = state === "discarded";
    const wrong = await act(back ? "restore" : "retry", meant());
    if (wrong) await refused(back ? t("Open again") : t("Try again"), wrong);
  }

  /** @param {string} what @param {NonNullable<import("../api.js").Answer["error"]>} wrong */
  async function refused(what, wrong) {
    const now = isNum(wrong.now) ? ` ${t("There are {n} now.", { n: count(wrong.now) })}` : "";
    await ask({ title: what, text: faultText(wrong) + now, label: t("Close"), only: true, run: async () => null });
    void read();
  }

  async function giveUp() {
    const n = whole ? total() : picked.size;
    const which = meant();
    const ids = whole ? null : [...picked];
    const why = textField({ max: 120, list: "whys" });
    const typed = textField({ max: 8 });
    typed.inputMode = "numeric";
    const needs = n >= TYPED_FROM;
    await ask({
      title: few(n, "Give up {n} letter?", "Give up {n} letters?"),
      text: t("They are not tried again. Each can be opened again for 30 days, under “Given up”."),
      body: [field(t("Why"), why, t("Needed: it is kept with the letters.")), choices("whys", [t("Test data"), t("Scanned by mistake"), t("Entered by hand since"), t("Not ours"), t("Line noise")]), ...(needs ? [field(t("Type {n} to go on", { n: String(n) }), typed)] : [])],
      label: few(n, "Give up {n}", "Give up {n}"), danger: true, ready: () => why.value.trim() !== "" && (!needs || typed.value.trim() === String(n)),
      run: async () => {
        const wrong = await act("discard", which, why.value.trim());
        if (!wrong && ids) {
          undo = () => void act("restore", { ids }).then((wrong) => wrong && refused(t("Open again"), wrong));
        }
        return wrong;
      },
    });
  }

  /** Watches a job until it ends. @param {number} job */
  async function follow(job) {
    jobNow = job;
    for (;;) {
      const answer = await call(`/letters/actions/${job}`);
      if (jobNow !== job) return;
      const now = answer.body;
      running.hidden = false;
      if (answer.ok) {
        const open = now.state === "running" || now.state === "waiting" || now.ended_ms === null;
        jobBar.max = Math.max(1, now.total ?? 1);
        jobBar.value = now.done ?? 0;
        // Of all of a reason nobody knows any more which they were: they are opened again in the list.
        const where = now.action === "discard" && !undo ? ` ${t("They can be opened again under “Given up”.")}` : "";
        put(jobText, open ? t("{done} of {total} done", { done: count(now.done), total: count(now.total) }) : `${t("Done")}: ${outcome(now)}.${where}`);
        put(stop, open ? t("Stop") : undo ? t("Undo") : t("Close"));
        put(shut, t("Close"));
        shut.hidden = open || !undo;
        if (!open) {
          jobNow = null;
          close();
          await read();
          return;
        }
      }
      await new Promise((done) => setTimeout(done, JOB_MS));
      if (!node.isConnected) return;
    }
  }

  async function halt() {
    if (jobNow !== null) {
      await call(`/letters/actions/${jobNow}`, { method: "DELETE" });
      return;
    }
    const back = undo;
    hush();
    back?.();
  }

  /** Puts the bar away. */
  function hush() {
    undo = null;
    running.hidden = true;
    page.redraw();
  }

  /** @param {"csv"|"ndjson"} format */
  async function takeOut(format) {
    const asked = filter();
    asked.set("format", format);
    const answer = await call(`/letters/export?${asked}`);
    if (answer.ok) save(`waypost-letters.${format}`, format === "csv" ? "text/csv" : "application/x-ndjson", typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body));
    else if (answer.error) await refused(t("Export"), answer.error);
  }

  /** Shows all that is known of a letter. @param {number} letter */
  async function show(letter) {
    const answer = await call(`/letters/${letter}`);
    if (!answer.ok) return;
    drawer.replaceChildren(...sheet(answer.body, scene, {
      close,
      retry: () => void act("retry", { ids: [letter] }).then((wrong) => wrong && refused(t("Try again"), wrong)),
      discard: () => {
        picked.clear();
        picked.add(letter);
        whole = false;
        void giveUp();
      },
      restore: () => void act("restore", { ids: [letter] }).then((wrong) => wrong && refused(t("Open again"), wrong)),
    }));
    drawer.hidden = false;
    attr(drawer, "aria-label", t("Letter {n}", { n: letter }));
    /** @type {HTMLElement|null} */ (drawer.querySelector("button"))?.focus();
  }

  function close() {
    if (drawer.hidden) return;
    drawer.hidden = true;
    drawer.replaceChildren();
    (/** @type {HTMLElement|null} */ (tbody.querySelector("tr.at button")) ?? scroll).focus();
  }

  return {
    node,
    get title() { return t("Failures"); },
    leave() {
      clearTimeout(due);
      turn += 1;
      jobNow = null;
    },
    scan(text) {
      find.value = text;
      void read();
      return true;
    },
    key(key) {
      const one = letters[at];
      if (key === "/") find.focus();
      else if (key === "j" || key === "k") {
        at = Math.max(0, Math.min(letters.length - 1, at + (key === "j" ? 1 : -1)));
        page.redraw();
        tbody.children[at]?.scrollIntoView({ block: "nearest" });
        /** @type {HTMLElement|null|undefined} */ (tbody.children[at]?.querySelector("button"))?.focus();
      } else if (key === "x" && one) {
        if (!picked.delete(one.letter)) picked.add(one.letter);
        whole = false;
        page.redraw();
      } else if (key === "r" && !bulk.hidden && !retry.hidden) void again();
      else if (key === "Escape") close();
      else return false;
      return true;
    },
    draw(now) {
      scene = now;
      const stamp = `${now.state.letters?.open ?? 0} ${now.state.letters?.noise ?? 0} ${now.state.node.boot}`;
      const busy = jobNow !== null || picked.size > 0 || whole;
      const news = now.fresh && stamp !== known;
      if (news) [known, stale] = [stamp, true];
      // While somebody picks, the list stands still and the figures go on.
      if (stale && now.fresh && !busy) void read();
      else if (news) void summary().then(page.redraw);
      put(title, t("Failures"));
      put(big, count(sum.open));
      const first = Math.min(...sum.by.map((one) => one.first_ms ?? Infinity));
      put(under, sum.open === 0 ? t("Nothing waits for a decision.") : `${few(sum.open, "waits for a decision.", "wait for a decision.")}${Number.isFinite(first) ? ` ${t("The oldest is from {span} ago.", { span: span(now.shown - first) })}` : ""} ${t("Kept until you decide, then 30 days more.")}`);
      drawReasons(sum.by, (one) => one.reason);
      noise.hidden = sum.noise === 0;
      put(noise, sum.noise > 0 ? t("{n} more are noise of lines and labels: they age by themselves.", { n: count(sum.noise) }) : "");
      node.classList.toggle("one", reason !== null);
      work.hidden = reason === null && !wide();
      const one = chosen();
      put(head.back, t("All reasons"));
      put(head.what, one ? t(words(one.reason)) : reason ? t(words(reason)) : t("Pick a reason"));
      put(head.advice, one ? `${t(plain(one.text ?? "", 240))} ${t(plain(one.advice ?? "", 300))}` : "");
      head.next.hidden = reason !== "unknown_tag";
      attr(head.next, "href", hrefOf("assets", new URLSearchParams(location.search)));
      put(head.next, t("Add assets"));
      attr(find, "placeholder", t("Search in these"));
      attr(find, "aria-label", t("Search in these"));
      put(csv, "CSV");
      put(nd, "NDJSON");
      attr(csv, "aria-label", t("Export as {format}", { format: "CSV" }));
      attr(nd, "aria-label", t("Export as {format}", { format: "NDJSON" }));
      attr(states, "aria-label", t("Which letters"));
      const labels = { open: t("Open"), retried: t("Tried again"), discarded: t("Given up") };
      for (const { name, node: tab } of tabs) {
        put(tab, labels[name]);
        attr(tab, "aria-pressed", String(state === name));
      }
      header(thead, all);
      all.checked = letters.length > 0 && (whole || letters.every((letter) => picked.has(letter.letter)));
      all.indeterminate = !all.checked && picked.size > 0;
      attr(all, "aria-label", t("Pick all on this page"));
      drawLetters(letters, (letter) => String(letter.letter));
      table.hidden = letters.length === 0;
      tools.hidden = reason === null;
      none.hidden = letters.length > 0;
      well.node.toggleAttribute("hidden", failed !== "" || reason !== null || !now.fresh);
      put(noneText, failed || (reason === null ? (now.known ? t("Nothing was kept aside.") : t("Waiting for the gateway.")) : t("None.")));
      more.hidden = next === null;
      put(more, t("Show older ones"));
      attr(scroll, "aria-label", t("Letters"));
      const n = whole ? total() : picked.size;
      bulk.hidden = n === 0 || jobNow !== null;
      const said = scopeOf({ picked: n, page: letters.length, total: total(), all: whole, reason: reason ? t(words(reason)) : "" });
      put(bulkWhat, said.what);
      put(bulkMore, said.more);
      // The gateway counts a reason, not what a search finds in it.
      allOfThem.hidden = state !== "open" || find.value.trim() !== "" || (!whole && (picked.size < letters.length || total() <= letters.length));
      put(allOfThem, whole ? t("Only this page") : t("Pick all {n}", { n: count(total()) }));
      const helps = state === "open" ? letters.some((letter) => letter.retry) : true;
      retry.hidden = !helps;
      put(retry, state === "discarded" ? t("Open again: {n}", { n: count(n) }) : t("Try again: {n}", { n: count(n) }));
      discard.hidden = state !== "open";
      put(discard, t("Give up {n} …", { n: count(n) }));
    },
  };
}

/** @param {HTMLElement} row @param {HTMLElement} all */
function header(row, all) {
  const names = ["", t("When"), t("What"), t("From"), t("Length"), t("More")];
  if (row.children.length === 0) {
    row.append(...names.map((_, n) => {
      const one = h("th", "", ...(n === 0 ? [all] : []));
      one.scope = "col";
      return one;
    }));
  }
  names.forEach((name, n) => n > 0 && put(row.children[n], name));
}

/** A time to the second, with its day when it is not of today. @param {number} ms @param {Scene} scene */
const moment = (ms, scene) => `${when(ms, scene.shown, scene.tz).replace(/\d\d:\d\d$/, "")}${clock(ms, scene.tz)}`;

/** Some counts as bars, as high as they are beside the highest. @param {number[]} values @param {string} cls */
export function spark(values, cls) {
  const most = Math.max(1, ...values);
  return s("svg", { class: `spark ${cls}`, viewBox: `0 0 ${values.length * 8} 22`, "aria-hidden": "true" },
    ...values.map((n, at) => {
      const high = Math.max(1.5, (n / most) * 21);
      return s("rect", { x: at * 8, y: (22 - high).toFixed(1), width: 6, height: high.toFixed(1), rx: 1 });
    }));
}

/** @param {(code: string) => void} choose */
function reasonRow(choose) {
  const name = h("b");
  const n = h("b", "c");
  const text = h("small");
  const bars = h("span");
  let code = "";
  let drawn = "";
  const pick = button("", "", () => choose(code));
  pick.append(name, n, text, bars);
  const node = h("li", "", pick);
  return {
    node,
    /** @param {ReasonCount} one @param {string|null} chosen @param {Scene} scene */
    fill(one, chosen, scene) {
      code = one.reason;
      put(name, t(words(one.reason)));
      put(n, count(one.n));
      put(text, t(plain(one.text ?? "", 200)));
      attr(node, "class", one.reason === chosen ? "sel" : null);
      attr(pick, "aria-pressed", String(one.reason === chosen));
      const last = (one.hours ?? []).slice(-8);
      const cls = one.class === "noise" ? "stale" : ["broker_refused", "storage_full", "storage_error", "poison", "not_allowed"].includes(one.reason) ? "fail" : "warn";
      const key = last.join() + cls;
      if (key !== drawn) bars.replaceChildren(...(last.length ? [spark(last, cls)] : []));
      drawn = key;
      attr(bars, "title", t("{n} in the last 24 h", { n: count(one.count) }));
      attr(n, "class", `c ${scene.fresh ? "" : "stale"}`);
    },
  };
}

/** Whether a detail only names the field of a GS1 label that was wrong. @param {string|undefined} detail */
const isField = (detail) => /^\d{2,4}$/.test(detail ?? "");

/** What a letter holds: what was read, for who may see it; else what is known of it. @param {Letter} one */
export const whatOf = (one) =>
  plain(one.bytes ?? (isField(one.detail) ? t("hidden until log-in") : one.detail ?? ""), 80) || `#${one.letter}`;

/** @param {{pick: (letter: Letter, on: boolean) => void, open: (letter: Letter) => void}} on */
function letterRow({ pick, open }) {
  const box = h("input");
  box.type = "checkbox";
  const [at, what, from, length] = [h("td"), h("td", "what"), h("td"), h("td")];
  /** @type {Letter} */
  let letter;
  const go = button("btn sm", "", () => open(letter));
  const node = h("tr", "", h("td", "cb", h("label", "", box)), at, what, from, length, h("td", "end", go));
  box.addEventListener("change", () => pick(letter, box.checked));
  return {
    node,
    /** @param {Letter} one @param {Scene} scene @param {boolean} picked @param {boolean} here */
    fill(one, scene, picked, here) {
      letter = one;
      if (box.checked !== picked) box.checked = picked;
      attr(node, "class", [picked ? "on" : "", here ? "at" : ""].filter(Boolean).join(" ") || null);
      attr(box, "aria-label", t("Pick letter {n}", { n: one.letter }));
      put(at, moment(one.received_ms, scene));
      attr(at, "title", clock(one.received_ms, scene.tz));
      put(what, whatOf(one));
      attr(what, "class", one.bytes === undefined && isField(one.detail) ? "what mut" : "what");
      put(from, plain(one.source ?? one.stage, 40));
      put(length, t("{n} B", { n: count(one.length) }));
      put(go, t("Details"));
      attr(go, "aria-label", t("Details of letter {n}", { n: one.letter }));
    },
  };
}

/**
 * A letter, line by line: what happened, what arrived, what was done, how many are like it.
 * @param {Letter} one @param {Scene} scene
 * @param {{close: () => void, retry: () => void, discard: () => void, restore: () => void}} on
 * @returns {Node[]}
 */
function sheet(one, scene, on) {
  const mark = icon();
  mark.set(one.class === "noise" ? "stale" : "warn");
  const time = (/** @type {number} */ ms) => moment(ms, scene);
  const line = (/** @type {string} */ at, /** @type {string} */ text) => h("li", "", h("span", "mut", at), h("span", "", text));
  const near = one.nearby;
  const sheets = [
    h("div", "hd", mark.node, h("div", "", h("h2", "", t(words(one.reason))), h("span", "mut", [one.source ? plain(one.source, 40) : "", t("letter {n}", { n: one.letter })].filter(Boolean).join(", "))), button("btn sm", t("Close"), on.close)),
    h("p", "", t(plain(one.text, 240))),
    h("p", "mut", t(plain(one.advice, 300))),
    h("h3", "", t("What happened")),
    h("ul", "tl num",
      line(time(one.received_ms), `${one.source ? t("Read by {source}", { source: plain(one.source, 40) }) : t("Taken in")}, ${few(one.length, "{n} byte", "{n} bytes")}`),
      ...(one.seq !== undefined ? [line("", t("Stored as event {n}", { n: count(one.seq) }))] : []),
      line("", `${t("Stopped")}: ${isField(one.detail) ? t("{reason}, in the GS1 field ({field})", { reason: t(words(one.reason)), field: one.detail }) : plain(one.detail, 200) || t(words(one.reason))}`),
      ...(one.attempts ?? []).map((step) => line(time(step.at_ms), attempt(step))),
      ...(one.resend ? [line("", t("It is on its way to the broker again."))] : []),
      ...(one.note ? [line(isNum(one.changed_ms) ? time(one.changed_ms) : "", `${t("Note")}: ${plain(one.note, 200)}`)] : [])),
    h("h3", "", t("As read")),
    one.hex !== undefined ? h("pre", "", dump(one.hex, one.ascii ?? "")) : h("p", "mut", t("The bytes are for the operator: log in, or on the gateway: waypost letters show {n}", { n: one.letter })),
    h("h3", "", t("Pattern")),
    h("p", "", near ? `${few(near.reason, "{n} with this reason", "{n} with this reason")}; ${near.reason_and_source === near.reason ? t("all from this source") : t("{n} of them from this source", { n: count(near.reason_and_source) })}; ${t("{n} from it within an hour", { n: count(near.source_within_an_hour) })}.${one.sampled ? ` ${few(one.sampled, "{n} more was only counted.", "{n} more were only counted.")}` : ""}` : ""),
  ];
  const acts = h("div", "acts");
  if (one.state === "open") acts.append(button("btn dang", t("Give up …"), on.discard), ...(one.retry ? [button("btn pri", t("Try again"), on.retry)] : []));
  else if (one.state === "discarded") acts.append(button("btn pri", t("Open again"), on.restore));
  return [...sheets, acts];
}

/** What was done with a letter, what came of it, by whom. @param {{what: string, came: string, who?: string}} step */
function attempt({ what, came, who }) {
  const words_of = { retry: t("Tried again"), discard: t("Given up"), restore: t("Opened again") };
  const deed = words_of[/** @type {keyof typeof words_of} */ (what)] ?? plain(what, 40);
  // What came is a reason as the log writes it, or what a person noted.
  const said = /^[a-z]+(_[a-z]+)*$/.test(came) ? t(words(came)) : plain(came, 200);
  return `${deed}${said ? `: ${said}` : ""}${who ? ` (${plain(who, 40)})` : ""}`;
}

/** Bytes in rows of sixteen: hex, then what of it is text. @param {string} hex @param {string} ascii */
export function dump(hex, ascii) {
  const lines = [];
  for (let at = 0; at * 2 < hex.length && lines.length < 256; at += 12) {
    const bytes = hex.slice(at * 2, (at + 12) * 2).match(/../g) ?? [];
    lines.push(`${bytes.join(" ").padEnd(36)}${plain(ascii.slice(at, at + 12), 12)}`);
  }
  return lines.join("\n");
}
