//! What `waypost capture` wrote: a line that says whose bytes follow, then a line for each read with its time.

use std::time::Duration;

use serde_json::Value;

use super::SimulateError;
use super::escapes::unescape;

const REMEDY: &str = "give the file as `waypost capture` wrote it";

/// One thing that happened at the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It said this.
    Bytes(Vec<u8>),
    /// It was lost, or was back.
    Plugged(bool),
}

/// A capture, its first step at 0.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    kind: String,
    pub(super) steps: Vec<(Duration, Step)>,
}

impl Capture {
    /// Reads a capture; none when the bytes are something else.
    pub(super) fn of(name: &str, bytes: &[u8]) -> Result<Option<Self>, SimulateError> {
        if !bytes.starts_with(b"{\"capture\":") {
            return Ok(None);
        }
        let refuse = |line: usize, problem: String| {
            SimulateError::content(name, format!("line {}: {problem}", line + 1), REMEDY)
        };
        let mut kind = String::new();
        let mut steps = Vec::new();
        let (mut first, mut last) = (None, 0);
        for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            if n == 0 {
                let head: Value = serde_json::from_slice(line).map_err(|error| refuse(n, error.to_string()))?;
                head["kind"].as_str().unwrap_or_default().clone_into(&mut kind);
                continue;
            }
            let (ms, step): (u64, Value) =
                serde_json::from_slice(line).map_err(|error| refuse(n, error.to_string()))?;
            if ms < last {
                return Err(refuse(n, format!("its time {ms} ms is before that of the line above")));
            }
            last = ms;
            let at = Duration::from_millis(ms - *first.get_or_insert(ms));
            match &step {
                Value::String(text) => {
                    let bytes = unescape(text.as_bytes()).map_err(|problem| refuse(n, problem))?;
                    steps.push((at, Step::Bytes(bytes)));
                }
                _ if step["port"] == "lost" => steps.push((at, Step::Plugged(false))),
                _ if step["port"] == "back" => steps.push((at, Step::Plugged(true))),
                // Said of bytes that are not here; the time passes all the same.
                _ if step["left_out"].is_u64() => {}
                _ if step["events"].is_string() || step["key"].is_string() => {
                    let problem =
                        "a keyboard's keys cannot be played into a port; `waypost decode scan --timed` reads them";
                    return Err(refuse(n, problem.to_owned()));
                }
                other => return Err(refuse(n, format!("{other} is no step"))),
            }
        }
        Ok(Some(Self { kind, steps }))
    }

    /// Refuses what was captured from a device of another kind.
    pub(super) fn expect_kind(&self, name: &str, kind: &str) -> Result<(), SimulateError> {
        if self.kind.is_empty() || self.kind == kind {
            return Ok(());
        }
        let problem = format!("it was captured from a {}", self.kind);
        Err(SimulateError::content(name, problem, "play it with the other of `simulate gps` and `simulate scanner`"))
    }

    /// All its bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let of = |(_, step): &(Duration, Step)| if let Step::Bytes(bytes) = step { bytes.clone() } else { Vec::new() };
        self.steps.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_read_with_its_times_and_anything_else_is_none() {
        let text = b"{\"capture\":1,\"kind\":\"gps\"}\n[500,\"$GP\\\\x1d\"]\n[510,{\"left_out\":3}]\n[700,{\"port\":\"lost\"}]\n[900,{\"port\":\"back\"}]\n";
        let capture = Capture::of("c", text).unwrap().unwrap();
        let at = |ms| Duration::from_millis(ms);
        let expect = [
            (at(0), Step::Bytes(b"$GP\x1d".to_vec())),
            (at(200), Step::Plugged(false)),
            (at(400), Step::Plugged(true)),
        ];
        assert_eq!(capture.steps, expect);
        assert_eq!(capture.bytes(), b"$GP\x1d");
        assert!(capture.expect_kind("c", "gps").is_ok() && capture.expect_kind("c", "scanner").is_err());
        assert!(Capture::of("c", b"$GPRMC").unwrap().is_none() && Capture::of("c", b"").unwrap().is_none());
    }

    #[test]
    fn a_broken_capture_is_refused_with_its_line() {
        for (bad, says) in [
            ("{\"capture\":", "line 1"),
            ("{\"capture\":1}\n[5,\"a\"]\n[4,\"b\"]", "line 3: its time 4 ms"),
            ("{\"capture\":1}\n[-5,\"a\"]", "line 2"),
            ("{\"capture\":1}\n[5,\"\\\\q\"]", "line 2: \\q"),
            ("{\"capture\":1}\n[5,{\"port\":\"gone\"}]", "is no step"),
            ("{\"capture\":1}\n[5,{\"events\":\"\"}]", "decode scan --timed"),
        ] {
            let error = Capture::of("c", bad.as_bytes()).unwrap_err();
            assert!(error.exit_code() == 64 && error.to_string().contains(says), "{bad}: {error}");
        }
    }
}
