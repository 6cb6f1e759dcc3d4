//! The envelope of OpenAM's XML services and the little XML reader behind it.
//!
//! Must not resolve anything: predefined entities and numeric references are text, a document type,
//! a processing instruction or any other entity ends the reading.

use alloc::{string::String, vec::Vec};

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};

use super::AmError;

/// Deepest nesting that any answer of these services has, with room.
const MAX_DEPTH: usize = 16;
/// AM reads no request longer than this (`pllrequest.maxContentLength`), bytes.
pub(super) const MAX_REQUEST: usize = 16 * 1024;

/// Wraps one inner document for the session service. A `]]>` in it would end the envelope early, so
/// it is refused; escaped text can't contain one.
pub(super) fn wrap(inner: &str) -> Result<Vec<u8>, AmError> {
    if inner.contains("]]>") {
        return Err(AmError::PROTOCOL);
    }
    let mut body = Vec::with_capacity(inner.len() + 200);
    for part in [
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n",
        "<RequestSet vers=\"1.0\" svcid=\"Session\" reqid=\"0\">\n<Request><![CDATA[",
        inner,
        "]]></Request>\n</RequestSet>",
    ] {
        body.extend_from_slice(part.as_bytes());
    }
    match body.len() <= MAX_REQUEST {
        true => Ok(body),
        false => Err(AmError::PROTOCOL),
    }
}

/// The one inner document of an answer of the session service.
pub(super) fn unwrap(body: &[u8]) -> Result<String, AmError> {
    let document = core::str::from_utf8(body).map_err(|_| AmError::PROTOCOL)?;
    let mut inner: Option<String> = None;
    walk(document, &mut |path, node| {
        match (path, node) {
            (["ResponseSet"], Node::Open(attributes)) => {
                let session = attributes
                    .iter()
                    .any(|(n, v)| n == "svcid" && v.eq_ignore_ascii_case("Session"));
                return if session {
                    Ok(())
                } else {
                    Err(AmError::PROTOCOL)
                };
            }
            (["ResponseSet", "Response"], Node::Open(_)) if inner.is_none() => {
                inner = Some(String::new());
            }
            (["ResponseSet", "Response"], Node::Text(text)) => {
                if let Some(inner) = &mut inner {
                    inner.push_str(text);
                }
            }
            (["ResponseSet"], Node::Text(text)) if text.trim().is_empty() => {}
            _ => return Err(AmError::PROTOCOL),
        }
        Ok(())
    })?;
    inner.ok_or(AmError::PROTOCOL)
}

/// One thing found in a document.
pub(super) enum Node<'n> {
    /// An element begins; the path ends with its name.
    Open(&'n [(String, String)]),
    /// A piece of its text; pieces that belong together come one after the other.
    Text(&'n str),
}

type Visit<'v> = dyn FnMut(&[&str], Node<'_>) -> Result<(), AmError> + 'v;

/// Goes through a document. `visit` gets the names of the open elements and what was found there.
pub(super) fn walk(document: &str, visit: &mut Visit<'_>) -> Result<(), AmError> {
    let broken = |_| AmError::PROTOCOL;
    let mut reader = Reader::from_str(document);
    reader.config_mut().expand_empty_elements = true;
    let mut path: Vec<String> = Vec::new();
    let mut roots = 0;
    loop {
        let event = reader.read_event().map_err(broken)?;
        let text = match &event {
            Event::Start(start) => {
                roots += usize::from(path.is_empty());
                path.push(String::from(start.name().into_inner()));
                if path.len() > MAX_DEPTH || roots > 1 {
                    return Err(AmError::PROTOCOL);
                }
                tell(&path, Node::Open(&attributes(start)?), visit)?;
                continue;
            }
            Event::End(_) => {
                path.pop();
                continue;
            }
            Event::Eof if path.is_empty() && roots == 1 => return Ok(()),
            Event::Decl(_) | Event::Comment(_) => continue,
            Event::Text(text) => text.xml10_content(),
            Event::CData(text) => text.xml10_content(),
            Event::GeneralRef(name) => match resolve_predefined_entity(name) {
                Some(text) => text.into(),
                None => match name.resolve_char_ref() {
                    Ok(Some(c)) => String::from(c).into(),
                    _ => return Err(AmError::PROTOCOL),
                },
            },
            _ => return Err(AmError::PROTOCOL),
        };
        match path.is_empty() {
            true if text.trim().is_empty() => {}
            true => return Err(AmError::PROTOCOL),
            false => tell(&path, Node::Text(&text), visit)?,
        }
    }
}

fn tell(path: &[String], node: Node<'_>, visit: &mut Visit<'_>) -> Result<(), AmError> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    visit(&names, node)
}

/// The attributes of an element; one that is given twice or refers to an entity of its own is refused.
fn attributes(start: &BytesStart<'_>) -> Result<Vec<(String, String)>, AmError> {
    // The reader compares each name with all before it: too long where somebody sends thousands.
    let mut all = start.attributes();
    let attributes: Vec<(String, String)> = all
        .with_checks(false)
        .map(|attribute| {
            let attribute = attribute.map_err(|_| AmError::PROTOCOL)?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| AmError::PROTOCOL)?;
            Ok((String::from(attribute.key.into_inner()), value.into_owned()))
        })
        .collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = attributes.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(AmError::PROTOCOL),
        false => Ok(attributes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inner(body: &str) -> Result<String, AmError> {
        unwrap(body.as_bytes())
    }

    fn set(content: &str) -> String {
        std::format!(
            "<ResponseSet vers=\"1.0\" svcid=\"session\" reqid=\"0\">\n<Response>{content}</Response>\n</ResponseSet>"
        )
    }

    #[test]
    fn text_comes_in_pieces() {
        let doc = set("<![CDATA[<a>]]><![CDATA[b]]> &lt;&#99;&#x64;&amp;&quot;&apos;&gt;");
        assert_eq!(inner(&doc), Ok("<a>b <cd&\"'>".into()));
    }

    #[test]
    fn nothing_is_resolved() {
        for bad in [
            "<!DOCTYPE r [<!ENTITY e \"x\">]><ResponseSet svcid=\"session\"><Response>&e;</Response></ResponseSet>",
            "<!DOCTYPE r><ResponseSet svcid=\"session\"><Response>x</Response></ResponseSet>",
            "<?php x?><ResponseSet svcid=\"session\"><Response>x</Response></ResponseSet>",
            "<ResponseSet svcid=\"&e;\"><Response>x</Response></ResponseSet>",
            "<ResponseSet svcid=\"session\" svcid=\"session\"><Response>x</Response></ResponseSet>",
            "<ResponseSet svcid=\"policy\"><Response>x</Response></ResponseSet>",
            "<ResponseSet svcid=\"session\"><Response>x",
            "<ResponseSet svcid=\"session\"><Response>x</ResponseSet></Response>",
            "<ResponseSet svcid=\"session\"></ResponseSet>",
            "<ResponseSet svcid=\"session\"><Response>x</Response></ResponseSet><ResponseSet/>",
            "<ResponseSet svcid=\"session\"><Response>x</Response></ResponseSet>y",
            "<html><body>moved</body></html>",
            "",
        ] {
            assert_eq!(inner(bad), Err(AmError::PROTOCOL), "{bad}");
        }
        assert_eq!(inner(&set("&e;")), Err(AmError::PROTOCOL));
        assert_eq!(inner(&set("&#0;")), Err(AmError::PROTOCOL));
        let two = set("x</Response><Response>y");
        assert_eq!(inner(&two), Err(AmError::PROTOCOL));
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        assert!(walk(&deep, &mut |_, _| Ok(())).is_err());
    }

    #[test]
    fn the_envelope_can_not_be_left() {
        assert!(wrap("a]]>b").is_err());
        assert!(wrap(&"a".repeat(MAX_REQUEST)).is_err());
        assert!(wrap("<a/>").is_ok());
    }

    proptest! {
        #[test]
        fn what_is_wrapped_comes_out_again(text in "[^\r\0]{0,200}") {
            prop_assume!(!text.contains("]]>"));
            let request = String::from_utf8(wrap(&text).unwrap()).unwrap();
            let reply = request.replacen("RequestSet", "ResponseSet", 1)
                .replacen("<Request>", "<Response>", 1);
            let cut = reply.rfind("</Request>").unwrap();
            let reply = std::format!("{}</Response></ResponseSet>", &reply[..cut]);
            prop_assert_eq!(unwrap(reply.as_bytes()), Ok(text));
        }

        #[test]
        fn rubbish_ends_the_reading(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unwrap(&bytes);
        }
    }
}
