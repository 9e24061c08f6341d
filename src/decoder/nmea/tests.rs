use proptest::prelude::*;

use super::*;
use crate::domain::Mode;

const NOON_2026_11_20: UnixMs = 1_795_176_000_000;

/// A sentence of `body` with its checksum and line end.
fn line(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${body}*{sum:02X}\r\n")
}

fn lines(bodies: &[&str]) -> String {
    bodies.iter().map(|body| line(body)).collect()
}

fn stamp(mono_ms: i64) -> Stamp {
    Stamp { mono_us: mono_ms * 1000, wall_ms: NOON_2026_11_20 + mono_ms }
}

/// Decodes one stream to its end in one read.
fn check(bodies: &[&str]) -> Vec<NmeaOut> {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut out = Vec::new();
    decoder.feed(lines(bodies).as_bytes(), stamp(0), &mut out);
    decoder.finish(&mut out);
    out
}

fn fixes(out: &[NmeaOut]) -> Vec<&Fix> {
    out.iter()
        .filter_map(|one| match one {
            NmeaOut::Fix(fix, _) => Some(&**fix),
            _ => None,
        })
        .collect()
}

fn reasons(out: &[NmeaOut]) -> Vec<&'static str> {
    out.iter()
        .filter_map(|one| match one {
            NmeaOut::Loss(loss, _) => Some(loss.reason.as_str()),
            _ => None,
        })
        .collect()
}

const RMC: &str = "GPRMC,101112.00,A,5907.4809,N,01123.2513,E,2.72,271.0,201126,,,A";
const GGA: &str = "GPGGA,101112.00,5907.4809,N,01123.2513,E,1,09,0.9,12.3,M,40.0,M,,";
const GSA: &str = "GPGSA,A,3,01,02,03,04,,,,,,,,,1.5,0.9,1.2";
const VOID: &str = "GPRMC,101112.00,V,,,,,,,201126,,,N";

#[test]
fn the_first_epoch_is_one_fix_of_all_its_sentences() {
    let out = check(&[RMC, GGA, GSA]);
    let [NmeaOut::Fix(fix, _)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(fix.time_ms, NOON_2026_11_20 - 6_528_000);
    assert!(fix.has_date);
    assert_eq!((fix.day_sent.as_str(), fix.tod_sent_ms), ("201126", 36_672_000));
    assert_eq!(fix.first_e7, (591_246_817, 113_875_217));
    assert_eq!((fix.lat_deg, fix.lon_deg), (59.124_681_667, 11.387_521_667));
    assert_eq!((fix.speed_mps, fix.course_deg, fix.alt_m), (Some(1.399), Some(271.0), Some(12.3)));
    assert_eq!((fix.mode, fix.satellites, fix.hdop, fix.quality), (Some(Mode::ThreeD), Some(9), Some(0.9), Some(1)));
}

#[test]
fn a_void_sentence_denies_the_fix_of_its_epoch() {
    assert_eq!(check(&[VOID, GGA]), [NmeaOut::NoFix(stamp(0))]);
    assert_eq!(check(&[GGA, VOID]), [NmeaOut::NoFix(stamp(0))]);
    assert_eq!(check(&[RMC, &GGA.replace(",E,1,", ",E,8,")]), [NmeaOut::NoFix(stamp(0))]);
    let of_glonass = GGA.replace("GPGGA", "GLGGA").replace(",E,1,", ",E,0,");
    assert_eq!(fixes(&check(&[GGA, &of_glonass])).len(), 1, "another constellation's silence denies nothing");
}

#[test]
fn a_receiver_without_time_says_no_fix_once_a_round() {
    let round = ["GPRMC,,V,,,,,,,,,,N", "GPGGA,,,,,,0,,,,,,,,", "GPGLL,,,,,,V,N"];
    assert_eq!(
        check(&[round, round, round].concat()),
        [const { NmeaOut::NoFix(Stamp { mono_us: 0, wall_ms: NOON_2026_11_20 }) }; 3]
    );
}

#[test]
fn an_epoch_comes_out_150_ms_after_its_last_byte() {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut out = Vec::new();
    assert_eq!(decoder.deadline_us(), None);
    decoder.feed(line(RMC).as_bytes(), stamp(1000), &mut out);
    decoder.feed(b"$GPGSV,1,1", stamp(1100), &mut out);
    assert_eq!(decoder.deadline_us(), Some(1_250_000), "half a sentence keeps the epoch open");
    decoder.quiet(1_249_999, &mut out);
    assert!(out.is_empty());
    decoder.quiet(1_250_000, &mut out);
    assert_eq!((fixes(&out).len(), decoder.deadline_us()), (1, None));
    let [NmeaOut::Fix(_, at)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(*at, stamp(1000));
}

#[test]
fn noise_does_not_hold_back_a_fix() {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut out = Vec::new();
    decoder.feed(line(RMC).as_bytes(), stamp(1000), &mut out);
    decoder.feed(&[0xb5; 50], stamp(1100), &mut out);
    assert_eq!(decoder.deadline_us(), Some(1_150_000));
}

#[test]
fn a_sentence_after_its_epoch_is_a_loss_and_no_second_fix() {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut out = Vec::new();
    decoder.feed(line(RMC).as_bytes(), stamp(0), &mut out);
    decoder.quiet(150_000, &mut out);
    decoder.feed(line(GGA).as_bytes(), stamp(200), &mut out);
    decoder.finish(&mut out);
    assert_eq!((fixes(&out).len(), reasons(&out)), (1, vec!["late_sentence"]));
}

#[test]
fn a_clock_that_stands_still_gives_an_epoch_each_round() {
    let moved = RMC.replace("5907.4809", "5907.5809");
    let out = check(&[RMC, GGA, &moved, RMC]);
    assert_eq!(
        fixes(&out).iter().map(|fix| fix.first_e7.0).collect::<Vec<_>>(),
        [591_246_817, 591_263_483, 591_246_817]
    );
}

#[test]
fn midnight_moves_the_day_of_fixes_without_a_date() {
    let late = RMC.replace("101112.00", "235959.50");
    let early = GGA.replace("101112.00", "000000.50");
    let out = check(&[&late, &early]);
    let fixes = fixes(&out);
    assert_eq!(fixes[1].time_ms - fixes[0].time_ms, 1000);
    assert_eq!((fixes[1].has_date, fixes[1].day_sent.as_str()), (false, "211126"));
}

#[test]
fn the_date_of_a_zda_belongs_to_its_own_second() {
    let zda = "GPZDA,101112.00,20,11,2026,00,00";
    for bodies in [[zda, GGA], [GGA, zda]] {
        let out = check(&bodies);
        assert!(fixes(&out)[0].has_date && fixes(&out)[0].day_sent == "201126", "{bodies:?}");
    }
    let newer = zda.replace("101112", "101113");
    assert!(fixes(&check(&[GGA, &newer]))[0].day_sent.is_empty(), "a date does not reach back");
    let noon = GGA.replace("101112", "200000");
    let night = GGA.replace("101112", "060000");
    let out = check(&[zda, GGA, &noon, &night, GGA]);
    let dates: Vec<_> = fixes(&out).iter().map(|fix| (fix.has_date, fix.day_sent.clone())).collect();
    let day = |has_date, text: &str| (has_date, text.to_owned());
    assert_eq!(dates, [day(true, "201126"), day(false, "201126"), day(false, "211126"), day(false, "211126")]);
}

#[test]
fn a_fix_without_any_date_takes_the_day_of_its_receipt() {
    let out = check(&[GGA]);
    let fix = fixes(&out)[0];
    assert_eq!((fix.has_date, fix.day_sent.as_str()), (false, ""));
    assert_eq!(fix.time_ms, NOON_2026_11_20 - 6_528_000);
    let out = check(&[&GGA.replace("101112.00", "000030.00")]);
    assert_eq!(fixes(&out)[0].time_ms, NOON_2026_11_20 - 43_170_000, "11 h 59 min 30 s ago, not 12 h ahead");
}

#[test]
fn a_rollover_moves_the_time_and_not_the_identity() {
    let mut decoder = NmeaDecoder::new(NmeaOptions { floor_ms: NOON_2026_11_20 - 20 * DAY_MS });
    let mut out = Vec::new();
    decoder.feed(line(&RMC.replace("201126", "060407")).as_bytes(), stamp(0), &mut out);
    decoder.finish(&mut out);
    assert_eq!(fixes(&out)[0].time_ms, NOON_2026_11_20 - 6_528_000);
    assert_eq!(fixes(&out)[0].day_sent, "060407");
}

#[test]
fn a_refused_sentence_is_a_loss_with_its_bytes() {
    let out = check(&[&RMC.replace("5907", "9907")]);
    let [NmeaOut::Loss(loss, _)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((loss.reason, loss.length), (Reason::OutOfRange, loss.bytes.len()));
    assert!(loss.bytes.starts_with(b"$GPRMC,101112.00"));
}

#[test]
fn decode_prints_a_line_a_fix_and_a_summary_that_balances() {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let input = format!(
        "{}noise\n{}$GPGGA,1*00\r\n{}",
        line(GGA.replace("101112", "101111").as_str()),
        lines(&[RMC, GGA]),
        line(VOID)
    );
    report::decode_stream(input.as_bytes(), &mut output, &mut errors).unwrap();
    assert_eq!(
        String::from_utf8(output).unwrap(),
        "{\"ts\":\"2026-11-20T10:11:12.000Z\",\"lat\":59.124681667,\"lon\":11.387521667,\"alt_m\":12.3,\"speed_mps\":1.399,\
         \"course_deg\":271.0,\"satellites\":9,\"hdop\":0.9,\"quality\":1}\n"
    );
    let summary: serde_json::Value = serde_json::from_slice(&errors).unwrap();
    assert_eq!(summary["bytes"], input.len());
    let parts = summary["bytes_by"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap());
    assert_eq!(parts.sum::<u64>(), summary["bytes"].as_u64().unwrap());
    assert_eq!(summary["by_type"], serde_json::json!({"GGA": 2, "RMC": 2}));
    assert_eq!(summary["skipped"], serde_json::json!({"bad_bytes": 1, "bad_checksum": 1}));
    assert_eq!((&summary["fixes"], &summary["undated"], &summary["no_fix"]), (&1.into(), &1.into(), &1.into()));
}

/// Pieces of a stream: sentences good and bad, binary, tag blocks, cut ends.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let time = (0..3u32, 0..100u32).prop_map(|(second, part)| format!("10111{second}.{part:02}"));
    let sentence = (
        prop::sample::select(vec![RMC, GGA, GSA, VOID, "GPZDA,101112.00,20,11,2026,00,00", "GPTXT,01,01,02,hello"]),
        time,
    )
        .prop_map(|(body, time)| line(&body.replace("101112.00", &time)).into_bytes());
    let glued =
        sentence.clone().prop_flat_map(|sentence| (0..sentence.len()).prop_map(move |end| sentence[..end].to_vec()));
    let piece = prop_oneof![
        6 => sentence,
        1 => glued,
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(prop::sample::select(b"$!*\\,\r\nGPRMA0917.".to_vec()), 0..40),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn sum_of(counts: &NmeaCounts) -> u64 {
    counts.bytes_by_outcome().map(|(_, bytes)| bytes).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_same_bytes_in_other_chunks_say_the_same(bytes in stream(), cuts in prop::collection::vec(1..60usize, 1..20)) {
        let mut whole = NmeaDecoder::new(NmeaOptions::default());
        let mut expect = Vec::new();
        whole.feed(&bytes, stamp(0), &mut expect);
        whole.finish(&mut expect);

        let mut decoder = NmeaDecoder::new(NmeaOptions::default());
        let mut out = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (part, left) = rest.split_at(rest.len().min(*cut));
            decoder.feed(part, stamp(0), &mut out);
            prop_assert_eq!(sum_of(decoder.counts()), decoder.counts().bytes);
            prop_assert!(decoder.counts().open_bytes <= 8192);
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        decoder.finish(&mut out);
        prop_assert_eq!(out, expect);
        prop_assert_eq!(decoder.counts(), whole.counts());
    }

    #[test]
    fn any_fields_under_a_good_checksum_neither_panic_nor_give_an_impossible_fix(
        kind in prop::sample::select(vec!["RMC", "GGA", "GLL", "GNS", "GSA", "VTG", "ZDA"]),
        fields in prop::collection::vec("|[0-9]{1,9}|[0-9]{4}\\.[0-9]{1,4}|[NSEWAVDM]|[ -~&&[^$*!\\\\]]{0,20}", 0..24),
    ) {
        let body = format!("GP{kind},{}", fields.join(","));
        let bodies = [RMC, &body, "GPGGA,101113.00,,,,,0,,,,,,,,"];
        for one in check(&bodies) {
            if let NmeaOut::Fix(fix, _) = one {
                prop_assert!(fix.lat_deg.abs() <= 90.0 && fix.lon_deg.abs() <= 180.0);
                prop_assert!(fix.speed_mps.is_none_or(|mps| mps.is_finite() && mps >= 0.0));
                prop_assert!(fix.course_deg.is_none_or(|course| (0.0..360.0).contains(&course)));
            }
        }
    }
}
