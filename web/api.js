// @ts-check
// Asking the gateway. Every answer is one shape, an error among them: what, and what to do. What changes something carries
// X-Waypost and, when the gateway wants it, the operator's session: then the PIN is asked for and the call made again.

/**
 * @typedef {object} Answer
 * @property {boolean} ok
 * @property {number} status 0 when the gateway could not be reached
 * @property {any} body what it said; null when nothing, or an error
 * @property {string} tag names what it said: whoever changes that sends it as `match`; empty when it has none
 * @property {{code: string, message: string, hint: string, now?: number, findings?: string[]}|null} error
 */

/** How long an answer may take, ms: the gateway's desk takes 50 s at most. */
const WAIT_MS = 60_000;

/** @type {() => Promise<boolean>} asks a person for the PIN and opens the session; false when they would not */
let open = async () => false;

/** Says who asks for the PIN. @param {() => Promise<boolean>} ask */
export function sessionBy(ask) {
  open = ask;
}

/**
 * @param {string} path below /api/v1
 * @param {{method?: string, json?: unknown, text?: string, type?: string, key?: string, match?: string, ms?: number}} [what]
 * @returns {Promise<Answer>}
 */
export async function call(path, what = {}) {
  const answer = await once(path, what);
  if (answer.status !== 401 || path === "/session") return answer;
  return (await open()) ? once(path, what) : answer;
}

/** @param {string} path @param {NonNullable<Parameters<typeof call>[1]>} what @returns {Promise<Answer>} */
async function once(path, { method = "GET", json, text, type, key, match, ms = WAIT_MS }) {
  /** @type {Record<string, string>} */
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-waypost"] = "1";
  if (json !== undefined) headers["content-type"] = "application/json";
  if (type) headers["content-type"] = type;
  if (key) headers["idempotency-key"] = key;
  if (match) headers["if-match"] = match;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), ms);
  try {
    const body = json === undefined ? text : JSON.stringify(json);
    const said = await fetch(`/api/v1${path}`, { method, headers, body, cache: "no-store", credentials: "same-origin", signal: stop.signal });
    const words = await said.text();
    let read = null;
    try {
      read = words ? JSON.parse(words) : null;
    } catch {
      // No JSON: a text to be saved, or the page of a proxy. Who asked for it knows.
      read = words;
    }
    return { ok: said.ok, status: said.status, body: said.ok ? read : null, tag: said.headers.get("etag") ?? "", error: said.ok ? null : errorOf(said.status, read) };
  } catch {
    return { ok: false, status: 0, body: null, tag: "", error: { code: "unreachable", message: "The gateway did not answer.", hint: "Is it switched on and on this network?" } };
  } finally {
    clearTimeout(timer);
  }
}

/** The error in an answer; one that is not ours gets plain words. @param {number} status @param {any} body @returns {NonNullable<Answer["error"]>} */
export function errorOf(status, body) {
  const said = body?.error;
  if (typeof said?.code === "string") {
    return { code: said.code, message: String(said.message ?? ""), hint: String(said.hint ?? ""), now: said.now, findings: Array.isArray(said.findings) ? said.findings.map(String) : undefined };
  }
  return { code: `http_${status}`, message: `The gateway answered ${status}.`, hint: "" };
}

/** Many random hex digits: a key that makes a repeated call one. Also without a secure context. */
export function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
