//! Scanner bytes under any profile, in any chunks: they balance, and chunks change nothing of what is read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::decoder::scan::{Charset, CodeId, EVIDENCE_MAX, ScanDecoder, ScanOut, ScanProfile};
use waypost::domain::Stamp;

/// A profile of the kinds that there are, one for each value of a byte.
fn profile(choice: u8) -> ScanProfile {
    let bit = |n: u8| choice >> n & 1 == 1;
    let terminators: &[&[u8]] = match choice & 3 {
        0 => &[b"\r", b"\n"],
        1 => &[b"\r\n"],
        2 => &[b"\x03"],
        _ => &[b"\r", b"\r\n", b";;"],
    };
    ScanProfile {
        terminators: terminators.iter().map(|term| term.to_vec()).collect(),
        start: if bit(2) { b"\x02".to_vec() } else { Vec::new() },
        prefix: if bit(3) { b"D07|".to_vec() } else { Vec::new() },
        suffix: if bit(4) { b"#".to_vec() } else { Vec::new() },
        code_id: if bit(5) { CodeId::Symbol } else { CodeId::None },
        charset: if bit(6) { Charset::Latin1 } else { Charset::Utf8 },
        noread: if bit(7) { String::new() } else { "NOREAD".to_owned() },
        ..ScanProfile::default()
    }
}

fn balanced(decoder: &ScanDecoder, fed: usize) {
    let counts = decoder.counts();
    let rejected: u64 = counts.reject_bytes.values().sum();
    assert_eq!(counts.fed, fed as u64);
    assert_eq!(counts.scan_bytes + rejected + counts.delimiter_bytes + counts.open_bytes, fed as u64, "{counts:?}");
    assert_eq!(counts.frames, counts.scans + counts.rejects.values().sum::<u64>(), "{counts:?}");
}

fn end(mut decoder: ScanDecoder, mut out: Vec<ScanOut>, fed: usize) -> String {
    decoder.lost(Stamp::default(), &mut out);
    balanced(&decoder, fed);
    assert_eq!((decoder.counts().open_bytes, decoder.undecided_bytes()), (0, Some(0)));
    for one in &out {
        match one {
            ScanOut::Scan(scan, _) => assert!(!scan.code.is_empty() && !scan.key.is_empty(), "{scan:?}"),
            ScanOut::Reject(loss, _) => assert!(loss.bytes.len() <= EVIDENCE_MAX, "{loss:?}"),
        }
    }
    format!("{out:?} {:?}", decoder.counts())
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let (sizes, bytes) = rest.split_at(rest.len().min(4));
    let (mut chunked, mut whole) = (ScanDecoder::new(profile(*choice)), ScanDecoder::new(profile(*choice)));
    let (mut out, mut out_whole) = (Vec::new(), Vec::new());
    let (mut rest, mut fed) = (bytes, 0);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(usize::from(*size).clamp(1, rest.len()));
        chunked.feed(chunk, Stamp::default(), &mut out);
        fed += chunk.len();
        balanced(&chunked, fed);
        assert!(chunked.undecided_bytes().is_none_or(|open| open <= fed));
        rest = after;
    }
    whole.feed(bytes, Stamp::default(), &mut out_whole);
    assert_eq!(end(chunked, out, bytes.len()), end(whole, out_whole, bytes.len()));
});
