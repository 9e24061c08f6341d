//! Ten thousand nodes that lose one broker at the same instant, and how they come back. The dial is the one that nodes go by;
//! only the time is not real.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::dial::{Dial, End};
use super::link::WILL_DELAY_S;
use super::world_tests::{RULES, policy};

const NODES: usize = 10_000;
const SECOND_US: i64 = 1_000_000;
/// Nodes connected anew within one second that a broker is asked to bear. %
const BEARABLE: f64 = 5.0;

/// How nodes came back after an outage.
struct Return {
    /// Most of them within one second. %
    peak: f64,
    /// Seconds after the end of the outage until half, 99 % and all were back.
    until_s: [i64; 3],
    /// Tries that found no broker.
    in_vain: usize,
}

/// A node that has been well for long.
fn dial(node: usize) -> Dial {
    let mut dial = Dial::new(policy(node as u64 * 0x9e37_79b9), &RULES);
    assert!(dial.take(0));
    dial.connected(0);
    dial
}

/// The broker goes at 0 and comes back after `away_s`; a try that finds none ends after `fails_us`.
fn come_back(away_s: i64, fails_us: i64) -> Return {
    let away_us = away_s * SECOND_US;
    let mut nodes: Vec<Dial> = (0..NODES).map(dial).collect();
    let mut due = BinaryHeap::new();
    for (n, dial) in nodes.iter_mut().enumerate() {
        dial.over(End::Lost, 0);
        due.push(Reverse((dial.due_us().unwrap(), n)));
    }
    let (mut back, mut in_vain) = (Vec::new(), 0);
    while let Some(Reverse((now_us, n))) = due.pop() {
        let dial = &mut nodes[n];
        assert!(dial.take(now_us));
        if now_us >= away_us {
            dial.connected(now_us);
            back.push(now_us - away_us);
            continue;
        }
        in_vain += 1;
        dial.over(End::Refused, now_us + fails_us);
        due.push(Reverse((dial.due_us().unwrap(), n)));
    }
    back.sort_unstable();
    let within_a_second = |from: usize| back[from..].partition_point(|at| *at < back[from] + SECOND_US);
    let most = (0..NODES).map(within_a_second).max().unwrap();
    let until_s = [NODES / 2, NODES * 99 / 100, NODES].map(|n| back[n - 1] / SECOND_US);
    #[expect(clippy::cast_precision_loss, reason = "a count of nodes")]
    let peak = most as f64 * 100.0 / NODES as f64;
    Return { peak, until_s, in_vain }
}

#[test]
fn ten_thousand_nodes_that_lose_one_broker_come_back_spread_over_time() {
    eprintln!("broker away  a try fails after  most in one second  half back  99 % back  all back  tries in vain");
    for away_s in [0, 10, 60, 600] {
        for fails_s in [0, 5] {
            let Return { peak, until_s: [half, most, all], in_vain } = come_back(away_s, fails_s * SECOND_US);
            eprintln!("{away_s:>10}s {fails_s:>16}s {peak:>18.2}% {half:>9}s {most:>9}s {all:>8}s {in_vain:>14}");
            // After ten seconds the first tries of those that waited meet the second ones of those that did not.
            let bar = if away_s == 10 { 2.0 * BEARABLE } else { BEARABLE };
            assert!(peak <= bar, "{peak} % within one second, {away_s} s away");
        }
    }
}

#[test]
fn a_node_that_is_away_for_ten_seconds_is_back_before_its_will_is_published() {
    let gap_us = 10 * SECOND_US;
    let mut latest = 0;
    for n in 0..NODES {
        let mut dial = dial(n);
        dial.over(End::Lost, 0);
        loop {
            let now_us = dial.due_us().unwrap();
            assert!(dial.take(now_us));
            if now_us >= gap_us {
                latest = latest.max(now_us);
                break;
            }
            dial.over(End::Refused, now_us);
        }
    }
    eprintln!("back after {:.1} s at the latest, the will waits {WILL_DELAY_S} s", latest as f64 / 1e6);
    assert!(latest <= i64::from(WILL_DELAY_S) * SECOND_US, "{latest} µs");
}
