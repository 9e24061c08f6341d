//! `waypost run`: the daemon in the foreground.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Done, Failure, exit};
use crate::app::{App, control_path};
use crate::config::{self, Loaded, Machine};
use crate::store::{StoreError, is_disk_shut};

#[derive(Args)]
pub(super) struct RunArgs {
    /// Exit 78 when the configuration is invalid, even when a last good one is kept
    #[arg(long)]
    strict: bool,
    /// How the log looks when it does not go to the journal
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

pub(super) fn run(file: &Path, args: &RunArgs) -> Done {
    log_to(args.log_format);
    bound_heaps();
    let machine = Machine::read();
    let (loaded, kept_because) = choose(file, args.strict, &machine)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    serve(loaded, kept_because)
}

/// Heaps of the allocator. glibc makes up to eight a core, and each keeps MiB that nobody uses any more: with 200 streams
/// and a million rows a node held 38 to 42 MiB, with two heaps 36.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// To be called before the first thread starts.
fn bound_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) } == 0 {
        tracing::debug!("the allocator takes no bound on its heaps; the node may hold some MiB more");
    }
}

/// Runs a node until it is told to stop.
pub(super) fn serve(loaded: Loaded, kept_because: Option<String>) -> Done {
    let dir = loaded.config.store.dir.clone();
    if let Err(error) = std::fs::create_dir_all(&dir)
        && !is_disk_shut(&dir)
    {
        let text = format!("store.dir {}: {error}; create it or name another", dir.display());
        return Err(Failure::new(exit::IO, text));
    }
    let app = App { control: control_path(&dir), config: loaded.config, kept_because: kept_because.clone() };
    let node = app.start().map_err(|error| not_opened(&error))?;
    if kept_because.is_none()
        && let Err(error) = config::keep_last_good(&dir, &loaded.merged)
    {
        tracing::warn!(%error, dir = %dir.display(), "this configuration could not be kept as the last good one");
    }
    node.wait().map_err(|error| Failure::new(exit::INTERNAL, format!("{error:#}")))
}

/// Today's configuration, or the last good one and why.
fn choose(file: &Path, strict: bool, machine: &Machine) -> Result<(Loaded, Option<String>), Failure> {
    let invalid = match config::load(file, machine) {
        Ok(loaded) => return Ok((loaded, None)),
        Err(invalid) => invalid,
    };
    let text = invalid.to_string();
    tracing::error!("the configuration is invalid\n{text}");
    let refused = || {
        Failure::new(exit::CONFIG, "not started: the configuration is invalid, see above; `waypost check` repeats it")
    };
    if strict {
        return Err(refused());
    }
    let dir = likely_store_dir(file);
    match config::last_good(&dir, machine) {
        Ok(Some(kept)) => {
            tracing::error!(
                kept = %dir.join(config::KEPT_FILE).display(),
                "the node runs on its last good configuration instead: mend the files, `waypost check`, then start it again"
            );
            Ok((kept, Some(text.lines().next().unwrap_or_default().to_owned())))
        }
        Ok(None) => Err(refused()),
        Err(error) => {
            tracing::error!("the last good configuration in {} is invalid too\n{error}", dir.display());
            Err(refused())
        }
    }
}

/// Where the store of an invalid configuration most likely is: where a line of it says, the folder systemd names, or the
/// default.
pub(super) fn likely_store_dir(file: &Path) -> PathBuf {
    config::named_store_dir(file)
        .or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from))
        .unwrap_or_else(|| config::Store::default().dir)
}

/// Sends the log to the journal under systemd, else to stderr.
pub(super) fn log_to(format: LogFormat) {
    use tracing::Level;
    use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};
    let usual = || Targets::new().with_default(Level::INFO).with_target("rumqttc", Level::ERROR);
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    let filter = asked.and_then(|asked| asked.parse().ok()).unwrap_or_else(usual);
    let registry = tracing_subscriber::registry().with(filter);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let done = match (journal, format) {
        (Some(journal), _) => registry.with(journal).try_init(),
        (None, LogFormat::Text) => {
            registry.with(fmt::layer().with_ansi(colour).with_writer(std::io::stderr)).try_init()
        }
        (None, LogFormat::Json) => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
    if let Err(error) = done {
        eprintln!("waypost: the log could not be set up: {error}");
    }
}

/// Why the store could not be opened or written, and the exit code of that.
pub(super) fn not_opened(error: &anyhow::Error) -> Failure {
    let code = match error.downcast_ref::<StoreError>() {
        Some(StoreError::Locked { .. }) => exit::BUSY,
        Some(_) => exit::IO,
        None => exit::INTERNAL,
    };
    Failure::new(code, format!("{error:#}"))
}
