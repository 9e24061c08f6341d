// @ts-check
// Which screen an address means, and the address of a screen. Pure. A kiosk is one bookmark: /?view=board&theme=dark

/** The screens of the navigation in their order, by their address. */
export const SCREENS = /** @type {const} */ ({
  live: "/", scans: "/scans", assets: "/assets", failures: "/failures", health: "/health", about: "/about", first: "/first",
});

/** @typedef {keyof typeof SCREENS | "board" | "cab"} Screen */

/** What an address says beside the screen that stays when another screen is opened. */
const STAYS = ["theme", "lang"];

/**
 * The screen of an address; one that means none is the first.
 * @param {string} path @param {URLSearchParams} query
 * @returns {Screen}
 */
export function screenOf(path, query) {
  const view = query.get("view");
  if (view === "board" || view === "cab") return view;
  const found = Object.entries(SCREENS).find(([name, at]) => at === path || name === view);
  return /** @type {Screen} */ (view !== null && Object.keys(SCREENS).includes(view) ? view : found?.[0] ?? "live");
}

/**
 * The address of a screen.
 * @param {Screen} screen @param {URLSearchParams} query the present one @param {Record<string, string>} [more]
 */
export function hrefOf(screen, query, more = {}) {
  const next = new URLSearchParams();
  for (const name of STAYS) {
    const value = query.get(name);
    if (value !== null) next.set(name, value);
  }
  if (screen === "board" || screen === "cab") next.set("view", screen);
  for (const [name, value] of Object.entries(more)) next.set(name, value);
  const path = screen === "board" || screen === "cab" ? "/" : SCREENS[screen];
  const words = next.toString();
  return words ? `${path}?${words}` : path;
}
