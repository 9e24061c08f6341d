-- What a centre keeps of waypost nodes: PostgreSQL 12 or newer. `psql -f tables.sql`, then consumer.py.
-- What the columns mean is in docs/mqtt.md; its SQL is a part of this file.

create table event (
  id        text primary key,
  epoch     text not null,
  seq       bigint not null,
  prev      bigint,
  site      text not null,
  node      text not null,
  kind      text not null,
  ts        timestamptz not null,
  body      jsonb not null,
  came_at   timestamptz not null default now()
);
create index event_row on event (node, epoch, seq) include (kind, prev, site);
create index event_asset on event ((body->>'asset'), ts);

create table watermark (
  site text not null, node text not null, epoch text not null, body jsonb not null, came_at timestamptz not null default now(),
  primary key (node, epoch)
);

create table clock (
  node text not null, boot bigint not null, rev bigint not null, spans jsonb not null,
  primary key (node, boot)
);

-- What nodes were asked to send again, and what they answered.
create table ask (
  id text primary key, node text not null, epoch text not null, from_seq bigint not null, to_seq bigint not null,
  asked_at timestamptz not null default now(), answer jsonb
);

-- What came on our topics and is no message of a node. It is kept, so that it can be acknowledged: else it would come for ever.
create table refused (
  topic text not null, payload bytea not null, why text not null, came_at timestamptz not null default now()
);

-- Ranges of a node's log that are not here. Up to what the broker has acknowledged in both lanes (all of the log, where
-- none waits in a lane) `seq` has no gaps: what is not here was lost behind the node. Above it, of each kind, `prev` names the event before. Left out is what the node
-- itself calls missing: dead letters and losses.
create view gap as
with proven as (
  select site, node, epoch, coalesce((body#>>'{past,0,last_produced}')::bigint, 0) as begun,
         least(coalesce((body#>>'{lanes,scan,first_unacked}')::bigint - 1, (body->>'last_produced')::bigint),
               coalesce((body#>>'{lanes,fix,first_unacked}')::bigint - 1, (body->>'last_produced')::bigint)) as upto
  from watermark
), line as (                     -- the events, and an end for what lies behind the last one
  select site, node, epoch, kind, seq, prev from event
  union all
  select site, node, epoch, null, upto + 1, null from proven
), stepped as (
  select l.*, coalesce(p.upto, 0) as upto,
         coalesce(lag(l.seq) over (partition by l.node, l.epoch order by l.seq), p.begun) as before,
         lag(l.seq) over (partition by l.node, l.epoch, l.kind order by l.seq) as before_of_kind
  from line l left join proven p on p.node = l.node and p.epoch = l.epoch
), hole as (
  select site, node, epoch, before + 1 as from_seq, least(seq - 1, upto) as to_seq from stepped
  union all
  select site, node, epoch, greatest(coalesce(before_of_kind, 0), upto) + 1, prev from stepped
  where prev is distinct from before_of_kind
)
select * from hole h
where from_seq <= to_seq and not exists (
  select 1 from watermark w cross join lateral jsonb_array_elements(w.body->'missing') m
  where w.node = h.node and w.epoch = h.epoch and (m->>0)::bigint <= from_seq and (m->>1)::bigint >= to_seq
);

-- Those that no node was asked for lately. A node that answered has sent what it still has: it is asked again after a day;
-- one that did not answer, or would not, after five minutes; one that was at another replay at the next look.
create view to_ask as
select * from gap g
where not exists (
  select 1 from ask a
  where a.node = g.node and a.epoch = g.epoch and a.from_seq <= g.from_seq and a.to_seq >= g.to_seq
    and a.asked_at > now() - case when a.answer->>'reason' = 'busy' then interval '0'
                                  when (a.answer->>'ok')::boolean then interval '1 day' else interval '5 minutes' end
);

-- Where things were: each enter and exit that no standing void names.
create view history as
with voiding as (
  select e.id, e.body->>'voids' as voids, e.seq from event e where e.kind = 'place' and e.body->>'change' = 'void'
), standing as (                 -- a void stands unless a later void names it
  select v.* from voiding v where not exists (select 1 from voiding w where w.voids = v.id)
)
select e.body->>'asset' as asset, e.body->>'change' as change, e.body->>'place' as place, e.ts
from event e
where e.kind = 'place' and e.body->>'change' <> 'void'
  and not exists (select 1 from standing s where s.voids = e.id)
order by asset, e.ts, (e.body->>'nth')::int nulls first, change desc;

-- Events with the best known time and how sure it is.
create view best_time as
select e.id, to_timestamp(((e.body->>'ts_ms')::bigint + coalesce((s->>'offset_ms')::bigint, 0)) / 1000.0) as at,
       (s->>'err_ms')::bigint as err_ms
from event e
left join clock c on c.node = e.node and c.boot = (e.body->>'boot')::bigint
left join lateral jsonb_array_elements(c.spans) s
  on e.body->>'tq' in ('none', 'rtc') and e.body->>'ts_ms' = e.body->>'received_ms'
 and (e.body->>'mono_ms')::bigint >= (s->>'from_mono_ms')::bigint
 and (e.body->>'mono_ms')::bigint < (s->>'to_mono_ms')::bigint;
