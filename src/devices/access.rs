//! Whether the service may open a node, by its mode, owner and group.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use super::files::text_lines;
use super::{Port, Roots};

/// Whether the service may open a device, by its mode, owner and group; access lists are not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The user that was asked for: `waypost` when it exists, else who asks.
    pub user: String,
    /// Whether it may.
    pub may_open: bool,
    /// Mode, owner and group, e.g. `0660 root:dialout`; or that the node is missing.
    pub because: String,
}

/// The user whose access counts.
pub(super) struct Asker {
    name: String,
    uid: u32,
    gids: Vec<u32>,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Asker {
    pub fn new(roots: &Roots) -> Self {
        let passwd = text_lines(&roots.etc.join("passwd"));
        let group = text_lines(&roots.etc.join("group"));
        let named = |lines: &[Vec<String>]| {
            lines.iter().filter_map(|line| Some((line.get(2)?.parse().ok()?, line.first()?.clone()))).collect()
        };
        let users: BTreeMap<u32, String> = named(&passwd);
        let service = passwd.iter().find(|line| line.first().is_some_and(|name| name == "waypost"));
        let number = |line: &[String], field: usize| line.get(field).and_then(|text| text.parse::<u32>().ok());
        let (uid, name, mut gids) = match service.and_then(|line| Some((number(line, 2)?, number(line, 3)?))) {
            Some((uid, gid)) => (uid, "waypost".to_owned(), vec![gid]),
            None => {
                // SAFETY: the call takes nothing and cannot fail.
                let uid = unsafe { libc::geteuid() };
                (uid, users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()), own_groups())
            }
        };
        for line in &group {
            let member = line.get(3).is_some_and(|members| members.split(',').any(|member| member == name));
            gids.extend(number(line, 2).filter(|_| member));
        }
        Self { name, uid, gids, users, groups: named(&group) }
    }

    pub fn may_open(&self, path: &Path, port: Port) -> Access {
        let user = self.name.clone();
        let Ok(node) = fs::metadata(path) else {
            let because = "the node is missing; udev may still be making it".to_owned();
            return Access { user, may_open: false, because };
        };
        // A serial port is opened for both ways, as the drivers want it, though nothing is written. A keyboard is only read.
        let want = if port == Port::Serial { 0o6 } else { 0o4 };
        let granted = if node.uid() == self.uid {
            node.mode() >> 6
        } else if self.gids.contains(&node.gid()) {
            node.mode() >> 3
        } else {
            node.mode()
        };
        let word = |names: &BTreeMap<u32, String>, id: u32| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let (owner, group) = (word(&self.users, node.uid()), word(&self.groups, node.gid()));
        let because = format!("{:04o} {owner}:{group}", node.mode() & 0o7777);
        Access { user, may_open: self.uid == 0 || granted & want == want, because }
    }
}

/// The groups of this process.
fn own_groups() -> Vec<u32> {
    let mut gids = vec![0; 256];
    // SAFETY: the count is that of the buffer, which outlives the call.
    let n = unsafe { libc::getgroups(256, gids.as_mut_ptr()) };
    gids.truncate(usize::try_from(n).unwrap_or(0));
    // SAFETY: the call takes nothing and cannot fail.
    gids.push(unsafe { libc::getegid() });
    gids
}
