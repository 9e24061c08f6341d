// @ts-check
// The link to the gateway: a snapshot, then its stream from that cursor on, for ever. EventSource alone gives up on a 5xx
// and never backs off, so each connection is ours to open and to close. Whether the link lives is judged by the last byte
// and this device's own monotonic clock, never by the last good news.
//
//   connecting ─hello→ live ─12 s no byte→ stale ─30 s, error→ lost ─backoff→ connecting
//   any ─no room, or a proxy that holds the stream back→ poll;  hidden 60 s → paused

import { elapsed } from "./far.js";

export const STALE_MS = 12_000;
export const DEAD_MS = 30_000;
export const HELLO_MS = 8_000;
export const POLL_MS = 5_000;
export const POLL_TURNS = 12;
export const HIDDEN_MS = 60_000;
const BACKOFF_MS = 500;
const BACKOFF_CAP_MS = 15_000;

/** @typedef {import("./types").LinkView} LinkView */

/**
 * What the link stands on; a test gives its own.
 * @typedef {object} Ground
 * @property {() => number} now monotonic ms
 * @property {() => number} random 0 to 1
 * @property {(run: () => void, ms: number) => any} later
 * @property {(timer: any) => void} cancel
 * @property {(url: string) => Wire} open
 * @property {(url: string, ms: number) => Promise<{status: number, body: any}>} get rejects when there is no answer in time
 */

/**
 * An EventSource, or what a test takes for one.
 * @typedef {object} Wire
 * @property {(name: string, hear: (event: {data: string, lastEventId: string}) => void) => void} on
 * @property {(fail: () => void) => void} onError
 * @property {() => void} close
 */

/**
 * Who listens.
 * @typedef {object} Listener
 * @property {(snap: import("./types").Snapshot) => void} snapshot
 * @property {(hello: import("./types").Hello) => void} hello
 * @property {(delta: any) => void} delta
 * @property {(t: number) => void} beat
 * @property {() => void} changed the link's own state is another one
 * @property {(hash: string) => void} page the gateway has this page
 */

/** The place of a cursor in the log of its store. @param {string} cursor */
const seqOf = (cursor) => Number(cursor.slice(cursor.lastIndexOf(".") + 1)) || 0;

export class Link {
  /** @param {Ground} ground @param {Listener} listener */
  constructor(ground, listener) {
    this.ground = ground;
    this.listener = listener;
    /** @type {LinkView} */
    this.view = { state: "connecting", why: "", lastByte: null, nextTry: null };
    /** @type {string|null} */
    this.cursor = null;
    /** @type {Wire|null} */
    this.wire = null;
    /** Tries since the stream last carried something. */
    this.tries = 0;
    /** Streams that opened without a hello. */
    this.mute = 0;
    /** The event from which on what comes is the present; null when it is. @type {number|null} */
    this.goal = null;
    /** Heartbeats since an event came. */
    this.beats = 0;
    /** Turns of polling until the stream is tried again; 0 when not polling. */
    this.polls = 0;
    /** Answers to an older attempt are dropped. */
    this.attempt = 0;
    this.timers = { retry: null, hello: null, watch: null, hide: null };
  }

  /** Begins, and goes on until the page ends. */
  start() {
    this.watch();
    this.connect();
  }

  /** Tries at once when it is not live: the network is back, the page is seen again, somebody tapped. */
  kick() {
    if (this.view.state === "paused") return this.resume();
    if (this.view.state === "live" && this.silence() < STALE_MS) return;
    this.tries = 0;
    this.mute = 0;
    this.connect();
  }

  /** The page went out of sight: after a minute its stream is given back. */
  hidden() {
    this.set("hide", () => {
      this.drop();
      this.become("paused", "");
    }, HIDDEN_MS);
  }

  /** The page is in sight again; what it shows stays marked as last known until new bytes are here. */
  visible() {
    this.clear("hide");
    if (this.view.state === "paused") this.resume();
    else {
      this.judge();
      if (this.view.state !== "live" && this.view.state !== "poll") this.kick();
    }
  }

  /** @private */
  resume() {
    this.tries = 0;
    this.become("connecting", "");
    this.connect();
  }

  /** How long no byte has come, ms. */
  silence() {
    return this.view.lastByte === null ? Infinity : this.ground.now() - this.view.lastByte;
  }

  /** @private */
  watch() {
    this.set("watch", () => {
      this.judge();
      this.watch();
    }, 1000);
  }

  /** Judges by the time since the last byte. @private */
  judge() {
    const silence = this.silence();
    if (this.view.state === "live" && silence >= STALE_MS) this.become("stale", "quiet");
    // A half-open connection gives no error, ever.
    if (this.view.state === "stale" && silence >= DEAD_MS) this.fail("quiet");
  }

  /** @private */
  connect() {
    this.drop();
    this.view.nextTry = null;
    if (this.cursor === null || this.polls > 0) this.load();
    else this.open();
  }

  /** Fetches the snapshot, then opens the stream behind it. @private */
  load() {
    const attempt = ++this.attempt;
    this.ground.get("/api/v1/snapshot", HELLO_MS).then(({ status, body }) => {
      if (attempt !== this.attempt) return;
      if (status === 401 || status === 403) return this.fail("pin");
      if (status !== 200 || typeof body?.cursor !== "string") return this.fail("error");
      this.cursor = body.cursor;
      this.byte();
      this.listener.snapshot(body);
      if (body.page) this.listener.page(body.page);
      if (this.polls > 0) this.turn();
      else this.open();
    }, () => {
      if (attempt === this.attempt) this.fail("error");
    });
  }

  /** @private */
  open() {
    const attempt = ++this.attempt;
    const wire = this.ground.open(`/api/v1/stream?after=${encodeURIComponent(this.cursor ?? "")}`);
    this.wire = wire;
    /** @param {string} name @param {(said: any, id: string) => void} hear */
    const on = (name, hear) => wire.on(name, (event) => {
      if (attempt !== this.attempt) return;
      // What waited on the line while this device slept is no news: after half a minute it is asked for anew.
      this.judge();
      if (attempt !== this.attempt) return;
      /** @type {any} */
      let said;
      try {
        said = JSON.parse(event.data);
      } catch {
        // A stream that cannot be read cannot be followed: begin again from what the store holds.
        this.cursor = null;
        return this.fail("error");
      }
      hear(said, event.lastEventId);
    });
    on("hello", (said) => {
      this.mute = 0;
      this.goal = typeof said.head === "string" ? seqOf(said.head) : null;
      this.arrive();
      this.listener.hello(said);
      if (said.page) this.listener.page(said.page);
    });
    on("delta", (said, id) => {
      this.tries = 0;
      if (this.goal === null) this.byte();
      this.listener.delta(said);
      if (id) this.cursor = id;
      if (id) this.beats = 0;
      this.arrive();
    });
    on("hb", (said) => {
      this.tries = 0;
      // A whole beat without an event: nothing more is to come, whatever the goal was.
      this.beats += 1;
      if (this.beats > 1) this.goal = null;
      this.arrive();
      this.listener.beat(said.t);
    });
    on("reset", () => {
      this.cursor = null;
      this.fail("reset");
    });
    on("bye", (said) => {
      if (said.reason === "full") this.poll("full");
      else this.fail("restart", Number(said.retry_ms) || 0);
    });
    wire.onError(() => {
      if (attempt === this.attempt) this.fail("error");
    });
    this.goal = null;
    this.beats = 0;
    this.expect();
  }

  /** A stream that goes on saying nothing is no stream. @private */
  expect() {
    this.set("hello", () => {
      this.mute += 1;
      if (this.mute >= 2) this.poll("slow");
      else this.fail("quiet");
    }, HELLO_MS);
  }

  /** Something came: it is the present once all that was stored before is here too. @private */
  arrive() {
    if (this.goal !== null && seqOf(this.cursor ?? "") < this.goal) return this.expect();
    this.goal = null;
    this.clear("hello");
    this.byte();
    if (this.view.state !== "live") this.become("live", "");
  }

  /** A byte of the present came. @private */
  byte() {
    this.view.lastByte = this.ground.now();
  }

  /**
   * The connection is gone. The first time in a row is a hiccup and tried again at once; from the second on it is lost.
   * @param {LinkView["why"]} why
   * @param {number} [atLeast] the gateway asked not to come back earlier, ms
   */
  fail(why, atLeast = 0) {
    this.drop();
    const was = this.view.state;
    const delay = Math.max(Math.min(atLeast, 60_000), this.backoff());
    this.tries += 1;
    this.view.nextTry = this.ground.now() + delay;
    const hiccup = this.tries === 1 && (was === "live" || was === "connecting" || was === "poll") && why !== "pin";
    // A poll that fails begins with the stream again.
    this.polls = 0;
    this.become(hiccup ? "connecting" : "lost", why);
    this.set("retry", () => this.connect(), delay);
  }

  /** @private */
  backoff() {
    return Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** Math.min(this.tries, 10)) * (0.5 + this.ground.random());
  }

  /** The stream is not to be had: ask every few seconds, and for the stream once a minute. @param {"full"|"slow"} why @private */
  poll(why) {
    this.drop();
    this.polls = POLL_TURNS;
    this.become("poll", why);
    this.load();
  }

  /** @private */
  turn() {
    this.polls -= 1;
    this.tries = 0;
    if (this.polls === 0) {
      // One trial: a stream that stays mute goes straight back to polling.
      this.mute = 1;
      return this.open();
    }
    this.view.nextTry = this.ground.now() + POLL_MS;
    this.listener.changed();
    this.set("retry", () => this.load(), POLL_MS);
  }

  /** Closes what is open and forgets what is due. @private */
  drop() {
    this.attempt += 1;
    this.wire?.close();
    this.wire = null;
    this.clear("retry");
    this.clear("hello");
  }

  /** @param {LinkView["state"]} state @param {LinkView["why"]} why @private */
  become(state, why) {
    this.view.state = state;
    this.view.why = why;
    if (state === "live" || state === "paused") this.view.nextTry = null;
    this.listener.changed();
  }

  /** @param {keyof Link["timers"]} name @param {() => void} run @param {number} ms @private */
  set(name, run, ms) {
    this.clear(name);
    this.timers[name] = this.ground.later(run, ms);
  }

  /** @param {keyof Link["timers"]} name @private */
  clear(name) {
    if (this.timers[name] !== null) this.ground.cancel(this.timers[name]);
    this.timers[name] = null;
  }
}

/** The ground in a browser. @returns {Ground} */
export function browser() {
  return {
    now: elapsed,
    random: Math.random,
    later: (run, ms) => setTimeout(run, ms),
    cancel: (timer) => clearTimeout(timer),
    open(url) {
      const source = new EventSource(url);
      return {
        on: (name, hear) => source.addEventListener(name, (event) => hear(/** @type {MessageEvent} */ (event))),
        onError: (fail) => { source.onerror = fail; },
        close: () => source.close(),
      };
    },
    async get(url, ms) {
      const stop = new AbortController();
      const timer = setTimeout(() => stop.abort(), ms);
      try {
        const answer = await fetch(url, { cache: "no-store", signal: stop.signal, headers: { accept: "application/json" } });
        return { status: answer.status, body: answer.ok ? await answer.json() : null };
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
