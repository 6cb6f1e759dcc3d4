//! Rows that other agents do not have. They count in `agent.conf` first, because no AM has a field
//! for them; as custom properties they count where the file says nothing.

use super::{From, Kind::*, Property, works};

#[rustfmt::skip]
pub(super) const OWN: &[Property] = &[
    works("portcullis.am.deadline", Number, "4000", "own",
        "Milliseconds that one request may wait for AM altogether.",
        |c, v| v.number(&mut c.am_deadline, 100, 60_000, "milliseconds")).from(From::FileFirst).test("a_logout_holds_while_am_hangs"),
    works("portcullis.am.calls.max", Number, "32", "own",
        "Calls to AM that one worker has under way at once.",
        |c, v| v.number(&mut c.am_calls_max, 2, 1024, "calls")).from(From::FileFirst).test("at_the_cap_a_call_is_refused_at_once_and_a_cancelled_one_counts_no_more"),
    works("portcullis.cookies.forward", Switch, "false", "own",
        "Let the application see the agent's own cookies.",
        |c, v| v.switch(&mut c.cookies_forward)).from(From::FileFirst).test("the_agents_cookies_go_on_only_where_it_is_told_to"),
    works("portcullis.login.callback.null.origin", Switch, "false", "own",
        "Accept the ID token from a page without an origin. Needed only behind login pages that hide it.",
        |c, v| v.switch(&mut c.callback_null_origin)).from(From::FileFirst).test("a_page_without_origin_only_where_it_is_allowed"),
    works("portcullis.trusted.proxies", List, "", "own",
        "Addresses of the proxies whose word about clients counts: single ones, networks as in 192.0.2.0/24, ranges as in 192.0.2.1-192.0.2.9.",
        |c, v| v.addresses(&mut c.trusted_proxies)).from(From::FileFirst).test("a_client_does_not_choose_its_address"),
    works("portcullis.session.realms", List, "", "own",
        "Realms whose users count, besides those of the login and of the policies.",
        |c, v| v.realms(&mut c.session_realms)).from(From::FileFirst).test("users_of_another_realm_only_where_it_is_named"),
];
