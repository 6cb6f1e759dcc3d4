//! What is a check, and what does it find?
//!
//! A check asks one question. It runs when the checks that it rests on let it; what it finds has evidence, and
//! what is not well has a remedy that names the property or the place. Must not print.

use super::patient::Patient;

/// A line of the vendor's validator, and the checks of ours that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Bootstrap,
    Ssl,
    Login,
    Resources,
    Session,
    WebSocket,
    Worker,
}

impl Vendor {
    /// In the vendor's order.
    pub(crate) const ALL: [Vendor; 7] = [
        Vendor::Bootstrap,
        Vendor::Ssl,
        Vendor::Login,
        Vendor::Resources,
        Vendor::Session,
        Vendor::WebSocket,
        Vendor::Worker,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Vendor::Bootstrap => "validate_bootstrap_configuration",
            Vendor::Ssl => "validate_ssl_libraries",
            Vendor::Login => "validate_agent_login",
            Vendor::Resources => "validate_system_resources",
            Vendor::Session => "validate_session_profile",
            Vendor::WebSocket => "validate_websocket_connection",
            Vendor::Worker => "validate_worker_init_shutdown",
        }
    }
}

/// One question.
pub(crate) struct Check {
    /// What it is called, here and in the documentation.
    pub(crate) id: &'static str,
    /// The vendor's line that it belongs to.
    pub(crate) vendor: Option<Vendor>,
    /// Checks that must not have failed before.
    pub(crate) needs: &'static [&'static str],
    /// What is asked.
    pub(crate) question: &'static str,
    /// What to look at when the answer is no.
    pub(crate) remedy: &'static str,
    /// Finds out.
    pub(crate) run: fn(&mut Patient) -> Finding,
}

/// The answer's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    NotOk,
    Skipped,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::NotOk => "not ok",
            Verdict::Skipped => "skipped",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// Whether the checks that rest on this one can run.
    pub(crate) open: bool,
    /// What was seen; never a secret.
    pub(crate) evidence: Vec<String>,
    /// What to do, where something is not ok.
    pub(crate) remedy: Option<String>,
    /// The same question for a shell, with placeholders for secrets.
    pub(crate) curl: Option<String>,
    /// What the vendor's validator says of it.
    pub(crate) vendor: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, open: bool, evidence: String) -> Finding {
        Finding {
            verdict,
            open,
            evidence: vec![evidence],
            remedy: None,
            curl: None,
            vendor: None,
        }
    }

    pub(crate) fn ok(evidence: impl Into<String>) -> Finding {
        Finding::new(Verdict::Ok, true, evidence.into())
    }

    /// What is wrong, and what to do about it.
    pub(crate) fn not_ok(evidence: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            remedy: Some(remedy.into()),
            ..Finding::new(Verdict::NotOk, false, evidence.into())
        }
    }

    /// The question could not be asked; nor can those that rest on it.
    pub(crate) fn skipped(why: impl Into<String>) -> Finding {
        Finding::new(Verdict::Skipped, false, why.into())
    }

    /// The question does not arise here; those that rest on it do.
    pub(crate) fn not_needed(why: impl Into<String>) -> Finding {
        Finding::new(Verdict::Skipped, true, why.into())
    }

    /// It is wrong, but what rests on it can be asked.
    pub(crate) fn go_on(mut self) -> Finding {
        self.open = true;
        self
    }

    pub(crate) fn and(mut self, evidence: impl Into<String>) -> Finding {
        self.evidence.push(evidence.into());
        self
    }

    pub(crate) fn all(mut self, evidence: impl IntoIterator<Item = String>) -> Finding {
        self.evidence.extend(evidence);
        self
    }

    pub(crate) fn curl(mut self, curl: Option<String>) -> Finding {
        self.curl = curl;
        self
    }

    pub(crate) fn vendor(mut self, words: impl Into<String>) -> Finding {
        self.vendor = Some(words.into());
        self
    }
}

/// Looks at things all of which are needed: the worst counts, and everything that was seen is kept.
pub(crate) fn every(found: Vec<Finding>) -> Finding {
    let open = found.iter().all(|f| f.open);
    Finding {
        open,
        ..either(found)
    }
}

/// The same for things one of which is enough to go on, such as servers.
pub(crate) fn either(found: Vec<Finding>) -> Finding {
    let any_open = found.iter().any(|f| f.open);
    let rank = |f: &Finding| match f.verdict {
        Verdict::NotOk => 2,
        Verdict::Ok => 1,
        Verdict::Skipped => 0,
    };
    let evidence: Vec<String> = found.iter().flat_map(|f| f.evidence.clone()).collect();
    let Some(worst) = found.into_iter().reduce(|a, b| match rank(&b) > rank(&a) {
        true => b,
        false => a,
    }) else {
        return Finding::skipped("there is nothing to look at");
    };
    Finding {
        open: any_open,
        evidence,
        ..worst
    }
}
