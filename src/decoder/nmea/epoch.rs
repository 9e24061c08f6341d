//! Fuses the readings of one epoch into one fix. An epoch is over when a reading of another time comes, when the
//! line falls quiet, or when the stream ends; nothing has to be learnt first, so the first epoch counts too.

use super::NmeaOut;
use super::field::{DAY_MS, Day, Position, ddmmyy};
use super::reading::{Formatter, Reading, Values};
use crate::domain::{Fix, Reason, Stamp, UnixMs};

/// The first day of GPS time, 1980-01-06: no receiver can mean an earlier one.
pub const GPS_START: Day = 3657;

/// A receiver's week number begins again after this many days.
const ROLLOVER_DAYS: Day = 1024 * 7;

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
    floor: Day,
}

impl Fusion {
    /// A fusion at the start of a stream; days before `floor` cannot be right.
    #[must_use]
    pub fn new(floor: Day) -> Self {
        let floor = floor.max(GPS_START);
        Self { open: None, early: Values::default(), closed: None, known: None, zda: None, floor }
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
            let values = match &mut self.open {
                Some(epoch) => {
                    epoch.at = at;
                    &mut epoch.values
                }
                None => &mut self.early,
            };
            values.merge(&reading.values);
            return Ok(());
        }
        let voice = (reading.formatter, reading.talker);
        if self.is_late(reading, voice) {
            return Err(Reason::LateSentence);
        }
        if self.open.as_ref().is_some_and(|epoch| !epoch.can_take(reading, voice)) {
            self.close(out);
        }
        if self.open.is_none() {
            let zda = self.zda.take().filter(|(_, tod_ms)| Some(*tod_ms) == reading.tod_ms);
            let values = std::mem::take(&mut self.early);
            self.open = Some(Epoch { day: zda.map(|(day, _)| day), known: self.known, values, ..Epoch::default() });
        }
        if let Some(epoch) = &mut self.open {
            epoch.hear(reading, voice, at);
        }
        Ok(())
    }

    /// Ends the open epoch, if there is one.
    pub fn close(&mut self, out: &mut Vec<NmeaOut>) {
        let Some(epoch) = self.open.take() else { return };
        let sent = epoch.day;
        let day = sent.or_else(|| {
            let (day, known_ms) = epoch.known?;
            Some(nearest_day(day, known_ms, epoch.tod_ms?))
        });
        self.known = day.zip(epoch.tod_ms).or(self.known);
        let at = epoch.at;
        let fix = epoch.fix(sent.is_some(), day, self.floor);
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

    /// The fix of this epoch; none when a kind of sentence denies it or nothing gives time and position.
    fn fix(&self, has_date: bool, day: Option<Day>, floor: Day) -> Option<Fix> {
        if self.rmc == Verdict::Void || self.gga == Verdict::Void {
            return None;
        }
        let (tod_ms, first, last) = (self.tod_ms?, self.first?, self.last?);
        let time_ms = match day {
            Some(day) => repaired(day, floor, self.at.wall_ms) * DAY_MS + tod_ms,
            None => {
                nearest_day(self.at.wall_ms.div_euclid(DAY_MS), self.at.wall_ms.rem_euclid(DAY_MS), tod_ms) * DAY_MS
                    + tod_ms
            }
        };
        let (lat_deg, lon_deg) = last.degrees();
        Some(Fix {
            time_ms,
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

/// The day on which `tod_ms` is within 12 hours of `known_ms` on `day`.
fn nearest_day(day: Day, known_ms: i64, tod_ms: i64) -> Day {
    match tod_ms - known_ms {
        late if late > DAY_MS / 2 => day - 1,
        early if early < -DAY_MS / 2 => day + 1,
        _ => day,
    }
}

/// The day that a receiver means: as sent, unless that is before `floor`. Then whole rollovers are added to come as
/// near as possible to the receipt, or to `floor` where the receipt is before it.
fn repaired(day: Day, floor: Day, wall_ms: UnixMs) -> Day {
    if day >= floor {
        return day;
    }
    let reference = wall_ms.div_euclid(DAY_MS).max(floor);
    let rounds = (reference - day + ROLLOVER_DAYS / 2).div_euclid(ROLLOVER_DAYS);
    let repaired = day + rounds * ROLLOVER_DAYS;
    if repaired < GPS_START { repaired + ROLLOVER_DAYS } else { repaired }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::nmea::field::{day_of, day_of_ddmmyy};

    #[test]
    fn a_rollover_is_repaired_only_where_the_date_cannot_be_right() {
        let floor = day_of(2026, 11, 1).unwrap();
        let wall = day_of(2026, 11, 20).unwrap() * DAY_MS;
        let sent = |text| day_of_ddmmyy(text).unwrap();
        assert_eq!(repaired(sent("201126"), floor, wall), sent("201126"));
        assert_eq!(repaired(sent("201126") - ROLLOVER_DAYS, floor, wall), sent("201126"));
        assert_eq!(repaired(sent("201126") - 2 * ROLLOVER_DAYS, floor, wall), sent("201126"));
        assert_eq!(
            repaired(sent("201126") - ROLLOVER_DAYS, floor, 0),
            sent("201126"),
            "a clock at 1970 is no reference"
        );
        assert_eq!(repaired(sent("311026"), floor, wall), sent("311026"), "the day before the build is no rollover");
        assert_eq!(repaired(sent("231207"), GPS_START, 0), sent("231207"));
        assert_eq!(repaired(sent("010180"), GPS_START, 0), sent("010180") + ROLLOVER_DAYS);
    }

    #[test]
    fn midnight_joins_the_nearest_day() {
        assert_eq!(nearest_day(10, DAY_MS - 1000, 0), 11);
        assert_eq!(nearest_day(10, 0, DAY_MS - 1000), 9);
        assert_eq!(nearest_day(10, 1000, 2000), 10);
        assert_eq!(nearest_day(10, DAY_MS - 1000, DAY_MS), 10, "a leap second is still the same day");
    }
}
