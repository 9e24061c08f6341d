//! waypost: GPS fixes and scans into a durable outbox, from there to a live yard screen and an MQTT platform.
//!
//! The modules stand in the order in which things pass. The rule of arrows: a room names only rooms above it in
//! ARCHITECTURE.md's list; `tests/tidy.rs` keeps it.

pub mod clock;
pub mod config;
pub mod domain;
pub mod health;
pub mod store;
pub mod uplink;
pub mod wire;
