//! A real Chromium, headless, driven over WebDriver (W3C): each test has browsers of its own, with nothing remembered.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it serves tests alone: a fault here is the test's failure"
)]

use crate::process::{PATIENCE, Place, Process, text_of, until};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What an element is called in WebDriver's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Chromium as tests want it: no window, no word to anybody outside. Root's rights leave it no sandbox of its own.
const ARGUMENTS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--hide-scrollbars",
];

/// Keys that have no letter (WebDriver 17.4.2).
pub mod keys {
    /// From one element to the next.
    pub const TAB: char = '\u{e004}';
    /// Sends a form, presses a button.
    pub const ENTER: char = '\u{e007}';
    /// Closes a dialogue.
    pub const ESCAPE: char = '\u{e00c}';
    /// Ticks a box.
    pub const SPACE: char = ' ';
    /// The next of several choices.
    pub const DOWN: char = '\u{e015}';
    /// Held down by [`super::Browser::press_with_shift`].
    pub const SHIFT: char = '\u{e008}';
}

/// One browser with one page.
#[derive(Debug)]
pub struct Browser {
    _driver: Process,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts one with a page of this size, in pixels.
    pub fn start(place: &impl AsRef<Place>, (width, height): (u32, u32), is_dark: bool) -> Browser {
        static BROWSERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("browser-{}", BROWSERS.fetch_add(1, Ordering::Relaxed));
        let place = place.as_ref();
        let log = place.path(&format!("{name}.log"));
        let profile = place.path(&name);
        let driver = Process::start(place.command("chromedriver").arg("--port=0"), &log, "chromium-driver");
        let port = port_of(&log);
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        arguments.push(format!("--window-size={width},{height}"));
        if is_dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": { "args": arguments }
        } } });
        let mut browser = Browser { _driver: driver, port, session: String::new() };
        let made = browser.ask("POST", "/session", &wanted);
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        // A window has a frame and a least width; the page is to have this size.
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        browser.tell("goog/cdp/execute", &command);
        browser
    }

    /// Goes to a page and waits until it is there.
    pub fn open(&self, url: &str) {
        self.tell("url", &json!({ "url": url }));
    }

    /// The page's address.
    pub fn url(&self) -> String {
        self.ask("GET", &self.path("url"), &Value::Null).as_str().unwrap().to_owned()
    }

    /// Runs a script in the page; what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.tell("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The same for one that awaits: what it hands to `done`.
    pub fn run_to_end(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1];\n{script}");
        self.tell("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression of the page holds.
    pub fn until(&self, expression: &str) {
        self.until_within(expression, PATIENCE);
    }

    /// The same with a time of its own.
    pub fn until_within(&self, expression: &str, time: Duration) {
        let script = format!("return Boolean({expression});");
        let what = || format!("{expression} at {}\n{}", self.url(), self.text());
        until(what, time, || self.run(&script) == Value::Bool(true));
    }

    /// All that the page's body shows.
    pub fn text(&self) -> String {
        self.run("return document.body.innerText;").as_str().unwrap_or_default().to_owned()
    }

    /// Clicks what a selector of CSS finds first, as a mouse does: what is covered or not shown cannot be clicked.
    pub fn click(&self, selector: &str) {
        self.to_element(selector, "click", &json!({}));
    }

    /// Types into what a selector finds first.
    pub fn type_into(&self, selector: &str, text: &str) {
        self.to_element(selector, "value", &json!({ "text": text }));
    }

    /// Does something to what a selector finds first. A page that follows what others do may exchange the element between
    /// the look and the deed: then it is looked for again, as the eye does.
    fn to_element(&self, selector: &str, deed: &str, body: &Value) {
        let mut fault = String::new();
        for _ in 0..10 {
            let element = self.find(selector);
            let path = self.path(&format!("element/{element}/{deed}"));
            match self.attempt("POST", &path, body) {
                Ok(_) => return,
                Err(found) => fault = found,
            }
            assert!(fault.contains("stale element"), "{selector}: {fault}");
        }
        panic!("{selector}: {fault}");
    }

    /// Presses keys, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let pairs = keys.chars().flat_map(|key| [("keyDown", key), ("keyUp", key)]);
        self.act(&pairs.collect::<Vec<_>>());
    }

    /// Presses a key with shift held down.
    pub fn press_with_shift(&self, key: char) {
        self.act(&[("keyDown", keys::SHIFT), ("keyDown", key), ("keyUp", key), ("keyUp", keys::SHIFT)]);
    }

    /// A picture of the page.
    pub fn screenshot(&self, path: &Path) {
        let picture = self.ask("GET", &self.path("screenshot"), &Value::Null);
        std::fs::write(path, BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap()).unwrap();
    }

    fn act(&self, strokes: &[(&str, char)]) {
        let strokes: Vec<Value> =
            strokes.iter().map(|(kind, key)| json!({ "type": kind, "value": key.to_string() })).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.tell("actions", &json!({ "actions": [keyboard] }));
    }

    fn find(&self, selector: &str) -> String {
        let shown = format!("document.querySelector({})", Value::from(selector));
        self.until(&shown);
        let found = self.tell("element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    fn path(&self, rest: &str) -> String {
        format!("/session/{}/{rest}", self.session)
    }

    fn tell(&self, command: &str, body: &Value) -> Value {
        self.ask("POST", &self.path(command), body)
    }

    /// One command of WebDriver; its value, or the test's failure.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.attempt(method, path, body).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn attempt(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let (head, body) = answer(&mut stream);
        let value = serde_json::from_slice::<Value>(&body).unwrap_or_else(|fault| panic!("{method} {path}: {fault}"));
        if head.starts_with("HTTP/1.1 200") {
            Ok(value["value"].clone())
        } else {
            Err(format!("{method} {path}: {}", value["value"]["message"]))
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
    }
}

/// Head and body of an answer. Its length is what ends it: chromedriver may leave the connection open.
fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head, body)
}

/// The port that chromedriver has chosen: it says so when it is ready.
fn port_of(log: &Path) -> u16 {
    let said = || {
        let text = text_of(log);
        let rest = text.split("started successfully on port ").nth(1)?;
        rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    };
    until(|| format!("chromedriver to be ready\n{}", text_of(log)), PATIENCE, || said().is_some());
    said().unwrap()
}

/// Where pictures of pages are kept as output of the build.
pub fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pages");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
