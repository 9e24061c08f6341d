//! For the simulator of the way out: one read at a time through [`take`], without a worker or a port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use crate::config::Unknown;
use crate::domain::{EventId, Scan, ScanKind, Stamp, TimeQuality};
use crate::store::{Result, Txn};

use super::take::{Answer, Desk, Frame, take};
use super::tests::door;

/// A read that is nothing but its text.
pub(super) fn plain(code: &str) -> Scan {
    Scan {
        code: code.to_owned(),
        kind: ScanKind::Plain,
        key: format!("raw:{code}"),
        aim: None,
        gs1: BTreeMap::new(),
        warn: Vec::new(),
        same_as: None,
        frame: code.as_bytes().to_vec(),
    }
}

/// Takes a read of a scanner in, the `nth` of its connection, as the intake does; the event that the scanner is told.
pub(crate) fn scan(txn: &mut Txn<'_>, code: &str, at: Stamp, nth: u64, published: &Arc<AtomicI64>) -> Result<EventId> {
    let desk = Desk {
        source: "door-3".into(),
        node: "wp-t".into(),
        boot_id: "b".into(),
        feed: door(|_| ()),
        unknown: Unknown::Accept,
        published: Arc::clone(published),
        own_asset: "TRK-07".into(),
        carriers: Arc::new(BTreeMap::new()),
    };
    let when = (at.wall_ms, TimeQuality::Ntp);
    let frame = Frame::Scan { scan: Box::new(plain(code)), at, nth, when, peer: None };
    match take(txn, &desk, &[frame])?.answers[..] {
        [Answer::Ok(id) | Answer::Again(id)] => Ok(id),
        ref other => panic!("a read ends with an event: {other:?}"),
    }
}
