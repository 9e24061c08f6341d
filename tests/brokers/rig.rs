//! Brokers as programs on loopback, each alone in a folder of its own, and gone with the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::bench::{free_port, program, repository, wait_within};
use crate::ca::{Ca, DAY_S};

/// Everybody who may come in; a password is its user's name.
pub const USERS: [&str; 4] = ["wp-07", "centre", "screen", "ear"];
/// A broker written in Erlang takes its time on a small machine.
const START: Duration = Duration::from_secs(180);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    Mosquitto,
    Nats,
    /// Three servers of NATS as one cluster.
    NatsCluster,
    Rabbit,
}

/// What it does with what the node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Takes it.
    Open,
    /// The node may publish no scans and no places.
    Refusing,
    /// Takes no message of more than [`SMALL`].
    Small,
    /// As `examples/acl/mosquitto.acl` has it.
    Sample,
}

/// Bytes.
pub const SMALL: u32 = 1500;

/// How the node reaches it. A centre always comes in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// With its password.
    Clear,
    /// TLS, with its password.
    Tls,
    /// TLS, with a certificate and no password.
    Certificate,
}

/// Seconds since 1970 between which the certificates of the rig are valid.
const ALWAYS: (i64, i64) = (0, 100 * 365 * DAY_S);

/// A broker.
pub struct Server {
    make: Make,
    /// Where MQTT is spoken in the clear.
    pub port: u16,
    line: Line,
    /// Where the node finds it, when that is elsewhere, and who signed its certificate.
    secure: Option<(u16, Ca)>,
    dir: tempfile::TempDir,
    children: Vec<Child>,
    /// Of a cluster: where its servers speak MQTT, and the way to whichever lives.
    ports: Vec<u16>,
    route: Option<Route>,
}

impl Server {
    /// None, said aloud, when its program is not here.
    pub fn start(make: Make, mode: Mode) -> Option<Self> {
        Self::start_over(make, mode, Line::Clear)
    }

    /// As [`Server::start`]; of TLS only mosquitto's is set up here.
    pub fn start_over(make: Make, mode: Mode, line: Line) -> Option<Self> {
        let (name, package) = match make {
            Make::Mosquitto => ("mosquitto", "mosquitto"),
            Make::Nats | Make::NatsCluster => ("nats-server", "nats-server"),
            Make::Rabbit => ("rabbitmq-server", "rabbitmq-server"),
        };
        if program(name).is_none() {
            eprintln!("SKIPPED: {package} is not installed; `make test-brokers` installs it");
            return None;
        }
        let n = if make == Make::NatsCluster { 3 } else { 1 };
        let ports: Vec<u16> = std::iter::repeat_with(free_port).take(n).collect();
        let route = (n > 1).then(|| Route::to(ports.clone()));
        let port = route.as_ref().map_or(ports[0], |route| route.port);
        let secure = (line != Line::Clear).then(|| (free_port(), Ca::new("Yard CA")));
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self { make, port, line, secure, dir, children: Vec::new(), ports, route };
        if make == Make::NatsCluster {
            server.write_cluster();
        }
        server.up(mode);
        Some(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Starts it, or starts it again with what it had kept.
    pub fn up(&mut self, mode: Mode) {
        self.children = match self.make {
            Make::Mosquitto => vec![self.mosquitto(mode)],
            Make::Nats => vec![self.nats(mode)],
            Make::NatsCluster => (0..3).map(|at| self.member(at)).collect(),
            Make::Rabbit => self.rabbit(mode),
        };
        for port in self.ports.clone() {
            wait_within(START, "the broker takes a client", || is_ready(port).then_some(()));
        }
    }

    /// SIGTERM: it writes what it has and goes.
    pub fn down(&mut self) {
        for mut child in self.children.drain(..).rev() {
            // SAFETY: a signal to the process group of our own child, which is not yet waited for.
            unsafe { libc::kill(-i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
            child.wait().unwrap();
        }
    }

    /// Kills the member of the cluster that clients are led to.
    pub fn kill_one(&mut self) {
        let at = self.route.as_ref().and_then(Route::last).unwrap_or(0);
        end(&mut self.children[at]);
    }

    fn mosquitto(&self, mode: Mode) -> Child {
        let passwords = self.path("passwords");
        for user in USERS {
            let create: &[&str] = if passwords.exists() { &["-b"] } else { &["-b", "-c"] };
            let mut passwd = Command::new(program("mosquitto_passwd").unwrap());
            assert!(passwd.args(create).arg(&passwords).args([user, user]).status().unwrap().success());
        }
        let acl = match mode {
            Mode::Sample => std::fs::read_to_string(repository("examples/acl/mosquitto.acl")).unwrap(),
            Mode::Refusing => {
                let read = "topic read waypost/#";
                let fine = ["state", "status", "health", "watermark", "clock"]
                    .map(|t| format!("topic write waypost/v1/+/+/{t}\n"));
                format!(
                    "user wp-07\n{read}\n{}topic write waypost/v1/+/+/alarm/+\nuser centre\n{read}\nuser ear\n{read}\n",
                    fine.concat()
                )
            }
            Mode::Open | Mode::Small => USERS.map(|user| format!("user {user}\ntopic readwrite waypost/#\n")).concat(),
        };
        let acl = self.write("acl", &acl);
        let size = if mode == Mode::Small { format!("max_packet_size {SMALL}\n") } else { String::new() };
        let conf = self.write(
            "mosquitto.conf",
            &format!(
                "{size}listener {} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {}\nacl_file {}\npersistence true\npersistence_location {}/\nmax_queued_messages 1000000\n{}",
                self.port,
                passwords.display(),
                acl.display(),
                self.dir.path().display(),
                self.secure_listener()
            ),
        );
        self.spawn(Command::new(program("mosquitto").unwrap()).arg("-c").arg(conf))
    }

    /// mosquitto's second door, for the node.
    fn secure_listener(&self) -> String {
        let Some((port, ca)) = &self.secure else { return String::new() };
        ca.write(&self.path("ca.pem"));
        ca.sign(&["localhost"], ALWAYS).write(&self.path("broker.pem"), &self.path("broker.key"));
        let file = |name: &str| self.path(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("broker.pem"), file("broker.key"));
        let clients = match self.line {
            Line::Certificate => "require_certificate true\nuse_identity_as_username true\n",
            Line::Clear | Line::Tls => "",
        };
        format!("listener {port} 127.0.0.1\ncafile {ca}\ncertfile {cert}\nkeyfile {key}\n{clients}")
    }

    /// The `[uplink]` of the node, with its papers and its password in files below `folder`.
    pub fn uplink(&self, protocol: &str, folder: &Path) -> String {
        let Some((port, ca)) = &self.secure else { return uplink(self.port, protocol, folder) };
        ca.write(&folder.join("ca.pem"));
        let file = |name: &str| folder.join(name).display().to_string();
        let own = if self.line == Line::Certificate {
            ca.sign(&["wp-07"], ALWAYS).write(&folder.join("node.pem"), &folder.join("node.key"));
            format!("cert_file = \"{}\"\nkey_file = \"{}\"", file("node.pem"), file("node.key"))
        } else {
            password(folder)
        };
        let papers = format!("ca_file = \"{}\"\n{own}", file("ca.pem"));
        uplink_to(&format!("mqtts://localhost:{port}"), protocol, &papers)
    }

    fn nats(&self, mode: Mode) -> Child {
        let deny = if mode == Mode::Refusing { "waypost.v1.*.*.event.>" } else { "no.such.subject" };
        let size = if mode == Mode::Small { format!("max_payload: {SMALL}\n") } else { String::new() };
        let conf = self.write(
            "nats.conf",
            &format!(
                "{size}server_name: alone\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\" }}\nmqtt {{ listen: \"127.0.0.1:{}\" }}\n{}",
                free_port(),
                self.path("jetstream").display(),
                self.port,
                nats_users(deny)
            ),
        );
        self.spawn(Command::new(program("nats-server").unwrap()).arg("-c").arg(conf))
    }

    /// Three members that know each other.
    fn write_cluster(&self) {
        let routes: Vec<u16> = std::iter::repeat_with(free_port).take(3).collect();
        let known = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(", ");
        for (at, (mqtt, route)) in self.ports.iter().zip(&routes).enumerate() {
            let text = format!(
                "server_name: n{at}\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\" }}\ncluster {{ name: yard, listen: \"127.0.0.1:{route}\", routes: [{known}] }}\nmqtt {{ listen: \"127.0.0.1:{mqtt}\" }}\n{}",
                free_port(),
                self.path(&format!("jetstream{at}")).display(),
                nats_users("no.such.subject")
            );
            self.write(&format!("n{at}.conf"), &text);
        }
    }

    fn member(&self, at: usize) -> Child {
        let conf = self.path(&format!("n{at}.conf"));
        self.spawn(Command::new(program("nats-server").unwrap()).arg("-c").arg(conf))
    }

    /// The map of names and the broker.
    fn rabbit(&self, mode: Mode) -> Vec<Child> {
        let names = self.fixed("epmd");
        let user = |name: &&str| json!({ "name": name, "password": name, "tags": "" });
        let all = |name: &&str| json!({ "user": name, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" });
        let write = if mode == Mode::Refusing { r"^waypost\.v1\.[^.]+\.[^.]+\.(?!event).*" } else { ".*" };
        let definitions = json!({
            "users": USERS.iter().map(user).collect::<Vec<_>>(), "vhosts": [{ "name": "/" }],
            "permissions": USERS.iter().map(all).collect::<Vec<_>>(),
            "topic_permissions": [{ "user": "wp-07", "vhost": "/", "exchange": "amq.topic", "write": write, "read": ".*" }],
        });
        let definitions = self.write("definitions.json", &definitions.to_string());
        let size = if mode == Mode::Small { format!("max_message_size = {SMALL}\n") } else { String::new() };
        let conf = self.write(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp = none\nmqtt.listeners.tcp.default = 127.0.0.1:{}\nmqtt.allow_anonymous = false\nmqtt.exchange = amq.topic\n{size}load_definitions = {}\nlog.console = false\n",
                self.port,
                definitions.display()
            ),
        );
        let plugins = self.write("enabled_plugins", "[rabbitmq_mqtt].\n");
        let mut map = Command::new(program("epmd").unwrap());
        let map = self.spawn(map.args(["-port", &names.to_string(), "-address", "127.0.0.1"]));
        wait_within(START, "epmd", || TcpStream::connect(("127.0.0.1", names)).ok());
        let mut rabbit = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        rabbit
            .env("HOME", self.dir.path())
            .env("ERL_EPMD_PORT", names.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        rabbit.env("RABBITMQ_NODENAME", format!("waypost{}@localhost", self.port));
        rabbit.env("RABBITMQ_DIST_PORT", free_port().to_string());
        for (name, path) in [
            ("RABBITMQ_MNESIA_BASE", self.path("mnesia")),
            ("RABBITMQ_LOG_BASE", self.path("log")),
            ("RABBITMQ_CONFIG_FILE", conf),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", plugins),
            ("RABBITMQ_CONF_ENV_FILE", self.path("none")),
        ] {
            rabbit.env(name, path);
        }
        vec![map, self.spawn(&mut rabbit)]
    }

    /// A port that stays the same over restarts.
    fn fixed(&self, name: &str) -> u16 {
        let file = self.path(name);
        if !file.exists() {
            std::fs::write(&file, free_port().to_string()).unwrap();
        }
        std::fs::read_to_string(file).unwrap().parse().unwrap()
    }

    fn spawn(&self, command: &mut Command) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.path("broker.log")).unwrap();
        let command = command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap());
        command.stderr(log).process_group(0).spawn().unwrap()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("broker.log")).unwrap_or_default()
    }
}

fn nats_users(deny: &str) -> String {
    let user = |name: &&str| {
        let no = if *name == "wp-07" { deny } else { "no.such.subject" };
        format!("  {{ user: \"{name}\", password: \"{name}\", permissions: {{ publish: {{ deny: [\"{no}\"] }} }} }}\n")
    };
    format!("authorization {{ users: [\n{}] }}\n", USERS.iter().map(user).collect::<String>())
}

/// Whether it answers a CONNECT with yes: an open port is not a broker yet.
fn is_ready(port: u16) -> bool {
    let asked = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let field = |text: &str| [&[0, u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat();
        let body = [field("MQTT"), vec![4, 0xc2, 0, 30], field("ready"), field("ear"), field("ear")].concat();
        stream.write_all(&[0x10, u8::try_from(body.len()).unwrap_or(0)])?;
        stream.write_all(&body)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(answer[3] == 0)
    };
    asked().unwrap_or(false)
}

fn end(child: &mut Child) {
    // SAFETY: a signal to the process group of our own child, which is not yet waited for.
    unsafe { libc::kill(-i32::try_from(child.id()).unwrap_or(0), libc::SIGKILL) };
    // The test is over or knows that it is gone.
    drop(child.wait());
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("the broker's log:\n{}", &log[log.floor_char_boundary(log.len().saturating_sub(4000))..]);
        }
        self.children.iter_mut().for_each(end);
    }
}

/// A port that leads to the first of several that takes a connection, as a name with several addresses would.
struct Route {
    port: u16,
    last: Arc<std::sync::Mutex<Option<usize>>>,
    over: Arc<AtomicBool>,
}

impl Route {
    fn to(ports: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (last, over) = (Arc::new(std::sync::Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let (theirs, ended) = (Arc::clone(&last), Arc::clone(&over));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                let found = ports
                    .iter()
                    .enumerate()
                    .find_map(|(at, port)| Some((at, TcpStream::connect(("127.0.0.1", *port)).ok()?)));
                let Some((at, server)) = found else { continue };
                *theirs.lock().unwrap() = Some(at);
                pipe(client.try_clone().unwrap(), server.try_clone().unwrap());
                pipe(server, client);
            }
        });
        Self { port, last, over }
    }

    /// The server the last client was led to.
    fn last(&self) -> Option<usize> {
        *self.last.lock().unwrap()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the listener; whether it still takes anything matters to nobody.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // Either end may go at any time; then both go.
        drop(std::io::copy(&mut from, &mut to));
        drop(from.shutdown(std::net::Shutdown::Both));
        drop(to.shutdown(std::net::Shutdown::Both));
    });
}

/// The uplink of the node, to `port`, with its password in a file below `folder`.
pub fn uplink(port: u16, protocol: &str, folder: &Path) -> String {
    uplink_to(&format!("mqtt://127.0.0.1:{port}"), protocol, &password(folder))
}

fn uplink_to(url: &str, protocol: &str, login: &str) -> String {
    format!(
        "[uplink]\nurl = \"{url}\"\nprotocol = \"{protocol}\"\n{login}\nbackoff_max_s = 5\nbackoff_spread_s = 0\nhealth_s = 5\n\n"
    )
}

/// The lines that name the node's password, which is then in a file below `folder`.
fn password(folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let secret = folder.join("password");
    std::fs::write(&secret, "wp-07\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o640)).unwrap();
    format!("username = \"wp-07\"\npassword_file = \"{}\"", secret.display())
}
