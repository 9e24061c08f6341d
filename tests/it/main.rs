//! What waypost promises, tried from outside: the real binary, real ptys, sockets and files, a real broker.
//! One binary, because each one links SQLite again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod backup;
mod baud;
mod bench;
mod broker;
#[path = "../brokers/mod.rs"]
mod brokers;
mod bundle;
mod ca;
mod captures;
mod clock;
mod commands;
mod config;
mod consumer;
mod damage;
mod disk;
mod doctor;
mod draw;
mod ear;
#[path = "../faults/mod.rs"]
mod faults;
mod feeder;
mod gpsd;
mod guard;
mod https;
mod identity;
mod kill;
mod ledger;
mod letters;
mod meaning;
mod monitoring;
mod pages;
mod path;
mod ports;
mod register;
mod replay;
mod replug;
mod restarts;
mod restore;
mod scans;
mod schema;
mod sheet;
mod siege;
mod stream;
mod strict;
mod tls;
mod uart;
mod upstream;
mod wedge;
mod wire;
mod zones;
