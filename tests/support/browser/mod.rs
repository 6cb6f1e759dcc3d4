//! How does a test use a site as a person with a browser does?
//!
//! A WebDriver client (W3C WebDriver) for headless Chromium through Debian's `chromedriver`. It speaks
//! the protocol's JSON directly: a dozen calls over the tests' own HTTP client. It knows nothing
//! of AM and judges nothing.

mod driver;

use std::time::{Duration, Instant};

use portcullis_openam::http::{Client, HttpError};
use serde_json::{Value, json};

pub use driver::{Driver, Missing};

use crate::site::{USER, USER_PASSWORD};

/// Between two looks at a page that is waited for.
const POLL: Duration = Duration::from_millis(50);
/// How long a page or an element is waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// What a small phone has, in CSS pixels.
pub const PHONE_WIDTH: u32 = 360;
/// The key under which WebDriver hands out elements (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Why the browser did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// chromedriver gave no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// chromedriver answered with an error.
    #[error("{call}: {error}: {message}")]
    Refused {
        /// The WebDriver command's path below the session.
        call: String,
        /// WebDriver's error code, such as `no such element`.
        error: String,
        /// The first line of its message.
        message: String,
    },
    /// What was waited for did not come.
    #[error("{what} did not come within {seconds} s; the browser is at {url}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The limit that passed.
        seconds: u64,
        /// Where the browser is, without the query.
        url: String,
    },
}

/// A cookie as the browser holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Its domain, with a leading dot where it holds for sub-domains.
    pub domain: String,
    /// Whether scripts are kept from it.
    pub http_only: bool,
    /// Whether it is sent over TLS only.
    pub secure: bool,
}

/// A tab, as WebDriver names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tab(String);

/// A browser window with an empty profile of its own; closed when dropped.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    session: String,
    // After the session is over, not before.
    _profile: tempfile::TempDir,
}

impl Driver {
    /// Opens a browser that knows nobody: fresh profile, every name below `test.example.org` and
    /// `test.example.net` on loopback, no calls home.
    ///
    /// # Errors
    /// [`BrowserError`] when Chromium does not start.
    pub fn browser(&self) -> Result<Browser, BrowserError> {
        self.open(json!({}))
    }

    /// The same on a phone: a narrow screen, as wide as the page says that it is made for.
    ///
    /// # Errors
    /// [`BrowserError`] when Chromium does not start.
    pub fn phone(&self) -> Result<Browser, BrowserError> {
        let screen =
            json!({ "width": PHONE_WIDTH, "height": 640, "pixelRatio": 2.0, "touch": true });
        self.open(json!({ "deviceMetrics": screen }))
    }

    fn open(&self, emulated: Value) -> Result<Browser, BrowserError> {
        let shape = |message: String| BrowserError::Refused {
            call: "/session".into(),
            error: "no session".into(),
            message,
        };
        let profile = tempfile::tempdir().map_err(|e| shape(e.to_string()))?;
        let arguments = [
            "--headless=new",
            // Chromium refuses its sandbox to root, which is who runs tests in a container.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP *.test.example.org 127.0.0.1, MAP *.test.example.net 127.0.0.1",
            // A proxy of the environment has no business between the tests and their servers.
            "--no-proxy-server",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let mut options = json!({ "binary": self.chromium(), "args": arguments });
        if emulated != json!({}) {
            options["mobileEmulation"] = emulated;
        }
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": options,
        } } });
        let client = self.client().clone().with_timeout(WAIT_LIMIT);
        let value = call(client.post("/session").json(&capabilities), "/session")?;
        let session = value["sessionId"]
            .as_str()
            .ok_or_else(|| shape("no sessionId".into()))?;
        Ok(Browser {
            session: format!("/session/{session}"),
            client,
            _profile: profile,
        })
    }
}

impl Browser {
    /// Opens `url` and waits until the page has loaded, redirects included.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when the address cannot be reached.
    pub fn goto(&self, url: &str) -> Result<(), BrowserError> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// Waits until an element that matches the CSS selector is displayed.
    ///
    /// # Errors
    /// [`BrowserError::TimedOut`] after a minute.
    pub fn wait_for(&self, css: &str) -> Result<(), BrowserError> {
        self.until(css, || {
            let Some(element) = self.find(css)? else {
                return Ok(false);
            };
            Ok(self.get(&format!("/element/{element}/displayed"))? == json!(true))
        })
    }

    /// Waits until the address starts with `prefix`.
    ///
    /// # Errors
    /// [`BrowserError::TimedOut`] after a minute.
    pub fn wait_for_url(&self, prefix: &str) -> Result<(), BrowserError> {
        self.until(prefix, || Ok(self.current_url()?.starts_with(prefix)))
    }

    /// Waits until the page's text has `text` in it.
    ///
    /// # Errors
    /// [`BrowserError::TimedOut`] after a minute.
    pub fn wait_for_text(&self, text: &str) -> Result<(), BrowserError> {
        self.until(text, || Ok(self.text()?.contains(text)))
    }

    /// Fills in the form of AM's login page as the user that every AM has.
    ///
    /// # Errors
    /// Those of [`Browser::wait_for`].
    pub fn sign_in(&self) -> Result<(), BrowserError> {
        self.type_into("#idToken1", USER)?;
        self.type_into("#idToken2", USER_PASSWORD)?;
        self.click("#loginButton_0")
    }

    /// Waits for a field and types into it, after emptying it.
    ///
    /// # Errors
    /// Those of [`Browser::wait_for`].
    pub fn type_into(&self, css: &str, text: &str) -> Result<(), BrowserError> {
        self.on(css, "/clear", &json!({}))?;
        self.on(css, "/value", &json!({ "text": text }))
    }

    /// Waits for an element and clicks it; a page that it leads to is waited for.
    ///
    /// # Errors
    /// Those of [`Browser::wait_for`].
    pub fn click(&self, css: &str) -> Result<(), BrowserError> {
        self.on(css, "/click", &json!({}))
    }

    /// The page's visible text.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when there is no page.
    pub fn text(&self) -> Result<String, BrowserError> {
        let script =
            json!({ "script": "return document.body ? document.body.innerText : ''", "args": [] });
        Ok(string(&self.post("/execute/sync", &script)?))
    }

    /// Runs a script in the page.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when there is no page, or the script fails.
    pub fn script(&self, script: &str) -> Result<Value, BrowserError> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The address that the browser shows, fragment included.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when there is no tab.
    pub fn current_url(&self) -> Result<String, BrowserError> {
        Ok(string(&self.get("/url")?))
    }

    /// The cookies that the browser would send to the current page.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when there is no page.
    pub fn cookies(&self) -> Result<Vec<Cookie>, BrowserError> {
        let list = self.get("/cookie")?;
        let cookie = |c: &Value| Cookie {
            name: string(&c["name"]),
            value: string(&c["value"]),
            domain: string(&c["domain"]),
            http_only: c["httpOnly"] == json!(true),
            secure: c["secure"] == json!(true),
        };
        Ok(list
            .as_array()
            .map(|all| all.iter().map(cookie).collect())
            .unwrap_or_default())
    }

    /// Deletes the cookies that the browser would send to the current page.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when there is no page.
    pub fn delete_cookies(&self) -> Result<(), BrowserError> {
        call(
            self.client.delete(&format!("{}/cookie", self.session)),
            "/cookie",
        )
        .map(drop)
    }

    /// One step back in the history.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when there is no tab.
    pub fn back(&self) -> Result<(), BrowserError> {
        self.post("/back", &json!({})).map(drop)
    }

    /// Loads the page again.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when there is no tab.
    pub fn reload(&self) -> Result<(), BrowserError> {
        self.post("/refresh", &json!({})).map(drop)
    }

    /// The tab that commands go to.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when it was closed.
    pub fn tab(&self) -> Result<Tab, BrowserError> {
        Ok(Tab(string(&self.get("/window")?)))
    }

    /// Opens a tab and switches to it.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when Chromium does not open it.
    pub fn new_tab(&self) -> Result<Tab, BrowserError> {
        let tab = Tab(string(
            &self.post("/window/new", &json!({ "type": "tab" }))?["handle"],
        ));
        self.switch_to(&tab)?;
        Ok(tab)
    }

    /// Sends the following commands to another tab.
    ///
    /// # Errors
    /// [`BrowserError::Refused`] when it was closed.
    pub fn switch_to(&self, tab: &Tab) -> Result<(), BrowserError> {
        self.post("/window", &json!({ "handle": tab.0 })).map(drop)
    }

    /// Closes the browser; dropping it does the same without telling about a failure.
    ///
    /// # Errors
    /// [`BrowserError`] when chromedriver does not answer.
    pub fn quit(mut self) -> Result<(), BrowserError> {
        let session = std::mem::take(&mut self.session);
        call(self.client.delete(&session), "quit").map(drop)
    }

    fn get(&self, below: &str) -> Result<Value, BrowserError> {
        call(self.client.get(&format!("{}{below}", self.session)), below)
    }

    fn post(&self, below: &str, body: &Value) -> Result<Value, BrowserError> {
        call(
            self.client
                .post(&format!("{}{below}", self.session))
                .json(body),
            below,
        )
    }

    /// The first element that matches, if any does.
    fn find(&self, css: &str) -> Result<Option<String>, BrowserError> {
        let all = self.post(
            "/elements",
            &json!({ "using": "css selector", "value": css }),
        )?;
        Ok(all.pointer("/0").map(|e| string(&e[ELEMENT])))
    }

    /// Does something to an element once it is there and takes it. A page that is still being
    /// built may cover or replace it, so that is tried again.
    fn on(&self, css: &str, command: &str, body: &Value) -> Result<(), BrowserError> {
        self.wait_for(css)?;
        self.until(css, || {
            let Some(element) = self.find(css)? else {
                return Ok(false);
            };
            self.post(&format!("/element/{element}{command}"), body)
                .map(|_| true)
        })
    }

    /// Tries until it is true; an element that is not ready yet is a reason to try again.
    fn until(
        &self,
        what: &str,
        check: impl Fn() -> Result<bool, BrowserError>,
    ) -> Result<(), BrowserError> {
        const NOT_READY: &[&str] = &[
            "stale element reference",
            "element not interactable",
            "element click intercepted",
            "invalid element state",
        ];
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            match check() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(BrowserError::Refused { error, .. }) if NOT_READY.contains(&error.as_str()) => {
                }
                Err(error) => return Err(error),
            }
            if Instant::now() > deadline {
                let url = self.current_url()?;
                let url = url.split('?').next().unwrap_or_default().to_owned();
                let seconds = WAIT_LIMIT.as_secs();
                return Err(BrowserError::TimedOut {
                    what: what.to_owned(),
                    seconds,
                    url,
                });
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.client.delete(&self.session).send();
        }
    }
}

/// Sends a command; the `value` of the answer.
fn call(request: portcullis_openam::http::Request<'_>, name: &str) -> Result<Value, BrowserError> {
    let response = request.send()?;
    let value = response
        .json()
        .map(|mut j| j["value"].take())
        .unwrap_or_default();
    if response.status == 200 {
        return Ok(value);
    }
    let message = string(&value["message"])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    Err(BrowserError::Refused {
        call: name.to_owned(),
        error: string(&value["error"]),
        message,
    })
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
