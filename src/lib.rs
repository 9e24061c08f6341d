//! The crate.
pub mod domain;
