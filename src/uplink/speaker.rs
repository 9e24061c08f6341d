//! What the node says of itself and when: it follows the board and knows what the broker was told last. Pure but for
//! the board; the worker fetches what only the store knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::BootTime;
use crate::domain::{AssetState, Seq, Stamp, UnixMs};
use crate::health::{Alarm, Board, ClockState, DiskState, Severity, SourceState, State};

use super::lane::Message;
use super::payload::{Figures, Vitals, Voice, When};
use super::ration::Ration;

const SECOND_US: i64 = 1_000_000;
/// Between two states.
const STATE_US: i64 = SECOND_US;
/// Between two looks at the alarms: each is said well within a second.
const ALARMS_US: i64 = SECOND_US / 4;
/// Between two watermarks while something waits.
const WATERMARK_US: i64 = 10 * SECOND_US;
/// Watermarks that may go ahead of that when the backlog has ended, before they too come each [`WATERMARK_US`].
const EARLY: f64 = 6.0;

/// What a watermark rests on: head, of each lane the first event not taken and the cursor, and what the centre has confirmed.
pub(super) type Marks = (Seq, [(Option<Seq>, Seq); 2], Seq);

/// What the worker should fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// The places of the node's own assets.
    pub state: bool,
    /// The figures for a health message.
    pub health: bool,
    /// The figures for a watermark.
    pub watermark: bool,
    /// What has been said of the time of boots.
    pub clock: bool,
}

/// The part that speaks.
pub(super) struct Speaker {
    pub voice: Voice,
    board: Board,
    seen: u64,
    assets: BTreeMap<String, AssetState>,
    alarms: BTreeMap<String, Alarm>,
    sources: BTreeMap<String, SourceState>,
    disk: Option<DiskState>,
    clock: Option<ClockState>,
    health_every_us: i64,
    moved: bool,
    changed_alarms: BTreeSet<String>,
    state_at_us: i64,
    alarms_at_us: i64,
    health_at_us: i64,
    watermark_at_us: i64,
    said_state: Vec<AssetState>,
    said_alarm: Option<&'static str>,
    said_marks: Option<Marks>,
    early: Ration,
    /// Whether more is known of the time than was said, and the revision that was said of each boot.
    is_clock_new: bool,
    said_times: BTreeMap<i64, i64>,
    passed: (u64, i64),
    per_s: f64,
}

impl Speaker {
    pub fn new(voice: Voice, board: Board, health_every: Duration) -> Self {
        let span_us = WATERMARK_US;
        #[expect(clippy::cast_precision_loss, reason = "ten seconds fit")]
        let early = Ration::new(1.0, span_us as f64, EARLY);
        Self {
            voice,
            board,
            seen: 0,
            assets: BTreeMap::new(),
            alarms: BTreeMap::new(),
            sources: BTreeMap::new(),
            disk: None,
            clock: None,
            health_every_us: i64::try_from(health_every.as_micros()).unwrap_or(i64::MAX),
            moved: false,
            changed_alarms: BTreeSet::new(),
            state_at_us: 0,
            alarms_at_us: 0,
            health_at_us: 0,
            watermark_at_us: 0,
            said_state: Vec::new(),
            said_alarm: None,
            said_marks: None,
            early,
            is_clock_new: false,
            said_times: BTreeMap::new(),
            passed: (0, 0),
            per_s: 0.0,
        }
    }

    /// Takes in what changed on the board.
    pub fn look(&mut self) {
        for posted in self.board.since(self.seen) {
            self.seen = posted.version;
            match posted.state {
                Some(State::Asset(asset)) => {
                    self.moved = true;
                    self.assets.insert(asset.asset.clone(), asset);
                }
                Some(State::Alarm(alarm)) => {
                    self.changed_alarms.insert(alarm.name.clone());
                    self.alarms.insert(alarm.name.clone(), alarm);
                }
                Some(State::Source(source)) => drop(self.sources.insert(source.id.clone(), source)),
                Some(State::Disk(disk)) => self.disk = Some(disk),
                Some(State::Clock(clock)) => {
                    self.is_clock_new |= self.clock.as_ref().is_none_or(|old| old.rev != clock.rev);
                    self.clock = Some(clock);
                }
                Some(State::Uplink(_) | State::Worker(_) | State::Job(_) | State::Chore(_) | State::Zones(_)) => {}
                None => self.over(posted.kind, &posted.key),
            }
        }
    }

    fn over(&mut self, kind: &str, key: &str) {
        match kind {
            "alarm" => {
                self.alarms.remove(key);
                self.changed_alarms.insert(key.to_owned());
            }
            "asset" => self.moved |= self.assets.remove(key).is_some(),
            "source" => drop(self.sources.remove(key)),
            _ => {}
        }
    }

    /// The names of the alarms that stand.
    pub fn alarm_names(&self) -> impl Iterator<Item = &str> {
        self.alarms.keys().map(String::as_str)
    }

    /// The names of the assets that `state` tells of.
    pub fn assets(&self) -> Vec<String> {
        self.assets.keys().cloned().collect()
    }

    /// What is said first on a new connection; `placed` is what the store knows of the assets.
    pub fn greet(&mut self, placed: &[AssetState], now: Stamp) -> Vec<Message> {
        self.look();
        self.said_state.clear();
        self.said_marks = None;
        self.said_times.clear();
        self.is_clock_new = false;
        self.health_at_us = now.mono_us;
        self.changed_alarms.clear();
        let mut messages: Vec<Message> = self.state(placed, now).into_iter().collect();
        self.said_alarm = self.worst();
        messages.push(self.voice.status(true, self.said_alarm, Some(self.when(now))));
        messages.extend(self.alarms.values().map(|alarm| self.voice.alarm(alarm)));
        messages
    }

    /// The will: what the broker says when the node is gone.
    pub fn will(&self) -> Message {
        self.voice.status(false, None, None)
    }

    /// The last word before a goodbye.
    pub fn farewell(&self, now: Stamp) -> Message {
        self.voice.status(false, self.worst(), Some(self.when(now)))
    }

    /// A retained message of ours stands at the broker: an alarm that is over is taken off.
    pub fn standing(&self, topic: &str) -> Option<Message> {
        let name = topic.strip_prefix(&self.voice.base)?.strip_prefix("/alarm/")?;
        (!self.alarms.contains_key(name)).then(|| self.voice.alarm_over(name))
    }

    /// The changed alarms, and the status when the worst of them is another.
    pub fn alarms(&mut self, now: Stamp) -> Vec<Message> {
        if self.changed_alarms.is_empty() || now.mono_us < self.alarms_at_us + ALARMS_US {
            return Vec::new();
        }
        self.alarms_at_us = now.mono_us;
        let changed = std::mem::take(&mut self.changed_alarms);
        let say =
            |name: &String| self.alarms.get(name).map_or_else(|| self.voice.alarm_over(name), |a| self.voice.alarm(a));
        let mut messages: Vec<Message> = changed.iter().map(say).collect();
        if self.worst() != self.said_alarm {
            self.said_alarm = self.worst();
            messages.push(self.voice.status(true, self.said_alarm, Some(self.when(now))));
        }
        messages
    }

    /// What is due; each want is answered by one of the functions below.
    pub fn wants(&mut self, marks: &Marks, settled: bool, now_us: i64) -> Wants {
        let state = self.moved && now_us >= self.state_at_us + STATE_US;
        let health = self.health_every_us > 0 && now_us >= self.health_at_us;
        let new = self.said_marks.as_ref() != Some(marks);
        let watermark = new
            && (now_us >= self.watermark_at_us + WATERMARK_US
                || (settled && self.early.ready(now_us))
                || self.said_marks.is_none());
        if state {
            self.moved = false;
            self.state_at_us = now_us;
        }
        if health {
            self.health_at_us = now_us + self.health_every_us;
        }
        if watermark {
            self.early.take(1.0);
            self.watermark_at_us = now_us;
            self.said_marks = Some(*marks);
        }
        let clock = std::mem::take(&mut self.is_clock_new);
        Wants { state, health, watermark, clock }
    }

    /// When something may be due without any input. µs.
    pub fn due_us(&self, marks: &Marks, settled: bool) -> i64 {
        let watermark = (self.said_marks.as_ref() != Some(marks)).then(|| {
            let early = self.early.ready_us().unwrap_or(0).max(self.watermark_at_us);
            if settled { early } else { self.watermark_at_us + WATERMARK_US }
        });
        let state = self.moved.then_some(self.state_at_us + STATE_US);
        let alarms = (!self.changed_alarms.is_empty()).then_some(self.alarms_at_us + ALARMS_US);
        let health = (self.health_every_us > 0).then_some(self.health_at_us);
        [watermark, state, alarms, health].into_iter().flatten().min().unwrap_or(i64::MAX)
    }

    /// The state, if it changed; the store's word on places is the last.
    pub fn state(&mut self, placed: &[AssetState], now: Stamp) -> Option<Message> {
        let placed = |asset: &AssetState| match placed.iter().find(|stored| stored.asset == asset.asset) {
            Some(stored) => asset.clone().with_place_of(stored),
            None => asset.clone(),
        };
        let assets: Vec<AssetState> = self.assets.values().map(placed).collect();
        if assets.is_empty() && self.said_state.is_empty() || assets == self.said_state {
            return None;
        }
        let message = self.voice.state(&assets, self.when(now));
        self.said_state = assets;
        self.state_at_us = now.mono_us;
        Some(message)
    }

    /// What is new of the time of boots, oldest first: the one that stays at the broker is of this boot. And whether the
    /// time of this boot is trusted and told now.
    pub fn times(&mut self, times: &[BootTime]) -> (Vec<Message>, bool) {
        let mut messages = Vec::new();
        for (at, time) in times.iter().enumerate() {
            let is_last = at + 1 == times.len();
            if self.said_times.insert(time.boot, time.rev) != Some(time.rev) || is_last && !messages.is_empty() {
                messages.push(self.voice.clock(time));
            }
        }
        (messages, self.clock.as_ref().is_some_and(|clock| clock.rev.is_some()))
    }

    /// The times of boots are to be asked for again.
    pub const fn ask_times(&mut self) {
        self.is_clock_new = true;
    }

    /// A health message; `passed` counts the events that went through so far, `cert_days` is left of the first certificate.
    pub fn health(&mut self, figures: &Figures, passed: u64, cert_days: Option<i64>, now: Stamp) -> Message {
        let (before, at_us) = std::mem::replace(&mut self.passed, (passed, now.mono_us));
        let span_us = now.mono_us - at_us;
        if at_us > 0 && span_us > 0 {
            #[expect(clippy::cast_precision_loss, reason = "counts of one interval are far below 2^52")]
            let per_s = passed.saturating_sub(before) as f64 * 1e6 / span_us as f64;
            self.per_s = per_s;
        }
        let vitals = Vitals {
            figures,
            sources: self.sources.values().collect(),
            disk: self.disk.as_ref(),
            clock: self.clock.as_ref(),
            mono_ms: now.mono_ms(),
            cert_days,
            per_s: self.per_s,
        };
        self.voice.health(&vitals, self.when(now))
    }

    fn worst(&self) -> Option<&'static str> {
        self.alarms.values().map(|alarm| alarm.severity).max().map(|severity| match severity {
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Fault => "fault",
        })
    }

    /// The time, where it can be trusted. UTC ms
    pub fn trusted_ms(&self, now: Stamp) -> Option<UnixMs> {
        let minus_mono_ms = self.clock.as_ref().and_then(|clock| clock.utc_minus_mono_ms)?;
        Some(now.mono_ms() + minus_mono_ms)
    }

    /// The time as it is said.
    pub fn when(&self, now: Stamp) -> When {
        let ts_ms = self.trusted_ms(now).unwrap_or(now.wall_ms);
        When { ts_ms, tq: self.clock.as_ref().map_or("none", |clock| clock.tq) }
    }
}
