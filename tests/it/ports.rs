//! What comes in from outside: plugs that are pulled, lines full of noise, peers that do not behave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{
    Node, PATIENCE, Pty, Site, balanced, epoch, free_port, metric, repository, sentence, stdout, wait_for,
};

fn gps(port: &str) -> String {
    format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{port}\"\nbaud = 9600\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n"
    )
}

fn scanner(id: &str, port: &str) -> String {
    format!("[[scanner]]\nid = \"{id}\"\nport = \"{port}\"\n")
}

fn link(site: &Site, name: &str) -> String {
    site.path(name).display().to_string()
}

/// Waits until a source is in a state; the whole state.
fn source(node: &Node, id: &str, state: &str) -> Value {
    wait_for(&format!("{id} {state}"), || {
        let sources = node.json("/api/v1/sources");
        let items = sources["items"].as_array().unwrap();
        items.iter().find(|one| one["id"] == id && one["state"] == state).cloned()
    })
}

/// The memory of the node that is in use, MiB.
fn resident_mib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_receiver_that_is_unplugged_is_seen_as_absent_and_goes_on_when_it_is_plugged_in_again() {
    let site = Site::new();
    let mut port = Pty::new(&site.path("gps0"));
    site.configure(&gps(&link(&site, "gps0")));
    let node = site.start();
    let mut stream = node.stream(None);
    for round in 0..3 {
        let second = 36_000 + round * 100;
        port.write(&epoch(second));
        port.write(&epoch(second + 1));
        let ts = format!("T10:{:02}:{:02}.000Z", second / 60 % 60, second % 60);
        stream.event("a fix", |event| event["kind"] == "fix" && event["ts"].as_str().unwrap().ends_with(&ts));
        source(&node, "gps0", "up");
        port.unplug();
        let absent = source(&node, "gps0", "absent");
        assert!(!absent["advice"].as_str().unwrap().is_empty(), "{absent}");
        let status = site.ask(&["status"]);
        assert_eq!(status.status.code(), Some(1));
        assert!(stdout(&status).contains("source gps0 is absent"), "{}", stdout(&status));
        assert!(metric(&node, "waypost_source_up", &["source=\"gps0\""]) < 0.5);
        port = Pty::new(&site.path("gps0"));
    }
    balanced(&node);
    assert!(node.stop().success());
}

#[test]
pub fn what_a_dirty_line_sends_is_counted_by_its_reason_and_hurts_nothing_else() {
    let site = Site::new();
    let (mut gps0, mut dirty) = (Pty::new(&site.path("gps0")), Pty::new(&site.path("dirty")));
    let mut clean = Pty::new(&site.path("clean"));
    let scanners = scanner("dirty", &link(&site, "dirty")) + &scanner("clean", &link(&site, "clean"));
    site.configure(&(gps(&link(&site, "gps0")) + &scanners));
    let node = site.start();
    let mut stream = node.stream(None);
    gps0.write(&epoch(36_000));

    let good = sentence("GPRMC,100001.00,A,5907.00000,N,01123.25128,E,10.0,090.0,211126,,,A");
    gps0.write(good.replace("10.0,", "11.0,").as_bytes());
    gps0.write(&[0xf8, 0x1f, 0xb2, 0x9a, 0x00, 0xff, b'\r', b'\n']);
    gps0.write(format!("{}{good}", &good[..30]).as_bytes());
    gps0.write(sentence("GPRMC,100002.00,A,9907.00000,N,01123.25128,E,10.0,090.0,211126,,,A").as_bytes());
    gps0.write(b"$GPRMC,100003.00,A,5907.00000,N,01123.25128,E,10.0,090.0,211126,,,A\r\n");
    gps0.write(b"$GPGGA,");
    gps0.write(&vec![b'A'; 1 << 20]);
    gps0.write(b"\r\n");
    gps0.write(&epoch(36_010));

    dirty.write(format!("{}\r\n", "L".repeat(2_000)).as_bytes());
    dirty.write(b"NOREAD\r\n\x01\x02\r\n]C100395212340000010045\r\n\xff\xfe\r\n");
    dirty.write(&vec![b'Z'; 1 << 20]);
    dirty.write(b"\r\nGOOD-1\r\n");

    clean.write(b"CLEAN-1\r\n");
    let mut waits = vec!["GOOD-1", "CLEAN-1", "T10:00:10.000Z"];
    while !waits.is_empty() {
        let event = stream.event("what is in order", |_| true);
        let said = event.to_string();
        waits.retain(|wait| !said.contains(wait));
    }
    assert!(resident_mib(&node) < 64, "{} MiB", resident_mib(&node));

    let frames = |reason: &str| {
        metric(&node, "waypost_frames_rejected_total", &["source=\"dirty\"", &format!("reason=\"{reason}\"")])
    };
    let wanted = [("overlong", 2.0), ("noread", 1.0), ("control_only", 1.0), ("bad_check", 1.0), ("non_ascii", 1.0)];
    wait_for("every reason in the metrics", || {
        wanted.iter().all(|(reason, n)| (frames(reason) - n).abs() < 0.5).then_some(())
    });
    for reason in ["bad_checksum", "bad_bytes", "glued", "out_of_range", "no_checksum", "too_long"] {
        let n = metric(&node, "waypost_sentences_total", &["source=\"gps0\"", &format!("outcome=\"{reason}\"")]);
        assert!(n >= 1.0, "{reason}: {n}");
    }
    let letters: Value = serde_json::from_str(&stdout(&site.ask(&["letters", "list", "--all", "--json"]))).unwrap();
    let reasons: Vec<&str> = letters.as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect();
    for (reason, n) in wanted {
        assert_eq!(reasons.iter().filter(|one| **one == reason).count() as f64, n, "{reason} of {reasons:?}");
    }
    for reason in ["bad_checksum", "bad_bytes", "glued", "out_of_range", "no_checksum", "too_long"] {
        assert!(reasons.contains(&reason), "{reason} of {reasons:?}");
    }
    assert!(letters.as_array().unwrap().iter().all(|one| one["bytes"].as_str().unwrap().len() <= 4 * 4096));
    let decide = stdout(&site.ask(&["letters", "list"]));
    assert!(decide.contains("overlong") && !decide.contains("bad_checksum"), "noise is for --all: {decide}");
    let status = stdout(&site.ask(&["status"]));
    assert!(status.contains(&format!("letters    {} open", letters.as_array().unwrap().len())), "{status}");
    balanced(&node);
    assert!(node.stop().success());
}

/// A peer that sends frames and hears replies.
struct Peer(BufReader<TcpStream>);

impl Peer {
    fn to(port: u16) -> Self {
        let stream = wait_for("the listener", || TcpStream::connect(("127.0.0.1", port)).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn a_peer_hears_after_the_commit_what_became_of_each_frame() {
    let (site, port) = (Site::new(), free_port());
    let keys = "reply = true\n";
    site.configure(&(scanner("door-3", &format!("tcp-listen://127.0.0.1:{port}")) + keys));
    let node = site.start();
    let mut peer = Peer::to(port);
    peer.send(b"TRL-7\r\n");
    let ok = peer.hear();
    let id = ok.strip_prefix("ok ").unwrap_or_else(|| panic!("{ok}")).to_owned();
    assert_eq!(node.json(&format!("/api/v1/events/{id}"))["code"], "TRL-7", "it is stored when the reply is here");
    peer.send(b"TRL-8\r\nTRL-8\r\nNOREAD\r\n]C100395212340000010045\r\nTRL-9\r\n");
    let heard: Vec<String> = (0..5).map(|_| peer.hear()).collect();
    let other = heard[0].strip_prefix("ok ").unwrap();
    assert_ne!(other, id);
    assert_eq!(heard[1], format!("again {other}"));
    assert_eq!((heard[2].as_str(), heard[3].as_str()), ("rejected noread", "rejected bad_check"));
    assert!(heard[4].starts_with("ok "), "{heard:?}");
    let ledger = balanced(&node);
    let counts = &ledger["sources"]["door-3"];
    assert_eq!((&counts["frames"], &counts["stored"], &counts["repeat"]), (&6.into(), &3.into(), &1.into()));
    assert!(node.stop().success());
}

#[test]
pub fn a_peer_that_does_not_read_its_replies_stops_no_other() {
    let (site, port) = (Site::new(), free_port());
    let keys = "reply = true\nrepeat_window_ms = 0\n";
    site.configure(&(scanner("door-3", &format!("tcp-listen://127.0.0.1:{port}")) + keys));
    let node = site.start();
    let mut deaf = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let window: libc::c_int = 2_048;
    // SAFETY: the option is an int and its length is given; the descriptor is open.
    let set = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&deaf),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const window).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
    // It sends until nothing more is taken from it, or it was sent away.
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let burst: Vec<u8> = b"DEAF-1\r\nDEAF-2\r\n".repeat(4_096);
    let mut other = Peer::to(port);
    let mut sent = 0;
    for n in 0..40 {
        sent += deaf.write(&burst).unwrap_or(0);
        other.send(format!("T{n}\r\n").as_bytes());
        assert!(other.hear().starts_with("ok "));
    }
    assert!(sent > 0 && resident_mib(&node) < 64, "{sent} bytes, {} MiB", resident_mib(&node));
    drop(deaf);
    assert!(node.stop().success());
}

#[test]
fn a_peer_that_pauses_within_a_frame_is_neither_glued_nor_lost() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&(scanner("door-3", &format!("tcp-listen://127.0.0.1:{port}")) + "reply = true\nidle_ms = 200\n"));
    let node = site.start();
    let mut peer = Peer::to(port);
    peer.send(b"HALF-A-");
    assert_eq!(peer.hear(), "rejected unterminated");
    peer.send(b"TRL-7\r\n");
    assert!(peer.hear().starts_with("ok "));
    let events = node.json("/api/v1/events?kind=scan");
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!(events["items"][0]["code"], "TRL-7");
}

#[test]
pub fn the_seventeenth_connection_is_told_that_the_listener_is_busy() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&(scanner("door-3", &format!("tcp-listen://127.0.0.1:{port}")) + "reply = true\n"));
    let node = site.start();
    let mut peers: Vec<Peer> = (0..16).map(|_| Peer::to(port)).collect();
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.send(format!("T{n}\r\n").as_bytes());
        assert!(peer.hear().starts_with("ok "));
    }
    let mut late = Peer::to(port);
    assert!(late.hear().starts_with("busy"), "it hears why");
    let mut rest = Vec::new();
    late.0.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "and is sent away");
    peers[3].send(b"STILL\r\n");
    assert!(peers[3].hear().starts_with("ok "), "those who were here stay");
    assert!(node.stop().success());
}

#[test]
fn a_receiver_that_sends_datagrams_is_heard() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&gps(&format!("udp-listen://127.0.0.1:{port}")));
    let node = site.start();
    source(&node, "gps0", "silent");
    let mut stream = node.stream(None);
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    for second in 36_000..36_005 {
        from.send_to(&epoch(second), ("127.0.0.1", port)).unwrap();
    }
    for second in 0..4 {
        let fix = stream.event("the fix", |event| event["kind"] == "fix");
        assert!(fix["ts"].as_str().unwrap().ends_with(&format!("T10:00:0{second}.000Z")), "{fix}");
    }
    source(&node, "gps0", "up");
    balanced(&node);
    assert!(node.stop().success());
}

#[test]
fn a_file_is_read_to_its_end_and_that_is_no_fault() {
    let (site, log): (Site, PathBuf) = (Site::new(), repository("hardware/captures/truck.nmea"));
    site.configure(&gps(&format!("file://{}", log.display())));
    let node = site.start();
    source(&node, "gps0", "ended");
    let ledger = wait_for("every fix of the file", || {
        let ledger = balanced(&node);
        (ledger["sources"]["gps0"]["stored"] == 120).then_some(ledger)
    });
    assert_eq!(ledger["sources"]["gps0"]["frames"], 120);
    let (status, health) = node.get("/healthz");
    assert_eq!((status, health.as_str()), (200, "{\"status\":\"ok\",\"reasons\":[]}"));
    assert_eq!(site.ask(&["status"]).status.code(), Some(0), "a source that is done is no fault");
    assert!(node.stop().success());
}

#[test]
fn a_simulated_port_takes_its_link_with_it_so_that_no_node_finds_the_next_one_of_its_number() {
    let site = Site::new();
    let link = site.path("gps0");
    let port = Pty::new(&link);
    drop(port);
    assert!(link.symlink_metadata().is_err(), "the next pty of any program may have its number");
    let port = Pty::new(&link);
    let other = Pty::new(&link);
    drop(port);
    assert_eq!(std::fs::read_link(&link).unwrap(), other.path(), "a link that is another's by now stays");
}
