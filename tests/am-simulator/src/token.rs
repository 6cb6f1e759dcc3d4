//! What does a session token look like, and what does AM say about one that it cannot read?
//! Knows shapes only; whether a token is alive is the state's business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::{OsRng, TryRngCore as _};

/// Every OpenAM 16 token begins with these characters (measured on OpenAM 16.0.5).
const PREFIX: &str = "AQIC5wM2LY4Sfc";

/// Random bytes from the operating system.
#[expect(
    clippy::expect_used,
    reason = "without randomness a test tool can only stop"
)]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .expect("the operating system gives random bytes");
    bytes
}

/// Lower-case hexadecimal digits, twice as many as bytes.
pub(crate) fn random_hex<const N: usize>() -> String {
    random::<N>().iter().map(|b| format!("{b:02x}")).collect()
}

/// A new session: its token and its handle, which share the extensions and differ in the first part.
pub(crate) fn new_pair() -> (String, String) {
    let storage_key = i64::from_ne_bytes(random::<8>()).to_string();
    let extensions = c66(&STANDARD.encode(extensions(&storage_key)));
    let one = || {
        let opaque = c66(&STANDARD.encode(random::<35>()));
        format!("{PREFIX}{}*{extensions}*", &opaque[PREFIX.len()..])
    };
    (one(), format!("shandle:{}", one()))
}

/// The token of a session that AM does not keep: its extensions, then a JWT with all of the session in it, longer than
/// two thousand characters (measured on OpenAM 16.0.5).
pub(crate) fn new_client_side() -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as URL;
    let head = URL.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
    let (body, signature) = (URL.encode(random::<1500>()), URL.encode(random::<32>()));
    format!("*AAJTSQACMDEAAlMxAAA.*{head}.{body}.{signature}")
}

fn extensions(storage_key: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for text in ["SI", "01", "SK", storage_key, "S1", ""] {
        out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// The cookie-safe spelling of Base64 text.
fn c66(text: &str) -> String {
    text.replace('+', "-").replace('/', "_").replace('=', ".")
}

/// A token in its un-swapped spelling (`@`, `#`, `=`), rewritten to the spelling that cookies use; `None` when there is
/// nothing to rewrite.
pub(crate) fn swapped(token: &str) -> Option<String> {
    token
        .contains(['@', '#'])
        .then(|| c66(token).replace(['@', '#'], "*"))
}

/// The text of the `<Exception>` for a token that is not a live session (measured on OpenAM 16.0.5).
pub(crate) fn complaint(token: &str) -> String {
    if token.is_empty() {
        return "Cannot invoke \"String.isEmpty()\" because the return value of \
                \"com.iplanet.dpro.session.SessionID.toString()\" is null"
            .to_owned();
    }
    if token == "*" {
        return format!("{token} java.lang.NullPointerException");
    }
    let Some((_, rest)) = token.split_once('*') else {
        return format!("{token} Failed to create encrypted storage key for:\nSession ID: {token}");
    };
    let Some(pairs) = rest.split('*').next().and_then(read_extensions) else {
        return format!(
            "Invalid sessionid format:[{token}]java.lang.IllegalArgumentException: Invalid Base64-encoded data"
        );
    };
    let value = |name: &str| {
        pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    match (value("SI"), value("SK")) {
        (Some(server), _) if server != "01" => format!(
            "Invalid sessionid format:[{token}]java.lang.IllegalArgumentException: Invalid server id in session id:\
             [{server}]com.iplanet.services.naming.ServerEntryNotFoundException: Cannot find server."
        ),
        (Some(_), Some(_)) => format!("{token} Invalid session ID.{token}"),
        _ => format!("{token} java.lang.NullPointerException"),
    }
}

fn read_extensions(text: &str) -> Option<Vec<(String, String)>> {
    let plain = text.replace('-', "+").replace('_', "/").replace('.', "=");
    let bytes = STANDARD.decode(plain).ok()?;
    let mut texts = Vec::new();
    let mut rest = bytes.as_slice();
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        texts.push(String::from_utf8(tail.get(..length)?.to_vec()).ok()?);
        rest = &tail[length..];
    }
    Some(
        texts
            .chunks_exact(2)
            .map(|p| (p[0].clone(), p[1].clone()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_has_the_shape_of_a_real_one() {
        let (token, handle) = new_pair();
        assert!(token.starts_with("AQIC5wM2LY4Sfc") && token.ends_with('*'));
        assert_eq!(token.split('*').count(), 3);
        assert_eq!(token.split('*').next().map(str::len), Some(48));
        assert!(handle.starts_with("shandle:AQIC5w"));
        assert_ne!(new_pair().0, token);
        assert_eq!(
            complaint(&token),
            format!("{token} Invalid session ID.{token}")
        );
    }

    #[test]
    fn a_client_side_token_is_long_and_begins_with_a_star() {
        let token = new_client_side();
        assert!(token.starts_with("*AAJTSQAC") && token.contains("*eyJ") && token.len() > 2000);
        assert_ne!(new_client_side(), token);
    }

    #[test]
    fn rubbish_is_told_apart_as_measured() {
        assert!(complaint("rubbish").starts_with("rubbish Failed to create encrypted"));
        assert!(complaint("a*b*").contains("Invalid Base64-encoded data"));
        assert_eq!(complaint("*"), "* java.lang.NullPointerException");
        let short = "AQIC5wM2LY4Sfc.*AAJTSQACMDE.*";
        assert_eq!(
            complaint(short),
            format!("{short} java.lang.NullPointerException")
        );
        let other = "AQIC5wM2LY4SfcxxxxxVTz5p6Fkyqe-ruWiqKuWHH4pP3zw.*AAJTSQACMDIAAlNLABM4NTM4MDQ2NDIxNzM5NTg0NjQyAAJTMQAA*";
        assert!(complaint(other).contains("Invalid server id in session id:[02]"));
    }
}
