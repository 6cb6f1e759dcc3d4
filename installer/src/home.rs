//! Where instances live, and which there are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{plan::Step, server::Kind};

/// Register of the instances: one line each, `name TAB server TAB conf of the server TAB agent URL`.
const REGISTER: &str = ".agents";

/// Where packages put this program; beside it there is no place for instances.
const PACKAGED: &str = "/usr/bin/agentadmin";
/// The instances of an installation from packages.
const PACKAGED_HOME: &str = "/var/lib/portcullis";
/// Links to the modules of an installation from packages, which are in a folder of each server's.
const PACKAGED_MODULES: &str = "/usr/lib/portcullis";

/// The installation.
pub(crate) struct Home {
    root: PathBuf,
    modules: PathBuf,
}

/// One line of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) conf: PathBuf,
    pub(crate) agent: String,
}

impl Home {
    /// From the environment, or from where the program is.
    pub(crate) fn find() -> Result<Home> {
        let program = env::current_exe().context("where is this program?")?;
        let variable = |name| env::var_os(name).map(PathBuf::from);
        Home::of(
            variable("PORTCULLIS_HOME"),
            variable("PORTCULLIS_MODULES"),
            &program,
        )
    }

    fn of(home: Option<PathBuf>, modules: Option<PathBuf>, program: &Path) -> Result<Home> {
        let packaged = home.is_none() && program == Path::new(PACKAGED);
        let root = match home {
            Some(root) => root,
            None if packaged => PACKAGED_HOME.into(),
            None => {
                let above = program.parent().and_then(Path::parent);
                above
                    .context("this program has no folder above its own")?
                    .to_path_buf()
            }
        };
        let root = std::path::absolute(&root).context("PORTCULLIS_HOME")?;
        let modules = match modules {
            Some(modules) => std::path::absolute(modules).context("PORTCULLIS_MODULES")?,
            None if packaged => PACKAGED_MODULES.into(),
            None => root.join("lib"),
        };
        Ok(Home { root, modules })
    }

    /// An installation below a folder, for tests.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Home {
        Home {
            root: root.into(),
            modules: root.join("lib"),
        }
    }

    /// Folder of all instances.
    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// Folder of one instance.
    pub(crate) fn instance(&self, name: &str) -> PathBuf {
        self.instances().join(name)
    }

    /// The module of a server; an error when it is not there.
    pub(crate) fn module(&self, kind: Kind) -> Result<PathBuf> {
        let file = self.module_file(kind);
        fs::metadata(&file).with_context(|| format!("the module {} is missing", file.display()))?;
        Ok(file)
    }

    /// Where the module of a server is, or would be.
    pub(crate) fn module_file(&self, kind: Kind) -> PathBuf {
        self.modules.join(kind.module())
    }

    /// The first free name, `agent_1` and so on.
    pub(crate) fn free_name(&self) -> String {
        let mut number = 1;
        while self.instance(&format!("agent_{number}")).exists() {
            number += 1;
        }
        format!("agent_{number}")
    }

    /// All entries of the register.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        let register = self.instances().join(REGISTER);
        let text = match fs::read_to_string(&register) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", register.display())),
        };
        Ok(text.lines().filter_map(Entry::parse).collect())
    }

    /// The step that makes the register say this.
    pub(crate) fn register(&self, entries: &[Entry]) -> Result<Step> {
        let register = self.instances().join(REGISTER);
        let text: String = entries.iter().map(Entry::line).collect();
        match fs::read_to_string(&register) {
            Ok(_) if entries.is_empty() => Ok(Step::away(&register)),
            Ok(before) => Ok(Step::replace(&register, &before, &text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Ok(Step::file(&register, 0o644, None, &text))
            }
            Err(e) => Err(e).with_context(|| format!("cannot read {}", register.display())),
        }
    }

    /// Replaces the register.
    #[cfg(test)]
    pub(crate) fn write_entries(&self, entries: &[Entry]) -> Result<()> {
        let text: String = entries.iter().map(Entry::line).collect();
        Ok(fs::write(self.instances().join(REGISTER), text)?)
    }

    /// Prints the instances as the Web Agent does.
    pub(crate) fn list(&self) -> Result<()> {
        for entry in self.entries()? {
            println!("id:            {}", entry.name);
            println!("configuration: {}", self.instance(&entry.name).display());
            println!("server/site:   {}", entry.conf.display());
            println!();
        }
        Ok(())
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Entry> {
        let mut fields = line.split('\t');
        Some(Entry {
            name: fields.next()?.to_owned(),
            kind: Kind::named(fields.next()?)?,
            conf: PathBuf::from(fields.next()?),
            agent: fields.next()?.to_owned(),
        })
    }

    fn line(&self) -> String {
        let (name, kind, agent) = (&self.name, self.kind.name(), &self.agent);
        format!("{name}\t{kind}\t{}\t{agent}\n", self.conf.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_places_of_their_own() {
        let places = |home: Option<&str>, modules: Option<&str>, program: &str| {
            let home = Home::of(
                home.map(Into::into),
                modules.map(Into::into),
                program.as_ref(),
            );
            let home = home.unwrap();
            let text = |path: PathBuf| path.display().to_string();
            (text(home.root), text(home.modules))
        };
        for (home, modules, program, wanted) in [
            (
                None,
                None,
                "/opt/p/bin/agentadmin",
                ("/opt/p", "/opt/p/lib"),
            ),
            (None, None, PACKAGED, (PACKAGED_HOME, PACKAGED_MODULES)),
            (Some("/srv/p"), None, PACKAGED, ("/srv/p", "/srv/p/lib")),
            (None, Some("/srv/m"), PACKAGED, (PACKAGED_HOME, "/srv/m")),
        ] {
            let wanted = (wanted.0.to_owned(), wanted.1.to_owned());
            assert_eq!(
                places(home, modules, program),
                wanted,
                "{home:?} {modules:?} {program}"
            );
        }
        assert!(Home::of(None, None, Path::new("/")).is_err());
    }

    #[test]
    fn an_entry_reads_back_as_written() {
        let entry = Entry {
            name: "agent_3".into(),
            kind: Kind::Nginx,
            conf: "/etc/nginx/nginx.conf".into(),
            agent: "http://www.example.com:80".into(),
        };
        assert_eq!(Entry::parse(entry.line().trim_end()), Some(entry));
        assert_eq!(Entry::parse("agent_1"), None);
    }
}
