//! The way to AM: the authorize address and the pre-authentication cookie that binds the answer to
//! this browser (rule L3).

use alloc::{format, string::String, vec::Vec};

use sha2::{Digest, Sha256};

use super::{append, by_rule, encoded, public_am, serving};
use crate::{
    am::a::lares::instant,
    config::{Dialect, realm_named},
    contract::{Facts, UnixMillis},
    decide::{Cx, ResponseHeaders, marked},
    token::{
        authn_tx::{self, KeptPost, Pending, PendingList},
        cookie::{self, SetCookie},
        sealed::{Unsealed, sealed_len},
    },
    url::ReturnUrl,
};

/// AM's OpenID Connect endpoint, below its URL.
const AUTHORIZE: &str = "oauth2/authorize";
/// What older agents log in with (rule L6).
const SERVLET: &str = "cdcservlet";

/// How long a login that took too long can still be told from a forged one, milliseconds.
const GRACE: u64 = 3_600_000;

/// Longest sealed cookie that is opened.
pub(super) const MAX_COOKIE: usize = 4096;

/// A login that has begun.
pub(super) struct Begun {
    /// A login page that a rule names, before AM's authorize address.
    page: Option<String>,
    /// The address of AM's endpoint with everything that this login needs.
    authorize: String,
    /// Realm of the login.
    realm: String,
    /// What remembers it in the browser.
    pub(super) cookies: ResponseHeaders,
}

impl Begun {
    /// Where the browser goes.
    pub(super) fn address(&self) -> String {
        match &self.page {
            Some(page) => self.through(page.clone()),
            None => self.authorize.clone(),
        }
    }

    /// AM's login page, which leads on to the authorize address whoever is logged in already.
    pub(super) fn login_page(&self, dialect: Dialect) -> String {
        let page = self.page.clone();
        self.through(page.unwrap_or_else(|| self.page_before(dialect)))
    }

    /// The login page of the AM that is asked.
    fn page_before(&self, dialect: Dialect) -> String {
        let path = self.authorize.split('?').next().unwrap_or_default();
        let end = path.find("/oauth2/").or(path.rfind("/cdcservlet"));
        let page = match dialect {
            Dialect::OpenAm => "UI/Login",
            Dialect::PingAm => "XUI/",
        };
        format!("{}/{page}", &path[..end.unwrap_or(0)])
    }

    fn through(&self, mut page: String) -> String {
        if realm_named(&page).is_none() {
            append(&mut page, "realm", &self.realm);
        }
        append(&mut page, "goto", &self.authorize);
        page
    }
}

/// Begins a login: at AM, or where a rule says.
pub(super) fn begin(cx: &Cx<'_, '_>, back: &ReturnUrl, post: Option<KeptPost>) -> Begun {
    at(cx, back, (by_rule(cx).flatten(), None), post)
}

/// Begins a login at AM, or at an address of a rule; in a realm that neither names.
pub(super) fn at(
    cx: &Cx<'_, '_>,
    back: &ReturnUrl,
    (rule, realm): (Option<&str>, Option<String>),
    post: Option<KeptPost>,
) -> Begun {
    let config = &cx.snap.config;
    let servlet = config.login_cdcservlet;
    let endpoint = if servlet { SERVLET } else { AUTHORIZE };
    let (page, mut authorize) = match rule {
        Some(address) => addresses(address, endpoint),
        None => (None, own_address(cx, endpoint, realm.as_deref())),
    };
    let by_path = rule.is_none() && config.dialect == Dialect::PingAm;
    let in_address = by_path || page.is_none() && realm_named(&authorize).is_some();
    let realm = rule.and_then(realm_named).or(realm);
    let realm = realm.unwrap_or_else(|| config.organization_name.clone());
    let pending = pending(cx, back, &realm, post);
    let state = authn_tx::text(&pending.state);
    match servlet {
        true => ask_servlet(cx, &mut authorize, &state),
        false => {
            let nonce = authn_tx::text(&pending.nonce);
            let named = (!in_address).then_some(realm.as_str());
            ask_authorize(cx, &mut authorize, (&state, &nonce), named);
        }
    }
    let mut begun = Begun {
        page,
        authorize,
        realm,
        cookies: remember(cx, pending, &state),
    };
    // The servlet takes `realm` for a wish to log in anew, each time (measured on OpenAM 16.0.5).
    if servlet && begun.page.is_none() && !in_address && begun.realm != "/" {
        begun.page = Some(begun.page_before(config.dialect));
    }
    begun
}

/// AM's own address for logins. Dialect B documents the realm as a part of its path.
fn own_address(cx: &Cx<'_, '_>, endpoint: &str, realm: Option<&str>) -> String {
    let config = &cx.snap.config;
    if config.dialect == Dialect::PingAm {
        let realm = realm.unwrap_or(&config.organization_name);
        let names = realm.split('/').filter(|name| !name.is_empty());
        let path: String = names
            .map(|name| format!("realms/{}/", encoded(name)))
            .collect();
        return format!("{}oauth2/realms/root/{path}authorize", public_am(cx));
    }
    if endpoint == SERVLET
        && config.public_am_url.is_none()
        && let Some(servlet) = serving(cx, &config.cdcservlet_url)
    {
        return servlet.into();
    }
    format!("{}{endpoint}", public_am(cx))
}

fn ask_authorize(
    cx: &Cx<'_, '_>,
    address: &mut String,
    (state, nonce): (&str, &str),
    realm: Option<&str>,
) {
    let config = &cx.snap.config;
    append(address, "client_id", &config.username);
    append(address, "response_type", "id_token");
    append(address, "scope", "openid");
    append(address, "response_mode", "form_post");
    append(address, "redirect_uri", &redirect_uri(cx));
    append(address, "state", state);
    append(address, "nonce", nonce);
    if let Some(realm) = realm {
        append(address, "realm", realm);
    }
    // Dialect A ignores these two, so they may always be sent (measured on OpenAM 16.0.5).
    append(address, "agent_provider", "true");
    append(address, "agent_realm", &config.organization_name);
}

/// What `/cdcservlet` wants to know (rule L6): the answer goes to our endpoint, never to a page.
fn ask_servlet(cx: &Cx<'_, '_>, address: &mut String, state: &str) {
    append(address, "goto", &redirect_uri(cx));
    append(address, "RequestID", state);
    append(address, "MajorVersion", "1");
    append(address, "MinorVersion", "0");
    append(address, "IssueInstant", &instant(cx.now.wall));
    append(address, "ProviderID", &provider_id(cx));
}

/// This site as `/cdcservlet` names it, and whom its answer has to be for.
pub(super) fn provider_id(cx: &Cx<'_, '_>) -> String {
    let realm = encoded(&cx.snap.config.organization_name);
    format!("{}/?Realm={realm}", cx.asked.origin())
}

/// A login that begins now.
pub(super) fn pending(
    cx: &Cx<'_, '_>,
    back: &ReturnUrl,
    realm: &str,
    post: Option<KeptPost>,
) -> Pending {
    let life = u64::from(cx.snap.config.cookie_maxage) * 1000;
    let mut pending = Pending {
        state: derive(cx.facts, b"state"),
        nonce: derive(cx.facts, b"nonce"),
        url: match post {
            Some(_) => marked(cx, back.as_str()),
            None => back.as_str().into(),
        },
        realm: realm.into(),
        expires: UnixMillis(cx.now.wall.0 + life),
        post,
    };
    if !PendingList::fits(&pending) {
        // Too long for a cookie: the user comes back to the front page instead of not at all.
        pending.url = format!("{}/", cx.asked.origin());
        pending.post = None; // it belongs to another page
    }
    pending
}

/// What a rule's address stands for: a login page before the endpoint of its AM, that endpoint itself,
/// or an AM.
fn addresses(address: &str, endpoint: &str) -> (Option<String>, String) {
    let (path, query) = address.split_at(address.find('?').unwrap_or(address.len()));
    let is_one = |of: &str| path.rsplit('/').next() == of.rsplit('/').next();
    if is_one(endpoint) {
        return (None, address.into());
    }
    match ["/UI/", "/XUI"]
        .iter()
        .filter_map(|mark| path.find(mark))
        .min()
    {
        Some(end) => {
            let authorize = format!("{}/{endpoint}", &path[..end]);
            (Some(address.into()), authorize)
        }
        None => {
            let end = path.find("/oauth2/").or(path.find("/cdcservlet"));
            let base = path[..end.unwrap_or(path.len())].trim_end_matches('/');
            (None, format!("{base}/{endpoint}{query}"))
        }
    }
}

/// The agent's own address on the host that was asked for, port written out as AM compares it.
fn redirect_uri(cx: &Cx<'_, '_>) -> String {
    format!("{}{}", cx.asked.origin(), cx.snap.config.cdsso_redirect_uri)
}

/// Independent 16 bytes for each purpose out of the request's one seed.
pub(crate) fn derive(facts: &dyn Facts, purpose: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let digest = Sha256::new()
        .chain_update(purpose)
        .chain_update(facts.seed())
        .finalize();
    bytes.copy_from_slice(&digest[..16]);
    bytes
}

/// A 96-bit nonce for a seal, of its own for each purpose.
pub(crate) fn seal_nonce(facts: &dyn Facts, purpose: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&derive(facts, purpose)[..12]);
    nonce
}

/// Name of the cookie. `__Host-` keeps siblings of the domain from setting it.
pub(super) fn cookie_name(cx: &Cx<'_, '_>, state: Option<&str>) -> String {
    let prefix = if cx.https() { "__Host-" } else { "" };
    match state {
        None => format!("{prefix}agent-authn-tx"),
        Some(state) => format!("{prefix}agent-authn-tx-{state}"),
    }
}

/// Stores one more login in the browser, in one cookie for all or one for each
/// (`org.forgerock.openam.agents.config.multivalue.pre.authn.cookies`).
pub(super) fn remember(cx: &Cx<'_, '_>, pending: Pending, state: &str) -> ResponseHeaders {
    let mut headers = ResponseHeaders::new();
    if cx.snap.config.multivalue_pre_authn {
        let name = cookie_name(cx, None);
        let mut list = read(cx, &name).unwrap_or_default();
        list.push(pending);
        headers.extend(write(cx, &name, &list));
        return headers;
    }
    let name = cookie_name(cx, Some(state));
    let mut list = PendingList::default();
    list.push(pending);
    let size = name.len() + 1 + sealed_len(list.encode().len());
    for old in surplus(cx, MAX_COOKIE.saturating_sub(size)) {
        headers.extend(clear(cx, &old));
    }
    headers.extend(write(cx, &name, &list));
    headers
}

/// The oldest of the cookies of single logins: those that are too many with one more to come, or do
/// not fit into `room` bytes. A host refuses every request of a browser whose cookies grow too long.
fn surplus(cx: &Cx<'_, '_>, mut room: usize) -> Vec<String> {
    let prefix = format!("{}-", cookie_name(cx, None));
    let mut known: Vec<(u64, String, usize)> = cookie::pairs(cx.req.values(b"cookie"))
        .filter_map(|(name, value)| Some((core::str::from_utf8(name).ok()?, value)))
        .filter(|(name, _)| name.starts_with(&prefix))
        .map(|(name, value)| {
            let expires = read(cx, name)
                .and_then(|list| list.oldest())
                .map_or(0, |t| t.0);
            (expires, name.into(), name.len() + 1 + value.len())
        })
        .collect();
    known.sort_unstable_by(|a, b| b.cmp(a)); // newest first
    let fitting = known
        .iter()
        .take(authn_tx::MAX_PENDING - 1)
        .take_while(|(_, _, size)| {
            let fits = *size <= room;
            room = room.saturating_sub(*size);
            fits
        });
    let kept = fitting.count();
    known
        .into_iter()
        .skip(kept)
        .map(|(_, name, _)| name)
        .collect()
}

/// The logins that a cookie of the browser remembers; `None` when it is absent or not ours.
pub(super) fn read(cx: &Cx<'_, '_>, name: &str) -> Option<PendingList> {
    let cookie::One::One(value) = cookie::only(cx.req.values(b"cookie"), name.as_bytes()) else {
        return None;
    };
    let mut plain = arrayvec::ArrayVec::<u8, MAX_COOKIE>::new();
    let keys = &cx.snap.keys.pre_authentication;
    keys.open(
        &cx.snap.identity,
        cx.asked.host(),
        cx.now.wall,
        value,
        &mut plain,
    )
    .ok()?;
    PendingList::decode(&plain)
}

/// Why [`read`] finds no logins, for the operator.
pub(super) fn why_unreadable(cx: &Cx<'_, '_>, name: &str) -> &'static str {
    let value = match cookie::only(cx.req.values(b"cookie"), name.as_bytes()) {
        cookie::One::None if cx.req.values(b"cookie").next().is_none() => {
            return "no cookie at all came";
        }
        cookie::One::None => return "other cookies came, but not this one",
        cookie::One::Conflicting => return "two different cookies of this name came",
        cookie::One::One(value) => value,
    };
    let mut plain = arrayvec::ArrayVec::<u8, MAX_COOKIE>::new();
    let (keys, host) = (&cx.snap.keys.pre_authentication, cx.asked.host());
    match keys.open(&cx.snap.identity, host, cx.now.wall, value, &mut plain) {
        Err(Unsealed::UnknownKey) => {
            "it is sealed with another key than that of agent-key.conf here"
        }
        Err(Unsealed::Expired) => "it has expired",
        Err(Unsealed::Malformed | Unsealed::Forged) | Ok(_) => {
            "it was altered, or is of another host"
        }
    }
}

/// The `Set-Cookie` for a list; clears the cookie when nothing is left in it.
pub(super) fn write(cx: &Cx<'_, '_>, name: &str, list: &PendingList) -> ResponseHeaders {
    let Some(newest) = list.newest() else {
        return clear(cx, name);
    };
    let expires = UnixMillis(newest.0 + GRACE);
    let keys = &cx.snap.keys.pre_authentication;
    let nonce = seal_nonce(cx.facts, name.as_bytes());
    let sealed = keys.seal(
        &cx.snap.identity,
        cx.asked.host(),
        expires,
        &list.encode(),
        nonce,
    );
    let life = (expires.0 - cx.now.wall.0) / 1000;
    one(base(cx, SetCookie::new(name, &sealed)).max_age(life))
}

/// The `Set-Cookie` that removes a login's cookie.
pub(super) fn clear(cx: &Cx<'_, '_>, name: &str) -> ResponseHeaders {
    one(base(cx, SetCookie::clear(name)))
}

/// On https the form comes from another site: `SameSite=None` whatever other cookies say (rule L3).
pub(super) fn base<'s>(cx: &Cx<'_, '_>, cookie: SetCookie<'s>) -> SetCookie<'s> {
    let tls = cx.https();
    cookie
        .http_only(true)
        .secure(tls)
        .same_site(tls.then_some("None"))
}

/// One cookie of a response.
pub(super) fn one(cookie: SetCookie<'_>) -> ResponseHeaders {
    cookie
        .to_bytes()
        .map(|value| ("Set-Cookie".into(), value))
        .into_iter()
        .collect()
}
