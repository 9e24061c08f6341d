import assert from "node:assert/strict";
import { test } from "node:test";
import { correction, format, qr } from "../qr.js";

test("the error correction of a block is that of the standard's example", () => {
  assert.deepEqual(correction([32, 91, 11, 120, 209, 114, 220, 77, 67, 64, 236, 17, 236, 17, 236, 17], 10), [196, 35, 39, 119, 235, 215, 231, 226, 93, 23]);
});

test("what is said of correction and mask is what the standard lists", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7].map(format), [0x5412, 0x5125, 0x5e7c, 0x5b4b, 0x45f9, 0x40ce, 0x4f97, 0x4aa0]);
});

test("a picture is as large as its text wants, with a corner at three of four ends, and too long a text has none", () => {
  for (const [length, size] of [[14, 21], [26, 25], [42, 29], [62, 33], [84, 37], [106, 41]]) {
    const m = qr("x".repeat(length));
    assert.equal(m?.length, size);
    for (const [x, y] of [[0, 0], [size - 7, 0], [0, size - 7]]) {
      for (let n = 0; n < 7; n += 1) assert.ok(m?.[y][x + n] && m[y + 6][x + n] && m[y + n][x] && m[y + n][x + 6]);
    }
  }
  assert.equal(qr("x".repeat(107)), null);
});

test("the address of a gateway is the picture that a reader of its own has read", () => {
  const rows = qr("http://192.168.8.1:8080/")?.map((row) => row.map((dark) => (dark ? "#" : ".")).join(""));
  assert.deepEqual(rows?.slice(7, 12), ["........#..##..#.........", "#.#####....#.#..#.#####..", "....#..#.##..##..#.....#.", "#.#...######...#..##.#.##", ".##.#.......#...#...#...#"]);
});
