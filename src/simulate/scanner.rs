//! A scanner: sends one code after the other, as a hand at a door does; or a capture, as it was.

use std::time::Duration;

use crate::clock::Clock;
use crate::domain::UnixMs;

use super::SimulateError;
use super::capture::Capture;
use super::escapes::unescape;
use super::input::Input;
use super::line::{Device, Session};
use super::replay::Replay;
use super::tape::Tape;

const REMEDY: &str = r#"the escapes are \r \n \t \a \b \f \v \e \0 \\ \' \" \xHH and \NNN (octal)"#;

/// What a simulated scanner plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Codes: one a line, with C escapes; empty lines are left out.
    Codes(Input),
    /// What `waypost capture` wrote, played as it was; or the bytes of reads, each with its line end.
    Log(Input),
}

/// A simulated scanner on a pty.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// What every device has.
    pub device: Device,
    /// What it plays.
    pub reads: Reads,
    /// From one code to the next; a capture has times of its own.
    pub every: Duration,
    /// What follows a code that does not itself end with CR or LF; with C escapes.
    pub terminator: String,
}

impl Scanner {
    /// Reads the codes, makes the port and links it.
    ///
    /// # Errors
    /// [`SimulateError`]: the file or a code is bad, or the port or its link cannot be made.
    pub fn plug(self, clock: Clock) -> Result<Session, SimulateError> {
        let tape = self.tape()?;
        Session::plug(self.device, tape, clock)
    }

    pub(super) fn tape(&self) -> Result<Box<dyn Tape>, SimulateError> {
        let (input, codes) = match &self.reads {
            Reads::Codes(input) => (input, self.codes(input)?),
            Reads::Log(input) => {
                let bytes = input.read("the log")?;
                if let Some(capture) = Capture::of(&input.name(), &bytes)? {
                    capture.expect_kind(&input.name(), "scanner")?;
                    let empty = || SimulateError::content(input.name(), "it holds no bytes", "capture a read");
                    let tape = Replay::exact(capture, self.device.repeat).ok_or_else(empty)?;
                    return Ok(Box::new(tape));
                }
                (input, reads(&bytes))
            }
        };
        if codes.is_empty() {
            return Err(SimulateError::content(input.name(), "it holds no code", "write one code a line"));
        }
        // A period of nothing would never let go of the thread.
        let every = self.every.max(Duration::from_millis(1));
        Ok(Box::new(Codes { codes, every, repeat: self.device.repeat, next: 0, at: Duration::ZERO }))
    }

    fn codes(&self, input: &Input) -> Result<Vec<Vec<u8>>, SimulateError> {
        let name = input.name();
        let refuse = |problem| SimulateError::content(&name, problem, REMEDY);
        let terminator = unescape(self.terminator.as_bytes())
            .map_err(|problem| SimulateError::content("the terminator", problem, REMEDY))?;
        let mut codes = Vec::new();
        for (n, line) in (1_u64..).zip(input.read("the codes")?.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut code = unescape(line).map_err(|problem| refuse(format!("line {n}: {problem}")))?;
            if code.is_empty() {
                continue;
            }
            if !matches!(code.last(), Some(b'\r' | b'\n')) {
                code.extend_from_slice(&terminator);
            }
            codes.push(code);
        }
        Ok(codes)
    }
}

/// The reads in the bytes of a scanner, each with the line ends behind it.
fn reads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    bytes.chunk_by(|one, next| !is_end(one) || is_end(next)).map(<[u8]>::to_vec).collect()
}

/// Codes on their way out.
struct Codes {
    codes: Vec<Vec<u8>>,
    every: Duration,
    repeat: bool,
    next: usize,
    at: Duration,
}

impl Tape for Codes {
    fn due(&self) -> Option<Duration> {
        (self.next < self.codes.len()).then_some(self.at)
    }

    fn take(&mut self, _now_ms: UnixMs) -> Vec<Vec<u8>> {
        let frames = self.codes.get(self.next).cloned().into_iter().collect();
        self.next += 1;
        if self.repeat {
            self.next %= self.codes.len();
        }
        self.at = self.at.saturating_add(self.every);
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{AtEnd, Faults};

    fn scanner(codes: &'static str) -> Scanner {
        let (at_end, faults) = (AtEnd::Hold, Faults::default());
        Scanner {
            device: Device { link: "/nonexistent/door".into(), repeat: false, at_end, faults, seed: 1 },
            reads: Reads::Codes(Input::Text(codes)),
            every: Duration::from_millis(250),
            terminator: "\\r".to_owned(),
        }
    }

    #[test]
    fn a_bad_escape_is_refused_with_its_line() {
        for (bad, says) in [
            ("A\n\\q", "line 2: \\q"),
            ("\\xZ", "line 1: \\x"),
            ("\\400", "octal"),
            ("A\\", "lone"),
            ("\n\r\n", "no code"),
        ] {
            let codes: &'static str = Box::leak(bad.to_owned().into_boxed_str());
            let error = scanner(codes).tape().err().unwrap();
            assert!(error.exit_code() == 64 && error.to_string().contains(says), "{bad:?}: {error}");
        }
    }

    #[test]
    fn codes_go_out_in_order_each_with_one_terminator() {
        let mut tape = scanner("TRL-7\r\n\nTRL-8\\r\\n\nTRL-9").tape().unwrap();
        let mut out = Vec::new();
        while let Some(due) = tape.due() {
            out.push((due.as_millis(), tape.take(0).concat()));
        }
        assert_eq!(out, [(0, b"TRL-7\r".to_vec()), (250, b"TRL-8\r\n".to_vec()), (500, b"TRL-9\r".to_vec())]);
    }

    #[test]
    fn a_looping_scanner_begins_again() {
        let mut scanner = scanner("A\nB");
        scanner.device.repeat = true;
        let mut tape = scanner.tape().unwrap();
        let text: Vec<u8> = (0..5).flat_map(|_| tape.take(0).concat()).collect();
        assert_eq!(text, b"A\rB\rA\rB\rA\r");
    }

    #[test]
    fn a_log_of_reads_goes_out_read_by_read_and_byte_for_byte() {
        let log = "A\r\nB\r\u{2}C\u{3}\r\n";
        let mut tape = Scanner { reads: Reads::Log(Input::Text(log)), ..scanner("") }.tape().unwrap();
        let mut out = Vec::new();
        while let Some(due) = tape.due() {
            out.push((due.as_millis(), String::from_utf8(tape.take(0).concat()).unwrap()));
        }
        let reads = out.iter().map(|(_, read)| read.as_str()).collect::<Vec<_>>();
        assert_eq!(reads, ["A\r\n", "B\r", "\u{2}C\u{3}\r\n"]);
        assert_eq!(out[2].0, 500);
    }
}
