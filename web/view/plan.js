// @ts-check
// The plan of the yard, drawn flat: zones, what stands in them, and what moves, over a grid. No tiles. Marks are real
// buttons over the picture. It redraws on news, never by itself; the list beside it says all of it in words.

import { attr, button, h, hide, icon, put, s } from "../dom.js";
import { isNum, metres, plain, roundLengths } from "../fmt.js";
import { few, t } from "../i18n.js";
import { deed, moves } from "../judge.js";
import { apart, bounds, called, carriedBy, flat, lie, middle, plateOf, shortly, unflat, where, within } from "../yard.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Zone} Zone */
/** @typedef {import("../types").Asset & {lat: number, lon: number}} Placed */
/** @typedef {{x: number, y: number, w: number, h: number}} Box */
/** @typedef {{key: string, at: [number, number], said: ReturnType<typeof deed>, text: string, label: string, turn: number|null, main: boolean, inside: boolean, run: () => void}} Mark */

const LEAST_M = 60;
const TRAIL = 240;
const SHOWN = 150;
const ZOOM = { out: 0.5, in: 40, step: 1.5 };

/** @param {Box} a @param {Box} b */
const meet = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

/**
 * @param {{pick?: (asset: string|null) => void, place?: (place: string) => void, over?: () => void, type?: number, still?: boolean}} how
 *   `over` is called when all is drawn, `type` is the size of its letters, `still` a picture that nobody touches
 */
export function plan({ pick = () => {}, place = () => {}, over = () => {}, type = 13, still = false }) {
  const grid = s("path", { class: "grid" });
  const ground = s("g", { class: "zones" });
  const loads = s("g", { class: "loads" });
  const trail = s("path", { class: "trail" });
  const svg = s("svg", { class: "map", role: "img" }, grid, ground, loads, trail);
  const marks = h("div", "marks");
  const bar = h("i");
  const length = h("span", "num");
  const needle = icon();
  needle.set("up");
  const north = h("div", "north", needle.node, h("span", "", "N"));
  const empty = h("p", "none");
  const legend = h("div", "legend");
  const zoom = h("div", "zoom");
  const node = h("div", "plan", svg, marks, h("div", "scale", bar, length), north, legend, zoom, empty);
  attr(marks, "role", "group");

  let size = { w: 0, h: 0 };
  /** What is fitted to the frame, and how a person has moved it. */
  let base = { lat0: 0, lon0: 0, bearing: 0, x: 0, y: 0, scale: 0 };
  let hand = { x: 0, y: 0, zoom: 1 };
  /** @type {{asset: string, points: {lat: number, lon: number}[]}} */
  let way = { asset: "", points: [] };
  /** What the drawn ground stands for. */
  let ground_of = "";
  /** @type {import("../types").Plan|null} */
  let planOf = null;
  /** @type {{zone: Zone, path: SVGElement, label: SVGElement, plate: SVGElement, text: SVGElement, load: SVGElement}[]} */
  let zones = [];
  /** Where the names of zones stand: no label lies on them. @type {Box[]} */
  let signs = [];
  /** Where what stands in a zone is counted, beside its name. @type {Map<string, [number, number]>} */
  const counted = new Map();
  /** @type {{lat: number, lon: number}[]} */
  let corners = [];
  /** @type {Map<string, ReturnType<typeof mark>>} */
  const drawn = new Map();
  /** @type {Scene|null} */
  let last = null;
  let spoken = "";
  /** The frame stays where it is: somebody draws. */
  let held_still = false;
  const redraw = () => last && self.draw(last);

  new ResizeObserver(() => {
    size = { w: node.clientWidth, h: node.clientHeight };
    attr(svg, "viewBox", `0 0 ${size.w} ${size.h}`);
    // By itself it would have another size in each pass of a layout, and all that is in it be laid out anew.
    [svg.style.width, svg.style.height] = [`${size.w}px`, `${size.h}px`];
    base.scale = 0;
    redraw();
  }).observe(node);

  if (!still) {
    const tool = (/** @type {import("../dom.js").Glyph|null} */ glyph, /** @type {() => void} */ run) => {
      const one = button("", "", run);
      if (glyph) {
        const sign = icon();
        sign.set(glyph);
        one.append(sign.node);
      }
      zoom.append(one);
      return one;
    };
    tool("plus", () => zoomBy(ZOOM.step));
    tool("minus", () => zoomBy(1 / ZOOM.step));
    tool(null, whole);
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.offsetX, event.offsetY);
    }, { passive: false });
    drag();
    marks.addEventListener("keydown", walk);
  }

  /** @param {number} by @param {number} [px] @param {number} [py] the point that stays */
  function zoomBy(by, px = size.w / 2, py = size.h / 2) {
    const next = Math.min(ZOOM.in, Math.max(ZOOM.out, hand.zoom * by));
    const real = next / hand.zoom;
    hand = { zoom: next, x: px - size.w / 2 - (px - size.w / 2 - hand.x) * real, y: py - size.h / 2 - (py - size.h / 2 - hand.y) * real };
    redraw();
  }

  /** Shows the whole yard. */
  function whole() {
    hand = { x: 0, y: 0, zoom: 1 };
    base.scale = 0;
    redraw();
  }

  function drag() {
    /** @type {{x: number, y: number, far: boolean}|null} */
    let from = null;
    svg.addEventListener("pointerdown", (event) => {
      // A finger scrolls the page unless the plan was made larger.
      if (event.button !== 0 || (event.pointerType === "touch" && hand.zoom === 1)) return;
      from = { x: event.clientX - hand.x, y: event.clientY - hand.y, far: false };
    });
    svg.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [x, y] = [event.clientX - from.x, event.clientY - from.y];
      if (!from.far && Math.hypot(x - hand.x, y - hand.y) < 5) return;
      if (!from.far) svg.setPointerCapture(event.pointerId);
      from.far = true;
      hand = { ...hand, x, y };
      redraw();
    });
    const end = () => {
      if (from && !from.far) pick(null);
      from = null;
    };
    svg.addEventListener("pointerup", end);
    svg.addEventListener("pointercancel", () => { from = null; });
  }

  /** The arrow keys go from mark to mark; only one of them is on the way of the tabulator. @param {KeyboardEvent} event */
  function walk(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const all = /** @type {HTMLButtonElement[]} */ ([...marks.children]);
    const at = all.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    if (at < 0) return;
    event.preventDefault();
    const next = all[(at + step + all.length) % all.length];
    for (const one of all) one.tabIndex = one === next ? 0 : -1;
    next.focus();
  }

  /** What the frame has to hold. @param {Scene} scene @param {Placed[]} placed @returns {{lat: number, lon: number}[]} */
  function held(scene, placed) {
    if (corners.length < 2) return placed;
    const [low, high] = corners;
    const near = placed.filter((one) => one.lat >= 2 * low.lat - high.lat && one.lat <= 2 * high.lat - low.lat
      && one.lon >= 2 * low.lon - high.lon && one.lon <= 2 * high.lon - low.lon);
    const used = [...scene.state.assets.values()].some((one) => scene.plan.by.has(one.place ?? ""));
    return near.length || used || placed.length === 0 ? corners.concat(near) : placed;
  }

  /**
   * Keeps the frame while it holds everything well: a picture that jumps is no picture.
   * @param {{lat: number, lon: number}[]} points @param {number} bearing
   */
  function fit(points, bearing) {
    if (held_still && base.scale > 0) return;
    const [{ lat: lat0, lon: lon0 }] = points;
    const edge = Math.min(size.w, size.h) < 420 ? 14 : type * 2.4;
    const [w, hgt] = [Math.max(40, size.w - 2 * edge), Math.max(40, size.h - 2 * edge)];
    if (base.scale > 0 && base.bearing === bearing) {
      const b = bounds(points.map((one) => flat(base.lat0, base.lon0, bearing)(one.lat, one.lon)));
      const inside = b.x0 >= base.x - w / 2 / base.scale - 1 && b.x1 <= base.x + w / 2 / base.scale + 1
        && b.y0 >= base.y - hgt / 2 / base.scale - 1 && b.y1 <= base.y + hgt / 2 / base.scale + 1;
      const wanted = Math.max((b.x1 - b.x0) / w, (b.y1 - b.y0) / hgt, LEAST_M / size.w) * base.scale;
      if (inside && wanted > 0.3) return;
    }
    const b = bounds(points.map((one) => flat(lat0, lon0, bearing)(one.lat, one.lon)));
    // A yard that is drawn is shown as large as it can be; without one there is room to move in.
    const loose = corners.length > 1 ? 1 : 0.8;
    const scale = loose / Math.max((b.x1 - b.x0) / w, (b.y1 - b.y0) / hgt, LEAST_M / Math.min(w, hgt));
    base = { lat0, lon0, bearing, x: (b.x0 + b.x1) / 2, y: (b.y0 + b.y1) / 2, scale };
  }

  const scale = () => base.scale * hand.zoom;

  /** @param {{lat: number, lon: number}} one @returns {[number, number]} */
  function pixel(one) {
    const [x, y] = flat(base.lat0, base.lon0, base.bearing)(one.lat, one.lon);
    return [size.w / 2 + hand.x + (x - base.x) * scale(), size.h / 2 + hand.y - (y - base.y) * scale()];
  }

  function paper() {
    const m = roundLengths().find((one) => one * scale() >= 56) ?? 1e6;
    const [ox, oy] = [size.w / 2 + hand.x - base.x * scale(), size.h / 2 + hand.y + base.y * scale()];
    const lines = [];
    const px = m * scale();
    for (let x = ((ox % px) + px) % px; x <= size.w; x += px) lines.push(`M${x.toFixed(1)} 0V${size.h}`);
    for (let y = ((oy % px) + px) % px; y <= size.h; y += px) lines.push(`M0 ${y.toFixed(1)}H${size.w}`);
    attr(grid, "d", lines.join(""));
    const long = roundLengths().find((one) => one * scale() >= 72) ?? 1e6;
    bar.style.width = `${Math.round(long * scale())}px`;
    put(length, metres(long));
    needle.node.style.transform = `rotate(${-base.bearing}deg)`;
  }

  /** @param {Scene} scene */
  function take(scene) {
    if (planOf === scene.plan) return;
    planOf = scene.plan;
    if (!held_still) base.scale = 0;
    ground_of = "";
    // Large things lie below small ones, so that a dock is not under its building.
    const depth = { building: 1, road: 0, service: 2, gate: 3, bay: 4, dock: 5 };
    const order = [...scene.plan.zones].sort((a, b) => (depth[/** @type {keyof typeof depth} */ (a.kind)] ?? 2) - (depth[/** @type {keyof typeof depth} */ (b.kind)] ?? 2));
    zones = order.map((zone) => {
      const path = s("path", { class: `zone ${/^[a-z]{1,12}$/.test(zone.kind) ? zone.kind : ""}` });
      const plate = s("rect", { rx: 4 });
      const text = s("text", { "text-anchor": "middle" });
      const label = s("g", { class: `sign ${zone.kind === "building" || zone.kind === "service" || zone.kind === "road" ? "" : "place"}` }, plate, text);
      return { zone, path, label, plate, text, load: s("path", { class: "load" }) };
    });
    ground.replaceChildren(...zones.map((one) => one.path), ...zones.map((one) => one.label));
    loads.replaceChildren(...zones.map((one) => one.load));
    const all = scene.plan.zones.flatMap((zone) => zone.rings.flat());
    const b = bounds(all);
    corners = all.length ? [{ lat: b.y0, lon: b.x0 }, { lat: b.y1, lon: b.x1 }] : [];
  }

  /** Draws the zones where the frame has them now. @param {Scene} scene */
  function site(scene) {
    const key = [size.w, size.h, base.x, base.y, base.scale, base.bearing, hand.x, hand.y, hand.zoom].join();
    if (ground_of === key) return;
    ground_of = key;
    const rings = zones.map(({ zone }) => zone.rings.map((ring) => ring.map(([lon, lat]) => pixel({ lat, lon }))));
    const boxes = rings.map((all) => bounds(all[0]));
    const halls = zones.flatMap(({ zone }, n) => (zone.kind === "building" ? [rings[n][0]] : []));
    signs = [];
    counted.clear();
    const line = (/** @type {[number, number][]} */ ring) => `M${ring.map((at) => at.map((v) => v.toFixed(1)).join(" ")).join("L")}Z`;
    zones.forEach((one, n) => {
      attr(one.path, "d", rings[n].map(line).join(""));
      attr(one.load, "d", line(within(rings[n][0], 0.78, 0.5)));
    });
    // First the plates of docks and gates, then what finds room between them.
    const rank = { dock: 0, gate: 1, building: 2, service: 3, bay: 4, road: 5 };
    const order = zones.map((one, n) => ({ one, n })).sort((a, b) => (rank[/** @type {keyof typeof rank} */ (a.one.zone.kind)] ?? 3) - (rank[/** @type {keyof typeof rank} */ (b.one.zone.kind)] ?? 3));
    for (const { one, n } of order) {
      if (one.label.classList.contains("place")) plate(one, rings[n][0], halls, scene);
      else title(one, boxes[n], rings[n][0]);
    }
  }

  /** Puts a sign where nothing else stands. @param {SVGElement} label @param {Box} box @param {string} turn */
  function place_sign(label, box, turn = "") {
    const free = !signs.some((other) => meet(box, other));
    attr(label, "visibility", free ? null : "hidden");
    attr(label, "transform", `translate(${(box.x + box.w / 2).toFixed(1)} ${(box.y + box.h / 2).toFixed(1)})${turn}`);
    if (free) signs.push(box);
  }

  /** The name of a building, a road: in what the plates have left of it, upright where that is narrow. @param {typeof zones[0]} one @param {ReturnType<typeof bounds>} b @param {[number, number][]} ring */
  function title({ zone, label, text }, b, ring) {
    const name = plain(zone.name, 40);
    put(text, name);
    const font = zone.kind === "building" ? type * 1.4 : type;
    const [long, high] = [name.length * font * 0.58, font * 1.3];
    attr(text, "font-size", String(font));
    attr(text, "y", (font * 0.36).toFixed(1));
    const how = lie(ring);
    if (Math.min(Math.abs(how.u[0]), Math.abs(how.u[1])) > 0.05) {
      // It lies askew: its name lies with it.
      if (long > how.long * 1.9 || high > how.wide * 1.9) return attr(label, "visibility", "hidden");
      const angle = (Math.atan2(how.u[1], how.u[0]) * 180) / Math.PI;
      const turn = angle > 90 ? angle - 180 : angle <= -90 ? angle + 180 : angle;
      return place_sign(label, { x: how.at[0] - high / 2, y: how.at[1] - high / 2, w: high, h: high }, ` rotate(${turn.toFixed(1)})`);
    }
    let { x0, y0, x1, y1 } = b;
    for (const other of signs) {
      const [cx, cy] = [other.x + other.w / 2, other.y + other.h / 2];
      if (cx < x0 || cx > x1 || cy < y0 || cy > y1) continue;
      const gaps = [cx - x0, x1 - cx, cy - y0, y1 - cy];
      const side = gaps.indexOf(Math.min(...gaps));
      if (side === 0) x0 = other.x + other.w;
      else if (side === 1) x1 = other.x;
      else if (side === 2) y0 = other.y + other.h;
      else y1 = other.y;
    }
    const [w, hgt] = [x1 - x0, y1 - y0];
    const upright = long > w && hgt > w;
    if (upright ? high > w || long > hgt : long > w || high > hgt) return attr(label, "visibility", "hidden");
    const [bw, bh] = upright ? [high, long] : [long, high];
    place_sign(label, { x: (x0 + x1 - bw) / 2, y: (y0 + y1 - bh) / 2, w: bw, h: bh }, upright ? " rotate(90)" : "");
  }

  /**
   * The plate of a dock, a gate; the number of a bay.
   * @param {typeof zones[0]} one @param {[number, number][]} ring @param {[number, number][][]} halls @param {Scene} scene
   */
  function plate({ zone, label, plate: board, text }, ring, halls, scene) {
    const how = lie(ring);
    const name = plateOf(zone.id, scene.plan);
    const bay = zone.kind === "bay";
    put(text, name);
    const room = (/** @type {number} */ px) => name.length * px * 0.58 + px * (bay ? 0.2 : 0.7);
    const narrow = 2 * how.wide;
    let font = bay ? type * 0.88 : type;
    // The plates of narrow docks side by side become smaller together.
    if ((zone.kind === "dock" || bay) && Math.abs(how.u[1]) > 0.7 && room(font) > narrow - 1) font = Math.max(8, (narrow - 1) / (name.length * 0.58 + 0.7));
    const [pw, ph] = [Math.max(room(font), bay ? 0 : Math.min(font * 1.7, Math.max(narrow, 12))), font * (bay ? 1.1 : 1.4)];
    const [x, y] = zone.kind === "dock" || bay ? beside(how, bay ? [] : halls, pw, ph) : [Math.max(pw / 2 + 4, Math.min(size.w - pw / 2 - 4, how.at[0])), how.at[1]];
    attr(board, "x", (-pw / 2).toFixed(1));
    attr(board, "y", (-ph / 2).toFixed(1));
    attr(board, "width", pw.toFixed(1));
    attr(board, "height", ph.toFixed(1));
    attr(board, "visibility", bay ? "hidden" : null);
    attr(text, "font-size", font.toFixed(1));
    attr(text, "y", (font * 0.36).toFixed(1));
    counted.set(zone.id, zone.kind === "dock" || bay ? how.at : [x + pw / 2 + type * 1.3, y]);
    place_sign(label, { x: x - pw / 2, y: y - ph / 2, w: pw, h: ph });
  }

  /** Where the plate of a dock is: at the side where the next hall is; without one at its upper end. @param {ReturnType<typeof lie>} how @param {[number, number][][]} halls @param {number} w @param {number} hgt @returns {[number, number]} */
  function beside({ at, u, long, wide }, halls, w, hgt) {
    const ways = [[u[0], u[1], long], [-u[0], -u[1], long], [-u[1], u[0], wide], [u[1], -u[0], wide]];
    const sides = (halls.length ? ways : ways.slice(0, 2)).map(([x, y, far]) => ({
      edge: /** @type {[number, number]} */ ([at[0] + x * far, at[1] + y * far]),
      out: /** @type {[number, number]} */ ([at[0] + x * (far + 2 + (Math.abs(x) * w + Math.abs(y) * hgt) / 2), at[1] + y * (far + 2 + (Math.abs(x) * w + Math.abs(y) * hgt) / 2)]),
    }));
    const far = (/** @type {{edge: [number, number]}} */ { edge }) => (halls.length ? Math.min(...halls.map((hall) => apart(edge, hall))) : edge[1]);
    return sides.reduce((a, c) => (far(c) < far(a) - 0.01 ? c : a)).out;
  }

  /** @param {import("../types").Asset|undefined} asset */
  function follow(asset) {
    const name = asset?.asset ?? "";
    if (way.asset !== name) way = { asset: name, points: [] };
    if (asset && isNum(asset.lat) && isNum(asset.lon)) {
      const tip = way.points[way.points.length - 1];
      if (tip?.lat !== asset.lat || tip?.lon !== asset.lon) way.points.push({ lat: asset.lat, lon: asset.lon });
      if (way.points.length > TRAIL) way.points.splice(0, way.points.length - TRAIL);
    }
    attr(trail, "d", way.points.map((one, n) => `${n ? "L" : "M"}${pixel(one).map((v) => v.toFixed(1)).join(" ")}`).join(""));
  }

  /** What stands in the zones without a position of its own. @param {Scene} scene @returns {Mark[]} */
  function standing(scene) {
    /** @type {Map<string, import("../types").Asset[]>} */
    const at = new Map();
    for (const one of scene.state.assets.values()) {
      if (!one.place || isNum(one.lat) || !scene.plan.by.has(one.place)) continue;
      const some = at.get(one.place) ?? [];
      some.push(one);
      at.set(one.place, some);
    }
    const present = new Set([...scene.state.assets.values()].map((one) => one.place));
    return zones.flatMap(({ zone, load, label }) => {
      const here = at.get(zone.id) ?? [];
      label.classList.toggle("taken", zone.kind !== "bay" && present.has(zone.id) && scene.fresh);
      const worst = here.map((one) => ({ one, said: deed(one, scene) })).sort((a, b) => a.said.group - b.said.group)[0];
      const boxed = zone.kind === "dock" || zone.kind === "bay";
      attr(load, "class", worst && boxed ? `load ${worst.said.shape}${here.some((one) => one.asset === scene.selected) ? " main" : ""}` : "load off");
      if (!worst) return [];
      const spot = counted.get(zone.id) ?? pixel({ lon: middle(zone.rings[0])[0], lat: middle(zone.rings[0])[1] });
      const one = here.length === 1;
      const main = here.some((asset) => asset.asset === scene.selected);
      return [{
        key: `zone:${zone.id}`, at: spot, said: worst.said, turn: null, main, inside: boxed || !one,
        text: one ? (boxed ? "" : shortly(worst.one.asset, 16)) : String(here.length),
        label: one ? `${called(worst.one.asset)}, ${worst.said.phrase}, ${plain(zone.name, 64)}` : t("{n} at {place}", { n: here.length, place: plain(zone.name, 64) }),
        run: () => (one ? pick(worst.one.asset) : place(zone.id)),
      }];
    });
  }

  /** @param {Placed[]} placed @param {Scene} scene @returns {Mark[]} */
  function moving(placed, scene) {
    return placed.map((asset) => {
      const said = deed(asset, scene);
      return {
        key: `asset:${asset.asset}`, at: pixel(asset), said, main: asset.asset === scene.selected, inside: false,
        turn: moves(asset) && isNum(asset.course_deg) ? asset.course_deg - base.bearing : null,
        text: shortly(asset.asset, 16) + (said.shape === "stale" ? " ?" : ""), label: `${called(asset.asset)}, ${said.phrase}`,
        run: () => pick(asset.asset),
      };
    });
  }

  /** @param {Mark[]} all */
  function put_marks(all) {
    const order = all.sort((a, b) => Number(b.main) - Number(a.main) || a.said.group - b.said.group || (a.key < b.key ? -1 : 1)).slice(0, SHOWN);
    const wanted = new Set(order.map((one) => one.key));
    for (const [key, one] of drawn) {
      if (wanted.has(key)) continue;
      one.node.remove();
      drawn.delete(key);
    }
    /** What no label may lie on: the marks, the corners of the frame, then the labels already placed. @type {Box[]} */
    const taken = order.map(({ at: [x, y] }) => ({ x: x - 10, y: y - 10, w: 20, h: 20 }));
    taken.push({ x: size.w - 220, y: size.h - 80, w: 220, h: 80 }, { x: 0, y: size.h - 40, w: 190, h: 40 });
    taken.push(...signs);
    const high = type * 1.8;
    for (const one of order) {
      const [x, y] = one.at;
      const w = one.text.length * type * 0.6 + 12;
      const spots = [[x + 18, y - high / 2], [x - 18 - w, y - high / 2], [x - w / 2, y - 18 - high], [x - w / 2, y + 18]];
      const free = one.text === "" || one.inside ? null : spots.map(([bx, by]) => ({ x: bx, y: by, w, h: high })).find((box) =>
        box.x >= 2 && box.y >= 2 && box.x + w <= size.w - 2 && box.y + high <= size.h - 2 && !taken.some((other) => meet(box, other)));
      const label = free ?? (one.main && one.text && !one.inside ? { x: x + 18, y: y - high / 2, w, h: high } : null);
      if (label) taken.push(label);
      let button = drawn.get(one.key);
      if (!button) {
        button = mark();
        drawn.set(one.key, button);
        button.node.tabIndex = marks.childElementCount === 0 ? 0 : -1;
        marks.append(button.node);
      }
      button.fill(one, label);
    }
    const some = /** @type {HTMLButtonElement[]} */ ([...marks.children]);
    if (some.length && !some.some((one) => one.tabIndex === 0)) some[0].tabIndex = 0;
  }

  function words() {
    if (spoken === t("Moving")) return;
    spoken = t("Moving");
    const signs = /** @type {[import("../types").Shape, string][]} */ ([["dock", t("At dock")], ["move", t("Moving")], ["park", t("Standing")], ["warn", t("Attention")], ["stale", t("No signal")]]);
    legend.replaceChildren(...signs.map(([shape, text]) => {
      const sign = icon();
      sign.set(shape);
      return h("span", "", sign.node, h("b", "", text));
    }));
    attr(marks, "aria-label", t("Assets on the plan"));
    const [closer, wider, fitted] = zoom.children;
    if (!fitted) return;
    attr(closer, "aria-label", t("Closer"));
    attr(wider, "aria-label", t("Wider"));
    put(fitted, t("Fit"));
    attr(fitted, "title", t("Show the whole yard"));
  }

  const self = {
    node,
    /** Lets the frame stay while somebody draws in it, or follow the yard again. @param {boolean} still */
    hold(still) {
      held_still = still;
      if (!still) planOf = null;
    },
    whole,
    /** Whether there is a frame to draw in. */
    framed: () => base.scale > 0 && size.w > 0 && !node.classList.contains("bare"),
    /** Where a place of the earth is in the picture, px. @param {[number, number]} at longitude, latitude @returns {[number, number]} */
    pixelOf: ([lon, lat]) => pixel({ lat, lon }),
    /** What place of the earth a point of the picture is. @param {number} px @param {number} py @returns {[number, number]} longitude, latitude */
    placeOf: (px, py) => unflat(base.lat0, base.lon0, base.bearing)(base.x + (px - size.w / 2 - hand.x) / scale(), base.y - (py - size.h / 2 - hand.y) / scale()),
    /** Pixels of a metre. */
    scale,
    size: () => size,
    /** @param {Scene} scene */
    draw(scene) {
      last = scene;
      words();
      take(scene);
      if (size.w === 0) return;
      const assets = scene.state.assets;
      const placed = /** @type {Placed[]} */ ([...assets.values()]
        // What rides on another one is drawn as that one.
        .filter((one) => !carriedBy(one, assets) || one.asset === scene.selected)
        .map((one) => where(one, assets)).filter((one) => isNum(one.lat) && isNum(one.lon)));
      const frame = held(scene, placed);
      node.classList.toggle("bare", frame.length === 0);
      svg.style.touchAction = hand.zoom === 1 ? "pan-y" : "none";
      hide(empty, frame.length > 0);
      put(empty, scene.known ? t("No plan yet, and no asset has a position.") : t("Waiting for the gateway."));
      const inMotion = placed.filter(moves).length;
      const docks = zones.filter(({ zone }) => zone.kind === "dock");
      const busy = docks.filter(({ zone }) => [...assets.values()].some((one) => one.place === zone.id)).length;
      attr(svg, "aria-label", [
        docks.length ? t("Yard plan: {n} of {all} docks taken", { n: busy, all: docks.length }) : t("Grid without a plan"),
        few(placed.length, "{n} asset with a position", "{n} assets with a position"), t("{n} moving", { n: inMotion }), t("the list says all of it"),
      ].join(", "));
      if (frame.length === 0) {
        attr(grid, "d", "");
        attr(trail, "d", "");
        put_marks([]);
        return over();
      }
      fit(frame, scene.plan.bearing);
      paper();
      site(scene);
      follow(scene.selected === null ? undefined : assets.get(scene.selected));
      put_marks([...standing(scene), ...moving(placed, scene)]);
      over();
    },
  };
  return self;
}

function mark() {
  const shape = s("path", { class: "shape" });
  const turn = s("svg", { class: "glyph", viewBox: "-13 -13 26 26", "aria-hidden": "true" }, shape);
  /** Made when it is needed first: most marks never are. @type {import("../dom.js").Icon|null} */
  let sign = null;
  const tag = h("span", "tag num");
  /** @type {() => void} */
  let run = () => {};
  let at = "";
  const node = button("mark", "", () => run());
  node.append(turn, tag);
  return {
    node,
    /** @param {Mark} one @param {Box|null} label */
    fill(one, label) {
      run = one.run;
      const [x, y] = one.at;
      const warns = one.inside && one.text === "" && one.said.shape === "warn";
      attr(node, "class", `mark ${one.said.shape}${one.main ? " main" : ""}${one.inside ? " in" : ""}${one.inside && one.text ? " many" : ""}`);
      const to = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
      if (at !== to) node.style.transform = at = to;
      attr(node, "aria-label", one.label);
      attr(node, "aria-pressed", String(one.main));
      turn.toggleAttribute("hidden", one.inside);
      turn.style.transform = one.turn === null ? "" : `rotate(${Math.round(one.turn)}deg)`;
      attr(shape, "d", one.turn === null ? "M-7 -7h14v14h-14z" : "M0 -12 10 11 0 6 -10 11z");
      if (warns && !sign) turn.after((sign = icon()).node);
      sign?.node.toggleAttribute("hidden", !warns);
      if (warns) sign?.set(one.said.shape);
      // Not hidden: what is only not seen need not be laid out anew when it is again.
      const seen = label || (one.inside && one.text) ? "" : "hidden";
      if (tag.style.visibility !== seen) tag.style.visibility = seen;
      put(tag, one.text);
      if (label) tag.style.transform = `translate(${(label.x - x).toFixed(1)}px,${(label.y - y).toFixed(1)}px)`;
    },
  };
}
