//! The node's own idea of true time: the wall clock, until a receiver or NTP has earned more trust. What was known once
//! in a boot is kept by `CLOCK_BOOTTIME`, whatever becomes of the wall clock.
//! It sets no clock and steers nothing; it only says what time something happened and how far to believe it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::anchor::{Anchor, STEP_MS};
use super::ntp::{self, Ntp};
use super::receivers::{Receivers, Witness};
use super::{BUILD_FLOOR_MS, Clock, chrony, seam};
use crate::domain::{Stamp, TimeQuality, UnixMs};

/// A step of the trusted time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How far it moved. ms, positive is forward.
    pub by_ms: i64,
    /// Whose word it is now: a receiver's id, or `ntp`.
    pub by: String,
}

/// How the node's time stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How far it can be believed.
    pub tq: TimeQuality,
    /// The point it rests on; none without trust.
    pub anchor: Option<Anchor>,
    /// A receiver that is sure of itself and contradicts it, and by how much that is ahead. ms
    pub against: Option<(String, i64)>,
}

/// Keeps the node's time. Clones share it.
#[derive(Clone)]
pub struct Keeper {
    clock: Clock,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    receivers: Receivers,
    ntp: Ntp,
    /// The newest trusted time the store knows: a true clock is not before it.
    newest_known_ms: UnixMs,
    /// When the keeper began. `CLOCK_BOOTTIME` ms
    begun_ms: i64,
    /// The trusted time that was told last: true time less `CLOCK_BOOTTIME`, ms.
    told_ms: Option<i64>,
}

impl Kept {
    /// What the time rests on: receivers, unless NTP contradicts them or is the better one by now.
    fn best(&self, mono_ms: i64) -> Option<&Anchor> {
        match (self.receivers.lead(), self.ntp.held()) {
            (Some(lead), Some(ntp)) if ntp.contradicts(lead) || lead.err_at(mono_ms) > STEP_MS => Some(ntp),
            (Some(lead), _) => Some(lead),
            (None, ntp) => ntp,
        }
    }

    fn untrusted(&self, at: Stamp) -> TimeQuality {
        if at.wall_ms >= self.newest_known_ms { TimeQuality::Rtc } else { TimeQuality::None }
    }

    fn time_of(&self, at: Stamp) -> (UnixMs, TimeQuality) {
        match self.best(at.mono_ms()) {
            // What NTP disciplines is right by itself, unless it was stepped since or had not been set yet.
            Some(best) if best.tq == TimeQuality::Ntp && ntp::is_near(best, at) => (at.wall_ms, best.tq),
            Some(best) => (at.mono_ms() + best.utc_minus_mono_ms(), best.tq),
            None => (at.wall_ms, self.untrusted(at)),
        }
    }
}

impl Keeper {
    /// A keeper that trusts nothing yet. `newest_known_ms` is the newest trusted time in the store, or 0.
    #[must_use]
    pub fn new(clock: Clock, newest_known_ms: UnixMs) -> Self {
        // A wall clock that a test sets is nobody's to vouch for.
        let mark = if seam::is_set() { "" } else { "/run/systemd/timesync/synchronized" };
        Self::with_ntp_mark(clock, newest_known_ms, PathBuf::from(mark))
    }

    /// As [`Keeper::new`], with the file whose presence says that NTP disciplines the clock.
    #[must_use]
    pub fn with_ntp_mark(clock: Clock, newest_known_ms: UnixMs, ntp_mark: PathBuf) -> Self {
        let kept = Kept {
            receivers: Receivers::default(),
            ntp: Ntp::new(ntp_mark),
            newest_known_ms: newest_known_ms.max(BUILD_FLOOR_MS),
            begun_ms: clock.now().mono_ms(),
            told_ms: None,
        };
        Self { clock, kept: Arc::new(Mutex::new(kept)) }
    }

    /// Goes on with what a run before this one knew in the same boot.
    #[must_use]
    pub fn knowing(self, anchors: Vec<Anchor>) -> Self {
        for anchor in anchors {
            let mut kept = self.lock();
            match anchor.tq {
                TimeQuality::Ntp => kept.ntp.restore(anchor),
                _ => kept.receivers.restore(anchor),
            }
        }
        self
    }

    /// The clock behind it.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The best known UTC of an instant of this boot, and how far to believe it.
    #[must_use]
    pub fn time_of(&self, at: Stamp) -> (UnixMs, TimeQuality) {
        self.look().time_of(at)
    }

    /// The time to judge certificates by, now. Where nothing vouches for a wall clock that cannot be true, it is the
    /// newest time known to have been and what has gone by since the start: never later than the truth.
    #[must_use]
    pub fn judging_time(&self) -> (UnixMs, TimeQuality) {
        let at = self.clock.now();
        let kept = self.look();
        match kept.time_of(at) {
            (_, TimeQuality::None) => {
                let floor_ms = kept.newest_known_ms.saturating_add(at.mono_ms() - kept.begun_ms);
                (floor_ms.max(at.wall_ms), TimeQuality::None)
            }
            known => known,
        }
    }

    /// Hears the time of an epoch from a receiver whose time may become the node's.
    /// Answers a step when the trusted time has moved by more than 10 s, by whomever.
    pub fn hear(&self, receiver: &str, epoch_ms: UnixMs, at: Stamp) -> Option<Step> {
        if epoch_ms < BUILD_FLOOR_MS {
            return None;
        }
        let mut guard = self.look();
        let kept = &mut *guard;
        let rtc_ms = (kept.untrusted(at) == TimeQuality::Rtc).then_some(at.wall_ms - at.mono_ms());
        kept.receivers.hear(receiver, epoch_ms, at.mono_ms(), Witness { ntp: kept.ntp.held(), rtc_ms });
        let (now_ms, by) = kept.best(at.mono_ms()).map(|best| (best.utc_minus_mono_ms(), best.by.clone()))?;
        let by_ms = now_ms - kept.told_ms.replace(now_ms)?;
        (by_ms.abs() > STEP_MS).then_some(Step { by_ms, by })
    }

    /// Asks chrony whether it vouches for the machine's wall clock. Blocks for a tenth of a second at most.
    pub fn ask_chrony(&self) {
        if self.clock.is_system()
            && !seam::is_set()
            && let Some(mark) = chrony::mark(chrony::PORT)
        {
            self.lock().ntp.vouched(mark, self.clock.now());
        }
    }

    /// How the time stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let at = self.clock.now();
        let kept = self.look();
        let best = kept.best(at.mono_ms()).cloned();
        let tq = best.as_ref().map_or_else(|| kept.untrusted(at), |best| best.tq);
        let rtc = (tq == TimeQuality::Rtc).then(|| Anchor {
            mono_ms: at.mono_ms(),
            utc_ms: at.wall_ms,
            err_ms: 0,
            tq,
            by: "rtc".to_owned(),
        });
        let against = best.as_ref().or(rtc.as_ref()).and_then(|held| kept.receivers.against(held, at.mono_ms()));
        Standing { tq, anchor: best, against }
    }

    /// The points that are known now, one of NTP and one of the receivers at most.
    #[must_use]
    pub fn anchors(&self) -> Vec<Anchor> {
        let kept = self.look();
        [kept.receivers.lead(), kept.ntp.held()].into_iter().flatten().cloned().collect()
    }

    /// The state, with a look at what NTP says.
    fn look(&self) -> MutexGuard<'_, Kept> {
        // Every change is one assignment: a panic elsewhere leaves it whole.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.ntp.look(self.clock.now());
        kept
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
