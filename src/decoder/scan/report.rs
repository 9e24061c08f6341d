//! What `waypost decode scan` prints: one JSON object a line for each frame's end, from raw bytes or from a script with times.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::domain::{Loss, Reason, Scan, Stamp, Warn};

use super::classify::code_of;
use super::script::{Hands, Step, is_head, read_step};
use super::sheet::{Finding, SheetRead, Told};
use super::{Charset, CodeId, Layout, RepeatScope, RepeatWindow, ScanDecoder, ScanOut, ScanProfile};

/// The longest line of a script. Unit: bytes.
const LINE_MAX: u64 = 1 << 20;

/// The longest start or terminator. Unit: bytes.
const DELIMITER_MAX: usize = 16;

/// Why a report ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The profile is not a `[[scanner]]` table in JSON; the text names the key.
    #[error("--profile: {0}")]
    Profile(String),
    /// A line of a script cannot be read.
    #[error(
        "line {line}: {what}; a line is [ms,\"bytes, C escapes\"], [ms,{{\"key\":\"SHIFT+KEY_T\"}}], [ms,{{\"port\":\"lost\"}}] or [ms,{{\"port\":\"back\"}}]"
    )]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The input cannot be read.
    #[error("the input cannot be read")]
    Read(#[source] io::Error),
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Write(#[source] io::Error),
}

/// How bytes are decoded and repeats counted: a `[[scanner]]` table.
#[derive(Clone, Debug)]
pub struct ReportProfile {
    /// How a read is written.
    pub scan: ScanProfile,
    /// How long one read stands for those that follow. Unit: ms; 0: not at all.
    pub repeat_window_ms: i64,
    /// What ends the window before.
    pub repeat_scope: RepeatScope,
}

impl Default for ReportProfile {
    fn default() -> Self {
        Self { scan: ScanProfile::default(), repeat_window_ms: 1000, repeat_scope: RepeatScope::Previous }
    }
}

impl ReportProfile {
    /// The profile of the keys of a `[[scanner]]` table as JSON; a key that is left out has its default.
    ///
    /// # Errors
    /// [`ReportError::Profile`] names a key that there is not, with those that there are, or one whose value cannot be.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        let table: Table = serde_json::from_str(text).map_err(|error| ReportError::Profile(error.to_string()))?;
        table.into_profile().map_err(ReportError::Profile)
    }
}

/// Decodes all of `input` as one connection without time: no window and no limit of silence. At its end the open frame is refused.
///
/// # Errors
/// [`ReportError::Read`] and [`ReportError::Write`]; what was printed before stands.
pub fn report(mut input: impl Read, output: impl Write, profile: &ReportProfile) -> Result<(), ReportError> {
    let mut printer = Printer { output, profile, window: RepeatWindow::new(0, RepeatScope::Previous) };
    let mut decoder = ScanDecoder::new(profile.scan.clone());
    let mut out = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = match input.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReportError::Read(error)),
        };
        if length == 0 {
            break;
        }
        decoder.feed(&chunk[..length], Stamp::default(), &mut out);
        printer.print(&mut out)?;
    }
    decoder.lost(Stamp::default(), &mut out);
    printer.print(&mut out)?;
    printer.output.flush().map_err(ReportError::Write)
}

/// Plays a script on a virtual clock: the window and the limit of silence apply. At its end the open frame is refused.
///
/// Shape: a line each, times in ms that never go back: `[ms,"bytes, C escapes"]`, `[ms,{"key":"SHIFT+KEY_T"}]`,
/// `[ms,{"port":"lost"|"back"}]`; empty lines are left out. A key is pressed and let go of; what stands before it
/// (`SHIFT`, `CTRL`, `ALT`, `ALTGR`, `META`) stays down until a key comes without it. A capture is one too: its first
/// line and `{"left_out":n}` say nothing to a decoder, `{"events":"…"}` are a keyboard's as the kernel has them.
///
/// # Errors
/// [`ReportError::Line`] names the line; what was printed before stands.
pub fn report_timed(input: impl Read, output: impl Write, profile: &ReportProfile) -> Result<(), ReportError> {
    let window = RepeatWindow::new(profile.repeat_window_ms, profile.repeat_scope);
    let mut printer = Printer { output, profile, window };
    let mut decoder = ScanDecoder::new(profile.scan.clone());
    let mut hands = Hands::default();
    let mut out = Vec::new();
    let mut now = Stamp::default();
    let mut input = BufReader::new(input);
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let length = input.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut text).map_err(ReportError::Read)?;
        if length == 0 {
            break;
        }
        let fault = |what: String| ReportError::Line { line, what };
        if u64::try_from(length).unwrap_or(u64::MAX) > LINE_MAX {
            return Err(fault(format!("it is longer than {LINE_MAX} bytes")));
        }
        if line == 1 && is_head(&text) {
            not_a_receivers(&text).map_err(fault)?;
            continue;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let (ms, step) = read_step(&text).map_err(fault)?;
        let at = Stamp { mono_us: ms.saturating_mul(1000), wall_ms: ms };
        if at.mono_us < now.mono_us {
            return Err(fault(format!("its time {ms} ms is before that of the line above")));
        }
        now = at;
        // The limit of silence passes on its own, before whatever happens next.
        decoder.idle(now.mono_us, &mut out);
        match step {
            Step::Bytes(bytes) => decoder.feed(&bytes, now, &mut out),
            Step::Lost => decoder.lost(now, &mut out),
            Step::Back => {
                decoder = ScanDecoder::new(profile.scan.clone());
                hands = Hands::default();
            }
            Step::Key(_) if profile.scan.charset == Charset::Latin1 => {
                return Err(fault("keys type characters, not bytes: leave charset out of the profile".to_owned()));
            }
            Step::Key(stroke) => decoder.feed_keys(&hands.strike(stroke), now, &mut out),
            Step::Events(events) => decoder.feed_keys(&events, now, &mut out),
            Step::Nothing => {}
        }
        printer.print(&mut out)?;
    }
    decoder.feed_keys(&hands.rest(), now, &mut out);
    decoder.lost(now, &mut out);
    printer.print(&mut out)?;
    printer.output.flush().map_err(ReportError::Write)
}

/// Refuses the capture of a receiver: its sentences would all be scans.
fn not_a_receivers(head: &[u8]) -> Result<(), String> {
    let head: serde_json::Value = serde_json::from_slice(head).map_err(|error| error.to_string())?;
    if head["kind"] == "gps" {
        return Err(format!("this is the capture of the receiver {}; `waypost decode nmea` reads it", head["source"]));
    }
    Ok(())
}

/// Writes the ends of frames as they come.
struct Printer<'p, W> {
    output: W,
    profile: &'p ReportProfile,
    window: RepeatWindow,
}

impl<W: Write> Printer<'_, W> {
    fn print(&mut self, out: &mut Vec<ScanOut>) -> Result<(), ReportError> {
        for entry in out.drain(..) {
            let line = match &entry {
                ScanOut::Scan(scan, at) => match self.window.repeats(&scan.code, at.mono_us) {
                    Some(n) => Line::Repeat { key: &scan.key, n },
                    None => Line::of_scan(scan),
                },
                ScanOut::Reject(loss, _) => Line::of_loss(loss, &self.profile.scan),
                ScanOut::Test(read, _) => Line::of_test(read),
            };
            serde_json::to_writer(&mut self.output, &line).map_err(|error| ReportError::Write(error.into()))?;
            self.output.write_all(b"\n").map_err(ReportError::Write)?;
        }
        Ok(())
    }
}

/// One line of the report; a field that does not apply is absent.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    Scan {
        data: &'a str,
        kind: &'static str,
        key: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        aim: Option<&'a str>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        gs1: &'a BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warn: Vec<&'static str>,
    },
    Reject {
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ai: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        length: Option<usize>,
    },
    Repeat {
        key: &'a str,
        n: u64,
    },
    Test {
        number: u8,
        findings: Vec<Told>,
    },
}

impl<'a> Line<'a> {
    fn of_scan(scan: &'a Scan) -> Self {
        Self::Scan {
            data: &scan.code,
            kind: scan.kind.as_str(),
            key: &scan.key,
            aim: scan.aim.as_deref(),
            gs1: &scan.gs1,
            warn: scan.warn.iter().copied().map(Warn::as_str).collect(),
        }
    }

    fn of_test(read: &SheetRead) -> Self {
        Self::Test { number: read.code.number, findings: read.findings.iter().map(Finding::told).collect() }
    }

    fn of_loss(loss: &'a Loss, profile: &ScanProfile) -> Self {
        let as_it_came = || String::from_utf8_lossy(&loss.bytes).into_owned();
        let data = match loss.reason {
            // Nothing that a person could read, or may.
            Reason::ControlOnly | Reason::NonAscii | Reason::Noread | Reason::Overlong | Reason::Pii => None,
            Reason::Framing | Reason::Unterminated => Some(as_it_came()),
            _ => Some(code_of(&loss.bytes, profile).unwrap_or_else(as_it_came)),
        };
        let length = (loss.reason == Reason::Overlong).then_some(loss.length);
        Self::Reject { reason: loss.reason.as_str(), data, ai: loss.ai.as_deref(), length }
    }
}

/// The keys of a `[[scanner]]` table. Those that decoding does not need are allowed, so that a table can be given as it is.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    terminators: Vec<String>,
    start: String,
    prefix: String,
    suffix: String,
    code_id: CodeIdWord,
    noread: String,
    charset: CharsetWord,
    layout: LayoutWord,
    idle_ms: u32,
    repeat_window_ms: u32,
    repeat_scope: RepeatScopeWord,
    #[serde(rename = "id")]
    _id: IgnoredAny,
    #[serde(rename = "enabled")]
    _enabled: IgnoredAny,
    #[serde(rename = "port")]
    _port: IgnoredAny,
    #[serde(rename = "place")]
    _place: IgnoredAny,
    #[serde(rename = "baud")]
    _baud: IgnoredAny,
    #[serde(rename = "serial")]
    _serial: IgnoredAny,
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    #[serde(rename = "reply")]
    _reply: IgnoredAny,
    #[serde(rename = "allow")]
    _allow: IgnoredAny,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CodeIdWord {
    None,
    Symbol,
}

#[derive(Clone, Copy, Deserialize)]
enum CharsetWord {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LayoutWord {
    Us,
    Uk,
    De,
    Fr,
    Es,
    Cz,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RepeatScopeWord {
    Previous,
    Code,
}

impl Default for Table {
    fn default() -> Self {
        let ReportProfile { scan, .. } = ReportProfile::default();
        Self {
            terminators: vec!["\r".to_owned(), "\n".to_owned()],
            start: String::new(),
            prefix: String::new(),
            suffix: String::new(),
            code_id: CodeIdWord::None,
            noread: scan.noread,
            charset: CharsetWord::Utf8,
            layout: LayoutWord::Us,
            idle_ms: 500,
            repeat_window_ms: 1000,
            repeat_scope: RepeatScopeWord::Previous,
            _id: IgnoredAny,
            _enabled: IgnoredAny,
            _port: IgnoredAny,
            _place: IgnoredAny,
            _baud: IgnoredAny,
            _serial: IgnoredAny,
            _effect: IgnoredAny,
            _reply: IgnoredAny,
            _allow: IgnoredAny,
        }
    }
}

impl Table {
    fn into_profile(self) -> Result<ReportProfile, String> {
        let charset = match self.charset {
            CharsetWord::Utf8 => Charset::Utf8,
            CharsetWord::Latin1 => Charset::Latin1,
        };
        let bytes = |key: &str, text: &str| match charset {
            Charset::Utf8 => Ok(text.as_bytes().to_vec()),
            Charset::Latin1 => text
                .chars()
                .map(|c| u8::try_from(u32::from(c)))
                .collect::<Result<Vec<u8>, _>>()
                .map_err(|_| format!("{key} {text:?} is not in latin-1")),
        };
        let terminators: Vec<Vec<u8>> =
            self.terminators.iter().map(|text| bytes("terminators", text)).collect::<Result<_, _>>()?;
        let start = bytes("start", &self.start)?;
        if terminators.is_empty() || terminators.iter().any(|term| term.is_empty() || term.len() > DELIMITER_MAX) {
            return Err(format!(
                "terminators {:?}: give at least one, each of 1 to {DELIMITER_MAX} bytes",
                self.terminators
            ));
        }
        if start.len() > DELIMITER_MAX {
            return Err(format!("start {:?}: give at most {DELIMITER_MAX} bytes", self.start));
        }
        if self.idle_ms == 0 {
            return Err("idle_ms 0: give at least 1".to_owned());
        }
        Ok(ReportProfile {
            scan: ScanProfile {
                terminators,
                start,
                prefix: bytes("prefix", &self.prefix)?,
                suffix: bytes("suffix", &self.suffix)?,
                code_id: match self.code_id {
                    CodeIdWord::None => CodeId::None,
                    CodeIdWord::Symbol => CodeId::Symbol,
                },
                noread: self.noread,
                charset,
                layout: match self.layout {
                    LayoutWord::Us => Layout::Us,
                    LayoutWord::Uk => Layout::Uk,
                    LayoutWord::De => Layout::De,
                    LayoutWord::Fr => Layout::Fr,
                    LayoutWord::Es => Layout::Es,
                    LayoutWord::Cz => Layout::Cz,
                },
                idle_ms: i64::from(self.idle_ms),
            },
            repeat_window_ms: i64::from(self.repeat_window_ms),
            repeat_scope: match self.repeat_scope {
                RepeatScopeWord::Previous => RepeatScope::Previous,
                RepeatScopeWord::Code => RepeatScope::Code,
            },
        })
    }
}
