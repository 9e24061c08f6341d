//! Reads the log once for all streams, and tells them what changed on the board and in the counts.
//! It waits on: the head of the log, the board, the number of open streams, and a timer for what is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

use crate::domain::{AssetState, Seq};
use crate::health::{Ctx, Outcome, PARKED_MAX, State, wedge};
use crate::store::StoreError;
use crate::wire;

use super::feed::{Frame, Item, Span};
use super::front::Front;
use super::render;
use super::sheet::{self, Counts};

/// Between two heartbeats; `hb_ms` of the hello.
pub(super) const BEAT_MS: i64 = 5_000;
/// Between two frames of states, and between two values of one state.
const STATES_US: i64 = 1_000_000;
/// Between two frames of positions: at most four a second.
const POSITIONS_US: i64 = 250_000;
/// Between two looks at the counts, with and without somebody who watches.
const COUNTS_US: (i64, i64) = (1_000_000, 5_000_000);
/// How long a look into the store may take before the tail counts as stalled.
const LOOK_BUDGET: Duration = Duration::from_secs(20);
/// After a failed look.
const PAUSE: Duration = Duration::from_millis(500);
/// Items of one frame. Source: contract section 4.
pub(super) const ITEMS_MAX: usize = 256;

type Key = (&'static str, String);

/// What waits to be told, and what was told when.
struct Tail {
    front: Arc<Front>,
    /// A state that changed: its item, and whether it is bad.
    pending: BTreeMap<Key, (Item, bool)>,
    positions: BTreeMap<String, AssetState>,
    /// When a state was last told, and whether it was bad then.
    told: BTreeMap<Key, (i64, bool)>,
    told_positions: BTreeMap<String, AssetState>,
    told_sheets: BTreeMap<&'static str, String>,
    states_due_us: i64,
    positions_due_us: i64,
    counts_due_us: i64,
    beat_due_us: i64,
}

/// The worker `tail`.
///
/// # Errors
/// None: a look that fails is made again.
pub(super) async fn run(front: Arc<Front>, ctx: Ctx) -> Outcome {
    let (mut head, mut board, mut open) = (front.store.head(), front.board.watch(), front.feed.open.subscribe());
    let mut tail = Tail::new(front);
    let mut was_watched = false;
    while !ctx.stop.is_cancelled() {
        wedge::hang("tail").await;
        ctx.beat.working(LOOK_BUDGET);
        // Marked as seen before anything is read: a change in between wakes us again.
        let seq = *head.borrow_and_update();
        board.borrow_and_update();
        let watched = *open.borrow_and_update() > 0;
        let (mut behind, mut failed) = (false, false);
        if watched && !was_watched {
            // What was committed while nobody watched is read by whoever wants it.
            tail.front.feed.jump(seq);
        }
        was_watched = watched;
        if watched {
            match tail.read_log(seq).await {
                Ok(more) => behind = more,
                Err(error) => {
                    warn!(%error, "the log could not be read for the streams; trying again");
                    failed = true;
                }
            }
        }
        tail.turn(watched).await;
        if behind && !failed {
            tokio::task::yield_now().await;
            continue;
        }
        let due = tail.due(watched);
        let wait = ctx.beat.parked(if failed { due.max(PAUSE) } else { due });
        tokio::select! {
            // A closed channel is the end of the store: the stop comes with it, and until then the timer goes on.
            Ok(()) = head.changed(), if watched && !failed => {}
            Ok(()) = board.changed(), if watched => {}
            Ok(()) = open.changed() => {}
            () = tokio::time::sleep(wait) => {}
            () = ctx.stop.cancelled() => {}
        }
    }
    Ok(())
}

impl Tail {
    fn new(front: Arc<Front>) -> Self {
        Self {
            front,
            pending: BTreeMap::new(),
            positions: BTreeMap::new(),
            told: BTreeMap::new(),
            told_positions: BTreeMap::new(),
            told_sheets: BTreeMap::new(),
            states_due_us: 0,
            positions_due_us: 0,
            counts_due_us: 0,
            beat_due_us: 0,
        }
    }

    fn now_us(&self) -> i64 {
        self.front.clock.now().mono_us
    }

    /// Reads the next events up to `head` into one frame; answers whether there are more.
    async fn read_log(&mut self, head: Seq) -> Result<bool, StoreError> {
        let span = Span { after: self.front.feed.upto(), upto: head };
        if span.after >= span.upto {
            return Ok(false);
        }
        let (board, at, own) = (self.front.board.clone(), self.front.clock.now(), self.front.store.cursor_now());
        let page = self.front.store.read(move |reader| render::page(reader, &board, span, at, own)).await?;
        match page.frame {
            Some(frame) => self.front.feed.push(frame),
            None => self.front.feed.jump(page.seen),
        }
        let now = self.now_us();
        for asset in page.assets {
            // What went out with its event needs not go out again.
            if self.positions.get(&asset.asset).is_some_and(|waits| waits.received <= asset.received) {
                self.positions.remove(&asset.asset);
            }
            if self.front.board.get("asset", &asset.asset).is_some() {
                self.positions_due_us = now + POSITIONS_US;
                self.told_positions.insert(asset.asset.clone(), asset);
            }
        }
        Ok(page.seen < head)
    }

    /// Everything that is due besides the log.
    async fn turn(&mut self, watched: bool) {
        if self.now_us() >= self.counts_due_us {
            self.read_counts(watched).await;
        }
        if !watched {
            return;
        }
        if self.now_us() >= self.beat_due_us {
            self.beat_due_us = self.now_us() + BEAT_MS * 1000;
            self.front.feed.beat(self.front.now_ms());
        }
        self.gather();
        self.flush();
    }

    /// Reads the counts; while somebody watches, what changed waits to be told.
    async fn read_counts(&mut self, watched: bool) {
        let before = self.front.feed.counts();
        let known = before.clone();
        let read = self.front.store.read(move |reader| Counts::read(reader, known.as_deref())).await;
        self.counts_due_us = self.now_us() + if watched { COUNTS_US.0 } else { COUNTS_US.1 };
        let counts = match read {
            Ok(counts) => Arc::new(counts),
            Err(error) => {
                warn!(%error, "the ledger could not be read for the screen; trying again");
                return;
            }
        };
        self.front.feed.keep_counts(Arc::clone(&counts));
        if watched {
            self.compare(&counts);
        }
    }

    /// Marks the sheets that differ from what was told last.
    fn compare(&mut self, counts: &Counts) {
        let (front, now) = (Arc::clone(&self.front), self.front.clock.now());
        let uplink = front
            .board
            .get("uplink", "")
            .map(|posted| ("uplink", render::state(&posted, Some(counts), front.store.boot(), now), posted.is_bad()));
        let sources = render::sources(&front.board);
        let balance = counts.ledger.imbalance();
        let ledger = ("ledger", counts.ledger.told(&sources, None), balance != 0);
        let letters = ("letters", sheet::letters(counts), false);
        for (kind, value, bad) in [Some(ledger), Some(letters), uplink].into_iter().flatten() {
            if self.told_sheets.get(kind) == Some(&value) {
                continue;
            }
            self.told_sheets.insert(kind, value.clone());
            let value = match kind {
                "ledger" => counts.ledger.told(&sources, Some(now.wall_ms)),
                _ => value,
            };
            self.pending.insert((kind, String::new()), (Item::put(kind, value), bad));
        }
    }

    /// Takes what changed on the board since it was told last.
    fn gather(&mut self) {
        let (counts, now, boot) = (self.front.feed.counts(), self.front.clock.now(), self.front.store.boot());
        let mut version = self.front.feed.told();
        for one in self.front.board.since(version) {
            version = version.max(one.version);
            match one.state {
                Some(State::Asset(asset)) => {
                    let asset = match self.told_positions.get(&one.key) {
                        // A late commit may have told a newer one already.
                        Some(known) if known.received >= asset.received => continue,
                        Some(known) => asset.with_place_of(known),
                        None => asset,
                    };
                    self.positions.insert(one.key, asset);
                }
                Some(posted) => {
                    let item = Item::put(one.kind, render::state(&posted, counts.as_deref(), boot, now));
                    self.pending.insert((one.kind, one.key), (item, posted.is_bad()));
                }
                None => {
                    self.positions.remove(&one.key);
                    self.told_positions.remove(&one.key);
                    let item = render::gone(one.kind, &one.key);
                    self.pending.insert((one.kind, one.key), (item, false));
                }
            }
        }
        self.front.feed.told_version.store(version, Ordering::Release);
    }

    /// When a state may be told: at once when it turns bad, else with the next frame of states.
    fn state_due(&self, key: &Key, bad: bool) -> i64 {
        match self.told.get(key) {
            Some((_, false)) | None if bad => 0,
            Some((at, _)) => self.states_due_us.max(at + STATES_US),
            None => self.states_due_us,
        }
    }

    /// Tells what is due.
    fn flush(&mut self) {
        let now = self.now_us();
        let due: Vec<Key> = self
            .pending
            .iter()
            .filter(|(key, (_, bad))| self.state_due(key, *bad) <= now)
            .map(|(key, _)| key.clone())
            .collect();
        let mut items = Vec::with_capacity(due.len());
        for key in due {
            let Some((item, bad)) = self.pending.remove(&key) else { continue };
            if item.gone {
                self.told.remove(&key);
            } else {
                self.told.insert(key, (now, bad));
            }
            items.push(item);
        }
        if !items.is_empty() {
            self.states_due_us = now + STATES_US;
        }
        if now >= self.positions_due_us && !self.positions.is_empty() {
            self.positions_due_us = now + POSITIONS_US;
            for (name, asset) in std::mem::take(&mut self.positions) {
                items.push(Item::put("asset", wire::asset(&asset)));
                self.told_positions.insert(name, asset);
            }
        }
        for some in items.chunks(ITEMS_MAX) {
            self.front.feed.push(Frame::new(self.front.clock.now(), None, None, some));
        }
    }

    /// How long nothing is due.
    fn due(&self, watched: bool) -> Duration {
        let mut due = self.counts_due_us;
        if watched {
            due = due.min(self.beat_due_us);
            let states = self.pending.iter().map(|(key, (_, bad))| self.state_due(key, *bad)).min();
            let positions = (!self.positions.is_empty()).then_some(self.positions_due_us);
            due = [states, positions].into_iter().flatten().fold(due, i64::min);
        }
        Duration::from_micros(u64::try_from(due - self.now_us()).unwrap_or(0)).min(PARKED_MAX)
    }
}
