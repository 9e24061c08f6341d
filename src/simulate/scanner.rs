//! A scanner: sends one code after the other, as a hand at a door does.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::UnixMs;

use super::SimulateError;
use super::faults::Faults;
use super::input::Input;
use super::line::{AtEnd, Played, Session};
use super::tape::Tape;

const REMEDY: &str = r#"the escapes are \r \n \t \a \b \f \v \e \0 \\ \' \" \xHH and \NNN (octal)"#;

/// A simulated scanner on a pty.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Where its port is linked.
    pub link: PathBuf,
    /// The codes: one a line, with C escapes; empty lines are left out.
    pub codes: Input,
    /// From one code to the next.
    pub every: Duration,
    /// What follows a code that does not itself end with CR or LF; with C escapes.
    pub terminator: String,
    /// Begin again at the end.
    pub repeat: bool,
    /// What becomes of the port at the end.
    pub at_end: AtEnd,
    /// What goes wrong.
    pub faults: Faults,
    /// Of the faults.
    pub seed: u64,
}

impl Scanner {
    /// Reads the codes, makes the port and links it.
    ///
    /// # Errors
    /// [`SimulateError`]: the file or a code is bad, or the port or its link cannot be made.
    pub fn plug(self, clock: Clock) -> Result<Session, SimulateError> {
        let tape = self.tape()?;
        Session::plug(self.link, tape, clock, (self.faults, self.seed, self.at_end))
    }

    /// [`Scanner::plug`], then [`Session::run`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn run(self, clock: Clock, stop: CancellationToken) -> Result<Played, SimulateError> {
        self.plug(clock)?.run(stop).await
    }

    pub(super) fn tape(&self) -> Result<Box<dyn Tape>, SimulateError> {
        let name = self.codes.name();
        let refuse = |problem| SimulateError::content(&name, problem, REMEDY);
        let terminator = unescape(self.terminator.as_bytes())
            .map_err(|problem| SimulateError::content("the terminator", problem, REMEDY))?;
        let mut codes = Vec::new();
        for (n, line) in (1_u64..).zip(self.codes.read("the codes")?.split(|byte| *byte == b'\n')) {
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
        if codes.is_empty() {
            return Err(SimulateError::content(&name, "it holds no code", "write one code a line"));
        }
        // A period of nothing would never let go of the thread.
        let every = self.every.max(Duration::from_millis(1));
        Ok(Box::new(Codes { codes, every, repeat: self.repeat, next: 0, at: Duration::ZERO }))
    }
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

/// The bytes that a text with C escapes stands for.
fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let Some((kind, after)) = rest.split_first() else { return Err("it ends with a lone \\".to_owned()) };
        rest = after;
        out.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'e' => 27,
            b'\\' | b'\'' | b'"' => *kind,
            b'x' => number(&mut rest, 16, 2).ok_or("\\x wants one or two hex digits")?,
            b'0'..=b'7' => {
                rest = &text[text.len() - rest.len() - 1..];
                number(&mut rest, 8, 3).ok_or("an octal escape is at most \\377")?
            }
            other => return Err(format!("\\{} is no escape", other.escape_ascii())),
        });
    }
    Ok(out)
}

/// Takes at most so many digits off the front; none when there are none, or the number is no byte.
fn number(rest: &mut &[u8], radix: u32, most: usize) -> Option<u8> {
    let digits = rest.iter().take(most).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    let (text, after) = rest.split_at(digits);
    *rest = after;
    u8::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(codes: &'static str) -> Scanner {
        Scanner {
            link: "/nonexistent/door".into(),
            codes: Input::Text(codes),
            every: Duration::from_millis(250),
            terminator: "\\r".to_owned(),
            repeat: false,
            at_end: AtEnd::Hold,
            faults: Faults::default(),
            seed: 1,
        }
    }

    #[test]
    fn every_escape_of_c_is_understood() {
        let text = br#"]C101\x1d21A\t\0\377\101\\\"\e\x4\n"#;
        assert_eq!(unescape(text).unwrap(), b"]C101\x1d21A\t\0\xffA\\\"\x1b\x04\n");
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
        let mut tape = Scanner { repeat: true, ..scanner("A\nB") }.tape().unwrap();
        let text: Vec<u8> = (0..5).flat_map(|_| tape.take(0).concat()).collect();
        assert_eq!(text, b"A\rB\rA\rB\rA\r");
    }
}
