//! Which checks are there, in which order, and what rests on what?

use super::{
    agent, bypass,
    check::{Check, Vendor},
    exposure, files, host, notifications, policy, route, running, workers,
};

const CONFIGURED: &[&str] = &["configuration", "secrets"];

/// All checks, in the order in which they run.
pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "files",
        vendor: Some(Vendor::Bootstrap),
        needs: &[],
        question: "Are agent.conf, agent-key.conf and agent-password.conf there, and only for those who may read them?",
        remedy: "The file that is named, its mode and its owner: agent-key.conf and agent-password.conf 0600, nothing that everybody can write.",
        run: files::files,
    },
    Check {
        id: "secrets",
        vendor: Some(Vendor::Bootstrap),
        needs: &["files"],
        question: "Does the key open the passwords, and are they no placeholders?",
        remedy: "`agentadmin --k` makes a key, `agentadmin --p` encrypts a password with it.",
        run: files::secrets,
    },
    Check {
        id: "configuration",
        vendor: Some(Vendor::Bootstrap),
        needs: &["files"],
        question: "Does the module take agent.conf and the environment as they are?",
        remedy: "The line and the property that are named. The environment is the one of agentadmin; the web server may have another.",
        run: files::configuration,
    },
    Check {
        id: "password",
        vendor: None,
        needs: CONFIGURED,
        question: "Is the agent's password long and random? Every user of dialect A holds a message that it can be guessed with.",
        remedy: "A random password of 32 characters in the agent's profile, and in agent-password.conf.",
        run: files::password,
    },
    Check {
        id: "folders",
        vendor: Some(Vendor::Resources),
        needs: CONFIGURED,
        question: "Are the folders there that workers write to, and not for everybody?",
        remedy: "The folder that is named; `agentadmin --s … --changeOwner` gives them to the workers' user.",
        run: files::folders,
    },
    Check {
        id: "memory",
        vendor: Some(Vendor::Resources),
        needs: &[],
        question: "May the shared tables have the memory that they may fill?",
        remedy: "`AM_MAX_SESSION_CACHE_SIZE`, or the limit of the container or unit.",
        run: host::memory,
    },
    Check {
        id: "tls.settings",
        vendor: Some(Vendor::Ssl),
        needs: CONFIGURED,
        question: "Can a client be made of the settings for TLS: CA file, certificate, ciphers, versions?",
        remedy: "`com.forgerock.agents.config.cert.*`, `com.forgerock.agents.config.ciphers`, `org.forgerock.agents.config.tls`.",
        run: files::tls_settings,
    },
    Check {
        id: "tls.trust",
        vendor: None,
        needs: CONFIGURED,
        question: "Is AM's certificate verified?",
        remedy: "`com.sun.identity.agents.config.trust.server.certs = false`.",
        run: files::tls_trust,
    },
    Check {
        id: "proxy",
        vendor: Some(Vendor::Bootstrap),
        needs: &["configuration", "secrets", "tls.settings"],
        question: "Does the configured forward proxy take connections, and let the agent through?",
        remedy: "`com.sun.identity.agents.config.forward.proxy.*`, and the proxy's own rules.",
        run: route::proxy,
    },
    Check {
        id: "dns",
        vendor: Some(Vendor::Bootstrap),
        needs: &["proxy"],
        question: "Have the names in naming.url an address?",
        remedy: "`com.sun.identity.agents.config.naming.url`, the name service, or `com.forgerock.agents.config.hostmap`.",
        run: route::dns,
    },
    Check {
        id: "tcp",
        vendor: Some(Vendor::Bootstrap),
        needs: &["dns"],
        question: "Does anything listen there?",
        remedy: "Host and port in `com.sun.identity.agents.config.naming.url`, firewalls; SELinux: `httpd_can_network_connect`.",
        run: route::tcp,
    },
    Check {
        id: "tls",
        vendor: Some(Vendor::Ssl),
        needs: &["tcp"],
        question: "Does AM prove who it is: authority, name, dates, version?",
        remedy: "Unknown authority: `com.forgerock.agents.config.cert.ca.file`. Expired: AM's certificate. Wrong name: `naming.url`. Versions: `org.forgerock.agents.config.tls`.",
        run: route::tls,
    },
    Check {
        id: "am",
        vendor: Some(Vendor::Bootstrap),
        needs: &["tls"],
        question: "Is it AM that answers below naming.url?",
        remedy: "`com.sun.identity.agents.config.naming.url`: AM's own name, port and deployment path.",
        run: route::am,
    },
    Check {
        id: "clock",
        vendor: Some(Vendor::Login),
        needs: &["am"],
        question: "Are this machine's clock and AM's within 60 s?",
        remedy: "A time server for both. A login of dialect A lives 4 s.",
        run: route::clock,
    },
    Check {
        id: "cookie.name",
        vendor: Some(Vendor::WebSocket),
        needs: &["am"],
        question: "Is AM's cookie called as the agent calls it?",
        remedy: "`com.sun.identity.agents.config.cookie.name`. A WebSocket asked for under a wrong name gets 401; 404 means that AM was not reached at all.",
        run: agent::cookie_name,
    },
    Check {
        id: "realm",
        vendor: Some(Vendor::Login),
        needs: &["am"],
        question: "Has AM the realm of the agent's profile?",
        remedy: "`com.sun.identity.agents.config.organization.name`.",
        run: agent::realm,
    },
    Check {
        id: "login",
        vendor: Some(Vendor::Login),
        needs: &["realm"],
        question: "Does AM let the agent in?",
        remedy: "401: name, password or realm of the profile, or it is inactive; AM does not say which. 400: AM does not know this way in: `portcullis.am.dialect`. 403: a proxy before AM.",
        run: agent::login,
    },
    Check {
        id: "profile",
        vendor: Some(Vendor::Login),
        needs: &["login", "cookie.name"],
        question: "Is the profile that of a web agent, and active?",
        remedy: "Type and status of the profile in AM.",
        run: agent::profile,
    },
    Check {
        id: "configuration.in.force",
        vendor: None,
        needs: &["profile"],
        question: "Do agent.conf and the profile in AM make a configuration together?",
        remedy: "The property that is named, where it stands.",
        run: agent::in_force,
    },
    Check {
        id: "policy.realm",
        vendor: None,
        needs: &["configuration.in.force"],
        question: "Has AM the realms that policies are looked for in, and may the agent ask?",
        remedy: "`org.forgerock.openam.agents.config.policy.evaluation.realm`.",
        run: policy::realm,
    },
    Check {
        id: "policy.set",
        vendor: None,
        needs: &["policy.realm"],
        question: "Has AM the policy sets?",
        remedy: "`org.forgerock.openam.agents.config.policy.evaluation.application`.",
        run: policy::set,
    },
    Check {
        id: "session",
        vendor: Some(Vendor::Session),
        needs: &["profile"],
        question: "Does AM show the agent the session of the given user, and does it count here?",
        remedy: "The user's name, password and realm; `portcullis.session.realms`.",
        run: policy::session,
    },
    Check {
        id: "websocket",
        vendor: Some(Vendor::WebSocket),
        needs: &["profile"],
        question: "Does AM open a WebSocket for the agent?",
        remedy: "By the status, see below.",
        run: notifications::upgrade,
    },
    Check {
        id: "notifications",
        vendor: Some(Vendor::WebSocket),
        needs: &["websocket"],
        question: "Does an event come, such as the end of a session? A second session of the agent itself is ended for that.",
        remedy: "`org.forgerock.openam.notifications.agents.enabled` among AM's server properties; proxies that collect messages.",
        run: notifications::news,
    },
    Check {
        id: "urls",
        vendor: None,
        needs: &["configuration.in.force"],
        question: "Do the addresses that browsers come back to, cookie domain, SameSite and scheme agree?",
        remedy: "`com.sun.identity.agents.config.cookie.secure`, `com.forgerock.agents.cdsso.cookie.samesite`, `com.sun.identity.agents.config.cdsso.cookie.domain`, `com.sun.identity.agents.config.fqdn.default`.",
        run: exposure::urls,
    },
    Check {
        id: "farm.key",
        vendor: None,
        needs: CONFIGURED,
        question: "Is the key the one that the other nodes of the farm have?",
        remedy: "`com.sun.identity.agents.config.key` in agent-key.conf.",
        run: exposure::farm_key,
    },
    Check {
        id: "mode",
        vendor: None,
        needs: CONFIGURED,
        question: "Are decisions carried out?",
        remedy: "`portcullis.mode = enforce`.",
        run: exposure::report_mode,
    },
    Check {
        id: "outage",
        vendor: None,
        needs: CONFIGURED,
        question: "What counts while AM is away?",
        remedy: "Nothing has to be done: this check only tells.",
        run: exposure::outage,
    },
    Check {
        id: "exemptions",
        vendor: None,
        needs: CONFIGURED,
        question: "Does an exemption or a logout page cover everything?",
        remedy: "`com.sun.identity.agents.config.notenforced.url`, `com.sun.identity.agents.config.agent.logout.url`.",
        run: exposure::exemptions,
    },
    Check {
        id: "bypass",
        vendor: None,
        needs: &[],
        question: "nginx: does a `return` give something away before the agent is asked?",
        remedy: "nginx.conf: a file or a back end in place of `return` with a text, or `openam_agent off` where it is meant for everybody. `return` and `rewrite` that only send elsewhere or refuse are named.",
        run: bypass::bypass,
    },
    Check {
        id: "module",
        vendor: None,
        needs: &[],
        question: "Does the web server run with the module that is installed?",
        remedy: "Stop and start the web server: a reload keeps the old module.",
        run: running::version,
    },
    Check {
        id: "shared.memory",
        vendor: None,
        needs: &[],
        question: "Can the memory of the web server that runs be read, and does what it learns stay there until it expires?",
        remedy: "Another layout: stop and start the web server, or use the agentadmin of its version. Too small: `AM_MAX_SESSION_CACHE_SIZE` in the environment of the web server; docs/sizing.md.",
        run: running::shared_memory,
    },
    Check {
        id: "workers",
        vendor: None,
        needs: CONFIGURED,
        question: "May the user that the workers of the web server that runs have write to the folders that they make files in? By owner and mode.",
        remedy: "The folder that is named; `agentadmin --s … --changeOwner` gives them to the workers' user.",
        run: workers::write_access,
    },
    Check {
        id: "worker",
        vendor: Some(Vendor::Worker),
        needs: &["profile"],
        question: "Does a worker start, get its configuration, and end? Asked with `--Vi` and `doctor --worker` only; no web server may run with the instance.",
        remedy: "What its lines say; they are those of the web server's error log.",
        run: running::worker,
    },
];

/// `docs/doctor.md`.
pub(crate) fn documentation() -> String {
    let mut text = String::from(HEAD);
    for check in CHECKS {
        let vendor = check.vendor.map_or("", Vendor::name);
        let needs = match check.needs {
            [] => "nothing".to_owned(),
            needs => needs.join(", "),
        };
        text.push_str(&format!(
            "### {}\n\n{}\n\n* Rests on: {needs}.\n",
            check.id, check.question
        ));
        if !vendor.is_empty() {
            text.push_str(&format!("* Part of: `{vendor}`.\n"));
        }
        text.push_str(&format!("* When it is not ok: {}\n\n", check.remedy));
    }
    text.push_str(STATUSES);
    text.push_str(&notifications::by_status());
    text
}

const HEAD: &str = "\
# What is wrong with an installation?

```sh doctor
agentadmin doctor agent_1
agentadmin doctor agent_1 --json
agentadmin doctor agent_1 --user demo --password-file /etc/demo.password --realm /
agentadmin --V agent_1
```

While no web server runs with the instance, `--Vi` also starts a worker and ends it:

```sh doctor_worker
agentadmin --Vi agent_1
```

`doctor` asks one question after the other with the module's own code: the same reader of configurations, the same client
with the same settings for TLS and the proxy, the same names and addresses. A check is *ok*, *not ok* or *skipped*, the last
where a check that it rests on is not ok or where the question does not arise. One that is not ok shows what was seen,
what mends it, and a command for a shell that asks the same; secrets are variables in it (`$PASSWORD`, `$AGENT_TOKEN`).

`--V` has the same answers in the form of the Web Agent: its seven lines, each for several checks. What the Web Agent does not
know, such as a mode that only reports, is in `doctor` alone.

The exit code is 0 when no check is not ok, 3 when one is, 1 when the instance cannot be examined at all and 2 when the
command line is wrong.

Run it as the user that starts the web server, on the same machine: it reads the same files and takes the same way. It takes
the environment that it is started with; where the web server has another, set the same variables. `AM_NET_TIMEOUT` says how
many seconds AM has for one answer (4).

At AM it logs the agent in, and out again. A second session of the agent is begun and ended to see whether AM tells. With
`--user` that user is logged in and out. Nothing else is changed, there or here, but for one file `validate_*.log` in
`logs` of the instance, mode 0600, with every exchange. In it are only what an allow-list names: headers, parameters and
texts that are no secret; everything else is `***`.

`doctor --key FINGERPRINT` compares the key with the fingerprint that `doctor` shows on another node of the farm.

```sh doctor
agentadmin doctor agent_1 --bundle /root/agent_1.json
```

This also writes what was found to a new file, mode 0600, for somebody who helps: with the properties that are
set, of which only switches, numbers and words of a list show their value, and with a digest in place of the user's name.
Names of machines and paths are in it. No log is in it; with `--no-logs` the file `validate_*.log` is not written either, so
that no exchange is kept on the machine.

This page is made from the code.

## The checks

";

const STATUSES: &str = "\
## What a WebSocket gets in place of 101

With a status other than 101 `doctor` asks once more with a token that nobody has. AM's notification filter answers that with
401; any other answer comes from whatever is in its place.

| status | cause | where to look |
| --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_rest_on_earlier_ones_only() {
        for (at, check) in CHECKS.iter().enumerate() {
            let earlier = |need: &&str| CHECKS[..at].iter().any(|c| c.id == *need);
            assert!(check.needs.iter().all(earlier), "{}", check.id);
            assert!(check.question.ends_with(['?', '.']) && check.remedy.ends_with('.'));
            assert_eq!(CHECKS.iter().filter(|c| c.id == check.id).count(), 1);
        }
    }

    #[test]
    fn the_documentation_is_made_from_the_table() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(file, documentation()).unwrap();
        }
        let text = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            text == documentation(),
            "docs/doctor.md: BLESS=1 writes it anew"
        );
    }
}
