//! Reads a small XML document into a tree. No document types, no entities but the predefined ones.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion, escape::resolve_predefined_entity};

/// An element.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    /// Character data directly below, CDATA included.
    pub(crate) text: String,
    pub(crate) children: Vec<Node>,
}

impl Node {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        crate::http::find(&self.attributes, name)
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|c| c.name == name)
    }

    /// Children with a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children.iter().filter(move |c| c.name == name)
    }

    fn opened(start: &BytesStart<'_>) -> Option<Self> {
        let mut node = Self {
            name: start.local_name().as_ref().to_owned(),
            ..Self::default()
        };
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
            node.attributes
                .push((attribute.key.0.to_owned(), value.into_owned()));
        }
        Some(node)
    }
}

/// The root element; `None` for anything that is not one well-formed document.
pub(crate) fn parse(text: &str) -> Option<Node> {
    let mut reader = Reader::from_str(text);
    // The last is the element that is open; the first stands for the document.
    let mut open = vec![Node::default()];
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => open.push(Node::opened(&start)?),
            Event::Empty(start) => open.last_mut()?.children.push(Node::opened(&start)?),
            Event::End(_) => {
                let done = open.pop()?;
                open.last_mut()?.children.push(done);
            }
            Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::CData(data) => open.last_mut()?.text.push_str(&data.xml10_content()),
            Event::GeneralRef(reference) => {
                let text = &mut open.last_mut()?.text;
                match reference.resolve_char_ref().ok()? {
                    Some(character) => text.push(character),
                    None => text.push_str(resolve_predefined_entity(&reference)?),
                }
            }
            Event::DocType(_) => return None,
            Event::Eof => break,
            _ => {}
        }
    }
    let document = open.pop().filter(|_| open.is_empty())?;
    let mut roots = document.children.into_iter();
    roots.next().filter(|_| roots.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_agents_send() {
        let root = parse(
            "<?xml version=\"1.0\"?>\n<a b=\"1 &amp; 2\"><c><![CDATA[<x/>]]></c><d/>t&lt;&#65;</a>",
        )
        .unwrap();
        assert_eq!(root.attribute("b"), Some("1 & 2"));
        assert_eq!(root.child("c").unwrap().text, "<x/>");
        assert_eq!(root.all("d").count(), 1);
        assert_eq!(root.text, "t<A");
    }

    #[test]
    fn refuses_what_is_no_document() {
        for text in [
            "",
            "hello",
            "<a",
            "<a></b>",
            "<!DOCTYPE a><a/>",
            "<a>&x;</a>",
            "<a/><b/>",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
