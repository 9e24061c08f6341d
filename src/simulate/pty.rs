//! A pseudo-terminal that behaves like the line of a device: raw, and what nobody reads is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::SimulateError;

/// The device's end of a line; dropping it is pulling the plug.
pub(super) struct Pty {
    master: File,
    tty: PathBuf,
}

impl Pty {
    /// A new line in raw mode that nobody has opened yet.
    pub(super) fn open() -> Result<Self, SimulateError> {
        // SAFETY: a plain call with constant flags; the descriptor it returns is ours alone.
        let raw = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK) };
        if raw < 0 {
            return Err(SimulateError::pty("posix_openpt", io::Error::last_os_error()));
        }
        // SAFETY: `raw` is a fresh descriptor that nobody else owns.
        let master = File::from(unsafe { OwnedFd::from_raw_fd(raw) });
        // SAFETY: both calls take an open descriptor of a pseudo-terminal's master and touch no memory of ours.
        if unsafe { libc::grantpt(raw) } != 0 || unsafe { libc::unlockpt(raw) } != 0 {
            return Err(SimulateError::pty("grantpt, unlockpt", io::Error::last_os_error()));
        }
        let pty = Self { tty: tty_path(&master)?, master };
        pty.make_raw().map_err(|source| SimulateError::pty("raw mode", source))?;
        Ok(pty)
    }

    /// The path that a reader opens, e.g. `/dev/pts/3`.
    pub(super) fn tty(&self) -> &Path {
        &self.tty
    }

    /// Whether anybody holds the line open. We do not hold it ourselves, so a hang-up means nobody.
    pub(super) fn has_reader(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one valid pollfd that outlives the call; timeout 0 never blocks.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ready >= 0 && poll.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) == 0
    }

    /// Whether somebody has the line open and has not read all that was sent. False where only a reader may look, because it
    /// holds the line alone and we are not root.
    pub(super) fn has_unread(&self) -> bool {
        let Some(line) = self.has_reader().then(|| self.open_line().ok()).flatten() else { return false };
        let mut unread: libc::c_int = 0;
        // SAFETY: an open terminal descriptor and a valid place for the answer.
        let asked = unsafe { libc::ioctl(line.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
        asked == 0 && unread > 0
    }

    /// Sends what fits now and says how much that was; `WouldBlock` when nothing does.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.swallow();
        (&self.master).write(bytes)
    }

    /// Throws away what was sent and not read, as a closed port does.
    pub(super) fn forget(&self) {
        if let Ok(line) = self.open_line() {
            // SAFETY: an open terminal descriptor and a constant. A failure leaves a few old bytes for the next
            // reader, which a reader of a real port must also cope with.
            unsafe { libc::tcflush(line.as_raw_fd(), libc::TCIFLUSH) };
        }
    }

    /// A receiver reads its own line: what the reader wrote (probes, configuration) must not fill the buffer.
    fn swallow(&self) {
        let mut sink = [0; 1024];
        // At most 64 KiB a turn, which is more than the buffer holds. An error means that nothing is there.
        for _ in 0..64 {
            if !matches!((&self.master).read(&mut sink), Ok(n) if n > 0) {
                break;
            }
        }
    }

    /// The mode stays with the line while the master lives, so it is set once and the line closed again.
    fn make_raw(&self) -> io::Result<()> {
        let line = self.open_line()?;
        // SAFETY: a zeroed termios is a valid value, filled by the call before it is used.
        let mut mode: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: an open terminal and a valid place for the answer.
        if unsafe { libc::tcgetattr(line.as_raw_fd(), &raw mut mode) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `mode` was filled above; the second call only reads it.
        unsafe { libc::cfmakeraw(&raw mut mode) };
        // SAFETY: as above.
        if unsafe { libc::tcsetattr(line.as_raw_fd(), libc::TCSANOW, &raw const mode) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn open_line(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(&self.tty)
    }
}

fn tty_path(master: &File) -> Result<PathBuf, SimulateError> {
    let mut name = [0_u8; 64];
    // SAFETY: the buffer and its length belong together; the call ends what it writes with NUL.
    let failed = unsafe { libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr().cast(), name.len()) };
    if failed != 0 {
        return Err(SimulateError::pty("ptsname", io::Error::from_raw_os_error(failed)));
    }
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(PathBuf::from(std::ffi::OsString::from_vec(name[..length].to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_seen_when_it_comes_and_when_it_goes() {
        let pty = Pty::open().unwrap();
        assert!(!pty.has_reader());
        let line = pty.open_line().unwrap();
        assert!(pty.has_reader());
        drop(line);
        assert!(!pty.has_reader());
    }

    #[test]
    fn bytes_pass_unchanged_also_for_a_later_reader() {
        let pty = Pty::open().unwrap();
        for _ in 0..2 {
            let mut line = pty.open_line().unwrap();
            let all: Vec<u8> = (0..=255).collect();
            assert_eq!(pty.send(&all).unwrap(), 256);
            let mut read = vec![0; 300];
            let mut n = 0;
            while n < 256 {
                n += line.read(&mut read[n..]).unwrap_or(0);
            }
            assert_eq!(read[..n], all[..]);
        }
    }

    #[test]
    fn what_a_gone_reader_left_is_not_there_for_the_next() {
        let pty = Pty::open().unwrap();
        let line = pty.open_line().unwrap();
        pty.send(b"old").unwrap();
        drop(line);
        pty.forget();
        let mut line = pty.open_line().unwrap();
        assert_eq!(line.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_reader_that_writes_does_not_block_the_line() {
        let pty = Pty::open().unwrap();
        let mut line = pty.open_line().unwrap();
        for _ in 0..200 {
            line.write_all(&[b'x'; 1000]).unwrap();
            pty.send(b"").unwrap();
        }
    }
}
