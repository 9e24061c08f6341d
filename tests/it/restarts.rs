//! Runs that do not last: the node comes up with its screen and its store, names the reason, and takes the rest back part by part.

use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::bench::{Node, Site, free_port, wait_for};

/// A node with a scanner under a unit: the folder that outlives a run, and what systemd writes there.
struct Unit {
    site: Site,
    run: PathBuf,
    dock: u16,
}

impl Unit {
    fn new() -> Self {
        let (site, dock) = (Site::new(), free_port());
        site.configure(&Site::dock(dock));
        let run = site.path("run");
        std::fs::create_dir(&run).unwrap();
        Self { site, run, dock }
    }

    fn start(&self, more: &[(&str, &str)]) -> Node {
        let mut env = vec![("RUNTIME_DIRECTORY", self.run.to_str().unwrap())];
        env.extend(more);
        self.site.start_with(&env)
    }

    /// A run that is killed as soon as it is ready.
    fn fails(&self) {
        self.start(&[]).kill();
        // As `ExecStopPost` of the unit does.
        std::fs::write(self.run.join("ended"), "signal killed KILL\n").unwrap();
    }

    fn listens(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.dock)).is_ok()
    }
}

/// The alarms that stand, by name.
fn alarms(node: &Node) -> Vec<(String, String)> {
    let health = node.json("/api/v1/health");
    let text = |alarm: &Value, key: &str| alarm[key].as_str().unwrap().to_owned();
    let alarms = health["alarms"].as_array().unwrap();
    alarms.iter().map(|alarm| (text(alarm, "name"), text(alarm, "text"))).collect()
}

#[test]
pub fn a_node_whose_runs_do_not_last_comes_up_with_its_screen_alone_and_takes_the_rest_back_part_by_part() {
    let unit = Unit::new();
    (0..5).for_each(|_| unit.fails());
    let node = unit.start(&[]);
    let standing = alarms(&node);
    let told = |name: &str| standing.iter().find(|alarm| alarm.0 == name).map(|alarm| alarm.1.as_str());
    assert_eq!(told("restarted"), Some("The node was started again: the node was killed by SIGKILL."));
    let safe = "The node ended soon after its start 5 times, at last because the node was killed by SIGKILL. \
                The rest is started one a minute; next: source:dock, retention.";
    assert_eq!(told("safe_mode"), Some(safe));
    let (status, health) = node.get("/healthz");
    assert!(status == 200 && health.contains("degraded") && health.contains("5 times"), "{health}");
    assert!(!unit.listens(), "the scanner is off");
    node.kill();
    // The same with minutes that are short: all comes back by itself.
    let node = unit.start(&[("WAYPOST_LASTED_MS", "300")]);
    wait_for("the scanner", || unit.listens().then_some(()));
    wait_for("the end of the safe mode", || alarms(&node).iter().all(|(name, _)| name != "safe_mode").then_some(()));
    let kept = || std::fs::read_to_string(unit.run.join("starts.json")).unwrap();
    wait_for("a run that has lasted", || kept().contains("\"failed\":0").then_some(()));
    assert!(node.stop().success());
}

#[test]
pub fn a_stop_that_a_person_asked_for_ends_the_count_and_without_a_unit_there_is_none() {
    let unit = Unit::new();
    (0..5).for_each(|_| unit.fails());
    assert!(unit.start(&[]).stop().success());
    let node = unit.start(&[]);
    assert!(unit.listens());
    assert_eq!(alarms(&node), [], "nobody has to know of what is over");
    assert!(node.stop().success());
    assert!(!unit.run.join("starts.json").exists() && !unit.run.join("ended").exists());
    let site = Site::new();
    site.configure(&Site::dock(unit.dock));
    (0..6).for_each(|_| site.start().kill());
    let node = site.start();
    assert!(unit.listens());
    assert!(node.stop().success());
}
