// @ts-check
// Tones for who does not look: a bad scan, a part that is lost, and that all is well again. Good scans are silent unless
// somebody wants them, for scanners beep themselves.

import { conditions, verdict } from "./judge.js";

/** What is played: tones in Hz, each so many seconds long. */
export const TONES = /** @type {const} */ ({
  bad: [[220, 0.18], [165, 0.3]],
  lost: [[440, 0.15], [330, 0.15], [247, 0.35]],
  well: [[392, 0.12], [523, 0.22]],
  good: [[880, 0.07]],
});

/**
 * What news sounds like; none for most of it.
 * @param {{scan: "ok"|"bad"|null, wasBad: boolean, isBad: boolean, letters: boolean}} news @param {"bad"|"all"} wanted
 * @returns {keyof typeof TONES|null}
 */
export function toneFor({ scan, wasBad, isBad, letters }, wanted) {
  if (isBad && !wasBad) return "lost";
  if (scan === "bad" || letters) return "bad";
  if (wasBad && !isBad) return "well";
  return scan === "ok" && wanted === "all" ? "good" : null;
}

export class Sounds {
  constructor() {
    /** @type {AudioContext|null} */
    this.context = typeof AudioContext === "function" ? new AudioContext() : null;
    this.bad = false;
    this.open = /** @type {number|null} */ (null);
    this.quietUntil = -Infinity;
  }

  /** Plays nothing for a while. @param {number} ms */
  mute(ms) {
    this.quietUntil = performance.now() + ms;
  }

  /** Whether somebody wants it quiet for now. */
  muted() {
    return performance.now() < this.quietUntil;
  }

  /** Whether a browser keeps it silent until somebody touches the page. */
  locked() {
    return this.context?.state === "suspended";
  }

  /** A person touched the switch: from now on it may sound. */
  unlock() {
    void this.context?.resume();
  }

  /**
   * @param {any} delta @param {Set<string>} kinds @param {import("./types").Scene} scene
   */
  hear(delta, kinds, scene) {
    const scans = kinds.has("scan") ? (delta.items ?? []).filter((/** @type {any} */ one) => one.k === "event" && one.v?.kind === "scan").map((/** @type {any} */ one) => one.v) : [];
    const open = scene.state.letters?.open ?? this.open;
    const letters = this.open !== null && open !== null && open > this.open;
    this.open = open;
    const isBad = conditions(scene).some((one) => one.shape === "fail");
    const scan = scans.length === 0 ? null : scans.some((/** @type {any} */ one) => verdict(one).shape === "warn") ? "bad" : "ok";
    const tone = toneFor({ scan, wasBad: this.bad, isBad, letters }, scene.prefs.sound === "all" ? "all" : "bad");
    this.bad = isBad;
    if (tone) this.play(tone);
  }

  /** @param {keyof typeof TONES} name */
  play(name) {
    const context = this.context;
    if (!context || context.state !== "running" || this.muted()) return;
    let at = context.currentTime + 0.02;
    for (const [hertz, seconds] of TONES[name]) {
      const tone = context.createOscillator();
      const loud = context.createGain();
      tone.frequency.value = hertz;
      // It swells and fades: a tone that is cut clicks.
      loud.gain.setValueAtTime(0, at);
      loud.gain.linearRampToValueAtTime(0.25, at + 0.015);
      loud.gain.linearRampToValueAtTime(0, at + seconds);
      tone.connect(loud).connect(context.destination);
      tone.start(at);
      tone.stop(at + seconds);
      at += seconds + 0.03;
    }
  }
}
