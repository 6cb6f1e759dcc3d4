//! Which part of `/json` is asked, in which realm, by whom? Host name, version, realm, caller: the checks that every
//! REST call passes, in the real server's order. What the parts answer is theirs.

use crate::http::{Reply, Req, Version};
use crate::session::Session;
use crate::state::{Am, Refused};
use crate::{agents, audit, authenticate, policies, realms, serverinfo, sessions, users};

/// A REST call after the common checks.
pub(crate) struct Call<'a> {
    pub(crate) am: &'a Am,
    pub(crate) req: &'a Req,
    /// Path of the realm.
    pub(crate) realm: String,
    /// Segments after the endpoint's name.
    pub(crate) rest: &'a [String],
    pub(crate) version: Version,
    /// The live session of the token that was presented.
    pub(crate) caller: Option<Session>,
}

/// An answer, or the answer that refuses: both are sent.
pub(crate) type Answer = Result<Reply, Reply>;

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        Self::error(refused.status, &refused.message)
    }
}

impl Call<'_> {
    /// The version that serves this call.
    pub(crate) fn serve(&self, offered: &[(u32, u32)]) -> Result<(u32, u32), Reply> {
        self.version.pick(offered).ok_or_else(|| self.not_found())
    }

    /// `Resource '…' not found`, named as below the endpoint.
    pub(crate) fn not_found(&self) -> Reply {
        Reply::error(
            404,
            &format!("Resource '{}' not found", self.rest.join("/")),
        )
    }

    /// The caller, or 401.
    pub(crate) fn caller(&self) -> Result<&Session, Reply> {
        self.caller.as_ref().ok_or_else(denied)
    }

    /// The caller if it is the administrator, or 401 or 403.
    pub(crate) fn admin(&self) -> Result<&Session, Reply> {
        let caller = self.caller()?;
        if caller.is_admin() {
            return Ok(caller);
        }
        Err(Reply::error(403, "The user has insufficient privileges"))
    }

    /// The `_action`.
    pub(crate) fn action(&self) -> Option<&str> {
        self.req.param("_action")
    }
}

/// The answer to a call without a live token.
pub(crate) fn denied() -> Reply {
    Reply::error(401, "Access Denied")
}

/// Who presents which token, noted for the call log; a live one counts as used.
pub(crate) fn presented(am: &Am, req: &Req, how: &str, token: &str) -> Option<Session> {
    let session = am.use_session(token);
    note(req, how, session.as_ref());
    session
}

/// Notes a token for the call log.
pub(crate) fn note(req: &Req, how: &str, session: Option<&Session>) {
    let label = session.map_or_else(|| "unknown".to_owned(), Session::label);
    req.tokens.lock().push(format!("{how}:{label}"));
}

/// The caller of a REST call: the cookie wins over the header.
fn caller(am: &Am, req: &Req) -> Option<Session> {
    let name = am.config.cookie_name.as_str();
    match (req.cookie(name), req.header(name)) {
        (Some(token), _) => presented(am, req, "cookie", token),
        (None, Some(token)) => presented(am, req, "header", token),
        (None, None) => None,
    }
}

/// Answers a call to `/json/…`.
pub(crate) fn answer(am: &Am, req: &Req) -> Reply {
    route(am, req).unwrap_or_else(|refusal| refusal)
}

fn route(am: &Am, req: &Req) -> Answer {
    let (host, _) = req.host_and_port();
    if !host.eq_ignore_ascii_case(&am.config.host) {
        return Err(Reply::error(400, &format!("FQDN \"{host}\" is not valid.")));
    }
    let version = Version::of(req)?;
    if req.raw_path.contains("//") {
        let message = format!(
            "Resource path '{}{}' contains empty path elements",
            am.config.context, req.raw_path
        );
        return Err(Reply::error(400, &message).with("cache-control", "no-cache"));
    }
    let (realm, below) = realm_of(am, req)?;
    if req.raw_path == "/json/" {
        return Err(Reply::empty(500));
    }
    let Some((endpoint, rest)) = below.split_first() else {
        return Err(Reply::error(404, "Resource '' not found").with("cache-control", "no-cache"));
    };
    let call = Call {
        am,
        req,
        realm,
        rest,
        version,
        caller: caller(am, req),
    };
    let reply = match endpoint.as_str() {
        "authenticate" => return Ok(authenticate::answer(&call)),
        "serverinfo" => serverinfo::answer(&call),
        "sessions" => sessions::answer(&call),
        "users" => users::answer(&call),
        "agents" => agents::answer(&call),
        "policies" => policies::answer(&call),
        "applications" => policies::applications(&call),
        "resourcetypes" => policies::resource_types(&call),
        "realm-audit" | "global-audit" => audit::answer(&call, endpoint),
        "realms" => Err(call.caller().err().unwrap_or_else(|| unsimulated("realms"))),
        "realm-config" => realms::configure(&call),
        "global-config" => realms::answer(&call),
        _ => Err(Reply::error(
            404,
            &format!("Resource '{}' not found", below.join("/")),
        )),
    };
    let uncached = |r: Reply| r.with("cache-control", "no-cache");
    reply.map(uncached).map_err(uncached)
}

/// A part of AM that is not simulated says so, and never pretends.
pub(crate) fn unsimulated(what: &str) -> Reply {
    Reply::error(501, &format!("{what} is not simulated"))
}

/// The realm of a call and the segments after it. `?realm=` wins over a path of the old style and loses against one of the
/// new style.
fn realm_of<'r>(am: &Am, req: &'r Req) -> Result<(String, &'r [String]), Reply> {
    let data = am.data.lock();
    let mut below = req.path.get(1..).unwrap_or_default();
    let mut realm = "/".to_owned();
    if let [first, second, tail @ ..] = below
        && first == "realms"
    {
        if second != "root" {
            return Err(Reply::error(404, &format!("Realm \"{second}\" not found")));
        }
        below = tail;
        while let [keyword, name, tail @ ..] = below
            && keyword == "realms"
        {
            realm = format!("{}/{name}", realm.trim_end_matches('/'));
            below = tail;
        }
        data.realm(&realm)?;
        return Ok((realm, below));
    }
    while let [name, tail @ ..] = below {
        let longer = format!("{}/{name}", realm.trim_end_matches('/'));
        match data.resolve_realm(&longer) {
            Some(path) if !name.is_empty() => realm = path,
            _ => break,
        }
        below = tail;
    }
    if let Some(text) = req.param("realm").filter(|t| !t.is_empty()) {
        realm = data
            .resolve_realm(text)
            .ok_or_else(|| Reply::error(400, &format!("Invalid realm, {text}")))?;
    }
    Ok((realm, below))
}
