import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, clock, count, course, day, degrees, hm, plain, span, speed, when, words, zone } from "../fmt.js";

test("a duration reads as people say it and never as a fraction of a day", () => {
  const said = [[0, "0.0 s"], [440, "0.4 s"], [1000, "1 s"], [59_999, "59 s"], [60_000, "1 min"], [3_599_000, "59 min"],
    [7_560_000, "2 h 06"], [86_400_000, "1 d 0 h"], [273_600_000, "3 d 4 h"]];
  for (const [ms, text] of said) assert.equal(span(ms), text);
});

test("an age that a stepped clock made negative is no age", () => {
  assert.equal(span(-5000), "0.0 s");
  assert.equal(ago(-5000), "now");
});

test("what is not known is a dash and never a zero", () => {
  for (const f of [span, count, bytes, course, speed, ago]) {
    assert.equal(f(undefined), "–");
    assert.equal(f(NaN), "–");
  }
  assert.equal(degrees(undefined, "lat"), "–");
  assert.equal(clock(null, "UTC"), "–");
});

test("times are shown in the zone of the gateway", () => {
  const t = Date.UTC(2026, 10, 20, 13, 14, 8);
  assert.equal(clock(t, "Europe/Oslo"), "14:14:08");
  assert.equal(hm(t, "America/New_York"), "08:14");
  assert.equal(day(t, "Europe/Oslo"), "Fri 20 Nov");
  assert.match(zone(t, "Europe/Oslo"), /CET|GMT\+1/);
});

test("midnight is hour zero and not hour twenty-four", () => {
  assert.equal(clock(Date.UTC(2026, 0, 1), "UTC"), "00:00:00");
});

test("a zone that the browser does not know falls back to UTC and says so", () => {
  const t = Date.UTC(2026, 10, 20, 13, 14, 8);
  assert.equal(clock(t, "Mars/Olympus"), "13:14:08");
  assert.equal(zone(t, "Mars/Olympus"), "UTC");
});

test("a time of another day carries its day", () => {
  const t = Date.UTC(2026, 10, 20, 13, 14);
  assert.equal(when(t, t + 3600e3, "UTC"), "13:14");
  assert.equal(when(t, t + 48 * 3600e3, "UTC"), "Fri 20 Nov 13:14");
});

test("coordinates, speed and course carry their side and unit", () => {
  assert.equal(degrees(59.1246817, "lat"), "59.12468° N");
  assert.equal(degrees(-11.38752, "lon"), "11.38752° W");
  assert.equal(speed(3.9), "14 km/h");
  assert.equal(course(271), "271° W");
  assert.equal(course(359.7), "000° N");
  assert.equal(course(-90), "270° W");
});

test("bytes step to the next unit before they show four digits", () => {
  assert.deepEqual([0, 999, 1000, 48e6, 999.6e6, 21.4e9].map(bytes), ["0 B", "999 B", "1.0 kB", "48 MB", "1.0 GB", "21 GB"]);
});

test("a label cannot hide characters or turn the text around", () => {
  assert.equal(plain("AB\u202Egnp\u0000\u200b"), "AB␣gnp␣␣");
  assert.equal(plain("<b>x</b>"), "<b>x</b>");
});

test("a label of any length takes a bounded place and keeps its characters whole", () => {
  const long = plain("🚚".repeat(5000), 50);
  assert.equal(Array.from(long).length, 50);
  assert.ok(long.endsWith("…"));
  assert.equal(plain(undefined), "");
});

test("codes of reasons read as words", () => {
  assert.equal(words("unknown_tag"), "unknown tag");
});
