//! The digest of an event: what SQLite cannot see, a bit that flipped in a row, it does. Written with the row, and held
//! against it whenever the row is handed out.

use rusqlite::Row as SqlRow;
use rusqlite::types::ValueRef;

/// The columns that never change once they are written, in the order in which they are digested.
pub(super) const FROZEN: [&str; 14] = [
    "seq",
    "id",
    "kind",
    "run",
    "prev",
    "ts_ms",
    "tq",
    "received_ms",
    "mono_ms",
    "source",
    "asset",
    "place",
    "code",
    "body",
];

/// Of an event a few hundred bytes are digested; more make the buffer grow.
const USUAL_BYTES: usize = 1024;

/// The first 8 bytes of the BLAKE3 hash of the frozen columns. Each value says what it is, and texts how long they are, so
/// no two rows are the same bytes.
pub(super) fn of<'a>(frozen: impl IntoIterator<Item = ValueRef<'a>>) -> i64 {
    let mut canonical = Vec::with_capacity(USUAL_BYTES);
    for value in frozen {
        match value {
            ValueRef::Null => canonical.push(0),
            ValueRef::Integer(n) => put(&mut canonical, 1, &n.to_le_bytes()),
            ValueRef::Real(n) => put(&mut canonical, 2, &n.to_le_bytes()),
            ValueRef::Text(text) => put_long(&mut canonical, 3, text),
            ValueRef::Blob(bytes) => put_long(&mut canonical, 4, bytes),
        }
    }
    let hash = blake3::hash(&canonical);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_le_bytes(first)
}

fn put(canonical: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    canonical.push(tag);
    canonical.extend_from_slice(bytes);
}

fn put_long(canonical: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    put(canonical, tag, &(bytes.len() as u64).to_le_bytes());
    canonical.extend_from_slice(bytes);
}

/// Whether the first columns of a row, those of [`FROZEN`], are what the next column says they were.
pub(super) fn is_intact(row: &SqlRow<'_>) -> rusqlite::Result<bool> {
    let mut frozen = [ValueRef::Null; FROZEN.len()];
    for (column, value) in frozen.iter_mut().enumerate() {
        *value = row.get_ref(column)?;
    }
    Ok(row.get_ref(FROZEN.len())? == ValueRef::Integer(of(frozen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_another_column_is_another_row() {
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        let rows: [&[ValueRef<'_>]; 6] = [
            &[text("ab"), text("")],
            &[text("a"), text("b")],
            &[text(""), text("ab")],
            &[text("ab"), ValueRef::Null],
            &[ValueRef::Blob(b"ab"), ValueRef::Null],
            &[ValueRef::Integer(0x6261), ValueRef::Null],
        ];
        for (at, one) in rows.iter().enumerate() {
            for (other_at, other) in rows.iter().enumerate() {
                let same = of(one.iter().copied()) == of(other.iter().copied());
                assert_eq!(same, at == other_at, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_digest_of_a_row_stays_the_same_over_versions() {
        let row = [ValueRef::Integer(7), ValueRef::Text(b"gnss"), ValueRef::Null, ValueRef::Blob(&[1, 2])];
        let again = of(row);
        assert_eq!(again, GOLDEN, "{again:#x}");
    }

    const GOLDEN: i64 = 0x2b3d_1f2e_f5fa_d4b9;
}
