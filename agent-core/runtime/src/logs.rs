//! Where lines go: the host's error log, the instance's debug log, the local audit file.
//!
//! Files are opened by the parent, before the fork, and stay open. A writer notices that a file was
//! renamed (log rotation) and opens the path again. Nothing here sees a token: lines are made from
//! codes and from what `evaluate` considers printable.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use portcullis_engine::{
    config::{Config, Level},
    event::{Code, Severity},
};

/// How long a renamed file may go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Receives lines for the host's error log, on any thread.
pub type HostLog = Box<dyn Fn(Severity, &str) + Send + Sync>;

/// One file that lines are appended to.
pub(crate) struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    looked: Instant,
}

impl LogFile {
    /// Opens or makes the file, readable by its owner only.
    pub(crate) fn open(path: &str) -> std::io::Result<LogFile> {
        let path = PathBuf::from(path);
        let file = append(&path)?;
        Ok(LogFile {
            path,
            open: Mutex::new(Open {
                file,
                looked: Instant::now(),
            }),
        })
    }

    /// Appends one line in one write, so that lines of several processes don't mix.
    pub(crate) fn line(&self, text: &str) {
        let mut open = self.open.lock();
        if open.looked.elapsed() > LOOK_AGAIN {
            open.looked = Instant::now();
            if self.moved(&open.file)
                && let Ok(file) = append(&self.path)
            {
                open.file = file;
            }
        }
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
        // A full disk must not stop the host; the next line may succeed.
        let _ = open.file.write_all(&bytes);
    }

    fn moved(&self, file: &File) -> bool {
        match (std::fs::metadata(&self.path), file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            _ => true,
        }
    }
}

fn append(path: &PathBuf) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// The logs of one instance.
#[derive(Default)]
pub(crate) struct Logs {
    level: Level,
    debug: Option<LogFile>,
    audit: Option<LogFile>,
}

impl Logs {
    /// Opens what the configuration names; problems come back as lines.
    pub(crate) fn open(config: &Config) -> (Logs, Vec<String>) {
        let mut problems = Vec::new();
        let mut open = |path: &Option<String>| {
            let path = path.as_deref()?;
            LogFile::open(path)
                .map_err(|e| problems.push(format!("{path}: {e}")))
                .ok()
        };
        let debug = open(&config.local_logfile);
        let audit = open(&config.local_audit_logfile);
        (
            Logs {
                level: config.debug_level,
                debug,
                audit,
            },
            problems,
        )
    }

    /// Whether anybody reads lines of this severity.
    pub(crate) fn wants(&self, severity: Severity) -> bool {
        severity <= Severity::Info || (self.debug.is_some() && severity <= severity_of(self.level))
    }

    /// Writes a line with its code to the debug log, and to the host's log when it matters there.
    pub(crate) fn line(&self, host: &HostLog, code: Code, text: &str, always: bool) {
        let row = code.row();
        let line = format!("PCL{:04} {}: {text}", row.number, row.text);
        if row.severity <= Severity::Info {
            host(row.severity, &line);
        }
        if let Some(file) = &self.debug
            && (always || row.severity <= severity_of(self.level))
        {
            file.line(&format!("{} {:?} {line}", timestamp(), row.severity));
        }
    }

    /// Appends one audit event.
    pub(crate) fn audit(&self, event: &str) {
        if let Some(file) = &self.audit {
            file.line(event);
        }
    }
}

fn severity_of(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warning => Severity::Warning,
        Level::Info => Severity::Info,
        Level::Debug => Severity::Debug,
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Now, as `2026-08-20T09:12:00.015Z` (RFC 3339).
pub(crate) fn timestamp() -> String {
    format_timestamp(wall_ms())
}

fn format_timestamp(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (h, m, s, milli) = (
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000,
    );
    // Days to civil date, proleptic Gregorian (Howard Hinnant, "chrono-compatible low-level date
    // algorithms"), eras of 400 years beginning in March.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_at_the_edges() {
        assert_eq!(format_timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            format_timestamp(951_782_400_000),
            "2000-02-29T00:00:00.000Z"
        );
        assert_eq!(
            format_timestamp(1_798_761_599_999),
            "2026-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn a_renamed_file_is_opened_again() {
        let dir = std::env::temp_dir().join(format!("portcullis-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("debug.log");
        let log = LogFile::open(path.to_str().unwrap()).unwrap();
        log.line("one");
        std::fs::rename(&path, dir.join("debug.log.1")).unwrap();
        log.open.lock().looked = Instant::now() - LOOK_AGAIN - LOOK_AGAIN;
        log.line("two");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
