//! Who a node is: a copied card, a new name, its end, two of one name, and what Home Assistant is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{
    Broker, Node, PATIENCE, Site, balanced, binary, free_port, metric, stderr, stdout, wait_for, wait_within,
};
use crate::wire::Wire;

/// Another machine, as far as a node can tell.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(serial: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("sys/firmware/devicetree/base");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("serial-number"), format!("{serial}\0")).unwrap();
        Self(dir)
    }

    fn env(&self) -> (&str, &str) {
        ("WAYPOST_MACHINE", self.0.path().to_str().unwrap())
    }

    fn start(&self, site: &Site) -> Node {
        site.start_with(&[self.env()])
    }

    /// Runs `waypost identity …` on this machine.
    fn identity(&self, site: &Site, args: &[&str]) -> Output {
        let (name, root) = self.env();
        let mut command = binary();
        command.arg("--config").arg(site.config()).arg("identity").args(args).stdin(Stdio::null());
        command.env(name, root).output().unwrap()
    }
}

/// A copy of a card: configuration and store, in a folder of its own, with a port of its own.
fn copy(of: &Site, more: &str) -> Site {
    let copy = Site::new();
    copy.configure(more);
    for file in std::fs::read_dir(of.path("store")).unwrap().flatten().filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), copy.path("store").join(file.file_name())).unwrap();
    }
    copy
}

/// Scans a code and waits until it is stored.
fn scan(port: u16, code: &str) {
    let answer = wait_for("an answer to a scan", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{code}\r").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        Some(line)
    });
    assert!(answer.starts_with("ok "), "{answer}");
}

/// What is retained at a broker, by topic.
fn retained(port: u16) -> BTreeMap<String, Value> {
    let mut options = rumqttc::MqttOptions::new(format!("look-{}", free_port()), "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5)).set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = rumqttc::Client::new(options, 16);
    client.subscribe("#", rumqttc::QoS::AtLeastOnce).unwrap();
    let mut found = BTreeMap::new();
    for event in connection.iter() {
        match event.unwrap() {
            rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) => {
                client.publish("end", rumqttc::QoS::AtLeastOnce, false, "1").unwrap();
            }
            rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) if publish.topic == "end" => break,
            rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) if publish.retain => {
                found.insert(publish.topic, serde_json::from_slice(&publish.payload).unwrap());
            }
            _ => {}
        }
    }
    found
}

/// What is retained below a node's base.
fn left(port: u16, node: &str) -> Vec<String> {
    let base = format!("waypost/v1/halden/{node}/");
    retained(port).into_keys().filter(|topic| topic.starts_with(&base)).collect()
}

fn alarms(node: &Node) -> Vec<String> {
    let health = node.json("/api/v1/health");
    health["alarms"].as_array().unwrap().iter().map(|alarm| alarm["name"].as_str().unwrap().to_owned()).collect()
}

fn unsent(node: &Node) -> i64 {
    node.ledger()["events"]["unsent"].as_i64().unwrap()
}

fn sent(node: &Node) -> bool {
    unsent(node) == 0
}

/// Who did what to the node.
fn audit(site: &Site) -> Vec<(String, String)> {
    let conn = rusqlite::Connection::open(site.path("store/waypost.db")).unwrap();
    let mut rows = conn.prepare("select what, detail from audit order by entry").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_copied_card_takes_scans_in_and_sends_nothing_until_a_person_accepts_the_machine() {
    let Some(broker) = Broker::start() else { return };
    let (first, second) = (Machine::new("10000000a1b2c3d4"), Machine::new("20000000f0f0f0f0"));
    let (site, port) = (Site::new(), free_port());
    site.configure(&(Site::uplink(broker.port, "accept") + &Site::dock(port)));
    let node = first.start(&site);
    scan(port, "A-1");
    wait_for("the scan to be sent", || sent(&node).then_some(()));
    assert!(node.stop().success());

    let wire = Wire::to(broker.port);
    let other = free_port();
    let clone = copy(&site, &(Site::uplink(wire.port, "accept") + &Site::dock(other)));
    let node = second.start(&clone);
    scan(other, "B-1");
    let health = node.json("/api/v1/health");
    let alarm = health["alarms"].as_array().unwrap().iter().find(|alarm| alarm["name"] == "identity").unwrap().clone();
    assert_eq!(alarm["severity"], "fault");
    assert!(alarm["advice"].as_str().unwrap().contains("waypost identity accept"), "{alarm}");
    let state = |node: &Node| node.json("/api/v1/health")["uplink"]["state"] == "held";
    wait_for("an uplink that waits", || state(&node).then_some(()));
    assert_eq!(metric(&node, "waypost_uplink_connected", &[]), 0.0);
    let status = clone.ask(&["status"]);
    assert!(stdout(&status).contains("identity accept") && status.status.code() == Some(1));
    let shown = second.identity(&clone, &["show"]);
    assert!(stdout(&shown).contains("stranger") && stdout(&shown).contains("board"), "{}", stdout(&shown));
    assert!(!stdout(&shown).contains("f0f0f0f0") && !node.get("/metrics").1.contains("f0f0f0f0"));
    // Told first, done then.
    let told = second.identity(&clone, &["accept"]);
    assert!(told.status.code() == Some(1) && stdout(&told).contains("--yes"), "{}", stdout(&told));
    assert!(unsent(&node) > 0 && wire.passed().connections == 0, "nothing has gone, and nothing was tried");
    // A restart changes nothing.
    assert!(node.stop().success());
    let node = second.start(&clone);
    assert!(alarms(&node).contains(&"identity".to_owned()));

    let done = second.identity(&clone, &["accept", "--yes"]);
    assert!(done.status.success(), "{}", stderr(&done));
    wait_for("the scan to be sent", || sent(&node).then_some(()));
    wait_for("the end of the alarm", || (!alarms(&node).contains(&"identity".to_owned())).then_some(()));
    let again = second.identity(&clone, &["accept", "--yes"]);
    assert!(again.status.success() && stdout(&again).contains("nothing to accept"), "{}", stdout(&again));
    balanced(&node);
    assert!(node.stop().success());
    assert_eq!(audit(&clone).iter().filter(|(what, _)| what == "accept").count(), 1, "{:?}", audit(&clone));
    // Without a node that runs it is the same, and the first machine is the other one now.
    let node = first.start(&clone);
    assert!(alarms(&node).contains(&"identity".to_owned()));
    assert!(node.stop().success());
    let done = first.identity(&clone, &["accept", "--yes"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let node = first.start(&clone);
    assert!(!alarms(&node).contains(&"identity".to_owned()));
}

#[test]
fn a_new_name_sends_what_waits_under_the_old_one_and_leaves_nothing_of_it_at_the_broker() {
    let Some(mut broker) = Broker::start() else { return };
    let (machine, site, port) = (Machine::new("10000000a1b2c3d4"), Site::new(), free_port());
    // An address in use is an alarm that stands at the broker when the node goes.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("[http]\nlisten = [\"127.0.0.1:0\", \"{}\"]\n\n", taken.local_addr().unwrap());
    site.configure(&(Site::uplink(broker.port, "accept") + &Site::dock(port)));
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("[http]\nlisten = [\"127.0.0.1:0\"]\n\n", &listen)).unwrap();
    let node = machine.start(&site);
    scan(port, "A-1");
    wait_for("an alarm and the rest at the broker", || {
        let topics = left(broker.port, "wp-07");
        (topics.len() > 3 && topics.iter().any(|topic| topic.contains("/alarm/"))).then_some(())
    });
    broker.down();
    scan(port, "A-2");
    assert!(unsent(&node) > 0);

    let told = machine.identity(&site, &["rename", "wp-08"]);
    assert!(told.status.code() == Some(1) && !site.path("conf.d/zz-identity.toml").exists(), "{}", stdout(&told));
    let bad = machine.identity(&site, &["rename", "wp 08", "--yes"]);
    assert_eq!(bad.status.code(), Some(64), "{}", stderr(&bad));
    let done = machine.identity(&site, &["rename", "wp-08", "--yes"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(node.stop().success());
    broker.up();
    assert!(left(broker.port, "wp-07").len() > 3, "the broker has kept it");

    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let _listener = listener(broker.port, std::sync::Arc::clone(&heard));
    let node = machine.start(&site);
    scan(port, "A-3");
    wait_for("all to be sent", || sent(&node).then_some(()));
    wait_for("the old name to be gone", || left(broker.port, "wp-07").is_empty().then_some(()));
    let stays = left(broker.port, "wp-08");
    assert!(
        ["state", "status", "watermark"].iter().any(|name| stays.iter().any(|topic| topic.ends_with(name))),
        "{stays:?}"
    );
    let codes: Vec<(String, String)> = heard.lock().unwrap().clone();
    let place = |code: &str| codes.iter().position(|(_, of)| of == code).unwrap();
    assert!(codes[place("A-2")].0.contains("/wp-07/") && codes[place("A-3")].0.contains("/wp-08/"), "{codes:?}");
    assert!(place("A-2") < place("A-3"), "what waited went first: {codes:?}");
    let again = machine.identity(&site, &["rename", "wp-08", "--yes"]);
    assert!(again.status.success() && stdout(&again).contains("its name already"), "{}", stdout(&again));
    balanced(&node);
    assert!(node.stop().success());
    let renamed: Vec<String> =
        audit(&site).into_iter().filter(|(what, _)| what == "rename").map(|(_, how)| how).collect();
    assert!(renamed[0].contains("halden/wp-07 becomes halden/wp-08"), "{renamed:?}");
    // A name that a later file takes back is refused, and nothing is left of it.
    std::fs::write(site.path("conf.d/zzz.toml"), "[node]\nid = \"wp-09\"\n").unwrap();
    let refused = machine.identity(&site, &["rename", "wp-10", "--yes"]);
    assert!(refused.status.code() == Some(1) && stderr(&refused).contains("wp-09"), "{}", stderr(&refused));
    assert!(std::fs::read_to_string(site.path("conf.d/zz-identity.toml")).unwrap().contains("wp-08"));
}

/// Hears every scan: topic and code. Ends with the broker.
fn listener(port: u16, heard: std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>) -> rumqttc::Client {
    let mut options = rumqttc::MqttOptions::new("listener", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5)).set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = rumqttc::Client::new(options, 16);
    client.subscribe("waypost/v1/+/+/event/scan", rumqttc::QoS::AtLeastOnce).unwrap();
    let (tx, subscribed) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_))) => tx.send(()).unwrap(),
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish))) => {
                    let event: Value = serde_json::from_slice(&publish.payload).unwrap();
                    heard.lock().unwrap().push((publish.topic, event["code"].as_str().unwrap().to_owned()));
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    subscribed.recv_timeout(PATIENCE).unwrap();
    client
}

#[test]
fn a_node_that_is_ended_sends_what_waits_and_leaves_nothing_at_the_broker() {
    let Some(mut broker) = Broker::start() else { return };
    let (machine, site, port) = (Machine::new("10000000a1b2c3d4"), Site::new(), free_port());
    let uplink = Site::uplink(broker.port, "accept").replace("[uplink]", "[uplink]\nhomeassistant = true");
    site.configure(&(uplink + &Site::dock(port)));
    let node = machine.start(&site);
    scan(port, "A-1");
    wait_for("its state at the broker", || (!left(broker.port, "wp-07").is_empty()).then_some(()));
    wait_for("its entities at the broker", || {
        retained(broker.port).keys().any(|topic| topic.starts_with("homeassistant/")).then_some(())
    });
    let told = machine.identity(&site, &["retire"]);
    assert!(told.status.code() == Some(1) && stdout(&told).contains("--yes"), "{}", stdout(&told));
    // Asked while the broker is away it ends later: first what waits, over a restart.
    broker.down();
    scan(port, "A-2");
    let done = machine.identity(&site, &["retire", "--yes"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stdout(&machine.identity(&site, &["show"])).contains("retiring"));
    assert!(node.stop().success());
    broker.up();
    let node = machine.start(&site);
    wait_for("its end", || stdout(&machine.identity(&site, &["show"])).contains("retired").then_some(()));
    wait_for("word of its end", || alarms(&node).contains(&"retired".to_owned()).then_some(()));
    assert!(sent(&node), "what waited was sent before");
    assert_eq!(retained(broker.port), BTreeMap::new(), "nothing is left");
    // Intake goes on; nothing is sent, at the next start either, and nothing comes back to the broker.
    scan(port, "A-3");
    assert!(node.stop().success());
    let node = machine.start(&site);
    assert!(alarms(&node).contains(&"retired".to_owned()));
    wait_for("an uplink that waits", || (node.json("/api/v1/health")["uplink"]["state"] == "held").then_some(()));
    assert!(unsent(&node) > 0);
    assert_eq!(retained(broker.port), BTreeMap::new());
    let again = machine.identity(&site, &["retire", "--yes"]);
    assert!(again.status.success() && stdout(&again).contains("already"), "{}", stdout(&again));
    let back = machine.identity(&site, &["accept", "--yes"]);
    assert!(back.status.success(), "{}", stderr(&back));
    wait_for("all to be sent", || sent(&node).then_some(()));
    balanced(&node);
    assert!(node.stop().success());
    let did: Vec<String> = audit(&site).into_iter().map(|(what, _)| what).collect();
    assert_eq!(did, ["retire", "accept"]);
}

/// Two nodes that share a client id, each on a wire of its own.
fn rivals(broker: &Broker, protocol: &str) -> [(Site, Wire); 2] {
    ["wp-07", "wp-08"].map(|id| {
        let (site, wire) = (Site::new(), Wire::to(broker.port));
        let more = format!("protocol = \"{protocol}\"\nclient_id = \"same\"\n\n");
        site.configure(&(Site::uplink(wire.port, "accept").trim_end().to_owned() + "\n" + &more));
        let text = std::fs::read_to_string(site.config()).unwrap();
        std::fs::write(site.config(), text.replace("\"wp-07\"", &format!("\"{id}\""))).unwrap();
        (site, wire)
    })
}

/// Lets two nodes of one client id meet, until each has said so; then one goes and the other is well again.
fn fight(protocol: &str) {
    let Some(broker) = Broker::start() else { return };
    let sites = rivals(&broker, protocol);
    let begun = Instant::now();
    let mut nodes: Vec<Node> = sites.iter().map(|(site, _)| site.start()).collect();
    let there = |node: &Node| alarms(node).contains(&"takeover".to_owned());
    wait_within(Duration::from_secs(240), "both to say it", || nodes.iter().all(there).then_some(()));
    let told = begun.elapsed();
    let before: Vec<u64> = sites.iter().map(|(_, wire)| wire.passed().connections).collect();
    let watched = Instant::now();
    wait_for("a while of it", || (watched.elapsed() > Duration::from_secs(20)).then_some(()));
    assert!(nodes.iter().all(there), "the alarm does not come and go with the connection");
    let of_20_s: Vec<u64> =
        sites.iter().zip(&before).map(|((_, wire), before)| wire.passed().connections - before).collect();
    // backoff_max_s is 5: none comes back earlier.
    assert!(of_20_s.iter().all(|n| *n <= 6), "{of_20_s:?} connections in 20 s");
    let health = nodes[0].json("/api/v1/health");
    let alarm = health["alarms"].as_array().unwrap().iter().find(|alarm| alarm["name"] == "takeover").unwrap();
    assert!(alarm["advice"].as_str().unwrap().contains("client_id"), "{alarm}");
    assert!(nodes.pop().unwrap().stop().success());
    wait_within(Duration::from_secs(120), "the end of the alarm", || (!there(&nodes[0])).then_some(()));
    eprintln!("takeover {protocol}: both say so after {told:.1?}, connections {before:?}; {of_20_s:?} more in 20 s");
}

#[test]
fn two_nodes_of_one_client_id_both_say_so_and_do_not_chase_each_other() {
    fight("5");
}

#[test]
fn two_nodes_of_one_client_id_find_it_out_without_a_word_of_the_broker() {
    fight("3.1.1");
}

#[test]
fn a_broker_that_says_who_took_the_connection_is_told_of_as_a_fault_and_not_stormed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let theirs = std::sync::Arc::clone(&connections);
    // Takes every connection, and says a moment later that another client has taken it over.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            theirs.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
            let mut connect = [0; 512];
            let said = stream.read(&mut connect).and_then(|_| stream.write_all(&[0x20, 3, 0, 0, 0]));
            let said = said.and_then(|()| stream.read(&mut connect));
            if said.and_then(|_| stream.write_all(&[0xe0, 2, 0x8e, 0])).is_ok() {
                // Until the node has read it.
                drop(stream.read_to_end(&mut Vec::new()));
            }
        }
    });
    let site = Site::new();
    site.configure(&Site::uplink(port, "accept"));
    let node = site.start();
    let alarm = wait_for("the alarm", || {
        let health = node.json("/api/v1/health");
        health["alarms"].as_array().unwrap().iter().find(|alarm| alarm["name"] == "takeover").cloned()
    });
    assert_eq!(alarm["severity"], "fault", "{alarm}");
    let (before, watched) = (connections.load(std::sync::atomic::Ordering::Acquire), Instant::now());
    wait_for("a while of it", || (watched.elapsed() > Duration::from_secs(15)).then_some(()));
    let more = connections.load(std::sync::atomic::Ordering::Acquire) - before;
    assert!(more <= 4, "{more} connections in 15 s");
    assert!(metric(&node, "waypost_uplink_reconnects_total", &[]) >= 1.0);
}

#[test]
fn home_assistant_finds_the_node_and_its_assets_and_forgets_them_when_it_is_told_so() {
    let Some(broker) = Broker::start() else { return };
    let (machine, site) = (Machine::new("10000000a1b2c3d4"), Site::new());
    let configure = |on: bool, assets: &[&str]| {
        let mut text =
            Site::uplink(broker.port, "accept").replace("[uplink]", &format!("[uplink]\nhomeassistant = {on}"));
        for (n, asset) in assets.iter().enumerate() {
            let port = format!("udp-listen://127.0.0.1:{}", free_port());
            text.push_str(&format!("[[gps]]\nid = \"gps{n}\"\nport = \"{port}\"\nasset = \"{asset}\"\n\n"));
        }
        site.configure(&text);
    };
    let entities = || -> BTreeMap<String, Value> {
        retained(broker.port).into_iter().filter(|(topic, _)| topic.starts_with("homeassistant/")).collect()
    };
    let trackers = || entities().into_keys().filter(|topic| topic.contains("/device_tracker/")).count();
    let is_clean = |path: &Path| std::fs::read_to_string(path).unwrap().contains("homeassistant");

    configure(true, &["TRK-07", "yard truck"]);
    assert!(is_clean(&site.config()));
    let node = machine.start(&site);
    wait_for("both assets", || (trackers() == 2).then_some(()));
    let all = wait_for("the figures", || Some(entities()).filter(|all| all.len() == 6));
    for (topic, config) in &all {
        assert_eq!(config["availability"][0]["topic"], "waypost/v1/halden/wp-07/status", "{topic}");
        assert_eq!(config["device"]["identifiers"][0], "waypost_halden_wp-07");
    }
    assert!(node.stop().success());
    configure(true, &["TRK-07"]);
    let node = machine.start(&site);
    wait_for("the asset that is no more to be forgotten", || (trackers() == 1).then_some(()));
    assert!(node.stop().success());
    configure(false, &["TRK-07"]);
    let node = machine.start(&site);
    wait_for("all to be forgotten", || entities().is_empty().then_some(()));
    assert!(!left(broker.port, "wp-07").is_empty(), "the node's own messages stay");
    assert!(node.stop().success());
}
