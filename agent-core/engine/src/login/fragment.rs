//! How does the part of an address behind `#` survive a login?
//!
//! No server sees it: a page of ours keeps it in the browser's own tab before the login, and another puts
//! it back afterwards (`org.forgerock.agents.config.fragment.redirect.enable`). A page goes nowhere but
//! where its link leads, which the engine wrote; what was kept counts for the address it was kept for.

use alloc::format;

use crate::{
    contract::Response,
    decide::{Cx, is_told_json},
    page::{self, escaped},
};

/// Keeps the fragment, with the address that it is of, and goes on to log in. Where the login page
/// itself leads back (custom login mode 2), it is told the fragment with the address.
const KEEP: &str = "const a=document.links[0],d=a.dataset;\
try{sessionStorage.setItem(\"agent-fragment\",d.back+location.hash)}catch(e){}\
location.replace(d.rest===undefined?a.href:d.start+encodeURIComponent(location.hash)+d.rest)";
/// `base64(SHA-256(KEEP))`
const KEEP_HASH: &str = "8rQmodOzbuQCG6aGL4JkFU9wu8CRaE/h8dZXYUyZGr8=";
/// Goes back, with the fragment where one was kept for this address.
const RESTORE: &str = "const t=document.links[0].getAttribute(\"href\");let k;\
try{k=sessionStorage.getItem(\"agent-fragment\");sessionStorage.removeItem(\"agent-fragment\")}catch(e){}\
location.replace(k&&k.startsWith(t+\"#\")?k:t)";
/// `base64(SHA-256(RESTORE))`
const RESTORE_HASH: &str = "p0s/oaYNZYOUbQhga/pLxnttiA4OALptTx+nn42zwcs=";

/// Whether the address may have a fragment that somebody sees.
pub(super) fn is_kept(cx: &Cx<'_, '_>) -> bool {
    cx.snap.config.fragment_redirect && cx.req.method == b"GET" && !is_told_json(cx)
}

/// The page before a login at `address`, for what leads back to `back`. `goto` is where in `address` the
/// value ends that the login page leads back to by itself.
pub(super) fn leave(address: &str, back: &str, goto: Option<usize>) -> Response {
    let parts = goto.and_then(|at| address.split_at_checked(at));
    let parts = parts.map(|(start, rest)| {
        let (start, rest) = (escaped(start), escaped(rest));
        format!(" data-start=\"{start}\" data-rest=\"{rest}\"")
    });
    let (address, back) = (escaped(address), escaped(back));
    let parts = parts.unwrap_or_default();
    let link = format!("<a href=\"{address}\" data-back=\"{back}\"{parts}>Log in</a>");
    page::scripted("Log in", &link, (KEEP, KEEP_HASH))
}

/// The page after it.
pub(super) fn arrive(target: &str) -> Response {
    let link = format!("<a href=\"{}\">Continue</a>", escaped(target));
    page::scripted("You are logged in", &link, (RESTORE, RESTORE_HASH))
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_pages_run_their_one_script_and_lead_where_they_are_told() {
        let hash = |script: &str| STANDARD.encode(Sha256::digest(script));
        assert_eq!(hash(KEEP), KEEP_HASH);
        assert_eq!(hash(RESTORE), RESTORE_HASH);
        let text = |response: Response| String::from_utf8(response.body).unwrap();
        let page = text(leave("http://am/?a=1&b=\"", "http://www:80/<", None));
        assert!(
            page.contains(
                "<a href=\"http://am/?a=1&amp;b=&quot;\" data-back=\"http://www:80/&lt;\">"
            ),
            "{page}"
        );
        let page = text(leave("http://am/?goto=x&r=1", "http://www:80/", Some(17)));
        assert!(
            page.contains("data-start=\"http://am/?goto=x\" data-rest=\"&amp;r=1\""),
            "{page}"
        );
        let page = text(arrive("http://www:80/?a=\"><script>"));
        assert!(
            page.contains("<a href=\"http://www:80/?a=&quot;&gt;&lt;script&gt;\">"),
            "{page}"
        );
        assert_eq!(page.matches("<script>").count(), 1);
    }
}
