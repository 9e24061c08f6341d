//! The test hook that wedges a worker on purpose, in debug builds only: `WAYPOST_WEDGE=<worker>=<panic|loop|block>`
//! strikes that worker once, the first time it begins work after the file named by `WAYPOST_WEDGE_WHEN` exists
//! (at once without it). `hang` is the endless await: see [`hang`].

#[cfg(debug_assertions)]
mod hook {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

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
