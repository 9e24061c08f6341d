//! Lines of the logs, the audit and letters leave as events do: by age, archived and read back first, a slice at a time.

use std::time::Duration;

use crate::clock::BUILD_FLOOR_MS;
use crate::domain::{Seq, UnixMs};
use crate::health::Ctx;
use crate::store::{Group, LettersBefore, Look, Reader, Shelf, Txn};

use super::age::{self, Now, millis};
use super::archive::Goods;
use super::{CHUNK, Halt, Passed, Retention, SLICE, STEP_BUDGET, refuse};

/// How long the audit is kept at least: who did what is asked after a year, not after a month.
const AUDIT_KEEP: Duration = Duration::from_secs(365 * 86_400);
/// How long a letter that has ended can be restored.
const RESTORE_KEEP: Duration = Duration::from_secs(30 * 86_400);

/// How long the answer to a command is remembered, so that the same one is done once.
const COMMANDS_KEEP: Duration = Duration::from_secs(7 * 86_400);

/// What leaves a shelf.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Lines up to this number.
    Lines(i64),
    /// Letters.
    Letters(LettersBefore),
}

/// Whether anything on the shelves would be old if the wall clock were right.
pub(super) fn may_be_due(reader: &Reader<'_>, wall_ms: UnixMs, keep: Duration) -> Look<bool> {
    for shelf in [Shelf::Inbound, Shelf::Outbound, Shelf::Failures] {
        let first = reader.shelf_after(shelf, 0, 1)?;
        if first.first().is_some_and(|one| one.at_ms >= BUILD_FLOOR_MS && one.at_ms <= wall_ms - millis(keep)) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Retention {
    /// Takes off every shelf what is old, and out what says nothing any more.
    pub(super) async fn roll_shelves(&self, ctx: &Ctx, now: Now, passed: &mut Passed) -> Result<(), Halt> {
        let mut refused = Ok(());
        for shelf in Shelf::ALL {
            ctx.beat.working(STEP_BUDGET);
            match self.roll_shelf(ctx, shelf, now, passed).await {
                Err(halt @ Halt::Refused { .. }) => refused = Err(halt),
                done => done?,
            }
        }
        let forgotten_ms = now.ms - millis(COMMANDS_KEEP);
        let sweep = move |txn: &mut Txn<'_>| txn.sweep().and_then(|()| txn.forget_commands(forgotten_ms).map(|_| ()));
        self.store.submit(Group::Now, sweep).await?;
        self.forget_runs(ctx).await?;
        refused
    }

    async fn roll_shelf(&self, ctx: &Ctx, shelf: Shelf, now: Now, passed: &mut Passed) -> Result<(), Halt> {
        let keep = match shelf {
            Shelf::Audit => self.keep.max(AUDIT_KEEP),
            _ => self.keep,
        };
        let due = match shelf {
            Shelf::Letters => self.letters_due(now).await?,
            _ => self.lines_due(shelf, now, keep).await?,
        };
        let Some(due) = due else { return Ok(()) };
        let (epoch, mut after) = (self.store.epoch(), 0);
        loop {
            ctx.beat.working(STEP_BUDGET);
            let numbers: Vec<i64> = match due {
                Due::Lines(upto) => {
                    let page = self.store.read(move |reader| reader.shelf_after(shelf, after, CHUNK)).await?;
                    page.iter().map(|one| one.entry).take_while(|entry| *entry <= upto).collect()
                }
                Due::Letters(before) => {
                    self.store.read(move |reader| reader.letters_leaving(before, after, CHUNK)).await?
                }
            };
            let Some(last) = numbers.last().copied() else { return Ok(()) };
            let file = self.archived(Goods::Rows(shelf, numbers.clone()), epoch, now.ms).await?;
            passed.files += usize::from(file.is_some());
            self.unshelve(ctx, shelf, &numbers, passed).await?;
            if file.is_some() {
                self.store.submit(Group::Now, |txn| txn.set_archiving(None)).await?;
            }
            after = last;
        }
    }

    /// Removes rows of a shelf in slices.
    pub(super) async fn unshelve(
        &self,
        ctx: &Ctx,
        shelf: Shelf,
        numbers: &[i64],
        passed: &mut Passed,
    ) -> Result<(), Halt> {
        for slice in numbers.chunks(SLICE) {
            if ctx.stop.is_cancelled() {
                return Err(Halt::Stopped);
            }
            ctx.beat.working(STEP_BUDGET);
            let slice = slice.to_vec();
            let begun = std::time::Instant::now();
            passed.lines += self.store.submit(Group::Now, move |txn| txn.unshelve(shelf, &slice)).await?;
            tokio::time::sleep(self.pause.max(begun.elapsed() * 2)).await;
        }
        Ok(())
    }

    /// Lines that are old; none where none is. The newest of a log stays, so that no number is given twice.
    async fn lines_due(&self, shelf: Shelf, now: Now, keep: Duration) -> Result<Option<Due>, Halt> {
        let look = move |reader: &Reader<'_>| {
            let Some(span) = reader.shelf_span(shelf)? else { return Ok(None) };
            Ok(Some((span, age::due_on(reader, shelf, now.ms, keep)?)))
        };
        let Some(((first, last), (upto, young_ms))) = self.store.read(look).await? else { return Ok(None) };
        let upto = upto.min(last - 1);
        if upto < first {
            return Ok(None);
        }
        let share = (upto - first + 1, last - first + 1);
        refuse(
            now,
            young_ms,
            share,
            self.is_sure(now, young_ms, keep),
            &format!("lines of the log {}", shelf.as_str()),
        )?;
        Ok(Some(Due::Lines(upto)))
    }

    /// Letters that are over; none where none is.
    async fn letters_due(&self, now: Now) -> Result<Option<Due>, Halt> {
        let keep = self.keep;
        let before = LettersBefore {
            noise_ms: now.ms - millis(keep),
            ended_ms: now.ms - millis(RESTORE_KEEP),
            floor_ms: BUILD_FLOOR_MS,
        };
        let look = move |reader: &Reader<'_>| {
            let Some((first, last)) = reader.shelf_span(Shelf::Letters)? else { return Ok(None) };
            let leaving = reader.letters_leaving(before, 0, usize::MAX)?.len();
            let (_, young_ms) = age::due_on(reader, Shelf::Letters, now.ms, keep)?;
            Ok(Some((i64::try_from(leaving).unwrap_or(i64::MAX), last - first + 1, young_ms)))
        };
        let Some((leaving, all, young_ms)) = self.store.read(look).await? else { return Ok(None) };
        if leaving == 0 {
            return Ok(None);
        }
        refuse(now, young_ms, (leaving, all), self.is_sure(now, young_ms, keep), "letters")?;
        Ok(Some(Due::Letters(before)))
    }

    fn is_sure(&self, now: Now, young_ms: Option<UnixMs>, keep: Duration) -> bool {
        !now.has_stepped && (now.is_settled || age::is_witness(young_ms, now.ms, keep))
    }

    /// Takes out runs that no event is of any more; looked for only when there are many.
    async fn forget_runs(&self, ctx: &Ctx) -> Result<(), Halt> {
        if !self.store.read(|reader| reader.has_many_runs()).await? {
            return Ok(());
        }
        let (mut used, mut at) = (std::collections::BTreeSet::new(), Seq(0));
        loop {
            ctx.beat.working(STEP_BUDGET);
            let (runs, through) = self.store.read(move |reader| reader.runs_after(at)).await?;
            if through == at {
                break;
            }
            used.extend(runs);
            at = through;
        }
        let used: Vec<i64> = used.into_iter().collect();
        self.store.submit(Group::Now, move |txn| txn.forget_runs(&used, at)).await?;
        Ok(())
    }
}
