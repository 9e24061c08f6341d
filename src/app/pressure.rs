//! What a person is told as room ends or the disk fails: alarms with what happens, and what to do.

use crate::domain::UnixMs;
use crate::health::{Alarm, Board, Severity, alarms};
use crate::retention::room::{FAULT_PCT, TELL_PCT, Verdict, WARN_PCT};

/// Raised from 70 % of the room on.
const ROOM: &str = "room";
/// Raised while the disk takes nothing, whether or not somebody wants to write.
const READ_ONLY: &str = "disk_read_only";
/// Raised while the write-ahead log is too long.
const WAL: &str = "wal";

/// What the disk says, beside the verdict.
pub(super) struct Disk {
    pub(super) max_mib: u64,
    /// Whether intake is refused for want of room.
    pub(super) is_shut: bool,
    /// Whether that is because the disk was full.
    pub(super) is_tight: bool,
    /// The write-ahead log. Bytes
    pub(super) wal: u64,
    /// Why nothing can be written; none: it can.
    pub(super) probe: Option<String>,
    /// Why the high-water mark could not be written; none: it could, or was not to be.
    pub(super) mark: Option<String>,
    /// Why the reserve could not be laid; none: it is, or there is no room for it.
    pub(super) reserve: Option<String>,
}

/// Raises what stands and clears what is over.
pub(super) fn tell(board: &Board, now_ms: UnixMs, verdict: &Verdict, disk: &Disk) {
    let say = |name: &str, said: Option<(Severity, String, &str)>| match said {
        Some((severity, text, advice)) => {
            board.raise(Alarm { name: name.into(), severity, since_ms: now_ms, text, advice: advice.into(), count: 1 })
        }
        None => board.clear(name),
    };
    say(ROOM, room(verdict, disk));
    let read_only = disk.probe.as_ref().map(|error| {
        let text = format!("The disk of the store cannot be written: {error}. What is stored is shown; nothing new is.");
        (Severity::Fault, text, "A worn card turns read-only: see dmesg, replace it. Else mount it writable, or restart the machine. Intake goes on by itself.")
    });
    say(READ_ONLY, read_only);
    let wal = (disk.wal > verdict.wal_max).then(|| {
        let text =
            format!("The write-ahead log has grown to {} MiB: somebody reads the store for very long.", disk.wal >> 20);
        (
            Severity::Warn,
            text,
            "Looks of waypost itself are cut off. If it stays: find the other program (fuser waypost.db) and end it.",
        )
    });
    say(WAL, wal);
    // A disk that takes nothing, or has no room, has an alarm of its own.
    let is_sick = disk.probe.is_some() || disk.is_tight;
    let place = "Move away what stands in its place, or give the folder back to the service (chown waypost:); it is tried again each second.";
    let mark = disk.mark.as_ref().filter(|_| !is_sick).map(|error| {
        let text =
            format!("The high-water mark stands still: {error}. A store that comes back older would not be noticed.");
        (Severity::Warn, text, place)
    });
    say(alarms::HIGH_WATER_MARK, mark);
    let reserve = disk.reserve.as_ref().filter(|_| !is_sick).map(|error| {
        let text = format!(
            "The reserve for a full disk cannot be laid: {error}. On a full disk nothing could be cleared away."
        );
        (Severity::Warn, text, place)
    });
    say(alarms::RESERVE, reserve);
}

fn room(verdict: &Verdict, disk: &Disk) -> Option<(Severity, String, &'static str)> {
    let Verdict { used_pct, level, thin, .. } = verdict;
    let of = if verdict.room >> 20 < disk.max_mib / 2 {
        format!("The store has used {used_pct} % of the room that its disk leaves")
    } else {
        format!("The store has used {used_pct} % of its room (store.max_mib = {})", disk.max_mib)
    };
    let thinned =
        if thin.is_zero() { String::new() } else { format!(" Fixes are thinned to one in {} s.", thin.as_secs()) };
    if disk.is_shut {
        let why = if disk.is_tight { "The disk is full".into() } else { of };
        let text = format!("{why}: new events are refused (storage_full). What is stored stays and is sent.{thinned}");
        return Some((
            Severity::Fault,
            text,
            "Free space on the disk, raise store.max_mib, or bring the platform back; intake goes on by itself.",
        ));
    }
    let (severity, text, advice) = match *level {
        FAULT_PCT => (
            Severity::Fault,
            format!("{of}; most of it cannot go, for it is not sent.{thinned} Soon new events are refused."),
            "Bring the platform back, free space on the disk or raise store.max_mib.",
        ),
        WARN_PCT => (
            Severity::Warn,
            format!("{of}: the oldest archives and then events that were sent go before their days.{thinned}"),
            "Raise store.max_mib, free space on the disk, or lower store.archive_days. What is not sent stays.",
        ),
        TELL_PCT => (
            Severity::Info,
            format!("{of}. From {WARN_PCT} % on the oldest archives go."),
            "Nothing yet; if the platform is away, bring it back. More room: store.max_mib.",
        ),
        _ => return None,
    };
    Some((severity, text, advice))
}
