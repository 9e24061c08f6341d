//! The way in: what a source reads is decoded, named, folded and stored in one transaction; then the readers wake.
//! One worker a source, so that a stuck one holds up nobody else. It holds nothing back but an unfinished frame.

mod bulk;
mod carrier;
mod csv;
mod ears;
mod ground;
mod hand;
mod history;
mod hold;
mod list;
mod motion;
pub mod orders;
mod refence;
mod refusal;
mod register;
mod reported;
mod retry;
mod ring;
mod sampler;
mod sheet;
mod sieve;
#[cfg(test)]
pub(crate) mod simulated;
mod take;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::clock::Keeper;
use crate::config::{Gps, MotionLimits, Scanner, Unknown};
use crate::domain::{AssetState, Reason, Stamp};
use crate::health::{Board, Ctx, Light, Outcome, PARKED_MAX, State, Tally, Worker, wedge};
use crate::source::Input;
use crate::store::{Group, Store, StoreError};

pub use carrier::{Carrier, Carriers};
pub use ground::{Ground, InForce};
pub use hand::keys_of;
pub use ring::{Origin, Ring};

use ears::{Ears, Heard};
use refusal::{is_a_frames_fault, patience, reason_of};
use take::{Answer, Desk, FixFrame, Frame, Taken};

/// Chunks a source may be ahead of its decoder. Each is at most 4 KiB.
pub const CHUNKS: usize = 64;
/// Frames that share a transaction at most.
const FRAMES_MAX: usize = 512;
/// Counts without a row wait no longer than this. µs (contract section 6: 1 s)
const COUNT_WAIT_US: i64 = 1_000_000;
/// How long one batch may take to decode and commit before the worker counts as stalled.
const BATCH_BUDGET: Duration = Duration::from_secs(25);
/// Tries of a batch before scanners that want replies are told `rejected`; of a store without room, one.
const PATIENCE: u32 = 3;
/// How long a peer that leaves its replies lying may keep the others of its source waiting, once.
const REPLY_WAIT: Duration = Duration::from_secs(1);

/// At trouble the ring of a source is written at most this often: flash wears.
const RING_SAVED_EVERY_US: i64 = 3_600_000_000;

/// Raised while the store takes nothing.
const STORAGE_ALARM: &str = "storage";

/// What a source delivers.
#[derive(Clone, Debug)]
pub enum Feed {
    /// A receiver.
    Gps(Gps),
    /// A scanner.
    Scanner(Scanner),
}

impl Feed {
    /// The source's configured id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Gps(gps) => &gps.id,
            Self::Scanner(scanner) => &scanner.id,
        }
    }
}

/// What all sources of a node share.
#[derive(Clone)]
pub struct Node {
    /// `node.id`
    pub id: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// What a key that is not in the register becomes.
    pub unknown: Unknown,
    /// Older fixes than this are `old`.
    pub keep: Duration,
    /// How long a fix may wait to share a commit.
    pub fix_group: Duration,
    /// The asset whose position is the node's own.
    pub own_asset: String,
    /// The assets that receivers move.
    pub carriers: Carriers,
    /// What counts as moving and as standing.
    pub motion: MotionLimits,
    /// Up to this seq events may have been published.
    pub published: Arc<AtomicI64>,
    /// As room ends: one fix in so many seconds is stored; 0: as configured.
    pub thin_s: Arc<AtomicU64>,
    /// The truth.
    pub store: Store,
    /// Where states are posted.
    pub board: Board,
    /// Where things are counted.
    pub tally: Tally,
    /// The node's time.
    pub keeper: Keeper,
}

/// The worker `ingest:<id>`: takes in what its source reads.
///
/// What was read and not yet stored outlives a restart of the worker: it is taken in again, and what was stored already
/// is known by its id.
pub fn worker(node: Node, feed: Feed, light: Light, ring: Ring, rx: mpsc::Receiver<Input>) -> Worker {
    let name = format!("ingest:{}", feed.id());
    let held = Arc::new(Mutex::new((Intake::new(node, feed, light, ring), rx)));
    Worker::task(name, move |ctx| {
        let held = Arc::clone(&held);
        async move {
            let (intake, rx) = &mut *held.lock().await;
            intake.run(&ctx, rx).await
        }
    })
}

struct Intake {
    node: Node,
    desk: Arc<Desk>,
    ears: Ears,
    watch: watch::Watch,
    waiting: VecDeque<(Frame, Reply)>,
    /// Things counted without a row, by reason; `None` is an epoch without a position.
    counted: BTreeMap<(Option<Reason>, bool), i64>,
    /// Lines on the port for which there was no room while the store took nothing.
    left_out: u64,
    /// When the waiting frames must be committed, `CLOCK_BOOTTIME` µs.
    due_us: Option<i64>,
    asset: Option<AssetState>,
    ring: Ring,
    ring_saved_us: Option<i64>,
}

/// Where the answer to a frame goes.
type Reply = Option<mpsc::Sender<String>>;

impl Intake {
    fn new(node: Node, feed: Feed, light: Light, ring: Ring) -> Self {
        let desk = Arc::new(Desk {
            source: feed.id().to_owned(),
            node: node.id.clone(),
            boot_id: node.boot_id.clone(),
            feed: feed.clone(),
            unknown: node.unknown,
            published: Arc::clone(&node.published),
            own_asset: node.own_asset.clone(),
            carriers: Arc::clone(&node.carriers),
        });
        let watch = watch::Watch::new(light.clone(), node.keeper.clock().now());
        let ears = Ears::new(feed, light, &node, ring.clone());
        Self {
            node,
            desk,
            ears,
            watch,
            waiting: VecDeque::new(),
            counted: BTreeMap::new(),
            left_out: 0,
            due_us: None,
            asset: None,
            ring,
            ring_saved_us: None,
        }
    }

    /// Waits for: bytes from the source, the end of an epoch or frame, the moment to commit, the word to stop.
    async fn run(&mut self, ctx: &Ctx, rx: &mut mpsc::Receiver<Input>) -> Outcome {
        // What a run before this one raised and could not take back; if the trouble stands, so will the alarm.
        self.node.board.clear(STORAGE_ALARM);
        // And what waits since then has waited long enough.
        self.due_us = (!self.waiting.is_empty()).then_some(0).or(self.due_us);
        if let Err(error) = self.recall_sheet().await {
            tracing::warn!(source = %self.desk.source, %error, "what the test sheet said could not be read; scan it again");
        }
        loop {
            wedge::hang(ctx.beat.worker()).await;
            let is_due = self.is_due(self.node.keeper.clock().now()) && !ctx.stop.is_cancelled();
            let wait = ctx.beat.parked(self.wait());
            let open = tokio::select! {
                biased;
                // What was heard during a commit and is due goes at once: a timer would round that up to its next tick.
                () = ready(()), if is_due => true,
                input = rx.recv() => self.hear_all(ctx, input, rx),
                () = ctx.stop.cancelled() => break,
                () = tokio::time::sleep(wait) => true,
            };
            ctx.beat.working(BATCH_BUDGET);
            let now = self.node.keeper.clock().now();
            // While bytes wait here, the line is not silent: we are late.
            if rx.is_empty() {
                let heard = self.ears.tick(now);
                self.file(heard, now);
            }
            if let Some(line) = self.watch.look(now) {
                self.file(vec![Heard::Frame(line, None)], now);
            }
            if self.is_due(now) {
                self.commit(ctx, rx).await;
            }
            if self.ears.take_trouble() && self.ring_saved_us.is_none_or(|at| now.mono_us - at >= RING_SAVED_EVERY_US) {
                self.ring_saved_us = Some(now.mono_us);
                self.save_ring().await;
            }
            if !open {
                break;
            }
        }
        self.finish(ctx, rx).await
    }

    /// The word to stop came, or the source is done: what was read is taken in, an unfinished frame is accounted for.
    async fn finish(&mut self, ctx: &Ctx, rx: &mut mpsc::Receiver<Input>) -> Outcome {
        while let Ok(input) = rx.try_recv() {
            self.hear(input);
            if self.waiting.len() >= FRAMES_MAX {
                self.commit(ctx, rx).await;
            }
        }
        let now = self.node.keeper.clock().now();
        let heard = self.ears.finish(now);
        self.file(heard, now);
        self.commit(ctx, rx).await;
        self.save_ring().await;
        Ok(())
    }

    /// Writes what the source said of late to its file, on a thread that may block. Nothing that counts hangs on it.
    async fn save_ring(&self) {
        let (ring, now) = (self.ring.clone(), self.node.keeper.clock().now());
        let saved = tokio::task::spawn_blocking(move || ring.save(now)).await;
        if let Err(error) = saved.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            tracing::warn!(source = %self.desk.source, %error, "the capture of its last minutes could not be written");
        }
    }

    /// Takes the input and what else waits, up to a batch. Answers whether the source still lives.
    fn hear_all(&mut self, ctx: &Ctx, first: Option<Input>, rx: &mut mpsc::Receiver<Input>) -> bool {
        let Some(first) = first else { return false };
        self.hear(first);
        ctx.beat.working(BATCH_BUDGET);
        while self.waiting.len() < FRAMES_MAX {
            match rx.try_recv() {
                Ok(input) => self.hear(input),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn hear(&mut self, input: Input) {
        let now = self.node.keeper.clock().now();
        let heard = self.ears.hear(input);
        self.file(heard, now);
    }

    /// Puts what was heard where it waits, and says until when it may.
    fn file(&mut self, heard: Vec<Heard>, now: Stamp) {
        for one in heard {
            let due_us = match one {
                Heard::Frame(frame, reply) => {
                    let due_us = self.due_of(&frame, now);
                    self.show(&frame);
                    self.waiting.push_back((frame, reply));
                    due_us
                }
                Heard::Counted { reason, is_frame } => {
                    *self.counted.entry((reason, is_frame)).or_default() += 1;
                    now.mono_us + COUNT_WAIT_US
                }
            };
            self.due_us = Some(self.due_us.map_or(due_us, |due| due.min(due_us)));
        }
    }

    /// Until when a frame may wait for company: a scan not at all, a fix until `fix_group_ms` after its last byte, less
    /// the time a commit takes.
    fn due_of(&self, frame: &Frame, now: Stamp) -> i64 {
        let group_us = i64::try_from(self.node.fix_group.as_micros()).unwrap_or(COUNT_WAIT_US).min(COUNT_WAIT_US);
        match frame {
            Frame::Scan { .. }
            | Frame::Test { .. }
            | Frame::Refused { is_frame: true, .. }
            | Frame::Sampled { is_frame: true, .. } => now.mono_us,
            Frame::Fix(frame) if matches!(frame.keep, motion::Keep::Thin(_)) => now.mono_us + COUNT_WAIT_US,
            Frame::Fix(frame) => frame.at.mono_us + group_us - group_us / 50,
            _ => now.mono_us + group_us,
        }
    }

    /// A thinned fix still shows where the asset is.
    fn show(&mut self, frame: &Frame) {
        let (Frame::Fix(frame), Some(asset)) = (frame, &mut self.asset) else { return };
        let FixFrame { fix, at, tq, keep: motion::Keep::Thin(_), part: carrier::Part::Leads { .. }, .. } = &**frame
        else {
            return;
        };
        if fix.time_ms >= asset.ts_ms {
            asset.ts_ms = fix.time_ms;
            asset.tq = *tq;
            asset.received.1 = at.mono_ms();
            asset.position = Some((fix.lat_deg, fix.lon_deg));
            asset.speed_mps = fix.speed_mps;
            asset.course_deg = fix.course_deg;
            self.node.board.post(State::Asset(asset.clone()));
        }
    }

    fn is_due(&self, now: Stamp) -> bool {
        self.waiting.len() >= FRAMES_MAX || self.due_us.is_some_and(|due| due <= now.mono_us)
    }

    fn wait(&self) -> Duration {
        let now = self.node.keeper.clock().now().mono_us;
        let next = [self.due_us, self.ears.deadline_us()].into_iter().flatten().min();
        next.map_or(PARKED_MAX, |due| Duration::from_micros(u64::try_from(due - now).unwrap_or(0)))
    }

    /// Commits what waits now, however long it takes; what comes meanwhile is heard, and waits for its own moment. While it
    /// cannot, nothing is lost unseen. The source is read on: scanners that want replies are told `rejected`; of any other what
    /// does not fit into memory is counted as refused.
    async fn commit(&mut self, ctx: &Ctx, rx: &mut mpsc::Receiver<Input>) {
        self.due_us = None;
        let counted = std::mem::take(&mut self.counted);
        self.waiting.extend(counted.into_iter().map(|((reason, is_frame), n)| match reason {
            Some(reason) => (Frame::Sampled { reason, n, is_frame }, None),
            None => (Frame::NoFix { n }, None),
        }));
        if self.left_out > 0 {
            let detail =
                format!("{} lines on this port while the store took nothing", std::mem::take(&mut self.left_out));
            self.waiting.push_back((Frame::Port { what: "left_out", detail }, None));
        }
        let (mut tries, mut left) = (0, self.waiting.len());
        while left > 0 {
            ctx.beat.working(BATCH_BUDGET);
            let n = left.min(FRAMES_MAX);
            let frames: Arc<Vec<Frame>> =
                Arc::new(self.waiting.iter().take(n).map(|(frame, _)| frame.clone()).collect());
            let error = match self.submit_and_hear(ctx, Arc::clone(&frames), rx).await {
                Ok(taken) => {
                    self.taken(&frames, taken).await;
                    left -= n;
                    if tries > 0 {
                        self.node.board.clear(STORAGE_ALARM);
                    }
                    tries = 0;
                    continue;
                }
                Err(error) => error,
            };
            tries += 1;
            if ctx.stop.is_cancelled() && (tries > PATIENCE || error.is_final()) {
                tracing::error!(source = %self.desk.source, frames = n, %error, "stopped with frames that could not be stored");
                return;
            }
            let until = Instant::now() + Duration::from_millis(100 << tries.min(5));
            self.trouble(&error, tries).await;
            if is_a_frames_fault(&error) {
                self.one_by_one(ctx, n).await;
            } else if tries >= patience(&error) && self.is_read_on() {
                self.turn_away(reason_of(&error), until, rx).await;
            } else {
                sleep_until(until).await;
            }
            // Whatever came since goes with the next try.
            left = self.waiting.len();
        }
    }

    /// Writes the frames, and hears meanwhile what the source says, up to a batch: the next one is decoded while this one is
    /// written. Once the word to stop came nothing more is begun.
    async fn submit_and_hear(
        &mut self,
        ctx: &Ctx,
        frames: Arc<Vec<Frame>>,
        rx: &mut mpsc::Receiver<Input>,
    ) -> Result<Taken, StoreError> {
        let most = frames.len() + FRAMES_MAX;
        let mut is_open = !ctx.stop.is_cancelled();
        let mut written = pin!(submit(self.node.store.clone(), Arc::clone(&self.desk), frames));
        loop {
            tokio::select! {
                biased;
                taken = &mut written => return taken,
                input = rx.recv(), if is_open && self.waiting.len() < most => match input {
                    Some(input) => self.hear(input),
                    None => is_open = false,
                },
            }
        }
    }

    /// After a commit: answers, shows and counts what came of the frames.
    async fn taken(&mut self, frames: &[Frame], taken: Taken) {
        let now = self.node.keeper.clock().now();
        for (frame, answer) in frames.iter().zip(&taken.answers) {
            let reply = self.waiting.pop_front().and_then(|(_, reply)| reply);
            self.answer(reply, *answer).await;
            let at = match frame {
                Frame::Fix(frame) => frame.at,
                Frame::Scan { at, .. } => *at,
                _ => continue,
            };
            if matches!(answer, Answer::Ok(_)) {
                let took = u64::try_from(now.mono_us - at.mono_us).unwrap_or(0);
                self.node.tally.ingest_to_commit_seconds(Duration::from_micros(took));
            }
        }
        if let (Some(fence), Feed::Gps(gps)) = (taken.fence, &self.desk.feed)
            && let Some(carrier) = self.desk.carriers.get(&gps.asset)
        {
            carrier.set_fence(fence);
        }
        if let Some(advice) = taken.sheet {
            self.ears.say(&advice);
        }
        if let Some(asset) = taken.asset {
            self.node.board.post(State::Asset(asset.clone()));
            self.asset = Some(asset);
        }
    }

    /// Hands an answer to the peer that waits for it. Answers are told apart by their order alone: once one cannot be
    /// handed over, the peer gets no other, its connection ends, and it asks again for all that was not answered.
    async fn answer(&mut self, reply: Reply, answer: Answer) {
        let (Some(reply), Some(line)) = (reply, answer.line()) else { return };
        let Err(error) = reply.send_timeout(line, REPLY_WAIT).await else { return };
        // Gone, or it does not read: its scans are stored all the same.
        tracing::debug!(source = %self.desk.source, %error, "a reply found nobody to read it");
        self.ears.cut(&reply);
        for (_, other) in &mut self.waiting {
            other.take_if(|other| other.same_channel(&reply));
        }
    }
}

/// Writes the frames in one transaction.
async fn submit(store: Store, desk: Arc<Desk>, frames: Arc<Vec<Frame>>) -> Result<Taken, StoreError> {
    store.submit(Group::Now, move |txn| take::take(txn, &desk, &frames)).await
}

#[cfg(test)]
mod bulk_tests;
#[cfg(test)]
mod commit_tests;
#[cfg(test)]
mod ground_tests;
#[cfg(test)]
pub(crate) mod history_tests;
#[cfg(test)]
pub(crate) mod tests;
