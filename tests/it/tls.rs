//! A node that reaches its broker over TLS: let in by its certificate, and told in words what is wrong when it is not.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::bench::{Broker, Node, Site, free_port, metric, now_s, stderr, stdout, wait_for, wait_within};
use crate::ca::{Ca, DAY_S};
use crate::ear::Ear;

/// Valid from yesterday, for so many days more.
fn days(days: i64) -> (i64, i64) {
    (now_s() - DAY_S, now_s() + days * DAY_S + 3600)
}

/// The `[uplink]` of a node that shows the papers in its folder.
fn uplink(site: &Site, port: u16) -> String {
    let file = |name: &str| site.path(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("node.pem"), file("node.key"));
    format!(
        "[uplink]\nurl = \"mqtts://localhost:{port}\"\nca_file = \"{ca}\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n\
         backoff_max_s = 5\nbackoff_spread_s = 0\nhealth_s = 1\n\n"
    )
}

/// mosquitto that takes nobody without a certificate of this authority, with further lines of its configuration.
fn mosquitto(ca: &Ca, site: &Site, more: &str) -> Option<Broker> {
    ca.write(&site.path("broker-ca.pem"));
    ca.sign(&["localhost"], days(200)).write(&site.path("broker.pem"), &site.path("broker.key"));
    let file = |name: &str| site.path(name).display().to_string();
    let more = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuse_identity_as_username true\n{more}",
        file("broker-ca.pem"),
        file("broker.pem"),
        file("broker.key")
    );
    Broker::start_saying(&more)
}

fn scan(port: u16, code: &str) {
    let mut scanner = wait_for("the scanner's port", || TcpStream::connect(("127.0.0.1", port)).ok());
    scanner.write_all(format!("{code}\r").as_bytes()).unwrap();
    scanner.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    BufReader::new(scanner).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("ok "), "{answer}");
}

fn sent_all(node: &Node) {
    wait_within(Duration::from_secs(60), "everything sent", || (node.ledger()["events"]["unsent"] == 0).then_some(()));
}

fn ends(node: &Node) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 are whole and far below 2^52")]
    let end = metric(node, "waypost_uplink_certificate_not_after_timestamp_seconds", &[]) as i64;
    end
}

#[test]
fn a_node_is_let_in_by_its_certificate_and_takes_up_a_renewed_one() {
    let (ca, site) = (Ca::new("Yard CA"), Site::new());
    let Some(mut broker) = mosquitto(&ca, &site, "") else { return };
    ca.write(&site.path("ca.pem"));
    let (short, long) = (days(20), days(100));
    ca.sign(&["wp-07"], short).write(&site.path("node.pem"), &site.path("node.key"));
    let port = free_port();
    site.configure(&(uplink(&site, broker.port) + &Site::dock(port)));
    let checked = site.ask(&["check"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(stderr(&checked).contains("the node's certificate ends in 20 days"), "{}", stderr(&checked));
    let node = site.start();
    scan(port, "PALLET-1");
    sent_all(&node);
    assert_eq!(ends(&node), short.1);
    let alarm = || node.json("/api/v1/health")["alarms"].to_string().contains("certificate_ends");
    wait_for("the alarm of its end", || alarm().then_some(()));
    let found = stdout(&site.ask(&["doctor"]));
    assert!(found.contains("connected to mqtts://localhost:"), "{found}");
    assert!(found.contains("the node's certificate ends in 20 days"), "{found}");
    ca.sign(&["wp-07"], long).write(&site.path("node.pem"), &site.path("node.key"));
    broker.down();
    scan(port, "PALLET-2");
    broker.up();
    sent_all(&node);
    wait_for("the new end", || (ends(&node) == long.1 && !alarm()).then_some(()));
    assert!(node.stop().success());
    assert!(!site.log().contains("BEGIN "), "no key in the log");
}

/// The node looks at its files once a minute; longer on a loaded machine.
const LOOKED: Duration = Duration::from_secs(180);

#[test]
fn a_certificate_is_renewed_while_connected_and_the_broker_sees_the_new_one_and_nobody_an_offline() {
    let (ca, site) = (Ca::new("Yard CA"), Site::new());
    // In the clear, for whoever watches; and what the broker says of its clients.
    let (watch, said) = (free_port(), site.path("broker.log"));
    let more = format!("log_dest file {}\nlog_type notice\nlistener {watch} 127.0.0.1\n", said.display());
    let Some(broker) = mosquitto(&ca, &site, &more) else { return };
    ca.write(&site.path("ca.pem"));
    ca.sign(&["wp-07"], days(5)).write(&site.path("node.pem"), &site.path("node.key"));
    let port = free_port();
    site.configure(&(uplink(&site, broker.port) + &Site::dock(port)));
    let ear = Ear::at(watch, "watcher", "ear", "waypost/v1/#");
    let node = site.start();
    scan(port, "PALLET-1");
    sent_all(&node);
    let came_as = |name: &str| {
        let said = std::fs::read_to_string(&said).unwrap_or_default();
        said.lines()
            .filter(|line| line.contains("New client connected") && line.contains(&format!("u'{name}'")))
            .count()
    };
    let alarm = |name: &str| {
        let health = node.json("/api/v1/health");
        health["alarms"].as_array().unwrap().iter().any(|alarm| alarm["name"] == name)
    };
    wait_for("the alarm of its end", || alarm("certificate_ends").then_some(()));
    assert_eq!(came_as("wp-07"), 1);
    // Under another name, so that the broker's log tells them apart.
    let long = days(100);
    ca.sign(&["wp-07-renewed"], long).write(&site.path("new.pem"), &site.path("new.key"));
    std::fs::rename(site.path("new.key"), site.path("node.key")).unwrap();
    std::fs::rename(site.path("new.pem"), site.path("node.pem")).unwrap();
    wait_within(LOOKED, "a connection with the new one", || (came_as("wp-07-renewed") == 1).then_some(()));
    wait_for("the node to be well", || (ends(&node) == long.1 && !alarm("certificate_ends")).then_some(()));
    scan(port, "PALLET-2");
    sent_all(&node);
    let total = usize::try_from(node.ledger()["events"]["total"].as_u64().unwrap()).unwrap();
    let events = || ear.heard().iter().filter(|heard| heard.topic.contains("/event/")).count();
    wait_for("all of it", || (events() >= total).then_some(()));
    assert_eq!(events(), total, "nothing twice");
    assert!(ear.heard().iter().all(|heard| heard.payload["state"] != "offline"), "{:?}", ear.heard());
    assert_eq!((came_as("wp-07"), came_as("wp-07-renewed")), (1, 1));
    assert!(node.stop().success());
}

#[test]
fn a_broker_of_another_authority_gets_nothing_and_every_command_says_why() {
    let (ca, site) = (Ca::new("Yard CA"), Site::new());
    let Some(broker) = mosquitto(&ca, &site, "") else { return };
    Ca::new("Other CA").write(&site.path("ca.pem"));
    ca.sign(&["wp-07"], days(100)).write(&site.path("node.pem"), &site.path("node.key"));
    let port = free_port();
    site.configure(&(uplink(&site, broker.port) + &Site::dock(port)));
    let node = site.start();
    scan(port, "PALLET-1");
    let why = "the broker's certificate is signed by no CA in uplink.ca_file";
    wait_for("the reason", || {
        let health = node.json("/api/v1/health");
        let told = health["uplink"]["last_error"].as_str().is_some_and(|error| error.contains(why));
        (told && health["alarms"].to_string().contains("\"tls\"")).then_some(())
    });
    assert!(stdout(&site.ask(&["status"])).contains(why));
    let doctor = site.ask(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(stdout(&doctor).contains(why), "{}", stdout(&doctor));
    assert_eq!(node.ledger()["events"]["sent"], 0);
    assert!(metric(&node, "waypost_uplink_reconnects_total", &["reason=\"tls\""]) >= 1.0);
    assert!(node.stop().success());
    assert!(site.unsent() >= 1, "what was scanned waits");
}

#[test]
fn check_says_of_each_file_why_it_cannot_be_used() {
    let (ca, site) = (Ca::new("Yard CA"), Site::new());
    ca.write(&site.path("ca.pem"));
    ca.sign(&["wp-07"], days(100)).write(&site.path("node.pem"), &site.path("node.key"));
    site.configure(&uplink(&site, 8883));
    let checked = site.ask(&["check"]);
    assert!(checked.status.success() && stdout(&checked).contains("is valid\n"), "{checked:?}");
    std::fs::write(site.path("node.key"), ca.itself().key).unwrap();
    std::fs::write(site.path("ca.pem"), "hello\n").unwrap();
    let checked = site.ask(&["check"]);
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
    let said = stderr(&checked);
    assert!(said.contains("uplink.ca_file: ") && said.contains("ca.pem holds no certificate; "), "{said}");
    assert!(said.contains("uplink.key_file: ") && said.contains("is not the key of the certificate in"), "{said}");
    // A node starts all the same: what it reads it keeps, and the uplink says what it lacks.
    let node = site.start();
    wait_for("the alarm", || node.json("/api/v1/health")["alarms"].to_string().contains("\"tls\"").then_some(()));
    assert!(node.stop().success());
}
