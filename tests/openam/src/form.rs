//! What does a page post by itself?
//!
//! Reads the one kind of page that AM writes for a browser to post on; it is no HTML parser.

/// A page that a browser would post by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Where it is posted to.
    pub action: String,
    /// Hidden fields in the page's order.
    pub fields: Vec<(String, String)>,
}

impl Form {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The first form of a page with its hidden fields. Reads what AM writes, not HTML at large:
/// attributes in double quotes.
#[must_use]
pub fn form_of(page: &str) -> Option<Form> {
    let form = &page[page.find("<form")?..];
    let form = &form[..form.find("</form>").unwrap_or(form.len())];
    let opening = &form[..form.find('>')?];
    let fields = form
        .split("<input")
        .skip(1)
        .filter_map(|tag| {
            Some((
                attribute(tag, "name")?,
                attribute(tag, "value").unwrap_or_default(),
            ))
        })
        .collect();
    Some(Form {
        action: attribute(opening, "action")?,
        fields,
    })
}

/// An attribute's value with its character references resolved.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let tag = &tag[..tag.find('>').unwrap_or(tag.len())];
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let value = &tag[start..];
    Some(unescape(&value[..value.find('"')?]))
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest.find(';').map(|end| &rest[1..end]);
        let found = match reference {
            Some("amp") => Some('&'),
            Some("lt") => Some('<'),
            Some("gt") => Some('>'),
            Some("quot") => Some('"'),
            Some(number) => number
                .strip_prefix('#')
                .and_then(|n| {
                    n.strip_prefix(['x', 'X'])
                        .map_or_else(|| n.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
                })
                .and_then(char::from_u32),
            None => None,
        };
        // A bare ampersand stands for itself, as in AM's form action.
        let (character, length) = match (found, reference) {
            (Some(character), Some(name)) => (character, name.len() + 2),
            _ => ('&', 1),
        };
        out.push(character);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_page_that_posts_itself() {
        let page = r#"<body onload="x"><form method="post" action="http://a:80/b#c=d&id_token=1">
            <input type="hidden" name="id_token" value="a&#43;b&amp;c&#x3d;"/><input type="hidden" name="state" value="s"/></form>"#;
        let form = form_of(page).unwrap();
        assert_eq!(form.action, "http://a:80/b#c=d&id_token=1");
        assert_eq!(form.field("id_token"), Some("a+b&c="));
        assert_eq!(form.field("state"), Some("s"));
        assert_eq!(form_of("<p>no form</p>"), None);
    }
}
