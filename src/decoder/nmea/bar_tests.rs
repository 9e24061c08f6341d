//! The bar for reading NMEA, requirement by requirement; those about whole captures are in `corpora_tests`, that
//! about damage in `mutation_tests`, those about time that stands still in `doubt`.

use super::*;
use crate::domain::Mode;

const NOON: UnixMs = 1_795_176_000_000;
const FLOOR: UnixMs = 1_795_132_800_000;

fn line(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${body}*{sum:02X}\r\n")
}

fn stamp(mono_ms: i64) -> Stamp {
    Stamp { mono_us: mono_ms * 1000, wall_ms: 0 }
}

/// Decodes bytes to their end.
fn decode(bytes: &[u8], trusted_ms: Option<UnixMs>) -> (Vec<Fix>, NmeaCounts) {
    let mut decoder = NmeaDecoder::new(NmeaOptions { floor_ms: FLOOR });
    decoder.trust(trusted_ms);
    let mut out = Vec::new();
    decoder.feed(bytes, stamp(0), &mut out);
    decoder.finish(&mut out);
    let counts = decoder.counts().clone();
    assert_eq!(counts.bytes_by_outcome().map(|(_, bytes)| bytes).sum::<u64>(), bytes.len() as u64);
    let fixes = out.into_iter().filter_map(|one| match one {
        NmeaOut::Fix(fix, _) => Some(*fix),
        _ => None,
    });
    (fixes.collect(), counts)
}

fn fixes(bodies: &[&str]) -> Vec<Fix> {
    decode(bodies.iter().map(|body| line(body)).collect::<String>().as_bytes(), None).0
}

fn skipped(bytes: &[u8]) -> Vec<(&'static str, u64)> {
    decode(bytes, None).1.skipped.iter().map(|(code, skipped)| (*code, skipped.pieces)).collect()
}

fn rmc(time: &str, date: &str) -> String {
    format!("GPRMC,{time},A,5907.4809,N,01123.2513,E,2.72,271.0,{date},,,A")
}

fn gga(time: &str) -> String {
    format!("GPGGA,{time},5907.4809,N,01123.2513,E,1,09,0.9,12.3,M,40.0,M,,")
}

/// Requirement 1.
#[test]
fn the_first_epoch_and_the_last_are_fixes_too() {
    assert_eq!(fixes(&[&rmc("101112", "201126"), &rmc("101113", "201126"), &rmc("101114", "201126")]).len(), 3);
}

/// Requirement 2: the line of a NAVIOR-24 that ends other readers.
#[test]
fn a_gsa_of_twenty_four_satellites_tells_its_mode_and_harms_nobody() {
    let satellites = (1..=24).map(|number| format!("{number:02}")).collect::<Vec<_>>().join(",");
    let fixes = fixes(&[&rmc("101112", "201126"), &format!("GPGSA,A,3,{satellites},1.5,0.9,1.2")]);
    assert_eq!((fixes[0].mode, fixes[0].hdop), (Some(Mode::ThreeD), None));
}

/// Requirement 3.
#[test]
fn a_sentence_after_noise_of_any_length_is_read() {
    for length in [1, 255, 4096, 10_000] {
        let mut bytes = vec![0xb5; length];
        bytes.extend(line(&rmc("101112", "201126")).bytes());
        assert_eq!(decode(&bytes, None).0.len(), 1, "{length}");
    }
}

/// Requirement 4: what is accepted.
#[test]
fn any_talker_doubled_start_lower_case_checksum_tag_block_and_255_characters_are_accepted() {
    let body = rmc("101112", "201126");
    let plain = line(&body);
    let mut accepted: Vec<String> = ["GN", "GL", "GA", "GB", "BD", "GQ", "QZ", "II", "IN", "EC", "AP", "HC"]
        .map(|talker| line(&body.replacen("GP", talker, 1)))
        .into();
    accepted.push(format!("${plain}"));
    accepted.push(format!("$$${plain}"));
    accepted.push(
        plain
            .to_lowercase()
            .replace("$gprmc", "$GPRMC")
            .replace(",a,", ",A,")
            .replace(",n,", ",N,")
            .replace(",e,", ",E,")
            .replace(",,a*", ",,A*"),
    );
    accepted.push(format!(
        "\\s:rooftop,c:1241544035*{:02X}\\{plain}",
        "s:rooftop,c:1241544035".bytes().fold(0, |sum, b| sum ^ b)
    ));
    accepted.push(line(&format!("{body}{}", " ".repeat(255 - 4 - body.len()))));
    for text in &accepted {
        let (fixes, counts) = decode(text.as_bytes(), None);
        assert_eq!((fixes.len(), counts.skipped.len()), (1, 0), "{text}");
    }
    assert_eq!(accepted.last().map(|text| text.trim_end_matches("\r\n").len()), Some(SENTENCE_MAX));
}

/// Requirement 4: a tag block is stripped, and its own mistakes cost no sentence.
#[test]
fn a_tag_block_with_mistakes_of_its_own_loses_no_sentence_and_no_byte() {
    let plain = line(&rmc("101112", "201126"));
    for block in [
        "\\s:x*00\\",
        "\\s:x\\",
        "\\s:x*7\\",
        "\\*\\",
        "\\\\",
        "\\",
        "\\s:x*00",
        "\\s:\u{7f}*00\\",
        "\\s:x*zz\\",
        "\\g:1*00\\\\s:x*00\\",
    ] {
        let (fixes, counts) = decode(format!("{block}{plain}").as_bytes(), None);
        assert_eq!((fixes.len(), counts.sentences), (1, 1), "{block}");
        assert_eq!(counts.skipped["bad_bytes"].bytes, block.len() as u64, "{block}");
    }
    let long = format!("\\s:{}*00\\", "x".repeat(400));
    assert_eq!(decode(format!("{long}{plain}").as_bytes(), None).0.len(), 1);
}

/// Requirement 4: what is refused. The last four pass the checksum because two flipped bits cancel out.
#[test]
fn what_is_broken_is_refused_by_its_reason_even_when_the_checksum_fits() {
    let plain = line(&rmc("101112", "201126"));
    let bad = |body: &str, reason| assert_eq!(skipped(line(body).as_bytes()), [(reason, 1)], "{body}");
    assert_eq!(skipped(format!("{}\r\n", &plain[..40]).as_bytes()), [("no_checksum", 1)]);
    assert_eq!(skipped(plain.replace("5907", "5908").as_bytes()), [("bad_checksum", 1)]);
    assert_eq!(skipped(format!("{}{plain}", &plain[..40]).as_bytes()), [("glued", 1)]);
    assert_eq!(skipped(line(&format!("GPTXT,{}", "x".repeat(300))).as_bytes()), [("too_long", 1)]);
    assert_eq!(skipped(b"\xff\xfe\x00\r\n"), [("bad_bytes", 1)]);
    bad(&rmc("101112", "201126").replace("5907.", "5960."), "out_of_range");
    bad(&rmc("101112", "201126").replace("5907.4809", "5907,4809"), "bad_field");
    bad(&rmc("101112", "201126").replace(",N,", ",R,"), "bad_field");
    bad(&rmc("12092%", "201126"), "bad_field");
    bad(&rmc("101112", "201126").replace("5907.4809", "5I07.4809"), "bad_field");
    bad(&rmc("101112", "201126").replace("5907.4809", "1547\u{e}70800"), "bad_bytes");
}

/// The list of reasons that a receiver's bytes can be refused for is closed, and each of them comes out of this decoder.
#[test]
fn every_reason_of_a_receiver_has_bytes_that_produce_it() {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut out = Vec::new();
    let plain = line(&rmc("101112", "201126"));
    let bytes = [
        format!("{}{}\r\n", plain, &plain[..40]),
        plain.replace("5907", "5908"),
        format!("{}{}", &plain[..40], line(&gga("101113"))),
        line(&format!("GPTXT,{}", "x".repeat(300))),
        "noise\r\n".into(),
        line(&rmc("101113", "201126").replace("5907.", "5960.")),
        line(&rmc("101113", "201126").replace(",N,", ",R,")),
        line(&rmc("101112", "201126").replace("GPRMC", "GNRMC")),
    ];
    decoder.feed(bytes.concat().as_bytes(), stamp(0), &mut out);
    let reasons: Vec<&str> = decoder.counts().skipped.keys().copied().collect();
    let all =
        ["bad_bytes", "bad_checksum", "bad_field", "glued", "late_sentence", "no_checksum", "out_of_range", "too_long"];
    assert_eq!(reasons, all);
    for reason in all {
        assert_eq!(Reason::from_code(reason).map(Reason::class), Some(crate::domain::Class::Noise), "{reason}");
    }
}

/// Requirement 4: no more than that of refused bytes is kept.
#[test]
fn of_refused_bytes_256_are_kept_and_all_are_counted() {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut out = Vec::new();
    decoder.feed(&[0xaa; 3000], stamp(0), &mut out);
    decoder.finish(&mut out);
    let [NmeaOut::Loss(loss, _)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((loss.bytes.len(), loss.length), (256, 3000));
}

/// Requirement 5.
#[test]
fn a_fix_is_out_150_ms_after_its_last_byte_when_no_newer_epoch_has_begun() {
    let mut decoder = NmeaDecoder::new(NmeaOptions::default());
    let mut out = Vec::new();
    decoder.feed(line(&rmc("101112", "201126")).as_bytes(), stamp(1000), &mut out);
    decoder.feed(line(&gga("101112")).as_bytes(), stamp(1100), &mut out);
    assert_eq!(decoder.deadline_us(), Some(1_250_000));
    decoder.quiet(1_250_000, &mut out);
    assert_eq!(out.len(), 1);
}

/// Requirement 6.
#[test]
fn void_simulated_estimated_typed_and_starved_solutions_are_no_fix() {
    for quality in ["", "0", "6", "7", "8"] {
        assert!(fixes(&[&gga("101112").replace(",E,1,", &format!(",E,{quality},"))]).is_empty(), "{quality:?}");
    }
    assert!(fixes(&[&gga("101112"), &rmc("101112", "201126").replace(",A,5907", ",V,5907")]).is_empty());
    for talker in ["GP", "GN"] {
        for count in ["01", "02"] {
            let starved = gga("101112").replace("GP", talker).replace(",09,", &format!(",{count},"));
            assert!(fixes(&[&starved]).is_empty(), "{starved}");
        }
    }
    assert_eq!(fixes(&[&gga("101112").replace(",09,", ",03,")]).len(), 1);
    assert_eq!(fixes(&[&gga("101112").replace(",09,", ",00,")]).len(), 1, "some receivers do not count");
    assert_eq!(
        fixes(&[&gga("101112").replace("GP", "GL").replace(",09,", ",02,")]).len(),
        1,
        "of its own satellites only"
    );
}

/// Requirement 8.
#[test]
fn a_date_whole_rollovers_off_is_moved_told_and_its_identity_stays() {
    let check = |date: &str, trusted_ms| {
        let (fixes, _) = decode(line(&rmc("120000", date)).as_bytes(), trusted_ms);
        (fixes[0].time_ms, fixes[0].weeks_moved(), fixes[0].day_sent.clone())
    };
    assert_eq!(check("060407", None), (NOON, 1024, "060407".into()), "april6_2019's kind");
    assert_eq!(check("060407", Some(NOON)), (NOON, 1024, "060407".into()));
    assert_eq!(check("060746", Some(NOON)), (NOON, -1024, "060746".into()), "far ahead of trusted time");
    assert_eq!(check("060746", None).1, 0, "far ahead of nothing");
    assert_eq!(check("201126", Some(NOON)), (NOON, 0, "201126".into()));
    assert_eq!(check("200825", Some(NOON)).1, 0, "wrong by no whole rollover: as sent, and doubtful");
    assert_eq!(check("201099", Some(NOON)).1, 1024, "gp-320fw after a cold boot");
}

/// Requirement 9.
#[test]
fn a_time_before_midnight_joined_to_the_new_date_is_of_the_day_before() {
    let after = rmc("000000", "211126");
    let fixes = fixes(&[&rmc("235958", "201126"), &gga("235959"), &after, &gga("235959"), &gga("000001")]);
    let times: Vec<i64> = fixes.iter().map(|fix| (fix.time_ms - NOON) / 1000 - 43_200).collect();
    assert_eq!(times, [-2, -1, 0, -1, 1]);
}

/// Requirement 9, and the leap second.
#[test]
fn a_leap_second_is_of_its_own_day_and_time_goes_on_after_it() {
    let fixes = fixes(&[&rmc("235959", "311226"), &rmc("235960", "311226"), &rmc("000001", "010127")]);
    let steps: Vec<i64> = fixes.windows(2).map(|two| two[1].time_ms - two[0].time_ms).collect();
    assert_eq!(steps, [1000, 1000]);
    assert_eq!((fixes[1].day_sent.as_str(), fixes[1].tod_sent_ms), ("311226", 86_400_000));
}

/// Requirement 9: the zones of a ZDA are not UTC and change nothing.
#[test]
fn a_zda_is_utc_whatever_zone_it_names() {
    for zone in ["00,00", "+00,00", "-1,00", "+13,45", ",", "-11,-30"] {
        let fixes = fixes(&[&format!("GPZDA,101112,20,11,2026,{zone}"), &gga("101112")]);
        assert_eq!(fixes[0].day_sent, "201126", "{zone}");
    }
}

/// Requirement 4: positions of every kind of sentence.
#[test]
fn gns_of_any_number_of_constellations_and_gll_without_mode_are_fixes() {
    for modes in ["A", "AN", "NA", "NNNA", "NNNNNA", "DDDDDD", "NF", "RN"] {
        let gns = format!("GNGNS,101112,5907.4809,N,01123.2513,E,{modes},09,0.9,12.3,40.0,,");
        assert_eq!(fixes(&[&rmc("101112", "201126"), &gns])[0].alt_m, Some(12.3), "{modes}");
    }
    for gll in ["GPGLL,5907.4809,N,01123.2513,E,101112,A", "GPGLL,5907.4809,N,01123.2513,E,101112.00,A,D"] {
        assert_eq!(fixes(&[gll]).len(), 1, "{gll}");
    }
    assert!(fixes(&["GPGLL,5907.4809,N,01123.2513,E,101112,V"]).is_empty());
}

/// Requirement 11: one time, five positions (humminbird), and three in one second (bundg).
#[test]
fn fixes_of_one_time_at_other_positions_are_other_fixes() {
    let bodies: Vec<String> =
        (0..5).map(|n| rmc("194111", "201126").replace("5907.4809", &format!("5907.480{n}"))).collect();
    let fixes = fixes(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    let identities: std::collections::BTreeSet<_> =
        fixes.iter().map(|fix| (fix.tod_sent_ms, fix.day_sent.clone(), fix.first_e7)).collect();
    assert_eq!((fixes.len(), identities.len()), (5, 5));
}

/// Requirement 11.
#[test]
fn time_that_runs_backwards_gives_every_fix_once_at_its_own_time() {
    let times = ["194124", "194125", "194111", "194112", "194124"];
    let bodies = times.map(|time| rmc(time, "201126"));
    let fixes = fixes(&bodies.each_ref().map(String::as_str));
    assert_eq!(fixes.iter().map(|fix| fix.tod_sent_ms / 1000 - 70_800).collect::<Vec<_>>(), [84, 85, 71, 72, 84]);
}

/// A GSA and a VTG have no time: in a line without pauses only what they say tells whose they are.
#[test]
fn sentences_without_time_before_the_first_with_one_are_of_the_epoch_that_follows() {
    let gsa = |mode: u8, hdop: &str| format!("GPGSA,A,{mode},01,02,03,04,,,,,,,,,1.5,{hdop},1.2");
    let gga =
        |second: u32, hdop: &str| format!("GPGGA,1011{second:02},5907.4809,N,01123.2513,E,1,09,{hdop},12.3,M,40.0,M,,");
    // The second epoch begins with the first sentence that tells the order: from the third on it is known.
    let led = [
        gsa(2, "1.1"),
        gga(1, "1.1"),
        gsa(3, "1.2"),
        gga(2, "1.2"),
        gsa(2, "1.3"),
        gga(3, "1.3"),
        gsa(3, "1.4"),
        gga(4, "1.4"),
    ];
    let modes = |bodies: &[String]| {
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        fixes(&bodies).iter().map(|fix| fix.mode).collect::<Vec<_>>()
    };
    let (flat, high) = (Some(Mode::TwoD), Some(Mode::ThreeD));
    assert_eq!(modes(&led)[2..], [flat, high]);
    let behind = [
        gga(1, "1.1"),
        gsa(2, "1.1"),
        gga(2, "1.2"),
        gsa(3, "1.2"),
        gga(3, "1.3"),
        gsa(2, "1.3"),
        gga(4, "1.4"),
        gsa(3, "1.4"),
    ];
    assert_eq!(modes(&behind), [flat, high, flat, high]);
    let same: Vec<String> =
        (1..5).flat_map(|second| [gga(second, "1.1"), gsa(2 + u8::from(second == 3), "1.1")]).collect();
    assert_eq!(modes(&same), [flat, flat, high, flat], "a dilution that stays tells nothing");
}

#[test]
fn a_vtg_of_other_fields_than_its_kind_gives_no_speed_that_cannot_be() {
    let shifted = "GPVTG,360.0,T,348.7,M,,9999999990,00.0,N";
    for body in [shifted, "GPVTG,,,,9999999999,K,,", "GPVTG,360.0,348.7,000.0,9999999999,K"] {
        for fix in fixes(&[&gga("101112"), body]) {
            assert!(fix.speed_mps.is_none_or(|mps| mps < 1100.0), "{body}: {fix:?}");
        }
    }
}

/// Requirement 13.
#[test]
fn a_receiver_that_says_its_line_is_full_is_counted() {
    let text = "GNTXT,01,01,00,txbuf,alloc";
    let bytes = [text, text, "GPTXT,01,01,02,ANTSTATUS=OK"].map(line).concat();
    assert_eq!(decode(bytes.as_bytes(), None).1.drops_said, 2);
}
