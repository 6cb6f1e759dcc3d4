//! What a request led to: the page, the cookies, and the line in the log that says why.

use crate::{
    client::{Request, Response},
    site::Site,
    wait_until,
};

/// Name of the agent's session cookie unless configured.
pub const SESSION_COOKIE: &str = "am-auth-jwt";
/// Connections at once when every worker shall get some.
const AT_ONCE: usize = 12;

/// How many lines of the agent's log have this code.
pub fn lines(site: &Site, code: &str) -> usize {
    let log = site.debug_log();
    log.lines().filter(|line| line.contains(code)).count()
}

/// Whether the answer sets the agent's session cookie to something.
pub fn logs_in(response: &Response) -> bool {
    let prefix = format!("{SESSION_COOKIE}=");
    response.all("set-cookie").any(|cookie| {
        cookie
            .strip_prefix(&prefix)
            .is_some_and(|rest| !rest.starts_with(';'))
    })
}

/// Whether the answer removes the agent's session cookie.
pub fn clears_session(response: &Response) -> bool {
    let prefix = format!("{SESSION_COOKIE}=;");
    response.all("set-cookie").any(|cookie| {
        cookie.starts_with(&prefix) && cookie.to_ascii_lowercase().contains("max-age=0")
    })
}

/// Sends, and waits for one more line with this code.
pub fn logged(site: &Site, code: &str, send: impl FnOnce() -> Response) -> Response {
    let before = lines(site, code);
    let response = send();
    wait_until(&format!("one more {code} after {response:?}"), || {
        lines(site, code) > before
    });
    response
}

/// The answer is a page that ends the login: an error, an incident id, no redirect, no session.
///
/// # Panics
/// When it is anything else.
pub fn refused(what: &str, response: &Response, status: u16) {
    assert_eq!(response.status, status, "{what}: {response:?}");
    assert!(
        response.header("location").is_none(),
        "{what}: {response:?}"
    );
    assert!(
        response
            .all("set-cookie")
            .all(|c| !c.starts_with(SESSION_COOKIE)),
        "{what}: {response:?}"
    );
    assert_eq!(response.header("cache-control"), Some("no-store"), "{what}");
    assert!(
        response.text().contains("If you ask for help"),
        "{what}: {}",
        response.text()
    );
}

/// Sends a request on new connections until each worker has logged `code` for one of them; all of
/// the answers.
///
/// # Panics
/// When the server has only one worker.
pub fn in_every_worker(site: &Site, code: &str, request: &Request) -> Vec<Response> {
    let old = coded(site, code).len();
    assert!(site.server.workers().len() > 1, "one worker proves nothing");
    let (address, host) = (site.server.address(), site.authority());
    let mut answers = Vec::new();
    wait_until(&format!("{code} from each worker"), || {
        let sent: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (request, host) = (request.clone(), host.clone());
                std::thread::spawn(move || request.send(address, &host))
            })
            .collect();
        for thread in sent {
            let answer = thread.join().expect("sender").expect("answer");
            answers.push(answer);
        }
        let lines = coded(site, code);
        let heard = |pid: &u32| lines.iter().skip(old).any(|line| is_from(line, *pid));
        site.server.workers().iter().all(heard)
    });
    answers
}

/// Lines of the server's own log with this code.
fn coded(site: &Site, code: &str) -> Vec<String> {
    let said = site.server.said();
    let lines = said.lines().filter(|line| line.contains(code));
    lines.map(str::to_owned).collect()
}

/// Whether a process wrote the line: `[pid 12:tid 13]` in httpd, `12#12:` in nginx.
fn is_from(line: &str, pid: u32) -> bool {
    line.contains(&format!("[pid {pid}:")) || line.contains(&format!(" {pid}#"))
}
