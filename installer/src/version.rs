//! Which version of the agent is this, and which modules lie beside it?
//!
//! It says nothing of the module that a web server has loaded: that may be an older one until it is started anew.

use std::{fs, path::Path};

use crate::{home::Home, server::Kind};

/// The header that the modules are compiled against.
const HEADER: &str = include_str!("../../include/portcullis.h");
/// What a module calls itself when it asks AM, in front of its version.
const NAME: &[u8] = b"Portcullis/";

/// What `--v` prints.
pub(crate) fn text(home: &Home) -> String {
    let mut text = format!(
        "Portcullis Web Agent {}\n  Revision:    {}\n  Build date:  {}\n  ABI:         {}\n  System:      {} {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("PORTCULLIS_REVISION"),
        env!("PORTCULLIS_DATE"),
        abi(),
        std::env::consts::OS,
        std::env::consts::ARCH,
    );
    for kind in [Kind::Httpd, Kind::Nginx] {
        let found = match home.module(kind) {
            Err(_) => "not installed".to_owned(),
            Ok(file) => format!("{}, {}", module_version(&file), file.display()),
        };
        text.push_str(&format!("  {:<12} {found}\n", format!("{}:", kind.name())));
    }
    text
}

/// The number that module and library compare.
fn abi() -> &'static str {
    let line = HEADER
        .lines()
        .find_map(|l| l.strip_prefix("#define PORTCULLIS_ABI "));
    line.unwrap_or("unknown").trim()
}

/// The version that a module has in it.
pub(crate) fn module_version(file: &Path) -> String {
    match fs::read(file) {
        Ok(bytes) => version_in(&bytes).unwrap_or_else(|| "unknown version".to_owned()),
        Err(error) => format!("unreadable ({error})"),
    }
}

fn version_in(bytes: &[u8]) -> Option<String> {
    bytes.windows(NAME.len()).enumerate().find_map(|(at, w)| {
        let rest = bytes.get(at + NAME.len()..).filter(|_| w == NAME)?;
        let end = rest
            .iter()
            .position(|b| !(b.is_ascii_digit() || *b == b'.'))?;
        let version = std::str::from_utf8(&rest[..end]).ok()?;
        (version.split('.').count() == 3).then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_module_is_found_in_it() {
        let module = b"\x7fELF Portcullis/x Portcullis/1.22.3organization Portcullis/9.9.9\0";
        assert_eq!(version_in(module).as_deref(), Some("1.22.3"));
        assert_eq!(version_in(b"Portcullis/"), None);
        assert!(abi().parse::<u32>().is_ok());
    }
}
