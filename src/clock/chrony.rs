//! Whether chrony disciplines the wall clock: it leaves no mark on the disk, but answers `tracking` to anybody on this
//! machine, over UDP. The request and the reply are those of chrony's candm.h, version 6 (chrony 2.0 and later).

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

/// Where chrony listens for commands, unless it is told otherwise (`cmdport`).
pub(super) const PORT: u16 = 323;
/// It answers at once or not at all.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of a reply to `tracking`; a request has as many, so that nobody is flooded through it.
const LENGTH: usize = 104;
const VERSION: u8 = 6;
const TRACKING: u16 = 33;
const TRACKED: u16 = 5;
/// Comes back in the reply.
const SEQUENCE: u32 = 0x7761_7970;
/// The reference of a clock that goes by itself: it vouches for nothing.
const LOCAL: u32 = 0x7f7f_0101;
const UNSYNCHRONISED: u16 = 3;
/// A clock that is further off than this is on its way to the time and not there. s
const CORRECTION_MAX_S: f64 = 0.1;

/// When chrony last measured the time, by its own word and only to be compared with itself; none when there is no chrony,
/// or it does not vouch for the wall clock. Blocks for a tenth of a second at most.
pub(super) fn mark(port: u16) -> Option<(i64, i64)> {
    // No chrony, no answer: no word on the time either.
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.send(&request()).ok()?;
    let mut reply = [0; LENGTH];
    let length = socket.recv(&mut reply).ok()?;
    read(reply.get(..length)?)
}

fn request() -> [u8; LENGTH] {
    let mut request = [0; LENGTH];
    request[0] = VERSION;
    request[1] = 1;
    request[4..6].copy_from_slice(&TRACKING.to_be_bytes());
    request[8..12].copy_from_slice(&SEQUENCE.to_be_bytes());
    request
}

fn read(reply: &[u8]) -> Option<(i64, i64)> {
    let reply: &[u8; LENGTH] = reply.try_into().ok()?;
    let half = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]]);
    let is_ours = reply[0] == VERSION && reply[1] == 2 && half(4) == TRACKING && word(16) == SEQUENCE;
    let is_said = half(6) == TRACKED && half(8) == 0;
    let is_synchronised = half(54) < UNSYNCHRONISED && word(28) != LOCAL && word(28) != 0;
    let is_there = float(word(68)).abs() <= CORRECTION_MAX_S;
    (is_ours && is_said && is_synchronised && is_there)
        .then(|| ((i64::from(word(56)) << 32) | i64::from(word(60)), i64::from(word(64))))
}

/// chrony's own float: 7 bits of exponent, 25 of coefficient, both signed.
fn float(word: u32) -> f64 {
    let exponent = (word.cast_signed() >> 25) - 25;
    let coefficient = (word << 7).cast_signed() >> 7;
    f64::from(coefficient) * f64::from(exponent).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply of chrony 4.3 to this request, as it came over the wire.
    fn reply(change: impl FnOnce(&mut [u8; LENGTH])) -> [u8; LENGTH] {
        let mut reply = [0; LENGTH];
        reply[..12].copy_from_slice(&[6, 2, 0, 0, 0, 33, 0, 5, 0, 0, 0, 0]);
        reply[16..20].copy_from_slice(&SEQUENCE.to_be_bytes());
        reply[28..32].copy_from_slice(&[10, 0, 0, 7]);
        reply[52..56].copy_from_slice(&[0, 2, 0, 0]);
        reply[60..68].copy_from_slice(&[0x6b, 0x01, 0x9f, 0x0f, 0x3a, 0xc4, 0x04, 0x60]);
        change(&mut reply);
        reply
    }

    #[test]
    fn a_chrony_that_is_synchronised_says_when_and_any_other_says_nothing() {
        assert_eq!(read(&reply(|_| ())), Some((0x6b01_9f0f, 0x3ac4_0460)));
        assert_eq!(read(&reply(|bytes| bytes[55] = 3)), None, "not synchronised");
        assert_eq!(read(&reply(|bytes| bytes[28..32].copy_from_slice(&[0x7f, 0x7f, 1, 1]))), None, "goes by itself");
        assert_eq!(read(&reply(|bytes| bytes[19] ^= 1)), None, "an answer to another");
        assert_eq!(read(&reply(|bytes| bytes[9] = 2)), None, "refused");
        assert_eq!(read(&reply(|_| ())[..103]), None);
        // 0.5 s to go, as chrony writes it: 2^23 * 2^(1 - 25).
        assert_eq!(read(&reply(|bytes| bytes[68..72].copy_from_slice(&[0x02, 0x80, 0, 0]))), None, "on its way");
    }

    #[test]
    fn floats_are_those_of_chrony() {
        assert!((float(0x0280_0000) - 0.5).abs() < 1e-9);
        assert!((float(0x0380_0000) + 0.5).abs() < 1e-9);
        assert!(float(0).abs() < 1e-9);
    }

    #[test]
    fn it_is_asked_over_a_socket_and_where_nobody_answers_it_is_silent() {
        let chrony = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = chrony.local_addr().unwrap().port();
        let answers = std::thread::spawn(move || {
            let mut asked = [0; 200];
            let (length, whom) = chrony.recv_from(&mut asked).unwrap();
            assert_eq!(asked[..length], request());
            chrony.send_to(&reply(|_| ()), whom).unwrap();
        });
        assert!(mark(port).is_some());
        answers.join().unwrap();
        assert_eq!(mark(port), None);
    }
}
