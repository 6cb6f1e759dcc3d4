//! Which HTTP methods is a rule about? A set of them as one number.

use alloc::string::String;

/// Methods that a rule may name. The version-control ones are written with hyphens, as in requests.
const METHODS: [&str; 26] = [
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "VERSION-CONTROL",
    "CHECKOUT",
    "UNCHECKOUT",
    "CHECKIN",
    "UPDATE",
    "LABEL",
    "MKWORKSPACE",
    "MKACTIVITY",
    "BASELINE-CONTROL",
];

/// A set of methods. HEAD is a method of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u32);

impl Methods {
    /// Every method, also those without a name here.
    pub const ALL: Methods = Methods(u32::MAX);
    /// The methods that change nothing (RFC 9110, 9.2.1), as far as grace is about them.
    pub const GET_AND_HEAD: Methods = Methods(1 | 1 << 2);
    /// A method that no rule can name: only rules about every method are about it.
    const OTHER: Methods = Methods(1 << 31);

    /// The method of a request, compared exactly.
    pub fn of_request(method: &[u8]) -> Methods {
        let at = METHODS.iter().position(|m| m.as_bytes() == method);
        at.map_or(Methods::OTHER, |at| Methods(1 << at))
    }

    /// Whether these have a method in common.
    pub fn meet(self, other: Methods) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether these hold for each of the others.
    pub fn cover(self, others: Methods) -> bool {
        self.0 & others.0 == others.0
    }

    /// Both.
    pub fn and(self, other: Methods) -> Methods {
        Methods(self.0 | other.0)
    }

    /// Whether only some methods are meant.
    pub fn is_limited(self) -> bool {
        self != Methods::ALL
    }

    /// The methods that a value names, with commas between them; `None` where one is none, or there is none.
    pub(super) fn named(value: &str) -> Option<Methods> {
        let names = value.split(',').map(str::trim);
        let find = |name: &str| METHODS.iter().position(|m| m.eq_ignore_ascii_case(name));
        let all = names.map(find).try_fold(0, |all, at| Some(all | 1 << at?));
        all.map(Methods)
    }

    /// The methods in the index of a rule, `[GET,1]`, `[1,GET]` or `[GET,POST,1]`: those named, or
    /// every one. Numbers only tell entries apart.
    ///
    /// # Errors
    /// The part that is neither a number nor a method.
    pub(super) fn of_index(index: Option<&str>) -> Result<Methods, String> {
        let mut named = 0;
        let parts = index.unwrap_or_default().split(',').map(str::trim);
        for part in parts.filter(|p| !p.bytes().all(|b| b.is_ascii_digit())) {
            let same =
                |m: &&str| m.replace('-', "_") == part.replace('-', "_").to_ascii_uppercase();
            let at = METHODS.iter().position(same).ok_or(part)?;
            named |= 1 << at;
        }
        Ok(if named == 0 {
            Methods::ALL
        } else {
            Methods(named)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Result<Methods, String> {
        Methods::of_index(Some(text))
    }

    #[test]
    fn an_index_may_name_methods_on_either_side_of_its_number() {
        let get = Methods::of_request(b"GET");
        for text in ["GET,1", "1, get", "Get", "GET,GET,7"] {
            assert_eq!(index(text), Ok(get), "{text}");
        }
        for text in ["3", "", "1,2"] {
            assert_eq!(index(text), Ok(Methods::ALL), "{text}");
        }
        assert_eq!(Methods::of_index(None), Ok(Methods::ALL));
        let two = index("GET,POST,1").unwrap_or(Methods::ALL);
        assert!(two.is_limited() && two.meet(get) && two.meet(Methods::of_request(b"POST")));
        assert!(!two.meet(Methods::of_request(b"HEAD")));
        assert_eq!(index("VERSION_CONTROL,1"), index("version-control"));
        assert_eq!(index("GTE,1"), Err("GTE".into()));
        assert_eq!(index("GET POST,1"), Err("GET POST".into()));
    }

    #[test]
    fn a_value_names_methods_only() {
        assert_eq!(Methods::named("get, HEAD"), Some(Methods::GET_AND_HEAD));
        let post = Methods::of_request(b"POST");
        assert!(!Methods::GET_AND_HEAD.cover(post));
        assert!(Methods::named("HEAD,POST").is_some_and(|m| m.cover(post)));
        for value in ["", "GET,", "1", "GET POST", "ALL"] {
            assert_eq!(Methods::named(value), None, "{value}");
        }
    }

    #[test]
    fn a_method_without_a_name_here_meets_rules_about_all_only() {
        for method in [&b"BREW"[..], b"get", b""] {
            let method = Methods::of_request(method);
            assert!(method.meet(Methods::ALL));
            assert!(index("GET,1").is_ok_and(|get| !get.meet(method)));
        }
    }
}
