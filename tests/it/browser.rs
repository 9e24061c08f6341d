//! The screen in a real browser: what a person in the yard sees, also when the gateway dies and comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::bench::{PATIENCE, Pty, Site, epoch, free_port, program, wait_for};

/// A browser with one window, driven over WebDriver.
struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// None, said aloud, when there is no browser here.
    fn start() -> Option<Self> {
        let (Some(driver), Some(chromium)) = (program("chromedriver"), program("chromium")) else {
            eprintln!("SKIPPED: chromium and chromedriver are not installed; `make test` installs them");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(driver);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = said.find_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok());
        // Nobody reads what it says from here on; it says nothing more.
        drop(said);
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver names its port")));
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,900",
            &format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let options = json!({"args": arguments, "binary": chromium});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}});
        let made = browser.post("/session", &json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        Some(browser)
    }

    /// One command of WebDriver; its value.
    fn post(&self, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(n) = line.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["value"]["error"].is_null(), "{path} {body}: {answer}");
        answer["value"].clone()
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.post(&format!("/session/{}{path}", self.session), body)
    }

    fn open(&self, address: SocketAddr, path: &str) {
        self.command("/url", &json!({"url": format!("http://{address}{path}")}));
    }

    /// Goes to another screen as a person does, by its link.
    fn go(&self, path: &str) {
        self.run(&format!("document.querySelector('#nav a[href=\"{path}\"]').click()"));
    }

    /// What a script in the page returns.
    fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a person reads in a part of the page.
    fn text(&self, id: &str) -> String {
        let text = self.run(&format!("return document.getElementById('{id}')?.innerText"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a part of the page says all of it.
    fn says(&self, id: &str, all: &[&str]) -> String {
        let mut last = String::new();
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(&format!("{all:?} in {id}"), || {
                last = self.text(id);
                all.iter().all(|one| last.contains(one)).then(|| last.clone())
            })
        }));
        said.unwrap_or_else(|_| panic!("{id} says {last:?}"))
    }

    /// The addresses of all requests that the page has made since this was asked last.
    fn requests(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({"type": "performance"}));
        let entries = log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap());
        let messages = entries.map(|entry| serde_json::from_str::<Value>(entry).unwrap()["message"].clone());
        messages
            .filter(|message| message["method"] == "Network.requestWillBeSent")
            .map(|message| message["params"]["request"]["url"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session; a driver that is killed alone leaves it running.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let path = format!("/session/{}", self.session);
            write!(stream, "DELETE {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
        }));
        drop(ended);
        // The test is over: whether it can still be ended matters to nobody.
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

/// A yard with a receiver and a scanner, on a port that stays the same.
fn yard() -> (Site, Pty, Pty) {
    let site = Site::new();
    let (gps0, door3) = (Pty::new(&site.path("gps0")), Pty::new(&site.path("door-3")));
    site.configure(&format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\nasset = \"TRK-07\"\ntrack_interval_s = 0\n\n[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n",
        site.path("gps0").display(),
        site.path("door-3").display()
    ));
    let text = std::fs::read_to_string(site.config()).unwrap();
    let text = text.replace("127.0.0.1:0", &format!("127.0.0.1:{}", free_port()));
    std::fs::write(site.config(), text).unwrap();
    (site, gps0, door3)
}

#[test]
fn a_new_gateway_leads_to_its_yard_and_shows_a_scan_the_moment_it_is_read() {
    let Some(browser) = Browser::start() else { return };
    let (site, mut gps0, mut door3) = yard();
    let node = site.start();
    gps0.write(&epoch(36_000));
    gps0.write(&epoch(36_001));
    browser.open(node.address(), "/");
    browser
        .says("main", &["It is running. Scan anything.", "gps0 delivers", "door-3 is connected", "No yard plan yet"]);
    browser.says("truth", &["Live"]);
    browser.run("window.same = 'page'");
    door3.write(b"TRL-1041\r\n");
    browser.says("main", &["Everything delivers.", "Accepted: TRL-1041"]);
    // It ends by itself when every source has delivered.
    browser.says("facts", &["TRK-07", "59.7166", "11.3875"]);
    browser.says("assets", &["TRL-1041", "TRK-07"]);
    gps0.write(&epoch(36_600));
    gps0.write(&epoch(36_601));
    browser.says("facts", &["TRK-07", "59.7266"]);
    browser.go("/scans");
    browser.says("scans", &["TRL-1041", "Accepted", "door-3"]);
    // Pallets differ in their last digits: a code may take two lines, it may not end in dots.
    door3.write(b"00395212340000010013\r\n");
    browser.says("scans", &["00395212340000010013"]);
    let cut = "const code = document.querySelector('#scans bdi'); return code.scrollWidth > code.clientWidth || code.scrollHeight > code.clientHeight + 9";
    assert_eq!(browser.run(cut), false, "the whole code is seen");
    door3.write(b"NOREAD\r\n");
    browser.says("scans", &["Kept aside", "could not read the label", "00395212340000010013"]);
    browser.go("/failures");
    browser.says("main", &["1", "waits for a decision", "The reader says that it could not read the label."]);
    browser.go("/health");
    browser.says("main", &["0 missing", "door-3", "gps0"]);
    assert_eq!(browser.run("return window.same"), "page", "all of it without a reload");
    assert_eq!(browser.run("return document.documentElement.classList.contains('gone')"), false);
    assert!(node.stop().success());
}

#[test]
fn the_operator_draws_the_plan_on_the_page_and_is_told_when_somebody_else_does() {
    let Some(browser) = Browser::start() else { return };
    let (site, mut gps0, _door3) = yard();
    let conf = site.config().with_file_name("conf.d");
    std::fs::create_dir_all(&conf).unwrap();
    let pin = site.path("pin");
    std::fs::write(conf.join("pin.toml"), format!("[http]\npin_file = \"{}\"\n", pin.display())).unwrap();
    std::fs::write(&pin, "246813\n").unwrap();
    std::fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let node = site.start();
    gps0.write(&epoch(36_000));
    gps0.write(&epoch(36_001));
    browser.open(node.address(), "/?view=live");
    browser.says("facts", &["TRK-07", "59.7166"]);
    let click = |what: &str| browser.run(&format!("document.querySelector('{what}').click()"));
    let write = |what: &str, text: &str| {
        let script = "const at = document.querySelector(arguments[0]); at.value = arguments[1]; at.dispatchEvent(new Event('input', { bubbles: true }));";
        browser.command("/execute/sync", &json!({ "script": script, "args": [what, text] }));
    };
    click(".zbegin");
    browser.says("editor", &["Edit the plan", "No zone yet"]);
    click(".ztools button");
    browser.says("editor", &["Dock, dock-1"]);
    let name = "<img src=x onerror=window.hurt=1>";
    write(".zform input", name);
    click("#editor .pri");
    wait_for("the question for the PIN", || {
        (browser.run("return !!document.querySelector('dialog')") == true).then_some(())
    });
    write("dialog input", "246813");
    click("dialog .pri");
    wait_for("the plan", || (node.json("/api/v1/zones")["rev"] == 1).then_some(()));
    let zone = node.json("/api/v1/zones")["plan"]["features"][0].clone();
    assert_eq!(zone["properties"], json!({ "id": "dock-1", "name": name, "kind": "dock" }));
    let ring = zone["geometry"]["coordinates"][0].as_array().unwrap().clone();
    assert!(ring.len() == 5 && ring[0] == ring[4], "a ring is closed: {ring:?}");
    assert_eq!(browser.run("return document.querySelectorAll('.zones .zone').length"), 1);
    assert_eq!(browser.run("return window.hurt === undefined && !document.querySelector('main img')"), true);

    click(".zform .dang");
    browser.says("editor", &["No zone yet"]);
    assert_eq!(browser.run("return document.activeElement.textContent"), "Undo", "what brings it back has the focus");
    click(".ztools button:nth-of-type(2)");
    browser.says("editor", &["Dock, dock-1"]);
    click(".zlist .pick");

    let other = site.path("other.geojson");
    std::fs::write(&other, "{\"type\":\"FeatureCollection\",\"features\":[]}").unwrap();
    assert!(site.ask(&["plan", "import", other.to_str().unwrap()]).status.success());
    browser.says("editor", &["Somebody else has saved another plan meanwhile."]);
    write(".zform input", "Mine");
    click("#editor .pri");
    wait_for("the conflict", || (browser.run("return !!document.querySelector('dialog .dang')") == true).then_some(()));
    assert_eq!(node.json("/api/v1/zones")["rev"], 2, "nothing is put in the place of what was not seen");
    click("dialog .dang");
    wait_for("the plan again", || (node.json("/api/v1/zones")["rev"] == 3).then_some(()));
    assert_eq!(node.json("/api/v1/zones")["plan"]["features"][0]["properties"]["name"], "Mine");
    assert!(node.stop().success());
}

#[test]
fn a_page_that_loses_its_gateway_says_so_and_is_live_again_by_itself() {
    let Some(browser) = Browser::start() else { return };
    let (site, mut gps0, mut door3) = yard();
    let node = site.start();
    gps0.write(&epoch(36_000));
    gps0.write(&epoch(36_001));
    door3.write(b"BEFORE-1\r\n");
    browser.open(node.address(), "/scans");
    browser.says("scans", &["BEFORE-1"]);
    browser.says("truth", &["Live"]);
    browser.run("window.same = 'page'");
    node.kill();
    browser.says("alarm", &["This screen lost the gateway"]);
    let strip = browser.says("truth", &["Not live", "last known"]);
    assert!(!strip.lines().any(|line| line.trim() == "Live"), "{strip}");
    assert_eq!(browser.run("return document.documentElement.classList.contains('gone')"), true);
    assert!(browser.text("scans").contains("BEFORE-1"), "what was known is still there");
    browser.go("/");
    browser.says("facts", &["TRK-07", "59.7166"]);
    browser.go("/scans");
    // What was scanned while the screen saw nothing is there when it sees again.
    door3.write(b"MEANWHILE-1\r\n");
    let node = site.start();
    browser.says("scans", &["MEANWHILE-1", "BEFORE-1"]);
    browser.says("truth", &["Live"]);
    door3.write(b"AFTER-1\r\n");
    browser.says("scans", &["AFTER-1", "MEANWHILE-1", "BEFORE-1"]);
    let feed = browser.text("scans");
    for code in ["BEFORE-1", "MEANWHILE-1", "AFTER-1"] {
        assert_eq!(feed.matches(code).count(), 1, "{feed}");
    }
    assert_eq!(browser.run("return document.documentElement.classList.contains('gone')"), false);
    assert_eq!(browser.run("return window.same"), "page", "without a reload");
    assert!(node.stop().success());
}

#[test]
fn scanned_text_is_shown_as_text_and_makes_no_element() {
    let Some(browser) = Browser::start() else { return };
    let (site, _gps0, mut door3) = yard();
    let node = site.start();
    let kinds = "return [...new Set([...document.querySelectorAll('#scans *')].map((one) => one.tagName))].sort()";
    browser.open(node.address(), "/scans");
    door3.write(b"PLAIN-1\r\n");
    browser.says("scans", &["PLAIN-1"]);
    let before = browser.run(kinds);
    let hostile = [
        "<script>window.hurt = 1</script>",
        "<img src=x onerror=\"window.hurt = 2\">",
        "\"><svg onload=window.hurt=3>",
        "javascript:window.hurt=4",
        "{{constructor.constructor('window.hurt=5')()}}",
        "<a href=//evil.example>win</a>",
    ];
    for code in hostile {
        door3.write(format!("{code}\r\n").as_bytes());
        browser.says("scans", &[code]);
    }
    assert_eq!(browser.run("return window.hurt === undefined"), true);
    assert_eq!(browser.run(kinds), before, "no element of a kind that was not there");
    browser.go("/");
    browser.says("assets", &hostile);
    let aimed = "return document.querySelectorAll('[onload], [onerror], [href*=evil], [href^=javascript]').length";
    assert_eq!(browser.run(aimed), 0);
    assert!(node.stop().success());
}

#[test]
fn the_page_asks_no_other_host_for_anything_and_could_not() {
    let Some(browser) = Browser::start() else { return };
    let (site, _gps0, mut door3) = yard();
    let node = site.start();
    // With a stream of its own: what a worker asks for is not in the log of the page.
    browser.open(node.address(), "/?view=live&alone=1");
    door3.write(b"TRL-7\r\n");
    browser.says("assets", &["TRL-7"]);
    let own = format!("http://{}/", node.address());
    let asked = browser.requests();
    assert!(
        asked.contains(&format!("{own}?view=live&alone=1")) && asked.iter().any(|url| url.contains("/stream")),
        "{asked:?}"
    );
    let strange: Vec<_> = asked
        .iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:") && !url.starts_with("chrome"))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    // Had something hostile come to run in it, it could reach nobody else either.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", other.local_addr().unwrap());
    browser.run(&format!(
        "window.refused = [];
         document.addEventListener('securitypolicyviolation', (v) => window.refused.push(v.effectiveDirective));
         new Image().src = '{url}image';
         fetch('{url}fetch').catch(() => 0);
         const script = document.createElement('script'); script.src = '{url}script'; document.head.append(script);
         const frame = document.createElement('iframe'); frame.src = '{url}frame'; document.body.append(frame);
         const inline = document.createElement('script'); inline.textContent = 'window.hurt = 1'; document.head.append(inline);"
    ));
    wait_for("five refusals", || (browser.run("return window.refused.length").as_u64().unwrap() >= 5).then_some(()));
    assert_eq!(browser.run("return window.hurt === undefined"), true);
    // A browser may open a connection before it looks at the policy; nothing is asked on it.
    while let Ok((mut came, _)) = other.accept() {
        came.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        let mut asked = [0; 512];
        let n = came.read(&mut asked).unwrap_or(0);
        assert_eq!(String::from_utf8_lossy(&asked[..n]), "", "a request that the policy forbids");
    }
    assert!(node.stop().success());
}
