//! A page of the operator's that refused browsers are sent to. Only on hosts that redirects may use
//! (rule L7), and without anything that could be read in two ways.

use alloc::{
    format,
    string::{String, ToString},
};

use super::{
    canonical::Canonical,
    return_url::{AllowedHosts, ReturnUrl},
};

/// A page, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    location: String,
    /// `scheme://host:port`; `None`: on the host of the request.
    origin: Option<String>,
    path: String,
}

impl Page {
    /// An absolute URL, or a path on the host of the request.
    ///
    /// # Errors
    /// Why it can't be used, for the operator.
    pub fn parse(text: &str, allowed: &AllowedHosts) -> Result<Page, String> {
        let own = text.starts_with('/');
        let location = match own {
            true => text.to_string(),
            false => match ReturnUrl::parse(text, allowed) {
                Ok(url) => url.as_str().to_string(),
                Err(why) => return Err(why.to_string()),
            },
        };
        let (origin, target) = match location.split_once("://") {
            Some((scheme, rest)) if !own => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let port = match (has_port(authority), scheme) {
                    (true, _) => "",
                    (false, "https") => ":443",
                    (false, _) => ":80",
                };
                (Some(format!("{scheme}://{authority}{port}")), path)
            }
            _ => (None, location.as_str()),
        };
        let path = target.split('?').next().unwrap_or(target);
        let plain = path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"*\\%;#".contains(&b));
        let climbs = path.split('/').any(|part| part == "." || part == "..");
        if !plain || climbs || !path.starts_with('/') || path.contains("//") || text.contains('#') {
            return Err(
                "the path has a wildcard, a dot segment, an escape or no slash".to_string(),
            );
        }
        Ok(Page {
            path: path.to_string(),
            origin,
            location,
        })
    }

    /// The address to send a browser to.
    pub fn location(&self) -> String {
        self.location.clone()
    }

    /// Whether this request asks for the page, whatever its query.
    pub fn is_at(&self, url: &Canonical) -> bool {
        url.path() == self.path
            && self
                .origin
                .as_ref()
                .is_none_or(|origin| origin == url.origin())
    }
}

/// Whether an authority ends with a port; an IPv6 address has colons of its own.
fn has_port(authority: &str) -> bool {
    let after = authority.rsplit(']').next().unwrap_or(authority);
    after.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_plain_and_on_known_hosts() {
        let hosts =
            AllowedHosts::new(["http://www.example.com:8080", "https://www.example.com"]).unwrap();
        for good in [
            "/denied.html",
            "/denied?why=1",
            "http://www.example.com:8080/denied",
            "https://www.example.com/denied",
        ] {
            assert!(Page::parse(good, &hosts).is_ok(), "{good}");
        }
        let https = Page::parse("https://www.example.com/denied", &hosts).unwrap();
        assert_eq!(https.origin.as_deref(), Some("https://www.example.com:443"));
        for bad in [
            "",
            "denied.html",
            "//evil.example/denied",
            "/a//b",
            "/a/../b",
            "/./b",
            "/a*",
            "/a%2fb",
            "/a;b",
            "/a\\b",
            "/a#b",
            "/a b",
            "https://evil.example/denied",
            "https://www.example.com@evil.example/denied",
            "javascript:alert(1)",
        ] {
            assert!(Page::parse(bad, &hosts).is_err(), "{bad}");
        }
    }
}
