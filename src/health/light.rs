//! How one input is, put together from what its port and its decoder say, and shown on the board with its alarm.
//! It holds no timer: whoever waits for the input calls [`Light::tick`] when it is due.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::load::LineLoad;
use super::{Alarm, Board, Severity, SourceCondition, SourceState, State, alarms};
use crate::clock::Clock;
use crate::domain::Stamp;

/// How long an input may be absent, held by others or closed to the service before that is an alarm.
pub const ABSENT_ALARM: Duration = Duration::from_secs(10);
/// How long an open input may say nothing, or nothing that can be read, before that is an alarm.
pub const SILENT_ALARM: Duration = Duration::from_secs(60);
/// A new `last_frame` alone is shown at most this often: a scanner may send thousands a second.
const FRAME_SHOWN_EVERY_MS: i64 = 1000;

/// The one place where the state of an input is composed. Clones share it.
///
/// Port trouble outranks garbage, garbage outranks silence, silence outranks a missing fix.
#[derive(Clone)]
pub struct Light(Arc<Fitting>);

struct Fitting {
    board: Board,
    clock: Clock,
    id: String,
    kind: &'static str,
    port: String,
    alarm: String,
    lamp: Mutex<Lamp>,
}

struct Lamp {
    port: SourceCondition,
    advice: String,
    silent: bool,
    silent_advice: String,
    garbage: bool,
    seeking: bool,
    no_fix: bool,
    load: LineLoad,
    sheet: String,
    good_reads: u64,
    last_frame: Option<Stamp>,
    condition: SourceCondition,
    since: Stamp,
    shown_ms: i64,
    alarm: Option<SourceCondition>,
    alarms: u32,
}

impl Light {
    /// The light of a source, posted as `opening`; `port` is shown as configured.
    #[must_use]
    pub fn new(board: Board, clock: Clock, id: &str, kind: &'static str, port: impl Display) -> Self {
        let now = clock.now();
        let lamp = Lamp {
            port: SourceCondition::Opening,
            advice: String::new(),
            silent: false,
            silent_advice: String::new(),
            garbage: false,
            seeking: false,
            no_fix: false,
            load: LineLoad::default(),
            sheet: String::new(),
            good_reads: 0,
            last_frame: None,
            condition: SourceCondition::Opening,
            since: now,
            shown_ms: now.mono_ms(),
            alarm: None,
            alarms: 0,
        };
        let light = Self(Arc::new(Fitting {
            board,
            clock,
            id: id.to_owned(),
            kind,
            port: port.to_string(),
            // An alarm's name is a topic level of lower case letters; ids may hold upper case ones.
            alarm: format!("{}{}", alarms::SOURCE, id.to_ascii_lowercase()),
            lamp: Mutex::new(lamp),
        }));
        light.show(&mut light.lamp());
        light
    }

    /// What the port is, and what a person should do about it; empty when nothing.
    ///
    /// `silent` is an open port without bytes: it stands until bytes come or the port is lost, also over a reopening.
    pub fn port(&self, condition: SourceCondition, advice: &str) {
        let mut lamp = self.lamp();
        match condition {
            SourceCondition::Silent => {
                lamp.port = SourceCondition::Up;
                lamp.silent = true;
                lamp.load.stop();
                advice.clone_into(&mut lamp.silent_advice);
            }
            SourceCondition::Up => {
                lamp.port = SourceCondition::Up;
                lamp.advice.clear();
            }
            trouble => {
                lamp.port = trouble;
                lamp.silent = false;
                lamp.load.stop();
                advice.clone_into(&mut lamp.advice);
            }
        }
        self.compose(&mut lamp);
    }

    /// Bytes came: it is open and not silent.
    pub fn bytes(&self) {
        let mut lamp = self.lamp();
        if lamp.silent || lamp.port != SourceCondition::Up {
            lamp.silent = false;
            lamp.port = SourceCondition::Up;
            lamp.advice.clear();
            self.compose(&mut lamp);
        }
    }

    /// A serial line was opened at this rate, bits per second; none where no wire has one, as with USB to its end.
    pub fn line(&self, baud: Option<u32>) {
        self.lamp().load.open(baud);
    }

    /// So many bytes came over the line in a read that returned at `at`.
    pub fn carried(&self, n: usize, at: Stamp) {
        let mut lamp = self.lamp();
        if lamp.load.carry(n, at) {
            self.show(&mut lamp);
        }
    }

    /// The receiver said, read at `at`, that it drops sentences because its line is full.
    pub fn drops(&self, at: Stamp) {
        let mut lamp = self.lamp();
        lamp.load.drop_said(at);
        self.show(&mut lamp);
    }

    /// A whole frame came, read at `at`: a scan, or an epoch with or without a position.
    pub fn frame(&self, at: Stamp) {
        let mut lamp = self.lamp();
        let is_first = lamp.last_frame.replace(at).is_none();
        if self.0.clock.now().mono_ms() - lamp.shown_ms >= FRAME_SHOWN_EVERY_MS || is_first {
            self.show(&mut lamp);
        }
    }

    /// Whether sentences come without a position.
    pub fn no_fix(&self, yes: bool) {
        let mut lamp = self.lamp();
        lamp.no_fix = yes;
        self.compose(&mut lamp);
    }

    /// Whether most bytes are no sentences.
    pub fn garbage(&self, yes: bool) {
        let mut lamp = self.lamp();
        lamp.garbage = yes;
        self.compose(&mut lamp);
    }

    /// What the test sheet shows of the scanner's settings; empty when nothing. It is said while nothing worse is.
    pub fn sheet(&self, advice: &str) {
        let mut lamp = self.lamp();
        advice.clone_into(&mut lamp.sheet);
        self.show(&mut lamp);
    }

    /// What was read holds a whole sentence or frame.
    pub fn good(&self) {
        let mut lamp = self.lamp();
        lamp.good_reads = lamp.good_reads.wrapping_add(1);
    }

    /// How often a read held a whole sentence or frame; wraps.
    #[must_use]
    pub fn good_reads(&self) -> u64 {
        self.lamp().good_reads
    }

    /// Whether another baud rate is tried, because the one before gave no sentence.
    pub fn seeking(&self, yes: bool) {
        let mut lamp = self.lamp();
        if lamp.seeking != yes {
            lamp.seeking = yes;
            self.compose(&mut lamp);
        }
    }

    /// How it is now.
    #[must_use]
    pub fn condition(&self) -> SourceCondition {
        self.lamp().condition
    }

    /// Raises what has become an alarm by waiting; answers when to ask again, none when only a change can matter.
    pub fn tick(&self) -> Option<Duration> {
        let mut lamp = self.lamp();
        let after = alarm_after(lamp.condition)?;
        if lamp.alarm == Some(lamp.condition) {
            return None;
        }
        let now = self.0.clock.now();
        let waited = Duration::from_micros(u64::try_from(now.mono_us - lamp.since.mono_us).unwrap_or(0));
        if waited < after {
            return Some(after - waited);
        }
        if lamp.alarm.is_none() {
            lamp.alarms = lamp.alarms.saturating_add(1);
        }
        lamp.alarm = Some(lamp.condition);
        self.0.board.raise(self.alarm(&lamp));
        None
    }

    fn compose(&self, lamp: &mut Lamp) {
        let condition = match lamp.port {
            SourceCondition::Up if lamp.garbage || lamp.seeking => SourceCondition::Garbage,
            SourceCondition::Up if lamp.silent => SourceCondition::Silent,
            SourceCondition::Up if lamp.no_fix => SourceCondition::NoFix,
            port => port,
        };
        if condition != lamp.condition {
            lamp.condition = condition;
            lamp.since = self.0.clock.now();
        }
        if alarm_after(condition).is_none() && lamp.alarm.take().is_some() {
            self.0.board.clear(&self.0.alarm);
        }
        self.show(lamp);
    }

    fn show(&self, lamp: &mut Lamp) {
        lamp.shown_ms = self.0.clock.now().mono_ms();
        self.0.board.post(State::Source(SourceState {
            id: self.0.id.clone(),
            kind: self.0.kind,
            port: self.0.port.clone(),
            state: lamp.condition,
            since_mono_ms: lamp.since.mono_ms(),
            since_ms: lamp.since.wall_ms,
            last_frame_mono_ms: lamp.last_frame.map(Stamp::mono_ms),
            last_frame_ms: lamp.last_frame.map(|at| at.wall_ms),
            line_load: lamp.load.ratio(),
            advice: advice(lamp).into_owned(),
        }));
    }

    fn alarm(&self, lamp: &Lamp) -> Alarm {
        let (id, port) = (&self.0.id, &self.0.port);
        let (severity, text) = match lamp.condition {
            SourceCondition::Permission => {
                (Severity::Fault, format!("The service may not open {port}, the port of source {id}."))
            }
            SourceCondition::Busy => {
                (Severity::Fault, format!("Another program holds {port}, the port of source {id}."))
            }
            SourceCondition::Silent => {
                (Severity::Warn, format!("Source {id} is silent: {port} is open, but nothing comes."))
            }
            SourceCondition::Garbage => {
                (Severity::Warn, format!("Source {id} sends garbage: most of what comes from {port} cannot be read."))
            }
            _ => (Severity::Fault, format!("Source {id} is absent: {port} cannot be opened.")),
        };
        Alarm {
            name: self.0.alarm.clone(),
            severity,
            since_ms: lamp.since.wall_ms,
            text,
            advice: advice(lamp).into_owned(),
            count: lamp.alarms,
        }
    }

    fn lamp(&self) -> MutexGuard<'_, Lamp> {
        // Each change writes plain values; a panic in between leaves a light that the next word puts right.
        self.0.lamp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn alarm_after(condition: SourceCondition) -> Option<Duration> {
    match condition {
        SourceCondition::Absent | SourceCondition::Permission | SourceCondition::Busy => Some(ABSENT_ALARM),
        SourceCondition::Silent | SourceCondition::Garbage => Some(SILENT_ALARM),
        _ => None,
    }
}

fn advice(lamp: &Lamp) -> Cow<'_, str> {
    match lamp.condition {
        SourceCondition::Garbage if lamp.seeking => {
            "Its baud rate is being looked for. If this lasts: check the wiring, and that it sends NMEA 0183.".into()
        }
        SourceCondition::Garbage => {
            "Look at what it sends (`waypost letters list`): on a serial line check `baud` and `serial` of this source and that \
             nothing else speaks there; else the settings of what sends."
                .into()
        }
        SourceCondition::Silent => (&lamp.silent_advice).into(),
        SourceCondition::NoFix => "Check the antenna: it needs a free view of the sky.".into(),
        SourceCondition::Up if !lamp.sheet.is_empty() => (&lamp.sheet).into(),
        SourceCondition::Up => lamp.load.advice(),
        _ => (&lamp.advice).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn light() -> (Light, Board, Clock) {
        let clock = Clock::manual(Stamp { mono_us: 0, wall_ms: 1_000_000 });
        let board = Board::default();
        (Light::new(board.clone(), clock.clone(), "Gps0", "gps", "/dev/gps0"), board, clock)
    }

    fn state(board: &Board) -> SourceState {
        match board.get("source", "Gps0") {
            Some(State::Source(state)) => state,
            other => panic!("no source on the board: {other:?}"),
        }
    }

    fn alarm(board: &Board) -> Option<Alarm> {
        match board.get("alarm", "source_gps0") {
            Some(State::Alarm(alarm)) => Some(alarm),
            _ => None,
        }
    }

    #[test]
    fn the_worst_that_is_said_is_what_is_shown() {
        let (light, board, _) = light();
        assert_eq!(state(&board).state, SourceCondition::Opening);
        light.bytes();
        light.no_fix(true);
        assert_eq!(state(&board).state, SourceCondition::NoFix);
        light.port(SourceCondition::Silent, "look");
        assert_eq!((state(&board).state, state(&board).advice.as_str()), (SourceCondition::Silent, "look"));
        light.garbage(true);
        assert_eq!(state(&board).state, SourceCondition::Garbage);
        light.port(SourceCondition::Absent, "plug it in");
        assert_eq!((state(&board).state, state(&board).advice.as_str()), (SourceCondition::Absent, "plug it in"));
        light.garbage(false);
        light.no_fix(false);
        light.bytes();
        assert_eq!((state(&board).state, state(&board).advice.as_str()), (SourceCondition::Up, ""));
    }

    #[test]
    fn what_the_test_sheet_shows_is_said_only_while_nothing_worse_is() {
        let (light, board, _) = light();
        light.sheet("switch on AIM ids");
        assert_eq!(state(&board).advice, "", "a port that is not open says nothing of its scanner");
        light.bytes();
        assert_eq!((state(&board).state, state(&board).advice.as_str()), (SourceCondition::Up, "switch on AIM ids"));
        light.port(SourceCondition::Absent, "plug it in");
        assert_eq!(state(&board).advice, "plug it in");
        light.port(SourceCondition::Up, "");
        assert_eq!(state(&board).advice, "switch on AIM ids");
        light.sheet("");
        assert_eq!(state(&board).advice, "");
    }

    #[test]
    fn an_absent_port_is_an_alarm_after_ten_seconds_and_ends_when_bytes_come() {
        let (light, board, clock) = light();
        light.port(SourceCondition::Absent, "plug it in");
        assert_eq!(light.tick(), Some(ABSENT_ALARM));
        clock.advance_ms(9_999);
        assert_eq!(light.tick(), Some(Duration::from_millis(1)));
        assert_eq!(alarm(&board), None);
        clock.advance_ms(1);
        assert_eq!(light.tick(), None);
        let raised = alarm(&board).unwrap();
        assert_eq!((raised.severity, raised.count, raised.since_ms), (Severity::Fault, 1, 1_000_000));
        light.bytes();
        assert_eq!(alarm(&board), None);
        light.port(SourceCondition::Absent, "plug it in");
        clock.advance_ms(10_000);
        assert_eq!(light.tick(), None);
        assert_eq!(alarm(&board).unwrap().count, 2);
    }

    #[test]
    fn silence_survives_a_reopening_until_it_is_an_alarm() {
        let (light, board, clock) = light();
        light.bytes();
        light.port(SourceCondition::Silent, "look");
        clock.advance_ms(30_000);
        light.port(SourceCondition::Up, "");
        assert_eq!(state(&board).state, SourceCondition::Silent);
        clock.advance_ms(30_000);
        assert_eq!(light.tick(), None);
        assert_eq!(alarm(&board).unwrap().severity, Severity::Warn);
        light.port(SourceCondition::Permission, "claim it");
        assert_eq!(alarm(&board).unwrap().severity, Severity::Warn, "the old alarm stands until the new one is due");
        clock.advance_ms(10_000);
        assert_eq!(light.tick(), None);
        let raised = alarm(&board).unwrap();
        assert_eq!((raised.severity, raised.advice.as_str()), (Severity::Fault, "claim it"));
    }

    #[test]
    fn a_line_that_is_too_slow_is_said_while_the_source_is_up_and_its_load_ends_with_the_line() {
        let (light, board, clock) = light();
        light.line(Some(9600));
        light.bytes();
        for _ in 0..11 {
            light.carried(900, clock.now());
            clock.advance_ms(1000);
        }
        assert_eq!((state(&board).state, state(&board).line_load), (SourceCondition::Up, Some(0.94)));
        assert!(state(&board).advice.starts_with("Line too slow: 94 %"), "{}", state(&board).advice);
        light.port(SourceCondition::Absent, "plug it in");
        assert_eq!((state(&board).line_load, state(&board).advice.as_str()), (None, "plug it in"));
    }

    #[test]
    fn a_port_that_another_program_holds_is_an_alarm_of_its_own_words() {
        let (light, board, clock) = light();
        light.port(SourceCondition::Busy, "ask doctor");
        assert_eq!(state(&board).state, SourceCondition::Busy);
        clock.advance_ms(10_000);
        assert_eq!(light.tick(), None);
        let raised = alarm(&board).unwrap();
        assert_eq!((raised.severity, raised.advice.as_str()), (Severity::Fault, "ask doctor"));
        assert!(raised.text.contains("Another program holds /dev/gps0"), "{}", raised.text);
        light.bytes();
        assert_eq!(alarm(&board), None);
    }

    #[test]
    fn a_search_for_the_baud_rate_is_shown_as_garbage_with_its_own_advice_until_it_ends() {
        let (light, board, _) = light();
        light.bytes();
        light.seeking(true);
        assert_eq!(state(&board).state, SourceCondition::Garbage);
        assert!(state(&board).advice.contains("baud rate is being looked for"), "{}", state(&board).advice);
        light.garbage(false);
        assert_eq!(state(&board).state, SourceCondition::Garbage, "a reopening alone ends no search");
        light.seeking(false);
        assert_eq!(state(&board).state, SourceCondition::Up);
    }

    #[test]
    fn ten_thousand_frames_a_second_are_one_change_a_second() {
        let (light, board, clock) = light();
        light.bytes();
        light.frame(clock.now());
        let seen = *board.watch().borrow();
        for _ in 0..10_000 {
            light.frame(clock.now());
        }
        assert_eq!(*board.watch().borrow(), seen);
        clock.advance_ms(1000);
        light.frame(clock.now());
        assert_eq!(*board.watch().borrow(), seen + 1);
        assert_eq!(state(&board).last_frame_ms, Some(1_001_000));
    }
}
