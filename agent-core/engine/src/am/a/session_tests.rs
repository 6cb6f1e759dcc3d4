use std::{format, string::ToString};

use proptest::prelude::*;

use super::*;
use crate::{contract::Cause, record::Session};

const TOKEN: &str = "AQIC5wM2LY4SfczMADEUPr5034pkVFPII.*AAJTSQACMDEAAlNLABQtMTIzNDU2AAJTMQAA*";
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn token() -> Secret {
    Secret::new(TOKEN.into())
}

fn envelope(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<ResponseSet vers=\"1.0\" svcid=\"session\" reqid=\"0\">\n<Response><![CDATA[<SessionResponse vers=\"1.0\" reqid=\"1\">\n<GetSession>\n{inner}\n</GetSession>\n</SessionResponse>]]></Response>\n</ResponseSet>"
    )
}

/// What OpenAM 16.0.5 sends, with another token.
fn live() -> String {
    envelope(&format!(
        "<Session sid=\"{TOKEN}\" stype=\"user\" cid=\"id=demo1,ou=user,dc=openam,dc=openidentityplatform,dc=org\" cdomain=\"dc=openam,dc=openidentityplatform,dc=org\" maxtime=\"120\" maxidle=\"30\" maxcaching=\"3\" timeidle=\"60\" timeleft=\"7189\" state=\"valid\">\n<Property name=\"Locale\" value=\"en_US\"></Property>\n<Property name=\"AMCtxId\" value=\"9eb943fe6926f58301\"></Property>\n<Property name=\"FullLoginURL\" value=\"/openam/UI/Login?authIndexValue=Application&amp;realm=%2F\"></Property>\n<Property name=\"UserToken\" value=\"demo1\"></Property>\n<Property name=\"sun.am.UniversalIdentifier\" value=\"id=demo1,ou=user,dc=openam,dc=openidentityplatform,dc=org\"></Property>\n<SessionEventUrl>http://am.test.example.org:18080/openam/notificationservice</SessionEventUrl>\n</Session>"
    ))
}

fn ask(body: &str, token: &Secret) -> Result<Answer, AmError> {
    parse(
        &Reply {
            status: 200,
            headers: &[],
            body: body.as_bytes(),
        },
        token,
        NOW,
    )
}

fn error(body: &str) -> Option<AmError> {
    ask(body, &token()).err()
}

#[test]
fn asks_as_openam_expects() {
    let agent = Secret::new(b"AQIC5wAGENT".to_vec());
    let e = encode(&agent, &Secret::new(b"a<b>&\"]]>c".to_vec()), false)
        .ok()
        .unwrap();
    assert_eq!(e.path, "sessionservice");
    let body = core::str::from_utf8(e.body.expose()).unwrap();
    assert_eq!(
        body,
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<RequestSet vers=\"1.0\" svcid=\"Session\" reqid=\"0\">\n<Request><![CDATA[<SessionRequest vers=\"1.0\" reqid=\"1\" requester=\"dG9rZW46QVFJQzV3QUdFTlQ=\"><GetSession reset=\"false\"><SessionID>a&lt;b&gt;&amp;&quot;]]&gt;c</SessionID></GetSession></SessionRequest>]]></Request>\n</RequestSet>"
    );
    assert!(encode(&agent, &Secret::new(b"".to_vec()), true).err() == Some(AmError::UserDead));
}

#[test]
fn reads_what_openam_16_sends() {
    let Ok(Answer::Live(bytes)) = ask(&live(), &token()) else {
        panic!("not live")
    };
    let s = Session::decode(&bytes).unwrap();
    assert_eq!(
        (s.kind, s.client_side, s.realm),
        (SessionKind::User, false, "/")
    );
    assert_eq!(s.max_end, NOW.0 + 7_189_000);
    assert_eq!(s.idle_end, NOW.0 + 29 * 60_000);
    assert_eq!(
        s.universal_id,
        "id=demo1,ou=user,dc=openam,dc=openidentityplatform,dc=org"
    );
    assert_eq!(s.properties.first("UserToken"), Some("demo1"));
    let url = "/openam/UI/Login?authIndexValue=Application&realm=%2F";
    assert_eq!(s.properties.first("FullLoginURL"), Some(url));
}

#[test]
fn an_agent_is_an_application_and_its_limits_do_not_overflow() {
    let body = live()
        .replace("stype=\"user\"", "stype=\"application\"")
        .replace(
            "cid=\"id=demo1,ou=user,dc=openam,dc=openidentityplatform,dc=org\"",
            "cid=\"wa1\"",
        )
        .replace("timeleft=\"7189\"", "timeleft=\"18446744073709551615\"")
        .replace("maxidle=\"30\"", "maxidle=\"153722867280912930\"");
    let Ok(Answer::Live(bytes)) = ask(&body, &token()) else {
        panic!("not live")
    };
    let s = Session::decode(&bytes).unwrap();
    assert_eq!((s.kind, s.max_end), (SessionKind::Application, u64::MAX));
    assert_eq!(
        s.universal_id,
        "id=demo1,ou=user,dc=openam,dc=openidentityplatform,dc=org"
    );
}

#[test]
fn an_answer_about_another_token_is_no_answer() {
    let other = live().replace("sid=\"AQIC5wM2", "sid=\"AQIC5wM3");
    assert_eq!(error(&other), Some(AmError::PROTOCOL));
    let null = live().replace(&format!("sid=\"{TOKEN}\""), "sid=\"null\"");
    assert_eq!(error(&null), Some(AmError::PROTOCOL));
    let jwt = Secret::new(b"*AAJTSQACMDEAAlMxAAA.*eyJ0eXAiOiJKV1QifQ.e30.x".to_vec());
    let Ok(Answer::Live(bytes)) = ask(&null, &jwt) else {
        panic!("not live")
    };
    assert!(Session::decode(&bytes).unwrap().client_side);
    assert_eq!(ask(&live(), &jwt).err(), Some(AmError::PROTOCOL));
}

#[test]
fn the_same_token_in_its_other_writing_is_the_same() {
    let asked = TOKEN
        .replacen('*', "@", 1)
        .replace('*', "#")
        .replace('.', "=");
    assert!(ask(&live(), &Secret::new(asked.into_bytes())).is_ok());
}

#[test]
fn exceptions_blame_one_or_nobody() {
    let exception = |text: &str| {
        ask(
            &envelope(&format!("<Exception>{text}</Exception>")),
            &token(),
        )
    };
    let dead = exception(&format!("{TOKEN} Invalid session ID.{TOKEN}"));
    assert_eq!(dead.err(), Some(AmError::UserDead));
    let agent = exception("Application token passed in, is invalid.token:AQIC5wAGENT.*");
    assert_eq!(agent.err(), Some(AmError::AgentDead));
    for doubtful in [
        format!("{TOKEN} java.lang.NullPointerException"),
        format!("{TOKEN} Failed to create encrypted storage key for:\nSession ID: x"),
        format!("{TOKEN} Application token passed in, is invalid."),
        "AQIC5wOther Invalid session ID.".to_string(),
        format!("{TOKEN} ID de session non valide."),
        String::new(),
    ] {
        assert!(exception(&doubtful) == Ok(Answer::Doubt), "{doubtful}");
    }
}

#[test]
fn a_session_that_is_not_valid_is_dead() {
    for state in ["invalid", "inactive", "destroyed"] {
        let body = live().replace("state=\"valid\"", &format!("state=\"{state}\""));
        assert_eq!(error(&body), Some(AmError::UserDead));
    }
}

#[test]
fn what_is_not_the_protocol_is_no_answer() {
    let l = live();
    for bad in [
        l.replace("stype=\"user\"", "stype=\"other\""),
        l.replace(" timeleft=\"7189\"", ""),
        l.replace("timeidle=\"60\"", "timeidle=\"-1\""),
        l.replace("cdomain=\"dc=openam,", "cdomain=\"openam,"),
        l.replace("</Session>", "</Session><Exception>x</Exception>"),
        l.replace("</Session>", "</Session><Session></Session>"),
        l.replace("<Property name=\"Locale\"", "<Property"),
        l.replace("SessionResponse", "OtherResponse"),
        l.replace(
            "<Property name=\"Locale\" value=\"en_US\">",
            "<Property name=\"Locale\" value=\"&e;\">",
        ),
        l.replace("<Session ", "<Session x=\"1\" x=\"2\" "),
        l.replace("[<SessionResponse", "[<!DOCTYPE a><SessionResponse"),
        "<html/>".to_string(),
        "x".repeat(MAX_BODY + 1),
    ] {
        assert_eq!(error(&bad), Some(AmError::PROTOCOL), "{bad:.300}");
    }
    let refused = parse(
        &Reply {
            status: 302,
            headers: &[],
            body: b"",
        },
        &token(),
        NOW,
    )
    .err();
    assert_eq!(refused, Some(AmError::Unavailable(Cause::Status(302))));
}

#[test]
fn realms_come_from_the_dn() {
    for (dn, realm) in [
        ("dc=openam,dc=openidentityplatform,dc=org", Some("/")),
        ("o=shop,ou=services,dc=openam,dc=org", Some("/shop")),
        ("o=b,ou=services,o=a,ou=services,dc=openam", Some("/a/b")),
        ("O=a\\,b c, OU=Services, dc=openam", Some("/a,b c")),
        ("o=caf\\C3\\A9,ou=services,dc=x", Some("/café")),
        ("o=openam", Some("/")),
        ("o=a,ou=services,o=openam", Some("/a")),
        ("o=a,ou=users,dc=x", Some("/")),
        ("o=..,ou=services,dc=x", None),
        ("o=a/b,ou=services,dc=x", None),
        ("o=a\\", None),
        ("shop", None),
        ("", None),
    ] {
        assert_eq!(realm_of(dn).as_deref(), realm, "{dn}");
    }
    assert_eq!(
        user_of("id=demo1,ou=user,dc=openam").as_deref(),
        Some("demo1")
    );
    assert_eq!(
        user_of("id=a\\,b\\=c=d,ou=user").as_deref(),
        Some("a,b=c=d")
    );
    assert_eq!(user_of("uid=demo1,ou=user"), None);
}

proptest! {
    #[test]
    fn rubbish_is_never_a_session(inner in ".{0,200}", dn in ".{0,60}") {
        let answer = ask(&envelope(&inner), &token());
        prop_assert!(!matches!(answer, Ok(Answer::Live(_))));
        let _ = realm_of(&dn);
    }
}
