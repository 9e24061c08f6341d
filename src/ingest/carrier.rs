//! The receivers of one asset: which of them moves it now, and how it stands to the zones. Shared by their workers.
//!
//! A receiver is judged by its fixes, not by its bytes: one that still talks but has lost the sky is worse than a spare
//! that sees it. It loses the lead after [`WORSE_US`] and has it back after [`BACK_US`] of being as good as any.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Fix, Mode, PlaceSaid, Stamp, UnixMs};
use crate::plan::{Fence, FenceLimits, Seen};
use crate::store::FenceMark;

use super::ground::{Ground, InForce};
use super::refence::statements;

/// The leader is replaced when it has been worse than another for so long. µs (peers: 5 s of a bad fix is a lost one)
const WORSE_US: i64 = 5_000_000;
/// A receiver of better rank leads again when it has been as good for so long. µs
const BACK_US: i64 = 30_000_000;
/// Between two epochs of one run. µs
const RUN_GAP_US: i64 = 5_000_000;
/// A fix with more is poor: about 25 m with a receiver that is good for 5 m at 1.
const HDOP_GOOD: f64 = 5.0;

/// How good an epoch of a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    /// A position in doubt, in two dimensions, or with a large HDOP.
    Poor,
    /// A position to go by.
    Good,
}

struct Receiver {
    source: String,
    /// The last epoch at least poor, and at least good. `CLOCK_BOOTTIME` µs
    last_us: [Option<i64>; 2],
    /// Since when it has been so without a gap.
    since_us: [i64; 2],
}

/// The lead went to another receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) from: String,
    pub(super) to: String,
    /// The one before was better ranked and is as good again; else it was worse.
    pub(super) is_back: bool,
}

/// What an epoch means for its asset.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// Another receiver moves it: this one only tells.
    Spare,
    /// The fix is in too much doubt to move anything.
    Doubted,
    /// It moves the asset: how that stood to the zones before, what the fix says of its place, and how it stands to the zones
    /// when that changed.
    Leads { before: Box<Fence>, places: Vec<PlaceSaid>, fence: Option<String> },
    /// It comes after a later one: what it means for the past is told in the transaction.
    Late,
}

/// The assets that receivers move, by name.
pub type Carriers = Arc<BTreeMap<String, Carrier>>;

/// An asset that receivers move.
#[derive(Clone)]
pub struct Carrier {
    asset: Arc<str>,
    pub(super) ground: Ground,
    limits: FenceLimits,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// In the order of rank.
    receivers: Vec<Receiver>,
    lead: usize,
    began_us: i64,
    fence: Fence,
}

impl Carrier {
    /// The receivers of an asset in the order of their rank, and what a run before this one left: who led, and the fence.
    #[must_use]
    pub fn new(
        asset: &str,
        receivers: &[String],
        (fence, lead): (Option<String>, Option<String>),
        ground: Ground,
        limits: FenceLimits,
        now: Stamp,
    ) -> Self {
        let receivers: Vec<Receiver> = receivers
            .iter()
            .map(|source| Receiver { source: source.clone(), last_us: [None; 2], since_us: [0; 2] })
            .collect();
        let lead = lead.and_then(|lead| receivers.iter().position(|one| one.source == lead)).unwrap_or(0);
        let fence = fence.and_then(|text| Fence::from_text(&text)).unwrap_or_default();
        let inner = Inner { receivers, lead, began_us: now.mono_us, fence };
        Self { asset: asset.into(), ground, limits, inner: Arc::new(Mutex::new(inner)) }
    }

    /// The asset.
    #[must_use]
    pub fn asset(&self) -> &str {
        &self.asset
    }

    /// The plan it moves on now.
    pub(super) fn plan(&self) -> InForce {
        self.ground.now()
    }

    /// How far a fence holds an asset.
    pub(super) fn limits(&self) -> &FenceLimits {
        &self.limits
    }

    /// Hears an epoch of a receiver. Answers whether it leads, and whether that is new.
    pub(super) fn hear(&self, source: &str, fix: Option<&Fix>, at: Stamp) -> (bool, Option<Switch>) {
        self.lock().hear(source, fix.map(grade), at.mono_us)
    }

    /// Moves the asset against the zones.
    pub(super) fn step(&self, fix: &Fix) -> Part {
        let plan = self.plan().plan;
        let mut inner = self.lock();
        let before = inner.fence.clone();
        let left = before.place().map(str::to_owned);
        let seen = seen(fix.time_ms, fix.lat_deg, fix.lon_deg, fix.hdop);
        let crossings = inner.fence.step(&plan, &self.limits, &seen);
        let fence = (inner.fence != before).then(|| inner.fence.to_text());
        let places = statements(left, crossings.into_iter().map(|crossing| crossing.place));
        Part::Leads { before: Box::new(before), places, fence }
    }

    /// A late fix told the fence anew.
    pub(super) fn set_fence(&self, fence: Fence) {
        self.lock().fence = fence;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A position as the fence wants it.
pub(super) fn seen(time_ms: UnixMs, lat_deg: f64, lon_deg: f64, hdop: Option<f64>) -> Seen {
    Seen { time_ms, lat_deg, lon_deg, hdop }
}

/// What GPS says against an asset being in a zone: the zone it sees it in, or empty for none. A zone around the one that GPS
/// sees is not contradicted.
pub(super) fn contradiction(mark: Option<&FenceMark>, place: &str) -> Option<String> {
    let fence = mark.and_then(|mark| Fence::from_text(&mark.state)).unwrap_or_default();
    let agrees = fence.inside().any(|zone| zone == place);
    (!agrees).then(|| fence.place().unwrap_or_default().to_owned())
}

fn grade(fix: &Fix) -> Grade {
    let is_poor = fix.doubt.iter().any(|doubt| !doubt.may_move())
        || fix.mode == Some(Mode::TwoD)
        || fix.hdop.is_some_and(|hdop| hdop > HDOP_GOOD);
    if is_poor { Grade::Poor } else { Grade::Good }
}

impl Inner {
    fn hear(&mut self, source: &str, grade: Option<Grade>, now_us: i64) -> (bool, Option<Switch>) {
        let Some(me) = self.receivers.iter().position(|one| one.source == source) else { return (false, None) };
        if let Some(grade) = grade {
            self.receivers[me].note(grade, now_us);
            if me != self.lead
                && let Some(is_back) = self.may_lead(me, grade, now_us)
            {
                let name = |at: usize| self.receivers[at].source.clone();
                let switch = Switch { from: name(self.lead), to: name(me), is_back };
                self.lead = me;
                return (true, Some(switch));
            }
        }
        (me == self.lead, None)
    }

    /// Whether a receiver takes the lead with this epoch, and whether because it is back.
    fn may_lead(&self, me: usize, grade: Grade, now_us: i64) -> Option<bool> {
        let lead = &self.receivers[self.lead];
        let lead_was_as_good_us = lead.last_us[grade as usize].unwrap_or(self.began_us);
        if now_us - lead_was_as_good_us >= WORSE_US {
            return Some(false);
        }
        // Ranks are the order of the list.
        let lead_is_better = grade == Grade::Poor && lead.last_us[1].is_some_and(|at| now_us - at < WORSE_US);
        let is_steady = now_us - self.receivers[me].since_us[grade as usize] >= BACK_US;
        (me < self.lead && is_steady && !lead_is_better).then_some(true)
    }
}

impl Receiver {
    fn note(&mut self, grade: Grade, now_us: i64) {
        for level in 0..=grade as usize {
            if self.last_us[level].is_none_or(|at| now_us - at > RUN_GAP_US) {
                self.since_us[level] = now_us;
            }
            self.last_us[level] = Some(now_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Inner {
        let receiver = |source: &str| Receiver { source: source.into(), last_us: [None; 2], since_us: [0; 2] };
        Inner { receivers: vec![receiver("roof"), receiver("dash")], lead: 0, began_us: 0, fence: Fence::default() }
    }

    /// Plays both receivers each second; answers the seconds of the switches and who leads then.
    fn play(seconds: i64, grades: impl Fn(i64) -> (Option<Grade>, Option<Grade>)) -> Vec<(i64, String)> {
        let mut inner = pair();
        let mut switches = Vec::new();
        for second in 1..=seconds {
            let (roof, dash) = grades(second);
            for (source, grade) in [("roof", roof), ("dash", dash)] {
                let (_, switch) = inner.hear(source, grade, second * 1_000_000);
                switches.extend(switch.map(|switch| (second, switch.to)));
            }
        }
        switches
    }

    #[test]
    fn the_better_ranked_of_two_good_receivers_leads() {
        assert_eq!(play(100, |_| (Some(Grade::Good), Some(Grade::Good))), []);
    }

    #[test]
    fn a_receiver_that_lost_the_sky_is_replaced_after_five_seconds_though_it_still_talks() {
        let lost = |second| (if second < 20 { Some(Grade::Good) } else { None }, Some(Grade::Good));
        assert_eq!(play(60, lost), [(24, "dash".into())]);
        let poor = |second| (Some(if second < 20 { Grade::Good } else { Grade::Poor }), Some(Grade::Good));
        assert_eq!(play(60, poor), [(24, "dash".into())]);
    }

    #[test]
    fn it_leads_again_after_thirty_good_seconds_in_a_row() {
        let back = |second: i64| {
            let roof = match second {
                10..40 => None,
                40..60 => Some(Grade::Good),
                60..70 => Some(Grade::Poor),
                _ => Some(Grade::Good),
            };
            (roof, Some(Grade::Good))
        };
        assert_eq!(play(120, back), [(14, "dash".into()), (100, "roof".into())]);
    }

    #[test]
    fn two_poor_receivers_do_not_change_places() {
        assert_eq!(play(100, |_| (Some(Grade::Poor), Some(Grade::Poor))), []);
        let worse = |second| (Some(Grade::Poor), Some(if second < 50 { Grade::Good } else { Grade::Poor }));
        assert_eq!(play(60, worse), [(5, "dash".into()), (54, "roof".into())], "the spare leads while it is better");
    }

    #[test]
    fn one_bad_epoch_changes_nothing() {
        let blink = |second: i64| (if second % 4 == 0 { None } else { Some(Grade::Good) }, Some(Grade::Good));
        assert_eq!(play(100, blink), []);
    }
}
