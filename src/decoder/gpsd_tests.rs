use super::*;

/// What gpsd 3.22 said of a simulated receiver with satellites in view.
const RECORDING: &[u8] = include_bytes!("../../tests/recordings/gpsd-3.22.json");
const NOON: UnixMs = 1_795_176_000_000;
const SECOND: i64 = 1_000_000;

fn decoder(device: Option<&str>) -> GpsdDecoder {
    GpsdDecoder::new(NmeaOptions { floor_ms: 1_795_132_800_000 }, device.map(str::to_owned))
}

fn at(mono_us: i64) -> Stamp {
    Stamp { mono_us, wall_ms: 0 }
}

fn assert_balanced(decoder: &GpsdDecoder) {
    let counts = decoder.counts();
    assert_eq!(counts.bytes_by_outcome().map(|(_, bytes)| bytes).sum::<u64>(), counts.bytes, "{counts:?}");
}

/// Decodes bytes to their end, cut into reads of `chunk` bytes.
fn decode(bytes: &[u8], chunk: usize) -> (Vec<NmeaOut>, NmeaCounts) {
    let (mut decoder, mut out) = (decoder(None), Vec::new());
    for part in bytes.chunks(chunk) {
        decoder.feed(part, at(0), &mut out);
        assert_balanced(&decoder);
    }
    decoder.finish(&mut out);
    assert_balanced(&decoder);
    assert_eq!(decoder.counts().open_bytes, 0);
    (out, decoder.counts().clone())
}

fn fixes(out: &[NmeaOut]) -> Vec<&Fix> {
    out.iter()
        .filter_map(|one| match one {
            NmeaOut::Fix(fix, _) => Some(&**fix),
            _ => None,
        })
        .collect()
}

/// What one line comes to: `fix`, `no_fix`, a reason, or nothing.
fn word(line: &str) -> String {
    let (out, _) = decode(format!("{line}\n").as_bytes(), 4096);
    let words = out.iter().map(|one| match one {
        NmeaOut::Fix(..) => "fix",
        NmeaOut::NoFix(_) => "no_fix",
        NmeaOut::Loss(loss, _) => loss.reason.as_str(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn tpv(device: &str, time: &str, more: &str) -> String {
    format!(
        "{{\"class\":\"TPV\",\"device\":\"{device}\",\"mode\":3,\"time\":\"2026-11-20T{time}Z\",\"lat\":59.1,\"lon\":11.3{more}}}\n"
    )
}

#[test]
fn a_recording_of_gpsd_gives_its_fixes_with_the_newest_sky() {
    let (out, counts) = decode(RECORDING, 4096);
    let fixes = fixes(&out);
    let reports = std::str::from_utf8(RECORDING).unwrap().lines().filter(|line| line.contains("\"class\":\"TPV\""));
    assert_eq!(fixes.len(), reports.count());
    let fix = fixes[3];
    assert_eq!((fix.day_sent.as_str(), fix.tod_sent_ms, fix.weeks_moved()), ("201126", 28_808_000, 0));
    assert_eq!(fix.time_ms, NOON - 14_392_000);
    assert_eq!(fix.first_e7, (591_246_993, 113_882_285));
    assert_eq!((fix.lat_deg, fix.lon_deg), (59.124_699_333, 11.388_228_5));
    assert_eq!((fix.alt_m, fix.speed_mps, fix.mode), (Some(11.6), Some(0.0), Some(Mode::ThreeD)));
    assert_eq!((fix.hdop, fix.satellites), (Some(1.0), Some(9)));
    assert_eq!((fixes[0].hdop, fixes[0].satellites, fixes[0].mode), (None, None, Some(Mode::TwoD)), "no sky yet");
    assert!(counts.skipped.is_empty() && counts.by_type["SKY"] > 5 && counts.by_type["WATCH"] == 1, "{counts:?}");
}

#[test]
fn the_same_bytes_in_other_chunks_say_the_same() {
    let mut bytes = RECORDING.to_vec();
    bytes.extend(b"\r\n{\"class\":\n\xff\n{\"class\":\"TPV\",\"mode\":3,\"la");
    let whole = decode(&bytes, usize::MAX);
    for chunk in [1, 7, 100, 1000] {
        assert_eq!(decode(&bytes, chunk), whole, "{chunk}");
    }
    assert_eq!(whole.1.skipped.values().map(|skipped| skipped.pieces).sum::<u64>(), 3);
}

#[test]
fn no_fix_is_told_as_none() {
    for line in [
        r#"{"class":"TPV","device":"d","mode":0}"#,
        r#"{"class":"TPV","device":"d","mode":1,"time":"2026-11-20T10:11:12.000Z"}"#,
        r#"{"class":"TPV","mode":3,"lat":59.1,"lon":11.3}"#,
        r#"{"class":"TPV","mode":3,"time":"2026-11-20T10:11:12Z","lat":59.1}"#,
        r#"{"class":"TPV"}"#,
    ] {
        assert_eq!(word(line), "no_fix", "{line}");
    }
    for status in [5, 7, 8] {
        assert_eq!(word(&tpv("d", "10:11:12", &format!(",\"status\":{status}"))), "no_fix", "{status}");
    }
    for status in [0, 1, 2, 3, 4, 6, 9] {
        assert_eq!(word(&tpv("d", "10:11:12", &format!(",\"status\":{status}"))), "fix", "{status}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_its_reason_and_the_next_line_is_read() {
    let deep = |open: &str| format!("{{\"class\":\"TPV\",\"x\":{}", open.repeat(30_000 / open.len()));
    for (line, reason) in [
        ("$GPRMC,101112.00,A", "bad_bytes"),
        ("{\"class\":\"TPV\",\"mode\":3,", "bad_bytes"),
        ("[1,2]", "bad_field"),
        ("7", "bad_field"),
        ("{}", "bad_field"),
        ("{\"class\":7}", "bad_field"),
        ("{\"class\":\"TPV\",\"class\":\"SKY\"}", "bad_field"),
        ("{\"class\":\"TPV\",\"mode\":\"3\"}", "bad_field"),
        ("{\"class\":\"TPV\",\"mode\":-3}", "bad_field"),
        ("{\"class\":\"TPV\",\"mode\":3,\"lat\":\"59\"}", "bad_field"),
        ("{\"class\":\"TPV\",\"mode\":3,\"lat\":1e999}", "bad_bytes"),
        ("{\"class\":\"SKY\",\"satellites\":7}", "bad_field"),
        (&tpv("d", "10:11:12", ",\"speed\":-1"), "out_of_range"),
        (&tpv("d", "10:11:12", ",\"track\":361"), "out_of_range"),
        (&tpv("d", "10:11:12", "").replace("59.1", "90.1"), "out_of_range"),
        (&tpv("d", "10:11:12", "").replace("11.3", "-180.1"), "out_of_range"),
        (&tpv("d", "10:61:12", ""), "out_of_range"),
        (&tpv("d", "10:11", ""), "bad_field"),
        (&tpv("d", "1011:12:", ""), "bad_field"),
        (&tpv("d", "10:11:12", "").replace("2026-11-20", "2026-13-20"), "out_of_range"),
        (&tpv("d", "10:11:12", "").replace("2026-11-20", "20261120"), "bad_field"),
        (&deep("["), "bad_bytes"),
        (&deep("{\"x\":"), "bad_bytes"),
    ] {
        let line = line.trim_end();
        assert_eq!(word(line), reason, "{}", &line[..line.len().min(100)]);
        assert_eq!(word(&format!("{line}\n{}", tpv("d", "10:11:12", ""))), format!("{reason} fix"));
    }
}

#[test]
fn a_number_that_json_has_not_costs_its_field_and_not_its_report() {
    let line = tpv("nan", "10:11:12", ",\"epx\":nan,\"eps\":-inf,\"speed\":NaN,\"track\":Infinity,\"x\":\"\\\"nan\"");
    let (out, _) = decode(line.as_bytes(), 10);
    let fixes = fixes(&out);
    assert_eq!((fixes.len(), fixes[0].speed_mps, fixes[0].course_deg), (1, None, None));
    assert_eq!(without_nan(br#"{"a":"nan\"inf","b":1}"#), None);
}

#[test]
fn a_line_without_end_is_refused_once_holds_no_memory_and_keeps_the_count() {
    let (mut decoder, mut out) = (decoder(None), Vec::new());
    for _ in 0..100 {
        decoder.feed(&[b'x'; 4096], at(0), &mut out);
        assert!(decoder.line.capacity() <= 2 * LINE_MAX + 2);
        assert_balanced(&decoder);
    }
    decoder.feed(format!("\n{}", tpv("d", "10:11:12", "")).as_bytes(), at(0), &mut out);
    assert_balanced(&decoder);
    let [NmeaOut::Loss(loss, _), NmeaOut::Fix(..)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((loss.reason, loss.bytes.len()), (Reason::TooLong, EVIDENCE_MAX));
    assert_eq!(decoder.counts().skipped["too_long"].bytes, 409_601);
}

#[test]
fn a_sky_of_two_hundred_satellites_is_read() {
    let one = r#"{"PRN":2,"el":39.0,"az":74.0,"ss":32.0,"used":true,"gnssid":0,"svid":2}"#;
    let sky = format!("{{\"class\":\"SKY\",\"device\":\"d\",\"satellites\":[{}]}}\n", vec![one; 200].join(","));
    assert!(sky.len() < LINE_MAX);
    let (out, _) = decode((sky + &tpv("d", "10:11:12", "")).as_bytes(), 4096);
    assert_eq!(fixes(&out)[0].satellites, Some(200));
}

#[test]
fn a_sky_in_two_reports_is_one_and_an_old_one_tells_nothing() {
    let (mut decoder, mut out) = (decoder(None), Vec::new());
    decoder.feed(b"{\"class\":\"SKY\",\"device\":\"d\",\"hdop\":0.8}\n", at(0), &mut out);
    decoder.feed(b"{\"class\":\"SKY\",\"device\":\"d\",\"uSat\":7,\"nSat\":12}\n", at(0), &mut out);
    decoder.feed(tpv("d", "10:11:12", "").as_bytes(), at(5 * SECOND), &mut out);
    decoder.feed(tpv("d", "10:11:13", "").as_bytes(), at(11 * SECOND), &mut out);
    let told: Vec<_> = fixes(&out).iter().map(|fix| (fix.hdop, fix.satellites)).collect();
    assert_eq!(told, [(Some(0.8), Some(7)), (None, None)]);
}

#[test]
fn of_several_devices_the_first_with_a_fix_counts_until_it_has_had_none_for_ten_seconds() {
    let (mut decoder, mut out) = (decoder(None), Vec::new());
    let mut heard = |line: &str, second: i64| {
        out.clear();
        decoder.feed(line.as_bytes(), at(second * SECOND), &mut out);
        out.iter().map(|one| if matches!(one, NmeaOut::Fix(..)) { "fix" } else { "no_fix" }).collect::<String>()
    };
    let lost = |device: &str| format!("{{\"class\":\"TPV\",\"device\":\"{device}\",\"mode\":1}}\n");
    assert_eq!(heard(&lost("a"), 0), "no_fix");
    assert_eq!(heard(&tpv("b", "10:11:12", ""), 1), "fix");
    assert_eq!(heard(&tpv("a", "10:11:12", ""), 2), "");
    assert_eq!(heard(&lost("a"), 3), "");
    assert_eq!(heard(&lost("b"), 9), "no_fix");
    assert_eq!(heard(&tpv("a", "10:11:20", ""), 10), "");
    assert_eq!(heard(&tpv("a", "10:11:21", ""), 11), "fix");
    assert_eq!(heard(&tpv("b", "10:11:21", ""), 11), "");
}

#[test]
fn a_named_device_is_the_only_one_listened_to() {
    let (mut decoder, mut out) = (decoder(Some("/dev/ttyUSB1")), Vec::new());
    decoder.feed(
        (tpv("/dev/ttyUSB0", "10:11:12", "") + &tpv("/dev/ttyUSB1", "10:11:12", "")).as_bytes(),
        at(0),
        &mut out,
    );
    assert_eq!((out.len(), decoder.counts().fixes, decoder.counts().sentences), (1, 1, 2));
}

#[test]
fn skies_of_more_devices_than_any_gpsd_has_are_not_kept() {
    let (mut decoder, mut out) = (decoder(None), Vec::new());
    for n in 0..1000 {
        decoder.feed(format!("{{\"class\":\"SKY\",\"device\":\"{n}\",\"hdop\":1}}\n").as_bytes(), at(0), &mut out);
    }
    assert_eq!(decoder.skies.len(), DEVICES_MAX);
}

#[test]
fn a_rollover_that_gpsd_did_not_see_is_repaired_and_told() {
    let (out, _) = decode(tpv("d", "12:00:00", "").replace("2026-11-20", "2007-04-06").as_bytes(), 4096);
    let fix = fixes(&out)[0];
    assert_eq!((fix.time_ms, fix.weeks_moved(), fix.day_sent.as_str()), (NOON, 1024, "060407"));
}

#[test]
fn a_leap_second_is_read() {
    let (out, _) = decode(tpv("d", "23:59:60.500", "").as_bytes(), 4096);
    assert_eq!(fixes(&out)[0].tod_sent_ms, 86_400_500);
}

proptest::proptest! {
    #[test]
    fn any_bytes_neither_panic_nor_lose_count(
        cut in 0..RECORDING.len(),
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        flips in proptest::collection::vec((0..RECORDING.len(), 0..8u32), 0..50),
    ) {
        let mut bytes = RECORDING.to_vec();
        for (place, bit) in flips {
            bytes[place] ^= 1 << bit;
        }
        bytes.splice(cut..cut, noise);
        for one in decode(&bytes, 997).0 {
            if let NmeaOut::Fix(fix, _) = one {
                assert!(fix.lat_deg.abs() <= 90.0 && fix.lon_deg.abs() <= 180.0);
            }
        }
    }
}
