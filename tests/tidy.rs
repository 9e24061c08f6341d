//! The house rules that no compiler keeps: which room may name which, sizes, and habits. `CONTRIBUTING.md` has them in words.
//! Each rule is a function over a path and a text, so that the tests below can show that it fails when it should.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use waypost::domain::{Reason, Warn};
use waypost::health::CommandOutcome;

/// The rooms in the order in which things pass, and the rooms each may name. A new arrow is a decision: write an ADR.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("config", &["domain"]),
    ("health", &["domain", "clock"]),
    ("decoder", &["domain"]),
    ("identity", &["domain"]),
    ("projection", &["domain"]),
    ("plan", &["domain"]),
    ("wire", &["domain"]),
    ("store", &["domain", "clock", "health"]),
    ("source", &["domain", "clock", "config", "health"]),
    (
        "ingest",
        &[
            "domain",
            "clock",
            "config",
            "health",
            "decoder",
            "identity",
            "projection",
            "plan",
            "wire",
            "store",
            "source",
        ],
    ),
    ("retention", &["domain", "clock", "config", "health", "projection", "wire", "store"]),
    ("screen", &["domain", "clock", "config", "health", "wire", "store", "retention"]),
    ("uplink", &["domain", "clock", "config", "health", "wire", "store"]),
    ("simulate", &["domain", "clock"]),
    ("devices", &[]),
    (
        "app",
        &["domain", "clock", "config", "health", "plan", "store", "source", "ingest", "retention", "screen", "uplink"],
    ),
    (
        "cli",
        &["domain", "clock", "config", "decoder", "plan", "wire", "store", "retention", "simulate", "devices", "app"],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Where the wall clock may be reckoned with, and why that steers nothing. Everywhere else it is stored and shown.
const RECKONERS: &[(&str, &str)] = &[
    ("src/clock/", "it judges the wall clock"),
    ("src/app/almanac.rs", "it shows how far it is off"),
    ("src/store/times.rs", "it writes down where it stood"),
    ("src/retention/age.rs", "its guards: a receipt by it is possible or not, and none leaves by it alone"),
    ("src/retention/shelves.rs", "the same for the lines of logs"),
    ("src/ingest/ring.rs", "the date of a capture, for people"),
    ("src/screen/sheet.rs", "ages of another boot, for people"),
    ("src/store/retry.rs", "for how long a person may open a letter again; the letter itself leaves by retention"),
    ("src/uplink/sign.rs", "when the next try is due, for people; the try itself goes by CLOCK_BOOTTIME"),
];

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of ARCHITECTURE.md: a map that nobody reads to its end is no map.
const MAP_LINES_MAX: usize = 250;

/// One line of Rust, taken apart.
#[derive(Default)]
struct Line {
    /// What the compiler sees, string literals emptied.
    code: String,
    /// What it does not.
    comment: String,
    /// The string literals that begin on it.
    strings: Vec<String>,
    /// Whether it belongs to tests.
    test: bool,
}

/// Takes Rust apart into code, comments and strings, line by line.
fn lines_of(text: &str, all_test: bool) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let line = lines.len() - 1;
        match rest {
            ['\n', ..] => {
                lines.push(Line::default());
                at += 1;
            }
            ['/', '/', ..] => {
                let end = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                lines[line].comment.extend(&rest[..end]);
                at += end;
            }
            ['/', '*', ..] => {
                let end = rest.windows(2).position(|two| two == ['*', '/']).map_or(rest.len(), |end| end + 2);
                lines[line].comment.extend(rest[..end].iter().filter(|c| **c != '\n'));
                lines.extend(rest[..end].iter().filter(|c| **c == '\n').map(|_| Line::default()));
                at += end;
            }
            ['\'', '\\', _, tail @ ..] => {
                at += 4 + tail.iter().position(|c| *c == '\'').unwrap_or(0);
                lines[line].code.push_str("' '");
            }
            ['\'', _, '\'', ..] => {
                at += 3;
                lines[line].code.push_str("' '");
            }
            ['"', ..] | ['r', '"' | '#', ..] if starts_string(&chars, at) => {
                let (literal, length) = string_at(rest);
                lines[line].code.push_str("\"\"");
                lines.extend(literal.chars().filter(|c| *c == '\n').map(|_| Line::default()));
                lines[line].strings.push(literal);
                at += length;
            }
            [c, ..] => {
                lines[line].code.push(*c);
                at += 1;
            }
            [] => break,
        }
    }
    mark_tests(&mut lines, all_test);
    lines
}

/// Whether a string literal begins here: an `r` that ends a name is none.
fn starts_string(chars: &[char], at: usize) -> bool {
    let after_name = at > 0 && (chars[at - 1].is_alphanumeric() && chars[at - 1] != 'b' || chars[at - 1] == '_');
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    chars[at] == '"' || (!after_name && chars.get(at + 1 + hashes) == Some(&'"'))
}

/// The string literal at the beginning, and how many characters it takes with its quotes.
fn string_at(rest: &[char]) -> (String, usize) {
    let raw = rest[0] == 'r';
    let hashes = rest[usize::from(raw)..].iter().take_while(|c| **c == '#').count();
    let open = usize::from(raw) + hashes + 1;
    let mut at = open;
    while at < rest.len() {
        if rest[at] == '\\' && !raw {
            at += 2;
        } else if rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            break;
        } else {
            at += 1;
        }
    }
    let end = at.min(rest.len());
    (rest[open.min(end)..end].iter().collect(), (end + 1 + hashes).min(rest.len()))
}

/// Marks what only tests see: a whole file, or what follows `#[cfg(test)] mod … {`.
fn mark_tests(lines: &mut [Line], all_test: bool) {
    let begins = |at: usize| {
        let next = lines[at + 1..].iter().find(|line| !line.code.trim().is_empty() && !line.code.contains("#["));
        lines[at].code.trim() == "#[cfg(test)]"
            && next.is_some_and(|line| {
                line.code.trim_start_matches("pub(crate) ").starts_with("mod ") && line.code.contains('{')
            })
    };
    let from = if all_test { 0 } else { (0..lines.len()).find(|at| begins(*at)).unwrap_or(lines.len()) };
    lines[from..].iter_mut().for_each(|line| line.test = true);
}

/// The room of a source file: `src/store/outbox.rs` and `src/store.rs` are `store`.
fn room_of(path: &str) -> Option<&str> {
    path.strip_prefix("src/")?.split(['/', '.']).next()
}

/// Everything that is wrong with a Rust file. Shape: `path:line: what; what to do instead`.
fn check(path: &str, text: &str, all_test: bool) -> Vec<String> {
    let lines = lines_of(text, all_test);
    let mut found = Vec::new();
    if !all_test && !text.starts_with("//!") {
        found.push(format!("{path}:1: opens without a sentence of //! that says what the file answers"));
    }
    let product = lines.iter().filter(|line| !line.test).count();
    if product > FILE_LINES_MAX {
        found.push(format!(
            "{path}: {product} lines without tests, {FILE_LINES_MAX} at most; split it where it tells two stories"
        ));
    }
    for (at, line) in lines.iter().enumerate() {
        let begin = statement_begin(&lines, at);
        let commented = lines[begin.saturating_sub(1)..=at].iter().any(|line| !line.comment.is_empty());
        let dropped = line.code.contains("let _ =")
            || (line.code.contains(".ok();")
                && !lines[begin..=at].iter().any(|line| line.code.contains('=') || line.code.contains("return")));
        let excused = || lines[at.saturating_sub(12)..at].iter().any(|above| is_excuse(&above.code));
        let mut say = |what: String| found.push(format!("{path}:{}: {what}", at + 1));
        habits(line, dropped && !commented, excused, &mut say);
        if path.starts_with("src/") && !line.test && !RECKONERS.iter().any(|(who, _)| path.starts_with(who)) {
            reckons(&line.code, &mut say);
        }
        if let Some(room) = room_of(path).filter(|_| !line.test) {
            arrows(room, line, &mut say);
        }
    }
    found
}

/// The line on which the statement that ends at `at` begins.
fn statement_begin(lines: &[Line], at: usize) -> usize {
    let ended = |line: &Line| line.code.trim_end().ends_with([';', '{', '}']) || line.code.trim().is_empty();
    (0..at).rev().find(|above| ended(&lines[*above])).map_or(0, |above| above + 1)
}

fn is_excuse(code: &str) -> bool {
    code.contains("clippy::expect_used") || code.contains("clippy::unwrap_used")
}

/// What no line may hold, in tests or outside.
fn habits(line: &Line, dropped: bool, excused: impl Fn() -> bool, say: &mut impl FnMut(String)) {
    let code = line.code.as_str();
    let mut refuse = |hit: bool, what: &str| {
        if hit {
            say(what.to_owned());
        }
    };
    refuse(code.contains("#[allow(") || code.contains("#![allow("), "`allow`; write #[expect(lint, reason = …)]");
    refuse(code.contains("super::super"), "`super::super`; name the room: crate::…");
    refuse(code.contains("use crate::{"), "`use crate::{…}`; one line a room, or nobody can follow the arrows");
    refuse(code.contains("::*;") && !line.test, "a glob import; name what is used");
    refuse(dropped, "a result is thrown away; say in a comment why that is no loss");
    refuse(
        (code.contains(".unwrap()") || code.contains(".expect(")) && !line.test && !excused(),
        "unwrap or expect; handle it, or prove it above and #[expect(…, reason = …)]",
    );
    refuse(
        ["TODO", "FIXME", "XXX", "HACK"].iter().any(|mark| line.comment.contains(mark)),
        "a note to oneself; do it now or write an issue",
    );
    refuse(line.test && calls(code, "sleep"), "a test sleeps; wait for the condition with a deadline");
    refuse(code.contains("#[ignore") || code.contains("#[should_panic"), "a test that is skipped or wants a panic");
    refuse(code.contains("fn test_"), "a test's name is the sentence it promises, without `test_`");
}

/// The wall clock steers nothing: no order, no timeout, no age goes by it.
fn reckons(code: &str, say: &mut impl FnMut(String)) {
    let signs = [" - ", " + ", " < ", " > ", " <= ", " >= ", ".max(", ".min(", ".saturating_sub(", ".abs()"];
    let is_near = |(at, _): (usize, &str)| {
        let (before, after) = code.split_at(at);
        let after = after.trim_start_matches("wall_ms").trim_start_matches("()");
        let before = before.trim_end_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '(' | ')' | '&'));
        let before = before.trim_end();
        signs.iter().any(|sign| after.starts_with(sign) || before.ends_with(sign.trim_end()))
    };
    if code.match_indices("wall_ms").any(is_near) {
        say("the wall clock is reckoned with; go by CLOCK_BOOTTIME, or say in RECKONERS why it steers nothing"
            .to_owned());
    }
}

/// Whether a function of this name is called.
fn calls(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        code[at + name.len()..].starts_with('(') && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// What a room may not name.
fn arrows(room: &str, line: &Line, say: &mut impl FnMut(String)) {
    let Some((_, known)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        say(format!("the room `{room}` is not in ARROWS of tests/tidy.rs; decide what it may name"));
        return;
    };
    for prefix in ["crate::", "waypost::"] {
        for (at, _) in line.code.match_indices(prefix) {
            let rest = &line.code[at + prefix.len()..];
            let named = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            let is_room = ARROWS.iter().any(|(name, _)| *name == named);
            if is_room && named != room && !known.contains(&named) {
                say(format!("`{room}` must not know `{named}`; see the arrows in ARCHITECTURE.md"));
            }
        }
    }
    if room != "store" && (line.code.contains("rusqlite") || line.strings.iter().any(|text| is_sql(text))) {
        say(format!("SQL in `{room}`; only `store` knows SQL"));
    }
    if room != "clock" && line.code.contains("SystemTime::now") {
        say(format!("`{room}` asks the wall clock; ask `clock`"));
    }
}

fn is_sql(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    ["insert into ", "insert or ", "delete from ", "create table ", "create index ", "alter table ", "pragma "]
        .iter()
        .any(|verb| text.starts_with(verb))
        || (text.starts_with("select ") && text.contains(" from "))
        || (text.starts_with("update ") && text.contains(" set "))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder whose name ends so; paths are relative to the crate. A folder that is not there has none.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Some(path) = path.strip_prefix(root()).ok().and_then(Path::to_str)
                && path.ends_with(ending)
            {
                found.push(path.to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files that a `#[cfg(test)] mod name;` brings in: beside the file, or in the folder named after it.
fn files_of_tests(sources: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources {
        let text = read(path);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| **line == "#[cfg(test)]") {
            let named = lines[at + 1..].iter().find(|line| !line.starts_with("#["));
            let Some(name) = named.and_then(|line| line.rsplit("mod ").next()?.strip_suffix(';')) else { continue };
            let parent = Path::new(path).parent().unwrap_or(Path::new(""));
            let own = Path::new(path).with_extension("");
            let hinted = lines[at + 1].strip_prefix("#[path = \"").and_then(|line| line.strip_suffix("\"]"));
            for folder in [parent, own.as_path()] {
                let file = hinted.map_or_else(|| format!("{name}.rs"), str::to_owned);
                found.extend(folder.join(file).to_str().map(str::to_owned));
            }
        }
    }
    found
}

/// The links of a Markdown text that point at files of this repository.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
    targets.filter(|to| !to.is_empty() && !to.contains("://") && !to.starts_with("mailto:")).collect()
}

/// The names that a text gives by their path, as `store::Txn`: each part of it.
fn names(text: &str) -> Vec<&str> {
    let quoted =
        text.split('`').skip(1).step_by(2).filter(|name| name.contains("::") && !name.contains([' ', '/', '[']));
    quoted.flat_map(|name| name.split("::")).collect()
}

fn documents() -> Vec<String> {
    let mut found: Vec<String> = ["docs", "config", "hardware", "migrations", "cross", "systemd"]
        .iter()
        .flat_map(|folder| files(folder, ".md"))
        .collect();
    found.extend(["README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG", "SECURITY"].map(|name| format!("{name}.md")));
    found
}

/// Fails with every finding, a line each.
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_file_keeps_the_house_rules() {
    let sources = files("src", ".rs");
    let tests = files_of_tests(&sources);
    let mut found: Vec<String> =
        sources.iter().flat_map(|path| check(path, &read(path), tests.contains(path))).collect();
    found.extend(files("tests", ".rs").iter().flat_map(|path| check(path, &read(path), true)));
    none(&found);
}

#[test]
fn the_map_is_short_and_names_every_room_and_only_what_there_is() {
    let map = read("ARCHITECTURE.md");
    let mut found: Vec<String> = ARROWS
        .iter()
        .filter(|(room, _)| !["main", "lib"].contains(room) && !map.contains(&format!("### `{room}`")))
        .map(|(room, _)| format!("ARCHITECTURE.md: no heading ### `{room}`"))
        .collect();
    if map.lines().count() > MAP_LINES_MAX {
        found.push(format!("ARCHITECTURE.md: {} lines, {MAP_LINES_MAX} at most", map.lines().count()));
    }
    let sources: String = files("src", ".rs").iter().map(|path| read(path)).collect();
    let words: BTreeSet<&str> = sources.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    found.extend(
        names(&map)
            .iter()
            .filter(|name| !words.contains(*name))
            .map(|name| format!("ARCHITECTURE.md: no {name} in src")),
    );
    none(&found);
}

#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    let mut found = Vec::new();
    for path in documents() {
        let folder = root().join(Path::new(&path).parent().unwrap_or(Path::new("")));
        let text = read(&path);
        found.extend(
            links(&text).iter().filter(|to| !folder.join(to).exists()).map(|to| format!("{path}: nothing at {to}")),
        );
    }
    none(&found);
}

/// What asks the environment in the file of the hooks, outside of what only debug builds have.
fn hooks_of_release(text: &str) -> Vec<&str> {
    let (before, rest) = text.split_once("#[cfg(debug_assertions)]\nmod hook {").unwrap_or((text, ""));
    let after = rest.split_once("\n}\n").map_or("", |(_, after)| after);
    before.lines().chain(after.lines()).filter(|line| line.contains("env::")).collect()
}

#[test]
fn only_debug_builds_can_be_turned_by_the_faults() {
    assert_eq!(hooks_of_release(&read("src/health/wedge.rs")), Vec::<&str>::new());
    let planted = "#[cfg(debug_assertions)]\nmod hook {\n std::env::var(a)\n}\nfn f() { std::env::var(b) }\n";
    assert_eq!(hooks_of_release(planted), ["fn f() { std::env::var(b) }"]);
    for path in files("src", ".rs").iter().filter(|path| *path != "src/health/wedge.rs") {
        let text = read(path);
        let hooks =
            ["WEDGE", "POINT", "SYNC", "KEEP_MS", "NTP_MARK", "LASTED_MS"].map(|name| format!("WAYPOST_{name}"));
        let asked = hooks
            .iter()
            .find(|name| text.contains(&format!("var(\"{name}")) || text.contains(&format!("var_os(\"{name}")));
        assert_eq!(asked, None::<&String>, "{path} asks for a hook itself; ask health::wedge");
    }
}

/// `UPDATE=1 cargo test --test tidy` writes the page anew.
#[test]
fn the_page_of_reasons_says_what_the_code_says() {
    let mut page = String::from(
        "# Reasons\n\nWhy something was refused, in the words of label, log field and page key. Made from `src/domain/loss.rs` by \
         `UPDATE=1 cargo test --test tidy`;\na change here is a change of the code. `decide`: a person can do something, it counts until \
         somebody did. `noise`: it ends with `retention_days`.\n\n\
         | reason | class | retry helps | what happened | what to do |\n| --- | --- | --- | --- | --- |\n",
    );
    for reason in Reason::ALL {
        let retry = if reason.retry_helps() { "yes" } else { "no" };
        let (code, class) = (reason.as_str(), reason.class().as_str());
        page.push_str(&format!("| `{code}` | {class} | {retry} | {} | {} |\n", reason.sentence(), reason.advice()));
    }
    page.push_str(
        "\n## Warnings\n\nWhat is odd about a scan that is kept all the same, in the field `warn` of its event: ",
    );
    let warnings: Vec<String> = Warn::ALL.iter().map(|warn| format!("`{}`", warn.as_str())).collect();
    page.push_str(&format!("{}.\n", warnings.join(", ")));
    page.push_str(
        "\n## Commands\n\nWhat became of a [command of the centre](mqtt.md#commands): the `reason` of its answer, and the label `outcome`.\n\n\
         | reason | what happened |\n| --- | --- |\n",
    );
    for outcome in CommandOutcome::ALL {
        page.push_str(&format!("| `{}` | {} |\n", outcome.as_str(), outcome.sentence()));
    }
    let path = root().join("docs/reasons.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        read("docs/reasons.md") == page,
        "docs/reasons.md is not what the code says; UPDATE=1 cargo test --test tidy"
    );
}

#[test]
fn each_habit_is_refused_where_it_matters_and_only_there() {
    let body = |line: &str| format!("//! A file.\nfn f() {{\n{line}\n}}\n");
    let test = |line: &str| format!("//! A file.\n#[cfg(test)]\nmod tests {{\n{line}\n}}\n");
    for (text, says) in [
        (body("#[allow(dead_code)]"), "`allow`"),
        (body("use super::super::x;"), "super::super"),
        (body("use crate::{domain, clock};"), "one line a room"),
        (body("use crate::domain::*;"), "glob"),
        (body("let _ = send();"), "thrown away"),
        (body("send().ok();"), "thrown away"),
        (body("x.unwrap();"), "unwrap"),
        (body("x.expect(\"y\");"), "unwrap"),
        (body("// TODO: later"), "note to oneself"),
        (body("if now.wall_ms > due_ms { go(); }"), "wall clock"),
        (body("let age = clock.now().wall_ms - at;"), "wall clock"),
        (body("let left = due_ms - self.clock.now().wall_ms;"), "wall clock"),
        (test("std::thread::sleep(d);"), "sleeps"),
        (test("#[ignore]"), "skipped"),
        (test("fn test_it() {}"), "without `test_`"),
        ("fn f() {}".to_owned(), "opens without"),
        (format!("//! A file.\n{}", "fn f() {}\n".repeat(FILE_LINES_MAX)), "lines without tests"),
    ] {
        let found = check("src/domain/x.rs", &text, false);
        assert!(found.len() == 1 && found[0].contains(says), "{text:.60} gave {found:?}, not one with {says:?}");
    }
    for text in [
        body("// The asker may be gone.\nlet _ = send();"),
        body("let n = text\n.parse()\n.ok();"),
        body("let row = (at_ms - 5, now.wall_ms, self.now.wall_ms);"),
        test("let age = now.wall_ms - 5;"),
        body("let why = \"let _ = x.unwrap(); // TODO: use crate::{a}\";"),
        body("#[expect(clippy::expect_used, reason = \"proved\")]\nlet x = y.expect(\"proved\");"),
        body("tokio::time::sleep(wait).await; let c = '\"'; let q = '\\''; // it's"),
        test("use super::*; x.unwrap();"),
        format!("//! A file.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(FILE_LINES_MAX)),
    ] {
        assert_eq!(check("src/domain/x.rs", &text, false), Vec::<String>::new(), "{text:.80}");
    }
}

#[test]
fn an_arrow_that_points_the_wrong_way_is_refused() {
    let file = |line: &str| format!("//! A file.\n{line}\n");
    for (path, line, says) in [
        ("src/domain/event.rs", "use crate::store::Store;", "`domain` must not know `store`"),
        ("src/screen/stream.rs", "fn f() { crate::uplink::g() }", "`screen` must not know `uplink`"),
        ("src/store/places.rs", "use crate::projection::fold;", "`store` must not know `projection`"),
        ("src/source/tcp.rs", "use crate::ingest::take;", "`source` must not know `ingest`"),
        ("src/main.rs", "fn main() { waypost::app::start() }", "`main` must not know `app`"),
        ("src/uplink/mod.rs", "const Q: &str = \"select seq from outbox\";", "only `store` knows SQL"),
        ("src/uplink/mod.rs", "use rusqlite::Connection;", "only `store` knows SQL"),
        ("src/health/beat.rs", "fn f() { std::time::SystemTime::now(); }", "ask `clock`"),
        ("src/utils.rs", "fn f() {}", "not in ARROWS"),
    ] {
        let found = check(path, &file(line), false);
        assert!(!found.is_empty() && found.iter().all(|one| one.contains(says)), "{path} {line} gave {found:?}");
    }
    for (path, line) in [
        ("src/ingest/mod.rs", "use crate::source::Input;"),
        ("src/store/outbox.rs", "const Q: &str = \"select seq from outbox\";"),
        ("src/health/board.rs", "//! See [`crate::store`]."),
        ("src/screen/x.rs", "#[cfg(test)]\nmod tests {\nuse crate::ingest::x;\n}"),
    ] {
        assert_eq!(check(path, &file(line), false), Vec::<String>::new(), "{path}");
    }
    assert_eq!(names("see `store::Txn`, `not this` and `a`"), ["store", "Txn"]);
    assert_eq!(links("[a](b.md#c) [d](https://x) [e](f)"), ["b.md", "f"]);
}
