//! How AM is told what was decided. The record holds no token and no query string.

use alloc::{format, string::String};

use serde::Serialize;

use super::{AmError, Exchange, Reply, post, realm_path, status};
use crate::{am::Refusal, contract::UnixMillis, token::Secret};

/// One decision, as AM's audit log shows it.
#[derive(Clone, Debug)]
pub struct AuditEvent<'e> {
    /// When the request came.
    pub time: UnixMillis,
    /// Tells this record from all others; never empty.
    pub transaction_id: &'e str,
    /// Universal id of the user; empty when there is none.
    pub user_id: &'e str,
    /// AM's tracking id of the session (`AMCtxId`); empty when there is none.
    pub tracking_id: &'e str,
    /// Realm of the user, or of the agent when there is no user.
    pub realm: &'e str,
    /// Address of the client as text, and its port (0: unknown).
    pub client: (&'e str, u16),
    /// Address or name of the server, and its port, where they are known.
    pub server: (&'e str, u16),
    /// The request came over TLS.
    pub secure: bool,
    /// HTTP method.
    pub method: &'e str,
    /// URL that was decided about; whatever follows a `?` is cut off here.
    pub url: &'e str,
    /// It was let through.
    pub allowed: bool,
    /// How long the decision took, milliseconds.
    pub elapsed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'e> {
    timestamp: String,
    transaction_id: &'e str,
    event_name: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_id: &'e str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tracking_ids: &'e [&'e str],
    component: &'static str,
    realm: &'e str,
    client: Peer<'e>,
    server: Peer<'e>,
    request: Request<'e>,
    http: Http<'e>,
    response: Response,
}

#[derive(Serialize)]
struct Peer<'e> {
    #[serde(skip_serializing_if = "str::is_empty")]
    ip: &'e str,
    #[serde(skip_serializing_if = "is_zero")]
    port: u16,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(port: &u16) -> bool {
    *port == 0
}

#[derive(Serialize)]
struct Request<'e> {
    protocol: &'static str,
    operation: &'e str,
}

#[derive(Serialize)]
struct Http<'e> {
    request: HttpRequest<'e>,
}

#[derive(Serialize)]
struct HttpRequest<'e> {
    secure: bool,
    method: &'e str,
    path: &'e str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status: &'static str,
    elapsed_time: u64,
    elapsed_time_units: &'static str,
}

/// Writes one access record to the audit log of `realm`, the agent's own.
pub fn encode(
    realm: &str,
    event: &AuditEvent<'_>,
    token_header: &str,
    agent: &Secret,
) -> Result<Exchange, AmError> {
    let tracking: &[&str] = if event.tracking_id.is_empty() {
        &[]
    } else {
        &[event.tracking_id]
    };
    let path = event.url.split(['?', '#']).next().unwrap_or_default();
    let body = serde_json::to_vec(&Body {
        timestamp: rfc3339(event.time),
        transaction_id: event.transaction_id,
        event_name: "AM-ACCESS-OUTCOME",
        user_id: event.user_id,
        tracking_ids: tracking,
        component: "Policy Agent",
        realm: event.realm,
        client: Peer {
            ip: event.client.0,
            port: event.client.1,
        },
        server: Peer {
            ip: event.server.0,
            port: event.server.1,
        },
        request: Request {
            protocol: "HTTP",
            operation: event.method,
        },
        http: Http {
            request: HttpRequest {
                secure: event.secure,
                method: event.method,
                path,
            },
        },
        response: Response {
            status: if event.allowed {
                "SUCCESSFUL"
            } else {
                "FAILED"
            },
            elapsed_time: event.elapsed,
            elapsed_time_units: "MILLISECONDS",
        },
    })
    .map_err(|_| AmError::PROTOCOL)?;
    let path = realm_path(realm, "realm-audit/access?_action=create");
    Ok(post(
        path,
        "resource=1.0, protocol=1.0",
        Some((token_header, agent)),
        body,
    ))
}

/// Any 2xx will do: without a handler that can be queried the body of the 201 is empty.
pub fn parse(reply: &Reply<'_>) -> Result<(), AmError> {
    match reply.status {
        200..=299 => Ok(()),
        401 => Err(AmError::AgentDead),
        403 => Err(AmError::NotAllowed(Refusal::Operation)),
        _ => Err(status(reply)),
    }
}

/// `2026-08-20T09:12:00.015Z`. The calendar is counted from March, so that a leap day ends the year.
fn rfc3339(time: UnixMillis) -> String {
    let (days, millis) = (time.0 / 86_400_000, time.0 % 86_400_000);
    let (era_days, seconds) = (days + 719_468, millis / 1000);
    let (era, of_era) = (era_days / 146_097, era_days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        millis % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_openam_16_takes() {
        let event = AuditEvent {
            time: UnixMillis(1_787_217_120_015),
            transaction_id: "b0c7-17",
            user_id: "id=demo1,ou=user,dc=openam",
            tracking_id: "",
            realm: "/",
            client: ("203.0.113.9", 51022),
            server: ("192.0.2.10", 80),
            secure: false,
            method: "GET",
            url: "http://www.example.com:80/docs/a.html?token=secret",
            allowed: true,
            elapsed: 3,
        };
        let e = encode(
            "/",
            &event,
            "iPlanetDirectoryPro",
            &Secret::new(b"t".to_vec()),
        )
        .ok()
        .unwrap();
        assert_eq!(e.path, "json/realms/root/realm-audit/access?_action=create");
        assert_eq!(
            core::str::from_utf8(e.body.expose()).unwrap(),
            r#"{"timestamp":"2026-08-20T09:12:00.015Z","transactionId":"b0c7-17","eventName":"AM-ACCESS-OUTCOME","userId":"id=demo1,ou=user,dc=openam","component":"Policy Agent","realm":"/","client":{"ip":"203.0.113.9","port":51022},"server":{"ip":"192.0.2.10","port":80},"request":{"protocol":"HTTP","operation":"GET"},"http":{"request":{"secure":false,"method":"GET","path":"http://www.example.com:80/docs/a.html"}},"response":{"status":"SUCCESSFUL","elapsedTime":3,"elapsedTimeUnits":"MILLISECONDS"}}"#
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(UnixMillis(millis)), text);
        }
    }

    #[test]
    fn failures_are_told_apart() {
        let read = |status| {
            parse(&Reply {
                status,
                headers: &[],
                body: b"{}",
            })
        };
        assert_eq!((read(201), read(401)), (Ok(()), Err(AmError::AgentDead)));
        assert_eq!(read(403), Err(AmError::NotAllowed(Refusal::Operation)));
    }
}
