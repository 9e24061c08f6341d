//! Devices without hardware: receivers and scanners on ptys, repeatable by a seed, with the faults that real lines
//! have. Knows nothing of the daemon: what it plays goes the whole way in, through a port like any other.

mod args;
mod capture;
mod error;
mod escapes;
mod faults;
mod gps;
#[cfg(test)]
mod hardware_tests;
mod input;
mod line;
#[cfg(test)]
mod line_tests;
mod link;
mod pty;
mod random;
mod receiver;
mod recording;
mod replay;
mod route;
mod scanner;
mod sentence;
mod tape;
mod truck;

pub use args::{DeviceArgs, GpsArgs, ScannerArgs};
pub use error::SimulateError;
pub use faults::{Faults, Outage, Spoiled};
pub use gps::{Gps, Track};
pub use input::Input;
pub use line::{AtEnd, Device, FIRST_READER_MAX, Played, Session};
pub use receiver::Model;
pub use scanner::{Reads, Scanner};
pub use tape::Time;
