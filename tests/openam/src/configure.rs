//! When is the server up, and how is it set up without a browser?
//!
//! It asks the server until it answers; it starts and stops nothing. The form is that of OpenAM's
//! own configurator, measured on 16.0.5 and 14.8.4.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::http::Client;
use crate::instance::{POLL, Server};
use crate::{ADMIN_PASSWORD, DOMAIN, HOST, Unavailable, progress};

/// Tomcat needs about 15 s on two cores; a loaded machine much more.
const START_LIMIT: Duration = Duration::from_secs(300);
/// The configurator needs about 30 s on two cores.
const CONFIGURE_LIMIT: Duration = Duration::from_secs(600);

/// Waits for Tomcat, sends the configurator's form and waits until AM answers as AM.
pub(crate) fn run(server: &mut Server) -> Result<(), Unavailable> {
    let ports = server.instance.ports;
    let origin = format!("http://{HOST}:{}", ports.http);
    let client = Client::loopback(&origin)
        .map_err(|e| Unavailable::Failed(e.to_string()))?
        .with_timeout(CONFIGURE_LIMIT);
    // An unconfigured server redirects to its set-up page.
    wait_for(
        server,
        &client,
        "Tomcat",
        "/openam/isAlive.jsp",
        &[200, 302],
    )?;
    let config_dir = server.instance.config_dir().display().to_string();
    let fields = form(&origin, &config_dir, ports.directory);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let request = client.post("/openam/config/configurator").form(&fields);
    let answer = saying("configuring", || request.send())
        .map_err(|e| Unavailable::Failed(format!("the configurator: {e}")))?;
    let text = answer.text();
    if !text.contains("Configuration complete!") {
        let line: String = text.trim().chars().take(200).collect();
        return Err(failed(
            server,
            &format!("the configurator answered {} {line:?}", answer.status),
        ));
    }
    wait_for(server, &client, "AM", "/openam/json/serverinfo/*", &[200])
}

/// Asks `path` until it answers one of `statuses`.
fn wait_for(
    server: &mut Server,
    client: &Client,
    what: &str,
    path: &str,
    statuses: &[u16],
) -> Result<(), Unavailable> {
    let begun = Instant::now();
    // A Tomcat that still starts takes the connection and leaves it waiting.
    let client = client.clone().with_timeout(Duration::from_secs(5));
    saying(&format!("waiting for {what}"), || {
        loop {
            server.check_alive()?;
            let request = client
                .get(path)
                .header("Accept-API-Version", "resource=1.1");
            if request.send().is_ok_and(|r| statuses.contains(&r.status)) {
                return Ok(());
            }
            if begun.elapsed() > START_LIMIT {
                let seconds = START_LIMIT.as_secs();
                return Err(failed(server, &format!("no {what} after {seconds} s")));
            }
            std::thread::sleep(POLL);
        }
    })
}

/// Runs `work`, saying at once and then every ten seconds that it is still at it.
fn saying<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            progress(what);
            while waiting.recv_timeout(Duration::from_secs(10))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                progress(&format!("still {what}"));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn failed(server: &Server, what: &str) -> Unavailable {
    let logs: Vec<String> = server
        .instance
        .logs()
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    Unavailable::Failed(format!("{what}; see {}", logs.join(", ")))
}

/// The configurator's fields: everything in one embedded directory, users included.
fn form(origin: &str, config_dir: &str, directory: [u16; 3]) -> Vec<(&'static str, String)> {
    let [ldap, administration, jmx] = directory.map(|p| p.to_string());
    let fixed = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let mut fields = fixed(&[
        ("SERVER_URL", origin),
        ("DEPLOYMENT_URI", "/openam"),
        ("BASE_DIR", config_dir),
        ("locale", "en_US"),
        ("PLATFORM_LOCALE", "en_US"),
        ("AM_ENC_KEY", "TestsOnlyTestsOnlyTestsOnly00"),
        ("ADMIN_PWD", ADMIN_PASSWORD),
        ("ADMIN_CONFIRM_PWD", ADMIN_PASSWORD),
        // The configurator refuses one that equals the administrator's.
        ("AMLDAPUSERPASSWD", "agentpassword"),
        ("AMLDAPUSERPASSWD_CONFIRM", "agentpassword"),
        ("COOKIE_DOMAIN", DOMAIN),
        ("acceptLicense", "true"),
        ("DATA_STORE", "embedded"),
        ("DIRECTORY_SSL", "SIMPLE"),
        ("DIRECTORY_SERVER", "localhost"),
        ("ROOT_SUFFIX", "dc=openam,dc=openidentityplatform,dc=org"),
        ("DS_DIRMGRDN", "cn=Directory Manager"),
        ("DS_DIRMGRPASSWD", ADMIN_PASSWORD),
    ]);
    fields.extend([
        ("DIRECTORY_PORT", ldap),
        ("DIRECTORY_ADMIN_PORT", administration),
        ("DIRECTORY_JMX_PORT", jmx),
    ]);
    fields
}
