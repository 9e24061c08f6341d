//! What the machine says of itself: kernel, memory, time, mounts, devices, the unit as it holds, systemd's word and the journal.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::scrub::is_secret;
use super::{Bundle, FILE_MAX};
use crate::clock::Clock;
use crate::devices::{self, Roots};
use crate::store::Files;

/// Most that is read of a small file of the system. Bytes
const FACT_MAX: u64 = 64 << 10;
/// Entries of a folder that are listed.
const ENTRIES_MAX: usize = 200;
/// A program of the system that takes longer is ended. Seconds
const PATIENCE_S: &str = "10";
/// Lines of the journal.
const JOURNAL_LINES: &str = "1000";
/// What systemd is asked of the unit: nothing that holds what an administrator wrote into its environment.
const PROPERTIES: &str = "Id,LoadState,UnitFileState,ActiveState,SubState,Result,NRestarts,InvocationID,MainPID,ExecMainStartTimestamp,\
     ExecMainExitTimestamp,ExecMainCode,ExecMainStatus,StateChangeTimestamp,ActiveEnterTimestamp,InactiveEnterTimestamp,WatchdogUSec,\
     WatchdogTimestamp,TimeoutStartUSec,TimeoutStopUSec,Restart,RestartUSec,MemoryCurrent,MemoryPeak,MemoryHigh,MemoryMax,TasksCurrent,\
     CPUUsageNSec,IOReadBytes,IOWriteBytes,FragmentPath,DropInPaths,NeedDaemonReload,StatusText";

/// Puts all of it into the bundle.
pub(super) fn gather(bundle: &mut Bundle, roots: &Roots, store: &Path) {
    bundle.put("machine/facts.txt", Ok(facts(roots, store)));
    bundle.put("machine/files.txt", Ok(listings(roots, store)));
    let devices = devices::list(roots).map(|found| devices::print(&found, true));
    bundle.put_json_text("machine/devices.json", devices.map_err(|error| error.to_string()));
    bundle.put("machine/claims.txt", joined(&claims(roots), "no device is claimed"));
    bundle.put("systemd/unit.txt", unit(roots));
    for name in ["starts.json", "ended"] {
        bundle.put(&format!("systemd/{name}"), read(&roots.run.join("waypost").join(name)));
    }
    bundle.put("systemd/show.txt", program("systemctl", &["show", "waypost.service", "--property", PROPERTIES]));
    bundle.put("machine/time.txt", program("timedatectl", &["show"]));
    let journal = ["-u", "waypost.service", "-n", JOURNAL_LINES, "--no-pager", "-o", "short-iso"];
    // Anything may be in there, of other programs of the unit too: only where every secret can be looked for.
    let journal = match bundle.scrub.unread() {
        None => program("journalctl", &journal),
        Some(why) => Err(format!("secrets that may not be read cannot be looked for in it ({why}); run it as root")),
    };
    bundle.put("logs/journal.txt", journal);
}

/// A file of the system as text; why not, with its name.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FACT_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn facts(roots: &Roots, store: &Path) -> String {
    let mut out = String::new();
    let now = Clock::system().now();
    // Writing into a String cannot fail; the same below.
    writeln!(out, "== time\nwall clock {} ms since 1970, {} ms since the boot\n", now.wall_ms, now.mono_ms())
        .unwrap_or_default();
    let room = Files::measure(&store.join("waypost.db"));
    let free = room.free.map_or_else(|| "not told".to_owned(), |free| format!("{} MiB", free >> 20));
    writeln!(out, "== room\nfree on the file system of {}: {free}\n", store.display()).unwrap_or_default();
    let files = [
        ("kernel", roots.proc.join("version")),
        ("boot", roots.proc.join("sys/kernel/random/boot_id")),
        ("uptime", roots.proc.join("uptime")),
        ("load", roots.proc.join("loadavg")),
        ("system", roots.etc.join("os-release")),
        ("model", roots.sys.join("firmware/devicetree/base/model")),
        ("product", roots.sys.join("class/dmi/id/product_name")),
        ("power of a Raspberry Pi (0: well)", roots.sys.join("devices/platform/soc/soc:firmware/get_throttled")),
        ("temperature, thousandths of a degree", roots.sys.join("class/thermal/thermal_zone0/temp")),
        ("waiting for processors", roots.proc.join("pressure/cpu")),
        ("waiting for disks", roots.proc.join("pressure/io")),
        ("waiting for memory", roots.proc.join("pressure/memory")),
        ("memory", roots.proc.join("meminfo")),
    ];
    for (title, path) in files {
        let text = read(&path).unwrap_or_else(|why| format!("not to be had: {why}"));
        writeln!(out, "== {title}\n{}\n", text.trim_end()).unwrap_or_default();
    }
    let mounts = read(&roots.proc.join("self/mounts")).unwrap_or_default();
    // Of others neither address nor options matter.
    let holds = |line: &&str| line.split(' ').nth(1).is_some_and(|point| store.starts_with(point));
    writeln!(out, "== mounts that lead to the store").unwrap_or_default();
    mounts.lines().filter(holds).for_each(|line| writeln!(out, "{line}").unwrap_or_default());
    out
}

/// Names, sizes and modes of what belongs to waypost; of no file what is in it.
fn listings(roots: &Roots, store: &Path) -> String {
    let etc = roots.etc.join("waypost");
    let run = roots.run.join("waypost");
    let folders = [etc.clone(), etc.join("conf.d"), etc.join("credentials"), run, store.to_owned()];
    let below = ["archive", "quarantine", "captures"].map(|name| store.join(name));
    let mut out = String::new();
    for folder in folders.iter().chain(&below) {
        writeln!(out, "== {}", folder.display()).unwrap_or_default();
        match list(folder) {
            Ok(lines) => out.push_str(&lines),
            Err(error) => writeln!(out, "not to be had: {error}").unwrap_or_default(),
        }
        out.push('\n');
    }
    out
}

fn list(folder: &Path) -> io::Result<String> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let (mut out, more) = (String::new(), entries.len().saturating_sub(ENTRIES_MAX));
    for path in entries.iter().take(ENTRIES_MAX) {
        let name = path.file_name().unwrap_or_default().display();
        match fs::symlink_metadata(path) {
            Ok(found) => {
                let (mode, uid, gid) = (found.mode(), found.uid(), found.gid());
                writeln!(out, "{mode:06o} {uid}:{gid} {:>12} {:>12} {name}", found.len(), found.mtime())
            }
            Err(error) => writeln!(out, "{name}: {error}"),
        }
        .unwrap_or_default();
    }
    if more > 0 {
        writeln!(out, "and {more} more").unwrap_or_default();
    }
    Ok(out)
}

fn claims(roots: &Roots) -> Vec<PathBuf> {
    let rules = files_of(&roots.etc.join("udev/rules.d"));
    let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("waypost"));
    rules.into_iter().filter(is_ours).collect()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    // A folder that is not there has no files.
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.truncate(ENTRIES_MAX);
    found
}

/// Files one after the other, each under its name.
fn joined(files: &[PathBuf], none: &str) -> Result<String, String> {
    if files.is_empty() {
        return Err(none.to_owned());
    }
    let each = files.iter().map(|path| {
        let text = read(path).unwrap_or_else(|why| format!("not to be had: {why}"));
        format!("# {}\n{}\n", path.display(), text.trim_end())
    });
    Ok(each.collect())
}

/// The files of the unit in the order in which systemd takes them: the unit, then what is dropped in.
pub(super) fn unit_files(roots: &Roots) -> Vec<PathBuf> {
    let places =
        [roots.etc.join("systemd/system"), roots.run.join("systemd/system"), roots.usr.join("lib/systemd/system")];
    let unit = places.iter().map(|place| place.join("waypost.service")).find(|path| path.exists());
    let dropped = places.iter().flat_map(|place| files_of(&place.join("waypost.service.d")));
    let mut dropped: Vec<PathBuf> = dropped.filter(|path| path.extension().is_some_and(|end| end == "conf")).collect();
    dropped.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    unit.into_iter().chain(dropped).collect()
}

/// The unit as it holds, without its comments and without the values of what it sets in the environment.
fn unit(roots: &Roots) -> Result<String, String> {
    let files = unit_files(roots);
    if files.is_empty() {
        return Err("waypost is no unit of this machine".to_owned());
    }
    let each = files.iter().map(|path| match read(path) {
        Ok(text) => format!("# {}\n{}\n", path.display(), settings(&text).map(|line| line + "\n").collect::<String>()),
        Err(why) => format!("# not to be had: {why}\n"),
    });
    Ok(each.collect())
}

/// The lines of a unit that say something, each as it may be shown.
fn settings(text: &str) -> impl Iterator<Item = String> {
    lines(text).into_iter().map(|line| {
        let Some((key, value)) = line.split_once('=') else { return line };
        let (key, value) = (key.trim(), value.trim());
        let program = value.split_whitespace().next().unwrap_or_default();
        match key {
            "Environment" => {
                let names: Vec<String> = assignments(value).into_iter().map(|(name, _)| name).collect();
                format!("{key}, of which only the names: {}", names.join(" "))
            }
            "SetCredential" | "SetCredentialEncrypted" => {
                format!("{key}={}:…", value.split(':').next().unwrap_or_default())
            }
            // What somebody calls before or after may have anything among its words.
            _ if key.starts_with("Exec") && !program.ends_with("/waypost") && !value.is_empty() => {
                format!("{key}={program} …")
            }
            _ => line,
        }
    })
}

/// Lines as systemd reads them: without comments, and with those that go on put together.
fn lines(text: &str) -> Vec<String> {
    let (mut out, mut open) = (Vec::<String>::new(), false);
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match out.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(part.trim());
            }
            None => out.push(part.trim().to_owned()),
        }
        open = goes_on;
    }
    out.retain(|line| !line.is_empty());
    out
}

/// `NAME=value` words of an `Environment=` line; quotes hold a word together.
fn assignments(value: &str) -> Vec<(String, String)> {
    let (mut words, mut word, mut quote, mut chars) = (Vec::new(), String::new(), None, value.chars());
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, None) if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    // A word that assigns nothing sets nothing.
    words
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The secrets that the unit sets in the environment, a line each.
pub(super) fn secrets_of_unit(roots: &Roots) -> String {
    let texts = unit_files(roots).into_iter().filter_map(|path| read(&path).ok());
    let lines = texts.flat_map(|text| lines(&text));
    let set = lines.filter_map(|line| line.strip_prefix("Environment=").map(assignments)).flatten();
    set.filter(|(name, _)| is_secret(name)).map(|(_, value)| value + "\n").collect()
}

/// What a program of the system prints; why not, in its words.
fn program(name: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", PATIENCE_S, name]).args(args).env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("{name} cannot be called: {error}"))?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let most = u64::try_from(FILE_MAX).unwrap_or(u64::MAX);
    // What has more to say than is taken hears that nobody listens, and ends.
    let read = child.stdout.take().map_or(Ok(0), |out| out.take(most).read_to_end(&mut said));
    let read =
        read.and_then(|_| child.stderr.take().map_or(Ok(0), |err| err.take(FACT_MAX).read_to_end(&mut complained)));
    let ended = child.wait().map_err(|error| format!("{name}: {error}"))?;
    read.map_err(|error| format!("{name}: {error}"))?;
    let (said, complained) = (String::from_utf8_lossy(&said), String::from_utf8_lossy(&complained));
    let why = complained.trim().lines().next().unwrap_or_default();
    if said.len() >= FILE_MAX {
        return Ok(said.into_owned());
    }
    match ended.code() {
        Some(0) if said.trim().is_empty() || said.starts_with("-- No entries --") => {
            Err(if why.is_empty() { format!("{name} has nothing to say") } else { format!("{name}: {why}") })
        }
        Some(0) => Ok(said.into_owned()),
        Some(124 | 137) => Err(format!("{name} did not end within {PATIENCE_S} s")),
        Some(127) => Err(format!("there is no {name} here")),
        code => Err(format!(
            "{name} ended with {}: {why}",
            code.map_or_else(|| "a signal".to_owned(), |code| code.to_string())
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_shown_without_comments_values_of_the_environment_and_words_of_other_programs() {
        let text = "# old token abc\n[Service]\nEnvironment=\"TOKEN=a b\" PLAIN=x \\\n  # between\n  'OTHER=c d' word\n;x\nUMask=0077\n\
                    Environment=\nExecStart=/usr/bin/waypost run --config /x\nExecStartPre=-/bin/curl -H Secret\nExecStartPost=\n\
                    SetCredential=pin:123456\nLoadCredential=pin:/etc/pin\n";
        let shown: Vec<String> = settings(text).collect();
        let expect = [
            "[Service]",
            "Environment, of which only the names: TOKEN PLAIN OTHER",
            "UMask=0077",
            "Environment, of which only the names: ",
            "ExecStart=/usr/bin/waypost run --config /x",
            "ExecStartPre=-/bin/curl …",
            "ExecStartPost=",
            "SetCredential=pin:…",
            "LoadCredential=pin:/etc/pin",
        ];
        assert_eq!(shown, expect);
        let set = assignments("\"TOKEN=a b\" B=c\\ d 'E=\"' word");
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(set, [of("TOKEN", "a b"), of("B", "c d"), of("E", "\"")]);
    }

    #[test]
    fn a_program_that_is_not_there_fails_or_says_nothing_is_told_with_why() {
        assert_eq!(program("no-such-program", &[]), Err("there is no no-such-program here".to_owned()));
        assert_eq!(
            program("sh", &["-c", "echo no such unit >&2; exit 3"]),
            Err("sh ended with 3: no such unit".to_owned())
        );
        assert_eq!(program("sh", &["-c", "echo not for you >&2"]), Err("sh: not for you".to_owned()));
        assert_eq!(program("sh", &["-c", "echo well; echo a hint >&2"]), Ok("well\n".to_owned()));
        assert!(program("yes", &[]).is_ok_and(|text| text.len() == FILE_MAX), "what has no end is cut");
    }
}
