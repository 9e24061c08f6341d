//! A node that does not know what time it is, from its first scan to the day it learns it, against a world that does:
//! nothing lost, nothing reordered, and each time put right within what is said of it.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::config::{Gps, ReadPoint};
use crate::domain::Seq;
use crate::ingest::Feed;
use crate::ingest::tests::{Bench, door, gps, sentence};
use crate::source::{Conn, Input};
use crate::wire;

/// True time at `CLOCK_BOOTTIME` 0: 2026-11-26T08:00:00Z.
const BEGAN_MS: i64 = 1_795_680_000_000;
const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 31_556_952_000;

struct World {
    bench: Bench,
    almanac: Almanac,
    scans: i64,
    fixes: i64,
    /// The place of the pallet's last scan.
    last: String,
}

impl World {
    /// A node that is switched on, its wall clock off by so much.
    fn on(off_ms: i64) -> Self {
        let bench = Bench::new();
        bench.clock.set_wall_ms(BEGAN_MS + bench.clock.now().mono_ms() + off_ms);
        Self { almanac: almanac(&bench), bench, scans: 0, fixes: 0, last: String::new() }
    }

    /// Somebody sets the wall clock; nobody vouches for it.
    fn set_wall(&self, off_ms: i64) {
        self.bench.clock.set_wall_ms(self.utc_ms() + off_ms);
    }

    fn utc_ms(&self) -> i64 {
        BEGAN_MS + self.bench.clock.now().mono_ms()
    }

    /// The process ends and is started again in the same boot, as [`crate::app`] does it.
    async fn restart(self) -> Self {
        let Self { bench, almanac: before, scans, fixes, last } = self;
        drop(before);
        let mut bench = bench.reopen();
        let boot = bench.node.store.boot();
        let known = bench.node.store.read(move |reader| reader.anchors(boot)).await.unwrap();
        bench.node.keeper = Keeper::with_ntp_mark(bench.clock.clone(), 0, "/nonexistent/mark".into()).knowing(known);
        Self { almanac: almanac(&bench), bench, scans, fixes, last }
    }

    /// So many seconds: in each a scan of a pallet, at three doors in turn, and a fix of a receiver that is no clock.
    async fn live(&mut self, seconds: i64) {
        for _ in 0..seconds {
            let place = format!("door-{}", self.scans % 3);
            let reader = door(|scanner| {
                scanner.id.clone_from(&place);
                scanner.place = ReadPoint::Place(place.clone());
                scanner.repeat_window = Duration::ZERO;
            });
            self.bench.take(reader, vec![self.bench.bytes(b"PALLET-1\r")]).await;
            self.scans += 1;
            self.last = place;
            let Feed::Gps(config) = gps() else { panic!("a receiver") };
            let watch = Feed::Gps(Gps { id: "watch".into(), clock: false, ..config });
            self.bench.take(watch, vec![self.epoch(), self.end()]).await;
            self.fixes += 1;
            self.bench.clock.advance_ms(1_000);
        }
    }

    /// A receiver that is a clock sees the sky.
    async fn sky(&mut self, seconds: i64, ahead_ms: i64) {
        for _ in 0..seconds {
            self.bench.take(gps(), vec![self.epoch_at(self.utc_ms() + ahead_ms), self.end()]).await;
            self.fixes += 1;
            self.bench.clock.advance_ms(1_000);
            self.almanac.look().await;
        }
    }

    fn epoch(&self) -> Input {
        self.epoch_at(self.utc_ms())
    }

    /// The epoch of now, 200 ms late.
    fn epoch_at(&self, utc_ms: i64) -> Input {
        let text = wire::rfc3339(utc_ms - 200);
        let (day, time) = (&text[..10], text[11..22].replace(':', ""));
        let date = format!("{}{}{}", &day[8..], &day[5..7], &day[2..4]);
        let lat = format!("5907.{:05}", 40_000 + self.fixes % 1_000);
        let rmc = sentence(&format!("GPRMC,{time},A,{lat},N,01123.25128,E,0.1,0.0,{date},,"));
        self.bench.bytes(rmc.as_bytes())
    }

    /// The port is closed after it: what was read is an epoch.
    fn end(&self) -> Input {
        Input::Lost { conn: Conn(1), why: crate::source::Lost::Eof, at: self.bench.clock.now() }
    }

    /// What the centre has: the events, and what was said of the times of boots.
    async fn centre(&self) -> (Vec<Value>, Vec<Value>) {
        let rows = self.bench.rows().await;
        let events = rows.iter().map(|row| serde_json::from_str(&wire::event(row, false)).unwrap()).collect();
        let boot = self.bench.node.store.boot();
        let times = self.bench.node.store.read(move |reader| reader.times_of_unsent(boot)).await.unwrap();
        let spans = times.iter().flat_map(|time| time.spans.iter().map(|span| (time.boot, *span)));
        let word = |(boot, span)| {
            let mut word = serde_json::to_value(span).unwrap();
            word["boot"] = Value::from(boot);
            word
        };
        (events, spans.map(word).collect())
    }
}

fn almanac(bench: &Bench) -> Almanac {
    Almanac::new(bench.node.store.clone(), bench.node.board.clone(), bench.node.keeper.clone())
}

/// What a centre makes of an event's time by `docs/mqtt.md`, and how sure it is; none where it keeps it.
fn put_right(event: &Value, words: &[Value]) -> Option<(i64, i64)> {
    let n = |value: &Value, key: &str| value[key].as_i64().unwrap();
    if !matches!(event["tq"].as_str(), Some("none" | "rtc")) || event["ts_ms"] != event["received_ms"] {
        return None;
    }
    let mono_ms = n(event, "mono_ms");
    let covers = |word: &&Value| {
        word["boot"] == event["boot"] && n(word, "from_mono_ms") <= mono_ms && mono_ms < n(word, "to_mono_ms")
    };
    let word = words.iter().find(covers).unwrap_or_else(|| panic!("nothing is said of {event}: {words:#?}"));
    Some((n(event, "ts_ms") + n(word, "offset_ms"), n(word, "err_ms")))
}

/// Every time is what it was in truth. Answers how many had to be put right.
async fn assert_right(world: &World) -> usize {
    let (events, words) = world.centre().await;
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((of("scan"), of("fix")), (usize::try_from(world.scans).unwrap(), usize::try_from(world.fixes).unwrap()));
    let seqs: Vec<i64> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>(), "nothing is missing");
    let monos: Vec<i64> = events.iter().map(|event| event["mono_ms"].as_i64().unwrap()).collect();
    assert!(monos.is_sorted(), "the order is that of the receipts");
    let mut corrected = 0;
    for event in &events {
        let truth = BEGAN_MS + event["mono_ms"].as_i64().unwrap();
        let right = put_right(event, &words);
        corrected += usize::from(right.is_some());
        let (ms, err_ms) = right.unwrap_or((event["ts_ms"].as_i64().unwrap(), 1_100));
        assert!(
            (ms - truth).abs() <= err_ms && err_ms < 5_000,
            "{} off by {} of {err_ms}: {event}",
            event["kind"],
            ms - truth
        );
    }
    let place = world.bench.node.store.read(|reader| reader.asset("raw:PALLET-1")).await.unwrap().unwrap().place;
    assert_eq!(place.as_ref(), Some(&world.last), "it is where it was scanned last");
    assert_eq!(world.bench.ledger().await.imbalance(), 0);
    corrected
}

#[tokio::test]
async fn five_hundred_events_of_a_boot_at_1970_are_put_right_when_a_receiver_tells_the_time() {
    let mut world = World::on(-56 * YEAR_MS);
    world.live(250).await;
    world.sky(12, 0).await;
    world.live(5).await;
    assert!(assert_right(&world).await >= 250, "each scan and what followed from it");
    let told = world.bench.node.store.read(|reader| reader.times_of_unsent(1)).await.unwrap();
    assert_eq!((told.len(), told[0].rev), (1, 1), "said once");
    let Some(State::Clock(clock)) = world.bench.node.board.get("clock", "") else { panic!("no clock") };
    assert_eq!((clock.tq, clock.by.as_deref(), clock.rev), ("gnss", Some("gps0"), Some(1)));
    assert!(clock.text.contains("a clock that was 56 years slow"), "{}", clock.text);
}

#[tokio::test]
async fn a_restart_between_the_events_and_the_time_changes_nothing() {
    let mut world = World::on(-56 * YEAR_MS);
    world.live(30).await;
    world = world.restart().await;
    world.live(30).await;
    world.sky(12, 0).await;
    world = world.restart().await;
    assert!(world.bench.node.keeper.time_of(world.bench.clock.now()).1.is_trusted(), "what was known is known");
    world.live(30).await;
    world.almanac.look().await;
    assert!(assert_right(&world).await >= 60);
    let told = world.bench.node.store.read(|reader| reader.times_of_unsent(1)).await.unwrap();
    assert_eq!((told[0].rev, told[0].spans.len()), (1, 1), "{:?}", told[0].spans);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_while_nobody_knows_the_time_is_put_right_for_each_stretch_of_it() {
    let mut world = World::on(-56 * YEAR_MS);
    let offs = [20 * YEAR_MS, -HOUR_MS, 1024 * 7 * 86_400_000, -77 * HOUR_MS, 0];
    for (nth, off_ms) in offs.into_iter().enumerate() {
        world.live(10).await;
        world.set_wall(off_ms);
        world.live(10).await;
        // Asleep for a night: CLOCK_BOOTTIME goes on, and so does the wall clock.
        world.bench.clock.advance_ms(8 * HOUR_MS / i64::try_from(offs.len()).unwrap());
        if nth == 2 {
            world = world.restart().await;
        }
    }
    world.sky(12, 0).await;
    assert!(assert_right(&world).await >= 100);
    let told = world.bench.node.store.read(|reader| reader.times_of_unsent(1)).await.unwrap();
    assert_eq!(told[0].spans.len(), offs.len() + 1, "{:#?}", told[0].spans);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_after_the_time_is_known_moves_no_event() {
    let mut world = World::on(-56 * YEAR_MS);
    world.sky(12, 0).await;
    for off_ms in [20 * YEAR_MS, -HOUR_MS, 1024 * 7 * 86_400_000, -56 * YEAR_MS] {
        world.set_wall(off_ms);
        world.live(10).await;
        world.sky(2, 0).await;
    }
    assert_eq!(assert_right(&world).await, 0);
}

#[tokio::test]
async fn a_receiver_that_began_twenty_years_ahead_is_put_right_with_all_that_it_dated() {
    let mut world = World::on(-56 * YEAR_MS);
    world.live(20).await;
    world.sky(12, 20 * YEAR_MS).await;
    assert_eq!(world.bench.node.board.get("alarm", DISAGREES), None);
    let before = world.bench.node.store.read(|reader| reader.times_of_unsent(1)).await.unwrap();
    assert!(before[0].spans[0].offset_ms > 70 * YEAR_MS);
    // It finds its feet; what it said before is not believed for longer than it was said.
    world.sky(30, 0).await;
    let after = world.bench.node.store.read(|reader| reader.times_of_unsent(1)).await.unwrap();
    assert_eq!(after[0].rev, 2, "said anew, once");
    let (events, words) = world.centre().await;
    for event in events.iter().filter(|event| event["kind"] == "scan") {
        let (ms, err_ms) = put_right(event, &words).unwrap();
        assert!((ms - BEGAN_MS - event["mono_ms"].as_i64().unwrap()).abs() <= err_ms, "{event}");
    }
    world.bench.clock.advance_ms(5_000);
    world.sky(3, 0).await;
    let rows = world.bench.rows().await;
    let newest = rows.iter().rev().find(|row| row.asset.as_deref() == Some("TRK-07")).unwrap();
    let truck = world.bench.node.store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap();
    assert_eq!(
        (truck.id, truck.seq > Seq(0)),
        (newest.id, true),
        "its newest fix is the present: none is late for ever"
    );
}

#[test]
fn spans_are_said_in_their_largest_unit() {
    let said: Vec<String> =
        [1_103, 45_000, 600_000, 8 * HOUR_MS, 30 * 86_400_000, 56 * YEAR_MS].iter().map(|ms| span_text(*ms)).collect();
    assert_eq!(said, ["1.1 s", "45 s", "10 min", "8 h", "30 days", "56 years"]);
}
