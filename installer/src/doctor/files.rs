//! Do the files of the instance say something usable, and only to those who may read it?

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use portcullis_engine::config::{Problem, Severity, Source};

use super::{
    check::{Finding, every},
    patient::Patient,
};

const SECRET_FILES: [&str; 2] = ["agent-key.conf", "agent-password.conf"];
/// Shorter passwords can be guessed off line from what every user holds (rule K2).
const GOOD_LENGTH: usize = 16;
/// Fewer different characters than this are a pattern, not a random text.
const GOOD_VARIETY: usize = 8;

/// The three files, and who may read and write them (rules K3, W3).
pub(crate) fn files(patient: &mut Patient) -> Finding {
    let folder = patient.beside("");
    let looks = [
        one_file(patient.conf(), 0o002),
        one_file(&patient.beside(SECRET_FILES[0]), 0o077),
        one_file(&patient.beside(SECRET_FILES[1]), 0o077),
        one_folder(&folder, 0o002),
    ];
    every(looks.into())
}

fn one_file(path: &Path, forbidden: u32) -> Finding {
    let shown = path.display();
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(e) => {
            return Finding::not_ok(
                format!("{shown}: {e}"),
                format!("put {shown} back, or install the instance again with agentadmin"),
            );
        }
    };
    if let Some(bad) = exposed(path, about.mode(), forbidden) {
        return bad;
    }
    match fs::File::open(path) {
        _ if !about.is_file() => {
            Finding::not_ok(format!("{shown} is no file"), format!("put {shown} back"))
        }
        Ok(_) => Finding::ok(format!(
            "{shown}: mode {:o}, owner {}",
            about.mode() & 0o7777,
            about.uid()
        )),
        Err(e) => Finding::not_ok(
            format!("{shown}: {e}"),
            "run agentadmin as the user that starts the web server (root)",
        ),
    }
}

fn one_folder(path: &Path, forbidden: u32) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Err(e) => Finding::not_ok(
            format!("{shown}: {e}"),
            format!("make the folder {shown}, owned by the user of the web server's workers"),
        ),
        Ok(about) if !about.is_dir() => Finding::not_ok(
            format!("{shown} is no folder"),
            format!("make {shown} a folder"),
        ),
        Ok(about) => exposed(path, about.mode(), forbidden).unwrap_or_else(|| {
            Finding::ok(format!(
                "{shown}: mode {:o}, owner {}",
                about.mode() & 0o7777,
                about.uid()
            ))
        }),
    }
}

fn exposed(path: &Path, mode: u32, forbidden: u32) -> Option<Finding> {
    let (shown, mode) = (path.display(), mode & 0o7777);
    // A sticky folder, as /tmp, lets nobody touch what is somebody else's.
    let sticky = mode & 0o1000 != 0 && forbidden == 0o002;
    (mode & forbidden != 0 && !sticky).then(|| {
        let who = match forbidden {
            0o077 => "used by others than its owner",
            _ => "written by everybody",
        };
        Finding::not_ok(
            format!("{shown} can be {who}: mode {mode:o}"),
            format!("chmod {:o} {shown}", mode & !forbidden),
        )
    })
}

/// Key and passwords: there, and opened by the key.
pub(crate) fn secrets(patient: &mut Patient) -> Finding {
    judged(patient, is_secret, "key and password")
}

/// Everything else that the module reads before it starts.
pub(crate) fn configuration(patient: &mut Patient) -> Finding {
    let found = judged(patient, |problem| !is_secret(problem), "the configuration");
    let Some(config) = patient.config() else {
        return found;
    };
    let urls = &config.naming_url;
    let mut words = format!(
        "Agent instance is configured with {} naming.url value(s):",
        urls.len()
    );
    for (at, url) in urls.iter().enumerate() {
        words.push_str(&format!("\n{}. {url} is valid", at + 1));
    }
    found.vendor(words)
}

fn is_secret(problem: &Problem) -> bool {
    matches!(&problem.source, Source::File(name) if SECRET_FILES.contains(&name.as_str()))
}

fn judged(patient: &Patient, mine: impl Fn(&Problem) -> bool, what: &str) -> Finding {
    let found: Vec<&Problem> = patient.problems.iter().filter(|p| mine(p)).collect();
    let errors = found.iter().filter(|p| p.severity == Severity::Error);
    let lines = found.iter().map(|problem| match problem.severity {
        Severity::Error => problem.to_string(),
        Severity::Warning => format!("warning: {problem}"),
    });
    let remedies: Vec<String> = errors
        .map(|p| format!("{}: {}", p.source, p.remedy))
        .collect();
    match remedies.first() {
        None => Finding::ok(format!("{what} can be used")).all(lines),
        Some(first) => {
            let mut first = first.clone();
            if let Some(problem) = found.iter().find(|p| p.severity == Severity::Error)
                && !problem.property.is_empty()
            {
                first = format!("{}: {first}", problem.property);
            }
            Finding::not_ok(format!("{what} cannot be used"), first).all(lines)
        }
    }
}

/// Folders that workers write to.
pub(crate) fn folders(patient: &mut Patient) -> Finding {
    let Some(folders) = written(patient) else {
        return Finding::skipped("the configuration is not known");
    };
    let looks = folders
        .iter()
        .map(|(folder, forbidden)| one_folder(folder, *forbidden));
    match folders.is_empty() {
        true => Finding::not_needed("no folder is configured that workers write to"),
        false => every(looks.collect()),
    }
}

/// Folders that workers write to, each with what nobody else may; `None`: the configuration is not known.
pub(crate) fn written(patient: &Patient) -> Option<Vec<(PathBuf, u32)>> {
    let config = patient.config()?;
    let above = |file: &Option<String>| {
        let file = PathBuf::from(file.as_ref()?);
        file.parent().map(Path::to_path_buf)
    };
    let mut all: Vec<(PathBuf, u32)> = [&config.local_logfile, &config.local_audit_logfile]
        .into_iter()
        .filter_map(above)
        .map(|folder| (folder, 0o002))
        .collect();
    if config.post_preserve {
        let own = patient.wish.instance.folder();
        let folder = match &config.post_dir {
            Some(named) => PathBuf::from(named),
            None => own.unwrap_or(Path::new("/")).join("pdp-cache"),
        };
        all.push((folder, 0o077));
    }
    Some(all)
}

/// Rule K2.
pub(crate) fn password(patient: &mut Patient) -> Finding {
    let Some(start) = &patient.start else {
        return Finding::skipped("the password is not known");
    };
    let text = start.secrets.password.expose();
    let mut seen = [false; 256];
    text.iter().for_each(|b| seen[usize::from(*b)] = true);
    let variety = seen.iter().filter(|b| **b).count();
    let remedy = "give the agent's profile in AM a random password of 32 characters, and write it to \
                  agent-password.conf with agentadmin --p";
    let name = start.config.username.as_bytes();
    let repeats = !name.is_empty()
        && text
            .to_ascii_lowercase()
            .starts_with(&name.to_ascii_lowercase());
    if text.len() < GOOD_LENGTH {
        return Finding::not_ok(
            format!("the agent's password has fewer than {GOOD_LENGTH} bytes"),
            remedy,
        );
    }
    if variety < GOOD_VARIETY {
        return Finding::not_ok(
            format!("the agent's password has fewer than {GOOD_VARIETY} different characters"),
            remedy,
        );
    }
    if repeats {
        return Finding::not_ok(
            "the agent's password begins with the name of its profile",
            remedy,
        );
    }
    Finding::ok("long enough that nobody guesses it from an ID token")
}

/// Whether a client can be made from the settings.
pub(crate) fn tls_settings(patient: &mut Patient) -> Finding {
    match patient.client_error() {
        None => Finding::ok("the TLS library takes the settings"),
        Some(why) => Finding::not_ok(
            why.clone(),
            match why.contains("CA file") || why.contains("root certificate") {
                true => {
                    "com.forgerock.agents.config.cert.ca.file: name a PEM file with the certificate \
                     of the authority that signed AM's"
                }
                false => {
                    "correct com.forgerock.agents.config.ciphers, org.forgerock.agents.config.tls \
                     and com.forgerock.agents.config.cert.*"
                }
            },
        ),
    }
}

/// Rule W5.
pub(crate) fn tls_trust(patient: &mut Patient) -> Finding {
    match patient.config() {
        Some(config) if config.trust_server_certs => Finding::not_ok(
            "every certificate is taken for AM's: whoever is in between can read and change everything",
            "com.sun.identity.agents.config.trust.server.certs = false, and \
             com.forgerock.agents.config.cert.ca.file where AM's authority is not one of the system's",
        ),
        _ => Finding::ok("AM's certificate is verified"),
    }
}
