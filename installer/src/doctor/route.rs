//! Does the way to AM work: names, connections, TLS, and is it AM that answers, with the same time?

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, SystemTime},
};

use portcullis_engine::{am::AmError, contract::Cause};
use portcullis_runtime::examine::Instead;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{net::lookup_host, time::timeout};

use super::{
    certificates,
    check::{Finding, either},
    patient::{Asked, Patient, Server},
};

const NAMING: &str = "com.sun.identity.agents.config.naming.url";
const PROXY: &str = "com.sun.identity.agents.config.forward.proxy";
/// More than this between our clock and AM's, and tokens count too long or not at all (rule L1).
const SKEW: i64 = 60;

/// Whether the configured proxy takes connections.
pub(crate) fn proxy(patient: &mut Patient) -> Finding {
    let Some(config) = patient.config() else {
        return Finding::skipped("the configuration is not known");
    };
    let Some(host) = config.forward_proxy_host.clone() else {
        return Finding::not_needed("no proxy is configured");
    };
    let port = u16::try_from(config.forward_proxy_port).unwrap_or(0);
    let place = format!("{host}:{port}");
    let addresses = match look_up(patient, &host, port) {
        Ok(addresses) => addresses,
        Err(why) => {
            return Finding::not_ok(
                format!("{host}: {why}"),
                format!("{PROXY}.host: name the proxy as this machine knows it"),
            );
        }
    };
    if let Err(why) = connect(&addresses, port, patient.wish.patience) {
        return Finding::not_ok(
            format!("{place}: {why}"),
            format!("{PROXY}.host and {PROXY}.port: a proxy that listens there"),
        );
    }
    ask_all(patient);
    let refused = patient.servers.iter().find_map(|server| {
        let asked = server.asked.as_ref()?;
        let status = asked.seen.as_ref().and_then(|s| s.status.as_ref().ok());
        let words = asked.failure.as_ref().map_or("", |f| f.why.as_str());
        let denied = status == Some(&407) || words.contains("proxy auth");
        let tunnel = words.contains("tunnel") || words.contains("proxy");
        match (denied, tunnel) {
            (true, _) => Some(format!("{place} wants a name and a password")),
            (_, true) => Some(format!("{place}: {words}")),
            _ => None,
        }
    });
    match refused {
        Some(words) => Finding::not_ok(
            words,
            format!("{PROXY}.user and {PROXY}.password, and what the proxy lets through"),
        ),
        None => Finding::ok(format!("{place} takes connections")),
    }
}

/// Whether the names of AM's servers have addresses.
pub(crate) fn dns(patient: &mut Patient) -> Finding {
    if patient
        .config()
        .is_some_and(|c| c.forward_proxy_host.is_some())
    {
        return Finding::not_needed("the proxy looks names up");
    }
    let mut looks = Vec::new();
    for at in 0..patient.servers.len() {
        let (host, port) = (patient.servers[at].host.clone(), patient.servers[at].port);
        let found = look_up(patient, &host, port);
        looks.push(match &found {
            Ok(addresses) => {
                let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                Finding::ok(format!("{host} is {}", list.join(", ")))
            }
            Err(why) => Finding::not_ok(
                format!("{host}: {why}"),
                format!(
                    "correct the name in {NAMING}, or this machine's name service; \
                     com.forgerock.agents.config.hostmap gives it an address"
                ),
            ),
        });
        patient.servers[at].addresses = found;
    }
    either(looks)
}

fn look_up(patient: &Patient, host: &str, port: u16) -> Result<Vec<IpAddr>, String> {
    let mapped = patient.config().and_then(|config| {
        let entry = config
            .hostmap
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(host));
        entry.and_then(|(_, address)| address.parse().ok())
    });
    if let Some(address) = mapped {
        return Ok(vec![address]);
    }
    let found =
        patient.wait(async { timeout(patient.wish.patience, lookup_host((host, port))).await });
    match found {
        Ok(Ok(addresses)) => {
            let mut all: Vec<IpAddr> = addresses.map(|a| a.ip()).collect();
            all.dedup();
            match all.is_empty() {
                true => Err("the name has no address".into()),
                false => Ok(all),
            }
        }
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("the name service does not answer".into()),
    }
}

/// Whether something listens there.
pub(crate) fn tcp(patient: &mut Patient) -> Finding {
    if patient
        .config()
        .is_some_and(|c| c.forward_proxy_host.is_some())
    {
        return Finding::not_needed("the proxy connects");
    }
    let time = patient.wish.patience;
    let look = |server: &Server| {
        let (host, port) = (&server.host, server.port);
        let Ok(addresses) = &server.addresses else {
            return Finding::skipped(format!("{host}: its address is not known"));
        };
        match connect(addresses, port, time) {
            Ok(address) => Finding::ok(format!("{host}: {address} takes connections")),
            Err(why) => Finding::not_ok(
                format!("{host}:{port}: {why}"),
                format!(
                    "{NAMING}: host and port of an AM that runs, and a firewall that lets this machine there"
                ),
            ),
        }
    };
    let looks = patient.servers.iter().map(look).collect();
    either(looks)
}

fn connect(addresses: &[IpAddr], port: u16, time: Duration) -> Result<SocketAddr, String> {
    let mut why = String::from("no address");
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        match TcpStream::connect_timeout(&address, time) {
            Ok(_) => return Ok(address),
            Err(e) => why = format!("{address}: {e}"),
        }
    }
    Err(why)
}

/// Asks every server about itself, once.
fn ask_all(patient: &mut Patient) {
    for at in 0..patient.servers.len() {
        if patient.servers[at].asked.is_some() {
            continue;
        }
        let url = Some(patient.servers[at].url.clone());
        let Some(am) = patient.client(Instead {
            url,
            ..Instead::default()
        }) else {
            continue;
        };
        let _ = patient.witness().take_shown();
        let info = patient.wait(async { am.server_info(patient.call()).await });
        patient.servers[at].asked = Some(Asked {
            info,
            failure: am.last_failure(),
            seen: patient.witness().last(),
            shown: patient.witness().take_shown(),
        });
    }
}

/// Whether AM proves who it is.
pub(crate) fn tls(patient: &mut Patient) -> Finding {
    if patient.servers.iter().all(|s| !s.https) {
        return Finding::not_needed("AM is reached by http").vendor("no https naming.url");
    }
    ask_all(patient);
    let looks = patient
        .servers
        .iter()
        .filter(|s| s.https)
        .map(|server| {
            let found = tls_of(server);
            let seen = server.asked.as_ref().and_then(|a| a.seen.as_ref());
            found.curl(seen.map(|seen| patient.curl_of(seen)))
        })
        .collect();
    either(looks)
}

fn tls_of(server: &Server) -> Finding {
    let place = format!("{}:{}", server.host, server.port);
    let Some(asked) = &server.asked else {
        return Finding::skipped(format!("{place}: was not asked"));
    };
    let chain = certificates::described(&asked.shown.chain);
    match &asked.failure {
        Some(failure) if failure.cause == Cause::Tls => Finding::not_ok(
            format!("{place}: {}", failure.why),
            remedy_of_tls(&failure.why),
        )
        .all(chain),
        Some(failure) if asked.shown.version.is_none() && asked.info.is_err() => Finding::not_ok(
            format!("{place}: {}", failure.why),
            format!("{NAMING}: a port that speaks TLS"),
        ),
        _ => {
            let version = asked.shown.version.unwrap_or("TLS");
            Finding::ok(format!("{place}: {version}")).all(chain)
        }
    }
}

/// By the words of the TLS library.
fn remedy_of_tls(why: &str) -> &'static str {
    let says = |word: &str| why.to_ascii_lowercase().contains(word);
    if says("expired") {
        "AM's certificate has expired: renew it; or this machine's clock is wrong"
    } else if says("notvalidyet") || says("not valid yet") {
        "AM's certificate is not valid yet: look at this machine's clock"
    } else if says("unknownissuer") || says("unknown issuer") || says("badsignature") {
        "com.forgerock.agents.config.cert.ca.file: a PEM file with the authority of AM's certificate; \
         AM has to send the authorities in between"
    } else if says("notvalidforname") || says("not valid for name") {
        "com.sun.identity.agents.config.naming.url: the name that AM's certificate has"
    } else if says("certificaterequired") || says("certificate required") {
        "com.forgerock.agents.config.cert.file and .cert.key: AM wants a certificate of the agent"
    } else if says("protocolversion")
        || says("protocol version")
        || says("handshake")
        || says("incompatible")
    {
        "org.forgerock.agents.config.tls and com.forgerock.agents.config.ciphers: versions and ciphers that \
         AM has as well"
    } else if says("corrupt") || says("invalidcontenttype") {
        "com.sun.identity.agents.config.naming.url: what listens there does not speak TLS; http:// or another port"
    } else {
        "com.forgerock.agents.config.cert.ca.file, org.forgerock.agents.config.tls"
    }
}

/// Whether it is AM that answers.
pub(crate) fn am(patient: &mut Patient) -> Finding {
    ask_all(patient);
    let mut selected = false;
    let looks = patient
        .servers
        .iter()
        .map(|server| {
            let found = answer_of(server);
            let seen = server.asked.as_ref().and_then(|a| a.seen.as_ref());
            let mut found = found.curl(seen.map(|seen| patient.curl_of(seen)));
            if found.open && !selected {
                selected = true;
                found = found.vendor(format!("selected {} as naming.url value", server.url));
            }
            found
        })
        .collect();
    either(looks)
}

fn answer_of(server: &Server) -> Finding {
    let url = &server.url;
    let Some(asked) = &server.asked else {
        return Finding::skipped(format!("{url}: was not asked"));
    };
    let status = asked.seen.as_ref().and_then(|s| s.status.clone().ok());
    let words = asked.seen.as_ref().and_then(|s| s.message());
    let words = words.map(|w| format!(": {w}")).unwrap_or_default();
    match (&asked.info, status) {
        (Ok(info), _) => Finding::ok(format!("{url}: AM, whose cookie is {}", info.cookie_name)),
        (Err(AmError::Unavailable(Cause::Tls)), _) => {
            Finding::skipped(format!("{url}: no TLS connection"))
        }
        (Err(_), Some(status)) => {
            let (cause, remedy) = match status {
                200 => (
                    "the answer is not AM's",
                    format!("{NAMING}: the address of AM itself, with its deployment path"),
                ),
                300..=399 => (
                    "redirects, which the agent does not follow",
                    format!("{NAMING}: the address that it leads to, if that is AM"),
                ),
                400 => (
                    "AM does not take this name for its own",
                    format!(
                        "{NAMING}: AM's fully qualified name (com.forgerock.agents.config.hostmap can give it another address)"
                    ),
                ),
                401 | 403 | 407 => (
                    "something before AM wants to know who asks",
                    format!("the rules of the proxy before AM, or {NAMING} around it"),
                ),
                404 => (
                    "there is no AM below this path",
                    format!("{NAMING}: AM's deployment path, such as /openam or /am"),
                ),
                _ => (
                    "AM or the proxy before it is broken",
                    "AM's own log, and the proxy's".to_owned(),
                ),
            };
            Finding::not_ok(format!("{url}: HTTP {status}, {cause}{words}"), remedy)
        }
        (Err(error), None) => {
            let why = asked
                .failure
                .as_ref()
                .map_or(error.to_string(), |f| f.why.clone());
            Finding::not_ok(
                format!("{url}: {why}"),
                format!(
                    "{NAMING}, and whether AM answers others; com.sun.identity.agents.config.receive.timeout is how long the agent waits"
                ),
            )
        }
    }
}

/// Whether our clock and AM's agree.
pub(crate) fn clock(patient: &mut Patient) -> Finding {
    let Some(seen) = patient
        .selected()
        .and_then(|s| s.asked.as_ref()?.seen.clone())
    else {
        return Finding::skipped("AM did not answer");
    };
    let curl = Some(patient.curl_of(&seen));
    let date = seen.header("date").map(str::to_owned);
    let theirs = date
        .as_deref()
        .and_then(|text| OffsetDateTime::parse(text, &Rfc2822).ok());
    let Some(theirs) = theirs else {
        return Finding::not_needed("AM does not say what time it is (no Date header)").curl(curl);
    };
    let ours = seen
        .at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    let ahead = ours.saturating_sub(theirs.unix_timestamp());
    let evidence = match ahead {
        0 => "both clocks say the same".to_owned(),
        ahead if ahead > 0 => format!("this machine's clock is {ahead} s ahead of AM's"),
        behind => format!("this machine's clock is {} s behind AM's", -behind),
    };
    match ahead.abs() <= SKEW {
        true => Finding::ok(evidence),
        false => Finding::not_ok(
            evidence,
            "set both clocks by a time server (NTP): tokens live for seconds",
        )
        .go_on(),
    }
    .curl(curl)
}
