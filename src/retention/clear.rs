//! Makes room: takes out of the archive and of the log what [`super::room`] says has to go, and writes down what went.

use super::room::{self, Need};
use super::{Ctx, Group, Halt, Passed, Retention, STEP_BUDGET, archive, blocking};
use crate::domain::{Seq, Stage};

/// Between two lines in the log about room that could not be made. ms
const QUIET_MS: i64 = 60_000;

/// What went for room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cleared {
    /// Archive files, and their bytes.
    pub(super) archive: (usize, u64),
    /// Events, and the archive files that they stand in now.
    pub(super) passed: Passed,
}

impl Retention {
    /// Makes room, as far as there is anything that can go; says what came of it.
    pub(super) async fn make_room(&mut self, ctx: &Ctx, need: Need) -> Option<Cleared> {
        let now_ms = self.keeper.clock().now().mono_ms();
        match self.try_make_room(ctx, need).await {
            Ok(cleared) => {
                self.said_mono_ms = None;
                Some(cleared)
            }
            Err(Halt::Stopped) => None,
            Err(halt) => {
                // The alarm `room` stands; it is tried again each second.
                if self.said_mono_ms.is_none_or(|said| now_ms - said >= QUIET_MS) {
                    self.said_mono_ms = Some(now_ms);
                    tracing::warn!(why = %halt, "no room could be made");
                }
                None
            }
        }
    }

    async fn try_make_room(&mut self, ctx: &Ctx, need: Need) -> Result<Cleared, Halt> {
        let mut cleared = Cleared::default();
        ctx.beat.working(STEP_BUDGET);
        let store = self.store.clone();
        let Ok(_turn) = store.turn().try_lock() else {
            // A purge removes rows: that makes room too, and the gauge asks again with its next look.
            return Ok(cleared);
        };
        if need.archive > 0 {
            let folder = archive::folder(self.store.path());
            // Not the file in hand: its events are on their way out of the log.
            self.finish_archive(ctx, &mut cleared.passed).await?;
            cleared.archive = blocking(folder.clone(), move || archive::drop_oldest(&folder, need.archive)).await?;
        }
        if need.rows > 0 {
            self.finish_archive(ctx, &mut cleared.passed).await?;
            self.clear_rows(ctx, need.rows, &mut cleared.passed).await?;
        }
        self.write_down(cleared).await?;
        Ok(cleared)
    }

    /// Takes out the oldest rows that are sent or local, about so many bytes of them.
    async fn clear_rows(&self, ctx: &Ctx, bytes: u64, passed: &mut Passed) -> Result<(), Halt> {
        let (span, fill) = self.store.read(|reader| Ok((reader.span()?, reader.fill()?))).await?;
        let events = u64::try_from(span.head.0 - span.base.0).unwrap_or(0);
        let rows = i64::try_from(room::rows_of(bytes, fill, events)).unwrap_or(i64::MAX);
        let upto = Seq(span.base.0.saturating_add(rows)).min(span.sent);
        if upto <= span.base {
            return Ok(());
        }
        let now = self.keeper.clock().now();
        let (trusted_ms, tq) = self.keeper.time_of(now);
        let last = self.store.read(move |reader| reader.receipts(Seq(upto.0 - 1), upto, 1)).await?;
        // History begins where the log does. By a time that nobody vouches for it stays where it is: what is told of places
        // takes its room then, and the events alone go.
        let from_ms = last.first().filter(|one| one.tq.is_trusted()).map(|one| one.ts_ms.min(one.received_ms));
        if let Some(from_ms) = from_ms.filter(|from_ms| tq.is_trusted() && *from_ms <= trusted_ms) {
            self.change(move |txn| txn.set_history_from(from_ms)).await?;
        }
        self.roll(ctx, upto, now.wall_ms, passed).await
    }

    async fn write_down(&self, Cleared { archive: (files, bytes), passed }: Cleared) -> Result<(), Halt> {
        if files == 0 && passed.events == 0 {
            return Ok(());
        }
        let (events, assets) = (passed.events, passed.assets);
        tracing::warn!(files, bytes, events, assets, "room was made: these archives and events are gone from the node");
        let detail = format!(
            "{files} of the oldest archives ({bytes} bytes) removed; {events} of the oldest events removed from the log, \
             {} archives written of them",
            passed.files
        );
        let noted = move |txn: &mut crate::store::Txn<'_>| txn.log_failure(Stage::Store, "room", &detail);
        self.store.submit(Group::Now, noted).await.map_err(Into::into)
    }
}

#[cfg(test)]
#[path = "clear_tests.rs"]
mod tests;
