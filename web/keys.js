// @ts-check
// The keyboard: single keys for who works at a desk, and scanners that type. A scanner is known by its speed: a burst that
// no hand types, with Enter at its end, is a code and goes to the screen's search, wherever the focus is.

/** Between two characters of a scanner, at most. ms */
export const BURST_MS = 30;
/** Characters of a code, at least and at most. */
const LEAST = 4;
const MOST = 1024;

/** Tells codes from typing by when each key came. */
export class Wedge {
  constructor() {
    this.text = "";
    this.last = -Infinity;
  }

  /**
   * Takes a key and when it came; answers a code when one is finished.
   * @param {string} key @param {number} at ms
   * @returns {string|null}
   */
  take(key, at) {
    const quick = at - this.last <= BURST_MS;
    this.last = at;
    if (key === "Enter") {
      const code = quick && this.text.length >= LEAST ? this.text : null;
      this.text = "";
      return code;
    }
    if (key.length !== 1) return null;
    this.text = quick ? (this.text + key).slice(-MOST) : key;
    return null;
  }

  /** Whether keys come faster than by hand right now. */
  bursting() {
    return this.text.length >= 2;
  }
}

const SCREENS = /** @type {const} */ ({ 1: "live", 2: "scans", 3: "assets", 4: "failures", 5: "health", 6: "about" });

/**
 * @typedef {object} Ears
 * @property {() => boolean} single whether single keys mean something
 * @property {(name: "live"|"scans"|"assets"|"failures"|"health"|"about") => void} screen
 * @property {(key: string) => boolean} key the screen's own keys
 * @property {(text: string) => boolean} scan
 */

/** A single key waits this long for the next character of a scanner before it means something. ms */
const PAUSE_MS = 40;

/** Listens until the page ends. @param {Ears} ears */
export function listen(ears) {
  const wedge = new Wedge();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let due;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const typing = event.target instanceof HTMLElement && (event.target.matches("input:not([type=checkbox]), textarea, select") || event.target.isContentEditable);
    const modal = document.querySelector("dialog[open]") !== null;
    clearTimeout(due);
    const code = wedge.take(event.key, event.timeStamp);
    if (code !== null && !typing && !modal) {
      // Enter at the end of a code presses no button that happens to have the focus.
      event.preventDefault();
      ears.scan(code);
      return;
    }
    if (modal) return;
    if (event.key === "Escape") {
      if (!typing) ears.key("Escape");
      else if (event.target instanceof HTMLInputElement && event.target.value) {
        event.target.value = "";
        event.target.dispatchEvent(new Event("input", { bubbles: true }));
      } else /** @type {HTMLElement} */ (event.target).blur();
      return;
    }
    if (typing || !ears.single() || wedge.bursting() || event.key.length !== 1) return;
    const { key } = event;
    if (key === "/") event.preventDefault();
    due = setTimeout(() => {
      if (key === "?") void import("./view/help.js").then(({ help }) => help());
      else if (key in SCREENS) ears.screen(SCREENS[/** @type {keyof typeof SCREENS} */ (/** @type {unknown} */ (key))]);
      else ears.key(key);
    }, PAUSE_MS);
  });
}
