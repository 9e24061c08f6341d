//! The store against a model in memory: whatever is done to it in whatever order, rolled back, closed or cut off in between,
//! it says what the model says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::tests::{draft, take};
use super::*;
use crate::domain::{Kind, Loss, Reason, Stage, Stamp};
use crate::health::{Beat, Ctx};

/// Something done to the store.
#[derive(Clone, Debug)]
enum Op {
    /// Events of some kinds in one transaction, with ids from a small set: some are there already.
    Append(Vec<(u8, u8)>),
    /// The same, and then the transaction fails.
    Fail(Vec<(u8, u8)>),
    /// A frame that is refused and kept.
    Park,
    /// The platform has taken some more of a lane, heard or unheard.
    Acknowledge { scan: bool, n: usize, heard: bool },
    /// A report of a cursor that stands elsewhere.
    Stale,
    /// A clean stop and a start.
    Reopen,
    /// A kill and a start.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let events = || prop::collection::vec((0..60_u8, 0..4_u8), 1..6);
    prop_oneof![
        8 => events().prop_map(Op::Append),
        3 => events().prop_map(Op::Fail),
        2 => Just(Op::Park),
        4 => (any::<bool>(), 1..5_usize, any::<bool>()).prop_map(|(scan, n, heard)| Op::Acknowledge { scan, n, heard }),
        1 => Just(Op::Stale),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ]
}

/// What the store should say.
#[derive(Debug, Default)]
struct Model {
    /// Id and kind, in the order of seq.
    rows: Vec<(u8, Kind)>,
    cursors: BTreeMap<&'static str, i64>,
    frames: i64,
    duplicates: i64,
    sent: i64,
    unheard: i64,
    letters: i64,
}

fn count<T>(some: &[T]) -> i64 {
    i64::try_from(some.len()).unwrap()
}

impl Model {
    fn append(&mut self, events: &[(u8, u8)]) {
        for (id, kind) in events {
            self.frames += 1;
            if self.rows.iter().any(|(known, _)| known == id) {
                self.duplicates += 1;
            } else {
                self.rows.push((*id, Kind::ALL[usize::from(*kind)]));
            }
        }
    }

    /// The next events of a lane after its cursor, at most `n`: how many, and the last.
    fn next(&self, lane: Lane, n: usize) -> (Seq, Option<(i64, Seq)>) {
        let from = self.cursors.get(lane.as_str()).copied().unwrap_or(0);
        let of_lane = (1..).zip(&self.rows).filter(|(seq, (_, kind))| *seq > from && kind.lane() == lane);
        let some: Vec<i64> = of_lane.map(|(seq, _)| seq).take(n).collect();
        (Seq(from), some.last().map(|last| (count(&some), Seq(*last))))
    }
}

struct Opened {
    store: Option<Store>,
    stop: CancellationToken,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Opened {
    fn at(dir: &Path) -> Self {
        let clock = Clock::manual(Stamp { mono_us: 1_000, wall_ms: 1_795_169_472_000 });
        let who = Identity {
            site: "s".into(),
            node: "n".into(),
            boot_id: "b".into(),
            uplink: true,
            skip_kept: false,
            machine: Vec::new(),
        };
        let (store, seat) = Store::open(dir, &who, &clock, |_| ()).unwrap();
        let stop = CancellationToken::new();
        let ctx = Ctx { beat: Beat::new("writer", clock), stop: stop.clone() };
        Self { store: Some(store), stop, writer: Some(std::thread::spawn(move || seat.run(&ctx).unwrap())) }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.stop.cancel();
        self.store = None;
        if let Some(writer) = self.writer.take() {
            // A panic of its own was shown already.
            drop(writer.join());
        }
    }
}

fn append(txn: &mut Txn<'_>, events: &[(u8, u8)]) -> Result<()> {
    for (id, kind) in events {
        take(txn, &draft(*id, Kind::ALL[usize::from(*kind)]))?;
    }
    Ok(())
}

fn park(txn: &mut Txn<'_>) -> Result<()> {
    let mut loss = Loss::decoder(Reason::Noread, b"NOREAD", 64);
    loss.stage = Stage::Decoder;
    txn.frame("door-3", Outcome::Rejected(Reason::Noread));
    txn.park(&loss, &Origin { source: "door-3".into(), ..Origin::default() }, None, "")
}

/// Does it to both; true when the store is to be opened again.
async fn apply(store: &Store, model: &mut Model, op: &Op) {
    match op {
        Op::Append(events) => {
            let them = events.clone();
            store.submit(Group::Now, move |txn| append(txn, &them)).await.unwrap();
            model.append(events);
        }
        Op::Fail(events) => {
            let them = events.clone();
            let failed = store.submit(Group::Now, move |txn| {
                append(txn, &them)?;
                park(txn)?;
                Err::<(), _>(StoreError::Statement { cause: "on purpose".into() })
            });
            assert!(failed.await.is_err());
        }
        Op::Park => {
            store.submit(Group::Now, park).await.unwrap();
            model.frames += 1;
            model.letters += 1;
        }
        Op::Acknowledge { scan, n, heard } => {
            let lane = if *scan { Lane::Scan } else { Lane::Fix };
            let (from, Some((n, through))) = model.next(lane, *n) else { return };
            let (sent, unheard) = if *heard { (n, 0) } else { (0, n) };
            let acked = Acknowledged { from, through, sent, unheard };
            assert!(store.submit(Group::Now, move |txn| txn.acknowledge(lane, &acked)).await.unwrap());
            model.cursors.insert(lane.as_str(), through.0);
            model.sent += sent;
            model.unheard += unheard;
        }
        Op::Stale => {
            let from = Seq(model.cursors.get("fix").copied().unwrap_or(0) + 1);
            let acked = Acknowledged { from, through: Seq(from.0 + 1), sent: 1, unheard: 0 };
            assert!(!store.submit(Group::Now, move |txn| txn.acknowledge(Lane::Fix, &acked)).await.unwrap());
        }
        Op::Reopen | Op::Crash => {}
    }
}

/// The store says what the model says.
async fn agree(store: &Store, model: &Model) {
    let (rows, ledger, cursors) = store
        .read(|reader| {
            let rows = reader.after(Seq(0), 1_000, &Filter::default())?.rows;
            Ok((rows, reader.ledger()?, [reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?]))
        })
        .await
        .unwrap();
    let stored: Vec<(u8, Kind)> = rows.iter().map(|row| (row.id.0[0], row.kind)).collect();
    assert_eq!(stored, model.rows);
    assert!((1..).zip(&rows).all(|(seq, row)| row.seq == Seq(seq)), "seq is dense");
    for (at, row) in rows.iter().enumerate() {
        let before = model.rows[..at].iter().rposition(|(_, kind)| *kind == row.kind);
        assert_eq!(row.prev.map(|prev| prev.0), before.map(|before| count(&rows[..=before])), "prev of {}", row.seq);
    }
    let cursor = |lane: &str| Seq(model.cursors.get(lane).copied().unwrap_or(0));
    assert_eq!(cursors, [cursor("scan"), cursor("fix")]);
    assert_eq!(ledger.imbalance(), 0, "{ledger:?}");
    let of = |word: &str| ledger.events.get(word).copied().unwrap_or(0);
    assert_eq!((of("total"), of("sent"), of("sent_unheard")), (count(&model.rows), model.sent, model.unheard));
    assert_eq!(ledger.unsent.values().sum::<i64>(), of("total") - model.sent - model.unheard);
    assert_eq!(ledger.letters.get("open").copied().unwrap_or(0), model.letters);
    if let Some(door) = ledger.sources.get("door-3") {
        let duplicates = door.outcomes.get("duplicate").copied().unwrap_or(0);
        assert_eq!((door.frames, duplicates), (model.frames, model.duplicates));
    }
    assert_eq!(*store.head().borrow(), Seq(count(&model.rows)));
}

/// As a kill leaves it: the files of now, while the store is open.
fn copy(dir: &Path) -> tempfile::TempDir {
    let fresh = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            std::fs::copy(&file, fresh.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    fresh
}

fn play(ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut dir, mut model) = (tempfile::tempdir().unwrap(), Model::default());
    let mut opened = Opened::at(dir.path());
    for op in ops {
        if let Op::Crash = op {
            let fresh = copy(dir.path());
            drop(std::mem::replace(&mut opened, Opened::at(fresh.path())));
            dir = fresh;
        }
        if let Op::Reopen = op {
            drop(opened);
            opened = Opened::at(dir.path());
        }
        let store = opened.store.clone().unwrap();
        runtime.block_on(async {
            apply(&store, &mut model, op).await;
            agree(&store, &model).await;
        });
    }
}

fn cases() -> u32 {
    if std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full") { 1_000 } else { 30 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_the_store_says_what_the_model_says(ops in prop::collection::vec(op(), 1..40)) {
        play(&ops);
    }
}
