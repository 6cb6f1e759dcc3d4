//! Keys and passwords of an instance: drawn, encrypted, written for their owner only.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use portcullis_engine::{config, token::Secret};
use rand_core::TryRngCore;
use zeroize::{Zeroize, Zeroizing};

use crate::terminal;

pub(crate) const KEY: &str = "com.sun.identity.agents.config.key";
pub(crate) const PASSWORD: &str = "com.sun.identity.agents.config.password";
/// In place of a file: standard input, and a credential of systemd.
const STDIN: &str = "-";
const CREDENTIAL: &str = "credential:";
/// Where systemd puts them (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Shorter passwords can be guessed off line from what every user holds (rule K2).
const GOOD_LENGTH: usize = 16;

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand_core::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(bytes)
}

/// A new root key.
pub(crate) fn new_key() -> Result<Secret> {
    let mut bytes = random::<32>()?;
    let key = Secret::new(bytes.to_vec());
    bytes.zeroize();
    Ok(key)
}

/// A new root key as text.
pub(crate) fn new_key_text() -> Result<Zeroizing<String>> {
    Ok(config::key_text(&new_key()?))
}

/// The password in a file, with `-` on standard input, or with `credential:NAME` in a credential of systemd: the
/// first line.
///
/// # Errors
/// It cannot be read, is empty, or others may read the file (rule K3).
pub(crate) fn read_password(path: &Path) -> Result<Secret> {
    let line = read_elsewhere(path)?;
    password(&line).with_context(|| path.display().to_string())
}

/// A line as a password; a short one is warned of.
///
/// # Errors
/// It is empty.
pub(crate) fn password(line: &str) -> Result<Secret> {
    if line.is_empty() {
        bail!("there is no password in it");
    }
    if line.len() < GOOD_LENGTH {
        eprintln!(
            "warning: the agent's password is short; {GOOD_LENGTH} random characters or more cannot be guessed"
        );
    }
    Ok(Secret::new(line.as_bytes().to_vec()))
}

/// Whether this names a place with a password, and is not one itself.
pub(crate) fn stands_elsewhere(text: &str) -> bool {
    text == STDIN || text.starts_with(CREDENTIAL) || Path::new(text).is_file()
}

/// The first line of what is named.
pub(crate) fn read_elsewhere(place: &Path) -> Result<Zeroizing<String>> {
    match place.to_str() {
        Some(STDIN) => stdin_line("Password: "),
        Some(text) => match text.strip_prefix(CREDENTIAL) {
            Some(name) => read_line(&credential(name, std::env::var_os(CREDENTIALS))?),
            None => read_line(place),
        },
        None => read_line(place),
    }
}

/// The file of a credential that systemd has given to this unit.
fn credential(name: &str, folder: Option<OsString>) -> Result<PathBuf> {
    let folder = folder.with_context(|| {
        format!(
            "{CREDENTIAL}{name} needs {CREDENTIALS}: run it in a unit with LoadCredential={name}:FILE, or with \
             systemd-run -p LoadCredential={name}:FILE"
        )
    })?;
    let path = Path::new(name);
    if path.file_name().is_none_or(|file| file != path.as_os_str()) {
        bail!("{CREDENTIAL}{name}: the name of a credential is that of a file, without a folder");
    }
    Ok(PathBuf::from(folder).join(path))
}

/// The next line of standard input; who types it is asked for it, and it is not shown.
pub(crate) fn stdin_line(question: &str) -> Result<Zeroizing<String>> {
    let typed = terminal::is_typed();
    let ask = || match typed {
        true => io::stderr().write_all(question.as_bytes()),
        false => Ok(()),
    };
    let line = terminal::hidden_line(&mut io::stdin().lock(), typed, ask);
    let line = line.context("cannot read standard input")?;
    match line {
        None if typed => bail!("left; nothing was changed"),
        line => Ok(line.unwrap_or_default()),
    }
}

/// The first line of a file that is its owner's alone.
pub(crate) fn read_line(path: &Path) -> Result<Zeroizing<String>> {
    Ok(without_end(
        read_private(path)?.lines().next().unwrap_or_default(),
    ))
}

fn without_end(line: &str) -> Zeroizing<String> {
    Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The text of a file of secrets; one that others may read is refused (rule K3).
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{0} can be read by others (mode {mode:o}): chmod 600 {0}",
            path.display()
        );
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

/// The value of `agent-password.conf`.
pub(crate) fn encrypt(key: &Secret, password: &Secret) -> Result<String> {
    config::encrypt_password(key, password, random::<12>()?)
        .map_err(|error| anyhow::anyhow!("the password {error}"))
}

/// The key in `agent-key.conf` or in a file with the bare key.
pub(crate) fn read_key(path: &Path) -> Result<Secret> {
    let text = read_private(path)?;
    let mut lines = text.lines().map(str::trim);
    let value = lines.find_map(|line| match line.strip_prefix(KEY) {
        Some(rest) => Some(rest.trim_start().strip_prefix('=')?.trim()),
        None => Some(line).filter(|l| !l.is_empty() && !l.starts_with('#') && !l.contains(' ')),
    });
    config::parse_key(value.unwrap_or_default())
        .map_err(|error| anyhow::anyhow!("{}: the key {error}", path.display()))
}

/// `agent-key.conf` and `agent-password.conf`, each with its name; of each password its property and its encrypted
/// form. Both are for their owner only.
pub(crate) fn files(
    key: &Secret,
    passwords: &[(String, String)],
) -> [(&'static str, Zeroizing<String>); 2] {
    let lines = passwords.iter();
    let lines: String = lines
        .map(|(name, text)| format!("{name} = {text}\n"))
        .collect();
    [
        (
            "agent-key.conf",
            Zeroizing::new(format!("{KEY} = {}\n", config::key_text(key).as_str())),
        ),
        ("agent-password.conf", Zeroizing::new(lines)),
    ]
}

#[cfg(test)]
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_credential_is_a_file_of_its_folder_and_of_no_other() {
        let folder = || Some(OsString::from("/run/credentials/x.service"));
        let path = credential("wa1", folder()).unwrap();
        assert_eq!(path, Path::new("/run/credentials/x.service/wa1"));
        for name in ["", "..", ".", "../etc/shadow", "/etc/shadow", "a/b", "a/"] {
            assert!(credential(name, folder()).is_err(), "{name}");
        }
        let said = credential("wa1", None).unwrap_err().to_string();
        assert!(said.contains("LoadCredential=wa1:FILE"), "{said}");
    }

    #[test]
    fn a_password_is_encrypted_so_that_the_agent_can_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let key = new_key().unwrap();
        let file = folder.path().join("password");
        write_private(&file, "a-Long-enough-pass-phrase\nrest\n").unwrap();
        let password = read_password(&file).unwrap();
        let text = encrypt(&key, &password).unwrap();
        for (name, text) in files(&key, &[(PASSWORD.to_owned(), text.clone())]) {
            write_private(&folder.path().join(name), &text).unwrap();
        }
        let opened = config::decrypt_password(&key, &text).unwrap();
        assert!(opened == password);
        assert!(read_key(&folder.path().join("agent-key.conf")).unwrap() == key);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read_password(&file).err().unwrap().to_string();
        assert!(
            refused.contains("mode 640") && refused.contains("chmod 600"),
            "{refused}"
        );
    }
}
