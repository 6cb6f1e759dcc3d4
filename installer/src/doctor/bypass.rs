//! Which lines of nginx answer before the agent is asked?
//!
//! `return` and `rewrite … redirect` end a request before the phase in which access is decided (they belong to the
//! rewrite phase). Redirects show nothing; a `return` with a text or a status of success does.

use std::{path::Path, process::Command};

use super::{check::Finding, patient::Patient};
use crate::{
    nginx::{Directive, directives},
    server::Kind,
};

/// A line that answers where the agent is on.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    words: String,
    /// It gives content away, where others only send elsewhere or refuse.
    gives: bool,
}

/// Asks nginx for its whole configuration, and looks through it.
pub(crate) fn bypass(patient: &mut Patient) -> Finding {
    let text = match (&patient.wish.nginx_dump, &patient.wish.instance.entry) {
        (Some(file), _) => match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) => return Finding::skipped(format!("{}: {e}", file.display())),
        },
        (None, Some(entry)) if entry.kind == Kind::Nginx => match dumped(&entry.conf) {
            Ok(text) => text,
            Err(why) => return Finding::skipped(why),
        },
        (None, Some(_)) => return Finding::not_needed("the web server is Apache httpd"),
        (None, None) => {
            return Finding::not_needed(
                "the instance is not in the register, so its web server is not known; --nginx-dump names what nginx -T says",
            );
        }
    };
    let found = answers(&text);
    let lines = found.iter().map(|a| a.words.clone());
    match found.iter().find(|a| a.gives) {
        Some(first) => Finding::not_ok(
            format!(
                "answers without the agent, which is on there: {}",
                first.words
            ),
            "nginx.conf: serve it from a file or a back end, whose location the agent decides; or \
             openam_agent off where it is meant for everybody",
        ),
        None => Finding::ok(format!(
            "{} lines send elsewhere or refuse before the agent is asked",
            found.len()
        )),
    }
    .all(lines)
}

fn dumped(conf: &Path) -> Result<String, String> {
    let output = Command::new("nginx")
        .args(["-T", "-q", "-c"])
        .arg(conf)
        .output();
    let output = output.map_err(|e| {
        format!("nginx -T could not be run: {e}; --nginx-dump names a file with what it says")
    })?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "nginx -T -c {} failed; --nginx-dump names a file with what it says",
            conf.display()
        )),
    }
}

/// The lines that answer where the agent is on.
fn answers(text: &str) -> Vec<Answer> {
    let all = directives(text);
    let blocks = blocks(&all);
    let on = |block: &[usize]| {
        // The innermost word counts, wherever in its block it stands.
        (0..=block.len()).rev().find_map(|depth| {
            let here = &block[..depth];
            let mut said = all.iter().zip(&blocks).filter(|(d, b)| {
                b.as_slice() == here && d.words.first().is_some_and(|w| w == "openam_agent")
            });
            said.next_back()
                .map(|(d, _)| d.words.get(1).is_some_and(|w| w == "on"))
        })
    };
    all.iter()
        .zip(&blocks)
        .filter(|(_, block)| on(block) == Some(true))
        .filter_map(|(directive, _)| answer(directive))
        .collect()
}

/// The openers of the blocks that each directive stands in, outermost first.
fn blocks(all: &[Directive]) -> Vec<Vec<usize>> {
    let mut last: Vec<usize> = Vec::new();
    let mut found = Vec::with_capacity(all.len());
    for (at, directive) in all.iter().enumerate() {
        let depth = directive.within.len().min(last.len());
        last.truncate(depth);
        found.push(last.clone());
        // If a block follows, this opened it.
        last.push(at);
    }
    found
}

fn answer(directive: &Directive) -> Option<Answer> {
    let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
    let gives = match words.as_slice() {
        // A URL alone is a redirect; `return 200 text`.
        ["return", status, ..] => status.parse().is_ok_and(|status: u16| status < 300),
        ["rewrite", _, to, flags @ ..] => {
            let sends = flags.iter().any(|f| matches!(*f, "redirect" | "permanent"));
            if !sends && !to.starts_with("http://") && !to.starts_with("https://") {
                return None;
            }
            false
        }
        _ => return None,
    };
    Some(Answer {
        words: words.join(" "),
        gives,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_before_the_agent_are_found_where_it_is_on() {
        let text = "
http {
    openam_agent on;
    server {
        listen 80;
        return 301 https://$host$request_uri;
    }
    server {
        location /open { openam_agent off; return 200 'hello'; }
        location /late { return 204; openam_agent off; }
        location /given { return 200 'secret'; }
        location /old { rewrite ^ /new last; rewrite ^/a /b permanent; }
        location /no { return 403; }
    }
}
server_elsewhere { return 200; }";
        let found = answers(text);
        let words: Vec<(&str, bool)> = found.iter().map(|a| (a.words.as_str(), a.gives)).collect();
        assert_eq!(
            words,
            [
                ("return 301 https://$host$request_uri", false),
                ("return 200 secret", true),
                ("rewrite ^/a /b permanent", false),
                ("return 403", false),
            ]
        );
        assert_eq!(answers("http { server { return 200 x; } }"), []);
    }
}
