-- The spine: one log with many cursors, the state folded from it, and the counts that must agree with it.

create table meta (
  k text primary key,                 -- db_epoch; history_from_ms: before it nothing is told anew; archiving: the file in hand; purging: what a person wants gone; retired: a person ends the node
  v text not null
) strict, without rowid;

create table machine (
  n integer primary key,
  kind text not null,                 -- what tells the machine from others: board, soc, dmi, nic
  key blob not null,                  -- random
  digest blob not null,               -- of its serial number under that key: the number itself is kept nowhere
  accepted integer not null           -- 1: the store is bound to it; 0: it woke there, and waits for a person
) strict;

create table traces (
  topic text primary key              -- what the node leaves at the broker: a base, which ends in a slash, or one retained topic
) strict, without rowid;

create table past (
  epoch text primary key,             -- a life of the store that is over: it was found rolled back, damaged, or another's
  last_produced integer not null      -- the highest seq that is known of it
) strict;

create table lost (
  epoch text not null,                -- the life of the store they were committed in
  from_seq integer not null,          -- events that the store no longer holds: they stand as lost in the ledger
  to_seq integer not null,
  reason text not null,               -- rolled_back: the file was older than what had been committed; damaged
  at_ms integer not null,             -- when that was found
  primary key (from_seq)
) strict;

create table boots (
  boot integer primary key,           -- 1, 2, 3 …: the order of boots, whatever the clocks said
  boot_id text not null unique,       -- the kernel's random boot id
  first_ms integer not null,          -- the wall clock when waypost first ran in it; may be wrong
  rev integer not null default 0      -- how often something was said of its time: see spans
) strict;

create table walls (
  boot integer not null references boots (boot) on delete cascade,
  mono_ms integer not null,           -- from the event of this receipt on
  minus_mono_ms integer,              -- the wall clock stood so far from CLOCK_BOOTTIME; null: events have a trusted time
  primary key (boot, mono_ms)
) strict, without rowid;              -- only while events have their time from the wall clock and nothing vouches for it

create table anchors (
  boot integer not null references boots (boot) on delete cascade,
  tq text not null,                   -- gnss, ntp
  mono_ms integer not null,           -- at this CLOCK_BOOTTIME
  utc_ms integer not null,            -- it was this time
  err_ms integer not null,
  said_by text not null,              -- the receiver, or 'ntp'
  primary key (boot, tq, mono_ms)
) strict, without rowid;              -- of each boot and kind the first and the last

create table spans (
  boot integer not null references boots (boot) on delete cascade,
  from_mono_ms integer not null,      -- events received from here
  to_mono_ms integer not null,        -- to before here, with tq none or rtc and ts_ms = received_ms
  offset_ms integer not null,         -- happened at ts_ms + offset_ms
  err_ms integer not null,            -- give or take
  tq text not null,                   -- how that is known; none: from the boots around
  primary key (boot, from_mono_ms)
) strict, without rowid;

create table runs (
  run integer primary key,            -- one a start of the daemon; rows of the log point here
  boot integer not null references boots (boot),
  epoch text not null,                -- db_epoch the run wrote under, 16 hex digits
  site text not null,                 -- node.site, kept because a name may change while old events wait
  node text not null,                 -- node.id
  version text not null,              -- of the binary
  started_ms integer not null,
  started_mono_ms integer not null,
  stopped text                        -- how it ended; null while it runs and after an unclean stop
) strict;

create table outbox (
  seq integer primary key,            -- dense, from 1, never reused: the writer counts, see ledger head/seq
  id blob not null check (length(id) = 16), -- event id, time first: new ids land at the index's end
  kind integer not null,              -- 1 fix, 2 scan, 3 place, 4 note
  run integer not null,               -- names boot, epoch, site and node
  prev integer,                       -- seq of the event before it of the same kind and epoch
  ts_ms integer not null,             -- when it happened
  tq text not null,                   -- how far ts_ms can be believed: gnss ntp rtc none
  received_ms integer not null,       -- the node's wall clock at receipt
  mono_ms integer not null,           -- CLOCK_BOOTTIME at receipt
  source text,                        -- configured input, 'manual', or null for what the node derived
  asset text,                         -- the asset it is about
  place text,                         -- the place it names
  code text,                          -- a scan's code
  repeats integer not null default 0, -- repeats of a scan counted before its first publish
  body text not null,                 -- the other fields of its kind: a JSON object, written once
  digest integer not null             -- of all columns but repeats, first 8 bytes of BLAKE3: a row that changed by itself shows
) strict;

create unique index outbox_id on outbox (id);

create table places (
  asset text primary key,             -- an asset as it is now
  id blob not null,                   -- newest event it rests on
  seq integer not null,
  ts_ms integer not null,
  tq text not null,
  boot integer not null,              -- with mono_ms the order of receipt, which no clock step changes
  mono_ms integer not null,
  lat real,                           -- degrees WGS 84
  lon real,
  speed_mps real,
  course_deg real,                    -- degrees true
  place text,                         -- where it is; null when not at a known place
  since_ms integer,                   -- since when it is there
  source text,                        -- who saw it last
  gps_place text,                     -- where GPS sees it, when that contradicts place; '' for no zone
  said integer,                       -- the last statement on its place, and the last turn
  turn integer
) strict, without rowid;

create table said (
  n integer primary key,              -- rows in the order of arrival: none is written but at the end of the table
  prev integer,                       -- what was said of its place before, in the order of when
  asset text not null,
  order_ms integer not null,          -- a trusted time; what has none of its own follows what was said last
  nudge integer not null,             -- how many without a trusted time have followed
  cause blob not null,                -- the event that says so
  nth integer not null,               -- its how-manieth statement
  ts_ms integer not null,
  tq text not null,
  boot integer not null,              -- receipt
  mono_ms integer not null,
  voice integer not null,             -- 1 scan, 2 operator, 3 gps
  gone integer not null,              -- 0 it is at the place, 1 it is gone from there
  place text                          -- null with gone: nowhere that has a name
) strict;

create table turns (
  n integer primary key,              -- its changes of place that hold, as in `said`
  prev integer,
  asset text not null,
  order_ms integer not null,
  nudge integer not null,
  cause blob not null,
  nth integer not null,
  change integer not null,            -- 1 exit, 2 enter
  place text not null,
  since_ms integer not null,
  tq text not null,
  voice integer not null,
  id blob not null,                   -- its place event
  seq integer not null
) strict;

create table voids (
  id blob primary key,                -- a place event that no longer holds
  by_id blob not null                 -- the void event that says so
) strict, without rowid;

create table fences (
  asset text not null,                -- how it stands to the zones of the plan, each time that changed
  ts_ms integer not null,
  id blob not null,                   -- the fix it changed with
  state text not null,                -- `plan::Fence` as text
  primary key (asset, ts_ms, id)
) strict, without rowid;

create table base (
  asset text primary key,             -- an asset as the events told that have left the log; with the rest: `places`
  told text not null                  -- `projection::Rebuild` as text
) strict, without rowid;

create table carriers (
  asset text primary key,             -- an asset that receivers move
  receiver text not null              -- the receiver that does now
) strict, without rowid;

create table zones (
  rev integer primary key,            -- the plan of the yard where no file gives it: 1, 2, 3 …; the last is in force, some before it are kept
  at_ms integer not null,             -- when it was put here
  boot integer not null,
  mono_ms integer not null,
  who text not null,                  -- as in the audit
  after_ms integer not null,          -- fixes up to this time stood to the zones of a plan before: they are not judged anew
  text text not null                  -- GeoJSON, as it was given
) strict;

create table assets (
  asset text primary key,             -- the register: things that people name
  name text not null,                 -- for people; '' when it has none
  kind text not null,                 -- trailer, pallet …: a word for people; '' when none is given
  codes text not null,                -- its codes as a person wrote them: a JSON array of texts
  added_ms integer not null,
  changed_ms integer not null
) strict, without rowid;

create table asset_keys (
  key text primary key,               -- canonical key of a code, e.g. sscc:376104250021234569
  asset text not null references assets (asset) on delete cascade,
  nth integer not null                -- its place among the keys of its asset, from 0
) strict, without rowid;

create index asset_keys_asset on asset_keys (asset);

create table windows (
  source text not null,               -- the open window in which equal codes are repeats
  code text not null,                 -- '' where the scope is "previous", else the code
  key text not null,                  -- the accepted read: its code
  seq integer not null,               -- its event; 0 while it is held
  boot integer not null,
  mono_ms integer not null,           -- its receipt
  letter integer,                     -- the letter that holds it, when no asset has its key
  primary key (source, code)
) strict, without rowid;

create table sheets (
  source text primary key,            -- a scanner that the test sheet was read with
  at_ms integer not null,             -- the last read of it
  verdict text not null               -- what it shows of the scanner's settings: a JSON object
) strict, without rowid;

create table purged (
  from_seq integer primary key,       -- events that a person had deleted: no gap of the log without a name
  to_seq integer not null             -- the last of the stretch; behind the cursor of `base` none is kept
) strict;

create table scrub (
  n integer primary key,              -- zeros written over freed pages while a purge runs; else empty
  zeros blob not null
) strict;

create table cursors (
  name text primary key,              -- lane of the uplink: scan, fix; base; confirmed
  seq integer not null                -- each event of the lane up to here is acknowledged or dead, or is in `base`, or the centre has it
) strict, without rowid;

create table commands (
  id text primary key,                -- what the centre asked for, as it named it: asked again it is answered the same and nothing is done
  cmd text not null,                  -- replay, ping, confirm
  asked blob not null,                -- digest of what was asked: the same id may only ask for the same
  heard_ms integer not null,          -- the node's wall clock then
  expires_ms integer not null,        -- after this it would be refused
  answer text not null,               -- the answer, as it was published
  running integer not null default 0, -- 1: a replay that is not over; what follows is of replays
  epoch text,                         -- the life of the store whose events are wanted
  from_seq integer,
  to_seq integer,
  through integer,                    -- looked at up to here
  count integer not null default 0    -- events that the broker has taken again
) strict, without rowid;

create unique index commands_running on commands (running) where running = 1;

create table ledger (
  scope text not null,                -- 'source', 'events', 'letters', 'refused', 'head'; 'left…': what no row tells of any more
  name text not null,                 -- source id; '' for the node's own
  outcome text not null,              -- frames, stored, repeat …; total, unsent …; open, sampled …; seq, fix …
  detail text not null,               -- reason or lane; '' when there is none
  n integer not null,
  primary key (scope, name, outcome, detail)
) strict, without rowid;

create table letters (
  letter integer primary key,         -- what could not go on, kept for a person
  state text not null,                -- open, retried, discarded, expired
  stage text not null,                -- source, decoder, store, uplink
  reason text not null,               -- from the closed list
  class text not null,                -- decide: a person can mend it; noise: it ends with retention
  source text,
  peer text,                          -- who sent it over the network
  seq integer,                        -- the event, where one was stored already
  bytes blob not null,                -- what arrived, at most 4 KiB of a scan, 256 bytes of a sentence
  length integer not null,            -- how long it was
  detail text not null,               -- GS1 field, broker's words
  received_ms integer not null,
  boot integer not null,
  mono_ms integer not null,
  ts_ms integer,                      -- when it happened, of a scan that decoded and is held; else known at a retry
  tq text,                            -- how far ts_ms can be believed
  repeats integer not null default 0, -- repeats of a held scan
  resend integer not null default 0,  -- 1: open, and its event stands unsent behind its lane's cursor, to be sent again
  changed_ms integer,                 -- when a person or retention changed its state
  note text not null default ''       -- what that person said
) strict;

create index letters_open on letters (reason, source) where state = 'open';
create index letters_event on letters (seq) where seq is not null;
create index letters_resend on letters (seq) where resend = 1;

create table steps (
  letter integer not null references letters (letter) on delete cascade,
  nth integer not null,               -- 1, 2, 3 …: what was done with a letter; of many the newest are kept
  at_ms integer not null,
  who text not null,                  -- as in the audit; uplink: the broker's answer
  what text not null,                 -- retry, discard, restore; sent, refused
  came text not null,                 -- what it came to, or what that person said
  primary key (letter, nth)
) strict, without rowid;

create table jobs (
  job integer primary key,            -- what a person asked of some letters; the newest are kept
  key text unique,                    -- the Idempotency-Key it was asked under, if one was given
  asked blob not null,                -- digest of what was asked: the same key may only ask for the same
  who text not null,
  action text not null,               -- retry, discard, restore
  which text not null,                -- the letters that are meant: a JSON object
  note text not null,
  upto integer not null,              -- letters after this one were not there yet
  through integer not null,           -- letters up to here are done with
  total integer not null,             -- how many were meant
  ok integer not null,                -- how many it went well with
  failed integer not null,            -- how many are still open, for a reason
  skipped integer not null,           -- how many are as they were
  left text not null,                 -- the first of these and why: a JSON array
  state text not null,                -- running, done, stopped
  begun_ms integer not null,
  ended_ms integer
) strict;

create table audit (
  entry integer primary key,          -- what people did to the node, and who they were
  at_ms integer not null,
  boot integer not null,
  mono_ms integer not null,
  who text not null,                  -- uid of the caller on the control socket or of the command
  what text not null,                 -- register, delete, import, place, scan, retry, discard, restore, stop, accept, rename, retire, plan
  detail text not null
) strict;

create table inbound_log (
  entry integer primary key,          -- what happened at the ports: opened, lost, refused, silent, garbage
  at_ms integer not null,
  boot integer not null,
  mono_ms integer not null,
  source text not null,
  what text not null,
  detail text not null,
  n integer not null default 1        -- how often: the like of a minute is one line, with the last one's particulars
) strict;

create table outbound_log (
  entry integer primary key,          -- what happened to the platform: connected, lost, batches acknowledged
  at_ms integer not null,
  boot integer not null,
  mono_ms integer not null,
  what text not null,
  lane text,
  from_seq integer,
  to_seq integer,
  latency_ms integer,                 -- publish to acknowledgement of the batch's slowest
  detail text not null,
  n integer not null default 1        -- how often: the like of a minute is one line, with the last one's particulars
) strict;

create table failure_log (
  entry integer primary key,          -- what went wrong inside: a restart, a refused write
  at_ms integer not null,
  boot integer not null,
  mono_ms integer not null,
  stage text not null,
  what text not null,
  detail text not null,
  n integer not null default 1        -- how often: the like of a minute is one line, with the last one's particulars
) strict;

-- For readers outside; stable over schema versions.
create view events (seq, epoch, id, kind, source, asset, code, ts_ms, body) as
  select o.seq, r.epoch, lower(hex(o.id)),
         case o.kind when 1 then 'fix' when 2 then 'scan' when 3 then 'place' else 'note' end,
         o.source, o.asset, o.code, o.ts_ms, o.body
  from outbox o join runs r on r.run = o.run;
