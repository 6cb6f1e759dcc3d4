//! `make demo`: both servers with the agent, a tour, and then yours until Ctrl-C.
//!
//! It uses the tests' harness, so what it shows is what is tested.

use am_simulator::{Config, Running, Simulator};
use anyhow::Context;
use portcullis_openam::{ADMIN_NAME, ADMIN_PASSWORD, OpenAm, Options, seed::Am};
use portcullis_tests::{
    server::Kind,
    site::{self, AmServer, Site, USER, USER_PASSWORD},
};
use serde_json::json;

use crate::{
    ending::Ending,
    packages::{self, For},
    stages::Stages,
    suite, tour,
};

/// Which AM the demo runs with.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    /// The simulator of the tests.
    Simulator,
    /// A real OpenAM, fetched with Maven.
    Openam,
}

impl Which {
    /// Browsers lead every name below `localhost` to this machine. OpenAM has a name of its own and
    /// sets its cookie for that domain.
    fn domain(self) -> &'static str {
        match self {
            Which::Simulator => "localhost",
            Which::Openam => portcullis_openam::DOMAIN,
        }
    }
}

/// The AM of a demo.
enum DemoAm {
    Simulator(Running),
    OpenAm(OpenAm),
}

impl DemoAm {
    fn start(which: Which) -> anyhow::Result<DemoAm> {
        Ok(match which {
            Which::Simulator => DemoAm::Simulator(simulator()?),
            Which::Openam => DemoAm::OpenAm(OpenAm::start(&Options::default())?),
        })
    }

    fn url(&self) -> &str {
        match self {
            DemoAm::Simulator(am) => am.base_url(),
            DemoAm::OpenAm(am) => am.url(),
        }
    }

    fn stop(self) {
        match self {
            DemoAm::Simulator(am) => am.stop(),
            DemoAm::OpenAm(am) => am.stop(),
        }
    }
}

fn simulator() -> std::io::Result<Running> {
    let config = |port| Config {
        host: "am.localhost".to_owned(),
        cookie_domain: "am.localhost".to_owned(),
        listen: ([127, 0, 0, 1], port).into(),
        ..Config::default()
    };
    Simulator::start(config(8082)).or_else(|_| Simulator::start(config(0)))
}

/// Runs the demo; whether all went as it has to.
pub(crate) fn run(which: Which, once: bool) -> anyhow::Result<bool> {
    let ending = Ending::listen()?;
    let mut stages = Stages::begin();
    let uses: &[For] = match which {
        Which::Simulator => &[For::Servers],
        Which::Openam => &[For::Servers, For::OpenAm],
    };
    let ready = stages.run("packages", |_| packages::install(uses))
        && stages.run("modules", |_| suite::build_modules());
    let mut am = None;
    if ready && !ending.asked() {
        stages.run("AM", |_| {
            let started = DemoAm::start(which)?;
            println!("{}", started.url());
            let user = json!({ "mail": "demo@example.com", "sn": "User", "cn": "Demo User" });
            Am::at(started.url())?
                .admin(ADMIN_PASSWORD)?
                .create_user("/", USER, USER_PASSWORD, &user)
                .context("the user")?;
            am = Some(started);
            Ok(())
        });
    }
    if let Some(am) = am {
        with_am(which, once, &am, &mut stages, &ending);
        stages.run("AM stops", |_| {
            am.stop();
            Ok(())
        });
    }
    Ok(stages.finish())
}

fn with_am(which: Which, once: bool, am: &DemoAm, stages: &mut Stages, ending: &Ending) {
    let mut sites: Vec<(&str, Site)> = Vec::new();
    for (name, kind, port) in [("httpd", Kind::Httpd, 8080), ("nginx", Kind::Nginx, 8081)] {
        if ending.asked() {
            break;
        }
        stages.run(&format!("{name} starts"), |_| {
            sites.push((name, start(which, am.url(), name, kind, port)?));
            Ok(())
        });
    }
    for (name, site) in &sites {
        if ending.asked() {
            break;
        }
        let title = format!("tour through {name}");
        stages.run(&title, |tally| tour::walk(name, site, tally));
    }
    if !once && !ending.asked() && !sites.is_empty() {
        invite(which, am.url(), &sites);
        ending.wait();
    }
    for (name, site) in sites {
        stages.run(&format!("{name} stops"), |_| {
            site.stop();
            Ok(())
        });
    }
}

fn start(which: Which, am: &str, name: &str, kind: Kind, port: u16) -> anyhow::Result<Site> {
    let domain = which.domain();
    println!("agentadmin installs the agent; the server starts");
    let site = site::site(kind)
        .am(AmServer::Real(Am::at(am)?))
        .named(&format!("{name}.{domain}"), &format!("wa-{name}"), port)
        .property(
            "com.forgerock.agents.config.hostmap[1]",
            &format!("am.{domain}|127.0.0.1"),
        )
        .start();
    println!("{}", site.url());
    Ok(site)
}

/// What a person can do now.
fn invite(which: Which, am: &str, sites: &[(&str, Site)]) {
    println!("\nNow yours. Both servers are up until Ctrl-C:");
    for (name, site) in sites {
        let url = site.url();
        println!("\n  {name}");
        println!("    {url}/docs/a.html     asks for a login, then lets you in");
        println!("    {url}/app/page        what the application behind sees of you");
        println!("    {url}/secret/a.html   refused: no policy");
        println!("    {url}/public/a.html   open to all");
        println!("    {url}/logout/done.html  ends the session");
        println!("    the agent's log: {}", log(site));
    }
    println!("\n  user {USER}, password {USER_PASSWORD}");
    println!("  AM {am}, administrator {ADMIN_NAME}, password {ADMIN_PASSWORD}");
    match which {
        Which::Simulator => println!(
            "  Names below localhost lead to this machine in Chrome, Chromium, Firefox and curl."
        ),
        Which::Openam => println!(
            "  The names are in no DNS. A browser that knows them:\n    \
             chromium --user-data-dir=/tmp/portcullis-demo --host-resolver-rules='MAP *.{} 127.0.0.1'",
            which.domain()
        ),
    }
}

fn log(site: &Site) -> String {
    let log = site.instance.join("logs/debug/debug.log");
    log.display().to_string()
}
