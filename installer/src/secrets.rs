//! Keys and passwords of an instance: drawn, encrypted, written for their owner only.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Context, Result, bail};
use portcullis_engine::{config, token::Secret};
use rand_core::TryRngCore;
use zeroize::{Zeroize, Zeroizing};

const KEY: &str = "com.sun.identity.agents.config.key";
pub(crate) const PASSWORD: &str = "com.sun.identity.agents.config.password";
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

/// The password in a file: its first line.
pub(crate) fn read_password(path: &Path) -> Result<Secret> {
    let text = Zeroizing::new(
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
    );
    if fs::metadata(path)?.mode() & 0o077 != 0 {
        eprintln!(
            "warning: {} can be read by others; chmod 600 it",
            path.display()
        );
    }
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        bail!("{} is empty", path.display());
    }
    if password.len() < GOOD_LENGTH {
        eprintln!(
            "warning: the agent's password is short; {GOOD_LENGTH} random characters or more cannot be guessed"
        );
    }
    Ok(Secret::new(password.as_bytes().to_vec()))
}

/// The value of `agent-password.conf`.
pub(crate) fn encrypt(key: &Secret, password: &Secret) -> Result<String> {
    config::encrypt_password(key, password, random::<12>()?)
        .map_err(|error| anyhow::anyhow!("the password {error}"))
}

/// `--p`: key from `agent-key.conf` or a file with the bare key, password from a file.
pub(crate) fn encrypt_files(key: &Path, password: &Path) -> Result<String> {
    let text = Zeroizing::new(
        fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?,
    );
    let line = text
        .lines()
        .find(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
    let line = line.unwrap_or_default().trim();
    let value = match line.strip_prefix(KEY) {
        Some(rest) => rest.trim_start().trim_start_matches('=').trim(),
        None => line,
    };
    let key = config::parse_key(value).map_err(|error| anyhow::anyhow!("the key {error}"))?;
    encrypt(&key, &read_password(password)?)
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
    use super::*;

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
        let again = encrypt_files(&folder.path().join("agent-key.conf"), &file).unwrap();
        assert!(config::decrypt_password(&key, &again).unwrap() == password);
    }
}
