//! The worker `gauge`: looks once a second at what nobody else reports, the disk and the time, sets what the store may hold,
//! and writes down restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};

use crate::clock::Keeper;
use crate::config::FullPolicy;
use crate::domain::Stage;
use crate::health::{Board, Ctx, DiskState, Outcome, Restart, State, Tally, Worker, wedge};
use crate::retention::room::{self, Figures, Need, Verdict};
use crate::store::{Files, Fill, Group, Store, written_bytes};

use super::almanac::Almanac;
use super::outlook::{CARD_TBW, Outlook, Point};
use super::pressure;

const EVERY: Duration = Duration::from_secs(1);
/// A look at the disk may hang on a sick one, but not for ever.
const LOOK_BUDGET: Duration = Duration::from_secs(10);
/// How long a line about alarms may wait for its commit.
const NOTE_WAIT: Duration = Duration::from_secs(5);
/// While the write-ahead log is far too long, looks at the store that last longer than this are cut off.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// The write-ahead log is far too long at so many times of what is told.
const WAL_FAR: u64 = 4;
/// What an event takes at least, where too few are there to tell. Bytes
const EVENT_MIN: u64 = 240;
/// And at most: in a store of a few events the empty tables weigh more than they do.
const EVENT_MAX: u64 = 1024;

/// What the gauge looks at and whom it tells.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) board: Board,
    pub(super) keeper: Keeper,
    pub(super) tally: Tally,
    pub(super) max_mib: u64,
    pub(super) policy: FullPolicy,
    /// Whether there is a platform to go without.
    pub(super) uplink: bool,
    /// One fix in so many seconds is stored; 0: as configured.
    pub(super) thin_s: Arc<AtomicU64>,
    /// What retention has to take out.
    pub(super) needs: watch::Sender<Need>,
}

pub(super) fn worker(parts: Parts, told: mpsc::Receiver<Restart>) -> Worker {
    let almanac = Almanac::new(parts.store.clone(), parts.board.clone(), parts.keeper.clone());
    let gauge = Arc::new(Gauge { parts, almanac: Mutex::new(almanac), held: Mutex::new((told, Live::default())) });
    Worker::task("gauge", move |ctx| {
        let gauge = Arc::clone(&gauge);
        async move { gauge.run(&ctx).await }
    })
}

struct Gauge {
    parts: Parts,
    almanac: Mutex<Almanac>,
    held: Mutex<(mpsc::Receiver<Restart>, Live)>,
}

/// What is kept from look to look.
#[derive(Default)]
struct Live {
    verdict: Verdict,
    fill: Fill,
    /// Events in the log, and of those what is not sent.
    kept: u64,
    unsent: u64,
    written: u64,
    outlook: Outlook,
    /// The alarms that the failure log knows to be on.
    alarms: BTreeSet<String>,
}

/// What the disk says.
struct Seen {
    files: Files,
    has_ballast: bool,
    /// Why the reserve could not be laid.
    reserve: Option<String>,
    probe: io::Result<()>,
    written: Option<u64>,
}

impl Gauge {
    /// Waits for: a second to pass, a restart to write down, the word to stop.
    async fn run(&self, ctx: &Ctx) -> Outcome {
        let (told, live) = &mut *self.held.lock().await;
        loop {
            wedge::hang(ctx.beat.worker()).await;
            ctx.beat.working(LOOK_BUDGET);
            self.look(live).await?;
            self.note_alarms(&mut live.alarms).await;
            let wait = ctx.beat.parked(EVERY);
            tokio::select! {
                () = ctx.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
                restart = told.recv() => if let Some(restart) = restart {
                    ctx.beat.working(LOOK_BUDGET);
                    self.note(restart).await;
                },
            }
        }
    }

    async fn look(&self, live: &mut Live) -> Outcome {
        let Parts { store, board, keeper, tally, .. } = &self.parts;
        let now = keeper.clock().now();
        self.almanac.lock().await.look().await;
        // The disk is asked on a thread that may block: a sick card holds up nobody who runs beside us.
        let asked = store.clone();
        let seen = tokio::task::spawn_blocking(move || see(&asked)).await?;
        // A store that cannot be read says what it said before; the looks of others tell of it.
        if let Ok((fill, span, unsent)) =
            store.read(|reader| Ok((reader.fill()?, reader.span()?, reader.unsent()?))).await
        {
            (live.fill, live.unsent) = (fill, unsent);
            live.kept = u64::try_from(span.head.0 - span.base.0).unwrap_or(0);
        }
        if let Some(written) = seen.written {
            tally.store_written_bytes(written.saturating_sub(live.written));
            live.written = written;
        }
        let events = store.head().borrow().0;
        live.outlook.see(Point { mono_ms: now.mono_ms(), events, written: live.written });
        let verdict = self.judge(live, &seen);
        // One that is late names a few events more as lost than there were.
        let mark = store.keep_mark().await.err();
        pressure::tell(
            board,
            now.wall_ms,
            &verdict,
            &pressure::Disk {
                max_mib: self.parts.max_mib,
                is_shut: store.is_shut(),
                is_tight: store.is_tight(),
                wal: seen.files.wal,
                probe: seen.probe.as_ref().err().map(ToString::to_string),
                mark: mark.map(|error| error.to_string()),
                reserve: seen.reserve.clone(),
            },
        );
        if seen.files.wal > WAL_FAR * verdict.wal_max {
            let n = store.cut_off(LOOK_MAX);
            tracing::warn!(n, wal_bytes = seen.files.wal, "looks at the store that last too long are cut off");
        }
        board.post(State::Disk(self.state(live, &seen)));
        Ok(())
    }

    /// Judges the room, and tells whoever has to do with it.
    fn judge(&self, live: &mut Live, seen: &Seen) -> Verdict {
        let figures = self.figures(live, seen);
        let verdict = room::judge(&figures, self.parts.policy, &live.verdict);
        live.verdict = verdict;
        self.parts.store.limit(room::limits(&figures, &verdict));
        // Asked for its own sake: without events nobody would notice that there is room again.
        self.parts.store.reconsider(live.fill);
        self.parts.thin_s.store(verdict.thin.as_secs(), Ordering::Release);
        // As long as it stands it is told with each look: a step that failed is tried again with the next.
        self.parts.needs.send_if_modified(|need| {
            *need = verdict.need;
            !need.is_none()
        });
        verdict
    }

    fn figures(&self, live: &Live, seen: &Seen) -> Figures {
        let files = &seen.files;
        Figures {
            quota: self.parts.max_mib << 20,
            disk_free: files.free,
            fill: Fill { file: live.fill.file.max(live.fill.free), free: live.fill.free },
            wal: files.wal,
            archive: files.archive,
            other: files.quarantine + files.captures,
            has_ballast: seen.has_ballast,
        }
    }

    fn state(&self, live: &Live, seen: &Seen) -> DiskState {
        let files = &seen.files;
        let wear = live.outlook.wear();
        DiskState {
            db_bytes: files.db,
            wal_bytes: files.wal,
            archive_bytes: files.archive,
            free_bytes: files.free.unwrap_or(0),
            used_pct: u8::try_from(live.verdict.used_pct).unwrap_or(100),
            writable: seen.probe.is_ok() && self.parts.board.get("alarm", "storage").is_none(),
            intake: if self.parts.store.is_shut() { "refused" } else { "open" },
            thin_s: Some(live.verdict.thin.as_secs()).filter(|s| *s > 0),
            autonomy_s: self.autonomy(live, seen).map(|lasts| lasts.as_secs() / 60 * 60),
            written_per_event: wear.and_then(|wear| wear.per_event),
            written_per_day: wear.map(|wear| wear.per_day >> 20 << 20),
            card_tbw: CARD_TBW,
            card_years: wear.and_then(|wear| wear.card_years),
        }
    }

    /// How long the node could go on if from now on the platform took nothing: all that can go has gone then.
    fn autonomy(&self, live: &Live, seen: &Seen) -> Option<Duration> {
        if !self.parts.uplink {
            return None;
        }
        let figures = Figures { archive: 0, ..self.figures(live, seen) };
        let limits = room::limits(&figures, &live.verdict);
        let each = (live.fill.file - live.fill.free).checked_div(live.kept).unwrap_or(0);
        let each = each.clamp(EVENT_MIN, EVENT_MAX);
        live.outlook.autonomy(limits.intake.saturating_sub(live.unsent * each), each)
    }

    /// Notes alarms that came and went. What cannot be noted now is noted with the next look.
    async fn note_alarms(&self, noted: &mut BTreeSet<String>) {
        let posted = self.parts.board.since(0);
        let on: BTreeMap<String, String> = posted
            .into_iter()
            .filter_map(|one| match one.state {
                Some(State::Alarm(alarm)) => Some((alarm.name.to_string(), alarm.text)),
                _ => None,
            })
            .collect();
        let came = on.iter().filter(|(name, _)| !noted.contains(*name));
        let mut lines: Vec<(&str, String)> = came.map(|(name, text)| ("alarm", format!("{name}: {text}"))).collect();
        lines.extend(noted.iter().filter(|name| !on.contains_key(*name)).map(|name| ("alarm_over", name.clone())));
        if lines.is_empty() {
            return;
        }
        let work = move |txn: &mut crate::store::Txn<'_>| {
            lines.iter().try_for_each(|(what, detail)| txn.log_failure(Stage::Store, what, detail))
        };
        let done = tokio::time::timeout(NOTE_WAIT, self.parts.store.submit(Group::Within(EVERY), work)).await;
        if matches!(done, Ok(Ok(()))) {
            *noted = on.into_keys().collect();
        }
    }

    async fn note(&self, restart: Restart) {
        let detail = format!("{}: {}", restart.worker, restart.text);
        let work = move |txn: &mut crate::store::Txn<'_>| txn.log_failure(Stage::Store, "restart", &detail);
        if let Err(error) = self.parts.store.submit(Group::Within(EVERY), work).await {
            tracing::warn!(worker = restart.worker, %error, "a restart could not be noted in the failure log");
        }
    }
}

/// Looks at the disk, and lays the reserve where there is room for it. Blocks for as long as the disk does.
fn see(store: &Store) -> Seen {
    let files = Files::measure(store.path());
    let has_room = files.free.is_some_and(|free| room::has_room_for_ballast(free, files.wal));
    let laid = if has_room && !store.has_ballast() { store.lay_ballast() } else { Ok(()) };
    let reserve = laid.err().map(|error| error.to_string());
    Seen { files, has_ballast: store.has_ballast(), reserve, probe: store.probe(), written: written_bytes() }
}
