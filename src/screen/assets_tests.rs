use std::collections::BTreeSet;
use std::fs;

use axum::body::to_bytes;
use axum::http::header::HeaderName;

use super::*;

fn text(name: &str) -> String {
    let file = TREE.iter().find(|file| file.name == name).unwrap();
    String::from_utf8(file.kept.plain().unwrap().to_vec()).unwrap()
}

fn asked(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
}

async fn get(path: &str, pairs: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = serve(path.parse().unwrap(), asked(pairs)).await;
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, to_bytes(body, 1 << 20).await.unwrap().to_vec())
}

#[test]
fn every_file_has_its_media_type_and_a_tag_of_its_bytes() {
    let mut tags = BTreeSet::new();
    for file in TREE {
        let path = if file.name == INDEX { "/".to_owned() } else { format!("/web/{TREE_HASH}/{}", file.name) };
        let asset = find(&path).unwrap_or_else(|| panic!("{path} is not served"));
        let mime = match file.name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            "txt" => "text/plain; charset=utf-8",
            "woff2" => "font/woff2",
            other => panic!("{other} has no media type"),
        };
        assert_eq!(asset.mime, mime, "{path}");
        assert_eq!(asset.kept, file.kept);
        assert!(asset.etag.starts_with('"') && asset.etag.ends_with('"') && asset.etag.len() == 18, "{}", asset.etag);
        assert!(tags.insert(asset.etag), "{path} shares its tag");
        if let Kept::Gzip(packed) = asset.kept {
            assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < file.kept.plain().unwrap().len(), "{path}");
        }
        assert_eq!(asset.cache_control, if path == "/" { ASK_AGAIN } else { FOR_EVER });
    }
}

#[test]
fn what_is_no_part_of_the_page_is_not_in_the_binary() {
    for file in TREE {
        assert!(
            !file.name.contains("test") && !file.name.ends_with(".ts") && !file.name.ends_with(".json"),
            "{}",
            file.name
        );
    }
    for path in ["", "/web/", "/web/x", "/web//main.js", "/index.html", "/web/0000000000000000/main.js"] {
        assert_eq!(find(path), None, "{path}");
    }
    assert_eq!(find(&format!("/web/{TREE_HASH}/index.html")), None);
}

/// The modules that are loaded with the page, `main.js` first; the others come with the screen that needs them.
fn first_modules() -> Vec<String> {
    let mut found = vec!["main.js".to_owned()];
    for at in 0.. {
        let Some(name) = found.get(at).cloned() else { break };
        let imports: Vec<String> = imports(&name).into_iter().filter(|one| !found.contains(one)).collect();
        found.extend(imports);
    }
    found
}

/// What a module imports before it runs.
fn imports(name: &str) -> Vec<String> {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let source = text(name);
    let wanted = source.lines().filter(|line| line.starts_with("import ")).filter_map(|line| line.split('"').nth(1));
    wanted
        .map(|wanted| match wanted.strip_prefix("../") {
            Some(above) => above.to_owned(),
            None if folder.is_empty() => wanted.trim_start_matches("./").to_owned(),
            None => format!("{folder}/{}", wanted.trim_start_matches("./")),
        })
        .collect()
}

#[test]
fn the_index_names_every_style_and_every_module_that_the_first_screen_needs() {
    let index = text(INDEX);
    assert!(!index.contains(MARK));
    assert!(index.contains(&format!("data-page=\"{TREE_HASH}\"")));
    let styles = TREE.iter().map(|file| file.name.to_owned()).filter(|name| name.ends_with(".css"));
    for name in first_modules().into_iter().chain(styles) {
        assert!(index.contains(&format!("\"/web/{TREE_HASH}/{name}\"")), "{name} is not preloaded");
    }
    for link in index.split('"').filter(|part| part.starts_with("/web/")) {
        assert!(find(link).is_some(), "{link} leads nowhere");
    }
    for screen in SCREENS {
        assert_eq!(find(screen).unwrap().kept, find("/").unwrap().kept, "{screen}");
    }
}

#[test]
fn every_import_of_a_module_leads_to_a_module() {
    for file in TREE.iter().filter(|file| file.name.ends_with(".js")) {
        for name in imports(file.name) {
            assert!(TREE.iter().any(|other| other.name == name), "{}: {name}", file.name);
        }
        // Those that come later: import("./view/scans.js").
        for later in text(file.name).split("import(\"./").skip(1).filter_map(|rest| rest.split('"').next()) {
            if !later.ends_with(".js") {
                // A type, in a comment.
                continue;
            }
            let folder = file.name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            let name = format!("{folder}{later}");
            assert!(TREE.iter().any(|other| other.name == name), "{}: {name}", file.name);
        }
    }
}

#[test]
fn the_page_fetches_nothing_from_elsewhere_and_needs_nothing_inline() {
    for file in TREE.iter().filter(|file| !file.name.ends_with(".woff2") && !file.name.ends_with(".txt")) {
        let source = text(file.name).replace("http://www.w3.org/2000/svg", "");
        for scheme in ["http://", "https://", "ws://", "wss://", "\"//", "(//"] {
            assert!(!source.contains(scheme), "{} holds {scheme}", file.name);
        }
        for parse in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "setAttribute(\"style\"",
        ] {
            assert!(!source.contains(parse), "{} holds {parse}", file.name);
        }
    }
    let index = text(INDEX);
    assert!(!index.contains("style=") && !index.contains("<style") && !index.contains(" onclick"));
    assert_eq!(index.matches("<script").count(), index.matches("<script type=\"module\" src=").count());
}

#[test]
fn what_the_first_screen_loads_stays_under_its_budget_of_bytes_and_requests() {
    let size = |name: &str| {
        let file = TREE.iter().find(|file| file.name == name).unwrap();
        match &file.kept {
            Kept::Plain(bytes) | Kept::Gzip(bytes) => bytes.len(),
        }
    };
    let index = text(INDEX);
    let named = |ending: &str| -> Vec<&str> {
        let mut names: Vec<_> = TREE.iter().map(|file| file.name).filter(|name| name.ends_with(ending)).collect();
        names.retain(|name| index.contains(&format!("\"/web/{TREE_HASH}/{name}\"")));
        names
    };
    let (js, css) = (named(".js"), named(".css"));
    let bytes: usize = js.iter().chain(&css).map(|name| size(name)).sum();
    assert!(bytes <= 45 * 1024, "{bytes} bytes of scripts and styles");
    // The page itself and its font beside them.
    assert!(js.len() + css.len() + 2 <= 18, "{js:?} {css:?}");
    let font = size("fonts/overpass.woff2");
    assert!(font <= 40 * 1024, "{font} bytes");
    let whole: usize = TREE.iter().filter(|file| file.name.ends_with(".js")).map(|file| size(file.name)).sum();
    // What is loaded when it is asked for, the plan's editor and German with it.
    assert!(whole <= 110 * 1024, "{whole} bytes of scripts in all");
}

#[tokio::test]
async fn gzip_goes_only_to_who_accepts_it() {
    let path = format!("/web/{TREE_HASH}/main.js");
    for (accept, packed) in [
        ("gzip", true),
        ("br, GZIP;q=0.5", true),
        ("*", true),
        ("gzip;q=0", false),
        ("*, gzip; q=0.0", false),
        ("br", false),
        ("", false),
        ("x-gzip-not", false),
    ] {
        let (status, headers, body) = get(&path, &[(ACCEPT_ENCODING, accept)]).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers.contains_key(CONTENT_ENCODING), packed, "{accept:?}");
        assert_eq!(body.starts_with(&[0x1f, 0x8b]), packed, "{accept:?}");
        assert_eq!(headers[VARY], "accept-encoding");
    }
}

#[tokio::test]
async fn who_has_a_file_already_gets_304_and_no_bytes() {
    let path = format!("/web/{TREE_HASH}/main.js");
    let (_, plain, _) = get(&path, &[]).await;
    let (_, packed, _) = get(&path, &[(ACCEPT_ENCODING, "gzip")]).await;
    let tags = [plain[ETAG].to_str().unwrap(), packed[ETAG].to_str().unwrap()];
    assert_ne!(tags[0], tags[1]);
    for tag in [tags[0], tags[1], &format!("\"x\", W/{}", tags[0]), "*"] {
        let (status, headers, body) = get(&path, &[(IF_NONE_MATCH, tag), (ACCEPT_ENCODING, "gzip")]).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{tag}");
        assert!(headers.contains_key(ETAG));
    }
    let (status, ..) = get(&path, &[(IF_NONE_MATCH, "\"other\"")]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_carries_the_content_policy() {
    let other = "/web/0123456789abcdef/main.js";
    for (path, expect) in
        [("/", StatusCode::OK), ("/web/x/none", StatusCode::NOT_FOUND), (other, StatusCode::TEMPORARY_REDIRECT)]
    {
        let (status, headers, _) = get(path, &[]).await;
        assert_eq!(status, expect);
        assert_eq!(headers[CONTENT_SECURITY_POLICY], CONTENT_POLICY);
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}

#[tokio::test]
async fn a_browser_between_two_pages_is_sent_to_the_present_one() {
    let (status, headers, _) = get("/web/0123456789abcdef/view/shell.js", &[]).await;
    assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(headers[LOCATION], format!("/web/{TREE_HASH}/view/shell.js").as_str());
    assert_eq!(headers[CACHE_CONTROL], "no-store");
}

#[test]
fn a_folder_never_gives_a_file_from_outside_of_it() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("web");
    fs::create_dir_all(folder.join("view")).unwrap();
    fs::write(above.path().join("secret.js"), "secret").unwrap();
    fs::write(folder.join(".hidden.js"), "hidden").unwrap();
    fs::write(folder.join("view/strip.js"), "strip").unwrap();
    std::os::unix::fs::symlink(above.path().join("secret.js"), folder.join("link.js")).unwrap();
    let read = |path: &str| from_disk(&folder, path).map(|asset| asset.kept.plain().unwrap().to_vec());
    assert_eq!(read("/web/dev/view/strip.js").as_deref(), Some(&b"strip"[..]));
    for path in [
        "/web/dev/../secret.js",
        "/web/dev/view/../../secret.js",
        "/web/dev/%2e%2e/secret.js",
        "/web/dev/..%2fsecret.js",
        "/web/dev/..\\secret.js",
        "/web/dev//etc/hostname",
        "/web/dev/.hidden.js",
        "/web/dev/link.js",
        "/web/dev/view",
        "/web/dev/none.js",
        "/web/dev/view/strip.exe",
    ] {
        assert_eq!(read(path), None, "{path}");
    }
}

#[test]
fn a_page_from_a_folder_points_to_that_folder_and_is_asked_for_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(INDEX), "<html data-page=\"@tree@\"><link href=\"/web/@tree@/main.js\">").unwrap();
    let page = from_disk(folder.path(), "/").unwrap();
    assert_eq!(page.kept.plain().unwrap(), b"<html data-page=\"dev\"><link href=\"/web/dev/main.js\">".as_slice());
    assert_eq!(page.cache_control, ASK_AGAIN);
    assert_eq!(page.mime, "text/html; charset=utf-8");
}
