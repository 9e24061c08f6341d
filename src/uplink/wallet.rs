//! The certificates an uplink over TLS lives by: whether their files were replaced, and how long the first of them is valid.
//! Pure but for the look at the files.

use crate::config::{Marks, PaperFault, Papers, Term, Uplink};
use crate::domain::UnixMs;
use crate::health::Severity;

/// What a look at the files says.
#[derive(Debug)]
pub(super) enum Looked {
    /// They are as they were when they were read last.
    Same,
    /// They were replaced, and can be used.
    New,
    /// They were replaced by what cannot be used.
    Unusable(Marks, Vec<PaperFault>),
}

/// The wallet.
#[derive(Default)]
pub(super) struct Wallet {
    /// The files that the connection of now, or the last try, was made with.
    read: Option<Marks>,
    own: Vec<Term>,
    shown: Option<Term>,
    /// Files that could not be used at the last look: half of a renewal is not worth an alarm.
    unusable: Option<Marks>,
    /// When the files are looked at next. µs
    pub look_us: i64,
}

impl Wallet {
    /// Reads the files for a new connection. Blocks.
    pub fn open(config: &Uplink) -> (Marks, Result<Papers, Vec<PaperFault>>) {
        // Marked before it is read: what is replaced meanwhile is seen as new at the next look.
        (Marks::look(config), Papers::read(config))
    }

    /// Takes what was read.
    pub fn put(&mut self, marks: Marks, papers: Option<&Papers>) {
        self.read = Some(marks);
        self.unusable = None;
        if let Some(papers) = papers {
            self.own.clone_from(&papers.terms);
        }
    }

    /// Takes what the broker showed.
    pub fn show(&mut self, term: Term) {
        self.shown = Some(term);
    }

    /// The marks to compare with; none before the first read.
    pub const fn marks(&self) -> Option<&Marks> {
        self.read.as_ref()
    }

    /// Looks at the files. Blocks.
    pub fn look(config: &Uplink, known: &Marks) -> Looked {
        let now = Marks::look(config);
        if now == *known {
            return Looked::Same;
        }
        match Papers::read(config) {
            Ok(_) => Looked::New,
            Err(wrong) => Looked::Unusable(now, wrong),
        }
    }

    /// Notes files that cannot be used; whether they were so at the last look too.
    pub fn is_still_unusable(&mut self, marks: Marks) -> bool {
        self.unusable.replace(marks.clone()).as_ref() == Some(&marks)
    }

    /// The files are as they were read; whether they were not at the last look.
    pub fn is_whole_again(&mut self) -> bool {
        self.unusable.take().is_some()
    }

    /// What ends first.
    pub fn first(&self) -> Option<&Term> {
        self.own.iter().chain(&self.shown).min_by_key(|term| term.until_s)
    }

    /// Whole days until then, below 0 when it is over.
    pub fn days(&self, now_ms: UnixMs) -> Option<i64> {
        self.first().map(|term| term.days_left(now_ms.div_euclid(1000)))
    }
}

/// How bad the end of a certificate is by now, and in words; none when it is far.
pub(super) fn worry(term: &Term, now_ms: UnixMs) -> Option<(Severity, String)> {
    let (text, is_close) = term.worry(now_ms.div_euclid(1000))?;
    Some((if is_close { Severity::Fault } else { Severity::Warn }, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_before_its_end_a_certificate_is_a_warning_and_seven_days_before_a_fault() {
        let term = Term { of: "the node's certificate".to_owned(), from_s: 0, until_s: 100 * 86_400 };
        let at = |days_left: i64, s: i64| worry(&term, ((100 - days_left) * 86_400 - s) * 1000);
        assert_eq!(at(31, 0), None);
        let words =
            |severity, text: &str| Some((severity, format!("The node's certificate {text}, on 1970-04-11T00:00:00Z.")));
        assert_eq!(at(30, 86_399), words(Severity::Warn, "ends in 30 days"));
        assert_eq!(at(8, 0), words(Severity::Warn, "ends in 8 days"));
        assert_eq!(at(7, 86_399), words(Severity::Fault, "ends in 7 days"));
        assert_eq!(at(1, 0), words(Severity::Fault, "ends in 1 day"));
        assert_eq!(at(0, 0), words(Severity::Fault, "ends within a day"));
        let over = Some((Severity::Fault, "The node's certificate ended on 1970-04-11T00:00:00Z.".to_owned()));
        assert_eq!(at(0, -1), over);
    }

    #[test]
    fn the_first_to_end_counts_whoever_shows_it() {
        let term = |of: &str, until_s| Term { of: of.to_owned(), from_s: 0, until_s };
        let mut wallet = Wallet { own: vec![term("a", 90 * 86_400), term("b", 80 * 86_400)], ..Wallet::default() };
        assert_eq!(wallet.days(0), Some(80));
        wallet.show(term("c", 70 * 86_400));
        assert_eq!((wallet.days(0), wallet.days(71 * 86_400_000)), (Some(70), Some(-1)));
        assert_eq!(wallet.first().map(|term| term.of.as_str()), Some("c"));
        assert_eq!(Wallet::default().days(0), None);
    }
}
