//! Does a policy's resource pattern cover a URL? AM's rules, as measured on OpenAM 16.0.5: `*` crosses `/` but not `?`,
//! `-*-` crosses neither; everything is compared without case; the port must be written out in the pattern.

/// Whether `pattern` covers `resource`.
pub(crate) fn covers(pattern: &str, resource: &str) -> bool {
    if resource.contains('#') {
        return false;
    }
    let Some(resource) = normal(resource) else {
        return false;
    };
    let tokens = tokens(&pattern.to_lowercase());
    // Behind a last `-*-` one slash more is covered (measured on OpenAM 16.0.5).
    let shorter = resource
        .strip_suffix('/')
        .filter(|_| tokens.last() == Some(&Token::One));
    matches(&tokens, resource.as_bytes()) || shorter.is_some_and(|r| matches(&tokens, r.as_bytes()))
}

/// What AM says about a URL whose port is no number. It takes the text behind the first colon for the port, so that every
/// IPv6 address is refused (measured on OpenAM 16.0.5).
pub(crate) fn bad_port(resource: &str) -> Option<&str> {
    let rest = resource.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    let port = authority.split_once(':')?.1;
    port.bytes().any(|b| !b.is_ascii_digit()).then_some(port)
}

/// Lower case, with a port, without double slashes and dot segments. `None` when it is no absolute URL with a path.
fn normal(resource: &str) -> Option<String> {
    let lower = resource.to_lowercase();
    let (scheme, rest) = lower.split_once("://")?;
    let (before_query, query) = match rest.split_once('?') {
        Some((b, q)) => (b, Some(q)),
        None => (rest, None),
    };
    let (authority, path) = before_query.split_once('/')?;
    let authority = match (authority.contains(':'), scheme) {
        (true, _) => authority.to_owned(),
        (false, "https") => format!("{authority}:443"),
        (false, _) => format!("{authority}:80"),
    };
    // A dot segment counts only with a slash behind it: the last segment is taken as it is.
    let (folders, last) = path.rsplit_once('/').unwrap_or(("", path));
    let mut segments: Vec<&str> = Vec::new();
    for segment in folders.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    segments.push(last);
    let query = query.map(|q| format!("?{q}")).unwrap_or_default();
    Some(format!(
        "{scheme}://{authority}/{}{query}",
        segments.join("/")
    ))
}

#[derive(Debug, PartialEq)]
enum Token {
    Byte(u8),
    /// `-*-`
    One,
    /// `*`
    Many,
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = pattern.as_bytes();
    while let [first, tail @ ..] = rest {
        if let Some(after) = rest.strip_prefix(b"-*-") {
            out.push(Token::One);
            rest = after;
        } else {
            out.push(if *first == b'*' {
                Token::Many
            } else {
                Token::Byte(*first)
            });
            rest = tail;
        }
    }
    out
}

/// Keeps the set of pattern positions that are still possible: linear in the text for a given pattern.
fn matches(pattern: &[Token], text: &[u8]) -> bool {
    let spread = |mut at: Vec<bool>| {
        for i in 0..pattern.len() {
            if at[i] && matches!(pattern[i], Token::One | Token::Many) {
                at[i + 1] = true;
            }
        }
        at
    };
    let mut at = vec![false; pattern.len() + 1];
    at[0] = true;
    at = spread(at);
    for &byte in text {
        let mut next = vec![false; pattern.len() + 1];
        for (i, token) in pattern.iter().enumerate().filter(|(i, _)| at[*i]) {
            match token {
                Token::Byte(b) => next[i + 1] |= *b == byte,
                Token::Many => next[i] |= byte != b'?',
                Token::One => next[i] |= byte != b'?' && byte != b'/',
            }
        }
        at = spread(next);
    }
    at[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: &str = "http://sim.test.example.org:8080";

    fn docs(path: &str) -> bool {
        ["/docs/*", "/docs/*?*"]
            .iter()
            .any(|p| covers(&format!("{W}{p}"), &format!("{W}{path}")))
    }

    #[test]
    fn as_the_real_server_matched() {
        for path in [
            "/docs/a",
            "/docs/b?x=1",
            "/docs/",
            "/DOCS/A",
            "/docs/a/b/c?x=1&y=2",
            "/docs//a",
            "/docs/a?",
            "/docs/%41",
            "/docs/é",
            "/docs/../docs/a",
            "/docs/./a",
            "/docs/%2e%2e/other",
            "/docs/x*",
            "/docs/a?x=/../",
            "/docs/a;b",
            "/docs/a b",
            "/..//docs/a",
            "/docs/x//y?z=1",
            "/docs/?",
            "/docs/a/../../docs/b",
            "/docs/a/?x",
            "/docs/a/",
        ] {
            assert!(docs(path), "{path}");
        }
        for path in [
            "/none",
            "/docs",
            "/docs/../other",
            "/docs/a#f",
            "/docs/a?b?c",
            "/docs?x=1",
            "/",
            "",
        ] {
            assert!(!docs(path), "{path}");
        }
    }

    #[test]
    fn scheme_host_and_port() {
        let p = format!("{W}/docs/*");
        for r in [
            "http://SIM.test.example.org:8080/docs/a",
            "HTTP://sim.test.example.org:8080/docs/a",
        ] {
            assert!(covers(&p, r), "{r}");
        }
        for r in [
            "http://sim.test.example.org/docs/a",
            "https://sim.test.example.org:8080/docs/a",
            "http://sim.test.example.org:08080/docs/a",
            "http://user@sim.test.example.org:8080/docs/a",
            "sim",
        ] {
            assert!(!covers(&p, r), "{r}");
        }
        assert!(covers("http://x:80/a", "http://x/a"));
        assert!(covers("*://*:*/*", "https://x/a"));
    }

    #[test]
    fn one_level() {
        let p = format!("{W}/one/-*-/x");
        assert!(covers(&p, &format!("{W}/one/a/x")));
        assert!(covers(&p, &format!("{W}/one/a//x")));
        assert!(!covers(&p, &format!("{W}/one/a/b/x")));
        assert!(!covers(&p, &format!("{W}/one/a/y")));
        let q = format!("{W}/one/-*-");
        assert!(covers(&q, &format!("{W}/one/")));
        assert!(covers(&q, &format!("{W}/one//x")));
        assert!(!covers(&q, &format!("{W}/one/a?b")));
        assert!(covers(&q, &format!("{W}/one/a/")));
        assert!(!covers(&q, &format!("{W}/one/a/b/")));
    }

    #[test]
    fn a_last_dot_segment_is_a_name() {
        for path in [
            "/docs/..",
            "/docs/a/..",
            "/docs/x/../..",
            "/docs/.",
            "/docs/./",
            "/x/../docs/",
        ] {
            assert!(docs(path), "{path}");
        }
        for path in ["/docs/../", "/docs/../docs", "/x/../docs"] {
            assert!(!docs(path), "{path}");
        }
    }

    #[test]
    fn ports_are_numbers() {
        assert_eq!(bad_port("http://x:y/a"), Some("y"));
        assert_eq!(bad_port("http://[::1]:80/x"), Some(":1]:80"));
        assert_eq!(bad_port("http://x:/a"), None);
        assert_eq!(bad_port("http://x:80/a:b"), None);
        assert_eq!(bad_port("sim"), None);
    }
}
