//! What was decided, and what the host has to do about it.

use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};

use super::{
    facts::Opened,
    incident::Incident,
    need::{Ask, CookieKey, SessionKey},
};
use crate::{
    config::Snapshot,
    event::Code,
    record::{Attributes, Policy, Session},
};

/// A list of rules, in the order in which the lists are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleList {
    /// `portcullis.deny.rule`
    Deny,
    /// `com.sun.identity.agents.config.notenforced.ip`
    Ip,
    /// `com.sun.identity.agents.config.notenforced.url`, not inverted
    Url,
    /// The same, inverted: no entry matches.
    Inverted,
    /// `org.forgerock.agents.config.notenforced.ipurl`
    IpUrl,
    /// `portcullis.notenforced.rule`
    Own,
    /// `portcullis.filter.mode`, by path
    Mode,
    /// A page that refused browsers are sent to, `com.sun.identity.agents.config.access.denied.url` and the
    /// like.
    Page,
}

impl RuleList {
    /// The lists that open pages, in the order in which they are looked at.
    pub const NOT_ENFORCED: [RuleList; 6] = [
        RuleList::Ip,
        RuleList::Url,
        RuleList::Inverted,
        RuleList::IpUrl,
        RuleList::Own,
        RuleList::Mode,
    ];
}

/// A rule: its list, and its place in it. [`crate::config::Config::rule`] has what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId {
    /// The list.
    pub list: RuleList,
    /// The place in it, from 0; without meaning where the list as a whole decides.
    pub at: u32,
}

/// Why a request is let through. Only the engine makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A not-enforced rule.
    NotEnforced(RuleId),
    /// AM's policy allows the method.
    Policy,
    /// A live session is all that is asked for.
    SsoOnly,
    /// A live session, which AM's policy refuses; the host's own rules decide. Never a page that others
    /// may see.
    LeftToHost,
    /// A logout URL: the session was ended and the application's page follows.
    LogoutPage,
    /// It would have been refused; that is only reported ([`Decision::would`]).
    Reported,
}

/// What would have happened, where that is only reported (rule O5). Rule, detail and subject are the
/// decision's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Would {
    /// Why, as a stable code.
    pub code: Code,
    /// HTTP status of the answer.
    pub status: u16,
}

/// What a policy set says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// It is allowed.
    Allowed,
    /// It is not.
    Denied,
    /// It is not, and AM says what would help.
    DeniedWithAdvices,
}

impl Opinion {
    /// What an answer of AM says of a request with these methods.
    pub fn of(answer: &Policy<'_>, methods: &[Vec<u8>]) -> Opinion {
        let allowed = !methods.is_empty() && methods.iter().all(|method| answer.allows(method));
        match (allowed, answer.has_advices()) {
            (true, _) => Opinion::Allowed,
            (false, false) => Opinion::Denied,
            (false, true) => Opinion::DeniedWithAdvices,
        }
    }

    /// In an operator's words.
    pub const fn text(self) -> &'static str {
        match self {
            Opinion::Allowed => "allowed",
            Opinion::Denied => "denied",
            Opinion::DeniedWithAdvices => "denied with advices",
        }
    }
}

/// A second opinion: of a policy set that decides nothing (`portcullis.mode` = shadow).
pub struct Shadow {
    /// What was decided.
    pub enforced: Opinion,
    /// The request's method, and those that an application may take in its place.
    pub methods: Vec<Vec<u8>>,
    /// What the second one says.
    pub second: Second,
    /// Realm and policy set of the second one.
    pub place: String,
}

/// What is known of a second opinion. The most it can do is ask.
pub enum Second {
    /// It differs.
    Known(Opinion),
    /// AM has to be asked, after the response.
    Ask(Ask),
}

/// Proof that the engine allowed a request: nothing else can make one.
pub struct Grant(Why);

impl Grant {
    pub(crate) fn new(why: Why) -> Grant {
        Grant(why)
    }

    /// The reason.
    pub fn why(&self) -> Why {
        self.0
    }
}

/// An answer of the agent's own.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Header fields; `Set-Cookie` may occur several times.
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// Body, possibly empty.
    pub body: Vec<u8>,
}

/// What happens to the request.
pub enum Outcome {
    /// Let it through.
    Allow(Grant),
    /// Answer it.
    Respond(Response),
    /// Put the request that [`Act::TakePost`](super::Act) took out of the store in its place, and decide that
    /// one: from the beginning, as if the browser had sent it. Allows nothing.
    Replay,
}

/// The user of an allowed request; the edits are made from it while they are walked.
pub struct Identity<'a> {
    /// The live session.
    pub session: Session<'a>,
    /// The policy answer, for its response attributes.
    pub policy: Option<Policy<'a>>,
    /// Profile attributes.
    pub attributes: Option<Attributes<'a>>,
}

/// Receives the edits of a decision one by one. Slices live for the length of the call.
pub trait Sink {
    /// Replace the request header of this name.
    fn request_header(&mut self, name: &[u8], value: &[u8]);
    /// Remove the request header of this name.
    fn remove_request_header(&mut self, name: &[u8]);
    /// Set a variable of the host that no client can forge.
    fn variable(&mut self, name: &[u8], value: &[u8]);
    /// Set the authenticated user.
    fn user(&mut self, name: &[u8]);
    /// Add a header to the response, also to an allowed one.
    fn response_header(&mut self, name: &[u8], value: &[u8]);
}

/// What changes in the request; walked with [`Edits::walk`], which lives in `decide/finish.rs`.
#[derive(Default)]
pub struct Edits<'a> {
    /// The user, where one is known.
    pub identity: Option<Identity<'a>>,
    /// A request of nobody known has the name of `anonymous.user.id`.
    pub anonymous: bool,
    /// The `Cookie` headers as received; ours are taken out of them (rule L4).
    pub cookies: Option<&'a Snapshot>,
    /// Attribute cookies of the browser are `Secure`, because it uses https.
    pub https: bool,
    /// Response headers of an allowed request (cookies that are cleared).
    pub response: Vec<(Cow<'static, str>, Vec<u8>)>,
}

/// What the decision rests on; looked at once more before a suspended request is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The session, if one is involved.
    pub session: Option<SessionKey>,
    /// What opening the session cookie gave, where it was opened; for [`super::Facts::opened`].
    pub opened: Option<(CookieKey, Opened)>,
}

/// What the driver writes into the body of an answer, because only it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Nothing: the body is the engine's.
    Nothing,
    /// The host's numbers in the text format of Prometheus, 0.0.4.
    Metrics,
    /// The same in the Web Agent's JSON.
    Monitor,
    /// How the agent is, for those who may know: JSON.
    Health,
}

/// The decision about one request.
pub struct Decision<'a> {
    /// Let through, or answered.
    pub outcome: Outcome,
    /// Why, as a stable code.
    pub reason: Code,
    /// What changes in the request and the response.
    pub edits: Edits<'a>,
    /// What it rests on.
    pub basis: Basis,
    /// Incident id on the page and in the log.
    pub incident: Incident,
    /// Who it was about, for the audit line: (universal id, realm, tracking id).
    pub subject: Option<Session<'a>>,
    /// Age of the oldest fact the decision rests on, milliseconds.
    pub age: u64,
    /// The rule that made the decision, if one did.
    pub rule: Option<RuleId>,
    /// An allow that follows from method and URL alone: the host may keep the page for others.
    pub for_everybody: bool,
    /// What would have happened, where that is only reported.
    pub would: Option<Would>,
    /// A second opinion to be looked at after the response.
    pub shadow: Option<Box<Shadow>>,
    /// What the driver writes into the body of the answer.
    pub fill: Fill,
    /// More for the log line: names and numbers, never a secret.
    pub detail: Cow<'static, str>,
}
