//! What of an answer is compared?
//!
//! Functions from a response to JSON: status, the headers that matter to an agent, the body in a form
//! that does not depend on order, time or server. What is left out here is not promised by anybody.

use base64::Engine;
use portcullis_openam::http::Response;
use portcullis_openam::seed;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value, json};

use super::world::Problem;

/// Status, media type, `Location`, and the JSON body if it is JSON.
#[must_use]
pub fn whole(response: &Response) -> Value {
    let mut seen = head(response);
    if let Some(body) = response.json() {
        seen["body"] = body;
    }
    seen
}

/// Status, media type and `Location`.
#[must_use]
pub fn head(response: &Response) -> Value {
    let mut seen = json!({ "status": response.status });
    if let Some(media) = response
        .header("content-type")
        .and_then(|v| v.split(';').next())
    {
        seen["media"] = json!(media.trim().to_ascii_lowercase());
    }
    if let Some(location) = response.header("location") {
        seen["location"] = json!(location);
    }
    seen
}

/// [`whole`] with only these members of the body.
#[must_use]
pub fn only(response: &Response, members: &[&str]) -> Value {
    let mut seen = whole(response);
    if let Some(Value::Object(body)) = seen.get_mut("body") {
        body.retain(|name, _| members.contains(&name.as_str()));
    }
    seen
}

/// Replaces what stands at each JSON pointer, if anything does, by its kind: time, number, text.
#[must_use]
pub fn masked(mut seen: Value, pointers: &[&str]) -> Value {
    for pointer in pointers {
        if let Some(value) = seen.pointer_mut(pointer) {
            *value = json!(kind(value));
        }
    }
    seen
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(text) if is_time(text) => "<time>",
        Value::String(_) => "<text>",
        Value::Number(_) => "<number>",
        Value::Bool(_) => "<boolean>",
        Value::Array(_) => "<array>",
        Value::Object(_) => "<object>",
        Value::Null => "<null>",
    }
}

/// `2026-08-20T09:11:07Z`, with or without milliseconds.
fn is_time(text: &str) -> bool {
    let digits: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    matches!(
        digits.as_str(),
        "0000-00-00T00:00:00Z" | "0000-00-00T00:00:00.000Z"
    )
}

/// Sorts every array of the body's members: AM gives attribute values in no order.
#[must_use]
pub fn sorted(mut seen: Value) -> Value {
    if let Some(Value::Object(body)) = seen.get_mut("body") {
        for value in body.values_mut() {
            if let Value::Array(items) = value {
                items.sort_by_key(Value::to_string);
            }
        }
    }
    seen
}

/// A policy answer as a map from resource to the rest: its order is not that of the question.
#[must_use]
pub fn decisions(response: &Response) -> Value {
    let mut seen = whole(response);
    if let Some(Value::Array(entries)) = seen.get_mut("body").map(Value::take) {
        let by_resource: Map<String, Value> = entries
            .into_iter()
            .map(|entry| {
                (
                    entry["resource"]
                        .as_str()
                        .unwrap_or("<no resource>")
                        .to_owned(),
                    entry,
                )
            })
            .collect();
        seen["body"] = Value::Object(by_resource);
    }
    seen
}

/// The inner document of an answer of AM's XML services: attributes of `Session`, its properties, the
/// text of `Exception`. Values that tell time or number the session become their kind.
///
/// # Errors
/// [`Problem::Shape`] when it is not such a document.
pub fn session_document(response: &Response) -> Result<Value, Problem> {
    let text = response.text();
    let shape = |what: String| Problem::Shape(format!("session service: {what}"));
    let start = text
        .find("<![CDATA[")
        .ok_or_else(|| shape("no inner document".into()))?
        + 9;
    let end = text
        .rfind("]]>")
        .ok_or_else(|| shape("the inner document does not end".into()))?;
    let mut reader = quick_xml::Reader::from_str(&text[start..end]);
    let mut seen = json!({ "status": response.status });
    let mut exception = None;
    loop {
        match reader.read_event().map_err(|e| shape(e.to_string()))? {
            Event::Start(tag) | Event::Empty(tag) => match tag.name().0 {
                "Session" => seen["session"] = attributes(&tag)?,
                "Property" => {
                    let pair = attributes(&tag)?;
                    let name = pair["name"].as_str().unwrap_or_default().to_owned();
                    seen["properties"][name] = pair["value"].clone();
                }
                "Exception" => exception = Some(String::new()),
                _ => {}
            },
            Event::Text(part) => {
                if let Some(text) = &mut exception {
                    text.push_str(&part);
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if let Some(text) = exception {
        seen["exception"] = json!(text.trim());
    }
    let pointers = [
        "/session/timeidle",
        "/session/timeleft",
        "/properties/authInstant",
        "/properties/AMCtxId",
        "/properties/SessionHandle",
    ];
    Ok(masked(seen, &pointers))
}

fn attributes(tag: &BytesStart<'_>) -> Result<Value, Problem> {
    let mut members = Map::new();
    for attribute in tag.attributes() {
        let wrong = |e: &dyn std::fmt::Display| Problem::Shape(format!("session service: {e}"));
        let attribute = attribute.map_err(|e| wrong(&e))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|e| wrong(&e))?;
        members.insert(attribute.key.0.to_owned(), json!(value));
    }
    Ok(Value::Object(members))
}

/// The self-posting page of `/oauth2/authorize`: action without its fragment, fields, and of the
/// `id_token` header and claims; `exp` as its distance from `iat`, times as their kind.
///
/// # Errors
/// [`Problem::Shape`] when there is no such page or token.
pub fn authorize_form(response: &Response) -> Result<Value, Problem> {
    let shape = |what: &str| Problem::Shape(format!("authorize: {what}"));
    let mut seen = head(response);
    let form = seed::form_of(&response.text()).ok_or_else(|| shape("no form"))?;
    seen["action"] = json!(form.action.split('#').next());
    seen["fragment"] = json!(form.action.contains('#'));
    let token = form
        .field("id_token")
        .ok_or_else(|| shape("no id_token"))?
        .to_owned();
    seen["fields"] = form
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    seen["fields"]["id_token"] = json!("<jwt>");
    let part = |n: usize| -> Option<Value> {
        let bytes =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(n)?);
        serde_json::from_slice(&bytes.ok()?).ok()
    };
    seen["header"] = part(0).ok_or_else(|| shape("the header is no JSON"))?;
    let mut claims = part(1).ok_or_else(|| shape("the claims are no JSON"))?;
    // Rounded within the server: 3 or 4.
    let life = claims["exp"].as_i64().unwrap_or(0) - claims["iat"].as_i64().unwrap_or(0);
    claims["exp"] = json!(if (3..=4).contains(&life) {
        "<iat + 3 or 4>".to_owned()
    } else {
        format!("<iat + {life}>")
    });
    seen["claims"] = masked(
        claims,
        &["/iat", "/auth:time", "/auth_time", "/auditTrackingId"],
    );
    seen["key"] = json!(signed_with(&token));
    Ok(seen)
}

/// The self-posting page of `/cdcservlet`: action, fields, and of the document in `LARES` what the agent
/// looks at: attributes and texts by the path of their element, the life in place of its times.
///
/// # Errors
/// [`Problem::Shape`] when there is no such page or document.
pub fn lares_form(response: &Response) -> Result<Value, Problem> {
    let shape = |what: &str| Problem::Shape(format!("cdcservlet: {what}"));
    let mut seen = head(response);
    let form = seed::form_of(&response.text()).ok_or_else(|| shape("no form"))?;
    seen["action"] = json!(form.action);
    seen["fields"] = form.fields.iter().map(|(name, _)| json!(name)).collect();
    let lares = form.field("LARES").ok_or_else(|| shape("no LARES"))?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(lares);
    let bytes = bytes.map_err(|_| shape("LARES is no base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| shape("LARES is no text"))?;
    seen["document"] = lares_document(&text).ok_or_else(|| shape("LARES is no document"))?;
    Ok(seen)
}

/// Attributes that differ from run to run, or that say what nobody asks for.
const UNASKED: [&str; 9] = [
    "ResponseID",
    "AssertionID",
    "id",
    "IssueInstant",
    "AuthenticationInstant",
    "ReauthenticateOnOrAfter",
    "AuthenticationMethod",
    "IPAddress",
    "DNSAddress",
];

fn lares_document(text: &str) -> Option<Value> {
    let mut seen = serde_json::Map::new();
    let (mut path, mut times) = (Vec::new(), Vec::new());
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                path.push(tag.name().into_inner().to_owned());
                for attribute in tag.attributes() {
                    let attribute = attribute.ok()?;
                    let name = attribute.key.into_inner();
                    let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
                    match name {
                        "NotBefore" | "NotOnOrAfter" => times.push(value.into_owned()),
                        name if name.starts_with("xmlns") || UNASKED.contains(&name) => {}
                        name => {
                            seen.insert(format!("{} {name}", path.join("/")), json!(value));
                        }
                    }
                }
            }
            Event::Text(text) if !text.trim().is_empty() => {
                seen.insert(path.join("/"), json!(text.trim()));
            }
            Event::End(_) => drop(path.pop()),
            Event::Eof => break,
            _ => {}
        }
    }
    seen.retain(|path, _| !path.contains("AuthnContext"));
    let seconds = |time: &String| -> Option<i64> {
        let mut parts = time.get(11..19)?.split(':').map(str::parse::<i64>);
        let mut next = || parts.next()?.ok();
        Some(next()? * 3600 + next()? * 60 + next()?)
    };
    let [begin, end] = times.as_slice() else {
        return None;
    };
    let life = (seconds(end)? - seconds(begin)?).rem_euclid(86_400);
    seen.insert("life".to_owned(), json!(life));
    Some(Value::Object(seen))
}

/// Which of the keys that one might think of signed an HS256 token.
fn signed_with(token: &str) -> &'static str {
    use super::world::AGENT_PASSWORD;
    use sha1::{Digest, Sha1};
    let hashed = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(AGENT_PASSWORD));
    let Some((signed, signature)) = token.rsplit_once('.') else {
        return "<not a JWT>";
    };
    let by = |key: &str| {
        let key = jsonwebtoken::EncodingKey::from_secret(key.as_bytes());
        jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256)
            .is_ok_and(|own| own == signature)
    };
    if by(&format!("{{SHA-1}}{hashed}")) {
        "{SHA-1} and base64 of SHA-1 of the password"
    } else if by(AGENT_PASSWORD) {
        "the password"
    } else {
        "<unknown>"
    }
}
