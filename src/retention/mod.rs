//! Rolling retention: what is older than `retention_days` leaves the log, into the archive, a slice at a time; so do the three
//! logs, the audit and letters that are over. And `rebuild`: the places told anew from what is kept.
//!
//! **Invariant:** an event leaves the log when it stands in an archive that was read back, or when there is to be none; what
//! is not sent never leaves.

mod age;
mod archive;
mod clear;
mod filing;
mod purge;
mod rebuild;
mod shelves;
pub mod room;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use crate::clock::Keeper;
use crate::config;
use crate::domain::{Seq, UnixMs};
use crate::health::{Alarm, Board, Ctx, Outcome, PARKED_MAX, Severity, Worker, chore, wedge};
use crate::projection::Rebuild;
use crate::store::{Damaged, Filter, Group, Look, Moved, Page, Reader, Slice, Store, StoreError, Txn};

use age::{Now, Trust, millis};
use archive::Goods;

pub use purge::{Phase, Purge, PurgeError, remove_captures};
pub use rebuild::{Difference, RebuildError, Report, rebuild, rebuild_closed};

/// Between two passes; by the monotonic clock.
const EVERY_MS: i64 = 3_600_000;
/// From the start to the first pass: the receivers have found the time by then, and a busy start is over.
const FIRST_MS: i64 = 300_000;
/// Events that leave in one transaction.
const SLICE: usize = 500;
/// Events of one archive file.
const CHUNK: usize = 10_000;
/// The writer belongs to retention for a third of the time at most, and never twice in a row.
const PAUSE: Duration = Duration::from_millis(20);
/// What one step may take: a file on a slow card, a slice behind a commit on a sick one.
const STEP_BUDGET: Duration = Duration::from_secs(25);
/// What telling all places anew may take, on a slow card with all that a disk holds.
const REBUILD_BUDGET: Duration = Duration::from_secs(600);
/// A pass that would take more than one in so many events needs a time that has stood.
const SHARE: i64 = 5;
/// Raised while a pass refuses or cannot go on.
const ALARM: &str = "retention";

/// Why a pass did not do all that it should.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("{text}")]
    Refused { text: String, advice: &'static str },
    #[error("the archive {path:?} cannot be written: {error}; nothing leaves the log without it")]
    Archive { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the log moved on under the pass; the next one goes on from there")]
    Overtaken,
    #[error("stopped")]
    Stopped,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Events that left the log.
    pub events: usize,
    /// Lines of the logs and the audit, and letters, that left.
    pub lines: usize,
    /// Files written for them.
    pub files: usize,
    /// Assets gone with their last event.
    pub assets: usize,
    /// Archive files past their days.
    pub expired: usize,
}

/// Keeps the log at its length.
pub struct Retention {
    store: Store,
    board: Board,
    keeper: Keeper,
    keep: Duration,
    /// How long archives stay; none: there are none.
    archive: Option<Duration>,
    moved: Moved,
    trust: Trust,
    pause: Duration,
    needs: watch::Receiver<room::Need>,
    /// When a step for room that failed was last told. `CLOCK_BOOTTIME` ms
    said_mono_ms: Option<i64>,
}

impl Retention {
    /// A keeper of the log with the days of the configuration. `moved` are the assets that receivers move: they stay. `needs`
    /// says what has to go for room.
    #[must_use]
    pub fn new(
        store: Store,
        board: Board,
        keeper: Keeper,
        days: &config::Store,
        moved: BTreeSet<String>,
        needs: watch::Receiver<room::Need>,
    ) -> Self {
        let span = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
        Self {
            store,
            board,
            keeper,
            keep: age::turned().unwrap_or(span(days.retention_days)),
            archive: (days.archive_days > 0).then(|| span(days.archive_days)),
            moved: Arc::new(moved),
            trust: Trust::default(),
            pause: PAUSE,
            needs,
            said_mono_ms: None,
        }
    }

    /// The worker `retention`. Waits for: the time of the next pass, the end of room, the word to stop. A restart loses nothing: what was
    /// archived and not yet removed is removed by the next pass.
    #[must_use]
    pub fn worker(self) -> Worker {
        let held = Arc::new(Mutex::new(self));
        Worker::task("retention", move |ctx| {
            let held = Arc::clone(&held);
            async move { held.lock().await.run(&ctx).await }
        })
    }

    async fn run(&mut self, ctx: &Ctx) -> Outcome {
        self.mend_places(ctx).await;
        let (first_ms, every_ms, look) = age::pace(FIRST_MS, EVERY_MS);
        let mut due_ms = self.keeper.clock().now().mono_ms() + first_ms;
        loop {
            wedge::hang(ctx.beat.worker()).await;
            let wait = ctx.beat.parked(PARKED_MAX).min(look);
            tokio::select! {
                () = ctx.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
                Ok(()) = self.needs.changed() => {
                    let need = *self.needs.borrow_and_update();
                    if !need.is_none() {
                        self.make_room(ctx, need).await;
                        // What was needed meanwhile was told of a store that is no more.
                        self.needs.mark_unchanged();
                    }
                }
            }
            // Looked at all the time, so that a step is seen when it happens.
            self.trust.look(&self.keeper);
            if self.keeper.clock().now().mono_ms() < due_ms {
                continue;
            }
            self.pass(ctx).await;
            due_ms = self.keeper.clock().now().mono_ms() + every_ms;
        }
    }

    /// After a loss the places are told anew from what is left, once.
    async fn mend_places(&self, ctx: &Ctx) {
        ctx.beat.working(REBUILD_BUDGET);
        let mended = async {
            if !self.store.read(|reader| reader.wants_rebuild()).await? {
                return Ok(None);
            }
            let _turn = self.store.turn().lock().await;
            let report = rebuild::told_anew(&self.store, true, "after a loss", |_, _| ()).await?;
            self.change(|txn| txn.rebuilt()).await?;
            Ok::<_, StoreError>(Some(report.written))
        };
        match mended.await {
            Ok(None) => {}
            Ok(Some(assets)) => tracing::info!(assets, "the places were told anew from the events that are left"),
            Err(error) => tracing::warn!(%error, "the places could not be told anew; the next start tries again"),
        }
    }

    /// One pass; says what came of it.
    async fn pass(&mut self, ctx: &Ctx) -> Option<Passed> {
        let Ok(_chore) = self.board.begin(chore::RETENTION, self.keeper.clock()) else { return None };
        match self.try_pass(ctx).await {
            Ok(passed) => {
                self.board.clear(ALARM);
                if passed != Passed::default() {
                    let Passed { events, lines, files, assets, expired } = passed;
                    tracing::info!(events, lines, files, assets, expired, "what is old has left the store");
                }
                Some(passed)
            }
            Err(Halt::Stopped) => None,
            Err(halt) => {
                tracing::warn!(why = %halt, "retention did not finish its pass");
                self.raise(&halt);
                None
            }
        }
    }

    fn raise(&self, halt: &Halt) {
        let advice = match halt {
            Halt::Refused { advice, .. } => advice,
            Halt::Archive { .. } => "Free space on the disk or mend the folder; the next pass is within the hour.",
            _ => "The next pass is within the hour; when this stays, see the log of the service.",
        };
        let text = halt.to_string();
        let text = text.strip_suffix('.').unwrap_or(&text);
        self.board.raise(Alarm {
            name: ALARM.into(),
            severity: Severity::Warn,
            since_ms: self.keeper.clock().now().wall_ms,
            text: format!("What is old stays in the store: {text}."),
            advice: advice.into(),
            count: 1,
        });
    }

    async fn try_pass(&mut self, ctx: &Ctx) -> Result<Passed, Halt> {
        let mut passed = Passed::default();
        ctx.beat.working(STEP_BUDGET);
        let store = self.store.clone();
        let Ok(_turn) = store.turn().try_lock() else {
            tracing::info!("already_running: a purge or a rebuild is at work; the next pass is within the hour");
            return Ok(passed);
        };
        self.finish_archive(ctx, &mut passed).await?;
        let keep = self.keep;
        let Some(now) = self.trust.look(&self.keeper) else {
            let wall_ms = self.keeper.clock().now().wall_ms;
            let due = move |reader: &Reader<'_>| {
                Ok(age::may_be_due(reader, wall_ms, keep)? || shelves::may_be_due(reader, wall_ms, keep)?)
            };
            let due = self.store.read(due).await?;
            return if due { Err(no_time()) } else { Ok(passed) };
        };
        let events = self.roll_events(ctx, now, &mut passed).await;
        // The lines are judged by themselves: a log that refuses keeps nobody else.
        let lines = self.roll_shelves(ctx, now, &mut passed).await;
        events?;
        lines?;
        Ok(passed)
    }

    /// Takes out events that are old, and archives past their days.
    async fn roll_events(&mut self, ctx: &Ctx, now: Now, passed: &mut Passed) -> Result<(), Halt> {
        let keep = self.keep;
        let (span, due) = self
            .store
            .read(move |reader| {
                let span = reader.span()?;
                Ok((span, age::due(reader, &span, now.ms, keep)?))
            })
            .await?;
        let is_sure = !now.has_stepped && (now.is_settled || due.is_witnessed(now.ms, keep));
        refuse(now, due.young_ms, due.share(&span), is_sure, "events")?;
        if due.upto > span.base {
            let from_ms = now.ms - millis(keep);
            self.change(move |txn| txn.set_history_from(from_ms)).await?;
        }
        // What was held back and waits to be sent now is behind `base` and not sent.
        self.roll(ctx, due.upto.min(span.sent), now.ms, passed).await?;
        if is_sure {
            ctx.beat.working(STEP_BUDGET);
            passed.expired = self.expire(now.ms).await?;
        }
        Ok(())
    }

    /// Takes out what is old: first what was held back and no longer is, then the next of the log.
    async fn roll(&self, ctx: &Ctx, upto: Seq, now_ms: UnixMs, passed: &mut Passed) -> Result<(), Halt> {
        let mut after = Seq(0);
        while after < upto {
            ctx.beat.working(STEP_BUDGET);
            let moved = Arc::clone(&self.moved);
            let leaving = self.store.read(move |reader| reader.leaving(after, upto, &moved, CHUNK)).await?;
            self.tell(leaving.damaged.clone()).await?;
            // Where none of them says its epoch, all of them are damaged: the file only names them.
            let epoch = leaving.epoch.unwrap_or_else(|| self.store.epoch());
            let goods = Goods::Events(leaving.seqs.iter().map(|seq| seq.0).collect());
            let file = self.archived(goods, epoch, now_ms).await?;
            wedge::point("archive-noted");
            passed.files += usize::from(file.is_some());
            self.remove(ctx, after, leaving.through, leaving.seqs, passed).await?;
            if file.is_some() {
                self.change(|txn| txn.set_archiving(None)).await?;
            }
            after = leaving.through;
        }
        Ok(())
    }

    /// An event that is not as it was written stays in the log until a person has ended its letter.
    async fn tell(&self, damaged: Vec<Damaged>) -> Result<(), StoreError> {
        if damaged.is_empty() {
            return Ok(());
        }
        tracing::error!(
            events = damaged.len(),
            "old events are not as they were written; they stay, each with a letter"
        );
        self.change(move |txn| txn.tell_damaged(&damaged, "archive").map(|_| ())).await
    }

    /// Removes events of a stretch in slices, and tells `base` what all of the stretch told.
    async fn remove(
        &self,
        ctx: &Ctx,
        mut after: Seq,
        through: Seq,
        seqs: Vec<Seq>,
        passed: &mut Passed,
    ) -> Result<(), Halt> {
        let seqs: Arc<BTreeSet<Seq>> = Arc::new(seqs.into_iter().collect());
        while after < through {
            if ctx.stop.is_cancelled() {
                return Err(Halt::Stopped);
            }
            ctx.beat.working(STEP_BUDGET);
            let (seqs, moved) = (Arc::clone(&seqs), Arc::clone(&self.moved));
            let slice = self.store.read(move |reader| slice(reader, (after, through), &seqs, moved)).await?;
            let Some(slice) = slice else { return Ok(()) };
            after = slice.through;
            let begun = Instant::now();
            let left = self.store.submit(Group::Now, move |txn| txn.leave(&slice)).await?.ok_or(Halt::Overtaken)?;
            wedge::point("slice-removed");
            passed.events += left.events;
            passed.assets += left.assets;
            tokio::time::sleep(self.pause.max(begun.elapsed() * 2)).await;
        }
        Ok(())
    }

    async fn expire(&self, now_ms: UnixMs) -> Result<usize, Halt> {
        let before_ms = now_ms.saturating_sub(self.archive.map_or(0, millis));
        let folder = archive::folder(self.store.path());
        blocking(folder.clone(), move || archive::expire(&folder, before_ms)).await
    }

    async fn change(
        &self,
        work: impl FnMut(&mut Txn<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.store.submit(Group::Now, work).await
    }
}

/// The next slice of a stretch; none at its end.
fn slice(reader: &Reader<'_>, (after, through): (Seq, Seq), seqs: &BTreeSet<Seq>, moved: Moved) -> Look<Option<Slice>> {
    let base = reader.span()?.base;
    let Page { mut rows, mut damaged, .. } = reader.after(after, SLICE, &Filter::default())?;
    rows.retain(|row| row.seq <= through);
    damaged.retain(|one| one.seq <= through);
    let there = rows.iter().map(|row| row.seq).chain(damaged.iter().map(|one| one.seq));
    let Some(through) = there.clone().max() else { return Ok(None) };
    let leaving: BTreeSet<Seq> = there.filter(|seq| seqs.contains(seq)).collect();
    let received = rows.last().map_or((0, 0), |last| (last.boot, last.mono_ms));
    let assets: BTreeSet<String> = rows.iter().filter_map(|row| row.asset.clone()).collect();
    let names = reader.names(Some(&assets))?;
    let known: BTreeSet<String> = assets.iter().chain(names.values()).cloned().collect();
    let mut rebuild = Rebuild::new(reader.told(&known)?, names);
    // What was held back when its stretch went has been heard then.
    rows.iter().filter(|row| row.seq > base).for_each(|row| rebuild.hear(row));
    Ok(Some(Slice {
        seqs: leaving.into_iter().collect(),
        base,
        through,
        received,
        assets,
        told: rebuild.fold(reader.history_from()?).into_iter().collect(),
        moved,
    }))
}

/// Refuses what only a wrong clock would ask for. `what` they are, in words; `young_ms`: when the first that stays was written.
fn refuse(
    now: Now,
    young_ms: Option<UnixMs>,
    (leaving, all): (i64, i64),
    is_sure: bool,
    what: &str,
) -> Result<(), Halt> {
    if leaving <= 0 || is_sure {
        return Ok(());
    }
    let young = if young_ms.is_some() { "hardly any" } else { "none" };
    if now.has_stepped {
        return Err(Halt::Refused {
            text: format!(
                "the time has stepped by more than an hour, and {leaving} of {all} {what} would be too old by it"
            ),
            advice: "Check the node's clock. Retention goes on when the time has stood for a day.",
        });
    }
    if leaving > all / SHARE {
        return Err(Halt::Refused {
            text: format!(
                "{leaving} of {all} {what} would be too old at once, and {young} since bear witness to the time"
            ),
            advice: "Check the node's clock. If it is right, wait: retention goes on when it has stood for a day.",
        });
    }
    Ok(())
}

fn no_time() -> Halt {
    Halt::Refused {
        text: "nothing vouches for the time, neither NTP nor a receiver".into(),
        advice: "Give the node NTP, or a receiver with `clock = true`; what is too old leaves at the next pass then.",
    }
}

/// Works on files on a thread that may block.
async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Halt> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|done| done).map_err(|error| Halt::Archive { path, error })
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod shelves_tests;

#[cfg(test)]
mod purge_tests;

#[cfg(test)]
mod balance_tests;
