//! Whose word the node takes for the time, tried by hand: no clock here moves by itself.

use super::*;

const UTC: i64 = BUILD_FLOOR_MS + 5_000;
const DAY_MS: i64 = 86_400_000;
const ROLLOVER_MS: i64 = 1024 * 7 * DAY_MS;

/// A keeper whose wall clock begins at `wall_ms`, with an NTP mark that the test makes.
struct Bench {
    clock: Clock,
    keeper: Keeper,
    dir: tempfile::TempDir,
    touched: u64,
}

impl Bench {
    fn new(wall_ms: i64) -> Self {
        let clock = Clock::manual(Stamp { mono_us: 1_000_000, wall_ms });
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::with_ntp_mark(clock.clone(), 0, dir.path().join("synchronized"));
        Self { clock, keeper, dir, touched: 0 }
    }

    /// True time, as the world has it.
    fn utc(&self) -> i64 {
        UTC + self.clock.now().mono_ms() - 1_000
    }

    /// NTP sets the clock and says so.
    fn sync(&mut self, wall_ms: i64) {
        self.clock.set_wall_ms(wall_ms);
        let mark = std::fs::File::create(self.dir.path().join("synchronized")).unwrap();
        self.touched += 1;
        mark.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.touched)).unwrap();
        self.clock.advance_ms(1_100);
        assert!(self.keeper.standing().anchor.is_some());
    }

    /// Epochs of a receiver, one a second, each off by `off_ms`.
    fn epochs(&self, id: &str, n: i64, off_ms: i64) -> Vec<Step> {
        (0..n)
            .filter_map(|_| {
                let step = self.keeper.hear(id, self.utc() + off_ms, self.clock.now());
                self.clock.advance_ms(1_000);
                step
            })
            .collect()
    }

    fn time(&self) -> (i64, TimeQuality) {
        self.keeper.time_of(self.clock.now())
    }

    fn is_right(&self, tq: TimeQuality) -> bool {
        let (ms, told) = self.time();
        told == tq && (ms - self.utc()).abs() <= 1_000
    }
}

#[test]
fn certificates_are_never_judged_by_a_time_before_what_is_known_nor_by_one_after_the_truth() {
    // In 1970: what the store knows, and what has gone by since.
    let newest_ms = UTC + 3 * DAY_MS;
    let clock = Clock::manual(Stamp { mono_us: 1_000_000, wall_ms: 0 });
    let keeper = Keeper::with_ntp_mark(clock.clone(), newest_ms, "/nonexistent/mark".into());
    assert_eq!(keeper.judging_time(), (newest_ms, TimeQuality::None));
    clock.advance_ms(DAY_MS);
    assert_eq!(keeper.judging_time(), (newest_ms + DAY_MS, TimeQuality::None));
    // A store that knows nothing: the date of the release.
    let fresh = Keeper::with_ntp_mark(Clock::manual(Stamp { mono_us: 0, wall_ms: 0 }), 0, "/nonexistent/mark".into());
    assert_eq!(fresh.judging_time(), (BUILD_FLOOR_MS, TimeQuality::None));
    // A clock that can be true is what there is.
    clock.set_wall_ms(newest_ms + 9 * DAY_MS);
    assert_eq!(keeper.judging_time(), (newest_ms + 9 * DAY_MS, TimeQuality::Rtc));
    // A receiver's word is better than either.
    let bench = Bench::new(0);
    bench.epochs("gps0", 12, 0);
    let (ms, tq) = bench.keeper.judging_time();
    assert!(tq == TimeQuality::Gnss && (ms - bench.utc()).abs() <= 1_000, "{ms} {tq:?}");
}

#[test]
fn a_recording_that_is_played_at_once_is_no_clock() {
    let bench = Bench::new(0);
    for second in 0..100 {
        bench.clock.advance_ms(1);
        assert_eq!(bench.keeper.hear("gps0", UTC + second * 1000, bench.clock.now()), None);
    }
    assert_ne!(bench.time().1, TimeQuality::Gnss);
}

#[test]
fn nine_epochs_are_not_enough_and_ten_are() {
    let bench = Bench::new(0);
    assert_eq!(bench.epochs("gps0", 9, 0), []);
    assert_eq!(bench.time(), (9_000, TimeQuality::None));
    bench.epochs("gps0", 1, 0);
    assert!(bench.is_right(TimeQuality::Gnss));
}

#[test]
fn two_receivers_that_contradict_each_other_do_not_hinder_each_other() {
    let bench = Bench::new(0);
    for _ in 0..12 {
        bench.keeper.hear("gps1", bench.utc() + 3_600_000, bench.clock.now());
        bench.epochs("gps0", 1, 0);
    }
    assert_eq!(bench.time().1, TimeQuality::Gnss, "who was sure first leads");
    let against = bench.keeper.standing().against.unwrap();
    assert_eq!((against.0.as_str(), against.1), ("gps0", -3_600_000));
}

#[test]
fn a_receiver_that_jumps_is_believed_again_only_after_as_long_as_before_and_five_minutes_at_most() {
    let bench = Bench::new(0);
    bench.epochs("gps0", 60, 0);
    assert_eq!(bench.epochs("gps0", 1, DAY_MS), [], "one wild epoch is none");
    bench.epochs("gps0", 20, 0);
    assert!(bench.is_right(TimeQuality::Gnss));
    assert_eq!(bench.epochs("gps0", 60, DAY_MS), []);
    assert!(bench.is_right(TimeQuality::Gnss), "a minute stands against more than one");
    assert_eq!(bench.keeper.standing().against, Some(("gps0".into(), DAY_MS)));
    let steps = bench.epochs("gps0", 60, DAY_MS);
    assert_eq!(steps.len(), 1);
    assert!((steps[0].by_ms - DAY_MS).abs() <= 1_000, "{steps:?}");
    let long = Bench::new(0);
    long.epochs("gps0", 4_000, 0);
    assert_eq!(long.epochs("gps0", 299, DAY_MS), []);
    assert_eq!(long.epochs("gps0", 3, DAY_MS).len(), 1);
}

#[test]
fn a_receiver_that_jumps_never_moves_a_time_that_another_one_supports() {
    let bench = Bench::new(0);
    for second in 0..2_000 {
        bench.keeper.hear("gps1", bench.utc(), bench.clock.now());
        bench.epochs("gps0", 1, if second < 100 { 0 } else { DAY_MS });
    }
    assert!(bench.is_right(TimeQuality::Gnss));
    assert_eq!(bench.keeper.standing().against, Some(("gps0".into(), DAY_MS)));
}

#[test]
fn another_receiver_takes_over_from_one_that_is_gone() {
    let bench = Bench::new(0);
    bench.epochs("gps0", 20, 0);
    bench.epochs("gps1", 100, 300);
    let standing = bench.keeper.standing();
    assert_eq!(standing.anchor.map(|anchor| anchor.by), Some("gps1".into()));
    assert_eq!(standing.against, None);
}

#[test]
fn where_ntp_and_a_receiver_differ_by_more_than_ten_seconds_ntp_wins_and_it_is_said() {
    let mut bench = Bench::new(0);
    bench.epochs("gps0", 20, 60_000);
    assert_eq!(bench.time().1, TimeQuality::Gnss);
    bench.sync(bench.utc());
    assert!(bench.is_right(TimeQuality::Ntp));
    let steps = bench.epochs("gps0", 1_000, 60_000);
    assert_eq!(steps.len(), 1, "from the one to the other");
    assert_eq!((steps[0].by.as_str(), steps[0].by_ms / 1000), ("ntp", -60));
    assert!(bench.is_right(TimeQuality::Ntp), "however long it goes on");
    assert_eq!(bench.keeper.standing().against.map(|(id, ms)| (id, ms / 1000)), Some(("gps0".into(), 60)));
    bench.epochs("gps0", 20, 0);
    assert!(bench.is_right(TimeQuality::Gnss), "a receiver that is right again is the better one");
    assert_eq!(bench.keeper.standing().against, None);
}

#[test]
fn ntp_that_agrees_leaves_the_time_to_the_receiver() {
    let mut bench = Bench::new(0);
    bench.sync(bench.utc());
    assert!(bench.is_right(TimeQuality::Ntp));
    bench.epochs("gps0", 10, -700);
    assert!(bench.is_right(TimeQuality::Gnss));
}

#[test]
fn a_receiver_that_fell_silent_days_ago_leaves_the_time_to_ntp() {
    let mut bench = Bench::new(0);
    bench.epochs("gps0", 10, 0);
    bench.clock.advance_ms(3 * DAY_MS);
    assert_eq!(bench.time().1, TimeQuality::Gnss, "still better than nothing");
    bench.sync(bench.utc());
    assert!(bench.is_right(TimeQuality::Ntp));
}

#[test]
fn a_wall_clock_that_somebody_steps_under_ntp_is_not_believed_until_ntp_says_so() {
    let mut bench = Bench::new(0);
    bench.sync(bench.utc());
    for years in [20, -20] {
        bench.clock.set_wall_ms(bench.utc() + years * 365 * DAY_MS);
        bench.clock.advance_ms(5_000);
        assert!(bench.is_right(TimeQuality::Ntp), "{years} years");
    }
    bench.clock.set_wall_ms(bench.utc() + 400);
    assert_eq!(bench.time().0, bench.clock.now().wall_ms, "small corrections are NTP's own");
    bench.sync(bench.utc() + 86_400_000);
    assert_eq!(bench.time().0, bench.clock.now().wall_ms, "NTP may correct itself");
}

#[test]
fn an_instant_before_ntp_set_the_clock_is_dated_by_what_ntp_said_later() {
    let mut bench = Bench::new(0);
    let (early, utc) = (bench.clock.now(), bench.utc());
    bench.clock.advance_ms(60_000);
    bench.sync(bench.utc());
    let (ms, tq) = bench.keeper.time_of(early);
    assert_eq!(tq, TimeQuality::Ntp);
    assert!((ms - utc).abs() <= 1_000, "{}", ms - utc);
}

#[test]
fn a_receiver_whole_rollovers_from_a_plausible_clock_is_no_clock() {
    let bench = Bench::new(UTC);
    bench.epochs("gps0", 100, ROLLOVER_MS + 3_600_000);
    assert_eq!(bench.time().1, TimeQuality::Rtc);
    assert_eq!(bench.keeper.standing().against.map(|(id, _)| id), Some("gps0".into()));
    let lost = Bench::new(0);
    lost.epochs("gps0", 100, 0);
    assert_eq!(lost.time().1, TimeQuality::Gnss, "a clock that nobody believes is no witness");
}

#[test]
fn what_was_known_is_known_after_a_restart_of_the_process() {
    let bench = Bench::new(0);
    bench.epochs("gps0", 100, 0);
    let anchors = bench.keeper.anchors();
    let again = Keeper::with_ntp_mark(bench.clock.clone(), 0, "/nonexistent/mark".into()).knowing(anchors);
    bench.clock.advance_ms(3_600_000);
    let (ms, tq) = again.time_of(bench.clock.now());
    assert_eq!(tq, TimeQuality::Gnss);
    assert!((ms - bench.utc()).abs() <= 1_000);
}

#[test]
fn a_replayed_capture_of_old_days_never_becomes_the_time() {
    let bench = Bench::new(BUILD_FLOOR_MS + 77);
    for n in 0..20 {
        bench.keeper.hear("gps0", 1_300_000_000_000 + n * 1000, bench.clock.now());
        bench.clock.advance_ms(1000);
    }
    assert_eq!(bench.time().1, TimeQuality::Rtc);
}
