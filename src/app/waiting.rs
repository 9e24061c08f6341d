//! A start on a disk that is full or shut, or of a node whose starts fail again and again: the node comes up with a screen that says so, tries again and goes on by itself.
//! An end would only be a restart into the same, again and again.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::health::Notify;
use crate::screen::Closed;
use crate::store::{Result, StoreError, is_disk_shut};

/// Between two tries.
const EVERY: Duration = Duration::from_secs(2);
/// Between two lines in the log about it.
const QUIET: Duration = Duration::from_secs(60);

/// Opens the store, when its disk takes something again if need be.
///
/// # Errors
/// What `open` says, when it is not the disk's fault.
pub(super) async fn store<T>(
    config: &Config,
    control: &std::path::Path,
    notify: &Notify,
    is_safe: bool,
    mut open: impl FnMut() -> Result<T>,
) -> Result<T> {
    let dir = &config.store.dir;
    let is_passing = |error: &StoreError| match error {
        StoreError::Full { .. } => true,
        StoreError::Disk { .. } => is_safe || is_disk_shut(dir),
        StoreError::Locked { .. } => false,
        // Another start has not helped: a person has to read what is wrong.
        _ => is_safe,
    };
    let error = match open() {
        Err(error) if is_passing(&error) => error,
        opened => return opened,
    };
    let why = error.to_string();
    tracing::error!(%error, "the store cannot be opened; the screen says so, and it is tried again");
    let closed = Closed::open(&config.http, control, &why);
    let urls: Vec<String> = closed.addresses.iter().map(|at| config.http.url(*at)).collect();
    notify.ready(&format!("the store cannot be opened: {why}; see {}", urls.join(" ")));
    let mut said = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        // The tries are bounded by the disk; a node that waits for it is alive.
        notify.turn(true);
        match open() {
            Err(error) if is_passing(&error) => {
                if said.elapsed() > QUIET {
                    said = Instant::now();
                    tracing::error!(%error, "the store still cannot be opened");
                }
            }
            opened => return opened,
        }
    }
}
