//! Where lines go: the host's error log, the instance's debug log, the local audit file.
//!
//! Files are opened by the parent, before the fork, and stay open. Nothing here sees a token: lines are
//! made from codes and from what `evaluate` considers printable.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use portcullis_engine::{
    config::{self, Config, Level},
    event::{Code, Severity},
};
use portcullis_shm::clock;

use crate::{
    closer::Closer,
    logfile::{LogFile, Rotation},
};

/// Receives lines for the host's error log, on any thread.
pub type HostLog = Box<dyn Fn(Severity, &str) + Send + Sync>;

/// The system log: what is written to the host's error log, in a file of its own.
pub(crate) struct System {
    file: LogFile,
    severity: Severity,
    rotation: Rotation,
}

impl System {
    /// The one that `AM_SYSTEM_LOG_PATH` names.
    pub(crate) fn of_environment() -> Option<Result<System, String>> {
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let find = |name: &str| variables.iter().find(|(n, _)| n == name);
        let told = config::system_log(|name| find(name).map(|(_, value)| value.as_str()))?;
        let file = LogFile::open(&told.path).map_err(|e| format!("{}: {e}", told.path));
        Some(file.map(|file| System {
            file,
            severity: told.severity,
            rotation: Rotation {
                bytes: told.bytes,
                keep: told.keep,
                stretch: 0,
            },
        }))
    }

    /// Appends a line. Whether it can be rotated is said by nobody: that would be one more line.
    pub(crate) fn line(&self, severity: Severity, line: &str) {
        if severity <= self.severity {
            let text = format!("{} {severity:?} {line}", timestamp());
            let _ = self.file.line(&text, self.rotation);
        }
    }
}

/// The logs of one instance.
#[derive(Default)]
pub(crate) struct Logs {
    /// The least [`Severity`] that the debug log gets.
    least: AtomicU8,
    /// The same, or all while somebody looks more closely at some requests: what requests compare with.
    wanted: AtomicU8,
    closer: ArcSwapOption<Closer>,
    debug: Option<LogFile>,
    audit: Option<LogFile>,
    record: Option<LogFile>,
    rotation: Rotations,
}

/// When the files of one instance are rotated.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rotations {
    debug: Rotation,
    audit: Rotation,
}

impl Rotations {
    /// As a configuration says.
    pub(crate) fn of(config: &Config) -> Rotations {
        let debug = match config.debug_file_rotate {
            true => u64::from(config.debug_file_size),
            false => 0,
        };
        Rotations {
            debug: Rotation {
                bytes: debug,
                keep: config.max_log_files,
                stretch: 0,
            },
            audit: Rotation {
                bytes: u64::from(config.audit_file_size),
                keep: 0,
                stretch: u64::from(config.audit_rotate_hours) * 3600,
            },
        }
    }
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
        let record = open(&config.record_file);
        (
            Logs {
                least: AtomicU8::new(severity_of(config.debug_level) as u8),
                wanted: AtomicU8::new(severity_of(config.debug_level) as u8),
                closer: ArcSwapOption::empty(),
                debug,
                audit,
                record,
                rotation: Rotations::of(config),
            },
            problems,
        )
    }

    /// Says how much the debug log gets from now on.
    pub(crate) fn set_level(&self, level: Level) {
        self.least
            .store(severity_of(level) as u8, Ordering::Relaxed);
        self.want();
    }

    /// Says whose requests are looked at more closely from now on; whose were before.
    pub(crate) fn set_closer(&self, closer: Option<Closer>) -> Option<Closer> {
        let before = self.closer.load().as_deref().copied();
        if before != closer {
            self.closer.store(closer.map(Arc::new));
            self.want();
        }
        before
    }

    fn want(&self) {
        let wanted = match self.closer.load().is_some() {
            true => Severity::Debug as u8,
            false => self.least.load(Ordering::Relaxed),
        };
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Whether requests of this client are looked at more closely. For those who have asked
    /// [`Logs::wants`] before.
    pub(crate) fn closer_at(&self, client: IpAddr) -> bool {
        let closer = self.closer.load();
        closer.as_ref().is_some_and(|closer| {
            closer.address == client.to_canonical() && closer.until > clock::boottime_ms()
        })
    }

    /// Whether the debug log gets lines of this severity.
    fn takes(&self, severity: Severity) -> bool {
        severity as u8 <= self.least.load(Ordering::Relaxed)
    }

    /// Whether anybody reads lines of this severity, of any client.
    pub(crate) fn wants(&self, severity: Severity) -> bool {
        let wanted = || severity as u8 <= self.wanted.load(Ordering::Relaxed);
        severity <= Severity::Info || (self.debug.is_some() && wanted())
    }

    /// The same of every client.
    pub(crate) fn wants_of_all(&self, severity: Severity) -> bool {
        severity <= Severity::Info || (self.debug.is_some() && self.takes(severity))
    }

    /// Whether requests are written down.
    pub(crate) fn records(&self) -> bool {
        self.record.is_some()
    }

    /// Appends one request, or what belongs to several.
    pub(crate) fn record(&self, host: &HostLog, line: &str) {
        if let Some(file) = &self.record {
            report(host, file.line(line, Rotation::default()));
        }
    }

    /// Writes a line with its code to the debug log, and to the host's log when it matters there.
    /// `current` says when files are rotated where it isn't the start's configuration that does.
    pub(crate) fn line(
        &self,
        host: &HostLog,
        current: Option<Rotations>,
        code: Code,
        text: &str,
        always: bool,
    ) {
        let row = code.row();
        if row.severity <= Severity::Info {
            host(row.severity, &with_code(code, text));
        }
        self.debug_line(host, current, code, text, always);
    }

    /// Writes a line with its code to the debug log alone.
    pub(crate) fn debug_line(
        &self,
        host: &HostLog,
        current: Option<Rotations>,
        code: Code,
        text: &str,
        always: bool,
    ) {
        let severity = code.row().severity;
        if let Some(file) = &self.debug
            && (always || self.takes(severity))
        {
            let rotation = current.unwrap_or(self.rotation).debug;
            let line = with_code(code, text);
            let text = format!("{} {severity:?} {line}", timestamp());
            report(host, file.line(&text, rotation));
        }
    }

    /// Appends one audit event.
    pub(crate) fn audit(&self, host: &HostLog, current: Option<Rotations>, event: &str) {
        if let Some(file) = &self.audit {
            report(
                host,
                file.line(event, current.unwrap_or(self.rotation).audit),
            );
        }
    }
}

fn with_code(code: Code, text: &str) -> String {
    let row = code.row();
    format!("PCL{:04} {}: {text}", row.number, row.text)
}

/// The host hears of a log that can't be rotated: it would grow until the disk is full.
fn report(host: &HostLog, written: std::io::Result<()>) {
    if let Err(error) = written {
        let row = Code::LogFile.row();
        host(
            row.severity,
            &format!("PCL{:04} {}: {error}", row.number, row.text),
        );
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

pub(crate) fn format_timestamp(ms: u64) -> String {
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
    fn a_log_is_not_rotated_where_that_is_switched_off() {
        let mut config = Config {
            debug_file_size: 5000,
            ..Config::default()
        };
        assert_eq!(Rotations::of(&config).debug.bytes, 5000);
        config.debug_file_rotate = false;
        assert_eq!(Rotations::of(&config).debug.bytes, 0);
    }
}
