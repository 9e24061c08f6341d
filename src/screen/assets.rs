//! The files of the page: carried in the binary under one hash of the whole tree, or read from a folder while they are
//! being written.
//!
//! `/` and the address of each screen are the page itself and asked for anew each time; it points to `/web/<hash>/…`, which never changes and may be kept
//! for ever. So an upgrade is one step: a browser has all files of one page or all of the other.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

include!(concat!(env!("OUT_DIR"), "/web_tree.rs"));

/// The content security policy of the page: everything comes from this node, nothing is inline.
pub const CONTENT_POLICY: &str = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'";

/// The environment variable that names a folder to serve the page from instead, for who works on the page.
pub const DEV_DIR: &str = "WAYPOST_WEB_DIR";

/// What stands for the tree's hash in addresses while the page comes from a folder. Such a page never reloads itself.
pub const DEV_HASH: &str = "dev";

/// Where the page is: one address a screen, so that each can be a bookmark. Which one it shows it reads from its own address.
pub const SCREENS: [&str; 7] = ["/", "/scans", "/assets", "/failures", "/health", "/about", "/first"];

const INDEX: &str = "index.html";
const MARK: &str = "@tree@";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

struct Embedded {
    name: &'static str,
    mime: &'static str,
    hash: &'static str,
    kept: Kept,
}

/// The bytes of a file. The binary has each once: whoever does not accept gzip waits for a millisecond of unpacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As they are.
    Plain(Bytes),
    /// Packed.
    Gzip(Bytes),
}

impl Kept {
    /// The bytes as they are.
    ///
    /// # Errors
    /// When the packed form is broken, which is to say that the binary is.
    pub fn plain(&self) -> io::Result<Bytes> {
        match self {
            Self::Plain(bytes) => Ok(bytes.clone()),
            Self::Gzip(packed) => {
                let mut bytes = Vec::new();
                GzDecoder::new(packed.as_ref()).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

/// A file of the page, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its media type, with the charset where it is text.
    pub mime: &'static str,
    /// Its bytes.
    pub kept: Kept,
    /// Its strong entity tag, quotes included; the gzip form has another one.
    pub etag: String,
    /// How long it may be kept: the value of `Cache-Control`.
    pub cache_control: &'static str,
}

/// The hash that the served page carries: [`TREE_HASH`], or [`DEV_HASH`] while it comes from a folder.
#[must_use]
pub fn page_hash() -> &'static str {
    if dev_dir().is_some() { DEV_HASH } else { TREE_HASH }
}

/// The file of the binary at a request path: one of [`SCREENS`] or `/web/<TREE_HASH>/<name>`.
///
/// Answers none for every other path, an older hash included.
#[must_use]
pub fn find(path: &str) -> Option<Asset> {
    if SCREENS.contains(&path) {
        return TREE.iter().find(|file| file.name == INDEX).map(|file| embedded(file, ASK_AGAIN));
    }
    let (hash, name) = split(path)?;
    if hash != TREE_HASH {
        return None;
    }
    TREE.iter().find(|file| file.name == name && name != INDEX).map(|file| embedded(file, FOR_EVER))
}

/// Answers `GET` of each of [`SCREENS`] and of `/web/{*path}`.
///
/// gzip goes only to who accepts it, 304 to who has it already. A file of another page's hash is sent on to the present
/// one: a browser that an upgrade caught between two requests arrives, and the page then sees that it is an old one.
pub async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let found = match dev_dir() {
        Some(folder) => from_disk(folder, path),
        None => find(path),
    };
    if let Some(asset) = found {
        return answer(&asset, &headers);
    }
    if let Some((hash, name)) = split(path)
        && hash != page_hash()
        && TREE.iter().any(|file| file.name == name && name != INDEX)
    {
        return moved(&format!("/web/{}/{name}", page_hash()));
    }
    let text = "There is no such file in this page. The page is at /\n";
    guarded((StatusCode::NOT_FOUND, [(CACHE_CONTROL, ASK_AGAIN)], text).into_response())
}

/// The hash and the name in `/web/<hash>/<name>`.
fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/web/")?.split_once('/').filter(|(hash, name)| !hash.is_empty() && !name.is_empty())
}

fn embedded(file: &Embedded, cache_control: &'static str) -> Asset {
    Asset { mime: file.mime, kept: file.kept.clone(), etag: format!("\"{}\"", file.hash), cache_control }
}

fn dev_dir() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os(DEV_DIR).filter(|value| !value.is_empty()).map(PathBuf::from)).as_deref()
}

/// A file of a folder on disk, read anew each time; never one outside of that folder.
///
/// It blocks for a read of a small local file: only who works on the page is served this way.
fn from_disk(folder: &Path, path: &str) -> Option<Asset> {
    let name = if SCREENS.contains(&path) {
        INDEX
    } else {
        split(path).map(|(_, name)| name).filter(|name| *name != INDEX)?
    };
    // What the tree can hold is all that may be asked for: no `..`, no `%`, no hidden file, no absolute path.
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if !name.split('/').all(plain) {
        return None;
    }
    let mime = mime_of(name)?;
    let home = folder.canonicalize().ok()?;
    // A link inside the folder may point out of it.
    let file = home.join(name).canonicalize().ok().filter(|file| file.starts_with(&home))?;
    let mut bytes = std::fs::read(file).ok()?;
    if name == INDEX {
        bytes = String::from_utf8_lossy(&bytes).replace(MARK, DEV_HASH).into_bytes();
    }
    let etag = format!("\"{}\"", &blake3::hash(&bytes).to_hex()[..16]);
    Some(Asset { mime, kept: Kept::Plain(bytes.into()), etag, cache_control: ASK_AGAIN })
}

/// The media type by the ending of a name, as the embedded tree has it.
fn mime_of(name: &str) -> Option<&'static str> {
    let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_owned());
    let wanted = ending(name)?;
    TREE.iter().find(|file| ending(file.name).as_deref() == Some(&wanted)).map(|file| file.mime)
}

fn answer(asset: &Asset, headers: &HeaderMap) -> Response {
    let packed = if let Kept::Gzip(packed) = &asset.kept { Some(packed) } else { None };
    let gzip = packed.filter(|_| accepts_gzip(headers));
    let packed_tag = format!("{}-gz\"", asset.etag.trim_end_matches('"'));
    let tag = if gzip.is_some() { packed_tag.as_str() } else { asset.etag.as_str() };
    let known = has_it(headers, &asset.etag) || (packed.is_some() && has_it(headers, &packed_tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = match gzip.cloned().map_or_else(|| asset.kept.plain(), Ok) {
            Ok(bytes) => Body::from(bytes),
            Err(error) => {
                tracing::error!(%error, "a file of the page is broken in the binary; install it again");
                return guarded(StatusCode::INTERNAL_SERVER_ERROR.into_response());
            }
        };
        let mut full = Response::new(body);
        put(&mut full, CONTENT_TYPE, asset.mime);
        if gzip.is_some() {
            put(&mut full, CONTENT_ENCODING, "gzip");
        }
        full
    };
    put(&mut response, ETAG, tag);
    put(&mut response, CACHE_CONTROL, asset.cache_control);
    put(&mut response, VARY, "accept-encoding");
    guarded(response)
}

fn moved(to: &str) -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    put(&mut response, LOCATION, to);
    put(&mut response, CACHE_CONTROL, "no-store");
    guarded(response)
}

/// The headers that every answer of the page carries.
fn guarded(mut response: Response) -> Response {
    put(&mut response, CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    put(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(&mut response, REFERRER_POLICY, "no-referrer");
    response
}

/// Sets a header. A value that no header can hold is left out; ours are plain ASCII.
fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Whether the client takes gzip: named, or by `*`, and not with `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for part in value.to_str().unwrap_or_default().split(',') {
            let mut words = part.split(';').map(str::trim);
            let coding = words.next().unwrap_or_default();
            let refused = words.any(|word| {
                word.strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
            });
            match coding {
                _ if coding.eq_ignore_ascii_case("gzip") => return !refused,
                "*" => any = Some(!refused),
                _ => {}
            }
        }
    }
    any.unwrap_or(false)
}

/// Whether `If-None-Match` names the tag; it compares weakly, as RFC 9110 wants it here.
fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default();
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

#[cfg(test)]
#[path = "assets_tests.rs"]
mod tests;
