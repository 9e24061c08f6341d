// @ts-check
// What a person has set for this device: theme, language, units, time zone, sound, keys. An address can say it too
// (?theme=night&lang=de), for a screen that nobody touches; what it says is not kept.

/**
 * @typedef {object} Prefs
 * @property {"auto"|"light"|"dark"|"night"} theme
 * @property {string} lang "auto", or the code of a language
 * @property {"metric"|"imperial"} units
 * @property {"site"|"device"|"utc"} zone
 * @property {"off"|"bad"|"all"} sound
 * @property {"on"|"off"} keys single keys as shortcuts
 */

/** What may stand in each; the first is what holds when nothing is said. */
export const CHOICES = /** @type {const} */ ({
  theme: ["auto", "light", "dark", "night"],
  lang: ["auto", "en", "de"],
  units: ["metric", "imperial"],
  zone: ["site", "device", "utc"],
  sound: ["off", "bad", "all"],
  keys: ["on", "off"],
});

const KEPT = "waypost.prefs";

/**
 * What holds: what the address says, else what was kept, else what is usual. A value that is none is as if it were not there.
 * @param {string|null} kept as JSON
 * @param {URLSearchParams} asked
 * @returns {Prefs}
 */
export function read(kept, asked) {
  /** @type {Record<string, unknown>} */
  let said = {};
  try {
    const parsed = JSON.parse(kept ?? "{}");
    if (typeof parsed === "object" && parsed !== null) said = parsed;
  } catch {
    // Somebody else's text: as if nothing was kept.
  }
  const prefs = Object.entries(CHOICES).map(([name, choices]) => {
    const all = /** @type {readonly string[]} */ (choices);
    const value = [asked.get(name), said[name]].find((one) => typeof one === "string" && all.includes(one));
    return [name, value ?? all[0]];
  });
  return /** @type {Prefs} */ (Object.fromEntries(prefs));
}

/** The prefs of this device. @returns {Prefs} */
export function load() {
  return read(storage()?.getItem(KEPT) ?? null, new URLSearchParams(location.search));
}

/** Keeps one of them. @param {keyof Prefs} name @param {string} value */
export function keep(name, value) {
  const now = read(storage()?.getItem(KEPT) ?? null, new URLSearchParams());
  storage()?.setItem(KEPT, JSON.stringify({ ...now, [name]: value }));
}

/** Where it is kept; none where a browser lets nobody keep anything. */
function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
