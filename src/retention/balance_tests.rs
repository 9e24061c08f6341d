//! Whatever happens in whatever order, a recount of the rows comes to the ledger: frames, repeats, letters, retries, discards,
//! acknowledgements, passes, purges, restarts.

use super::purge::Purge;
use super::tests::{DAY_MS, Dice, Log, days, ledger};
use super::*;
use crate::domain::{EventId, Kind, Lane, Loss, Reason, Stage, TimeQuality};
use crate::store::{Acknowledged, Act, Append, Draft, Origin, Outcome, Result};

const ASSETS: [Option<&str>; 4] = [None, Some("raw:A"), Some("raw:B"), Some("raw:C")];
const REASONS: [Reason; 4] = [Reason::BadCheck, Reason::BadChecksum, Reason::Noread, Reason::UnknownTag];

fn pick(dice: &mut Dice, n: usize) -> usize {
    usize::try_from(dice.roll(i64::try_from(n).unwrap())).unwrap()
}

fn draft(dice: &mut Dice, log: &Log, next: &mut u32) -> Draft {
    // Now and then the same fact again.
    let n = if *next > 5 && dice.roll(6) == 0 { *next - 1 - u32::try_from(dice.roll(5)).unwrap() } else { *next };
    *next = (*next).max(n + 1);
    let mut id = [0; 16];
    id[12..].copy_from_slice(&n.to_be_bytes());
    let received = log.clock.now();
    let kind = Kind::ALL[pick(dice, 4)];
    let source = (kind != Kind::Place).then(|| ["gps0", "door-3"][pick(dice, 2)].to_owned());
    Draft {
        id: EventId(id),
        kind,
        ts_ms: received.wall_ms,
        tq: TimeQuality::Ntp,
        received,
        source,
        asset: ASSETS[pick(dice, 4)].map(str::to_owned),
        place: None,
        code: None,
        body: "{}".into(),
    }
}

fn take(txn: &mut Txn<'_>, draft: &Draft) -> Result<()> {
    let appended = txn.append(draft)?;
    if let Some(source) = &draft.source {
        txn.frame(source, if appended == Append::Duplicate { Outcome::Duplicate } else { Outcome::Stored });
    }
    Ok(())
}

/// What the platform says of the next events of a lane: most are sent, some go unheard, one may be dead.
async fn acknowledge(log: &Log, dice: &mut Dice) {
    let lane = Lane::ALL[pick(dice, 2)];
    let limit = 1 + pick(dice, 20);
    let look = move |reader: &Reader<'_>| {
        let from = reader.cursor(lane)?;
        Ok((from, reader.lane_after(lane, from, limit)?.rows))
    };
    let (from, rows) = log.store.read(look).await.unwrap();
    let Some(last) = rows.last().map(|row| row.seq) else { return };
    let dead = (dice.roll(3) == 0).then(|| rows[pick(dice, rows.len())].seq);
    let n = i64::try_from(rows.len()).unwrap() - i64::from(dead.is_some());
    let unheard = dice.roll(n + 1);
    let acked = Acknowledged { from, through: last, sent: n - unheard, unheard };
    let work = move |txn: &mut Txn<'_>| {
        if let Some(seq) = dead {
            let loss = Loss { stage: Stage::Uplink, ..Loss::decoder(Reason::TooLarge, b"payload", 256) };
            txn.bury(lane, seq, &loss, "")?;
        }
        assert!(txn.acknowledge(lane, &acked)?);
        Ok(())
    };
    log.store.submit(Group::Now, work).await.unwrap();
}

/// What people do with some open letter that is not of the uplink.
async fn decide(log: &Log, dice: &mut Dice, next: &mut u32) {
    let letters = log.store.read(|reader| reader.letters(true, 200)).await.unwrap();
    let letters: Vec<i64> = letters.iter().filter(|one| one.stage != "uplink").map(|one| one.letter).collect();
    if letters.is_empty() {
        return;
    }
    let letter = letters[pick(dice, letters.len())];
    let retried = dice.roll(2) == 0;
    let draft = Draft { source: Some("door-3".into()), kind: Kind::Scan, ..draft(dice, log, next) };
    let work = move |txn: &mut Txn<'_>| {
        let act = Act { who: "test", what: "decide", note: "note" };
        if retried {
            txn.append_retried(&draft, 1, 2)?;
            return txn.retried(letter, &act);
        }
        txn.discard(letter, &act).map(|_| ())
    };
    log.store.submit(Group::Now, work).await.unwrap();
}

async fn lose(log: &Log, dice: &mut Dice) {
    let (reason, n) = (REASONS[pick(dice, 4)], dice.roll(4));
    let origin = Origin { source: "door-3".into(), received: log.clock.now(), ..Origin::default() };
    let work = move |txn: &mut Txn<'_>| {
        txn.park(&Loss::decoder(reason, b"raw:A or so", 4096), &origin, None, "")?;
        txn.frame("door-3", Outcome::Rejected(reason));
        txn.sampled("door-3", reason, n);
        txn.frames("door-3", Outcome::Rejected(reason), n);
        txn.frames("gps0", Outcome::Thinned("parked"), n);
        txn.frame("gps0", Outcome::NoFix);
        Ok(())
    };
    log.store.submit(Group::Now, work).await.unwrap();
}

#[tokio::test]
async fn whatever_happens_a_recount_comes_to_the_ledger() {
    let seeds = if std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full") { 60 } else { 6 };
    for seed in 100..100 + seeds {
        let mut dice = Dice(seed);
        let (mut log, mut next, mut uplink) = (Log::open(true), 1, true);
        let mut purged = 0;
        for step in 0..120 {
            match dice.roll(12) {
                0..=3 => {
                    let drafts: Vec<Draft> =
                        (0..1 + dice.roll(12)).map(|_| draft(&mut dice, &log, &mut next)).collect();
                    let work = move |txn: &mut Txn<'_>| drafts.iter().try_for_each(|draft| take(txn, draft));
                    log.store.submit(Group::Now, work).await.unwrap();
                }
                4 | 5 if uplink => acknowledge(&log, &mut dice).await,
                6 => lose(&log, &mut dice).await,
                7 => decide(&log, &mut dice, &mut next).await,
                8 | 9 => {
                    let mut retention = log.retention(&days(5, u32::try_from(dice.roll(2) * 30).unwrap()));
                    log.pass_after(&mut retention, 1 + dice.roll(3)).await;
                }
                10 => {
                    let mut purge = Purge { unsent: dice.roll(2) == 0, ..Purge::default() };
                    match dice.roll(3) {
                        0 => purge.before_ms = Some(log.clock.now().wall_ms - 3 * DAY_MS),
                        n => purge.asset = ASSETS[usize::try_from(n).unwrap()].map(str::to_owned),
                    }
                    // Some are broken off.
                    for _ in 0..dice.roll(30) {
                        if purge.is_done() {
                            break;
                        }
                        let Ok(next) = purge.clone().step(&log.store, "test").await else { break };
                        purge = next;
                        ledger(&log.store).await;
                    }
                    purged += purge.events;
                }
                _ => {
                    uplink = dice.roll(4) > 0;
                    log.reopen(uplink);
                }
            }
            let now = ledger(&log.store).await;
            assert_eq!(now.imbalance(), 0, "seed {seed}, step {step}");
        }
        let now = ledger(&log.store).await;
        assert!(
            now.events["total"] > 100 && now.left.events.values().sum::<i64>() > 20 && purged > 0,
            "seed {seed}: {now:?}"
        );
    }
}
