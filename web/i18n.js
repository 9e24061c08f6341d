// @ts-check
// The words of the page. They stand in the code in English and are looked up in the catalogue of the language: what it
// does not have is shown in English. A language is a file in i18n/ and a line in LANGS. Names and codes are never translated.

/** @typedef {{forms: string[], words: Record<string, string>}} Catalogue */

/** The languages there are: their own name, and where their words are. @type {Record<string, {name: string, load: (() => Promise<Catalogue>)|null}>} */
export const LANGS = {
  en: { name: "English", load: null },
  de: { name: "Deutsch", load: () => import("./i18n/de.js") },
};

const ENGLISH = { forms: ["one", "other"], words: {} };

let lang = "en";
let forms = ENGLISH.forms;
/** @type {Map<string, string>} */
let words = new Map();
let rules = new Intl.PluralRules("en");
let numbers = new Intl.NumberFormat("en");

/** The language that is spoken now. */
export const spoken = () => lang;

/**
 * Speaks a language from now on; one that is not here, or cannot be loaded, is English.
 * @param {string} wanted
 */
export async function speak(wanted) {
  const known = Object.keys(LANGS).includes(wanted) ? wanted : "en";
  try {
    use(known, (await LANGS[known].load?.()) ?? ENGLISH);
  } catch {
    // Its file did not come: English stands in the code.
    use("en", ENGLISH);
  }
}

/** Takes a catalogue. @param {string} name @param {Catalogue} catalogue */
export function use(name, catalogue) {
  lang = name;
  forms = catalogue.forms;
  words = new Map(Object.entries(catalogue.words));
  rules = new Intl.PluralRules(name);
  numbers = new Intl.NumberFormat(name);
}

/** @typedef {Record<string, string|number>} Values */

/** @param {string} text @param {Values} [values] */
const filled = (text, values) => (values ? text.replace(/\{(\w+)\}/g, (whole, name) => (Object.prototype.hasOwnProperty.call(values, name) ? String(values[name]) : whole)) : text);

/**
 * A text in the language that is spoken, its {names} filled in.
 * @param {string} text in English, as it stands in the catalogue
 * @param {Values} [values]
 */
export const t = (text, values) => filled(words.get(text) ?? text, values);

/**
 * A text that depends on a number: `few(3, "{n} asset", "{n} assets")`.
 * @param {number} n @param {string} one @param {string} other both in English
 * @param {Values} [values] `n` is filled in by itself
 */
export function few(n, one, other, values) {
  const all = (words.get(`${one}|${other}`) ?? `${one}|${other}`).split("|");
  // A catalogue with fewer forms than its language has says the last one.
  const text = all[words.has(`${one}|${other}`) ? forms.indexOf(rules.select(n)) : Number(n !== 1)] ?? all[all.length - 1];
  return filled(text, { n: numbers.format(n), ...values });
}
