//! Chromium, driven over the W3C WebDriver protocol: a `Browser` is a process of `chromedriver`
//! with one session, a `Window` a page in it.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Directory, Http, Wire, eventually_some};

/// How long one command may take: starting Chromium on a busy machine is slow.
const SLOW: Duration = Duration::from_secs(60);

/// The key under which WebDriver refers to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running Chromium; it ends when this is dropped.
pub(crate) struct Browser {
    driver: Driver,
    session: String,
    /// Its user data, which nobody else has.
    _profile: Directory,
}

/// A window of a [`Browser`].
pub(crate) struct Window<'b> {
    browser: &'b Browser,
    handle: String,
}

/// The process of `chromedriver`.
struct Driver {
    process: Child,
    port: u16,
    /// Kept open, as the driver goes on writing to it.
    _stdout: BufReader<ChildStdout>,
}

impl Browser {
    /// Starts `chromedriver` on a port of the system's choice, and Chromium with an empty
    /// profile.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more flags for Chromium.
    #[track_caller]
    pub(crate) fn start_with(more: &[&str]) -> Self {
        let driver = Driver::start();
        let profile = Directory::new();
        let mut flags: Vec<String> =
            FLAGS.iter().chain(more).map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let wish = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
        }}});
        let session = match driver.call("POST", "/session", &wish) {
            Ok(value) => value["sessionId"].as_str().unwrap().to_owned(),
            Err(error) => panic!(
                "Chromium does not start; if it is missing, install it with: \
                 apt-get install chromium\n{error}"
            ),
        };
        Self { driver, session, _profile: profile }
    }

    /// Opens a new window and loads a page into it.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) -> Window<'_> {
        let window = self.call("POST", "/window/new", &json!({"type": "window"}));
        let handle = window["handle"].as_str().unwrap().to_owned();
        let window = Window { browser: self, handle };
        window.call("POST", "/url", &json!({ "url": url }));
        window
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        match self.driver.call(method, &path, body) {
            Ok(value) => value,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium, and comes back when it has ended.
        let path = format!("/session/{}", self.session);
        let _ = self.driver.call("DELETE", &path, &Value::Null);
    }
}

impl Window<'_> {
    /// Runs a script as the body of a function, and returns what that returns.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.call("POST", "/execute/sync", &body)
    }

    /// Types into the element that the selector finds, as from a keyboard.
    #[track_caller]
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        let body = json!({ "text": text });
        self.call("POST", &format!("/element/{element}/value"), &body);
    }

    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.call("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// The text that a person sees in the element.
    #[track_caller]
    pub(crate) fn text_of(&self, selector: &str) -> String {
        let element = self.element(selector);
        let text = self.call("GET", &format!("/element/{element}/text"), &Value::Null);
        text.as_str().unwrap().to_owned()
    }

    /// Waits until a line of the text in the element has `part` in it, and returns that line.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, selector: &str, part: &str) -> String {
        eventually_some(&format!("`{part}` in {selector}"), || {
            let text = self.text_of(selector);
            let mut lines = text.lines().filter(|line| line.contains(part));
            lines.next().map(str::to_owned)
        })
    }

    /// Closes the window, as its user would.
    #[track_caller]
    pub(crate) fn close(self) {
        self.call("DELETE", "/window", &Value::Null);
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let body = json!({"using": "css selector", "value": selector});
        let element = self.call("POST", "/element", &body);
        element[ELEMENT].as_str().unwrap().to_owned()
    }

    /// A command for this window: the session's commands go to the one that was chosen last.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let window = json!({"handle": self.handle});
        self.browser.call("POST", "/window", &window);
        self.browser.call(method, path, body)
    }
}

impl Driver {
    #[track_caller]
    fn start() -> Self {
        let process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("chromedriver is missing, install it with: apt-get install chromium-driver")
            }
            Err(error) => panic!("chromedriver: {error}"),
        };
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut told = String::new();
        let port = loop {
            let start = told.len();
            if stdout.read_line(&mut told).unwrap() == 0 {
                let _ = process.wait();
                panic!("chromedriver has ended:\n{told}");
            }
            let line = told[start..].trim_end().trim_end_matches('.');
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.parse().unwrap();
            }
        };
        Self { process, port, _stdout: stdout }
    }

    /// The `value` of the answer, or its text when it tells of an error.
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let wire = Wire::tcp((Ipv4Addr::LOCALHOST, self.port).into());
        wire.set_patience(Some(SLOW));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut http = Http::over(wire);
        let answer = http.exchange(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        if answer.status != 200 {
            return Err(answer.text().to_owned());
        }
        let mut answer: Value = serde_json::from_str(answer.text()).unwrap();
        Ok(answer["value"].take())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
