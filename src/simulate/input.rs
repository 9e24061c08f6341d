//! What is played: a file, or text that is compiled in.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::SimulateError;

/// Most that is read of one file. MiB.
const INPUT_MAX_MIB: u64 = 64;

/// Where the bytes to play come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, read once, at the start; at most 64 MiB.
    File(PathBuf),
    /// Text that is compiled in, e.g. the demonstration's.
    Text(&'static str),
}

impl Input {
    /// How errors name it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => "the built-in text".to_owned(),
        }
    }

    /// All its bytes. `what` says in an error what the file was wanted for.
    pub(super) fn read(&self, what: &'static str) -> Result<Vec<u8>, SimulateError> {
        let path = match self {
            Self::Text(text) => return Ok(text.as_bytes().to_vec()),
            Self::File(path) => path,
        };
        let refuse = |source| SimulateError::Input { what, path: path.clone(), max_mib: INPUT_MAX_MIB, source };
        let max = INPUT_MAX_MIB * 1024 * 1024;
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes)).map_err(refuse)?;
        if u64::try_from(read).unwrap_or(u64::MAX) > max {
            return Err(refuse(io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        Ok(bytes)
    }
}
