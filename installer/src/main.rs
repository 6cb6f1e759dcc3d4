//! `agentadmin`: installs the agent into a web server, lists and removes installations, makes keys, explains
//! decisions.

mod cli;
mod debug;
mod doctor;
mod drill;
mod explain;
mod flush;
mod home;
mod httpd;
mod includes;
mod install;
mod instance;
mod migrate;
mod nginx;
mod pages;
mod password;
mod plan;
mod remove;
mod rotate;
mod secrets;
mod server;
mod status;
mod terminal;
mod trace;
mod validate;
mod version;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("agentadmin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
