//! Rows about the agent's own identity, the way to AM, and where the configuration comes from.

use alloc::string::String;

use super::{From, Kind::*, Property, idle, nothing, works};
use crate::config::{AgentAuth, Dialect, Level, Repository, tls, web};

#[rustfmt::skip]
pub(super) const PROFILE: &[Property] = &[
    works("com.sun.identity.agents.config.username", Text, "", "4.x",
        "Name of the agent's profile in AM. The agent logs in with it, and ID tokens must be made out to it.",
        |c, v| v.checked(&mut c.username, agent_name, "is no profile name", "write the name as AM has it, without quotes or white space"))
        .boot().template("AM_AGENT_NAME").test("fifteen_mistakes_are_named_at_once"),
    works("com.sun.identity.agents.config.organization.name", Text, "/", "4.x",
        "Realm of that profile, with the case that AM shows.",
        |c, v| v.realm(&mut c.organization_name)).boot().template("AM_AGENT_REALM").test("logins_happen_in_the_agents_realm"),
    works("com.sun.identity.agents.config.password", Secret, "", "4.x",
        "The agent's password, encrypted with the key below; kept in agent-password.conf. Made with `agentadmin --p`.",
        nothing).boot().test("a_password_comes_back_with_its_key_only"),
    works("com.sun.identity.agents.config.key", Secret, "", "4.x",
        "Base64 of 32 random bytes in agent-key.conf: the root of all keys of this agent. Made with `agentadmin --k`; nodes of a farm share it.",
        nothing).boot().test("the_key_file_holds_32_bytes"),
    works("portcullis.key.previous", Secret, "", "own",
        "The key of before the last `agentadmin --k --rotate`, in agent-key.conf, a space, and until when cookies that it sealed count, such as 2027-01-31T12:00:00Z. Without the line they end at once.",
        nothing).boot().test("a_new_key_ends_nobodys_session"),
    idle("com.sun.identity.agents.config.key.cache.disable", Switch, "false", "2023.6",
        "Read the key again for each use.",
        "the parent process reads the key once and workers get derived keys only").boot(),
    works("sunIdentityServerDeviceKeyValue", List, "", "4.x",
        "Root URLs of the agent, with their ports. AM accepts return addresses below them only; the agent redirects to their hosts.",
        |c, v| v.root_urls(&mut c.root_urls)).template("agentRootURL=AM_AGENT_URL").test("a_host_that_is_not_named_leads_to_the_default_one"),
];

fn agent_name(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || "\"'<>&/,=+".contains(c))
}

#[rustfmt::skip]
pub(super) const CONNECTION: &[Property] = &[
    works("com.sun.identity.agents.config.naming.url", Text, "", "4.x",
        "AM's URLs, separated by spaces. The first that answers serves until it fails.",
        |c, v| v.bases(&mut c.naming_url)).boot().template("AM_OPENAM_URL")
        .test("fifteen_mistakes_are_named_at_once"),
    works("com.sun.identity.agents.config.connect.timeout", Number, "4", "4.x",
        "Seconds that connecting to AM may take.",
        |c, v| v.number(&mut c.connect_timeout, 1, 3600, "seconds")).boot()
        .test("a_connection_that_am_does_not_take_is_given_up"),
    works("com.sun.identity.agents.config.receive.timeout", Number, "4", "5.5",
        "Seconds that an answer of AM may take.",
        |c, v| v.number(&mut c.receive_timeout, 1, 3600, "seconds")).boot().test("a_server_that_starts_while_am_hangs_works_once_am_answers"),
    works("com.forgerock.agents.config.hostmap", List, "", "5.0",
        "Fixed addresses of AM's hosts, each host|address, in place of the resolver's.",
        |c, v| v.hostmap(&mut c.hostmap)).boot().test("a_visitor_logs_in_and_the_application_sees_who_it_is"),
    idle("org.forgerock.agents.config.connection.pool.enable", Switch, "true", "5.8",
        "Keep connections to AM open between calls.",
        "connections are always reused, within a fixed number").boot(),
    works("com.forgerock.agents.config.agent.auth.mode", Choice, "0", "2024.11",
        "How the agent logs in to ForgeRock AM and PingAM: 0 by the tree Agent, else by the module; 1 by the tree; 2 by the module. OpenAM has the module only.",
        |c, v| v.choice(&mut c.agent_auth, &[("0", AgentAuth::TreeThenModule), ("1", AgentAuth::Tree), ("2", AgentAuth::Module)]))
        .boot().test("the_agent_logs_in_by_tree_or_by_module"),
    works("portcullis.am.dialect", Choice, "openam", "own",
        "What AM is: openam (14 to 16), or pingam (PingAM, and ForgeRock AM from 6.5). It decides how logins are verified, and is never guessed.",
        |c, v| v.choice(&mut c.dialect, &[("openam", Dialect::OpenAm), ("pingam", Dialect::PingAm)]))
        .boot().test("a_user_of_pingam_logs_in"),
];

#[rustfmt::skip]
pub(super) const TLS: &[Property] = &[
    works("com.sun.identity.agents.config.trust.server.certs", Switch, "false", "4.x",
        "true accepts any certificate of AM, and each start warns of it. Unlike with other agents, leaving it out verifies.",
        |c, v| {
            v.switch(&mut c.trust_server_certs);
            if let (true, Some(line)) = (c.trust_server_certs, v.last()) {
                v.warn(line, "lets anybody on the network pose as AM, because no certificate is verified",
                    "set it to false and name AM's authority in com.forgerock.agents.config.cert.ca.file");
            }
        }).boot().template("false").test("unverified_tls_is_honoured_with_a_warning"),
    works("com.forgerock.agents.config.cert.ca.file", Text, "", "4.x",
        "PEM file with the certificates that AM's one is verified with; without it the system's are used.",
        |c, v| v.optional(&mut c.cert_ca_file)).boot().template("AM_SSL_CA").test("tls_verifies_unless_it_is_told_not_to"),
    works("com.forgerock.agents.config.cert.file", Text, "", "4.x",
        "PEM file with the certificate that the agent shows to AM, and those above it. Read by the parent process, at start.",
        |c, v| v.optional(&mut c.cert_file)).boot().test("a_client_certificate_opens_the_way_to_am"),
    works("com.forgerock.agents.config.cert.key", Text, "", "4.x",
        "PEM file with the key of that certificate, readable by its owner only. An encrypted one is PKCS#8 with PBES2, as `openssl pkcs8 -topk8` writes it.",
        |c, v| v.optional(&mut c.cert_key)).boot().test("a_client_certificate_opens_the_way_to_am"),
    works("com.forgerock.agents.config.cert.key.password", Secret, "", "4.x",
        "Encrypted pass phrase of that key; kept in agent-password.conf. Made with `agentadmin --p`.",
        nothing).boot().test("a_client_certificate_opens_the_way_to_am"),
    works("com.forgerock.agents.config.ciphers", Text, "", "4.x",
        "Ciphers offered to AM, in OpenSSL's words, separated by colons; without it all that there are: ECDHE with AES-GCM or ChaCha20, and those of TLS 1.3. Others are named at start.",
        |c, v| tls::ciphers(&mut c.ciphers, v)).boot().test("only_ciphers_that_there_are_can_be_chosen"),
    works("org.forgerock.agents.config.tls", Text, "-TLSv1 -TLSv1.1", "4.x",
        "Protocol versions not to use towards AM: -TLSv1.2 or -TLSv1.3. Versions before 1.2 are never used.",
        |c, v| tls::versions(&mut c.tls_versions, v)).boot().test("versions_that_are_off_are_not_spoken"),
    works("org.forgerock.agents.config.cert.verify.depth", Number, "9", "4.x",
        "Longest chain of authorities above AM's certificate, the one that is trusted included. What the server sends beyond is ignored, and more than seven are never followed.",
        |c, v| v.number(&mut c.cert_verify_depth, 1, 100, "authorities")).boot().test("a_chain_is_followed_no_further_than_allowed"),
    works("org.forgerock.agents.config.tls.keylog.enable", Switch, "false", "2024.9",
        "Write the secrets of TLS connections to the file that the environment variable AM_SSL_KEYLOG_FILE names, for tracing. Each start warns of it.",
        |c, v| {
            v.switch(&mut c.tls_keylog);
            if let (true, Some(line)) = (c.tls_keylog, v.last()) {
                v.warn(line, "lets whoever reads AM_SSL_KEYLOG_FILE read everything that the agent and AM say, passwords too",
                    "set it to false when the trace is done");
            }
        }).boot().from(From::File).test("the_secrets_of_connections_are_written_only_when_asked"),
    idle("com.forgerock.agents.config.plain.channels.insecure", Switch, "false", "5.7",
        "Take cookies marked Secure that AM sends over plain HTTP.",
        "the agent keeps no cookies of AM").boot(),
    idle("com.forgerock.agents.config.win.clientcert.friendly.name", Text, "", "2025.6",
        "Windows' name of the certificate that the agent shows to AM.", "it concerns Windows only").boot(),
    idle("org.forgerock.agents.config.secure.channel.disable", Switch, "false", "4.x",
        "On Windows, use OpenSSL in place of Schannel.", "it concerns Windows only").boot(),
];

#[rustfmt::skip]
pub(super) const PROXY: &[Property] = &[
    works("com.sun.identity.agents.config.forward.proxy.host", Text, "", "4.x",
        "Proxy on the way to AM. Without it AM is asked directly, whatever HTTP_PROXY and its like say.",
        |c, v| {
            let mut host = String::new();
            v.checked(&mut host, web::is_host, "is no host name", "write a name or an IPv4 address, without scheme and port");
            if !host.is_empty() {
                c.forward_proxy_host = Some(host);
            }
        }).boot().test("am_is_asked_through_the_configured_proxy"),
    works("com.sun.identity.agents.config.forward.proxy.port", Number, "", "4.x",
        "Its port.",
        |c, v| v.number(&mut c.forward_proxy_port, 1, 65_535, "a port")).boot().test("am_is_asked_through_the_configured_proxy"),
    works("com.sun.identity.agents.config.forward.proxy.user", Text, "", "4.x",
        "User name for the proxy, sent with HTTP Basic.",
        |c, v| v.optional(&mut c.forward_proxy_user)).boot().test("am_is_asked_through_the_configured_proxy"),
    works("com.sun.identity.agents.config.forward.proxy.password", Secret, "", "4.x",
        "Encrypted password for the proxy; kept in agent-password.conf. Made with `agentadmin --p`.",
        nothing).boot().test("am_is_asked_through_the_configured_proxy"),
];

#[rustfmt::skip]
pub(super) const CONFIGURATION: &[Property] = &[
    works("com.sun.identity.agents.config.repository.location", Choice, "centralized", "4.x",
        "centralized: run-time properties come from the profile in AM. local: everything comes from agent.conf.",
        |c, v| v.choice(&mut c.repository, &[("centralized", Repository::Centralized), ("local", Repository::Local)]))
        .boot().template("centralized").test("local_mode_does_not_listen_to_am"),
    works("com.sun.identity.agents.config.polling.interval", Number, "60", "4.x",
        "Minutes after which the profile is read from AM again, and agent.conf, unless portcullis.config.reload.seconds says otherwise.",
        |c, v| v.number(&mut c.polling_interval, 1, 525_600, "minutes"))
        .test("a_changed_profile_counts_after_its_interval"),
    works("com.sun.identity.agents.config.notification.enable", Switch, "true", "4.x",
        "Hear from AM at once about ended sessions and changed policies and profiles.",
        |c, v| v.switch(&mut c.notifications)).boot().from(From::FileFirst).test("without_notifications_no_socket_is_opened"),
    idle("com.sun.identity.agents.config.change.notification.enable", Switch, "true", "4.x",
        "AM tells agents about changes of their profile.", "AM reads it, not the agent").test("what_changes_at_am_counts_at_once"),
    idle("com.forgerock.agents.config.use.during.update", Switch, "false", "4.x",
        "Go on with the old configuration while the new one is fetched.",
        "requests always use the old configuration until the new one is complete").boot().from(From::ProfileFirst),
    idle("com.forgerock.agents.session.cache.eventually.consistent", Switch, "0", "5.9",
        "Keep cached sessions over a change of the profile.",
        "what AM said of a session does not depend on the profile and is kept; decisions and attributes are asked for anew after each change"),
    works("org.forgerock.openam.agents.config.balance.websocket.connection.interval.in.minutes", Number, "30", "4.x",
        "Minutes after which the notification connection is opened anew, to spread agents over servers.",
        |c, v| v.number(&mut c.websocket_interval, 1, 525_600, "minutes")).boot().test("the_socket_moves_without_a_gap"),
    works("com.sun.identity.agents.config.debug.level", Choice, "error", "4.x",
        "How much the log says: error, warning, info or debug.",
        |c, v| v.choice(&mut c.debug_level, &[
            ("error", Level::Error), ("warning", Level::Warning), ("message", Level::Warning),
            ("info", Level::Info), ("debug", Level::Debug), ("all", Level::Debug),
        ])).boot().from(From::ProfileFirst).hot().template("error").test("the_log_says_as_much_as_its_level"),
    works("org.forgerock.openam.agents.config.jwt.name", Text, "am-auth-jwt", "4.x",
        "Name of the cookie that carries the agent's session.",
        |c, v| cookie_name(&mut c.jwt_name, v)).boot().template("am-auth-jwt").test("the_session_cookie_has_the_configured_name"),
];

fn cookie_name(to: &mut String, v: &mut crate::config::values::Values<'_>) {
    v.checked(
        to,
        usable_cookie_name,
        "cannot be the name of this cookie",
        "use letters, digits, - and _, and not agent-authn-tx",
    );
}

fn usable_cookie_name(text: &str) -> bool {
    web::is_token(text) && !text.contains("agent-authn-")
}
