//! Rows about what the application learns of the user.

use super::{Kind::*, Property, works};
use crate::config::{FetchMode, MimeEncode, UserIdType, values::Values};

#[rustfmt::skip]
pub(super) const ATTRIBUTES: &[Property] = &[
    works("com.sun.identity.agents.config.userid.param", Text, "UserToken", "4.x",
        "Session property or profile attribute that becomes REMOTE_USER.",
        |c, v| v.text(&mut c.userid_param)).test("values_stay_one_value_whatever_is_in_them"),
    works("com.sun.identity.agents.config.userid.param.type", Choice, "SESSION", "4.x",
        "Where to look for it: SESSION or LDAP.",
        |c, v| v.choice(&mut c.userid_type, &[("SESSION", UserIdType::Session), ("LDAP", UserIdType::Ldap)])).test("the_users_name_may_come_from_the_profile"),
    works("com.sun.identity.agents.config.session.attribute.fetch.mode", Choice, "NONE", "4.x",
        "How session properties are passed on: NONE, HTTP_HEADER or HTTP_COOKIE.",
        |c, v| mode(&mut c.session_attributes.mode, v)).test("the_application_sees_the_user"),
    works("com.sun.identity.agents.config.session.attribute.mapping", Map, "", "4.x",
        "Session properties and their request headers, or cookies without the prefix: [property]=Name-1|Name-2.",
        |c, v| v.headers(&mut c.session_attributes)).test("the_application_sees_the_user"),
    works("com.sun.identity.agents.config.profile.attribute.fetch.mode", Choice, "NONE", "4.x",
        "How attributes of the user's profile are passed on: NONE, HTTP_HEADER or HTTP_COOKIE.",
        |c, v| mode(&mut c.profile_attributes.mode, v)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.profile.attribute.mapping", Map, "", "4.x",
        "Profile attributes, spelt as the directory does, and their request headers.",
        |c, v| v.headers(&mut c.profile_attributes)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.response.attribute.fetch.mode", Choice, "NONE", "4.x",
        "How attributes of policies are passed on: NONE, HTTP_HEADER or HTTP_COOKIE.",
        |c, v| mode(&mut c.response_attributes.mode, v)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.response.attribute.mapping", Map, "", "4.x",
        "Policy attributes and their request headers.",
        |c, v| v.headers(&mut c.response_attributes)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.attribute.multi.value.separator", Text, "|", "4.x",
        "Stands between several values of one attribute.",
        |c, v| v.checked(&mut c.separator, str::is_ascii, "is not plain ASCII", "use one character, as in |")).test("several_values_stand_between_separators"),
    works("com.sun.identity.agents.config.anonymous.user.enable", Switch, "false", "4.x",
        "Give requests that need no session a user name too, where none is known. It satisfies no authentication of the web server's own.",
        |c, v| v.switch(&mut c.anonymous_user)).test("nobody_in_particular_has_a_name_where_told"),
    works("com.sun.identity.agents.config.anonymous.user.id", Text, "anonymous", "4.x",
        "That name.",
        |c, v| v.checked(&mut c.anonymous_user_id, |s| s.bytes().all(|b| matches!(b, 0x20..=0x7e)), "is not plain ASCII", "use letters, digits and signs")).test("nobody_in_particular_has_a_name_where_told"),
    works("com.forgerock.agents.header.mime.encode", Choice, "0", "5.7",
        "0: encode header values with other than ASCII characters by RFC 2047. 1: all. 2: none but those with control characters. A user's name counts as 0 where 1 is set.",
        |c, v| v.choice(&mut c.mime_encode, &[("0", MimeEncode::NonAscii), ("1", MimeEncode::Always), ("2", MimeEncode::Never)])).test("headers_arrive_encoded_as_configured"),
];

fn mode(to: &mut FetchMode, v: &mut Values<'_>) {
    v.choice(
        to,
        &[
            ("NONE", FetchMode::None),
            ("HTTP_HEADER", FetchMode::HttpHeader),
            ("HTTP_COOKIE", FetchMode::HttpCookie),
        ],
    );
}
