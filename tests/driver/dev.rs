//! The commands of the Makefile: `make test`, `make demo` and those that build.
//!
//! It decides what runs in which order and tells how it went; what is tested is not its business.

mod deb;
mod deb_root;
mod deb_test;
mod deb_use;
mod demo;
mod ending;
mod imported;
mod openam;
mod packages;
mod programs;
mod stages;
mod suite;
mod tally;
mod tour;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Tests and shows Portcullis on real web servers; see `make help`.
#[derive(Parser)]
#[command(name = "portcullis-dev")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build both modules and agentadmin; says where they are.
    Modules,
    /// Build the nginx module for a tree of nginx's source; says where it is.
    NginxModule {
        /// Folder of the source.
        source: PathBuf,
        /// More options of nginx's configure.
        #[arg(last = true)]
        options: Vec<String>,
    },
    /// Build the Debian packages for this machine's release; says where they are.
    Deb,
    /// Build, install, use, upgrade and purge the Debian packages in roots of Debian releases. Needs root.
    DebTest {
        /// Code names of the releases.
        #[arg(required = true)]
        releases: Vec<String>,
    },
    /// Write down what the modules and agentadmin are made of; says where.
    Sbom,
    /// Run format check, lints, unit tests and the tests on real servers.
    Test {
        /// Only the tests with this word in their names.
        #[arg(long, value_name = "WORD")]
        only: Option<String>,
        /// Only the tests on real servers, each site with the files of a Web Agent 2024.3.
        #[arg(long)]
        imported: bool,
    },
    /// Start both servers with the agent, walk through them, and keep them until Ctrl-C.
    Demo {
        /// End after the tour.
        #[arg(long)]
        once: bool,
        /// Which AM.
        #[arg(long, value_enum, default_value = "simulator")]
        am: demo::Which,
    },
}

fn main() -> ExitCode {
    let good = match Arguments::parse().command {
        Action::Modules => suite::modules_only(),
        Action::NginxModule { source, options } => suite::nginx_module(&source, &options),
        Action::Deb => deb::make(),
        Action::Test { only, imported } => {
            let only = only.as_deref().filter(|word| !word.is_empty());
            Ok(match imported {
                true => suite::run_imported(only),
                false => suite::run_all(only),
            })
        }
        Action::DebTest { releases } => deb_test::run(&releases),
        Action::Sbom => deb::sbom(),
        Action::Demo { once, am } => demo::run(am, once),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("portcullis-dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}
