//! A store and the machines it wakes on.

use std::collections::BTreeSet;

use super::tests::{draft, identity, take};
use super::*;
use crate::domain::{Binding, Kind, Standing};
use crate::health::{Beat, Ctx};
use tokio_util::sync::CancellationToken;

/// A folder of a store, as it is carried from machine to machine.
struct Card(tempfile::TempDir);

fn board(serial: &str) -> Vec<Fact> {
    vec![Fact { kind: "board", serial: serial.into() }, Fact { kind: "nic", serial: format!("nic of {serial}") }]
}

fn nic(serial: &str) -> Fact {
    Fact { kind: "nic", serial: serial.into() }
}

impl Card {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The card with all that is on it, as `dd` copies it.
    fn copy(&self) -> Self {
        let copy = Self::new();
        for file in std::fs::read_dir(self.0.path()).unwrap().flatten().filter(|file| file.path().is_file()) {
            std::fs::copy(file.path(), copy.0.path().join(file.file_name())).unwrap();
        }
        copy
    }

    fn store(&self, machine: Vec<Fact>) -> (Store, WriterSeat) {
        self.named("wp-07", machine)
    }

    fn named(&self, node: &str, machine: Vec<Fact>) -> (Store, WriterSeat) {
        let who = Identity { node: node.into(), machine, ..identity(true, false) };
        Store::open(self.0.path(), &who, &Clock::system(), |_| {}).unwrap()
    }

    fn standing(&self, machine: Vec<Fact>) -> Standing {
        *self.store(machine).0.standing().borrow()
    }

    /// Runs one piece of work on the store in this machine.
    fn change<T: Send + 'static>(
        &self,
        machine: Vec<Fact>,
        work: impl FnMut(&mut Txn<'_>) -> Result<T> + Send + 'static,
    ) -> T {
        let (store, seat) = self.store(machine);
        on(&store, seat, work)
    }
}

fn on<T: Send + 'static>(
    store: &Store,
    seat: WriterSeat,
    work: impl FnMut(&mut Txn<'_>) -> Result<T> + Send + 'static,
) -> T {
    try_on(store, seat, work).unwrap()
}

fn try_on<T: Send + 'static>(
    store: &Store,
    seat: WriterSeat,
    work: impl FnMut(&mut Txn<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let stop = CancellationToken::new();
    let ctx = Ctx { beat: Beat::new("writer", Clock::system()), stop: stop.clone() };
    let writer = std::thread::spawn(move || seat.run(&ctx).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let done = runtime.block_on(store.submit(Group::Now, work));
    stop.cancel();
    writer.join().unwrap();
    done
}

fn rows(store: &Store) -> Vec<crate::domain::Row> {
    store.read_here(|reader| reader.after(Seq(0), 100, &Filter::default())).unwrap().rows
}

#[test]
fn a_store_knows_its_machine_again_whatever_else_changes() {
    let card = Card::new();
    let epoch = card.store(board("A")).0.epoch();
    for machine in [
        board("A"),
        vec![Fact { kind: "board", serial: "A".into() }],
        vec![Fact { kind: "board", serial: "A".into() }, nic("another card")],
        vec![nic("another card")],
        Vec::new(),
    ] {
        let (store, _seat) = card.store(machine.clone());
        assert_eq!((*store.standing().borrow(), store.epoch()), (Standing::Sound, epoch), "{machine:?}");
        assert_eq!(store.findings(), []);
    }
}

#[test]
fn a_copied_card_in_another_machine_is_a_stranger_until_a_person_accepts_it() {
    let card = Card::new();
    card.change(board("A"), |txn| take(txn, &draft(1, Kind::Scan)));
    let copy = card.copy();
    for _ in 0..2 {
        let (store, _seat) = copy.store(board("B"));
        assert_eq!(*store.standing().borrow(), Standing::Stranger);
        let names: Vec<&str> = store.findings().iter().map(|one| one.name).collect();
        assert_eq!(names, ["identity"], "at every start");
        assert!(store.findings()[0].advice.contains("waypost identity accept"));
    }
    assert_eq!(card.standing(board("A")), Standing::Sound, "the card it was copied from goes on");
    let (store, seat) = copy.store(board("B"));
    let (mut standing, epoch) = (store.standing(), store.epoch());
    assert!(on(&store, seat, |txn| { txn.accept_machine() }));
    assert_eq!(*standing.borrow_and_update(), Standing::Sound, "whoever waits for it is told");
    drop(store);
    let (store, seat) = copy.store(board("B"));
    assert_eq!((*store.standing().borrow(), store.epoch()), (Standing::Sound, epoch), "accepted once and for all");
    assert!(!on(&store, seat, |txn| txn.accept_machine()), "there is nothing more to accept");
    drop(store);
    assert_eq!(copy.standing(board("A")), Standing::Stranger, "the machine it came from is the other one now");
}

#[test]
fn two_copies_never_give_one_place_in_the_log_to_two_events() {
    let card = Card::new();
    for n in 1..=3 {
        card.change(board("A"), move |txn| take(txn, &draft(n, Kind::Scan)));
    }
    let copy = card.copy();
    // Both go on before anybody looks.
    for n in 4..=6 {
        card.change(board("A"), move |txn| take(txn, &draft(n, Kind::Scan)));
        copy.change(board("B"), move |txn| take(txn, &draft(n + 100, Kind::Scan)));
    }
    copy.change(board("B"), |txn| txn.accept_machine());
    copy.change(board("B"), |txn| take(txn, &draft(200, Kind::Scan)));
    let (first, second) = (rows(&card.store(board("A")).0), rows(&copy.store(board("B")).0));
    let places = |rows: &[crate::domain::Row]| -> BTreeSet<_> {
        rows.iter().map(|row| (row.epoch.to_string(), row.seq)).collect()
    };
    let both: Vec<_> = places(&first).intersection(&places(&second)).cloned().collect();
    assert_eq!(both.len(), 3, "what was there before the copy, and only that: {both:?}");
    let fresh: Vec<_> = second.iter().filter(|row| row.epoch != first[0].epoch).collect();
    assert_eq!(fresh.iter().filter(|row| row.prev.is_none() && row.kind == Kind::Scan).count(), 1, "its own chain");
    let past = copy.store(board("B")).0.read_here(|reader| reader.lost()).unwrap().1;
    assert_eq!(past[0].last_produced, 3, "the watermark tells where the life before it ended: {past:?}");
}

#[test]
fn a_card_that_comes_home_without_having_been_accepted_is_at_home() {
    let card = Card::new();
    let first = card.store(board("A")).0.epoch();
    assert_eq!(card.standing(board("B")), Standing::Stranger);
    let (store, _seat) = card.store(board("A"));
    assert_eq!(*store.standing().borrow(), Standing::Sound);
    assert_ne!(store.epoch(), first, "what was written elsewhere stays under its own life");
    assert_eq!(store.findings(), []);
}

#[test]
fn where_nothing_tells_the_machine_nothing_is_claimed() {
    let card = Card::new();
    assert_eq!(card.standing(Vec::new()), Standing::Sound);
    let binding = card.store(Vec::new()).0.read_here(|reader| reader.binding()).unwrap();
    assert_eq!(binding, Binding::default());
    assert_eq!(card.standing(board("A")), Standing::Sound, "bound as soon as something does");
    assert_eq!(card.standing(board("B")), Standing::Stranger);
}

#[test]
fn no_serial_number_stands_in_the_files_of_the_store() {
    let card = Card::new();
    let secret = "10000000a1b2c3d4";
    drop(card.store(board(secret)));
    drop(card.store(board("20000000ffffffff")));
    let told = card.store(board(secret)).0.read_here(|reader| reader.binding()).unwrap();
    assert_eq!(told.by, ["board", "nic"]);
    assert!(!format!("{told:?}").contains(&secret[8..]));
    for file in std::fs::read_dir(card.0.path()).unwrap().flatten() {
        let bytes = std::fs::read(file.path()).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{}", file.path().display());
    }
}

#[test]
fn a_node_with_another_name_begins_a_new_life_and_sends_what_waits_under_the_old_one() {
    let card = Card::new();
    card.change(board("A"), |txn| take(txn, &draft(1, Kind::Scan)));
    let (store, seat) = card.named("wp-08", board("A"));
    assert_eq!(store.findings(), [], "nothing is wrong");
    on(&store, seat, |txn| take(txn, &draft(2, Kind::Scan)));
    let rows = rows(&store);
    let told: Vec<_> = rows.iter().filter(|row| row.kind == Kind::Scan).map(|row| (&*row.node, row.prev)).collect();
    assert_eq!(told, [("wp-07", None), ("wp-08", None)]);
    assert_ne!(rows[0].epoch, rows.last().unwrap().epoch);
    assert_eq!(store.read_here(|reader| reader.ledger()).unwrap().imbalance(), 0);
}

#[test]
fn a_node_is_ended_once_and_a_person_lets_it_go_on() {
    let card = Card::new();
    assert_eq!(card.change(board("A"), |txn| txn.retire(false)), Standing::Retiring);
    assert_eq!(card.standing(board("A")), Standing::Retiring, "a start in between goes on with it");
    assert_eq!(card.change(board("A"), |txn| txn.retire(true)), Standing::Retired);
    assert_eq!(card.change(board("A"), |txn| txn.retire(false)), Standing::Retired, "asked again it stays ended");
    assert!(card.change(board("A"), |txn| txn.accept_machine()));
    assert_eq!(card.change(board("A"), |txn| txn.retire(true)), Standing::Sound, "who was let go on has not ended");
    assert_eq!(card.change(board("A"), |txn| txn.retire(false)), Standing::Retiring);
    assert_eq!(card.change(board("A"), |txn| txn.retire(true)), Standing::Retired);
    assert_eq!(card.store(board("A")).0.findings()[0].name, "retired");
    assert_eq!(card.copy().standing(board("B")), Standing::Stranger, "its copy may not speak for it either");
    assert!(card.change(board("A"), |txn| txn.accept_machine()));
    assert_eq!(card.standing(board("A")), Standing::Sound);
}

#[test]
fn a_transaction_that_fails_leaves_the_standing_as_it_was() {
    let card = Card::new();
    let (store, seat) = card.store(board("A"));
    let standing = store.standing();
    assert_eq!(on(&store, seat, |txn| txn.retire(false)), Standing::Retiring);
    assert_eq!(*standing.borrow(), Standing::Retiring);
    drop(store);
    let (store, seat) = card.store(board("A"));
    let standing = store.standing();
    let refused = try_on(&store, seat, |txn| {
        txn.accept_machine()?;
        Err::<(), _>(StoreError::Undone)
    });
    assert!(refused.is_err() && *standing.borrow() == Standing::Retiring);
    assert_eq!(store.read_here(|reader| reader.binding()).unwrap().standing, Standing::Retiring);
}

#[test]
fn who_is_accepted_under_another_name_takes_nothing_off_that_the_first_one_left() {
    let left = |card: &Card, machine| card.named("wp-08", machine).0.read_here(|reader| reader.traces()).unwrap();
    let card = Card::new();
    card.change(board("A"), |txn| txn.leave_traces(&["waypost/v1/halden/wp-07/".into()]));
    let copy = card.copy();
    assert_eq!(copy.standing(board("B")), Standing::Stranger);
    let (store, seat) = copy.named("wp-08", board("B"));
    assert!(on(&store, seat, |txn| txn.accept_machine()));
    drop(store);
    assert_eq!(left(&copy, board("B")), Vec::<String>::new(), "the other one goes on and stands by it");
    // Moved, not copied: what it left is its own, under whatever name it goes on later.
    assert_eq!(card.standing(board("B")), Standing::Stranger);
    assert!(card.change(board("B"), |txn| txn.accept_machine()));
    assert_eq!(left(&card, board("B")), ["waypost/v1/halden/wp-07/"]);
}
