// @ts-check
// What the gateway has said, as one state: rebuilt from a snapshot, then changed by the stream. Applying an item twice
// changes nothing the second time. It holds a bounded number of things, whatever is sent.

/** @typedef {import("./types").Asset} Asset */
/** @typedef {import("./types").WireEvent} WireEvent */

export const MAX_SCANS = 50;
export const MAX_ASSETS = 1000;
const MAX_STATES = 512;
// Doubts that keep a fix from moving its asset (contract section 6).
const STILL = new Set(["future", "jump", "frozen"]);

/**
 * @typedef {object} State
 * @property {{id: string, site: string, name: string, tz: string, version: string, boot: number|null}} node
 * @property {Map<string, Asset>} assets
 * @property {number} more assets the gateway has beyond those it sent
 * @property {WireEvent[]} scans newest first
 * @property {WireEvent|null} fix the newest one that may move its asset
 * @property {WireEvent|null} doubtful the newest one that may not
 * @property {Map<string, import("./types").Source & {frameAt: number|null}>} sources
 * @property {Map<string, import("./types").Worker>} workers
 * @property {Map<string, import("./types").Alarm>} alarms
 * @property {(import("./types").Uplink & {at: number})|null} uplink `at`: gateway time of what it says
 * @property {import("./types").Disk|null} disk
 * @property {import("./types").Clock|null} clock
 * @property {import("./types").Ledger|null} ledger
 * @property {import("./types").Letters|null} letters
 * @property {Map<string, import("./types").Job>} jobs what is being done with letters, and chores
 * @property {number|null} planRev which plan the gateway keeps
 * @property {{at: number, gap: number}|null} restart when the gateway was last seen with another boot
 */

/** @returns {State} */
function empty() {
  return {
    node: { id: "", site: "", name: "", tz: "UTC", version: "", boot: null },
    assets: new Map(), more: 0, scans: [], fix: null, doubtful: null,
    sources: new Map(), workers: new Map(), alarms: new Map(),
    uplink: null, disk: null, clock: null, ledger: null, letters: null, jobs: new Map(), planRev: null, restart: null,
  };
}

export class Store {
  constructor() {
    this.state = empty();
    /** Gateway time, and elapsed() when it was heard. @type {{t: number, at: number}|null} */
    this.heard = null;
  }

  /** Gateway time at a moment of elapsed(); null before the first word. @param {number} now */
  wall(now) {
    return this.heard ? this.heard.t + Math.max(0, now - this.heard.at) : null;
  }

  /** @param {unknown} t @param {number} now */
  hear(t, now) {
    if (typeof t === "number" && Number.isFinite(t)) this.heard = { t, at: now };
  }

  /**
   * Takes a whole snapshot; what it does not name is gone.
   * @param {import("./types").Snapshot} snap
   * @param {number} now
   */
  snapshot(snap, now) {
    const before = this.state;
    const gap = this.heard ? snap.t - this.heard.t : 0;
    this.hear(snap.t, now);
    this.state = empty();
    this.state.restart = before.restart;
    this.state.node.boot = before.node.boot;
    this.name(snap, gap);
    this.state.node.tz = snap.tz || before.node.tz;
    this.state.more = snap.more ?? 0;
    for (const asset of list(snap.assets)) this.apply({ k: "asset", op: "put", v: asset });
    for (const scan of list(snap.scans)) this.apply({ k: "event", op: "put", v: scan });
    if (snap.fix) this.apply({ k: "event", op: "put", v: snap.fix });
    for (const one of list(snap.states)) this.apply({ k: one.k, op: "put", v: one.v });
  }

  /** Takes the stream's first word. @param {import("./types").Hello} hello @param {number} now */
  hello(hello, now) {
    const gap = this.heard ? hello.t - this.heard.t : 0;
    this.hear(hello.t, now);
    this.name(hello, gap);
  }

  /**
   * @param {import("./types").Hello|import("./types").Snapshot} said
   * @param {number} gap how long nothing was heard, ms
   * @private
   */
  name(said, gap) {
    const node = this.state.node;
    node.id = said.node ?? node.id;
    node.site = said.site ?? node.site;
    node.name = said.name ?? node.name;
    node.version = said.version ?? node.version;
    if (said.boot === undefined) return;
    if (node.boot !== null && node.boot !== said.boot) this.state.restart = { at: said.t, gap: Math.max(0, gap) };
    node.boot = said.boot;
  }

  /**
   * Takes a batch of the stream and answers which kinds it changed.
   * @param {{t?: number, items?: import("./types").Item[]}} delta
   * @param {number} now
   * @returns {Set<string>}
   */
  delta(delta, now) {
    this.hear(delta.t, now);
    /** @type {Set<string>} */
    const kinds = new Set();
    for (const item of list(delta.items)) kinds.add(this.apply(item));
    return kinds;
  }

  /**
   * @param {import("./types").Item} item
   * @returns {string} the kind it changed; "scan" or "fix" for such an event, "" for what this page does not show
   * @private
   */
  apply({ k, op, v }) {
    if (typeof v !== "object" || v === null) return "";
    const s = this.state;
    const gone = op === "del";
    switch (k) {
      case "event": return gone ? "" : this.event(v);
      case "asset": return this.asset(v, gone);
      case "source": {
        const t = this.heard?.t ?? 0;
        const frameAt = typeof v.age_ms === "number" ? t - v.age_ms : v.last_frame_ms ?? null;
        return keyed(s.sources, v.id, gone ? null : { ...v, frameAt }, k);
      }
      case "worker": return keyed(s.workers, v.worker, gone ? null : v, k);
      case "alarm": return keyed(s.alarms, v.name, gone ? null : v, k);
      case "job": return keyed(s.jobs, String(v.job ?? v.key), gone ? null : v, k);
      case "uplink": s.uplink = gone ? null : { ...v, at: this.heard?.t ?? 0 }; return k;
      case "zones":
        if (gone || typeof v.rev !== "number") return "";
        s.planRev = v.rev;
        return k;
      case "disk": s.disk = gone ? null : v; return k;
      case "clock": s.clock = gone ? null : v; return k;
      case "ledger": s.ledger = gone ? null : v; return k;
      case "letters": s.letters = gone ? null : v; return k;
      default: return "";
    }
  }

  /** @param {Asset} v @param {boolean} gone @private */
  asset(v, gone) {
    const assets = this.state.assets;
    if (gone) return assets.delete(v.asset) ? "asset" : "";
    if (typeof v.asset !== "string") return "";
    if (!assets.has(v.asset) && assets.size >= MAX_ASSETS) {
      let oldest = v;
      for (const one of assets.values()) if (one.ts_ms < oldest.ts_ms) oldest = one;
      this.state.more += 1;
      if (oldest === v) return "";
      assets.delete(oldest.asset);
    }
    assets.set(v.asset, v);
    return "asset";
  }

  /** A place that was told late says so of the scan that it is from. @param {WireEvent} v @private */
  late(v) {
    const at = v.late ? this.state.scans.findIndex((one) => one.id === v.because) : -1;
    if (at < 0) return "";
    this.state.scans[at] = { ...this.state.scans[at], late: true };
    return "scan";
  }

  /** @param {WireEvent} v @private */
  event(v) {
    const s = this.state;
    if (typeof v.id !== "string" || typeof v.seq !== "number") return "";
    if (v.kind === "fix") {
      if (list(v.doubt).some((word) => STILL.has(word))) {
        if (!s.doubtful || s.doubtful.seq < v.seq) s.doubtful = v;
      } else if (!s.fix || s.fix.ts_ms <= v.ts_ms) s.fix = v;
      return "fix";
    }
    if (v.kind === "place") return this.late(v);
    if (v.kind !== "scan") return "";
    const known = s.scans.findIndex((one) => one.id === v.id);
    if (known >= 0) {
      s.scans[known] = v;
      return "scan";
    }
    let at = s.scans.findIndex((one) => one.seq < v.seq);
    if (at < 0) at = s.scans.length;
    s.scans.splice(at, 0, v);
    s.scans.length = Math.min(s.scans.length, MAX_SCANS);
    return "scan";
  }
}

/** @template T @param {T[]|undefined|null} value @returns {T[]} */
const list = (value) => (Array.isArray(value) ? value : []);

/** @param {Map<string, any>} map @param {unknown} key @param {any} value @param {string} kind */
function keyed(map, key, value, kind) {
  if (typeof key !== "string") return "";
  if (value === null) map.delete(key);
  else if (map.has(key) || map.size < MAX_STATES) map.set(key, value);
  return kind;
}
