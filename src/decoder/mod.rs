//! Bytes in, facts out: what arrives at a port read as fixes and scans, without I/O, clock or memory beyond the open frame.

pub mod scan;
