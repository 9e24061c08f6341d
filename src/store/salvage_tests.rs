//! The store after what cards and people do to its files: it opens, what is left is served, what is not is named.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::tests::{identity, take};
use super::*;
use crate::domain::{EventId, Kind, Loss, Reason, Stage, Stamp, Thing, TimeQuality};

/// A store that was filled and not closed well, and how it was then.
struct Filled {
    dir: tempfile::TempDir,
    epoch: Epoch,
}

/// A folder in memory, where there is one: these tests are about what is read, not about what is on a disk.
fn fast() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Stamp { mono_us: 1_000, wall_ms: 1_795_169_472_000 })
}

fn draft(n: i64, kind: Kind) -> Draft {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&u32::try_from(n / 10).unwrap().to_be_bytes());
    id[8..].copy_from_slice(&n.to_be_bytes());
    // Some are longer than a page.
    let filler = "x".repeat(if n % 97 == 0 { 3_000 } else { 20 });
    Draft {
        id: EventId(id),
        kind,
        ts_ms: n * 1_000,
        tq: TimeQuality::Ntp,
        received: Stamp { mono_us: n * 1_000, wall_ms: n * 1_000 },
        source: (kind != Kind::Place).then(|| "door-3".into()),
        asset: Some(format!("A-{}", n % 50)),
        place: Some("door-3".into()),
        code: (kind == Kind::Scan).then(|| format!("CODE-{n}")),
        body: format!("{{\"n\":{n},\"filler\":\"{filler}\"}}"),
    }
}

/// Appends events `from..=to`, a fix, a scan and a place in turns, and counts a frame for each that has a source.
fn fill(txn: &mut Txn<'_>, from: i64, to: i64) -> Result<()> {
    for n in from..=to {
        let kind = [Kind::Fix, Kind::Scan, Kind::Place][usize::try_from(n % 3).unwrap()];
        let draft = draft(n, kind);
        if draft.source.is_some() {
            take(txn, &draft)?;
        } else {
            txn.append(&draft)?;
        }
    }
    Ok(())
}

impl Filled {
    /// A store of `n` events, of which the last `in_wal` are in its write-ahead log alone.
    fn new(n: i64, in_wal: i64) -> Self {
        let dir = fast();
        let begun = {
            let path = dir.path().join("waypost.db");
            opening::open(dir.path(), &path, &identity(true, false), &clock(), &Quota::none(&path)).unwrap()
        };
        let path = dir.path().join("waypost.db");
        let mut conn = schema::open_writer(&path).unwrap();
        let commit = |conn: &mut Connection, work: &mut dyn FnMut(&mut Txn<'_>) -> Result<()>| {
            let heads = txn::Heads::read(&path, conn).unwrap();
            let sql = conn.transaction().unwrap();
            let mut txn = Txn::new(&path, &sql, heads, begun.run, clock().now());
            work(&mut txn).unwrap();
            txn.finish().unwrap();
            sql.commit().unwrap();
        };
        commit(&mut conn, &mut |txn| {
            for n in 0..40 {
                txn.put_thing(&Thing { asset: format!("A-{n}"), name: format!("Trailer {n}"), ..Thing::default() })?;
                let origin = Origin { source: "door-3".into(), ..Origin::default() };
                let loss = Loss { stage: Stage::Store, ..Loss::decoder(Reason::Noread, b"?", 256) };
                txn.park(&loss, &origin, None, "")?;
            }
            fill(txn, 1, n - in_wal)
        });
        conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
        for from in ((n - in_wal + 1)..=n).step_by(20) {
            commit(&mut conn, &mut |txn| fill(txn, from, n.min(from + 19)));
        }
        mark::Mark::of(&conn).unwrap().write(dir.path()).unwrap();
        // Copied while it is open: as a power cut leaves it.
        let cut = fast();
        copy(dir.path(), cut.path());
        Self { dir: cut, epoch: begun.epoch }
    }

    fn copy(&self) -> tempfile::TempDir {
        let dir = fast();
        copy(self.dir.path(), dir.path());
        dir
    }
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        // What SQLite keeps in memory is not on the disk after a cut.
        if file.extension().is_none_or(|ending| ending != "db-shm") {
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
}

fn open(dir: &Path) -> (Store, WriterSeat) {
    Store::open(dir, &identity(true, false), &clock(), |_| ()).unwrap()
}

/// What an opened store has of the events `1..=n`.
struct Seen {
    intact: i64,
    damaged: i64,
    lost: i64,
    imbalance: i64,
}

/// Reads all of the log as a screen does. None when the file says that it is damaged: the process would end.
fn see(store: &Store, n: i64) -> Option<Seen> {
    let (mut intact, mut damaged, mut at) = (0, 0, Seq(0));
    loop {
        let page = store.read_here(|reader| reader.after(at, 5_000, &Filter::default()));
        let page = match page {
            Err(StoreError::Corrupt { .. }) => return None,
            page => page.unwrap(),
        };
        for row in page.rows.iter().filter(|row| row.seq.0 <= n) {
            let kind = [Kind::Fix, Kind::Scan, Kind::Place][usize::try_from(row.seq.0 % 3).unwrap()];
            let told = draft(row.seq.0, kind);
            assert_eq!((row.id, row.kind, &row.body, &row.code), (told.id, kind, &told.body, &told.code));
            intact += 1;
        }
        damaged += page.damaged.iter().filter(|one| one.seq.0 <= n).count();
        at = page.seen;
        if !page.more {
            break;
        }
    }
    let (lost, _) = store.read_here(|reader| reader.lost()).ok()?;
    let ledger = store.read_here(|reader| reader.ledger()).ok()?;
    let lost = lost.iter().map(|lost| lost.to.min(n) - lost.from + 1).sum();
    Some(Seen { intact, damaged: i64::try_from(damaged).unwrap(), lost, imbalance: ledger.imbalance() })
}

fn reason(store: &Store) -> Vec<&'static str> {
    store.findings().iter().map(|finding| finding.name).collect()
}

fn lost(store: &Store) -> Vec<(i64, i64, String)> {
    let (lost, _) = store.read_here(|reader| reader.lost()).unwrap();
    lost.into_iter().map(|lost| (lost.from, lost.to, lost.reason)).collect()
}

fn all(store: &Store) -> Vec<Row> {
    store.read_here(|reader| reader.after(Seq(0), 20_000, &Filter::default())).unwrap().rows
}

#[test]
fn what_a_power_cut_leaves_opens_as_it_was() {
    let filled = Filled::new(500, 100);
    let dir = filled.copy();
    let (store, _seat) = open(dir.path());
    assert_eq!((store.epoch(), all(&store).len(), reason(&store)), (filled.epoch, 500, vec![]));
}

#[test]
fn a_store_that_was_killed_in_its_first_minute_with_all_in_its_log_goes_on_in_the_same_life() {
    let young = fast();
    let path = young.path().join("waypost.db");
    let begun = opening::open(young.path(), &path, &identity(true, false), &clock(), &Quota::none(&path)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1024, "all is in the log");
    let cut = fast();
    copy(young.path(), cut.path());
    let (store, _seat) = open(cut.path());
    assert_eq!(store.epoch(), begun.epoch);
    assert_eq!(reason(&store), [""; 0]);
    assert_eq!(quarantined(cut.path()), Vec::<PathBuf>::new());
}

#[test]
fn an_old_copy_put_back_begins_a_new_life_behind_all_that_was_numbered() {
    let filled = Filled::new(500, 0);
    let dir = filled.copy();
    fs::remove_file(dir.path().join("waypost.mark")).unwrap();
    drop(open(dir.path()));
    let old = fs::read(dir.path().join("waypost.db")).unwrap();
    let newer = Filled::new(800, 0);
    let dir = newer.copy();
    fs::write(dir.path().join("waypost.db"), old).unwrap();
    fs::remove_file(dir.path().join("waypost.db-wal")).unwrap();
    let (store, _seat) = open(dir.path());
    assert_eq!(lost(&store), [(501, 800, "rolled_back".into())]);
    assert!(store.epoch() != newer.epoch && store.epoch() != filled.epoch);
    let rows = all(&store);
    let note = rows.last().unwrap();
    assert_eq!((note.seq, note.kind, note.prev, note.epoch), (Seq(801), Kind::Note, None, store.epoch()));
    assert!(note.body.contains("store_restored") && note.body.contains("501 to 800"), "{}", note.body);
    assert_eq!((rows.len(), rows[0].epoch), (501, filled.epoch), "a row keeps the epoch it was committed in");
    assert_eq!(reason(&store), ["store_rolled_back"]);
    let ledger = store.read_here(|reader| reader.ledger()).unwrap();
    assert_eq!((ledger.imbalance(), ledger.events["total"], ledger.events["lost"]), (0, 801, 300));
    let (_, past) = store.read_here(|reader| reader.lost()).unwrap();
    assert!(past.iter().any(|past| past.epoch == newer.epoch.to_string() && past.last_produced == 800), "{past:?}");
    recount::assert_recounted(&store);
    let failures = store.read_here(|reader| reader.log(Log::Failures, i64::MAX, 9, &Lines::default())).unwrap().0;
    assert_eq!(failures[0].what, "store_rolled_back");
    drop(store);
    let (store, _seat) = open(dir.path());
    assert_eq!((reason(&store), lost(&store).len()), (vec![], 1), "it is found once");
}

#[test]
fn a_lost_end_of_the_log_is_named_and_what_the_file_still_holds_behind_a_bad_frame_is_found() {
    let filled = Filled::new(500, 200);
    let dir = filled.copy();
    let path = dir.path().join("waypost.db-wal");
    let mut wal = fs::read(&path).unwrap();
    let half = wal.len() / 2;
    wal[half] ^= 0x10;
    fs::write(&path, &wal).unwrap();
    let (store, _seat) = open(dir.path());
    let seen = see(&store, 500).unwrap();
    assert!(seen.intact > 490, "{} of 500 are still there", seen.intact);
    assert_eq!((seen.intact + seen.lost, seen.imbalance), (500, 0));
    let dir = filled.copy();
    let path = dir.path().join("waypost.db-wal");
    wal.truncate(half);
    fs::write(&path, &wal).unwrap();
    let (store, _seat) = open(dir.path());
    let seen = see(&store, 500).unwrap();
    assert!((1..200).contains(&seen.lost), "{}", seen.lost);
    assert_eq!((seen.intact + seen.lost, seen.imbalance, lost(&store).len()), (500, 0, 1));
}

#[test]
fn a_database_that_is_gone_is_named_and_no_seq_is_used_again() {
    let filled = Filled::new(300, 0);
    let dir = filled.copy();
    for file in ["waypost.db", "waypost.db-wal"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    let (store, _seat) = open(dir.path());
    assert_eq!((lost(&store), all(&store)[0].seq), (vec![(1, 300, "rolled_back".into())], Seq(301)));
    assert_eq!(see(&store, 300).unwrap().imbalance, 0);
    assert!(store.findings()[0].text.starts_with("The database was gone: 300 events are missing (1 to 300)."));
}

#[test]
fn a_young_store_of_which_only_the_log_is_left_is_salvaged_from_it_at_the_first_start() {
    let young = fast();
    let path = young.path().join("waypost.db");
    let begun = opening::open(young.path(), &path, &identity(true, false), &clock(), &Quota::none(&path)).unwrap();
    let mut conn = schema::open_writer(&path).unwrap();
    let heads = txn::Heads::read(&path, &conn).unwrap();
    let sql = conn.transaction().unwrap();
    let mut txn = Txn::new(&path, &sql, heads, begun.run, clock().now());
    fill(&mut txn, 1, 30).unwrap();
    txn.finish().unwrap();
    sql.commit().unwrap();
    let cut = fast();
    copy(young.path(), cut.path());
    fs::remove_file(cut.path().join("waypost.db")).unwrap();
    let (store, _seat) = open(cut.path());
    let seen = see(&store, 30).unwrap();
    assert_eq!((seen.intact, seen.lost, seen.imbalance), (30, 0, 0));
    assert!(store.epoch() != begun.epoch, "a new life");
    assert_eq!(all(&store).last().unwrap().seq, Seq(31), "the note of it goes on behind");
}

#[test]
fn without_a_mark_or_with_a_garbled_one_the_store_opens_as_it_is_and_has_one_again() {
    let filled = Filled::new(100, 0);
    for garble in [None, Some("garbage")] {
        let dir = filled.copy();
        let mark = dir.path().join("waypost.mark");
        match garble {
            Some(text) => fs::write(&mark, text).unwrap(),
            None => fs::remove_file(&mark).unwrap(),
        }
        let (store, _seat) = open(dir.path());
        assert_eq!((store.epoch(), reason(&store)), (filled.epoch, vec![]));
        assert!(matches!(mark::Mark::read(dir.path()), mark::Found::Mark(mark) if mark.seq == 100));
    }
}

/// Where the file is damaged, in its first bytes, in the middle, at its end.
fn damaged(filled: &Filled, damage: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let dir = filled.copy();
    let path = dir.path().join("waypost.db");
    let mut db = fs::read(&path).unwrap();
    damage(&mut db);
    fs::write(&path, db).unwrap();
    dir
}

fn quarantined(dir: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(dir.join("quarantine")).into_iter().flatten();
    folders.map(|folder| folder.unwrap().path()).collect()
}

#[test]
fn a_store_without_its_header_is_salvaged_whole() {
    let filled = Filled::new(2_000, 300);
    for bytes in [16, 100] {
        let dir = damaged(&filled, |db| db[..bytes].fill(0x5a));
        let before = fs::read(dir.path().join("waypost.db")).unwrap();
        let (store, _seat) = open(dir.path());
        let seen = see(&store, 2_000).unwrap();
        assert_eq!((seen.intact, seen.damaged, seen.lost, seen.imbalance), (2_000, 0, 0, 0));
        recount::assert_recounted(&store);
        assert_eq!(store.read_here(|reader| reader.things()).unwrap().len(), 40, "the register is there");
        assert_eq!(store.read_here(|reader| reader.letters(true, 99)).unwrap().len(), 40);
        assert_eq!(reason(&store), ["store_salvaged"]);
        let folder = quarantined(dir.path()).pop().unwrap();
        assert_eq!(fs::read(folder.join("waypost.db")).unwrap(), before, "the damaged file is kept as it was");
        assert!(store.findings()[0].text.contains(folder.to_str().unwrap()));
        drop(store);
        let (store, _seat) = open(dir.path());
        assert_eq!(reason(&store), ["store_salvaged"], "the alarm stands as long as the folder does");
        assert_eq!(quarantined(dir.path()).len(), 1);
        fs::remove_dir_all(folder).unwrap();
        drop(store);
        assert_eq!(reason(&open(dir.path()).0), Vec::<&str>::new());
    }
}

#[test]
fn a_store_that_was_cut_off_names_what_it_lost() {
    let filled = Filled::new(2_000, 0);
    let dir = damaged(&filled, |db| db.truncate(db.len() / 2));
    let (store, _seat) = open(dir.path());
    recount::assert_recounted(&store);
    let seen = see(&store, 2_000).unwrap();
    assert!(seen.lost > 0 && seen.intact > 0, "{} {}", seen.lost, seen.intact);
    assert_eq!((seen.intact + seen.lost, seen.imbalance), (2_000, 0));
    assert!(lost(&store).iter().all(|(_, _, reason)| reason == "damaged"));
}

#[test]
fn a_salvage_that_is_cut_off_anywhere_begins_again() {
    let filled = Filled::new(1_000, 100);
    let mut cuts = 0;
    for cut in 0..4 {
        let dir = damaged(&filled, |db| db[..100].fill(0));
        let path = dir.path();
        let mark = match mark::Mark::read(path) {
            mark::Found::Mark(mark) => mark,
            other => panic!("{other:?}"),
        };
        let case = quarantine::Case::open(path, "a test", 0).unwrap();
        match cut {
            0 => fs::rename(case.database(), path.join("waypost.db")).unwrap(),
            1 => fs::write(path.join("waypost.db.new"), b"half of it").unwrap(),
            2 => drop(salvage::salvage(path, &case, Some(&mark), &identity(true, false)).unwrap()),
            _ => {}
        }
        let (store, _seat) = open(path);
        let seen = see(&store, 1_000).unwrap();
        assert_eq!((seen.intact, seen.lost, seen.imbalance), (1_000, 0, 0), "cut {cut}");
        assert_eq!((reason(&store), quarantined(path).len()), (vec!["store_salvaged"], 1), "cut {cut}");
        cuts += 1;
    }
    assert_eq!(cuts, 4);
}

#[test]
fn what_has_left_by_retention_does_not_come_back() {
    let filled = Filled::new(1_000, 0);
    let dir = filled.copy();
    let (store, _seat) = open(dir.path());
    drop(store);
    let path = dir.path().join("waypost.db");
    let conn = schema::open_writer(&path).unwrap();
    conn.execute_batch(
        "delete from outbox where seq <= 600 and seq <> 7; insert or replace into cursors values ('base', 600);
         insert into letters select letter + 1000, state, stage, reason, class, source, peer, 7, bytes, length, detail, received_ms,
           boot, mono_ms, ts_ms, tq, repeats, resend, changed_ms, note from letters where letter = 1;",
    )
    .unwrap();
    opening::leave_mark(&path, &conn);
    drop(conn);
    let mut db = fs::read(&path).unwrap();
    // Also the list of free pages is gone.
    db[..100].fill(0);
    fs::write(&path, db).unwrap();
    let (store, _seat) = open(dir.path());
    let seqs: Vec<i64> = all(&store).iter().map(|row| row.seq.0).collect();
    assert_eq!((seqs[0], seqs[1], seqs.len()), (7, 601, 402));
    assert_eq!((lost(&store), see(&store, 1_000).unwrap().imbalance), (vec![], 0));
}

#[test]
fn a_file_that_says_at_run_time_that_it_is_damaged_is_salvaged_at_the_next_start() {
    let filled = Filled::new(2_000, 0);
    let dir = filled.copy();
    let path = dir.path().join("waypost.db");
    let conn = schema::open_writer(&path).unwrap();
    conn.execute("update runs set stopped = 'clean'", []).unwrap();
    let root: i64 =
        conn.query_row("select rootpage from sqlite_schema where name = 'outbox'", [], |row| row.get(0)).unwrap();
    drop(conn);
    let (store, seat) = open(dir.path());
    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let trouble = store.trouble();
    let mut db = fs::read(&path).unwrap();
    db[usize::try_from(root - 1).unwrap() * 1024] = 0xff;
    fs::write(&path, db).unwrap();
    let answer = rt.block_on(store.read(|reader| reader.after(Seq(0), 2_000, &Filter::default())));
    assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{answer:?}");
    assert!(trouble.borrow().is_some(), "the process is told to end");
    drop((store, seat));
    let (store, _seat) = open(dir.path());
    let seen = see(&store, 2_000).unwrap();
    assert_eq!((seen.intact, seen.lost, seen.imbalance), (2_000, 0, 0));
    assert_eq!(reason(&store), ["store_salvaged"]);
    assert_eq!(trouble::noted(dir.path()), None);
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n.max(1)).unwrap()).unwrap()
    }
}

/// Within this a node serves a store of 50,000 events again, whatever was done to it.
const SERVES_WITHIN: Duration = Duration::from_secs(10);

/// A file of a store and what is done to it: it ends at a byte, or one bit there is another.
struct Blow {
    case: usize,
    file: &'static str,
    at: usize,
    length: usize,
    bit: Option<u8>,
}

impl Blow {
    fn roll(case: usize, filled: &Filled, dice: &mut Dice) -> Self {
        let file = ["waypost.db", "waypost.db", "waypost.db", "waypost.db-wal"][dice.below(4)];
        let length = usize::try_from(fs::metadata(filled.dir.path().join(file)).unwrap().len()).unwrap();
        let (at, is_cut) = (dice.below(length), dice.below(4) == 0);
        let bit = 1 << dice.below(8);
        Self { case, file, at, length, bit: (!is_cut).then_some(bit) }
    }

    fn strike(&self, dir: &Path) {
        let path = dir.join(self.file);
        if let Some(bit) = self.bit {
            let mut bytes = fs::read(&path).unwrap();
            bytes[self.at] ^= bit;
            fs::write(&path, bytes).unwrap();
        } else {
            File::options().write(true).open(&path).unwrap().set_len(u64::try_from(self.at).unwrap()).unwrap();
        }
    }
}

impl std::fmt::Display for Blow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { case, file, at, length, bit } = self;
        let how = bit.map_or_else(|| "ends".to_owned(), |bit| format!("flips bits {bit:#04x}"));
        write!(f, "case {case}: {file} {how} at byte {at} of {length}")
    }
}

/// Opens a store as a start does, and looks into it as a screen does first: how long both took, and whether the look was
/// answered.
fn serve(dir: &Path) -> (Store, WriterSeat, Duration, bool) {
    let begun = Instant::now();
    let (store, seat) = open(dir);
    let first = store.read_here(|reader| reader.after(Seq(0), 100, &Filter::default()));
    let (took, answered) = (begun.elapsed(), !matches!(first, Err(StoreError::Corrupt { .. })));
    assert!(!answered || first.is_ok(), "{:?}", first.err());
    (store, seat, took, answered)
}

/// What became of a store after a blow: how long a start took until it served, and how many events are named missing.
fn struck(filled: &Filled, blow: &Blow, events: i64) -> (Duration, bool, i64) {
    let dir = filled.copy();
    blow.strike(dir.path());
    let (store, seat, mut took, answered) = serve(dir.path());
    let mut seen = if answered { see(&store, events) } else { None };
    if seen.is_none() {
        // The process would end, and start again.
        store.trouble.look::<()>(&Err(StoreError::Corrupt { path: dir.path().into(), cause: "a test".into() }));
        drop((store, seat));
        let (store, _seat, again, answers) = serve(dir.path());
        assert!(answers, "{blow}: still damaged");
        // A start that answered nothing was none: the wait went on.
        took = if answered { took.max(again) } else { took + again };
        seen = see(&store, events);
    }
    let Seen { intact, damaged, lost, imbalance } = seen.unwrap_or_else(|| panic!("{blow}: still damaged"));
    assert_eq!((intact + damaged + lost, imbalance), (events, 0), "{blow}: {intact} {damaged} {lost}");
    (took, !quarantined(dir.path()).is_empty(), damaged + lost)
}

#[test]
fn whatever_byte_flips_and_wherever_a_file_ends_what_is_served_and_what_is_named_is_all() {
    let full = std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full");
    let (cases, events) = if full { (1_000, 50_000) } else { (40, 10_000) };
    let filled = Filled::new(events, 1_500);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut blows: Vec<Blow> = (0..cases).map(|case| Blow::roll(case, &filled, &mut dice)).collect();
    if let Some(only) = std::env::var("WAYPOST_CASE").ok().and_then(|case| case.parse::<usize>().ok()) {
        blows.retain(|blow| blow.case == only);
    }
    let next = AtomicUsize::new(0);
    let total = Mutex::new((Duration::ZERO, 0, 0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(blow) = blows.get(next.fetch_add(1, Ordering::AcqRel)) {
                    let (took, salvaged, missing) = struck(&filled, blow, events);
                    // In the small size a machine that does everything else at once may take longer.
                    assert!(!full || took < SERVES_WITHIN, "{blow}: served after {took:?}");
                    let mut total = total.lock().unwrap();
                    *total = (total.0.max(took), total.1 + usize::from(salvaged), total.2 + missing);
                }
            });
        }
    });
    let (slowest, salvaged, missing) = total.into_inner().unwrap();
    eprintln!(
        "{} corruptions: {salvaged} salvaged, {missing} events named missing in all, served after {slowest:.2?} at most",
        blows.len()
    );
}
