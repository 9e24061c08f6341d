//! A disk that is full, shut or too small: the node says so at once, loses nothing that it said `ok` to, and goes on by
//! itself. On small ext4 file systems over a loop device, which need root; without it they are skipped, aloud.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Node, Pty, Site, balanced, epoch, free_port, full, http, metric, try_get, wait_for, wait_within};
use crate::feeder::Feeder;

/// A small ext4 file system on a loop device. Gone at the end.
pub struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    /// None, said aloud, where no file system can be mounted.
    pub fn new(mib: u64) -> Option<Self> {
        // SAFETY: asks a number of the kernel.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("SKIPPED: a disk of its own needs root to be mounted");
            return None;
        }
        let mount = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(mount.path()).unwrap();
        File::create(mount.image()).unwrap().set_len(mib << 20).unwrap();
        assert!(done("mkfs.ext4", &["-q", "-m", "0", text(&mount.image())]), "mkfs.ext4");
        if !mount.mount("loop") {
            eprintln!("SKIPPED: a loop device cannot be mounted here");
            return None;
        }
        Some(mount)
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&self, options: &str) -> bool {
        done("mount", &["-o", options, text(&self.image()), text(&self.path())])
    }

    fn umount(&self) -> bool {
        done("umount", &[text(&self.path())])
    }

    /// The kernel finds an error in the file system and shuts it: nothing can be written from then on.
    fn shut(&self) {
        let found = Command::new("findmnt").args(["-no", "SOURCE", text(&self.path())]).output().unwrap();
        let device = String::from_utf8(found.stdout).unwrap();
        let device = device.trim().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    }

    fn free(&self) -> u64 {
        let found = Command::new("df").args(["--output=avail", "-B1", text(&self.path())]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
    }

    /// Takes all that is free, to the last byte that the file system gives.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        for size in [1 << 20, 1 << 16, 1 << 12, 1] {
            while file.write(&vec![7; size]).is_ok_and(|n| n > 0) {}
        }
        // What cannot be written back is what this is for.
        drop(file.sync_all());
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A node that is being killed may hold it for a moment more; what cannot be unmounted now is let go lazily.
        let path = self.path();
        drop(Command::new("umount").args(["-l", text(&path)]).output());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn done(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|out| out.status.success())
}

/// A broker that never is: what is stored is unsent, and no step may take it.
fn nowhere() -> String {
    format!("[uplink]\nurl = \"mqtt://127.0.0.1:{}\"\n\n", free_port())
}

fn gps(link: &Path) -> String {
    format!(
        "[gps_defaults]\ntrack_interval_s = 0\nparked_interval_s = 0\n\n[[gps]]\nid = \"gps0\"\nport = \"{}\"\nasset = \"TRK-07\"\n\n",
        link.display()
    )
}

fn alarms(address: std::net::SocketAddr) -> Option<BTreeSet<String>> {
    let health: Value = serde_json::from_str(&try_get(address, "/api/v1/health", Duration::from_secs(5))?).ok()?;
    let alarms = health["alarms"].as_array()?;
    Some(alarms.iter().map(|alarm| alarm["name"].as_str().unwrap_or_default().to_owned()).collect())
}

/// The events of the store by code of their scan; every id once.
fn scans(site: &Site) -> HashMap<String, Vec<String>> {
    let out = site.ask(&["outbox", "export"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut by_code: HashMap<String, Vec<String>> = HashMap::new();
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if event["kind"] == "scan" {
            let code = event["code"].as_str().unwrap().to_owned();
            by_code.entry(code).or_default().push(event["id"].as_str().unwrap().to_owned());
        }
    }
    by_code
}

/// Feeds fixes at about ten a second while `look` finds nothing.
fn while_driving<T>(pty: &mut Pty, second: &mut u32, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut fed = Instant::now();
    wait_within(Duration::from_secs(60), what, || {
        if fed.elapsed() >= Duration::from_millis(100) {
            *second += 1;
            pty.offer(&epoch(*second));
            fed = Instant::now();
        }
        look()
    })
}

#[test]
fn a_disk_filled_to_the_last_byte_under_load_and_freed_loses_nothing_and_is_back_in_seconds() {
    let Some(mount) = Mount::new(32) else { return };
    filled_and_freed(&mount, if full() { 20 } else { 2 });
}

/// Fills the disk and frees it again, so many times.
pub fn filled_and_freed(mount: &Mount, rounds: usize) {
    let (site, port) = (Site::new_in(&mount.path()), free_port());
    // The ports and the log of the node are none of the disk's business.
    let away = tempfile::tempdir().unwrap();
    let mut pty = Pty::new(&away.path().join("gps0"));
    site.configure(&(nowhere() + &Site::dock(port) + &gps(&away.path().join("gps0"))));
    let mut node = site.start();
    let mut feeder = Feeder::start(port, u64::MAX / 2, 200.0);
    let mut second = 36_000;
    let (mut refused_after, mut shown_after, mut back_after) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let oks = feeder.oks();
        while_driving(&mut pty, &mut second, "scans before", || (feeder.oks() >= oks + 100).then_some(()));
        let others = feeder.told().other.len();
        let filler = mount.fill();
        let at = Instant::now();
        let mut shown = None;
        let refusal = while_driving(&mut pty, &mut second, "the first refusal", || {
            if shown.is_none() && alarms(node.address()).is_some_and(|all| all.contains("storage")) {
                shown = Some(at.elapsed());
            }
            feeder.told().other.get(others).cloned()
        });
        assert_eq!(refusal.1, "rejected storage_full");
        refused_after.push(at.elapsed());
        shown_after.push(shown.unwrap_or_else(|| {
            while_driving(&mut pty, &mut second, "the alarm", || {
                alarms(node.address())?.contains("storage").then(|| at.elapsed())
            })
        }));
        // For a while it stays so, and the screen with it.
        let until = Instant::now() + Duration::from_secs(3);
        while_driving(&mut pty, &mut second, "a while of it", || (Instant::now() >= until).then_some(()));
        assert!(node.child.try_wait().unwrap().is_none(), "the node ended: {}", site.log());
        let disk = node.json("/api/v1/health")["disk"].clone();
        assert_eq!(disk["intake"], "refused", "{disk}");
        assert_eq!(node.get("/").0, 200);
        assert!(alarms(node.address()).unwrap().contains("room"));
        let oks = feeder.oks();
        std::fs::remove_file(&filler).unwrap();
        let at = Instant::now();
        while_driving(&mut pty, &mut second, "an ok", || (feeder.oks() > oks).then_some(()));
        back_after.push(at.elapsed());
        while_driving(&mut pty, &mut second, "no alarm", || {
            let alarms = alarms(node.address())?;
            (!alarms.contains("storage") && !alarms.contains("room")).then_some(())
        });
    }
    feeder.stop();
    let ledger = balanced(&node);
    assert!(ledger["letters"]["open"].as_i64().unwrap() > 0, "what was refused is there as letters: {ledger}");
    assert_eq!(metric(&node, "waypost_worker_restarts_total", &[]), 0.0);
    assert!(node.stop().success());
    let (stored, told) = (scans(&site), feeder.told());
    for (code, id) in &told.ok {
        assert!(stored.get(code).is_some_and(|ids| ids.contains(id)), "{code}: ok {id}, and not in the store");
    }
    let slowest = |all: &[Duration]| *all.iter().max().unwrap();
    let (refused, shown, back) = (slowest(&refused_after), slowest(&shown_after), slowest(&back_after));
    eprintln!(
        "disk: filled and freed {rounds} times, {} scans ok, {} answered otherwise, 0 lost; refused after {refused:.0?}, shown \
         after {shown:.0?}, back after {back:.0?}",
        told.ok.len(),
        told.other.len(),
    );
    // The promise is one second, and ten; a machine that does much else at once gets some more.
    let slack = Duration::from_secs(3);
    assert!(refused < Duration::from_secs(1) + slack && shown < Duration::from_secs(1) + slack);
    assert!(back < Duration::from_secs(10) + slack);
}
