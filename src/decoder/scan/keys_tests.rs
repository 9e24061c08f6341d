//! What keys type, on every layout, and what happens when some of them are lost.

use std::collections::BTreeMap;

use super::keys::Keyboard;
use super::*;
use crate::domain::Reason;

fn stamp(ms: i64) -> Stamp {
    Stamp { mono_us: ms * 1000, wall_ms: 0 }
}

fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &code.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// A key with these held, each pressed and let go of.
fn stroke(held: &[u16], key: u16) -> Vec<u8> {
    let down = held.iter().map(|one| event(1, *one, 1));
    let up = held.iter().map(|one| event(1, *one, 0));
    down.chain([event(1, key, 1), event(1, key, 0)]).chain(up).flatten().collect()
}

const SHIFT: u16 = 42;
const CTRL: u16 = 29;
const ALT: u16 = 56;
const ALTGR: u16 = 100;
const ENTER: u16 = 28;
const SPACE: u16 = 57;
const PAD: [u16; 10] = [82, 79, 80, 81, 75, 76, 77, 71, 72, 73];

/// What the events type; `\u{fffd}` for what is not known.
fn typed(layout: Layout, events: &[u8]) -> String {
    let mut keyboard = Keyboard::new(layout, &[]);
    let mut bytes = Vec::new();
    for event in events.as_chunks::<KEY_EVENT>().0 {
        let [t0, t1, c0, c1, v0, v1, v2, v3] = *event;
        let (kind, code) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([c0, c1]));
        keyboard.take(kind, code, i32::from_le_bytes([v0, v1, v2, v3]), &mut bytes);
    }
    keyboard.silence(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The levels of a layout: what is held for them.
const LEVELS: [&[u16]; 4] = [&[], &[SHIFT], &[ALTGR], &[SHIFT, ALTGR]];

/// All ways to type each character of a layout, an accent with the space that frees it.
fn ways(layout: Layout) -> BTreeMap<char, Vec<Vec<u8>>> {
    let mut ways: BTreeMap<char, Vec<Vec<u8>>> = BTreeMap::new();
    for (level, held) in LEVELS.iter().enumerate() {
        for key in 0..128 {
            if let Some((c, waits)) = layout.typed(key, level) {
                let mut events = stroke(held, key);
                if waits {
                    events.extend(stroke(&[], SPACE));
                }
                ways.entry(c).or_default().push(events);
            }
        }
    }
    ways
}

#[test]
fn every_layout_types_every_printable_character_of_ascii() {
    for layout in Layout::ALL {
        let ways = ways(layout);
        for c in ('!'..='~').collect::<Vec<_>>() {
            let events = ways.get(&c).unwrap_or_else(|| panic!("{layout:?} has no {c}"));
            for events in events {
                assert_eq!(typed(layout, events), c.to_string(), "{layout:?}");
            }
        }
        assert_eq!(typed(layout, &stroke(&[], SPACE)), " ");
    }
}

#[test]
fn every_key_of_a_layout_types_what_it_says_and_nothing_else() {
    for layout in Layout::ALL {
        for (c, events) in ways(layout) {
            for events in events {
                assert_eq!(typed(layout, &events), c.to_string(), "{layout:?}");
            }
        }
    }
    let digits: String = (2..=11).map(|key| typed(Layout::Fr, &stroke(&[SHIFT], key))).collect();
    assert_eq!(digits, "1234567890");
    assert_eq!(typed(Layout::Cz, &stroke(&[], 3)), "ě");
}

#[test]
fn an_accent_waits_for_its_letter() {
    for (layout, accent, letter, expect) in [
        (Layout::De, (&[][..], 41), (&[SHIFT][..], 30), "Â"),
        (Layout::Fr, (&[SHIFT], 26), (&[], 18), "ë"),
        (Layout::Es, (&[], 40), (&[], 18), "é"),
        (Layout::Cz, (&[SHIFT], 13), (&[SHIFT], 46), "Č"),
        (Layout::Cz, (&[SHIFT], 41), (&[], 22), "ů"),
        (Layout::De, (&[], 41), (&[], 45), "^x"),
        (Layout::De, (&[], 41), (&[], 41), "^^"),
        (Layout::De, (&[], 41), (&[CTRL], 27), "^\u{1d}"),
        (Layout::De, (&[], 41), (&[], ENTER), "^\r"),
        (Layout::De, (&[], 41), (&[], 59), "^\u{fffd}"),
    ] {
        let events = [stroke(accent.0, accent.1), stroke(letter.0, letter.1)].concat();
        assert_eq!(typed(layout, &events), expect, "{layout:?}");
    }
    assert_eq!(typed(Layout::De, &stroke(&[], 41)), "^", "an accent that nothing follows");
}

#[test]
fn the_separator_is_the_key_at_one_place_on_every_layout() {
    for layout in Layout::ALL {
        assert_eq!(typed(layout, &stroke(&[CTRL], 27)), "\u{1d}", "{layout:?}");
        assert_eq!(typed(layout, &stroke(&[97], 27)), "\u{1d}", "{layout:?}: the right Ctrl");
        assert_eq!(typed(layout, &stroke(&[CTRL], 7)), "\u{1e}", "{layout:?}");
    }
    // Letters are the layout's own: Ctrl+M is the carriage return on a French keyboard too.
    assert_eq!(typed(Layout::Fr, &stroke(&[CTRL], 39)), "\r");
    assert_eq!(typed(Layout::Us, &stroke(&[CTRL], 36)), "\n");
    // Ctrl and Alt together are AltGr, where there is one.
    assert_eq!(typed(Layout::De, &stroke(&[CTRL, ALT], 10)), "]");
    assert_eq!(typed(Layout::Us, &stroke(&[CTRL, ALT], 10)), "\u{fffd}");
}

#[test]
fn a_code_on_the_number_pad_types_one_character_when_alt_is_let_go() {
    let code = |digits: &[usize]| {
        let digits = digits.iter().flat_map(|digit| stroke(&[], PAD[*digit]));
        event(1, ALT, 1).into_iter().chain(digits).chain(event(1, ALT, 0)).collect::<Vec<u8>>()
    };
    for (digits, expect) in [
        (&[0, 0, 2, 9][..], "\u{1d}"),
        (&[0, 2, 9], "\u{1d}"),
        (&[2, 9], "\u{1d}"),
        (&[6, 5], "A"),
        (&[0, 2, 3, 3], "é"),
        (&[0, 1, 2, 8], "€"),
        (&[0, 1, 2, 9], "\u{fffd}"),
        (&[2, 3, 3], "\u{fffd}"),
        (&[0], "\u{fffd}"),
        (&[0, 2, 5, 6], "\u{fffd}"),
        (&[0, 0, 0, 2, 9], "\u{fffd}"),
        (&[], ""),
    ] {
        for layout in Layout::ALL {
            assert_eq!(typed(layout, &code(digits)), expect, "{digits:?}");
        }
    }
    assert_eq!(typed(Layout::Us, &[code(&[0, 0, 2, 9]), code(&[6, 5])].concat()), "\u{1d}A");
    assert_eq!(typed(Layout::Us, &stroke(&[ALT], 30)), "\u{fffd}", "a menu key is no character");
    let unended: Vec<u8> = [event(1, ALT, 1), stroke(&[], PAD[6]), stroke(&[], PAD[5])].concat();
    assert_eq!(typed(Layout::Us, &unended), "\u{fffd}", "a code whose end was lost");
}

#[test]
fn the_number_pad_types_digits_and_the_decimal_sign_of_its_country() {
    let pad: Vec<u8> = PAD.iter().flat_map(|key| stroke(&[], *key)).collect();
    for layout in Layout::ALL {
        assert_eq!(typed(layout, &pad), "0123456789");
    }
    let signs: Vec<u8> = [98, 55, 74, 78, 83].iter().flat_map(|key| stroke(&[], *key)).collect();
    assert_eq!(typed(Layout::Us, &signs), "/*-+.");
    assert_eq!(typed(Layout::De, &signs), "/*-+,");
}

#[test]
fn a_key_that_repeats_and_the_lock_keys_type_nothing() {
    let held: Vec<u8> = [event(1, 30, 1), event(1, 30, 2), event(1, 30, 2), event(1, 30, 0)].concat();
    assert_eq!(typed(Layout::Us, &held), "a");
    let locked: Vec<u8> = [stroke(&[], 58), stroke(&[], 30), stroke(&[], 69), stroke(&[], 70)].concat();
    assert_eq!(typed(Layout::Us, &locked), "a", "caps lock is the host's");
    assert_eq!(typed(Layout::Us, &stroke(&[54], 30)), "A", "the right shift key");
    let both = [event(1, SHIFT, 1), event(1, 54, 1), event(1, SHIFT, 0), stroke(&[], 30), event(1, 54, 0)].concat();
    assert_eq!(typed(Layout::Us, &both), "A", "one of two shift keys is still down");
}

/// Feeds the events at their times and unplugs at the end.
fn scan(profile: ScanProfile, reads: &[(i64, Vec<u8>)]) -> Vec<String> {
    let mut decoder = ScanDecoder::new(profile);
    let mut out = Vec::new();
    let mut last = 0;
    for (ms, events) in reads {
        decoder.feed_keys(events, stamp(*ms), &mut out);
        last = *ms;
    }
    decoder.lost(stamp(last), &mut out);
    let counts = decoder.counts();
    assert_eq!(counts.open_bytes, 0);
    let ended = counts.scan_bytes + counts.reject_bytes.values().sum::<u64>() + counts.delimiter_bytes;
    assert_eq!(counts.fed, ended, "{counts:?}");
    let word = |entry: &ScanOut| match entry {
        ScanOut::Scan(scan, _) => scan.key.clone(),
        ScanOut::Reject(loss, _) => loss.reason.as_str().to_owned(),
        ScanOut::Test(read, _) => format!("test {}", read.code.text),
    };
    out.iter().map(word).collect()
}

/// The strokes of a code on an American keyboard, Enter at the end.
fn strokes(code: &str) -> Vec<u8> {
    let of = |c: char| {
        (0..128).find_map(|key| {
            (0..2)
                .find(|level| Layout::Us.typed(key, *level) == Some((c, false)))
                .map(|level| stroke(LEVELS[level], key))
        })
    };
    code.chars().map(|c| of(c).unwrap()).chain([stroke(&[], ENTER)]).flatten().collect()
}

#[test]
fn half_a_code_of_keys_is_never_glued_to_the_next() {
    let half = || strokes("TRL-")[..strokes("TRL-").len() - 16].to_vec();
    let default = ScanProfile::default;
    assert_eq!(scan(default(), &[(0, half()), (499, strokes("7"))]), ["raw:TRL-7"]);
    assert_eq!(scan(default(), &[(0, half()), (500, strokes("TRL-8"))]), ["unterminated", "raw:TRL-8"]);
    assert_eq!(scan(default(), &[(0, half())]), ["unterminated"], "unplugged");
    let accent = [(0, stroke(&[], 41)), (600, strokes("A"))];
    assert_eq!(scan(ScanProfile { layout: Layout::De, ..default() }, &accent), ["unterminated", "raw:A"]);
}

#[test]
fn enter_and_tab_end_a_code_where_the_profile_says_so() {
    let profile = |term: &[u8]| ScanProfile { terminators: vec![term.to_vec()], ..ScanProfile::default() };
    for term in [&b"\r"[..], b"\n", b"\r\n"] {
        assert_eq!(scan(profile(term), &[(0, strokes("A"))]), ["raw:A"], "{term:?}");
    }
    let pad = [strokes("A")[..16 * 2].to_vec(), stroke(&[], 96)].concat();
    assert_eq!(scan(profile(b"\r"), &[(0, pad)]), ["raw:A"], "the Enter key of the number pad");
    let tab = [stroke(&[], 30), stroke(&[], 15), stroke(&[], 48), stroke(&[], 15)].concat();
    assert_eq!(scan(profile(b"\t"), &[(0, tab)]), ["raw:a", "raw:b"]);
    assert_eq!(scan(profile(b"\t"), &[(0, strokes("A"))]), ["unterminated"]);
}

#[test]
fn lost_keys_refuse_the_code_they_were_lost_from_and_hold_nothing_down() {
    let dropped = || event(0, 3, 0);
    let default = ScanProfile::default;
    let code = strokes("TRL-7");
    // Lost in the middle, with the release of a shift among it: the code is refused, the next one is read as it is.
    let mid = [&code[..16], &dropped(), &code[48..], &strokes("a8")].concat();
    assert_eq!(scan(default(), &[(0, mid)]), ["non_ascii", "raw:a8"]);
    // Lost before anything of it came, or right before its end.
    assert_eq!(scan(default(), &[(0, [dropped(), strokes("A"), strokes("B")].concat())]), ["non_ascii", "raw:B"]);
    let end = [&code[..code.len() - 16], &dropped(), &stroke(&[], ENTER), &strokes("B")].concat();
    assert_eq!(scan(default(), &[(0, end)]), ["non_ascii", "raw:B"]);
}

#[test]
fn a_shift_key_whose_release_was_lost_does_not_stick() {
    let default = ScanProfile::default;
    let stuck = || [event(1, SHIFT, 1), stroke(&[], 30), stroke(&[], ENTER)].concat();
    // Nobody knows whether the next code is shifted; the one after it is sure again.
    assert_eq!(
        scan(default(), &[(0, stuck()), (2000, strokes("a1")), (3000, strokes("a1"))]),
        ["raw:A", "non_ascii", "raw:a1"]
    );
    // A release that comes late says that all is well.
    assert_eq!(
        scan(default(), &[(0, stuck()), (2000, event(1, SHIFT, 0)), (2001, strokes("a1"))]),
        ["raw:A", "raw:a1"]
    );
    // A hand that holds the key makes it repeat: then it is down.
    let hand = [(0, event(1, SHIFT, 1)), (300, event(1, SHIFT, 2)), (700, stroke(&[], 30)), (710, strokes("b"))];
    assert_eq!(scan(default(), &hand), ["raw:AB"]);
}

#[test]
fn a_key_that_types_nothing_refuses_its_code() {
    for key in [1, 14, 59, 103, 111, 113, 0x110] {
        let events = [stroke(&[], 30), stroke(&[], key), strokes("B")].concat();
        assert_eq!(scan(ScanProfile::default(), &[(0, events)]), ["non_ascii"], "key {key}");
    }
    assert_eq!(scan(ScanProfile::default(), &[(0, stroke(&[], 113))]), ["non_ascii"], "a volume key alone");
}

#[test]
fn a_licence_that_is_typed_leaves_no_trace() {
    let lines = ["@", "ANSI 636026080102DL00410288ZA03290015DLDAQD12345678", "DCSPUBLIC", "DACJOHN", "ZAZAAN"];
    let mut profile = ScanProfile { layout: Layout::Us, ..ScanProfile::default() };
    profile.idle_ms = 10_000;
    let mut decoder = ScanDecoder::new(profile);
    let mut out = Vec::new();
    for line in lines {
        let events: Vec<u8> = line.split(' ').map(strokes).collect::<Vec<_>>().join(&stroke(&[], SPACE)[..]);
        // Enter was pressed behind each word: only the last one counts.
        let text = if line.contains(' ') {
            let (one, two) = line.split_once(' ').unwrap();
            let one = strokes(one);
            [&one[..one.len() - 16], &stroke(&[], SPACE), &strokes(two)].concat()
        } else {
            events
        };
        decoder.feed_keys(&text, stamp(0), &mut out);
    }
    decoder.lost(stamp(1), &mut out);
    let text = format!("{out:?}");
    assert_eq!(out.len(), 1, "{text}");
    assert!(
        matches!(&out[0], ScanOut::Reject(loss, _) if loss.reason == Reason::Pii && loss.bytes.is_empty()),
        "{text}"
    );
}

/// The keys of XKB by the code of the kernel.
const XKB_KEYS: [(&str, &[u16]); 4] = [
    ("AE", &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ("AD", &[16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27]),
    ("AC", &[30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40]),
    ("AB", &[44, 45, 46, 47, 48, 49, 50, 51, 52, 53]),
];

fn xkb_key(name: &str) -> Option<u16> {
    match name {
        "TLDE" => return Some(41),
        "BKSL" => return Some(43),
        "LSGT" => return Some(86),
        _ => {}
    }
    let (row, number) = name.split_at_checked(2)?;
    let (_, keys) = XKB_KEYS.iter().find(|(one, _)| *one == row)?;
    keys.get(number.parse::<usize>().ok()?.checked_sub(1)?).copied()
}

/// The character of a symbol of XKB, an accent for its key.
fn xkb_character(symbol: &str) -> Option<char> {
    const NAMES: &str = "grave` asciitilde~ exclam! at@ numbersign# dollar$ percent% asciicircum^ ampersand& asterisk* parenleft( \
        parenright) minus- underscore_ equal= plus+ bracketleft[ braceleft{ bracketright] braceright} semicolon; colon: \
        apostrophe' quotedbl\" backslash\\ bar| comma, less< period. greater> slash/ question? sterling£ notsign¬ brokenbar¦ \
        section§ degree° ssharpß acute´ diaeresis¨ udiaeresisü Udiaeresis\u{dc} odiaeresisö Odiaeresis\u{d6} adiaeresisä Adiaeresis\u{c4} \
        twosuperior² threesuperior³ mu\u{b5} EuroSign€ eacuteé egraveè ccedillaç Ccedilla\u{c7} agraveà ugraveù currency¤ periodcentered· \
        masculineº ordfeminineª exclamdown¡ questiondown¿ ntildeñ Ntilde\u{d1} ecaroně scaronš ccaronč rcaronř zcaronž yacuteý \
        aacuteá iacuteí uacuteú uringů division÷ multiply× dstrokeđ Dstroke\u{110} lstrokeł Lstroke\u{141} Eacute\u{c9} \
        dead_acute´ dead_grave` dead_circumflex^ dead_diaeresis¨ dead_tilde~ dead_caronˇ dead_breve˘ dead_abovering° dead_ogonek˛ \
        dead_abovedot˙ dead_doubleacute˝ dead_cedilla¸";
    let mut letters = symbol.chars();
    match (letters.next(), letters.next()) {
        (Some(one), None) => Some(one),
        _ => NAMES.split_ascii_whitespace().find_map(|entry| {
            let c = entry.chars().next_back()?;
            (entry.strip_suffix(c)? == symbol).then_some(c)
        }),
    }
}

/// The symbols of a section of an XKB file, by key and level; what it includes comes first.
fn xkb(folder: &std::path::Path, file: &str, section: &str) -> BTreeMap<(u16, usize), String> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let from = text.find(&format!("xkb_symbols \"{section}\"")).unwrap_or_else(|| panic!("{file} has no {section}"));
    let body = &text[from..];
    let body = &body[..body.find("\n};").unwrap()];
    let mut symbols = BTreeMap::new();
    let body: String = body.lines().filter_map(|line| line.split("//").next()).collect::<Vec<_>>().join(" ");
    if let Some((_, included)) = body.split_once("include \"latin") {
        let section = included.split(['(', ')']).nth(1).filter(|_| included.starts_with('(')).unwrap_or("basic");
        symbols.extend(xkb(folder, "latin", section));
    }
    for entry in body.split("key <").skip(1) {
        let Some(key) = entry.split('>').next().and_then(|name| xkb_key(name.trim())) else { continue };
        let list = entry.split(';').next().and_then(|entry| entry.rsplit_once('[')).map_or("", |(_, list)| list);
        for (level, symbol) in list.split(']').next().unwrap_or_default().split(',').enumerate() {
            symbols.insert((key, level), symbol.trim().to_owned());
        }
    }
    symbols
}

/// Where Windows and XKB say different things of the level of `AltGr`; the keys, and what ours types there.
const OTHERWISE: &[(Layout, &str)] = &[(Layout::Uk, "¦áéíóú\\"), (Layout::Es, "€"), (Layout::Cz, "~ˇ^˘°˛`˙´˝¨¸÷×ß¤")];

#[test]
fn the_layouts_are_those_of_xkb() {
    let folder = std::path::Path::new("/usr/share/X11/xkb/symbols");
    if !folder.join("us").exists() {
        eprintln!("SKIPPED: no {} (package xkb-data): the layouts were not compared", folder.display());
        return;
    }
    let mut compared = 0;
    for layout in Layout::ALL {
        let file = if layout == Layout::Uk { "gb" } else { layout.as_str() };
        let symbols = xkb(folder, file, "basic");
        let mut otherwise = String::new();
        for key in 0..128 {
            for level in 0..3 {
                let Some((ours, _)) = layout.typed(key, level) else { continue };
                // The key beside the left shift is in a file of its own where a country does not change it.
                let Some(symbol) = symbols.get(&(key, level)) else {
                    assert_eq!(key, 86, "{layout:?} key {key} level {level}");
                    continue;
                };
                compared += 1;
                let theirs = xkb_character(symbol);
                if level == 2 && theirs != Some(ours) {
                    otherwise.push(ours);
                } else {
                    assert_eq!(theirs, Some(ours), "{layout:?} key {key} level {level}: {symbol}");
                }
            }
        }
        let expect = OTHERWISE.iter().find(|(one, _)| *one == layout).map_or("", |(_, chars)| chars);
        let sorted = |text: &str| text.chars().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(sorted(&otherwise), sorted(expect), "{layout:?}");
    }
    assert!(compared > 550, "{compared} keys compared");
}
