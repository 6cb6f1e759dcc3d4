//! Rows about who may look at the agent's numbers, and what its machine is called. They count in `agent.conf` alone (rule W1): whoever may
//! edit profiles in AM does not open them.

use super::{Kind::*, Property, nothing, works};

#[rustfmt::skip]
pub(super) const MONITORING: &[Property] = &[
    works("portcullis.node.name", Text, "", "own",
        "Name of this machine for the mark behind the numbers of incidents; without one, its host name. Containers whose host name is a new one each time need it. The mark is made of this name and the path of agent.conf, and tells neither.",
        |c, v| v.text(&mut c.node_name)).boot().test("an_incident_names_its_node"),
    works("portcullis.monitor.enable", Switch, "false", "own",
        "Answer /agent/health to everybody, and /agent/metrics and /agent/monitor to whoever monitor.addresses and monitor.password let. docs/monitoring.md.",
        |c, v| v.switch(&mut c.monitor)).boot().test("numbers_are_those_of_all_workers"),
    works("portcullis.monitor.user", Text, "monitor", "own",
        "Name that goes with that password in HTTP Basic authentication.",
        |c, v| v.checked(&mut c.monitor_user, |t| !t.is_empty() && !t.contains(':'), "is no name for HTTP Basic", "use a name without a colon"))
        .boot().test("only_who_may_look_sees_numbers"),
    works("portcullis.monitor.password", Secret, "", "own",
        "Its password, encrypted with agentadmin --p, in agent-password.conf. Not the agent's own. Without one, /agent/metrics and /agent/monitor are shown to nobody.",
        nothing).boot().test("only_who_may_look_sees_numbers"),
    works("portcullis.monitor.addresses", List, "", "own",
        "Addresses that may look: single ones, networks, ranges. Without any, 127.0.0.1 and ::1. Both the caller and, behind proxies, the client have to be among them.",
        |c, v| v.callers(&mut c.monitor_addresses)).boot().test("only_who_may_look_sees_numbers"),
];
