//! What one sentence says. The `nmea` crate reads the values; what it refuses although it is valid (GNS of many
//! constellations, GLL without mode, leap seconds, long sentences, odd zones) is read here. Time, date and position
//! always come from the digits as sent: they are part of the identity.

use nmea::ParseResult;
use nmea::sentences::gsa::GsaMode2;
use nmea::sentences::rmc::RmcStatusOfFix;
use nmea::sentences::{FaaMode, FixType};

use super::field::{Day, Fields, Position, day_of, day_of_ddmmyy, digits};
use crate::domain::{Mode, Reason};

const MPS_PER_KNOT: f64 = 1852.0 / 3600.0;

/// The fastest that a receiver can be meant to say. Unit: knots.
const KNOTS_MAX: f64 = 2000.0;

/// The lowest and the highest that a receiver can be meant to say. Unit: metres.
const ALT_MIN_M: f64 = -10_000.0;
const ALT_MAX_M: f64 = 1_000_000.0;

/// Fewer satellites than this give no position, not even a flat one.
const SATELLITES_MIN: u32 = 3;

/// The sentences that navigation is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatter {
    /// Recommended minimum: position, speed, course, date.
    Rmc,
    /// Position, quality, satellites, altitude.
    Gga,
    /// Position.
    Gll,
    /// Position of several constellations.
    Gns,
    /// 2d or 3d, dilution.
    Gsa,
    /// Speed and course.
    Vtg,
    /// Date.
    Zda,
}

impl Formatter {
    /// The formatter of a sentence from `$`; none for all that navigation is not read from.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        match text {
            [b'$', b'P', _, ..] => None,
            [b'$', _, _, formatter @ .., _, _, _] => match formatter.get(..4)? {
                b"RMC," => Some(Self::Rmc),
                b"GGA," => Some(Self::Gga),
                b"GLL," => Some(Self::Gll),
                b"GNS," => Some(Self::Gns),
                b"GSA," => Some(Self::Gsa),
                b"VTG," => Some(Self::Vtg),
                b"ZDA," => Some(Self::Zda),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it tells of a position: only these begin an epoch.
    #[must_use]
    pub const fn has_position(self) -> bool {
        matches!(self, Self::Rmc | Self::Gga | Self::Gll | Self::Gns)
    }
}

/// What one sentence says; absent means it says nothing of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Its kind.
    pub formatter: Formatter,
    /// Who says it: GP, GN, GL …
    pub talker: [u8; 2],
    /// UTC time of day. Unit: ms since midnight.
    pub tod_ms: Option<i64>,
    /// UTC day as sent.
    pub day: Option<Day>,
    /// Position as sent; none when the sentence is void.
    pub position: Option<Position>,
    /// Whether it says that its position is a real one; simulated, estimated and typed ones are not.
    pub is_valid: bool,
    /// The numbers, from the crate or from the fields.
    pub values: Values,
}

/// The numbers of a sentence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// Status field: `A` or `D`.
    status: bool,
    /// FAA mode or GGA quality says that the fix is real; none where there is no such field.
    real: Option<bool>,
    /// Speed over ground, m/s, to 1 mm/s.
    pub speed_mps: Option<f64>,
    /// Course over ground, degrees true, 0..360.
    pub course_deg: Option<f64>,
    /// Height above mean sea level, metres, to 1 mm.
    pub alt_m: Option<f64>,
    /// Horizontal dilution.
    pub hdop: Option<f64>,
    /// Satellites used.
    pub satellites: Option<u32>,
    /// GGA quality as sent.
    pub quality: Option<u8>,
    /// GSA mode.
    pub mode: Option<Mode>,
}

/// Reads a sentence whose checksum fits; `Ok(None)` for a kind that navigation is not read from.
///
/// Shape: `text` from `$` to the last digit of the checksum.
///
/// # Errors
/// [`Reason::BadField`] or [`Reason::OutOfRange`]: receivers put good checksums on garbage.
pub fn read(text: &[u8]) -> Result<Option<Reading>, Reason> {
    let Some(formatter) = Formatter::of(text) else { return Ok(None) };
    let fields = Fields::split(text)?;
    let mut values = own_values(formatter, &fields)?;
    if let Some(read) = crate_values(text) {
        values.merge(&read);
        values.status &= read.status;
        // Of satellites that are too few the crate says nothing: our own no counts too.
        values.real = values.real.filter(|is_real| !is_real).or(read.real);
    }
    let talker = [text[1], text[2]];
    let is_valid = values.status && values.real != Some(false);
    let position = match formatter {
        Formatter::Gga | Formatter::Gns => fields.position(2),
        Formatter::Rmc => fields.position(3),
        Formatter::Gll => fields.position(1),
        _ => Ok(None),
    };
    // A void sentence may fill its position with anything.
    let position = if is_valid { position? } else { None };
    let tod_ms = match formatter {
        Formatter::Rmc | Formatter::Gga | Formatter::Gns | Formatter::Zda => fields.time_of_day(1)?,
        Formatter::Gll => fields.time_of_day(5)?,
        Formatter::Gsa | Formatter::Vtg => None,
    };
    // Time never rejects: a date that is none leaves a sentence without date.
    let day = match formatter {
        Formatter::Rmc => day_of_ddmmyy(fields.at(9)),
        Formatter::Zda => [4, 3, 2]
            .map(|index| digits(fields.at(index)))
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .filter(|date| (1980..2200).contains(&date[0]))
            .and_then(|date| day_of(date[0], date[1], date[2])),
        _ => None,
    };
    Ok(Some(Reading { formatter, talker, tod_ms, day, position, is_valid, values: values.rounded() }))
}

/// Whether a text of the receiver's says that it has no room to send, as u-blox does: `$GNTXT,01,01,00,txbuf,alloc`.
#[must_use]
pub fn says_it_drops(text: &[u8]) -> bool {
    text.get(3..7) == Some(b"TXT,") && text.windows(11).any(|part| part.eq_ignore_ascii_case(b"txbuf,alloc"))
}

/// The values by our own reading, which also holds every field against its range.
fn own_values(formatter: Formatter, fields: &Fields<'_>) -> Result<Values, Reason> {
    let mut values = Values { status: true, ..Values::default() };
    let status = |index: usize| match fields.at(index) {
        "A" | "D" => Ok(true),
        // Some Magellan say N.
        "V" | "N" | "" => Ok(false),
        _ => Err(Reason::BadField),
    };
    match formatter {
        Formatter::Rmc => {
            fields.expect_count(10, 16)?;
            values.status = status(2)?;
            values.speed_mps = fields.decimal(7, 0.0, KNOTS_MAX)?.map(|knots| knots * MPS_PER_KNOT);
            values.course_deg = fields.decimal(8, -360.0, 360.0)?;
            values.real = faa_is_real(fields.at(12));
        }
        Formatter::Gga => {
            fields.expect_count(10, 16)?;
            values.quality = match fields.at(6).as_bytes() {
                [] => None,
                [digit @ b'0'..=b'9'] => Some(digit - b'0'),
                _ => return Err(Reason::BadField),
            };
            read_solution(fields, &mut values)?;
            let is_real = values.quality.is_some_and(|quality| !matches!(quality, 0 | 6 | 7 | 8));
            values.real = Some(is_real && !has_too_few(fields, &values));
        }
        Formatter::Gns => {
            fields.expect_count(10, 15)?;
            // One letter a constellation: one that has a real fix makes it one.
            values.real = Some(fields.at(6).bytes().any(|letter| b"ADFPR".contains(&letter)));
            read_solution(fields, &mut values)?;
        }
        Formatter::Gll => {
            fields.expect_count(5, 9)?;
            values.status = status(6)?;
            values.real = faa_is_real(fields.at(7));
        }
        Formatter::Gsa => {
            fields.expect_count(3, 32)?;
            // Of twelve satellites, as the standard has it; where a receiver sends more, the dilutions stand elsewhere.
            if fields.count() == 18 || fields.count() == 19 {
                values.hdop = fields.decimal(16, 0.0, 10_000.0)?;
            }
            values.mode = match fields.at(2) {
                "2" => Some(Mode::TwoD),
                "3" => Some(Mode::ThreeD),
                _ => None,
            };
        }
        Formatter::Vtg => {
            fields.expect_count(5, 11)?;
            values.course_deg = fields.decimal(1, -360.0, 360.0)?;
            let from_knots = fields.decimal(5, 0.0, KNOTS_MAX)?.map(|knots| knots * MPS_PER_KNOT);
            values.speed_mps = from_knots.or(fields.decimal(7, 0.0, KNOTS_MAX * 1.852)?.map(|kmh| kmh / 3.6));
        }
        Formatter::Zda => fields.expect_count(5, 8)?,
    }
    Ok(values)
}

/// Whether no position can come from so few satellites. Of the sentences of one constellation only those of GPS say how
/// many there are in all, and 0 beside a quality is the word of receivers that do not count.
fn has_too_few(fields: &Fields<'_>, values: &Values) -> bool {
    matches!(fields.at(0), "GPGGA" | "GNGGA")
        && values.satellites.is_some_and(|count| (1..SATELLITES_MIN).contains(&count))
}

/// Satellites, dilution and height: the same fields in GGA and GNS.
fn read_solution(fields: &Fields<'_>, values: &mut Values) -> Result<(), Reason> {
    values.satellites = match fields.at(7) {
        "" => None,
        text => match digits(text).ok_or(Reason::BadField)? {
            count @ 0..=255 => u32::try_from(count).ok(),
            _ => return Err(Reason::OutOfRange),
        },
    };
    values.hdop = fields.decimal(8, 0.0, 10_000.0)?;
    values.alt_m = fields.decimal(9, ALT_MIN_M, ALT_MAX_M)?;
    Ok(())
}

/// Whether an FAA mode letter stands for a real fix; none when there is none.
fn faa_is_real(letter: &str) -> Option<bool> {
    if letter.is_empty() { None } else { Some(!matches!(letter, "N" | "E" | "M" | "S")) }
}

/// The values as the `nmea` crate reads them; none when it refuses the sentence.
fn crate_values(text: &[u8]) -> Option<Values> {
    let real = |mode: Option<FaaMode>| {
        mode.map(|mode| {
            !matches!(mode, FaaMode::DataNotValid | FaaMode::Estimated | FaaMode::Manual | FaaMode::Simulator)
        })
    };
    let wide = |value: Option<f32>| value.map(f64::from);
    let mut values = Values { status: true, ..Values::default() };
    match nmea::parse_bytes(text).ok()? {
        ParseResult::RMC(rmc) => {
            values.status = rmc.status_of_fix != RmcStatusOfFix::Invalid;
            values.real = real(rmc.faa_mode);
            values.speed_mps = wide(rmc.speed_over_ground).map(|knots| knots * MPS_PER_KNOT);
            values.course_deg = wide(rmc.true_course);
        }
        ParseResult::GGA(gga) => {
            let fix_type = gga.fix_type?;
            values.real = Some(fix_type.is_valid());
            values.quality = Some(quality_of(fix_type));
            values.satellites = gga.fix_satellites;
            values.hdop = wide(gga.hdop);
            values.alt_m = wide(gga.altitude);
        }
        ParseResult::GNS(gns) => {
            values.real = Some(FixType::from(gns.faa_modes).is_valid());
            values.satellites = Some(u32::from(gns.nsattelites));
            values.hdop = wide(gns.hdop);
            values.alt_m = wide(gns.alt);
        }
        ParseResult::GLL(gll) => {
            values.status = gll.valid;
            values.real = real(gll.faa_mode);
        }
        ParseResult::GSA(gsa) => {
            values.mode = match gsa.mode2 {
                GsaMode2::NoFix => None,
                GsaMode2::Fix2D => Some(Mode::TwoD),
                GsaMode2::Fix3D => Some(Mode::ThreeD),
            };
            values.hdop = wide(gsa.hdop).filter(|_| gsa.fix_sats_prn.len() <= 12);
        }
        ParseResult::VTG(vtg) => {
            values.course_deg = wide(vtg.true_course);
            values.speed_mps = wide(vtg.speed_over_ground).map(|knots| knots * MPS_PER_KNOT);
        }
        // Its date is read from the digits like that of RMC.
        ParseResult::ZDA(_) => {}
        _ => return None,
    }
    Some(values)
}

/// The digit that GGA sends for a fix type.
const fn quality_of(fix_type: FixType) -> u8 {
    match fix_type {
        FixType::Invalid => 0,
        FixType::Gps => 1,
        FixType::DGps => 2,
        FixType::Pps => 3,
        FixType::Rtk => 4,
        FixType::FloatRtk => 5,
        FixType::Estimated => 6,
        FixType::Manual => 7,
        FixType::Simulation => 8,
    }
}

impl Values {
    /// Takes over what `newer` says; what it is silent about stays.
    pub fn merge(&mut self, newer: &Self) {
        self.speed_mps = newer.speed_mps.or(self.speed_mps);
        self.course_deg = newer.course_deg.or(self.course_deg);
        self.alt_m = newer.alt_m.or(self.alt_m);
        self.hdop = newer.hdop.or(self.hdop);
        self.satellites = newer.satellites.or(self.satellites);
        self.quality = newer.quality.or(self.quality);
        self.mode = newer.mode.or(self.mode);
    }

    /// Takes over what a sentence without a time says: as [`Values::merge`], but a dilution only where none is known.
    pub fn merge_untimed(&mut self, newer: &Self) {
        let hdop = self.hdop.or(newer.hdop);
        self.merge(newer);
        self.hdop = hdop;
    }

    /// The values to the last digit that a receiver means: the crate's are 32 bits wide, ours 64, and both must
    /// say the same. A dilution of 0 or from 99 on is a receiver's word for unknown. Where a sentence has other fields
    /// than its kind should, the crate finds numbers that we do not, and it knows no ranges.
    fn rounded(self) -> Self {
        let to = |places: f64| move |value: f64| (value * places).round() / places;
        Self {
            speed_mps: self.speed_mps.filter(|mps| (0.0..=KNOTS_MAX * MPS_PER_KNOT).contains(mps)).map(to(1000.0)),
            course_deg: self
                .course_deg
                .filter(|course| course.abs() <= 360.0)
                .map(|course| to(1000.0)(course).rem_euclid(360.0)),
            alt_m: self.alt_m.filter(|alt| (ALT_MIN_M..=ALT_MAX_M).contains(alt)).map(to(1000.0)),
            hdop: self.hdop.map(to(100.0)).filter(|hdop| (0.01..99.0).contains(hdop)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a body with the checksum put right.
    fn check(body: &str) -> Result<Option<Reading>, Reason> {
        let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
        read(format!("${body}*{sum:02X}").as_bytes())
    }

    fn reading(body: &str) -> Reading {
        check(body).unwrap().unwrap()
    }

    #[test]
    fn each_navigation_sentence_of_any_talker_is_read() {
        let rmc = reading("XXRMC,123519.25,A,4807.038,N,01131.324,E,022.4,084.4,230394,003.1,W,D");
        assert_eq!((rmc.tod_ms, rmc.day, rmc.is_valid), (Some(45_319_250), day_of_ddmmyy("230394"), true));
        assert_eq!((rmc.values.speed_mps, rmc.values.course_deg), (Some(11.524), Some(84.4)));
        let gga = reading("GNGGA,123519,4807.038,N,01131.324,E,4,08,0.9,545.4,M,46.9,M,,").values;
        assert_eq!((gga.quality, gga.satellites, gga.hdop, gga.alt_m), (Some(4), Some(8), Some(0.9), Some(545.4)));
        assert!(reading("GPGLL,4916.45,N,12311.12,W,225444,A").is_valid);
        assert_eq!(reading("GPGSA,A,3,,,,,,16,18,,22,24,,,3.6,2.1,2.2").values.mode, Some(Mode::ThreeD));
        let vtg = reading("GPVTG,360.0,T,348.7,M,,N,010.8,K").values;
        assert_eq!((vtg.course_deg, vtg.speed_mps), (Some(0.0), Some(3.0)));
        assert_eq!(reading("GPZDA,160012.71,11,03,2004,+00,00").day, day_of(2004, 3, 11));
    }

    #[test]
    fn what_the_crate_refuses_is_read_all_the_same() {
        let gns = reading("GNGNS,224749.00,3333.4268304,N,11153.3538273,W,NNNDA,19,0.6,406.110,-26.294,6.0,0138,S");
        assert!(gns.is_valid);
        assert_eq!((gns.values.satellites, gns.values.alt_m), (Some(19), Some(406.11)));
        assert!(reading("GPRMC,235960,A,4807.038,N,01131.324,E,0.0,,311216,,").is_valid);
        assert!(reading("GPRMC,240000,A,4807.038,N,01131.324,E,0.0,,311216,,").position.is_some());
    }

    #[test]
    fn simulated_estimated_typed_and_void_positions_are_none() {
        for quality in ["", "0", "6", "7", "8"] {
            let gga = reading(&format!("GPGGA,123519,4807.038,N,01131.324,E,{quality},08,0.9,545.4,M,46.9,M,,"));
            assert!(!gga.is_valid && gga.position.is_none(), "quality {quality:?}");
        }
        for mode in ["N", "E", "M", "S"] {
            assert!(!reading(&format!("GPRMC,123519,A,4807.038,N,01131.324,E,0,0,230394,,,{mode}")).is_valid);
            assert!(!reading(&format!("GNGNS,123519,4807.038,N,01131.324,E,{mode}N,08,0.9,545.4,46.9,,")).is_valid);
        }
        assert!(!reading("GPRMC,123519,V,9999.9,N,,,,,,,").is_valid);
    }

    #[test]
    fn garbage_under_a_good_checksum_is_refused() {
        let bad = |body, reason| assert_eq!(check(body).err(), Some(reason), "{body}");
        bad("GPRMC,123519,A,9507.038,N,01131.324,E,022.4,084.4,230394,,", Reason::OutOfRange);
        bad("GPRMC,123519,A,4807.038,N,01131.324,E,nan,084.4,230394,,", Reason::BadField);
        bad("GPRMC,123519,X,4807.038,N,01131.324,E,022.4,084.4,230394,,", Reason::BadField);
        bad("GPRMC,123519,A,4807.038,N,01131.324,E,022.4,584.4,230394,,", Reason::OutOfRange);
        bad("GPRMC,123519,A,4807.038,N", Reason::BadField);
        bad("GPGGA,123519,4807.038,N,01131.324,E,12,08,0.9,545.4,M,46.9,M,,", Reason::BadField);
        bad("GPGGA,1235Z9,4807.038,N,01131.324,E,1,08,0.9,545.4,M,46.9,M,,", Reason::BadField);
        bad("GPGSA,A,3,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,1,1,1", Reason::BadField);
    }

    #[test]
    fn a_sentence_that_the_crate_reads_says_the_same_as_our_own_reading() {
        for body in [
            "GPRMC,123519.25,A,4807.038,N,01131.324,E,022.4,084.4,230394,003.1,W,D",
            "GNRMC,001031.00,V,,,,,,,190416,,,N",
            "GNGGA,123519,4807.038,N,01131.324,E,5,08,0.9,545.4,M,46.9,M,,",
            "GPGGA,123519,,,,,0,00,99.9,,M,,M,,",
            "GNGNS,123519,4807.038,N,01131.324,E,NA,08,0.9,545.4,46.9,,",
            "GPGLL,4916.45,N,12311.12,W,225444,A,D",
            "GNGSA,A,2,01,02,,,,,,,,,,,1.5,0.9,1.2,1",
            "GPVTG,084.4,T,077.8,M,022.4,N,041.4,K,A",
            "GPZDA,160012.71,11,03,2004,-1,00",
        ] {
            let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
            let text = format!("${body}*{sum:02X}");
            let formatter = Formatter::of(text.as_bytes()).unwrap();
            let own = own_values(formatter, &Fields::split(text.as_bytes()).unwrap()).unwrap();
            let read = crate_values(text.as_bytes()).expect(body);
            assert_eq!(read.rounded(), own.rounded(), "{body}");
        }
    }

    #[test]
    fn a_date_that_is_none_rejects_nothing() {
        let rmc = reading("GPRMC,000231.099,A,4829.0005,N,00022.0015,E,0.15,212.28,2208-1,,,A");
        assert_eq!((rmc.day, rmc.is_valid), (None, true));
    }

    #[test]
    fn other_sentences_are_no_readings() {
        for body in ["GPGSV,1,1,00", "PUBX,00,1", "PGRMC,A,1", "GPTXT,hello", "GP", "RMC"] {
            assert_eq!(check(body), Ok(None), "{body}");
        }
    }
}
