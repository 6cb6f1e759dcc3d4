//! `make test` and `make test-imported`: which stages there are, and in which order.
//!
//! OpenAM takes about a minute to start; it does so while the unit tests run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use portcullis_tests::{modules, server::Kind};

use crate::{
    imported,
    openam::{self, Ready, Shared},
    packages::{self, For, present},
    programs::{self, Program, Settings, cargo, counted, run},
    stages::Stages,
};

/// Programs of tests that run side by side. Some count instructions for a minute, some wait for one.
const PROGRAMS: usize = 2;
/// Acceptance tests of one program that run side by side: each has a server of its own and mostly waits.
const THREADS: u8 = 3;
/// The checker of licences; pinned, because its configuration changes between releases.
const DENY: &str = "cargo-deny@0.20.2";

/// Runs the tests whose name has `only` in it and those in files of that name, or everything.
pub(crate) fn run_all(only: Option<&str>) -> bool {
    let mut stages = Stages::begin();
    let uses = [For::Servers, For::OpenAm, For::Tests];
    stages.run("packages", |_| packages::install(&uses));
    if only.is_none() {
        stages.run("format", |_| run(&mut cargo(&["fmt", "--all", "--check"])));
    }
    let mut built = Vec::new();
    stages.run("build", |_| {
        run(&mut cargo(&["build", "--workspace", "--bins"]))?;
        programs::build(&mut built)
    });
    let chosen = choose(built, only);
    if let (Some(word), true) = (only, chosen.is_empty()) {
        stages.run("choice", |_| bail!("no test has {word:?} in its name"));
    }
    let (mut acceptance, unit): (Vec<Program>, Vec<Program>) =
        chosen.into_iter().partition(|p| p.acceptance);
    let mut openam = begin_openam(&mut stages, &acceptance);
    if only.is_none() {
        stages.run("lints", |_| lints());
    }
    if !acceptance.is_empty() {
        stages.run("modules", |_| build_modules());
    }
    let settings = Settings::default();
    run_programs(&mut stages, "unit", &unit, only, settings);
    if only.is_none() {
        stages.run("unit: examples in documentation", |tally| {
            let mut command = cargo(&["test", "--workspace", "--doc"]);
            counted(
                &mut command,
                "documentation",
                (&mut std::io::stdout(), tally),
            )
        });
        licences(&mut stages);
    }
    let state = wait_for_openam(&mut stages, openam.as_mut());
    let settings = Settings {
        threads: Some(THREADS),
        openam: state.as_deref(),
        ..settings
    };
    run_programs(&mut stages, "servers", &acceptance, only, settings);
    drop(openam);
    if only.is_none() {
        acceptance.retain(|p| imported::EVERY_DAY.contains(&p.name.as_str()));
        on_imported_files(&mut stages, &acceptance, only, settings);
    }
    stages.finish()
}

/// Runs the tests on real servers once more, with the files of a Web Agent under each site.
pub(crate) fn run_imported(only: Option<&str>) -> bool {
    let mut stages = Stages::begin();
    let uses = [For::Servers, For::OpenAm, For::Tests];
    stages.run("packages", |_| packages::install(&uses));
    let mut built = Vec::new();
    stages.run("build", |_| {
        run(&mut cargo(&["build", "--workspace", "--bins"]))?;
        programs::build(&mut built)
    });
    built.retain(|program| program.acceptance);
    let acceptance = choose(built, only);
    if acceptance.is_empty() {
        stages.run("choice", |_| bail!("no test has {only:?} in its name"));
    }
    let mut openam = begin_openam(&mut stages, &acceptance);
    stages.run("modules", |_| build_modules());
    let state = wait_for_openam(&mut stages, openam.as_mut());
    let settings = Settings {
        threads: Some(THREADS),
        openam: state.as_deref(),
        ..Settings::default()
    };
    on_imported_files(&mut stages, &acceptance, only, settings);
    stages.finish()
}

fn on_imported_files(
    stages: &mut Stages,
    programs: &[Program],
    only: Option<&str>,
    settings: Settings<'_>,
) {
    let settings = Settings {
        imported: true,
        ..settings
    };
    stages.run("imported: what is not", |_| imported::begin());
    run_programs(stages, "imported", programs, only, settings);
    let all = only.is_none() && programs.len() > imported::EVERY_DAY.len();
    stages.run("imported: what was not", |_| imported::finish(all));
}

/// Runs programs side by side; one alone shows what it prints at once.
fn run_programs(
    stages: &mut Stages,
    what: &str,
    programs: &[Program],
    only: Option<&str>,
    settings: Settings<'_>,
) {
    let name = |program: &Program| format!("{what}: {}", program.name);
    if let [program] = programs {
        stages.run(&name(program), |tally| {
            program.run(only, settings, (&mut std::io::stdout(), tally))
        });
        return;
    }
    let names: Vec<String> = programs.iter().map(name).collect();
    let done = stages.run_beside(&names, PROGRAMS, |number, place, to| {
        let place = Some((place, PROGRAMS));
        programs[number].run(only, Settings { place, ..settings }, to)
    });
    if let Err(error) = done {
        stages.run(what, |_| Err(error));
    }
}

/// The programs that have tests to run.
fn choose(built: Vec<Program>, only: Option<&str>) -> Vec<Program> {
    let Some(word) = only else { return built };
    built
        .into_iter()
        .filter(|p| p.is_called(word) || p.matching(word).is_ok_and(|n| n > 0))
        .collect()
}

/// Starts the shared OpenAM when a chosen program asks for one.
fn begin_openam(stages: &mut Stages, acceptance: &[Program]) -> Option<Shared> {
    if openam::given() || !acceptance.iter().any(Program::wants_openam) {
        return None;
    }
    let mut openam = None;
    stages.run("OpenAM: begin of the start", |_| {
        openam = Some(Shared::begin()?);
        Ok(())
    });
    openam
}

/// The state file for the tests. Without OpenAM those that need it say so, and fail in CI.
fn wait_for_openam(stages: &mut Stages, openam: Option<&mut Shared>) -> Option<PathBuf> {
    let openam = openam?;
    let mut state = None;
    stages.run("OpenAM: wait", |_| match openam.wait()? {
        Ready::Yes(file) => {
            state = Some(file);
            Ok(())
        }
        Ready::Missing => {
            ensure!(std::env::var_os("CI").is_none(), "in CI it has to run");
            println!("The tests against a real OpenAM are skipped; see above for what is missing.");
            Ok(())
        }
    });
    state
}

fn lints() -> anyhow::Result<()> {
    run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Builds what the servers load. Cargo first and in the open, because it takes minutes.
pub(crate) fn build_modules() -> anyhow::Result<()> {
    run(&mut modules::library_build())?;
    println!("Building the modules for httpd and nginx");
    modules::built();
    Ok(())
}

/// `make modules`: what an installation needs, and where it is.
///
/// # Errors
/// When packages can't be installed or anything does not build.
pub(crate) fn modules_only() -> anyhow::Result<bool> {
    packages::install(&[For::Servers])?;
    build_modules()?;
    for kind in [Kind::Httpd, Kind::Nginx] {
        println!("{}", modules::module(kind).display());
    }
    println!("{}", modules::agentadmin().display());
    Ok(true)
}

/// `make nginx-module`: the module for the nginx whose source is in a folder; says where it is.
///
/// # Errors
/// When there is no nginx, or anything does not build.
pub(crate) fn nginx_module(source: &Path, options: &[String]) -> anyhow::Result<bool> {
    let source = fs::canonicalize(source).with_context(|| source.display().to_string())?;
    let Some(version) = modules::nginx_version(&source) else {
        bail!(
            "{}: no source of nginx (src/core/nginx.h with its version)",
            source.display()
        );
    };
    run(&mut modules::library_build())?;
    let folder = modules::directory().join(format!("nginx-{version}"));
    fs::create_dir_all(&folder)?;
    let to = folder.join("ngx_http_portcullis_module.so");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    modules::nginx_module(&source, &options, &modules::library(), &to);
    println!("{}", to.display());
    Ok(true)
}

/// Licences, duplicate and forbidden crates, and where crates come from.
fn licences(stages: &mut Stages) {
    const NAME: &str = "licences";
    let ci = std::env::var_os("CI").is_some();
    if !ci && !present("cargo-deny") {
        stages.skip(NAME, &format!("cargo install --locked {DENY} brings it"));
        return;
    }
    stages.run(NAME, |_| {
        if !present("cargo-deny") {
            run(&mut cargo(&["install", "--locked", "--quiet", DENY]))?;
        }
        run(&mut cargo(&[
            "deny", "check", "licenses", "bans", "sources",
        ]))
    });
}
