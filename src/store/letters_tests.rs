//! Every move of a letter from every stand: what it answers, where letter and event stand then, and that the counts are
//! those of the rows.

use super::*;
use crate::domain::{Action, JobState, LetterFilter};

const BY: Act<'static> = Act { who: "uid 7", what: "test", note: "" };
const HOUR_MS: i64 = 3_600_000;

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Open,
    /// Open, and its event is to be sent again.
    Waits,
    Retried,
    Discarded,
    /// Discarded more than 30 days ago.
    Old,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Do {
    Retry,
    Discard,
    Restore,
    Taken,
    Refused,
    UplinkOff,
}

/// Where a letter stands and its event is counted.
fn stands(txn: &Txn<'_>, letter: i64) -> (At, String) {
    let (state, resend, changed): (String, bool, Option<i64>) = txn
        .sql
        .query_row("select state, resend, changed_ms from letters where letter = ?1", [letter], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let old = changed.is_some_and(|at| txn.now.wall_ms - at > RESTORE_MS);
    let at = match (state.as_str(), resend) {
        ("open", false) => At::Open,
        ("open", true) => At::Waits,
        ("retried", _) => At::Retried,
        ("discarded", _) if old => At::Old,
        ("discarded", _) => At::Discarded,
        other => panic!("{other:?}"),
    };
    (at, state)
}

/// The counts as the rows tell them: open, retried, discarded letters; events that wait behind the cursor, dead, discarded.
fn recounted(txn: &Txn<'_>) -> [i64; 6] {
    let count = |what: &str| -> i64 {
        txn.sql.query_row(&format!("select count(*) from letters where {what}"), [], |row| row.get(0)).unwrap()
    };
    [
        count("state = 'open'"),
        count("state = 'retried'"),
        count("state = 'discarded'"),
        count("resend = 1"),
        count("stage = 'uplink' and state = 'open' and resend = 0"),
        count("stage = 'uplink' and state = 'discarded'"),
    ]
}

fn assert_counted(txn: &mut Txn<'_>, says: &str) {
    txn.write_counts().unwrap();
    let ledger = Ledger::read(txn.sql).unwrap();
    assert_eq!(ledger.imbalance(), 0, "{says}: {ledger:?}");
    let of = |map: &std::collections::BTreeMap<String, i64>, word: &str| map.get(word).copied().unwrap_or(0);
    let behind = txn.count_after(Lane::Scan).unwrap();
    let counted = [
        of(&ledger.letters, "open"),
        of(&ledger.letters, "retried"),
        of(&ledger.letters, "discarded"),
        of(&ledger.unsent, "scan") - behind,
        of(&ledger.events, "dead"),
        of(&ledger.events, "discarded"),
    ];
    assert_eq!(counted, recounted(txn), "{says}: ledger against rows");
}

/// Appends an event that the broker takes, and one that it refuses; answers the letter and the event.
fn dead(txn: &mut Txn<'_>) -> (i64, Seq) {
    for n in [1, 2] {
        take(txn, &draft(n, Kind::Scan)).unwrap();
    }
    let acked = Acknowledged { from: Seq(0), through: Seq(2), sent: 1, unheard: 0 };
    assert!(txn.acknowledge(Lane::Scan, &acked).unwrap());
    let mut loss = Loss::decoder(Reason::TooLarge, b"{}", 100);
    loss.stage = Stage::Uplink;
    txn.bury(Lane::Scan, Seq(2), &loss, "0x95").unwrap();
    (txn.newest_letter().unwrap(), Seq(2))
}

/// A scan that is held.
fn held(txn: &mut Txn<'_>) -> i64 {
    let mut loss = Loss::decoder(Reason::UnknownTag, b"TRL-7", 100);
    loss.stage = Stage::Store;
    txn.frame("door-3", Outcome::Rejected(loss.reason));
    let origin = Origin { source: "door-3".into(), ..Origin::default() };
    txn.hold(&loss, &origin, (5, TimeQuality::Ntp), "").unwrap()
}

fn bring(txn: &mut Txn<'_>, letter: i64, seq: Option<Seq>, at: At) {
    match at {
        At::Open => {}
        At::Waits => assert_eq!(txn.resend(letter, &BY).unwrap(), None),
        At::Retried if seq.is_some() => {
            assert_eq!(txn.resend(letter, &BY).unwrap(), None);
            txn.resent(Lane::Scan, seq.unwrap(), true).unwrap();
        }
        At::Retried => txn.retried(letter, &BY).unwrap(),
        At::Discarded => assert_eq!(txn.discard(letter, &BY).unwrap(), None),
        At::Old => {
            assert_eq!(txn.discard(letter, &BY).unwrap(), None);
            txn.now.wall_ms += RESTORE_MS + HOUR_MS;
        }
    }
}

fn act(txn: &mut Txn<'_>, letter: i64, seq: Option<Seq>, what: Do) -> Option<&'static str> {
    match what {
        Do::Retry if seq.is_some() => txn.resend(letter, &BY).unwrap(),
        Do::Retry => {
            txn.retried(letter, &BY).unwrap();
            None
        }
        Do::Discard => txn.discard(letter, &BY).unwrap(),
        Do::Restore => txn.restore(letter, &BY).unwrap(),
        Do::Taken => {
            txn.resent(Lane::Scan, seq.unwrap_or(Seq(9)), true).unwrap();
            None
        }
        Do::Refused => {
            txn.bury_again(Lane::Scan, seq.unwrap_or(Seq(9)), Reason::BadFormat, "0x99").unwrap();
            None
        }
        Do::UplinkOff => {
            txn.set_uplink(false, false).unwrap();
            None
        }
    }
}

#[tokio::test]
async fn every_action_on_every_stand_of_a_letter_leaves_the_counts_as_the_rows_are() {
    const STANDS: [At; 5] = [At::Open, At::Waits, At::Retried, At::Discarded, At::Old];
    const ACTIONS: [Do; 6] = [Do::Retry, Do::Discard, Do::Restore, Do::Taken, Do::Refused, Do::UplinkOff];
    let mut tried = 0;
    for of_event in [true, false] {
        for at in STANDS.into_iter().filter(|at| of_event || *at != At::Waits) {
            for what in ACTIONS {
                let bench = Bench::open(true, false);
                let says = format!("{what:?} of {} that stands {at:?}", if of_event { "an event" } else { "a scan" });
                let done = bench.store().submit(Group::Now, move |txn| {
                    let (letter, seq) = if of_event { (dead(txn).0, Some(Seq(2))) } else { (held(txn), None) };
                    bring(txn, letter, seq, at);
                    assert_counted(txn, &format!("before {says}"));
                    let why = act(txn, letter, seq, what);
                    assert_counted(txn, &says);
                    let (then, state) = stands(txn, letter);
                    let expect = match (at, what, of_event) {
                        (At::Open, Do::Retry, true) => At::Waits,
                        (At::Open, Do::Retry, false) | (At::Waits, Do::Taken, _) => At::Retried,
                        (At::Open, Do::Discard, _) => At::Discarded,
                        (At::Discarded, Do::Restore, _) | (At::Waits, Do::Refused | Do::UplinkOff, _) => At::Open,
                        (same, ..) => same,
                    };
                    assert_eq!(then, expect, "{says}: {why:?} {state}");
                    let moved_by_person = matches!(what, Do::Retry | Do::Discard | Do::Restore) && of_event;
                    if moved_by_person {
                        assert_eq!(why.is_none(), then != at, "{says}: {why:?}: what stays says why");
                    }
                    Ok(())
                });
                done.await.unwrap();
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 54);
}

#[tokio::test]
async fn a_letter_is_restored_within_thirty_days_and_not_after() {
    let bench = Bench::open(true, false);
    let answers = bench.store().submit(Group::Now, |txn| {
        let (letter, _) = dead(txn);
        assert_eq!(txn.discard(letter, &BY)?, None);
        txn.now.wall_ms += RESTORE_MS;
        assert_eq!(txn.restore(letter, &BY)?, None, "on the last day");
        assert_eq!(txn.discard(letter, &BY)?, None);
        txn.now.wall_ms += RESTORE_MS + 1;
        txn.restore(letter, &BY)
    });
    assert_eq!(answers.await.unwrap(), Some("it was discarded more than 30 days ago"));
    assert_eq!(bench.ledger().await.imbalance(), 0);
}

#[tokio::test]
async fn a_dead_event_waits_for_its_retry_over_restarts_and_not_without_an_uplink() {
    let bench = Bench::open(true, false);
    let letter = bench.store().submit(Group::Now, |txn| {
        let (letter, _) = dead(txn);
        txn.resend(letter, &BY)?;
        Ok(letter)
    });
    let letter = letter.await.unwrap();
    let bench = bench.reopen(true, false);
    assert_recounted(bench.store());
    let waiting = bench.store().read(|reader| reader.waiting(Lane::Scan, 10)).await.unwrap();
    assert_eq!(waiting.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [Seq(2)]);
    assert!(bench.store().read(|reader| reader.waiting(Lane::Fix, 10)).await.unwrap().rows.is_empty());
    let bench = bench.reopen(false, false);
    let ledger = bench.ledger().await;
    assert_eq!((ledger.imbalance(), ledger.events["unsent"], ledger.events["dead"]), (0, 0, 1));
    assert_recounted(bench.store());
    let why = bench.store().submit(Group::Now, move |txn| txn.resend(letter, &BY)).await.unwrap();
    assert_eq!(why, Some("this node has no uplink to send it by"));
}

#[tokio::test]
async fn a_filter_means_what_it_says_and_a_sheet_tells_what_is_near() {
    let bench = Bench::open(true, false);
    let parked = bench.store().submit(Group::Now, |txn| {
        for n in 0..30_i64 {
            let reason = if n % 3 == 0 { Reason::Noread } else { Reason::BadChecksum };
            let loss = Loss::decoder(reason, format!("read {n}").as_bytes(), 100);
            let source = if n % 2 == 0 { "door-3" } else { "gps0" };
            let received = Stamp { mono_us: n, wall_ms: n * HOUR_MS };
            txn.park(&loss, &Origin { source: source.into(), peer: None, received }, None, &format!("ai {n}"))?;
        }
        txn.sampled("gps0", Reason::BadChecksum, 7);
        Ok(())
    });
    parked.await.unwrap();
    let count = |filter: LetterFilter| {
        bench.store().read_here(move |reader| reader.find_letters(&filter, i64::MAX, 100)).unwrap().len()
    };
    let all = LetterFilter::default;
    for (filter, expect) in [
        (all(), 30),
        (LetterFilter::open(false), 10),
        (LetterFilter { reason: Some(Reason::Noread), ..all() }, 10),
        (LetterFilter { source: Some("gps0".into()), ..all() }, 15),
        (LetterFilter { stage: Some(Stage::Uplink), ..all() }, 0),
        (LetterFilter { from_ms: Some(10 * HOUR_MS), to_ms: Some(20 * HOUR_MS), ..all() }, 10),
        (LetterFilter { text: Some("ai 7".into()), ..all() }, 1),
        (LetterFilter { text: Some("read 7".into()), ..all() }, 0),
        (LetterFilter { text: Some("read 7".into()), in_bytes: true, ..all() }, 1),
    ] {
        let says = format!("{filter:?}");
        assert_eq!(count(filter), expect, "{says}");
    }
    let page = bench.store().read_here(|reader| reader.find_letters(&all(), 11, 5)).unwrap();
    assert_eq!(page.iter().map(|letter| letter.letter).collect::<Vec<_>>(), [10, 9, 8, 7, 6]);
    let sheet = bench.store().read_here(|reader| reader.letter(2)).unwrap().unwrap();
    assert_eq!((sheet.same_reason, sheet.same_source, sheet.around, sheet.sampled), (20, 10, 1, 7));
    let groups = bench.store().read_here(|reader| reader.letter_groups(30 * HOUR_MS, 24)).unwrap();
    let checksums = &groups[0];
    assert_eq!(
        (checksums.reason, checksums.open, checksums.count, checksums.sampled),
        (Reason::BadChecksum, 20, 16, 7)
    );
    assert_eq!((checksums.hours.len(), checksums.hours.iter().sum::<i64>()), (24, 16));
    assert_eq!(checksums.span_ms, Some((7 * HOUR_MS, 29 * HOUR_MS)));
    assert_eq!(bench.ledger().await.imbalance(), 0);
}

#[tokio::test]
async fn the_newest_thousand_jobs_keep_their_keys() {
    let bench = Bench::open(false, false);
    let begun = bench.store().submit(Group::Now, |txn| {
        for n in 0..1_100_u32 {
            let key = format!("k{n}");
            let task = Task {
                job: crate::domain::Job {
                    job: 0,
                    action: Action::Discard,
                    state: JobState::Done,
                    total: 0,
                    ok: 0,
                    failed: 0,
                    skipped: 0,
                    left: Vec::new(),
                    begun_ms: 0,
                    ended_ms: Some(0),
                },
                who: "uid 7".into(),
                which: "{}".into(),
                note: String::new(),
                upto: 0,
                through: 0,
            };
            txn.begin_job(&task, &Asked { key: Some(&key), digest: [0; 32] })?;
        }
        let known = |key: &str| Ok(txn.asked_before(&Asked { key: Some(key), digest: [0; 32] })?.map(|(_, same)| same));
        Ok((known("k99")?, known("k100")?, known("k1099")?))
    });
    assert_eq!(begun.await.unwrap(), (None, Some(true), Some(true)));
}
