//! waypost: GPS fixes and scans into a durable outbox, from there to a live yard screen and an MQTT platform.
//!
//! The list reads in the order in which things pass. The rule of arrows: a room names only rooms above it in
//! ARCHITECTURE.md's list; `tests/tidy.rs` keeps it.

pub mod domain;
pub mod clock;
pub mod config;
pub mod health;
pub mod decoder;
pub mod identity;
pub mod projection;
pub mod plan;
pub mod wire;
pub mod store;
pub mod source;
pub mod ingest;
pub mod retention;
pub mod screen;
pub mod uplink;
pub mod simulate;
pub mod devices;
pub mod app;
pub mod cli;
