//! Makes the table of the page's files that the binary carries: every file of `web/` with its MIME type and its hash, as gzip
//! where that is smaller, under one hash of the whole tree. Comments stay at home. No tool but cargo is needed, and equal sources give
//! equal bytes.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::{Compression, GzBuilder};

/// File name endings that belong to the page, their MIME types, and whether gzip makes them smaller.
const SERVED: &[(&str, &str, bool)] = &[
    ("html", "text/html; charset=utf-8", true),
    ("css", "text/css; charset=utf-8", true),
    ("js", "text/javascript; charset=utf-8", true),
    ("svg", "image/svg+xml", true),
    ("txt", "text/plain; charset=utf-8", true),
    ("woff2", "font/woff2", false),
];

/// What `index.html` writes where the hash of the tree belongs.
const MARK: &str = "@tree@";

struct File {
    name: String,
    mime: &'static str,
    packs: bool,
    bytes: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    // The store embeds this folder by include_dir, which cannot tell cargo of a new file in it.
    println!("cargo:rerun-if-changed=migrations");
    // And the command line this one.
    println!("cargo:rerun-if-changed=docs/schema");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("web");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Vec::new();
    walk(&root, &root, &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let tree = tree_hash(&files);
    for file in &mut files {
        if file.name == "index.html" {
            file.bytes = String::from_utf8(std::mem::take(&mut file.bytes))?.replace(MARK, &tree).into_bytes();
        }
    }
    fs::write(out.join("web_tree.rs"), table(&files, &tree, &out)?)?;
    Ok(())
}

/// Collects the files of a folder and of those below it; `tests` and everything that is not served stay out.
fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", folder.display());
    let listing =
        fs::read_dir(folder).map_err(|e| format!("{}: {e}; the page's files belong there", folder.display()))?;
    for entry in listing {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            if name != "tests" && name != "node_modules" && !name.starts_with('.') {
                walk(root, &path, files)?;
            }
            continue;
        }
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let Some((_, mime, packs)) = SERVED.iter().find(|(known, ..)| *known == ending) else { continue };
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)) {
            return Err(format!("{}: a served file's name may hold a-z 0-9 . _ - only", path.display()).into());
        }
        println!("cargo:rerun-if-changed={}", path.display());
        let below = path.strip_prefix(root)?.to_str().ok_or("a path that is not UTF-8")?.replace('\\', "/");
        let bytes = fs::read(&path)?;
        let bytes =
            if matches!(ending, "js" | "css") { lean(&name, &String::from_utf8(bytes)?)?.into_bytes() } else { bytes };
        files.push(File { name: below, mime, packs: *packs, bytes });
    }
    Ok(())
}

/// A script or a style without the lines that are comments, and without indentation: a third less on the wire. A text over
/// several lines would be changed by it, so there may be none.
fn lean(name: &str, source: &str) -> Result<String, Box<dyn Error>> {
    let mut lean = String::with_capacity(source.len());
    let mut comment = false;
    for (number, line) in source.lines().enumerate() {
        let line = line.trim();
        if comment || line.starts_with("/*") {
            comment = !line.contains("*/");
            // What follows a comment in its line belongs to the code.
            if comment || line.ends_with("*/") {
                continue;
            }
        }
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        if line.matches('`').count() % 2 == 1 && name.ends_with(".js") {
            return Err(format!("{name}:{}: a text in backticks may not go over several lines", number + 1).into());
        }
        lean.push_str(line);
        lean.push('\n');
    }
    Ok(lean)
}

/// One hash of all names and bytes: another page is another hash.
fn tree_hash(files: &[File]) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(file.name.as_bytes()).update(&[0]);
        hasher.update(&u64::try_from(file.bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(&file.bytes);
    }
    short(&hasher.finalize())
}

fn short(hash: &blake3::Hash) -> String {
    hash.to_hex().chars().take(16).collect()
}

/// The Rust source of the table; writes the bytes that it includes beside it.
fn table(files: &[File], tree: &str, out: &Path) -> Result<String, Box<dyn Error>> {
    let mut source = format!(
        "/// The hash of the page's files: 16 hex digits, another page is another hash.\npub const TREE_HASH: &str = {tree:?};\n\n\
         static TREE: &[Embedded] = &FILES;\nstatic FILES: [Embedded; {}] = [\n",
        files.len()
    );
    for (number, file) in files.iter().enumerate() {
        let packed = if file.packs { pack(&file.bytes)? } else { Vec::new() };
        let kept = |of: &str| {
            format!("{of}(Bytes::from_static(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/web_{number}\"))))")
        };
        let (kept, bytes) = if packed.is_empty() || packed.len() >= file.bytes.len() {
            (kept("Kept::Plain"), &file.bytes)
        } else {
            (kept("Kept::Gzip"), &packed)
        };
        fs::write(out.join(format!("web_{number}")), bytes)?;
        writeln!(
            source,
            "    Embedded {{ name: {:?}, mime: {:?}, hash: {:?}, kept: {kept} }},",
            file.name,
            file.mime,
            short(&blake3::hash(&file.bytes)),
        )?;
    }
    source.push_str("];\n");
    Ok(source)
}

/// Gzip without a time or a host in its header.
fn pack(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
