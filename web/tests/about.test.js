import assert from "node:assert/strict";
import { test } from "node:test";

test("a phone is given the address by which it reaches the gateway, and none that means itself", async () => {
  const { reached } = await import("../view/about.js");
  const here = (/** @type {string} */ url) => new URL(url);
  assert.equal(reached([], here("http://192.168.8.1:8080/about")), "http://192.168.8.1:8080/");
  assert.equal(reached(["127.0.0.1:8080", "192.168.8.1:8080"], here("http://localhost:8080/")), "http://192.168.8.1:8080/");
  assert.equal(reached(["127.0.0.1:8080", "0.0.0.0:80", "[::1]:8080", "[::]:80"], here("http://127.0.0.1:8080/")), "");
});
