//! The stable codes: one row for each decision, warning and error, with its cause and its remedy.
//!
//! A code's number never changes its meaning. `docs/log-codes.md` is written from this table.

/// How much a line matters to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody has to act.
    Error,
    /// Somebody may have to act.
    Warning,
    /// Worth knowing.
    Info,
    /// One line a request.
    Debug,
}

/// One row of the table.
pub struct Row {
    /// Number, printed as `PCL0123`.
    pub number: u16,
    /// Severity of the log line.
    pub severity: Severity,
    /// What happened.
    pub text: &'static str,
    /// Why it happens.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($variant:ident $number:literal $severity:ident $text:literal $cause:literal $remedy:literal;)*) => {
        /// A stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $text] $variant,)*
        }

        impl Code {
            /// All codes in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code's row.
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Code::$variant => &Row {
                        number: $number,
                        severity: Severity::$severity,
                        text: $text,
                        cause: $cause,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

codes! {
    AllowedByPolicy 100 Debug "allowed by policy"
        "AM's policy allows this method on this URL." "Nothing.";
    NotEnforced 101 Debug "not enforced"
        "A not-enforced rule matches the URL." "Nothing.";
    AllowedSsoOnly 102 Debug "allowed: a live session is enough"
        "`com.sun.identity.agents.config.sso.only` is true." "Nothing.";
    LogoutPage 103 Info "logged out; the application's page follows"
        "The URL is in `com.sun.identity.agents.config.agent.logout.url`." "Nothing.";
    LeftToHost 104 Info "refused by policy; left to the web server's own rules"
        "`AmAuthProvider` is On here: AM's policy does not allow the request, and httpd's `Require` lines decide."
        "Put `Require AmAuth` where AM's policy shall decide.";
    LoginNoToken 200 Info "login: the request carries no session token"
        "First visit, or the cookie is gone." "Nothing; if it repeats, look whether the browser keeps the cookie.";
    LoginSessionDead 201 Info "login: AM says the session has ended"
        "It timed out, was logged out or was removed." "Nothing.";
    LoginBadCookie 202 Info "login: the session cookie is not one of ours or has expired"
        "The cookie was sealed for another instance, host or key, was altered, or is past its life."
        "If it follows a change of `agent-key.conf`: expected once for each user.";
    LoginTwoCookies 203 Warning "login: two different session cookies of one name; both were cleared"
        "A sibling host set a cookie of the same name for the parent domain."
        "Look for another application or agent with the same `jwt.name` in the domain.";
    LoginDone 204 Info "login finished; back to the page asked for"
        "AM's form arrived and everything in it was right." "Nothing.";
    LoginRestarted 205 Info "login took too long; it starts again at the page asked for"
        "More time passed than `profile.attribute.cookie.maxage` allows." "Raise that property if users need longer.";
    LoginOtherHost 206 Info "redirected to the host name under which logins work"
        "The request's host is none of `fqdn.default`, `fqdn.mapping`, `agenturi.prefix` or the agent root URLs."
        "Add the host to the agent root URLs in AM and to `fqdn.mapping` if users should use it.";
    CallbackNotPost 210 Warning "login refused: the agent's endpoint was not called with a form POST"
        "Somebody opened the endpoint by hand, or AM reported an error in the address."
        "Look at the address: `error=` in it is AM's reason.";
    CallbackOrigin 211 Warning "login refused: the form does not come from AM"
        "`Origin` is none of the AM URLs configured."
        "Set `com.forgerock.agents.public.am.url` if browsers reach AM under another name.";
    CallbackForm 212 Warning "login refused: the form is not as AM sends it"
        "A field is missing, occurs twice or is malformed." "Repeat with the browser's network view open.";
    CallbackAmError 213 Warning "login refused by AM"
        "AM answered the login with an error, named in the detail."
        "Look up the error; `redirect_uri_mismatch` means the agent root URL is missing in the profile.";
    CallbackNoCookie 214 Warning "login refused: the browser did not bring back the cookie of this login"
        "Cookies are blocked, the login began on another host, or it is a forged login."
        "Check that users stay on one host name and that the browser accepts cookies.";
    CallbackState 215 Warning "login refused: the state is not one this browser began"
        "A stale tab, or a forged login." "Open the page again.";
    CallbackReplayed 216 Warning "login refused: this answer of AM was used before"
        "Reload of the form, or a replay." "Open the page again.";
    TokenMalformed 220 Warning "login refused: id_token is malformed"
        "Something between AM and the browser altered it." "Compare with AM's own page.";
    TokenAlgorithm 221 Warning "login refused: id_token has another algorithm than this AM uses"
        "A forged token, or another kind of AM than the one configured." "Check the AM URL of the instance.";
    TokenSignature 222 Warning "login refused: id_token's signature is wrong"
        "A forged token, or the agent password in AM is not the one of this instance."
        "Set the agent password again on both sides.";
    TokenAudience 223 Warning "login refused: id_token was made for another agent"
        "Two agents share a cookie domain, or a token was carried over." "Check `username` of the instance.";
    TokenIssuer 224 Warning "login refused: id_token comes from another AM"
        "`iss` follows the name under which the browser reaches AM."
        "Set `com.forgerock.agents.public.am.url` to that name.";
    TokenNonce 225 Warning "login refused: id_token belongs to another login"
        "A replayed or swapped token." "Open the page again.";
    TokenRealm 226 Warning "login refused: id_token is of another realm"
        "The user logged in to a realm that this instance does not name." "Check `organization.name`.";
    TokenExpired 227 Warning "login refused: id_token has expired"
        "OpenAM's lives four seconds: the form took longer, or the clocks differ."
        "Compare the clocks of AM and this host.";
    TokenNotYetValid 228 Warning "login refused: id_token is from the future"
        "The clocks differ." "Compare the clocks of AM and this host.";
    TokenClaims 229 Warning "login refused: id_token lacks a claim or has one twice"
        "A forged token, or another kind of AM." "Check the AM URL of the instance.";
    LoginDeadSession 230 Warning "login refused: AM does not know the session that the id_token carries"
        "It ended between login and return." "Open the page again.";
    LoginStateStore 231 Error "login refused: the state could not be recorded as used"
        "The table of used states is full or damaged." "Look at the number of logins; restart the host if it stays.";
    LoginCookieTooLarge 232 Error "login refused: the session cookie would be larger than a browser takes"
        "Client-side sessions with many properties." "Use server-side sessions, or fewer properties.";
    ReportMode 240 Warning "nothing is refused: decisions are only reported"
        "`portcullis.mode` is report, everywhere or for the paths that the line names, until the time that it names."
        "Look through the lines with PCL0420, mend what they show, then take `portcullis.mode` out.";
    ReportEnded 241 Warning "reporting has ended: decisions are carried out"
        "`portcullis.mode` is report, and the time of `portcullis.mode.until` has come." "Take both out, or set a later time.";
    DeniedByPolicy 300 Info "denied by policy"
        "AM's policy does not allow this method on this URL." "Ask AM's administrator, with the URL exactly as logged.";
    DeniedWithAdvices 301 Info "denied: AM asks for more than this session has"
        "A condition of the policy, named by its advices, is not met." "Log in again at the level the policy asks for.";
    DeniedRealm 302 Warning "denied: the session is of a realm that this instance does not serve"
        "The user logged in to another realm." "`portcullis.session.realms` widens it.";
    DeniedNotUser 303 Warning "denied: the session is not a person's"
        "An application's or agent's token was presented." "Log in as a user.";
    SessionEndedMeanwhile 305 Info "denied: the session ended while the request waited"
        "A logout at the same moment." "Log in again.";
    DeniedHost 306 Warning "denied: no login is possible under this host name"
        "None of `fqdn.default`, `fqdn.mapping`, `agenturi.prefix` or the agent root URLs names a host."
        "Set `com.sun.identity.agents.config.agenturi.prefix`.";
    AmbiguousUrl 310 Info "bad request: the URL is ambiguous or malformed"
        "It could be read in two ways, and the host might serve the other one." "Send the plain form of the URL.";
    ConnectionHeader 311 Warning "bad request: `Connection` names a header that the agent sets"
        "A client tried to have an identity header removed on the way." "Nothing.";
    LoopCookieLost 312 Warning "stopped a login that goes round in circles: the browser does not send the session cookie back"
        "It keeps other cookies of this host: a program clears this one, an extension blocks it, or the browser has too many."
        "Look in the browser what becomes of the cookie `jwt.name` after a login.";
    LoopCookieDomain 313 Error "stopped a login that goes round in circles: the session cookie is for another domain"
        "The host of the request is in none of `cdsso.cookie.domain`, and browsers drop such a cookie."
        "Correct `cdsso.cookie.domain`, or lead users to a host within it.";
    LoopCookieSecure 314 Error "stopped a login that goes round in circles: the session cookie is Secure, and the page is http"
        "`cookie.secure` is true, and browsers neither keep nor send such a cookie over http."
        "Serve the site over https; behind a proxy with TLS set `override.protocol`, or `portcullis.trusted.proxies`.";
    LoopCookieSameSite 315 Error "stopped a login that goes round in circles: SameSite keeps the session cookie back"
        "`Strict` is not sent on the way back from AM where that is another site, and in a frame of another site only `None` is, over https."
        "Set `com.forgerock.agents.cdsso.cookie.samesite` to Lax; to None, over https, for pages in frames.";
    LoopTwoCookies 316 Warning "stopped a login that goes round in circles: two cookies of one name that say different things"
        "The detail names it. A sibling host set it for the parent domain, beyond `cdsso.cookie.domain`, so that the agent cannot remove it."
        "Find the other application or agent with this cookie, or add its domain to `cdsso.cookie.domain`; users can delete the cookies of the site.";
    LoopUnknownKey 317 Error "stopped a login that goes round in circles: its cookies are sealed with another key"
        "Two nodes of a farm, or two instances of one host, have different `agent-key.conf`."
        "Copy `agent-key.conf` of one node to all.";
    LoopBadCookie 318 Warning "stopped a login that goes round in circles: its cookies come back changed"
        "Something between browser and agent alters or cuts cookies, they were made for another host or instance, or the clocks of nodes differ."
        "Compare the cookie that is set with the one that comes; compare the clocks and host names of the nodes.";
    LoopSessionDead 319 Warning "stopped a login that goes round in circles: AM ends each session at once"
        "The user has more sessions than AM's quota allows and each login ends another's, or AM cannot find its own sessions."
        "Look at AM's session quota and the sessions of the user; with several AM servers, at their session store and `add.amlbcookie`.";
    DeniedAddress 320 Warning "denied: the session was begun from another address"
        "`client.ip.validation.enable` is true, and the client's address is not the one that AM saw at the login, or is unknown."
        "If users' addresses change, set `client.ip.validation.reauth`; behind a proxy set `client.ip.header` and `portcullis.trusted.proxies`.";
    LoginOtherAddress 321 Info "login: the session was begun from another address; it was ended"
        "`client.ip.validation.reauth` is true, and the client's address is not the one that AM saw at the login, or is unknown."
        "Nothing; if it repeats, compare the address in this line with the one that AM shows for the session.";
    OtherHostName 322 Info "redirected to the host name that users shall use"
        "`fqdn.check.enable` is true, and the request's host is none of `fqdn.default` and `fqdn.mapping`."
        "Add the host to `fqdn.mapping` if users should use it.";
    DeniedHostName 323 Warning "denied: not a host name that users shall use"
        "As PCL0322, and the request cannot be redirected: it is neither GET nor HEAD."
        "Use the right host name, or add this one to `fqdn.mapping`.";
    DeniedUrl 324 Info "denied: not a valid URL"
        "It does not match `com.forgerock.agents.agent.invalid.url.regex`, which says what valid URLs look like."
        "If the URL should be served, widen the expression.";
    DeniedAutonomous 325 Info "denied: no rule lets everybody in, and AM is never asked"
        "`portcullis.autonomous.mode` is true." "Add a not-enforced rule if everybody may see it.";
    LoopOtherAddress 326 Error "stopped a login that goes round in circles: each session seems to come from another address"
        "`client.ip.validation` is on, and AM and the agent see different addresses of one client."
        "Set `client.ip.header` and `portcullis.trusted.proxies` here, and the client address header in AM.";
    LoopTooSlow 327 Warning "stopped a login that goes round in circles: each takes longer than it may"
        "More time passes than `profile.attribute.cookie.maxage` allows, or the clocks of nodes differ."
        "Raise that property; compare the clocks.";
    LoopNoCookies 328 Warning "stopped a login that goes round in circles: a client without cookies"
        "Cookies are blocked, or a program asks for the page."
        "Allow cookies for the site; give programs that cannot log in another way, or `portcullis.unauthorized.url`.";
    LoopAmCookieLost 329 Error "stopped a login that goes round in circles: AM's cookie does not come"
        "In custom login mode 2 AM sets its cookie for a domain, and the host of the request, named in the detail, is not in it; or `cookie.name` is not AM's."
        "Correct the cookie domain in AM, `cookie.name`, or the login page.";
    LoginStartsLimited 330 Warning "refused: one client begins too many logins"
        "A program without cookies, or many users behind the address in the detail."
        "Raise `portcullis.login.starts.max`; behind a proxy set `client.ip.header` and `portcullis.trusted.proxies`.";
    LoginUnseen 331 Info "a login is needed, and no person sees the answer"
        "The request is a script's, a socket's or another program's, which cannot log in; the line says what it lacked."
        "Nothing; if a person's page is meant, look at its `Accept`, `X-Requested-With` and `Sec-Fetch-Mode`, and at `portcullis.unauthorized.url`, `.header` and `.detect`.";
    DeadTokensLimited 332 Warning "refused: one client sends too many tokens that AM does not know"
        "Somebody tries out tokens, or many users come back with old cookies from behind the address in the detail."
        "Raise `portcullis.login.tokens.max`; behind a proxy set `client.ip.header` and `portcullis.trusted.proxies`.";
    PostTooLarge 340 Info "refused: the POST needs a login first and is too large to be kept meanwhile"
        "Its body is longer than `portcullis.postdata.body.max`, or did not come to its end. Nothing of it was stored."
        "Raise that property if such bodies are meant to survive a login; see docs/post-data.md.";
    PostsFull 341 Warning "refused: the POST needs a login first and there is no room to keep it"
        "The client keeps as many POSTs or bytes as it may, or all clients together do."
        "See the four `portcullis.postdata.…` limits; many in a short time from one address may be an attack.";
    PostNotKept 342 Error "refused: a POST that needs a login could not be kept, or not be read again"
        "The directory or a file in it cannot be used; the line with PCL0346 says why." "See that line.";
    PostReplayed 343 Info "a kept POST takes the place of the request"
        "The user has logged in and came back. The POST itself is decided next." "Nothing.";
    PostGone 344 Info "the kept POST is no more"
        "Its time has passed, it was used before, or it is kept on another node of the farm."
        "For a farm, set `postdata.preserve.stickysession.mode` and `.value`.";
    PostOtherUser 345 Warning "login done; the POST of an earlier user was dropped"
        "Somebody else logged in than the user whose session the POST came with." "Nothing.";
    PostDirectory 346 Error "the directory of kept POSTs cannot be used"
        "It is missing, of another owner, open to others, or full; the line says which."
        "Make it belong to the user of the web server's workers, with mode 0700: `agentadmin --changeOwner`, or `org.forgerock.agents.config.postdata.preserve.dir`.";
    LoginStepUp 360 Info "login: AM asks for more than this session has"
        "A condition of the policy, named by its advices, is not met: the user is sent to AM with them."
        "Nothing; if users do not expect it, look at the policy's conditions.";
    DeniedAdviceAgain 361 Warning "denied: AM asks again for what the user has just logged in for"
        "The new session meets the condition no better, or the user came back without having logged in five times."
        "Look whether the login that AM offers for these advices gives what the policy's condition asks for.";
    LoginAtAm 362 Info "login: AM is asked for the session that the login page made"
        "`allow.custom.login` is 1, and AM's own cookie does not come to this host, or is of no live session." "Nothing.";
    TokenUnknownKey 380 Warning "login refused: id_token is signed with a key that AM does not publish"
        "A forged token; or AM has just changed its keys and did so before, within ten seconds; or the key is too weak, or of a kind that is not taken."
        "Look at AM's `/oauth2/connect/jwk_uri`: it has to show the key of the secret `am.global.services.oauth2.oidc.agent.idtoken.signing`, RSA of at least 2048 bits or EC on P-256.";
    KeysRead 381 Info "the keys that AM signs ID tokens with were read"
        "The first login, a key that was not known, or an hour has passed; the line has the names of the keys."
        "Nothing; if there is none, look at AM's `/oauth2/connect/jwk_uri`.";
    LaresMalformed 390 Warning "login refused: LARES is not what AM's /cdcservlet writes"
        "Something between AM and the browser altered it, or it is a forged login." "Compare with AM's own page.";
    LaresStatus 391 Warning "login refused: LARES says that AM's /cdcservlet did not log the user in"
        "AM says so in `samlp:Status`." "Look into AM's logs.";
    LaresAudience 392 Warning "login refused: LARES was made for another site"
        "It was carried over from another site, or `com.sun.identity.agents.config.organization.name` differs between workers."
        "Open the page again; if it repeats, somebody tries to use another site's login.";
    LaresIssuer 393 Warning "login refused: LARES comes from another AM"
        "`Issuer` is none of the AM URLs configured."
        "Set `com.forgerock.agents.public.am.url` or `com.sun.identity.agents.config.cdsso.cdcservlet.url` to the name that AM has for itself.";
    LaresTime 394 Warning "login refused: LARES has expired or is from the future"
        "It counts for one minute; the clocks of AM and this host may differ by one more." "Synchronise the clocks.";
    LoginExchanged 395 Info "a session token was exchanged for the agent's cookie"
        "A client sent it to `portcullis.authn.exchange.uri`." "Nothing.";
    ExchangeRefused 396 Warning "no session token was exchanged: not a POST, or it comes from another site"
        "Somebody opened the endpoint by hand, or a page of another site sent a user's browser there."
        "Use POST, from pages of this site or from no page.";
    LoggedOut 400 Info "logged out"
        "The URL is a logout URL." "Nothing.";
    DeniedByRule 410 Info "denied by a rule"
        "A rule of `portcullis.deny.rule` matches, named in the detail." "Change the rule if it should not.";
    Reported 420 Info "let through, because decisions are only reported"
        "`portcullis.mode` is report. `would` names the code and the status that the request would have met."
        "See that code.";
    ShadowDiffers 430 Info "the second policy set says otherwise"
        "`portcullis.mode` is shadow. The request met the first decision; the line names both." "Compare the policies.";
    ShadowFailed 431 Warning "the second policy set could not be asked"
        "AM is away, or has no such policy set in that realm." "Check `portcullis.shadow.policy.set` and `.realm`.";
    ShadowDropped 432 Warning "comparisons with the second policy set were left out"
        "More were open than there is room for; the line says how many. No request waited." "Compare fewer paths, or at another time.";
    UnavailableTransport 500 Error "AM cannot be reached"
        "No connection to AM, or it broke." "Check AM, name resolution, routes and firewalls.";
    UnavailableTimeout 501 Error "AM did not answer in time"
        "AM is overloaded or hangs." "Check AM; `com.sun.identity.agents.config.receive.timeout` is the limit.";
    UnavailableTls 502 Error "AM's certificate could not be verified"
        "The CA is not known here, or the name differs." "Set `com.forgerock.agents.config.cert.ca.file`.";
    UnavailableStatus 503 Error "AM answered with an error"
        "AM or something before it is broken." "Look at AM's logs.";
    UnavailableProtocol 504 Error "AM's answer is not understood"
        "A proxy or another server answers under AM's address." "Ask the AM URL with curl.";
    UnavailableBusy 505 Warning "too many requests wait for AM"
        "AM is slower than requests come in." "Check AM; `portcullis.am.calls.max` is the cap.";
    UnavailableAgentLogin 506 Error "the agent cannot log in to AM"
        "Profile name, password or realm is wrong, or the profile is inactive."
        "Compare `com.sun.identity.agents.config.username`, `…organization.name` and the password with AM.";
    UnavailableDraining 507 Info "this worker is shutting down"
        "The host is being reloaded or stopped." "Nothing.";
    UnavailableStore 508 Error "a shared table could not take an entry"
        "It is full or damaged." "Restart the host if it stays.";
    NoConfiguration 509 Error "no valid configuration yet"
        "The profile could not be read from AM, or `agent.conf` has errors." "See the lines before this one.";
    AmNotAllowed 510 Error "AM refuses this agent the answer"
        "The agent lacks a privilege, or the policy set does not exist in that realm."
        "Check `policy.evaluation.application` and `policy.evaluation.realm`.";
    Internal 511 Error "internal error"
        "A fault in the agent." "Please report it with the incident id.";
    NotStored 513 Info "a sub-request for which nothing is known yet was refused"
        "Sub-requests of the host never ask AM." "Open the page itself once.";
    BodyTooLarge 514 Info "the form is too large"
        "More than the agent's endpoint takes." "Nothing.";
    BreakerOpened 515 Error "AM is away: what needs it is refused at once until it answers again"
        "A call failed, and AM did not answer a question without any token either; the line says how."
        "Check AM; the agent looks every two seconds whether it is back, and nothing has to be restarted.";
    BreakerClosed 516 Info "AM answers again"
        "It was away, for as long as the line says." "Nothing.";
    UnavailableBreaker 517 Info "refused at once: AM is known to be away"
        "See the line with PCL0515." "Check AM.";
    UnavailableStrategy 518 Info "refused: AM is known to be away, and the strategy wants no more"
        "`portcullis.strategy.when.am.unavailable`, which the line names, and PCL0515 before." "Check AM.";
    UnavailableFallback 519 Info "refused: no rule of agent.conf lets everybody in, and there is no configuration yet"
        "AM could not be asked for the profile, and `fallback.mode` is true." "Check AM; see the lines before this one.";
    ConfigProblem 600 Error "a configuration has a mistake"
        "See the line: property, value." "See the line.";
    ConfigWarning 601 Warning "a configuration holds something doubtful"
        "See the line: property, value." "See the line.";
    ConfigKept 602 Error "the new configuration was refused; the old one stays"
        "It has mistakes, see the lines before." "Mend it; it is read again by itself.";
    ConfigApplied 603 Info "configuration applied"
        "Start, or a change in AM." "Nothing.";
    WorkerStarted 604 Info "agent worker startup complete"
        "A worker process began." "Nothing.";
    AgentLoggedIn 605 Info "the agent logged in to AM"
        "Start, or the earlier session ended." "Nothing.";
    AgentLoginRefused 606 Error "AM refused the agent's login"
        "Profile name, password or realm is wrong, or the profile is inactive."
        "Compare `com.sun.identity.agents.config.username`, `…organization.name` and the password (`agentadmin --p`) with AM's profile.";
    AgentLoginFailed 607 Error "the agent's login did not reach AM"
        "AM is down or not reachable." "Check `com.sun.identity.agents.config.naming.url`.";
    ProfileFailed 608 Error "the agent's profile could not be read from AM"
        "AM is down, or the profile is not a Web Agent's." "Check the profile in AM.";
    LogoutRetry 609 Warning "a logout could not be told to AM yet; it is tried again"
        "AM is down." "Check AM.";
    LogFile 610 Error "a log file cannot be written"
        "Directory or owner is wrong." "Check the owner and mode of the instance's `logs`.";
    LinesLost 620 Warning "log lines were lost"
        "They came faster than they could be written." "Lower the level or the audit, or move `logs` to a faster disk.";
    Recording 621 Warning "every request is written down"
        "`portcullis.record.file` names a file. It holds who asks for what, without tokens."
        "Take the property out once the requests to be explained are in the file.";
    LinesLeftOut 622 Warning "lines of this code were left out of the web server's log"
        "More than 50 in a minute by one worker. The debug log has them, as far as its level says."
        "Look at the code that is named; the number behind it is that of the lines.";
    EndedFile 630 Error "logouts cannot be written down"
        "The files `ended-sessions` and `untold-logouts`, beside `agent.conf` or in `portcullis.state.dir`, cannot be made, or are full, or the disk is. \
         AM goes on calling a client-side session valid, so its logout, which would be forgotten at the next start, is refused; \
         a logout that AM could not be told of is not told later."
        "Let the user that the web server is started as write there, or name another folder in `portcullis.state.dir`; look whether the disk is full.";
    EndedUnread 631 Error "it cannot be told which client-side sessions ended before this start"
        "The file `ended-sessions`, beside `agent.conf` or in `portcullis.state.dir`, is damaged, or was written with another agent key. Client-side \
         sessions are refused for a day; others are not concerned."
        "After a change of the key, or where nobody uses client-side sessions, remove the file and restart the web server: \
         what ended before counts again then until it expires.";
    NotificationsOpen 640 Info "AM tells about changes from now on"
        "The WebSocket to AM is open. What was learnt before is asked again." "Nothing.";
    NotificationsClosed 641 Info "AM does not tell about changes any more"
        "The WebSocket to AM is closed; the line says how. The polling intervals hold until it is open again."
        "Nothing, unless it repeats: then look for a proxy or firewall that cuts idle connections.";
    NotificationsRefused 642 Warning "AM does not tell about changes: the WebSocket was refused"
        "The line has the HTTP status and its likely cause. The polling intervals hold."
        "Mend what the line names, or set `com.sun.identity.agents.config.notification.enable` to false.";
    NotificationsFailed 643 Info "the WebSocket to AM could not be opened"
        "AM is not reachable, or something in the way does not know WebSockets; the line says how. The polling intervals hold."
        "Check AM and what is between; it is tried again by itself.";
    Notified 644 Debug "AM told of a change"
        "The line says of what kind. It counts in all workers at once." "Nothing.";
    LastKnownGood 650 Warning "AM is not there; what it said last of the configuration counts"
        "The web server was started while AM does not answer. The line says when AM gave that configuration; whatever was changed there since then is not in it. What needs AM is refused until it answers."
        "Check AM; the configuration is read again by itself.";
    LastKnownGoodUnusable 651 Warning "AM is not there, and what it said last of the configuration cannot be used"
        "The file `last-known-good` is older than `portcullis.config.last.known.good.max.age`, is damaged, or was written with another agent key."
        "Check AM; a new one is written as soon as it answers.";
    LastKnownGoodOver 652 Warning "what AM said last of the configuration counts no more"
        "AM has refused the agent, or has been away for longer than `portcullis.config.last.known.good.max.age`; the line says which."
        "Mend what the line names; until then requests are answered as without a configuration.";
    LastKnownGoodUnwritten 653 Warning "what AM said of the configuration cannot be kept for a start without AM"
        "The file `last-known-good`, beside `agent.conf` or in `portcullis.state.dir`, cannot be written, or the disk is full."
        "Check the file and the disk, or set `portcullis.config.last.known.good.max.age` to 0.";
    ConfigChanged 654 Info "a property has changed"
        "agent.conf was edited, or the profile in AM. The line has the property with its old and its new value, as far as they may be shown; the line PCL0603 behind it says that all of them count." "Nothing.";
    ConfigTakesRestart 655 Warning "agent.conf was changed; nothing of it counts before the web server is reloaded"
        "The line names properties that count only once the parent process has read the file again. Half of a change is not applied, so the rest waits with them."
        "Reload the web server (`httpd -k graceful`, `nginx -s reload`), or take those lines back.";
    ConfigUnread 656 Info "a change of agent.conf will not be noticed before the web server is reloaded"
        "The worker processes cannot read agent.conf; the line says why."
        "Reload the web server after each change, or let its user's group read agent.conf and its folder, and nothing else in it: `agentadmin --s … --changeOwner` does.";
    MonitorShown 680 Debug "the agent's numbers were shown"
        "`/agent/metrics` or `/agent/monitor` was asked for by somebody who may." "Nothing.";
    MonitorRefused 681 Warning "the agent's numbers were not shown"
        "The address is not among `portcullis.monitor.addresses`, the name or password is wrong, or there is none; the line says which. The answer is that of a page that does not exist."
        "Where it is a scraper of yours, correct its credentials or that property.";
    HealthReady 682 Debug "health: ready"
        "`/agent/health` was asked for." "Nothing.";
    HealthNotReady 683 Debug "health: not ready"
        "`/agent/health` was asked for, and no configuration is in force. The answer has the code of the reason." "See that code.";
    AuditKeptHere 690 Warning "audit events for AM are in the local audit file"
        "The worker ended before AM had been given so many: it was away, or it was not yet time (`remote.log.interval`). They are in `local.audit.logfile`, complete."
        "Nothing, or copy them from there.";
    AuditRefused 691 Warning "AM refused audit events"
        "The line says how many and why; they are in the local audit file instead."
        "See AM's own log; the agent's profile must be allowed to write audit events of its realm.";
    AllowedInGrace 700 Info "allowed in grace: AM is away, and what it said before still counts"
        "`portcullis.grace.max` lets it count beyond its interval; `age` says how old it is. See the line with PCL0515."
        "Check AM: when the time of that property is over, such requests are refused.";
    FirstAmBack 701 Info "the first AM is asked again"
        "It was away, and answers now: `poll.primary.server` has the minutes between looks." "Nothing.";
    ConnectionCut 720 Info "a connection was cut because its session ended"
        "A response was still under way, or a WebSocket open, and `portcullis.session.cut.connections` is true."
        "Nothing.";
    MemoryLimit 721 Warning "the shared tables may exceed the memory that this server is limited to"
        "The limit of a container or unit (cgroup) is smaller than what `AM_MAX_SESSION_CACHE_SIZE` lets the tables fill. The kernel would end processes."
        "Raise the limit, or lower `AM_MAX_SESSION_CACHE_SIZE`.";
    TooManyInstances 722 Error "there are more instances than this server may have"
        "Each `agent.conf` that the web server's configuration names is one. What it protects is not let through."
        "Raise `AM_MAX_AGENTS` (at most 32), or let servers share an `agent.conf`.";
    CloserBegun 723 Info "more is written of the requests of one client address"
        "`agentadmin debug` was told so; the line says of which, and until when. The lines are in the debug log, whatever its level."
        "Nothing; `agentadmin debug --off` ends it before its time.";
    CloserOver 724 Info "no more is written of the requests of one client address"
        "Its time is over, or somebody ended it." "Nothing.";
    Closer 725 Debug "how it came to the decision before this line"
        "The request is of the address that `agentadmin debug` was told: which stage decided, what was known, which rules match, which cookies came."
        "Nothing.";
}

impl Code {
    /// Number of the code.
    pub const fn number(self) -> u16 {
        self.row().number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_every_row_says_something() {
        let mut last = 0;
        for code in Code::ALL {
            let row = code.row();
            assert!(row.number > last, "{code:?}");
            assert!(!row.text.is_empty() && !row.cause.is_empty() && !row.remedy.is_empty());
            last = row.number;
        }
    }
}
