//! Which Java runs OpenAM, and with which arguments?
//!
//! Java is started directly instead of through `catalina.sh`: one process, whose id is the one to
//! signal, and no shell between. It decides nothing about ports and directories.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Unavailable;

/// The oldest Java that OpenAM 14.8 and 16 start on.
const OLDEST: u32 = 11;

/// Internal packages that OpenAM's own classes link to (its `Dockerfile`; measured on 16.0.5).
const EXPORTS: &[&str] = &[
    "java.base/sun.security.util",
    "java.base/sun.security.x509",
    "java.base/sun.security.tools.keytool",
    "java.base/sun.security.provider",
    "java.security.jgss/sun.security.krb5",
    "java.xml/com.sun.org.apache.xerces.internal.dom",
];

/// Packages opened to reflection: Tomcat's own list, and those without which the configurator of
/// 14.8.4 fails (measured with JDK 17).
const OPENS: &[&str] = &[
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.rmi/sun.rmi.transport",
    "java.base/sun.security.util",
    "java.base/sun.security.x509",
    "java.base/sun.security.tools.keytool",
];

/// `$JAVA_HOME/bin/java`, else `java` of the `PATH`, if it is new enough.
///
/// # Errors
/// [`Unavailable::Missing`] with what is wrong.
pub(crate) fn find() -> Result<PathBuf, Unavailable> {
    let java = std::env::var_os("JAVA_HOME")
        .map(|home| Path::new(&home).join("bin/java"))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| "java".into());
    let output = Command::new(&java)
        .args(["-XshowSettings:properties", "-version"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Unavailable::Missing("java is not installed".into()),
            _ => Unavailable::Missing(format!("java cannot be run: {e}")),
        })?;
    match major(&String::from_utf8_lossy(&output.stderr)) {
        Some(found) if found >= OLDEST => Ok(java),
        Some(found) => Err(Unavailable::Missing(format!(
            "java is {found}, OpenAM needs {OLDEST} or newer"
        ))),
        None => Err(Unavailable::Missing(
            "java does not tell its version".into(),
        )),
    }
}

/// The major version in the output of `-XshowSettings:properties` (`1.8` counts as 8).
fn major(settings: &str) -> Option<u32> {
    let value = settings
        .lines()
        .find_map(|l| l.trim().strip_prefix("java.specification.version = "))?;
    value.trim().trim_start_matches("1.").parse().ok()
}

/// The command that runs Tomcat in the foreground with everything under `dir` (see `instance`).
pub(crate) fn command(java: &Path, tomcat: &Path, dir: &Path) -> Command {
    let base = dir.join("base");
    let property = |name: &str, value: &Path| format!("-D{name}={}", value.display());
    let mut command = Command::new(java);
    for package in EXPORTS {
        command.args(["--add-exports", &format!("{package}=ALL-UNNAMED")]);
    }
    for package in OPENS {
        command.args(["--add-opens", &format!("{package}=ALL-UNNAMED")]);
    }
    command
        .args(["-server", "-Xmx2g", "-Djava.awt.headless=true"])
        // Lets Java resolve the host name without the machine's hosts file, hence without root.
        .arg(property("jdk.net.hosts.file", &dir.join("hosts")))
        // Without these two OpenAM would write into the user's home directory.
        .arg(property(
            "com.iplanet.services.configpath",
            &dir.join("cfg"),
        ))
        .arg(property(
            "com.sun.identity.configuration.directory",
            &dir.join("cfg"),
        ))
        .arg(property(
            "java.util.logging.config.file",
            &base.join("conf/logging.properties"),
        ))
        .arg("-Djava.util.logging.manager=org.apache.juli.ClassLoaderLogManager")
        .arg("-Djava.protocol.handler.pkgs=org.apache.catalina.webresources")
        .arg(property("catalina.home", tomcat))
        .arg(property("catalina.base", &base))
        .arg(property("java.io.tmpdir", &base.join("temp")))
        .arg("-classpath")
        .arg(format!(
            "{}:{}",
            tomcat.join("bin/bootstrap.jar").display(),
            tomcat.join("bin/tomcat-juli.jar").display()
        ))
        .args(["org.apache.catalina.startup.Bootstrap", "start"]);
    command
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn reads_old_and_new_version_numbers() {
        let of = |v: &str| {
            major(&format!(
                "Property settings:\n    java.specification.version = {v}\n"
            ))
        };
        assert_eq!(of("17"), Some(17));
        assert_eq!(of("1.8"), Some(8));
        assert_eq!(major("openjdk version \"17.0.15\""), None);
    }
}
