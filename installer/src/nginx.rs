//! nginx's configuration.

use anyhow::{Result, bail};

use crate::server::{Lines, begin, end};

/// Where the `http` block begins: the byte behind its brace.
pub(crate) fn http_block(conf: &str) -> Option<usize> {
    let mut at = 0;
    for line in conf.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or_default();
        if let Some(rest) = code.trim_start().strip_prefix("http")
            && rest.trim_start().starts_with('{')
            && let Some(brace) = line.find('{')
        {
            return Some(at + brace + 1);
        }
        at += line.len();
    }
    None
}

/// `user NAME [GROUP];`
pub(crate) fn worker(conf: &str) -> Option<(String, String)> {
    conf.lines().find_map(|line| {
        let code = line.split('#').next().unwrap_or_default();
        let mut words = code.trim().strip_suffix(';')?.split_whitespace();
        words.next().filter(|w| *w == "user")?;
        let user = words.next()?.to_owned();
        let group = words.next().map_or_else(|| user.clone(), str::to_owned);
        Some((user, group))
    })
}

/// The module line at the top and the include in `http`.
pub(crate) fn with_agent(conf: &str, lines: &Lines) -> Result<String> {
    let Some(at) = http_block(conf) else {
        bail!("there is no http block in this file")
    };
    let (head, tail) = conf.split_at(at);
    // Marks stand on lines of their own.
    let (newline, rest) = match tail.strip_prefix('\n') {
        Some(rest) => ("\n", rest),
        None => {
            bail!("something follows the brace of http on its line; put it on a line of its own")
        }
    };
    let (begin, end) = (begin(&lines.name), end(&lines.name));
    Ok(format!(
        "{begin}\nload_module {};\n{end}\n{head}{newline}{begin}\ninclude {};\n{end}\n{rest}",
        lines.module.display(),
        lines.include.display(),
    ))
}

/// What is included in `http`.
pub(crate) fn include(lines: &Lines) -> String {
    format!(
        "# Protects every server; `openam_agent off;` in a server or location switches it off there.\n\
         openam_agent on;\nopenam_agent_configuration {};\n",
        lines.agent_conf.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_block_is_found_and_comments_are_not() {
        assert_eq!(http_block("# http {\nevents {}\n"), None);
        let conf = "events {}\n  http\t{\n";
        assert_eq!(http_block(conf), Some(conf.len() - 1));
        assert_eq!(
            worker("user www-data;"),
            Some(("www-data".into(), "www-data".into()))
        );
        assert_eq!(worker("user a b; # x"), Some(("a".into(), "b".into())));
    }
}
