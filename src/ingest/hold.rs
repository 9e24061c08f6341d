//! `assets.unknown = "hold"`: a scan of a code that nobody has named waits as a letter, with its time and its bytes.

use crate::config::Scanner;
use crate::domain::{Loss, Reason, Scan, Stage, Stamp, TimeQuality, UnixMs};
use crate::store::{Origin, Outcome, Result, Txn, Window};

use super::take::{Answer, Desk, begin_window};

/// Holds a scan: its frame ends as rejected, and until its window closes further reads are repeats of it.
pub(super) fn hold(
    txn: &mut Txn<'_>,
    desk: &Desk,
    scanner: &Scanner,
    scan: &Scan,
    at: Stamp,
    when: (UnixMs, TimeQuality),
    peer: Option<&str>,
) -> Result<Answer> {
    // The frame, not the code: the id of its symbology says how to read it again.
    let mut loss = Loss::decoder(Reason::UnknownTag, &scan.frame, crate::decoder::scan::EVIDENCE_MAX);
    loss.stage = Stage::Store;
    txn.frame(&desk.source, Outcome::Rejected(loss.reason));
    let origin = Origin { source: desk.source.clone(), peer: peer.map(str::to_owned), received: at };
    let letter = txn.hold(&loss, &origin, when, scan.same_as.as_ref().unwrap_or(&scan.key))?;
    let received = (txn.boot()?, at.mono_ms());
    let window = Window { key: scan.code.clone(), seq: crate::domain::Seq(0), received, letter: Some(letter) };
    begin_window(txn, desk, scanner, scan, &window)?;
    Ok(Answer::Rejected(Reason::UnknownTag))
}

/// Counts a repeat of a held scan onto its letter.
pub(super) fn again(txn: &mut Txn<'_>, desk: &Desk, letter: i64) -> Result<Answer> {
    txn.frame(&desk.source, Outcome::Repeat);
    // A letter that a person has dealt with within the window keeps the count it had: the read is a repeat all the same.
    txn.repeat_held(letter)?;
    Ok(Answer::Rejected(Reason::UnknownTag))
}
