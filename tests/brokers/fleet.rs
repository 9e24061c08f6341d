//! 200 nodes, each a process of its own, one broker, and a centre with PostgreSQL: everything that any of them stored is there,
//! once.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::full;
use super::postgres::{Example, Postgres};
use crate::bench::{Broker, Node, Site, dice, free_port, try_get, wait_within};

/// Nodes.
const FLEET: usize = 200;
/// Scans of each.
const ROUNDS: u64 = 30;
/// At the same time, of anything that takes a processor.
const AT_ONCE: usize = 6;
const LONG: Duration = Duration::from_secs(600);

struct Member {
    site: Site,
    scanner: u16,
    node: Option<Node>,
    wire: Option<TcpStream>,
}

impl Member {
    fn new(at: usize, broker: u16) -> Self {
        let (site, scanner) = (Site::new(), free_port());
        let text = format!(
            "[node]\nid = \"wp-{at:03}\"\nsite = \"halden\"\n\n[store]\ndir = \"{}\"\n\n[http]\nlisten = [\"127.0.0.1:0\"]\n\n{}{}",
            site.path("store").display(),
            Site::uplink(broker, "accept"),
            Site::dock(scanner)
        );
        std::fs::write(site.config(), text).unwrap();
        Self { site, scanner, node: None, wire: None }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("the node runs")
    }

    /// A scan, if the node is there to take it: what counts is what it has stored.
    fn scan(&mut self, code: &str) {
        if self.wire.is_none() {
            self.wire = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.scanner))).ok();
        }
        let sent = self.wire.as_mut().map(|wire| wire.write_all(format!("{code}\r\n").as_bytes()));
        if !matches!(sent, Some(Ok(()))) {
            self.wire = None;
        }
    }

    fn is_drained(&self) -> bool {
        let body = try_get(self.node().address(), "/api/v1/ledger", Duration::from_secs(20));
        body.and_then(|body| serde_json::from_str::<Value>(&body).ok())
            .is_some_and(|ledger| ledger["events"]["unsent"] == 0)
    }

    fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node().pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

/// Does something with each, a few at a time.
fn each<T: Send>(members: &mut [Member], job: impl Fn(&mut Member) -> T + Sync) -> Vec<T> {
    let (all, out) = (Mutex::new(members.iter_mut()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(member) = { all.lock().unwrap().next() } {
                    let done = job(member);
                    out.lock().unwrap().push(done);
                }
            });
        }
    });
    out.into_inner().unwrap()
}

/// One broker, one table, and who fills it.
struct Centre {
    postgres: Postgres,
    broker: Broker,
    consumers: Vec<Option<Example>>,
    folder: tempfile::TempDir,
}

impl Centre {
    fn open(n: usize) -> Option<Self> {
        let (postgres, broker, folder) = (Postgres::start()?, Broker::start()?, tempfile::tempdir().unwrap());
        let mut centre = Self { postgres, broker, consumers: Vec::new(), folder };
        centre.consumers = (0..n).map(|at| Some(centre.consumer(at, n))).collect();
        centre.consumers.iter().flatten().for_each(|one| one.has_said("subscribed", n));
        Some(centre)
    }

    /// One that shares the events when there are several.
    fn consumer(&self, at: usize, of: usize) -> Example {
        let (port, name, dsn) = (self.broker.port.to_string(), format!("centre-{at}"), self.postgres.dsn());
        let mut args = vec!["--port", &port, "--dsn", &dsn, "--name", &name, "--check", "5"];
        if of > 1 {
            args.extend(["--share", "centre"]);
        }
        Example::start("consumer.py", &args, &self.folder.path().join("consumers.log"))
    }

    /// Scans at every node while broker, nodes and consumers go and come back; how many nodes were killed.
    fn work(&mut self, members: &mut [Member]) -> usize {
        let (mut roll, mut killed) = (dice(7), 0);
        for round in 0..ROUNDS {
            members.iter_mut().for_each(|member| member.scan(&format!("R{round:03}")));
            match round {
                6 | 18 => {
                    self.broker.down();
                    self.broker.up();
                }
                10 | 20 => {
                    for _ in 0..FLEET / 20 {
                        let at = usize::try_from(roll(FLEET as u64)).unwrap();
                        members[at].node.take().into_iter().for_each(Node::kill);
                    }
                    killed += members.iter().filter(|member| member.node.is_none()).count();
                    each(members, |member| {
                        if member.node.is_none() {
                            member.node = Some(member.site.start());
                        }
                    });
                }
                14 | 24 => {
                    self.consumers[0].take().unwrap().kill();
                    self.consumers[0] = Some(self.consumer(0, self.consumers.len()));
                }
                _ => std::thread::park_timeout(Duration::from_millis(500)),
            }
        }
        killed
    }

    /// Asserts that exactly these ids are in the table, each once.
    fn has(&self, stored: &[String]) {
        let all: BTreeSet<&String> = stored.iter().collect();
        assert_eq!(all.len(), stored.len(), "no two events of the fleet have one id");
        let begun = Instant::now();
        while self.postgres.count("event") < stored.len() as u64 && begun.elapsed() < LONG {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        let ids = self.postgres.rows("select id from event");
        let here: BTreeSet<&String> = ids.iter().collect();
        let missing = all.difference(&here).count();
        let strangers = here.difference(&all).count();
        assert_eq!((missing, strangers, ids.len()), (0, 0, here.len()), "missing, strangers, rows");
        assert_eq!(self.postgres.rows("select * from refused"), Vec::<String>::new());
        wait_within(LONG, "no gap", || (self.postgres.count("gap") == 0).then_some(()));
    }
}

/// What was seen with so many consumers, for the table.
fn variant(n: usize) -> Option<String> {
    let mut centre = Centre::open(n)?;
    let begun = Instant::now();
    let mut members: Vec<Member> = (0..FLEET).map(|at| Member::new(at, centre.broker.port)).collect();
    each(&mut members, |member| member.node = Some(member.site.start()));
    eprintln!("{FLEET} nodes run after {:.0?}", begun.elapsed());
    let killed = centre.work(&mut members);
    each(&mut members, |member| wait_within(LONG, "a node without backlog", || member.is_drained().then_some(())));
    let rss_kib = members.iter().map(Member::rss_kib).sum::<u64>() / FLEET as u64;
    each(&mut members, |member| assert!(member.node.take().unwrap().stop().success()));
    let stored = each(&mut members, |member| {
        let events = member.site.exported();
        events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    let stored = stored.concat();
    centre.has(&stored);
    let asked = centre.postgres.count("ask");
    Some(format!(
        "| {n} | {FLEET} | {} | 2 | {killed} | 2 | {asked} | 0 | 0 | {} | {:.0?} |\n",
        stored.len(),
        rss_kib / 1024,
        begun.elapsed()
    ))
}

#[test]
fn a_fleet_of_200_has_each_event_at_the_centre_once() {
    if !full() {
        return;
    }
    let mut table = String::from(
        "| consumers | nodes | events | broker restarts | nodes killed | consumers killed | replays asked | missing | twice | RSS a node, MiB | took |\n|",
    ) + &" --- |".repeat(11)
        + "\n";
    for n in [1, 2] {
        let Some(row) = variant(n) else { return };
        eprint!("{row}");
        table += &row;
    }
    eprintln!("\n{table}");
}
