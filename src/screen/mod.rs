//! Out to the yard: the page, its stream and its calls.

pub mod assets;
