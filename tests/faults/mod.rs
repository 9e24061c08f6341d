//! Every fault that waypost is built for, done to it: a list of cases, each with its promise, run some at a time with a
//! table at the end. `make faults` runs all in full size; the cheap ones run with every `make test`.

mod damage;
mod disk;
mod inject;
mod known;
mod machine;
mod mixed;
mod points;
mod power;
mod process;
mod vices;
mod works;
mod yard;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::bench::{full, program, repository};

/// What a case needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be root.
    Root,
    /// Loop devices, mount and mkfs.ext4.
    Loop,
    /// A group of processes with a memory of its own.
    MemoryGroup,
    /// A program.
    Program(&'static str),
}

impl Need {
    /// What is missing of it here; none when it is there.
    fn missing(self) -> Option<String> {
        match self {
            // SAFETY: asks for a number.
            Self::Root => (unsafe { libc::geteuid() } != 0).then(|| "root".to_owned()),
            Self::Loop => {
                let here = disk::can_loop();
                (!here).then(|| "a loop device that can be mounted".to_owned())
            }
            Self::MemoryGroup => machine::MemoryGroup::new().is_none().then(|| "a memory group".to_owned()),
            Self::Program(name) => program(name).is_none().then(|| name.to_owned()),
        }
    }
}

/// What was done.
pub struct Seen {
    /// How often the fault was done.
    pub times: u64,
    /// What was seen, with figures.
    pub said: String,
}

/// When a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// With every `make test`, and with `make faults`.
    Always,
    /// With `make faults` only.
    Full,
    /// A test of its own runs it with every `make test`; `make faults` runs it for the table.
    Elsewhere,
}

/// What may run beside a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    Others,
    /// It holds the node to a time, or takes all of the machine.
    Nothing,
}

/// Who does it.
#[derive(Clone, Copy)]
pub enum Run {
    /// A function of this harness. It panics when the promise is broken.
    Here(fn() -> Seen),
    /// A test of this binary, by its name.
    Test(&'static str, fn()),
    /// The tests of the library whose names hold one of these.
    Library(&'static [&'static str]),
}

/// A fault and the promise about it.
#[derive(Clone, Copy)]
pub struct Case {
    /// As `docs/faults.md` names it.
    pub id: &'static str,
    /// What is done.
    pub fault: &'static str,
    /// What is promised.
    pub then: &'static str,
    pub when: When,
    pub beside: Beside,
    pub needs: &'static [Need],
    pub run: Run,
}

/// A case of this harness.
pub const fn case(
    id: &'static str,
    (fault, then): (&'static str, &'static str),
    when: When,
    needs: &'static [Need],
    run: fn() -> Seen,
) -> Case {
    Case { id, fault, then, when, beside: Beside::Others, needs, run: Run::Here(run) }
}

/// Every case, in the order of the table.
pub fn cases() -> Vec<Case> {
    let rooms: [&[Case]; 12] = [
        &mixed::CASES,
        &points::CASES,
        &power::CASES,
        &inject::CASES,
        &disk::CASES,
        &damage::CASES,
        &process::CASES,
        &machine::CASES,
        &works::CASES,
        &vices::CASES,
        &known::OUTSIDE,
        &known::INSIDE,
    ];
    let mut all: Vec<Case> = rooms.concat();
    all.sort_by_key(|case| case.id);
    assert!(all.windows(2).all(|two| two[0].id != two[1].id), "each case has a name of its own");
    all
}

/// How a case ended.
enum Verdict {
    Green(Seen),
    Red(String),
    Skipped(String),
}

struct Row {
    id: &'static str,
    fault: &'static str,
    took: Duration,
    verdict: Verdict,
}

impl Case {
    /// As it is, with nothing beside it.
    pub const fn alone(mut self) -> Self {
        self.beside = Beside::Nothing;
        self
    }

    fn done(&self) -> Seen {
        match self.run {
            Run::Here(run) => run(),
            Run::Test(name, run) => {
                run();
                Seen { times: 1, said: name.to_owned() }
            }
            Run::Library(filters) => known::library(filters),
        }
    }

    fn row(&self) -> Row {
        let begun = Instant::now();
        let missing: Vec<String> = self.needs.iter().filter_map(|need| need.missing()).collect();
        let verdict = if missing.is_empty() {
            match catch_unwind(AssertUnwindSafe(|| self.done())) {
                Ok(seen) => Verdict::Green(seen),
                Err(panic) => Verdict::Red(words(panic.as_ref())),
            }
        } else {
            eprintln!("SKIPPED: {}: not here: {}", self.id, missing.join(", "));
            Verdict::Skipped(missing.join(", "))
        };
        Row { id: self.id, fault: self.fault, took: begun.elapsed(), verdict }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// Characters of the column that says what was done.
const WIDE: usize = 88;

impl Row {
    fn line(&self) -> String {
        let (times, verdict) = match &self.verdict {
            Verdict::Green(Seen { times, said }) => (times.to_string(), format!("green  {said}")),
            Verdict::Red(why) => {
                let first: String = why.lines().next().unwrap_or_default().chars().take(160).collect();
                ("-".to_owned(), format!("RED    {first}"))
            }
            Verdict::Skipped(missing) => ("0".to_owned(), format!("skipped: not here: {missing}")),
        };
        let took = self.took.as_secs_f64();
        format!("{:<14} {:<WIDE$} {times:>6} {took:>7.1}s  {verdict}", self.id, self.fault)
    }
}

/// Runs cases, `at_once` at a time.
fn some(cases: &[Case], at_once: usize) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::AcqRel)) {
                    eprintln!("fault {}: {}", case.id, case.fault);
                    let row = case.row();
                    let mut rows = rows.lock().unwrap();
                    rows.push(row);
                    let row: &Row = rows.last().unwrap();
                    eprintln!("fault {} of {}: {}", rows.len(), cases.len(), row.line());
                }
            });
        }
    });
    rows.into_inner().unwrap()
}

/// Runs cases, `at_once` at a time, then those with nothing beside them, and prints the table. Panics with the red rows.
fn run(cases: &[Case], at_once: usize) {
    let begun = Instant::now();
    let (shared, alone): (Vec<Case>, Vec<Case>) = cases.iter().partition(|case| case.beside == Beside::Others);
    if cases.iter().any(|case| matches!(case.run, Run::Library(_))) {
        // A build would take the machine from the rows that are running.
        known::binary();
    }
    let mut rows = some(&shared, at_once);
    rows.extend(some(&alone, 1));
    rows.sort_by_key(|row| row.id);
    let count = |is: fn(&Verdict) -> bool| rows.iter().filter(|row| is(&row.verdict)).count();
    let red = count(|verdict| matches!(verdict, Verdict::Red(_)));
    let mut table = format!("\n{:<14} {:<WIDE$} {:>6} {:>8}  verdict\n", "id", "what was done", "times", "took");
    rows.iter().for_each(|row| table += &format!("{}\n", row.line()));
    table += &format!(
        "{} rows: {} green, {red} red, {} skipped; {:.1} min\n",
        rows.len(),
        count(|verdict| matches!(verdict, Verdict::Green(_))),
        count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        begun.elapsed().as_secs_f64() / 60.0
    );
    for row in &rows {
        if let Verdict::Red(why) = &row.verdict {
            eprintln!("RED {}: {}\n{why}\n", row.id, row.fault);
        }
    }
    eprintln!("{table}");
    assert_eq!(red, 0, "red rows; see the table");
}

/// Cases that run beside each other: most wait for most of their time.
const AT_ONCE: usize = 2;

/// `WAYPOST_FAULT=F05` runs the cases whose ids begin so, in the size of `WAYPOST_FAULTS`.
fn chosen(case: &Case) -> bool {
    match std::env::var("WAYPOST_FAULT") {
        Ok(id) => case.id.starts_with(&id),
        Err(_) => case.when == When::Always || (full() && case.when != When::Always),
    }
}

#[test]
fn no_fault_of_the_list_loses_what_was_acknowledged() {
    let cases: Vec<Case> = cases().into_iter().filter(chosen).collect();
    run(&cases, AT_ONCE);
}

#[test]
fn a_case_that_breaks_its_promise_is_a_red_row() {
    let broken = || case("X", ("a fault", "a promise"), When::Always, &[], || panic!("broken\nwith more")).row();
    assert!(broken().line().contains("RED    broken"), "{}", broken().line());
    let absent = [Need::Program("no-such-program")];
    assert_eq!(absent[0].missing(), Some("no-such-program".to_owned()));
}

/// The table of `docs/faults.md`.
fn page() -> String {
    let mut page = String::from("| id | what is done | what happens | shown by |\n| --- | --- | --- | --- |\n");
    for Case { id, fault, then, run, .. } in cases() {
        let by = match run {
            Run::Here(_) => "`make faults`".to_owned(),
            Run::Test(name, _) => format!("`{name}`"),
            Run::Library(filters) => filters.iter().map(|filter| format!("`{filter}`")).collect::<Vec<_>>().join(", "),
        };
        page += &format!("| {id} | {fault} | {then} | {by} |\n");
    }
    page
}

/// `UPDATE=1 cargo test --test it faults::the_page` writes the table anew.
#[test]
fn the_page_of_faults_lists_the_cases_that_are_run() {
    const BEGIN: &str = "<!-- the table is made from tests/faults -->\n";
    const END: &str = "<!-- the end of the table -->\n";
    let path = repository("docs/faults.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the page has a place for the table");
    let (_, tail) = rest.split_once(END).expect("the table has an end");
    let now = format!("{head}{BEGIN}{}{END}{tail}", page());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(now == text, "docs/faults.md is not what is run; UPDATE=1 cargo test --test it faults::the_page");
}
