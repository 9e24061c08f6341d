//! `waypost demo`: the real daemon with a simulated truck, simulated scanners and a private broker. Nothing is installed,
//! nothing outlives it, and its data stays in one folder.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::run::{LogFormat, log_to, not_opened};
use super::{Done, Failure, exit, pin};
use crate::app::{App, carry_out, control_path};
use crate::clock::Clock;
use crate::config::{self, Config, Machine};
use crate::domain::{Order, Why};
use crate::simulate::{AtEnd, Device, Faults, Gps, Input, Model, Reads, Scanner, Time, Track};

const ROUTE: &str = include_str!("../../hardware/demo/route.geojson");
/// The yard it drives in.
const ZONES: &str = include_str!("../../hardware/demo/zones.geojson");
/// Read points, their codes, and the time from one code to the next.
const SCANNERS: [(&str, &str, u64); 3] = [
    ("dock-1", include_str!("../../hardware/demo/codes-dock-1.txt"), 7_000),
    ("dock-3", include_str!("../../hardware/demo/codes-dock-3.txt"), 5_000),
    ("gate", include_str!("../../hardware/demo/codes-gate.txt"), 11_000),
];
/// Ports tried from the one that is asked for.
const PORTS: u16 = 50;

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Where the screen listens; the next free port is taken when it is in use
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))]
    listen: SocketAddr,
    /// Where everything is kept; default: a new folder that is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The demo's folder; removed at the end when it was made for it.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("waypost: {} could not be removed: {error}", self.path.display());
        }
    }
}

/// The private broker; ended with the demo.
struct Broker {
    child: Child,
    port: u16,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, on the Ctrl-C that ended the demo: then there is nothing left to end.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            tracing::debug!(%error, "the broker had ended");
        }
    }
}

pub(super) fn demo(args: &DemoArgs) -> Done {
    log_to(LogFormat::Text);
    let folder = folder(args.dir.as_deref())?;
    let listen = free_from(args.listen)?;
    let broker = broker(&folder.path);
    let file = write_config(&folder.path, listen, broker.as_ref())?;
    let loaded = config::load(&file, &Machine::read()).map_err(|invalid| {
        Failure::new(exit::INTERNAL, format!("the demo's own configuration is refused\n{invalid}"))
    })?;
    draw(&loaded.config)?;
    let pin = set_pin(&loaded.config.http.pin_file)?;
    let stop = CancellationToken::new();
    let devices = play(&folder.path, &stop)?;
    say(&folder.path, &file, listen, &pin, broker.as_ref());
    let store = loaded.config.store.dir.clone();
    let app = App { control: control_path(&store), config: loaded.config, kept_because: None };
    let ended = app
        .start()
        .and_then(crate::app::Node::wait)
        .map_err(|error| Failure::new(exit::IO, format!("the demo could not run: {error:#}")));
    stop.cancel();
    if devices.join().is_err() {
        eprintln!("waypost: the simulated devices ended badly; the daemon is not concerned");
    }
    ended
}

fn folder(asked: Option<&Path>) -> Result<Folder, Failure> {
    let (path, temporary) = match asked {
        Some(dir) => (dir.to_owned(), false),
        None => (std::env::temp_dir().join(format!("waypost-demo-{}", std::process::id())), true),
    };
    for sub in ["store", "dev", "broker"] {
        fs::create_dir_all(path.join(sub))
            .map_err(|e| Failure::new(exit::IO, format!("{}: {e}; name another with --dir", path.display())))?;
    }
    let path = fs::canonicalize(&path)?;
    Ok(Folder { path, temporary })
}

/// The address, or the next free port after it.
fn free_from(asked: SocketAddr) -> Result<SocketAddr, Failure> {
    let mut addr = asked;
    for port in asked.port()..=asked.port().saturating_add(PORTS) {
        addr.set_port(port);
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    let text = format!("{asked} and the {PORTS} ports after it are in use; name another address with --listen");
    Err(Failure::new(exit::IO, text))
}

/// Starts a private mosquitto on a free loopback port; none when it is not installed.
fn broker(dir: &Path) -> Option<Broker> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).ok()?.port();
    let dir = dir.join("broker");
    let conf = dir.join("mosquitto.conf");
    let user = if is_root() { "user root\n" } else { "" };
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\n{user}persistence true\npersistence_location {}/\n",
        dir.display()
    );
    fs::write(&conf, text).ok()?;
    let program = ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let child = program.iter().find_map(|program| {
        let mut command = Command::new(program);
        command.arg("-c").arg(&conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C is for the daemon, which still says goodbye to the broker.
        command.process_group(0);
        // SAFETY: prctl only asks the kernel to end the broker with us, also when we are killed; it is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            })
        };
        command.spawn().ok()
    });
    child.map(|child| Broker { child, port })
}

fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn write_config(dir: &Path, listen: SocketAddr, broker: Option<&Broker>) -> Result<PathBuf, Failure> {
    let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
    let mut text = format!(
        "[node]\nid = \"demo\"\nsite = \"yard\"\nname = \"Demo yard\"\n\n[store]\ndir = {}\n\n[http]\nlisten = [\"{listen}\"]\npin_file = {}\n\n[[gps]]\nid = \"gps0\"\nport = {}\nbaud = 9600\nasset = \"TRK-07\"\n",
        quoted(dir.join("store")),
        quoted(dir.join("pin")),
        quoted(dir.join("dev/gps0")),
    );
    for (place, ..) in SCANNERS {
        let port = quoted(dir.join("dev").join(place));
        text.push_str(&format!("\n[[scanner]]\nid = \"{place}\"\nport = {port}\nplace = \"{place}\"\n"));
    }
    if let Some(broker) = broker {
        text.push_str(&format!("\n[uplink]\nurl = \"mqtt://127.0.0.1:{}\"\nbackoff_spread_s = 1\n", broker.port));
    }
    let file = dir.join("waypost.toml");
    fs::write(&file, text)?;
    Ok(file)
}

/// Puts the plan of the yard into the store, unless there is one that somebody has drawn.
fn draw(config: &Config) -> Result<(), Failure> {
    let order = Order::Plan { bytes: ZONES.as_bytes().to_vec(), expect: Some(0) };
    match carry_out(config, order, "the demo").map_err(|error| not_opened(&error))? {
        Ok(_) => Ok(()),
        Err(refused) if refused.why == Why::PlanChanged => Ok(()),
        Err(refused) => {
            Err(Failure::new(exit::INTERNAL, format!("the demo's own plan is refused: {}", refused.message)))
        }
    }
}

/// A PIN of its own for this run.
fn set_pin(file: &Path) -> Result<String, Failure> {
    let mut random = [0; 4];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let pin = format!("{:06}", u32::from_ne_bytes(random) % 1_000_000);
    pin::write(file, &pin)?;
    Ok(pin)
}

/// Plays the truck and the scanners on a thread of their own, until `stop`.
fn play(dir: &Path, stop: &CancellationToken) -> Result<std::thread::JoinHandle<()>, Failure> {
    let failed = |error: crate::simulate::SimulateError| Failure::new(error.exit_code(), error.to_string());
    let dev = dir.join("dev");
    let device = |name: &str, seed| {
        let (at_end, faults) = (AtEnd::Hold, Faults::default());
        Device { link: dev.join(name), repeat: true, at_end, faults, seed }
    };
    let gps = Gps {
        device: device("gps0", 7),
        track: Track::Route(Input::Text(ROUTE)),
        model: Model::Plain,
        time: Time::Now,
        rate_hz: Some(2.0),
    };
    let mut sessions = vec![];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    sessions.push(gps.plug(Clock::system()).map_err(failed)?);
    for (n, (place, codes, every_ms)) in SCANNERS.into_iter().enumerate() {
        let scanner = Scanner {
            device: device(place, 8 + n as u64),
            reads: Reads::Codes(Input::Text(codes)),
            every: Duration::from_millis(every_ms),
            terminator: "\\r".into(),
        };
        sessions.push(scanner.plug(Clock::system()).map_err(failed)?);
    }
    drop(entered);
    let stop = stop.clone();
    Ok(std::thread::Builder::new().name("devices".into()).spawn(move || {
        runtime.block_on(async move {
            let played = sessions.into_iter().map(|session| session.run(stop.clone()));
            for ended in futures_util::future::join_all(played).await {
                if let Err(error) = ended {
                    tracing::warn!(%error, "a simulated device ended");
                }
            }
        });
    })?)
}

fn say(dir: &Path, file: &Path, listen: SocketAddr, pin: &str, broker: Option<&Broker>) {
    // Who tries this has not installed it: the line must work as it stands.
    let program = std::env::current_exe().unwrap_or_else(|_| "waypost".into());
    println!("\n  screen   http://{listen}/");
    println!("  PIN      {pin}, to change something there");
    println!("  store    {}", dir.join("store/waypost.db").display());
    println!("  ports    {}", dir.join("dev").display());
    let ask = format!("{} --config {}", program.display(), file.display());
    println!("  status   {ask} status");
    println!("  scan     {ask} assets scan TRL-9 gate");
    match broker {
        Some(broker) => println!("  broker   mosquitto_sub -h 127.0.0.1 -p {} -t 'waypost/#' -v", broker.port),
        None => println!(
            "  broker   none: mosquitto is not installed (sudo apt-get install -y mosquitto mosquitto-clients)"
        ),
    }
    println!(
        "\nA truck drives round the yard and three scanners read. `scan`, in another terminal, is one of your own: any code, any place."
    );
    println!("Ctrl-C stops all of it.\n");
}
