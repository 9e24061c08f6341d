//! The centre of `examples/central`: it finds what is missing and has it sent again; what a stick carried is not counted twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::postgres::{Example, Postgres, command};
use super::rig::{Make, Mode, Server, uplink};
use crate::bench::{Pty, Site, epoch, free_port, stderr, stdout, wait_for, wait_within};
use crate::ear::Ear;
use crate::feeder::Feeder;
use crate::strict::Strict;

const BASE: &str = "waypost/v1/halden/wp-07/";

/// The consumer, as the user `centre` of the rig.
fn consumer(postgres: &Postgres, port: u16, site: &Site) -> Example {
    std::fs::write(site.path("centre"), "centre\n").unwrap();
    let (port, secret) = (port.to_string(), site.path("centre").display().to_string());
    let dsn = postgres.dsn();
    let args = [
        "--port",
        &port,
        "--user",
        "centre",
        "--password-file",
        &secret,
        "--dsn",
        &dsn,
        "--name",
        "centre-1",
        "--check",
        "1",
    ];
    Example::start("consumer.py", &args, &site.path("consumer.log"))
}

/// Asserts that the table holds exactly what the store of the node does, byte for byte but for the order of fields.
fn holds_all(postgres: &Postgres, site: &Site) {
    let stored: BTreeMap<String, Value> =
        site.exported().into_iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event)).collect();
    let rows = postgres.rows("select body from event");
    assert_eq!(rows.len(), stored.len());
    for row in rows {
        let body: Value = serde_json::from_str(&row).unwrap();
        assert_eq!(body, stored[body["id"].as_str().unwrap()]);
    }
    assert_eq!(postgres.rows("select * from refused"), Vec::<String>::new());
}

#[test]
fn the_centre_finds_rows_that_were_deleted_and_has_them_sent_again() {
    let Some(postgres) = Postgres::start() else { return };
    let Some(server) = Server::start(Make::Mosquitto, Mode::Sample) else { return };
    let (site, port) = (Site::new(), free_port());
    let mut gps = Pty::new(&site.path("gps0"));
    let receiver = format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        site.path("gps0").display()
    );
    site.configure(&(uplink(server.port, "5", &site.path("")) + &receiver + &Site::dock(port)));
    let ear = Ear::at(server.port, "", "centre", "waypost/v1/#");
    let first = consumer(&postgres, server.port, &site);
    first.has_said("subscribed", 1);
    let node = site.start();
    let feeder = Feeder::start(port, 60, 200.0);
    (36_000..36_020).for_each(|second| gps.write(&epoch(second)));
    let is_all = |what: &str| {
        wait_within(Duration::from_secs(120), what, || {
            let events = node.ledger()["events"].clone();
            let stored = events["total"].as_u64().unwrap();
            (feeder.is_done() && stored >= 60 && events["unsent"] == 0 && postgres.count("event") == stored)
                .then_some(())
        });
    };
    is_all("every event in the table");
    // A consumer that dies takes nothing with it.
    first.kill();
    let _second = consumer(&postgres, server.port, &site);
    wait_for("the watermark", || (postgres.count("watermark") == 1 && postgres.count("gap") == 0).then_some(()));
    // In the middle, a run of all kinds, and the last ones of the log.
    let gone = postgres.rows(
        "with gone as (delete from event where seq % 13 = 5 or seq between 20 and 29 or seq > (select max(seq) - 3 from event) returning 1) select count(*) from gone",
    );
    let gaps = postgres.count("gap");
    assert!(gaps > 3, "{gaps}");
    is_all("the gap closed");
    wait_for("no gap left, and every answer", || {
        (postgres.count("gap") == 0 && postgres.count("ask where answer is null") == 0).then_some(())
    });
    let mut strict = Strict::read();
    for heard in ear.heard().iter().filter(|heard| heard.topic.contains("/cmd/") || heard.topic.contains("/ack/")) {
        strict.take(Strict::name_of(heard.topic.strip_prefix(BASE).unwrap()), &heard.payload);
    }
    assert!(node.stop().success());
    holds_all(&postgres, &site);
    let asked = postgres.rows("select count(*), coalesce(sum((answer->>'count')::int), 0) from ask");
    eprintln!("{} rows deleted, {gaps} gaps; asks and events sent again: {}", gone[0], asked[0]);
}

#[test]
fn what_a_stick_carried_comes_again_over_the_link_and_is_there_once() {
    let Some(postgres) = Postgres::start() else { return };
    let (site, port, away) = (Site::new(), free_port(), free_port());
    site.configure(&(uplink(away, "5", &site.path("")) + &Site::dock(port)));
    let node = site.start();
    let feeder = Feeder::start(port, 40, 200.0);
    wait_for("the scans", || feeder.is_done().then_some(()));
    let out = site.ask(&["outbox", "export", "--unsent"]);
    assert!(out.status.success(), "{}", stderr(&out));
    std::fs::write(site.path("stick.ndjson"), &out.stdout).unwrap();
    let import = || {
        let out = command("import_stick.py").args(["--dsn", &postgres.dsn()]).arg(site.path("stick.ndjson")).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
        stdout(&out).trim().to_owned()
    };
    let n = postgres_lines(&out.stdout);
    assert_eq!(import(), format!("{n} events read, {n} of them new"));
    assert_eq!(import(), format!("{n} events read, 0 of them new"));
    assert!(node.stop().success());
    // The link is back.
    let Some(server) = Server::start(Make::Mosquitto, Mode::Sample) else { return };
    site.configure(&(uplink(server.port, "5", &site.path("")) + &Site::dock(port)));
    let consumer = consumer(&postgres, server.port, &site);
    consumer.has_said("subscribed", 1);
    let ear = Ear::at(server.port, "", "centre", "waypost/v1/+/+/event/#");
    let node = site.start();
    wait_for("all of it sent again", || {
        (ear.heard().len() >= n && node.ledger()["events"]["unsent"] == 0).then_some(())
    });
    let all = || {
        let total = node.ledger()["events"]["total"].as_u64();
        (total == Some(postgres.count("event")) && postgres.count("watermark") == 1).then_some(())
    };
    wait_for("all of it in the table", all);
    assert!(node.stop().success());
    holds_all(&postgres, &site);
}

fn postgres_lines(ndjson: &[u8]) -> usize {
    ndjson.iter().filter(|byte| **byte == b'\n').count()
}
