// @ts-check
// What the states mean for a person: the chips of the truth strip, and the conditions of the alarm bar, worst first.
// Pure: a scene in, words out. A link that is not live makes every word a question.

import { about, bytes, clock, count, hm, isNum, lasting, plain, span, speed, when, words } from "./fmt.js";
import { few, t } from "./i18n.js";
import { contradiction, isOffPlan, overstays } from "./yard.js";

/** @typedef {import("./types").Scene} Scene */
/** @typedef {import("./types").Chip} Chip */
/** @typedef {import("./types").Condition} Condition */
/** @typedef {import("./types").Shape} Shape */
/** @typedef {import("./types").Source} Source */

export const STALE_MS = 12_000;
const BADNESS = { ok: 0, live: 0, move: 0, park: 0, dock: 0, dup: 0, wait: 1, stale: 1, warn: 2, fail: 3 };

/** A chip only when a sound is wanted and the browser holds it back. @param {Scene} scene @returns {Chip|null} */
const hush = ({ quiet }) => (quiet ? { id: "sound", shape: "wait", word: t("Tap for sound"), small: t("the browser is silent") } : null);

/** How bad a shape is: 0 well, 3 does not work. @param {Shape} shape */
export const badness = (shape) => BADNESS[shape];

/**
 * Whether what is shown is the present.
 * @param {import("./types").LinkView} link
 * @param {number} now elapsed()
 */
export function isFresh(link, now) {
  const open = link.state === "live" || link.state === "poll" || link.state === "connecting";
  return open && link.lastByte !== null && now - link.lastByte < STALE_MS;
}

/** What a source's condition is called after its name and by itself, and how bad it is. @type {Record<string, [Shape, string, string]>} */
const CONDITIONS = {
  up: ["ok", "answers", "answers"],
  opening: ["wait", "is being opened", "being opened"],
  silent: ["fail", "is silent", "silent"],
  no_fix: ["fail", "has no fix", "no fix"],
  absent: ["fail", "is unplugged", "unplugged"],
  permission: ["fail", "may not be opened", "may not be opened"],
  busy: ["fail", "is held by another program", "held by another program"],
  garbage: ["fail", "sends garbage", "sends garbage"],
  ended: ["stale", "has ended", "ended"],
};

/** How a source is: its shape, the words after its name, the words by themselves. @param {Source} source @returns {[Shape, string, string]} */
export function condition(source) {
  // A scanner that nobody uses is silent and well.
  if (source.kind === "scanner" && source.state === "silent") return ["ok", t("answers"), t("answers")];
  const known = CONDITIONS[source.state];
  const word = plain(source.state, 24);
  return known ? [known[0], t(known[1]), t(known[2])] : ["stale", word, word];
}

/** @param {Scene} scene @param {"gps"|"scanner"} kind */
const ofKind = (scene, kind) => [...scene.state.sources.values()].filter((one) => one.kind === kind);

/** @param {Source[]} sources */
const worst = (sources) =>
  sources.reduce((a, b) => (badness(condition(b)[0]) > badness(condition(a)[0]) ? b : a));

/** The chips in their order. @param {Scene} scene @returns {Chip[]} */
export function chips(scene) {
  /** @type {(Chip|null)[]} */
  const all = [live(scene), ...states(scene), hush(scene)];
  return all.filter(/** @returns {one is Chip} */ (one) => one !== null);
}

/** @param {Scene} scene @returns {(Chip|null)[]} */
function states(scene) {
  const now = [gps(scene), scanners(scene), upstream(scene), disk(scene), ledger(scene), time(scene), worker(scene)];
  if (scene.fresh) return now;
  const since = scene.known ? t("last known {time}", { time: hm(scene.shown, scene.tz) }) : t("not known yet");
  return now.map((chip) => chip && { ...chip, shape: "stale", word: `${t(NAMES[chip.id])} ?`, small: since });
}

/** @type {Record<string, string>} */
const NAMES = { gps: "GPS", scanners: "Scanners", upstream: "Upstream", disk: "Disk", ledger: "Ledger", clock: "Clock", worker: "Parts" };

/** @param {Scene} scene @returns {Chip} */
function live({ link, now, fresh, known }) {
  const age = link.lastByte === null ? null : now - link.lastByte;
  const small = age === null ? t("no word from the gateway yet") : t("last word {span} ago", { span: span(age) });
  const since = age === null ? "" : t("{span} ago", { span: span(age) });
  const chip = (/** @type {Shape} */ shape, /** @type {string} */ word, line = small) => ({ id: "live", shape, word, small: line });
  if (fresh && link.state === "live") return chip("live", t("Live"), since);
  if (fresh && link.state === "poll") return chip("warn", t("Every 5 s"), since);
  if (!known) return chip("stale", link.state === "lost" ? t("Not live") : t("Connecting"));
  if (link.state === "connecting") return chip("stale", t("Reconnecting"));
  return chip("stale", link.state === "paused" ? t("Paused") : t("Not live"));
}

/** How good a fix is, in words: metres only where a receiver says them. @param {import("./types").WireEvent|null} fix */
export function quality(fix) {
  if (!fix || !isNum(fix.hdop)) return "";
  return fix.hdop <= 2 ? t("sharp") : fix.hdop <= 5 ? t("fair") : t("weak");
}

/** @param {Scene} scene @returns {Chip|null} */
function gps(scene) {
  const all = ofKind(scene, "gps");
  if (all.length === 0) return null;
  const up = all.filter((one) => one.state === "up").length;
  const bad = worst(all);
  const [shape, what, alone] = condition(bad);
  const fix = scene.state.fix;
  const some = t("GPS {n} of {all}", { n: up, all: all.length });
  if (up === all.length) {
    const signal = fix && isNum(fix.satellites) ? [few(fix.satellites, "{n} satellite", "{n} satellites")] : [];
    const weak = isNum(fix?.hdop) && fix.hdop > 5;
    if (fix && isNum(fix.hdop)) signal.push(quality(fix));
    const word = all.length > 1 ? some : fix?.mode ? `GPS ${fix.mode.toUpperCase()}` : "GPS";
    return { id: "gps", shape: weak ? "warn" : "ok", word: weak ? t("GPS weak") : word, small: signal.join(", ") || heard(scene, all) };
  }
  if (up > 0) {
    return { id: "gps", shape: shape === "fail" ? "warn" : shape, word: some, small: `${plain(bad.id, 24)} ${what}` };
  }
  const word = bad.state === "no_fix" ? t("No GPS fix") : bad.state === "opening" ? t("GPS opening") : t("No GPS");
  return { id: "gps", shape, word, small: fix ? t("last fix {span} ago", { span: span(scene.shown - fix.ts_ms) }) : `${plain(bad.id, 24)}: ${alone}` };
}

/** @param {Scene} scene @param {(Source & {frameAt: number|null})[]} sources */
function heard(scene, sources) {
  const at = Math.max(...sources.map((one) => one.frameAt ?? -Infinity));
  return Number.isFinite(at) ? t("heard {span} ago", { span: span(scene.shown - at) }) : t("nothing heard yet");
}

/** @param {Scene} scene @returns {Chip|null} */
function scanners(scene) {
  const all = ofKind(scene, "scanner");
  if (all.length === 0) return null;
  const well = all.filter((one) => condition(one)[0] === "ok").length;
  const word = t("Scanners {n} of {all}", { n: well, all: all.length });
  if (well === all.length) {
    const last = lastScan(scene.state);
    const at = last ? last.received_ms ?? last.ts_ms : null;
    return { id: "scanners", shape: "ok", word, small: at === null ? t("no scans yet") : t("last scan {span} ago", { span: span(scene.shown - at) }) };
  }
  const bad = worst(all);
  const [shape, , alone] = condition(bad);
  const since = isNum(bad.since_ms) && shape === "fail" ? ` ${span(scene.shown - bad.since_ms)}` : "";
  return { id: "scanners", shape, word, small: `${plain(bad.id, 24)} ${alone}${since}` };
}

/** How many events wait to be sent. @param {Scene} scene */
export function unsent({ state }) {
  const lanes = state.uplink?.unsent;
  return lanes ? (lanes.scan ?? 0) + (lanes.fix ?? 0) : state.ledger?.events?.unsent ?? null;
}

/** For how long upstream has been without, ms; null when it is not. @param {Scene} scene */
export function waitingMs({ state, shown }) {
  const up = state.uplink;
  if (!up || up.state === "connected") return null;
  if (isNum(up.oldest_unsent_s)) return up.oldest_unsent_s * 1000 + Math.max(0, shown - up.at);
  return isNum(up.since_ms) ? shown - up.since_ms : null;
}

/** Whether upstream has not been reached since the gateway was started. @param {import("./types").Uplink} up */
export const never = (up) => up.ever_connected === false;

/** @param {Scene} scene @returns {Chip|null} */
function upstream(scene) {
  const up = scene.state.uplink;
  if (!up?.configured) return null;
  const n = unsent(scene);
  const wait = waitingMs(scene);
  const left = isNum(up.budget_left_kib) ? [t("{n} KiB of the budget left", { n: count(up.budget_left_kib) })] : [];
  const small = [t("{n} waiting", { n: count(n) }), ...(wait === null || n === 0 ? [] : [span(wait)]), ...left].join(", ");
  const chip = (/** @type {Shape} */ shape, /** @type {string} */ word) => ({ id: "upstream", shape, word, small });
  if (up.state === "connected") return chip("ok", isNum(n) && n > 500 ? t("Upstream catching up") : t("Upstream sent"));
  if (up.state === "held") return chip("warn", t("Upstream held"));
  if (up.state === "connecting" && !up.last_error) return chip("wait", t("Upstream connecting"));
  return chip("warn", never(up) ? t("Upstream not connected yet") : t("Upstream offline"));
}

/** @param {Scene} scene @returns {Chip|null} */
function disk({ state: { disk: d } }) {
  if (!d) return null;
  const full = d.intake === "refused";
  const shape = full || d.writable === false || d.used_pct >= 95 ? "fail" : d.used_pct >= 85 ? "warn" : "ok";
  const word = full ? t("Disk full") : d.writable === false ? t("Disk not writable") : t("Disk {n} %", { n: Math.round(d.used_pct) });
  const room = isNum(d.autonomy_s) ? t("room for {span}", { span: about(d.autonomy_s * 1000) }) : isNum(d.free_bytes) ? t("{size} free", { size: bytes(d.free_bytes) }) : t("of its share");
  return { id: "disk", shape, word, small: room };
}

/** How many frames and events are unaccounted for, those that are known to be lost not among them; null while the ledger is not known. @param {Scene} scene */
export function missing({ state: { ledger: l } }) {
  return l ? Math.abs(l.balance ?? 0) : null;
}

/** A chip only when something is missing. @param {Scene} scene @returns {Chip|null} */
function ledger(scene) {
  const n = missing(scene);
  if (!n) return null;
  const read = Object.values(scene.state.ledger?.sources ?? {}).reduce((sum, one) => sum + (one.frames ?? 0), 0);
  return { id: "ledger", shape: "fail", word: t("{n} missing", { n: count(n) }), small: t("of {n} read", { n: count(read) }) };
}

/** A chip only when the time is in doubt. @param {Scene} scene @returns {Chip|null} */
function time({ state: { clock: c } }) {
  if (c?.text) return { id: "clock", shape: "ok", word: t("Clock set"), small: t("earlier times put right") };
  if (c?.tq !== "none") return null;
  return { id: "clock", shape: "warn", word: t("Clock ±?"), small: t("times may be off") };
}

/** A chip only when a part was restarted of late, or is not well. @param {Scene} scene @returns {Chip|null} */
function worker({ state }) {
  if (state.alarms.has("safe_mode")) return { id: "worker", shape: "fail", word: t("Safe mode"), small: t("see Health") };
  const ill = [...state.workers.values()].find((one) => one.state === "stalled" || one.state === "restarting");
  const alarm = state.alarms.get("worker_gave_up") ?? state.alarms.get("worker_restarts") ?? state.alarms.get("restarted");
  if (!ill && !alarm) return null;
  const again = [...state.workers.values()].filter((one) => (one.restarts ?? 0) > 0).sort((a, b) => (b.restarts ?? 0) - (a.restarts ?? 0))[0];
  const one = ill ?? again;
  const small = one ? `${plain(one.worker, 24)}${one.restarts ? ` ×${one.restarts}` : ""}` : t("see Health");
  const shape = alarm?.severity === "fault" || (one?.restarts ?? 0) >= 3 ? "fail" : "warn";
  return { id: "worker", shape, word: ill ? t("A part is stuck") : t("A part restarted"), small };
}

/** The words of the server's alarms that already tell of what we would find ourselves. */
const TOLD = {
  source: /source|gps|fix|scanner|serial|port|device/,
  upstream: /uplink|upstream|broker|protocol|mqtt|lane|tls|certificate|identity|takeover|retired/,
  disk: /disk|stor|room|full|wal/,
  ledger: /ledger|balance|lost/,
  worker: /worker|stall|restart|safe_mode|screen_silent/,
  clock: /clock|time/,
};

const SEVERITY = /** @type {const} */ ({
  fault: { shape: "fail", rank: 3 },
  warn: { shape: "warn", rank: 2 },
  info: { shape: "wait", rank: 1 },
});

/** The conditions of the scene that was asked for last: strip, bar and screen ask for the same. @type {{scene: Scene|null, all: Condition[]}} */
let asked = { scene: null, all: [] };

/** What a person should know of, worst first and the oldest of equals first. @param {Scene} scene @returns {Condition[]} */
export function conditions(scene) {
  if (asked.scene !== scene) asked = { scene, all: found(scene) };
  return asked.all;
}

/** @param {Scene} scene @returns {Condition[]} */
function found(scene) {
  const link = ofLink(scene);
  // What the gateway said last is no alarm of this moment; the lost link is.
  const all = scene.fresh ? [...told(scene), ...seen(scene)] : [];
  return [...(link ? [link] : []), ...all].sort((a, b) => b.rank - a.rank || a.since - b.since);
}

/** @param {Scene} scene @returns {Condition|null} */
function ofLink({ link, fresh, known, now, shown, tz, state }) {
  const retry = link.nextTry === null ? t("Trying now.") : t("Trying again in {n} s.", { n: Math.max(1, Math.ceil((link.nextTry - now) / 1000)) });
  const bar = (/** @type {string} */ what, /** @type {string} */ advice, rank = 9) =>
    ({ key: "link", shape: /** @type {Shape} */ (rank > 2 ? "stale" : "warn"), what, advice, rank, since: 0 });
  if (link.why === "pin") {
    return bar(t("This gateway shows its yard only to who has the PIN."), t("Enter it under About, or set http.read = \"open\" on the gateway."));
  }
  if (!known) {
    return link.state === "lost" ? bar(t("This screen cannot reach the gateway."), `${t("Is it switched on and on this network?")} ${retry}`) : null;
  }
  if (!fresh) {
    const age = link.lastByte === null ? 0 : now - link.lastByte;
    const paused = link.state === "paused";
    return bar(
      paused ? t("This screen was asleep.") : t("This screen lost the gateway {span} ago.", { span: span(age) }),
      `${t("What you see is from {time}.", { time: clock(shown, tz) })} ${retry}`,
    );
  }
  if (link.state === "poll" && link.why === "full") {
    return bar(t("This gateway already serves all the screens it may."), t("This one asks every 5 s instead. Close a screen, or raise http.max_streams."), 2);
  }
  if (link.state === "poll") return bar(t("Something on the way holds the stream back."), t("This screen asks every 5 s instead. A proxy must not buffer /api/v1/stream."), 2);
  if (state.restart && shown - state.restart.at < 60_000) {
    const gap = state.restart.gap > 1500 ? ` ${t("{span} without a word.", { span: span(state.restart.gap) })}` : "";
    return { ...bar(t("The gateway restarted at {time}.", { time: clock(state.restart.at, tz) }), `${t("What it had stored it still has.")}${gap}`, 1), shape: "wait" };
  }
  return null;
}

/** What the gateway itself calls an alarm. @param {Scene} scene @returns {Condition[]} */
function told(scene) {
  const { state, wall, tz } = scene;
  return [...state.alarms.values()].map((alarm) => {
    const { shape, rank } = SEVERITY[alarm.severity] ?? SEVERITY.warn;
    // While the platform is away the first thing to know is that nothing is lost, and for how long there is room.
    const safe = alarm.name === "uplink_down" ? `${safely(scene)} ` : "";
    return { key: `alarm:${alarm.name}`, shape, rank, since: alarm.since_ms ?? 0, what: begun(t(alarm.text), alarm.since_ms, wall, tz), advice: safe + sentence(t(alarm.advice ?? "")) };
  });
}

/** That nothing is lost, how much waits, and for how long there is room. @param {Scene} scene */
function safely(scene) {
  const n = unsent(scene) ?? 0;
  const kept = n > 0 ? few(n, "{n} event is stored here and will be sent in order.", "{n} events are stored here and will be sent in order.") : t("Everything is stored here.");
  const left = scene.state.disk?.autonomy_s;
  const room = isNum(left) ? ` ${t("Room for {span} more.", { span: about(left * 1000) })}` : "";
  return `${t("Nothing is lost:")} ${kept}${room} ${t("Keep scanning.")}`;
}

/** What the states say and no alarm tells. @param {Scene} scene @returns {Condition[]} */
function seen(scene) {
  const { state, wall, tz } = scene;
  const names = [...state.alarms.keys()];
  /** @type {Condition[]} */
  const found = [];
  /** @param {keyof typeof TOLD} topic @param {string} key @param {Shape} shape @param {string} what @param {string} advice @param {number} [since] */
  const add = (topic, key, shape, what, advice, since) => {
    if (names.some((name) => TOLD[topic].test(name))) return;
    found.push({ key, shape, what: begun(what, since, wall, tz), advice, rank: shape === "fail" ? 3 : 2, since: since ?? wall });
  };
  for (const one of state.sources.values()) {
    const [shape, what] = condition(one);
    const name = t(one.kind === "gps" ? "GPS receiver {id}" : "Scanner {id}", { id: plain(one.id, 64) });
    // It works, and still a person can better it: what the test sheet showed of a scanner.
    if (one.state === "up" && one.advice) {
      add("source", `source:${one.id}`, "warn", t("{name} needs another setting.", { name }), sentence(one.advice));
      continue;
    }
    if (shape !== "fail") continue;
    const means = one.kind === "gps" ? t("Positions are the last known ones; scans still work.") : t("Scans from it are not being read.");
    add("source", `source:${one.id}`, "fail", `${name} ${what}.`, one.advice ? `${means} ${sentence(t(one.advice))}` : means, one.since_ms);
  }
  const up = state.uplink;
  if (up?.configured && (up.state === "held" || up.state === "waiting" || (up.state === "connecting" && up.last_error))) {
    const wait = waitingMs(scene);
    const error = up.last_error ? ` ${t("Last try: {error}", { error: sentence(up.last_error) })}` : "";
    add("upstream", "upstream", "warn", up.state === "held" ? t("Upstream is held.") : never(up) ? t("Upstream is not connected yet, since the start.") : t("Upstream is offline."), `${safely(scene)}${error}`, wait === null || never(up) ? undefined : wall - wait);
  }
  const d = state.disk;
  if (d?.writable === false) add("disk", "disk", "fail", t("The disk cannot be written."), t("Nothing new is stored. Check the card; the log names the error."));
  else if (d && d.used_pct >= 85) {
    const thin = isNum(d.thin_s) ? ` ${t("Of GPS points one in {n} s is stored.", { n: d.thin_s })}` : "";
    add("disk", "disk", d.used_pct >= 95 ? "fail" : "warn", t("The store has used {n} % of its room.", { n: Math.round(d.used_pct) }), `${t("The oldest archive goes first; unsent events are never removed. Raise store.max_mib or shorten the archive.")}${thin}`);
  }
  const l = state.ledger;
  if (l && l.balance !== 0) add("ledger", "ledger", "fail", t("The ledger is off by {n}.", { n: count(Math.abs(l.balance)) }), t("Something that was read is not accounted for. Run: waypost outbox check"));
  for (const one of state.workers.values()) {
    if (one.state !== "stalled" && one.state !== "restarting") continue;
    const reason = one.last_reason ? ` ${sentence(one.last_reason)}` : "";
    const name = plain(one.worker, 64);
    add("worker", `worker:${one.worker}`, "warn", one.state === "stalled" ? t("{name} has stopped answering.", { name }) : t("{name} is being restarted.", { name }), `${t("It comes back by itself.")}${reason}`);
  }
  if (state.clock?.tq === "none") add("clock", "clock", "warn", t("The gateway does not know the time."), t("Times may be off. They are put right when GPS or the network tells it."));
  return found;
}

/** "The disk is full, since 14:12." @param {string} text @param {number|undefined} since @param {number} wall @param {string} tz */
const begun = (text, since, wall, tz) =>
  isNum(since) ? t("{text}, since {time}.", { text: sentence(text).replace(/\.$/, ""), time: when(since, wall, tz) }) : sentence(text);

/** Outside words as one sentence. @param {string} text */
function sentence(text) {
  const said = plain(text, 240).trim();
  return said && !/[.!?…]$/.test(said) ? `${said}.` : said;
}

/** The scan that was read last; one that was retried stands later in the log than it was read. @param {import("./store.js").State} state */
export const lastScan = (state) =>
  state.scans.reduce((/** @type {import("./types").WireEvent|undefined} */ a, b) => (!a || (b.received_ms ?? b.ts_ms) > (a.received_ms ?? a.ts_ms) ? b : a), undefined);

/** Faster than this it moves: below it is what a standing receiver wanders. m/s */
export const MOVES_MPS = 0.8;

/** @param {import("./types").Asset} asset */
export const moves = (asset) => isNum(asset.speed_mps) && asset.speed_mps >= MOVES_MPS;

/** The receiver that moves an asset and says nothing now; null while all is well. @param {import("./types").Asset} asset @param {Scene} scene */
export function isLost(asset, { state }) {
  const source = asset.source ? state.sources.get(asset.source) : undefined;
  return source?.kind === "gps" && condition(source)[0] === "fail" ? source : null;
}

/** Groups of assets in the order in which they need a person. */
export const GROUPS = /** @type {const} */ ({ attention: 0, moving: 1, dock: 2, standing: 3, unknown: 4 });

/**
 * What an asset does, as a shape and a phrase.
 * @param {import("./types").Asset} asset
 * @param {Scene} scene
 * @returns {{shape: Shape, phrase: string, group: number}}
 */
export function deed(asset, scene) {
  const source = isLost(asset, scene);
  const since = isNum(asset.since_ms) ? lasting(scene.shown - asset.since_ms) : null;
  const against = contradiction(asset);
  const long = overstays(asset, scene.plan, scene.shown);
  const zone = asset.place ? scene.plan.by.get(asset.place) : undefined;
  const off = isOffPlan(asset, scene.plan);
  const docked = Boolean(asset.place) && !off && (!zone || zone.kind === "dock");
  // The group is the same whether or not the link lives: a row must not jump when the screen goes grey.
  const group = long || source || (against && !moves(asset)) ? GROUPS.attention
    : moves(asset) ? GROUPS.moving : docked ? GROUPS.dock : isNum(asset.lat) || asset.place ? GROUPS.standing : GROUPS.unknown;
  if (!scene.fresh) return { shape: "stale", phrase: t("As of {time}", { time: clock(scene.shown, scene.tz) }), group };
  if (source) return { shape: "stale", phrase: t("Last known: {source} {what}", { source: plain(source.id, 24), what: condition(source)[1] }), group };
  if (moves(asset)) return { shape: "move", phrase: t("Moving {speed}", { speed: speed(asset.speed_mps) }), group };
  if (long) return { shape: "warn", phrase: t("Too long: {span}", { span: since ?? "" }), group };
  if (against) return { shape: "warn", phrase: plain(against, 90), group };
  if (docked) return { shape: "dock", phrase: since ? t("There for {span}", { span: since }) : t("There"), group };
  if (off) return { shape: "park", phrase: `${since ? t("There for {span}", { span: since }) : t("There")}, ${t("not on the plan")}`, group };
  if (asset.place || isNum(asset.lat)) return { shape: "park", phrase: since && asset.place ? t("Standing for {span}", { span: since }) : t("Standing"), group };
  return { shape: "wait", phrase: t("No place known"), group };
}

// Warnings that say something is wrong with the label; the others say how it was read.
const BAD_LABEL = /bad_|bracketed/;

/** What a warning is to whoever holds the scanner. */
const TOLD_OF_LABEL = new Map(Object.entries({
  bracketed_ai: "the brackets of the printed line are in the code",
  control_stripped: "odd characters left out",
  epc_bad_length: "the tag's number has the wrong length",
  iso6346_bad_check: "not a container: wrong check digit",
  looks_like_sscc: "maybe a pallet; the scanner does not say",
  no_symbology_id: "the scanner did not say what kind of code it is",
  normalised: "spaces or case put right",
  sscc_bad_check: "not a pallet: wrong check digit",
  trimmed: "spaces left out",
  upc_a_12: "a short product code",
  vin_prefix: "the I before the vehicle number left out",
}));

/** @param {string} code */
const toldOfLabel = (code) => t(TOLD_OF_LABEL.get(code) ?? words(code));

/** The verdict of a scan that was stored. @param {import("./types").WireEvent} scan @returns {{shape: Shape, word: string, more: string}} */
export function verdict(scan) {
  const warns = scan.warn ?? [];
  const bad = warns.find((code) => BAD_LABEL.test(code));
  if (bad) return { shape: "warn", word: t("Accepted, check the label"), more: toldOfLabel(bad) };
  if (isNum(scan.repeats) && scan.repeats > 0) return { shape: "dup", word: t("Accepted once"), more: few(scan.repeats + 1, "read {n} time", "read {n} times") };
  if (scan.late) return { shape: "wait", word: t("Late"), more: t("place not changed") };
  if (scan.source === "manual") return { shape: "ok", word: t("Accepted"), more: t("typed by hand") };
  return { shape: "ok", word: t("Accepted"), more: warns.length ? toldOfLabel(warns[0]) : "" };
}

/**
 * The newest position: that of the asset which the newest fix moved, also when a later fix was thinned away, or of the
 * asset that somebody picked.
 * @param {Scene} scene
 * @returns {{asset: import("./types").Asset|null, fix: import("./types").WireEvent|null, picked: boolean}}
 */
export function newest({ state, selected }) {
  const picked = selected === null ? undefined : state.assets.get(selected);
  if (picked) return { asset: picked, fix: state.fix?.asset === picked.asset ? state.fix : null, picked: true };
  const fix = state.fix;
  if (fix) {
    const asset = fix.asset === undefined ? undefined : state.assets.get(fix.asset);
    if (asset && isNum(asset.lat) && asset.ts_ms >= fix.ts_ms) return { asset, fix, picked: false };
    return { asset: { ...fix, asset: fix.asset ?? fix.source ?? "" }, fix, picked: false };
  }
  /** @type {import("./types").Asset|null} */
  let best = null;
  for (const one of state.assets.values()) {
    if (isNum(one.lat) && isNum(one.lon) && (best === null || one.ts_ms > best.ts_ms)) best = one;
  }
  return { asset: best, fix: null, picked: false };
}
