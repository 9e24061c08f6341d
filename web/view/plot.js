// @ts-check
// Where the assets are, drawn flat over a grid and the zones of the plan: no tiles. It redraws on new positions, never by itself.

import { attr, el, h, put, s } from "../dom.js";
import { isNum, metres, plain, plural } from "../fmt.js";
import { deed, newest } from "../judge.js";
import { carriedBy, where } from "../yard.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../types").Asset & {lat: number, lon: number}} Placed */
/** @typedef {{x: number, y: number, w: number, h: number}} Box */

const EDGE = 44;
const LEAST_M = 60;
const TRAIL = 240;
const SHOWN = 300;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6];

/**
 * A flat picture of a small piece of the earth: metres east and north of a point. Off by centimetres within a kilometre.
 * @param {number} lat0 @param {number} lon0
 */
export function flat(lat0, lon0) {
  const east = Math.max(1e-6, Math.cos((lat0 * Math.PI) / 180)) * 111_320;
  return {
    /** @param {number} lat @param {number} lon @returns {[number, number]} */
    metres: (lat, lon) => [((((lon - lon0) % 360) + 540) % 360 - 180) * east, (lat - lat0) * 110_574],
  };
}

/**
 * The smallest window that holds all points, in metres.
 * @param {[number, number][]} points
 */
export function bounds(points) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    x0 = Math.min(x0, x);
    y0 = Math.min(y0, y);
    x1 = Math.max(x1, x);
    y1 = Math.max(y1, y);
  }
  return { x0, y0, x1, y1 };
}

/** The grid step whose lines are at least `px` apart. @param {number} scale pixels a metre @param {number} px */
export const step = (scale, px) => STEPS.find((m) => m * scale >= px) ?? STEPS[STEPS.length - 1];

/** @param {Box} a @param {Box} b */
const meet = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

/** @param {(asset: string|null) => void} pick */
export function plot(pick) {
  const box = el("plot");
  const grid = s("path", { class: "grid" });
  const ground = s("g", { class: "zones", "aria-hidden": "true" });
  const trail = s("path", { class: "trail" });
  const marks = s("g");
  const svg = s("svg", { class: "map", role: "img" }, grid, ground, trail, marks);
  const bar = h("i");
  const length = h("span", "num");
  const empty = h("p", "none");
  box.append(svg, h("div", "scale", bar, length), h("div", "north", "N"), empty);
  /** @type {Map<string, ReturnType<typeof marker>>} */
  const drawn = new Map();
  /** @type {{lat0: number, lon0: number, x: number, y: number, scale: number}|null} the window that is shown */
  let view = null;
  /** @type {{asset: string, points: {lat: number, lon: number}[]}} */
  let way = { asset: "", points: [] };
  let size = { w: 0, h: 0 };
  /** The plan, and its corners. @type {{zone: import("../types").Zone, path: SVGElement, text: SVGElement}[]} */
  let yard = [];
  /** @type {{lat: number, lon: number}[]} */
  let corners = [];
  /** @type {Scene|null} */
  let last = null;
  const redraw = () => last && self.draw(last);
  new ResizeObserver(() => {
    size = { w: box.clientWidth, h: box.clientHeight };
    attr(svg, "viewBox", `0 0 ${size.w} ${size.h}`);
    view = null;
    redraw();
  }).observe(box);
  svg.addEventListener("click", (event) => {
    const mark = event.target instanceof Element ? event.target.closest("[data-asset]") : null;
    pick(mark ? mark.getAttribute("data-asset") : null);
  });

  /** What the window has to hold: the assets, and the yard when one of them is near it. @param {Placed[]} placed */
  function held(placed) {
    if (corners.length < 2) return placed;
    const [low, high] = corners;
    const near = (/** @type {Placed} */ one) => one.lat >= 2 * low.lat - high.lat && one.lat <= 2 * high.lat - low.lat
      && one.lon >= 2 * low.lon - high.lon && one.lon <= 2 * high.lon - low.lon;
    return placed.length === 0 || placed.some(near) ? [...placed, ...corners] : placed;
  }

  /**
   * Keeps the window while it holds everything well: a picture that jumps is no picture.
   * @param {{lat: number, lon: number}[]} placed
   */
  function fit(placed) {
    if (view) {
      const { lat0, lon0, x, y, scale } = view;
      const b = bounds(placed.map((one) => flat(lat0, lon0).metres(one.lat, one.lon)));
      const inside = b.x0 >= x - (size.w / 2 - 12) / scale && b.x1 <= x + (size.w / 2 - 12) / scale
        && b.y0 >= y - (size.h / 2 - 12) / scale && b.y1 <= y + (size.h / 2 - 12) / scale;
      const wanted = Math.max((b.x1 - b.x0) / size.w, (b.y1 - b.y0) / size.h, LEAST_M / size.w) * scale;
      if (inside && wanted > 0.3) return;
    }
    const [{ lat: lat0, lon: lon0 }] = placed;
    const b = bounds(placed.map((one) => flat(lat0, lon0).metres(one.lat, one.lon)));
    const room = { w: Math.max(40, size.w - 2 * EDGE), h: Math.max(40, size.h - 2 * EDGE) };
    const scale = 1 / Math.max((b.x1 - b.x0) / room.w, (b.y1 - b.y0) / room.h, LEAST_M / Math.min(room.w, room.h)) * 0.86;
    view = { lat0, lon0, x: (b.x0 + b.x1) / 2, y: (b.y0 + b.y1) / 2, scale };
  }

  /** @param {{lat: number, lon: number}} one @returns {[number, number]} */
  function pixel(one) {
    if (!view) return [0, 0];
    const [x, y] = flat(view.lat0, view.lon0).metres(one.lat, one.lon);
    return [size.w / 2 + (x - view.x) * view.scale, size.h / 2 - (y - view.y) * view.scale];
  }

  function paper() {
    if (!view) return;
    const m = step(view.scale, 56);
    const lines = [];
    const left = view.x - size.w / 2 / view.scale;
    const low = view.y - size.h / 2 / view.scale;
    for (let x = Math.ceil(left / m) * m; (x - left) * view.scale <= size.w; x += m) {
      lines.push(`M${((x - left) * view.scale).toFixed(1)} 0V${size.h}`);
    }
    for (let y = Math.ceil(low / m) * m; (y - low) * view.scale <= size.h; y += m) {
      lines.push(`M0 ${(size.h - (y - low) * view.scale).toFixed(1)}H${size.w}`);
    }
    attr(grid, "d", lines.join(""));
    const long = step(view.scale, 72);
    bar.style.width = `${Math.round(long * view.scale)}px`;
    put(length, metres(long));
  }

  function zones() {
    for (const { zone, path, text } of yard) {
      const rings = zone.rings.map((ring) => ring.map(([lon, lat]) => pixel({ lat, lon })));
      attr(path, "d", rings.map((ring) => `M${ring.map((at) => at.map((v) => v.toFixed(1)).join(" ")).join("L")}Z`).join(""));
      const b = bounds(rings[0]);
      // A name that does not fit into its zone would cover the next one.
      attr(text, "visibility", b.x1 - b.x0 > zone.name.length * 7 && b.y1 - b.y0 > 14 ? null : "hidden");
      attr(text, "x", ((b.x0 + b.x1) / 2).toFixed(1));
      attr(text, "y", (Math.min(b.y0, b.y1) + 14).toFixed(1));
    }
  }

  /** @param {import("../types").Asset|null} asset */
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

  const self = {
    /** The plan of the yard. @param {import("../types").Zone[]} plan */
    plan(plan) {
      yard = plan.map((zone) => {
        const text = s("text", { "text-anchor": "middle" });
        put(text, plain(zone.name, 32));
        return { zone, path: s("path", { class: `zone ${/^[a-z]+$/.test(zone.kind) ? zone.kind : ""}` }), text };
      });
      ground.replaceChildren(...yard.map((one) => one.path), ...yard.map((one) => one.text));
      const b = bounds(plan.flatMap((zone) => zone.rings.flat()));
      corners = plan.length ? [{ lat: b.y0, lon: b.x0 }, { lat: b.y1, lon: b.x1 }] : [];
      view = null;
      redraw();
    },
    /** @param {Scene} scene */
    draw(scene) {
      last = scene;
      if (size.w === 0) return;
      const main = newest(scene).asset;
      const placed = /** @type {Placed[]} */ ([...scene.state.assets.values()]
        // What rides on another one is drawn as that one.
        .filter((one) => !carriedBy(one, scene.state.assets) || one.asset === scene.selected)
        .map((one) => where(one, scene.state.assets)).filter((one) => isNum(one.lat) && isNum(one.lon)));
      if (main && isNum(main.lat) && isNum(main.lon) && !scene.state.assets.has(main.asset)) placed.push(/** @type {Placed} */ (main));
      const window = held(placed);
      empty.hidden = window.length > 0;
      put(empty, scene.known ? "No asset has a position yet" : "");
      box.classList.toggle("bare", window.length === 0);
      const moving = placed.filter((one) => isNum(one.speed_mps) && one.speed_mps >= 0.8).length;
      attr(svg, "aria-label", `Grid plot: ${plural(placed.length, "asset")} with a position, ${moving} moving. The table lists them all.`);
      if (window.length > 0) {
        fit(window);
        paper();
        zones();
        follow(main);
      } else {
        attr(grid, "d", "");
        attr(trail, "d", "");
      }
      mark(placed, main?.asset ?? "", scene);
    },
  };

  /** @param {Placed[]} placed @param {string} main @param {Scene} scene */
  function mark(placed, main, scene) {
    const order = placed.sort((a, b) => Number(b.asset === main) - Number(a.asset === main)
      || (b.speed_mps ?? 0) - (a.speed_mps ?? 0) || (a.asset < b.asset ? -1 : 1)).slice(0, SHOWN);
    const wanted = new Set(order.map((one) => one.asset));
    for (const [name, one] of drawn) {
      if (wanted.has(name)) continue;
      one.node.remove();
      drawn.delete(name);
    }
    /** What no label may lie on: the marks, then the labels already placed. @type {Box[]} */
    const taken = order.map((asset) => {
      const [x, y] = pixel(asset);
      return { x: x - 10, y: y - 10, w: 20, h: 20 };
    });
    // The north arrow and the scale bar.
    taken.push({ x: size.w - 40, y: 0, w: 40, h: 44 }, { x: 0, y: size.h - 40, w: 190, h: 40 });
    for (const asset of order) {
      let one = drawn.get(asset.asset);
      if (!one) {
        one = marker(asset.asset);
        drawn.set(asset.asset, one);
        marks.append(one.node);
      }
      const [x, y] = pixel(asset);
      const w = plain(asset.asset, 24).length * 7.6 + 12;
      const first = asset.asset === main;
      const spots = [[x + 20, y - 12], [x - 20 - w, y - 12], [x - w / 2, y - 44], [x - w / 2, y + 20]];
      const free = spots.map(([bx, by]) => ({ x: bx, y: by, w, h: 24 })).find((box) =>
        box.x >= 2 && box.y >= 2 && box.x + w <= size.w - 2 && box.y + 24 <= size.h - 2 && !taken.some((other) => meet(box, other)));
      const label = free ?? (first ? { x: x + 20, y: y - 12, w, h: 24 } : null);
      if (label) taken.push(label);
      one.fill(asset, scene, { x, y, label, main: first });
      // What is asked for lies on top.
      if (first && marks.lastChild !== one.node) marks.append(one.node);
    }
  }
  return self;
}

/** @param {string} name */
function marker(name) {
  const ring = s("circle", { class: "ring", r: 17 });
  const shape = s("path", { class: "shape" });
  const turn = s("g", {}, shape);
  const plate = s("rect", { class: "tag", height: 24, rx: 5 });
  const text = s("text", { "text-anchor": "middle" });
  const label = s("g", {}, plate, text);
  const node = s("g", { "data-asset": name }, s("circle", { class: "hit", r: 22 }), ring, turn, label);
  put(text, plain(name, 24));
  return {
    node,
    /**
     * @param {Placed} asset @param {Scene} scene
     * @param {{x: number, y: number, label: Box|null, main: boolean}} at
     */
    fill(asset, scene, at) {
      const said = deed(asset, scene);
      const course = isNum(asset.course_deg) && isNum(asset.speed_mps) && asset.speed_mps >= 0.8 ? asset.course_deg : null;
      attr(node, "class", `mark ${said.shape}${at.main ? " main" : ""}`);
      attr(node, "transform", `translate(${at.x.toFixed(1)} ${at.y.toFixed(1)})`);
      attr(turn, "transform", course === null ? null : `rotate(${Math.round(course)})`);
      attr(shape, "d", course === null ? "M-7 -7h14v14h-14z" : "M0 -12 10 11 0 6 -10 11z");
      attr(ring, "visibility", at.main ? null : "hidden");
      attr(label, "visibility", at.label ? null : "hidden");
      if (!at.label) return;
      attr(plate, "x", (at.label.x - at.x).toFixed(1));
      attr(plate, "y", (at.label.y - at.y).toFixed(1));
      attr(plate, "width", at.label.w.toFixed(1));
      attr(text, "x", (at.label.x - at.x + at.label.w / 2).toFixed(1));
      attr(text, "y", (at.label.y - at.y + 17).toFixed(1));
    },
  };
}
