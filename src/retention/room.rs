//! What must go as room ends, and in which order: the oldest archive, the oldest sent or local rows, fixes that are worth
//! least, and at last intake. Pure: sizes in, steps out. A stored unsent event is in no step.

use std::time::Duration;

use crate::config::FullPolicy;
use crate::store::{BALLAST_BYTES, Fill, Limits};

/// A person is told from here on, in percent of the room. Then again at [`WARN_PCT`] and [`FAULT_PCT`].
pub const TELL_PCT: u64 = 70;
/// From here on the oldest archives and then rows that are sent or local go.
pub const WARN_PCT: u64 = 85;
/// Almost all that is left cannot go: fixes become fewer still, and soon intake ends.
pub const FAULT_PCT: u64 = 95;
/// What goes, goes until no more than this is in use.
const ENOUGH_PCT: u64 = 80;
/// From here on fixes are thinned.
const THIN_PCT: u64 = 90;
/// A level that was reached is left this much lower.
const SLACK_PCT: u64 = 5;
/// The write-ahead log between two checkpoints, and what a long transaction adds. Bytes.
const WAL_MIN: u64 = 4 << 20;
/// What is left free on the disk for whoever writes a line there. Bytes.
const SPARE: u64 = 1 << 20;
/// The most that is kept free for it. Bytes.
const WAL_MAX: u64 = 64 << 20;
/// A write-ahead log that is longer than what is kept free for it, and than this, is told. Bytes.
const WAL_TOLD: u64 = 12 << 20;
/// The part of the store that acknowledgements, letters and removals may have beyond intake: one in so many.
const RESERVE: u64 = 32;
/// Fixes as room ends, and later. A fix that changes a place or a motion is never thinned.
const THIN: Duration = Duration::from_secs(10);
const THIN_MORE: Duration = Duration::from_secs(60);

/// What lies on the disk. Bytes, where it does not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// `store.max_mib`.
    pub quota: u64,
    /// Free for us on the file system; none when it does not say.
    pub disk_free: Option<u64>,
    /// How the database fills its file.
    pub fill: Fill,
    /// The write-ahead log.
    pub wal: u64,
    /// The archive, which can go.
    pub archive: u64,
    /// Quarantine and captures, which cannot.
    pub other: u64,
    /// Whether the reserve is laid.
    pub has_ballast: bool,
}

/// What has to be done for room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// So much of the archive goes, oldest first. Bytes
    pub archive: u64,
    /// So much of the oldest rows that are sent or local goes. Bytes
    pub rows: u64,
}

impl Need {
    /// Whether nothing has to go.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.archive == 0 && self.rows == 0
    }
}

/// How the room is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is in use of the room, by what the store would have to keep. Bytes
    pub used: u64,
    /// The room for it: of `max_mib`, or of the disk where that has less. Bytes
    pub room: u64,
    /// Its share. 0..=100
    pub used_pct: u64,
    /// The level that was reached and not left: 0, [`TELL_PCT`], [`WARN_PCT`] or [`FAULT_PCT`].
    pub level: u64,
    /// What goes now.
    pub need: Need,
    /// One fix in so long is stored; zero: as they are configured.
    pub thin: Duration,
    /// A write-ahead log above this is told, four times this is ended. Bytes
    pub wal_max: u64,
}

/// Judges the room. `before` is the last verdict: what was begun goes on until it is enough, so that nothing flaps.
#[must_use]
pub fn judge(now: &Figures, policy: FullPolicy, before: &Verdict) -> Verdict {
    let reserve = wal_reserve(now);
    let files = now.fill.file + now.archive + now.other;
    let used = files - now.fill.free;
    let room = room(now, reserve);
    let pct_of = |pct: u64| room / 100 * pct;
    let used_pct = (used.saturating_mul(100) / room.max(1)).min(100);
    let level = [FAULT_PCT, WARN_PCT, TELL_PCT]
        .into_iter()
        .find(|at| used_pct >= at - if before.level >= *at { SLACK_PCT } else { 0 })
        .unwrap_or(0);
    let frees = used >= pct_of(WARN_PCT) || !before.need.is_none() && used > pct_of(ENOUGH_PCT);
    let too_much = if frees { used.saturating_sub(pct_of(ENOUGH_PCT)) } else { 0 };
    // The file of the database does not shrink: an archive beside it may only take what it leaves.
    let beside = files.saturating_sub(room);
    let need = Need {
        archive: too_much.max(beside).min(now.archive),
        // A little more, for the archive of them takes some of it.
        rows: if now.archive > 0 { 0 } else { too_much + too_much / 4 },
    };
    Verdict {
        used,
        room,
        used_pct,
        level,
        need,
        thin: thin(used_pct, policy, before.thin),
        wal_max: reserve.max(WAL_TOLD),
    }
}

/// What of the room the intake may fill, and the file of the database at all. Bytes
#[must_use]
pub fn limits(now: &Figures, verdict: &Verdict) -> Limits {
    let file = verdict.room.saturating_sub(now.archive + now.other);
    Limits { intake: file - file / RESERVE, file }
}

/// How many of the oldest rows make so many bytes, by what rows took so far.
#[must_use]
pub fn rows_of(bytes: u64, fill: Fill, events: u64) -> u64 {
    let each = (fill.file.saturating_sub(fill.free) / events.max(1)).max(1);
    bytes.div_ceil(each)
}

/// Whether the disk has room for the reserve beside what the write-ahead log will want.
#[must_use]
pub const fn has_room_for_ballast(disk_free: u64, wal: u64) -> bool {
    disk_free >= BALLAST_BYTES + WAL_MIN.saturating_sub(wal) + SPARE
}

/// The room for database, archive and the rest, without the write-ahead log and the reserve.
fn room(now: &Figures, reserve: u64) -> u64 {
    let ours = now.quota.saturating_sub(reserve + BALLAST_BYTES);
    let Some(free) = now.disk_free else { return ours };
    let wanted = reserve.saturating_sub(now.wal) + if now.has_ballast { 0 } else { BALLAST_BYTES };
    ours.min(now.fill.file + now.archive + now.other + free.saturating_sub(wanted))
}

/// What is kept free for the write-ahead log: an eighth of a small room.
fn wal_reserve(now: &Figures) -> u64 {
    let files = now.fill.file + now.archive + now.other + now.wal;
    let all = now.disk_free.map_or(now.quota, |free| now.quota.min(files + free));
    (all / 8).clamp(WAL_MIN, WAL_MAX)
}

fn thin(used_pct: u64, policy: FullPolicy, before: Duration) -> Duration {
    let reached = |at: u64, of: Duration| used_pct >= at - if before >= of { SLACK_PCT } else { 0 };
    match policy {
        FullPolicy::Refuse => Duration::ZERO,
        FullPolicy::ThinFixes if reached(FAULT_PCT, THIN_MORE) => THIN_MORE,
        FullPolicy::ThinFixes if reached(THIN_PCT, THIN) => THIN,
        FullPolicy::ThinFixes => Duration::ZERO,
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
