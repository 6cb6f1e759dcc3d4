//! Rows about what the application learns of the user.

use super::{Kind::*, Property, later, works};
use crate::config::{FetchMode, UserIdType, values::Values};

#[rustfmt::skip]
pub(super) const ATTRIBUTES: &[Property] = &[
    works("com.sun.identity.agents.config.userid.param", Text, "UserToken", "4.x",
        "Session property or profile attribute that becomes REMOTE_USER.",
        |c, v| v.text(&mut c.userid_param)).test("values_stay_one_value_whatever_is_in_them"),
    works("com.sun.identity.agents.config.userid.param.type", Choice, "SESSION", "4.x",
        "Where to look for it: SESSION or LDAP.",
        |c, v| v.choice(&mut c.userid_type, &[("SESSION", UserIdType::Session), ("LDAP", UserIdType::Ldap)])).test("the_users_name_may_come_from_the_profile"),
    works("com.sun.identity.agents.config.session.attribute.fetch.mode", Choice, "NONE", "4.x",
        "How session properties are passed on: NONE or HTTP_HEADER.",
        |c, v| mode(&mut c.session_attributes.mode, v)).test("the_application_sees_the_user"),
    works("com.sun.identity.agents.config.session.attribute.mapping", Map, "", "4.x",
        "Session properties and their request headers: [property]=Header-1|Header-2.",
        |c, v| v.headers(&mut c.session_attributes)).test("the_application_sees_the_user"),
    works("com.sun.identity.agents.config.profile.attribute.fetch.mode", Choice, "NONE", "4.x",
        "How attributes of the user's profile are passed on: NONE or HTTP_HEADER.",
        |c, v| mode(&mut c.profile_attributes.mode, v)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.profile.attribute.mapping", Map, "", "4.x",
        "Profile attributes, spelt as the directory does, and their request headers.",
        |c, v| v.headers(&mut c.profile_attributes)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.response.attribute.fetch.mode", Choice, "NONE", "4.x",
        "How attributes of policies are passed on: NONE or HTTP_HEADER.",
        |c, v| mode(&mut c.response_attributes.mode, v)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.response.attribute.mapping", Map, "", "4.x",
        "Policy attributes and their request headers.",
        |c, v| v.headers(&mut c.response_attributes)).test("attribute_variables_carry_what_the_headers_carry"),
    works("com.sun.identity.agents.config.attribute.multi.value.separator", Text, "|", "4.x",
        "Stands between several values of one attribute.",
        |c, v| v.checked(&mut c.separator, str::is_ascii, "is not plain ASCII", "use one character, as in |")).test("several_values_stand_between_separators"),
    later("com.sun.identity.agents.config.anonymous.user.enable", Switch, "false", "4.x",
        "Give requests without a session a user name too."),
    later("com.sun.identity.agents.config.anonymous.user.id", Text, "anonymous", "4.x",
        "That name."),
    later("com.forgerock.agents.header.mime.encode", Number, "0", "5.7",
        "0: encode header values with other than ASCII characters by RFC 2047. 1: all. 2: none."),
];

fn mode(to: &mut FetchMode, v: &mut Values<'_>) {
    if let Some(line) = v
        .last()
        .filter(|l| l.value.eq_ignore_ascii_case("HTTP_COOKIE"))
    {
        // Passing nothing on would leave the application with the cookies that the client sent.
        v.wrong(
            line,
            "is not supported by this version",
            "write HTTP_HEADER or NONE",
        );
        return;
    }
    v.choice(
        to,
        &[
            ("NONE", FetchMode::None),
            ("HTTP_HEADER", FetchMode::HttpHeader),
        ],
    );
}
