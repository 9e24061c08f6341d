//! Events of a keyboard scanner on any layout, with silences between them: no panic, and what was typed balances.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::decoder::scan::{KEY_EVENT, Layout, ScanDecoder, ScanProfile};
use waypost::domain::Stamp;

const LAYOUTS: [&str; 6] = ["us", "uk", "de", "fr", "es", "cz"];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let layout = LAYOUTS[usize::from(*choice) % LAYOUTS.len()];
    let layout = Layout::from_word(layout).expect("a layout that there is");
    let mut decoder = ScanDecoder::new(ScanProfile { layout, ..ScanProfile::default() });
    let (mut out, mut now) = (Vec::new(), Stamp::default());
    for two in rest.chunks(2) {
        let [key, how] = *two else { break };
        // Two bits say what happens to the key, the rest how long after: most are keys, some are lost events, some garbage.
        let (kind, code, value): (u16, u16, i32) = match how & 7 {
            0..=2 => (1, u16::from(key & 127), 1),
            3 | 4 => (1, u16::from(key & 127), 0),
            5 => (1, u16::from(key), 2),
            6 => (0, u16::from(key & 3), 0),
            _ => (u16::from(key), u16::from(key) << 8, i32::from(how) << 24),
        };
        now.mono_us += i64::from(how >> 3) * 30_000;
        let mut event = [0; KEY_EVENT];
        event[..2].copy_from_slice(&kind.to_le_bytes());
        event[2..4].copy_from_slice(&code.to_le_bytes());
        event[4..].copy_from_slice(&value.to_le_bytes());
        decoder.feed_keys(&event, now, &mut out);
        let counts = decoder.counts();
        let rejected: u64 = counts.reject_bytes.values().sum();
        assert_eq!(counts.scan_bytes + rejected + counts.delimiter_bytes + counts.open_bytes, counts.fed, "{counts:?}");
    }
    decoder.lost(now, &mut out);
    assert_eq!((decoder.counts().open_bytes, decoder.undecided_bytes()), (0, Some(0)));
});
