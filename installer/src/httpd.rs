//! Apache httpd's configuration: who the workers are, and where lines of the agent go in each layout.

use std::{env, fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    includes::{self, words},
    server::{Change, Kind, Lines, Was, begin, end},
};

/// `User` and `Group`; where they are variables, as on Debian, the file `envvars` beside the configuration or the
/// environment says what they are.
pub(crate) fn worker(conf: &Path, text: &str) -> Option<(String, String)> {
    let envvars = conf.parent().map(|folder| folder.join("envvars"));
    let envvars = envvars.and_then(|file| fs::read_to_string(file).ok());
    let variable = |name: &str| {
        let begins = format!("export {name}=");
        let told = envvars.iter().flat_map(|text| text.lines());
        let told = told
            .filter_map(|line| line.trim().strip_prefix(&begins))
            .next_back();
        let told = told.map(|value| value.trim_matches(['"', '\'']).to_owned());
        env::var(name).ok().or(told).filter(|v| !v.contains('$'))
    };
    let named = |directive: &str, name: &str| {
        let value = words(text)
            .filter(|w| w[0].eq_ignore_ascii_case(directive))
            .find_map(|w| w.get(1).map(|v| v.trim_matches('"').to_owned()));
        value
            .filter(|v| !v.contains('$'))
            .or_else(|| variable(name))
    };
    Some((
        named("User", "APACHE_RUN_USER")?,
        named("Group", "APACHE_RUN_GROUP")?,
    ))
}

/// What has to change so that the agent is on everywhere. Debian and RHEL have folders for it; anywhere else the
/// lines go to the end of the file, where the Web Agent's installer puts them too.
///
/// # Errors
/// An agent is there already.
pub(crate) fn changes(conf: &Path, text: &str, lines: &Lines) -> Result<Vec<Change>> {
    let mut loaded = false;
    for (path, text) in includes::files(Kind::Httpd, conf, text) {
        for words in words(&text) {
            let second = words.get(1).copied().unwrap_or_default();
            if words[0].eq_ignore_ascii_case("AmAgentConf") {
                bail!(
                    "an agent is installed in this configuration already, in {}; remove it first",
                    path.display()
                );
            }
            if words[0].eq_ignore_ascii_case("LoadModule") && second == "amagent_module" {
                if !words.iter().any(|w| w.contains(Kind::Httpd.module())) {
                    bail!(
                        "another Web Agent is loaded already, in {}; --takeover puts this one in its place",
                        path.display()
                    );
                }
                loaded = true;
            }
        }
    }
    let load = format!("LoadModule amagent_module \"{}\"\n", lines.module.display());
    let on = format!(
        "AmAgent On\nAmAgentConf \"{}\"\n",
        lines.agent_conf.display()
    );
    let (begin, end) = (begin(&lines.name), end(&lines.name));
    let load = match loaded {
        true => String::new(),
        false => load,
    };
    Ok(match layout(conf, text) {
        Layout::Debian => debian(
            &includes::root(Kind::Httpd, conf, text),
            &load,
            &format!("{begin}\n{on}{end}\n"),
            &lines.name,
        ),
        Layout::Rhel => {
            let root = includes::root(Kind::Httpd, conf, text);
            let mut changes = Vec::new();
            if !loaded {
                changes.push(Change::New {
                    path: root.join("conf.modules.d/20-portcullis.conf"),
                    text: format!("{begin}\n{load}{end}\n"),
                });
            }
            changes.push(Change::New {
                path: root.join("conf.d/portcullis.conf"),
                text: format!("{begin}\n{on}{end}\n"),
            });
            changes
        }
        Layout::Plain => {
            let newline = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            let block = format!("{newline}{begin}\n{load}{on}{end}\n");
            vec![Change::Edit(
                Was::read(conf, text),
                format!("{text}{block}"),
            )]
        }
    })
}

enum Layout {
    /// `mods-available` and `mods-enabled`, as `a2enmod` uses them.
    Debian,
    /// `conf.modules.d` and `conf.d` beside `conf`.
    Rhel,
    Plain,
}

fn layout(conf: &Path, text: &str) -> Layout {
    let included: Vec<&str> = words(text)
        .filter(|w| w[0].to_ascii_lowercase().starts_with("include"))
        .filter_map(|w| w.get(1).map(|p| p.trim_matches('"')))
        .collect();
    let root = includes::root(Kind::Httpd, conf, text);
    let has = |folder: &str, pattern: &str| {
        let ours = included
            .iter()
            .any(|p| root.join(p) == root.join(folder).join(pattern));
        ours && root.join(folder).is_dir()
    };
    if has("mods-enabled", "*.load")
        && has("mods-enabled", "*.conf")
        && root.join("mods-available").is_dir()
    {
        Layout::Debian
    } else if has("conf.modules.d", "*.conf") && has("conf.d", "*.conf") {
        Layout::Rhel
    } else {
        Layout::Plain
    }
}

/// As `a2enmod` does it: files in `mods-available`, links in `mods-enabled`. A module file of a package is only
/// linked.
fn debian(folder: &Path, load: &str, on: &str, name: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut enable = |file: &str, text: String| {
        let (available, enabled) = (
            folder.join("mods-available").join(file),
            folder.join("mods-enabled").join(file),
        );
        if !available.exists() {
            changes.push(Change::New {
                path: available,
                text,
            });
        }
        changes.push(Change::Link {
            path: enabled,
            target: Path::new("../mods-available").join(file),
        });
    };
    if !load.is_empty() {
        enable(
            "portcullis.load",
            format!("{}\n{load}{}\n", begin(name), end(name)),
        );
    }
    enable("portcullis-agent.conf", on.to_owned());
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_is_named_in_the_file_or_beside_it() {
        let conf = "# User nobody\nuser  www-data\nGroup web\n";
        assert_eq!(
            worker(Path::new("/nonexistent/httpd.conf"), conf),
            Some(("www-data".into(), "web".into()))
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("envvars"),
            "export APACHE_RUN_USER=web\nexport APACHE_RUN_GROUP=\"webs\"\n",
        )
        .unwrap();
        let conf = "User ${APACHE_RUN_USER}\nGroup ${APACHE_RUN_GROUP}\n";
        let found = worker(&folder.path().join("apache2.conf"), conf);
        assert_eq!(found, Some(("web".into(), "webs".into())));
    }
}
