// @ts-check
// How the gateway is: a sentence, the ledger to scale, and a card for each part with its figures. While it is open it asks
// for what the stream does not tell: the heartbeats.

import { account, widths } from "../account.js";
import { call } from "../api.js";
import { attr, h, icon, put, rows, terms } from "../dom.js";
import { elapsed } from "../far.js";
import { about, ago, bytes, count, day, fixed, isNum, plain, span, when, words } from "../fmt.js";
import { few, t } from "../i18n.js";
import { condition, conditions, never, quality, unsent, waitingMs } from "../judge.js";
import { hrefOf } from "../route.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Shape} Shape */

const ASK_MS = 5000;
/** A worker promises progress at least this often: after it, it is called stalled. ms */
const BEAT_MS = 30_000;

/** @param {import("../types").Page} page @returns {import("../types").View} */
export function view(page) {
  const title = h("h1", "vh");
  const say = { mark: icon(), what: h("h2"), more: h("p") };
  const alarms = h("ul", "more");
  const ledger = ledgerCard();
  const workers = workersCard();
  const upstream = figureCard("upstream");
  const gps = figureCard("gps");
  const scanners = sourcesCard();
  const disk = diskCard();
  const clockCard = figureCard("clock");
  const node = h("div", "health", title,
    h("section", "card say", say.mark.node, h("div", "", say.what, say.more, alarms)), ledger.node, workers.node,
    h("div", "col", upstream.node, gps.node), h("div", "col", disk.node, clockCard.node), scanners.node);
  /** @type {any} */
  let told = null;
  let asked = -Infinity;
  /** Heartbeats are as old as they were plus the time since. */
  let at = 0;
  const drawAlarms = rows(alarms, () => {
    const mark = icon();
    const text = h("span");
    return { node: h("li", "", mark.node, text), mark, text };
  }, (row, /** @type {import("../types").Condition} */ one) => {
    row.mark.set(one.shape);
    put(row.text, `${one.what} ${one.advice}`);
  });

  async function read() {
    const answer = await call("/health");
    if (answer.ok) {
      told = answer.body;
      at = elapsed();
      page.redraw();
    }
  }

  return {
    node,
    get title() { return t("Health"); },
    draw(scene) {
      if (scene.fresh && scene.now - asked > ASK_MS) {
        asked = scene.now;
        void read();
      }
      put(title, t("Health"));
      headline(say, scene);
      drawAlarms(conditions(scene).slice(1, 9), (one) => one.key);
      ledger.draw(scene, told?.lost ?? []);
      workers.draw(scene, told?.beats ?? [], scene.fresh ? scene.now - at : 0);
      upstreamFigures(upstream, scene);
      gpsFigures(gps, scene);
      clockFigures(clockCard, scene, told);
      disk.draw(scene);
      scanners.draw(scene);
    },
  };
}

/** One sentence on all of it. @param {{mark: import("../dom.js").Icon, what: HTMLElement, more: HTMLElement}} say @param {Scene} scene */
function headline(say, scene) {
  const worst = conditions(scene)[0];
  if (worst) {
    say.mark.set(worst.shape);
    const stored = scene.fresh && scene.state.ledger && account(scene.state.ledger).missing === 0 && worst.shape !== "fail" ? `${t("Every event is stored.")} ` : "";
    put(say.what, `${stored}${worst.what}`);
    put(say.more, worst.advice);
    return;
  }
  if (!scene.state.ledger) {
    say.mark.set("wait");
    put(say.what, scene.known ? t("Nothing is wrong.") : t("Waiting for the gateway."));
    put(say.more, "");
    return;
  }
  const { missing, lost } = account(scene.state.ledger);
  say.mark.set(missing === 0 ? "ok" : "fail");
  put(say.what, missing > 0 ? t("Something is not accounted for.") : lost > 0 ? t("Everything works. What was lost before is named below.") : t("Everything works, and every event is accounted for."));
  const n = scene.state.sources.size;
  const beats = scene.state.node.boot === null ? "" : t("boot {n}", { n: count(scene.state.node.boot) });
  put(say.more, `${few(n, "{n} source answers", "{n} sources answer")}, ${beats}.`);
}

/**
 * What was lost, and when that was found: it is history, nobody has to do anything.
 * @param {number} lost @param {{from: number, to: number, reason: string, at_ms: number}[]} ranges @param {number} now @param {string} tz
 */
export function lostWords(lost, ranges, now, tz) {
  const last = ranges.reduce((/** @type {typeof ranges[0]|null} */ a, b) => (a && a.at_ms > b.at_ms ? a : b), null);
  const what = few(lost, "{n} event is lost for good and counted as that.", "{n} events are lost for good and counted as that.");
  if (!last) return what;
  const values = { from: count(last.from), to: count(last.to), time: when(last.at_ms, now, tz) };
  const one = last.reason === "rolled_back" ? t("Found {time}: the store was older than what it had committed, as after a restore; {from} to {to} are missing in it.", values)
    : t("Found {time}: the store was damaged; {from} to {to} could not be read.", values);
  return `${what} ${one}`;
}

function ledgerCard() {
  const name = h("span");
  const since = h("span");
  const bar = h("div", "bar");
  attr(bar, "role", "img");
  const keys = h("ul", "keys");
  const sum = h("p", "eq");
  const mark = icon();
  const text = h("b");
  sum.append(mark.node, text);
  const events = h("p", "mut");
  const gone = h("p", "mut");
  const node = h("section", "card ledger num", h("h2", "", name, since), bar, h("div", "legendrow", keys, sum), events, gone);
  node.id = "ledger";
  /** @typedef {ReturnType<typeof account>["parts"][0] & {px: number}} Part */
  const drawBar = rows(bar, () => ({ node: h("i") }), (row, /** @type {Part} */ part) => {
    attr(row.node, "class", `bg-${part.colour}`);
    row.node.style.width = `${part.px.toFixed(1)}px`;
  });
  const drawKeys = rows(keys, () => {
    const sign = h("i");
    const n = h("b");
    const what = h("span");
    return { node: h("li", "", sign, n, what), sign, n, what };
  }, (row, /** @type {Part} */ part) => {
    attr(row.sign, "class", `bg-${part.colour}`);
    put(row.n, count(part.n));
    put(row.what, t(part.text));
  });
  return {
    node,
    /** @param {Scene} scene @param {{from: number, to: number, reason: string, at_ms: number}[]} ranges of events that are lost */
    draw({ state, fresh, shown, tz }, ranges) {
      put(name, t("Every frame that was read"));
      put(since, t("since this store began"));
      node.hidden = !state.ledger;
      if (!state.ledger) return;
      const { received, accounted, missing, lost, parts } = account(state.ledger);
      const px = widths(parts.map((part) => part.n), bar.clientWidth);
      const all = parts.map((part, n) => ({ ...part, px: px[n] }));
      drawBar(all, (part) => part.way);
      drawKeys(all, (part) => part.way);
      attr(bar, "aria-label", all.map((part) => `${count(part.n)} ${t(part.text)}`).join(", "));
      mark.set(!fresh ? "stale" : missing === 0 ? "ok" : "fail");
      attr(sum, "class", `eq ${!fresh ? "stale" : missing === 0 ? "ok" : "fail"}`);
      put(text, t("{read} received = {told} accounted for, {n} missing", { read: count(received), told: count(accounted), n: count(missing) }));
      const e = state.ledger.events ?? {};
      const unsaid = /** @type {[string, number|undefined][]} */ ([
        [t("events in all"), e.total], [t("waiting"), e.unsent], [t("sent"), e.sent], [t("taken by the broker while nobody listened"), e.sent_unheard], [t("stay here"), e.local], [t("refused by the broker"), e.dead], [t("lost"), e.lost],
      ]).filter(([, n], at) => at === 0 || (n ?? 0) > 0);
      put(events, unsaid.map(([word, n]) => `${count(n)} ${word}`).join(", "));
      gone.hidden = lost === 0;
      put(gone, lost === 0 ? "" : lostWords(lost, ranges, shown, tz));
    },
  };
}

function workersCard() {
  const name = h("span");
  const beat = h("span");
  const list = h("ul", "wk num");
  const node = h("section", "card", h("h2", "", name, beat), list);
  node.id = "worker";
  const draw = rows(list, () => {
    const mark = icon();
    const word = h("b");
    const meter = h("i");
    const bar = h("div", "hb", meter);
    const age = h("span", "r");
    const why = h("small");
    return { node: h("li", "", mark.node, word, bar, age, why), mark, word, meter, bar, age, why };
  }, (row, /** @type {{name: string, shape: Shape, ms: number|null, restarts: number, reason: string}} */ one) => {
    row.mark.set(one.shape);
    put(row.word, `${plain(one.name, 40)}${one.restarts ? ` ×${one.restarts}` : ""}`);
    row.meter.style.width = `${one.ms === null ? 0 : Math.min(100, (one.ms / BEAT_MS) * 100).toFixed(0)}%`;
    attr(row.bar, "class", `hb ${one.shape}`);
    put(row.age, one.ms === null ? "" : span(Math.floor(one.ms / 100) * 100));
    put(row.why, one.reason);
    row.why.hidden = !one.reason;
  });
  return {
    node,
    /** @param {Scene} scene @param {{worker: string, age_ms: number}[]} beats @param {number} older */
    draw({ state, fresh }, beats, older) {
      put(name, t("Parts of the gateway"));
      put(beat, t("last sign of life"));
      const ages = new Map(beats.map((one) => [one.worker, one.age_ms]));
      const names = new Set([...ages.keys(), ...state.workers.keys()]);
      const all = [...names].sort().map((worker) => {
        const one = state.workers.get(worker);
        const age = ages.get(worker);
        /** @type {Shape} */
        const shape = !fresh ? "stale" : one?.state === "stalled" ? "fail" : one?.state === "restarting" ? "warn" : one?.state === "ended" ? "stale" : (one?.restarts ?? 0) >= 3 ? "warn" : "ok";
        return { name: worker, shape, ms: age === undefined ? null : age + older, restarts: one?.restarts ?? 0, reason: plain(one?.last_reason ?? "", 120) };
      });
      draw(all, (one) => one.name);
    },
  };
}

/** A card with one large figure and lines below it. @param {string} id */
function figureCard(id) {
  const name = h("span");
  const side = h("span");
  const big = h("b");
  const small = h("small");
  const lines = h("dl");
  const node = h("section", "card num", h("h2", "", name, side), h("p", "kv", big, " ", small), lines);
  node.id = id;
  const draw = terms(lines);
  return {
    node,
    /** @param {string} what @param {string} where @param {string} figure @param {string} text @param {[string, string][]} more @param {Shape|""} [shape] */
    fill(what, where, figure, text, more, shape = "") {
      put(name, what);
      put(side, where);
      put(big, figure);
      attr(big, "class", shape === "ok" ? null : shape || null);
      put(small, text);
      draw(more);
    },
  };
}

/** @param {ReturnType<typeof figureCard>} card @param {Scene} scene */
function upstreamFigures(card, scene) {
  const up = scene.state.uplink;
  if (!up?.configured) {
    const n = scene.state.ledger?.events?.local;
    return card.fill(t("Upstream"), "", t("Not set up"), t("events stay here and age like sent ones"), isNum(n) ? [[t("Stored here"), count(n)]] : []);
  }
  const n = unsent(scene);
  const wait = waitingMs(scene);
  const shape = !scene.fresh ? "stale" : up.state === "connected" ? "ok" : "warn";
  const oldest = n && isNum(up.oldest_unsent_s) ? t("the oldest for {span}", { span: span(up.oldest_unsent_s * 1000) }) : "";
  const ends = isNum(up.certificate_not_after_s) ? up.certificate_not_after_s * 1000 : null;
  const lanes = up.unsent ? `${count(up.unsent.scan ?? 0)} / ${count(up.unsent.fix ?? 0)}` : "";
  card.fill(t("Waiting for upstream"), t({ connected: "connected", connecting: "connecting", waiting: "offline", held: "held", off: "off" }[up.state] ?? "unknown"), count(n), oldest, [
    [t("Broker"), plain(up.url ?? "", 80)],
    [up.state === "connected" ? t("Connected since") : t("Away for"), up.state === "connected" ? when(up.since_ms, scene.shown, scene.tz) : never(up) ? t("not connected yet, since the start") : wait === null ? "" : span(wait)],
    [t("Scans / GPS points"), n ? lanes : ""],
    [t("In flight"), up.inflight ? count(up.inflight) : ""],
    [t("Sent so far"), count((scene.state.ledger?.events?.sent ?? 0) + (scene.state.ledger?.events?.sent_unheard ?? 0))],
    [t("Last error"), up.state === "connected" ? "" : plain(up.last_error ?? "", 160)],
    [t("Next try"), isNum(up.next_try_s) && up.state !== "connected" ? t("in {span}", { span: span(Math.max(0, up.next_try_s * 1000 - Math.max(0, scene.shown - up.at))) }) : ""],
    [t("Data budget left today"), isNum(up.budget_left_kib) ? `${count(up.budget_left_kib)} KiB` : ""],
    [t("Certificate until"), ends === null ? "" : `${day(ends, scene.tz)} (${about(ends - scene.shown)})`],
  ], shape);
}

/** @param {ReturnType<typeof figureCard>} card @param {Scene} scene */
function gpsFigures(card, scene) {
  const all = [...scene.state.sources.values()].filter((one) => one.kind === "gps");
  card.node.hidden = all.length === 0;
  if (all.length === 0) return;
  const fix = scene.state.fix;
  const bad = all.find((one) => one.state !== "up");
  const [shape, , alone] = condition(bad ?? all[0]);
  const figure = bad && all.every((one) => one.state !== "up") ? t("No fix") : fix?.mode?.toUpperCase() ?? t("Hears");
  const sats = fix && isNum(fix.satellites) ? few(fix.satellites, "{n} satellite", "{n} satellites") : "";
  const hdop = fix && isNum(fix.hdop) ? `HDOP ${fixed(fix.hdop, 1)}, ${quality(fix)}` : "";
  const counts = scene.state.ledger?.sources ?? {};
  card.fill(t("GPS"), bad ? `${plain(bad.id, 30)}: ${alone}` : "", figure, [sats, hdop].filter(Boolean).join(", "), [
    [t("Last fix"), fix ? (scene.fresh ? ago(scene.shown - fix.ts_ms) : when(fix.ts_ms, scene.shown, scene.tz)) : t("none yet")],
    ...all.flatMap((one) => /** @type {[string, string][]} */ ([
      [plain(one.id, 30), [condition(one)[2], plain(one.port ?? "", 60), isNum(one.line_load) ? t("line {n} % full", { n: Math.round(one.line_load * 100) }) : "", counts[one.id]?.no_fix ? t("{n} without a position", { n: count(counts[one.id].no_fix) }) : ""].filter(Boolean).join(", ")],
    ])),
  ], !scene.fresh ? "stale" : shape);
}

/** @param {ReturnType<typeof figureCard>} card @param {Scene} scene @param {any} told */
function clockFigures(card, scene, told) {
  const c = scene.state.clock;
  const by = { gnss: t("set by GPS"), ntp: t("set by the network"), rtc: t("its own clock"), none: t("nobody vouches for it") };
  const err = isNum(c?.err_ms) ? `${c.err_ms > 0 ? "+" : ""}${count(c.err_ms)} ms` : c?.tq === "none" ? "±?" : "";
  card.fill(t("Clock"), c?.by ? plain(c.by, 30) : "", err || (c ? by[c.tq] : "–"), err && c ? by[c.tq] : "", [
    [t("Put right"), c?.text ? plain(c.text, 160) : ""],
    [t("Screens connected"), isNum(told?.streams) ? count(told.streams) : ""],
    [t("Listens on"), (told?.listen ?? []).map((/** @type {string} */ one) => plain(one, 60)).join(", ")],
    [t("Version"), plain(scene.state.node.version, 30)],
  ], !scene.fresh ? "stale" : c?.tq === "none" ? "warn" : "ok");
}

function diskCard() {
  const card = figureCard("disk");
  const bar = h("div", "room");
  const used = h("i", "bg-move");
  const limit = h("i", "limit");
  bar.append(used, limit);
  attr(bar, "role", "img");
  card.node.insertBefore(bar, card.node.lastElementChild);
  return {
    node: card.node,
    /** @param {Scene} scene */
    draw(scene) {
      const d = scene.state.disk;
      card.node.hidden = !d;
      if (!d) return;
      used.style.width = `${Math.min(100, d.used_pct)}%`;
      attr(used, "class", d.used_pct >= 95 ? "bg-fail" : d.used_pct >= 85 ? "bg-warn" : "bg-move");
      attr(bar, "aria-label", t("{n} % of the room is used; from 85 % on it is told", { n: Math.round(d.used_pct) }));
      const state = d.intake === "refused" ? "fail" : d.writable === false || d.used_pct >= 95 ? "fail" : d.used_pct >= 85 ? "warn" : "ok";
      card.fill(t("Disk"), d.intake === "refused" ? t("takes nothing new") : "", `${Math.round(d.used_pct)} %`, isNum(d.autonomy_s) ? t("room for {span} without upstream", { span: about(d.autonomy_s * 1000) }) : t("of its room"), [
        [t("Events"), bytes((d.db_bytes ?? 0) + (d.wal_bytes ?? 0))],
        [t("Archive"), d.archive_bytes ? bytes(d.archive_bytes) : ""],
        [t("Free on the card"), bytes(d.free_bytes)],
        [t("Written a day"), d.written_per_day ? bytes(d.written_per_day) : ""],
        [t("A card of {n} TB would last", { n: d.card_tbw ?? 0 }), isNum(d.card_years) ? (d.card_years > 99 ? t("over 99 years") : few(Math.floor(d.card_years), "{n} year", "{n} years")) : ""],
        [t("GPS points stored"), isNum(d.thin_s) ? t("one in {n} s, as room ends", { n: d.thin_s }) : ""],
      ], !scene.fresh ? "stale" : state);
    },
  };
}

function sourcesCard() {
  const name = h("h2");
  const head = h("tr");
  const body = h("tbody");
  const none = h("p", "mut");
  const table = h("table", "num", h("thead", "", head), body);
  const node = h("section", "card devices", name, h("div", "scrollx", table), none);
  node.id = "scanners";
  const draw = rows(body, () => {
    const mark = icon();
    const id = h("bdi");
    const state = h("small");
    const first = h("th", "", mark.node, h("span", "", id, state));
    first.scope = "row";
    const cells = [h("td", "path"), h("td"), h("td"), h("td"), h("td"), h("td", "advice")];
    const kept = h("a");
    cells[4].append(kept);
    return { node: h("tr", "", first, ...cells), mark, id, state, cells, kept };
  }, (row, /** @type {{one: import("../types").Source & {frameAt: number|null}, scene: Scene}} */ { one, scene }) => {
    const [shape, , alone] = condition(one);
    const counts = scene.state.ledger?.sources?.[one.id] ?? { frames: 0 };
    row.mark.set(scene.fresh ? shape : "stale");
    put(row.id, plain(one.id, 40));
    put(row.state, `${alone}${isNum(one.since_ms) ? `, ${t("since {time}", { time: when(one.since_ms, scene.shown, scene.tz) })}` : ""}`);
    put(row.cells[0], plain(one.port ?? "", 80));
    put(row.cells[1], one.frameAt === null ? (counts.frames ? t("not since the start") : t("nothing yet")) : scene.fresh ? ago(scene.shown - one.frameAt) : when(one.frameAt, scene.shown, scene.tz));
    put(row.cells[2], count(counts.frames ?? 0));
    put(row.cells[3], count(counts.stored ?? 0));
    put(row.kept, count(counts.rejected ?? 0));
    attr(row.kept, "href", hrefOf("failures", new URLSearchParams(location.search)));
    attr(row.kept, "class", (counts.rejected ?? 0) > 0 ? "fail" : null);
    const reasons = Object.entries(/** @type {Record<string, number>} */ (/** @type {unknown} */ (counts.reasons ?? {}))).sort((a, b) => b[1] - a[1])[0];
    const why = reasons && scene.state.letters?.by_reason?.find((known) => known.reason === reasons[0]);
    put(row.cells[5], one.advice ? t(plain(one.advice, 200)) : reasons ? `${t("Kept aside mostly for: {reason}.", { reason: t(words(reasons[0])) })} ${why?.advice ? t(plain(why.advice, 200)) : t("See Failures.")}` : "");
  });
  return {
    node,
    /** @param {Scene} scene */
    draw(scene) {
      put(name, t("Receivers and scanners"));
      const names = [t("Source"), t("Port"), t("Last heard"), t("Read"), t("Stored"), t("Kept aside"), t("Advice")];
      if (head.children.length === 0) head.append(...names.map(() => {
        const one = h("th");
        one.scope = "col";
        return one;
      }));
      names.forEach((text, n) => put(head.children[n], text));
      const all = [...scene.state.sources.values()].sort((a, b) => (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.id < b.id ? -1 : 1));
      draw(all.map((one) => ({ one, scene })), ({ one }) => one.id);
      table.hidden = all.length === 0;
      none.hidden = all.length > 0;
      put(none, t("No receiver and no scanner is set up. On the gateway: waypost devices"));
    },
  };
}
