//! The way to AM: the authorize address and the pre-authentication cookie that binds the answer to
//! this browser (rule L3).

use alloc::{format, string::String, vec::Vec};

use sha2::{Digest, Sha256};

use super::{append, public_am};
use crate::{
    contract::{Facts, UnixMillis},
    decide::{Cx, ResponseHeaders, marked},
    token::{
        authn_tx::{self, KeptPost, Pending, PendingList},
        cookie::{self, SetCookie},
        sealed::{Unsealed, sealed_len},
    },
    url::ReturnUrl,
};

/// How long a login that took too long can still be told from a forged one, milliseconds.
const GRACE: u64 = 3_600_000;

/// Longest sealed cookie that is opened.
pub(super) const MAX_COOKIE: usize = 4096;

/// The address of AM and the cookies that remember this login.
pub(super) fn begin(
    cx: &Cx<'_, '_>,
    back: &ReturnUrl,
    post: Option<KeptPost>,
) -> (String, ResponseHeaders) {
    let config = &cx.snap.config;
    let life = u64::from(config.cookie_maxage) * 1000;
    let mut pending = Pending {
        state: derive(cx.facts, b"state"),
        nonce: derive(cx.facts, b"nonce"),
        url: match post {
            Some(_) => marked(cx, back.as_str()),
            None => back.as_str().into(),
        },
        realm: config.organization_name.clone(),
        expires: UnixMillis(cx.now.wall.0 + life),
        post,
    };
    if !PendingList::fits(&pending) {
        // Too long for a cookie: the user comes back to the front page instead of not at all.
        pending.url = format!("{}/", cx.asked.origin());
        pending.post = None; // it belongs to another page
    }
    let state = authn_tx::text(&pending.state);
    let mut address = format!("{}oauth2/authorize", public_am(cx));
    append(&mut address, "client_id", &config.username);
    append(&mut address, "response_type", "id_token");
    append(&mut address, "scope", "openid");
    append(&mut address, "response_mode", "form_post");
    append(&mut address, "redirect_uri", &redirect_uri(cx));
    append(&mut address, "state", &state);
    append(&mut address, "nonce", &authn_tx::text(&pending.nonce));
    append(&mut address, "realm", &pending.realm);
    // Dialect A ignores these two, so they may always be sent (measured on OpenAM 16.0.5).
    append(&mut address, "agent_provider", "true");
    append(&mut address, "agent_realm", &pending.realm);
    (address, remember(cx, pending, &state))
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
fn remember(cx: &Cx<'_, '_>, pending: Pending, state: &str) -> ResponseHeaders {
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
