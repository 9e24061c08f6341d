//! The sample of access rules, with a node, a centre and a screen behind it.

use std::process::Command;

use serde_json::json;

use super::rig::{Make, Mode, Server, uplink};
use crate::bench::{Pty, Site, program, stderr, wait_for};
use crate::ear::Ear;

#[test]
fn behind_the_sample_rules_a_node_works_and_nobody_speaks_in_the_name_of_another() {
    let Some(server) = Server::start(Make::Mosquitto, Mode::Sample) else { return };
    let centre = Ear::at(server.port, "", "centre", "waypost/v1/#");
    let screen = Ear::at(server.port, "", "screen", "waypost/v1/#");
    let site = Site::new();
    let mut door = Pty::new(&site.path("door"));
    let scanner =
        format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n", site.path("door").display());
    site.configure(&(uplink(server.port, "5", &site.path("")) + &scanner));
    let node = site.start();
    door.write(b"TRL-7\r\n");
    wait_for("all of it acknowledged", || {
        let events = &node.ledger()["events"];
        (events["total"].as_i64() >= Some(2) && events["unsent"] == 0).then_some(())
    });
    assert_eq!(node.json("/api/v1/health")["uplink"]["state"], "connected", "not held for want of rights");
    for said in ["event/scan", "event/place", "/status", "/health", "/watermark"] {
        wait_for(said, || centre.last(said));
    }
    wait_for("how the node is, on the screen", || screen.last("/status"));
    // A node whose card was copied, or one that was broken into: it has the password of wp-07.
    let thief = Ear::at(server.port, "", "wp-07", "waypost/v1/halden/wp-08/#");
    let lie = json!({ "lie": true });
    let say = |user: &str, topic: &str| {
        let mut publish = Command::new(program("mosquitto_pub").unwrap());
        publish.args(["-V", "5", "-q", "1", "-p", &server.port.to_string(), "-u", user, "-P", user]);
        let said =
            publish.args(["-t", &format!("waypost/v1/halden/{topic}"), "-m", &lie.to_string()]).output().unwrap();
        !stderr(&said).contains("Not authorized")
    };
    for topic in ["wp-08/event/scan", "wp-08/status", "wp-08/cmd/replay", "wp-07/cmd/replay"] {
        assert!(!say("wp-07", topic), "{topic}");
    }
    assert!(say("wp-07", "wp-07/ack/mark"));
    assert!(!say("centre", "wp-07/event/scan") && say("centre", "wp-08/cmd/ping"));
    assert!(!say("screen", "wp-07/cmd/ping") && !say("screen", "wp-07/state"));
    wait_for("the command of the centre", || centre.last("wp-08/cmd/ping"));
    let lies: Vec<String> =
        centre.heard().iter().filter(|heard| heard.payload == lie).map(|heard| heard.topic.clone()).collect();
    assert_eq!(lies, ["waypost/v1/halden/wp-07/ack/mark", "waypost/v1/halden/wp-08/cmd/ping"]);
    assert!(thief.heard().is_empty(), "{:?}", thief.heard());
    assert!(screen.last("/event/scan").is_none() && screen.last("/watermark").is_none(), "a screen reads no history");
}
