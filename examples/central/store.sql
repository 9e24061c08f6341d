-- An event; :msg is the message. No row comes back for one that was there: do nothing more then.
insert into event (id, epoch, seq, prev, site, node, kind, ts, body)
select m->>'id', m->>'epoch', (m->>'seq')::bigint, (m->>'prev')::bigint, m->>'site', m->>'node', m->>'kind',
       to_timestamp((m->>'ts_ms')::bigint / 1000.0), m - 'replay'
from (select :msg::jsonb as m) as one
on conflict (id) do nothing
returning id;

-- What a node says of a boot's clock; :msg is the message.
insert into clock (node, boot, rev, spans)
select m->>'node', (m->>'boot')::bigint, (m->>'rev')::bigint, m->'spans' from (select :msg::jsonb as m) as one
on conflict (node, boot) do update set rev = excluded.rev, spans = excluded.spans where clock.rev < excluded.rev;

-- What a node says of its log; :msg is the message, :site stands in its topic.
insert into watermark (site, node, epoch, body)
select :site, m->>'node', m->>'epoch', m from (select :msg::jsonb as m) as one
on conflict (node, epoch) do update set body = excluded.body, came_at = now();

-- What a node answered; :msg is the message.
update ask set answer = m from (select :msg::jsonb as m) as one where id = m->>'id';
