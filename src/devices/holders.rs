//! Who holds a device open, as /proc tells it. Only root is shown the files of other users' processes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Roots;
use super::files::{names, text};

/// A process that holds a device open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its short name, e.g. `gpsd`.
    pub command: String,
}

/// Who holds which of the nodes, and whether every process could be looked into.
pub(super) fn holders<'a>(
    roots: &Roots,
    nodes: impl Iterator<Item = &'a Path>,
) -> (BTreeMap<PathBuf, Vec<Holder>>, bool) {
    let mut held: BTreeMap<PathBuf, Vec<Holder>> = nodes.map(|node| (node.to_owned(), Vec::new())).collect();
    let mut complete = true;
    let pids = names(&roots.proc).unwrap_or_default();
    for pid in pids.iter().filter_map(|name| name.parse::<u32>().ok()) {
        let process = roots.proc.join(pid.to_string());
        let open = match fs::read_dir(process.join("fd")) {
            Ok(open) => open,
            Err(error) => {
                // A process that has ended meanwhile holds nothing.
                complete &= error.kind() == io::ErrorKind::NotFound;
                continue;
            }
        };
        for target in open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()) {
            let Some(holders) = held.get_mut(&target) else { continue };
            if holders.iter().all(|holder| holder.pid != pid) {
                holders.push(Holder { pid, command: text(&process.join("comm")).unwrap_or_default() });
            }
        }
    }
    (held, complete)
}
