//! A keyboard scanner: its input device, grabbed so that nobody else gets its keys, handed on as key records.

use std::fs::File;
use std::io::ErrorKind;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tracing::warn;

use super::conn::io_text;
use super::open::{Gone, Source, Trouble, absent_advice};
use super::pulse::{Pulse, or_wait};
use super::{Conn, KEY_RECORD, Lost};

/// `EVIOCGRAB` of `linux/input.h`: `_IOW('E', 0x90, int)`, the same number on every machine we run on.
const EVIOCGRAB: u32 = 0x4004_4590;
/// One event as this machine's kernel writes it: a time whose width differs, then type, code and value.
const EVENT: usize = size_of::<libc::input_event>();
const TYPE_AT: usize = offset_of!(libc::input_event, type_);
/// Where the kernel lists input devices.
const INPUT_DEVICES: &str = "/sys/class/input";
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;

/// Opens and grabs the device, reads until lost, lets it go.
pub(super) async fn pass(source: &Source, pulse: &Pulse, path: &Path) -> Result<Lost, Trouble> {
    let mut keys = open(source, path)?;
    // Without the folder nobody can tell, and nothing is said.
    if is_only_keyboard(path, Path::new(INPUT_DEVICES)).unwrap_or(false) {
        warn!(
            source = %source.spec.id,
            port = %source.spec.port,
            "this was the only keyboard: what is typed on it reaches no console until another one is plugged in"
        );
    }
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
    // How long the silence must last to be told; none when it was, or no key came yet.
    let mut quiet = None;
    loop {
        let got = tokio::select! {
            biased;
            () = pulse.stop.cancelled() => return Ok(Lost::Stopped),
            // A read that loses has read nothing.
            got = pulse.wait(or_wait(keys.read(&mut buf)), quiet) => got,
        };
        let at = source.clock.now();
        match got {
            Some((Ok(0), _)) => return Ok(Lost::Eof),
            Some((Ok(n), waited)) => {
                pulse.working().await;
                let records = records(&buf[..n]);
                if !records.is_empty() {
                    source.bytes(pulse, conn, &records, at, None, waited).await?;
                    quiet = source.spec.quiet_after;
                }
            }
            Some((Err(error), _)) if error.kind() == ErrorKind::Interrupted => {}
            Some((Err(error), _)) => return Ok(Lost::Io(io_text(&error))),
            None if quiet.take().is_some() => source.quiet(pulse, conn).await?,
            None => {}
        }
    }
}

/// Whether no keyboard but the one at `path` is plugged in, as far as `sys`, the folder of input devices, tells.
fn is_only_keyboard(path: &Path, sys: &Path) -> std::io::Result<bool> {
    let node = path.canonicalize()?;
    let (mut here, mut elsewhere) = (false, false);
    for entry in sys.read_dir()? {
        let entry = entry?;
        let Ok(keys) = std::fs::read_to_string(entry.path().join("device/capabilities/key")) else { continue };
        // The last word holds keys 0 to 31; the kernel and udev call it a keyboard when 1 to 31 are all there.
        let has_letters = keys
            .split_ascii_whitespace()
            .next_back()
            .and_then(|word| u64::from_str_radix(word, 16).ok())
            .is_some_and(|word| word & 0xffff_fffe == 0xffff_fffe);
        if has_letters && node.file_name() == Some(&entry.file_name()) {
            here = true;
        } else if has_letters {
            elsewhere = true;
        }
    }
    Ok(here && !elsewhere)
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

    /// A folder as the kernel makes it: a name, and what keys the device has.
    fn input(devices: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, keys) in devices {
            let capabilities = folder.path().join(name).join("device/capabilities");
            std::fs::create_dir_all(&capabilities).unwrap();
            std::fs::write(capabilities.join("key"), keys).unwrap();
        }
        folder
    }

    #[test]
    fn the_only_keyboard_is_known_by_the_letters_it_has() {
        let all = "1000000000007 ff800000000007ff febeffdff3cfffff fffffffffffffffe\n";
        let power = "10000000000000 0\n";
        let nodes = tempfile::tempdir().unwrap();
        for node in ["event1", "event2", "event3"] {
            std::fs::write(nodes.path().join(node), "").unwrap();
        }
        let link = nodes.path().join("door-3");
        std::os::unix::fs::symlink(nodes.path().join("event2"), &link).unwrap();
        let alone = |devices: &[(&str, &str)]| is_only_keyboard(&link, input(devices).path()).unwrap();
        assert!(alone(&[("event1", power), ("event2", all), ("event3", "0\n")]));
        assert!(!alone(&[("event1", all), ("event2", all)]));
        assert!(!alone(&[("event1", power), ("event2", power)]), "a device without letters is no keyboard");
        assert!(is_only_keyboard(&nodes.path().join("event9"), nodes.path()).is_err());
    }

    #[test]
    fn only_keys_and_the_loss_of_keys_are_handed_on() {
        let scan = [event(4, 4, 0x7_0004), event(EV_KEY, 30, 1), event(0, 0, 0), event(EV_KEY, 30, 0)].concat();
        assert_eq!(records(&scan), [1, 0, 30, 0, 1, 0, 0, 0, 1, 0, 30, 0, 0, 0, 0, 0]);
        assert_eq!(records(&event(EV_SYN, SYN_DROPPED, 0)), [0, 0, 3, 0, 0, 0, 0, 0]);
        assert_eq!(records(&[1; 5]), [0; 0]);
    }
}
