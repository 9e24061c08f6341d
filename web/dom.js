// @ts-check
// Making and changing elements. Text from outside goes in as text nodes only; nothing here parses markup.

/** @typedef {"go"|"retry"|"moon"|"sun"|"tick"|"sound"|"mute"|"search"|"plus"|"minus"|"box"|"scan"|"truck"|"up"} Glyph */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element with a class and children.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [cls]
 * @param {...(Node|string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, cls, ...children) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  node.append(...children);
  return node;
}

/**
 * An SVG element with attributes.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string|number>} [attrs]
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function s(tag, attrs = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const name in attrs) node.setAttribute(name, String(attrs[name]));
  node.append(...children);
  return node;
}

/**
 * Puts text into an element, and touches the page only when it is another one.
 * @param {Element} node
 * @param {string} text
 */
export function put(node, text) {
  const only = node.firstChild;
  // A text that is changed in place costs its line a layout; one that is exchanged costs its element one.
  if (only instanceof Text && only.nextSibling === null && text !== "") {
    if (only.data !== text) only.data = text;
  } else if (node.textContent !== text) node.textContent = text;
}

/**
 * Hides an element, or shows it: said again it costs nothing, where `hidden` alone has the style of all in it found anew.
 * @param {HTMLElement} node
 * @param {boolean} yes
 */
export function hide(node, yes) {
  if (node.hidden !== yes) node.hidden = yes;
}

/**
 * Sets an attribute, or takes it off with null, only when that changes something.
 * @param {Element} node
 * @param {string} name
 * @param {string|null} value
 */
export function attr(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/** @typedef {{node: SVGSVGElement, set(shape: import("./types").Shape|Glyph): void}} Icon */

/** A mark of the sprite in index.html; its word stands beside it, so it is hidden from screen readers. @returns {Icon} */
export function icon() {
  const use = s("use");
  const node = s("svg", { class: "i", "aria-hidden": "true" }, use);
  return {
    node,
    /** @param {import("./types").Shape|Glyph} shape */
    set(shape) {
      attr(use, "href", `#i-${shape}`);
      attr(node, "class", `i ${shape}`);
    },
  };
}

/**
 * A button that does something.
 * @param {string} cls
 * @param {string} label
 * @param {(event: MouseEvent) => void} run
 */
export function button(cls, label, run) {
  const node = h("button", cls, label);
  node.type = "button";
  node.addEventListener("click", run);
  return node;
}

/** A mark with a word beside it. @param {import("./types").Shape|Glyph} shape @param {string} text @param {string} [cls] */
export function marked(shape, text, cls = "tag") {
  const mark = icon();
  mark.set(shape);
  return h("span", cls, mark.node, h("b", "", text));
}

/**
 * Keeps the children of an element equal to a list: elements are kept by key, moved only when out of order, and those of
 * gone items are filled anew for new ones, so a feed makes no garbage and never loses the focus of a row that stays.
 * @template T
 * @template {{node: Element}} R
 * @param {Element} parent
 * @param {() => R} make makes an empty row
 * @param {(row: R, item: T) => void} fill
 * @returns {(items: T[], key: (item: T) => string) => void}
 */
export function rows(parent, make, fill) {
  /** @type {Map<string, R>} */
  let drawn = new Map();
  return (items, key) => {
    /** @type {Map<string, R>} */
    const next = new Map();
    const wanted = new Set(items.map(key));
    const spare = [...drawn].filter(([k]) => !wanted.has(k)).map(([, row]) => row);
    const focused = document.activeElement;
    let at = parent.firstElementChild;
    for (const item of items) {
      const k = key(item);
      if (next.has(k)) continue;
      const row = drawn.get(k) ?? spare.pop() ?? make();
      fill(row, item);
      if (row.node === at) at = at.nextElementSibling;
      else parent.insertBefore(row.node, at);
      next.set(k, row);
    }
    for (const row of spare) row.node.remove();
    // A row that is put elsewhere loses the focus on the way.
    if (focused instanceof HTMLElement && focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
    drawn = next;
  };
}

/**
 * Keeps the pairs of a definition list: what it is called, what it is; one without a value is left out.
 * @param {HTMLDListElement} list
 * @param {string} [cls] of each value
 * @returns {(pairs: [string, string][]) => void}
 */
export function terms(list, cls) {
  const draw = rows(list, () => {
    const label = h("dt");
    const value = h("dd", cls);
    return { node: h("div", "", label, value), label, value };
  }, (row, /** @type {[string, string]} */ [label, value]) => {
    put(row.label, label);
    put(row.value, value);
  });
  return (pairs) => draw(pairs.filter(([, value]) => value !== ""), ([label]) => label);
}

/** @param {string} id @returns {HTMLElement} */
export function el(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`index.html has no element #${id}`);
  return node;
}
