//! What watches a fleet, in `examples/monitoring`: each alert fires for its failure, and whatever the rules and the dashboard
//! name is there.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Node, Site, binary, free_port, now_s, program, repository, stderr, stdout, wait_for};
use crate::ca::{Ca, DAY_S};

/// The buffer's forecast is none before a minute of events.
const LONG: Duration = Duration::from_secs(240);

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

/// Runs promtool, which ends well and says so; false where there is none.
fn promtool(args: &[&str], file: &Path) -> bool {
    let Some(promtool) = program("promtool") else {
        eprintln!("SKIPPED: promtool is not installed; `make test` installs it");
        return false;
    };
    let output = Command::new(promtool).args(args).arg(file).output().unwrap();
    assert!(output.status.success(), "{args:?} {}\n{}{}", file.display(), stdout(&output), stderr(&output));
    true
}

/// The expressions of the dashboard, as Grafana would ask them.
fn asked() -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(|it| it.replace("$__rate_interval", "5m")));
                fields.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::from_str(&read("examples/monitoring/waypost.dashboard.json")).unwrap(), &mut found);
    found
}

/// The words of a text that begin so.
fn words<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    words.filter(|word| word.starts_with(start)).collect()
}

/// What a label is compared with, taken apart at `|`.
fn compared<'a>(rules: &'a str, label: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for how in ["=", "=~", "!~"] {
        let place = format!("{label}{how}\"");
        found.extend(
            rules.split(&place).skip(1).flat_map(|behind| behind.split('"').next().unwrap_or_default().split('|')),
        );
    }
    found
}

#[test]
fn each_alert_fires_for_its_failure_and_a_node_that_is_well_raises_none() {
    if !promtool(&["check", "rules"], &repository("examples/monitoring/waypost.rules.yml")) {
        return;
    }
    promtool(&["test", "rules"], &repository("examples/monitoring/waypost.test.yml"));
    promtool(&["check", "config"], &repository("examples/monitoring/prometheus.yml"));
}

#[test]
fn each_alert_has_its_case() {
    let (rules, cases) = (read("examples/monitoring/waypost.rules.yml"), read("examples/monitoring/waypost.test.yml"));
    let page = read("docs/operating/monitoring.md");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 15, "{alerts:?}");
    for alert in alerts {
        // Silent before, then firing; silent for a node that is well.
        assert!(cases.matches(&format!("alertname: {alert}\n")).count() >= 2, "{alert} has no case of its own");
        assert!(cases.contains(&format!("alertname: {alert}}}")), "{alert} may fire for a node that is well");
        assert!(page.contains(&format!("| `{alert}` |")), "{alert} does not stand in docs/operating/monitoring.md");
    }
}

#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let asked = asked();
    assert!(asked.len() >= 20, "{} expressions", asked.len());
    let folder = tempfile::tempdir().unwrap();
    let rules: String = asked
        .iter()
        .enumerate()
        .map(|(n, expr)| format!("  - record: panel:{n}\n    expr: {}\n", Value::from(expr.as_str())))
        .collect();
    let file = folder.path().join("dashboard.rules.yml");
    std::fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{rules}")).unwrap();
    promtool(&["check", "rules"], &file);
}

#[test]
fn alarms_and_reasons_that_the_rules_name_exist() {
    let rules = read("examples/monitoring/waypost.rules.yml");
    for (label, page) in [("name", "docs/operating/alarms.md"), ("reason", "docs/reasons.md")] {
        let (page, named) = (read(page), compared(&rules, label));
        assert!(named.len() >= 6, "{named:?}");
        for name in named.iter().filter(|name| **name != "source_.+") {
            assert!(page.contains(&format!("| `{name}` |")), "the rules name the {label} {name}, which does not exist");
        }
    }
}

/// A receiver that goes round the yard until it is dropped.
struct Truck(Child);

impl Drop for Truck {
    fn drop(&mut self) {
        // It takes its link with it.
        // SAFETY: a signal to our own child, which is not yet waited for.
        unsafe { libc::kill(i32::try_from(self.0.id()).unwrap(), libc::SIGTERM) };
        self.0.wait().unwrap();
    }
}

/// A node to which everything has happened that there is a metric for: a receiver, a read that was refused, a part that was
/// restarted, certificates, a broker that is not there.
fn eventful(site: &Site) -> (Truck, Node) {
    let ca = Ca::new("Yard CA");
    ca.write(&site.path("ca.pem"));
    ca.sign(&["wp-07"], (now_s() - DAY_S, now_s() + 200 * DAY_S)).write(&site.path("node.pem"), &site.path("node.key"));
    let file = |name: &str| site.path(name).display().to_string();
    let (dock, nobody) = (free_port(), free_port());
    site.configure(&format!(
        "{}[uplink]\nurl = \"mqtts://localhost:{nobody}\"\nca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\n\n\
         [[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 115200\ntrack_interval_s = 0\n",
        Site::dock(dock),
        file("ca.pem"),
        file("node.pem"),
        file("node.key"),
        file("gps0")
    ));
    let mut truck = binary();
    truck.args(["simulate", "gps", "--rate", "5", "--loop", "--seed", "1", "--link"]).arg(site.path("gps0"));
    truck.arg("--route").arg(repository("hardware/demo/route.geojson"));
    let truck = Truck(truck.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let node = site.start_with(&[("WAYPOST_WEDGE", "gauge=panic")]);
    let mut door = wait_for("the scanner's port", || TcpStream::connect(("127.0.0.1", dock)).ok());
    door.write_all(b"NOREAD\r").unwrap();
    (truck, node)
}

#[test]
fn every_metric_that_rules_and_dashboard_name_is_on_the_page_of_a_node() {
    let watch = read("examples/monitoring/waypost.rules.yml") + &read("examples/monitoring/waypost.dashboard.json");
    let named: BTreeSet<&str> = ["waypost_", "process_"].into_iter().flat_map(|start| words(&watch, start)).collect();
    assert!(named.len() >= 25, "{named:?}");
    let site = Site::new();
    let (truck, node) = eventful(&site);
    let missing = || {
        let (_, page) = node.get("/metrics");
        let there: BTreeSet<&str> = page.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
        named.iter().filter(|name| !there.contains(**name)).map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + LONG;
    loop {
        let left = missing();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "a node never tells of {left:?}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    drop(truck);
}
