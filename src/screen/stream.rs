//! `GET /api/v1/stream`: what is committed from a cursor on, for ever. A stream keeps a cursor and a place in the feed
//! and nothing else: no queue, no copy. It waits on the feed's wake only; hyper asks it for more when the socket took
//! what there was.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header::{CONNECTION, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use tracing::warn;

use crate::domain::{Cursor, Seq, UnixMs};
use crate::health::{StreamDrop, StreamOpen};

use super::answer::{Answer, Fault, text, typed};
use super::assets;
use super::conn::Conn;
use super::feed::{Frame, KINDS, Kinds, Place, Span, Step};
use super::front::Front;
use super::query::{Asked, cursor, cut};
use super::render;
use super::tail::{BEAT_MS, ITEMS_MAX};

/// More events than this after a cursor are not replayed.
const REPLAY_MAX: i64 = 5_000;
/// How long a browser waits before it connects again by itself. ms
const RETRY_MS: u32 = 2_000;
/// When to come back after a restart, and when there was no room. ms
const BACK_MS: (u32, u32) = (1_000, 15_000);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers `GET /api/v1/stream`. 400 for a cursor or a list of kinds that cannot be read, else always 200.
pub(super) async fn open(
    State(front): State<Arc<Front>>,
    Extension(conn): Extension<Arc<Conn>>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let (from, kinds) = wanted(&uri, &headers).inspect_err(|_| front.tally.stream_opens(StreamOpen::Bad))?;
    let Some(mut seat) = Seat::take(&front, &conn) else {
        front.tally.stream_opens(StreamOpen::Full);
        return Ok(farewell("full", BACK_MS.1));
    };
    // Registered before anything is read: what is committed meanwhile wakes the stream.
    let moved = front.feed.watch();
    let now = front.clock.now();
    let head = front.store.cursor_now();
    let oldest = match front.look(|reader| reader.oldest()).await {
        Ok(oldest) => oldest,
        Err(error) => {
            warn!(%error, "a stream cannot begin because the log cannot be read");
            seat.over = Some(StreamDrop::Error);
            return Ok(farewell("shutdown", BACK_MS.1));
        }
    };
    let begin = begin(from, head, oldest);
    front.tally.stream_opens(match (from, begin) {
        (_, Err(_)) => StreamOpen::Reset,
        (Some(_), Ok(_)) => StreamOpen::Replay,
        (None, Ok(_)) => StreamOpen::Head,
    });
    let start = begin.unwrap_or(head.seq);
    let mut hello = format!("retry: {RETRY_MS}\n{}", greeting(&front, now.wall_ms, start, head, oldest));
    if let Err(reason) = begin {
        hello.push_str(&format!("event: reset\ndata: {{\"reason\":\"{reason}\"}}\n\n"));
    }
    let (place, heard) = (front.feed.enter(now), front.feed.beats());
    let mut stream = Stream { front, conn, moved, kinds, place, seq: start, heard, out: VecDeque::new(), seat };
    stream.out.push_back(Bytes::from(hello));
    stream.tell_states();
    Ok(events(Body::from_stream(stream::unfold(stream, |mut stream| async move {
        let next = stream.next().await?;
        Some((Ok::<_, Infallible>(next), stream))
    }))))
}

/// The cursor and the kinds that are asked for.
fn wanted(uri: &Uri, headers: &HeaderMap) -> Result<(Option<Cursor>, Kinds), Fault> {
    let asked = Asked::any_of(uri)?;
    let last = match headers.get(LAST_EVENT_ID) {
        Some(value) => match value.to_str() {
            Ok(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            Err(_) => return Err(Fault::bad("Last-Event-ID is not text", "Send the id of the last event unchanged.")),
        },
        None => None,
    };
    // Both come when a browser reconnects by itself: the header is the newer one.
    let from = match last {
        Some(text) => Some(cursor(text)?),
        None => asked.cursor("after")?,
    };
    let kinds = match asked.text("items") {
        None => Kinds::ALL,
        Some(list) => Kinds::parse(list).ok_or_else(|| {
            Fault::bad(
                format!("items={:?} names a kind that is not sent", cut(list)),
                format!("Kinds: {}.", KINDS.join(", ")),
            )
        })?,
    };
    Ok((from, kinds))
}

/// Where a stream begins, or why not at its cursor.
fn begin(from: Option<Cursor>, head: Cursor, oldest: Seq) -> Result<Seq, &'static str> {
    match from {
        None => Ok(head.seq),
        Some(from) if from.epoch != head.epoch || from.seq > head.seq => Err("epoch"),
        Some(from) if from.seq.0.saturating_add(1) < oldest.0 => Err("too_old"),
        Some(from) if head.seq.0.saturating_sub(from.seq.0) > REPLAY_MAX => Err("too_many"),
        Some(from) => Ok(from.seq),
    }
}

#[derive(Serialize)]
struct Hello<'a> {
    t: UnixMs,
    node: &'a str,
    site: &'a str,
    name: &'a str,
    boot: i64,
    page: &'a str,
    version: &'a str,
    hb_ms: i64,
    /// What follows begins behind it.
    cursor: String,
    /// The newest event of this moment: who has it has caught up.
    head: String,
    oldest: String,
}

fn greeting(front: &Front, t: UnixMs, seq: Seq, head: Cursor, oldest: Seq) -> String {
    let hello = Hello {
        t,
        node: &front.node.id,
        site: &front.node.site,
        name: &front.node.name,
        boot: front.store.boot(),
        page: assets::page_hash(),
        version: env!("CARGO_PKG_VERSION"),
        hb_ms: BEAT_MS,
        cursor: Cursor { epoch: front.store.epoch(), seq }.to_string(),
        head: head.to_string(),
        oldest: front.oldest_cursor(oldest).to_string(),
    };
    format!("event: hello\ndata: {}\n\n", text(&hello))
}

fn bye(reason: &str, retry_ms: u32) -> String {
    format!("event: bye\ndata: {{\"reason\":\"{reason}\",\"retry_ms\":{retry_ms}}}\n\n")
}

/// A stream that only says goodbye: a status would make a browser give up for good.
fn farewell(reason: &str, retry_ms: u32) -> Response {
    let mut response = events(Body::from(format!("retry: {RETRY_MS}\n{}", bye(reason, retry_ms))));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn events(body: Body) -> Response {
    let mut response = typed(body, "text/event-stream");
    response.headers_mut().insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// An open stream.
struct Stream {
    front: Arc<Front>,
    conn: Arc<Conn>,
    moved: watch::Receiver<()>,
    kinds: Kinds,
    place: Place,
    /// The last event that was sent, or passed over.
    seq: Seq,
    /// The last heartbeat that was sent.
    heard: u64,
    /// What goes out before anything else: the greeting and the states.
    out: VecDeque<Bytes>,
    seat: Seat,
}

impl Stream {
    /// The next bytes; none when it is over. Waits for the feed's wake, and for the store while it replays.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                return Some(bytes);
            }
            if self.seat.over.is_some() {
                return None;
            }
            if self.conn.stop.is_cancelled() {
                return Some(self.end(StreamDrop::Stop));
            }
            // Marked as seen before the feed is looked at: a frame that comes in between wakes us again.
            self.moved.borrow_and_update();
            if self.front.feed.beats() != self.heard {
                let (number, beat) = self.front.feed.heartbeat();
                self.heard = number;
                return Some(beat);
            }
            match self.front.feed.step(&mut self.place, self.seq) {
                Step::Send(frame) => {
                    self.seq = frame.span.map_or(self.seq, |span| span.upto);
                    if let Some(bytes) = frame.bytes(self.kinds) {
                        return Some(bytes);
                    }
                }
                Step::Read(span) => match self.read(span).await {
                    Ok(Some(bytes)) => return Some(bytes),
                    Ok(None) => {}
                    Err(bye) => return Some(bye),
                },
                Step::Lost => {
                    self.place = self.front.feed.enter_anew();
                    self.tell_states();
                }
                // The feed outlives its streams; were it gone, the stream could only end.
                Step::Wait => self.moved.changed().await.ok()?,
            }
        }
    }

    /// Reads what the feed does not hold.
    async fn read(&mut self, span: Span) -> Result<Option<Bytes>, Bytes> {
        let (board, at, own) = (self.front.board.clone(), self.front.clock.now(), self.front.store.cursor_now());
        match self.front.look(move |reader| render::page(reader, &board, span, at, own)).await {
            Ok(page) => {
                self.seq = page.seen;
                Ok(page.frame.and_then(|frame| frame.bytes(self.kinds)))
            }
            Err(error) => {
                warn!(%error, "a stream ends because the log cannot be read; it goes on from its cursor");
                Err(self.end(StreamDrop::Error))
            }
        }
    }

    /// Puts every state that stands in front of what follows.
    fn tell_states(&mut self) {
        let at = self.front.clock.now();
        for some in render::standing(&self.front).chunks(ITEMS_MAX) {
            self.out.extend(Frame::new(at, None, None, some).bytes(self.kinds));
        }
    }

    /// The last word of a stream.
    fn end(&mut self, why: StreamDrop) -> Bytes {
        self.seat.over = Some(why);
        Bytes::from(bye("shutdown", BACK_MS.0))
    }
}

/// One of `http.max_streams`, given back and counted when the stream is dropped.
struct Seat {
    front: Arc<Front>,
    conn: Arc<Conn>,
    over: Option<StreamDrop>,
}

impl Seat {
    /// A seat, unless all are taken.
    fn take(front: &Arc<Front>, conn: &Arc<Conn>) -> Option<Self> {
        let taken = front.feed.open.send_if_modified(|open| {
            let free = *open < front.http.max_streams;
            *open += usize::from(free);
            free
        });
        taken.then(|| Self { front: Arc::clone(front), conn: Arc::clone(conn), over: None })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.front.feed.open.send_modify(|open| *open = open.saturating_sub(1));
        let why = if self.conn.is_slow() { StreamDrop::Slow } else { self.over.unwrap_or(StreamDrop::Gone) };
        self.front.tally.stream_dropped(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Epoch;

    fn at(epoch: u64, seq: i64) -> Cursor {
        Cursor { epoch: Epoch(epoch), seq: Seq(seq) }
    }

    #[test]
    fn a_cursor_is_followed_only_where_every_event_after_it_can_be_sent() {
        let head = at(1, 10_000);
        for (from, oldest, expect) in [
            (None, 1, Ok(Seq(10_000))),
            (Some(at(1, 9_000)), 9_001, Ok(Seq(9_000))),
            (Some(at(1, 9_000)), 9_002, Err("too_old")),
            (Some(at(2, 9_000)), 1, Err("epoch")),
            (Some(at(1, 10_001)), 1, Err("epoch")),
            (Some(at(1, 5_000)), 1, Ok(Seq(5_000))),
            (Some(at(1, 4_999)), 1, Err("too_many")),
        ] {
            assert_eq!(begin(from, head, Seq(oldest)), expect, "{from:?} {oldest}");
        }
    }
}
