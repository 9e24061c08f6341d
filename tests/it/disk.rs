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

use crate::bench::{
    Node, PATIENCE, Pty, Site, balanced, epoch, free_port, full, http, metric, try_get, wait_for, wait_within,
};
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
        if !mount.mount("loop,errors=remount-ro") {
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

    fn mount_again(&self, options: &str) -> bool {
        done("mount", &["-o", options, text(&self.path())])
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

/// A node whose store alone is on that disk: its log and its word to systemd go elsewhere.
fn site_on(mount: &Mount) -> Site {
    let site = Site::new();
    std::fs::remove_dir(site.path("store")).unwrap();
    std::os::unix::fs::symlink(mount.path(), site.path("store")).unwrap();
    site
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
pub fn a_disk_filled_to_the_last_byte_under_load_and_freed_loses_nothing_and_is_back_in_seconds() {
    let Some(mount) = Mount::new(32) else { return };
    filled_and_freed(&mount, if full() { 20 } else { 2 });
}

/// Fills the disk and frees it again, so many times.
pub fn filled_and_freed(mount: &Mount, rounds: usize) {
    let (site, port) = (site_on(mount), free_port());
    let mut pty = Pty::new(&site.path("gps0"));
    site.configure(&(nowhere() + &Site::dock(port) + &gps(&site.path("gps0"))));
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

#[test]
pub fn a_disk_that_the_kernel_has_shut_is_shown_and_read_from_and_refused_aloud_and_keeps_what_was_ok() {
    let Some(mount) = Mount::new(32) else { return };
    shut_while_running(&mount);
}

/// Shuts the file system under a node at work; afterwards it is mounted anew.
pub fn shut_while_running(mount: &Mount) {
    let (site, port) = (site_on(mount), free_port());
    site.configure(&(nowhere() + &Site::dock(port)));
    let mut node = site.start();
    let mut feeder = Feeder::start(port, u64::MAX / 2, 100.0);
    wait_for("scans", || (feeder.oks() > 50).then_some(()));
    mount.shut();
    let at = Instant::now();
    wait_for("a refusal", || {
        feeder.told().other.iter().any(|(_, line)| line == "rejected storage_error").then_some(())
    });
    let refused = at.elapsed();
    wait_for("the alarms", || {
        let alarms = alarms(node.address())?;
        (alarms.contains("disk_read_only") && alarms.contains("storage")).then_some(())
    });
    let shown = at.elapsed();
    let until = Instant::now() + Duration::from_secs(6);
    wait_for("a while of it", || (Instant::now() >= until).then_some(()));
    assert!(node.child.try_wait().unwrap().is_none(), "the node ended");
    assert_eq!(node.get("/").0, 200);
    let page = node.json("/api/v1/events?limit=10&kind=scan");
    assert_eq!(page["items"].as_array().unwrap().len(), 10);
    assert_eq!(node.json("/api/v1/health")["disk"]["writable"], false);
    assert_eq!(metric(&node, "waypost_worker_restarts_total", &[]), 0.0);
    feeder.stop();
    // SIGTERM ends it in its time, although nothing can be written.
    node.signal(libc::SIGTERM);
    node.ended();
    assert!(mount.umount() && mount.mount("loop,errors=remount-ro"), "the disk cannot be mounted anew");
    let stored = scans(&site);
    let told = feeder.told();
    for (code, id) in &told.ok {
        assert!(stored.get(code).is_some_and(|ids| ids.contains(id)), "{code}: ok {id}, and not in the store");
    }
    eprintln!(
        "disk: shut under {} scans ok, 0 lost; refused after {refused:.0?}, shown after {shown:.0?}",
        told.ok.len()
    );
}

#[test]
pub fn a_start_on_a_full_or_read_only_disk_comes_up_with_a_screen_that_says_so_and_goes_on_by_itself() {
    let Some(mount) = Mount::new(32) else { return };
    started_without_room(&mount);
}

/// Starts a node on a full disk with and without its reserve, and on one that is read-only.
pub fn started_without_room(mount: &Mount) {
    let (site, port, screen) = (site_on(mount), free_port(), free_port());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], screen));
    site.configure(&(nowhere() + &Site::dock(port)));
    let config = std::fs::read_to_string(site.config()).unwrap().replace("127.0.0.1:0", &address.to_string());
    std::fs::write(site.config(), config).unwrap();
    let node = site.start();
    wait_for("the reserve", || site.path("store/waypost.ballast").exists().then_some(()));
    assert!(node.stop().success());
    // Its reserve is enough to come up with all that it has.
    mount.fill();
    let node = site.start();
    wait_for("the word of it", || alarms(address)?.contains("room").then_some(()));
    assert_eq!(node.json("/api/v1/health")["disk"]["intake"], "refused");
    node.kill();
    // Nor is it in a loop when that is gone too.
    let filler = mount.fill();
    let mut node = site.launch(&[]);
    let (status, page) = wait_for("a screen", || http(address, "/", "").ok());
    eprintln!("disk: started without room and reserve: {status}");
    if status == 503 {
        assert!(page.contains("store cannot be opened") && page.contains("waypost.db"), "{page}");
        let out = site.ask(&["status"]);
        assert_eq!(out.status.code(), Some(74));
        assert!(String::from_utf8_lossy(&out.stderr).contains("room"), "{out:?}");
    }
    assert_eq!(http(address, "/livez", "").unwrap().0, 200);
    std::fs::remove_file(filler).unwrap();
    let at = Instant::now();
    wait_for("its own screen", || {
        assert!(node.child.try_wait().unwrap().is_none(), "the node ended: {}", site.log());
        let health: Value = serde_json::from_str(&try_get(address, "/api/v1/health", Duration::from_secs(5))?).ok()?;
        (health["disk"]["intake"] == "open").then_some(())
    });
    let back = at.elapsed();
    node.kill();
    assert!(mount.mount_again("remount,ro"), "the disk cannot be mounted read-only");
    let mut node = site.launch(&[]);
    let (status, page) = wait_for("a screen", || http(address, "/", "").ok());
    assert!(status == 503 && page.contains("store cannot be opened"), "{status} {page}");
    assert_eq!(http(address, "/livez", "").unwrap().0, 200);
    assert!(mount.mount_again("remount,rw"));
    let at = Instant::now();
    wait_for("its own screen", || {
        assert!(node.child.try_wait().unwrap().is_none(), "the node ended: {}", site.log());
        try_get(address, "/api/v1/health", Duration::from_secs(5))
    });
    let writable = at.elapsed();
    let feeder = Feeder::start(port, 10, 100.0);
    wait_for("scans", || (feeder.oks() == 10).then_some(()));
    node.kill();
    eprintln!("disk: back after {back:.0?} when there was room, after {writable:.0?} when it was writable");
    assert!(back < Duration::from_secs(13) && writable < Duration::from_secs(13));
}

/// Sends codes of about a kilobyte ahead of their answers until so many have their answer; how many were `ok`, and the last
/// other word.
fn pump(port: u16, from: usize, n: usize) -> (usize, Option<String>) {
    const AHEAD: usize = 64;
    let stream = wait_for("the listener", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut to, mut answers) = (stream.try_clone().unwrap(), BufReader::new(stream));
    let (mut oks, mut other, mut sent, mut line) = (0, None, 0, String::new());
    for answered in 0..n {
        while sent < n && sent < answered + AHEAD {
            write!(to, "BULK{:07}-{}\r", from + sent, "x".repeat(980)).unwrap();
            sent += 1;
        }
        line.clear();
        answers.read_line(&mut line).expect("each scan is answered, with one word or another");
        match line.trim_end() {
            ok if ok.starts_with("ok ") => oks += 1,
            word => other = Some(word.to_owned()),
        }
    }
    (oks, other)
}

/// All that lies in the folder of the store. Bytes
fn stored_bytes(site: &Site) -> u64 {
    let files = |dir: PathBuf| {
        let all = std::fs::read_dir(dir).into_iter().flatten().flatten();
        all.filter_map(|file| file.metadata().ok().filter(std::fs::Metadata::is_file))
            .map(|file| file.len())
            .sum::<u64>()
    };
    files(site.path("store")) + files(site.path("store/archive"))
}

/// How the disk is now, by the node's own word.
fn disk(node: &Node) -> Value {
    node.json("/api/v1/health")["disk"].clone()
}

/// Waits until the node has looked at its disk from beginning to end. Its gauge beats when it begins a look and when it ends
/// one: of three beats two are of one look.
fn looked(node: &Node) {
    for _ in 0..3 {
        let since = Instant::now();
        wait_for("a look at the disk", || {
            let waited = since.elapsed().as_secs_f64();
            let age = metric(node, "waypost_worker_beat_age_seconds", &["worker=\"gauge\""]);
            (age < waited).then_some(())
        });
    }
}

/// A room that a few thousand scans fill, and how it went so far.
struct Room {
    site: Site,
    port: u16,
    pty: Pty,
    second: u32,
    sent: usize,
    /// The most that lay on the disk. Bytes
    largest: u64,
    /// What the node said after its last look that this waited for, and scans since then.
    seen_pct: u64,
    unseen: u64,
}

impl Room {
    /// MiB, as small as it can be configured.
    const MIB: u64 = 64;
    /// What a scan with a code of a kilobyte takes at most, with its place, its history and their indexes.
    const SCAN_BYTES: u64 = 10 << 10;

    fn new() -> Self {
        let site = Site::new();
        let pty = Pty::new(&site.path("gps0"));
        Self { site, port: free_port(), pty, second: 36_000, sent: 0, largest: 0, seen_pct: 0, unseen: 0 }
    }

    /// Starts the node, with an uplink or without.
    fn start(&self, uplink: &str) -> Node {
        self.site.configure(&format!("{uplink}{}{}", Site::dock(self.port), gps(&self.site.path("gps0"))));
        let config = std::fs::read_to_string(self.site.config()).unwrap();
        let room = format!("[store]\nmax_mib = {}\n", Self::MIB);
        std::fs::write(self.site.config(), config.replace("[store]\n", &room)).unwrap();
        self.site.start()
    }

    /// So many scans and some fixes; what was answered other than `ok`. Faster than any yard, a good part of the room between
    /// two looks of the node: where that could come to more than `slow` percent it waits for a look.
    fn pump(&mut self, node: &Node, n: usize, slow: u64) -> Option<String> {
        let (_, other) = pump(self.port, self.sent, n);
        self.sent += n;
        for _ in 0..3 {
            self.second += 1;
            self.pty.offer(&epoch(self.second));
        }
        self.largest = self.largest.max(stored_bytes(&self.site));
        self.unseen += n as u64;
        if self.seen_pct + self.unseen * Self::SCAN_BYTES * 100 / (Self::MIB << 20) > slow {
            looked(node);
            (self.seen_pct, self.unseen) = (disk(node)["used_pct"].as_u64().unwrap(), 0);
        }
        other
    }
}

#[test]
pub fn within_max_mib_archives_go_then_rows_then_fixes_then_intake_and_what_is_not_sent_never() {
    kept_within_room(&mut Room::new());
}

fn kept_within_room(room: &mut Room) {
    local_events_make_room(room);
    let steps = unsent_events_stay(room);
    // Without a platform they are local again, and may go: intake comes back by itself.
    let node = room.start("");
    wait_for("room", || (pump(room.port, room.sent, 1).0 == 1).then_some(()));
    balanced(&node);
    assert!(node.stop().success());
    let (sent, mib) = (room.sent, room.largest >> 20);
    eprintln!(
        "disk: {sent} scans of a kilobyte into {} MiB, {mib} MiB at most on the disk, steps {steps:?}",
        Room::MIB
    );
    assert!(room.largest <= Room::MIB << 20, "{} bytes on the disk", room.largest);
}

/// Whatever comes, the oldest local events go, by way of the archive.
fn local_events_make_room(room: &mut Room) {
    let node = room.start("");
    // After the first twenty the room is full; then two of them make one turn: rows into an archive, the archive away.
    let (rounds, turns) = if full() { (50, 5) } else { (30, 1) };
    let (mut archived, mut dropped, mut nth) = (0, 0, 0);
    while nth < rounds || dropped < turns {
        nth += 1;
        assert!(nth <= 3 * rounds, "what goes from the log stands in archives, only {dropped} of which went");
        assert_eq!(room.pump(&node, 250, 70), None, "local events make room: {}", disk(&node));
        wait_for("room", || (disk(&node)["used_pct"].as_u64()? < 88).then_some(()));
        let archive = disk(&node)["archive_bytes"].as_u64().unwrap();
        dropped += u64::from(archive < archived);
        archived = archive;
    }
    let ledger = balanced(&node);
    assert_eq!(ledger["events"]["local"], ledger["events"]["total"]);
    assert!(alarms(node.address()).unwrap().contains("room"));
    assert!(node.stop().success());
}

/// All of it waits for a platform, and nothing may go but the archive; the steps that were seen.
fn unsent_events_stay(room: &mut Room) -> Vec<&'static str> {
    const ORDER: [&str; 4] = ["open", "thin 10", "thin 60", "refused"];
    let node = room.start(&nowhere());
    let mut seen: Vec<&str> = Vec::new();
    let mut unsent = 0;
    let refused = wait_within(Duration::from_secs(120), "a refusal", || {
        let other = room.pump(&node, 100, 85);
        let (now, ledger) = (disk(&node), node.ledger());
        let step = match (now["intake"].as_str(), now["thin_s"].as_u64()) {
            (Some("refused"), _) => ORDER[3],
            (_, Some(60)) => ORDER[2],
            (_, Some(_)) => ORDER[1],
            _ => ORDER[0],
        };
        if seen.last() != Some(&step) {
            seen.push(step);
        }
        let waiting = ledger["events"]["unsent"].as_u64().unwrap();
        assert!(waiting >= unsent, "{unsent} waited, {waiting} do now");
        unsent = waiting;
        other
    });
    assert_eq!(refused, "rejected storage_full");
    let places: Vec<_> = seen.iter().map(|step| ORDER.iter().position(|one| one == step)).collect();
    assert!(places.is_sorted() && seen.len() > 2, "{seen:?}");
    let now = disk(&node);
    assert_eq!(now["archive_bytes"].as_u64().unwrap_or(0) >> 16, 0, "the archive went before: {now}");
    let text = node.get("/api/v1/health").1;
    assert!(text.contains("new events are refused"), "{text}");
    assert!(balanced(&node)["sources"]["gps0"]["policies"]["room"].as_u64() > Some(0), "fixes were thinned");
    assert!(node.stop().success());
    seen
}

#[test]
pub fn a_reader_that_stays_makes_the_log_of_writes_grow_which_is_told_until_it_goes() {
    let mut room = Room::new();
    let node = room.start(&nowhere());
    assert_eq!(room.pump(&node, 1, 100), None);
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = rusqlite::Connection::open_with_flags(room.site.path("store/waypost.db"), flags).unwrap();
    reader.execute_batch("begin").unwrap();
    let rows: i64 = reader.query_row("select count(*) from outbox", [], |row| row.get(0)).unwrap();
    assert!(rows > 0);
    wait_for("the word of it", || {
        assert_eq!(room.pump(&node, 100, 100), None);
        alarms(node.address())?.contains("wal").then_some(())
    });
    let grown = disk(&node)["wal_bytes"].as_u64().unwrap();
    drop(reader);
    wait_for("the end of it", || {
        assert_eq!(room.pump(&node, 10, 100), None);
        (!alarms(node.address())?.contains("wal")).then_some(())
    });
    let kept = disk(&node)["wal_bytes"].as_u64().unwrap();
    assert!(grown > 12 << 20 && kept < 12 << 20, "{grown} bytes, then {kept}");
    balanced(&node);
    assert!(node.stop().success());
}
