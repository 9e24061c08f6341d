//! Late, doubtful and contradicting events on a real store: the present never turns back, and the history that is told in
//! the end does not depend on the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use super::simulated::plain;
use super::tests::{Bench, door, gps, sentence};
use super::*;
use crate::config::{Effect, ReadPoint};
use crate::domain::{EventId, Kind, Row, TimeQuality, UnixMs};
use crate::plan::Plan;
use crate::projection::{Rebuild, difference};
use crate::store::Filter;

/// 02:00:00 on 20 November 2026.
pub(crate) const MORNING_MS: UnixMs = crate::clock::BUILD_FLOOR_MS + 2 * 3_600_000;

fn desk(bench: &Bench, feed: Feed) -> Arc<Desk> {
    Arc::new(Desk {
        source: feed.id().to_owned(),
        node: "wp-07".into(),
        boot_id: "b00t".into(),
        feed,
        unknown: Unknown::Accept,
        published: Arc::default(),
        own_asset: "TRK-07".into(),
        carriers: Arc::clone(&bench.node.carriers),
    })
}

/// A read of a code at a door, some seconds into the morning, received then.
fn read(code: &str, second: i64) -> Frame {
    let at = Stamp { mono_us: (1_000 + second) * 1_000_000, wall_ms: MORNING_MS + second * 1000 };
    Frame::Scan { scan: Box::new(plain(code)), at, nth: 0, when: (at.wall_ms, TimeQuality::Ntp), peer: None }
}

/// A read somewhere: the code, the place, when it was received, and how far the node knew the time then.
pub(crate) type Read = (String, String, Stamp, TimeQuality);

/// Takes reads in through the whole way, so many to a transaction.
pub(crate) async fn take_reads(bench: &Bench, reads: &[Read]) {
    for some in reads.chunks(200) {
        let desks: Vec<_> = some
            .iter()
            .map(|(code, place, at_, tq)| {
                let Frame::Scan { scan, nth, peer, .. } = read(code, 0) else { panic!("a scan") };
                let frame = Frame::Scan { scan, at: *at_, nth, when: (at_.wall_ms, *tq), peer };
                (desk(bench, at(place)), frame)
            })
            .collect();
        bench
            .node
            .store
            .submit(Group::Now, move |txn| {
                desks.iter().try_for_each(|(desk, frame)| take::take(txn, desk, std::slice::from_ref(frame)).map(drop))
            })
            .await
            .unwrap();
    }
}

fn at(place: &str) -> Feed {
    door(|scanner| {
        scanner.id = place.into();
        scanner.place = ReadPoint::Place(place.into());
        scanner.repeat_window = Duration::ZERO;
    })
}

async fn take_all(bench: &Bench, frames: Vec<(Feed, Frame)>) {
    for (feed, frame) in frames {
        let desk = desk(bench, feed);
        let frames = [frame];
        bench.node.store.submit(Group::Now, move |txn| take::take(txn, &desk, &frames)).await.unwrap();
    }
}

/// The turns that hold, told from the log alone as a subscriber would: a void takes back what it names, a void of a void
/// gives it back.
fn held(rows: &[Row]) -> BTreeSet<(UnixMs, String, String, String)> {
    let body = |row: &Row| serde_json::from_str::<serde_json::Value>(&row.body).unwrap();
    let mut voided: BTreeMap<EventId, bool> = BTreeMap::new();
    for row in rows.iter().rev().filter(|row| row.kind == Kind::Place) {
        if let Some(id) = body(row)["voids"].as_str().and_then(|id| id.parse().ok())
            && !voided.get(&row.id).copied().unwrap_or(false)
        {
            voided.insert(id, true);
        }
    }
    let places = rows.iter().filter(|row| row.kind == Kind::Place && body(row)["change"] != "void");
    places
        .filter(|row| !voided.contains_key(&row.id))
        .map(|row| {
            let (asset, place) = (row.asset.clone().unwrap(), row.place.clone().unwrap());
            (row.ts_ms, asset, body(row)["change"].as_str().unwrap().to_owned(), place)
        })
        .collect()
}

/// The same by the table that `GET /assets/{id}/history` reads.
async fn tabled(bench: &Bench, assets: &[&str]) -> BTreeSet<(UnixMs, String, String, String)> {
    let mut all = BTreeSet::new();
    for asset in assets {
        let name = (*asset).to_owned();
        for told in bench.node.store.read(move |reader| reader.turns(&name, 20_000)).await.unwrap() {
            all.insert((told.turn.since_ms, (*asset).into(), told.turn.change.as_str().into(), told.turn.place));
        }
    }
    all
}

/// The present of all assets without what only tells of arrival.
async fn present(bench: &Bench) -> Vec<String> {
    let (assets, _) = bench.node.store.read(|reader| reader.assets(1000)).await.unwrap();
    let mut all: Vec<String> = assets
        .into_iter()
        .map(|state| format!("{:?}", AssetState { seq: crate::domain::Seq(0), received: (0, 0), ..state }))
        .collect();
    all.sort_unstable();
    all
}

pub(super) async fn rows(bench: &Bench) -> Vec<Row> {
    let mut all: Vec<Row> = Vec::new();
    loop {
        let after = all.last().map_or(crate::domain::Seq(0), |row| row.seq);
        let page = bench.node.store.read(move |reader| reader.after(after, 5000, &Filter::default())).await.unwrap();
        if page.rows.is_empty() {
            return all;
        }
        all.extend(page.rows);
    }
}

/// The places told from the log equal the table.
async fn assert_rebuilt(bench: &Bench) {
    let mut rebuild = Rebuild::new(Vec::new(), BTreeMap::new());
    rows(bench).await.iter().for_each(|row| rebuild.hear(row));
    let (mut table, _) = bench.node.store.read(|reader| reader.assets(1000)).await.unwrap();
    let told: Vec<AssetState> = rebuild.names().filter_map(|name| rebuild.asset(name)).collect();
    table.sort_by(|a, b| a.asset.cmp(&b.asset));
    assert_eq!(table.len(), told.len());
    for (table, told) in table.iter().zip(&told) {
        assert_eq!(difference(Some(table), Some(told)), None, "{}", table.asset);
    }
}

pub(super) fn told(rows: &[Row]) -> Vec<String> {
    let body = |row: &Row| serde_json::from_str::<serde_json::Value>(&row.body).unwrap();
    rows.iter()
        .filter(|row| row.kind == Kind::Place)
        .map(|row| {
            let late = if body(row)["late"] == true { " late" } else { "" };
            let second = (row.ts_ms - MORNING_MS) / 1000;
            format!("{second} {} {}{late}", body(row)["change"].as_str().unwrap(), row.place.as_deref().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_late_read_rewrites_the_history_and_leaves_the_present_alone() {
    let bench = Bench::trusted_on(Plan::empty(), &["gps0"], MORNING_MS);
    let frames = vec![
        (at("gate"), read("T", 10)),
        (at("gate"), read("T", 20)),
        (at("dock"), read("T", 40)),
        (at("bay"), read("T", 15)),
    ];
    take_all(&bench, frames).await;
    let rows = rows(&bench).await;
    assert_eq!(
        told(&rows),
        [
            "10 enter gate",
            "40 exit gate",
            "40 enter dock",
            "15 exit gate late",
            "15 enter bay late",
            "20 exit bay late",
            "20 enter gate late",
        ]
    );
    let state = bench.node.store.read(|reader| reader.asset("raw:T")).await.unwrap().unwrap();
    assert_eq!((state.place.as_deref(), state.since_ms), (Some("dock"), Some(MORNING_MS + 40_000)));
    assert_eq!(held(&rows), tabled(&bench, &["raw:T"]).await);
    assert_eq!(bench.ledger().await.imbalance(), 0);
    assert_rebuilt(&bench).await;
}

#[tokio::test]
async fn what_a_late_read_makes_untrue_is_voided_and_can_become_true_again() {
    let bench = Bench::trusted_on(Plan::empty(), &["gps0"], MORNING_MS);
    let leave = door(|scanner| {
        scanner.id = "out".into();
        scanner.place = ReadPoint::Place("gate".into());
        scanner.effect = Effect::Leave;
        scanner.repeat_window = Duration::ZERO;
    });
    take_all(&bench, vec![(at("gate"), read("T", 20)), (at("gate"), read("T", 10)), (leave, read("T", 15))]).await;
    let rows = rows(&bench).await;
    assert_eq!(
        told(&rows),
        [
            "20 enter gate",
            "20 void gate late",
            "10 enter gate late",
            "15 exit gate late",
            // The turn of 20 holds again: its void is voided.
            "20 void gate late",
        ]
    );
    let state = bench.node.store.read(|reader| reader.asset("raw:T")).await.unwrap().unwrap();
    assert_eq!((state.place.as_deref(), state.since_ms), (Some("gate"), Some(MORNING_MS + 20_000)));
    assert_eq!(held(&rows), tabled(&bench, &["raw:T"]).await);
    assert_eq!(held(&rows).len(), 3);
    assert_rebuilt(&bench).await;
}

#[tokio::test]
async fn a_late_word_that_nothing_later_contradicts_changes_the_present() {
    let bench = Bench::trusted_on(Plan::empty(), &["gps0"], MORNING_MS);
    let aside = door(|scanner| {
        scanner.id = "aside".into();
        scanner.place = ReadPoint::Unknown;
        scanner.repeat_window = Duration::ZERO;
    });
    take_all(&bench, vec![(at("gate"), read("T", 10)), (aside, read("T", 30)), (at("dock"), read("T", 20))]).await;
    let state = bench.node.store.read(|reader| reader.asset("raw:T")).await.unwrap().unwrap();
    assert_eq!((state.place.as_deref(), state.ts_ms), (Some("dock"), MORNING_MS + 30_000));
    assert_rebuilt(&bench).await;
}

#[tokio::test]
async fn a_word_that_changes_nothing_is_still_the_last_that_was_said() {
    let bench = Bench::trusted_on(Plan::empty(), &["gps0"], MORNING_MS);
    let aside = door(|scanner| {
        scanner.id = "aside".into();
        scanner.place = ReadPoint::Unknown;
        scanner.repeat_window = Duration::ZERO;
    });
    let frames = [(at("gate"), 10), (aside, 30), (at("gate"), 20), (at("dock"), 15)];
    take_all(&bench, frames.into_iter().map(|(feed, second)| (feed, read("T", second))).collect()).await;
    let state = bench.node.store.read(|reader| reader.asset("raw:T")).await.unwrap().unwrap();
    assert_eq!((state.place.as_deref(), state.since_ms), (Some("gate"), Some(MORNING_MS + 20_000)));
    let rows = rows(&bench).await;
    assert_eq!(held(&rows), tabled(&bench, &["raw:T"]).await);
    assert_rebuilt(&bench).await;
}

/// Three zones along a road of 600 m to the north: a gate across it, a yard, and a dock in the yard.
pub(crate) fn yard() -> Plan {
    Plan::parse(&drawn(&YARD)).unwrap()
}

/// Id, kind, and where it reaches: south, north, west, east. Metres.
pub(crate) type Drawn = (&'static str, &'static str, [f64; 4]);

pub(crate) const YARD: [Drawn; 3] = [
    ("gate", "gate", [100.0, 106.0, -20.0, 20.0]),
    ("yard", "building", [200.0, 500.0, -50.0, 50.0]),
    ("dock-3", "dock", [400.0, 420.0, -10.0, 10.0]),
];

/// A plan of rectangles along the road.
pub(crate) fn drawn(zones: &[Drawn]) -> String {
    let zone = |(id, kind, [south, north, west, east]): &Drawn| {
        let (s, n) = (59.0 + south / 111_195.0, 59.0 + north / 111_195.0);
        let (w, e) = (11.0 + west / 57_270.0, 11.0 + east / 57_270.0);
        serde_json::json!({"type":"Feature","properties":{"id":id,"kind":kind},"geometry":{"type":"Polygon",
            "coordinates":[[[w,s],[e,s],[e,n],[w,n],[w,s]]]}})
    };
    let features: Vec<_> = zones.iter().map(zone).collect();
    serde_json::json!({"type":"FeatureCollection","features":features}).to_string()
}

/// RMC and GGA of one second of the morning, so many metres north of the south end of the road.
fn epoch(second: i64, north_m: f64, speed_mps: f64) -> Vec<u8> {
    let lat = 59.0 + north_m / 111_195.0;
    let lat = format!("{:02}{:09.6},N", lat.trunc(), lat.fract() * 60.0);
    let at = crate::wire::rfc3339(MORNING_MS + second * 1000);
    let time = format!("{}{}{}.00", &at[11..13], &at[14..16], &at[17..19]);
    let date = format!("{}{}{}", &at[8..10], &at[5..7], &at[2..4]);
    let knots = speed_mps * 3600.0 / 1852.0;
    // No two seconds are at the very same spot: that would be a frozen receiver.
    let lon = format!("01100.{:06},E", second % 10_000);
    let rmc = sentence(&format!("GPRMC,{time},A,{lat},{lon},{knots:.2},0.0,{date},,,A"));
    let gga = sentence(&format!("GPGGA,{time},{lat},{lon},1,09,0.9,12.3,M,46.9,M,,"));
    (rmc + &gga).into_bytes()
}

/// What a receiver of the truck sends in these seconds, as frames, in the order given.
fn drive(bench: &Bench, id: &str, seconds: &[(i64, f64, f64)]) -> Vec<(Feed, Frame)> {
    let Feed::Gps(config) = gps() else { panic!("a receiver") };
    let feed = Feed::Gps(crate::config::Gps { id: id.into(), clock: false, ..config });
    let light = Light::new(bench.node.board.clone(), bench.clock.clone(), id, "gps", "test");
    let mut ears = Ears::new(feed.clone(), light, &bench.node, bench.ring());
    let mut frames = Vec::new();
    let mut keep = |heard: Vec<Heard>| {
        frames.extend(heard.into_iter().filter_map(|heard| match heard {
            Heard::Frame(frame, _) => Some((feed.clone(), frame)),
            Heard::Counted { .. } => None,
        }));
    };
    for (second, north_m, speed_mps) in seconds {
        keep(ears.hear(bench.bytes(&epoch(*second, *north_m, *speed_mps))));
        bench.clock.advance_ms(500);
        keep(ears.tick(bench.clock.now()));
        bench.clock.advance_ms(500);
    }
    frames
}

/// Takes in what the truck sends in these seconds of the morning and the days after it.
pub(crate) async fn drive_in(bench: &Bench, seconds: &[(i64, f64, f64)]) {
    take_all(bench, drive(bench, "gps0", seconds)).await;
}

#[tokio::test]
async fn a_truck_that_drives_in_changes_its_place_at_the_edges() {
    let bench = Bench::trusted_on(yard(), &["gps0"], MORNING_MS);
    let way: Vec<_> = (0..60).map(|s| (s, f64::from(i32::try_from(s).unwrap()) * 8.0, 8.0)).collect();
    take_all(&bench, drive(&bench, "gps0", &way)).await;
    let rows = rows(&bench).await;
    assert_eq!(
        told(&rows),
        [
            "13 enter gate",
            "16 exit gate",
            "25 enter yard",
            "51 exit yard",
            "51 enter dock-3",
            "55 exit dock-3",
            "55 enter yard"
        ]
    );
    assert_eq!(held(&rows), tabled(&bench, &["TRK-07"]).await);
    assert_rebuilt(&bench).await;
}

#[tokio::test]
async fn a_scan_that_gps_contradicts_stands_and_the_contradiction_shows() {
    let bench = Bench::trusted_on(yard(), &["gps0"], MORNING_MS);
    let stand: Vec<_> = (0..5).map(|s| (s, 450.0, 0.0)).collect();
    take_all(&bench, drive(&bench, "gps0", &stand)).await;
    bench.register("raw:T", "TRK-07");
    take_all(&bench, vec![(at("dock-3"), read("T", 60))]).await;
    let state = bench.node.store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap();
    assert_eq!((state.place.as_deref(), state.gps_place.as_deref()), (Some("dock-3"), Some("yard")));
    take_all(&bench, vec![(at("yard"), read("T", 70))]).await;
    let state = bench.node.store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap();
    assert_eq!((state.place.as_deref(), state.gps_place.as_deref()), (Some("yard"), None));
}

#[tokio::test]
async fn the_spare_receiver_tells_and_moves_nothing_until_it_leads() {
    let bench = Bench::trusted_on(yard(), &["roof", "dash"], MORNING_MS);
    let ticks = |from: i64, n: i64, north: f64| (from..from + n).map(|s| (s, north, 0.0)).collect::<Vec<_>>();
    let mut frames = drive(&bench, "roof", &ticks(0, 2, 300.0));
    frames.extend(drive(&bench, "dash", &ticks(2, 8, 10.0)));
    take_all(&bench, frames).await;
    let rows = rows(&bench).await;
    let spare: Vec<bool> =
        rows.iter().filter(|row| row.kind == Kind::Fix).map(|row| row.body.contains("\"spare\":true")).collect();
    assert_eq!(spare, [[false; 2].as_slice(), &[true; 4], &[false; 4]].concat());
    let notes: Vec<&Row> = rows.iter().filter(|row| row.kind == Kind::Note).collect();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].body.contains("receiver_switched"), "{}", notes[0].body);
    let left = bench.node.store.read(|reader| reader.carrier("TRK-07")).await.unwrap();
    assert_eq!(left.1.as_deref(), Some("dash"), "a restart goes on with it");
    assert_rebuilt(&bench).await;
}

/// The same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for n in (1..list.len()).rev() {
            list.swap(n, self.roll(n + 1));
        }
    }
}

/// A fix: second of the morning, metres north, m/s.
type Seen = (i64, f64, f64);
/// A read: ms of the morning, code, place.
type DoorRead = (i64, String, &'static str);

/// A day of a truck that goes up and down the road and of reads at five places: fixes by second and metres north, reads by
/// second, code and place.
fn day(fixes: usize, reads: usize) -> (Vec<Seen>, Vec<DoorRead>) {
    let mut dice = Dice(7);
    let (mut north, mut speed) = (0.0_f64, 6.0_f64);
    let mut way = Vec::new();
    for second in 0..i64::try_from(fixes).unwrap() {
        if dice.roll(40) == 0 {
            speed = [-9.0, -6.0, 0.0, 6.0, 9.0][dice.roll(5)];
        }
        let before = north;
        north = (north + speed).clamp(0.0, 600.0);
        way.push((second, north, (north - before).abs()));
    }
    let places = ["gate", "dock-3", "bay-1", "bay-2", "hall"];
    let reads = (0..reads)
        .map(|n| {
            let second = i64::try_from(dice.roll(fixes)).unwrap() * 1000 + i64::try_from(n % 1000).unwrap();
            (second, format!("P-{}", dice.roll(40)), places[dice.roll(5)])
        })
        .collect();
    (way, reads)
}

async fn live_through(fixes: &[Seen], reads: &[DoorRead], order: Option<u64>) -> Bench {
    let bench = Bench::trusted_on(yard(), &["gps0"], MORNING_MS);
    // The day is over when its events come: none is ahead of the clock.
    bench.clock.advance_ms(30_000_000);
    let (mut fixes, mut reads) = (fixes.to_vec(), reads.to_vec());
    reads.sort_by_key(|read| read.0);
    if let Some(seed) = order {
        Dice(seed).shuffle(&mut fixes);
        Dice(seed + 1).shuffle(&mut reads);
    }
    let frames = drive(&bench, "gps0", &fixes);
    for some in frames.chunks(200) {
        let some: Vec<Frame> = some.iter().map(|(_, frame)| frame.clone()).collect();
        let desk = desk(&bench, gps());
        bench.node.store.submit(Group::Now, move |txn| take::take(txn, &desk, &some)).await.unwrap();
    }
    for some in reads.chunks(200) {
        let desks: Vec<_> =
            some.iter().map(|(ms, code, place)| (desk(&bench, at(place)), retried(code, *ms))).collect();
        bench
            .node
            .store
            .submit(Group::Now, move |txn| {
                desks
                    .iter()
                    .try_for_each(|(desk, frame)| take::take(txn, desk, std::slice::from_ref(frame)).map(|_| ()))
            })
            .await
            .unwrap();
    }
    bench
}

/// A read with its own time and receipt, by the ms of the morning.
fn retried(code: &str, ms: i64) -> Frame {
    let Frame::Scan { scan, nth, peer, .. } = read(code, 0) else { panic!("a scan") };
    let at = Stamp { mono_us: 1_000_000_000 + ms * 1000, wall_ms: MORNING_MS + ms };
    Frame::Scan { scan, at, nth, when: (at.wall_ms, TimeQuality::Ntp), peer }
}

#[tokio::test]
async fn a_shuffled_day_ends_in_the_same_places_and_the_same_transitions_as_an_ordered_one() {
    let full = std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full");
    let (fixes, reads) = if full { day(6_000, 4_000) } else { day(900, 600) };
    let ordered = live_through(&fixes, &reads, None).await;
    let in_order = rows(&ordered).await;
    assert!(held(&in_order).len() > 100, "{}", held(&in_order).len());
    assert!(!told(&in_order).iter().any(|one| one.ends_with("late")), "nothing was late");
    assert_rebuilt(&ordered).await;
    for seed in [3, 17] {
        let shuffled = live_through(&fixes, &reads, Some(seed)).await;
        let rows = rows(&shuffled).await;
        let n_late = told(&rows).iter().filter(|one| one.ends_with("late")).count();
        assert!(n_late > 100, "{n_late}");
        similar_asserts(&held(&in_order), &held(&rows));
        for (one, other) in present(&ordered).await.iter().zip(present(&shuffled).await) {
            assert_eq!(*one, other);
        }
        let assets: Vec<String> = (0..40).map(|n| format!("raw:P-{n}")).chain(["TRK-07".to_owned()]).collect();
        let names: Vec<&str> = assets.iter().map(String::as_str).collect();
        assert_eq!(held(&rows), tabled(&shuffled, &names).await);
        assert_rebuilt(&shuffled).await;
        assert_eq!(shuffled.ledger().await.imbalance(), 0);
    }
}

/// Sets that are equal, or the first that is not in both.
fn similar_asserts<T: Ord + std::fmt::Debug>(one: &BTreeSet<T>, other: &BTreeSet<T>) {
    let differing: Vec<&T> = one.symmetric_difference(other).take(5).collect();
    assert!(differing.is_empty(), "{differing:?} of {} and {}", one.len(), other.len());
}

/// What a receiver of the truck whose time may become the node's sends: metres north by second, with the date as sent. Each
/// second is received, taken and committed before the next, as in life.
async fn live(bench: &Bench, ears: &mut Ears, feed: &Feed, date: &str, seconds: &[(i64, f64, f64)]) {
    for (second, north_m, speed_mps) in seconds {
        let bytes = String::from_utf8(epoch(*second, *north_m, *speed_mps)).unwrap();
        let bytes: String = bytes
            .lines()
            .map(|line| {
                let body = line.trim_start_matches('$').split('*').next().unwrap();
                sentence(&body.replace(",201126,", &format!(",{date},")))
            })
            .collect();
        let mut heard = ears.hear(bench.bytes(bytes.as_bytes()));
        bench.clock.advance_ms(500);
        heard.extend(ears.tick(bench.clock.now()));
        bench.clock.advance_ms(500);
        let frames: Vec<Frame> = heard
            .into_iter()
            .filter_map(|heard| match heard {
                Heard::Frame(frame, _) => Some(frame),
                Heard::Counted { .. } => None,
            })
            .collect();
        let desk = desk(bench, feed.clone());
        let taken = bench.node.store.submit(Group::Now, move |txn| take::take(txn, &desk, &frames)).await.unwrap();
        if let Some(fence) = taken.fence {
            bench.node.carriers["TRK-07"].set_fence(fence);
        }
    }
}

fn stand(from: i64, n: i64, north_m: f64) -> Vec<(i64, f64, f64)> {
    (from..from + n).map(|second| (second, north_m, 0.0)).collect()
}

#[tokio::test]
async fn a_receiver_that_begins_with_a_wrong_year_freezes_its_asset_at_no_place() {
    for (clock, year) in [(true, "201130"), (false, "201130"), (true, "201144")] {
        let mut bench = Bench::trusted_on(yard(), &["gps0"], MORNING_MS);
        bench.node.keeper = crate::clock::Keeper::with_ntp_mark(bench.clock.clone(), 0, "/nonexistent/mark".into());
        let Feed::Gps(config) = gps() else { panic!("a receiver") };
        let feed = Feed::Gps(crate::config::Gps { clock, ..config });
        let light = Light::new(bench.node.board.clone(), bench.clock.clone(), "gps0", "gps", "test");
        let mut ears = Ears::new(feed.clone(), light, &bench.node, bench.ring());
        live(&bench, &mut ears, &feed, year, &stand(0, 20, 300.0)).await;
        let place = async || bench.node.store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap().place;
        assert_eq!(place().await.as_deref(), Some("yard"), "{clock} {year}");
        let out: Vec<_> = (20..60).map(|s| (s, 300.0 - 8.0 * f64::from(i32::try_from(s - 20).unwrap()), 8.0)).collect();
        live(&bench, &mut ears, &feed, "201126", &out).await;
        live(&bench, &mut ears, &feed, "201126", &stand(60, 20, 0.0)).await;
        let state = bench.node.store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap();
        assert_eq!(state.place, None, "{clock} {year}: it has driven out");
        assert!(state.position.unwrap().0 < 59.0005, "{clock} {year}: {state:?}");
        bench.clock.advance_ms(120_000);
        live(&bench, &mut ears, &feed, "201126", &stand(200, 20, 300.0)).await;
        assert_eq!(place().await.as_deref(), Some("yard"), "{clock} {year}: it is back");
        let left = bench.node.store.read(|reader| reader.carrier("TRK-07")).await.unwrap();
        assert_eq!(left.0.as_deref(), Some("1|yard|yard=i"), "{clock} {year}: a restart goes on with it");
        assert_eq!(held(&rows(&bench).await), tabled(&bench, &["TRK-07"]).await);
        assert_rebuilt(&bench).await;
        assert_eq!(bench.ledger().await.imbalance(), 0);
    }
}

#[tokio::test]
async fn a_truck_that_its_own_scanner_reads_is_not_aboard_itself() {
    let bench = Bench::trusted_on(yard(), &["gps0"], MORNING_MS);
    take_all(&bench, drive(&bench, "gps0", &stand(0, 5, 450.0))).await;
    bench.register("raw:T", "TRK-07");
    let aboard = door(|scanner| {
        scanner.id = "cab".into();
        scanner.place = ReadPoint::Aboard("TRK-07".into());
        scanner.repeat_window = Duration::ZERO;
    });
    take_all(&bench, vec![(aboard.clone(), read("T", 60)), (aboard, read("P", 61))]).await;
    let place = async |asset: &'static str| {
        bench.node.store.read(move |reader| reader.asset(asset)).await.unwrap().unwrap().place
    };
    assert_eq!(place("TRK-07").await.as_deref(), Some("yard"));
    assert_eq!(place("raw:P").await.as_deref(), Some("@TRK-07"));
    assert_rebuilt(&bench).await;
}

fn receiver(id: &str) -> Feed {
    let Feed::Gps(config) = gps() else { panic!("a receiver") };
    Feed::Gps(crate::config::Gps { id: id.into(), ..config })
}

fn listen(bench: &Bench, feed: &Feed) -> Ears {
    let light = Light::new(bench.node.board.clone(), bench.clock.clone(), feed.id(), "gps", "test");
    Ears::new(feed.clone(), light, &bench.node, bench.ring())
}

/// A life of one truck with two receivers and of two pallets: standing, driving, bytes that waited, wrong dates, restarts of
/// what listens, clocks that are set, reads that come late. In the end all receivers are right for some minutes.
#[tokio::test]
async fn whatever_happens_the_log_tells_the_table_and_the_truck_is_where_it_is() {
    let lives = if std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full") { 60 } else { 6 };
    for seed in 1..=lives {
        let mut bench = Bench::trusted_on(yard(), &["roof", "dash"], MORNING_MS + 100_000);
        if seed % 2 == 0 {
            bench.node.keeper = crate::clock::Keeper::with_ntp_mark(bench.clock.clone(), 0, "/nonexistent/mark".into());
        }
        let mut dice = Dice(seed);
        let (mut ears, mut now) = (BTreeMap::new(), 100);
        for _ in 0..25 {
            something_happens(&bench, &mut dice, &mut ears, &mut now).await;
        }
        bench.clock.set_wall_ms(MORNING_MS + now * 1000);
        // As long as it takes until receivers that were wrong for long are believed again.
        for id in ["roof", "dash", "roof", "dash"] {
            let feed = receiver(id);
            let ears = ears.entry(id).or_insert_with(|| listen(&bench, &feed));
            live(&bench, ears, &feed, "201126", &stand(now, 100, 300.0)).await;
            now += 100;
        }
        for north in [300.0, 0.0, 410.0] {
            for id in ["roof", "dash", "roof"] {
                let feed = receiver(id);
                let ears = ears.entry(id).or_insert_with(|| listen(&bench, &feed));
                live(&bench, ears, &feed, "201126", &stand(now, 40, north)).await;
                now += 40;
            }
            let state = bench.node.store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap();
            let lat = 59.0 + north / 111_195.0;
            assert!((state.position.unwrap().0 - lat).abs() < 1e-5, "life {seed}, {north} m: {state:?}");
            let left = bench.node.store.read(|reader| reader.carrier("TRK-07")).await.unwrap().0.unwrap_or_default();
            let inside = if north > 0.0 { "yard=i" } else { "1|" };
            assert!(left.contains(inside) && (north > 0.0 || left == "1|"), "life {seed}, {north} m: {left}");
            assert_eq!(state.place.is_some(), north > 0.0, "life {seed}, {north} m: {state:?}");
        }
        let rows = rows(&bench).await;
        assert_eq!(held(&rows), tabled(&bench, &["TRK-07", "raw:P-0", "raw:P-1"]).await, "life {seed}");
        assert_rebuilt(&bench).await;
        assert_eq!(bench.ledger().await.imbalance(), 0, "life {seed}");
    }
}

async fn something_happens(bench: &Bench, dice: &mut Dice, ears: &mut BTreeMap<&'static str, Ears>, now: &mut i64) {
    let id = ["roof", "dash"][dice.roll(2)];
    let feed = receiver(id);
    let n = i64::try_from(1 + dice.roll(20)).unwrap();
    let north = [10.0, 103.0, 300.0, 410.0, 560.0][dice.roll(5)];
    let what = dice.roll(11);
    match what {
        0 => return ears.clear(),
        1 => return bench.clock.set_wall_ms(MORNING_MS + i64::try_from(dice.roll(100_000_000)).unwrap() - 50_000_000),
        2..=4 => {
            let place = at(["gate", "yard", "dock-3", "hall"][dice.roll(4)]);
            let ms = *now * 1000 - [0, 0, 5_000, 90_000][dice.roll(4)];
            return take_all(bench, vec![(place, retried(&format!("P-{}", dice.roll(2)), ms))]).await;
        }
        _ => {}
    }
    let from = if what == 5 { (*now - 40 - i64::try_from(dice.roll(300)).unwrap()).max(0) } else { *now };
    let date = if what == 6 { ["201130", "201144", "151126", "201124"][dice.roll(4)] } else { "201126" };
    let way = if what >= 9 {
        (0..n + 20).map(|s| (from + s, f64::from(i32::try_from(s).unwrap()) * 9.0, 9.0)).collect()
    } else {
        stand(from, n, north)
    };
    let ears = ears.entry(id).or_insert_with(|| listen(bench, &feed));
    live(bench, ears, &feed, date, &way).await;
    *now += i64::try_from(way.len()).unwrap();
}
