//! Receiver bytes in any chunks: they balance after every read, and chunks change nothing of what is understood.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::decoder::nmea::{NmeaDecoder, NmeaOptions, NmeaOut};
use waypost::domain::Stamp;

fn balanced(decoder: &NmeaDecoder, fed: usize) {
    let told: u64 = decoder.counts().bytes_by_outcome().map(|(_, bytes)| bytes).sum();
    assert_eq!(told, fed as u64, "bytes told of and bytes fed");
    assert_eq!(decoder.counts().bytes, fed as u64);
}

fn end(mut decoder: NmeaDecoder, mut out: Vec<NmeaOut>, fed: usize) -> String {
    decoder.finish(&mut out);
    balanced(&decoder, fed);
    assert_eq!(decoder.counts().open_bytes, 0);
    format!("{out:?} {:?}", decoder.counts())
}

fuzz_target!(|data: &[u8]| {
    // The first bytes say how long the reads are, over and over.
    let (sizes, bytes) = data.split_at(data.len().min(4));
    let (mut chunked, mut whole) = (NmeaDecoder::new(NmeaOptions::default()), NmeaDecoder::new(NmeaOptions::default()));
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
        rest = after;
    }
    whole.feed(bytes, Stamp::default(), &mut out_whole);
    assert_eq!(end(chunked, out, bytes.len()), end(whole, out_whole, bytes.len()));
});
