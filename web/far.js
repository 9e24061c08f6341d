// @ts-check
// The link of a page among several: one worker of the browser holds the one connection for all its tabs (hub.js). Where
// there is none, or it does not answer, the page has a connection of its own.

/** @typedef {import("./types").LinkView} LinkView */
/** @typedef {import("./stream.js").Listener} Listener */

/** The worker must have answered within this, and be heard of again within that. ms */
export const ANSWER_MS = 1500;
export const GONE_MS = 30_000;
/** So often the worker is told that this page is still here. ms */
const HERE_MS = 20_000;
/** Where the wall clock of a device gains so much at once, the device slept, or somebody set its clock: either is a doubt. ms */
const SLEPT_MS = 5000;

/**
 * A clock that goes on while the device sleeps: `performance.now()` alone stands still then on Linux and Android, and what
 * is ten minutes old would be a second old. @param {() => number} steady ms @param {() => number} wall ms
 */
export function wakeful(steady, wall) {
  let slept = 0;
  let apart = wall() - steady();
  return () => {
    const at = steady();
    const gained = wall() - at - apart;
    apart += gained;
    if (gained > SLEPT_MS) slept += gained;
    return at + slept;
  };
}

/** Ms since some moment, sleep and all: the one clock that ages are counted with. */
export const elapsed = wakeful(() => performance.now(), () => Date.now());

/**
 * A link, near or far.
 * @typedef {object} AnyLink
 * @property {LinkView} view
 * @property {() => void} start
 * @property {() => void} kick
 * @property {() => void} hidden
 * @property {() => void} visible
 */

/**
 * What of a MessagePort is used.
 * @typedef {object} Port
 * @property {(message: any) => void} postMessage
 * @property {((event: any) => void)|null} onmessage
 */

/** A link by way of the worker. @implements {AnyLink} */
export class Far {
  /**
   * @param {() => Port|null} open the way to the worker; null where there is none
   * @param {() => Promise<AnyLink>} near makes a link of this page's own
   * @param {Listener} listener
   * @param {{now: () => number, later: (run: () => void, ms: number) => any}} [ground]
   */
  constructor(open, near, listener, ground = { now: elapsed, later: (run, ms) => setTimeout(run, ms) }) {
    this.open = open;
    this.make = near;
    this.listener = listener;
    this.ground = ground;
    /** @type {Port|null} */
    this.port = null;
    /** @type {AnyLink|null} */
    this.near = null;
    this.heard = -Infinity;
    this.away = false;
    /** @type {LinkView} */
    this.own = { state: "connecting", why: "", lastByte: null, nextTry: null };
  }

  get view() {
    return this.near?.view ?? this.own;
  }

  start() {
    try {
      this.port = this.open();
    } catch {
      // A browser that forbids workers here.
      this.port = null;
    }
    if (!this.port) return void this.alone();
    this.port.onmessage = ({ data }) => this.take(data);
    this.port.postMessage({ k: "join" });
    this.ground.later(() => {
      if (this.heard === -Infinity) void this.alone();
    }, ANSWER_MS);
    this.watch();
  }

  /** Tells the worker that this page is here, and leaves it when it is no longer heard. @private */
  watch() {
    this.ground.later(() => {
      if (this.near) return;
      if (!this.away && this.heard !== -Infinity && this.ground.now() - this.heard > GONE_MS) return void this.alone();
      this.port?.postMessage({ k: "here" });
      this.watch();
    }, HERE_MS);
  }

  /** Goes on by itself. @private */
  async alone() {
    if (this.near) return;
    this.port?.postMessage({ k: "bye" });
    this.port = null;
    /** @type {AnyLink} */
    let near;
    try {
      near = await this.make();
    } catch {
      // Its file could not be loaded: the gateway is away too.
      this.ground.later(() => void this.alone(), ANSWER_MS);
      return;
    }
    if (this.near) return;
    this.near = near;
    near.start();
    if (this.away) near.hidden();
  }

  /** @param {{k: keyof Listener, v?: any, link: {state: LinkView["state"], why: LinkView["why"], age: number|null, next: number|null}}} said @private */
  take({ k, v, link }) {
    if (this.near || !this.port) return;
    const now = this.ground.now();
    this.heard = now;
    // Another clock runs there: what it says are ages, not moments.
    this.own = { state: link.state, why: link.why, lastByte: link.age === null ? this.own.lastByte : now - link.age, nextTry: link.next === null ? null : now + link.next };
    this.listener[k](v);
  }

  kick() {
    if (this.near) this.near.kick();
    else this.port?.postMessage({ k: "kick" });
  }

  hidden() {
    this.away = true;
    if (this.near) this.near.hidden();
    else this.port?.postMessage({ k: "hidden" });
  }

  visible() {
    this.away = false;
    if (this.near) this.near.visible();
    else {
      // A page that slept has heard nothing of a worker that goes on: not at once its end.
      this.heard = Math.max(this.heard, this.ground.now() - GONE_MS / 2);
      this.port?.postMessage({ k: "visible" });
    }
  }

  /** The page goes. */
  leave() {
    this.port?.postMessage({ k: "bye" });
  }
}

/** The way to the worker of this very page's version. @returns {Port|null} */
export function worker() {
  if (typeof SharedWorker !== "function") return null;
  const { port } = new SharedWorker(new URL("./hub.js", import.meta.url), { type: "module", name: "waypost" });
  return port;
}
