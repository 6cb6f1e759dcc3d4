//! Reads where nginx asks oauth2-proxy, and what it hands on to the application.
//!
//! The lines are named, not changed: which of them belong together only a person sees.

use super::{At, Migration};

/// One directive, with the locations around it.
struct Directive<'t> {
    line: usize,
    words: Vec<&'t str>,
    place: String,
}

/// Reads one file.
pub(super) fn file(found: &mut Migration, file: &str, text: &str) {
    let all = directives(text);
    let at = |d: &Directive<'_>| At::new(file, d.line, d.words[0]);
    for d in &all {
        match d.words.as_slice() {
            ["auth_request", "off"] => found.by_hand(
                &at(d),
                &format!(
                    "in {}: write openam_agent off; there, which opens it",
                    d.place
                ),
            ),
            ["auth_request", ..] => found.by_hand(
                &at(d),
                &format!("in {}: write openam_agent on; in place of it", d.place),
            ),
            ["error_page", rest @ ..]
                if rest.contains(&"401") && rest.iter().any(|w| w.contains("/oauth2/")) =>
            {
                found.by_hand(
                    &at(d),
                    &format!(
                        "in {}: take it out, the agent sends to log in itself",
                        d.place
                    ),
                );
            }
            ["proxy_pass", ..] if d.place.contains("/oauth2") => {
                found.by_hand(
                    &at(d),
                    &format!("{}: take it out with oauth2-proxy", d.place),
                );
            }
            ["auth_request_set", name, value] => handed_on(found, &at(d), name, value, &all),
            ["include", what, ..] => found.by_hand(
                &at(d),
                &format!("{what} was not read: give --nginx for it too, if it has auth_request"),
            ),
            _ => {}
        }
    }
}

/// A value of oauth2-proxy's answer, and the header that it becomes.
fn handed_on(found: &mut Migration, at: &At, name: &str, value: &str, all: &[Directive<'_>]) {
    let claim = match value {
        "$upstream_http_x_auth_request_user" => "user",
        "$upstream_http_x_auth_request_preferred_username" => "preferred_username",
        "$upstream_http_x_auth_request_email" => "email",
        _ => {
            return found.by_hand(
                at,
                &format!("{value}: the agent hands on attributes, and no tokens or cookies"),
            );
        }
    };
    let mut used = false;
    for d in all {
        if let ["proxy_set_header", header, variable] = d.words.as_slice()
            && variable == &name
        {
            found.header(at, claim, header);
            used = true;
        }
    }
    match used {
        true => found.by_hand(at, "take it out, and the proxy_set_header with it: nginx would send it in place of the agent's"),
        false => found.without(at, "no proxy_set_header hands it on"),
    }
}

/// All directives of a text in order.
fn directives(text: &str) -> Vec<Directive<'_>> {
    let (mut out, mut words, mut open, mut line) = (Vec::new(), Vec::new(), Vec::new(), 1);
    let mut first = 1;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => rest[1..].find(c).map_or(rest.len(), |at| at + 2),
            ';' | '{' | '}' => 1,
            c if c.is_whitespace() => c.len_utf8(),
            _ => rest
                .find(|c: char| c.is_whitespace() || ";{".contains(c))
                .unwrap_or(rest.len()),
        };
        let (word, behind) = rest.split_at(end);
        match c {
            ';' if !words.is_empty() => {
                let place = place(&open);
                out.push(Directive {
                    line: first,
                    words: std::mem::take(&mut words),
                    place,
                });
            }
            '{' => open.push(std::mem::take(&mut words).join(" ")),
            '}' => {
                open.pop();
                words.clear();
            }
            '#' | ';' => {}
            c if c.is_whitespace() => {}
            _ => {
                if words.is_empty() {
                    first = line;
                }
                words.push(word.trim_matches(['"', '\'']));
            }
        }
        line += word.matches('\n').count();
        rest = behind;
    }
    out
}

/// The innermost location, or the server.
fn place(open: &[String]) -> String {
    let location = open
        .iter()
        .rev()
        .find(|block| block.starts_with("location"));
    location
        .or(open.last())
        .map_or_else(|| "the main part".to_owned(), |block| block.clone())
}
