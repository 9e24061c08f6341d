//! A small file system of one's own on a loop device, whose power can be cut; and what a node does without inodes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::bench::{balanced, program, wait_within};

use super::yard::{BACK, Yard};
use super::{Case, Need, Seen, When, case};

/// `EXT4_IOC_SHUTDOWN`: the file system stops at once, as at a power cut.
const SHUTDOWN: libc::Ioctl = 0x8004_587D_u32 as libc::Ioctl;
/// What is not on the device yet is lost.
const NO_LOG_FLUSH: u32 = 2;

/// `FIFREEZE` and `FITHAW`.
const FREEZE: libc::Ioctl = 0xC004_5877_u32 as libc::Ioctl;
const THAW: libc::Ioctl = 0xC004_5878_u32 as libc::Ioctl;

const NEEDS: &[Need] = &[Need::Root, Need::Loop, Need::Program("mosquitto")];

pub const CASES: [Case; 1] = [case(
    "F10",
    ("no inode is left on the store's disk", "intake goes on; only what needs a new file waits"),
    When::Always,
    NEEDS,
    inodes,
)];

/// Runs a program of the system and says whether it ended well.
fn does(name: &str, args: &[&str]) -> bool {
    let Some(path) = program(name) else { return false };
    let quiet = Command::new(path).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn must(name: &str, args: &[&str]) {
    assert!(does(name, args), "{name} {args:?}");
}

/// Whether a file can be mounted here.
pub fn can_loop() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        // SAFETY: asks for a number.
        let is_root = unsafe { libc::geteuid() } == 0;
        let programs = ["mkfs.ext4", "mount", "umount"].iter().all(|name| program(name).is_some());
        if !is_root || !programs {
            return false;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("at");
        std::fs::create_dir(&at).unwrap();
        let (image, at) = (make(folder.path(), 4, &[]), at.display().to_string());
        let can = does("mount", &["-o", "loop", &image.display().to_string(), &at]);
        can && does("umount", &[&at])
    })
}

/// A file with an ext4 in it.
fn make(folder: &Path, mib: u64, options: &[&str]) -> PathBuf {
    let image = folder.join("disk.img");
    File::create(&image).unwrap().set_len(mib << 20).unwrap();
    let mut args = vec!["-q", "-F"];
    args.extend(options);
    let name = image.display().to_string();
    args.push(&name);
    must("mkfs.ext4", &args);
    image
}

/// An ext4 on a loop device, mounted on a folder; gone when it is dropped.
pub struct Mount {
    image: PathBuf,
    at: PathBuf,
    folder: tempfile::TempDir,
}

impl Mount {
    pub fn new(at: &Path, mib: u64, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = make(folder.path(), mib, options);
        let mount = Self { image, at: at.to_owned(), folder };
        mount.mount();
        mount
    }

    fn mount(&self) {
        must("mount", &["-o", "loop", &self.image.display().to_string(), &self.at.display().to_string()]);
    }

    /// Cuts the power: from this instant on nothing reaches the device.
    pub fn cut(&self) {
        let folder = File::open(&self.at).unwrap();
        let flag = NO_LOG_FLUSH;
        // SAFETY: the descriptor is open and the call reads the number it is given.
        let done = unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, &raw const flag) };
        assert_eq!(done, 0, "the shutdown ioctl: {}", std::io::Error::last_os_error());
    }

    /// Hangs: no write returns until the answer is dropped.
    pub fn freeze(&self) -> Frozen {
        let folder = File::open(&self.at).unwrap();
        // SAFETY: the descriptor is open and the call reads nothing.
        let done = unsafe { libc::ioctl(folder.as_raw_fd(), FREEZE, 0) };
        assert_eq!(done, 0, "the freeze ioctl: {}", std::io::Error::last_os_error());
        Frozen(folder)
    }

    /// Mounts what is on the device; the process that wrote there has ended.
    pub fn again(&self) {
        let at = self.at.display().to_string();
        wait_within(BACK, "the end of whoever holds the disk", || does("umount", &[&at]).then_some(()));
        self.mount();
    }
}

/// A file system on which every write hangs, until this is dropped. To be dropped before the node: that cannot end.
pub struct Frozen(File);

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open and the call reads nothing.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), THAW, 0) };
        assert_eq!(done, 0, "the thaw ioctl: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The test is over; a mount that is busy goes with the last who holds it.
        does("umount", &["-l", &self.at.display().to_string()]);
        debug_assert!(self.folder.path().exists());
    }
}

/// All inodes are taken: the store goes on, what needs a new file says so.
fn inodes() -> Seen {
    let mut yard = Yard::new();
    let disk = Mount::new(&yard.store(), 24, &["-N", "64"]);
    let node = yard.site.start();
    yard.feed(200.0);
    yard.more_oks(20, BACK);
    let more: Vec<PathBuf> = (0..200)
        .map(|n| yard.store().join(format!("more-{n}")))
        .take_while(|path| File::create(path).is_ok())
        .collect();
    assert!(more.len() < 200, "the inodes are all taken");
    yard.more_oks(100, BACK);
    balanced(&node);
    more.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let oks = yard.judge(node);
    drop(yard);
    drop(disk);
    Seen { times: 1, said: format!("{oks} ok, intake went on") }
}
