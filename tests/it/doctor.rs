//! `waypost doctor` and `waypost devices claim`, as a person runs them.

use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::bench::{Node, Pty, Site, epoch, run, stderr, stdout, wait_for};

fn gps(port: &str) -> String {
    format!("[[gps]]\nid = \"gps0\"\nport = \"{port}\"\nbaud = 9600\n\n")
}

/// What doctor finds, and its exit code.
fn doctor(site: &Site) -> (i32, Value) {
    let done = site.ask(&["doctor", "--json"]);
    let found = serde_json::from_str(&stdout(&done)).unwrap_or_else(|_| panic!("{}{}", stdout(&done), stderr(&done)));
    (done.status.code().unwrap(), found)
}

/// The findings of a check with this verdict, each as its text and remedy.
fn of(found: &Value, check: &str, verdict: &str) -> Vec<String> {
    let all = found["checks"].as_array().unwrap().iter();
    let wanted = all.filter(|one| one["check"] == check && one["verdict"] == verdict);
    wanted.map(|one| format!("{} -> {}", one["text"].as_str().unwrap(), one["remedy"].as_str().unwrap_or(""))).collect()
}

fn shows(node: &Node, state: &str) {
    wait_for(state, || (node.json("/api/v1/sources")["items"][0]["state"] == state).then_some(()));
}

#[test]
fn a_node_that_is_well_is_found_well() {
    let site = Site::new();
    let mut pty = Pty::new(&site.path("gps0"));
    site.configure(&gps(&site.path("gps0").display().to_string()));
    let node = site.start();
    pty.write(&epoch(36_000));
    pty.write(&epoch(36_001));
    shows(&node, "up");
    pty.let_go();
    let (code, found) = doctor(&site);
    assert_eq!((code, &found["well"]), (0, &Value::Bool(true)), "{found:#}");
    for check in ["config", "node", "store", "uplink", "gps0"] {
        assert_eq!(of(&found, check, "ok").len(), 1, "{check}: {found:#}");
    }
    assert!(of(&found, "node", "ok")[0].contains(&format!("process {}", node.pid())), "{found:#}");
    let text = stdout(&site.ask(&["doctor"]));
    assert!(text.contains("ok    gps0       up /") && !text.contains("FAIL"), "{text}");
    assert!(node.stop().success());
}

#[test]
fn who_holds_a_port_is_named_with_its_process() {
    let site = Site::new();
    let pty = Pty::new(&site.path("gps0"));
    // Locked as a terminal program locks it, by this test.
    // SAFETY: the descriptor is open for as long as `pty` is.
    assert_eq!(unsafe { libc::flock(pty.slave(), libc::LOCK_EX | libc::LOCK_NB) }, 0);
    site.configure(&gps(&site.path("gps0").display().to_string()));
    let node = site.start();
    shows(&node, "busy");
    let status = site.ask(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(stdout(&status).contains("source gps0 is busy"), "{}", stdout(&status));
    let (code, found) = doctor(&site);
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    let named = format!("{} ({}) holds /dev/pts/", comm.trim(), std::process::id());
    let fails = of(&found, "gps0", "fail");
    assert!(code == 1 && fails.len() == 1 && fails[0].starts_with(&named), "{named}: {found:#}");
    // SAFETY: as above.
    assert_eq!(unsafe { libc::flock(pty.slave(), libc::LOCK_UN) }, 0);
    wait_for("its own again", || (node.json("/api/v1/sources")["items"][0]["state"] != "busy").then_some(()));
    assert!(node.stop().success());
}

#[test]
fn what_keeps_a_node_from_its_work_is_said_with_what_to_do() {
    let site = Site::new();
    site.configure(&gps("/dev/waypost/nothing-here"));
    let (code, found) = doctor(&site);
    assert_eq!(code, 1);
    assert!(of(&found, "node", "fail")[0].contains("it does not run -> waypost --config"), "{found:#}");
    let absent = &of(&found, "gps0", "fail")[0];
    assert!(absent.contains("is not there -> nothing is claimed") && absent.contains("claim gps0 DEVICE"), "{absent}");
    assert!(of(&found, "store", "ok")[0].contains("ready for a first start"), "{found:#}");

    site.configure("[[gps]]\nid = \"gps0\"\nport = \"/dev/x\"\nbuad = 9600\n");
    let (code, found) = doctor(&site);
    let config = &of(&found, "config", "fail")[0];
    assert!(code == 1 && config.contains("buad") && config.contains("waypost check"), "{config}");
}

#[test]
fn doctor_opens_no_port() {
    // A master hangs up when its slave was opened and closed again, and not before.
    let (site, master) = (Site::new(), Pty::untouched(&Site::new().path("unused")));
    let hung_up = |master: &Pty| {
        let mut poll = libc::pollfd { fd: master.master().as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one entry, as is told, and it outlives the call.
        assert!(unsafe { libc::poll(&raw mut poll, 1, 0) } >= 0);
        poll.revents & libc::POLLHUP != 0
    };
    site.configure(&gps(&master.path().display().to_string()));
    doctor(&site);
    site.ask(&["devices"]);
    assert!(!hung_up(&master));
    drop(std::fs::File::open(master.path()).unwrap());
    assert!(hung_up(&master), "this would have been seen");
}

#[test]
fn a_device_is_claimed_and_released_on_the_command_line() {
    let site = Site::new();
    let put = |path: &str, text: &str| {
        let path = site.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("etc/group", "waypost:x:7777:\n");
    put("sys/devices/plat/ttyAMA0/dev", "204:64\n");
    put("sys/devices/plat/uart/x", "");
    put("dev/ttyAMA0", "");
    put("run/udev/data/c204:64", "G:systemd\n");
    std::fs::create_dir_all(site.path("sys/class/tty")).unwrap();
    symlink("../uart", site.path("sys/devices/plat/ttyAMA0/device")).unwrap();
    symlink("../../devices/plat/ttyAMA0", site.path("sys/class/tty/ttyAMA0")).unwrap();
    let root = site.path("").display().to_string();
    let devices = |args: &[&str]| run(&[&["devices", "--root", &root], args].concat());

    let done = devices(&["claim", "gps0", "/dev/ttyAMA0"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stdout(&done).contains("port = \"/dev/waypost/gps0\"") && stdout(&done).contains("bound to this port"));
    let rule = std::fs::read_to_string(site.path("etc/udev/rules.d/91-waypost-gps0.rules")).unwrap();
    assert!(rule.contains("KERNEL==\"ttyAMA0\"") && rule.contains("GROUP:=\"waypost\""), "{rule}");
    assert!(
        stdout(&devices(&[]))
            .contains("/dev/waypost/gps0\n  claimed   the port ttyAMA0 of this machine; not plugged in")
    );
    for (args, code, says) in [
        (["claim", "gps1", "ttyAMA0"], 1, "is gps0 already"),
        (["claim", "gps1", "ttyAMA7"], 66, "is not there"),
        (["claim", "gps/1", "ttyAMA0"], 64, "is no name"),
    ] {
        let done = devices(&args);
        assert!(done.status.code() == Some(code) && stderr(&done).contains(says), "{args:?}: {}", stderr(&done));
    }
    assert!(devices(&["release", "gps0"]).status.success());
    assert!(!site.path("etc/udev/rules.d/91-waypost-gps0.rules").exists());
    assert_eq!(devices(&["release", "gps0"]).status.code(), Some(66));
}

#[test]
fn where_the_screen_is_and_how_to_reach_it_from_elsewhere_is_said_at_the_start_and_whenever_somebody_asks() {
    let site = Site::new();
    site.configure("");
    let idle = stdout(&site.ask(&["screen"]));
    assert!(idle.contains("The node does not run"), "{idle}");
    let node = site.start();
    let port = node.address().port();
    let (url, line) = (format!("http://127.0.0.1:{port}/"), format!("ssh -L {port}:127.0.0.1:{port} "));
    let text = stdout(&site.ask(&["screen"]));
    assert!(text.starts_with(&format!("{url} on this machine alone")) && text.contains(&line), "{text}");
    let file = site.path("conf.d/20-screen.toml").display().to_string();
    assert!(text.contains(&file) && text.contains("Whoever is in that network sees the yard"), "{text}");
    assert!(
        stdout(&site.ask(&["status"])).contains(&format!("screen     {url} on this machine alone; from yours: {line}"))
    );
    let (_, found) = doctor(&site);
    assert!(of(&found, "screen", "ok")[0].contains(&line), "{found:#}");
    wait_for("the line in the log", || site.log().contains(&line).then_some(()));
    assert!(node.stop().success());

    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("127.0.0.1:0", "0.0.0.0:0")).unwrap();
    let node = site.start();
    let text = stdout(&site.ask(&["screen"]));
    // A machine without any network has no address to tell.
    let port = node.address().port();
    let has_code = text.contains(&format!(":{port}/\n\n")) && (text.contains("####") || text.contains("██"));
    assert!(text.contains("no address in any") || has_code, "{text}");
    assert!(!text.contains("ssh -L"), "{text}");
    assert!(node.stop().success());
}
