//! A PostgreSQL alone in a folder, reached by its socket only, and the programs of `examples/central` at work on it.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::bench::{program, repository, stderr, stdout, wait_for};

/// A cluster with the tables of `examples/central`.
pub struct Postgres {
    dir: tempfile::TempDir,
    child: Child,
}

/// The folder of the newest server here.
fn server() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").is_file());
    found.sort();
    found.pop()
}

/// What runs a program as a user who is not root: PostgreSQL refuses that one.
fn lesser(program: &Path) -> Command {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(program);
    command
}

impl Postgres {
    /// None, said aloud, when it or the Python that the examples need is not here.
    pub fn start() -> Option<Self> {
        let python = Command::new("/usr/bin/python3").args(["-c", "import paho.mqtt, psycopg2"]).output();
        let (Some(bin), true) = (server(), python.is_ok_and(|out| out.status.success())) else {
            eprintln!(
                "SKIPPED: postgresql, python3-psycopg2 or python3-paho-mqtt is not installed; `make test-brokers` installs them"
            );
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if let Some(id) = Command::new("id").args(["-u", "postgres"]).output().ok().filter(|out| out.status.success()) {
            // As its owner it may enter, whoever runs the test.
            drop(chown(dir.path(), stdout(&id).trim().parse().ok(), None));
        }
        let home = dir.path().display().to_string();
        let data = dir.path().join("data");
        let mut initdb = lesser(&bin.join("initdb"));
        let made = initdb
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-N", "-D"])
            .arg(&data)
            .current_dir(&home)
            .output();
        assert!(made.as_ref().unwrap().status.success(), "{}", stderr(&made.unwrap()));
        let mut postgres = lesser(&bin.join("postgres"));
        postgres
            .arg("-D")
            .arg(&data)
            .args(["-k", &home, "-c", "listen_addresses=", "-c", "fsync=off"])
            .current_dir(&home);
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let postgres = Self { dir, child };
        wait_for("PostgreSQL", || {
            postgres.psql("postgres", &["-c", "create database centre"]).status.success().then_some(())
        });
        let tables = postgres.psql("centre", &["-f", repository("examples/central/tables.sql").to_str().unwrap()]);
        assert!(tables.status.success(), "{}", stderr(&tables));
        Some(postgres)
    }

    fn psql(&self, database: &str, args: &[&str]) -> Output {
        let mut psql = Command::new(program("psql").unwrap());
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"]);
        psql.arg(self.dir.path()).args(args).output().unwrap()
    }

    /// Rows of a query, columns between bars.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let out = self.psql("centre", &["-c", sql]);
        assert!(out.status.success(), "{sql}: {}", stderr(&out));
        stdout(&out).lines().map(str::to_owned).collect()
    }

    pub fn count(&self, what: &str) -> u64 {
        self.rows(&format!("select count(*) from {what}"))[0].parse().unwrap()
    }

    pub fn dsn(&self) -> String {
        format!("host={} user=postgres dbname=centre", self.dir.path().display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT to the server: an end without delay. It is our own child, or what that became.
        // SAFETY: a signal to our own child, which is not yet waited for.
        unsafe { libc::kill(i32::try_from(self.child.id()).unwrap_or(0), libc::SIGQUIT) };
        drop(self.child.wait());
    }
}

/// A program of `examples/central`, with what it says in a file. Killed when the test ends before it does.
pub struct Example {
    child: Child,
    log: PathBuf,
}

impl Example {
    pub fn start(name: &str, args: &[&str], log: &Path) -> Self {
        let said = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let child = command(name).args(args).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        Self { child, log: log.to_owned() }
    }

    /// Waits until it has said something so often.
    pub fn has_said(&self, what: &str, times: usize) {
        wait_for(what, || {
            let said = std::fs::read_to_string(&self.log).unwrap();
            (said.lines().filter(|line| line.contains(what)).count() >= times).then_some(())
        });
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), std::fs::read_to_string(&self.log).unwrap_or_default());
        }
        // The test is over: whether it can still be ended matters to nobody.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program of `examples/central`, not yet started.
pub fn command(name: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-B").arg("-u").arg(repository("examples/central").join(name)).stdin(Stdio::null());
    command
}
