//! Brokers of a fleet, each with the same node in front of it: what arrives, and what each of them hides.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::full;
use super::rig::{Line, Make, Mode, Server};
use crate::bench::{Node, Site, free_port, repository, stdout, wait_within};
use crate::ear::{Ear, Heard};
use crate::feeder::Feeder;

const BASE: &str = "waypost/v1/halden/wp-07";
/// What is asked of each, in the order of the table.
const ASKED: [&str; 6] =
    ["restart under load", "order in a lane", "retained", "will", "a topic is refused", "too large"];
/// A broker that may lose what it has acknowledged, or put it behind, does not do so each time.
const LOSES: &str = "loses what it acknowledged; `cmd/replay` mends";
const REORDERS: &str = "not what it sends again";
const SOMETIMES: &str = "not each time";
/// A broker has settled by then.
const SETTLED: Duration = Duration::from_secs(180);

/// A row: its name, the program, the protocol, and how the node reaches it.
const ROWS: [(&str, Make, &str, Line); 8] = [
    ("mosquitto 2.0, MQTT 5", Make::Mosquitto, "5", Line::Clear),
    ("mosquitto 2.0, MQTT 5, TLS", Make::Mosquitto, "5", Line::Tls),
    ("mosquitto 2.0, MQTT 5, client certificate", Make::Mosquitto, "5", Line::Certificate),
    ("mosquitto 2.0, MQTT 3.1.1", Make::Mosquitto, "3.1.1", Line::Clear),
    ("mosquitto 2.0, MQTT 3.1.1, client certificate", Make::Mosquitto, "3.1.1", Line::Certificate),
    ("NATS 2.9, MQTT 3.1.1", Make::Nats, "3.1.1", Line::Clear),
    ("NATS 2.9, three servers, one killed", Make::NatsCluster, "3.1.1", Line::Clear),
    ("RabbitMQ 3.10, MQTT 3.1.1", Make::Rabbit, "3.1.1", Line::Clear),
];

/// A broker, a centre that subscribes with a session, and a node that scans.
struct Yard {
    node: Option<Node>,
    server: Server,
    centre: Ear,
    site: Site,
    scanner: u16,
}

impl Yard {
    fn open(make: Make, protocol: &str, line: Line) -> Option<Self> {
        let server = Server::start_over(make, Mode::Open, line)?;
        let centre = Ear::at(server.port, "centre", "centre", &format!("{BASE}/event/#"));
        let (site, scanner) = (Site::new(), free_port());
        site.configure(&(server.uplink(protocol, &site.path("")) + &Site::dock(scanner)));
        let node = Some(site.start());
        Some(Self { node, server, centre, site, scanner })
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("the node runs")
    }

    fn unsent(&self) -> i64 {
        self.node().ledger()["events"]["unsent"].as_i64().unwrap()
    }

    fn drained(&self) {
        wait_within(SETTLED, "an empty backlog", || (self.unsent() == 0).then_some(()));
    }

    fn scan(&self, codes: &[String]) {
        let mut stream =
            wait_within(SETTLED, "the scanner's port", || TcpStream::connect(("127.0.0.1", self.scanner)).ok());
        let before = self.node().ledger()["sources"]["dock"]["stored"].as_u64().unwrap();
        stream.write_all(codes.iter().map(|code| format!("{code}\r\n")).collect::<String>().as_bytes()).unwrap();
        wait_within(SETTLED, "the scans stored", || {
            (self.node().ledger()["sources"]["dock"]["stored"].as_u64()? >= before + codes.len() as u64).then_some(())
        });
    }

    fn has(&self, code: &str) -> bool {
        self.centre.heard().iter().any(|heard| heard.payload["code"] == code)
    }

    /// The broker goes and comes back otherwise; the node meets it as at a start.
    fn change(&mut self, mode: Mode) {
        if let Some(node) = self.node.take() {
            node.kill();
        }
        self.server.down();
        self.server.up(mode);
        self.node = Some(self.site.start());
    }

    /// Scans while the broker goes and comes back: everything there once; and whether it came in order.
    fn flow(&mut self, make: Make) -> [String; 2] {
        let feeder = Feeder::start(self.scanner, u64::MAX / 2, 60.0);
        wait_within(SETTLED, "scans", || (feeder.oks() >= 60).then_some(()));
        wait_within(SETTLED, "the first at the centre", || (!self.centre.heard().is_empty()).then_some(()));
        if make == Make::NatsCluster {
            self.server.kill_one();
        } else {
            self.server.down();
            self.server.up(Mode::Open);
        }
        let oks = feeder.oks();
        wait_within(SETTLED, "more scans", || (feeder.oks() >= oks + 60).then_some(()));
        feeder.enough();
        wait_within(SETTLED, "every scan answered", || feeder.is_done().then_some(()));
        self.drained();
        let total = self.node().ledger()["events"]["total"].as_u64().unwrap();
        let by_id = |heard: &[Heard]| -> BTreeMap<String, Value> {
            heard.iter().map(|one| (one.payload["id"].as_str().unwrap().to_owned(), one.payload.clone())).collect()
        };
        let begun = Instant::now();
        while begun.elapsed() < SETTLED && (by_id(&self.centre.heard()).len() as u64) < total {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let heard = self.centre.heard();
        let here = by_id(&heard);
        // What it has acknowledged and does not deliver: the node cannot know, the centre finds it by `prev` and watermark.
        let lost = total - here.len() as u64;
        let mut top = BTreeMap::new();
        let mut late = 0;
        for one in heard.iter() {
            let seq = one.payload["seq"].as_i64().unwrap();
            let first = here[one.payload["id"].as_str().unwrap()] == one.payload;
            assert!(first, "an event that came twice is the same");
            let kind = one.payload["kind"].as_str().unwrap();
            let highest = top.entry(kind.to_owned()).or_insert(0);
            late += u64::from(
                seq < *highest
                    && !heard
                        .iter()
                        .take_while(|before| !std::ptr::eq(*before, one))
                        .any(|before| before.payload["seq"] == seq),
            );
            *highest = (*highest).max(seq);
        }
        eprintln!(
            "{total} events, {} messages, {late} behind their successors, {lost} acknowledged and lost",
            heard.len()
        );
        let order = if late == 0 { "yes" } else { REORDERS };
        let kept = if lost == 0 { "nothing lost" } else { LOSES };
        [kept.to_owned(), order.to_owned()]
    }

    fn retained(&self) -> String {
        let (all, exact) = (format!("{BASE}/#"), format!("{BASE}/status"));
        let kept = |topic: &str| {
            let ear = Ear::at(self.server.port, "", "ear", topic);
            let begun = Instant::now();
            loop {
                match ear.last("/status") {
                    Some(heard) if heard.retained => return true,
                    _ if begun.elapsed() > Duration::from_secs(8) => return false,
                    _ => std::thread::park_timeout(Duration::from_millis(20)),
                }
            }
        };
        match (kept(&all), kept(&exact)) {
            (true, true) => "yes",
            (false, true) => "by the whole topic only",
            _ => "no",
        }
        .to_owned()
    }

    fn will(&mut self) -> String {
        let ear = Ear::at(self.server.port, "", "ear", &format!("{BASE}/status"));
        let state = |ear: &Ear| ear.last("/status").map(|heard| heard.payload["state"].clone());
        let begun = Instant::now();
        while state(&ear) != Some("online".into()) && begun.elapsed() < Duration::from_secs(20) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        self.node.take().unwrap().kill();
        let begun = Instant::now();
        while begun.elapsed() < SETTLED {
            if state(&ear) == Some("offline".into()) {
                eprintln!("the will came after {:.1?}", begun.elapsed());
                return "yes".to_owned();
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        "no".to_owned()
    }

    /// What the node knows of events that the broker does not take.
    fn told(&self, code: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < SETTLED {
            let events = self.node().ledger()["events"].clone();
            let snapshot = self.node().json("/api/v1/health");
            let alarms = snapshot["alarms"].as_array().unwrap();
            let named = |name: &str| alarms.iter().any(|alarm| alarm["name"] == name);
            if events["dead"].as_i64() > Some(0) {
                let letters = stdout(&self.site.ask(&["letters", "list", "--json"]));
                let reason = ["too_large", "topic_refused", "broker_refused", "poison"]
                    .into_iter()
                    .find(|r| letters.contains(r));
                return format!("letter `{}`", reason.unwrap_or("of another reason"));
            }
            if let Some(name) = ["not_authorized", "broker_refused"].into_iter().find(|name| named(name)) {
                return format!("held, alarm `{name}`");
            }
            if events["unsent"] == 0 {
                // What is acknowledged may still be on its way.
                let arrived = (0..100).any(|_| {
                    std::thread::park_timeout(Duration::from_millis(50));
                    self.has(code)
                });
                return if arrived { "taken" } else { "blind: acknowledged and thrown away" }.to_owned();
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let error = self.node().json("/api/v1/health")["uplink"]["last_error"].to_string();
        eprintln!("after {SETTLED:?} it waits: {error}");
        "held, without an alarm".to_owned()
    }

    fn row(mut self, make: Make) -> Vec<String> {
        let mut cells = self.flow(make).to_vec();
        cells.push(self.retained());
        cells.push(self.will());
        if make == Make::NatsCluster {
            return [cells, vec!["as alone".to_owned(); 2]].concat();
        }
        self.change(Mode::Refusing);
        self.scan(&["REFUSED-1".to_owned(), "REFUSED-2".to_owned()]);
        cells.push(self.told("REFUSED-1"));
        self.change(Mode::Small);
        self.drained();
        let large = "L".repeat(1000);
        self.scan(&[large.clone(), "AFTER-1".to_owned()]);
        let told = self.told(&large);
        if !told.starts_with("held") {
            wait_within(SETTLED, "the scan after the large one", || self.has("AFTER-1").then_some(()));
        }
        cells.push(told);
        cells
    }
}

/// Whether a row is as the page says; what a broker may do it need not do.
fn fits(said: &str, seen: &str) -> bool {
    let (said, seen): (Vec<_>, Vec<_>) = (said.split(" | ").collect(), seen.split(" | ").collect());
    let may = |said: &str, seen: &str| {
        said == seen
            || said == SOMETIMES
            || said == LOSES && seen == "nothing lost"
            || said == REORDERS && seen == "yes"
    };
    said.len() == seen.len() && said.iter().zip(seen).all(|(said, seen)| may(said, seen))
}

fn line(name: &str, cells: &[String]) -> String {
    format!("| {name} | {} |\n", cells.join(" | "))
}

/// `WAYPOST_BROKER=NATS` runs the rows whose names begin so; `UPDATE=1` writes what was seen into the page.
#[test]
fn each_broker_does_what_the_table_says_of_it() {
    if !full() {
        return;
    }
    let path = repository("docs/brokers.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    let chosen = std::env::var("WAYPOST_BROKER").unwrap_or_default();
    let mut table = format!("| broker | {} |\n|{}\n", ASKED.join(" | "), " --- |".repeat(ASKED.len() + 1));
    let mut wrong = Vec::new();
    for (name, make, protocol, line_to) in ROWS.into_iter().filter(|(name, ..)| name.starts_with(&chosen)) {
        eprintln!("broker: {name}");
        let begun = Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| Yard::open(make, protocol, line_to).map(|yard| yard.row(make))));
        let Ok(Some(cells)) = ran else {
            let word = if ran.is_ok() { "skipped: it is not installed here" } else { "RED: see above" };
            table += &line(name, &[word.to_owned()]);
            wrong.extend(ran.is_err().then(|| name.to_owned()));
            continue;
        };
        let row = line(name, &cells);
        eprintln!("{row}({:.0?})", begun.elapsed());
        if std::env::var_os("UPDATE").is_some() {
            let others: Vec<&str> = page.split_inclusive('\n').collect();
            page = others
                .iter()
                .map(|old| if old.starts_with(&format!("| {name} |")) { row.as_str() } else { old })
                .collect();
            std::fs::write(&path, &page).unwrap();
        }
        if !page.lines().any(|said| fits(said, row.trim_end())) {
            wrong.push(format!("docs/brokers.md says otherwise of {name}"));
        }
        table += &row;
    }
    eprintln!("\n{table}");
    assert_eq!(wrong, Vec::<String>::new());
}
