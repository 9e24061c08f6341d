//! Real brokers, a real PostgreSQL, a fleet: what a platform is made of, with the node in front of it. `make test-brokers` runs
//! all of it and prints the tables; what needs only mosquitto runs with every `make test`.

mod acl;
mod central;
mod fleet;
mod matrix;
mod postgres;
mod rig;
mod translate;

/// Whether the long ones run; `make test-brokers` asks for them.
pub fn full() -> bool {
    let full = std::env::var("WAYPOST_BROKERS").is_ok_and(|size| size == "full");
    if !full {
        eprintln!("SKIPPED: `make test-brokers` runs this");
    }
    full
}
