//! `--k --rotate`: a new root key for an instance, which ends nobody's session (rule K1).
//!
//! Two files have to change, and the machine may stop between any two steps. `agent-key.conf` is replaced first:
//! it gets the new key and keeps the old one, which opens what is still encrypted with it. Then
//! `agent-password.conf` is. So the agent starts with every state on the way, and the next rotation finds out
//! what is left to do. It must not touch agent.conf, nor ask AM.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, chown},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use portcullis_engine::{
    config::{self, Kind, PROPERTIES, Properties, SecretError, Source},
    token::Secret,
};
use rustix::fs::{FlockOperation, flock};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{instance::Instance, secrets};

const PREVIOUS: &str = "portcullis.key.previous";

/// Rotates the key of an instance; the old one opens cookies for so many hours more, or not at all.
///
/// # Errors
/// What cannot be read, opened or written; both files are then as they were.
pub(crate) fn rotate(instance: &Instance, hours: u32) -> Result<()> {
    let name = instance.called();
    println!("Performing key rotation for instance: {name}");
    let mut progress = Progress::shown();
    let folder = instance.config_folder();
    progress.step("Loading agent.conf", || {
        no_secrets_in(&instance.read()?.text)
    })?;
    let until = SystemTime::now() + Duration::from_secs(u64::from(hours) * 3600);
    let done = rotate_files(folder, Some(until).filter(|_| hours > 0), &mut progress)?;
    if done == Done::Finished {
        println!("A rotation that was interrupted is finished now; rotate again for another key.");
    }
    println!("Key rotation was successful for instance: {name}");
    println!(
        "  reload the web server (httpd -k graceful, nginx -s reload): until then it has the old key\n  \
         nodes of a farm share the key: give {} and {} to the others as well",
        KEY_FILE, PASSWORD_FILE
    );
    Ok(())
}

const KEY_FILE: &str = "agent-key.conf";
const PASSWORD_FILE: &str = "agent-password.conf";

/// What a rotation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// There is a new key.
    Rotated,
    /// There was one already: an earlier run had not come to its end.
    Finished,
}

/// Where it is: says so, and for tests, stops there.
struct Progress {
    shown: bool,
    /// Changes of files that are left before it breaks off.
    left: usize,
}

impl Progress {
    fn shown() -> Progress {
        Progress {
            shown: true,
            left: usize::MAX,
        }
    }

    fn step<T>(&self, what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = act().with_context(|| what.to_owned())?;
        if self.shown {
            println!("{what}... done");
        }
        Ok(done)
    }

    /// Before each change of a file.
    fn change(&mut self) -> Result<()> {
        self.left = self.left.checked_sub(1).context("broken off")?;
        Ok(())
    }
}

/// A password there would be left with the old key.
fn no_secrets_in(agent_conf: &str) -> Result<()> {
    for line in secret_lines(agent_conf, "agent.conf").lines() {
        ensure!(
            line.value.is_empty() || !is_secret(&line.name),
            "{} stands in agent.conf: move the line to {PASSWORD_FILE} first",
            line.name
        );
    }
    Ok(())
}

fn secret_lines(text: &str, file: &str) -> Properties {
    Properties::parse(text, Source::File(file.to_owned()))
}

fn is_secret(name: &str) -> bool {
    let mut rows = PROPERTIES.iter();
    rows.any(|row| row.name == name && row.kind == Kind::Secret)
}

/// Rotates, or leaves both files as they were.
fn rotate_files(folder: &Path, until: Option<SystemTime>, progress: &mut Progress) -> Result<Done> {
    let alone = File::open(folder).with_context(|| format!("{}", folder.display()))?;
    flock(&alone, FlockOperation::NonBlockingLockExclusive)
        .context("another rotation is under way")?;
    let files = Files::of(folder);
    let done = files.run(until, progress).map_err(|error| match files.take_back() {
        Ok(()) => error.context("the key was not rotated; the files are as before"),
        Err(more) => error.context(format!(
            "the key was not rotated, and the files could not be put back ({more}): move the .bak files \
             in {} back by hand",
            folder.display()
        )),
    })?;
    // From here on there is nothing to take back: the backups alone would be wrong.
    if let Err(error) = files.remove_leftovers(progress) {
        eprintln!("warning: {error:#}; the next rotation removes what is left");
    }
    Ok(done)
}

/// The two files.
struct Files {
    key: PathBuf,
    passwords: PathBuf,
}

/// What they say.
struct Found {
    key_text: Zeroizing<String>,
    key: Secret,
    previous: Option<Secret>,
    passwords_text: Zeroizing<String>,
    /// Some of the passwords only open with the previous key.
    behind: bool,
}

impl Files {
    fn of(folder: &Path) -> Files {
        Files {
            key: folder.join(KEY_FILE),
            passwords: folder.join(PASSWORD_FILE),
        }
    }

    /// Every step of a rotation, or of what is left of one, but for removing the backups.
    fn run(&self, until: Option<SystemTime>, progress: &mut Progress) -> Result<Done> {
        let found = progress.step("Loading the credentials", || self.read())?;
        if !found.behind && self.has_new_key(&found) {
            return Ok(Done::Finished);
        }
        let new = match found.behind {
            true => found.key.clone(),
            false => progress.step("Making a new key", secrets::new_key)?,
        };
        let passwords = progress.step("Encrypting the passwords", || found.encrypted(&new))?;
        progress.step("Keeping the files as .bak", || self.keep())?;
        if !found.behind {
            let text = found.with_key(&new, until);
            write(&self.key, &text, progress).context("Writing the key")?;
            progress.step("Writing the key", || Ok(()))?;
        }
        if !found.passwords_text.is_empty() {
            write(&self.passwords, &passwords, progress).context("Writing the passwords")?;
        }
        progress.step("Writing the passwords", || Ok(()))?;
        Ok(match found.behind {
            true => Done::Finished,
            false => Done::Rotated,
        })
    }

    fn read(&self) -> Result<Found> {
        let key_text = secrets::read_private(&self.key)?;
        let lines = secret_lines(&key_text, KEY_FILE);
        let parse = |text: &str| {
            config::parse_key(text).map_err(|e| anyhow::anyhow!("{KEY_FILE}: the key {e}"))
        };
        let key = parse(lines.last(secrets::KEY).map_or("", |line| &line.value))?;
        let previous = match lines.last(PREVIOUS) {
            None => None,
            Some(line) => {
                let parsed = config::parse_previous_key(&line.value);
                Some(
                    parsed
                        .map_err(|e| anyhow::anyhow!("{KEY_FILE}: {PREVIOUS} {e}"))?
                        .0,
                )
            }
        };
        let passwords_text = match fs::exists(&self.passwords)? {
            true => secrets::read_private(&self.passwords)?,
            // It comes from elsewhere.
            false => Zeroizing::default(),
        };
        let mut found = Found {
            key_text,
            key,
            previous,
            passwords_text,
            behind: false,
        };
        for (name, value) in found.passwords() {
            found.behind |= found.open(&name, &value)?.1;
        }
        Ok(found)
    }

    /// Whether a rotation left its backups, and the key is not that of the backup any more.
    fn has_new_key(&self, found: &Found) -> bool {
        let kept = secrets::read_key(&backup(&self.key));
        kept.is_ok_and(|kept| kept != found.key)
    }

    /// Gives both files a second name. A name is whole or not there, and keeps owner and mode.
    fn keep(&self) -> Result<()> {
        for file in [&self.key, &self.passwords] {
            let kept = backup(file);
            remove(&kept)?;
            if fs::exists(file)? {
                fs::hard_link(file, &kept).with_context(|| format!("{}", kept.display()))?;
            }
        }
        Ok(())
    }

    fn remove_leftovers(&self, progress: &mut Progress) -> Result<()> {
        for file in [&self.passwords, &self.key] {
            progress.change()?;
            remove(&part(file))?;
            remove(&backup(file))?;
        }
        progress.step("Removing the backups", || Ok(()))
    }

    /// Puts the files back that have a backup: the passwords first, which the old key opens as well.
    fn take_back(&self) -> Result<()> {
        for file in [&self.passwords, &self.key] {
            remove(&part(file))?;
            match fs::rename(backup(file), file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            // Two names of one file are left as they are.
            remove(&backup(file))?;
        }
        Ok(())
    }
}

impl Found {
    /// Names and values of the passwords.
    fn passwords(&self) -> Vec<(String, String)> {
        let lines = secret_lines(&self.passwords_text, PASSWORD_FILE);
        let lines = lines.lines().iter();
        let lines = lines.filter(|line| is_secret(&line.name) && !line.value.is_empty());
        lines
            .map(|line| (line.name.clone(), line.value.clone()))
            .collect()
    }

    /// A password, and whether it takes the previous key to open it.
    fn open(&self, name: &str, value: &str) -> Result<(Secret, bool)> {
        let opened = config::decrypt_password(&self.key, value);
        let opened = match (&self.previous, opened) {
            (Some(previous), Err(SecretError::WrongKey)) => {
                config::decrypt_password(previous, value).map(|plain| (plain, true))
            }
            (_, opened) => opened.map(|plain| (plain, false)),
        };
        opened.map_err(|error| anyhow::anyhow!("{PASSWORD_FILE}: {name} {error}"))
    }

    /// `agent-password.conf` with every password encrypted with this key, and all else as it is.
    fn encrypted(&self, key: &Secret) -> Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::with_capacity(self.passwords_text.len()));
        for line in self.passwords_text.lines() {
            let parsed = secret_lines(line, PASSWORD_FILE);
            match parsed.lines() {
                [one] if is_secret(&one.name) && !one.value.is_empty() => {
                    let (plain, _) = self.open(&one.name, &one.value)?;
                    text.push_str(&format!(
                        "{} = {}",
                        one.name,
                        secrets::encrypt(key, &plain)?
                    ));
                }
                _ => text.push_str(line),
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// `agent-key.conf` with a new key and, until then, the one that it has.
    fn with_key(&self, new: &Secret, until: Option<SystemTime>) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * self.key_text.len() + 200));
        let mut written = false;
        for line in self.key_text.lines() {
            let parsed = secret_lines(line, KEY_FILE);
            match parsed.lines() {
                [one] if one.name == secrets::KEY => {
                    if !std::mem::replace(&mut written, true) {
                        let key = config::key_text(new);
                        text.push_str(&format!("{} = {}\n", secrets::KEY, key.as_str()));
                        let old = config::key_text(&self.key);
                        // Without a date it still opens the passwords, until they are written anew.
                        let until = date(until.unwrap_or(SystemTime::UNIX_EPOCH));
                        text.push_str(&format!("{PREVIOUS} = {} {until}\n", old.as_str()));
                    }
                }
                [one] if one.name == PREVIOUS => {}
                _ => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }
}

/// A moment as `portcullis.key.previous` has it.
fn date(at: SystemTime) -> String {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn backup(file: &Path) -> PathBuf {
    file.with_extension("conf.bak")
}

fn part(file: &Path) -> PathBuf {
    file.with_extension("conf.new")
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Puts a text in the place of a file's, at once and for good, with its owner and for it alone.
fn write(file: &Path, text: &str, progress: &mut Progress) -> Result<()> {
    let new = part(file);
    progress.change()?;
    remove(&new)?;
    let cannot = || format!("cannot write {}", new.display());
    let mut open = OpenOptions::new();
    let mut out =
        (open.write(true).create_new(true).mode(0o600).open(&new)).with_context(cannot)?;
    progress.change()?;
    out.write_all(text.as_bytes()).with_context(cannot)?;
    let (now, was) = (out.metadata()?, fs::metadata(file)?);
    if (now.uid(), now.gid()) != (was.uid(), was.gid()) {
        chown(&new, Some(was.uid()), Some(was.gid())).with_context(cannot)?;
    }
    out.sync_all().with_context(cannot)?;
    progress.change()?;
    fs::rename(&new, file).with_context(cannot)?;
    let Some(folder) = file.parent() else {
        bail!("{} is in no folder", file.display());
    };
    progress.change()?;
    Ok(File::open(folder)?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use portcullis_engine::config::Secrets;
    use tempfile::TempDir;

    use super::*;

    const PROXY: &str = "com.sun.identity.agents.config.forward.proxy.password";

    /// Both files as an installation leaves them, with words of the operator's.
    fn installed() -> (TempDir, Secret) {
        let folder = tempfile::tempdir().unwrap();
        let key = secrets::new_key().unwrap();
        let sealed = |text: &str| secrets::encrypt(&key, &Secret::new(text.into())).unwrap();
        let passwords = [
            (secrets::PASSWORD.to_owned(), sealed("of-the-agent-in-AM")),
            (PROXY.to_owned(), sealed("of-the-forward-proxy")),
        ];
        for (name, text) in secrets::files(&key, &passwords) {
            let path = folder.path().join(name);
            fs::write(&path, format!("# kept\n{}\n", text.as_str())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        (folder, key)
    }

    /// What the agent reads there.
    fn read(folder: &Path) -> Secrets {
        let mut all = Properties::default();
        for name in [KEY_FILE, PASSWORD_FILE] {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            assert!(text.starts_with("# kept\n"));
            all.append(secret_lines(&text, name));
        }
        let read = Secrets::read(&all);
        let read = read.map_err(|problems| format!("{}", problems[0])).unwrap();
        assert_eq!(read.password.expose(), b"of-the-agent-in-AM");
        assert_eq!(
            read.proxy_password.as_ref().unwrap().expose(),
            b"of-the-forward-proxy"
        );
        read
    }

    fn names(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = files
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn tomorrow() -> Option<SystemTime> {
        Some(SystemTime::now() + Duration::from_secs(86_400))
    }

    fn after(left: usize) -> Progress {
        Progress { shown: false, left }
    }

    #[test]
    fn a_rotation_keeps_the_passwords_and_the_old_key() {
        let (folder, old) = installed();
        let folder = folder.path();
        let done = rotate_files(folder, tomorrow(), &mut after(usize::MAX)).unwrap();
        assert_eq!(done, Done::Rotated);
        let now = read(folder);
        assert!(now.agent_key != old);
        let (previous, until) = now.previous_key.unwrap();
        assert!(previous == old && until.0 > 1_700_000_000_000);
        assert_eq!(names(folder), [KEY_FILE, PASSWORD_FILE]);
        for name in [KEY_FILE, PASSWORD_FILE] {
            assert_eq!(
                fs::metadata(folder.join(name)).unwrap().mode() & 0o777,
                0o600
            );
        }
        // Once more: one old key is enough. And for a key that others know, none.
        rotate_files(folder, None, &mut after(usize::MAX)).unwrap();
        let then = read(folder);
        let (previous, until) = then.previous_key.unwrap();
        assert!(previous == now.agent_key && until.0 == 0);
        // Every password is the new key's.
        let text = fs::read_to_string(folder.join(PASSWORD_FILE)).unwrap();
        for line in secret_lines(&text, PASSWORD_FILE).lines() {
            assert!(config::decrypt_password(&then.agent_key, &line.value).is_ok());
        }
    }

    #[test]
    fn a_rotation_that_is_killed_at_any_step_is_finished_by_the_next() {
        let mut seen = [0; 2];
        for left in 0.. {
            let (folder, old) = installed();
            let folder = folder.path();
            // As with kill -9: nothing is taken back.
            let (files, mut progress) = (Files::of(folder), after(left));
            let whole = files.run(tomorrow(), &mut progress);
            if whole
                .and_then(|_| files.remove_leftovers(&mut progress))
                .is_ok()
            {
                break;
            }
            let between = read(folder);
            let previous = between.previous_key.as_ref().map(|(key, _)| key);
            let rotated = between.agent_key != old;
            assert!(!rotated || previous == Some(&old), "{left}");
            let done = rotate_files(folder, tomorrow(), &mut after(usize::MAX)).unwrap();
            assert_eq!(done == Done::Finished, rotated, "{left}");
            seen[usize::from(rotated)] += 1;
            let end = read(folder);
            assert!(
                end.agent_key != old && end.previous_key.unwrap().0 == old,
                "{left}"
            );
            assert_eq!(names(folder), [KEY_FILE, PASSWORD_FILE], "{left}");
            let text = fs::read_to_string(folder.join(PASSWORD_FILE)).unwrap();
            let opens = |value: &str| config::decrypt_password(&end.agent_key, value).is_ok();
            let lines = secret_lines(&text, PASSWORD_FILE);
            assert!(
                lines.lines().iter().all(|line| opens(&line.value)),
                "{left}"
            );
        }
        assert!(seen[0] >= 3 && seen[1] >= 5, "{seen:?}");
    }

    #[test]
    fn a_rotation_that_fails_at_any_step_leaves_the_files_as_they_were() {
        for left in 0.. {
            let (folder, old) = installed();
            let folder = folder.path();
            let bytes = || [KEY_FILE, PASSWORD_FILE].map(|n| fs::read(folder.join(n)).unwrap());
            let before = bytes();
            let Err(error) = rotate_files(folder, tomorrow(), &mut after(left)) else {
                assert!(read(folder).agent_key != old);
                break;
            };
            assert!(format!("{error:#}").contains("as before"), "{error:#}");
            assert!(bytes() == before, "{left}");
            assert_eq!(names(folder), [KEY_FILE, PASSWORD_FILE], "{left}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_not_rotated() {
        let (folder, _) = installed();
        let path = folder.path().join(PASSWORD_FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("portcullis.monitor.password = AAAA\n");
        fs::write(&path, &text).unwrap();
        let error = rotate_files(folder.path(), tomorrow(), &mut after(usize::MAX)).unwrap_err();
        let said = format!("{error:#}");
        assert!(
            said.contains("portcullis.monitor.password was not written by this agent"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let said = no_secrets_in(&format!("a = b\n{PROXY} = AAAA\n"))
            .unwrap_err()
            .to_string();
        assert!(
            said.contains(PROXY) && said.contains(PASSWORD_FILE),
            "{said}"
        );
        assert!(no_secrets_in(&format!("# {PROXY} = x\n{PROXY} =\n")).is_ok());
    }

    #[test]
    fn a_date_is_one_that_the_agent_reads() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_798_761_599);
        assert_eq!(date(at), "2026-12-31T23:59:59Z");
    }
}
