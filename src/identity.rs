//! Which bytes make a fact the same fact: the deterministic event ids.
//!
//! Recipe 1: `id = be32(seconds) ‖ be16(their milliseconds) ‖ first 80 bits of BLAKE3(fields joined by 0x00)`. The hash
//! carries uniqueness, the time only keeps new ids together in the index. A recipe never changes: a new one gets a new number
//! in front of its fields.
//! **Invariant:** the id of a fix never depends on when or in which chunks it was received.

use crate::domain::{Change, EventId, Fix, Stamp, UnixMs};

/// The id of a fix: node, source, day and time of day as sent, and the position of the epoch's first position sentence.
///
/// A receiver that sends no date gets the day that was decided for it, marked `~`.
#[must_use]
pub fn fix(node: &str, source: &str, fix: &Fix) -> EventId {
    let day =
        if fix.day_sent.is_empty() { format!("~{}", fix.time_ms.div_euclid(86_400_000)) } else { fix.day_sent.clone() };
    let (tod, lat, lon) = (fix.tod_sent_ms.to_string(), fix.first_e7.0.to_string(), fix.first_e7.1.to_string());
    mint(sent_ms(fix), &["1", "fix", node, source, &day, &tod, &lat, &lon])
}

/// The seconds of a fix's id: from the digits as sent, so that a better rule for wrong dates never moves an id.
#[must_use]
pub fn sent_seconds(fix: &Fix) -> u32 {
    clamp(sent_ms(fix).div_euclid(1000))
}

/// The same in milliseconds, before they are cut to what an id holds.
fn sent_ms(fix: &Fix) -> UnixMs {
    match fix.sent_day() {
        Some(day) => day * 86_400_000 + fix.tod_sent_ms,
        None => fix.time_ms - fix.time_ms.rem_euclid(1000) + fix.tod_sent_ms.rem_euclid(1000),
    }
}

/// The id of a scan, minted once at its acceptance: where and when it was read, and the how-manieth of that read it is.
#[must_use]
pub fn scan(node: &str, source: &str, boot_id: &str, at: Stamp, nth: u64, ts_ms: UnixMs, code: &str) -> EventId {
    let (mono, nth) = (at.mono_us.to_string(), nth.to_string());
    mint(ts_ms, &["1", "scan", node, source, boot_id, &mono, &nth, code])
}

/// The id of a change of place: what caused it, the asset, what changed and where.
#[must_use]
pub fn place(because: EventId, asset: &str, change: Change, place: &str, since_ms: UnixMs) -> EventId {
    mint(since_ms, &["1", "place", &because.to_string(), asset, change.as_str(), place])
}

/// The id of a change of place that a person made: the node, its boot, the instant, the asset, what changed and where.
#[must_use]
pub fn place_by_hand(
    node: &str,
    boot_id: &str,
    at: Stamp,
    ts_ms: UnixMs,
    asset: &str,
    change: Change,
    place: &str,
) -> EventId {
    let mono = at.mono_us.to_string();
    mint(ts_ms, &["1", "place", "operator", node, boot_id, &mono, asset, change.as_str(), place])
}

/// The id of a scan that was a letter: node and source, the number of the boot and the `CLOCK_BOOTTIME` ms of its receipt,
/// and the letter. `received_ms` is the wall clock of its receipt. Each try of a letter gives the same.
#[must_use]
pub fn retried(node: &str, source: &str, boot: i64, mono_ms: i64, letter: i64, received_ms: UnixMs) -> EventId {
    let numbers = [boot, mono_ms, letter].map(|n| n.to_string());
    mint(received_ms, &["1", "retried", node, source, &numbers[0], &numbers[1], &numbers[2]])
}

/// The id of a note: the node, its boot, the instant and the note's name.
#[must_use]
pub fn note(node: &str, boot_id: &str, at: Stamp, name: &str, ts_ms: UnixMs) -> EventId {
    mint(ts_ms, &["1", "note", node, boot_id, &at.mono_us.to_string(), name])
}

fn clamp(seconds: i64) -> u32 {
    u32::try_from(seconds.clamp(0, i64::from(u32::MAX))).unwrap_or(0)
}

fn mint(at_ms: UnixMs, fields: &[&str]) -> EventId {
    let mut hasher = blake3::Hasher::new();
    for (n, field) in fields.iter().enumerate() {
        if n > 0 {
            hasher.update(&[0]);
        }
        hasher.update(field.as_bytes());
    }
    let mut id = [0; 16];
    let millis = u16::try_from(at_ms.rem_euclid(1000)).unwrap_or(0);
    id[..4].copy_from_slice(&clamp(at_ms.div_euclid(1000)).to_be_bytes());
    id[4..6].copy_from_slice(&millis.to_be_bytes());
    id[6..].copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    EventId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_fix() -> Fix {
        Fix {
            time_ms: 1_795_169_472_000,
            has_date: true,
            day_sent: "201126".into(),
            tod_sent_ms: 36_672_000,
            first_e7: (591_246_817, 113_875_214),
            lat_deg: 59.124_681_7,
            lon_deg: 11.387_521_4,
            alt_m: None,
            speed_mps: None,
            course_deg: None,
            mode: None,
            satellites: None,
            hdop: None,
            quality: None,
            doubt: Vec::new(),
        }
    }

    #[test]
    fn the_golden_vectors_of_recipe_1_never_change() {
        assert_eq!(fix("wp-07", "gps0", &a_fix()).to_string(), GOLDEN_FIX);
        let at = Stamp { mono_us: 812_345_678, wall_ms: 1_795_169_472_041 };
        assert_eq!(scan("wp-07", "door-3", "b00t", at, 0, at.wall_ms, "TRL-7").to_string(), GOLDEN_SCAN);
        let because = fix("wp-07", "gps0", &a_fix());
        assert_eq!(place(because, "TRK-07", Change::Enter, "dock-3", 1_795_169_472_000).to_string(), GOLDEN_PLACE);
        assert_eq!(note("wp-07", "b00t", at, "clock_stepped", at.wall_ms).to_string(), GOLDEN_NOTE);
        let by_hand = place_by_hand("wp-07", "b00t", at, at.wall_ms, "TRL-7", Change::Exit, "dock-3");
        assert_eq!(by_hand.to_string(), GOLDEN_BY_HAND);
        assert_eq!(retried("wp-07", "door-3", 17, 812_345, 4, at.wall_ms).to_string(), GOLDEN_RETRIED);
    }

    const GOLDEN_FIX: &str = "6b001cc00000b5e45e1877905282152b";
    const GOLDEN_SCAN: &str = "6b001cc00029437d335646a76c60b533";
    const GOLDEN_PLACE: &str = "6b001cc0000084c7c81bcab5484d5ab4";
    const GOLDEN_BY_HAND: &str = "6b001cc00029edc6bc6b76944209a8a8";
    const GOLDEN_RETRIED: &str = "6b001cc000291bd9efacc8b0e631167f";
    const GOLDEN_NOTE: &str = "6b001cc00029a74371f6547b12b11d6f";

    #[test]
    fn a_fix_with_a_repaired_date_or_another_speed_keeps_its_id() {
        let repaired = Fix { time_ms: 0, speed_mps: Some(3.0), ..a_fix() };
        assert_eq!(fix("n", "s", &repaired), fix("n", "s", &a_fix()));
    }

    #[test]
    fn the_same_second_at_another_place_or_source_is_another_fix() {
        let elsewhere = Fix { first_e7: (591_246_818, 113_875_214), ..a_fix() };
        assert_ne!(fix("n", "s", &elsewhere), fix("n", "s", &a_fix()));
        assert_ne!(fix("n", "t", &a_fix()), fix("n", "s", &a_fix()));
        assert_ne!(fix("n", "s", &a_fix()), fix("ns", "", &a_fix()));
    }

    #[test]
    fn a_fix_without_a_date_is_another_one_each_day() {
        let dateless = |time_ms| Fix { day_sent: String::new(), time_ms, ..a_fix() };
        assert_ne!(fix("n", "s", &dateless(0)), fix("n", "s", &dateless(86_400_000)));
        assert_eq!(fix("n", "s", &dateless(36_672_000)), fix("n", "s", &dateless(36_672_500)));
    }

    #[test]
    fn ids_of_later_milliseconds_sort_later() {
        let at = Stamp::default();
        for ms in 999_900..1_000_100 {
            assert!(scan("n", "s", "b", at, 0, ms, "x") < scan("n", "s", "b", at, 0, ms + 1, "x"), "{ms}");
        }
        assert_eq!(sent_seconds(&a_fix()), 1_795_169_472 - 1_795_169_472 % 86_400 + 36_672);
    }
}
