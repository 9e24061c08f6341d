//! Why a simulation cannot start or go on.

use std::io;
use std::path::{Path, PathBuf};

/// Why a simulation cannot start or go on: what, where, with which value, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The file to play is not there, may not be read, or is too large.
    #[error("read {what} {}: {source}; give the path of a readable file of at most {max_mib} MiB", path.display())]
    Input {
        /// What the file is for, e.g. `the log`.
        what: &'static str,
        /// As given.
        path: PathBuf,
        /// Most that is read. MiB.
        max_mib: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file to play holds nothing that can be played.
    #[error("play {name}: {problem}; {remedy}")]
    Content {
        /// The file, and the line where there is one.
        name: String,
        /// What is wrong, with the value.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The fault specification cannot be read.
    #[error("read the faults {spec:?}: {problem}; write e.g. noise=0.01,partial=0.01,silence=5/60,unplug=10/300")]
    Spec {
        /// The item, as given.
        spec: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The link cannot be made.
    #[error("link {} to the port: {source}; {remedy}", path.display())]
    Link {
        /// The path of the link.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The system gives no pseudo-terminal.
    #[error(
        "make a pseudo-terminal ({step}): {source}; check that /dev/ptmx and /dev/pts are there and kernel.pty.max is not reached"
    )]
    Pty {
        /// The call that failed.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl SimulateError {
    /// The exit code of the contract: 66 input missing, 64 usage, 77 not allowed, 74 I/O.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input { source, .. } | Self::Link { source, .. } | Self::Pty { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                77
            }
            Self::Input { .. } => 66,
            Self::Content { .. } | Self::Spec { .. } => 64,
            Self::Link { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => 64,
            Self::Link { .. } | Self::Pty { .. } => 74,
        }
    }

    pub(super) fn link(path: &Path, source: io::Error, remedy: &'static str) -> Self {
        Self::Link { path: path.to_owned(), source, remedy }
    }

    pub(super) const fn pty(step: &'static str, source: io::Error) -> Self {
        Self::Pty { step, source }
    }

    pub(super) fn content(name: impl Into<String>, problem: impl Into<String>, remedy: &'static str) -> Self {
        Self::Content { name: name.into(), problem: problem.into(), remedy }
    }
}
