// @ts-check
// What the states mean for a person: the chips of the truth strip, and the conditions of the alarm bar, worst first.
// Pure: a scene in, words out. A link that is not live makes every word a question.

import { bytes, clock, count, hm, isNum, plain, plural, span, speed, when, words } from "./fmt.js";
import { contradiction } from "./yard.js";

/** @typedef {import("./types").Scene} Scene */
/** @typedef {import("./types").Chip} Chip */
/** @typedef {import("./types").Condition} Condition */
/** @typedef {import("./types").Shape} Shape */
/** @typedef {import("./types").Source} Source */

export const STALE_MS = 12_000;
const BADNESS = { ok: 0, live: 0, move: 0, park: 0, dock: 0, dup: 0, wait: 1, stale: 1, warn: 2, fail: 3 };

/** How bad a shape is: 0 well, 3 does not work. @param {Shape} shape */
export const badness = (shape) => BADNESS[shape];

/**
 * Whether what is shown is the present.
 * @param {import("./types").LinkView} link
 * @param {number} now performance.now()
 */
export function isFresh(link, now) {
  const open = link.state === "live" || link.state === "poll" || link.state === "connecting";
  return open && link.lastByte !== null && now - link.lastByte < STALE_MS;
}

/** What a source's condition is called, and how bad it is. @type {Record<string, [Shape, string]>} */
const CONDITIONS = {
  up: ["ok", "answers"],
  opening: ["wait", "is being opened"],
  silent: ["fail", "is silent"],
  no_fix: ["fail", "has no fix"],
  absent: ["fail", "is unplugged"],
  permission: ["fail", "may not be opened"],
  busy: ["fail", "is held by another program"],
  garbage: ["fail", "sends garbage"],
  ended: ["stale", "has ended"],
};

/** @param {Source} source @returns {[Shape, string]} */
export const condition = (source) => CONDITIONS[source.state] ?? ["stale", plain(source.state, 24)];

/** @param {Scene} scene @param {"gps"|"scanner"} kind */
const ofKind = (scene, kind) => [...scene.state.sources.values()].filter((one) => one.kind === kind);

/** @param {Source[]} sources */
const worst = (sources) =>
  sources.reduce((a, b) => (badness(condition(b)[0]) > badness(condition(a)[0]) ? b : a));

/** The chips in their order. @param {Scene} scene @returns {Chip[]} */
export function chips(scene) {
  /** @type {(Chip|null)[]} */
  const all = [live(scene), ...states(scene)];
  return all.filter(/** @returns {one is Chip} */ (one) => one !== null);
}

/** @param {Scene} scene @returns {(Chip|null)[]} */
function states(scene) {
  const now = [gps(scene), scanners(scene), upstream(scene), disk(scene), ledger(scene), time(scene)];
  if (scene.fresh) return now;
  const since = scene.known ? `last known ${hm(scene.shown, scene.tz)}` : "not known yet";
  return now.map((chip) => chip && { ...chip, shape: "stale", word: `${NAMES[chip.id]} ?`, small: since });
}

/** @type {Record<string, string>} */
const NAMES = { gps: "GPS", scanners: "Scanners", upstream: "Upstream", disk: "Disk", ledger: "Ledger", clock: "Clock" };

/** @param {Scene} scene @returns {Chip} */
function live({ link, now, fresh, known }) {
  const age = link.lastByte === null ? null : now - link.lastByte;
  const small = age === null ? "no word from the gateway yet" : `last word ${span(age)} ago`;
  if (fresh && link.state === "live") return { id: "live", shape: "live", word: "Live", small: `${span(age)} ago` };
  if (fresh && link.state === "poll") return { id: "live", shape: "warn", word: "Every 5 s", small: `${span(age)} ago` };
  if (!known) return { id: "live", shape: "stale", word: link.state === "lost" ? "Not live" : "Connecting", small };
  if (link.state === "connecting") return { id: "live", shape: "stale", word: "Reconnecting", small };
  return { id: "live", shape: "stale", word: link.state === "paused" ? "Paused" : "Not live", small };
}

/** @param {Scene} scene @returns {Chip|null} */
function gps(scene) {
  const all = ofKind(scene, "gps");
  if (all.length === 0) return null;
  const up = all.filter((one) => one.state === "up").length;
  const bad = worst(all);
  const [shape, what] = condition(bad);
  const fix = scene.state.fix;
  if (up === all.length) {
    const mode = fix?.mode ? ` ${fix.mode.toUpperCase()}` : "";
    const signal = fix && isNum(fix.satellites) ? [plural(fix.satellites, "sat")] : [];
    if (fix && isNum(fix.hdop)) signal.push(`HDOP ${fix.hdop.toFixed(1)}`);
    const word = all.length > 1 ? `GPS ${up} of ${all.length}` : `GPS${mode} fix`;
    return { id: "gps", shape: "ok", word, small: signal.join(", ") || heard(scene, all) };
  }
  if (up > 0) {
    return { id: "gps", shape: shape === "fail" ? "warn" : shape, word: `GPS ${up} of ${all.length}`, small: `${plain(bad.id, 24)} ${what}` };
  }
  const word = bad.state === "no_fix" ? "No GPS fix" : bad.state === "opening" ? "GPS opening" : "No GPS";
  return { id: "gps", shape, word, small: fix ? `last fix ${span(scene.shown - fix.ts_ms)} ago` : `${plain(bad.id, 24)} ${what}` };
}

/** @param {Scene} scene @param {(Source & {frameAt: number|null})[]} sources */
function heard(scene, sources) {
  const at = Math.max(...sources.map((one) => one.frameAt ?? -Infinity));
  return Number.isFinite(at) ? `heard ${span(scene.shown - at)} ago` : "nothing heard yet";
}

/** @param {Scene} scene @returns {Chip|null} */
function scanners(scene) {
  const all = ofKind(scene, "scanner");
  if (all.length === 0) return null;
  // A scanner that nobody uses is silent and well.
  const well = all.filter((one) => one.state === "up" || one.state === "silent").length;
  const word = `Scanners ${well} of ${all.length}`;
  if (well === all.length) {
    const last = scene.state.scans[0];
    const at = last ? last.received_ms ?? last.ts_ms : null;
    return { id: "scanners", shape: "ok", word, small: at === null ? "no scans yet" : `last scan ${span(scene.shown - at)} ago` };
  }
  const bad = worst(all.filter((one) => one.state !== "silent"));
  const [shape, what] = condition(bad);
  const since = isNum(bad.since_ms) && shape === "fail" ? ` ${span(scene.shown - bad.since_ms)}` : "";
  return { id: "scanners", shape, word, small: `${plain(bad.id, 24)} ${what.replace(/^is /, "")}${since}` };
}

/** How many events wait to be sent. @param {Scene} scene */
export function unsent({ state }) {
  const lanes = state.uplink?.unsent;
  return lanes ? (lanes.scan ?? 0) + (lanes.fix ?? 0) : state.ledger?.events?.unsent ?? null;
}

/** For how long upstream has been without, ms; null when it is not. @param {Scene} scene */
function waitingMs({ state, shown }) {
  const up = state.uplink;
  if (!up || up.state === "connected") return null;
  if (isNum(up.oldest_unsent_s)) return up.oldest_unsent_s * 1000 + Math.max(0, shown - up.at);
  return isNum(up.since_ms) ? shown - up.since_ms : null;
}

/** @param {Scene} scene @returns {Chip|null} */
function upstream(scene) {
  const up = scene.state.uplink;
  if (!up?.configured) return null;
  const n = unsent(scene);
  const wait = waitingMs(scene);
  const left = isNum(up.budget_left_kib) ? [`${count(up.budget_left_kib)} KiB of the budget left`] : [];
  const small = [`${count(n)} waiting`, ...(wait === null || n === 0 ? [] : [span(wait)]), ...left].join(", ");
  if (up.state === "connected") {
    return { id: "upstream", shape: "ok", word: isNum(n) && n > 500 ? "Upstream catching up" : "Upstream sent", small };
  }
  if (up.state === "held") return { id: "upstream", shape: "warn", word: "Upstream held", small };
  if (up.state === "connecting" && !up.last_error) return { id: "upstream", shape: "wait", word: "Upstream connecting", small };
  return { id: "upstream", shape: "warn", word: "Upstream offline", small };
}

/** @param {Scene} scene @returns {Chip|null} */
function disk({ state: { disk: d } }) {
  if (!d) return null;
  const full = d.intake === "refused";
  const shape = full || d.writable === false || d.used_pct >= 95 ? "fail" : d.used_pct >= 85 ? "warn" : "ok";
  const word = full ? "Disk full" : d.writable === false ? "Disk not writable" : `Disk ${Math.round(d.used_pct)} %`;
  return { id: "disk", shape, word, small: isNum(d.free_bytes) ? `${bytes(d.free_bytes)} free` : "of its share" };
}

/** @param {Scene} scene @returns {Chip|null} */
function ledger({ state: { ledger: l } }) {
  if (!l) return null;
  const read = Object.values(l.sources ?? {}).reduce((sum, one) => sum + (one.frames ?? 0), 0);
  const lost = l.events?.lost ?? 0;
  const missing = Math.abs(l.balance ?? 0) + lost;
  return { id: "ledger", shape: missing === 0 ? "ok" : "fail", word: `${count(missing)} missing`, small: `of ${count(read)} read` };
}

/** A chip only when the time is in doubt. @param {Scene} scene @returns {Chip|null} */
function time({ state: { clock: c } }) {
  if (c?.text) return { id: "clock", shape: "ok", word: "Clock set", small: "earlier times put right" };
  if (c?.tq !== "none") return null;
  return { id: "clock", shape: "warn", word: "Clock ±?", small: "times may be off" };
}

/** The words of the server's alarms that already tell of what we would find ourselves. */
const TOLD = {
  source: /source|gps|fix|scanner|serial|port|device/,
  upstream: /uplink|upstream|broker|protocol|mqtt|lane|tls|certificate|identity|takeover|retired/,
  disk: /disk|stor|room|full|wal/,
  ledger: /ledger|balance|lost/,
  worker: /worker|stall|restart/,
  clock: /clock|time/,
};

const SEVERITY = /** @type {const} */ ({
  fault: { shape: "fail", rank: 3 },
  warn: { shape: "warn", rank: 2 },
  info: { shape: "wait", rank: 1 },
});

/** What a person should know of, worst first and the oldest of equals first. @param {Scene} scene @returns {Condition[]} */
export function conditions(scene) {
  const link = ofLink(scene);
  // What the gateway said last is no alarm of this moment; the lost link is.
  const found = scene.fresh ? [...told(scene), ...seen(scene)] : [];
  return [...(link ? [link] : []), ...found].sort((a, b) => b.rank - a.rank || a.since - b.since);
}

/** @param {Scene} scene @returns {Condition|null} */
function ofLink({ link, fresh, known, now, shown, tz, state }) {
  const retry = link.nextTry === null ? "Trying now." : `Trying again in ${Math.max(1, Math.ceil((link.nextTry - now) / 1000))} s.`;
  const bar = (/** @type {string} */ what, /** @type {string} */ advice, rank = 9) =>
    ({ key: "link", shape: /** @type {Shape} */ (rank > 2 ? "stale" : "warn"), what, advice, rank, since: 0 });
  if (link.why === "pin") {
    return bar("This gateway shows its yard only to who has the PIN.", "This page cannot ask for it yet. On the gateway: http.read = \"open\".");
  }
  if (!known) {
    return link.state === "lost" ? bar("This screen cannot reach the gateway.", `Is it switched on and on this network? ${retry}`) : null;
  }
  if (!fresh) {
    const age = link.lastByte === null ? 0 : now - link.lastByte;
    const paused = link.state === "paused";
    return bar(
      paused ? "This screen was asleep." : `This screen lost the gateway ${span(age)} ago.`,
      `What you see is from ${clock(shown, tz)}. ${retry}`,
    );
  }
  if (link.state === "poll" && link.why === "full") {
    return bar("This gateway already serves all the screens it may.", "This one asks every 5 s instead. Close a screen, or raise http.max_streams.", 2);
  }
  if (link.state === "poll") return bar("Something on the way holds the stream back.", "This screen asks every 5 s instead. A proxy must not buffer /api/v1/stream.", 2);
  if (state.restart && shown - state.restart.at < 60_000) {
    const gap = state.restart.gap > 1500 ? ` ${span(state.restart.gap)} without a word.` : "";
    return { ...bar(`The gateway restarted at ${clock(state.restart.at, tz)}.`, `What it had stored it still has.${gap}`, 1), shape: "wait" };
  }
  return null;
}

/** What the gateway itself calls an alarm. @param {Scene} scene @returns {Condition[]} */
function told({ state, wall, tz }) {
  return [...state.alarms.values()].map((alarm) => {
    const { shape, rank } = SEVERITY[alarm.severity] ?? SEVERITY.warn;
    return { key: `alarm:${alarm.name}`, shape, rank, since: alarm.since_ms ?? 0, what: begun(alarm.text, alarm.since_ms, wall, tz), advice: sentence(alarm.advice ?? "") };
  });
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
    // It works, and still a person can better it: what the test sheet showed of a scanner.
    if (one.state === "up" && one.advice) {
      add("source", `source:${one.id}`, "warn", `${one.kind === "gps" ? "GPS receiver" : "Scanner"} ${plain(one.id, 64)} needs another setting.`, sentence(one.advice));
      continue;
    }
    if (shape !== "fail" || (one.kind === "scanner" && one.state === "silent")) continue;
    const means = one.kind === "gps" ? "Positions are the last known ones; scans still work." : "Scans from it are not being read.";
    add("source", `source:${one.id}`, "fail", `${one.kind === "gps" ? "GPS receiver" : "Scanner"} ${plain(one.id, 64)} ${what}.`, one.advice ? `${means} ${sentence(one.advice)}` : means, one.since_ms);
  }
  const up = state.uplink;
  if (up?.configured && (up.state === "held" || up.state === "waiting" || (up.state === "connecting" && up.last_error))) {
    const n = unsent(scene) ?? 0;
    const wait = waitingMs(scene);
    const error = up.last_error ? ` Last try: ${sentence(up.last_error)}` : "";
    const kept = n > 0 ? `${plural(n, "event")} ${n === 1 ? "is" : "are"} stored here and will be sent in order.` : "Everything is stored here.";
    add("upstream", "upstream", "warn", up.state === "held" ? "Upstream is held." : "Upstream is offline.", `Nothing is lost: ${kept} Keep scanning.${error}`, wait === null ? undefined : wall - wait);
  }
  const d = state.disk;
  if (d?.writable === false) add("disk", "disk", "fail", "The disk cannot be written.", "Nothing new is stored. Check the card; the log names the error.");
  else if (d && d.used_pct >= 85) {
    add("disk", "disk", d.used_pct >= 95 ? "fail" : "warn", `The store has used ${Math.round(d.used_pct)} % of its room.`, "The oldest archive goes first; unsent events are never removed. Raise store.max_mib or shorten the archive.");
  }
  const l = state.ledger;
  if (l && l.balance !== 0) add("ledger", "ledger", "fail", `The ledger is off by ${count(Math.abs(l.balance))}.`, "Something that was read is not accounted for. Run: waypost outbox check");
  for (const one of state.workers.values()) {
    if (one.state !== "stalled" && one.state !== "restarting") continue;
    const reason = one.last_reason ? ` ${sentence(one.last_reason)}` : "";
    add("worker", `worker:${one.worker}`, "warn", `${plain(one.worker, 64)} ${one.state === "stalled" ? "has stopped answering" : "is being restarted"}.`, `It comes back by itself.${reason}`);
  }
  if (state.clock?.tq === "none") add("clock", "clock", "warn", "The gateway does not know the time.", "Times may be off. They are put right when GPS or the network tells it.");
  return found;
}

/** "The disk is full, since 14:12." @param {string} text @param {number|undefined} since @param {number} wall @param {string} tz */
const begun = (text, since, wall, tz) =>
  isNum(since) ? `${sentence(text).replace(/\.$/, "")}, since ${when(since, wall, tz)}.` : sentence(text);

/** Outside words as one sentence. @param {string} text */
function sentence(text) {
  const said = plain(text, 240).trim();
  return said && !/[.!?…]$/.test(said) ? `${said}.` : said;
}

/**
 * What an asset does, as a shape and a phrase.
 * @param {import("./types").Asset} asset
 * @param {Scene} scene
 * @returns {{shape: Shape, phrase: string, group: number}}
 */
export function deed(asset, scene) {
  const source = asset.source ? scene.state.sources.get(asset.source) : undefined;
  const lost = source?.kind === "gps" && condition(source)[0] === "fail";
  const since = isNum(asset.since_ms) ? span(scene.shown - asset.since_ms) : null;
  const moving = isNum(asset.speed_mps) && asset.speed_mps >= 0.8;
  // The group is the same whether or not the link lives: a row must not jump when the screen goes grey.
  const group = moving ? 0 : asset.place ? 1 : isNum(asset.lat) ? 2 : 3;
  if (!scene.fresh) return { shape: "stale", phrase: `As of ${clock(scene.shown, scene.tz)}`, group };
  if (lost) return { shape: "stale", phrase: `Last known: ${plain(source.id, 24)} ${condition(source)[1]}`, group };
  if (moving) return { shape: "move", phrase: `Moving ${speed(asset.speed_mps)}`, group };
  const against = contradiction(asset);
  if (against) return { shape: "warn", phrase: plain(against, 90), group };
  if (asset.place) return { shape: "dock", phrase: since ? `There for ${since}` : "There", group };
  if (isNum(asset.lat)) return { shape: "park", phrase: "Standing", group };
  return { shape: "wait", phrase: "No place known", group };
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
  no_symbology_id: "taken for a GS1 label",
  normalised: "spaces or case put right",
  sscc_bad_check: "not a pallet: wrong check digit",
  trimmed: "spaces left out",
  upc_a_12: "a short product code",
  vin_prefix: "the I before the vehicle number left out",
}));

/** @param {string} code */
const toldOfLabel = (code) => TOLD_OF_LABEL.get(code) ?? words(code);

/** The verdict of a scan that was stored. @param {import("./types").WireEvent} scan @returns {{shape: Shape, word: string}} */
export function verdict(scan) {
  const warns = scan.warn ?? [];
  const bad = warns.find((code) => BAD_LABEL.test(code));
  if (bad) return { shape: "warn", word: `Accepted, check the label: ${toldOfLabel(bad)}` };
  if (isNum(scan.repeats) && scan.repeats > 0) return { shape: "dup", word: `Accepted once, read ${count(scan.repeats + 1)} times` };
  if (scan.source === "manual") return { shape: "ok", word: "Accepted, typed by hand" };
  return { shape: "ok", word: warns.length ? `Accepted, ${toldOfLabel(warns[0])}` : "Accepted" };
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
