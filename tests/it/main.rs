//! What waypost promises, tried from outside: the real binary, real ptys, sockets and files, a real broker, a real browser.
//! One binary, because each one links SQLite again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod baud;
mod bench;
mod broker;
mod browser;
mod commands;
mod config;
mod doctor;
mod feeder;
mod kill;
mod path;
mod ports;
mod replug;
mod stream;
mod uart;
mod upstream;
mod wedge;
