//! Apache httpd's configuration.

use std::env;

use crate::server::{Lines, begin, end};

/// `User` and `Group`; Debian keeps them in its environment file.
pub(crate) fn worker(conf: &str) -> Option<(String, String)> {
    let named = |directive: &str, variable: &str| {
        let value = conf.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|w| w.eq_ignore_ascii_case(directive))?;
            words.next().map(str::to_owned)
        });
        value
            .filter(|v| !v.contains('$'))
            .or_else(|| env::var(variable).ok())
    };
    Some((
        named("User", "APACHE_RUN_USER")?,
        named("Group", "APACHE_RUN_GROUP")?,
    ))
}

/// The lines at the end of the file, where the Web Agent's installer puts them too.
pub(crate) fn with_agent(conf: &str, lines: &Lines) -> String {
    let newline = if conf.is_empty() || conf.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!(
        "{conf}{newline}{}\nLoadModule amagent_module \"{}\"\nAmAgent On\nAmAgentConf \"{}\"\n{}\n",
        begin(&lines.name),
        lines.module.display(),
        lines.agent_conf.display(),
        end(&lines.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_is_named_in_the_file() {
        let conf = "# User nobody\nuser  www-data\nGroup web\n";
        assert_eq!(worker(conf), Some(("www-data".into(), "web".into())));
    }
}
