use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use super::*;

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["agent.test.invalid".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        files.write("cert.pem", &certificate.pem());
        files.write("key.pem", &key.serialize_pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Lets OpenSSL write the key again.
    fn openssl(&self, to: &str, how: &[&str]) {
        let output = Command::new("openssl")
            .args(how)
            .args(["-in", "key.pem", "-out", to, "-passout", "pass:a phrase"])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        self.mode(to, 0o600);
    }

    fn read(&self, key: &str, password: Option<&str>) -> Result<(), IdentityError> {
        let password = password.map(|p| Secret::new(p.into()));
        ClientIdentity::read(&self.path("cert.pem"), &self.path(key), password.as_ref()).map(drop)
    }
}

#[test]
fn a_key_of_its_owner_is_taken_and_one_of_everybody_is_not() {
    let files = Files::new();
    assert_eq!(files.read("key.pem", None), Ok(()));
    files.mode("key.pem", 0o640);
    assert!(matches!(
        files.read("key.pem", None),
        Err(IdentityError::Key(_))
    ));
    assert!(matches!(
        files.read("nothing.pem", None),
        Err(IdentityError::Key(_))
    ));
    files.write("cert.pem", "nothing");
    files.mode("key.pem", 0o600);
    assert!(matches!(
        files.read("key.pem", None),
        Err(IdentityError::Certificate(_))
    ));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let files = Files::new();
    files.write(
        "key.pem",
        &rcgen::KeyPair::generate().unwrap().serialize_pem(),
    );
    assert!(matches!(
        files.read("key.pem", None),
        Err(IdentityError::Key(_))
    ));
}

#[test]
fn openssl_s_encrypted_keys_open_with_their_pass_phrase_only() {
    let files = Files::new();
    for (name, how) in [
        ("default", &["pkcs8", "-topk8"][..]),
        ("aes128", &["pkcs8", "-topk8", "-v2", "aes-128-cbc"]),
        ("aes192", &["pkcs8", "-topk8", "-v2", "aes-192-cbc"]),
        (
            "sha1",
            &[
                "pkcs8",
                "-topk8",
                "-v2",
                "aes-256-cbc",
                "-v2prf",
                "hmacWithSHA1",
            ],
        ),
        (
            "sha512",
            &[
                "pkcs8",
                "-topk8",
                "-v2",
                "aes-256-cbc",
                "-v2prf",
                "hmacWithSHA512",
            ],
        ),
    ] {
        files.openssl(name, how);
        assert_eq!(files.read(name, Some("a phrase")), Ok(()), "{name}");
        for wrong in [None, Some("another phrase")] {
            let error = files.read(name, wrong);
            assert!(
                matches!(error, Err(IdentityError::Password(_))),
                "{name} {error:?}"
            );
        }
    }
}

#[test]
fn other_forms_of_encryption_are_named() {
    let files = Files::new();
    for (name, how) in [
        ("scrypt", &["pkcs8", "-topk8", "-scrypt"][..]),
        ("des3", &["pkcs8", "-topk8", "-v2", "des3"]),
        ("old", &["ec", "-aes256"]),
    ] {
        files.openssl(name, how);
        let error = files.read(name, Some("a phrase")).unwrap_err().to_string();
        assert!(error.contains("openssl pkcs8 -topk8"), "{name}: {error}");
    }
}

#[test]
fn broken_files_are_errors() {
    let files = Files::new();
    files.openssl("sealed", &["pkcs8", "-topk8"]);
    let text = fs::read(files.path("sealed")).unwrap();
    let der = encrypted_der(&text).unwrap();
    let der = der.secret_pkcs8_der();
    assert!(Sealed::parse(der).is_some());
    for length in 0..der.len() {
        assert!(Sealed::parse(&der[..length]).is_none(), "{length}");
    }
    for at in 0..der.len() {
        let mut der = der.to_vec();
        der[at] ^= 0x55;
        let _ = Sealed::parse(&der); // whatever it is, it does not panic
    }
}
