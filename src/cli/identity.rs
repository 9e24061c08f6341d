//! `waypost identity`: who the node is and to which machine it is bound. What changes something says first what it would do.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::Running;
use super::offline::{closed, failure};
use super::order::carry_out;
use super::{Done, Failure, exit, load, print};
use crate::config::{Config, is_id};
use crate::domain::Order;
use crate::wire;

/// The file that a rename writes: read after all others, so that it holds.
const FILE: &str = "zz-identity.toml";

#[derive(Subcommand)]
pub(super) enum Identity {
    /// Say who the node is, to which machine it is bound, and whether it may speak to the platform
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bind the node to the machine it runs on: after a card was moved; also lets a retired node go on
    Accept(Yes),
    /// Give the node another name from its next start on; what waits is sent under the old one first
    Rename {
        /// The new node.id: letters, digits, _ and -
        id: String,
        /// The new node.site
        #[arg(long)]
        site: Option<String>,
        #[command(flatten)]
        yes: Yes,
    },
    /// End the node: what waits is sent, then what it left at the broker is taken off
    Retire(Yes),
}

#[derive(Args)]
pub(super) struct Yes {
    /// Do it; without it the command only says what it would do
    #[arg(long)]
    yes: bool,
}

pub(super) fn identity(config: &Path, command: Identity) -> Done {
    let now = Now::look(config)?;
    match command {
        Identity::Show { json: true } => print(&format!("{:#}\n", now.identity)),
        Identity::Show { json: false } => print(&now.words()),
        Identity::Accept(Yes { yes }) => accept(config, &now, yes),
        Identity::Rename { id, site, yes: Yes { yes } } => rename(config, &now, &id, site.as_deref(), yes),
        Identity::Retire(Yes { yes }) => retire(config, &now, yes),
    }
}

/// How it is before anything is done.
struct Now {
    identity: Value,
    unsent: i64,
    runs: bool,
}

impl Now {
    fn look(config: &Path) -> Result<Self, Failure> {
        let count = |ledger: &Value| ledger["events"]["unsent"].as_i64().unwrap_or(0);
        if let Some(node) = Running::find(config)? {
            return Ok(Self { identity: node.get("/identity")?, unsent: count(&node.get("/ledger")?), runs: true });
        }
        let node = load(config)?.config.node;
        let look = closed(config)?.read(|reader| Ok((reader.binding()?, reader.ledger()?)));
        let (binding, ledger) = look.map_err(failure)?;
        let text = wire::identity(&node.site, &node.id, &binding);
        let identity = serde_json::from_str(&text).map_err(|e| Failure::new(exit::INTERNAL, e.to_string()))?;
        Ok(Self { identity, unsent: ledger.unsent.values().sum(), runs: false })
    }

    fn word(&self, key: &str) -> &str {
        self.identity[key].as_str().unwrap_or_default()
    }

    /// `site/id`
    fn name(&self) -> String {
        format!("{}/{}", self.word("site"), self.word("node"))
    }

    fn words(&self) -> String {
        let by: Vec<&str> =
            self.identity["bound_by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let bound = match self.identity["machine"].as_str() {
            Some(machine) => format!("machine {machine}, known by its {}", by.join(", ")),
            None => "no machine: nothing here tells it from others, and a copied card would not be noticed".to_owned(),
        };
        let stands = match self.word("standing") {
            "stranger" => format!(
                "stranger: it woke on machine {}; events are stored and wait. `waypost identity accept`, or rename first",
                self.word("woke_on")
            ),
            "retiring" => "retiring: what waits is sent, then what it left at the broker is taken off".to_owned(),
            "retired" => "retired: nothing is sent any more. `waypost identity accept` lets it go on".to_owned(),
            other => other.to_owned(),
        };
        format!("node     {}\nbound to {bound}\nstands   {stands}\nunsent   {}\n", self.name(), self.unsent)
    }
}

/// Says that nothing was done.
fn only_told(text: &str) -> Done {
    print(&format!("{text}Nothing was changed. To do it, run the command again with --yes.\n"))?;
    Ok(ExitCode::from(exit::NOT_WELL))
}

fn accept(config: &Path, now: &Now, yes: bool) -> Done {
    let (name, unsent) = (now.name(), now.unsent);
    let text = match now.word("standing") {
        "stranger" => format!(
            "{name} is bound to machine {} and woke on machine {}.\nAccept it if this is the only node called {name}: it is \
             bound to this machine then, and {unsent} events go to the platform.\nIf the one it was copied from goes on, give \
             this one another name first: waypost identity rename ID\n",
            now.word("machine"),
            now.word("woke_on")
        ),
        "retired" | "retiring" => {
            format!("{name} is {}. It goes on, and {unsent} events are sent.\n", now.word("standing"))
        }
        _ if now.runs => {
            return print(&format!("{name} is on the machine it is bound to: there is nothing to accept.\n"));
        }
        // Whether it is elsewhere shows when the store is opened.
        _ => format!("The store of {name} is bound to the machine this runs on.\n"),
    };
    if !yes {
        return only_told(&text);
    }
    carry_out(config, Order::Accept)?;
    print(&format!("{name} is bound to this machine and goes on.\n"))
}

fn retire(config: &Path, now: &Now, yes: bool) -> Done {
    let (name, unsent) = (now.name(), now.unsent);
    match now.word("standing") {
        "retired" => return print(&format!("{name} has ended already.\n")),
        "stranger" => {
            let text = "the card woke in another machine: its name is the other one's to end. Accept it first, or \
                        delete its store";
            return Err(Failure::new(exit::NOT_WELL, text));
        }
        _ => {}
    }
    if !yes {
        return only_told(&format!(
            "{name} ends: {unsent} events that wait are sent, then its retained messages are taken off the broker and nothing \
             more is sent. Events, register and counts stay in its store.\n"
        ));
    }
    let carried = carry_out(config, Order::Retire)?;
    print(&match carried["standing"].as_str() {
        Some("retired") => format!("{name} has ended.\n"),
        _ if now.runs => {
            format!(
                "{name} ends when {unsent} events are sent and the broker has been told; `waypost identity show` says when.\n"
            )
        }
        _ => format!("{name} ends at its next start, when it reaches the broker: start it once more.\n"),
    })
}

fn rename(config: &Path, now: &Now, id: &str, site: Option<&str>, yes: bool) -> Done {
    let before = load(config)?.config;
    let site = site.unwrap_or(&before.node.site);
    for (what, text) in [("id", id), ("site", site)] {
        if !is_id(text) {
            let text = format!("{text:?} cannot be a {what}; write 1 to 64 letters, digits, _ and -");
            return Err(Failure::new(exit::USAGE, text));
        }
    }
    let (was, is) = (format!("{}/{}", before.node.site, before.node.id), format!("{site}/{id}"));
    if was == is && now.name() == is {
        return print(&format!("{is} is its name already.\n"));
    }
    let file = part(config)?;
    let mut text = format!(
        "{was} becomes {is} at its next start, by {}. {} events that wait are sent under the old name first; then what the old \
         name left at the broker is taken off, and a new life of the store begins.\n",
        file.display(),
        now.unsent
    );
    text.push_str(&hints(&before, id));
    if !yes {
        return only_told(&text);
    }
    let old = write(&file, Some(&contents(id, site)))?;
    if let Err(failure) =
        holds(config, id, site).and_then(|()| carry_out(config, Order::Renamed(was, is.clone())).map(drop))
    {
        // As it was: the name is given whole, or not at all.
        write(&file, old.as_deref())?;
        return Err(failure);
    }
    let next = if now.runs { "Restart it: systemctl restart waypost" } else { "It starts as that." };
    print(&format!("{}{is} is written to {}. {next}\n", hints(&before, id), file.display()))
}

/// What else goes by the name.
fn hints(before: &Config, id: &str) -> String {
    let Some(uplink) = &before.uplink else { return String::new() };
    let mut text = String::new();
    if let Some(user) = &uplink.username {
        text.push_str(&format!(
            "The broker knows it as user {user}: where its rules go by the node's name, it must be let write and read under both \
             until nothing waits.\n"
        ));
    }
    if uplink.client_id != before.node.id && uplink.client_id != id {
        text.push_str(&format!("uplink.client_id is {} and stays so.\n", uplink.client_id));
    }
    text
}

/// The file beside the configuration.
fn part(config: &Path) -> Result<PathBuf, Failure> {
    let folder = config.parent().unwrap_or(Path::new(".")).join("conf.d");
    fs::create_dir_all(&folder).map_err(|error| unwritten(&folder, &error))?;
    Ok(folder.join(FILE))
}

fn contents(id: &str, site: &str) -> String {
    format!("# Written by `waypost identity rename`.\n[node]\nid = \"{id}\"\nsite = \"{site}\"\n")
}

/// Puts a text in the place of a file, or takes it away, whole and for good; answers what was there.
fn write(path: &Path, text: Option<&str>) -> Result<Option<String>, Failure> {
    let written = || -> io::Result<Option<String>> {
        let old = match fs::read_to_string(path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match text {
            Some(text) => {
                let draft = path.with_extension("toml.new");
                let mut file = File::create(&draft)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                fs::rename(&draft, path)?;
            }
            None if old.is_some() => fs::remove_file(path)?,
            None => {}
        }
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(old)
    };
    written().map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::PermissionDenied { exit::NOT_ALLOWED } else { exit::IO };
    Failure::new(code, format!("{}: {error}; the name is a file of the configuration: run it as root", path.display()))
}

/// Refuses a name that a file which is read later takes back.
fn holds(config: &Path, id: &str, site: &str) -> Result<(), Failure> {
    let node = load(config)?.config.node;
    if node.id == id && node.site == site {
        return Ok(());
    }
    let text = format!(
        "a file that is read after {FILE} says node.id {} and node.site {}; `waypost config` names it: change it there",
        node.id, node.site
    );
    Err(Failure::new(exit::NOT_WELL, text))
}
