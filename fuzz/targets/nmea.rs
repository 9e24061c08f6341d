//! Sentences whose checksum is right, whatever is in them: what comes out is a place on this earth.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::decoder::nmea::{Doubter, NmeaDecoder, NmeaOptions, NmeaOut, Trusted};
use waypost::domain::Stamp;

fuzz_target!(|data: &[u8]| {
    let mut text = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(b"$").unwrap_or(line);
        let body = line.split(|byte| *byte == b'*').next().unwrap_or_default();
        let sum = body.iter().fold(0, |sum, byte| sum ^ byte);
        text.push(b'$');
        text.extend_from_slice(body);
        text.extend_from_slice(format!("*{sum:02X}\r\n").as_bytes());
    }
    let (mut decoder, mut doubter) = (NmeaDecoder::new(NmeaOptions::default()), Doubter::default());
    let mut out = Vec::new();
    decoder.feed(&text, Stamp::default(), &mut out);
    decoder.finish(&mut out);
    for one in out {
        let NmeaOut::Fix(mut fix, at) = one else { continue };
        assert!(fix.lat_deg.abs() <= 90.0 && fix.lon_deg.abs() <= 180.0, "{fix:?}");
        assert!(fix.speed_mps.is_none_or(|speed| speed.is_finite() && speed >= 0.0), "{fix:?}");
        assert!(fix.course_deg.is_none_or(|course| (0.0..=360.0).contains(&course)), "{fix:?}");
        assert!(fix.hdop.is_none_or(f64::is_finite) && fix.alt_m.is_none_or(f64::is_finite), "{fix:?}");
        doubter.judge(&mut fix, at, Trusted::default());
    }
});
