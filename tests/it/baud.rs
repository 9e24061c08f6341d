//! The search for the baud rate of a receiver, against receivers that are garbled as real ones are.

use std::time::{Duration, Instant};

use crate::bench::{Site, balanced, wait_for, wait_within};
use crate::uart::Receiver;

fn gps(site: &Site, id: &str) -> String {
    let port = site.path(id).display().to_string();
    format!("[[gps]]\nid = \"{id}\"\nport = \"{port}\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n")
}

/// Requirement of a found rate: the common ones soon, all of them in the end.
fn at_most(baud: u32) -> Duration {
    Duration::from_secs(if matches!(baud, 38_400 | 115_200) { 20 } else { 45 })
}

#[test]
pub fn each_rate_is_found_in_time_without_a_byte_to_the_receiver() {
    let rates = [4800, 9600, 38_400, 115_200, 921_600];
    let site = Site::new();
    let receivers: Vec<(String, u32, Receiver)> = rates
        .iter()
        .map(|baud| (format!("gps{baud}"), *baud, Receiver::new(&site.path(&format!("gps{baud}")), *baud)))
        .collect();
    site.configure(&receivers.iter().map(|(id, ..)| gps(&site, id)).collect::<String>());
    let began = Instant::now();
    let node = site.start();
    let mut waiting: Vec<&(String, u32, Receiver)> = receivers.iter().collect();
    while !waiting.is_empty() {
        let ledger = node.ledger();
        waiting.retain(|(id, baud, receiver)| {
            let took = began.elapsed();
            assert!(took < at_most(*baud), "{id} is not found after {took:?}; it is listened to at {}", receiver.set());
            let is_found = ledger["sources"][id]["stored"].as_i64().is_some_and(|stored| stored > 0);
            if is_found {
                assert_eq!(receiver.set(), *baud);
                eprintln!("{baud} baud: first fix after {:.1} s", took.as_secs_f64());
            }
            !is_found
        });
        std::thread::park_timeout(Duration::from_millis(50));
    }
    for (id, _, receiver) in &receivers {
        assert!(!receiver.was_written(), "{id} was written to");
    }
    balanced(&node);
    assert!(node.stop().success());
    assert!(receivers.iter().all(|(.., receiver)| !receiver.was_written()));
}

#[test]
fn a_burst_of_noise_does_not_lose_a_rate_and_a_receiver_that_changes_its_own_is_found_again() {
    let site = Site::new();
    let (noisy, changing) = (Receiver::new(&site.path("noisy"), 38_400), Receiver::new(&site.path("changing"), 9600));
    site.configure(&(gps(&site, "noisy") + &gps(&site, "changing")));
    let node = site.start();
    let stored = |id: &str| node.ledger()["sources"][id]["stored"].as_i64().unwrap_or(0);
    wait_for("both are found", || (stored("noisy") > 0 && stored("changing") > 0).then_some(()));

    noisy.noise_ms.store(6_000, std::sync::atomic::Ordering::Relaxed);
    changing.baud.store(38_400, std::sync::atomic::Ordering::Relaxed);
    let (changed, before) = (Instant::now(), stored("noisy"));
    let mut rates = std::collections::BTreeSet::new();
    wait_for("the noise is over", || {
        rates.insert(noisy.set());
        (stored("noisy") > before + 2).then_some(())
    });
    assert_eq!(rates.into_iter().collect::<Vec<_>>(), [38_400], "the rate that was right is kept");
    assert!(changed.elapsed() >= Duration::from_secs(5), "there was noise");

    let before = stored("changing");
    wait_within(Duration::from_secs(45), "the changed receiver", || (stored("changing") > before).then_some(()));
    assert_eq!(changing.set(), 38_400);
    eprintln!("9600 to 38400 baud in mid-run: found again after {:.1} s", changed.elapsed().as_secs_f64());
    assert!(!noisy.was_written() && !changing.was_written());
    balanced(&node);
    assert!(node.stop().success());
}
