//! Which program listens on a TCP port, as far as `/proc` lets us see.

use std::fs;
use std::path::Path;

/// Processes that are looked at.
const PROCESSES_MAX: usize = 4096;

/// The name and number of the program that listens on a port; none when it cannot be seen, as for another user's.
///
/// It reads files of the kernel and may take milliseconds.
pub(super) fn of(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|path| listening_inode(&fs::read_to_string(path).ok()?, port))?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.take(PROCESSES_MAX).filter_map(Result::ok);
    for process in processes {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        if holds(&process.path(), &wanted) {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", program.trim().escape_debug()));
        }
    }
    None
}

/// Whether a process has a descriptor of that name. Descriptors that may not be seen are not its.
fn holds(process: &Path, wanted: &str) -> bool {
    fs::read_dir(process.join("fd")).is_ok_and(|descriptors| {
        descriptors
            .filter_map(Result::ok)
            .filter_map(|one| fs::read_link(one.path()).ok())
            .any(|target| target.as_os_str() == wanted)
    })
}

/// The inode of the socket that listens on a port.
///
/// Source: proc_net_tcp in the kernel's documentation; the state 0A is LISTEN, addresses are hexadecimal.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local_port, 16) == Ok(port);
        if listens { fields.get(9)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_this_process_listens_on_is_held_by_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
