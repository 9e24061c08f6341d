//! Many letters at once: stopped half way, asked twice, broken off, counted.

use super::tests::Bench;
use super::*;
use crate::config::Unknown;
use crate::domain::{
    Action, Bulk, Carried, Done, Job, JobState, LetterFilter, Loss, Order, Reason, Refused, Stage, Stamp, TimeQuality,
    Which, Why,
};
use crate::ingest::orders::{self, Asked, Clerk};
use crate::store::Origin;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(super) fn clerk_of(bench: &Bench) -> Clerk {
    let node = &bench.node;
    Clerk {
        node: node.id.clone(),
        boot_id: node.boot_id.clone(),
        unknown: Unknown::Hold,
        scanners: Vec::new(),
        carriers: Arc::clone(&node.carriers),
        ground: Ground::default(),
        plan_file: None,
        store: node.store.clone(),
        board: node.board.clone(),
        keeper: node.keeper.clone(),
    }
}

/// Holds scans of nobody's codes.
async fn hold(bench: &Bench, n: usize) {
    let held = bench.node.store.submit(Group::Now, move |txn| {
        for at in 0..n {
            let mut loss = Loss::decoder(Reason::UnknownTag, format!("TRL-{at}").as_bytes(), 4096);
            loss.stage = Stage::Store;
            txn.frame("door-3", crate::store::Outcome::Rejected(loss.reason));
            let received = Stamp { mono_us: 1_000, wall_ms: 5 };
            let origin = Origin { source: "door-3".into(), peer: None, received };
            txn.hold(&loss, &origin, (5, TimeQuality::None), "")?;
        }
        Ok(())
    });
    held.await.unwrap();
}

fn discard_all(expect: usize, key: Option<&str>) -> Bulk {
    let filter = LetterFilter { reason: Some(Reason::UnknownTag), ..LetterFilter::default() };
    Bulk {
        action: Action::Discard,
        which: Which::All(filter),
        expect: Some(expect),
        note: "a visitor".into(),
        key: key.map(str::to_owned),
    }
}

async fn ask(clerk: &Clerk, order: Order) -> Result<Job, Refused> {
    match clerk.carry_out(order, "uid 7").await? {
        Carried { done: Done::Letters(job), .. } => Ok(job),
        other => panic!("{other:?}"),
    }
}

async fn letters(bench: &Bench) -> [i64; 3] {
    let ledger = bench.ledger().await;
    assert_eq!(ledger.imbalance(), 0, "{ledger:?}");
    ["open", "discarded", "retried"].map(|word| ledger.letters.get(word).copied().unwrap_or(0))
}

/// Who did what how often, by the audit.
fn audit(bench: &Bench) -> Vec<(String, String, i64)> {
    let sql = rusqlite::Connection::open(bench.node.store.path()).unwrap();
    let mut rows = sql.prepare("select who, what, count(*) from audit group by who, what order by min(entry)").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_job_over_five_thousand_letters_is_stopped_half_way_and_what_is_done_stays() {
    let bench = Bench::new();
    hold(&bench, 5_000).await;
    let clerk = clerk_of(&bench);
    let job = ask(&clerk, Order::Letters(discard_all(5_000, None))).await.unwrap();
    assert_eq!((job.state, job.total, job.done()), (JobState::Running, 5_000, 0));
    for slice in 1..=25_i64 {
        let now = clerk.step(job.job).await.unwrap().unwrap();
        assert_eq!((now.done(), now.ok), (slice * 100, slice * 100));
        assert_eq!(letters(&bench).await, [5_000 - slice * 100, slice * 100, 0], "counted with each slice");
    }
    let stopped = ask(&clerk, Order::Stop(job.job)).await.unwrap();
    assert_eq!((stopped.state, stopped.done()), (JobState::Stopped, 2_500));
    assert!(stopped.ended_ms.is_some());
    let after = clerk.step(job.job).await.unwrap().unwrap();
    assert_eq!(after, stopped, "a stopped job does no more");
    assert_eq!(letters(&bench).await, [2_500, 2_500, 0]);
    let by = |what: &str, n: i64| ("uid 7".to_owned(), what.to_owned(), n);
    assert_eq!(audit(&bench), [by("discard", 25), by("stop", 1)]);
    let unknown = ask(&clerk, Order::Stop(99)).await.unwrap_err();
    assert_eq!(unknown.why, Why::NotFound);
    let State::Job(shown) = bench.node.board.get("job", "").unwrap() else { panic!("a job is shown") };
    assert_eq!(shown, stopped);
}

#[tokio::test]
async fn the_same_key_asks_once_and_another_request_under_it_is_refused() {
    let bench = Bench::new();
    hold(&bench, 150).await;
    let clerk = clerk_of(&bench);
    let first = ask(&clerk, Order::Letters(discard_all(150, Some("k1")))).await.unwrap();
    clerk.step(first.job).await.unwrap();
    // The count has changed meanwhile: what was asked has not.
    let again = ask(&clerk, Order::Letters(discard_all(150, Some("k1")))).await.unwrap();
    assert_eq!((again.job, again.done()), (first.job, 100));
    let other = ask(&clerk, Order::Letters(discard_all(50, Some("k1")))).await.unwrap_err();
    assert_eq!(other.why, Why::Conflict);
    clerk.step(first.job).await.unwrap();
    drop(clerk);
    let bench = bench.reopen();
    let clerk = clerk_of(&bench);
    let after = ask(&clerk, Order::Letters(discard_all(150, Some("k1")))).await.unwrap();
    assert_eq!((after.job, after.state, after.ok), (first.job, JobState::Done, 150), "known after a restart too");
    assert_eq!(letters(&bench).await, [0, 150, 0]);
    for key in ["", &"k".repeat(129), "ä"] {
        let refused = ask(&clerk, Order::Letters(discard_all(0, Some(key)))).await.unwrap_err();
        assert_eq!(refused.why, Why::Invalid, "{key}");
    }
}

#[tokio::test]
async fn a_count_that_is_not_the_expected_one_is_refused_with_the_one_of_now() {
    let bench = Bench::new();
    hold(&bench, 7).await;
    let clerk = clerk_of(&bench);
    let refused = ask(&clerk, Order::Letters(discard_all(5, Some("k")))).await.unwrap_err();
    assert_eq!((refused.why, refused.now), (Why::CountChanged, Some(7)));
    assert_eq!(letters(&bench).await, [7, 0, 0]);
    assert!(audit(&bench).is_empty(), "what was refused is no act");
    // The key has asked for nothing: it is free.
    let job = ask(&clerk, Order::Letters(discard_all(7, Some("k")))).await.unwrap();
    // What comes while it runs is not meant.
    hold(&bench, 3).await;
    let done = clerk.step(job.job).await.unwrap().unwrap();
    assert_eq!((done.state, done.ok), (JobState::Done, 7));
    assert_eq!(letters(&bench).await, [3, 7, 0]);
}

#[tokio::test]
async fn what_a_job_cannot_do_is_told_letter_by_letter_and_restored_letters_open_again() {
    let bench = Bench::new();
    hold(&bench, 3).await;
    let clerk = clerk_of(&bench);
    let of = |action, ids: &[i64]| {
        let which = Which::Numbers(ids.to_vec());
        Order::Letters(Bulk { action, which, expect: None, note: String::new(), key: None })
    };
    for (action, ids, ok, left) in [
        (Action::Discard, &[2, 1, 2][..], 2, vec![]),
        (Action::Discard, &[1, 3, 9], 1, vec![(1, "it is no longer open"), (9, "there is no such letter")]),
        (Action::Restore, &[1, 2, 3], 3, vec![]),
        (Action::Restore, &[2], 0, vec![(2, "it was not discarded")]),
        (Action::Retry, &[1], 0, vec![(1, "its source is no scanner of this configuration")]),
    ] {
        let job = ask(&clerk, of(action, ids)).await.unwrap();
        let done = clerk.step(job.job).await.unwrap().unwrap();
        let told: Vec<(i64, &str)> = done.left.iter().map(|(letter, why)| (*letter, why.as_str())).collect();
        assert_eq!((done.state, done.ok, told), (JobState::Done, ok, left), "{action:?} {ids:?}");
    }
    assert_eq!(letters(&bench).await, [3, 0, 0]);
    let sheet = bench.node.store.read(|reader| reader.letter(1)).await.unwrap().unwrap();
    let steps: Vec<&str> = sheet.steps.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(steps, ["discard", "restore"]);
}

#[tokio::test]
async fn a_job_that_a_restart_broke_off_goes_on_by_itself() {
    let bench = Bench::new();
    hold(&bench, 350).await;
    let first = clerk_of(&bench);
    let job = ask(&first, Order::Letters(discard_all(350, None))).await.unwrap();
    first.step(job.job).await.unwrap();
    drop(first);
    let bench = bench.reopen();
    let (tx, rx) = mpsc::channel::<Asked>(1);
    let worker = orders::worker(clerk_of(&bench), rx);
    let crate::health::Body::Task(run) = worker.body else { panic!("a task") };
    let ctx = Ctx { beat: crate::health::Beat::new("desk", bench.clock.clone()), stop: CancellationToken::new() };
    let stop = ctx.stop.clone();
    let mut work = tokio::task::JoinSet::new();
    work.spawn(run(ctx));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while letters(&bench).await != [0, 350, 0] {
        assert!(std::time::Instant::now() < deadline, "the job goes on");
        // The desk is there for others meanwhile.
        let (reply, answer) = oneshot::channel();
        tx.send((Order::Delete("TRL-1".into()), "uid 7".into(), reply)).await.unwrap();
        assert_eq!(answer.await.unwrap().unwrap_err().why, Why::NotFound);
    }
    let done = bench.node.store.read(move |reader| reader.job(job.job)).await.unwrap().unwrap();
    assert_eq!((done.ok, done.total), (350, 350));
    stop.cancel();
    work.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_number_that_no_letter_can_have_is_refused_and_not_passed_over_as_done() {
    let bench = Bench::new();
    hold(&bench, 1).await;
    let clerk = clerk_of(&bench);
    for none in [0, -1, i64::MIN] {
        let which = Which::Numbers(vec![1, none]);
        let bulk = Bulk { action: Action::Discard, which, expect: None, note: String::new(), key: None };
        let refused = ask(&clerk, Order::Letters(bulk)).await.unwrap_err();
        assert_eq!((refused.why, refused.message), (Why::Invalid, format!("there is no letter {none}")));
    }
    assert_eq!(letters(&bench).await, [1, 0, 0]);
}
