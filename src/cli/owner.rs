//! Writes to a store that nobody runs are its owner's: nothing in its folder may come to belong to somebody else.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Failure, exit};

/// The user of this process, as the audit names him.
pub(super) fn who() -> String {
    // SAFETY: takes and touches nothing, and cannot fail.
    let uid = unsafe { libc::getuid() };
    format!("uid {uid}")
}

/// Goes on as the owner of the store in `dir`: root becomes it for good, anybody else must be it already.
pub(super) fn become_owner(dir: &Path) -> Result<(), Failure> {
    become_owner_of(&dir.join("waypost.db"), dir)
}

/// Goes on as the owner of `store`, which lies or will lie in `dir`.
pub(super) fn become_owner_of(store: &Path, dir: &Path) -> Result<(), Failure> {
    let owner = std::fs::metadata(store).map_err(|error| {
        let remedy = "start the node once, or make that folder and give it to the service (`chown waypost:`)";
        Failure::new(exit::IO, format!("{}: {error}; {remedy}", store.display()))
    })?;
    // SAFETY: takes and touches nothing, and cannot fail.
    let me = unsafe { libc::geteuid() };
    if me == owner.uid() {
        return Ok(());
    }
    let (dir, uid) = (dir.display(), owner.uid());
    if me != 0 {
        let text = format!("the store in {dir} belongs to uid {uid}; run it as root or as that user");
        return Err(Failure::new(exit::NOT_ALLOWED, text));
    }
    give_up_root(owner.uid(), owner.gid()).map_err(|error| {
        let text = format!("becoming uid {uid}, the owner of the store in {dir}: {error}; run it as that user");
        Failure::new(exit::NOT_ALLOWED, text)
    })
}

/// The groups first: without root they can no longer be changed.
fn give_up_root(uid: u32, gid: u32) -> std::io::Result<()> {
    // SAFETY: no group is read from the pointer when none is told.
    let done = unsafe { libc::setgroups(0, std::ptr::null()) } == 0;
    // SAFETY: takes a number only.
    let done = done && unsafe { libc::setgid(gid) } == 0;
    // SAFETY: takes a number only.
    let done = done && unsafe { libc::setuid(uid) } == 0;
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
