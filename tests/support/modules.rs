//! Where do the modules that the tests load come from?
//!
//! From this tree: the library is built in release mode by itself (a workspace build would mix in the
//! features of other crates), then the C shims against the servers that the machine has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

use crate::server::Kind;

/// Where Debian has the headers of its nginx.
const NGINX: &str = "/usr/share/nginx/src";

/// Root of the source tree.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `target` of this build.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The profile that modules are built in: `release`, which is what ships, unless a developer who is
/// changing the agent wants the faster `quick` (`PORTCULLIS_PROFILE=quick`).
pub fn profile() -> String {
    std::env::var("PORTCULLIS_PROFILE").unwrap_or_else(|_| "release".to_owned())
}

/// Where the modules are.
pub fn directory() -> PathBuf {
    match profile().as_str() {
        "release" => target().join("modules"),
        other => target().join(format!("modules-{other}")),
    }
}

/// File of a server's module.
pub fn module(kind: Kind) -> PathBuf {
    directory().join(match kind {
        Kind::Httpd => "mod_portcullis.so",
        Kind::Nginx => "ngx_http_portcullis_module.so",
    })
}

/// The installer, built with the modules.
pub fn agentadmin() -> PathBuf {
    target().join(profile()).join("agentadmin")
}

/// Builds everything once a process; other processes wait for each other.
///
/// # Panics
/// When anything can't be built: every test that needs it has to fail, with the compiler's words.
pub fn built() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        fs::create_dir_all(directory()).expect("target/modules");
        let lock = fs::File::create(directory().join(".lock")).expect("lock file");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("lock");
        run(&mut library_build());
        let library = library();
        if stale(
            &module(Kind::Httpd),
            &[&library, &root().join("apache-module")],
        ) {
            httpd_module(&library);
        }
        if stale(
            &module(Kind::Nginx),
            &[&library, &root().join("nginx-module")],
        ) {
            let headers = Path::new(NGINX);
            assert!(
                headers.is_dir(),
                "nginx's headers are missing; see README, \"Build\""
            );
            nginx_module(headers, &[], &library, &module(Kind::Nginx));
        }
    });
}

/// The library that the modules are linked with.
pub fn library() -> PathBuf {
    target().join(profile()).join("libportcullis.a")
}

/// The command that builds the library and the installer.
pub fn library_build() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--profile", &profile()])
        .args(["-p", "portcullis-ffi", "-p", "agentadmin"])
        .current_dir(root());
    command
}

/// Runs a command and shows what it said only when it fails.
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn says(program: &str, argument: &[&str]) -> String {
    let output = Command::new(program).args(argument).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}; see README, \"Build\""));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Whether a file is older than any of its sources (folders count with the files in them).
fn stale(file: &Path, sources: &[&Path]) -> bool {
    let Some(built) = modified(file) else {
        return true;
    };
    let newest = |path: &&Path| -> Option<SystemTime> {
        if path.is_file() {
            return modified(path);
        }
        let files = fs::read_dir(path).ok()?;
        files.filter_map(|f| modified(&f.ok()?.path())).max()
    };
    let header = root().join("include/portcullis.h");
    sources
        .iter()
        .filter_map(newest)
        .chain(modified(&header))
        .any(|source| source > built)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join(folder)).expect(folder);
    let mut sources: Vec<PathBuf> = files
        .filter_map(|f| Some(f.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "c"))
        .collect();
    sources.sort();
    sources
}

fn httpd_module(library: &Path) {
    let apr = says("apr-1-config", &["--cppflags", "--includes"]);
    let headers = says("apxs", &["-q", "INCLUDEDIR"]);
    let mut cc = Command::new("cc");
    cc.args([
        "-O2", "-g", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
    ])
    .args(["-Wno-unused-parameter", "-std=gnu11"])
    .args(apr.split_whitespace())
    .arg(format!("-I{headers}"))
    .arg(format!("-I{}", root().join("include").display()))
    .arg("-o")
    .arg(module(Kind::Httpd))
    .args(sources("apache-module"))
    .arg(library)
    .args([
        "-Wl,--gc-sections",
        "-Wl,--exclude-libs,ALL",
        "-Wl,-z,nodelete",
    ])
    .args(["-lgcc_s", "-lpthread", "-ldl", "-lm"]);
    run(&mut cc);
}

/// Builds the module for the nginx whose source, or headers with `configure`, are in a folder, which
/// stays as it is. `options` are more ones of nginx's `configure`.
///
/// # Panics
/// When it can't be built.
pub fn nginx_module(source: &Path, options: &[&str], library: &Path, to: &Path) {
    let work = target().join(format!("nginx-build-{}", profile()));
    let _ = fs::remove_dir_all(&work);
    run(Command::new("cp").arg("-rL").arg(source).arg(&work));
    // nginx's own archives have it at the top, its repository does not.
    let configure = match work.join("configure").is_file() {
        true => "./configure",
        false => "auto/configure",
    };
    run(Command::new("bash")
        .current_dir(&work)
        .env("PORTCULLIS_LIB", library)
        .env("PORTCULLIS_INCLUDE", root().join("include"))
        .args([configure, "--with-compat", "--with-cc-opt=-g -O2 -fPIC"])
        .args(options)
        .arg(format!(
            "--add-dynamic-module={}",
            root().join("nginx-module").display()
        )));
    run(Command::new("make")
        .current_dir(&work)
        .args(["-f", "objs/Makefile", "modules"]));
    let built = work.join("objs/ngx_http_portcullis_module.so");
    fs::copy(&built, to).expect("nginx module");
}

/// Version of the nginx whose source or headers are in a folder; `None` when there are none.
pub fn nginx_version(source: &Path) -> Option<String> {
    let text = fs::read_to_string(source.join("src/core/nginx.h")).ok()?;
    let mut lines = text.lines();
    let version = lines.find_map(|line| line.strip_prefix("#define NGINX_VERSION"))?;
    Some(version.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_nginx_is_in_its_headers() {
        assert_eq!(nginx_version(&root()), None);
        let version = nginx_version(Path::new(NGINX)).expect("nginx-dev");
        assert!(
            version.split('.').all(|n| n.parse::<u32>().is_ok()),
            "{version}"
        );
    }
}
