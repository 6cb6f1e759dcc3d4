//! A walk through one site: what is asked, what the agent answers, and the reason in its log.
//!
//! Each step knows what has to come; one that differs is a failed test.

use std::time::{Duration, Instant};

use anyhow::ensure;
use portcullis_tests::{
    backend::Seen,
    client::{Request, Response},
    outcome,
    site::Site,
    visitor::{Visitor, path_of},
    wait_until,
};

use crate::tally::Tally;

/// Longest way of a line into the log.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request and what has to come of it.
struct Step {
    /// What it shows.
    what: &'static str,
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
    status: u16,
    /// Stable code of the reason.
    code: &'static str,
}

fn step(what: &'static str, method: &'static str, target: &str, code: &'static str) -> Step {
    let status = match code {
        "PCL0100" | "PCL0101" | "PCL0103" => 200,
        "PCL0300" => 403,
        _ => 302,
    };
    Step {
        what,
        method,
        target: target.to_owned(),
        headers: Vec::new(),
        status,
        code,
    }
}

struct Tour<'t> {
    site: &'t Site,
    visitor: Visitor<'t>,
    name: &'t str,
    tally: &'t mut Tally,
    number: u32,
    good: bool,
}

/// Walks through the site.
///
/// # Errors
/// When a step did not go as it has to.
pub(crate) fn walk(name: &str, site: &Site, tally: &mut Tally) -> anyhow::Result<()> {
    println!("{}", site.url());
    // A worker refuses forged headers that come before it knows which names to scrub: a page is asked
    // for in each, so that what follows does not depend on how young they are.
    wait_until("two workers", || site.server.workers().len() > 1);
    outcome::in_every_worker(site, "PCL0200", &Request::get("/docs/a.html"));
    let mut tour = Tour {
        site,
        visitor: site.visitor(),
        name,
        tally,
        number: 0,
        good: true,
    };
    tour.exempt();
    tour.login();
    tour.identity();
    tour.refusals();
    tour.logout();
    ensure!(tour.good, "a step of the tour went wrong");
    Ok(())
}

impl Tour<'_> {
    fn exempt(&mut self) {
        let public = step("a public page", "GET", "/public/a.html", "PCL0101");
        let page = self.take(&public);
        self.expect(page.text().contains("public page"), "the page itself");
    }

    fn login(&mut self) {
        let first = step("no session yet", "GET", "/app/page?x=1", "PCL0200");
        let redirect = self.take(&first);
        let authorize = format!("{}/oauth2/authorize?", self.site.am.url());
        self.expect(redirect.location().starts_with(&authorize), "AM's login");
        if !self.good {
            return; // nothing to go on with
        }
        let form = self.visitor.form(&redirect);
        println!("     (the user logs in at AM, whose form the browser posts to the agent)");
        let back = self.post(&form);
        let page = format!("{}/app/page?x=1#", self.site.url());
        self.expect(back.location() == page, "back to the page asked for");
    }

    fn post(&mut self, form: &portcullis_openam::seed::Form) -> Response {
        let target = path_of(form.action.split('#').next().unwrap_or_default());
        let step = step("AM's answer arrives", "POST", &target, "PCL0204");
        self.begin(&step);
        let seen = self.log_length();
        let response = self.visitor.post(form);
        self.end(&step, seen, &response);
        response
    }

    fn identity(&mut self) {
        let mut forged = step(
            "forged identities are gone",
            "GET",
            "/app/page?x=1",
            "PCL0100",
        );
        forged.headers = vec![
            ("Remote_User", "mallory"),
            ("REMOTE-USER", "mallory"),
            ("X-Mail", "mallory@example.net"),
            ("Authorization", "Basic bWFsbG9yeTp4"),
        ];
        let page = self.take(&forged);
        let Some(seen) = Seen::of(&page) else {
            self.expect(false, "the application's answer");
            return;
        };
        println!("     the application sees:");
        for (what, header, value) in [
            ("user", "X-User", "demo1"),
            ("mail", "X-Mail", "demo@example.com"),
            ("policy attribute", "X-Dept", "sales"),
            ("policy attribute", "X-Policy-Mail", "demo@example.com"),
        ] {
            let values = seen.all(header).join(", ");
            println!("       {header}: {values} ({what})");
            self.expect(values == value, &format!("{header}: {value}"));
        }
        // The application may read `Authorization` itself; as the request's user it must not count.
        let clean = !page.text().contains("mallory");
        self.expect(clean, "nothing of the forged identities");
        self.take(&step(
            "a page of the server",
            "GET",
            "/docs/a.html",
            "PCL0100",
        ));
    }

    fn refusals(&mut self) {
        self.take(&step(
            "a page without policy",
            "GET",
            "/secret/a.html",
            "PCL0300",
        ));
        self.take(&step(
            "a method the policy denies",
            "POST",
            "/docs/a.html",
            "PCL0300",
        ));
    }

    fn logout(&mut self) {
        let before = self.visitor.cookies.clone();
        self.take(&step("logout", "GET", "/logout/done.html", "PCL0103"));
        self.take(&step(
            "asked to log in again",
            "GET",
            "/docs/a.html",
            "PCL0200",
        ));
        self.visitor.cookies = before;
        self.take(&step(
            "the cookie of before is no use",
            "GET",
            "/docs/a.html",
            "PCL0201",
        ));
    }

    fn take(&mut self, step: &Step) -> Response {
        self.begin(step);
        let mut request = Request::new(step.method, &step.target);
        for (name, value) in &step.headers {
            println!("     {name}: {value}");
            request = request.header(name, value);
        }
        let seen = self.log_length();
        let response = self.visitor.send(request);
        self.end(step, seen, &response);
        response
    }

    fn begin(&mut self, step: &Step) {
        self.number += 1;
        println!(
            "{:>3}. {:<32} {} {}",
            self.number, step.what, step.method, step.target
        );
    }

    fn end(&mut self, step: &Step, seen: usize, response: &Response) {
        let to = match response.header("location") {
            Some(location) => format!(" to {}", location.split('?').next().unwrap_or_default()),
            None => String::new(),
        };
        println!("     -> {}{to}", response.status);
        self.expect(response.status == step.status, &format!("{}", step.status));
        let reason = self.reason(step, seen);
        println!("     reason: {reason}");
        self.expect(reason.starts_with(step.code), step.code);
    }

    /// Counts a check and says what should have been when it does not hold.
    fn expect(&mut self, holds: bool, what: &str) {
        if holds {
            self.tally.passed();
            return;
        }
        self.good = false;
        println!("     NOT AS EXPECTED: {what}");
        let broken = format!("step {}: expected {what}", self.number);
        self.tally.broke(self.name, &broken);
    }

    fn log_length(&self) -> usize {
        self.site.debug_log().len()
    }

    /// Code and text of the line about this step, once it is in the log.
    fn reason(&self, step: &Step, seen: usize) -> String {
        let path = step.target.split('?').next().unwrap_or_default();
        let about = format!(": {} {}{path} ", step.method, self.site.url());
        let limit = Instant::now() + PATIENCE;
        loop {
            let log = self.site.debug_log();
            let new = log.get(seen..).unwrap_or_default();
            let line = new.lines().find(|line| line.contains(&about));
            if let Some(line) = line
                && let Some((head, _)) = line.split_once(&about)
                && let Some(at) = head.find("PCL")
            {
                return head[at..].to_owned();
            }
            if Instant::now() > limit {
                return "no line in the log".to_owned();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}
