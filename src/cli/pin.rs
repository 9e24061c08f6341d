//! `waypost pin set`: writes the operator PIN where the page looks for it. A running node takes it at once.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{Done, Failure, exit, load};
use crate::config::is_pin;

/// A line with a PIN. Bytes.
const LINE_MAX: u64 = 64;
/// Where systemd puts what it hands over: in memory, for nobody to write.
const HANDED_OVER: &str = "/run/credentials";

#[derive(Subcommand)]
pub(super) enum Pin {
    /// Set the operator PIN, 6 to 12 digits; it holds at once and ends every session
    Set {
        /// Read it from standard input, without asking
        #[arg(long)]
        stdin: bool,
    },
}

pub(super) fn pin(config: &Path, command: &Pin) -> Done {
    let Pin::Set { stdin } = command;
    let file = load(config)?.config.http.pin_file;
    if file.as_os_str().is_empty() {
        return Err(Failure::new(exit::CONFIG, "http.pin_file is empty: name a file, or leave the key out"));
    }
    if file.starts_with(HANDED_OVER) {
        let text = format!(
            "http.pin_file is a credential of systemd ({}): change the file that LoadCredential= names in the drop-in of the unit, \
             then: systemctl restart waypost",
            file.display()
        );
        return Err(Failure::new(exit::NOT_ALLOWED, text));
    }
    let pin = if *stdin { line()? } else { ask()? };
    if !is_pin(&pin) {
        return Err(Failure::new(exit::USAGE, "a PIN is 6 to 12 digits"));
    }
    write(&file, &pin).map_err(|error| {
        let code = if error.kind() == io::ErrorKind::PermissionDenied { exit::NOT_ALLOWED } else { exit::IO };
        Failure::new(code, format!("{}: {error}; run it as root, or as who owns that folder", file.display()))
    })?;
    let of = config.display();
    writeln!(
        io::stderr(),
        "the PIN of the node of {of} is set in {}; sessions that were open are over",
        file.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// A line of standard input without its end.
fn line() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(LINE_MAX).read_line(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks twice, unseen.
fn ask() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(exit::USAGE, "there is no terminal to ask on; give the PIN with --stdin"));
    }
    let hidden = Hidden::begin()?;
    let mut asked = ["operator PIN, 6 to 12 digits: ", "once more: "].into_iter().map(|words| {
        write!(io::stderr(), "{words}")?;
        let pin = line()?;
        writeln!(io::stderr())?;
        io::Result::Ok(pin)
    });
    let (first, second) = (asked.next().transpose()?, asked.next().transpose()?);
    drop(hidden);
    match first {
        Some(pin) if second.as_ref() == Some(&pin) => Ok(pin),
        _ => Err(Failure::new(exit::USAGE, "the two are not the same")),
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(libc::termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let fd = io::stdin().as_raw_fd();
        // SAFETY: all zero is a valid termios, and tcgetattr fills it or fails.
        let mut mode: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and the struct is ours.
        if unsafe { libc::tcgetattr(fd, &raw mut mode) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let before = Self(mode);
        mode.c_lflag &= !libc::ECHO;
        // SAFETY: as above; the call only reads the struct.
        if unsafe { libc::tcsetattr(fd, libc::TCSAFLUSH, &raw const mode) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(before)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // SAFETY: as in `begin`. A terminal that has gone needs no mode.
        unsafe { libc::tcsetattr(io::stdin().as_raw_fd(), libc::TCSANOW, &raw const self.0) };
    }
}

/// Writes the file whole or not at all, for root and the group of its folder.
pub(super) fn write(file: &Path, pin: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o750))?;
    }
    let draft = PathBuf::from(format!("{}.tmp", file.display()));
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
    open.set_permissions(Permissions::from_mode(0o640))?;
    chown(&draft, None, Some(fs::metadata(folder)?.gid()))?;
    writeln!(open, "{pin}")?;
    open.sync_all()?;
    fs::rename(draft, file)
}
