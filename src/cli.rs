//! The command line: reads what is asked, calls the room that does it, and turns the outcome into an exit code.

mod ask;
mod assets;
mod backup;
mod bundle;
mod check;
mod demo;
mod devices;
mod doctor;
mod door;
mod identity;
mod letters;
mod manual;
mod offline;
mod order;
mod owner;
mod papers;
mod pin;
mod places;
mod plan;
mod progress;
mod purge;
mod rebuild;
mod restore;
mod run;
mod schema;
mod sheet;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{self, Machine};
use crate::decoder::{capture, nmea, scan};
use crate::plan::Plan;
use crate::simulate;

/// Exit codes of the contract, after sysexits(3).
mod exit {
    /// Done.
    pub(super) const DONE: u8 = 0;
    /// Done, but not well.
    pub(super) const NOT_WELL: u8 = 1;
    /// The command line is wrong.
    pub(super) const USAGE: u8 = 64;
    /// An input is missing.
    pub(super) const NO_INPUT: u8 = 66;
    /// The daemon is not running.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// A bug.
    pub(super) const INTERNAL: u8 = 70;
    /// Reading or writing failed.
    pub(super) const IO: u8 = 74;
    /// Another instance has the store.
    pub(super) const BUSY: u8 = 75;
    /// Not allowed.
    pub(super) const NOT_ALLOWED: u8 = 77;
    /// The configuration is invalid.
    pub(super) const CONFIG: u8 = 78;
}

/// GPS fixes and scans into a durable outbox, from there to a live yard screen and an MQTT platform.
#[derive(Parser)]
#[command(name = "waypost", version, disable_help_subcommand = true)]
struct Cli {
    /// The configuration; conf.d/*.toml beside it are read after it.
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run(run::RunArgs),
    /// Show it all without configuration or hardware: a simulated truck, scanners, a yard, a private broker
    Demo(demo::DemoArgs),
    /// Check the configuration: every error with file, line, column, key and remedy
    Check {
        /// The file; default: the one of --config
        file: Option<PathBuf>,
    },
    /// Print the merged configuration with the file of each key
    Config {
        /// Print every key with its default instead
        #[arg(long)]
        defaults: bool,
    },
    /// List serial ports and input devices, unopened, with the lines to add; claim them for the service
    Devices(devices::DevicesArgs),
    /// Play a receiver or a scanner on a pseudo-terminal
    #[command(subcommand)]
    Simulate(Simulate),
    /// Decode bytes without a daemon
    #[command(subcommand)]
    Decode(Decode),
    /// What the node knows of itself; exit 0 well, 1 not well
    Status(JsonArg),
    /// What the test sheet says of each scanner, and the page to print; exit 1 when a setting has to be changed
    Sheet {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print the page itself as SVG: A4, or for the screen of a phone
        #[arg(long, conflicts_with = "json")]
        svg: bool,
    },
    /// Every check with its remedy; exit 0 well, 1 not well
    Doctor(doctor::DoctorArgs),
    /// Where the screen is, how to reach it from elsewhere and what opening it exposes; its address as a QR code once it is open
    Screen,
    /// One archive with what whoever helps needs to know of this node, and nothing secret
    SupportBundle(bundle::BundleArgs),
    /// The dead letters
    #[command(subcommand)]
    Letters(letters::Letters),
    /// The outbox
    #[command(subcommand)]
    Outbox(Outbox),
    /// The register of assets, and the yard by hand
    #[command(subcommand)]
    Assets(assets::Assets),
    /// The plan of the yard that is kept in the store, as GeoJSON
    #[command(subcommand)]
    Plan(plan::Plan),
    /// Print the last 10 minutes of raw bytes of a source: `simulate` plays them, `decode` reads them
    Capture {
        /// The source's id, or its port
        port: String,
    },
    /// Delete the history of an asset or of a time for good; the counts stay, and the audit says who did it
    Purge(purge::PurgeArgs),
    /// Tell the places anew from the events, and set right what differs
    Rebuild(rebuild::RebuildArgs),
    /// Put a backup in the place of the store of a node that does not run
    Restore(restore::RestoreArgs),
    /// Who the node is, and the machine it is bound to: show, accept, rename, retire
    #[command(subcommand)]
    Identity(identity::Identity),
    /// The operator PIN, with which people change things on the page
    #[command(subcommand)]
    Pin(pin::Pin),
    /// Print what goes over MQTT as JSON Schemas, and the AsyncAPI document
    Schema(schema::SchemaArgs),
    /// Copy the store, also while the node runs; the copy is checked before it gets its name
    Backup(backup::BackupArgs),
    /// Print the manual page, or write those of all commands
    Man(manual::ManArgs),
    /// Print what a shell reads to complete the command line
    Completions(manual::CompletionsArgs),
}

/// `--json`
#[derive(Args)]
struct JsonArg {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Simulate {
    /// A GPS receiver
    Gps(simulate::GpsArgs),
    /// A scanner
    Scanner(simulate::ScannerArgs),
}

#[derive(Subcommand)]
enum Decode {
    /// NMEA 0183, from any bytes: a JSON line a fix, a summary on stderr
    Nmea {
        /// The file; default: standard input
        file: Option<PathBuf>,
    },
    /// Scanner frames: a JSON line each
    Scan {
        /// Keys of a `[[scanner]]` table as JSON
        #[arg(long, value_name = "JSON")]
        profile: Option<String>,
        /// Lines [ms,"bytes"], [ms,{"key":"SHIFT+KEY_T"}], [ms,{"port":"lost"}] on a virtual clock
        #[arg(long)]
        timed: bool,
        /// The file; default: standard input
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum Outbox {
    /// Counts: events, unsent, letters, and whether the ledger balances
    Stat(JsonArg),
    /// Count the rows anew and compare with the ledger: each line that differs, with what to do; exit 1 when one does
    Check(JsonArg),
    /// Write events as NDJSON
    Export {
        /// First seq
        #[arg(long)]
        from: Option<i64>,
        /// Last seq
        #[arg(long)]
        to: Option<i64>,
        /// Only events that the platform has not acknowledged
        #[arg(long)]
        unsent: bool,
    },
}

/// A failure as a person reads it, and the exit code it means.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // A reader that went away (`| head`) has seen enough: nothing failed, and there is nothing to say.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(exit::DONE, "");
        }
        Self::new(exit::IO, format!("reading or writing: {error}"))
    }
}

/// The outcome of a command.
type Done = Result<ExitCode, Failure>;

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version to stdout, errors to stderr; a closed pipe there has no one to tell.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => {
            if failure.code != exit::DONE {
                eprintln!("waypost: {}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli) -> Done {
    match cli.command {
        Command::Run(args) => run::run(&cli.config, &args),
        Command::Demo(args) => demo::demo(&args),
        Command::Check { file } => check(&file.unwrap_or(cli.config)),
        Command::Config { defaults: true } => print(&config::defaults_text()),
        Command::Config { defaults: false } => print(&load(&cli.config)?.merged.print()),
        Command::Devices(args) => devices::devices(&cli.config, &args),
        Command::Simulate(device) => simulate(device),
        Command::Decode(Decode::Nmea { file }) => decode_nmea(file.as_deref()),
        Command::Decode(Decode::Scan { profile, timed, file }) => {
            decode_scan(profile.as_deref(), timed, file.as_deref())
        }
        Command::Status(JsonArg { json }) => ask::status(&cli.config, json),
        Command::Sheet { json, svg } => sheet::sheet(&cli.config, json, svg),
        Command::Doctor(args) => doctor::doctor(&cli.config, &args),
        Command::Screen => door::screen(&cli.config),
        Command::SupportBundle(args) => bundle::bundle(&cli.config, &args),
        Command::Letters(command) => letters::letters(&cli.config, command),
        Command::Assets(command) => assets::assets(&cli.config, command),
        Command::Plan(command) => plan::plan(&cli.config, command),
        Command::Capture { port } => offline::capture(&cli.config, &port),
        Command::Purge(args) => purge::purge(&cli.config, args),
        Command::Rebuild(args) => rebuild::rebuild(&cli.config, &args),
        Command::Restore(args) => restore::restore(&cli.config, &args),
        Command::Identity(command) => identity::identity(&cli.config, command),
        Command::Pin(command) => pin::pin(&cli.config, &command),
        Command::Schema(args) => schema::schema(&args),
        Command::Backup(args) => backup::backup(&cli.config, &args),
        Command::Man(args) => manual::man(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Outbox(Outbox::Stat(JsonArg { json })) => offline::stat(&cli.config, json),
        Command::Outbox(Outbox::Check(JsonArg { json })) => check::check(&cli.config, json),
        Command::Outbox(Outbox::Export { from, to, unsent }) => offline::export(&cli.config, from, to, unsent),
    }
}

/// Loads the configuration, or says every finding.
fn load(file: &Path) -> Result<config::Loaded, Failure> {
    config::load(file, &Machine::read())
        .map_err(|invalid| Failure::new(exit::CONFIG, format!("the configuration is invalid\n{invalid}")))
}

fn check(file: &Path) -> Done {
    let mut notes = Vec::new();
    let judged = judge(file, &mut notes);
    notes.iter().for_each(|note| eprintln!("{note}"));
    print(&(judged? + "\n"))
}

/// Whether the files are valid, and in `notes` what runs but should be known.
fn judge(file: &Path, notes: &mut Vec<String>) -> Result<String, Failure> {
    let loaded = load(file)?;
    notes.extend(loaded.warnings.iter().map(ToString::to_string));
    // One that is not there yet is among the warnings.
    if let Some(path) = loaded.config.plan.zones.as_deref().filter(|path| path.is_file()) {
        Plan::read(path).map_err(|invalid| {
            Failure::new(exit::CONFIG, format!("the plan of the zones is invalid\n{}", invalid.in_file(path)))
        })?;
    }
    let of = |note: String| format!("{}: {note}", file.display());
    // Whoever may not look into the store checks the files all the same.
    let plan = places::plan_of(file).ok().flatten();
    let strange = plan.map(|plan| places::strange(&plan, &loaded.config)).unwrap_or_default();
    notes.extend(strange.into_iter().map(of));
    let papers = papers::look(&loaded.config).unwrap_or_default();
    notes.extend(papers.warnings.into_iter().map(of));
    if !papers.errors.is_empty() {
        let all: Vec<String> = papers.errors.iter().map(ToString::to_string).collect();
        return Err(Failure::new(exit::CONFIG, format!("certificates or keys cannot be used\n{}", all.join("\n"))));
    }
    let warnings = match notes.len() {
        0 => String::new(),
        1 => ", with 1 warning".to_owned(),
        n => format!(", with {n} warnings"),
    };
    Ok(format!("{} is valid{warnings}", file.display()))
}

/// Plays a device until its end, Ctrl-C or SIGTERM.
fn simulate(device: Simulate) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let played = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut out = io::stdout();
        let play = async {
            match device {
                Simulate::Gps(args) => args.run(Clock::system(), stop.clone(), &mut out).await,
                Simulate::Scanner(args) => args.run(Clock::system(), stop.clone(), &mut out).await,
            }
        };
        tokio::pin!(play);
        tokio::select! {
            played = &mut play => return Ok::<_, io::Error>(played),
            _ = int.recv() => stop.cancel(),
            _ = term.recv() => stop.cancel(),
        }
        Ok(play.await)
    })?;
    played.map(|()| ExitCode::SUCCESS).map_err(|error| Failure::new(error.exit_code(), error.to_string()))
}

fn open(file: Option<&Path>) -> Result<Box<dyn Read>, Failure> {
    let Some(path) = file else { return Ok(Box::new(io::stdin().lock())) };
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => {
            Err(Failure::new(exit::NO_INPUT, format!("{}: {error}; name a file that can be read", path.display())))
        }
    }
}

fn decode_nmea(file: Option<&Path>) -> Done {
    let input = capture::bytes_of(open(file)?)?;
    let out = io::BufWriter::new(io::stdout().lock());
    nmea::report::decode_stream(input, out, io::stderr().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn decode_scan(profile: Option<&str>, timed: bool, file: Option<&Path>) -> Done {
    use scan::report::{ReportError, ReportProfile, report, report_timed};
    let bad = |error| match error {
        ReportError::Read(error) | ReportError::Write(error) => error.into(),
        error => Failure::new(exit::USAGE, error.to_string()),
    };
    let profile = profile.map_or_else(|| Ok(ReportProfile::default()), ReportProfile::from_json).map_err(bad)?;
    let input = open(file)?;
    let out = io::BufWriter::new(io::stdout().lock());
    if timed { report_timed(input, out, &profile) } else { report(input, out, &profile) }.map_err(bad)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints to stdout.
fn print(text: &str) -> Done {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
