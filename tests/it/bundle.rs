//! `waypost support-bundle`: what is in it, and what is not, whoever asks and however the node is.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::bench::{Node, Site, binary, free_port, now_s, stderr, stdout, wait_for};
use crate::ca::{Ca, DAY_S};

const PASSWORD: &str = "correct horse 77";
const PIN: &str = "83920174";
const TOKEN: &str = "tok-9f8e7d6c5b";
const IN_URL: &str = "in-the-url-42";
const LABEL: &str = "LABEL-OF-SOMEBODY";

/// A node with secrets wherever one may be, on a machine whose systemd tells of them too.
struct Rig {
    site: Site,
    dock: u16,
    /// A line of the private key.
    key: String,
}

impl Rig {
    fn new() -> Self {
        let rig = Self { site: Site::new(), dock: free_port(), key: String::new() };
        let ca = Ca::new("yard");
        ca.write(&rig.site.path("ca.pem"));
        let own = ca.sign(&["wp-07"], (now_s() - DAY_S, now_s() + 90 * DAY_S));
        own.write(&rig.site.path("node.pem"), &rig.site.path("node.key"));
        let key = own.key.lines().nth(1).unwrap().to_owned();
        for (name, text) in [("password", PASSWORD), ("pin", PIN), ("node.key", &own.key)] {
            rig.write(name, text, 0o600);
        }
        let file = |name: &str| rig.site.path(name).display().to_string();
        rig.site.configure(&format!(
            "pin_file = \"{}\"\n\n[uplink]\nurl = \"mqtts://localhost:{}\"\nusername = \"me\"\npassword_file = \"{}\"\n\
             ca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\n\n{}",
            file("pin"),
            free_port(),
            file("password"),
            file("ca.pem"),
            file("node.pem"),
            file("node.key"),
            Site::dock(rig.dock)
        ));
        let unit = "# token of old: tok-of-old-1\n[Service]\nExecStart=/usr/bin/waypost run\n";
        rig.write("root/etc/systemd/system/waypost.service", unit, 0o644);
        let drop_in = format!(
            "[Service]\nEnvironment=\"API_TOKEN={TOKEN}\" \\\n  PLAIN=plain-value-1\nExecStartPre=/bin/x --auth pre-start-1\n"
        );
        rig.write("root/etc/systemd/system/waypost.service.d/10-own.conf", &drop_in, 0o644);
        rig.write("root/run/waypost/starts.json", "{\"boot\":\"b\",\"failed\":0}", 0o644);
        rig.write("root/etc/udev/rules.d/91-waypost-gps0.rules", "SUBSYSTEM==\"tty\"\n", 0o644);
        rig.write("root/proc/uptime", "1000.5 900.2\n", 0o644);
        let said = format!("waypost: {TOKEN} mqtt://me:{IN_URL}@broker {PASSWORD}, password: other-1\n{}", own.key);
        rig.write("bin/said", &said, 0o644);
        for (name, text) in
            [("journalctl", "cat \"${0%/*}/said\""), ("systemctl", "echo NRestarts=3"), ("timedatectl", "exit 1")]
        {
            rig.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}\n"), 0o755);
        }
        Self { key, ..rig }
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.site.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn command(&self, output: &Path, more: &[&str]) -> Command {
        let mut command = binary();
        command.arg("--config").arg(self.site.config()).arg("support-bundle").arg("--output").arg(output);
        command.arg("--root").arg(self.site.path("root")).args(more).stdin(Stdio::null());
        command.env("PATH", format!("{}:{}", self.site.path("bin").display(), std::env::var("PATH").unwrap()));
        command
    }

    /// Makes a bundle; the files in it.
    fn bundle(&self, name: &str, more: &[&str]) -> Unpacked {
        let file = self.site.path(name);
        let done = self.command(&file, more).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        assert!(stdout(&done).starts_with(&format!("{}: ", file.display())), "{}", stdout(&done));
        self.unpack(&file)
    }

    fn unpack(&self, file: &Path) -> Unpacked {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let dir = tempfile::tempdir_in(self.site.path("")).unwrap();
        let done = Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(dir.path()).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        let mut files = BTreeMap::new();
        read_below(&dir.path().join("waypost-support"), &PathBuf::new(), &mut files);
        let manifest = serde_json::from_str(&files["manifest.json"]).unwrap();
        let unpacked = Unpacked { files, manifest };
        self.has_no_secret(&unpacked);
        unpacked
    }

    fn has_no_secret(&self, unpacked: &Unpacked) {
        let secrets =
            [PASSWORD, PIN, TOKEN, IN_URL, &self.key, "plain-value-1", "pre-start-1", "other-1", "tok-of-old-1"];
        for (name, text) in &unpacked.files {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} is in {name}:\n{text}");
            }
        }
    }

    /// A scan with a text that may be somebody's.
    fn scans(&self, node: &Node) {
        use std::io::Write as _;
        let mut scanner = wait_for("the dock", || std::net::TcpStream::connect(("127.0.0.1", self.dock)).ok());
        scanner.write_all(format!("{LABEL}\r").as_bytes()).unwrap();
        wait_for("the scan", || (node.ledger()["events"]["total"] != 0).then_some(()));
    }
}

fn read_below(dir: &Path, name: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir.join(name)).unwrap().flatten() {
        let name = name.join(entry.file_name());
        if entry.path().is_dir() {
            read_below(dir, &name, files);
        } else {
            files.insert(name.display().to_string(), std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

struct Unpacked {
    files: BTreeMap<String, String>,
    manifest: Value,
}

impl Unpacked {
    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.files[name]).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Why a file is not in it.
    fn why(&self, name: &str) -> &str {
        let missing = self.manifest["missing"].as_array().unwrap().iter();
        let found = missing.filter(|one| one["file"] == name).map(|one| one["why"].as_str().unwrap()).next();
        found.unwrap_or_else(|| panic!("{name} is not missing: {:#}", self.manifest))
    }

    fn holds(&self, text: &str) -> Vec<&str> {
        self.files.iter().filter(|(_, file)| file.contains(text)).map(|(name, _)| name.as_str()).collect()
    }
}

#[test]
fn a_support_bundle_of_a_running_node_has_what_helps_and_no_secret() {
    let rig = Rig::new();
    let node = rig.site.start();
    rig.scans(&node);
    let made = rig.bundle("one.tar.gz", &[]);
    assert!(made.files["version.txt"].starts_with(&format!("waypost {}", env!("CARGO_PKG_VERSION"))));
    assert!(made.files["check.txt"].contains("is valid"), "{}", made.files["check.txt"]);
    let config = &made.files["config.toml"];
    assert!(config.contains("password_file = \"/") && config.contains("username = \"me\""), "{config}");
    assert!(made.files["doctor.txt"].contains("answers, process"), "{}", made.files["doctor.txt"]);
    assert_eq!(made.json("node/health.json")["node"], "wp-07");
    assert_eq!(made.json("node/sources.json")["items"][0]["id"], "dock");
    assert_eq!(made.json("node/ledger.json")["events"]["total"], 2);
    assert!(made.json("node/alarms.json").is_array() && made.json("node/letters.json")["by_reason"].is_array());
    assert!(made.files["node/metrics.txt"].contains("waypost_ledger_imbalance 0"));
    for log in ["inbound", "outbound", "failures"] {
        assert!(made.json(&format!("logs/{log}.json"))["items"].is_array(), "{log}");
    }
    assert!(made.files["machine/facts.txt"].contains("== uptime\n1000.5"), "{}", made.files["machine/facts.txt"]);
    assert!(made.files["machine/claims.txt"].contains("91-waypost-gps0.rules"));
    assert!(made.files["machine/files.txt"].contains(" waypost.db\n"), "{}", made.files["machine/files.txt"]);
    let unit = &made.files["systemd/unit.txt"];
    assert!(unit.contains("only the names: API_TOKEN PLAIN\n") && unit.contains("ExecStartPre=/bin/x …"), "{unit}");
    assert!(
        made.files["systemd/starts.json"].contains("failed") && made.files["systemd/show.txt"].contains("NRestarts=3")
    );
    let journal = &made.files["logs/journal.txt"];
    assert_eq!(
        journal.trim(),
        "waypost: [left out] mqtt://[left out]@broker [left out], password: [left out]\n[left out: a private key]"
    );
    assert!(made.why("machine/time.txt").contains("timedatectl ended with 1"));
    assert_eq!(made.holds(LABEL), Vec::<&str>::new(), "what was scanned is not in it unless somebody asks for it");
    assert!(made.json("node/health.json").get("assets").is_none(), "nor where things are");

    let made = rig.bundle("two.tar.gz", &["--captures"]);
    assert!(made.holds(LABEL).contains(&"captures/dock.ndjson"), "{:?}", made.holds(LABEL));
    assert_eq!(
        (&made.manifest["captures"], made.json("node/health.json")["assets"].is_array()),
        (&Value::Bool(true), true)
    );
    assert!(node.stop().success());
}

#[test]
fn a_support_bundle_of_a_stopped_node_is_made_of_its_files() {
    let rig = Rig::new();
    let node = rig.site.start();
    rig.scans(&node);
    assert!(node.stop().success());
    let made = rig.bundle("one.tar.gz", &[]);
    assert_eq!(made.json("node/ledger.json")["events"]["total"], 2);
    assert!(made.json("logs/inbound.json").as_array().is_some_and(|lines| !lines.is_empty()));
    assert!(made.json("logs/failures.json").is_array() && made.json("node/letters.json").is_array());
    assert_eq!(made.why("node/health.json"), "the node does not run");
    assert!(made.files["doctor.txt"].contains("it does not run"));
    assert_eq!(made.holds(LABEL), Vec::<&str>::new());
    assert!(rig.bundle("two.tar.gz", &["--captures"]).holds(LABEL).contains(&"captures/dock.ndjson"));
    // Before the first start there is no store; the rest is there all the same.
    let fresh = Rig::new();
    let made = fresh.bundle("one.tar.gz", &[]);
    assert!(
        made.why("node/ledger.json").contains("nor logs and letters") && made.files.contains_key("systemd/unit.txt")
    );
}

#[test]
fn of_files_that_are_invalid_it_has_the_findings_and_what_held_before() {
    let rig = Rig::new();
    assert!(rig.site.start().stop().success());
    let text = std::fs::read_to_string(rig.site.config()).unwrap();
    let (bad, more) =
        (format!("mqtts://me:{IN_URL}@localhost"), format!("password = \"{PASSWORD}\"\ntoken = \"{TOKEN}\"\n"));
    std::fs::write(
        rig.site.config(),
        text.replace("mqtts://localhost", &bad).replace("username", &format!("{more}username")),
    )
    .unwrap();
    let made = rig.bundle("one.tar.gz", &[]);
    let check = &made.files["check.txt"];
    assert!(check.contains("uplink.url") && check.contains("uplink.token"), "{check}");
    assert!(made.files["config.toml"].contains("mqtts://localhost"), "{}", made.files["config.toml"]);
}

#[test]
fn who_may_not_read_all_of_it_gets_a_bundle_that_says_so() {
    let rig = Rig::new();
    // SAFETY: takes and touches nothing, and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let node = rig.site.start();
    let folder = rig.site.path("theirs");
    std::fs::create_dir(&folder).unwrap();
    for (path, mode) in [(rig.site.path(""), 0o755), (folder.clone(), 0o777), (rig.site.path("pin"), 0o000)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // The socket of a unit is for root and the group; root is let in anywhere, so somebody else asks.
    let socket = rig.site.path("store").join("control.sock");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(if is_root { 0o660 } else { 0o000 })).unwrap();
    let file = folder.join("one.tar.gz");
    let mut command = rig.command(&file, &[]);
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    let done = command.output().unwrap();
    assert!(done.status.success() && stdout(&done).contains("manifest.json in it says why"), "{}", stderr(&done));
    let made = rig.unpack(&file);
    assert!(made.why("node/health.json").contains("run it as root or as a member of the group waypost"));
    assert!(made.why("logs/journal.txt").contains("cannot be looked for in it"));
    assert!(made.files["doctor.txt"].contains("run it as root") && made.files.contains_key("machine/facts.txt"));
    assert!(node.stop().success());
}

#[test]
fn an_output_that_cannot_be_written_is_said_and_leaves_no_half_file() {
    let rig = Rig::new();
    let left = || {
        let names = std::fs::read_dir(rig.site.path("")).unwrap().flatten().map(|entry| entry.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.contains("tar.gz")).collect::<Vec<_>>()
    };
    let refused = |done: &Output, words: &str| {
        assert!(done.status.code() == Some(74) && stderr(done).contains(words), "{words}: {}", stderr(done));
    };
    let file = rig.site.path("one.tar.gz");
    // A disk that has room for a kilobyte.
    let command = rig.command(&file, &[]);
    let mut full = Command::new("sh");
    full.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    full.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    refused(&full.output().unwrap(), "nothing was written; make room there");
    assert_eq!(left(), Vec::<String>::new());
    refused(
        &rig.command(&rig.site.path("no/such/folder.tar.gz"), &[]).output().unwrap(),
        "name a file in a folder that can be written",
    );
    std::fs::write(&file, "mine").unwrap();
    refused(&rig.command(&file, &[]).output().unwrap(), "is there already");
    assert_eq!((left(), std::fs::read_to_string(&file).unwrap()), (vec!["one.tar.gz".to_owned()], "mine".to_owned()));
}
