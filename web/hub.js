// @ts-check
// The one connection of a browser: a worker that all tabs of this page share. A browser opens six connections to a host at
// most; six tabs with a stream each would leave none for anything else. It holds nothing but the link: each tab keeps the
// state for itself, and one that comes later gets a snapshot of its own.

import { Link, browser } from "./stream.js";

/** @typedef {import("./far.js").Port} Port */
/** @typedef {import("./stream.js").Ground} Ground */

/** A tab that has said nothing for so long is gone: a browser does not tell. Sleeping tabs speak once a minute. ms */
export const SILENT_MS = 180_000;
/** What is kept for a tab until its snapshot is here. */
const QUEUE_MAX = 1000;
/** How long a snapshot may take, ms. */
const SNAPSHOT_MS = 8000;

/**
 * A tab: when it spoke last, whether it is in sight, whether it has its snapshot, and what came before that.
 * @typedef {{heard: number, hidden: boolean, ready: boolean, queue: {k: string, v: any}[]}} Tab
 */

export class Hub {
  /** @param {Ground} ground */
  constructor(ground) {
    this.ground = ground;
    /** @type {Map<Port, Tab>} */
    this.tabs = new Map();
    const all = (/** @type {string} */ k) => (/** @type {any} */ v) => this.tell(k, v);
    const snapshot = all("snapshot");
    this.link = new Link(ground, {
      snapshot: (snap) => {
        // What all get, those that wait for theirs get too.
        for (const tab of this.tabs.values()) [tab.ready, tab.queue] = [true, []];
        snapshot(snap);
      },
      hello: all("hello"), delta: all("delta"), beat: all("beat"), page: all("page"), changed: () => this.tell("changed"),
    });
    this.begun = false;
  }

  /** A tab comes. @param {Port} port */
  join(port) {
    port.onmessage = ({ data }) => this.take(port, data?.k);
  }

  /** @param {Port} port @param {string} word @private */
  take(port, word) {
    if (word === "bye") {
      this.tabs.delete(port);
      this.weigh();
      return;
    }
    let tab = this.tabs.get(port);
    if (!tab) {
      // New, or one that slept so long that it was taken for gone.
      tab = { heard: 0, hidden: false, ready: false, queue: [] };
      this.tabs.set(port, tab);
      this.welcome(port, tab);
    }
    tab.heard = this.ground.now();
    if (word === "hidden" || word === "visible") {
      tab.hidden = word === "hidden";
      this.weigh();
      if (!tab.hidden) this.post(port, "changed");
    }
    if (word === "kick") this.link.kick();
    for (const [other, { heard }] of this.tabs) if (this.ground.now() - heard > SILENT_MS) this.tabs.delete(other);
  }

  /** @param {Port} port @param {Tab} tab @private */
  welcome(port, tab) {
    if (!this.begun) {
      this.begun = true;
      this.link.start();
    } else if (this.link.view.state === "paused") this.link.visible();
    this.post(port, "changed");
    if (this.link.cursor === null) return;
    const anew = () => {
      if (tab.ready || this.tabs.get(port) !== tab) return;
      // Then all begin again, and this one with them.
      this.link.cursor = null;
      this.link.fail("reset");
    };
    // The stream goes on meanwhile: what it says waits, and what comes twice changes nothing.
    this.ground.get("/api/v1/snapshot", SNAPSHOT_MS).then(({ status, body }) => {
      if (tab.ready) return;
      if (status !== 200 || tab.queue.length >= QUEUE_MAX) return anew();
      tab.ready = true;
      this.post(port, "snapshot", body);
      for (const { k, v } of tab.queue.splice(0)) this.post(port, k, v);
      if (body.page) this.post(port, "page", body.page);
    }, anew);
  }

  /** Nobody looks: the connection is given back after a minute. Somebody looks again: it is there again. @private */
  weigh() {
    const seen = [...this.tabs.values()].some((tab) => !tab.hidden);
    if (seen) this.link.visible();
    else this.link.hidden();
  }

  /** @param {string} k @param {any} [v] @private */
  tell(k, v) {
    for (const [port, tab] of this.tabs) {
      if (tab.ready || k === "changed" || k === "page") this.post(port, k, v);
      else if (tab.queue.length < QUEUE_MAX) tab.queue.push({ k, v });
    }
  }

  /** @param {Port} port @param {string} k @param {any} [v] @private */
  post(port, k, v) {
    const { state, why, lastByte, nextTry } = this.link.view;
    const now = this.ground.now();
    // A tab that waits for its snapshot shows what it knew: it is not live, however well the link is.
    const ready = this.tabs.get(port)?.ready || (state !== "live" && state !== "poll");
    const link = ready ? { state, why, age: lastByte === null || !this.tabs.get(port)?.ready ? null : now - lastByte, next: nextTry === null ? null : nextTry - now } : { state: "connecting", why: "", age: null, next: null };
    port.postMessage({ k, v, link });
  }
}

if (typeof SharedWorkerGlobalScope === "function") {
  const hub = new Hub(browser());
  globalThis.addEventListener("connect", (event) => {
    const [port] = /** @type {any} */ (event).ports;
    hub.join(port);
    port.start();
  });
}
