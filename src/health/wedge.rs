//! The test hook that wedges a worker on purpose, in debug builds only: `WAYPOST_WEDGE=<worker>=<panic|loop|block>`
//! strikes that worker once, the first time it begins work after the file named by `WAYPOST_WEDGE_WHEN` exists
//! (at once without it). `hang` is the endless await: see [`hang`]. `WAYPOST_POINT=<name>[:<n>]` ends the process as a kill
//! would, the n-th time it passes the [`point`] of that name; what else `make faults` turns is read by [`turned`].

#[cfg(debug_assertions)]
mod hook {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    pub(super) struct Hook {
        pub worker: String,
        pub how: String,
        when: Option<std::path::PathBuf>,
        struck: AtomicBool,
    }

    impl Hook {
        pub fn due(&self, worker: &str) -> bool {
            self.worker == worker
                && self.when.as_ref().is_none_or(|path| path.exists())
                && !self.struck.swap(true, Ordering::AcqRel)
        }
    }

    /// The point at which the process is to end, and how often it still may be passed.
    pub(super) fn end() -> Option<&'static (String, AtomicU64)> {
        static END: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
        END.get_or_init(|| {
            let text = std::env::var("WAYPOST_POINT").ok()?;
            let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
            Some((name.to_owned(), AtomicU64::new(nth.parse().ok()?)))
        })
        .as_ref()
    }

    pub(super) fn turned(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    pub(super) fn hook() -> Option<&'static Hook> {
        static HOOK: OnceLock<Option<Hook>> = OnceLock::new();
        HOOK.get_or_init(|| {
            let text = std::env::var("WAYPOST_WEDGE").ok()?;
            let (worker, how) = text.rsplit_once('=')?;
            Some(Hook {
                worker: worker.to_owned(),
                how: how.to_owned(),
                when: std::env::var_os("WAYPOST_WEDGE_WHEN").map(Into::into),
                struck: AtomicBool::new(false),
            })
        })
        .as_ref()
    }
}

/// Strikes the worker now if the hook is set for it: a panic, an endless loop or a blocked thread.
#[cfg(debug_assertions)]
pub fn strike(worker: &str) {
    let Some(hook) = hook::hook() else { return };
    if hook.how == "hang" || !hook.due(worker) {
        return;
    }
    match hook.how.as_str() {
        "panic" => panic!("{worker}: wedged on purpose (panic)"),
        "loop" => loop {
            std::hint::spin_loop();
        },
        _ => loop {
            std::thread::park();
        },
    }
}

/// In release builds there is no hook.
#[cfg(not(debug_assertions))]
pub const fn strike(_worker: &str) {}

/// Awaits for ever if the hook says `hang` for this worker: to be called at the top of every task's loop.
#[cfg(debug_assertions)]
pub async fn hang(worker: &str) {
    if let Some(hook) = hook::hook()
        && hook.how == "hang"
        && hook.due(worker)
    {
        std::future::pending::<()>().await;
    }
}

/// In release builds there is no hook.
#[cfg(not(debug_assertions))]
pub async fn hang(_worker: &str) {}

/// A place on the way of an event at which a power cut must lose nothing: ends the process without a word if the hook names it.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    if let Some((_, left)) = hook::end().filter(|(end, _)| end == name)
        && left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1
    {
        std::process::abort();
    }
}

/// In release builds there is no hook.
#[cfg(not(debug_assertions))]
pub const fn point(_name: &str) {}

/// What `make faults` turns in the product to see that it would be noticed, or to see in seconds what takes days: the value
/// of an environment variable `WAYPOST_…`.
#[cfg(debug_assertions)]
#[must_use]
pub fn turned(name: &str) -> Option<String> {
    hook::turned(name)
}

/// In release builds nothing can be turned.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn turned(_name: &str) -> Option<String> {
    None
}
