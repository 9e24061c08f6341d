//! Against a map in the order of keys: whatever comes in whichever order is found again, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::domain::{By, EventId, PlaceSaid, Said, SaidKey, TimeQuality};

const ASSETS: [&str; 2] = ["TRL-1", "TRL-2"];

fn table() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(include_str!("../../migrations/0001_spine.sql")).unwrap();
    for asset in ASSETS {
        conn.execute(
            "insert into places (asset, id, seq, ts_ms, tq, boot, mono_ms) values (?1, zeroblob(16), 0, 0, 'ntp', 1, 0)",
            [asset],
        )
        .unwrap();
    }
    conn
}

/// A word of a time, received at `mono_ms`.
fn word(order_ms: i64, mono_ms: i64) -> Said {
    Said {
        key: SaidKey { order_ms, nudge: 0, cause: EventId([7; 16]), nth: 0 },
        ts_ms: order_ms,
        tq: TimeQuality::Ntp,
        received: (1, mono_ms),
        place: PlaceSaid::At(format!("dock-{mono_ms}")),
        by: By::Scan,
    }
}

fn found(conn: &Connection, asset: &str) -> Vec<Said> {
    back(conn, asset).unwrap().map(|row| row.unwrap().link).collect()
}

fn count(conn: &Connection, asset: &str) -> usize {
    let n: i64 = conn.query_row("select count(*) from said where asset = ?1", [asset], |row| row.get(0)).unwrap();
    usize::try_from(n).unwrap()
}

type Model = BTreeMap<(usize, SaidKey), Said>;

fn in_model(model: &Model, asset: usize) -> Vec<Said> {
    model.iter().rev().filter(|((of, _), _)| *of == asset).map(|(_, said)| said.clone()).collect()
}

proptest! {
    #[test]
    fn what_comes_in_any_order_is_found_in_the_order_of_when(
        steps in prop::collection::vec((0..2_usize, 0..12_i64, 0..4_u8), 1..60)
    ) {
        let (conn, mut model) = (table(), Model::new());
        for (mono_ms, (asset, order_ms, what)) in (0..).zip(steps) {
            let said = word(order_ms, mono_ms);
            if what == 0 {
                remove::<Said>(&conn, ASSETS[asset], &said.key).unwrap();
                model.remove(&(asset, said.key));
            } else {
                add(&conn, ASSETS[asset], &said).unwrap();
                model.insert((asset, said.key), said);
            }
            for (nth, asset) in ASSETS.into_iter().enumerate() {
                prop_assert_eq!(found(&conn, asset), in_model(&model, nth));
            }
        }
    }

    #[test]
    fn what_is_thinned_leaves_the_last_word_before_and_every_word_after(
        steps in prop::collection::vec((0..2_usize, 0..40_i64), 1..60),
        passes in prop::collection::vec((0..40_i64, 0..60_i64), 1..5)
    ) {
        let (conn, mut model) = (table(), Model::new());
        for (mono_ms, (asset, order_ms)) in (0..).zip(steps) {
            let said = word(order_ms, mono_ms);
            add(&conn, ASSETS[asset], &said).unwrap();
            model.insert((asset, said.key), said);
        }
        let of_first = BTreeSet::from([ASSETS[0].to_owned()]);
        for (before_ms, received) in passes {
            thin::<Said>(&conn, &of_first, before_ms, |said| said.received <= (1, received)).unwrap();
            let left = found(&conn, ASSETS[0]);
            prop_assert_eq!(count(&conn, ASSETS[0]), left.len(), "none is lost in the table");
            let (all, last) = (in_model(&model, 0), |of: &[Said]| of.iter().find(|said| said.key.order_ms < before_ms).cloned());
            prop_assert_eq!(last(&left), last(&all));
            let stays = |said: &&Said| said.key.order_ms >= before_ms || said.received > (1, received);
            prop_assert!(all.iter().filter(stays).all(|said| left.contains(said)));
            prop_assert_eq!(found(&conn, ASSETS[1]), in_model(&model, 1), "the other was not asked for");
            model.retain(|(asset, _), said| *asset == 1 || left.contains(said));
        }
    }
}

#[test]
fn what_is_renamed_is_found_under_its_new_name_and_what_is_cleared_nowhere() {
    let conn = table();
    for n in 0..5 {
        add(&conn, "TRL-1", &word(n, n)).unwrap();
    }
    clear::<Said>(&conn, "TRL-2").unwrap();
    conn.execute("delete from places where asset = 'TRL-2'", []).unwrap();
    rename::<Said>(&conn, "TRL-1", "TRL-2").unwrap();
    conn.execute("update places set asset = 'TRL-2'", []).unwrap();
    assert_eq!((found(&conn, "TRL-2").len(), count(&conn, "TRL-2"), count(&conn, "TRL-1")), (5, 5, 0));
    clear::<Said>(&conn, "TRL-2").unwrap();
    assert_eq!((found(&conn, "TRL-2").len(), count(&conn, "TRL-2")), (0, 0));
}

#[test]
fn a_word_on_an_asset_that_nobody_knows_is_refused_and_a_damaged_table_ends_where_a_row_is_missing() {
    let conn = table();
    assert!(add(&conn, "TRL-3", &word(1, 1)).is_err());
    for n in 0..5 {
        add(&conn, "TRL-1", &word(n, n)).unwrap();
    }
    conn.execute("delete from said where asset = 'TRL-1' and order_ms = 2", []).unwrap();
    assert_eq!(found(&conn, "TRL-1").iter().map(|said| said.key.order_ms).collect::<Vec<_>>(), [4, 3]);
}
