//! What became of every byte and sentence of one port.

use std::collections::BTreeMap;

use crate::domain::Reason;

/// Kinds of sentences that are counted by name; further ones count as `other`.
const TYPES_MAX: usize = 64;

/// Bytes and pieces refused for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Sentences, or runs of noise.
    pub pieces: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// The counts of one decoder since it began.
///
/// `bytes = sentence_bytes + sum(skipped.bytes) + open_bytes`, after every call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NmeaCounts {
    /// Bytes taken in.
    pub bytes: u64,
    /// Bytes of accepted sentences with their line ends.
    pub sentence_bytes: u64,
    /// Bytes of a sentence or a run of noise that has not ended.
    pub open_bytes: u64,
    /// Accepted sentences of every kind, also those that navigation is not read from.
    pub sentences: u64,
    /// Accepted sentences by formatter, at most 64 names and `other`.
    pub by_type: BTreeMap<String, u64>,
    /// What was refused, by the code of its [`Reason`].
    pub skipped: BTreeMap<&'static str, Skipped>,
    /// How often the receiver said that it could not send something because its line is full.
    pub drops_said: u64,
    /// Finished epochs with a fix.
    pub fixes: u64,
    /// Finished epochs without.
    pub no_fix: u64,
}

impl NmeaCounts {
    /// Bytes by outcome: `sentence`, `open` and the codes of reasons; together [`NmeaCounts::bytes`].
    pub fn bytes_by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let skipped = self.skipped.iter().map(|(code, skipped)| (*code, skipped.bytes));
        [("sentence", self.sentence_bytes), ("open", self.open_bytes)].into_iter().chain(skipped)
    }

    /// Counts an accepted sentence of `length` bytes.
    pub(super) fn accept(&mut self, text: &[u8], length: usize) {
        self.accept_as(type_of(text), length);
    }

    /// Counts an accepted sentence of `length` bytes under a name.
    pub(in crate::decoder) fn accept_as(&mut self, name: &str, length: usize) {
        self.sentences += 1;
        self.sentence_bytes += wide(length);
        if let Some(count) = self.by_type.get_mut(name) {
            *count += 1;
        } else {
            let name = if self.by_type.len() < TYPES_MAX { name } else { "other" };
            *self.by_type.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// Counts a refused piece of `length` bytes.
    pub(in crate::decoder) fn refuse(&mut self, reason: Reason, length: usize) {
        let skipped = self.skipped.entry(reason.as_str()).or_default();
        skipped.pieces += 1;
        skipped.bytes += wide(length);
    }

    /// Counts a byte of a line end to the piece before it: the last sentence when `refused` is none.
    pub(in crate::decoder) fn line_end(&mut self, refused: Option<Reason>) {
        match refused {
            Some(reason) => self.skipped.entry(reason.as_str()).or_default().bytes += 1,
            None => self.sentence_bytes += 1,
        }
    }
}

/// A length as a count.
pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The formatter of a sentence: its address without the two letters of the talker; a short proprietary one whole.
fn type_of(text: &[u8]) -> &str {
    let end = text.iter().position(|byte| matches!(byte, b',' | b'*')).unwrap_or_default();
    let address = text.get(1..end).unwrap_or_default();
    let name = if address.len() == 5 { &address[2..] } else { address };
    let is_name = (1..=8).contains(&name.len()) && name.iter().all(u8::is_ascii_alphanumeric);
    if is_name { std::str::from_utf8(name).unwrap_or("other") } else { "other" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_formatters_and_bounded() {
        assert_eq!(type_of(b"$GNRMC,1*00"), "RMC");
        assert_eq!(type_of(b"!AIVDM,1*00"), "VDM");
        assert_eq!(type_of(b"$PUBX,00*00"), "PUBX");
        assert_eq!(type_of(b"$*00"), "other");
        assert_eq!(type_of(b"$a b,*00"), "other");
        let mut counts = NmeaCounts::default();
        for n in 0..1000 {
            counts.accept(format!("$X{n:07},*00").as_bytes(), 1);
        }
        assert_eq!((counts.by_type.len(), counts.sentences), (TYPES_MAX + 1, 1000));
    }
}
