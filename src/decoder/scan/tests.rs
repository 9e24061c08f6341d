//! What a scanner's bytes become, end to end through the decoder.

use super::*;
use crate::domain::{Reason, ScanKind, Warn};
use proptest::prelude::*;

fn stamp(ms: i64) -> Stamp {
    Stamp { mono_us: ms * 1000, wall_ms: 0 }
}

/// Feeds the chunks at their times and ends the connection; a scan is its key, a reject its reason.
fn decode(profile: ScanProfile, chunks: &[(i64, &[u8])]) -> (Vec<ScanOut>, ScanCounts) {
    let mut decoder = ScanDecoder::new(profile);
    let mut out = Vec::new();
    let mut last = 0;
    for (ms, bytes) in chunks {
        decoder.feed(bytes, stamp(*ms), &mut out);
        last = *ms;
    }
    decoder.lost(stamp(last), &mut out);
    (out, decoder.counts().clone())
}

fn words(out: &[ScanOut]) -> Vec<String> {
    let word = |entry: &ScanOut| match entry {
        ScanOut::Scan(scan, _) => scan.key.clone(),
        ScanOut::Reject(loss, _) => loss.reason.as_str().to_owned(),
    };
    out.iter().map(word).collect()
}

fn check(profile: ScanProfile, chunks: &[(i64, &[u8])], expect: &[&str]) {
    let (out, _) = decode(profile, chunks);
    assert_eq!(words(&out), expect, "{chunks:?}");
}

fn framed() -> ScanProfile {
    ScanProfile { start: b"\x02".to_vec(), terminators: vec![b"\x03".to_vec()], ..ScanProfile::default() }
}

#[test]
fn half_a_code_is_never_glued_to_the_next() {
    let default = ScanProfile::default;
    check(default(), &[(0, b"TRL-"), (499, b"7\r")], &["raw:TRL-7"]);
    check(default(), &[(0, b"TRL-"), (500, b"TRL-8\r")], &["unterminated", "raw:TRL-8"]);
    check(default(), &[(0, b"]C1003761]C100376104250021234569\r")], &["concatenated"]);
    check(default(), &[(0, b"3761]C100376104250021234569\r")], &["concatenated"]);
    check(default(), &[(0, b"0037610425002123456900006141411234567890\r")], &["concatenated"]);
    check(default(), &[(0, b"A]7\r")], &["raw:A]7"]);
}

#[test]
fn a_frame_is_what_stands_between_start_and_end() {
    check(framed(), &[(0, b"\x02A\x03\r\n\x06\x02B\x03")], &["raw:A", "raw:B"]);
    check(framed(), &[(0, b"\x02\x03\x02\x02B\x03")], &["raw:B"]);
    check(framed(), &[(0, b"A\x03\x02B\x03")], &["framing", "raw:B"]);
    check(framed(), &[(0, b"A\x02B\x03")], &["framing", "raw:B"]);
    check(framed(), &[(0, b"\x02"), (600, b"A\x03")], &["framing"]);
    let long = ScanProfile { terminators: vec![b"\r".to_vec(), b"\r\n".to_vec()], ..ScanProfile::default() };
    check(long, &[(0, b"A\r"), (1, b"\nB\r\n")], &["raw:A", "raw:B"]);
    let pair = ScanProfile { terminators: vec![b"##".to_vec()], ..ScanProfile::default() };
    check(pair, &[(0, b"A#B##"), (1, b"#C##")], &["raw:A#B", "raw:#C"]);
}

#[test]
fn prefix_and_suffix_are_taken_off_or_the_frame_is_refused() {
    let profile = || ScanProfile { prefix: b"D07|".to_vec(), suffix: b"#".to_vec(), ..ScanProfile::default() };
    check(profile(), &[(0, b"D07|A#\rA#\rD07|A\rD07|#\r")], &["raw:A", "framing", "framing", "control_only"]);
    check(profile(), &[(0, b"D07|A#D07|B#\r")], &["concatenated"]);
    check(profile(), &[(0, b"NOREAD\rD07|NOREAD#\r")], &["noread", "noread"]);
}

#[test]
fn a_symbol_id_stands_for_its_aim_id() {
    let profile = || ScanProfile { code_id: CodeId::Symbol, ..ScanProfile::default() };
    let (out, _) = decode(profile(), &[(0, b"K00376104250021234569\rP0G21A\rA4006381333931\rA96385074\r?\r")]);
    assert_eq!(
        words(&out),
        ["sscc:376104250021234569", "raw:21A", "gtin:04006381333931", "gtin:00000096385074", "framing"]
    );
    let aim = |entry: &ScanOut| match entry {
        ScanOut::Scan(scan, _) => scan.aim.clone(),
        ScanOut::Reject(..) => None,
    };
    assert_eq!(out.iter().filter_map(aim).collect::<Vec<_>>(), ["]C1", "]d2", "]E0", "]E4"]);
}

#[test]
fn a_run_without_end_is_one_reject_in_bounded_memory() {
    let mut decoder = ScanDecoder::new(ScanProfile::default());
    let mut out = Vec::new();
    for _ in 0..100 {
        decoder.feed(&[b'x'; 1000], stamp(0), &mut out);
    }
    assert!(out.is_empty());
    decoder.feed(b"\rTRL-8\r", stamp(1), &mut out);
    assert_eq!(words(&out), ["overlong", "raw:TRL-8"]);
    let ScanOut::Reject(loss, _) = &out[0] else { panic!("a reject") };
    assert_eq!((loss.bytes.len(), loss.length), (EVIDENCE_MAX, 100_000));
    check(ScanProfile::default(), &[(0, &[b'x'; FRAME_MAX]), (1, b"\r")], &[&format!("raw:{}", "x".repeat(FRAME_MAX))]);
    check(ScanProfile::default(), &[(0, &[b'x'; FRAME_MAX + 1]), (1, b"\r")], &["overlong"]);
}

#[test]
fn bytes_are_read_in_the_charset_of_the_source() {
    let latin = || ScanProfile { charset: Charset::Latin1, ..ScanProfile::default() };
    check(latin(), &[(0, b"]Q1\xc6r\xf8\r")], &["raw:Ær\u{f8}"]);
    check(ScanProfile::default(), &[(0, "]Q1Ærø\r".as_bytes())], &["raw:Ærø"]);
    check(ScanProfile::default(), &[(0, b"\xc6r\xf8\r"), (0, b"TR\xc3")], &["non_ascii", "unterminated"]);
}

#[test]
fn control_characters_never_reach_a_plain_code() {
    let (out, _) = decode(ScanProfile::default(), &[(0, b"\0TRL\x07-7 \r\x06\r \rA\x1dB\r0109521234567899\x1d21A\r")]);
    assert_eq!(words(&out), ["raw:TRL-7", "control_only", "control_only", "raw:AB", "sgtin:09521234567899:A"]);
    let ScanOut::Scan(scan, _) = &out[0] else { panic!("a scan") };
    assert_eq!((scan.code.as_str(), scan.warn.as_slice()), ("TRL-7", &[Warn::ControlStripped, Warn::Trimmed][..]));
}

const LICENCE: &[u8] = b"@\n\x1e\rANSI 636026080102DL00410288ZA03290015DLDAQD12345678\nDCSPUBLIC\nDACJOHN\nDAG1 MAIN STREET\nDDEN\rZAZAAN\r";

/// Nothing of the licence's text is in what came out; the keys and reasons of that.
fn assert_redacted(out: &[ScanOut], how: &str) -> Vec<String> {
    let text = format!("{out:?}");
    for secret in ["D12345678", "PUBLIC", "UBLI", "JOHN", "MAIN", "ZAAN", "636026", "DDEN"] {
        let bytes = format!("{:?}", secret.as_bytes());
        let has_it =
            [secret, &secret.to_lowercase(), bytes.trim_matches(['[', ']'])].iter().any(|one| text.contains(one));
        assert!(!has_it, "{secret} with {how}: {text}");
    }
    assert!(words(out).contains(&"pii".to_owned()), "{how}: {text}");
    words(out)
}

#[test]
fn a_driving_licence_leaves_no_trace_of_its_text() {
    let chunks: Vec<(i64, &[u8])> = LICENCE.chunks(7).map(|chunk| (0, chunk)).chain([(1, &b"TRL-7\r"[..])]).collect();
    let lone = |end: &[u8]| ScanProfile { terminators: vec![end.to_vec()], ..ScanProfile::default() };
    for profile in [
        ScanProfile::default(),
        lone(b"\r"),
        lone(b"\n"),
        lone(b"\r\n"),
        lone(b"\t"),
        framed(),
        ScanProfile { start: b"\x02".to_vec(), ..ScanProfile::default() },
        ScanProfile { prefix: b"D07|".to_vec(), suffix: b"#".to_vec(), ..ScanProfile::default() },
        ScanProfile { code_id: CodeId::Symbol, ..ScanProfile::default() },
        ScanProfile { charset: Charset::Latin1, ..ScanProfile::default() },
    ] {
        let (out, _) = decode(profile.clone(), &chunks);
        assert_redacted(&out, &format!("{profile:?}"));
    }
    check(ScanProfile::default(), &chunks, &["pii", "raw:TRL-7"]);
    check(lone(b"\r"), &chunks, &["pii", "raw:TRL-7"]);
    check(ScanProfile::default(), &[(0, b"@\n"), (0, b"A\r@\r\n")], &["raw:@", "raw:A", "raw:@"]);
    check(ScanProfile::default(), &[(0, b"DAC-17\rDAC-18\r")], &["raw:DAC-17", "raw:DAC-18"]);
}

#[test]
fn a_licence_that_is_unplugged_stalls_or_is_damaged_anywhere_leaves_no_trace() {
    for cut in 1..LICENCE.len() {
        let (head, tail) = LICENCE.split_at(cut);
        // Before its number there is nothing of a person in it, and nothing to know it by.
        if head.windows(4).any(|window| window == b"ANSI") {
            let (out, _) = decode(ScanProfile::default(), &[(0, head)]);
            let of_person = head.windows(3).any(|window| window == b"DAQ");
            assert!(!of_person || words(&out) == ["pii"], "unplugged after {cut}: {:?}", words(&out));
        }
        let (out, counts) = decode(ScanProfile::default(), &[(0, head), (900, tail), (6000, b"DAC-17\r")]);
        let stalled = assert_redacted(&out, &format!("stalled after {cut}"));
        assert_eq!(stalled.last().map(String::as_str), Some("raw:DAC-17"), "after {cut}");
        assert_balanced(&counts);
    }
    for at in 0..LICENCE.len() {
        let mut damaged = LICENCE.to_vec();
        damaged[at] = 0xff;
        let (out, counts) = decode(ScanProfile::default(), &[(0, &damaged)]);
        assert_balanced(&counts);
        let kept = words(&out).join(" ");
        for secret in ["PUBLIC", "JOHN", "D12345678"] {
            assert!(!kept.contains(secret), "damaged at {at}: {kept}");
        }
    }
    let lower: Vec<u8> = LICENCE.to_ascii_lowercase();
    assert_redacted(&decode(ScanProfile::default(), &[(0, &lower)]).0, "caps lock");
    let long = [&LICENCE[..60], &[b'X'; 5000], &LICENCE[60..]].concat();
    assert_redacted(&decode(ScanProfile::default(), &[(0, &long)]).0, "an over-long line");
    let headless = ScanProfile { terminators: vec![b"\t".to_vec()], ..ScanProfile::default() };
    assert_redacted(&decode(headless, &[(0, &LICENCE[30..]), (0, b"\t")]).0, "a frame without its head");
}

#[test]
fn what_no_id_speaks_for_is_named_only_by_proof() {
    for (frame, key, warn) in [
        ("0109521234567899", "gtin:09521234567899", Some(Warn::NoSymbologyId)),
        ("0109521234567890", "raw:0109521234567890", None),
        ("4006381333931", "raw:4006381333931", None),
        ("]C000376104250021234569", "raw:00376104250021234569", Some(Warn::LooksLikeSscc)),
        ("]I110614141000415", "gtin:10614141000415", None),
        ("]E096385074", "gtin:00000096385074", None),
        ("]E001234565", "gtin:00012345000065", None),
        ("I1M8GDM9AXKP042788", "vin:1M8GDM9AXKP042788", Some(Warn::VinPrefix)),
        ("]C1(01)09521234567899", "raw:(01)09521234567899", Some(Warn::BracketedAi)),
        ("3074257BF7194E4000001A8", "raw:3074257BF7194E4000001A8", Some(Warn::EpcBadLength)),
        ("https://id.gs1.org/01/09521234567899/21/7", "sgtin:09521234567899:7", None),
        ("https://example.org/01/2", "raw:https://example.org/01/2", None),
    ] {
        let scan = classify(frame.as_bytes(), &ScanProfile::default()).unwrap();
        assert_eq!((scan.key.as_str(), scan.warn), (key, warn.into_iter().collect::<Vec<_>>()), "{frame}");
        assert_eq!(scan.kind == ScanKind::Plain, key.starts_with("raw:"), "{frame}");
    }
}

#[test]
fn the_short_upc_is_the_number_that_it_stands_for() {
    for (short, full) in [
        ("01234505", "012000003455"),
        ("04252614", "042100005264"),
        ("01234523", "012200003453"),
        ("01234531", "012300000451"),
        ("01234543", "012340000053"),
        ("01234558", "012345000058"),
        ("11234593", "112345000093"),
    ] {
        let scan = classify(format!("]E0{short}").as_bytes(), &ScanProfile::default()).unwrap();
        assert_eq!(scan.key, format!("gtin:00{full}"), "{short}");
        // The id of Symbol does not say which of the short codes it is; what begins with 1 is an EAN-8 to it.
        if short.starts_with('0') {
            let profile = ScanProfile { code_id: CodeId::Symbol, ..Default::default() };
            let scan = classify(format!("A{short}").as_bytes(), &profile).unwrap();
            assert_eq!(scan.key, format!("gtin:00{full}"), "{short} behind a Symbol id");
        }
    }
    // Behind the id of EAN-8 nothing is an expansion: a wrong digit is a wrong digit.
    let loss = classify(b"]E404252614", &ScanProfile::default()).unwrap_err();
    assert_eq!(loss.reason, Reason::BadCheck);
    let with_addon = classify(b"]E3400638133393112", &ScanProfile::default()).unwrap();
    assert_eq!(with_addon.key, "gtin:04006381333931");
}

#[test]
fn a_reject_keeps_the_frame_so_that_it_can_be_read_again() {
    let loss = classify(b"D07|A", &ScanProfile { prefix: b"D08|".to_vec(), ..ScanProfile::default() }).unwrap_err();
    assert_eq!((loss.reason, loss.bytes.as_slice()), (Reason::Framing, &b"D07|A"[..]));
    let again = classify(&loss.bytes, &ScanProfile { prefix: b"D07|".to_vec(), ..ScanProfile::default() }).unwrap();
    assert_eq!(again.key, "raw:A");
}

/// Bytes as scanners send them, and worse: delimiters, ids, digits and noise.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..20),
        4 => proptest::sample::select(vec![
            "\r", "\n", "\r\n", "\x02", "\x03", "]C1", "]d2", "]E0", "00376104250021234569", "0109521234567899", "10LOT", "\x1d", "21S1", "@\n", "\x1e\r",
            "ANSI 636026DL", "DCSNAME\n", "NOREAD", "CSQU3054383", "3074257BF7194E4000001A85", "https://id.gs1.org/01/", "æ", "8003", "(00)", "D07|", "#",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => (1_usize..6000).prop_map(|length| vec![b'x'; length]),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn profile() -> impl Strategy<Value = ScanProfile> {
    let delimiters = proptest::sample::select(vec![
        (vec!["\r", "\n"], ""),
        (vec!["\r\n"], ""),
        (vec!["\r", "\r\n"], ""),
        (vec!["\x03"], "\x02"),
        (vec!["\r\n", "\x03"], "]C"),
        (vec![""], ""),
        (vec!["aa"], "aa"),
    ]);
    (delimiters, any::<(bool, bool, bool)>()).prop_map(|((terminators, start), (wrapped, latin, symbol))| ScanProfile {
        terminators: terminators.iter().map(|term| term.as_bytes().to_vec()).collect(),
        start: start.as_bytes().to_vec(),
        prefix: if wrapped { b"D07|".to_vec() } else { Vec::new() },
        suffix: if wrapped { b"#".to_vec() } else { Vec::new() },
        charset: if latin { Charset::Latin1 } else { Charset::Utf8 },
        code_id: if symbol { CodeId::Symbol } else { CodeId::None },
        ..ScanProfile::default()
    })
}

fn assert_balanced(counts: &ScanCounts) {
    assert_eq!(
        counts.fed,
        counts.scan_bytes + counts.reject_bytes.values().sum::<u64>() + counts.delimiter_bytes + counts.open_bytes,
        "{counts:?}"
    );
    assert_eq!(counts.frames, counts.scans + counts.rejects.values().sum::<u64>(), "{counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn chunking_does_not_change_the_result_and_bytes_balance(bytes in bytes(), profile in profile(), size in 1_usize..40) {
        let (whole, _) = decode(profile.clone(), &[(0, &bytes)]);
        let chunks: Vec<(i64, &[u8])> = bytes.chunks(size).map(|chunk| (0, chunk)).collect();
        let (parts, counts) = decode(profile, &chunks);
        prop_assert_eq!(whole, parts);
        assert_balanced(&counts);
        prop_assert_eq!(counts.open_bytes, 0);
    }

    #[test]
    fn bytes_balance_at_every_moment(bytes in bytes(), profile in profile(), gaps in proptest::collection::vec(0_i64..800, 1..20)) {
        let mut decoder = ScanDecoder::new(profile);
        let (mut out, mut now) = (Vec::new(), 0);
        for (chunk, gap) in bytes.chunks(13).zip(gaps.iter().cycle()) {
            now += gap;
            decoder.feed(chunk, stamp(now), &mut out);
            assert_balanced(decoder.counts());
            if let Some(deadline_us) = decoder.deadline_us() {
                prop_assert!(deadline_us > now * 1000);
            }
        }
        decoder.idle(i64::MAX, &mut out);
        assert_balanced(decoder.counts());
        prop_assert_eq!(decoder.deadline_us(), None);
    }

    #[test]
    fn every_kept_code_is_bounded_text(bytes in bytes(), profile in profile()) {
        let (out, _) = decode(profile, &[(0, &bytes)]);
        for entry in out {
            match entry {
                ScanOut::Scan(scan, _) => {
                    prop_assert!(!scan.code.is_empty() && scan.code.chars().count() <= FRAME_MAX);
                    prop_assert!(scan.key.contains(':'));
                }
                ScanOut::Reject(loss, _) => {
                    prop_assert!(loss.bytes.len() <= EVIDENCE_MAX && loss.length >= loss.bytes.len());
                    prop_assert!(loss.reason != Reason::Pii || loss.bytes.is_empty());
                }
            }
        }
    }
}
