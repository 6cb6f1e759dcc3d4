//! Reads httpd's configuration: the OIDC directives and what `Require` says where they protect.
//!
//! It follows no Include and knows no other module's directives.

use super::{At, CA_FILE, COOKIE_DOMAIN, COOKIE_HTTPONLY, Migration, SAME_SITE};

const POST: &str = "com.sun.identity.agents.config.postdata.preserve.enable";
const PROXY: &str = "com.sun.identity.agents.config.forward.proxy";
const FILTER: &str = "portcullis.filter.mode";
const UNAUTHORIZED: &str = "portcullis.unauthorized.url";

/// A `<Location>` and the like that protects.
struct Section {
    at: At,
    /// `Location`, `Directory`, …; empty for a server.
    kind: String,
    path: String,
    login: bool,
    requires: Vec<(At, String)>,
    unauth: Option<(At, String)>,
}

/// Several files as one configuration.
#[derive(Default)]
pub(super) struct Reader {
    done: Vec<Section>,
    claims: Option<(At, Vec<String>)>,
    prefix: Option<String>,
    pass_as: Option<String>,
}

impl Reader {
    pub(super) fn file(&mut self, found: &mut Migration, file: &str, text: &str) {
        let section = |line, kind: &str, path: &str| Section {
            at: At::new(file, line, &format!("<{kind} {path}>")),
            kind: kind.to_owned(),
            path: path.to_owned(),
            login: false,
            requires: Vec::new(),
            unauth: None,
        };
        let mut open = vec![section(0, "", "/")];
        for (line, words) in lines(text) {
            let Some((name, rest)) = words.split_first() else {
                continue;
            };
            let (at, first) = (
                At::new(file, line, name),
                rest.first().map_or("", String::as_str),
            );
            if name.starts_with("</") {
                if open.len() > 1 {
                    self.done.extend(open.pop());
                }
            } else if let Some(kind) = name.strip_prefix('<') {
                let path = rest.last().map_or("", String::as_str).trim_end_matches('>');
                open.push(section(line, kind.trim_end_matches('>'), path));
            } else if let Some(inner) = open.last_mut() {
                match name.to_ascii_lowercase().as_str() {
                    "authtype" => {
                        let kind = first.to_ascii_lowercase();
                        inner.login = kind == "openid-connect" || kind == "auth-openidc";
                        if kind == "oauth20" || kind == "auth-openidc" {
                            found.by_hand(&at, "callers with bearer tokens are not let in by the agent: keep mod_auth_openidc for them, in a place of its own, where AmAgent is Off");
                        }
                    }
                    "require" => inner.requires.push((at, rest.join(" "))),
                    "oidcunauthaction" => inner.unauth = Some((at, rest.join(" "))),
                    "include" | "includeoptional" => {
                        let what = format!(
                            "{first} was not read: name it behind this file, if it has OIDC directives"
                        );
                        found.by_hand(&at, &what);
                    }
                    oidc if oidc.starts_with("oidc") => self.directive(found, &at, oidc, rest),
                    _ => {}
                }
            }
        }
        self.done.append(&mut open);
    }

    /// One directive with its arguments.
    fn directive(&mut self, found: &mut Migration, at: &At, name: &str, rest: &[String]) {
        let first = rest.first().map_or("", String::as_str);
        match name {
            "oidcprovidermetadataurl" | "oidcproviderissuer" | "oidcproviderauthorizationendpoint" => found.am(at, first),
            "oidcredirecturi" if first.contains("://") => {
                found.site(at, first);
                found.without(at, "the agent's own path for it is /agent/cdsso-oauth2, and AM knows it with the agent's profile");
            }
            "oidcredirecturi" => found.by_hand(at, "a path without a host: set sunIdentityServerDeviceKeyValue[0], agenturi.prefix and fqdn.default yourself"),
            "oidccookiedomain" => found.set(at, &format!("{COOKIE_DOMAIN}[0]"), first),
            "oidccookiehttponly" => found.set(at, COOKIE_HTTPONLY, switch(first)),
            "oidccookiesamesite" => match first.to_ascii_lowercase().as_str() {
                "on" | "lax" => found.set(at, SAME_SITE, "Lax"),
                "strict" => found.set(at, SAME_SITE, "Strict"),
                "none" => found.set(at, SAME_SITE, "None"),
                _ => found.without(at, "the agent writes no SameSite either unless told to"),
            },
            "oidccabundlepath" => found.set(at, CA_FILE, first),
            "oidcsslvalidateserver" if switch(first) == "false" => found.by_hand(at, "not taken over: without it anybody on the way can pose as AM; name AM's authority in com.forgerock.agents.config.cert.ca.file"),
            "oidcpreservepost" => found.set(at, POST, switch(first)),
            "oidcoutgoingproxy" => {
                let (host, port) = first.rsplit_once(':').unwrap_or((first, "80"));
                found.set(at, &format!("{PROXY}.host"), host);
                found.set(at, &format!("{PROXY}.port"), port);
                if rest.len() > 1 {
                    found.by_hand(at, "the proxy's user and password: set forward.proxy.user, and encrypt the password with agentadmin --p");
                }
            }
            "oidchttptimeoutlong" => found.set(at, "com.sun.identity.agents.config.receive.timeout", first),
            "oidcremoteuserclaim" => match (first, rest.len()) {
                ("sub" | "preferred_username", 1) => found.without(at, "REMOTE_USER is the session's user name (UserToken) already"),
                (claim, 1) if super::attribute(claim).is_some() => {
                    found.set(at, "com.sun.identity.agents.config.userid.param", super::attribute(claim).unwrap_or_default());
                    found.set(at, "com.sun.identity.agents.config.userid.param.type", "LDAP");
                }
                _ => found.by_hand(at, "name the session property or attribute in com.sun.identity.agents.config.userid.param and its type; parts of a claim cannot be cut out"),
            },
            "oidcscope" => {
                let scopes: Vec<&str> = rest.iter().flat_map(|words| words.split_whitespace()).collect();
                let has = |scope: &str| scopes.contains(&scope);
                let mut claims = vec![];
                claims.extend(has("email").then_some(["email"].as_slice()));
                claims.extend(has("profile").then_some(["name", "given_name", "family_name"].as_slice()));
                claims.extend(has("phone").then_some(["phone_number"].as_slice()));
                self.claims = Some((at.clone(), claims.concat().into_iter().map(str::to_owned).collect()));
            }
            "oidcclaimprefix" => self.prefix = Some(first.to_owned()),
            "oidcpassclaimsas" => {
                self.pass_as = Some(first.to_ascii_lowercase());
                if !matches!(first.to_ascii_lowercase().as_str(), "headers" | "both" | "none") {
                    found.by_hand(at, "the application gets headers from the agent, and no environment variables but REMOTE_USER");
                }
            }
            _ => match reason(name) {
                Some(why) => found.without(at, why),
                None => found.by_hand(at, "not known here: look whether anything depends on it"),
            },
        }
    }

    /// What follows from all files together.
    pub(super) fn finish(self, found: &mut Migration) {
        let passes = !matches!(self.pass_as.as_deref(), Some("none" | "environment"));
        if let (true, Some((at, claims))) = (passes, &self.claims) {
            let prefix = self.prefix.as_deref().unwrap_or("OIDC_CLAIM_");
            for claim in claims {
                found.header(at, claim, &format!("{prefix}{claim}"));
            }
            if !claims.is_empty() {
                found.by_hand(at, "claims that AM was made to give besides the standard ones: name their attributes in com.sun.identity.agents.config.profile.attribute.mapping");
            }
        }
        let mut protects_all = false;
        for section in &self.done {
            protects_all |= section.login && section.path == "/";
            section.report(found);
        }
        if !protects_all {
            let at = At::new("all files", 0, "other paths");
            found.by_hand(&at, "the agent protects what no section here did, too: where that is not wanted, set portcullis.filter.mode[/] = NONE, which opens everything that no other entry names (rule U5)");
        }
    }
}

impl Section {
    fn report(&self, found: &mut Migration) {
        if let Some((at, action)) = &self.unauth {
            self.unauthorized(found, at, action);
        }
        if !self.login {
            let open = self
                .requires
                .iter()
                .any(|(_, what)| what.eq_ignore_ascii_case("all granted"));
            if open && self.kind == "Location" {
                found.by_hand(
                    &self.at,
                    &format!(
                        "open to everybody until now: if it is to stay so, set {FILTER}[{}] = NONE",
                        self.path
                    ),
                );
            }
            return;
        }
        if !self.kind.is_empty()
            && !self.kind.eq_ignore_ascii_case("location")
            && !self.kind.eq_ignore_ascii_case("virtualhost")
        {
            let what = format!(
                "{FILTER} knows URL paths only: say there which ones these are, or put AmAgent On into the section"
            );
            return found.by_hand(&self.at, &what);
        }
        let path = match self.kind.eq_ignore_ascii_case("location") {
            true => self.path.as_str(),
            false => "/",
        };
        if path.contains(['*', '?', '[', '~', '^', '$']) {
            return found.by_hand(
                &self.at,
                &format!("a pattern: say in {FILTER} which paths these are"),
            );
        }
        let any_user = |what: &str| what.eq_ignore_ascii_case("valid-user");
        let others: Vec<_> = self
            .requires
            .iter()
            .filter(|(_, what)| !any_user(what))
            .collect();
        for (at, what) in &others {
            found.by_hand(at, &format!("Require {what}: make a policy in AM for {path} that says so; until then AM refuses everybody there"));
        }
        let mode = match others.is_empty() {
            true => "SSO_ONLY",
            false => "URL_POLICY",
        };
        found.set(&self.at, &format!("{FILTER}[{path}]"), mode);
    }

    fn unauthorized(&self, found: &mut Migration, at: &At, action: &str) {
        let place = match self.kind.eq_ignore_ascii_case("location") {
            true => self.path.trim_end_matches('/'),
            false => "",
        };
        match action.to_ascii_lowercase().as_str() {
            "auth" => found.without(at, "sending to log in is what the agent does"),
            "401" | "410" | "407" => {
                found.by_hand(at, &format!("the agent answers 401 there with {UNAUTHORIZED}[0] = the URL pattern of {place}/*; by itself it does so for what no person sees"));
            }
            "pass" => found.by_hand(at, &format!("whoever has no session was let in: {FILTER}[{place}/] = NONE does so, and com.sun.identity.agents.config.notenforced.url.attributes.enable names whoever has one")),
            _ => found.by_hand(at, "with an expression: say in portcullis.unauthorized.url and json.url which requests get 401"),
        }
    }
}

fn switch(value: &str) -> &'static str {
    match value.to_ascii_lowercase().as_str() {
        "off" | "false" | "no" => "false",
        _ => "true",
    }
}

/// Why a directive has no counterpart.
fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "oidcclientid" | "oidcclientsecret" | "oidcclientname" | "oidcclientcontact" => {
            "it is of the OAuth 2.0 client; the agent has a profile and a password of its own"
        }
        "oidccryptopassphrase" => "the agent seals with the key in agent-key.conf",
        "oidcsessioninactivitytimeout" | "oidcsessionmaxduration" => {
            "AM ends sessions: set the times of the realm's sessions there"
        }
        "oidcresponsetype" | "oidcresponsemode" | "oidcpkcemethod" => {
            "how the agent logs in is fixed, and bound to the browser"
        }
        "oidccookie"
        | "oidccookiepath"
        | "oidcsessiontype"
        | "oidcsessioncookiechunksize"
        | "oidcstatecookieprefix"
        | "oidcstatetimeout"
        | "oidcstatemaxnumberofcookies"
        | "oidcstateinputheaders" => "the agent's cookies have names and lives of their own",
        "oidcsslvalidateserver" | "oidcvalidateissuer" => "the agent always verifies",
        "oidcrefreshaccesstokenbeforeexpiry"
        | "oidcpassaccesstoken"
        | "oidcpassrefreshtoken"
        | "oidcpassidtokenas"
        | "oidcpassuserinfoas" => "the application gets attributes from the agent, and no tokens",
        "oidcdefaulturl" | "oidcdefaultloggedouturl" => {
            "see com.sun.identity.agents.config.logout.redirect.url"
        }
        "oidcxforwardedheaders" => "see portcullis.trusted.proxies, which says whose word counts",
        "oidchtmlerrortemplate" | "oidchtmlerrortemplatecss" => {
            "see com.sun.identity.agents.config.access.denied.url"
        }
        "oidcstripcookies" | "oidcpasscookies" => "the agent's cookies never reach the application",
        "oidcclaimdelimiter"
        | "oidcinfohook"
        | "oidcauthrequestparams"
        | "oidcpathauthrequestparams"
        | "oidcproviderauthrequestmethod" => "there is none",
        "oidchttptimeoutshort" => "see com.sun.identity.agents.config.connect.timeout",
        _ if name.starts_with("oidccache")
            || name.starts_with("oidcredis")
            || name.starts_with("oidcmemcache") =>
        {
            "sessions are kept in memory that the workers share, and in AM"
        }
        _ if name.starts_with("oidcprovider")
            || name.starts_with("oidcmetadata")
            || name.starts_with("oidcpublickey")
            || name.starts_with("oidcprivatekey") =>
        {
            "the agent knows AM's addresses and keys by itself"
        }
        _ if name.starts_with("oidcoauth") => "the agent takes no bearer tokens",
        _ => return None,
    })
}

/// Lines with their numbers, as words; a backslash joins two, quotes hold words together.
fn lines(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut out = Vec::new();
    let mut joined: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let (first, mut whole) = joined.take().unwrap_or((number, String::new()));
        match line.strip_suffix('\\') {
            Some(begin) => {
                whole.push_str(begin);
                joined = Some((first, whole));
            }
            None => {
                whole.push_str(line);
                if !whole.trim_start().starts_with('#') {
                    out.push((first, words(&whole)));
                }
            }
        }
    }
    out
}

fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => (quote, begun) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    out.push(std::mem::take(&mut word));
                }
            }
            _ => {
                begun = true;
                word.push(c);
            }
        }
    }
    if begun {
        out.push(word);
    }
    out
}
