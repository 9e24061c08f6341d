// @ts-check
// Words for numbers: ages, times, units, in the language that is spoken. Never "NaN": what is not known is a dash.

import { few, spoken, t } from "./i18n.js";

const DASH = "–";
let imperial = false;

/** Miles and feet, or kilometres and metres, from now on. @param {"metric"|"imperial"} units */
export function measureIn(units) {
  imperial = units === "imperial";
}

/** @type {Map<string, any>} */
const made = new Map();

/** One maker of texts for each language and set of options: they are dear to make. @template T @param {string} key @param {() => T} make @returns {T} */
function once(key, make) {
  const name = `${spoken()} ${key}`;
  if (!made.has(name)) made.set(name, make());
  return made.get(name);
}

// English is written as in Europe: 24 hours, the day before the month.
const locale = () => (spoken() === "en" ? "en-GB" : spoken());

/** @param {number|null|undefined} n @returns {n is number} */
export const isNum = (n) => typeof n === "number" && Number.isFinite(n);

/** A count with separators. @param {number|null|undefined} n */
export const count = (n) => (isNum(n) ? once("count", () => new Intl.NumberFormat(spoken())).format(n) : DASH);

/** A number with so many digits behind the point. @param {number|null|undefined} n @param {number} digits */
export const fixed = (n, digits) =>
  isNum(n) ? once(`fixed ${digits}`, () => new Intl.NumberFormat(spoken(), { minimumFractionDigits: digits, maximumFractionDigits: digits })).format(n) : DASH;

/**
 * A duration as people say it: "0.4 s", "48 s", "14 min", "2 h 06", "3 d 4 h". A negative one is none at all.
 * @param {number|null|undefined} ms
 */
export function span(ms) {
  if (!isNum(ms)) return DASH;
  const whole = Math.max(0, ms);
  if (whole < 1000) return t("{n} s", { n: fixed(Math.floor(whole / 100) / 10, 1) });
  const sec = Math.floor(whole / 1000);
  if (sec < 60) return t("{n} s", { n: sec });
  const min = Math.floor(sec / 60);
  if (min < 60) return t("{n} min", { n: min });
  const hours = Math.floor(min / 60);
  if (hours < 24) return t("{n} h {min}", { n: hours, min: String(min % 60).padStart(2, "0") });
  return t("{n} d {h} h", { n: Math.floor(hours / 24), h: hours % 24 });
}

/** How long something lasts by now: never less than a second, for rows drawn each second. @param {number|null|undefined} ms */
export const lasting = (ms) => (isNum(ms) ? span(Math.max(1000, ms)) : DASH);

/** How long it will be, without what nobody needs to know: "41 days", "19 h". @param {number|null|undefined} ms */
export function about(ms) {
  if (!isNum(ms)) return DASH;
  const days = Math.floor(ms / 86400e3);
  return days > 2 ? few(days, "{n} day", "{n} days") : span(ms);
}

/** How long ago, to the second below a minute: rows that are drawn each second need no tenths. @param {number} ms */
export const ago = (ms) => (!isNum(ms) ? DASH : ms < 1500 ? t("now") : t("{span} ago", { span: span(ms) }));

/** @param {string} tz @param {Intl.DateTimeFormatOptions} options */
function format(tz, options) {
  return once(tz + JSON.stringify(options), () => {
    try {
      return new Intl.DateTimeFormat(locale(), { ...options, timeZone: tz });
    } catch {
      // This browser does not know the zone: UTC, and zone() says so.
      return new Intl.DateTimeFormat(locale(), { ...options, timeZone: "UTC" });
    }
  });
}

/** "14:14:08" in the gateway's zone. @param {number|null|undefined} ms @param {string} tz */
export const clock = (ms, tz) =>
  isNum(ms) ? format(tz, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(ms) : DASH;

/** "14:14". @param {number|null|undefined} ms @param {string} tz */
export const hm = (ms, tz) =>
  isNum(ms) ? format(tz, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(ms) : DASH;

/** "Fri 20 Nov". @param {number} ms @param {string} tz */
export const day = (ms, tz) =>
  isNum(ms) ? format(tz, { weekday: "short", day: "numeric", month: "short" }).format(ms).replace(",", "") : DASH;

/** The short name of the zone: "CET", "UTC". @param {number} ms @param {string} tz */
export function zone(ms, tz) {
  const parts = isNum(ms) ? format(tz, { timeZoneName: "short", hour: "2-digit" }).formatToParts(ms) : [];
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "UTC";
}

/** A time near `now` as a clock time, an older one with its day. @param {number|null|undefined} ms @param {number} now @param {string} tz */
export const when = (ms, now, tz) =>
  !isNum(ms) ? DASH : Math.abs(now - ms) < 12 * 3600e3 ? hm(ms, tz) : `${day(ms, tz)} ${hm(ms, tz)}`;

/** "59.12468° N". @param {number|null|undefined} deg @param {"lat"|"lon"} axis */
export function degrees(deg, axis) {
  if (!isNum(deg)) return DASH;
  const side = axis === "lat" ? (deg < 0 ? "S" : "N") : deg < 0 ? "W" : "E";
  return `${Math.abs(deg).toFixed(5)}° ${side}`;
}

/** "14 km/h" or "9 mph". @param {number|null|undefined} mps */
export const speed = (mps) => (!isNum(mps) ? DASH : imperial ? `${Math.round(mps * 2.236_936)} mph` : `${Math.round(mps * 3.6)} km/h`);

const ROSE = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];

/** "271° W". @param {number|null|undefined} deg */
export function course(deg) {
  if (!isNum(deg)) return DASH;
  const turn = ((deg % 360) + 360) % 360;
  return `${String(Math.round(turn) % 360).padStart(3, "0")}° ${t(ROSE[Math.round(turn / 45) % 8])}`;
}

/** "1.2 GB": powers of 1,000, as disks are sold. @param {number|null|undefined} n */
export function bytes(n) {
  if (!isNum(n)) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let rest = Math.max(0, n);
  while (rest >= 999.5 && at < units.length - 1) {
    rest /= 1000;
    at += 1;
  }
  return `${rest >= 10 || at === 0 ? Math.round(rest) : fixed(rest, 1)} ${units[at]}`;
}

/** "50 m", "2 km"; or "160 ft". @param {number|null|undefined} m */
export function metres(m) {
  if (!isNum(m)) return DASH;
  if (imperial) return m * 3.280_84 < 5280 ? `${Math.round(m * 3.280_84)} ft` : `${fixed(m / 1609.344, 1)} mi`;
  return m >= 1000 ? `${m / 1000} km` : `${Math.round(m)} m`;
}

/** The lengths that a scale bar may have, in metres: round ones of the units in use. */
export function roundLengths() {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6];
  return imperial ? [5, 10, 20, 50, 100, 200, 500, 1000, 2000, ...[1, 2, 5, 10, 20, 50, 100, 500, 1000].map((mi) => mi * 5280)].map((ft) => ft / 3.280_84) : steps;
}

// Labels are written by strangers: controls, bidi overrides and invisible characters would lie about what was read.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Outside text made plain: at most `max` characters, hidden ones shown as a box. @param {unknown} text */
export function plain(text, max = 120) {
  const chars = Array.from(String(text ?? "").slice(0, max * 2 + 2).replace(HIDDEN, "\u2423"));
  return chars.length > max ? `${chars.slice(0, max - 1).join("")}…` : chars.join("");
}

/** A reason or warning code as words: "looks_like_sscc" is "looks like sscc". @param {string} code */
export const words = (code) => plain(code, 60).replace(/_/g, " ");
