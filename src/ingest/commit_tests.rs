//! A commit, on a real store: what waits for it, what comes meanwhile, and what a store that takes nothing means for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::tests::*;
use super::*;
use crate::domain::Kind;
use crate::health::Beat;
use crate::source::Conn;

/// How long a test waits for what must come, also on a loaded machine.
const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_waits_for_its_commit_outlives_a_restart_of_the_worker() {
    let mut bench = Bench::new();
    bench.node.fix_group = Duration::from_secs(3600);
    let (tx, rx) = mpsc::channel(4);
    let light = Light::new(bench.node.board.clone(), bench.clock.clone(), "gps0", "gps", "test");
    let worker = worker(bench.node.clone(), gps(), light, bench.ring(), rx);
    let crate::health::Body::Task(run) = worker.body else { panic!("a task") };
    let ctx = || Ctx { beat: Beat::new("ingest", bench.clock.clone()), stop: CancellationToken::new() };
    tx.send(bench.bytes(&drive(0..9))).await.unwrap();
    let mut first = Box::pin(run(ctx()));
    while tx.capacity() < tx.max_capacity() {
        assert!(futures_util::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    drop(first);
    assert!(bench.rows().await.is_empty(), "nothing was due yet");
    // The source says nothing more, and lives on.
    let mut second = Box::pin(run(ctx()));
    let mut head = bench.node.store.head();
    tokio::select! {
        _ = &mut second => panic!("the source lives on"),
        grown = timeout(PATIENT, head.changed()) => grown.expect("a commit without a new input").unwrap(),
    }
    assert_eq!(bench.rows().await.len(), 8, "all but the epoch that has no end yet");
    drop(tx);
    second.await.unwrap();
    assert_eq!(bench.rows().await.len(), 9);
    assert_eq!(bench.ledger().await.imbalance(), 0);
}

#[tokio::test]
async fn a_refused_read_whose_bytes_are_not_kept_is_answered_in_its_turn() {
    let bench = Bench::new();
    let (tx, mut replies) = mpsc::channel(64);
    let opened = Input::Opened { conn: Conn(1), peer: None, reply: Some(tx), at: bench.clock.now() };
    let bytes = [b"NOREAD\r".repeat(30), b"TRL-7\r".to_vec()].concat();
    bench.take(door(|s| s.reply = true), vec![opened, bench.bytes(&bytes)]).await;
    let mut lines = Vec::new();
    replies.recv_many(&mut lines, 64).await;
    assert_eq!(lines.len(), 31);
    assert!(lines[..30].iter().all(|line| line == "rejected noread"), "{lines:?}");
    assert!(lines[30].starts_with("ok "), "{lines:?}");
    let ledger = bench.ledger().await;
    assert_eq!((ledger.letters["open"], ledger.letters["sampled"], ledger.imbalance()), (10, 20, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_its_replies_lying_gets_no_later_one_in_the_place_of_an_earlier_one() {
    let bench = Bench::new();
    let (tx, mut replies) = mpsc::channel(2);
    let opened = Input::Opened { conn: Conn(1), peer: None, reply: Some(tx), at: bench.clock.now() };
    bench.take(door(|s| s.reply = true), vec![opened, bench.bytes(b"A-1\rB-2\rC-3\rD-4\r")]).await;
    let scans: Vec<_> = bench.rows().await.into_iter().filter(|row| row.kind == Kind::Scan).collect();
    assert_eq!(scans.len(), 4, "what was read is stored all the same");
    for scan in &scans[..2] {
        assert_eq!(replies.recv().await, Some(format!("ok {}", scan.id)));
    }
    assert_eq!(replies.recv().await, None);
}

#[tokio::test]
async fn a_frame_that_no_statement_takes_is_a_letter_then_a_count_and_harms_nobody_else() {
    for (letters_fail, open, sampled) in [(false, 1, 0), (true, 0, 1)] {
        let bench = Bench::new();
        let sql = rusqlite::Connection::open(bench.dir.path().join("waypost.db")).unwrap();
        let refuse = |table: &str, when: &str| {
            let text = format!(
                "create trigger {table}_t before insert on {table} when {when}
                begin select raise(abort, 'on purpose'); end"
            );
            sql.execute_batch(&text).unwrap();
        };
        refuse("outbox", "new.code = 'B-2'");
        if letters_fail {
            refuse("letters", "new.reason = 'storage_error'");
        }
        bench.take(door(|_| ()), vec![bench.bytes(b"A-1\rB-2\rC-3\r")]).await;
        let codes: Vec<_> = bench.rows().await.into_iter().filter_map(|row| row.code).collect();
        assert_eq!(codes, ["A-1", "C-3"]);
        let ledger = bench.ledger().await;
        assert_eq!((ledger.sources["door-3"].frames, ledger.sources["door-3"].reasons["storage_error"]), (3, 1));
        let count = |state: &str| ledger.letters.get(state).copied().unwrap_or(0);
        assert_eq!((count("open"), count("sampled"), ledger.imbalance()), (open, sampled, 0));
        assert!(bench.node.board.get("alarm", "storage").is_none(), "it is over");
    }
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_stored_once_and_repeats_nothing() {
    let bench = Bench::new();
    let Feed::Scanner(scanner) = door(|_| ()) else { panic!("a scanner") };
    let desk = Arc::new(Desk {
        source: "door-3".into(),
        node: "wp-07".into(),
        boot_id: "b00t".into(),
        feed: Feed::Scanner(scanner),
        unknown: Unknown::Accept,
        published: Arc::default(),
        own_asset: "TRK-07".into(),
        carriers: Arc::default(),
    });
    let light = Light::new(bench.node.board.clone(), bench.clock.clone(), "door-3", "scanner", "test");
    let mut ears = Ears::new(desk.feed.clone(), light, &bench.node, bench.ring());
    let frames = ears.hear(bench.bytes(b"A-1\rB-2\rA-1\r")).into_iter().filter_map(|heard| match heard {
        Heard::Frame(frame, _) => Some(frame),
        Heard::Counted { .. } => None,
    });
    let frames: Arc<Vec<Frame>> = Arc::new(frames.collect());
    for _ in 0..2 {
        let (desk, frames) = (Arc::clone(&desk), Arc::clone(&frames));
        bench.node.store.submit(Group::Now, move |txn| take::take(txn, &desk, &frames)).await.unwrap();
    }
    let scans: Vec<_> = bench.rows().await.into_iter().filter(|row| row.kind == Kind::Scan).collect();
    assert_eq!(scans.iter().map(|row| row.repeats).collect::<Vec<_>>(), [0, 0, 0]);
    let ledger = bench.ledger().await;
    assert_eq!((ledger.sources["door-3"].outcomes["stored"], ledger.sources["door-3"].outcomes["duplicate"]), (3, 3));
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_takes_nothing_each_scanner_that_asks_is_told_so_and_none_waits() {
    let mut bench = Bench::new();
    bench.halt();
    let (tx, rx) = mpsc::channel(64);
    let (reply, mut replies) = mpsc::channel(8);
    let light = Light::new(bench.node.board.clone(), bench.clock.clone(), "door-3", "scanner", "test");
    let worker = worker(bench.node.clone(), door(|s| s.reply = true), light, bench.ring(), rx);
    let crate::health::Body::Task(run) = worker.body else { panic!("a task") };
    let ctx = Ctx { beat: Beat::new("ingest", bench.clock.clone()), stop: CancellationToken::new() };
    let mut intake = tokio::task::JoinSet::new();
    intake.spawn(run(ctx));
    tx.send(Input::Opened { conn: Conn(1), peer: None, reply: Some(reply), at: bench.clock.now() }).await.unwrap();
    for n in 0..3 * refusal::WAITING_MAX {
        // One a round: who comes long after the first is told as well, and so is who sends what is no code.
        let (bytes, expect) = match n % 5 {
            0 => (b"\xff\xff\r".to_vec(), "rejected non_ascii"),
            _ => (format!("TRL-{n}\r").into_bytes(), "rejected storage_error"),
        };
        tx.send(bench.bytes(&bytes)).await.unwrap();
        assert_eq!(replies.recv().await.as_deref(), Some(expect), "{n}");
    }
    // Ten times what its channel holds, at once: each has its answer, in order.
    let many = "TRL-7\r".repeat(80).into_bytes();
    tx.send(bench.bytes(&many)).await.unwrap();
    for n in 0..80 {
        assert_eq!(replies.recv().await.as_deref(), Some("rejected storage_error"), "{n}");
    }
    // Whoever comes, asks and goes, again and again, fills no memory with that: the last of them is told as the first.
    for nth in 0..2 * refusal::WAITING_MAX {
        let (conn, at) = (Conn(2 + u32::try_from(nth).unwrap()), bench.clock.now());
        let (reply, mut replies) = mpsc::channel(8);
        tx.send(Input::Opened { conn, peer: None, reply: Some(reply), at }).await.unwrap();
        let asks = Input::Bytes { conn, bytes: b"TRL-7\r".to_vec(), at, peer: None, waited: true };
        tx.send(asks).await.unwrap();
        let answer = timeout(PATIENT, replies.recv()).await.unwrap_or_else(|_| panic!("no answer to visitor {nth}"));
        assert_eq!(answer.as_deref(), Some("rejected storage_error"), "{nth}");
        tx.send(Input::Lost { conn, why: crate::source::Lost::Eof, at }).await.unwrap();
    }
    intake.shutdown().await;
}

#[tokio::test]
async fn what_comes_while_a_commit_is_written_is_heard_at_once_up_to_a_batch_and_answered_in_its_turn() {
    let bench = Bench::new();
    let (tx, rx) = mpsc::channel(4);
    let (reply, mut replies) = mpsc::channel(2048);
    let light = Light::new(bench.node.board.clone(), bench.clock.clone(), "door-3", "scanner", "test");
    let worker = worker(bench.node.clone(), door(|s| s.reply = true), light, bench.ring(), rx);
    let crate::health::Body::Task(run) = worker.body else { panic!("a task") };
    let ctx = Ctx { beat: Beat::new("ingest", bench.clock.clone()), stop: bench.stop.child_token() };
    let mut intake = tokio::task::JoinSet::new();
    intake.spawn(run(ctx));
    // The writer is held in the middle of another's work: no commit ends until it is let go.
    let (held, is_held) = std::sync::mpsc::sync_channel(1);
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let store = bench.node.store.clone();
    let mut other = tokio::task::JoinSet::new();
    other.spawn(async move {
        store
            .submit(Group::Now, move |_| {
                held.send(()).unwrap();
                // A test that failed lets go too.
                wait.recv().map_err(|_| StoreError::Gone)
            })
            .await
    });
    tokio::task::spawn_blocking(move || is_held.recv().unwrap()).await.unwrap();
    tx.send(Input::Opened { conn: Conn(1), peer: None, reply: Some(reply), at: bench.clock.now() }).await.unwrap();
    let scan = |n: usize| bench.bytes(format!("TRL-{n}\r").as_bytes());
    for n in 0..FRAMES_MAX {
        timeout(PATIENT, tx.send(scan(n))).await.expect("heard though nothing can be written").unwrap();
    }
    let mut sent = FRAMES_MAX;
    for _ in 0..2 * FRAMES_MAX {
        sent += usize::from(tx.try_send(scan(sent)).is_ok());
        tokio::task::yield_now().await;
    }
    // A channel full is being written, a batch is heard, a channel full waits.
    assert!(sent <= FRAMES_MAX + 2 * tx.max_capacity(), "{sent} heard: more than a batch");
    assert!(replies.try_recv().is_err(), "nothing is answered before it is written");
    go.send(()).unwrap();
    for n in 0..sent {
        let line = replies.recv().await.unwrap();
        assert!(line.starts_with("ok "), "{n}: {line}");
    }
    other.join_next().await.unwrap().unwrap().unwrap();
    intake.shutdown().await;
    let scans = bench.rows().await.into_iter().filter(|row| row.kind == Kind::Scan).count();
    assert_eq!(scans, sent);
    assert_eq!(bench.ledger().await.imbalance(), 0);
}
