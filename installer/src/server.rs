//! What the installer has to know of a web server's configuration file, whichever server it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};

use crate::{httpd, nginx};

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

    /// The user and group that workers run as, where the file says so.
    pub(crate) fn worker(self, conf: &str) -> Option<(String, String)> {
        match self {
            Kind::Httpd => httpd::worker(conf),
            Kind::Nginx => nginx::worker(conf),
        }
    }

    /// The file with the agent in it.
    pub(crate) fn with_agent(self, conf: &str, lines: &Lines) -> Result<String> {
        if conf.contains("amagent_module") || conf.contains(self.module()) {
            bail!("an agent is installed in this configuration already; remove it first");
        }
        match self {
            Kind::Httpd => Ok(httpd::with_agent(conf, lines)),
            Kind::Nginx => nginx::with_agent(conf, lines),
        }
    }

    /// The file without the lines that were written for an instance.
    pub(crate) fn without_agent(self, conf: &str, name: &str) -> String {
        without_block(conf, name)
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

/// Marks that make removal exact.
pub(crate) fn begin(name: &str) -> String {
    format!("# Portcullis {name}: begin")
}

/// See [`begin`].
pub(crate) fn end(name: &str) -> String {
    format!("# Portcullis {name}: end")
}

/// Takes out everything between the marks of an instance, marks included.
fn without_block(conf: &str, name: &str) -> String {
    let (begin, end) = (begin(name), end(name));
    let mut inside = false;
    let mut out = String::with_capacity(conf.len());
    for line in conf.split_inclusive('\n') {
        let mark = line.trim();
        if mark == begin {
            inside = true;
        }
        if !inside {
            out.push_str(line);
        }
        if mark == end {
            inside = false;
        }
    }
    out
}

/// Replaces a file as a whole, with its owner and mode, so that a reader sees the old or the new one.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let path = fs::canonicalize(path).with_context(|| format!("{}", path.display()))?;
    let there = fs::metadata(&path)?;
    let new = path.with_extension("portcullis-new");
    let write = || -> io::Result<()> {
        fs::write(&new, text)?;
        fs::set_permissions(&new, there.permissions())?;
        let (uid, gid) = {
            use std::os::unix::fs::MetadataExt;
            (there.uid(), there.gid())
        };
        std::os::unix::fs::chown(&new, Some(uid), Some(gid))?;
        fs::rename(&new, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Copies a server's configuration aside, as the Web Agent names it.
pub(crate) fn back_up(conf: &Path) -> Result<PathBuf> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut name = conf.as_os_str().to_owned();
    name.push(format!("_amagent_{now}"));
    let copy = PathBuf::from(name);
    fs::copy(conf, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
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
        let httpd = "ServerRoot /etc/apache2\nListen 80\n";
        let nginx = "user www-data;\nevents {}\nhttp {\n    server { listen 80; }\n}\n";
        for (kind, conf) in [(Kind::Httpd, httpd), (Kind::Nginx, nginx)] {
            assert_eq!(Kind::of(conf), kind);
            let with = kind.with_agent(conf, &lines()).unwrap();
            assert!(with.contains("agent_1") && with != conf);
            assert_eq!(kind.without_agent(&with, "agent_2"), with);
            assert_eq!(kind.without_agent(&with, "agent_1"), conf);
        }
    }
}
