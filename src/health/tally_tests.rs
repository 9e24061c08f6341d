//! The tally and the log lines of what was refused, read back from a subscriber of the test's own thread.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use crate::clock::Clock;
use crate::domain::{Loss, Reason, Stage, Stamp};

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What the log says at a level while `act` runs.
fn logged(level: tracing::Level, act: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_max_level(level).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, act);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_flood_of_refusals_is_one_line_a_minute_with_the_count() {
    let clock = Clock::manual(Stamp::default());
    let tally = Tally::new(clock.clone());
    let loss = Loss::decoder(Reason::BadChecksum, b"$GPRMC,secret", 256);
    let lines = logged(tracing::Level::INFO, || {
        for _ in 0..1_000 {
            tally.lose("gps0", &loss);
        }
        clock.advance_ms(59_999);
        tally.summarise();
        clock.advance_ms(1);
        tally.lose("gps0", &loss);
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("reason=\"bad_checksum\"") && lines[0].contains("length=13"), "{}", lines[0]);
    assert!(lines[1].contains("n_before=999"), "{}", lines[1]);
    assert_eq!(tally.losses(), [("gps0".to_owned(), Stage::Decoder, Reason::BadChecksum, 1_001)]);
}

#[test]
fn a_flood_that_stops_is_summed_up_once() {
    let clock = Clock::manual(Stamp::default());
    let tally = Tally::new(clock.clone());
    let loss = Loss::decoder(Reason::Noread, b"NOREAD", 4096);
    let lines = logged(tracing::Level::INFO, || {
        tally.lose("door-3", &loss);
        tally.lose("door-3", &loss);
        tally.lose("door-3", &loss);
        clock.advance_ms(60_000);
        tally.summarise();
        tally.summarise();
        clock.advance_ms(60_000);
        tally.summarise();
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("n=2"), "{}", lines[1]);
}

#[test]
fn the_log_never_shows_a_payload_at_info_nor_a_raw_control_character_at_debug() {
    let tally = Tally::new(Clock::manual(Stamp::default()));
    let act = || {
        tally.lose("door-3", &Loss::decoder(Reason::BadCheck, b"4711\x1b[2J\r\nfaked line", 4096));
        tally.lose("door-3", &Loss::decoder(Reason::Pii, b"ANSI 636000 DOE", 4096));
    };
    let info = logged(tracing::Level::INFO, act).join("\n");
    assert!(!info.contains("4711") && !info.contains("DOE"), "{info}");
    let tally = Tally::new(Clock::manual(Stamp::default()));
    let debug = logged(tracing::Level::DEBUG, || {
        tally.lose("door-3", &Loss::decoder(Reason::BadCheck, b"4711\x1b[2J\r\nfaked line", 4096));
        tally.lose("door-3", &Loss::decoder(Reason::Pii, b"ANSI 636000 DOE", 4096));
    });
    assert!(debug.iter().any(|line| line.contains(r"4711\x1b[2J\r\nfaked")), "{debug:#?}");
    assert!(!debug.concat().contains('\u{1b}') && !debug.concat().contains("DOE"), "{debug:#?}");
}

#[test]
fn names_past_the_cap_share_one_series() {
    let tally = Tally::new(Clock::manual(Stamp::default()));
    for n in 0..2 * NAMES_MAX {
        tally.http_requests(&format!("/{n}"), 200);
        tally.lose(&format!("s{n}"), &Loss::decoder(Reason::Noread, b"", 0));
    }
    let routes = tally.0.http_requests.all();
    assert_eq!(routes.len(), NAMES_MAX + 1);
    assert!(routes.iter().any(|(route, _)| &**route == "other"));
}
