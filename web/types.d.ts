// What the gateway sends (contract sections 4 and 5), as the page's type checker sees it. Absent means unknown.

/** How far a time can be believed. */
export type Tq = "gnss" | "ntp" | "rtc" | "none";

/** A committed fact of the outbox. */
export interface WireEvent {
  id: string;
  epoch?: string;
  seq: number;
  kind: "fix" | "scan" | "place" | "note";
  ts_ms: number;
  tq: Tq;
  received_ms?: number;
  source?: string;
  asset?: string;
  place?: string;
  lat?: number;
  lon?: number;
  alt_m?: number;
  speed_mps?: number;
  course_deg?: number;
  mode?: "2d" | "3d";
  satellites?: number;
  hdop?: number;
  doubt?: string[];
  code?: string;
  key?: string;
  code_kind?: string;
  warn?: string[];
  repeats?: number;
  late?: boolean;
  /** Of a place: the event that it is from. */
  because?: string;
  change?: "enter" | "exit" | "void";
  spare?: boolean;
}

/** A thing with a current place. */
export interface Asset {
  asset: string;
  id?: string;
  seq?: number;
  ts_ms: number;
  tq?: Tq;
  lat?: number;
  lon?: number;
  speed_mps?: number;
  course_deg?: number;
  place?: string;
  since_ms?: number;
  source?: string;
  /** Where GPS sees it when that contradicts `place`: a zone, or empty for none. */
  gps_place?: string;
}

/** A zone of the plan, ready to draw: rings of [longitude, latitude]. */
export interface Zone {
  id: string;
  name: string;
  kind: string;
  rings: [number, number][][];
}

/** The plan of the yard. */
export interface Plan {
  zones: Zone[];
  by: Map<string, Zone>;
  /** Whether the gateway keeps it in its store: then it is changed on the page. */
  kept: boolean;
  /** Which one, of a kept plan. */
  rev: number | null;
  /** How far the picture is turned, degrees clockwise. */
  bearing: number;
  /** How long something may stand at a dock before it stands too long, ms; null when nobody says. */
  overstayMs: number | null;
}

export type SourceCondition =
  | "up" | "silent" | "no_fix" | "absent" | "busy" | "permission" | "garbage" | "opening" | "ended";

/** A configured input. */
export interface Source {
  id: string;
  kind: "gps" | "scanner";
  port?: string;
  state: SourceCondition;
  since_ms?: number;
  age_ms?: number;
  last_frame_ms?: number;
  /** Share of a serial line's capacity in use, 0 to 1. */
  line_load?: number;
  advice?: string;
}

/** The way to the platform. */
export interface Uplink {
  configured: boolean;
  state: "connected" | "connecting" | "waiting" | "off" | "held";
  url?: string;
  since_ms?: number;
  /** Whether there was a connection since the start. */
  ever_connected?: boolean;
  unsent?: { scan?: number; fix?: number };
  oldest_unsent_s?: number;
  last_error?: string;
  next_try_s?: number;
  inflight?: number;
  budget_left_kib?: number;
  certificate_not_after_s?: number;
}

export interface Disk {
  db_bytes?: number;
  wal_bytes?: number;
  archive_bytes?: number;
  /** One fix in so many seconds is stored, as room ends. */
  thin_s?: number;
  autonomy_s?: number;
  written_per_event?: number;
  written_per_day?: number;
  card_tbw?: number;
  card_years?: number;
  free_bytes?: number;
  used_pct: number;
  writable?: boolean;
  intake?: "open" | "refused";
}

export interface Clock { tq: Tq; err_ms?: number; by?: string; rev?: number; text?: string }

export interface Worker {
  worker: string;
  state: string;
  beat_age_ms?: number;
  restarts?: number;
  last_reason?: string;
}

/** The counts that must balance; `balance` is what does not. */
export interface Ledger {
  t?: number;
  balance: number;
  sources?: Record<string, Record<string, number> & { frames: number }>;
  events?: { total?: number; unsent?: number; sent?: number; sent_unheard?: number; local?: number; dead?: number; lost?: number };
  letters?: { total?: number; open?: number };
}

/** What could not go on and is kept for a person. */
export interface Letters { open: number; noise?: number; by_reason?: ReasonCount[] }

/** What is being done with letters, or a chore of the gateway. */
export interface Job {
  job: number | string;
  action?: string;
  state?: string;
  total?: number;
  done?: number;
  ok?: number;
  failed_again?: number;
  skipped?: number;
  begun_ms?: number;
  ended_ms?: number;
}

/** One reason, in words where the gateway has them. */
export interface ReasonCount {
  reason: string;
  n: number;
  text?: string;
  advice?: string;
  class?: "decide" | "noise";
  retry?: boolean;
  count?: number;
  sampled?: number;
  first_ms?: number | null;
  last_ms?: number | null;
  hours?: number[];
}

/** A dead letter as the gateway lists it; `bytes`, `hex`, `ascii` and `peer` only for the operator. */
export interface Letter {
  letter: number;
  state: string;
  stage: string;
  reason: string;
  class: string;
  retry: boolean;
  text: string;
  advice: string;
  source?: string;
  seq?: number;
  length: number;
  detail: string;
  received_ms: number;
  resend?: boolean;
  changed_ms?: number;
  note?: string;
  peer?: string;
  bytes?: string;
  hex?: string;
  ascii?: string;
  event?: string;
  attempts?: { at_ms: number; who?: string; what: string; came: string }[];
  nearby?: { reason: number; reason_and_source: number; source_within_an_hour: number };
  sampled?: number;
}

export interface Alarm {
  name: string;
  severity: "info" | "warn" | "fault";
  since_ms?: number;
  text: string;
  advice?: string;
  count?: number;
}

/** One change on the stream. */
export interface Item { k: string; op: "put" | "del"; v: any }

export interface Snapshot {
  cursor: string;
  t: number;
  node?: string;
  site?: string;
  name?: string;
  tz?: string;
  version?: string;
  boot?: number;
  page?: string;
  assets?: Asset[];
  more?: number;
  scans?: WireEvent[];
  fix?: WireEvent | null;
  states?: { k: string; v: any }[];
}

export interface Hello {
  t: number;
  node?: string;
  site?: string;
  name?: string;
  boot?: number;
  page?: string;
  version?: string;
  hb_ms?: number;
  cursor?: string;
  /** The newest event of this moment: who has it has caught up. */
  head?: string;
  oldest?: string;
}

/** How this screen stands to the gateway. */
export type LinkState = "connecting" | "live" | "stale" | "lost" | "poll" | "paused";

export interface LinkView {
  state: LinkState;
  /** Why it is not live: a word the page has a sentence for. */
  why: "" | "error" | "quiet" | "restart" | "full" | "slow" | "pin" | "reset";
  /** performance.now() of the last byte; null before the first. */
  lastByte: number | null;
  /** performance.now() of the next try; null when none is due. */
  nextTry: number | null;
}

/** A mark's shape: it says the same as its colour. */
export type Shape =
  "ok" | "warn" | "fail" | "stale" | "move" | "park" | "dock" | "dup" | "live" | "wait";

/** One chip of the truth strip. */
export interface Chip { id: string; shape: Shape; word: string; small: string }

/** What the alarm bar says: what and since when, then what it means and what to do. */
export interface Condition { key: string; shape: Shape; what: string; advice: string; rank: number; since: number }

/** What a view draws from. */
export interface Scene {
  state: import("./store.js").State;
  plan: Plan;
  prefs: import("./prefs.js").Prefs;
  link: LinkView;
  /** Whether what is shown is the present: if not, everything is drawn as last known. */
  fresh: boolean;
  /** Whether the gateway has answered at least once. */
  known: boolean;
  /** Gateway time of what is shown, ms: stands still when the link does. */
  shown: number;
  /** Gateway time of this moment, ms. */
  wall: number;
  /** performance.now() of this drawing. */
  now: number;
  tz: string;
  /** A sound is wanted and the browser holds it back until somebody touches the page. */
  quiet: boolean;
  /** Nothing sounds for now. */
  muted: boolean;
  mute(): void;
  selected: string | null;
  select(asset: string | null): void;
  kick(): void;
}

/** What a screen is to the page around it. */
export interface View {
  node: HTMLElement;
  title: string;
  /** Draws what is true; called on news and each second. */
  draw(scene: Scene): void;
  /** Draws what moved, and nothing else; called at most four times a second. Without it a screen has nothing that moves. */
  move?(scene: Scene): void;
  /** Takes a scanned or typed text; false when it has no use for it. */
  scan?(text: string): boolean;
  /** A key that means something here; false when it does not. */
  key?(key: string): boolean;
  /** It is no longer shown. */
  leave?(): void;
}

/** What a screen can ask of the page around it. */
export interface Page {
  store: import("./store.js").Store;
  /** The plan as it was last read. */
  plan(): Plan;
  prefs(): import("./prefs.js").Prefs;
  set(name: keyof import("./prefs.js").Prefs, value: string): void;
  select(asset: string | null): void;
  say(text: string, fault: boolean): void;
  redraw(): void;
  open(href: string): void;
}

declare global {
  /** There is one in a worker that tabs share. */
  var SharedWorkerGlobalScope: unknown;
}
