//! The decoder against captures of real receivers, by the rules of the corpora's own `score.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::report::decode_stream;
use crate::decoder::nmea::{NmeaDecoder, NmeaOptions};
use crate::domain::Stamp;

const ERA_MS: i64 = 1024 * 7 * 86_400_000;

/// The folder of captures, or none, loudly.
fn corpora() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let folder = std::env::var_os("WAYPOST_CORPORA").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no captures at {}; set WAYPOST_CORPORA", folder.display());
    None
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs `decode nmea` over a file: its fixes as text, and the summary.
fn decode(path: &Path) -> (String, Value) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    decode_stream(std::fs::File::open(path).unwrap(), &mut output, &mut errors).unwrap();
    (String::from_utf8(output).unwrap(), serde_json::from_slice(&errors).unwrap())
}

fn ms(row: &Value, key: &str) -> i64 {
    let time: jiff::Timestamp = row[key].as_str().unwrap().parse().unwrap();
    time.as_millisecond().rem_euclid(ERA_MS)
}

/// Rows by time, to find those within 20 ms and `deg` degrees.
struct Index(HashMap<i64, Vec<Value>>);

impl Index {
    fn new(rows: Vec<Value>, key: &str) -> Self {
        let mut table: HashMap<i64, Vec<Value>> = HashMap::new();
        for row in rows {
            table.entry(ms(&row, key) / 20).or_default().push(row);
        }
        Self(table)
    }

    fn last_near(&self, t: i64, wanted: &Value, deg: f64) -> Option<&Value> {
        let close = |row: &&Value, key: &str| (row[key].as_f64().unwrap() - wanted[key].as_f64().unwrap()).abs() < deg;
        (t / 20 - 1..=t / 20 + 1)
            .filter_map(|slot| self.0.get(&slot))
            .flatten()
            .rfind(|row| close(row, "lat") && close(row, "lon"))
    }
}

#[derive(Debug, Default)]
struct Score {
    expected: u32,
    recalled: u32,
    false_fixes: u32,
    speeds: (u32, u32),
    courses: (u32, u32),
}

impl Score {
    fn add(&mut self, expected: &[Value], allowed: &Index, got: Vec<Value>) {
        self.false_fixes +=
            u32::try_from(got.iter().filter(|fix| allowed.last_near(ms(fix, "ts"), fix, 1e-5).is_none()).count())
                .unwrap();
        let got = Index::new(got, "ts");
        for want in expected {
            self.expected += 1;
            let Some(fix) = got.last_near(ms(want, "t"), want, 1e-6) else { continue };
            self.recalled += 1;
            if let Some(speed) = want["speed"].as_f64() {
                self.speeds.1 += 1;
                self.speeds.0 += u32::from(fix["speed_mps"].as_f64().is_some_and(|mps| (mps - speed).abs() < 0.01));
            }
            if let Some(track) = want["track"].as_f64() {
                self.courses.1 += 1;
                let turn = |course: f64| ((course - track + 180.0).rem_euclid(360.0) - 180.0).abs();
                self.courses.0 += u32::from(fix["course_deg"].as_f64().is_some_and(|course| turn(course) < 0.1));
            }
        }
    }
}

/// With `WAYPOST_CORPORA_OUT` set the fixes are written there, for `score.py`.
#[test]
fn real_captures_give_the_expected_fixes_and_no_false_one() {
    let Some(folder) = corpora() else { return };
    let out = std::env::var_os("WAYPOST_CORPORA_OUT").map(PathBuf::from);
    let mut score = Score::default();
    for path in logs(&folder.join("nmea")) {
        let name = path.with_extension("jsonl").file_name().unwrap().to_owned();
        let (fixes, summary) = decode(&path);
        assert_eq!(summary["bytes"].as_u64().unwrap(), path.metadata().unwrap().len(), "{}", path.display());
        if let Some(out) = &out {
            std::fs::write(out.join(&name), &fixes).unwrap();
        }
        let read = |kind: &str| rows(&std::fs::read_to_string(folder.join(kind).join(&name)).unwrap());
        score.add(&read("expected"), &Index::new(read("allowed"), "t"), rows(&fixes));
    }
    eprintln!("{score:?}");
    let at_least = |(got, of): (u32, u32), share: f64| f64::from(got) >= f64::from(of) * share;
    assert!(score.expected > 1500 && at_least((score.recalled, score.expected), 0.995), "{score:?}");
    assert!(score.false_fixes == 0 && at_least(score.speeds, 0.99) && at_least(score.courses, 0.99), "{score:?}");
}

#[test]
fn every_valid_sentence_in_a_binary_stream_is_found() {
    let Some(folder) = corpora() else { return };
    for want in rows(&std::fs::read_to_string(folder.join("mixed/expected.jsonl")).unwrap()) {
        let (_, summary) = decode(&folder.join("mixed").join(want["log"].as_str().unwrap()));
        assert_eq!(summary["bytes"], want["bytes"], "{want}");
        assert_eq!(
            (&summary["sentences"], &summary["by_type"]),
            (&want["sentences"], &want["types"]),
            "{want} {summary}"
        );
    }
}

/// Goal: a new capture can neither panic nor lose a byte, however it is cut into reads.
#[test]
fn every_capture_balances_its_bytes_in_any_chunks() {
    let Some(folder) = corpora() else { return };
    for path in logs(&folder.join("nmea")).into_iter().chain(logs(&folder.join("mixed"))) {
        let bytes = std::fs::read(&path).unwrap();
        let decode = |chunk: usize| {
            let mut decoder = NmeaDecoder::new(NmeaOptions::default());
            let mut out = Vec::new();
            for part in bytes.chunks(chunk) {
                decoder.feed(part, Stamp::default(), &mut out);
                let counts = decoder.counts();
                assert_eq!(counts.bytes_by_outcome().map(|(_, bytes)| bytes).sum::<u64>(), counts.bytes);
            }
            decoder.finish(&mut out);
            assert_eq!(decoder.counts().open_bytes, 0);
            out
        };
        assert_eq!(decode(bytes.len()), decode(7), "{}", path.display());
    }
}
/// Goal: damage on the line can cost sentences, never the process, a byte of the count or a sane fix.
/// Method: each capture several times over with bytes flipped, dropped and doubled at places from a fixed seed.
#[test]
fn damaged_captures_neither_panic_nor_lose_count() {
    let Some(folder) = corpora() else { return };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    for path in logs(&folder.join("nmea")).into_iter().chain(logs(&folder.join("mixed"))) {
        let mut bytes = std::fs::read(&path).unwrap();
        for _ in 0..4 {
            for _ in 0..bytes.len() / 60 {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] ^= 1 << random(8),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"$*,\\\r\n!0"[random(8)]),
                    _ => bytes[at] = b"0123456789,.NSEW-"[random(17)],
                }
            }
            let mut decoder = NmeaDecoder::new(NmeaOptions::default());
            let mut out = Vec::new();
            for part in bytes.chunks(1 + random(300)) {
                decoder.feed(part, Stamp::default(), &mut out);
            }
            decoder.finish(&mut out);
            let counts = decoder.counts();
            let len = u64::try_from(bytes.len()).unwrap();
            assert_eq!((counts.bytes, counts.bytes_by_outcome().map(|(_, bytes)| bytes).sum()), (len, len));
        }
    }
}
