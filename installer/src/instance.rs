//! Which instance is meant, and where are its files?
//!
//! An instance is named as `agentadmin --l` does (`agent_1`), or by its agent.conf or the folder of it. Without a
//! name the only one of the register is meant. Must not change anything.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use portcullis_engine::config::{self, Config, Problem, Properties, Source};

use crate::home::{Entry, Home};

/// Longest configuration file, bytes; the agent takes no longer one either.
const MAX_FILE: u64 = 8 << 20;
/// The file that makes a folder an instance.
const AGENT_CONF: &str = "agent.conf";

/// An instance that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Its agent.conf.
    pub(crate) conf: PathBuf,
    /// Its line of the register; `None` where a file was named that is not in it.
    pub(crate) entry: Option<Entry>,
}

/// What stands in an agent.conf.
pub(crate) struct Written {
    /// The file as it is.
    pub(crate) text: String,
    /// Its lines.
    pub(crate) files: Properties,
    /// Typed; in centralized mode without what stands in the profile.
    pub(crate) config: Config,
    /// What is wrong with it.
    pub(crate) problems: Vec<Problem>,
}

impl Instance {
    /// The instance of this name or file, or the only one there is.
    ///
    /// # Errors
    /// Nothing of that name is there, or several are and none was named.
    pub(crate) fn find(named: Option<&Path>) -> Result<Instance> {
        let home = Home::find()?;
        match named {
            Some(named) => Instance::named(&home, named),
            None => Instance::only(&home),
        }
    }

    /// The instance that is named, or every one of the register.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn some_or_all(named: Option<&Path>) -> Result<Vec<Instance>> {
        let home = Home::find()?;
        if let Some(named) = named {
            return Ok(vec![Instance::named(&home, named)?]);
        }
        let entries = home.entries()?;
        match entries.is_empty() {
            // Says what is missing.
            true => Instance::only(&home).map(|only| vec![only]),
            false => Ok(entries
                .into_iter()
                .map(|e| Instance::registered(&home, e))
                .collect()),
        }
    }

    fn only(home: &Home) -> Result<Instance> {
        let mut entries = home.entries()?;
        match (entries.pop(), entries.is_empty()) {
            (Some(entry), true) => Ok(Instance::registered(home, entry)),
            (None, _) => bail!(
                "no instance is installed below {}; name the agent.conf, or set PORTCULLIS_HOME",
                home.instances().display()
            ),
            (Some(_), false) => {
                bail!(
                    "several instances are installed; name one of those that agentadmin --l lists"
                )
            }
        }
    }

    fn named(home: &Home, named: &Path) -> Result<Instance> {
        let entries = home.entries()?;
        // A file of the same name is meant when it is written as one: ./agent_1
        let bare = named.components().count() == 1
            && named.to_str() == named.file_name().and_then(|n| n.to_str());
        let known = entries.iter().find(|e| Path::new(&e.name) == named);
        if let (true, Some(entry)) = (bare, known) {
            return Ok(Instance::registered(home, entry.clone()));
        }
        let place = std::path::absolute(named)?;
        let conf = match fs::metadata(&place) {
            Ok(about) if about.is_dir() => [place.join("config"), place.clone()]
                .map(|folder| folder.join(AGENT_CONF))
                .into_iter()
                .find(|conf| conf.is_file())
                .with_context(|| format!("{} has no {AGENT_CONF}", named.display()))?,
            Ok(_) => place,
            Err(e) if e.kind() == io::ErrorKind::NotFound && bare => bail!(
                "there is no instance and no file {}; agentadmin --l lists the instances",
                named.display()
            ),
            Err(e) => return Err(e).with_context(|| format!("{}", named.display())),
        };
        let same = |e: &&Entry| {
            same_file(
                &home.instance(&e.name).join("config").join(AGENT_CONF),
                &conf,
            )
        };
        let entry = entries.iter().find(same).cloned();
        Ok(Instance { conf, entry })
    }

    fn registered(home: &Home, entry: Entry) -> Instance {
        let conf = home.instance(&entry.name).join("config").join(AGENT_CONF);
        Instance {
            conf,
            entry: Some(entry),
        }
    }

    /// How to call it: its name, or the path of its agent.conf.
    pub(crate) fn called(&self) -> String {
        match &self.entry {
            Some(entry) => entry.name.clone(),
            None => self.conf.display().to_string(),
        }
    }

    /// The folder of its configuration files.
    pub(crate) fn config_folder(&self) -> &Path {
        self.conf.parent().unwrap_or(Path::new("."))
    }

    /// The folder of its configuration and logs, where it has the usual form.
    pub(crate) fn folder(&self) -> Option<&Path> {
        let config = self.config_folder();
        config.parent().filter(|_| config.ends_with("config"))
    }

    /// Reads its agent.conf as the agent does, without the environment of the server, the passwords and
    /// the profile in AM.
    ///
    /// # Errors
    /// The file is not there, not readable, or too long. Mistakes in it are no error here.
    pub(crate) fn read(&self) -> Result<Written> {
        let shown = self.conf.display();
        let size = fs::metadata(&self.conf)
            .with_context(|| format!("{shown}"))?
            .len();
        if size > MAX_FILE {
            bail!("{shown} is larger than {MAX_FILE} bytes");
        }
        let text = fs::read_to_string(&self.conf).with_context(|| format!("{shown}"))?;
        let files = Properties::parse(&text, Source::File(AGENT_CONF.to_owned()));
        let (config, problems) = config::read(&files, None);
        Ok(Written {
            text,
            files,
            config,
            problems,
        })
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Kind;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            kind: Kind::Nginx,
            conf: "/etc/nginx/nginx.conf".into(),
            agent: "http://www.example.com:80".into(),
        }
    }

    #[test]
    fn an_instance_is_found_by_name_file_or_folder() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        assert!(Instance::only(&home).is_err());
        for name in ["agent_1", "agent_2"] {
            let config = home.instance(name).join("config");
            fs::create_dir_all(&config).unwrap();
            fs::write(config.join(AGENT_CONF), "a = b\n").unwrap();
        }
        home.write_entries(&[entry("agent_1")]).unwrap();
        assert_eq!(Instance::only(&home).unwrap().called(), "agent_1");
        home.write_entries(&[entry("agent_1"), entry("agent_2")])
            .unwrap();
        assert!(Instance::only(&home).is_err());
        let one = home.instance("agent_1");
        let conf = one.join("config/agent.conf");
        for named in [Path::new("agent_1"), &one, &one.join("config"), &conf] {
            let found = Instance::named(&home, named).unwrap();
            assert_eq!((found.called().as_str(), &found.conf), ("agent_1", &conf));
            assert_eq!(found.folder(), Some(one.as_path()));
            assert_eq!(found.entry.unwrap().kind, Kind::Nginx);
        }
        let other = folder.path().join("other.conf");
        fs::write(&other, "a = b\n").unwrap();
        let found = Instance::named(&home, &other).unwrap();
        assert_eq!((found.entry.is_none(), found.folder()), (true, None));
        let missing = Instance::named(&home, Path::new("agent_7")).unwrap_err();
        assert!(missing.to_string().contains("agentadmin --l"), "{missing}");
        assert!(Instance::named(&home, folder.path()).is_err());
    }
}
