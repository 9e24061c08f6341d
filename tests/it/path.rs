//! The way of one fix and one scan, from the wire to the screen and the broker.

use crate::bench::{Pty, Site, epoch};

fn gps(site: &Site) -> String {
    format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        site.path("gps0").display()
    )
}

fn door(site: &Site) -> String {
    format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n\n", site.path("door-3").display())
}

#[test]
fn a_fix_and_a_scan_reach_the_stream_from_their_ports() {
    let site = Site::new();
    let (mut gps0, mut door3) = (Pty::new(&site.path("gps0")), Pty::new(&site.path("door-3")));
    site.configure(&(gps(&site) + &door(&site)));
    let node = site.start();
    let mut stream = node.stream(None);
    gps0.write(&epoch(36_000));
    let fix = stream.event("the fix", |event| event["kind"] == "fix");
    assert_eq!((fix["source"].as_str(), fix["asset"].as_str()), (Some("gps0"), Some("TRK-07")));
    door3.write(b"TRL-7\r\n");
    let scan = stream.event("the scan", |event| event["kind"] == "scan");
    assert_eq!((scan["code"].as_str(), scan["place"].as_str()), (Some("TRL-7"), Some("door-3")));
    let place = stream.event("the place", |event| event["kind"] == "place");
    assert_eq!(place["because"], scan["id"]);
    assert_eq!(node.ledger()["balance"], 0);
    assert!(node.stop().success());
}
