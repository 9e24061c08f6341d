//! gpsd's JSON: a line a report, in any chunks, to the same fixes, losses and counts that NMEA gives. Like there it keeps
//! no clock and no more than a bounded line. A report is an epoch by itself: nothing waits for quiet.
//!
//! Source: gpsd_json(5), protocol 3; recordings of gpsd 3.22 in the tests.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::nmea::date::Era;
use super::nmea::field::{DAY_MS, Day, day_of, ddmmyy, digits, time_of_day};
use super::nmea::{EVIDENCE_MAX, NmeaCounts, NmeaOptions, NmeaOut};
use crate::domain::{Fix, Loss, Mode, Reason, Stage, Stamp, UnixMs};

/// Longest line that is read, without its end. Unit: bytes; a sky of 200 satellites has 25,000.
pub const LINE_MAX: usize = 32 * 1024;

/// Devices behind one gpsd whose skies are remembered.
const DEVICES_MAX: usize = 16;

/// How long the device that was chosen may be without a fix before another one that has one is. Unit: µs.
const SWITCH_US: i64 = 10_000_000;

/// How long a sky tells of the fixes after it. Unit: µs; receivers repeat theirs within 5 s.
const SKY_US: i64 = 10_000_000;

/// Decodes one connection to a gpsd.
#[derive(Clone, Debug)]
pub struct GpsdDecoder {
    wanted: Option<String>,
    chosen: Option<(String, i64)>,
    skies: BTreeMap<String, Sky>,
    era: Era,
    line: Vec<u8>,
    /// Whether the line was refused before its end: what is left of it goes with it.
    is_overlong: bool,
    counts: NmeaCounts,
    at: Stamp,
}

/// What a device said of its satellites.
#[derive(Clone, Copy, Debug, Default)]
struct Sky {
    hdop: Option<f64>,
    satellites: Option<u32>,
    at_us: i64,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    class: Cow<'a, str>,
}

/// gpsd's TPV, as far as it is read.
#[derive(Deserialize)]
struct Tpv<'a> {
    #[serde(borrow, default)]
    device: Cow<'a, str>,
    #[serde(default)]
    mode: u8,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    lat: Option<f64>,
    lon: Option<f64>,
    #[serde(rename = "altMSL")]
    alt_msl: Option<f64>,
    alt: Option<f64>,
    speed: Option<f64>,
    track: Option<f64>,
    status: Option<u8>,
}

/// gpsd's SKY, as far as it is read.
#[derive(Deserialize)]
struct SkyReport<'a> {
    #[serde(borrow, default)]
    device: Cow<'a, str>,
    hdop: Option<f64>,
    #[serde(rename = "uSat")]
    used: Option<u32>,
    satellites: Option<Vec<Satellite>>,
}

#[derive(Deserialize)]
struct Satellite {
    #[serde(default)]
    used: bool,
}

/// What a line comes to.
enum Report {
    Fix(Box<Fix>),
    NoFix,
    Other,
}

impl GpsdDecoder {
    /// A decoder for a connection that has just begun. `device` is the one to listen to, as gpsd names it; without it
    /// the first that has a fix, and another once that one has had none for 10 s.
    #[must_use]
    pub fn new(options: NmeaOptions, device: Option<String>) -> Self {
        Self {
            wanted: device,
            chosen: None,
            skies: BTreeMap::new(),
            era: Era::new(options.floor_ms),
            line: Vec::new(),
            is_overlong: false,
            counts: NmeaCounts::default(),
            at: Stamp::default(),
        }
    }

    /// Says what time it is, where a trusted clock knows it: for dates that cannot be right.
    pub const fn trust(&mut self, now_ms: Option<UnixMs>) {
        self.era.trust(now_ms);
    }

    /// Takes the bytes of one read that returned at `at`; what they end is added to `out`.
    pub fn feed(&mut self, bytes: &[u8], at: Stamp, out: &mut Vec<NmeaOut>) {
        self.at = at;
        self.counts.bytes += bytes.len() as u64;
        for byte in bytes {
            match byte {
                b'\n' if self.is_overlong => {
                    self.counts.line_end(Some(Reason::TooLong));
                    self.is_overlong = false;
                }
                b'\n' => self.end_line(out),
                _ if self.is_overlong => self.counts.line_end(Some(Reason::TooLong)),
                _ => {
                    self.line.push(*byte);
                    if self.line.len() > LINE_MAX {
                        let line = std::mem::take(&mut self.line);
                        self.refuse(Reason::TooLong, &line, line.len(), out);
                        self.is_overlong = true;
                    }
                }
            }
        }
        self.counts.open_bytes = self.line.len() as u64;
    }

    /// Ends the stream: half a line is a loss.
    pub fn finish(&mut self, out: &mut Vec<NmeaOut>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.refuse(Reason::BadBytes, &line, line.len(), out);
        }
        self.is_overlong = false;
        self.counts.open_bytes = 0;
    }

    /// The counts since the connection began; a line is a sentence, its class the type.
    #[must_use]
    pub const fn counts(&self) -> &NmeaCounts {
        &self.counts
    }

    fn end_line(&mut self, out: &mut Vec<NmeaOut>) {
        let line = std::mem::take(&mut self.line);
        let length = line.len() + 1;
        let text = line.trim_ascii();
        if text.is_empty() {
            (0..length).for_each(|_| self.counts.line_end(None));
        } else {
            match self.read(text) {
                Ok((class, report)) => {
                    self.counts.accept_as(class, length);
                    self.tell(report, out);
                }
                Err(reason) => self.refuse(reason, text, length, out),
            }
        }
        // The room is used again, unless one giant made it large.
        if line.capacity() <= 4096 {
            self.line = line;
            self.line.clear();
        }
    }

    fn tell(&mut self, report: Report, out: &mut Vec<NmeaOut>) {
        match report {
            Report::Fix(fix) => {
                self.counts.fixes += 1;
                out.push(NmeaOut::Fix(fix, self.at));
            }
            Report::NoFix => {
                self.counts.no_fix += 1;
                out.push(NmeaOut::NoFix(self.at));
            }
            Report::Other => {}
        }
    }

    fn refuse(&mut self, reason: Reason, evidence: &[u8], length: usize, out: &mut Vec<NmeaOut>) {
        self.counts.refuse(reason, length);
        let bytes = evidence[..evidence.len().min(EVIDENCE_MAX)].to_vec();
        out.push(NmeaOut::Loss(Loss { stage: Stage::Decoder, reason, bytes, ai: None, length }, self.at));
    }

    fn read(&mut self, text: &[u8]) -> Result<(&'static str, Report), Reason> {
        let mended;
        let (head, text) = match parse::<Head>(text) {
            // Some versions write numbers that JSON has not.
            Err(Reason::BadBytes) => {
                mended = without_nan(text).ok_or(Reason::BadBytes)?;
                (parse::<Head>(&mended)?, &mended[..])
            }
            head => (head?, text),
        };
        Ok(match &*head.class {
            "TPV" => ("TPV", self.position(&parse(text)?)?),
            "SKY" => {
                self.sky(&parse(text)?);
                ("SKY", Report::Other)
            }
            "VERSION" => ("VERSION", Report::Other),
            "DEVICES" => ("DEVICES", Report::Other),
            "DEVICE" => ("DEVICE", Report::Other),
            "WATCH" => ("WATCH", Report::Other),
            "ERROR" => ("ERROR", Report::Other),
            _ => ("other", Report::Other),
        })
    }

    fn position(&mut self, tpv: &Tpv<'_>) -> Result<Report, Reason> {
        let fix = self.fix(tpv)?;
        if !self.listens_to(&tpv.device, fix.is_some()) {
            return Ok(Report::Other);
        }
        Ok(fix.map_or(Report::NoFix, |fix| Report::Fix(Box::new(fix))))
    }

    /// Whether a device is the one that counts; one with a fix may become it.
    fn listens_to(&mut self, device: &str, has_fix: bool) -> bool {
        let now_us = self.at.mono_us;
        if let Some(wanted) = &self.wanted {
            return wanted == device;
        }
        match &mut self.chosen {
            Some((chosen, fixed_us)) if chosen == device => {
                if has_fix {
                    *fixed_us = now_us;
                }
                true
            }
            Some((_, fixed_us)) if !has_fix || now_us.saturating_sub(*fixed_us) < SWITCH_US => false,
            _ => {
                if has_fix {
                    self.chosen = Some((device.to_owned(), now_us));
                }
                true
            }
        }
    }

    /// The fix of a report; none when it says that there is none, or not when or where.
    fn fix(&self, tpv: &Tpv<'_>) -> Result<Option<Fix>, Reason> {
        let time = tpv.time.as_deref().map(utc).transpose()?;
        let lat_deg = within(tpv.lat, -90.0, 90.0)?;
        let lon_deg = within(tpv.lon, -180.0, 180.0)?;
        let alt_m = within(tpv.alt_msl.or(tpv.alt), -10_000.0, 1_000_000.0)?;
        let speed_mps = within(tpv.speed, 0.0, 1100.0)?;
        let course_deg = within(tpv.track, 0.0, 360.0)?.map(|track| track.rem_euclid(360.0));
        let mode = match tpv.mode {
            2 => Mode::TwoD,
            3 => Mode::ThreeD,
            _ => return Ok(None),
        };
        let (Some((day, tod_ms)), Some(lat_deg), Some(lon_deg)) = (time, lat_deg, lon_deg) else { return Ok(None) };
        let quality = match tpv.status {
            Some(1) => Some(1),
            Some(2) => Some(2),
            Some(3) => Some(4),
            Some(4) => Some(5),
            // Reckoned, surveyed, simulated: as quality 6, 7 and 8 of a GGA these are no fix.
            Some(5 | 7 | 8) => return Ok(None),
            Some(9) => Some(3),
            _ => None,
        };
        let fresh = |sky: &&Sky| self.at.mono_us.saturating_sub(sky.at_us) <= SKY_US;
        let sky = self.skies.get(&*tpv.device).filter(fresh).copied().unwrap_or_default();
        Ok(Some(Fix {
            time_ms: self.era.meant(day) * DAY_MS + tod_ms,
            has_date: true,
            day_sent: ddmmyy(day),
            tod_sent_ms: tod_ms,
            first_e7: (e7(lat_deg), e7(lon_deg)),
            lat_deg,
            lon_deg,
            alt_m,
            speed_mps,
            course_deg,
            mode: Some(mode),
            satellites: sky.satellites,
            hdop: sky.hdop,
            quality,
            doubt: Vec::new(),
        }))
    }

    /// Some versions send dilutions and satellites in two reports: each adds what it knows.
    fn sky(&mut self, report: &SkyReport<'_>) {
        if self.skies.len() >= DEVICES_MAX && !self.skies.contains_key(&*report.device) {
            return;
        }
        let sky = self.skies.entry(report.device.as_ref().to_owned()).or_default();
        let listed =
            report.satellites.as_ref().and_then(|all| u32::try_from(all.iter().filter(|one| one.used).count()).ok());
        sky.satellites = report.used.or(listed).filter(|count| *count <= 255).or(sky.satellites);
        // A dilution of 0 or from 99 on is a receiver's word for unknown.
        sky.hdop = report.hdop.map_or(sky.hdop, |hdop| Some(hdop).filter(|hdop| (0.01..99.0).contains(hdop)));
        sky.at_us = self.at.mono_us;
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Reason> {
    serde_json::from_slice(text).map_err(|error| if error.is_data() { Reason::BadField } else { Reason::BadBytes })
}

/// The text with `null` for each `nan` and `inf` outside its strings; none when there is none.
fn without_nan(text: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"infinity", b"inf", b"nan"];
    let mut mended = Vec::with_capacity(text.len() + 64);
    let (mut at, mut in_string, mut found) = (0, false, false);
    while let Some(byte) = text.get(at) {
        let rest = &text[at..];
        let bare = if rest.first() == Some(&b'-') { &rest[1..] } else { rest };
        let word =
            WORDS.iter().find(|word| bare.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)));
        match word {
            Some(word) if !in_string => {
                mended.extend_from_slice(b"null");
                at += word.len() + rest.len() - bare.len();
                found = true;
            }
            _ => {
                mended.push(*byte);
                at += 1;
                if in_string && *byte == b'\\' {
                    mended.extend(text.get(at));
                    at += 1;
                } else if *byte == b'"' {
                    in_string = !in_string;
                }
            }
        }
    }
    found.then_some(mended)
}

fn within(value: Option<f64>, least: f64, most: f64) -> Result<Option<f64>, Reason> {
    match value {
        Some(value) if !(least..=most).contains(&value) => Err(Reason::OutOfRange),
        value => Ok(value),
    }
}

/// `2026-11-20T10:11:12.000Z` as day and ms since midnight.
fn utc(text: &str) -> Result<(Day, i64), Reason> {
    let (date, time) = text.strip_suffix('Z').and_then(|text| text.split_once('T')).ok_or(Reason::BadField)?;
    let mut date = date.splitn(3, '-').map(digits);
    let (Some(Some(year)), Some(Some(month)), Some(Some(day))) = (date.next(), date.next(), date.next()) else {
        return Err(Reason::BadField);
    };
    let day = day_of(year, month, day).filter(|_| (1970..2100).contains(&year)).ok_or(Reason::OutOfRange)?;
    let is_clock = time.as_bytes().get(2) == Some(&b':') && time.as_bytes().get(5) == Some(&b':');
    if !is_clock || time.matches(':').count() != 2 {
        return Err(Reason::BadField);
    }
    Ok((day, time_of_day(&time.replace(':', ""))?))
}

#[expect(clippy::cast_possible_truncation, reason = "an angle in 1e-7 degrees is at most 1.8e9")]
fn e7(degrees: f64) -> i64 {
    (degrees * 1e7).round() as i64
}

#[cfg(test)]
#[path = "gpsd_tests.rs"]
mod tests;
