//! Rows that are read so that an existing file or profile is understood, and that will stay without
//! effect: other hosts' properties, the profile's own entries, what older agents needed.

use super::{From, Kind::*, Property, idle, works};

const IIS: &str = "it concerns IIS only";
const DOMINO: &str = "it concerns Domino only";
const SERVER: &str = "AM reads it, not the agent";
const HEALTH: &str = "the agent finds out itself which AM answers";

#[rustfmt::skip]
pub(super) const OTHER_HOSTS: &[Property] = &[
    idle("com.sun.identity.agents.config.iis.logonuser", Switch, "false", "4.x", "Log on to Windows as the user.", IIS),
    idle("com.sun.identity.agents.config.iis.password.header", Switch, "false", "4.x", "Pass the encrypted password in a header.", IIS),
    idle("com.sun.identity.agents.config.replaypasswd.key", Text, "", "4.x", "Key of passwords kept in sessions.", IIS),
    idle("org.forgerock.agents.config.iis.headers.server.disable", Switch, "false", "5.10.2", "Leave out the Server header.", IIS).boot(),
    idle("com.sun.identity.agents.config.iis.auth.type", Text, "", "OpenAM", "Authentication type shown to applications.", IIS),
    idle("com.sun.identity.agents.config.iis.filter.priority", Text, "HIGH", "OpenAM", "Place of the filter among others.", IIS),
    idle("com.sun.identity.agents.config.iis.owa.enable", Switch, "false", "OpenAM", "Outlook Web Access.", IIS),
    idle("com.sun.identity.agents.config.iis.owa.enable.change.protocol", Switch, "false", "OpenAM", "Use https with Outlook Web Access.", IIS),
    idle("com.sun.identity.agents.config.iis.owa.enable.session.timeout.url", Text, "", "OpenAM", "Page for idle users of Outlook Web Access.", IIS),
    idle("com.sun.identity.agents.config.domino.check.name.database", Switch, "false", "OpenAM", "Look users up in Domino.", DOMINO),
    idle("com.sun.identity.agents.config.domino.ltpa.enable", Switch, "false", "OpenAM", "Make LTPA tokens.", DOMINO),
    idle("com.sun.identity.agents.config.domino.ltpa.cookie.name", Text, "LtpaToken", "OpenAM", "Cookie of LTPA tokens.", DOMINO),
    idle("com.sun.identity.agents.config.domino.ltpa.config.name", Text, "LtpaToken", "OpenAM", "Name of their settings.", DOMINO),
    idle("com.sun.identity.agents.config.domino.ltpa.org.name", Text, "", "OpenAM", "Their organisation.", DOMINO),
    idle("com.sun.identity.agents.config.proxy.override.host.port", Switch, "false", "OpenAM", "Take the proxy's host and port for the request's.", "it concerns a proxy server that is gone"),
];

#[rustfmt::skip]
pub(super) const ENTRIES: &[Property] = &[
    idle("group", Text, "", "AM", "Group that the profile inherits from.", SERVER),
    idle("sunIdentityServerDeviceStatus", Text, "Active", "OpenAM", "Whether AM lets the agent log in.", SERVER),
    idle("userpassword", Secret, "", "OpenAM", "The profile's password.", SERVER),
    idle("com.sun.identity.agents.config.freeformproperties", List, "", "4.x",
        "Custom properties of the profile, each a whole line. They beat the field of the same name.",
        "it belongs into the profile in AM; in a file, write the properties themselves"),
];

#[rustfmt::skip]
pub(super) const OLDER: &[Property] = &[
    idle("com.sun.identity.agents.config.cdsso.enable", Switch, "false", "4.x", "Log in across domains.", "logins always work across domains"),
    works("com.sun.identity.agents.config.cdsso.cdcservlet.url", List, "", "4.x", "Login servlets of older servers, in the order of naming.url. They count with portcullis.login.cdcservlet = true, and where public.am.url does not say where AM is.",
        |c, v| v.pages(&mut c.cdcservlet_url)).test("a_login_goes_through_cdcservlet_where_told"),
    idle("org.forgerock.agents.config.cdsso.deny.cleanup.disable", Switch, "false", "4.x", "Keep the session cookie on a refusal.", "a refusal never takes the cookie of a live session away").test("a_refusal_keeps_the_session"),
    idle("com.sun.identity.client.notification.url", Text, "", "4.x", "Address for notifications of older servers.", "notifications come over a connection that the agent opens").boot(),
    idle("com.sun.identity.agents.config.override.notification.url", Switch, "false", "4.x", "Make that address from agenturi.prefix.", "notifications come over a connection that the agent opens"),
    works("com.sun.identity.agents.config.load.balancer.enable", Switch, "false", "4.x", "Older form of add.amlbcookie: true switches that on.",
        |c, v| {
            let mut on = false;
            v.switch(&mut on);
            c.add_amlbcookie |= on;
        }).from(From::FileFirst).test("calls_about_a_session_name_the_server_that_keeps_it"),
    idle("org.forgerock.agents.config.keepalive.disable", Switch, "false", "4.x", "Close connections to AM after each call.", "connections are always reused").boot(),
    idle("com.forgerock.agents.ext.url.validation.default.url.set", Text, "", "4.x", "Order of preference among AM's URLs.", HEALTH).boot(),
    idle("com.forgerock.agents.ext.url.validation.level", Number, "2", "4.x", "How AM's URLs are tried.", HEALTH).boot(),
    idle("com.forgerock.agents.ext.url.validation.ping.interval", Number, "60", "4.x", "Seconds between trials.", HEALTH).boot(),
    idle("com.forgerock.agents.ext.url.validation.ping.miss.count", Number, "3", "4.x", "Failures before a URL is left.", HEALTH).boot(),
    idle("com.forgerock.agents.ext.url.validation.ping.ok.count", Number, "3", "4.x", "Successes before it is used again.", HEALTH).boot(),
    idle("com.forgerock.agents.init.retry.max", Number, "", "4.x", "Attempts to reach AM at start.", "the agent goes on trying")
        .boot().alias(&["org.forgerock.agents.init.retry.max"]),
    idle("com.forgerock.agents.init.retry.wait", Number, "", "4.x", "Seconds between them.", "the agent goes on trying")
        .boot().alias(&["org.forgerock.agents.init.retry.wait"]),
    works("com.sun.identity.agents.config.poll.primary.server", Number, "5", "OpenAM", "Minutes between looks whether the first of naming.url is back, while another one serves. 0: it is not looked for.",
        |c, v| v.number(&mut c.poll_primary, 0, 10_080, "minutes")).test("the_first_am_serves_again_when_it_is_back"),
    idle("com.sun.identity.agents.config.ignore.server.check", Switch, "false", "OpenAM", "Redirect to login without a look whether AM is up.", HEALTH),
    idle("com.sun.identity.agents.config.ignore.preferred.naming.url", Switch, "true", "OpenAM", "A detail of the naming service.", "the naming service is not used"),
    idle("com.sun.identity.agents.config.auth.connection.timeout", Number, "2", "OpenAM", "Seconds that the agent's login may take to connect.", "connect.timeout holds for all calls"),
    idle("com.sun.identity.agents.config.cleanup.interval", Number, "30", "OpenAM", "Minutes after which old configurations are dropped.", "a configuration goes with its last request"),
    idle("com.sun.identity.agents.config.convert.mbyte.enable", Switch, "false", "OpenAM", "Encode header values in the machine's own character set.", "values are UTF-8"),
    idle("com.sun.identity.agents.config.locale", Text, "en_US", "OpenAM", "Language of messages.", "messages are in English"),
];
