//! Bytes to meaning, pure: no I/O, no clock, no store. The same bytes in other chunks say the same.

pub mod capture;
pub mod gpsd;
pub mod nmea;
pub mod scan;
