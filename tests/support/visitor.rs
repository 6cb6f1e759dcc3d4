//! A browser as far as the protocol goes: keeps cookies, follows redirects, posts AM's form.

use std::collections::BTreeMap;

use portcullis_openam::seed::Form;

use crate::{
    client::{Request, Response},
    site::{Site, USER, USER_PASSWORD},
};

/// One browser.
pub struct Visitor<'s> {
    site: &'s Site,
    /// Cookies of the site.
    pub cookies: BTreeMap<String, String>,
    am_token: Option<String>,
}

impl<'s> Visitor<'s> {
    pub(crate) fn new(site: &'s Site) -> Visitor<'s> {
        Visitor {
            site,
            cookies: BTreeMap::new(),
            am_token: None,
        }
    }

    /// The site this browser visits.
    pub fn site(&self) -> &'s Site {
        self.site
    }

    /// Sends a request with the cookies, and keeps those of the answer.
    pub fn send(&mut self, request: Request) -> Response {
        let request = match self.cookies.is_empty() {
            true => request,
            false => request.header("Cookie", &self.cookie_header()),
        };
        let response = self.site.send(&request);
        self.take(&response);
        response
    }

    /// Keeps the cookies of an answer to a request that something else has sent.
    pub fn take(&mut self, response: &Response) {
        for cookie in response.all("set-cookie") {
            self.keep(cookie);
        }
    }

    fn keep(&mut self, cookie: &str) {
        let mut parts = cookie.split(';');
        let Some((name, value)) = parts.next().and_then(|p| p.split_once('=')) else {
            return;
        };
        let gone = parts.any(|p| p.trim().eq_ignore_ascii_case("max-age=0"));
        match gone {
            true => self.cookies.remove(name.trim()),
            false => self.cookies.insert(name.trim().into(), value.trim().into()),
        };
    }

    /// A GET with the cookies.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(Request::get(target))
    }

    /// The user's session at AM, begun at first use.
    pub fn am_token(&mut self) -> String {
        if self.am_token.is_none() {
            let token = self
                .site
                .am
                .client()
                .login("/", USER, USER_PASSWORD)
                .expect("login at AM");
            self.am_token = Some(token);
        }
        self.am_token.clone().expect("just set")
    }

    /// Uses this session at AM from now on.
    pub fn use_am_token(&mut self, token: &str) {
        self.am_token = Some(token.to_owned());
    }

    /// The form that AM gives this user for the login that `response` redirects to.
    pub fn form(&mut self, response: &Response) -> Form {
        assert_eq!(response.status, 302, "not a login redirect: {response:?}");
        let token = self.am_token();
        self.site
            .am
            .client()
            .authorize(&token, response.location())
            .expect("AM's form")
    }

    /// Posts AM's form to the agent.
    pub fn post(&mut self, form: &Form) -> Response {
        let request = self.posting(form, Some(&origin_of(&self.site.am.url())));
        self.send(request)
    }

    /// The request that a page of this origin would post the form with, without cookies.
    pub fn posting(&self, form: &Form, origin: Option<&str>) -> Request {
        let action = form.action.split('#').next().unwrap_or_default();
        let body: Vec<String> = form
            .fields
            .iter()
            .map(|(n, v)| format!("{}={}", escape(n), escape(v)))
            .collect();
        let mut request = Request::new("POST", &path_of(action));
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        request.body("application/x-www-form-urlencoded", body.join("&"))
    }

    /// The cookies as a request carries them.
    pub fn cookie_header(&self) -> String {
        let pairs = self.cookies.iter().map(|(n, v)| format!("{n}={v}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    /// Asks for a page and logs in on the way; the page's answer.
    pub fn log_in(&mut self, target: &str) -> Response {
        let redirect = self.get(target);
        let form = self.form(&redirect);
        let back = self.post(&form);
        assert_eq!(
            back.status,
            302,
            "login did not finish: {back:?}\n{}",
            self.site.server.said()
        );
        let target = path_of(back.location());
        self.get(&target)
    }
}

/// Path and query of an address: what is sent of it.
pub fn path_of(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    after
        .find('/')
        .map_or_else(|| "/".to_owned(), |at| after[at..].to_owned())
}

/// Scheme, host and port of an address.
pub fn origin_of(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let path = path_of(url);
    url.strip_suffix(&path).unwrap_or(url).to_owned()
}

/// Percent-encodes for a form.
pub fn escape(text: &str) -> String {
    portcullis_openam::http::escape(text)
}
