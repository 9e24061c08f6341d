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
  advice?: string;
}

/** The way to the platform. */
export interface Uplink {
  configured: boolean;
  state: "connected" | "connecting" | "waiting" | "off" | "held";
  url?: string;
  since_ms?: number;
  unsent?: { scan?: number; fix?: number };
  oldest_unsent_s?: number;
  last_error?: string;
  next_try_s?: number;
  budget_left_kib?: number;
  certificate_not_after_s?: number;
}

export interface Disk {
  db_bytes?: number;
  wal_bytes?: number;
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
  sources?: Record<string, { frames: number; stored?: number; repeat?: number; rejected?: number }>;
  events?: { total?: number; unsent?: number; sent?: number; local?: number; dead?: number; lost?: number };
  letters?: { total?: number; open?: number };
}

/** What could not go on and is kept for a person. */
export interface Letters { open: number; by_reason?: ReasonCount[] }

/** One reason, in words where the gateway has them. */
export interface ReasonCount { reason: string; n: number; text?: string; advice?: string }

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
export type Shape = "ok" | "warn" | "fail" | "stale" | "move" | "park" | "dock" | "dup" | "live" | "wait";

/** One chip of the truth strip. */
export interface Chip { id: string; shape: Shape; word: string; small: string }

/** What the alarm bar says: what and since when, then what it means and what to do. */
export interface Condition { key: string; shape: Shape; what: string; advice: string; rank: number; since: number }

/** What a view draws from. */
export interface Scene {
  state: import("./store.js").State;
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
  selected: string | null;
  select(asset: string | null): void;
  kick(): void;
}
