//! What all streams are told, written once and shared: the newest frames of the log and the states that changed.
//!
//! **Invariant:** a cache of the log, never a second truth. Who is not served from here reads the store, so a frame that
//! falls out is nobody's loss. A stream knows two numbers: the next frame, and the last event it has seen.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axum::body::Bytes;
use tokio::sync::watch;

use crate::domain::{Cursor, Seq, Stamp, UnixMs};

use super::sheet::Counts;

/// Frames kept for streams that are a little behind.
const FRAMES_MAX: usize = 256;
/// Their bytes.
const BYTES_MAX: usize = 1 << 20;
/// A frame older than this is not given to a stream that opens: its `t` would set the reader's clock back. ms
const FRESH_MS: i64 = 2_000;

/// The kinds of items, exactly. Source: contract section 4.
pub(super) const KINDS: [&str; 12] =
    ["event", "asset", "zones", "job", "letters", "worker", "source", "uplink", "disk", "clock", "alarm", "ledger"];

/// Some of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    /// Every kind.
    pub(super) const ALL: Self = Self(u16::MAX);

    /// The kinds in a comma list; none when a word is not one.
    pub(super) fn parse(list: &str) -> Option<Self> {
        let bit = |word: &str| KINDS.iter().position(|kind| *kind == word.trim()).map(|at| 1 << at);
        list.split(',').map(bit).try_fold(0, |bits: u16, bit| Some(bits | bit?)).map(Self)
    }

    /// Whether a kind is among them.
    pub(super) fn has(self, kind: &str) -> bool {
        KINDS.iter().position(|one| *one == kind).is_some_and(|at| self.0 & (1 << at) != 0)
    }
}

/// The events between two places in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// After this one.
    pub(super) after: Seq,
    /// Up to and including this one.
    pub(super) upto: Seq,
}

/// One thing that changed: its kind, `put` or `del`, and its value as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: &'static str,
    pub(super) gone: bool,
    pub(super) value: String,
}

impl Item {
    /// What stands now.
    pub(super) const fn put(kind: &'static str, value: String) -> Self {
        Self { kind, gone: false, value }
    }
}

/// A `delta` as it goes over the wire.
#[derive(Debug)]
pub(super) struct Frame {
    /// The events it covers; none for states.
    pub(super) span: Option<Span>,
    at: Stamp,
    id: Option<Cursor>,
    items: Vec<(&'static str, Range<usize>)>,
    whole: Bytes,
}

impl Frame {
    /// Writes a frame. `id` is the cursor of its last event.
    pub(super) fn new(at: Stamp, span: Option<Span>, id: Option<Cursor>, items: &[Item]) -> Self {
        let length = items.iter().map(|item| item.value.len() + 40).sum::<usize>() + 96;
        let mut text = String::with_capacity(length);
        begin(&mut text, at.wall_ms, id);
        let mut ranges = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            let start = text.len();
            text.push_str("{\"k\":\"");
            text.push_str(item.kind);
            text.push_str(if item.gone { "\",\"op\":\"del\",\"v\":" } else { "\",\"op\":\"put\",\"v\":" });
            text.push_str(&item.value);
            text.push('}');
            ranges.push((item.kind, start..text.len()));
        }
        text.push_str(END);
        Self { span, at, id, items: ranges, whole: Bytes::from(text) }
    }

    /// The frame for who wants these kinds: shared bytes where they want all, none where nothing is left.
    pub(super) fn bytes(&self, kinds: Kinds) -> Option<Bytes> {
        if kinds == Kinds::ALL {
            return Some(self.whole.clone());
        }
        let wanted: Vec<_> = self.items.iter().filter(|(kind, _)| kinds.has(kind)).collect();
        if wanted.len() == self.items.len() {
            return Some(self.whole.clone());
        }
        // Only what has an event carries an id.
        let id = self.id.filter(|_| wanted.iter().any(|(kind, _)| *kind == "event"));
        let mut frame = String::new();
        begin(&mut frame, self.at.wall_ms, id);
        let mut bytes = frame.into_bytes();
        for (at, (_, range)) in wanted.iter().enumerate() {
            if at > 0 {
                bytes.push(b',');
            }
            bytes.extend_from_slice(&self.whole[range.clone()]);
        }
        bytes.extend_from_slice(END.as_bytes());
        (!wanted.is_empty()).then(|| Bytes::from(bytes))
    }
}

const END: &str = "]}\n\n";

fn begin(text: &mut String, t: UnixMs, id: Option<Cursor>) {
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    text.push_str(&format!("event: delta\ndata: {{\"t\":{t},\"items\":["));
}

/// What a stream does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this frame and go on with the next.
    Send(Arc<Frame>),
    /// Read these events from the store.
    Read(Span),
    /// Frames were missed; events come from the store, the states have to be told anew.
    Lost,
    /// Nothing yet.
    Wait,
}

/// Where a stream stands in the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The next frame.
    next: u64,
    /// States before this frame were told another way.
    live: u64,
}

/// The shared frames and the wake of all streams.
pub(super) struct Feed {
    ring: RwLock<Ring>,
    moved: watch::Sender<()>,
    /// Open streams.
    pub(super) open: watch::Sender<usize>,
    /// How far the board has been told; kept here so that a restart of the tail misses no end of a state.
    pub(super) told_version: AtomicU64,
    counts: RwLock<Option<Arc<Counts>>>,
    /// The number of the newest heartbeat: most looks end here, without a lock.
    beats: AtomicU64,
}

struct Ring {
    first: u64,
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// How far the log has been read.
    upto: Seq,
    beat: (u64, Bytes),
}

impl Feed {
    /// An empty feed at a place in the log.
    pub(super) fn new(at: Cursor) -> Self {
        let ring = Ring { first: 0, frames: VecDeque::new(), bytes: 0, upto: at.seq, beat: (0, Bytes::new()) };
        Self {
            ring: RwLock::new(ring),
            moved: watch::Sender::new(()),
            open: watch::Sender::new(0),
            told_version: AtomicU64::new(0),
            counts: RwLock::new(None),
            beats: AtomicU64::new(0),
        }
    }

    /// Wakes when there may be something to send.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Wakes all streams: the node stops.
    pub(super) fn wake(&self) {
        self.moved.send_replace(());
    }

    /// Adds a frame. One with events begins where the log was read to.
    pub(super) fn push(&self, frame: Frame) {
        {
            let mut ring = self.write();
            if let Some(span) = frame.span {
                ring.upto = span.upto;
            }
            ring.bytes += frame.whole.len();
            ring.frames.push_back(Arc::new(frame));
            while ring.frames.len() > FRAMES_MAX || (ring.bytes > BYTES_MAX && ring.frames.len() > 1) {
                let Some(oldest) = ring.frames.pop_front() else { break };
                ring.bytes -= oldest.whole.len();
                ring.first += 1;
            }
        }
        self.wake();
    }

    /// Goes on at another place in the log; who is before it reads the store.
    pub(super) fn jump(&self, upto: Seq) {
        self.write().upto = upto;
        self.wake();
    }

    /// How far the log has been read.
    pub(super) fn upto(&self) -> Seq {
        self.read().upto
    }

    /// Tells all streams that the node lives.
    pub(super) fn beat(&self, t: UnixMs) {
        {
            let mut ring = self.write();
            let number = ring.beat.0 + 1;
            ring.beat = (number, Bytes::from(format!("event: hb\ndata: {{\"t\":{t}}}\n\n")));
            self.beats.store(number, Ordering::Release);
        }
        self.wake();
    }

    /// The number of the newest heartbeat.
    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Acquire)
    }

    /// The newest heartbeat and its number.
    pub(super) fn heartbeat(&self) -> (u64, Bytes) {
        self.read().beat.clone()
    }

    /// Where a stream that opens now begins.
    pub(super) fn enter(&self, now: Stamp) -> Place {
        let ring = self.read();
        let live = ring.end();
        let is_stale = |frame: &&Arc<Frame>| now.mono_ms() - frame.at.mono_ms() > FRESH_MS;
        let stale = ring.frames.iter().take_while(is_stale).count();
        Place { next: ring.first + stale as u64, live }
    }

    /// Where a stream goes on that missed frames.
    pub(super) fn enter_anew(&self) -> Place {
        let end = self.read().end();
        Place { next: end, live: end }
    }

    /// What a stream at `place`, that has seen the log up to `seq`, does next. Moves `place` over what it has had.
    pub(super) fn step(&self, place: &mut Place, seq: Seq) -> Step {
        let ring = self.read();
        let Some(mut at) = place.next.checked_sub(ring.first).and_then(|at| usize::try_from(at).ok()) else {
            return Step::Lost;
        };
        while let Some(frame) = ring.frames.get(at) {
            let skip = match frame.span {
                None => place.next < place.live,
                Some(span) => span.upto <= seq,
            };
            if !skip {
                match frame.span {
                    Some(span) if span.after > seq => return Step::Read(Span { after: seq, upto: span.after }),
                    Some(span) if span.after < seq => return Step::Read(Span { after: seq, upto: span.upto }),
                    _ => {}
                }
                place.next += 1;
                return Step::Send(Arc::clone(frame));
            }
            place.next += 1;
            at += 1;
        }
        if seq < ring.upto { Step::Read(Span { after: seq, upto: ring.upto }) } else { Step::Wait }
    }

    /// The counts as they were last read; none before the first time.
    pub(super) fn counts(&self) -> Option<Arc<Counts>> {
        self.counts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the counts that were just read.
    pub(super) fn keep_counts(&self, counts: Arc<Counts>) {
        *self.counts.write().unwrap_or_else(PoisonError::into_inner) = Some(counts);
    }

    /// Open streams.
    pub(super) fn streams(&self) -> usize {
        *self.open.borrow()
    }

    /// How far the board has been told.
    pub(super) fn told(&self) -> u64 {
        self.told_version.load(Ordering::Acquire)
    }

    // A panic while one of these is held leaves whole frames behind: each change is one push or one assignment.
    fn read(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// The number of the next frame to come.
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Epoch;

    /// The wall clock steps back by an hour at each instant: nothing here may go by it.
    fn at(ms: i64) -> Stamp {
        Stamp { mono_us: ms * 1000, wall_ms: 5 - ms * 3600 }
    }

    fn frame(t: i64, after: i64, upto: i64) -> Frame {
        let id = Cursor { epoch: Epoch(1), seq: Seq(upto) };
        let items = [Item::put("event", format!("{{\"seq\":{upto}}}")), Item::put("asset", "{}".into())];
        Frame::new(at(t), Some(Span { after: Seq(after), upto: Seq(upto) }), Some(id), &items)
    }

    fn state(t: i64) -> Frame {
        Frame::new(at(t), None, None, &[Item::put("clock", "{\"tq\":\"ntp\"}".into())])
    }

    fn feed(upto: i64) -> Feed {
        Feed::new(Cursor { epoch: Epoch(1), seq: Seq(upto) })
    }

    fn text(bytes: Option<Bytes>) -> String {
        bytes.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn a_narrowed_frame_without_events_carries_no_id() {
        let frame = frame(0, 0, 1);
        let only = text(frame.bytes(Kinds::parse("asset").unwrap()));
        assert_eq!(only, "event: delta\ndata: {\"t\":5,\"items\":[{\"k\":\"asset\",\"op\":\"put\",\"v\":{}}]}\n\n");
        let events = text(frame.bytes(Kinds::parse("event, ledger").unwrap()));
        assert!(events.starts_with("id: 0000000000000001.1\n") && !events.contains("asset"), "{events}");
        assert_eq!(frame.bytes(Kinds::parse("alarm").unwrap()), None);
        assert_eq!(Kinds::parse("event,scan"), None);
    }

    #[test]
    fn a_stream_is_sent_to_the_store_for_exactly_what_the_feed_does_not_hold() {
        let feed = feed(10);
        let mut place = feed.enter(at(0));
        feed.push(frame(0, 10, 12));
        feed.push(frame(0, 12, 15));
        assert!(matches!(feed.step(&mut place, Seq(7)), Step::Read(Span { after: Seq(7), upto: Seq(10) })));
        assert!(matches!(feed.step(&mut place, Seq(10)), Step::Send(_)));
        assert!(matches!(feed.step(&mut place, Seq(13)), Step::Read(Span { after: Seq(13), upto: Seq(15) })));
        assert!(matches!(feed.step(&mut place, Seq(15)), Step::Wait));
        feed.jump(Seq(40));
        assert!(matches!(feed.step(&mut place, Seq(15)), Step::Read(Span { after: Seq(15), upto: Seq(40) })));
    }

    #[test]
    fn frames_are_bounded_and_who_missed_some_is_told_so() {
        let feed = feed(0);
        let mut place = feed.enter(at(0));
        for n in 0..1000 {
            feed.push(frame(0, n, n + 1));
        }
        assert!(feed.read().frames.len() == FRAMES_MAX && feed.read().bytes < BYTES_MAX);
        assert!(matches!(feed.step(&mut place, Seq(0)), Step::Lost));
        let mut anew = feed.enter_anew();
        assert!(matches!(feed.step(&mut anew, Seq(0)), Step::Read(Span { after: Seq(0), upto: Seq(1000) })));
    }

    #[test]
    fn a_stream_that_opens_gets_fresh_frames_of_events_but_no_states_twice() {
        let feed = feed(0);
        feed.push(frame(1_000, 0, 1));
        feed.push(frame(9_000, 1, 2));
        feed.push(state(9_000));
        let mut place = feed.enter(at(10_000));
        assert!(matches!(feed.step(&mut place, Seq(0)), Step::Read(Span { after: Seq(0), upto: Seq(1) })));
        assert!(matches!(feed.step(&mut place, Seq(1)), Step::Send(_)));
        assert!(matches!(feed.step(&mut place, Seq(2)), Step::Wait));
        feed.push(state(10_000));
        assert!(matches!(feed.step(&mut place, Seq(2)), Step::Send(_)));
    }
}
