//! A keyboard scanner: its input device, grabbed so that nobody else gets its keys, handed on as key records.

use std::fs::File;
use std::io::ErrorKind;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::conn::io_text;
use super::open::{Gone, Source, Trouble, absent_advice};
use super::pulse::Pulse;
use super::{Conn, KEY_RECORD, Lost};

/// `EVIOCGRAB` of `linux/input.h`: `_IOW('E', 0x90, int)`, the same number on every machine we run on.
const EVIOCGRAB: u32 = 0x4004_4590;
/// One event as this machine's kernel writes it: a time whose width differs, then type, code and value.
const EVENT: usize = size_of::<libc::input_event>();
const TYPE_AT: usize = offset_of!(libc::input_event, type_);
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;

/// Opens and grabs the device, reads until lost, lets it go.
pub(super) async fn pass(source: &Source, pulse: &Pulse, path: &Path) -> Result<Lost, Trouble> {
    let mut keys = open(source, path)?;
    let conn = source.next_conn();
    let read = async {
        source.opened(pulse, conn, None, None).await?;
        let why = read(source, pulse, conn, &mut keys).await?;
        source.lost(pulse, conn, why).await
    };
    Ok(read.await.unwrap_or(Lost::Stopped))
}

fn open(source: &Source, path: &Path) -> Result<Receiver, Trouble> {
    let told = |error: &std::io::Error| {
        let text = format!("{}: {}", path.display(), io_text(error));
        match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => Trouble::permission(text, source.claim_advice(path)),
            Some(libc::EBUSY) => Trouble::busy(text, path),
            Some(libc::ENOTTY | libc::EINVAL) => {
                Trouble::absent(text, "This is no input device: `waypost devices` lists them.")
            }
            _ => Trouble::absent(text, absent_advice(&source.spec.port)),
        }
    };
    let file =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|e| told(&e))?;
    grab(&file).map_err(|error| told(&error))?;
    // The name says pipe; what it does is to read any descriptor that can be polled.
    Receiver::from_file_unchecked(file).map_err(|error| told(&error))
}

/// Takes the keys away from every console and desktop until the file is closed.
fn grab(file: &File) -> std::io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and this request takes a plain number.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), EVIOCGRAB as _, 1) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

async fn read(source: &Source, pulse: &Pulse, conn: Conn, keys: &mut Receiver) -> Result<Lost, Gone> {
    // The kernel hands out whole events only.
    let mut buf = vec![0; EVENT * 64];
    loop {
        let got = tokio::select! {
            biased;
            () = pulse.stop.cancelled() => return Ok(Lost::Stopped),
            // A read that loses has read nothing.
            got = pulse.wait(keys.read(&mut buf), None) => got,
        };
        let at = source.clock.now();
        match got {
            Some(Ok(0)) => return Ok(Lost::Eof),
            Some(Ok(n)) => {
                pulse.working().await;
                let records = records(&buf[..n]);
                if !records.is_empty() {
                    source.bytes(pulse, conn, &records, at, None, true).await?;
                }
            }
            Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            Some(Err(error)) => return Ok(Lost::Io(io_text(&error))),
            None => {}
        }
    }
}

/// Keys and lost keys as records that are the same on every machine; everything else a keyboard says is left out.
fn records(events: &[u8]) -> Vec<u8> {
    let mut records = Vec::with_capacity(events.len() / EVENT * KEY_RECORD);
    for event in events.chunks_exact(EVENT) {
        let [t0, t1, c0, c1, v0, v1, v2, v3] = event[TYPE_AT..] else { continue };
        let kind = u16::from_ne_bytes([t0, t1]);
        let code = u16::from_ne_bytes([c0, c1]);
        if kind == EV_KEY || (kind == EV_SYN && code == SYN_DROPPED) {
            records.extend_from_slice(&kind.to_le_bytes());
            records.extend_from_slice(&code.to_le_bytes());
            records.extend_from_slice(&i32::from_ne_bytes([v0, v1, v2, v3]).to_le_bytes());
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut event = vec![0xAA; TYPE_AT];
        event.extend_from_slice(&kind.to_ne_bytes());
        event.extend_from_slice(&code.to_ne_bytes());
        event.extend_from_slice(&value.to_ne_bytes());
        event
    }

    #[test]
    fn only_keys_and_the_loss_of_keys_are_handed_on() {
        let scan = [event(4, 4, 0x7_0004), event(EV_KEY, 30, 1), event(0, 0, 0), event(EV_KEY, 30, 0)].concat();
        assert_eq!(records(&scan), [1, 0, 30, 0, 1, 0, 0, 0, 1, 0, 30, 0, 0, 0, 0, 0]);
        assert_eq!(records(&event(EV_SYN, SYN_DROPPED, 0)), [0, 0, 3, 0, 0, 0, 0, 0]);
        assert_eq!(records(&[1; 5]), [0; 0]);
    }
}
