//! What the intake does while the store takes nothing, or takes a frame for a bad one: it waits, tells who asks, keeps what
//! came as letters, and finds the one frame at fault.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::Port;
use crate::domain::{Loss, Reason, Stage};
use crate::health::{Alarm, Ctx, Severity};
use crate::source::Input;
use crate::store::StoreError;

use super::take::{Answer, Frame};
use super::{BATCH_BUDGET, Feed, Intake, PATIENCE, STORAGE_ALARM, submit};

/// Frames that wait while the store takes nothing. Refused scans beyond it are counted, their bytes not kept.
pub(super) const WAITING_MAX: usize = 1024;

impl Intake {
    /// The store does not take the batch. Scanners that wait for a reply are told so; their frames become letters later.
    pub(super) async fn trouble(&mut self, error: &StoreError, tries: u32) {
        if tries == 1 {
            tracing::error!(source = %self.desk.source, %error, "the store takes nothing; intake waits");
        }
        self.node.board.raise(Alarm {
            name: STORAGE_ALARM.into(),
            severity: Severity::Fault,
            since_ms: self.node.keeper.clock().now().wall_ms,
            text: format!("New events cannot be stored: {error}."),
            advice: "Free space or replace the disk. What is shown stays true; scans are refused until it is mended."
                .into(),
            count: 1,
        });
        if tries >= patience(error) {
            self.refuse_waiting(0, reason_of(error)).await;
        }
    }

    /// Answers the frames that wait from a place on and want an answer, in their order; scans become letters.
    pub(super) async fn refuse_waiting(&mut self, from: usize, reason: Reason) {
        let mut told = Vec::new();
        for (frame, reply) in self.waiting.iter_mut().skip(from) {
            let why = match frame {
                Frame::Scan { .. } | Frame::Test { .. } => reason,
                Frame::Refused { loss, .. } => loss.reason,
                Frame::Sampled { reason, .. } => *reason,
                _ => continue,
            };
            let Some(reply) = reply.take() else { continue };
            if matches!(frame, Frame::Scan { .. } | Frame::Test { .. })
                && let Some(instead) = instead_of(frame, reason)
            {
                *frame = instead;
            }
            told.push((reply, why));
        }
        for (reply, why) in told {
            self.answer(Some(reply), Answer::Rejected(why)).await;
        }
        self.count_overflow(reason);
    }

    /// What waits beyond the bound is counted as refused, its bytes not kept; of lines on the port only their number is. Nobody
    /// waits for its answer any more.
    fn count_overflow(&mut self, why: Reason) {
        while self.waiting.len() > WAITING_MAX
            && let Some((frame, None)) = self.waiting.back()
        {
            if let Some((reason, is_frame)) = refused_as(frame, why) {
                *self.counted.entry((Some(reason), is_frame)).or_default() += 1;
            } else if matches!(frame, Frame::Port { .. }) {
                self.left_out += 1;
            } else {
                return;
            }
            self.due_us = self.due_us.or(Some(0));
            self.waiting.pop_back();
        }
    }

    /// Whether the source is read while the store takes nothing: its peers want to be told, or what is not read is lost in
    /// the kernel and counted by nobody. A peer behind TCP waits, and so does a file.
    pub(super) fn is_read_on(&self) -> bool {
        let (port, reply) = match &self.desk.feed {
            Feed::Gps(gps) => (&gps.port, false),
            Feed::Scanner(scanner) => (&scanner.port, scanner.reply),
        };
        reply || matches!(port, Port::Serial(_) | Port::Hid(_) | Port::UdpListen(_))
    }

    /// Waits until the next try, and lets nobody wait for an answer meanwhile.
    pub(super) async fn turn_away(&mut self, reason: Reason, until: Instant, rx: &mut mpsc::Receiver<Input>) {
        // What does not want an answer may pile up to here; then nothing is read, as at any other source.
        while self.waiting.len() < 2 * WAITING_MAX
            && let Ok(Some(input)) = timeout_at(until, rx.recv()).await
        {
            let from = self.waiting.len();
            self.hear(input);
            self.refuse_waiting(from, reason).await;
        }
        sleep_until(until).await;
    }

    /// A statement failed for a reason of its own: each frame is tried alone, and the one at fault becomes a letter.
    pub(super) async fn one_by_one(&mut self, ctx: &Ctx, n: usize) {
        for _ in 0..n {
            ctx.beat.working(BATCH_BUDGET);
            let Some((frame, _)) = self.waiting.front() else { return };
            let one = Arc::new(vec![frame.clone()]);
            match submit(self.node.store.clone(), Arc::clone(&self.desk), Arc::clone(&one)).await {
                Ok(taken) => self.taken(&one, taken).await,
                Err(error) if is_a_frames_fault(&error) => {
                    let Some((frame, reply)) = self.waiting.pop_front() else { return };
                    tracing::error!(source = %self.desk.source, %error, "a frame could not be stored and is set aside");
                    self.waiting.extend(instead_of(&frame, Reason::StorageError).map(|frame| (frame, None)));
                    self.answer(reply, Answer::Rejected(Reason::StorageError)).await;
                }
                Err(_) => return,
            }
        }
    }
}

/// How a frame is counted that is not kept; none for what happened at a port or to the node, of which there is little.
const fn refused_as(frame: &Frame, why: Reason) -> Option<(Reason, bool)> {
    match frame {
        Frame::Refused { loss, is_frame, .. } => Some((loss.reason, *is_frame)),
        Frame::Fix(_) | Frame::Scan { .. } | Frame::Test { .. } => Some((why, true)),
        _ => None,
    }
}

/// After how many tries who asks is told that the store does not take it. That there is no room, or that this process writes
/// nothing any more, is plain at once.
pub(super) const fn patience(error: &StoreError) -> u32 {
    let is_plain = error.is_final() || matches!(error, StoreError::Full { .. } | StoreError::Quota { .. });
    if is_plain { 1 } else { PATIENCE }
}

/// What scanners hear of a store that does not take their scans.
pub(super) const fn reason_of(error: &StoreError) -> Reason {
    if matches!(error, StoreError::Full { .. } | StoreError::Quota { .. }) {
        Reason::StorageFull
    } else {
        Reason::StorageError
    }
}

/// Whether the frames of a batch may be to blame, and not the disk, the file or the writer: those take the same frames
/// again when they are well.
pub(super) const fn is_a_frames_fault(error: &StoreError) -> bool {
    matches!(error, StoreError::Statement { .. })
}

/// What is stored instead of a frame that cannot be: a letter instead of a read, a count instead of a letter.
fn instead_of(frame: &Frame, reason: Reason) -> Option<Frame> {
    let letter = |bytes: &[u8], max, at, peer| {
        let mut loss = Loss::decoder(reason, bytes, max);
        loss.stage = Stage::Store;
        Some(Frame::Refused { loss, at, peer, is_frame: true })
    };
    match frame {
        Frame::Scan { scan, at, peer, .. } => letter(scan.code.as_bytes(), 4096, *at, peer.clone()),
        Frame::Test { read, at, peer, .. } => letter(read.code.text.as_bytes(), 4096, *at, peer.clone()),
        Frame::Fix(frame) => letter(format!("{:?}", frame.fix).as_bytes(), 256, frame.at, None),
        Frame::Refused { loss, is_frame, .. } => {
            Some(Frame::Sampled { reason: loss.reason, n: 1, is_frame: *is_frame })
        }
        _ => None,
    }
}
