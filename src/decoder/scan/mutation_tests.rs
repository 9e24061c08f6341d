//! A million reads that were good once: no panic, every byte accounted for, bounded memory.

use super::*;

/// What real scanners send, and a licence.
const READS: &[&[u8]] = &[
    b"]C100376104250021234569\r\n",
    b"00376104250021234569\r",
    b"]d2010952123456789910LOT42A\x1d21SER0009\r\n",
    b"]C1010952123456789915260200\r",
    b"]C180040614141TRL53-0192\r",
    b"]C14140614141000012254DOOR07\r",
    b"]C180131987654Ad4X4bL5ttr2310c2K\r",
    b"]Q1https://id.gs1.org/01/09521234567899/10/A%2FB?17=261231\r",
    b"]E04006381333931\r",
    b"]E001234565\r",
    b"\x02376104250021234569\x03",
    b"D07|TRL-4411#\r\n",
    b"K00376104250021234569\r",
    b"NOREAD\r\n",
    b"csqu 305438 3\r",
    b"I1M8GDM9AXKP042788\r",
    b"3074257BF7194E4000001A85\r\n",
    b"urn:epc:tag:sgtin-96:1.0614141.812345.6789\r",
    "]Q1Ærø €\r".as_bytes(),
    b"@\n\x1e\rANSI 636026080102DL00410288ZA03290015DLDAQD12345678\nDCSPUBLIC\nDACJOHN\rZAZAAN\r",
];

/// Numbers that fall alike in every run.
fn roll(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % limit
}

/// Changes, loses, doubles, inserts, cuts or swaps something.
fn mutate(read: &mut Vec<u8>, state: &mut u64) {
    if read.is_empty() {
        return;
    }
    let at = roll(state, read.len());
    let byte = u8::try_from(roll(state, 256)).unwrap();
    match roll(state, 8) {
        0 => read[at] ^= 1 << roll(state, 8),
        1 => read[at] = byte,
        2 => drop(read.remove(at)),
        3 => read.insert(at, byte),
        4 => read.insert(at, read[at]),
        5 => read.truncate(at),
        6 => {
            let to = roll(state, read.len());
            read.swap(at, to);
        }
        _ => {
            let end = at + roll(state, read.len() - at);
            let piece = read[at..end].to_vec();
            let times = 1 + roll(state, 60);
            read.splice(at..at, piece.repeat(times));
        }
    }
}

fn profiles() -> Vec<ScanProfile> {
    let plain = ScanProfile::default;
    let term = |term: &[u8]| vec![term.to_vec()];
    vec![
        plain(),
        ScanProfile { terminators: term(b"\r\n"), ..plain() },
        ScanProfile { start: b"\x02".to_vec(), terminators: term(b"\x03"), ..plain() },
        ScanProfile { prefix: b"D07|".to_vec(), suffix: b"#".to_vec(), ..plain() },
        ScanProfile { code_id: CodeId::Symbol, ..plain() },
        ScanProfile { charset: Charset::Latin1, noread: String::new(), ..plain() },
        ScanProfile { layout: Layout::Fr, ..plain() },
    ]
}

#[test]
fn a_million_mutated_reads_panic_nowhere_and_every_byte_is_accounted_for() {
    let full = std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full");
    let reads = if full { 1_000_000 } else { 20_000 };
    let mut state = 20_261_121;
    let (mut scans, mut rejects) = (0_u64, std::collections::BTreeMap::new());
    let profiles = profiles();
    let each = reads / profiles.len() + 1;
    for profile in profiles {
        let is_keyboard = profile.layout != Layout::Us;
        let mut decoder = ScanDecoder::new(profile);
        let mut out = Vec::new();
        let mut now = Stamp::default();
        for _ in 0..each {
            let mut read = READS[roll(&mut state, READS.len())].to_vec();
            for _ in 0..=roll(&mut state, 4) {
                mutate(&mut read, &mut state);
            }
            now.mono_us += i64::try_from(roll(&mut state, 700_000)).unwrap();
            if is_keyboard {
                // The same bytes as key events: a type and a code that mostly are of keys, and any value.
                let events: Vec<u8> = read.iter().flat_map(|byte| [1, 0, byte & 0x7f, 0, byte >> 7, 0, 0, 0]).collect();
                let pressed: Vec<u8> = events
                    .as_chunks::<KEY_EVENT>()
                    .0
                    .iter()
                    .flat_map(|event| [*event, [event[0], 0, event[2], 0, 1 - event[4], 0, 0, 0]])
                    .flatten()
                    .collect();
                decoder.feed_keys(&pressed, now, &mut out);
            } else {
                let at = roll(&mut state, read.len() + 1);
                decoder.feed(&read[..at], now, &mut out);
                decoder.feed(&read[at..], now, &mut out);
            }
            let counts = decoder.counts();
            let refused: u64 = counts.reject_bytes.values().sum();
            assert_eq!(
                counts.fed,
                counts.scan_bytes + refused + counts.delimiter_bytes + counts.open_bytes,
                "{read:?}"
            );
            for entry in out.drain(..) {
                match entry {
                    ScanOut::Scan(scan, _) => {
                        assert!(!scan.code.is_empty() && scan.code.len() <= 2 * FRAME_MAX, "{scan:?}");
                        scans += 1;
                    }
                    ScanOut::Reject(loss, _) => {
                        assert!(loss.bytes.len() <= EVIDENCE_MAX && loss.bytes.len() <= loss.length, "{loss:?}");
                        *rejects.entry(loss.reason.as_str()).or_insert(0_u64) += 1;
                    }
                    ScanOut::Test(read, _) => assert!(!read.code.text.is_empty()),
                }
            }
        }
        decoder.lost(now, &mut out);
        let counts = decoder.counts();
        assert_eq!(counts.open_bytes, 0);
        assert_eq!(counts.frames, counts.scans + counts.tests + counts.rejects.values().sum::<u64>());
    }
    eprintln!("{reads} mutated reads: {scans} accepted, refused {rejects:?}");
    assert!(scans > 1000 && rejects.len() >= 12, "{scans} {rejects:?}");
}
