//! What the store takes and costs: milliseconds from the wire to a browser beside a program in C; beside raw SQLite scans a
//! second that are durable when they are answered, and bytes to the device for each event; memory. Node and floor run in turns
//! in one session; medians are compared with the bars.
//!
//! The floor in SQL is the same SQLite in this process: it writes the very rows that the node wrote, in commits of the same
//! size. Words after `--` choose: `cargo bench --bench store -- memory`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement ends at the first thing that is not as it should be"
)]

#[path = "../../tests/it/bench.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod bench;
mod floor;
mod ingest;
mod latency;
mod line;
mod memory;
mod process;
mod scanners;
mod wear;

use std::path::Path;

/// Turns of node and floor that a median is taken of.
const TURNS: usize = 3;

/// Where stores lie while they are measured: on the disk, not in memory.
fn disk() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "MISSED" }
}

/// Whether measurements run a fraction of their length.
fn is_short() -> bool {
    std::env::var_os("WAYPOST_BENCH_SHORT").is_some()
}

fn main() {
    // `cargo test --benches` runs this too; a measurement is asked for with `cargo bench`.
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    if is_wanted("latency") {
        latency::compare();
    }
    for load in ingest::LOADS {
        if is_wanted(load.name) {
            ingest::compare(load);
        }
    }
    if is_wanted("bytes") {
        wear::compare();
    }
    if is_wanted("memory") {
        memory::compare();
    }
}
