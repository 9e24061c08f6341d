//! What waypost promises, tried from outside: the real binary, real ptys, sockets and files, a real broker, a real browser.
//! One binary, because each one links SQLite again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod bench;
mod broker;
mod browser;
mod captures;
mod commands;
mod config;
mod feeder;
mod kill;
mod path;
mod ports;
mod scans;
mod stream;
mod upstream;
mod wedge;
