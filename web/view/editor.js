// @ts-check
// Drawing the plan on the page, where the gateway keeps it: zones are added, named, moved, reshaped and taken out, then saved
// as a whole. Everything can be done by keyboard; what is not saved stays here when another screen is opened.

import { call } from "../api.js";
import { attr, button, h, hide, put, rows, s } from "../dom.js";
import { plain } from "../fmt.js";
import { few, t } from "../i18n.js";
import { added, copied, draftOf, drawn, extent, faults, heart, KINDS, merged, moved, NAME_MAX, reshaped, split, textOf, told, turned, unplaced, without, zoneOf } from "../draft.js";
import { kindWord } from "../yard.js";
import { ask, faultText, field, textField } from "./dialog.js";

/** @typedef {import("../types").Scene} Scene */
/** @typedef {import("../draft.js").Shape} Shape */
/** @typedef {import("../draft.js").Corner} Corner */

/** Steps that can be taken back. */
const UNDO = 100;
/** A zone with more corners is reshaped as GeoJSON: handles would lie on each other. */
const HANDLES = 80;
/** How large a handle is. Pixels */
const GRIP = 44;
/** A new zone is so large that its handles lie apart. Handles */
const APART = 2.4;
/** How far an arrow key goes, with and without the shift key. Metres */
const STEP = { fine: 0.5, far: 5 };

/** @param {string} kind */
const kindOf = (kind) => kindWord(kind) || plain(kind, 20);

/**
 * What is drawn and not saved, while the page lives.
 * @type {{zones: Shape[], saved: string, tag: string, rev: number|null, undo: {zones: Shape[], what: string}[], redo: Shape[][]}|null}
 */
let work = null;
/** What was last made out of a list of zones, which never changes: a page draws far more often than a person does. */
const made = { zones: /** @type {Shape[]|null} */ (null), text: "", faults: /** @type {ReturnType<typeof faults>} */ ([]) };
/** @param {Shape[]} zones */
function of(zones) {
  if (made.zones !== zones) Object.assign(made, { zones, text: textOf(zones), faults: faults(zones) });
  return made;
}
const isChanged = () => work !== null && of(work.zones).text !== work.saved;
addEventListener("beforeunload", (event) => {
  if (isChanged()) event.preventDefault();
});

/** Says that a plan from a file is changed in that file. */
export const readOnly = () => ask({
  title: t("The plan is a file"), text: t("On this gateway the plan comes from the file of plan.zones and is only shown here. Change the file and restart waypost, or take plan.zones out of the configuration: then the plan is kept here and edited on this page."),
  label: t("OK"), only: true, run: async () => null,
});

/** Says why the plan cannot be read now. @param {import("./dialog.js").Fault} wrong */
export const notNow = (wrong) => ask({ title: t("The plan cannot be read now"), text: faultText(wrong), label: t("OK"), only: true, run: async () => null });

/** Reads the plan to begin with. Answers what went wrong, or null. */
export async function begin() {
  if (isChanged()) return null;
  const answer = await call("/zones");
  if (!answer.ok) return answer.error;
  const { zones } = draftOf(answer.body?.plan);
  work = { zones, saved: textOf(zones), tag: answer.tag, rev: answer.body?.rev ?? null, undo: [], redo: [] };
  return null;
}

/**
 * The editor over a plan that has begun.
 * @param {import("../types").Page} page
 * @param {ReturnType<typeof import("./plan.js").plan>} map
 * @param {() => void} done it is left
 */
export function editor(page, map, done) {
  const now = () => /** @type {NonNullable<typeof work>} */ (work);
  let picked = -1;
  /** @type {Scene|null} */
  let scene = null;
  /** What the gateway said of the zones: as who draws reads it, and as who has the text reads it. @type {{at: number|null, text: string, whole: string}[]} */
  let findings = [];
  /** @type {import("../types").Plan|null} */
  let shown = null;
  /** @type {Shape[]|null} */
  let shownOf = null;

  const title = h("h2", "", t("Edit the plan"));
  const help = h("p", "mut", t("Pick a zone, then drag it or its corners. Arrow keys move what has the focus, with Shift in large steps; Delete takes it out."));
  const state = h("p", "wrong");
  attr(state, "role", "status");
  /** What was done last, for who sees it; who hears it is told by the page. */
  const done_so = h("p", "done");
  done_so.hidden = true;
  const list = h("ul", "alist zlist");
  const none = h("p", "none", t("No zone yet: add one, load GeoJSON, or trace the yard from where things stood."));
  const name = textField({ max: NAME_MAX });
  const id = textField({ max: 64 });
  const kind = h("select");
  kind.append(...KINDS.map((one) => option(one)));
  const form = h("div", "zform", h("div", "two", field(t("Name"), name), field(t("Kind"), kind)), field(t("Place id in events"), id), h("div", "acts",
    button("btn sm", t("Turn left"), () => change("turn", (zones) => turned(zones, picked, -5))),
    button("btn sm", t("Turn right"), () => change("turn", (zones) => turned(zones, picked, 5))),
    button("btn sm", t("Copy beside"), () => { change("", (zones) => copied(zones, picked)); pick(now().zones.length - 1); }),
    button("btn sm dang", t("Delete"), remove)));
  const what = h("select");
  what.append(...KINDS.map((one) => option(one)));
  what.value = "dock";
  attr(what, "aria-label", t("Kind of the new zone"));
  const undo = button("btn sm", t("Undo"), back);
  const redo = button("btn sm", t("Redo"), forth);
  const tools = h("div", "acts ztools", what, button("btn sm", t("Add zone"), add), undo, redo,
    button("btn sm", t("As GeoJSON …"), () => void text()), button("btn sm", t("Trace …"), () => void trace()));
  const save = button("btn pri", t("Save"), () => void put_there(now().tag));
  const node = h("section", "zedit", title, help, tools, form, h("div", "scroll", list, none), h("div", "zend", state, done_so, h("div", "acts", button("btn", t("Close"), () => void leave()), save)));

  node.id = "editor";

  const paths = s("svg", { class: "map over" });
  const grips = h("div", "grips");
  attr(grips, "role", "group");
  attr(grips, "aria-label", t("Corners of the picked zone"));
  const layer = h("div", "overlay", paths, grips);
  map.node.append(layer);
  map.node.classList.add("editing");
  map.hold(true);

  /** @param {string} one */
  function option(one) {
    const node = h("option", "", kindOf(one));
    node.value = one;
    return node;
  }

  const fill = rows(list, () => {
    let at = -1;
    const label = h("bdi");
    const small = h("small");
    const one = button("pick", "", () => pick(at));
    one.append(h("span", "", label, small));
    return { node: h("li", "", one), one, label, small, set: (/** @type {number} */ n) => { at = n; } };
  }, (row, /** @type {{zone: Shape, n: number}} */ { zone, n }) => {
    row.set(n);
    put(row.label, plain(zone.name || zone.id || t("no name yet"), 48));
    const wrong = wrongWith(n);
    put(row.small, wrong || `${kindOf(zone.kind)}, ${plain(zone.id, 64)}`);
    attr(row.small, "class", wrong ? "warn" : null);
    attr(row.node, "class", n === picked ? "sel" : null);
    attr(row.one, "aria-pressed", String(n === picked));
  });

  /** What is wrong with a zone, in words; empty when nothing is known. @param {number} n */
  function wrongWith(n) {
    const why = of(now().zones).faults[n];
    if (why) return { id: t("It needs an id: letters, digits, space . _ -"), twice: t("Another zone has this id"), kind: t("Choose a kind"), crosses: t("Its sides cross or touch each other: move a corner, or draw two zones") }[why];
    return findings.find((one) => one.at === n)?.text ?? "";
  }

  /** A step that can be taken back; steps of the same kind in a row are one. @param {string} step @param {(zones: Shape[]) => Shape[]} make */
  function change(step, make) {
    const { undo: steps, zones } = now();
    const key = step && `${step} ${picked}`;
    if (!key || steps[steps.length - 1]?.what !== key) steps.push({ zones, what: key });
    if (steps.length > UNDO) steps.shift();
    now().redo = [];
    now().zones = make(zones);
    told_so("");
    findings = [];
    redraw();
  }

  function back() {
    const step = now().undo.pop();
    if (!step) return;
    now().redo.push(now().zones);
    take(step.zones);
  }

  function forth() {
    const zones = now().redo.pop();
    if (!zones) return;
    now().undo.push({ zones: now().zones, what: "" });
    take(zones);
  }

  /** Puts the zones of another moment in the place of these. @param {Shape[]} zones */
  function take(zones) {
    now().zones = zones;
    if (picked >= zones.length) picked = -1;
    told_so("");
    findings = [];
    fields();
    redraw();
  }

  /** Ctrl+Z and Ctrl+Shift+Z take back what was drawn, wherever the focus is; in a question they are of its fields. @param {KeyboardEvent} event */
  function keys(event) {
    const key = event.key.toLowerCase();
    if (!(event.ctrlKey || event.metaKey) || event.altKey || (key !== "z" && key !== "y") || document.querySelector("dialog[open]") !== null) return;
    event.preventDefault();
    if (key === "z" && !event.shiftKey) back();
    else forth();
  }
  addEventListener("keydown", keys);

  /** Says what was done, to see and to hear. @param {string} text */
  function told_so(text) {
    hide(done_so, text === "");
    put(done_so, text);
    if (text) page.say(text, false);
  }

  /** Shows what the picked zone is in the fields. */
  function fields() {
    const zone = now().zones[picked];
    if (!zone) return;
    for (const [field, value] of /** @type {[HTMLInputElement|HTMLSelectElement, string][]} */ ([[name, zone.name], [id, zone.id], [kind, zone.kind]])) {
      if (field.value !== value) field.value = value;
    }
  }

  /** @param {number} n */
  function pick(n) {
    picked = n;
    const zone = now().zones[n];
    if (zone) {
      fields();
      // What was typed before is a step of its own.
      const steps = now().undo;
      if (steps.length) steps[steps.length - 1].what = "";
    }
    redraw();
    list.children[n]?.scrollIntoView({ block: "nearest" });
  }

  function remove() {
    const at = picked;
    const gone = now().zones[at];
    picked = -1;
    change("", (zones) => without(zones, at));
    told_so(t("{place} is taken out. Undo brings it back.", { place: plain(gone.name || gone.id, 40) }));
    undo.focus();
  }

  function add() {
    if (!map.framed()) return void ask({ title: t("Where is the yard?"), text: t("No asset has a position yet, so nobody knows where to draw. Wait for the first fix, or load GeoJSON."), label: t("OK"), only: true, run: async () => null });
    const { w, h: high } = map.size();
    // So large that its handles can be told apart, and within what is shown.
    const least = Math.min(APART * GRIP, w / 3, high / 3) / map.scale();
    const [across, along] = [w, high].map((px) => (px / 2 - GRIP) / map.scale());
    change("", (zones) => added(zones, what.value, map.placeOf(w / 2, high / 2), scene?.plan.bearing ?? 0, least, [across, along]));
    pick(now().zones.length - 1);
    name.focus();
  }

  name.addEventListener("input", () => change("name", (zones) => told(zones, picked, { name: name.value })));
  id.addEventListener("input", () => change("id", (zones) => told(zones, picked, { id: id.value })));
  kind.addEventListener("change", () => change("", (zones) => told(zones, picked, { kind: kind.value })));

  /** Sends the plan as it is drawn. @param {string} match @returns {Promise<boolean>} */
  async function put_there(match) {
    const sent = of(now().zones).text;
    save.disabled = true;
    const answer = await call("/zones", { method: "PUT", text: sent, type: "application/geo+json", match });
    save.disabled = false;
    if (answer.ok) {
      const { zones } = now();
      work = { ...now(), saved: sent, tag: answer.tag, rev: answer.body?.rev ?? null };
      findings = [];
      told_so(few(zones.length, "The plan with {n} zone is saved.", "The plan with {n} zones is saved."));
      redraw();
      return true;
    }
    if (answer.error?.code === "plan_changed") return overwrite();
    findings = (answer.error?.findings ?? []).map((text) => ({ at: zoneOf(text), text: plain(unplaced(text), 300), whole: plain(text, 300) }));
    // The newest thing said stands beside the button until something is changed.
    if (findings.length === 0 && answer.error) findings = [faultText(answer.error)].map((text) => ({ at: null, text, whole: text }));
    const first = findings.find((one) => one.at !== null && one.at < now().zones.length);
    if (first) pick(/** @type {number} */ (first.at));
    redraw();
    state.scrollIntoView({ block: "nearest" });
    return false;
  }

  /** Somebody else has saved meanwhile: a person decides. */
  async function overwrite() {
    return ask({
      title: t("Somebody else has changed the plan"), text: t("It is not the one that you began with. Yours in its place loses what they drew; to see theirs, cancel, close the editor and drop your changes."),
      label: t("Put mine in its place"), danger: true, run: async () => ((await put_there("*")) ? null : t("It could not be saved.")),
    });
  }

  async function leave() {
    if (isChanged()) {
      const drop = await ask({ title: t("Drop the changes?"), text: t("The plan as you have drawn it is not saved."), label: t("Drop them"), danger: true, run: async () => null });
      if (!drop) return;
    }
    work = null;
    done();
  }

  /** The plan as text: what is sent, line by line; what is put in its place; a file to take along. */
  async function text() {
    const area = h("textarea");
    area.rows = 14;
    area.spellcheck = false;
    area.value = of(now().zones).text;
    const file = h("input");
    file.type = "file";
    file.accept = ".geojson,.json,application/geo+json,application/json";
    file.addEventListener("change", async () => {
      const [one] = file.files ?? [];
      if (one) area.value = one.size > 2 << 20 ? "" : await one.text();
    });
    const link = h("a", "btn sm", t("Download"));
    link.download = "zones.geojson";
    link.href = URL.createObjectURL(new Blob([area.value], { type: "application/geo+json" }));
    let left = 0;
    await ask({
      title: t("The plan as GeoJSON"), text: t("A zone a line. Paste another plan, or load a file as geojson.io and QGIS write it; nothing is saved yet."),
      body: [...(findings.length ? [h("p", "wrong", findings.slice(0, 8).map((one) => one.whole).join(" "))] : []), field(t("GeoJSON"), area), field(t("From a file, 2 MiB at most"), file), h("div", "acts", link)],
      label: t("Put it into the editor"),
      run: async () => {
        try {
          const read = draftOf(JSON.parse(area.value));
          if (read.zones.length === 0 && area.value.includes("coordinates")) return t("There is no polygon in it.");
          left = read.left;
          picked = -1;
          change("", () => read.zones);
          map.whole();
          return null;
        } catch (error) {
          return t("That is no JSON: {why}", { why: plain(String(/** @type {Error} */ (error).message), 160) });
        }
      },
    });
    URL.revokeObjectURL(link.href);
    if (left > 0) told_so(few(left, "{n} feature is no polygon and was left out.", "{n} features are no polygons and were left out."));
  }

  /** Makes zones of where things stood. */
  async function trace() {
    const { traced } = await import("../trace.js");
    const { zones, told: said } = await traced(now().zones);
    await ask({
      title: t("Trace from positions"), text: said, label: zones.length ? t("Put them into the editor") : t("OK"), only: zones.length === 0,
      run: async () => {
        if (zones.length === 0) return null;
        change("", (all) => [...all, ...zones]);
        map.whole();
        return null;
      },
    });
  }

  // What is taken hold of, and from where.
  /** @type {{make: (at: [number, number]) => (zones: Shape[]) => Shape[], from: Shape[], far: boolean, x: number, y: number}|null} */
  let grip = null;

  /** @param {PointerEvent} event @returns {[number, number]} */
  function spot(event) {
    const box = map.node.getBoundingClientRect();
    return map.placeOf(event.clientX - box.left, event.clientY - box.top);
  }

  /** Lets an element be dragged: `make` says what a place makes of the zones. @param {Element} at @param {(event: PointerEvent) => ((to: [number, number]) => (zones: Shape[]) => Shape[])|null} begins */
  function draggable(at, begins) {
    const one = /** @type {HTMLElement} */ (at);
    one.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const make = begins(event);
      if (!make) return;
      event.stopPropagation();
      one.setPointerCapture(event.pointerId);
      grip = { make, from: now().zones, far: false, x: event.clientX, y: event.clientY };
    });
    one.addEventListener("pointermove", (event) => {
      if (!grip || (!grip.far && Math.hypot(event.clientX - grip.x, event.clientY - grip.y) < 4)) return;
      if (!grip.far) change("", (zones) => zones);
      grip.far = true;
      now().zones = grip.make(spot(event))(grip.from);
      redraw();
    });
    const end = () => { grip = null; };
    one.addEventListener("pointerup", end);
    one.addEventListener("pointercancel", end);
  }

  /** Where an arrow key leads from a place; none for another key. @param {KeyboardEvent} event @param {[number, number]} from @returns {[number, number]|null} */
  function arrow(event, from) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return null;
    event.preventDefault();
    event.stopPropagation();
    const px = (event.shiftKey ? STEP.far : STEP.fine) * map.scale();
    const [x, y] = map.pixelOf(from);
    return map.placeOf(x + way[0] * px, y + way[1] * px);
  }

  /** @param {KeyboardEvent} event */
  const takesOut = (event) => event.key === "Delete" || event.key === "Backspace";

  /** @type {{node: SVGElement, at: number}[]} */
  const hits = [];

  /** The zones as something to take hold of, small ones above large ones. */
  function drawHits() {
    const order = now().zones.map((zone, n) => ({ zone, n })).sort((a, b) => extent(b.zone) - extent(a.zone));
    while (hits.length < order.length) {
      const one = { node: s("path", { class: "hit" }), at: -1 };
      one.node.addEventListener("click", (event) => event.stopPropagation());
      draggable(one.node, (event) => {
        if (one.at !== picked) {
          pick(one.at);
          event.stopPropagation();
          return null;
        }
        const [lon, lat] = spot(event);
        return (to) => (zones) => moved(zones, picked, [to[0] - lon, to[1] - lat]);
      });
      hits.push(one);
      paths.append(one.node);
    }
    hits.splice(order.length).forEach((one) => one.node.remove());
    order.forEach(({ zone, n }, k) => {
      const one = hits[k];
      one.at = n;
      attr(one.node, "class", `hit${n === picked ? " sel" : ""}${wrongWith(n) ? " wrong" : ""}`);
      attr(one.node, "d", zone.polygons.flat().map((ring) => `M${ring.map((at) => map.pixelOf(at).map((v) => v.toFixed(1)).join(" ")).join("L")}Z`).join(""));
    });
  }

  /** @type {{node: HTMLButtonElement, corner: Corner|null, mid: boolean}[]} */
  const handles = [];

  /** A handle, made once: it keeps its focus while what it holds moves. */
  function handle() {
    /** @type {{node: HTMLButtonElement, corner: Corner|null, mid: boolean}} */
    const one = { node: button("grip", "", () => {
      if (one.mid && one.corner) {
        const { corner } = one;
        change("", (zones) => split(zones, picked, corner));
      }
    }), corner: null, mid: false };
    draggable(one.node, (event) => {
      const { corner, mid } = one;
      if (corner && mid) return null;
      if (corner) return (to) => (zones) => reshaped(zones, picked, corner, to);
      const [lon, lat] = spot(event);
      return (to) => (zones) => moved(zones, picked, [to[0] - lon, to[1] - lat]);
    });
    one.node.addEventListener("keydown", (event) => {
      const { corner, mid } = one;
      if (takesOut(event) && !mid) {
        event.preventDefault();
        if (corner) change("", (zones) => merged(zones, picked, corner));
        else remove();
        return;
      }
      if (mid) return;
      const zone = now().zones[picked];
      const from = corner ? zone.polygons[corner.polygon][corner.ring][corner.n] : heart(zone);
      const to = arrow(event, from);
      if (!to) return;
      if (corner) change(`corner ${corner.polygon} ${corner.ring} ${corner.n}`, (zones) => reshaped(zones, picked, corner, to));
      else change("move", (zones) => moved(zones, picked, [to[0] - from[0], to[1] - from[1]]));
    });
    return one;
  }

  function drawHandles() {
    const zone = now().zones[picked];
    /** @type {{corner: Corner|null, mid: boolean, at: [number, number], label: string}[]} */
    const wanted = [];
    if (zone && map.framed()) {
      const label = plain(zone.name || zone.id, 40);
      wanted.push({ corner: null, mid: false, at: map.pixelOf(heart(zone)), label: t("Move {place}", { place: label }) });
      const corners = zone.polygons.flatMap((polygon, p) => polygon.flatMap((ring, r) => ring.map((at, n) => ({ at, next: ring[(n + 1) % ring.length], corner: { polygon: p, ring: r, n } }))));
      if (corners.length <= HANDLES) {
        corners.forEach(({ at, corner }, n) => wanted.push({ corner, mid: false, at: map.pixelOf(at), label: t("Corner {n} of {all} of {place}", { n: n + 1, all: corners.length, place: label }) }));
        for (const { at, next, corner } of corners) {
          const [a, b] = [map.pixelOf(at), map.pixelOf(next)];
          /** @type {[number, number]} */
          const mid = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
          // On a short side it would lie on its corners, in a narrow zone on what moves all of it: closer there is room.
          const far = Math.hypot(mid[0] - wanted[0].at[0], mid[1] - wanted[0].at[1]) > GRIP;
          if (far && Math.hypot(a[0] - b[0], a[1] - b[1]) > 2 * GRIP) wanted.push({ corner, mid: true, at: mid, label: t("Another corner here") });
        }
      }
    }
    while (handles.length < wanted.length) {
      const one = handle();
      handles.push(one);
      grips.append(one.node);
    }
    handles.splice(wanted.length).forEach((one) => one.node.remove());
    wanted.forEach(({ corner, mid, at: [x, y], label }, n) => {
      const one = handles[n];
      one.corner = corner;
      one.mid = mid;
      attr(one.node, "class", `grip${corner ? (mid ? " mid" : "") : " whole"}`);
      attr(one.node, "aria-label", label);
      attr(one.node, "title", label);
      one.node.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
    });
  }

  /** What is to be known before it is saved. */
  function words() {
    const other = findings.filter((one) => one.at === null || one.at !== picked);
    const mine = picked >= 0 ? wrongWith(picked) : "";
    // What keeps the plan from being saved is told also when another zone is picked.
    const at = of(now().zones).faults.findIndex(Boolean);
    const bad = now().zones[at];
    // After a save of one's own the stream tells of it a moment later: an older plan is nobody else's.
    const elsewhere = (scene?.state.planRev ?? 0) > (now().rev ?? Infinity);
    return [
      elsewhere ? t("Somebody else has saved another plan meanwhile.") : "", mine, !mine && at >= 0 ? `${plain(bad.name || bad.id || t("no name yet"), 48)}: ${wrongWith(at)}` : "",
      other.length ? `${other[0].text}${other.length > 1 ? ` ${t("and {n} more", { n: other.length - 1 })}` : ""}` : "",
    ].filter(Boolean).join(" ");
  }

  function redraw() {
    if (scene) map.draw({ ...scene, plan: planNow(scene) });
    fill(now().zones.map((zone, n) => ({ zone, n })), ({ n }) => String(n));
    hide(none, now().zones.length > 0);
    hide(form, picked < 0);
    undo.disabled = now().undo.length === 0;
    redo.disabled = now().redo.length === 0;
    save.disabled = !isChanged() || of(now().zones).faults.some(Boolean);
    const said = words();
    hide(state, said === "");
    put(state, said);
  }

  /** The plan to draw: another object only when something is another. @param {Scene} of @returns {import("../types").Plan} */
  function planNow(of) {
    if (shown && shownOf === now().zones && shown.bearing === of.plan.bearing) return shown;
    shownOf = now().zones;
    const zones = drawn(now().zones);
    shown = { ...of.plan, zones, by: new Map(zones.map((zone) => [zone.id, zone])) };
    return shown;
  }

  return {
    node,
    /** @param {Scene} of */
    draw(of) {
      scene = of;
      redraw();
    },
    /** Draws what lies over the plan; the plan says when. */
    over() {
      const { w, h: high } = map.size();
      attr(paths, "viewBox", `0 0 ${w} ${high}`);
      drawHits();
      drawHandles();
    },
    /** @param {string} key */
    key(key) {
      if (key !== "Escape" || picked < 0) return false;
      pick(-1);
      return true;
    },
    focus: () => title.scrollIntoView({ block: "nearest" }),
    /** Takes it off the plan; what is drawn stays for the next time. */
    off() {
      removeEventListener("keydown", keys);
      layer.remove();
      map.node.classList.remove("editing");
      map.hold(false);
    },
  };
}
