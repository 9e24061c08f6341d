//! The last minutes of a source as it spoke, to be played again: what came, when, and when the port was lost and back.
//! It lives in memory and goes to its file only at a stop, at trouble and when asked for: flash wears. ADR 0009.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::domain::Stamp;
use crate::wire;

/// How far back it goes. ms
const SPAN_MS: i64 = 600_000;
/// Most that one source takes, in memory and as a file. Bytes.
const RING_MAX: usize = 1 << 20;
/// What is let go of at once when there is no room. Bytes.
const SEGMENT: usize = 16 * 1024;
/// What a line costs beside its step: time, brackets, line end; in memory its place. Bytes.
const LINE_COST: usize = 16;
/// Reads closer together than this are one line: a USB adapter hands over every few bytes alone. ms
const TOGETHER_MS: i64 = 50;
/// No line grows beyond this by more than one read. Bytes.
const LINE_MAX: usize = 4096;
/// A file that ended longer ago says nothing about now. ms
const RESUME_MS: i64 = SPAN_MS;

/// Whose bytes these are, as the first line says it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The source's id.
    pub source: String,
    /// `gps` or `scanner`.
    pub kind: &'static str,
    /// As configured.
    pub port: String,
    /// As configured; none for `auto` and for what has no rate.
    pub baud: Option<u32>,
    /// The kernel's boot id: a file of another boot is not gone on with.
    pub boot: String,
}

/// The ring of one source; clones share it.
#[derive(Clone)]
pub struct Ring(Arc<Shelf>);

struct Shelf {
    file: PathBuf,
    origin: Origin,
    tape: Mutex<Tape>,
}

/// Steps in segments, the oldest first.
struct Tape {
    /// The moment 0, `CLOCK_BOOTTIME` µs.
    zero_us: i64,
    last_ms: i64,
    segments: VecDeque<Segment>,
    /// Whether the last line may be gone on with.
    open: bool,
    is_lost: bool,
}

#[derive(Default)]
struct Segment {
    /// Steps as JSON without what is around them, one behind the other.
    text: String,
    /// Of each step: its time in ms, and where it ends in `text`.
    lines: Vec<(i64, usize)>,
}

impl Segment {
    fn cost(&self) -> usize {
        self.text.len() + self.lines.len() * LINE_COST
    }

    fn steps(&self) -> impl Iterator<Item = (i64, &str)> {
        let starts = std::iter::once(0).chain(self.lines.iter().map(|(_, end)| *end));
        self.lines.iter().zip(starts).map(|((ms, end), start)| (*ms, &self.text[start..*end]))
    }
}

impl Ring {
    /// The ring of a source that begins now, or goes on where its file of a moment ago ends.
    #[must_use]
    pub fn open(folder: &Path, origin: Origin, now: Stamp) -> Self {
        let file = folder.join(format!("{}.ring", origin.source));
        let mut tape =
            Tape { zero_us: now.mono_us, last_ms: 0, segments: VecDeque::new(), open: false, is_lost: false };
        // What is not there, or is no ring, has nothing to go on with; the next save replaces it.
        if let Ok(text) = fs::read_to_string(&file) {
            tape.resume(&text, &origin.boot, now);
        }
        Self(Arc::new(Shelf { file, origin, tape: Mutex::new(tape) }))
    }

    /// The capture: a line that says whose it is, then a line a step, from the oldest that is no older than ten minutes.
    #[must_use]
    pub fn text(&self, now: Stamp) -> String {
        let tape = self.tape();
        let from = tape.ms(now) - SPAN_MS;
        let mut steps = tape.segments.iter().flat_map(Segment::steps).skip_while(|(ms, _)| *ms < from).peekable();
        let first = steps.peek().map_or_else(|| tape.ms(now), |(ms, _)| *ms);
        let Origin { source, kind, port, baud, boot } = &self.0.origin;
        let start_mono_ms = now.mono_ms() - (tape.ms(now) - first);
        // By the clock of now: it may have been set since.
        let start_ms = now.wall_ms - (tape.ms(now) - first);
        let (version, start) = (env!("CARGO_PKG_VERSION"), wire::rfc3339(start_ms));
        // Written out: that it is a capture stands first, and readers know it by that.
        let mut text = format!(
            "{{\"capture\":1,\"version\":{},\"source\":{},\"kind\":{},\"port\":{},\"baud\":{},\"start\":{},\"start_ms\":{start_ms},\"boot\":{},\"start_mono_ms\":{start_mono_ms}}}\n",
            json!(version),
            json!(source),
            json!(kind),
            json!(port),
            json!(baud),
            json!(start),
            json!(boot),
        );
        for (ms, step) in steps {
            // Writing into a string cannot fail.
            writeln!(text, "[{},{step}]", ms - first).unwrap_or_default();
        }
        text
    }

    /// Writes the capture to its file, whole or not at all. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// The folder cannot be made or the file not written; what was there before stands.
    pub fn save(&self, now: Stamp) -> io::Result<()> {
        let text = self.text(now);
        let file = &self.0.file;
        fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        let next = file.with_extension("next");
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&next)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&next, file)
    }

    /// Forgets all of it, also what its file keeps. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        let mut tape = self.tape();
        tape.segments.clear();
        tape.open = false;
        drop(tape);
        match fs::remove_file(&self.0.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Bytes came.
    pub fn bytes(&self, bytes: &[u8], at: Stamp) {
        let mut tape = self.tape();
        let ms = tape.advance(at);
        let goes_on = tape.open && tape.segments.back().is_some_and(|segment| segment.is_near(ms));
        if goes_on && let Some(segment) = tape.segments.back_mut() {
            segment.text.pop();
            escape(bytes, &mut segment.text);
            segment.text.push('"');
            let end = segment.text.len();
            segment.lines.last_mut().into_iter().for_each(|line| line.1 = end);
            tape.make_room();
        } else {
            let mut step = String::with_capacity(bytes.len() + 8);
            step.push('"');
            escape(bytes, &mut step);
            step.push('"');
            tape.push(ms, &step);
            tape.open = true;
        }
    }

    /// Events of a keyboard came.
    pub(super) fn events(&self, events: &[u8], at: Stamp) {
        let mut step = String::from("{\"events\":\"");
        escape(events, &mut step);
        step.push_str("\"}");
        self.step(&step, at);
    }

    /// The port is lost, or is back.
    pub fn port(&self, is_lost: bool, at: Stamp) {
        // The first opening of all is the beginning, not a return.
        let was_lost = std::mem::replace(&mut self.tape().is_lost, is_lost);
        if was_lost != is_lost {
            self.step(if is_lost { "{\"port\":\"lost\"}" } else { "{\"port\":\"back\"}" }, at);
        }
    }

    /// Bytes came that nobody may keep.
    pub(super) fn left_out(&self, bytes: usize, at: Stamp) {
        self.step(&format!("{{\"left_out\":{bytes}}}"), at);
    }

    fn step(&self, step: &str, at: Stamp) {
        let mut tape = self.tape();
        let ms = tape.advance(at);
        tape.push(ms, step);
        tape.open = false;
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        // A panic in between leaves whole lines behind: a line is in before it is counted.
        self.0.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segment {
    fn is_near(&self, ms: i64) -> bool {
        let before = self.lines.len().checked_sub(2).map_or(0, |at| self.lines[at].1);
        self.lines.last().is_some_and(|(at, _)| ms - at < TOGETHER_MS) && self.text.len() - before < LINE_MAX
    }
}

impl Tape {
    fn ms(&self, at: Stamp) -> i64 {
        (at.mono_us - self.zero_us) / 1000
    }

    /// The time of a step: never before the one above it, though the connections of a listener are settled in their own order.
    fn advance(&mut self, at: Stamp) -> i64 {
        self.last_ms = self.ms(at).max(self.last_ms);
        self.last_ms
    }

    fn push(&mut self, ms: i64, step: &str) {
        if self.segments.back().is_none_or(|segment| segment.cost() + step.len() > SEGMENT) {
            if let Some(full) = self.segments.back_mut() {
                // Grown by doubling, it may hold twice of what is in it.
                full.text.shrink_to_fit();
                full.lines.shrink_to_fit();
            }
            self.segments.push_back(Segment::default());
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.text.push_str(step);
            segment.lines.push((ms, segment.text.len()));
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        let from = self.last_ms - SPAN_MS;
        let is_old = |segment: &Segment| segment.lines.last().is_some_and(|(ms, _)| *ms < from);
        while self.segments.len() > 1 && (self.segments.front().is_some_and(is_old) || self.cost() > RING_MAX - 1024) {
            self.segments.pop_front();
        }
    }

    fn cost(&self) -> usize {
        self.segments.iter().map(Segment::cost).sum()
    }

    /// Takes over the lines of a file, when it ended a moment ago in the same boot.
    fn resume(&mut self, text: &str, boot: &str, now: Stamp) {
        let mut lines = text.lines();
        let head: Value = lines.next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let is_ours = head["capture"] == 1 && head["boot"] == boot;
        let Some(start_mono_ms) = head["start_mono_ms"].as_i64().filter(|_| is_ours) else { return };
        let since_ms = now.mono_ms() - start_mono_ms;
        let steps: Option<Vec<(i64, &str)>> = lines.map(step_of).collect();
        let Some(steps) = steps.filter(|steps| steps.is_sorted_by_key(|(ms, _)| *ms)) else { return };
        let Some((last_ms, last)) = steps.last() else { return };
        if !(0..RESUME_MS).contains(&(since_ms - last_ms)) || text.len() > RING_MAX {
            return;
        }
        self.is_lost = last.contains("\"lost\"");
        self.zero_us = now.mono_us - since_ms * 1000;
        for (ms, step) in steps {
            self.last_ms = ms;
            self.push(ms, step);
        }
    }
}

/// A line taken apart: its time and its step.
fn step_of(line: &str) -> Option<(i64, &str)> {
    let (ms, step) = line.strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
    Some((ms.parse().ok()?, step))
}

/// Writes bytes as C escapes in a JSON string.
fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'\r' => out.push_str("\\\\r"),
            b'\n' => out.push_str("\\\\n"),
            b'\t' => out.push_str("\\\\t"),
            b'\\' => out.push_str("\\\\\\\\"),
            b'"' => out.push_str("\\\""),
            b' '..=b'~' => out.push(char::from(*byte)),
            // Writing into a string cannot fail.
            _ => write!(out, "\\\\x{byte:02x}").unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_795_169_472_000;

    fn at(ms: i64) -> Stamp {
        Stamp { mono_us: 5_000_000 + ms * 1000, wall_ms: START_MS + ms }
    }

    fn ring(folder: &Path, ms: i64) -> Ring {
        Ring::open(folder, origin("one"), at(ms))
    }

    fn origin(boot: &str) -> Origin {
        let (source, port) = ("gps0".into(), "/dev/ttyUSB0".into());
        Origin { source, kind: "gps", port, baud: Some(9600), boot: boot.into() }
    }

    fn lines(ring: &Ring, ms: i64) -> Vec<String> {
        ring.text(at(ms)).lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn a_capture_says_whose_it_is_and_when_each_byte_came() {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path(), 0);
        ring.port(false, at(0));
        ring.bytes(b"$GPRMC\r\n", at(100));
        ring.bytes(b"\"\\\x1d\xe9", at(149));
        ring.bytes(b"7", at(150));
        ring.port(true, at(400));
        ring.port(false, at(900));
        let text = ring.text(at(1000));
        let head: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert!(text.starts_with("{\"capture\":1,"), "{text}");
        assert_eq!((&head["capture"], &head["source"], &head["baud"]), (&json!(1), &json!("gps0"), &json!(9600)));
        assert_eq!(head["start"], "2026-11-20T10:11:12.100Z");
        let expect = [
            r#"[0,"$GPRMC\\r\\n\"\\\\\\x1d\\xe9"]"#,
            r#"[50,"7"]"#,
            r#"[300,{"port":"lost"}]"#,
            r#"[800,{"port":"back"}]"#,
        ];
        assert_eq!(lines(&ring, 1000), expect);
    }

    #[test]
    fn what_is_older_than_ten_minutes_is_not_told_and_what_is_too_much_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let ring = ring(dir.path(), 0);
        ring.bytes(b"old", at(0));
        ring.bytes(b"new", at(SPAN_MS));
        assert_eq!(lines(&ring, SPAN_MS).len(), 2);
        assert_eq!(lines(&ring, SPAN_MS + 1), ["[0,\"new\"]"]);
        for n in 0..20_000 {
            // The worst: nothing but bytes that need an escape, each read alone.
            ring.bytes(&[0xff; 64], at(SPAN_MS + n * TOGETHER_MS));
        }
        let now = SPAN_MS + 20_000 * TOGETHER_MS;
        let text = ring.text(at(now));
        assert!(text.len() <= RING_MAX && text.len() > RING_MAX / 2, "{}", text.len());
        assert!(ring.tape().segments.len() <= RING_MAX / SEGMENT + 1);
        for n in 0..50_000 {
            ring.bytes(&[0xff; 4096], at(now + n));
        }
        assert!(ring.text(at(now + 50_000)).len() <= RING_MAX);
    }

    #[test]
    fn a_restart_goes_on_where_the_file_ends_and_an_old_or_broken_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let first = ring(dir.path(), 0);
        first.bytes(b"before", at(1000));
        first.port(true, at(2000));
        first.save(at(2000)).unwrap();
        let next = ring(dir.path(), 10_000);
        next.port(false, at(10_000));
        next.bytes(b"after", at(11_000));
        let expect =
            ["[0,\"before\"]", "[1000,{\"port\":\"lost\"}]", "[9000,{\"port\":\"back\"}]", "[10000,\"after\"]"];
        assert_eq!(lines(&next, 12_000), expect);
        assert_eq!(lines(&ring(dir.path(), 3_600_000), 3_600_000), [""; 0]);
        let other = Ring::open(dir.path(), origin("another"), at(10_000));
        assert_eq!(lines(&other, 10_000), [""; 0], "nobody knows how long the machine was off");
        // Whatever became of the wall clock meanwhile.
        for wall_ms in [0, START_MS + 40 * 365 * 86_400_000] {
            let moved = Ring::open(dir.path(), origin("one"), Stamp { wall_ms, ..at(10_000) });
            assert_eq!(lines(&moved, 10_000).len(), 2, "{wall_ms}");
        }
        for broken in
            ["", "{}", "{\"capture\":1,\"boot\":\"one\",\"start_mono_ms\":5000}\n[9,\"a\"]\n[1,\"b\"]\n", "\u{0}"]
        {
            fs::write(dir.path().join("gps0.ring"), broken).unwrap();
            assert_eq!(lines(&ring(dir.path(), 10), 10), [""; 0], "{broken:?}");
        }
    }
}
