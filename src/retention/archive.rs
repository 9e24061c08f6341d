//! Events that leave the log, as files: NDJSON as everywhere outside, compressed, named after what is in them, with a line
//! each in a manifest. A file is there whole or not at all, and is read back before anybody relies on it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::domain::{Epoch, Seq, UnixMs};
use crate::store::{Filter, Look, Reader};
use crate::wire;

/// The list of the files in the folder.
const MANIFEST: &str = "manifest.ndjson";
/// Events read at once.
const PAGE: usize = 500;
/// An event is at most 8 KiB; a longer line is none. Bytes.
const LINE_MAX: u64 = 64 * 1024;

/// A file of the archive, as its manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name.
    pub(super) file: String,
    /// The first seq in it.
    pub(super) from: i64,
    /// The last seq in it.
    pub(super) to: i64,
    /// Events in it: what was held back is not.
    pub(super) count: usize,
    /// Events that left the log with them and are not in it: they were not as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) damaged: Vec<i64>,
    /// BLAKE3 of the file, as `b3sum` says it.
    pub(super) blake3: String,
    /// The node's wall clock when the first was received. UTC ms
    pub(super) first_received_ms: UnixMs,
    /// And the last.
    pub(super) last_received_ms: UnixMs,
    /// When the file was made. UTC ms
    pub(super) made_ms: UnixMs,
}

/// The name of a file with these events.
pub(super) fn name(epoch: Epoch, from: Seq, to: Seq) -> String {
    format!("{epoch}-{from}-{to}.ndjson.gz")
}

/// Writes these events into a file and its line into the manifest. Nothing is there but that, whatever fails.
pub(super) fn write(
    folder: &Path,
    file: &str,
    reader: &Reader<'_>,
    seqs: &[Seq],
    made_ms: UnixMs,
) -> Look<io::Result<Entry>> {
    let draft = folder.join(format!("{file}.tmp"));
    let done = match fs::create_dir_all(folder).and_then(|()| File::create(&draft)) {
        Ok(out) => put(out, reader, seqs)?,
        Err(error) => Err(error),
    };
    let settled = done.and_then(|put| settle(folder, file, &draft, seqs, made_ms, &put));
    if settled.is_err() {
        // What is left of it is in nobody's way: the next one with this name begins anew.
        drop(fs::remove_file(&draft));
    }
    Ok(settled)
}

/// What went into a file.
struct Put {
    plain: blake3::Hash,
    packed: blake3::Hash,
    received: (UnixMs, UnixMs),
    damaged: Vec<i64>,
}

fn put(out: File, reader: &Reader<'_>, seqs: &[Seq]) -> Look<io::Result<Put>> {
    let wanted: BTreeSet<Seq> = seqs.iter().copied().collect();
    let mut packed = GzEncoder::new(Digest::new(BufWriter::new(out)), Compression::default());
    let mut plain = blake3::Hasher::new();
    let mut damaged = Vec::new();
    let (mut received, mut at) = (None, seqs.first().map_or(Seq(0), |first| Seq(first.0 - 1)));
    let last = seqs.last().copied().unwrap_or_default();
    while at < last {
        let page = reader.after(at, PAGE, &Filter::default())?;
        for row in page.rows.iter().filter(|row| wanted.contains(&row.seq)) {
            let mut line = wire::event(row, false);
            line.push('\n');
            plain.update(line.as_bytes());
            if let Err(error) = packed.write_all(line.as_bytes()) {
                return Ok(Err(error));
            }
            received = Some((received.map_or(row.received_ms, |(first, _)| first), row.received_ms));
        }
        damaged.extend(page.damaged.iter().filter(|one| wanted.contains(&one.seq)).map(|one| one.seq.0));
        if page.seen <= at {
            break;
        }
        at = page.seen;
    }
    Ok(packed.finish().and_then(|Digest { inner, hasher }| {
        let file = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(Put { plain: plain.finalize(), packed: hasher.finalize(), received: received.unwrap_or_default(), damaged })
    }))
}

/// Gives the file its name, reads it back, and lists it.
fn settle(folder: &Path, file: &str, draft: &Path, seqs: &[Seq], made_ms: UnixMs, put: &Put) -> io::Result<Entry> {
    let read = read(draft)?;
    let whole: Vec<Seq> = seqs.iter().copied().filter(|seq| !put.damaged.contains(&seq.0)).collect();
    if read.seqs != whole || read.plain != put.plain || read.packed != put.packed {
        return Err(io::Error::other(format!("{} does not read back as it was written", draft.display())));
    }
    fs::rename(draft, folder.join(file))?;
    sync(folder)?;
    let entry = Entry {
        file: file.to_owned(),
        from: seqs.first().map_or(0, |seq| seq.0),
        to: seqs.last().map_or(0, |seq| seq.0),
        count: whole.len(),
        damaged: put.damaged.clone(),
        blake3: put.packed.to_hex().to_string(),
        first_received_ms: put.received.0,
        last_received_ms: put.received.1,
        made_ms,
    };
    list(folder, &entry)?;
    Ok(entry)
}

/// A file as it was read back.
struct ReadBack {
    seqs: Vec<Seq>,
    plain: blake3::Hash,
    packed: blake3::Hash,
}

fn read(path: &Path) -> io::Result<ReadBack> {
    #[derive(Deserialize)]
    struct Line {
        seq: i64,
    }
    let mut lines = BufReader::new(GzDecoder::new(Digest::new(BufReader::new(File::open(path)?))));
    let (mut seqs, mut plain, mut line) = (Vec::new(), blake3::Hasher::new(), Vec::new());
    loop {
        line.clear();
        if lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        plain.update(&line);
        seqs.push(Seq(serde_json::from_slice::<Line>(&line)?.seq));
    }
    let mut packed = lines.into_inner().into_inner();
    io::copy(&mut packed, &mut io::sink())?;
    Ok(ReadBack { seqs, plain: plain.finalize(), packed: packed.hasher.finalize() })
}

/// The events in a listed file; none when there is no such file as was listed.
pub(super) fn seqs(folder: &Path, file: &str) -> io::Result<Option<Vec<Seq>>> {
    let listed = entries(folder)?.into_iter().find(|entry| entry.file == file);
    let read = match read(&folder.join(file)) {
        Ok(read) => read,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_same = listed.is_some_and(|listed| listed.blake3 == read.packed.to_hex().as_str());
    Ok(is_same.then_some(read.seqs))
}

/// Takes a file out whose events are all still in the log, as far as it came to be.
pub(super) fn undo(folder: &Path, file: &str) -> io::Result<()> {
    let left = entries(folder)?;
    let kept: Vec<Entry> = left.iter().filter(|entry| entry.file != file).cloned().collect();
    for path in [folder.join(file), folder.join(format!("{file}.tmp"))] {
        absent_is_well(fs::remove_file(path))?;
    }
    if kept.len() == left.len() { Ok(()) } else { relist(folder, &kept) }
}

/// Takes out files that were made before a time; answers how many.
pub(super) fn expire(folder: &Path, before_ms: UnixMs) -> io::Result<usize> {
    let (old, kept): (Vec<Entry>, Vec<Entry>) =
        entries(folder)?.into_iter().partition(|entry| entry.made_ms < before_ms);
    for entry in &old {
        // A name with a slash is none of ours.
        if !entry.file.contains('/') {
            absent_is_well(fs::remove_file(folder.join(&entry.file)))?;
        }
    }
    if !old.is_empty() {
        relist(folder, &kept)?;
    }
    Ok(old.len())
}

/// The files that the manifest lists. A line that a power cut left unfinished is none.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let text = match fs::read_to_string(folder.join(MANIFEST)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn list(folder: &Path, entry: &Entry) -> io::Result<()> {
    let path = folder.join(MANIFEST);
    let torn = fs::read(&path).is_ok_and(|text| text.last().is_some_and(|last| *last != b'\n'));
    let mut out = File::options().create(true).append(true).open(&path)?;
    let line = serde_json::to_string(entry)?;
    out.write_all(format!("{}{line}\n", if torn { "\n" } else { "" }).as_bytes())?;
    out.sync_all()?;
    sync(folder)
}

fn relist(folder: &Path, entries: &[Entry]) -> io::Result<()> {
    let draft = folder.join(format!("{MANIFEST}.tmp"));
    let mut text = String::new();
    for entry in entries {
        text.push_str(&serde_json::to_string(entry)?);
        text.push('\n');
    }
    fs::write(&draft, text)?;
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, folder.join(MANIFEST))?;
    sync(folder)
}

/// A rename is there after a power cut when its folder is on the disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn absent_is_well(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// The folder beside a database.
pub(super) fn folder(db: &Path) -> PathBuf {
    db.with_file_name("archive")
}

/// Passes bytes on and hashes them.
struct Digest<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T> Digest<T> {
    fn new(inner: T) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }
}

impl<T: Write> Write for Digest<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Digest<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }
}
