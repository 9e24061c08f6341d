//! What `waypost decode nmea` prints: a JSON line per fix, then a summary whose bytes balance.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::Serialize;

use super::{Doubter, NmeaCounts, NmeaDecoder, NmeaOptions, NmeaOut, Trusted};
use crate::domain::{Fix, Mode, Stamp};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Decodes `input` to its end as a file: an epoch ends when the next begins. A JSON line per dated fix goes to
/// `output`, at the end the summary to `errors`.
///
/// A fix before the first date of the stream has no time to print; the summary counts it as `undated`.
///
/// # Errors
/// Of the three streams; what was decoded so far is printed.
pub fn decode_stream(mut input: impl Read, mut output: impl Write, mut errors: impl Write) -> io::Result<()> {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut chunk = vec![0; CHUNK];
    let mut decoded = Vec::new();
    let mut doubter = Doubter::default();
    let mut undated = 0;
    loop {
        let length = match input.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if length == 0 {
            decoder.finish(&mut decoded);
        } else {
            decoder.feed(&chunk[..length], Stamp::default(), &mut decoded);
        }
        for one in decoded.drain(..) {
            match one {
                NmeaOut::Fix(fix, _) if fix.day_sent.is_empty() => undated += 1,
                NmeaOut::Fix(mut fix, _) => {
                    doubter.judge(&mut fix, None, Trusted::default());
                    print(&Line::of(&fix), &mut output)?;
                }
                NmeaOut::NoFix(_) | NmeaOut::Loss(..) => {}
            }
        }
        if length == 0 {
            break;
        }
    }
    output.flush()?;
    print(&Summary::of(decoder.counts(), undated), &mut errors)
}

fn print(value: &impl Serialize, to: &mut impl Write) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    to.write_all(&text)
}

/// One fix.
#[derive(Serialize)]
struct Line {
    ts: String,
    lat: f64,
    lon: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    alt_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed_mps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    course_deg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    satellites: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hdop: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollover_weeks: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    doubt: Vec<&'static str>,
}

impl Line {
    fn of(fix: &Fix) -> Self {
        let ts = jiff::Timestamp::from_millisecond(fix.time_ms)
            .map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
            .unwrap_or_default();
        Self {
            ts,
            lat: fix.lat_deg,
            lon: fix.lon_deg,
            alt_m: fix.alt_m,
            speed_mps: fix.speed_mps,
            course_deg: fix.course_deg,
            mode: fix.mode.map(Mode::as_str),
            satellites: fix.satellites,
            hdop: fix.hdop,
            quality: fix.quality,
            rollover_weeks: Some(fix.weeks_moved()).filter(|weeks| *weeks != 0),
            doubt: fix.doubt.iter().map(|doubt| doubt.as_str()).collect(),
        }
    }
}

/// The last line. `bytes` is the sum of `bytes_by`; `skipped` counts sentences and runs of noise.
#[derive(Serialize)]
struct Summary<'a> {
    bytes: u64,
    sentences: u64,
    by_type: &'a BTreeMap<String, u64>,
    fixes: u64,
    no_fix: u64,
    undated: u64,
    skipped: BTreeMap<&'static str, u64>,
    bytes_by: BTreeMap<&'static str, u64>,
}

impl<'a> Summary<'a> {
    fn of(counts: &'a NmeaCounts, undated: u64) -> Self {
        Self {
            bytes: counts.bytes,
            sentences: counts.sentences,
            by_type: &counts.by_type,
            fixes: counts.fixes.saturating_sub(undated),
            no_fix: counts.no_fix,
            undated,
            skipped: counts.skipped.iter().map(|(code, skipped)| (*code, skipped.pieces)).collect(),
            bytes_by: counts.bytes_by_outcome().filter(|(_, bytes)| *bytes > 0).collect(),
        }
    }
}
