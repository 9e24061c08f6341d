//! What machines ask: whether it lives, whether it is ready, how it is, and its metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use tokio::time::timeout;

use crate::domain::{Lane, Reason};
use crate::health::export::{self, Format};
use crate::health::{
    FrameOutcome, LetterState, ProcessUse, Sample, Severity, SourceCondition, SourceFrames, SourceSample,
    State as Posted, StoreFile,
};
use crate::store::{Files, Ledger, Reader, SourceLedger};

use super::answer::{Answer, Fault, json, text, typed};
use super::front::Front;
use super::sheet::Counts;

/// The alarm of a node that runs on a kept configuration because its files are invalid.
const CONFIG_ALARM: &str = "config_invalid";
/// A worker that has not beaten for this long is stalled, whether or not somebody has said so.
const QUIET_MAX: Duration = Duration::from_secs(45);
/// How long the store may take to show that it can be read.
const READY_WAIT: Duration = Duration::from_secs(2);

/// Answers 200 while the runtime answers.
pub(super) async fn livez() -> Response {
    typed("ok\n", "text/plain; charset=utf-8")
}

/// Answers 200 once the store is open and can be read.
pub(super) async fn readyz(State(front): State<Arc<Front>>) -> Answer {
    let not_ready =
        |why: String| Fault::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why, "See GET /healthz and the log.");
    match timeout(READY_WAIT, front.store.read(|reader| reader.oldest())).await {
        Ok(Ok(_)) => Ok(typed("ok\n", "text/plain; charset=utf-8")),
        Ok(Err(error)) => Err(not_ready(error.to_string())),
        Err(_) => Err(not_ready(format!("the store did not answer within {} s", READY_WAIT.as_secs()))),
    }
}

/// How the node is, in one word and the reasons for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Condition {
    pub(super) status: &'static str,
    pub(super) reasons: Vec<String>,
    /// Whether it runs on a kept configuration.
    #[serde(skip)]
    pub(super) kept: bool,
}

/// How the node is now.
pub(super) fn condition(front: &Front) -> Condition {
    let (mut stalled, mut kept) = (Vec::new(), false);
    let mut degraded = Vec::new();
    for (worker, age) in front.roster.ages() {
        if age > QUIET_MAX {
            stalled.push(format!("worker {worker} is stalled"));
        }
    }
    let dead = front.feed.counts().and_then(|counts| counts.ledger.events.get("dead").copied()).unwrap_or(0);
    if dead > 0 {
        degraded
            .push(format!("{dead} events were refused by the platform and wait for a person: `waypost letters list`"));
    }
    for one in front.board.since(0) {
        match one.state {
            Some(Posted::Worker(worker)) if worker.state == "stalled" => {
                stalled.push(format!("worker {} is stalled", worker.worker));
            }
            Some(Posted::Worker(worker)) if worker.state == "restarting" => {
                degraded.push(format!("worker {} is being restarted", worker.worker));
            }
            Some(Posted::Alarm(alarm)) if alarm.severity > Severity::Info => {
                kept |= alarm.name == CONFIG_ALARM;
                degraded.push(format!("alarm {}: {}", alarm.name, alarm.text));
            }
            Some(Posted::Source(source)) if source.state.is_bad() => {
                degraded.push(format!("source {} is {}", source.id, source.state.as_str()));
            }
            Some(Posted::Uplink(uplink)) if uplink.configured && uplink.state != "connected" => {
                degraded.push(format!("uplink is {}", uplink.state));
            }
            Some(Posted::Disk(disk)) if !disk.writable => degraded.push("disk cannot be written".into()),
            Some(Posted::Disk(disk)) if disk.used_pct >= 95 => degraded.push("disk is nearly full".into()),
            _ => {}
        }
    }
    let balance = front.feed.counts().map_or(0, |counts| counts.ledger.imbalance());
    if balance != 0 {
        degraded.push(format!("ledger is off by {balance}"));
    }
    stalled.dedup();
    let status = match (stalled.is_empty(), degraded.is_empty()) {
        (false, _) => "stalled",
        (true, false) => "degraded",
        (true, true) => "ok",
    };
    stalled.append(&mut degraded);
    Condition { status, reasons: stalled, kept }
}

/// Answers how the node is; 503 only when it is stalled or runs on a kept configuration.
pub(super) async fn healthz(State(front): State<Arc<Front>>) -> Response {
    let condition = condition(&front);
    let mut response = json(text(&condition));
    if condition.status == "stalled" || condition.kept {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Answers the metrics: OpenMetrics when it is asked for, else the Prometheus text format.
pub(super) async fn metrics(State(front): State<Arc<Front>>, headers: HeaderMap) -> Answer {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::from_accept(&accept.join(","));
    let known = front.feed.counts();
    let db = front.store.path().to_owned();
    let look = move |reader: &Reader<'_>| Ok((Counts::read(reader, known.as_deref())?, Files::measure(&db)));
    let (counts, files) = front.look(look).await?;
    let sample = sample(&front, &counts, &files);
    Ok(typed(export::text(&front.tally, &sample, format), format.content_type()))
}

/// What the tally does not count.
fn sample(front: &Front, counts: &Counts, files: &Files) -> Sample {
    let now = front.clock.now();
    let mut sample = Sample {
        frames: frames(&counts.ledger),
        canary: front.tally.last_canary(),
        outbox_unsent: Lane::ALL
            .map(|lane| (lane, unsigned(counts.ledger.unsent.get(lane.as_str()).copied().unwrap_or(0))))
            .to_vec(),
        oldest_unsent: counts.oldest_unsent_s(front.store.boot(), now).map(|s| Duration::from_secs(unsigned(s))),
        streams: front.feed.streams(),
        letters: counts.letters.iter().map(|(reason, n)| (*reason, LetterState::Open, unsigned(*n))).collect(),
        ledger_imbalance: Some(counts.ledger.imbalance().unsigned_abs()),
        store_bytes: vec![
            (StoreFile::Db, files.db),
            (StoreFile::Wal, files.wal),
            (StoreFile::Archive, files.archive),
            (StoreFile::Quarantine, files.quarantine),
            (StoreFile::Captures, files.captures),
        ],
        wal_bytes: Some(files.wal),
        disk_free_bytes: files.free,
        beats: front.roster.ages(),
        process: ProcessUse::read(now),
        ..Sample::default()
    };
    let posted = front.board.since(0);
    // The newest position of an asset of ours is the newest fix of the receiver that it is from.
    let fixes: BTreeMap<String, i64> = posted
        .iter()
        .filter_map(|one| match &one.state {
            Some(Posted::Asset(asset)) if asset.received.0 == front.store.boot() => {
                Some((asset.source.clone()?, asset.received.1))
            }
            _ => None,
        })
        .collect();
    for one in posted {
        match one.state {
            Some(Posted::Source(source)) => {
                let age = source.last_frame_mono_ms.map(|at| millis(now.mono_ms() - at));
                sample.sources.push(SourceSample {
                    up: source.state == SourceCondition::Up,
                    last_frame_age: age,
                    fix_age: fixes.get(&source.id).map(|at| millis(now.mono_ms() - at)),
                    source: source.id,
                    line_load: source.line_load,
                });
            }
            Some(Posted::Uplink(uplink)) if uplink.configured => {
                sample.uplink_connected = Some(uplink.state == "connected");
                sample.certificate_not_after_s = uplink.certificate_not_after_s;
            }
            Some(Posted::Alarm(alarm)) => sample.alarms.push((alarm.name, alarm.severity)),
            Some(Posted::Clock(clock)) => sample.clock_error_ms = clock.err_ms,
            Some(Posted::Disk(disk)) => sample.storage_autonomy = disk.autonomy_s.map(Duration::from_secs),
            _ => {}
        }
    }
    sample
}

fn frames(ledger: &Ledger) -> Vec<SourceFrames> {
    let one = |(id, source): (&String, &SourceLedger)| SourceFrames {
        source: id.clone(),
        outcomes: FrameOutcome::ALL
            .iter()
            .map(|outcome| (*outcome, unsigned(source.outcomes.get(outcome.as_str()).copied().unwrap_or(0))))
            .collect(),
        rejected: source
            .reasons
            .iter()
            .filter_map(|(code, n)| Some((Reason::from_code(code)?, unsigned(*n))))
            .collect(),
    };
    ledger.sources.iter().map(one).collect()
}

/// A count; one that is negative would be an imbalance, which has a metric of its own.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(unsigned(ms))
}
