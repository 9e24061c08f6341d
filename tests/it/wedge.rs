//! Workers that hang.
