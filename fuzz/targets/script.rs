//! Captures and scripts, which people pass on as files: they are read, or refused with a line.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use waypost::decoder::capture;
use waypost::decoder::nmea::report::decode_stream;
use waypost::decoder::scan::report::{ReportError, ReportProfile, report_timed};

fuzz_target!(|data: &[u8]| {
    let mut out = Vec::new();
    match report_timed(data, &mut out, &ReportProfile::default()) {
        Ok(()) | Err(ReportError::Line { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    let Ok(mut bytes) = capture::bytes_of(data) else { return };
    let mut held = Vec::new();
    if bytes.read_to_end(&mut held).is_ok() {
        decode_stream(held.as_slice(), &mut out, Vec::new()).expect("memory can be read and written");
    }
});
