//! What badly set scanners make of the sheet, as byte streams through the decoder, and the verdict on each.

use super::*;
use crate::decoder::scan::{Layout, ScanDecoder, ScanOut};
use crate::domain::Stamp;

/// What a well set scanner sends of a code, without terminator.
fn good(number: u8) -> String {
    let code = SheetCode::of(number).unwrap();
    let id = match code.drawn {
        Drawn::Ean13 | Drawn::UpcA => "]E0",
        Drawn::Itf14 => "]I1",
        Drawn::Code39 => "]A0",
        _ => code.aim(),
    };
    let zero = if code.drawn == Drawn::UpcA { "0" } else { "" };
    format!("{id}{zero}{}", code.text)
}

fn decode(profile: &ScanProfile, bytes: &[u8]) -> Vec<ScanOut> {
    let mut decoder = ScanDecoder::new(profile.clone());
    let mut out = Vec::new();
    decoder.feed(bytes, Stamp::default(), &mut out);
    decoder.idle(i64::MAX, &mut out);
    out
}

/// Scans the whole sheet with a scanner that does `spoil` to each code; answers the verdict.
fn scan_all(profile: &ScanProfile, spoil: impl Fn(u8, String) -> Vec<u8>) -> SheetVerdict {
    let mut verdict = None;
    for code in &SHEET {
        for entry in decode(profile, &spoil(code.number, good(code.number))) {
            let ScanOut::Test(read, at) = entry else { panic!("code {} is no test: {entry:?}", code.number) };
            verdict = Some(SheetVerdict::with(verdict, &read, at.wall_ms));
        }
    }
    verdict.unwrap()
}

/// What was found in each code, a word a finding.
fn found(verdict: &SheetVerdict) -> Vec<(u8, Vec<String>)> {
    let json: serde_json::Value = serde_json::to_value(verdict).unwrap();
    let words = |line: &serde_json::Value| {
        let findings = line["findings"].as_array().cloned().unwrap_or_default();
        findings.iter().map(|told| told["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let lines = json["codes"].as_array().unwrap().iter();
    lines
        .map(|line| (u8::try_from(line["number"].as_u64().unwrap()).unwrap(), words(line)))
        .filter(|(_, words)| !words.is_empty())
        .collect()
}

fn line(_: u8, text: String) -> Vec<u8> {
    format!("{text}\r").into_bytes()
}

fn check(profile: &ScanProfile, spoil: impl Fn(u8, String) -> Vec<u8>, expect: &[(u8, &[&str])], told: &str) {
    let verdict = scan_all(profile, spoil);
    let expect: Vec<(u8, Vec<String>)> =
        expect.iter().map(|(number, words)| (*number, words.iter().map(|word| (*word).to_owned()).collect())).collect();
    assert_eq!(found(&verdict), expect);
    assert!(verdict.text.contains(told) || verdict.advice.contains(told), "{} {}", verdict.text, verdict.advice);
    // It is kept as JSON and read again with the next code.
    let json = serde_json::to_string(&verdict).unwrap();
    assert_eq!(SheetVerdict::from_json(&json).as_ref(), Some(&verdict));
}

fn default() -> ScanProfile {
    ScanProfile::default()
}

#[test]
fn a_scanner_that_is_set_well_has_nothing_found() {
    check(&default(), line, &[], "as it should");
    assert_eq!(scan_all(&default(), line).grade, Grade::Ok);
    let crlf = |_, text: String| format!("{text}\r\n").into_bytes();
    check(&default(), crlf, &[], "as it should");
    let framed = ScanProfile { start: b"\x02".to_vec(), terminators: vec![b"\x03".to_vec()], ..default() };
    check(&framed, |_, text| format!("\x02{text}\x03").into_bytes(), &[], "as it should");
    let wrapped = ScanProfile { prefix: b"<<".to_vec(), suffix: b">>".to_vec(), ..default() };
    check(&wrapped, |_, text| format!("<<{text}>>\r").into_bytes(), &[], "as it should");
    let leading = |number, text: String| match number {
        3 | 4 => line(number, format!("{}\u{1d}{}\u{1d}", &text[..3], &text[3..])),
        _ => line(number, text),
    };
    check(&default(), leading, &[], "as it should");
}

#[test]
fn a_scanner_without_aim_ids_is_told_to_switch_them_on() {
    let bare = |number, text: String| line(number, text[3..].to_owned());
    let expect: Vec<(u8, &[&str])> =
        (1..=8).map(|n| (n, if matches!(n, 1 | 2 | 8) { &["no_id_here"] as &[&str] } else { &["no_id"] })).collect();
    check(&default(), bare, &expect, "AIM ids");
    let symbol = ScanProfile { code_id: CodeId::Symbol, ..default() };
    let ids =
        |number, text: String| line(number, format!("{}{}", SheetCode::of(number).unwrap().symbol_id(), &text[3..]));
    check(&symbol, ids, &[], "as it should");
    let expect: Vec<(u8, &[&str])> = (1..=8).map(|n| (n, &["symbol_id"] as &[&str])).collect();
    check(&default(), ids, &expect, "code_id = \"symbol\"");
    let expect: Vec<(u8, &[&str])> = (1..=8).map(|n| (n, &["no_symbol_id"] as &[&str])).collect();
    check(&symbol, bare, &expect, "code_id");
    let wrong = |number, text: String| line(number, text.replacen("]C1", "]C0", 1).replacen("]d2", "]d1", 1));
    check(&default(), wrong, &[(3, &["wrong_id"]), (4, &["wrong_id"])], "GS1-128");
}

#[test]
fn a_separator_that_is_lost_replaced_or_a_line_end_is_named() {
    let with = |other: &'static str| move |number, text: String| line(number, text.replace('\u{1d}', other));
    let both = |word: &'static [&'static str]| [(3_u8, word), (4_u8, word)];
    check(&default(), with(""), &both(&["gs_lost"]), "no longer be told apart");
    for (other, shown) in
        [("]d2", "]d2"), ("^]", "^]"), ("|", "|"), ("\\x1d", "\\x1d"), ("{GS}", "{GS}"), ("\t", "\\t")]
    {
        check(&default(), with(other), &both(&["gs_replaced"]), &format!("\"{shown}\" came where the separator"));
    }
    check(&default(), with("\r"), &both(&["gs_splits"]), "cut in two");
    check(&default(), with("\r\n"), &both(&["gs_splits"]), "cut in two");
}

#[test]
fn a_wrong_keyboard_is_named_and_so_is_the_one_that_is_meant() {
    let at = |name| (0..6).find(|at| keyboard::name(*at) == name).unwrap();
    for (typed, read, told) in [
        ("us", "de", "us, read as de"),
        ("de", "us", "de, read as us or uk"),
        ("us", "fr", "us or uk, read as fr"),
        ("fr", "us", "fr, read as us or uk"),
        ("us", "cz", "us or uk, read as cz"),
        ("es", "us", "es, read as us or uk"),
        ("de", "fr", "de, read as fr"),
    ] {
        let mut verdict = None;
        for code in SHEET.iter().filter(|code| !code.text.contains(GS)) {
            let typed = keyboard::retyped(code.text, (at(typed), at(read)));
            for entry in decode(&default(), &line(0, typed)) {
                match entry {
                    ScanOut::Test(read, _) => verdict = Some(SheetVerdict::with(verdict, &read, 0)),
                    // The digits are the same on most keyboards; then it is the code itself, without its id.
                    other => panic!("{other:?}"),
                }
            }
        }
        let json = serde_json::to_string(&verdict.unwrap()).unwrap();
        assert!(json.contains(told), "{typed} as {read}: {json}");
    }
    // What is told apart by nothing is told as it is.
    let out = decode(&default(), b"WAZPOST-TEST-1\r");
    let ScanOut::Test(read, _) = &out[0] else { panic!("{out:?}") };
    assert_eq!(read.findings[0].value, "de, read as es; or es, read as de");
    // The `]` of the id is another key; the digits are the same.
    let german = |number, text: String| {
        line(number, text.replace('-', "ß").replace("WAY", "WAZ").replacen(']', "+", 1).replace(" aZyY", " aYzZ"))
    };
    let verdict = scan_all(&default(), german);
    let expect = |n: u8| if matches!(n, 5..=7) { "spoiled_id" } else { "layout" };
    assert_eq!(found(&verdict), (1..=8).map(|n| (n, vec![expect(n).to_owned()])).collect::<Vec<_>>());
    let accent = |number, text: String| line(number, text.replacen("]E", "Ë", 1));
    assert_eq!(
        found(&scan_all(&default(), accent)),
        [(5, vec!["spoiled_id".to_owned()]), (6, vec!["spoiled_id".to_owned()])]
    );
    // An American keyboard differs from a British one only in what few codes hold.
    let british = |number, text: String| {
        line(number, if number == 2 { text.replace('@', "\"").replace('#', "£").replace('\\', "#") } else { text })
    };
    check(&default(), british, &[(2, &["layout"])], "us, read as uk");
}

#[test]
fn a_read_without_terminator_is_told_by_what_came_instead() {
    let all = |word: &'static [&'static str]| (1..=8).map(|n| (n, word)).collect::<Vec<_>>();
    check(&default(), |_, text| text.into_bytes(), &all(&["unterminated"]), "only silence");
    check(&default(), |_, text| format!("{text}\t").into_bytes(), &all(&["unterminated"]), "only \"\\t\"");
    let twice = |_, text: String| format!("{text}{text}\r").into_bytes();
    check(&default(), twice, &all(&["glued"]), "Two codes");
}

#[test]
fn letters_of_the_wrong_case_are_noticed() {
    let upper = |number, text: String| line(number, text.to_ascii_uppercase());
    let verdict = scan_all(&default(), upper);
    assert_eq!(found(&verdict).iter().find(|(n, _)| *n == 2).unwrap().1, ["upper"]);
    let swapped = |number, text: String| {
        let swap = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        line(number, format!("{}{}", &text[..3], text[3..].chars().map(swap).collect::<String>()))
    };
    let verdict = scan_all(&default(), swapped);
    assert_eq!(found(&verdict).iter().find(|(n, _)| *n == 2).unwrap().1, ["caps_lock"]);
}

#[test]
fn digits_and_stars_that_a_scanner_drops_or_adds_are_noticed() {
    let short = |number, text: String| match number {
        5..=7 => line(number, text[..text.len() - 1].to_owned()),
        _ => line(number, text),
    };
    check(
        &default(),
        short,
        &[(5, &["check_dropped"]), (6, &["check_dropped"]), (7, &["check_dropped"])],
        "check digit",
    );
    let no_zero = |number, text: String| line(number, text.replace("]E00", "]E0"));
    check(&default(), no_zero, &[(6, &["zero_dropped"])], "as it should");
    let stars = |number, text: String| match number {
        8 => line(number, format!("{}*{}*", &text[..3], &text[3..])),
        _ => line(number, text),
    };
    check(&default(), stars, &[(8, &["start_stop"])], "Code 39");
}

#[test]
fn a_prefix_a_suffix_and_missing_framing_are_named_with_what_came() {
    let all = |word: &'static [&'static str]| (1..=8).map(|n| (n, word)).collect::<Vec<_>>();
    check(&default(), |_, text| format!("S1:{text}\r").into_bytes(), &all(&["prefix"]), "\"S1:\" came before");
    check(&default(), |_, text| format!("{text};\r").into_bytes(), &all(&["suffix"]), "\";\" came behind");
    check(&default(), |_, text| format!("\x02{text}\x03\r").into_bytes(), &all(&["prefix", "suffix"]), "prefix");
    let wants = ScanProfile { prefix: b"<<".to_vec(), ..default() };
    check(&wants, line, &all(&["framing"]), "missing");
    let starts = ScanProfile { start: b"\x02".to_vec(), ..default() };
    check(&starts, line, &all(&["framing"]), "missing");
}

#[test]
fn code_1_begins_a_new_verdict_and_the_others_add_to_it() {
    let read = |bytes: &[u8]| match decode(&default(), bytes).remove(0) {
        ScanOut::Test(read, _) => *read,
        other => panic!("{other:?}"),
    };
    let bad = SheetVerdict::with(None, &read(b"WAYPOST-TEST-1;\r"), 1);
    assert_eq!(bad.grade, Grade::Bad);
    let more = SheetVerdict::with(Some(bad), &read(b"]E09521234999911\r"), 2);
    assert_eq!((more.grade, found(&more).len()), (Grade::Bad, 1));
    let anew = SheetVerdict::with(Some(more), &read(b"]C0WAYPOST-TEST-1\r"), 3);
    assert_eq!((anew.grade, found(&anew).len()), (Grade::Unseen, 0));
    assert!(anew.text.starts_with("1 of 8"), "{}", anew.text);
}

#[test]
fn a_code_of_the_yard_is_never_taken_for_the_sheet() {
    for bytes in [
        "TRL-7\r",
        "WAYPOST-TEST-9\r",
        "WAYPOST-TEST\r",
        "POST-TEST-1\r",
        "]C10109521234999911\r",
        "]E09521234999928\r",
        "195212349999119\r",
        "6141419999961\r",
        "]C100095212340000010013\r",
        "PPPPPPPPPPPPPPPPPWAYPOST-TEST-1\r",
        "&é\"'(-è_çà)&é\"'(\r",
    ] {
        let out = decode(&default(), bytes.as_bytes());
        assert!(out.iter().all(|entry| !matches!(entry, ScanOut::Test(..))), "{bytes:?}: {out:?}");
    }
}

#[test]
fn the_numbers_of_the_sheet_prove_themselves() {
    for code in SHEET.iter().filter(|code| code.is_number()) {
        assert!(crate::decoder::scan::check::mod10_holds(code.text.as_bytes()), "{}", code.text);
    }
    for code in SHEET.iter().filter(|code| code.text.contains(GS)) {
        assert!(crate::decoder::scan::gs1::read_elements(code.text).is_ok(), "{:?}", code.text);
        assert_eq!(code.shown.replace(['(', ')'], ""), code.text.replace(GS, ""));
    }
    assert!(SHEET.iter().zip(1..).all(|(code, number)| code.number == number));
}

proptest::proptest! {
    #[test]
    fn no_bytes_around_a_code_can_break_the_reader(
        before in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        after in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        number in 1_u8..=8,
        cut in 0_usize..60,
        latin in proptest::prelude::any::<bool>(),
    ) {
        let charset = if latin { Charset::Latin1 } else { Charset::Utf8 };
        let profile = ScanProfile { charset, ..default() };
        let text = good(number);
        let bytes = [&before, &text.as_bytes()[..cut.min(text.len())], &after].concat();
        for end in [End::Terminator, End::Silence, End::Outside] {
            if let Some(read) = read(&bytes, &profile, end) {
                proptest::prop_assert!(read.findings.len() < 10);
            }
        }
    }
}
/// Types `text` on the keys of one layout and hears it as another, Enter behind it.
fn typed(text: &str, typed: Layout, heard: Layout) -> Vec<ScanOut> {
    let mut events = Vec::new();
    let mut key = |code: u16, value: i32| {
        let parts = [&1_u16.to_le_bytes()[..], &code.to_le_bytes(), &value.to_le_bytes()];
        events.extend(parts.concat());
    };
    for c in text.chars() {
        let all = (0..3).flat_map(|level| (1..=90_u16).map(move |code| (level, code)));
        let (level, code) = match c {
            ' ' => (0, 57),
            GS => (3, 27),
            c => all.into_iter().find(|(level, code)| typed.typed(*code, *level) == Some((c, false))).unwrap(),
        };
        // Shift, AltGr, Ctrl.
        let held = [None, Some(42), Some(100), Some(29)][level];
        held.into_iter().for_each(|code| key(code, 1));
        [1, 0].into_iter().for_each(|value| key(code, value));
        held.into_iter().for_each(|code| key(code, 0));
    }
    [1, 0].into_iter().for_each(|value| key(28, value));
    let mut decoder = ScanDecoder::new(ScanProfile { layout: heard, ..default() });
    let mut out = Vec::new();
    decoder.feed_keys(&events, Stamp::default(), &mut out);
    decoder.idle(i64::MAX, &mut out);
    out
}

#[test]
fn every_country_read_as_every_other_is_told_from_the_keys() {
    for (scanner, node) in Layout::ALL.into_iter().flat_map(|a| Layout::ALL.map(|b| (a, b))) {
        let mut verdict = None;
        for code in &SHEET {
            for entry in typed(&good(code.number), scanner, node) {
                let ScanOut::Test(read, _) = entry else { panic!("{scanner:?} as {node:?}: {entry:?}") };
                assert_eq!(read.code, code);
                verdict = Some(SheetVerdict::with(verdict, &read, 0));
            }
        }
        let verdict = verdict.unwrap();
        let is_told = verdict.text.contains(scanner.as_str()) && verdict.text.contains(node.as_str());
        assert!(
            if scanner == node { verdict.grade == Grade::Ok } else { is_told },
            "{scanner:?} as {node:?}: {}",
            verdict.text
        );
    }
}
