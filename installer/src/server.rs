//! What the installer has to know of a web server's configuration file, whichever server it is.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{httpd, nginx, plan::Step};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Httpd,
    Nginx,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Httpd => "httpd",
            Kind::Nginx => "nginx",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Kind> {
        [Kind::Httpd, Kind::Nginx]
            .into_iter()
            .find(|k| k.name() == name)
    }

    /// File of the module.
    pub(crate) fn module(self) -> &'static str {
        match self {
            Kind::Httpd => "mod_portcullis.so",
            Kind::Nginx => "ngx_http_portcullis_module.so",
        }
    }

    /// Told by the content: only nginx has an `http` block.
    pub(crate) fn of(conf: &str) -> Kind {
        match nginx::http_block(conf) {
            Some(_) => Kind::Nginx,
            None => Kind::Httpd,
        }
    }

    /// The user and group that workers run as, where the configuration says so.
    pub(crate) fn worker(self, conf: &Path, text: &str) -> Option<(String, String)> {
        match self {
            Kind::Httpd => httpd::worker(conf, text),
            Kind::Nginx => nginx::worker(text),
        }
    }

    /// What has to change in the server's configuration, in this order.
    ///
    /// # Errors
    /// An agent is there already, or there is no safe place for it.
    pub(crate) fn changes(self, conf: &Path, text: &str, lines: &Lines) -> Result<Vec<Change>> {
        match self {
            Kind::Httpd => httpd::changes(conf, text, lines),
            Kind::Nginx => nginx::changes(conf, text, lines),
        }
    }
}

/// What goes into a server's configuration.
pub(crate) struct Lines {
    pub(crate) name: String,
    pub(crate) module: PathBuf,
    pub(crate) agent_conf: PathBuf,
    /// nginx: the file that is included in `http`.
    pub(crate) include: PathBuf,
}

/// A file as it is before it is edited, under its own name: not that of a link to it.
pub(crate) struct Was {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Was {
    /// This file with this text.
    pub(crate) fn read(path: &Path, text: &str) -> Was {
        Was {
            path: fs::canonicalize(path).unwrap_or_else(|_| path.into()),
            text: text.into(),
        }
    }
}

/// One change in a server's configuration.
pub(crate) enum Change {
    /// A file gets another text; what is new stands between marks.
    Edit(Was, String),
    New {
        path: PathBuf,
        text: String,
    },
    Link {
        path: PathBuf,
        target: PathBuf,
    },
}

/// What an install has changed in a server's configuration; kept with the instance, so that removing it is exact.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// Files with lines of ours, and where they are kept as they were.
    pub(crate) edited: Vec<(PathBuf, PathBuf)>,
    /// Files and links that were not there.
    pub(crate) made: Vec<PathBuf>,
}

/// Name of the receipt in the folder of the instance.
pub(crate) const RECEIPT: &str = "installed.json";

impl Receipt {
    /// The steps that make the changes, and what they will have changed.
    pub(crate) fn of(changes: Vec<Change>) -> (Receipt, Vec<Step>) {
        let mut receipt = Receipt::default();
        let step = |change| match change {
            Change::Edit(was, now) => {
                let copy = copy_of(&was.path);
                receipt.edited.push((was.path.clone(), copy.clone()));
                Step::Replace {
                    path: was.path,
                    copy,
                    keep: true,
                    before: was.text,
                    now,
                }
            }
            Change::New { path, text } => {
                receipt.made.push(path.clone());
                Step::file(&path, 0o644, None, &text)
            }
            Change::Link { path, target } => {
                receipt.made.push(path.clone());
                Step::Link { path, target }
            }
        };
        let steps = changes.into_iter().map(step).collect();
        (receipt, steps)
    }

    /// The step that keeps it.
    pub(crate) fn step(&self, instance: &Path) -> Result<Step> {
        let text = serde_json::to_string(self).context("a name that is not UTF-8")?;
        Ok(Step::file(&instance.join(RECEIPT), 0o644, None, &text))
    }

    /// What was kept with an instance. Older ones have none: their lines are in the one file.
    pub(crate) fn read(instance: &Path, conf: &Path) -> Result<Receipt> {
        let file = instance.join(RECEIPT);
        match fs::read(&file) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| format!("{}", file.display()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Receipt {
                edited: vec![(conf.into(), PathBuf::new())],
                made: Vec::new(),
            }),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", file.display())),
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edited = self.edited.iter().map(|(path, copy)| {
            format!(
                "  configuration  {} (before: {})",
                path.display(),
                copy.display()
            )
        });
        let made = self
            .made
            .iter()
            .map(|path| format!("  new file       {}", path.display()));
        f.write_str(&edited.chain(made).collect::<Vec<_>>().join("\n"))
    }
}

/// Marks that make removal exact.
pub(crate) fn begin(name: &str) -> String {
    format!("# Portcullis {name}: begin")
}

/// See [`begin`].
pub(crate) fn end(name: &str) -> String {
    format!("# Portcullis {name}: end")
}

/// Begins a line of the server's that ours stand in place of; it is given back when ours go.
pub(crate) const WAS: &str = "#was ";

/// Takes out everything between the marks of an instance, or of all, marks included.
pub(crate) fn without_marked(conf: &str, name: Option<&str>) -> String {
    let mut until: Option<String> = None;
    let mut out = String::with_capacity(conf.len());
    for line in conf.split_inclusive('\n') {
        match &until {
            None => match begun(line).filter(|n| name.is_none_or(|name| name == *n)) {
                Some(of) => until = Some(end(of)),
                None => out.push_str(line),
            },
            Some(mark) if line.trim() == mark => until = None,
            Some(_) => out.push_str(line.strip_prefix(WAS).unwrap_or_default()),
        }
    }
    out
}

/// The instance whose lines begin here.
fn begun(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix("# Portcullis ")?;
    name.strip_suffix(": begin").filter(|n| !n.contains(' '))
}

/// Where a server's configuration is kept as it was, named as the Web Agent does.
pub(crate) fn copy_of(conf: &Path) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut seconds = now.unwrap_or_default().as_secs();
    loop {
        let mut name = conf.as_os_str().to_owned();
        name.push(format!("_amagent_{seconds}"));
        let copy = PathBuf::from(name);
        if fs::symlink_metadata(&copy).is_err() {
            return copy;
        }
        seconds += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        Lines {
            name: "agent_1".into(),
            module: "/opt/agents/lib/module.so".into(),
            agent_conf: "/opt/agents/instances/agent_1/config/agent.conf".into(),
            include: "/opt/agents/instances/agent_1/config/nginx.conf".into(),
        }
    }

    #[test]
    fn what_is_put_in_can_be_taken_out() {
        let httpd = "ServerRoot /nonexistent\nListen 80\n";
        let nginx = "user www-data;\nevents {}\nhttp {\n    server { listen 80; }\n}\n";
        for (kind, conf) in [(Kind::Httpd, httpd), (Kind::Nginx, nginx)] {
            assert_eq!(Kind::of(conf), kind);
            let changes = kind
                .changes(Path::new("/nonexistent/x.conf"), conf, &lines())
                .unwrap();
            let [Change::Edit(was, with)] = changes.as_slice() else {
                panic!("one file")
            };
            assert_eq!(was.text, conf);
            assert!(with.contains("agent_1") && with != conf);
            assert_eq!(without_marked(with, Some("agent_2")), *with);
            assert_eq!(without_marked(with, Some("agent_1")), conf);
            assert_eq!(without_marked(with, None), conf);
        }
        let taken = format!(
            "a\n{}\n{WAS}theirs\nours\n{}\nb\n",
            begin("agent_1"),
            end("agent_1")
        );
        assert_eq!(without_marked(&taken, None), "a\ntheirs\nb\n");
    }

    /// A layout with folders of its own: the main file stays as it is.
    #[test]
    fn debian_and_rhel_have_folders_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "mods-available",
            "mods-enabled",
            "conf",
            "conf.d",
            "conf.modules.d",
            "modules-enabled",
        ] {
            fs::create_dir(at(name)).unwrap();
        }
        let root = folder.path().display();
        let made = |kind: Kind, conf: &str, text: &str| -> Vec<(String, bool)> {
            let changes = kind.changes(&at(conf), text, &lines()).unwrap();
            let name = |path: &Path| {
                path.strip_prefix(folder.path())
                    .unwrap()
                    .display()
                    .to_string()
            };
            changes
                .iter()
                .map(|change| match change {
                    Change::Edit(was, _) => panic!("{} is edited", was.path.display()),
                    Change::New { path, .. } => (name(path), false),
                    Change::Link { path, .. } => (name(path), true),
                })
                .collect()
        };
        let debian = "IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n";
        let of = |names: &[(&str, bool)]| -> Vec<(String, bool)> {
            names.iter().map(|(n, l)| ((*n).to_owned(), *l)).collect()
        };
        assert_eq!(
            made(Kind::Httpd, "apache2.conf", debian),
            of(&[
                ("mods-available/portcullis.load", false),
                ("mods-enabled/portcullis.load", true),
                ("mods-available/portcullis-agent.conf", false),
                ("mods-enabled/portcullis-agent.conf", true),
            ])
        );
        let rhel = format!(
            "ServerRoot \"{root}\"\nInclude conf.modules.d/*.conf\nIncludeOptional conf.d/*.conf\n"
        );
        assert_eq!(
            made(Kind::Httpd, "conf/httpd.conf", &rhel),
            of(&[
                ("conf.modules.d/20-portcullis.conf", false),
                ("conf.d/portcullis.conf", false),
            ])
        );
        let nginx = format!(
            "include {root}/modules-enabled/*.conf;\nhttp {{\n include {root}/conf.d/*.conf;\n}}\n"
        );
        assert_eq!(
            made(Kind::Nginx, "nginx.conf", &nginx),
            of(&[
                ("modules-enabled/70-portcullis.conf", false),
                ("conf.d/portcullis.conf", false),
            ])
        );
        // A package has loaded the module: only the agent is switched on.
        fs::write(
            at("mods-enabled/portcullis.load"),
            "LoadModule amagent_module /usr/lib/apache2/modules/mod_portcullis.so\n",
        )
        .unwrap();
        assert_eq!(made(Kind::Httpd, "apache2.conf", debian).len(), 2);
        fs::write(
            at("mods-enabled/portcullis.load"),
            "LoadModule amagent_module /opt/web_agents/lib/mod_openam.so\n",
        )
        .unwrap();
        let refused = Kind::Httpd
            .changes(&at("apache2.conf"), debian, &lines())
            .err()
            .unwrap();
        assert!(refused.to_string().contains("--takeover"), "{refused}");
    }
}
