//! What does `/cdcservlet` say about a login? A Liberty AuthnResponse, posted by the browser.
//!
//! Nothing in it is signed, so nothing in it is believed: it must be the answer to a request that this
//! browser made (rule L6), and the token in it counts as far as AM says so, asked directly. Read as
//! OpenAM 16.0.5 and 14.8.4 write it, prefixes included; whatever else it is, it is refused.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    AmError,
    pll::{Node, walk},
};
use crate::{
    contract::UnixMillis,
    token::{Secret, jwt},
};

/// Longest document that is read, bytes: two copies of the longest token, and what AM writes around them.
const MAX_DOCUMENT: usize = 32 * 1024;
/// How far the clocks of two servers may differ, milliseconds.
const SKEW: u64 = jwt::SKEW * 1000;
/// How a bearer proves that it is who it says: not at all.
const BEARER: &str = "urn:oasis:names:tc:SAML:1.0:cm:bearer";

/// Why it is no answer to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaresError {
    /// It is not what AM writes.
    Malformed,
    /// AM says that the login failed.
    Status,
    /// It is for another site.
    Audience,
    /// It is from another AM.
    Issuer,
    /// Its time has not come, or is over.
    Time,
}

/// What it says, unchecked.
pub struct Lares {
    /// `InResponseTo`: the id of the request, the same in the response and in its assertion.
    pub request: String,
    /// The session token.
    pub token: Secret,
    status: String,
    issuer: String,
    audience: String,
    not_before: u64,
    not_on_or_after: u64,
}

/// What it has to say.
pub struct Expect<'e> {
    /// The `ProviderID` that AM was asked with.
    pub audience: &'e str,
    /// Addresses of AM's `/cdcservlet`.
    pub issuers: &'e [String],
}

/// `IssueInstant` of a request.
pub fn instant(now: UnixMillis) -> String {
    let seconds = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (time.date(), time.time().as_hms());
    let (year, month, day) = date.to_calendar_date();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads the value of the form's field `LARES`.
///
/// # Errors
/// [`LaresError::Malformed`].
pub fn read(field: &[u8]) -> Result<Lares, LaresError> {
    document(field)
        .and_then(|document| {
            let text = core::str::from_utf8(document.expose()).ok()?;
            let mut found = Found::default();
            let mut take =
                |path: &[&str], node: Node<'_>| found.take(path, node).ok_or(AmError::PROTOCOL);
            walk(text, &mut take).ok()?;
            found.lares()
        })
        .ok_or(LaresError::Malformed)
}

fn document(field: &[u8]) -> Option<Secret> {
    // Encoders of older servers break lines.
    let text = field.iter().filter(|b| !b.is_ascii_whitespace());
    let text = Secret::new(text.copied().collect());
    if text.expose().len() / 4 > MAX_DOCUMENT / 3 {
        return None;
    }
    STANDARD.decode(text.expose()).ok().map(Secret::new)
}

impl Lares {
    /// Whether it says what it has to.
    ///
    /// # Errors
    /// What it does not.
    pub fn check(&self, expect: &Expect<'_>, now: UnixMillis) -> Result<(), LaresError> {
        if self.status != "samlp:Success" {
            return Err(LaresError::Status);
        }
        if self.audience != expect.audience {
            return Err(LaresError::Audience);
        }
        if !expect.issuers.contains(&self.issuer) {
            return Err(LaresError::Issuer);
        }
        let begun = now.0.saturating_add(SKEW) >= self.not_before;
        let over = now.0 >= self.not_on_or_after.saturating_add(SKEW);
        match begun && !over {
            true => Ok(()),
            false => Err(LaresError::Time),
        }
    }
}

/// What was found so far. Each part occurs once.
#[derive(Default)]
struct Found {
    request: Option<String>,
    status: Option<String>,
    issuer: Option<String>,
    confirmed: Option<String>,
    not_before: Option<u64>,
    not_on_or_after: Option<u64>,
    audience: Option<String>,
    method: Option<String>,
    token: Option<String>,
}

impl Found {
    /// `None`: not what AM writes.
    fn take(&mut self, path: &[&str], node: Node<'_>) -> Option<()> {
        let ["lib:AuthnResponse", rest @ ..] = path else {
            return None;
        };
        let Node::Open(attributes) = node else {
            return self.text(rest, node);
        };
        let of = |name: &str| {
            let mut named = attributes.iter().filter(|(n, _)| n == name);
            named.next().map(|(_, value)| value.clone())
        };
        match rest {
            [] => {
                of("MajorVersion").filter(|v| v == "1")?;
                once(&mut self.request, of("InResponseTo")?)
            }
            ["samlp:Status", "samlp:StatusCode"] => once(&mut self.status, of("Value")?),
            ["saml:Assertion"] => {
                once(&mut self.confirmed, of("InResponseTo")?)?;
                once(&mut self.issuer, of("Issuer")?)
            }
            ["saml:Assertion", "saml:Conditions"] => {
                once(&mut self.not_before, when(&of("NotBefore")?)?)?;
                once(&mut self.not_on_or_after, when(&of("NotOnOrAfter")?)?)
            }
            _ => match self.slot(rest) {
                Some(slot) => once(slot, String::new()),
                None => Some(()),
            },
        }
    }

    fn text(&mut self, rest: &[&str], node: Node<'_>) -> Option<()> {
        if let (Some(slot), Node::Text(text)) = (self.slot(rest), node) {
            slot.as_mut()?.push_str(text);
        }
        Some(())
    }

    /// Where the text of an element goes.
    fn slot(&mut self, rest: &[&str]) -> Option<&mut Option<String>> {
        match rest {
            [
                "saml:Assertion",
                "saml:Conditions",
                "saml:AudienceRestrictionCondition",
                "saml:Audience",
            ] => Some(&mut self.audience),
            [
                "saml:Assertion",
                "saml:AuthenticationStatement",
                "saml:Subject",
                subject @ ..,
            ] => match subject {
                ["saml:NameIdentifier"] => Some(&mut self.token),
                ["saml:SubjectConfirmation", "saml:ConfirmationMethod"] => Some(&mut self.method),
                _ => None,
            },
            _ => None,
        }
    }

    fn lares(self) -> Option<Lares> {
        let request = self.request?;
        if self.confirmed? != request || self.method? != BEARER {
            return None;
        }
        // The text of a cookie's value (am-protocol: URL-encoded).
        let token: Vec<u8> = percent_decode_str(&self.token?).collect();
        Some(Lares {
            request,
            token: Some(Secret::new(token)).filter(|token| !token.is_empty())?,
            status: self.status?,
            issuer: self.issuer?,
            audience: self.audience?.trim().to_string(),
            not_before: self.not_before?,
            not_on_or_after: self.not_on_or_after?,
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Milliseconds since 1970.
fn when(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As OpenAM 16.0.5 writes it.
    const DOCUMENT: &str = r#"<lib:AuthnResponse xmlns:lib="http://projectliberty.org/schemas/core/2002/12" xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion" xmlns:samlp="urn:oasis:names:tc:SAML:1.0:protocol" ResponseID="s2c"  InResponseTo="AAAAAAAAAAAAAAAAAAAAAA" MajorVersion="1" MinorVersion="0" IssueInstant="2027-01-15T08:00:00Z"><samlp:Status>
<samlp:StatusCode Value="samlp:Success">
</samlp:StatusCode>
</samlp:Status>
<saml:Assertion  id="sd1" MajorVersion="1" MinorVersion="0" AssertionID="sd1" Issuer="http://am.example.com:8080/openam/cdcservlet" IssueInstant="2027-01-15T08:00:00Z" InResponseTo="AAAAAAAAAAAAAAAAAAAAAA" xsi:type="lib:AssertionType">
<saml:Conditions  NotBefore="2027-01-15T08:00:00Z" NotOnOrAfter="2027-01-15T08:01:00Z" >
<saml:AudienceRestrictionCondition>
<saml:Audience>http://www.example.com:80/?Realm=%2F</saml:Audience>
</saml:AudienceRestrictionCondition>
</saml:Conditions>
<saml:AuthenticationStatement  AuthenticationMethod="DataStore" xsi:type="lib:AuthenticationStatementType"><saml:Subject   xsi:type="lib:SubjectType"><saml:NameIdentifier NameQualifier="http://am.example.com:8080/openam/cdcservlet">AQIC5w%2Ba.*AAJT..*</saml:NameIdentifier>
<saml:SubjectConfirmation>
<saml:ConfirmationMethod>urn:oasis:names:tc:SAML:1.0:cm:bearer</saml:ConfirmationMethod>
</saml:SubjectConfirmation>
<lib:IDPProvidedNameIdentifier  NameQualifier="http://am.example.com:8080/openam/cdcservlet" >AQIC5w%2Ba.*AAJT..*</lib:IDPProvidedNameIdentifier>
</saml:Subject><saml:SubjectLocality  IPAddress="127.0.0.1" /></saml:AuthenticationStatement></saml:Assertion>
<lib:ProviderID>http://am.example.com:8080/openam/cdcservlet</lib:ProviderID></lib:AuthnResponse>
"#;
    /// 2027-01-15T08:00:00Z
    const THEN: u64 = 1_800_000_000_000;

    fn of(document: &str) -> Result<Lares, LaresError> {
        read(STANDARD.encode(document).as_bytes())
    }

    fn checked(document: &str, at: u64) -> Result<(), LaresError> {
        let issuers = ["http://am.example.com:8080/openam/cdcservlet".to_string()];
        let expect = Expect {
            audience: "http://www.example.com:80/?Realm=%2F",
            issuers: &issuers,
        };
        of(document).and_then(|lares| lares.check(&expect, UnixMillis(at)))
    }

    #[test]
    fn what_am_writes_is_read() {
        let lares = of(DOCUMENT).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(lares.request, "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(lares.token.expose(), b"AQIC5w+a.*AAJT..*");
        assert_eq!(instant(UnixMillis(THEN + 999)), "2027-01-15T08:00:00Z");
        // In lines of 76, as older encoders write.
        let text = STANDARD.encode(DOCUMENT);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(76)
            .map(|l| core::str::from_utf8(l).unwrap())
            .collect();
        assert!(read(lines.join("\r\n").as_bytes()).is_ok());
        // A token in pieces is one.
        let pieces = DOCUMENT.replacen(">AQIC5w%2Ba", "><![CDATA[AQI]]>C5w&#x25;2B<!-- no -->a", 1);
        assert!(of(&pieces).is_ok_and(|l| l.token.expose() == b"AQIC5w+a.*AAJT..*"));
    }

    #[test]
    fn it_counts_for_its_site_from_its_am_and_in_its_time() {
        for (at, expected) in [
            (THEN, Ok(())),
            (THEN - 60_000, Ok(())),
            (THEN - 60_001, Err(LaresError::Time)),
            (THEN + 119_999, Ok(())),
            (THEN + 120_000, Err(LaresError::Time)),
        ] {
            assert_eq!(checked(DOCUMENT, at), expected, "{at}");
        }
        for (from, to, why) in [
            ("samlp:Success", "samlp:Responder", LaresError::Status),
            ("samlp:Success", "Success", LaresError::Status),
            (
                "com:80/?Realm=%2F",
                "com:80/?Realm=%2Fshop",
                LaresError::Audience,
            ),
            ("com:80/?Realm=%2F", "com:80/", LaresError::Audience),
            ("http://www.", "http://evil.", LaresError::Audience),
            (
                "Issuer=\"http://am.",
                "Issuer=\"http://evil.",
                LaresError::Issuer,
            ),
            (
                "am.example.com:8080/openam/cdcservlet\" IssueI",
                "am.example.com:8080/openam\" IssueI",
                LaresError::Issuer,
            ),
        ] {
            assert_eq!(
                checked(&DOCUMENT.replacen(from, to, 1), THEN),
                Err(why),
                "{to}"
            );
        }
    }

    #[test]
    fn what_am_does_not_write_is_refused() {
        let bomb = format!(
            "<!DOCTYPE l [<!ENTITY a \"{}\">]>{DOCUMENT}",
            "x".repeat(99)
        );
        let entity = DOCUMENT.replacen(">AQIC5w", ">&a;", 1);
        let deep = DOCUMENT.replacen(
            "<samlp:Status>",
            &format!("{}<samlp:Status>", "<a>".repeat(40)),
            1,
        );
        let long = DOCUMENT.replacen(">AQIC5w", &format!(">{}", "A".repeat(MAX_DOCUMENT)), 1);
        let twice = |from: &str| {
            let end = from.replace('<', "</");
            let (from, end) = (
                DOCUMENT.find(from).unwrap(),
                DOCUMENT.find(&end).unwrap() + end.len(),
            );
            format!("{}{}", &DOCUMENT[..end], &DOCUMENT[from..])
        };
        for bad in [
            "",
            "x",
            "<a/>",
            &bomb,
            &entity,
            &deep,
            &long,
            &DOCUMENT[..DOCUMENT.len() - 20],
            &format!("{DOCUMENT}{DOCUMENT}"),
            &twice("<saml:Audience>"),
            &twice("<saml:ConfirmationMethod>"),
            &DOCUMENT.replace("saml:NameIdentifier", "NameIdentifier"),
            &DOCUMENT.replace("lib:AuthnResponse", "AuthnResponse"),
            &DOCUMENT.replacen("InResponseTo=\"A", "InResponseTo=\"B", 1),
            &DOCUMENT.replacen("InResponseTo", "InReply", 1),
            &DOCUMENT.replacen("InResponseTo=", "InResponseTo=\"x\" InResponseTo=", 1),
            &DOCUMENT.replacen("MajorVersion=\"1\"", "MajorVersion=\"2\"", 1),
            &DOCUMENT.replace("cm:bearer", "cm:artifact"),
            &DOCUMENT.replace("2027-01-15T08:01:00Z", "soon"),
            &DOCUMENT.replace("AQIC5w%2Ba.*AAJT..*", ""),
            &DOCUMENT.replacen("<samlp:StatusCode", "<samlp:Status/><samlp:StatusCode Value=\"samlp:Success\"/><samlp:StatusCode", 1),
            &DOCUMENT.replacen("</saml:Subject>", "</saml:Subject><saml:Subject><saml:NameIdentifier>x</saml:NameIdentifier></saml:Subject>", 1),
        ] {
            assert_eq!(of(bad).err(), Some(LaresError::Malformed), "{bad}");
        }
        assert_eq!(read(b"!!").err(), Some(LaresError::Malformed));
    }

    proptest! {
        #[test]
        fn rubbish_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..2000) {
            prop_assert!(read(STANDARD.encode(&bytes).as_bytes()).is_err());
            let mut altered = DOCUMENT.as_bytes().to_vec();
            let at = at.min(altered.len());
            altered.splice(at..at, bytes);
            let _ = read(STANDARD.encode(&altered).as_bytes());
        }
    }
}
