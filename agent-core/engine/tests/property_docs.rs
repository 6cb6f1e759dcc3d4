//! The reference of properties, the installer's template and the file of another agent say what the table says.
//!
//! `BLESS=1 cargo test -p portcullis-engine --test property_docs` writes them anew.

use std::{env, fmt::Write, fs, io, path::PathBuf};

use portcullis_engine::config::{
    From, Kind, OUTSIDE, Outside, PROPERTIES, Place, Properties, Property, Reload, SECTIONS,
    Severity, Source, State, read,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a generated text with the file in the repository, or writes it.
fn same_as(path: &str, text: &str) -> io::Result<()> {
    let file = root().join(path);
    if env::var_os("BLESS").is_some() {
        return fs::write(&file, text);
    }
    let found = fs::read_to_string(&file)?;
    assert!(
        found == text,
        "{path} is not what the table says; run this test with BLESS=1"
    );
    Ok(())
}

fn kind(row: &Property) -> &'static str {
    match row.kind {
        Kind::Text => "text",
        Kind::Number => "number",
        Kind::Switch => "true or false",
        Kind::Choice => "one word",
        Kind::List => "list, `name[0]`, `name[1]`, ...",
        Kind::Map => "map, `name[key]`",
        Kind::Secret => "secret",
    }
}

fn place(row: &Property) -> &'static str {
    match row.from {
        From::File => "agent.conf",
        From::Profile => "profile",
        From::FileFirst => "agent.conf, otherwise profile",
        From::ProfileFirst => "profile, otherwise agent.conf",
    }
}

fn state(state: State) -> String {
    match state {
        State::Works => "works".to_string(),
        State::NoEffect(why) => format!("no effect: {why}"),
        State::RefusedUnlessDefault(why) => format!("refused unless it is the default: {why}"),
        State::NotYet => "not yet: read, without effect, and reported when set".to_string(),
    }
}

fn reference() -> String {
    let mut out = String::from(
        "# Properties\n\n\
         <!-- Made from the property table; do not edit. -->\n\n\
         A file holds one `name = value` a line; `#` begins a comment line. Names are compared with\n\
         case. Lists and maps have one line for each entry. An unknown name, a wrong value and a\n\
         value without effect are reported when the agent starts and by `agentadmin`.\n\n\
         *Where* names the source that counts with `repository.location = centralized`; in local\n\
         mode it is always `agent.conf`. A custom property of the profile beats the profile's own\n\
         field. *Since* is the release of the Web Agent that first had the property, OpenAM where\n\
         only the server knows it.\n",
    );
    let count = |f: fn(&State) -> bool| PROPERTIES.iter().filter(|p| f(&p.state)).count();
    let _ = write!(
        out,
        "\n{} properties: {} work, {} have no effect here, {} must keep their default, {} are not \
         supported yet.\n",
        PROPERTIES.len(),
        count(|s| matches!(s, State::Works)),
        count(|s| matches!(s, State::NoEffect(_))),
        count(|s| matches!(s, State::RefusedUnlessDefault(_))),
        count(|s| matches!(s, State::NotYet)),
    );
    for (title, rows) in SECTIONS {
        let _ = write!(out, "\n## {title}\n");
        for row in *rows {
            describe(&mut out, row);
        }
    }
    out
}

fn describe(out: &mut String, row: &Property) {
    let default = match row.default {
        "" => "unset".to_string(),
        text => format!("`{}`", text.replace('|', "\\|")),
    };
    let reload = match row.reload {
        Reload::HotSwap => "while running",
        Reload::Restart => "after a restart",
    };
    let _ = write!(out, "\n### {}\n\n{}\n\n", row.name, row.doc);
    let _ = writeln!(out, "* Value: {}; default: {default}", kind(row));
    let _ = writeln!(
        out,
        "* Where: {}; changes count {reload}; since {}",
        place(row),
        row.since
    );
    if !row.aliases.is_empty() {
        let _ = writeln!(out, "* Also called: {}", row.aliases.join(", "));
    }
    let _ = writeln!(out, "* State: {}", state(row.state));
}

fn template() -> String {
    let mut out = String::from(
        "# Configuration of one agent instance. Comments begin with # in front of a line.\n\
         # docs/properties.md explains every property. The agent's password and key are in\n\
         # agent-password.conf and agent-key.conf beside this file.\n\n\
         # --- Needed before AM can be asked; a change needs a restart of the web server\n",
    );
    for row in PROPERTIES.iter().filter(|r| r.bootstrap && shown(r)) {
        let value = row.template.unwrap_or(row.default);
        let off = if row.template.is_some() { "" } else { "#" };
        let line = format!("{off}{} = {value}", row.name);
        let _ = write!(out, "\n# {}\n{}\n", row.doc, line.trim_end());
    }
    out.push_str(
        "\n# --- With repository.location = local the rest counts here, otherwise in the profile in AM\n",
    );
    for row in PROPERTIES.iter().filter(|r| !r.bootstrap && shown(r)) {
        let value = row.template.unwrap_or(row.default);
        let index = match row.kind {
            Kind::List => "[0]",
            Kind::Map => "[key]",
            _ => "",
        };
        let line = format!("#{}{index} = {value}", row.name);
        let _ = write!(out, "\n# {}\n{}\n", row.doc, line.trim_end());
    }
    out
}

fn shown(row: &Property) -> bool {
    row.state == State::Works && row.kind != Kind::Secret
}

/// What the installer of the Web Agent 2024.3 writes where that is not what holds here without a line, nor what our own
/// installer asks for.
const THEIRS: &[(&str, &str)] = &[
    ("com.sun.identity.agents.config.trust.server.certs", "true"),
    ("com.sun.identity.agents.config.debug.level", "Error"),
    ("com.sun.identity.agents.config.polling.interval", "180"),
    (
        "com.sun.identity.agents.config.policy.cache.polling.interval",
        "60",
    ),
    (
        "com.sun.identity.agents.config.sso.cache.polling.interval",
        "60",
    ),
    (
        "com.sun.identity.agents.config.postcache.entry.lifetime",
        "180",
    ),
    ("com.sun.identity.agents.config.local.log.rotate", "true"),
    ("org.forgerock.agents.config.keepalive.disable", "true"),
    (
        "com.sun.identity.agents.config.userid.param.type",
        "session",
    ),
    (
        "com.sun.identity.agents.config.login.url",
        "AM_OPENAM_URL/UI/Login",
    ),
    (
        "com.sun.identity.agents.config.logout.url",
        "AM_OPENAM_URL/UI/Logout",
    ),
    (
        "com.sun.identity.agents.config.cdsso.cdcservlet.url",
        "AM_OPENAM_URL/cdcservlet",
    ),
    (
        "com.sun.identity.agents.config.agenturi.prefix",
        "AM_AGENT_URL/amagent",
    ),
    (
        "com.sun.identity.client.notification.url",
        "AM_AGENT_URL/UpdateAgentCacheServlet?shortcircuit=false",
    ),
    (
        "sunIdentityServerDeviceKeyValue",
        "agentRootURL=AM_AGENT_URL/",
    ),
];

/// Whether the Web Agent 2024.3 knows it. What only AM's schema has is in no file.
fn in_2024_3(row: &Property) -> bool {
    let mut parts = row.since.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(2024), minor) => minor.is_some_and(|minor| minor <= 3),
        (Some(release), _) => release < 2024,
        _ => false,
    }
}

/// An `agent.conf` with every property of the Web Agent 2024.3, in its notation. Its secrets stand in files beside it.
fn web_agent() -> String {
    let mut out = String::from(
        "# An agent.conf as the Web Agent 2024.3 has it, with each of its properties. Made from the property table; do\n\
         # not edit. The words that begin with AM_ are filled in by the tests that import it.\n",
    );
    for (title, boot) in [("Bootstrap properties", true), ("Other properties", false)] {
        let _ = write!(out, "\n#\n# {title}\n#\n");
        let known = PROPERTIES.iter().filter(|row| in_2024_3(row));
        for row in known.filter(|row| row.bootstrap == boot && row.kind != Kind::Secret) {
            let theirs = THEIRS.iter().find(|(name, _)| *name == row.name);
            let ours = row.template.unwrap_or(row.default);
            let value = theirs.map_or(ours, |(_, value)| value);
            // An empty list or map is written as AM writes it; a number that is not set cannot be written.
            let (off, index) = match (row.kind, value) {
                (Kind::List, _) => ("", "[0]"),
                (Kind::Map, "") => ("", "[]"),
                (Kind::Number, "") => ("#", ""),
                _ => ("", ""),
            };
            let line = format!("{off}{}{index} = {value}", row.name);
            let _ = write!(out, "\n# {}\n{}\n", row.name, line.trim_end());
        }
    }
    out
}

/// The reference of what is said outside of `agent.conf`.
fn environment() -> String {
    let mut out = String::from(
        "# Environment variables and directives\n\n\
         <!-- Made from the table in agent-core/engine/src/config/outside.rs; do not edit. -->\n\n\
         A variable that is set and cannot do what it says is named when the server starts. nginx hands its\n\
         environment to the process that reads the configuration as it is; it needs no `env` line for these but where it is said.\n",
    );
    for (title, place) in [
        ("Environment of the web server", Place::Server),
        ("Environment of agentadmin", Place::Tool),
        ("Directives of Apache httpd", Place::Httpd),
        ("Directives of nginx", Place::Nginx),
    ] {
        let _ = write!(
            out,
            "\n## {title}\n\n| name | what | default | state |\n| --- | --- | --- | --- |\n"
        );
        for row in OUTSIDE.iter().filter(|row| row.place == place) {
            let _ = writeln!(
                out,
                "| `{}` | {}{} | {} | {} |",
                row.name,
                row.doc,
                row.sets
                    .map(|p| format!(" Sets `{p}`."))
                    .unwrap_or_default(),
                if row.default.is_empty() {
                    "unset".to_owned()
                } else {
                    format!("`{}`", row.default)
                },
                state(row.state),
            );
        }
    }
    out
}

#[test]
fn the_reference_of_the_environment_says_what_its_table_says() -> io::Result<()> {
    same_as("docs/environment.md", &environment())
}

/// A directive has a row that says what the module does with it.
#[test]
fn the_modules_know_the_directives_that_their_table_says() -> io::Result<()> {
    let read = |file: &str| fs::read_to_string(root().join(file));
    let httpd =
        read("apache-module/portcullis_conf.c")? + &read("apache-module/portcullis_provider.c")?;
    let nginx = read("nginx-module/ngx_http_portcullis_module.c")?;
    let known = |row: &Outside, source: &str| {
        let word = row.name.strip_prefix("Require ").unwrap_or(row.name);
        source.contains(&format!("\"{word}\""))
    };
    for row in OUTSIDE {
        let known = match row.place {
            Place::Httpd => known(row, &httpd),
            Place::Nginx => known(row, &nginx),
            Place::Server | Place::Tool => continue,
        };
        assert_eq!(
            known,
            !matches!(row.state, State::RefusedUnlessDefault(_)),
            "{}",
            row.name
        );
    }
    let names = httpd
        .split("AP_INIT_")
        .skip(1)
        .chain(nginx.split("ngx_string(\"openam").skip(1))
        .count();
    let rows = OUTSIDE
        .iter()
        .filter(|r| matches!(r.place, Place::Httpd | Place::Nginx));
    let in_modules = rows
        .filter(|r| !matches!(r.state, State::RefusedUnlessDefault(_)))
        // A word of httpd's own directive.
        .filter(|r| !r.name.starts_with("Require "))
        .count();
    assert_eq!(
        names,
        in_modules + 1,
        "openam_configuration is another name"
    );
    Ok(())
}

#[test]
fn the_reference_says_what_the_table_says() -> io::Result<()> {
    same_as("docs/properties.md", &reference())
}

#[test]
fn the_template_says_what_the_table_says() -> io::Result<()> {
    same_as("installer/templates/agent.conf.template", &template())
}

#[test]
fn the_web_agents_file_has_every_property_of_2024_3() -> io::Result<()> {
    let text = web_agent();
    for row in PROPERTIES
        .iter()
        .filter(|row| in_2024_3(row) && row.kind != Kind::Secret)
    {
        assert!(
            text.contains(&format!("\n# {}\n", row.name)),
            "{}",
            row.name
        );
    }
    for (name, value) in THEIRS {
        let row = PROPERTIES.iter().find(|row| row.name == *name);
        assert!(row.is_some_and(|row| row.default != *value), "{name}");
    }
    same_as("tests/corpora/web-agent-2024.3.conf", &text)
}

/// With the installer's answers in it, the template is a file without a single problem, in both
/// modes and with all its comments taken off.
#[test]
fn the_filled_template_is_right() {
    let filled = template()
        .replace("AM_OPENAM_URL", "https://am.example.com/am")
        .replace("AM_AGENT_NAME", "wa1")
        .replace("AM_AGENT_REALM", "/")
        .replace("AM_AGENT_FQDN", "www.example.com")
        .replace("AM_AGENT_URL", "https://www.example.com:443/")
        .replace("AM_DEBUG_FILE_PATH", "/var/log/agent/debug.log")
        .replace("AM_AUDIT_FILE_PATH", "/var/log/agent/audit.log")
        .replace("AM_PDP_TEMP_PATH", "/var/lib/agent/pdp-cache")
        .replace("AM_SSL_CA", "");
    let parse = |text: &str| {
        let (config, problems) = read(
            &Properties::parse(text, Source::File("agent.conf".to_string())),
            None,
        );
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(texts.is_empty(), "{texts:#?}");
        config
    };
    let config = parse(&filled);
    assert_eq!(config.fqdn_default, None);
    let local: String = filled
        .replace("= centralized", "= local")
        .lines()
        .map(|l| {
            l.strip_prefix('#')
                .filter(|l| !l.starts_with(' '))
                .unwrap_or(l)
                .to_string()
                + "\n"
        })
        .collect();
    let config = parse(&local);
    assert_eq!(config.fqdn_default.as_deref(), Some("www.example.com"));
    assert_eq!(config.root_urls, ["https://www.example.com:443/"]);
}

/// An unfilled template must not start: each word left in it is named.
#[test]
fn an_unfilled_template_is_refused() {
    let source = Source::File("agent.conf".to_string());
    let (_, problems) = read(&Properties::parse(&template(), source), None);
    let errors = problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .count();
    let words = PROPERTIES.iter().filter(|r| r.bootstrap && shown(r));
    let words = words
        .filter(|r| r.template.is_some_and(|t| t.starts_with("AM_")))
        .count();
    assert_eq!(errors, words);
}
