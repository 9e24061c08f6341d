//! What a fault is done to, a node with a scanner that wants replies, a real broker and a centre; and the judge afterwards.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Broker, Node, Site, balanced, free_port, stderr, try_get, wait_for, wait_within};
use crate::feeder::Feeder;
use crate::upstream::Centre;

/// Back in service within this, on a machine that is busy with other tests. The promise for a full disk is 10 s.
pub const BACK: Duration = Duration::from_secs(30);

/// A node's surroundings.
pub struct Yard {
    pub site: Site,
    pub broker: Option<Broker>,
    pub centre: Option<Centre>,
    pub dock: u16,
    pub feeder: Option<Feeder>,
    /// Ids of answers that came in the very instant of a power cut: the file system was gone, the process not yet.
    pub unsure: HashSet<String>,
}

impl Yard {
    /// With a broker and a centre that records.
    pub fn new() -> Self {
        let broker = Broker::start().expect("mosquitto is here, or the case would be skipped");
        let centre = Centre::at(broker.port, "centre");
        let yard = Self::plain(&Site::uplink(broker.port, "hold"));
        Self { broker: Some(broker), centre: Some(centre), ..yard }
    }

    /// Without an uplink: events stay local.
    pub fn plain(more: &str) -> Self {
        let (site, dock) = (Site::new(), free_port());
        site.configure(&(more.to_owned() + &Site::dock(dock)));
        Self { site, broker: None, centre: None, dock, feeder: None, unsure: HashSet::new() }
    }

    pub fn store(&self) -> PathBuf {
        self.site.path("store")
    }

    /// A scanner begins to send.
    pub fn feed(&mut self, per_s: f64) {
        self.feeder = Some(Feeder::start(self.dock, u64::MAX / 2, per_s));
    }

    pub fn oks(&self) -> u64 {
        self.feeder.as_ref().map_or(0, Feeder::oks)
    }

    /// Waits for further answers `ok`.
    pub fn more_oks(&self, more: u64, within: Duration) {
        let enough = self.oks() + more;
        wait_within(within, "scans answered ok", || (self.oks() >= enough).then_some(()));
    }

    /// Waits until the node has nothing unsent.
    pub fn drained(&self, node: &Node) {
        wait_within(Duration::from_secs(120), "an empty backlog", || {
            let ledger = try_get(node.address(), "/api/v1/ledger", Duration::from_secs(5))?;
            let ledger: Value = serde_json::from_str(&ledger).ok()?;
            (ledger["events"]["unsent"] == 0).then_some(())
        });
    }

    /// The judge: the node serves again, its books balance, and each scan that was answered `ok` is there once and, with
    /// an uplink, at the centre under the same id. Answers how many those are. The node ends well.
    pub fn judge(&mut self, node: Node) -> usize {
        if let Some(feeder) = &self.feeder {
            self.more_oks(5, BACK);
            feeder.enough();
            wait_for("every scan answered", || feeder.is_done().then_some(()));
        }
        if self.centre.is_some() {
            self.drained(&node);
        }
        balanced(&node);
        assert!(node.stop().success(), "the node ends well");
        self.books()
    }

    /// As [`Yard::judge`], of a node that has ended.
    pub fn books(&mut self) -> usize {
        self.checked();
        let mut told: Vec<(String, String)> = self.feeder.iter().flat_map(|feeder| feeder.told().ok.clone()).collect();
        told.retain(|(_, id)| !self.unsure.contains(id));
        let kept = self.kept();
        compare(&told, &kept);
        if let Some(centre) = &self.centre {
            let all: HashSet<&String> = kept.keys().collect();
            wait_for("every event at the centre", || {
                let heard = centre.heard();
                all.iter().all(|id| heard.events.contains_key(*id)).then_some(())
            });
            let heard = centre.heard();
            assert_eq!(heard.changed, Vec::<String>::new(), "no id changed on the way");
            for (code, id) in &told {
                assert_eq!(
                    heard.events.get(id).map(|event| &event["code"]),
                    Some(&code.as_str().into()),
                    "upstream: {id}"
                );
            }
        }
        told.len()
    }

    /// `waypost outbox check`: a recount from the rows.
    fn checked(&self) {
        let out = self.site.ask(&["outbox", "check"]);
        let unknown = stderr(&out).contains("unrecognized subcommand");
        assert!(unknown || out.status.success(), "outbox check: {}{}", crate::bench::stdout(&out), stderr(&out));
    }

    /// The events of a store that nobody runs, and of its archive, by id: the code, and how often. An event may stand in
    /// both, when a cut came between archive and removal.
    pub fn kept(&self) -> HashMap<String, Vec<String>> {
        let out = self.site.ask(&["outbox", "export"]);
        assert!(out.status.success(), "{}", stderr(&out));
        let mut packed = String::new();
        for file in archives(&self.store()) {
            flate2::read::MultiGzDecoder::new(std::fs::File::open(&file).unwrap()).read_to_string(&mut packed).unwrap();
        }
        let mut places = HashMap::new();
        let mut kept = by_id(&String::from_utf8(out.stdout).unwrap(), &mut places);
        by_id(&packed, &mut places).into_iter().for_each(|(id, codes)| {
            kept.entry(id).or_insert(codes);
        });
        kept
    }
}

/// The codes of events by id; a place in the log belongs to one event.
fn by_id(lines: &str, places: &mut HashMap<(String, i64), String>) -> HashMap<String, Vec<String>> {
    let mut found = HashMap::<String, Vec<String>>::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = event["id"].as_str().unwrap().to_owned();
        let place = (event["epoch"].to_string(), event["seq"].as_i64().unwrap());
        let known = places.entry(place.clone()).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "{place:?} is given to one event");
        let code = if event["kind"] == "scan" { event["code"].as_str() } else { None };
        found.entry(id).or_default().push(code.unwrap_or_default().to_owned());
    }
    found
}

/// Each scan that was answered is kept once, under the id of its answer, and no id is kept twice.
pub fn compare(told: &[(String, String)], kept: &HashMap<String, Vec<String>>) {
    let found = |(code, id): &&(String, String)| kept.get(id) != Some(&vec![code.clone()]);
    let wrong: Vec<String> =
        told.iter().filter(found).map(|(code, id)| format!("{code} {id}: {:?}", kept.get(id))).collect();
    let first = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty(), "{} of {} acknowledged scans are not kept once: {first:?}", wrong.len(), told.len());
    let twice: Vec<&String> = kept.iter().filter(|(_, codes)| codes.len() != 1).map(|(id, _)| id).collect();
    assert!(twice.is_empty(), "kept more than once: {twice:?}");
}

/// The archive files with events beside a database: those of the logs have a word more in their names.
pub fn archives(store: &Path) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::read_dir(store.join("archive")) else { return Vec::new() };
    let is_of_events = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(".ndjson.gz").is_some_and(|name| name.split('-').count() == 3)
    };
    folder.map(|entry| entry.unwrap().path()).filter(is_of_events).collect()
}

/// A scanner that sends one code at a time.
pub struct Hand(BufReader<TcpStream>);

impl Hand {
    pub fn at(port: u16) -> Self {
        wait_for("the dock", || Self::reach(port))
    }

    /// None while nobody listens.
    pub fn reach(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Some(Self(BufReader::new(stream)))
    }

    /// Sends a code; the answer, and how long it took. None when the node closed the connection.
    pub fn scan(&mut self, code: &str) -> Option<(String, Duration)> {
        let begun = Instant::now();
        self.send(code.as_bytes()).map(|answer| (answer, begun.elapsed()))
    }

    /// As [`Hand::scan`], any bytes.
    pub fn send(&mut self, code: &[u8]) -> Option<String> {
        self.0.get_mut().write_all(&[code, b"\r\n"].concat()).ok()?;
        let mut line = String::new();
        let n = self.0.read_line(&mut line).ok()?;
        (n > 0).then(|| line.trim_end().to_owned())
    }
}

/// Sends a code until it is answered `ok`; the id.
pub fn insist(dock: u16, code: &str, within: Duration) -> String {
    wait_within(within, "ok for a scan", || {
        let (answer, _) = Hand::at(dock).scan(code)?;
        answer.strip_prefix("ok ").map(str::to_owned)
    })
}
