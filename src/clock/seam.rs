//! The test hook that sets the wall clock on purpose, in debug builds only: `WAYPOST_WALL` names a file that says by how
//! many ms the wall clock is off; it is read anew while the node runs. Nothing of the machine is touched.

#[cfg(debug_assertions)]
fn file() -> Option<&'static std::path::Path> {
    static FILE: std::sync::LazyLock<Option<std::path::PathBuf>> =
        std::sync::LazyLock::new(|| std::env::var_os("WAYPOST_WALL").map(Into::into));
    FILE.as_deref()
}

/// Whether a test sets the wall clock.
#[cfg(debug_assertions)]
pub(super) fn is_set() -> bool {
    file().is_some()
}

/// In release builds there is no hook.
#[cfg(not(debug_assertions))]
pub(super) const fn is_set() -> bool {
    false
}

/// By how much the wall clock is off. ms
#[cfg(debug_assertions)]
pub(super) fn off_ms(mono_us: i64) -> i64 {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::sync::{Mutex, PoisonError};

    static OFF_MS: AtomicI64 = AtomicI64::new(0);
    static READ_US: Mutex<Option<i64>> = Mutex::new(None);
    let Some(file) = file() else { return 0 };
    let mut read_us = READ_US.lock().unwrap_or_else(PoisonError::into_inner);
    if read_us.is_none_or(|at| mono_us - at > 20_000) {
        *read_us = Some(mono_us);
        // A file that is being written says nothing yet.
        if let Some(off_ms) = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) {
            OFF_MS.store(off_ms, Ordering::Release);
        }
    }
    OFF_MS.load(Ordering::Acquire)
}

/// In release builds there is no hook.
#[cfg(not(debug_assertions))]
pub(super) const fn off_ms(_mono_us: i64) -> i64 {
    0
}
