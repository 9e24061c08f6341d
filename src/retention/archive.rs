//! What leaves the store, events and lines, as files: NDJSON as everywhere outside, compressed, named after what is in them, with a line
//! each in a manifest. A file is there whole or not at all, and is read back before anybody relies on it.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::domain::{Epoch, Row, Seq, UnixMs};
use crate::health::wedge;
use crate::store::{Filter, Look, Parting, Reader, Shelf};
use crate::wire;

/// What a file of events holds, in the manifest.
pub(super) const EVENTS: &str = "events";
/// The list of the files in the folder.
const MANIFEST: &str = "manifest.ndjson";
/// Rows read at once.
const PAGE: usize = 500;
/// An event is at most 8 KiB, a letter twice 4 KiB and its words; a longer line is none. Bytes.
const LINE_MAX: u64 = 64 * 1024;

/// A file of the archive, as its manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name.
    pub(super) file: String,
    /// What is in it: `events`, or the name of a log.
    pub(super) what: String,
    /// The first seq or number in it.
    pub(super) from: i64,
    /// The last.
    pub(super) to: i64,
    /// Rows in it: what was held back is not.
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

/// What goes into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goods {
    /// Events, by seq.
    Events(Vec<i64>),
    /// Rows of a shelf, by number.
    Rows(Shelf, Vec<i64>),
}

impl Goods {
    /// Their seqs or numbers, in order.
    pub(super) fn numbers(&self) -> &[i64] {
        match self {
            Self::Events(numbers) | Self::Rows(_, numbers) => numbers,
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Events(_) => EVENTS,
            Self::Rows(shelf, _) => shelf.as_str(),
        }
    }

    /// The name of a file with these; none when there are none.
    pub(super) fn name(&self, epoch: Epoch) -> Option<String> {
        let (from, to) = (self.numbers().first()?, self.numbers().last()?);
        Some(match self {
            Self::Events(_) => format!("{epoch}-{from}-{to}.ndjson.gz"),
            Self::Rows(shelf, _) => format!("{epoch}-{}-{from}-{to}.ndjson.gz", shelf.as_str()),
        })
    }

    /// The next of them from a number on, at most [`PAGE`]; those that are not as they were written; how far was looked.
    fn page(&self, reader: &Reader<'_>, from: i64) -> Look<(Vec<Parting>, Vec<i64>, i64)> {
        match self {
            Self::Events(_) => {
                let page = reader.after(Seq(from - 1), PAGE, &Filter::default())?;
                let line =
                    |row: &Row| Parting { entry: row.seq.0, at_ms: row.received_ms, text: wire::event(row, false) };
                let damaged = page.damaged.iter().map(|one| one.seq.0).collect();
                Ok((page.rows.iter().map(line).collect(), damaged, page.seen.0))
            }
            Self::Rows(shelf, numbers) => {
                let upto = numbers.last().copied().unwrap_or_default();
                let rows = reader.shelf_rows(*shelf, from, upto, PAGE)?;
                let seen = if rows.len() < PAGE { upto } else { rows.last().map_or(upto, |row| row.entry) };
                Ok((rows, Vec::new(), seen))
            }
        }
    }
}

/// The shelf whose rows a file holds, by its name; none for events.
pub(super) fn shelf(file: &str) -> Option<Shelf> {
    Shelf::from_word(file.split('-').nth(1)?)
}

/// Writes these rows into a file and its line into the manifest. Nothing is there but that, whatever fails.
pub(super) fn write(
    folder: &Path,
    file: &str,
    reader: &Reader<'_>,
    goods: &Goods,
    made_ms: UnixMs,
) -> Look<io::Result<Entry>> {
    let draft = folder.join(format!("{file}.tmp"));
    let done = match fs::create_dir_all(folder).and_then(|()| File::create(&draft)) {
        Ok(out) => put(out, reader, goods)?,
        Err(error) => Err(error),
    };
    let settled = done.and_then(|put| settle(folder, file, &draft, goods, made_ms, &put));
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

fn put(out: File, reader: &Reader<'_>, goods: &Goods) -> Look<io::Result<Put>> {
    let mut packer = Packer::new(out);
    let mut wanted = goods.numbers().iter().copied().peekable();
    let (mut received, mut damaged) = (None, Vec::new());
    while let Some(from) = wanted.peek().copied() {
        let (page, broken, seen) = goods.page(reader, from)?;
        if seen < from {
            break;
        }
        damaged.extend(broken.into_iter().filter(|seq| goods.numbers().binary_search(seq).is_ok()));
        for line in page {
            while wanted.next_if(|number| *number < line.entry).is_some() {}
            if wanted.next_if_eq(&line.entry).is_none() {
                continue;
            }
            if let Err(error) = packer.line(line.text) {
                return Ok(Err(error));
            }
            received = Some((received.map_or(line.at_ms, |(first, _)| first), line.at_ms));
        }
        while wanted.next_if(|number| *number <= seen).is_some() {}
    }
    let received = received.unwrap_or_default();
    Ok(packer.finish().map(|(plain, packed)| Put { plain, packed, received, damaged }))
}

/// Writes lines into a compressed file.
struct Packer {
    packed: GzEncoder<Digest<BufWriter<File>>>,
    plain: blake3::Hasher,
}

impl Packer {
    fn new(out: File) -> Self {
        let packed = GzEncoder::new(Digest::new(BufWriter::new(out)), Compression::default());
        Self { packed, plain: blake3::Hasher::new() }
    }

    fn line(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        self.plain.update(line.as_bytes());
        self.packed.write_all(line.as_bytes())
    }

    /// The file is on the disk; answers the hashes of what is in it and of the file.
    fn finish(self) -> io::Result<(blake3::Hash, blake3::Hash)> {
        let Digest { inner, hasher } = self.packed.finish()?;
        inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok((self.plain.finalize(), hasher.finalize()))
    }
}

/// Gives the file its name, reads it back, and lists it.
fn settle(folder: &Path, file: &str, draft: &Path, goods: &Goods, made_ms: UnixMs, put: &Put) -> io::Result<Entry> {
    let (read, numbers) = (read(draft)?, goods.numbers());
    let whole: Vec<i64> = numbers.iter().copied().filter(|number| !put.damaged.contains(number)).collect();
    if read.numbers != whole || read.plain != put.plain || read.packed != put.packed {
        return Err(io::Error::other(format!("{} does not read back as it was written", draft.display())));
    }
    fs::rename(draft, folder.join(file))?;
    sync(folder)?;
    wedge::point("archive-named");
    let entry = Entry {
        file: file.to_owned(),
        what: goods.what().to_owned(),
        from: numbers.first().copied().unwrap_or_default(),
        to: numbers.last().copied().unwrap_or_default(),
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
    numbers: Vec<i64>,
    plain: blake3::Hash,
    packed: blake3::Hash,
}

fn read(path: &Path) -> io::Result<ReadBack> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(alias = "seq")]
        entry: i64,
    }
    let mut lines = BufReader::new(GzDecoder::new(Digest::new(BufReader::new(File::open(path)?))));
    let (mut numbers, mut plain, mut line) = (Vec::new(), blake3::Hasher::new(), Vec::new());
    loop {
        line.clear();
        if lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        plain.update(&line);
        numbers.push(serde_json::from_slice::<Line>(&line)?.entry);
    }
    let mut packed = lines.into_inner().into_inner();
    io::copy(&mut packed, &mut io::sink())?;
    Ok(ReadBack { numbers, plain: plain.finalize(), packed: packed.hasher.finalize() })
}

/// The seqs or numbers in a listed file; none when there is no such file as was listed.
pub(super) fn numbers(folder: &Path, file: &str) -> io::Result<Option<Vec<i64>>> {
    let listed = entries(folder)?.into_iter().find(|entry| entry.file == file);
    let read = match read(&folder.join(file)) {
        Ok(read) => read,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_same = listed.is_some_and(|listed| listed.blake3 == read.packed.to_hex().as_str());
    Ok(is_same.then_some(read.numbers))
}

/// Takes a file out whose rows are all still in the store, as far as it came to be.
pub(super) fn undo(folder: &Path, file: &str) -> io::Result<()> {
    let left = entries(folder)?;
    let kept: Vec<Entry> = left.iter().filter(|entry| entry.file != file).cloned().collect();
    for path in [folder.join(file), folder.join(format!("{file}.tmp"))] {
        absent_is_well(fs::remove_file(path))?;
    }
    if kept.len() < left.len() {
        relist(folder, &kept)?;
    }
    // The note of the file goes next. Were the file back after a power cut, what it holds would be kept twice.
    absent_is_well(sync(folder))
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

/// Takes lines out of a listed file: a new one is written, read back and listed in its place, then the old one goes. `meant`
/// says of a line whether it goes. Answers how many went; a file that holds none of them stays as it is.
pub(super) fn rewrite(folder: &Path, entry: &Entry, meant: impl Fn(&[u8]) -> bool) -> io::Result<usize> {
    let path = folder.join(&entry.file);
    let listed = numbers(folder, &entry.file)?.ok_or_else(|| {
        io::Error::other(format!("{} is gone or damaged: it is not as the manifest lists it", path.display()))
    })?;
    let mut keep = Vec::new();
    each(&path, |line| keep.push(!meant(line)))?;
    let gone = keep.iter().filter(|keep| !**keep).count();
    if gone == 0 {
        return Ok(0);
    }
    let stem = entry.file.trim_end_matches(".ndjson.gz").split("-purged").next().unwrap_or_default();
    let left: Vec<i64> = listed.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(number, _)| *number).collect();
    // The hash in its name: one that is purged twice is another file each time.
    let file = format!("{stem}-purged{}.ndjson.gz", entry.blake3.get(..8).unwrap_or_default());
    let mut fresh = entries(folder)?;
    if left.is_empty() {
        fresh.retain(|one| one.file != entry.file);
    } else {
        let draft = folder.join(format!("{file}.tmp"));
        let mut packer = Packer::new(File::create(&draft)?);
        let (mut at, mut done) = (keep.iter(), Ok(()));
        each(&path, |line| {
            if at.next().is_some_and(|keep| *keep) && done.is_ok() {
                done = packer.line(String::from_utf8_lossy(line).into_owned());
            }
        })?;
        done?;
        let (plain, packed) = packer.finish()?;
        let read = read(&draft)?;
        if read.numbers != left || read.plain != plain || read.packed != packed {
            return Err(io::Error::other(format!("{} does not read back as it was written", draft.display())));
        }
        fs::rename(&draft, folder.join(&file))?;
        let anew = Entry { file, count: left.len(), blake3: packed.to_hex().to_string(), ..entry.clone() };
        fresh.iter_mut().filter(|one| one.file == entry.file).for_each(|one| *one = anew.clone());
    }
    sync(folder)?;
    relist(folder, &fresh)?;
    absent_is_well(fs::remove_file(path))?;
    sync(folder)?;
    Ok(gone)
}

/// Whether a line of a file is meant.
pub(super) fn any(folder: &Path, entry: &Entry, meant: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
    let mut found = false;
    each(&folder.join(&entry.file), |line| found |= meant(line))?;
    Ok(found)
}

/// Hands out the lines of a file.
pub(super) fn each(path: &Path, mut hear: impl FnMut(&[u8])) -> io::Result<()> {
    let mut lines = BufReader::new(GzDecoder::new(BufReader::new(File::open(path)?)));
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        hear(line.trim_ascii_end());
    }
}

/// Takes out files that a purge was cut off from: the manifest does not list them, and `in_hand` is none of them.
pub(super) fn tidy(folder: &Path, in_hand: Option<&str>) -> io::Result<()> {
    let listed = entries(folder)?;
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let name = file?.file_name().to_string_lossy().into_owned();
        let is_ours = name.ends_with(".ndjson.gz") || name.ends_with(".ndjson.gz.tmp");
        let is_in_hand = in_hand.is_some_and(|file| name.starts_with(file));
        if is_ours && !is_in_hand && !listed.iter().any(|entry| entry.file == name) {
            absent_is_well(fs::remove_file(folder.join(name)))?;
        }
    }
    Ok(())
}

/// Takes out the oldest files until so many bytes are free, or none is left; answers how many files and bytes went.
pub(super) fn drop_oldest(folder: &Path, bytes: u64) -> io::Result<(usize, u64)> {
    let all = entries(folder)?;
    let (mut files, mut freed) = (0, 0);
    for entry in &all {
        if freed >= bytes {
            break;
        }
        // A name with a slash is none of ours.
        let path = folder.join(entry.file.replace('/', "_"));
        freed += fs::metadata(&path).map_or(0, |file| file.len());
        absent_is_well(fs::remove_file(path))?;
        files += 1;
    }
    if files > 0 {
        relist(folder, &all[files..])?;
    }
    Ok((files, freed))
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
