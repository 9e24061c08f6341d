//! What is wrong with a configuration: where, what, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// One mistake, or one thing worth knowing, in a configuration file.
///
/// It prints as `file:line:column: key: message; remedy`; the parts that are not known are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file it is in.
    pub file: PathBuf,
    /// Line, from 1; 0 when the file could not be read at all.
    pub line: usize,
    /// Column in characters, from 1; 0 with line 0.
    pub column: usize,
    /// The whole key, e.g. `scanner.door-3.baud`; empty when it is about the file.
    pub key: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to write instead, or to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}; {}", self.message, self.remedy)
    }
}

/// A configuration that cannot be run: every error of every file, by file and position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The errors; never empty.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// A value as it may stand in a message: quoted, control characters escaped, cut after 60 characters.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    format!("\"{out}\"")
}

/// The known word that the typed one was probably meant to be; none when none is near.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let length = typed.chars().count();
    if length > 64 {
        return None;
    }
    let steps = |word: &str| {
        let word = word.to_ascii_lowercase().replace('-', "_");
        // A key without its unit, `idle` for `idle_ms`, is near however long the unit is.
        let is_cut = length >= 3 && word.strip_prefix(&typed).is_some_and(|unit| unit.starts_with('_'));
        if is_cut { 1 } else { distance(&typed, &word) }
    };
    known
        .into_iter()
        .map(|word| (steps(word), word))
        .filter(|&(steps, word)| steps <= 1.max(length.min(word.len()) / 3))
        .min_by_key(|&(steps, _)| steps)
        .map(|(_, word)| word)
}

/// Letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut steps = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            steps[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = steps[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replaced.min(steps[i - 1][j] + 1).min(steps[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(steps[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    steps[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_where_what_and_what_to_do() {
        let finding = Finding {
            file: "/etc/waypost/waypost.toml".into(),
            line: 3,
            column: 8,
            key: "gps.gps0.baud".into(),
            message: "12 is out of range".into(),
            remedy: "write 9600".into(),
        };
        assert_eq!(finding.to_string(), "/etc/waypost/waypost.toml:3:8: gps.gps0.baud: 12 is out of range; write 9600");
        let file = Finding { line: 0, column: 0, key: String::new(), ..finding };
        assert_eq!(file.to_string(), "/etc/waypost/waypost.toml: 12 is out of range; write 9600");
    }

    #[test]
    fn the_nearest_word_is_near_or_none() {
        let known = ["baud", "serial", "repeat_window_ms"];
        assert_eq!(nearest("buad", known), Some("baud"));
        assert_eq!(nearest("bauds", known), Some("baud"));
        assert_eq!(nearest("repeat-window", known), Some("repeat_window_ms"));
        assert_eq!(nearest("repeat", known), Some("repeat_window_ms"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }

    #[test]
    fn a_shown_value_is_short_and_has_no_control_characters() {
        assert_eq!(shown("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert_eq!(shown(&"x".repeat(99)).chars().count(), 63);
    }
}
