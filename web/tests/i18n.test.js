import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, test } from "node:test";
import { few, LANGS, speak, spoken, t, use } from "../i18n.js";

const root = new URL("../", import.meta.url);

/** Every text of the page that is looked up in a catalogue: t("…") and few(n, "…", "…"). */
function texts() {
  const found = new Set();
  const files = ["", "view/"].flatMap((folder) => readdirSync(new URL(folder || ".", root)).filter((name) => name.endsWith(".js")).map((name) => folder + name));
  const word = '"((?:[^"\\\\]|\\\\.)*)"';
  for (const name of files) {
    const source = readFileSync(new URL(name, root), "utf8").replace(/^\s*(\/\/|\*|\/\*\*).*$/gm, "");
    for (const [, text] of source.matchAll(new RegExp(`\\bt\\(${word}`, "g"))) found.add(JSON.parse(`"${text}"`));
    for (const [, one, other] of source.matchAll(new RegExp(`\\bfew\\([^"]*?${word}, ${word}`, "g"))) found.add(`${JSON.parse(`"${one}"`)}|${JSON.parse(`"${other}"`)}`);
  }
  return found;
}

const holes = (/** @type {string} */ text) => [...new Set([...text.matchAll(/\{(\w+)\}/g)].map(([whole]) => whole))].sort();

afterEach(() => speak("en"));

test("a text without a catalogue is English, with its values filled in", () => {
  assert.equal(t("{n} of {all} docks taken", { n: 2, all: 20 }), "2 of 20 docks taken");
  assert.equal(t("__proto__"), "__proto__");
  assert.equal(t("{constructor}", {}), "{constructor}");
});

test("a number chooses the form that its language wants, also where there are three", () => {
  assert.deepEqual([0, 1, 2].map((n) => few(n, "{n} dock", "{n} docks")), ["0 docks", "1 dock", "2 docks"]);
  use("pl", { forms: ["one", "few", "many"], words: { "{n} dock|{n} docks": "{n} dok|{n} doki|{n} doków" } });
  assert.deepEqual([1, 3, 5].map((n) => few(n, "{n} dock", "{n} docks")), ["1 dok", "3 doki", "5 doków"]);
});

test("a language that is not here is English and never an error", async () => {
  for (const wanted of ["xx", "__proto__", "constructor", ""]) {
    await speak(wanted);
    assert.equal(spoken(), "en");
  }
});

/** What the gateway says of each reason: its name, its sentence, its advice. */
function reasons() {
  const table = readFileSync(new URL("../docs/reasons.md", root), "utf8").split("## Warnings")[0];
  return table.split("\n").filter((line) => line.startsWith("| `")).flatMap((line) => {
    const [name, , , text, advice] = line.split("|").slice(1, -1).map((one) => one.trim());
    return [name.replace(/`/g, "").replace(/_/g, " "), text, advice];
  });
}

for (const lang of Object.keys(LANGS).filter((name) => name !== "en")) {
  test(`every text of the page and every reason is in the catalogue of ${LANGS[lang].name}, with the same values`, async () => {
    const { words, forms } = await /** @type {any} */ (LANGS[lang].load)();
    const missing = [...texts(), ...reasons()].filter((text) => !(text in words));
    assert.deepEqual(missing, []);
    for (const [text, said] of Object.entries(words)) {
      const parts = text.split("|");
      if (parts.length === 2) assert.equal(String(said).split("|").length, forms.length, text);
      for (const one of String(said).split("|")) for (const hole of holes(one)) assert.ok(holes(text).includes(hole), `${text}: ${hole}`);
    }
  });
}
