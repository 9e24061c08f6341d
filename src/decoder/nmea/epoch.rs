//! Fuses the readings of one epoch into one fix. An epoch is over when a reading of another time comes, when the
//! line falls quiet, or when the stream ends; nothing has to be learnt first, so the first epoch counts too.

use super::NmeaOut;
use super::date::{Era, nearest_day};
use super::field::{DAY_MS, Day, Position, ddmmyy};
use super::reading::{Formatter, Reading, Values};
use crate::domain::{Fix, Reason, Stamp, UnixMs};

/// More sentences than any epoch has: bounds what a liar can make an epoch remember.
const SEEN_MAX: usize = 32;

/// A kind of sentence from one talker.
type Voice = (Formatter, [u8; 2]);

/// What is known of the epoch that is not over yet.
#[derive(Clone, Debug, Default)]
struct Epoch {
    tod_ms: Option<i64>,
    day: Option<Day>,
    /// What was known when it began: a date does not reach back.
    known: Option<(Day, i64)>,
    seen: Vec<Voice>,
    first: Option<Position>,
    last: Option<Position>,
    values: Values,
    /// What sentences without a time said since the last one with a time: the next epoch's, perhaps.
    tail: Values,
    rmc: Verdict,
    gga: Verdict,
    at: Stamp,
}

/// What all sentences of one kind say of the fix: one talker with a fix is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verdict {
    #[default]
    Silent,
    Void,
    Valid,
}

impl Verdict {
    fn hear(&mut self, is_valid: bool) {
        if is_valid {
            *self = Self::Valid;
        } else if *self == Self::Silent {
            *self = Self::Void;
        }
    }
}

/// Readings in, finished epochs out.
#[derive(Clone, Debug)]
pub struct Fusion {
    open: Option<Epoch>,
    /// What sentences without a time said while no epoch was open: they open the burst of the next.
    early: Values,
    /// The epoch closed last: its time and who spoke in it.
    closed: Option<(i64, Vec<Voice>)>,
    /// The newest day and time that hold together, as sent.
    known: Option<(Day, i64)>,
    /// The date and time of a ZDA that came before its epoch.
    zda: Option<(Day, i64)>,
    order: Order,
    era: Era,
}

/// Whether a receiver sends its sentences without a time before those with one, or behind them. In a line without
/// pauses only their dilution tells: that of a GSA is that of the GGA of its own epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    /// Over 0: before them.
    votes: i8,
    /// A dilution between two epochs, and whether it is that of the epoch before.
    asked: Option<(f64, bool)>,
}

/// Votes that are remembered: a receiver whose settings were changed is believed after so many epochs.
const VOTES_MAX: i8 = 4;

impl Order {
    const fn leads(self) -> bool {
        self.votes > 0
    }

    /// An epoch ended with a dilution behind its last timed sentence.
    fn ask(&mut self, tail: &Values, ended: &Values) {
        self.asked = tail.hdop.zip(ended.hdop).map(|(hdop, of)| (hdop, is_same(of, hdop)));
    }

    /// The next epoch tells its own dilution.
    fn hear(&mut self, hdop: Option<f64>) {
        let (Some(own), Some((asked, is_before))) = (hdop, self.asked) else { return };
        self.asked = None;
        let vote = i8::from(is_same(own, asked)) - i8::from(is_before);
        self.votes = (self.votes + vote).clamp(-VOTES_MAX, VOTES_MAX);
    }
}

/// Whether two sentences mean the same dilution: some round it to one digit and some to two.
fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.051
}

impl Fusion {
    /// A fusion at the start of a stream.
    #[must_use]
    pub fn new(era: Era) -> Self {
        Self {
            open: None,
            early: Values::default(),
            closed: None,
            known: None,
            zda: None,
            order: Order::default(),
            era,
        }
    }

    /// Sets the time now, where a trusted clock gives one.
    pub const fn trust(&mut self, now_ms: Option<UnixMs>) {
        self.era.trust(now_ms);
    }

    /// Whether an epoch has begun and is not over.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a reading that ended at `at`; epochs that it ends go to `out`.
    ///
    /// # Errors
    /// [`Reason::LateSentence`] when its epoch was over already: the fix is out and cannot be changed.
    pub fn take(&mut self, reading: &Reading, at: Stamp, out: &mut Vec<NmeaOut>) -> Result<(), Reason> {
        if reading.formatter == Formatter::Zda {
            self.take_date(reading, at);
            return Ok(());
        }
        if !reading.formatter.has_position() {
            match &mut self.open {
                Some(epoch) => {
                    epoch.at = at;
                    epoch.tail.merge(&reading.values);
                }
                None => self.early.merge(&reading.values),
            }
            return Ok(());
        }
        let voice = (reading.formatter, reading.talker);
        if self.is_late(reading, voice) {
            return Err(Reason::LateSentence);
        }
        if let Some(epoch) = self.open.as_mut().filter(|epoch| !epoch.can_take(reading, voice)) {
            self.order.ask(&epoch.tail, &epoch.values);
            if self.order.leads() {
                self.early = std::mem::take(&mut epoch.tail);
            }
            self.close(out);
        }
        if self.open.is_none() {
            let zda = self.zda.take().filter(|(_, tod_ms)| Some(*tod_ms) == reading.tod_ms);
            let values = std::mem::take(&mut self.early);
            self.open = Some(Epoch { day: zda.map(|(day, _)| day), known: self.known, values, ..Epoch::default() });
        }
        self.order.hear(reading.values.hdop);
        if let Some(epoch) = &mut self.open {
            epoch.hear(reading, voice, at);
        }
        Ok(())
    }

    /// Ends the open epoch, if there is one.
    pub fn close(&mut self, out: &mut Vec<NmeaOut>) {
        let Some(mut epoch) = self.open.take() else { return };
        epoch.end_tail();
        let sent = epoch.day;
        let day = sent.or_else(|| {
            let (day, known_ms) = epoch.known?;
            Some(nearest_day(day, known_ms, epoch.tod_ms?))
        });
        self.known = day.zip(epoch.tod_ms).or(self.known);
        let at = epoch.at;
        let fix = epoch.fix(sent.is_some(), day, &self.era);
        self.closed = epoch.tod_ms.map(|tod_ms| (tod_ms, epoch.seen));
        out.push(fix.map_or(NmeaOut::NoFix(at), |fix| NmeaOut::Fix(Box::new(fix), at)));
    }

    /// A date ends no epoch and begins none: receivers send it on its own beat.
    fn take_date(&mut self, reading: &Reading, at: Stamp) {
        let Some(date) = reading.day.zip(reading.tod_ms) else { return };
        self.known = Some(date);
        match &mut self.open {
            Some(epoch) if epoch.tod_ms == reading.tod_ms => {
                epoch.at = at;
                epoch.day = epoch.day.or(reading.day);
            }
            _ => self.zda = Some(date),
        }
    }

    /// A sentence of the epoch before that had not spoken in it. One that had is a clock that stands still.
    fn is_late(&self, reading: &Reading, voice: Voice) -> bool {
        let Some((closed_ms, seen)) = &self.closed else { return false };
        let is_of_open = self.open.as_ref().is_some_and(|epoch| epoch.tod_ms == reading.tod_ms);
        reading.tod_ms == Some(*closed_ms) && !is_of_open && !seen.contains(&voice)
    }
}

impl Epoch {
    /// Whether a reading can belong here: no other time, and nobody speaks twice. What has no time goes with any
    /// epoch as long as none of the two has a position.
    fn can_take(&self, reading: &Reading, voice: Voice) -> bool {
        let is_untimed = self.tod_ms.is_none() || reading.tod_ms.is_none();
        let same_time =
            self.tod_ms == reading.tod_ms || (is_untimed && self.first.is_none() && reading.position.is_none());
        same_time && !self.seen.contains(&voice) && self.seen.len() < SEEN_MAX
    }

    fn hear(&mut self, reading: &Reading, voice: Voice, at: Stamp) {
        self.at = at;
        self.seen.push(voice);
        self.end_tail();
        self.tod_ms = self.tod_ms.or(reading.tod_ms);
        match reading.formatter {
            Formatter::Rmc => self.rmc.hear(reading.is_valid),
            Formatter::Gga => self.gga.hear(reading.is_valid),
            _ => {}
        }
        if !reading.is_valid {
            return;
        }
        self.day = self.day.or(reading.day);
        self.values.merge(&reading.values);
        if let Some(position) = reading.position {
            self.first.get_or_insert(position);
            // The last word counts, unless it is a coarser one.
            if self.last.is_none_or(|last| position.decimals >= last.decimals) {
                self.last = Some(position);
            }
        }
    }

    /// What came without a time is this epoch's.
    fn end_tail(&mut self) {
        self.values.merge_untimed(&std::mem::take(&mut self.tail));
    }

    /// The fix of this epoch; none when a kind of sentence denies it or nothing gives time and position.
    fn fix(&self, has_date: bool, day: Option<Day>, era: &Era) -> Option<Fix> {
        if self.rmc == Verdict::Void || self.gga == Verdict::Void {
            return None;
        }
        let (tod_ms, first, last) = (self.tod_ms?, self.first?, self.last?);
        let day_meant = day.map_or_else(
            || {
                let now_ms = era.now_ms(self.at.wall_ms);
                nearest_day(now_ms.div_euclid(DAY_MS), now_ms.rem_euclid(DAY_MS), tod_ms)
            },
            |day| era.meant(day),
        );
        let (lat_deg, lon_deg) = last.degrees();
        Some(Fix {
            time_ms: day_meant * DAY_MS + tod_ms,
            has_date,
            day_sent: day.map(ddmmyy).unwrap_or_default(),
            tod_sent_ms: tod_ms,
            first_e7: first.e7(),
            lat_deg,
            lon_deg,
            alt_m: self.values.alt_m,
            speed_mps: self.values.speed_mps,
            course_deg: self.values.course_deg,
            mode: self.values.mode,
            satellites: self.values.satellites,
            hdop: self.values.hdop,
            quality: self.values.quality,
            doubt: Vec::new(),
        })
    }
}
