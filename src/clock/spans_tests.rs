//! What is said of the times of a boot, against a world whose true time the test knows.

use proptest::prelude::*;

use super::*;

const UTC: i64 = 1_795_200_000_000;
const YEAR_MS: i64 = 31_556_952_000;

fn anchor(tq: TimeQuality, mono_ms: i64, utc_ms: i64, err_ms: i64) -> Anchor {
    Anchor { mono_ms, utc_ms, err_ms, tq, by: tq.as_str().to_owned() }
}

fn wall(mono_ms: i64, minus_mono_ms: impl Into<Option<i64>>) -> Wall {
    Wall { mono_ms, minus_mono_ms: minus_mono_ms.into() }
}

/// A boot that began at this true time.
fn boot(boot: i64, walls: &[Wall], anchors: &[Anchor]) -> BootTime {
    BootTime { boot, walls: walls.to_vec(), anchors: anchors.to_vec(), ..BootTime::default() }
}

#[test]
fn a_boot_at_1970_is_put_right_by_the_first_time_it_learns() {
    let learned = anchor(TimeQuality::Gnss, 60_000, UTC + 60_000, 1_000);
    let said = news(&[boot(1, &[wall(5_000, 0), wall(60_001, None)], &[learned])], 60_000);
    let span = Span { from_mono_ms: 5_000, to_mono_ms: 60_001, offset_ms: UTC, err_ms: 1_103, tq: TimeQuality::Gnss };
    assert_eq!(said, [(1, vec![span])]);
}

#[test]
fn a_step_of_the_wall_clock_cuts_the_span() {
    let learned = anchor(TimeQuality::Ntp, 60_000, UTC + 60_000, 100);
    let walls = [wall(5_000, 0), wall(20_000, UTC - 3_600_000), wall(30_000, UTC - 3_600_050), wall(60_001, None)];
    let (_, spans) = news(&[boot(1, &walls, &[learned])], 60_000).remove(0);
    let told: Vec<_> = spans.iter().map(|span| (span.from_mono_ms, span.to_mono_ms, span.offset_ms)).collect();
    assert_eq!(told, [(5_000, 20_000, UTC), (20_000, 60_001, 3_600_025)]);
}

#[test]
fn where_ntp_contradicts_a_receiver_ntp_is_believed() {
    let anchors = [
        anchor(TimeQuality::Gnss, 30_000, UTC + 30_000 + 20 * YEAR_MS, 1_000),
        anchor(TimeQuality::Ntp, 900_000, UTC + 900_000, 100),
    ];
    let (_, spans) = news(&[boot(1, &[wall(5_000, 0), wall(30_001, None)], &anchors)], 900_000).remove(0);
    assert_eq!((spans[0].offset_ms, spans[0].tq), (UTC, TimeQuality::Ntp));
}

#[test]
fn what_is_hardly_better_is_not_said_again_and_what_was_wrong_is() {
    let walls = [wall(5_000, 0), wall(60_001, None)];
    let mut one = boot(1, &walls, &[anchor(TimeQuality::Gnss, 60_000, UTC + 60_000, 1_000)]);
    one.spans = news(&[one.clone()], 60_000).remove(0).1;
    assert_eq!(news(&[one.clone()], 61_000), []);
    one.anchors[0].utc_ms += 300;
    assert_eq!(news(&[one.clone()], 61_000), [], "within what was said");
    one.anchors.push(anchor(TimeQuality::Ntp, 90_000, UTC + 90_000, 100));
    assert_eq!(news(&[one.clone()], 91_000).len(), 1, "known twice as well");
    one.anchors = vec![anchor(TimeQuality::Gnss, 95_000, UTC + 195_000, 1_000)];
    assert_eq!(news(&[one.clone()], 96_000).len(), 1, "it was wrong");
    one.walls.push(wall(100_000, 0));
    one.walls.push(wall(110_000, None));
    one.anchors = vec![anchor(TimeQuality::Gnss, 60_000, UTC + 60_000, 1_000)];
    assert_eq!(news(&[one], 120_000).len(), 1, "events that were not told of");
}

#[test]
fn a_boot_that_never_knew_the_time_lies_between_its_neighbours_and_says_how_surely() {
    let first = boot(1, &[], &[anchor(TimeQuality::Gnss, 600_000, UTC, 1_000)]);
    let lost = boot(2, &[wall(10_000, 7), wall(40_000, -5_000_000)], &[]);
    let next = boot(3, &[], &[anchor(TimeQuality::Gnss, 30_000, UTC + 3_630_000, 1_000)]);
    assert_eq!(news(&[first.clone(), lost.clone()], 50_000), [], "nothing is known of when it was over");
    assert_eq!(news(&[lost.clone(), next.clone()], 50_000), [], "nor of when it began");
    let said = news(&[first, lost, next], 50_000);
    let (boot, spans) = &said[0];
    assert_eq!((*boot, spans.len(), said.len()), (2, 2, 1));
    // It began at UTC at the earliest and was over at UTC + 1 h at the latest: try both.
    for began in [UTC, UTC + 3_600_000 - 40_000] {
        for (mono, stood, span) in [(10_000, 7, &spans[0]), (40_000, -5_000_000, &spans[1])] {
            let off = (mono + stood + span.offset_ms) - (began + mono);
            assert!(off.abs() <= span.err_ms, "{off} {span:?}");
        }
    }
    assert_eq!(spans[0].tq, TimeQuality::None);
}

#[test]
fn a_clock_that_steps_all_the_time_is_told_of_in_few_spans_that_are_right() {
    let stood = |n: i64| n * 137_000 % 1_000_003;
    let mut walls: Vec<Wall> = (0..900).map(|n| wall(n * 1_000, stood(n))).collect();
    walls.push(wall(900_000, None));
    let learned = anchor(TimeQuality::Ntp, 900_000, UTC + 900_000, 100);
    let (_, spans) = news(&[boot(1, &walls, &[learned])], 900_000).remove(0);
    assert!(spans.len() <= SPANS_MAX, "{}", spans.len());
    for n in 0..900 {
        let mono = n * 1_000 + 500;
        let span = spans.iter().find(|span| (span.from_mono_ms..span.to_mono_ms).contains(&mono)).unwrap();
        let off = mono + stood(n) + span.offset_ms - (UTC + mono);
        assert!(off.abs() <= span.err_ms, "{off} {span:?}");
    }
}

proptest! {
    /// A crystal that drifts, a wall clock that steps, a receiver that is late, NTP that is not quite right: whatever is
    /// said of an event is right within what is said of it.
    #[test]
    fn what_is_said_is_right_within_its_error(
        drift_ppm in -50..=50_i64,
        steps in prop::collection::vec((1..200_000_000_i64, -YEAR_MS * 60..YEAR_MS * 60), 1..40),
        learned in prop::collection::vec((0..400_000_000_i64, 0..1_000_i64, any::<bool>()), 1..4),
    ) {
        let truth = |mono: i64| UTC + mono + mono * drift_ppm / 1_000_000;
        let mut steps = steps;
        steps.sort_unstable();
        steps.dedup_by_key(|step| step.0);
        let end = 250_000_000;
        let mut walls: Vec<Wall> = steps.iter().map(|&(mono, stood)| wall(mono, stood)).collect();
        walls.push(wall(end, None));
        let mut anchors: Vec<Anchor> = learned
            .iter()
            .map(|&(mono, late, is_ntp)| match is_ntp {
                true => anchor(TimeQuality::Ntp, mono, truth(mono) + late / 10 - 50, 100),
                false => anchor(TimeQuality::Gnss, mono, truth(mono) - late, 1_000),
            })
            .collect();
        anchors.sort_by_key(|anchor| anchor.mono_ms);
        let said = news(&[boot(1, &walls, &anchors)], 400_000_000);
        let spans = &said[0].1;
        for pair in walls.windows(2) {
            for mono in [pair[0].mono_ms, pair[1].mono_ms - 1] {
                let span = spans.iter().find(|span| (span.from_mono_ms..span.to_mono_ms).contains(&mono)).unwrap();
                let stamped = mono + pair[0].minus_mono_ms.unwrap();
                let off = stamped + span.offset_ms - truth(mono);
                prop_assert!(off.abs() <= span.err_ms + 1, "{off} {span:?}");
            }
        }
    }
}
