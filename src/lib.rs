//! The crate.
pub mod decoder;
pub mod domain;
