//! Which calls came in? For tests that count them. Never holds a token, a password or a query.

use parking_lot::Mutex;
use serde_json::{Value, json};

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// HTTP method.
    pub method: String,
    /// Path below the deployment URI, without query; a token in it is shown as `{token}`.
    pub path: String,
    /// The `_action` of a REST call, or the operation of the XML session service.
    pub action: Option<String>,
    /// The resource version asked for, as text: `2.1`.
    pub resource: Option<String>,
    /// Which tokens were presented and how, never their values: `header:agent:wa1`, `cookie:user:demo`,
    /// `subject:user:demo`, `requester:unknown`. A token is `unknown` when it is not a live session.
    pub tokens: Vec<String>,
    /// What `X-ForgeRock-TransactionId` says.
    pub transaction: Option<String>,
    /// What `traceparent` says.
    pub trace: Option<String>,
    /// Status of the answer; 0 while it has not been given, and for calls that a fault left without one.
    pub status: u16,
}

impl Call {
    /// As JSON, for `GET /simulator/calls`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"method": self.method, "path": self.path, "action": self.action, "resource": self.resource,
            "tokens": self.tokens, "status": self.status})
    }
}

/// The calls of one AM.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    /// The number of resets, so that an answer that comes after one is not written over a later call.
    calls: Mutex<(u64, Vec<Call>)>,
}

/// Where a call stands in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(u64, usize);

impl CallLog {
    /// Notes a call as it arrives, so that one that hangs is seen.
    pub(crate) fn arrived(&self, call: Call) -> Place {
        let mut calls = self.calls.lock();
        calls.1.push(call);
        Place(calls.0, calls.1.len() - 1)
    }

    /// Notes how it was answered.
    pub(crate) fn answered(
        &self,
        place: Place,
        status: u16,
        tokens: Vec<String>,
        action: Option<String>,
    ) {
        let mut calls = self.calls.lock();
        if calls.0 != place.0 {
            return;
        }
        if let Some(call) = calls.1.get_mut(place.1) {
            call.status = status;
            call.tokens = tokens;
            if action.is_some() {
                call.action = action;
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        self.calls.lock().1.clone()
    }

    pub(crate) fn reset(&self) {
        let mut calls = self.calls.lock();
        calls.0 += 1;
        calls.1.clear();
    }
}
