//! What a node publishes about itself beside its events: one function a topic of contract section 5.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::{BootTime, Span};
use crate::domain::{AssetState, Epoch, Kind, Row, Seq, UnixMs};
use crate::health::{Alarm, ClockState, DiskState, SourceState};
use crate::wire;

use super::NodeNames;
use super::lane::Message;

/// Ranges of dead and lost events that a watermark names.
pub(super) const MISSING_MAX: usize = 64;
/// Lives of the store that a watermark names.
pub(super) const PAST_MAX: usize = 16;

/// Who speaks: what every message repeats.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub base: String,
    pub names: NodeNames,
    pub boot: i64,
    pub epoch: Epoch,
}

/// When something was said, and how far the time can be believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub ts_ms: UnixMs,
    pub tq: &'static str,
}

#[derive(Serialize)]
struct Status<'a> {
    v: u8,
    state: &'static str,
    site: &'a str,
    node: &'a str,
    version: &'a str,
    config: &'a str,
    boot: i64,
    epoch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts_ms: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tq: Option<&'static str>,
}

#[derive(Serialize)]
struct State<'a> {
    v: u8,
    node: &'a str,
    boot: i64,
    epoch: String,
    ts_ms: UnixMs,
    tq: &'static str,
    assets: &'a [Box<RawValue>],
}

/// What the store knows of the way to the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Unsent events.
    pub backlog: i64,
    /// Receipt of the oldest of them: boot and `CLOCK_BOOTTIME` ms, and the wall clock then.
    pub oldest: Option<(i64, i64, UnixMs)>,
    /// Open letters that a person should decide on.
    pub letters: i64,
    /// Dead and lost events: first and last seq, reason.
    pub missing: Vec<(i64, i64, Cow<'static, str>)>,
    /// Whether there are more than [`MISSING_MAX`].
    pub missing_more: bool,
    /// Lives of the store that are over, the newest first: epoch and highest seq.
    pub past: Vec<(String, i64)>,
    /// Up to where the centre has everything; none before it has said so.
    pub confirmed: Option<i64>,
}

#[derive(Serialize)]
struct Past<'a> {
    epoch: &'a str,
    last_produced: i64,
}

#[derive(Serialize)]
struct Health<'a> {
    v: u8,
    node: &'a str,
    boot: i64,
    ts_ms: UnixMs,
    tq: &'static str,
    backlog: i64,
    oldest_unsent_s: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    autonomy_h: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_eta_s: Option<i64>,
    letters: i64,
    sources: Vec<Source<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<Disk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<&'a ClockState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_days: Option<i64>,
}

#[derive(Serialize)]
struct Source<'a> {
    id: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<i64>,
}

#[derive(Serialize)]
struct Disk {
    used_mib: u64,
    free_mib: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_mib: Option<u64>,
}

/// What health speaks of.
pub(super) struct Vitals<'a> {
    pub figures: &'a Figures,
    pub sources: Vec<&'a SourceState>,
    pub disk: Option<&'a DiskState>,
    pub clock: Option<&'a ClockState>,
    pub mono_ms: i64,
    /// Whole days until the first certificate in use ends, below 0 when it has; none without TLS.
    pub cert_days: Option<i64>,
    /// Events that passed in a second lately.
    pub per_s: f64,
}

#[derive(Serialize)]
struct Lane {
    #[serde(skip_serializing_if = "Option::is_none")]
    first_unacked: Option<i64>,
    last_acked: i64,
}

#[derive(Serialize)]
struct Lanes {
    scan: Lane,
    fix: Lane,
}

#[derive(Serialize)]
struct Watermark<'a> {
    v: u8,
    node: &'a str,
    epoch: String,
    last_produced: i64,
    lanes: Lanes,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<i64>,
    missing: &'a [(i64, i64, Cow<'static, str>)],
    missing_more: bool,
    past: Vec<Past<'a>>,
}

#[derive(Serialize)]
struct Clock<'a> {
    v: u8,
    node: &'a str,
    epoch: String,
    boot: i64,
    rev: i64,
    spans: &'a [Span],
}

#[derive(Serialize)]
struct Raised<'a> {
    severity: crate::health::Severity,
    since_ms: UnixMs,
    text: &'a str,
    advice: &'a str,
    count: u32,
}

impl Voice {
    /// An event, on the topic of its kind and of the node that it was committed as.
    pub fn event(prefix: &str, row: &Row) -> Message {
        let Row { site, node, kind, .. } = row;
        let topic = format!("{prefix}/v1/{site}/{node}/event/{}", Kind::as_str(*kind));
        Message { topic, payload: wire::event(row, false), ..Message::default() }
    }

    /// Online or offline; the will, which has no time, is offline.
    pub fn status(&self, online: bool, alarm: Option<&'static str>, when: Option<When>) -> Message {
        let names = &self.names;
        self.retained(
            "status",
            &Status {
                v: 1,
                state: if online { "online" } else { "offline" },
                site: &names.site,
                node: &names.node,
                version: &names.version,
                config: &names.config_digest,
                boot: self.boot,
                epoch: self.epoch.to_string(),
                alarm,
                ts_ms: when.map(|when| when.ts_ms),
                tq: when.map(|when| when.tq),
            },
        )
    }

    /// Where the node's own assets are.
    pub fn state(&self, assets: &[AssetState], when: When) -> Message {
        // An asset is JSON already; `from_string` refuses only what is none.
        let assets: Vec<_> = assets.iter().filter_map(|asset| RawValue::from_string(wire::asset(asset)).ok()).collect();
        let (node, epoch) = (&*self.names.node, self.epoch.to_string());
        self.retained(
            "state",
            &State { v: 1, node, boot: self.boot, epoch, ts_ms: when.ts_ms, tq: when.tq, assets: &assets },
        )
    }

    /// How the node is.
    pub fn health(&self, vitals: &Vitals<'_>, when: When) -> Message {
        const MIB: u64 = 1_048_576;
        let figures = vitals.figures;
        let age_s = |mono_ms: i64| (vitals.mono_ms - mono_ms).max(0) / 1000;
        let oldest = figures.oldest.map_or(0, |(boot, mono_ms, received_ms)| {
            if boot == self.boot { age_s(mono_ms) } else { (when.ts_ms - received_ms).max(0) / 1000 }
        });
        #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
        #[expect(clippy::cast_precision_loss, reason = "a backlog is far below 2^52")]
        let drain_eta_s = match figures.backlog {
            0 => Some(0),
            backlog => (vitals.per_s > 0.0).then(|| (backlog as f64 / vitals.per_s).ceil() as i64),
        };
        // Tenths of an hour; u32 holds more of them than a forecast reaches.
        let tenths = |s: u64| f64::from(u32::try_from(s / 360).unwrap_or(u32::MAX)) / 10.0;
        let autonomy_h = vitals.disk.and_then(|disk| disk.autonomy_s).map(tenths);
        let source = |source: &&'_ SourceState| (source.id.clone(), source.state.as_str(), source.last_frame_mono_ms);
        let sources: Vec<_> = vitals.sources.iter().map(source).collect();
        let health = Health {
            v: 1,
            node: &self.names.node,
            boot: self.boot,
            ts_ms: when.ts_ms,
            tq: when.tq,
            backlog: figures.backlog,
            oldest_unsent_s: oldest,
            autonomy_h,
            drain_eta_s,
            letters: figures.letters,
            sources: sources.iter().map(|(id, state, at)| Source { id, state, age_s: at.map(age_s) }).collect(),
            disk: vitals.disk.map(|disk| Disk {
                used_mib: (disk.db_bytes + disk.wal_bytes + disk.archive_bytes).div_ceil(MIB),
                free_mib: disk.free_bytes / MIB,
                quota_mib: self.names.quota_mib,
            }),
            clock: vitals.clock,
            cert_days: vitals.cert_days,
        };
        Message { retain: false, ..self.retained("health", &health) }
    }

    /// What has been produced, what has arrived, and what is dead: `lanes` are scan and fix, each the first event the
    /// broker has not taken and the cursor.
    pub fn watermark(&self, head: Seq, lanes: [(Option<Seq>, Seq); 2], figures: &Figures) -> Message {
        let lane =
            |(first, last): (Option<Seq>, Seq)| Lane { first_unacked: first.map(|seq| seq.0), last_acked: last.0 };
        let [scan, fix] = lanes.map(lane);
        self.retained(
            "watermark",
            &Watermark {
                v: 1,
                node: &self.names.node,
                epoch: self.epoch.to_string(),
                last_produced: head.0,
                lanes: Lanes { scan, fix },
                confirmed: figures.confirmed,
                missing: &figures.missing,
                missing_more: figures.missing_more,
                past: figures
                    .past
                    .iter()
                    .map(|(epoch, last_produced)| Past { epoch, last_produced: *last_produced })
                    .collect(),
            },
        )
    }

    /// By how much the times of a boot's events were off.
    pub fn clock(&self, time: &BootTime) -> Message {
        let BootTime { boot, rev, spans, .. } = time;
        let (node, epoch) = (&*self.names.node, self.epoch.to_string());
        let message = self.retained("clock", &Clock { v: 1, node, epoch, boot: *boot, rev: *rev, spans });
        Message { about: *boot, ..message }
    }

    /// A standing alarm.
    pub fn alarm(&self, alarm: &Alarm) -> Message {
        let Alarm { severity, since_ms, text, advice, count, .. } = alarm;
        let raised = Raised { severity: *severity, since_ms: *since_ms, text, advice, count: *count };
        self.retained(&format!("alarm/{}", alarm.name), &raised)
    }

    /// An alarm that is over.
    pub fn alarm_over(&self, name: &str) -> Message {
        Message { topic: format!("{}/alarm/{name}", self.base), retain: true, ..Message::default() }
    }

    #[expect(clippy::expect_used, reason = "plain structs of strings and numbers always serialise")]
    fn retained<T: Serialize>(&self, topic: &str, value: &T) -> Message {
        let payload = serde_json::to_string(value).expect("a struct with string keys and numbers is JSON");
        Message { topic: format!("{}/{topic}", self.base), payload, retain: true, about: 0 }
    }
}
