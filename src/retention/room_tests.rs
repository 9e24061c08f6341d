use super::*;

const MIB: u64 = 1 << 20;

/// A node of which only sizes are known: what comes in, what is sent, and what goes at the word of the verdict.
struct Model {
    figures: Figures,
    policy: FullPolicy,
    verdict: Verdict,
    /// Rows that are not sent, and rows that are. Bytes
    unsent: u64,
    sent: u64,
    /// What happened, each step once in a row.
    steps: Vec<&'static str>,
    /// Bytes that were refused.
    refused: u64,
}

impl Model {
    fn new(quota: u64, disk: Option<u64>) -> Self {
        let figures = Figures { quota, disk_free: disk, wal: 4 * MIB, has_ballast: true, ..Figures::default() };
        Self {
            figures,
            policy: FullPolicy::ThinFixes,
            verdict: Verdict::default(),
            unsent: 0,
            sent: 0,
            steps: Vec::new(),
            refused: 0,
        }
    }

    /// A second in which so many bytes come, and so many are sent.
    fn second(&mut self, comes: u64, goes_out: u64) {
        self.verdict = judge(&self.figures, self.policy, &self.verdict);
        let limits = limits(&self.figures, &self.verdict);
        let Need { archive, rows } = self.verdict.need;
        if archive > 0 {
            self.step("archive");
            self.figures.archive -= archive;
            self.give(archive);
        }
        let rows = rows.min(self.sent);
        if rows > 0 {
            self.step("rows");
            self.sent -= rows;
            self.figures.archive += rows / 8;
            self.take(rows / 8);
        }
        match self.verdict.thin.as_secs() {
            0 => {}
            10 => self.step("thin 10"),
            _ => self.step("thin 60"),
        }
        let comes = comes / (1 + self.verdict.thin.as_secs() / 10);
        if self.unsent + self.sent + comes <= limits.intake {
            self.unsent += comes;
        } else {
            self.step("refused");
            self.refused += comes;
        }
        let out = goes_out.min(self.unsent);
        (self.unsent, self.sent) = (self.unsent - out, self.sent + out);
        self.fill();
        let all = self.figures.fill.file + self.figures.archive + self.figures.other;
        assert!(all + self.figures.wal <= self.figures.quota, "{} of {}", all / MIB, self.figures.quota / MIB);
    }

    /// The file of the database holds its rows, and never shrinks.
    fn fill(&mut self) {
        let used = self.unsent + self.sent;
        let grown = used.saturating_sub(self.figures.fill.file);
        self.take(grown);
        self.figures.fill = Fill { file: self.figures.fill.file + grown, free: self.figures.fill.file + grown - used };
    }

    fn take(&mut self, bytes: u64) {
        self.figures.disk_free =
            self.figures.disk_free.map(|free| free.checked_sub(bytes).expect("the disk overflows"));
    }

    fn give(&mut self, bytes: u64) {
        self.figures.disk_free = self.figures.disk_free.map(|free| free + bytes);
    }

    fn step(&mut self, step: &'static str) {
        if self.steps.last() != Some(&step) {
            self.steps.push(step);
        }
    }
}

#[test]
fn as_room_ends_the_oldest_archive_goes_then_rows_then_fixes_then_intake_and_what_is_not_sent_never() {
    let mut node = Model::new(1024 * MIB, Some(64 * 1024 * MIB));
    node.figures.archive = 200 * MIB;
    node.sent = 300 * MIB;
    for _ in 0..4_000 {
        node.second(MIB, 0);
    }
    let mut first_of_each: Vec<&str> = Vec::new();
    node.steps.iter().for_each(|step| {
        if !first_of_each.contains(step) {
            first_of_each.push(step);
        }
    });
    assert_eq!(first_of_each, ["archive", "rows", "thin 10", "thin 60", "refused"], "{:?}", node.steps);
    assert_eq!((node.sent, node.figures.archive), (0, 0));
    let room = node.verdict.room;
    assert!(node.unsent > room / 100 * 96, "{} of {room}", node.unsent);
    assert_eq!((node.verdict.level, node.verdict.thin), (FAULT_PCT, THIN_MORE));
    // The platform is back: what was not sent is sent, then it may go, and all is as at the beginning.
    node.steps.clear();
    for _ in 0..4_000 {
        node.second(MIB / 8, 4 * MIB);
    }
    assert!(node.refused > 0);
    let before = node.refused;
    node.steps.clear();
    for _ in 0..1_000 {
        node.second(MIB / 8, 4 * MIB);
    }
    assert_eq!((node.refused, node.verdict.thin), (before, Duration::ZERO));
    assert!(
        !node.steps.contains(&"refused") && !node.steps.iter().any(|step| step.starts_with("thin")),
        "{:?}",
        node.steps
    );
}

#[test]
fn by_the_policy_refuse_no_fix_is_thinned() {
    let mut node = Model::new(256 * MIB, None);
    node.policy = FullPolicy::Refuse;
    for _ in 0..1_000 {
        node.second(MIB, 0);
    }
    assert_eq!(node.steps, ["refused"]);
}

#[test]
fn a_node_that_is_sent_all_it_takes_stays_within_its_room_and_steps_seldom() {
    let mut node = Model::new(256 * MIB, Some(10 * 1024 * MIB));
    for _ in 0..20_000 {
        node.second(MIB / 16, MIB / 16);
    }
    assert_eq!(node.refused, 0);
    // 1250 MiB have passed through 224: each time about a twentieth of the room goes at once.
    assert!(node.steps.len() < 250, "{}", node.steps.len());
    assert!(node.verdict.used_pct <= WARN_PCT, "{:?}", node.verdict);
}

#[test]
fn a_store_that_is_larger_than_it_may_be_makes_room_first_and_then_takes_events_again() {
    let mut node = Model::new(64 * MIB, None);
    (node.sent, node.figures.archive) = (40 * MIB, 30 * MIB);
    node.figures.fill = Fill { file: 40 * MIB, free: 0 };
    let verdict = judge(&node.figures, node.policy, &node.verdict);
    assert_eq!((verdict.level, verdict.used_pct), (FAULT_PCT, 100));
    assert!(verdict.need.archive > 0 && verdict.need.rows == 0);
    // The file of the database is too large by itself, and nothing of it may go.
    node.figures = Figures { archive: 0, fill: Fill { file: 100 * MIB, free: 0 }, ..node.figures };
    let verdict = judge(&node.figures, node.policy, &verdict);
    assert!(limits(&node.figures, &verdict).intake < 64 * MIB && verdict.need.rows >= 40 * MIB, "{verdict:?}");
    // It is empty again, and does not shrink: it has room, an archive beside it has none.
    node.figures.fill.free = 90 * MIB;
    let verdict = judge(&node.figures, node.policy, &verdict);
    assert_eq!((verdict.level, verdict.need), (0, Need::default()));
    let with_archive = Figures { archive: MIB, ..node.figures };
    assert_eq!(judge(&with_archive, node.policy, &verdict).need, Need { archive: MIB, rows: 0 });
}

#[test]
fn a_disk_that_others_fill_is_a_room_that_ends_and_one_that_is_freed_is_room_again() {
    let figures = Figures {
        quota: 2048 * MIB,
        disk_free: Some(400 * MIB),
        fill: Fill { file: 50 * MIB, free: 0 },
        wal: 4 * MIB,
        archive: 50 * MIB,
        has_ballast: true,
        ..Figures::default()
    };
    let well = judge(&figures, FullPolicy::ThinFixes, &Verdict::default());
    assert_eq!((well.level, well.need), (0, Need::default()));
    let full = Figures { disk_free: Some(0), has_ballast: false, ..figures };
    let verdict = judge(&full, FullPolicy::ThinFixes, &well);
    assert_eq!((verdict.used_pct, verdict.level, verdict.thin), (100, FAULT_PCT, THIN_MORE));
    assert_eq!(verdict.need, Need { archive: 20 * MIB, rows: 0 }, "a fifth of what is there, and no more");
    assert!(limits(&full, &verdict).intake < full.fill.file, "intake ends");
    assert!(!has_room_for_ballast(0, full.wal) && has_room_for_ballast(400 * MIB, 0));
    let again = judge(&figures, FullPolicy::ThinFixes, &verdict);
    assert_eq!((again.level, again.need, again.thin), (0, Need::default(), Duration::ZERO));
    assert!(limits(&figures, &again).intake > figures.fill.file);
}

#[test]
fn a_level_that_was_reached_is_not_left_for_a_percent() {
    let at = |pct: u64, before: &Verdict| {
        let figures = Figures { quota: 1024 * MIB, ..Figures::default() };
        let room = judge(&figures, FullPolicy::ThinFixes, before).room;
        let fill = Fill { file: room / 100 * pct + MIB / 2, free: 0 };
        judge(&Figures { fill, ..figures }, FullPolicy::ThinFixes, before)
    };
    let mut before = Verdict::default();
    let mut levels = Vec::new();
    for pct in [60, 70, 69, 66, 64, 69, 86, 84, 81, 79, 91, 89, 86, 84, 95, 94, 91, 89, 84, 10] {
        before = at(pct, &before);
        levels.push((pct, before.level, before.thin.as_secs(), before.need.rows > 0));
    }
    let expect = [
        (60, 0, 0, false),
        (70, 70, 0, false),
        (69, 70, 0, false),
        (66, 70, 0, false),
        (64, 0, 0, false),
        (69, 0, 0, false),
        (86, 85, 0, true),
        (84, 85, 0, true),
        (81, 85, 0, true),
        (79, 70, 0, false),
        (91, 85, 10, true),
        (89, 85, 10, true),
        (86, 85, 10, true),
        (84, 85, 0, true),
        (95, 95, 60, true),
        (94, 95, 60, true),
        (91, 95, 60, true),
        (89, 85, 10, true),
        (84, 85, 0, true),
        (10, 0, 0, false),
    ];
    assert_eq!(levels, expect);
}

#[test]
fn the_log_of_writes_gets_an_eighth_of_a_small_room_and_no_more_than_64_mib() {
    let of = |quota, disk_free| {
        judge(&Figures { quota, disk_free, ..Figures::default() }, FullPolicy::Refuse, &Verdict::default())
    };
    assert_eq!((of(64 * MIB, None).room, of(64 * MIB, None).wal_max), (54 * MIB, 12 * MIB));
    assert_eq!((of(2048 * MIB, None).room, of(2048 * MIB, None).wal_max), (1982 * MIB, 64 * MIB));
    assert_eq!(of(2048 * MIB, Some(16 * MIB)).room, (16 - 4 - 2) * MIB, "a small disk");
}

#[test]
fn rows_are_counted_by_what_they_took_so_far() {
    let fill = Fill { file: 1_000_000, free: 200_000 };
    assert_eq!(rows_of(24_000, fill, 4_000), 120);
    assert_eq!(rows_of(1, Fill::default(), 0), 1);
}
