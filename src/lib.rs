//! The crate.
pub mod domain;
pub mod screen;
