//! What commands do to the store: each is answered and remembered in one transaction, so that the same one, however often and
//! after whatever end it comes, is done once. And where the events of a replay come from.

use std::io;
use std::sync::Arc;

use serde::Deserialize;

use crate::domain::{Epoch, Kind, Seq, UnixMs};
use crate::health::{CommandKind, CommandOutcome};
use crate::store::{self, Confirmed, Damaged, Group, Page, Replay, Result, Store, Txn};
use crate::wire;

use super::Kit;
use super::command::{self, Asked, Command, Refusal, Reply};
use super::figures;
use super::lane::{Batch, Message, Queued};
use super::payload::When;

/// The name of the centre in the inbound log.
const CENTRE: &str = "uplink";
/// Archived events read at once: a file is unpacked for each.
const ARCHIVED_AT_ONCE: usize = 1_000;

/// Events that have left the log.
pub trait Archives: Send + Sync {
    /// How many events `from..=to` of an epoch there are.
    ///
    /// # Errors
    /// As the disk says.
    fn count(&self, epoch: Epoch, from: Seq, to: Seq) -> io::Result<i64>;

    /// Those after a place and up to another as they were sent, each with its seq and in that order, at most `limit`.
    ///
    /// # Errors
    /// As the disk says.
    fn after(&self, epoch: Epoch, after: Seq, upto: Seq, limit: usize) -> io::Result<Vec<(Seq, String)>>;
}

/// Nothing has left the log.
#[cfg(test)]
impl Archives for () {
    fn count(&self, _: Epoch, _: Seq, _: Seq) -> io::Result<i64> {
        Ok(0)
    }

    fn after(&self, _: Epoch, _: Seq, _: Seq, _: usize) -> io::Result<Vec<(Seq, String)>> {
        Ok(Vec::new())
    }
}

/// A command's answer, and what follows from it.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    /// Under which id; none when it could not be told.
    pub id: Option<String>,
    pub kind: CommandKind,
    pub outcome: CommandOutcome,
    /// As it is published.
    pub text: String,
    /// What is to be sent again from now on.
    pub replay: Option<Replay>,
    /// Up to where the centre has everything, when it is more than before.
    pub confirmed: Option<Seq>,
}

/// Says no to what cannot be understood.
pub(super) async fn refuse(store: Store, refusal: Refusal, when: When) -> Answered {
    let Refusal { id, kind, word, outcome } = refusal;
    let text = command::answer(id.as_deref(), &word, Reply::of(outcome), when);
    let detail = format!("{} {word}: {}", command::answer_level(id.as_deref()), outcome.as_str());
    let noted = store.submit(Group::Now, move |txn| txn.log_inbound(CENTRE, "refused", &detail)).await;
    if let Err(error) = noted {
        tracing::warn!(%error, "a refused command could not be noted");
    }
    Answered { id, kind, outcome, text, replay: None, confirmed: None }
}

/// What of a replay there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct There {
    knows_epoch: bool,
    count: i64,
    has_left: bool,
}

/// Carries a command out, if nobody has.
pub(super) async fn carry_out(kit: Arc<Kit>, asked: Asked, when: When, floor_ms: UnixMs) -> Answered {
    let (id, kind) = (asked.id.clone(), asked.command.kind());
    match try_carry_out(kit, asked, when, floor_ms).await {
        Ok(answered) => answered,
        Err(error) => {
            tracing::warn!(%error, id, "a command could not be carried out");
            let text = command::answer(Some(&id), kind.as_str(), Reply::of(CommandOutcome::StoreError), when);
            Answered { id: Some(id), kind, outcome: CommandOutcome::StoreError, text, replay: None, confirmed: None }
        }
    }
}

async fn try_carry_out(kit: Arc<Kit>, asked: Asked, when: When, floor_ms: UnixMs) -> Result<Answered> {
    let there = match asked.command {
        Command::Replay { epoch, from, to } if asked.refusal.is_none() => look(&kit, epoch, from, to).await?,
        _ => There::default(),
    };
    let (kind, digest, epoch) = (asked.command.kind(), asked.command.digest(), kit.store.epoch());
    let work = move |txn: &mut Txn<'_>| {
        let Asked { ref id, expires_ms, .. } = asked;
        let answered = |reply: Reply, replay: Option<Replay>| Answered {
            id: Some(id.clone()),
            kind,
            outcome: reply.outcome,
            text: command::answer(Some(id), kind.as_str(), reply, when),
            replay,
            confirmed: None,
        };
        if let Some(known) = txn.command(id)? {
            if known.asked != digest || known.cmd != kind.as_str() {
                return note(txn, answered(Reply::of(CommandOutcome::IdReused), None));
            }
            let before = answered(Reply::of(CommandOutcome::Repeated), None);
            return note(txn, Answered { text: known.answer, ..before });
        }
        if let Some(refusal) = asked.refusal {
            return note(txn, answered(Reply::of(refusal), None));
        }
        let (reply, replay) = decide(txn, &asked, there, epoch)?;
        let answered = answered(reply, replay.clone());
        if reply.outcome == CommandOutcome::Busy {
            // Nothing was decided: the same id is to be carried out when it asks again.
            return note(txn, answered);
        }
        let command = store::Command {
            id: id.clone(),
            cmd: kind.as_str().to_owned(),
            asked: digest,
            expires_ms,
            answer: answered.text.clone(),
            replay,
        };
        if !txn.remember(&command, floor_ms)? {
            let text = command::answer(Some(id), kind.as_str(), Reply::of(CommandOutcome::Full), when);
            return note(txn, Answered { outcome: CommandOutcome::Full, text, replay: None, ..answered });
        }
        let confirmed = match asked.command {
            Command::Confirm { through, .. } if reply.outcome == CommandOutcome::Done => Some(through),
            _ => None,
        };
        note(txn, Answered { confirmed, ..answered })
    };
    kit.store.submit(Group::Now, work).await
}

/// What a command that is in order comes to.
fn decide(txn: &mut Txn<'_>, asked: &Asked, there: There, epoch: Epoch) -> Result<(Reply, Option<Replay>)> {
    let plain = |outcome| Ok((Reply::of(outcome), None));
    match asked.command {
        Command::Ping => plain(CommandOutcome::Done),
        Command::Confirm { epoch: of, .. } if of != epoch => plain(CommandOutcome::WrongEpoch),
        Command::Confirm { through, .. } => match txn.confirm(through)? {
            Confirmed::More(count) => Ok((Reply { count, ..Reply::of(CommandOutcome::Done) }, None)),
            Confirmed::Known => plain(CommandOutcome::Unchanged),
            Confirmed::Ahead => plain(CommandOutcome::BadRange),
        },
        Command::Replay { .. } if !there.knows_epoch => plain(CommandOutcome::WrongEpoch),
        Command::Replay { to, .. } if to > txn.head() => plain(CommandOutcome::BadRange),
        Command::Replay { .. } if there.count == 0 && there.has_left => plain(CommandOutcome::Archived),
        Command::Replay { .. } if txn.replay()?.is_some() => plain(CommandOutcome::Busy),
        Command::Replay { epoch, from, to } => {
            let missing = to.0 - from.0 + 1 - there.count;
            let through = Seq(from.0 - 1);
            let replay = Replay { id: asked.id.clone(), epoch, from, to, through, count: 0 };
            Ok((Reply { outcome: CommandOutcome::Running, count: there.count, missing }, Some(replay)))
        }
    }
}

/// Writes down what became of a command.
fn note(txn: &mut Txn<'_>, answered: Answered) -> Result<Answered> {
    let Answered { id, kind, outcome, .. } = &answered;
    let detail = format!("{}: {}", command::answer_level(id.as_deref()), outcome.as_str());
    txn.log_inbound(CENTRE, kind.as_str(), &detail)?;
    Ok(answered)
}

async fn look(kit: &Kit, epoch: Epoch, from: Seq, to: Seq) -> Result<There> {
    let there = kit.store.read(move |reader| {
        Ok(There {
            knows_epoch: reader.knows_epoch(epoch)?,
            count: reader.replayable(epoch, (from, to))?,
            has_left: reader.oldest()? > from,
        })
    });
    let there = there.await?;
    if !there.knows_epoch || !there.has_left {
        return Ok(there);
    }
    let archives = Arc::clone(&kit.archives);
    let counted = blocking(move || archives.count(epoch, from, to)).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the archives cannot be read; what is in them is not sent again");
        0
    });
    Ok(There { count: there.count + counted, ..there })
}

/// The replay that was not over when the node was.
pub(super) async fn unfinished(store: &Store) -> Result<Option<Replay>> {
    store.read(|reader| reader.replay()).await
}

/// Reads the next events of the replay that runs, from the archives and the log, with their bytes as they were sent.
pub(super) async fn read(kit: Arc<Kit>, after: Seq, limit: usize) -> Result<(Vec<Queued>, Seq)> {
    let looked = kit.store.read(move |reader| {
        let Some(replay) = reader.replay()? else { return Ok(None) };
        let page = reader.replayed(replay.epoch, (after, replay.to), limit)?;
        Ok(Some((replay, page, reader.oldest()? > Seq(after.0 + 1))))
    });
    let Some((replay, page, has_left)) = looked.await? else { return Ok((Vec::new(), after)) };
    let Page { rows, damaged, mut seen, .. } = page;
    if !damaged.is_empty() {
        let seqs: Vec<i64> = damaged.iter().map(|Damaged { seq, .. }| seq.0).collect();
        tracing::error!(?seqs, "events that are not as they were written are not sent again");
    }
    let mut queued = figures::queued(&kit, &rows, Vec::new());
    for one in &mut queued {
        one.message.payload = wire::replayed(std::mem::take(&mut one.message.payload));
        one.patient_until_us = None;
    }
    if has_left {
        let (epoch, to, archives) = (replay.epoch, replay.to, Arc::clone(&kit.archives));
        let limit = limit.max(ARCHIVED_AT_ONCE);
        let archived = blocking(move || archives.after(epoch, after, to, limit)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the archives cannot be read; what is in them is not sent again");
            Vec::new()
        });
        if archived.len() >= limit {
            // What of the log lies behind it comes with the next look.
            seen = seen.min(archived.last().map_or(seen, |(seq, _)| *seq));
        }
        queued.extend(archived.into_iter().filter_map(|(seq, event)| restored(&kit.config.prefix, seq, event)));
        queued.retain(|one| one.seq <= seen);
        queued.sort_by_key(|one| one.seq);
        queued.dedup_by_key(|one| one.seq);
    }
    Ok((queued, seen))
}

/// An event out of an archive; none when it is none.
fn restored(prefix: &str, seq: Seq, event: String) -> Option<Queued> {
    #[derive(Deserialize)]
    struct Where<'a> {
        site: &'a str,
        node: &'a str,
        kind: &'a str,
    }
    let Where { site, node, kind } = serde_json::from_str(&event).ok()?;
    let kind = Kind::from_word(kind)?.as_str();
    let topic = format!("{prefix}/v1/{site}/{node}/event/{kind}");
    let message = Message { topic, payload: wire::replayed(event), ..Message::default() };
    Some(Queued { seq, message, patient_until_us: None, is_damaged: false })
}

/// Notes how far a replay is. False when it is not where the batch begins.
pub(super) fn write(txn: &mut Txn<'_>, batch: &Batch) -> Result<bool> {
    let Batch { from, through, sent, unheard, .. } = *batch;
    txn.replay_through(from, through, sent + unheard)
}

/// Whether a batch whose answer was lost is in the store all the same.
pub(super) async fn is_written(store: &Store, through: Seq) -> Result<bool> {
    Ok(unfinished(store).await?.is_some_and(|replay| replay.through == through))
}

/// Ends a replay that has come to its end; answers what it came to. None when there is none.
pub(super) async fn end(store: Store, when: When) -> Result<Option<Answered>> {
    let work = move |txn: &mut Txn<'_>| {
        let Some(replay) = txn.replay()? else { return Ok(None) };
        let Replay { id, from, to, count, .. } = replay;
        let reply = Reply { outcome: CommandOutcome::Done, count, missing: (to.0 - from.0 + 1 - count).max(0) };
        let text = command::answer(Some(&id), CommandKind::Replay.as_str(), reply, when);
        txn.end_replay(&id, &text)?;
        let (kind, outcome) = (CommandKind::Replay, CommandOutcome::Done);
        note(txn, Answered { id: Some(id), kind, outcome, text, replay: None, confirmed: None }).map(Some)
    };
    store.submit(Group::Now, work).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
