//! What of a URL do rules and policies see? Path info and parameters that are nobody's business are
//! left out, and the others brought into one order.
//!
//! It must not change the URL that a browser is sent back to.

use alloc::{string::String, vec::Vec};

use arrayvec::ArrayVec;

use super::{Canonical, Refusal};

/// More parameters than this cost an allocation.
const FEW: usize = 64;

/// How the URL that rules see is made from the one that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// `com.sun.identity.agents.config.ignore.path.info`: leave the host's path info out.
    pub ignore_path_info: bool,
    /// `portcullis.url.query.sort`: sort parameters by name; of equal names the order stays.
    pub sort: bool,
    /// `portcullis.url.query.remove`: names of parameters to leave out; `*` at the end stands for
    /// any end.
    pub remove: Vec<String>,
}

impl View {
    /// Whether rules see every URL as it was asked for.
    pub fn is_everything(&self) -> bool {
        *self == View::default()
    }

    /// Writes what rules see of `asked` to `seen`.
    ///
    /// # Errors
    /// None in practice: what is left is not longer.
    pub fn apply(&self, asked: &Canonical, seen: &mut Canonical) -> Result<(), Refusal> {
        seen.set_path_of(asked, self.ignore_path_info)?;
        let Some(query) = asked.query() else {
            return Ok(());
        };
        let mut kept = query
            .split('&')
            .filter(|p| !p.is_empty() && !self.removes(p));
        if !self.sort {
            return kept.try_for_each(|p| seen.push_parameter(p));
        }
        let mut few = ArrayVec::<&str, FEW>::new();
        let mut many = Vec::new();
        for parameter in kept {
            if few.try_push(parameter).is_err() {
                many.push(parameter);
            }
        }
        let parameters = match many.is_empty() {
            true => &mut few[..],
            false => {
                many.extend_from_slice(&few);
                &mut many[..]
            }
        };
        // They are pieces of one text, so their addresses are their order.
        parameters.sort_unstable_by_key(|p| (name(p), p.as_ptr()));
        parameters.iter().try_for_each(|p| seen.push_parameter(p))
    }

    fn removes(&self, parameter: &str) -> bool {
        let name = name(parameter);
        self.remove.iter().any(|text| match text.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == text,
        })
    }
}

/// Whether a query has a parameter of this name, with or without a value.
pub(crate) fn has_parameter(query: &str, wanted: &str) -> bool {
    query.split('&').any(|parameter| name(parameter) == wanted)
}

fn name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or(parameter)
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};
    use std::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;
    use crate::contract::{Local, RequestView};

    fn canonical(target: &str) -> Canonical {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut url = Canonical::new();
        url.set(&RequestView {
            method: b"GET",
            target: target.as_bytes(),
            host: b"h",
            headers: &[],
            merged: false,
            peer,
            client: peer,
            local: Local {
                tls: false,
                port: 80,
                path: if target.starts_with("/a.php/x") {
                    b"/a.php"
                } else {
                    b""
                },
                path_info: if target.starts_with("/a.php/x") {
                    b"/x"
                } else {
                    b""
                },
                authorizes: false,
            },
        })
        .unwrap();
        url
    }

    fn seen(view: &View, target: &str) -> String {
        let mut seen = Canonical::new();
        view.apply(&canonical(target), &mut seen).unwrap();
        let url = seen.url();
        assert_eq!(seen.without_query(), url.split('?').next().unwrap());
        assert_eq!(seen.query(), url.split_once('?').map(|(_, query)| query));
        url.strip_prefix("http://h:80").unwrap().to_string()
    }

    fn view(ignore_path_info: bool, sort: bool, remove: &[&str]) -> View {
        View {
            ignore_path_info,
            sort,
            remove: remove.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn path_info_is_left_out_and_the_query_stays() {
        let ignoring = view(true, false, &[]);
        assert_eq!(seen(&ignoring, "/a.php/x?b=/x"), "/a.php?b=/x");
        assert_eq!(seen(&ignoring, "/b/x?c"), "/b/x?c");
        assert_eq!(
            seen(&view(false, true, &[]), "/a.php/x?b=/x"),
            "/a.php/x?b=/x"
        );
    }

    #[test]
    fn parameters_are_sorted_by_name_and_equal_ones_stay_in_order() {
        let sorted = view(false, true, &[]);
        assert_eq!(seen(&sorted, "/?b=2&a=1&c"), "/?a=1&b=2&c");
        assert_eq!(seen(&sorted, "/?a=2&b=1&a=1"), "/?a=2&a=1&b=1");
        assert_eq!(seen(&sorted, "/?b&&a=x=y&"), "/?a=x=y&b");
        assert_eq!(seen(&sorted, "/?%61=2&A=1"), "/?A=1&a=2");
        let many: Vec<String> = (100..300).rev().map(|n| format!("p{n}=x")).collect();
        let mut expected = many.clone();
        expected.reverse();
        let url = seen(&sorted, &format!("/?{}", many.join("&")));
        assert_eq!(url, format!("/?{}", expected.join("&")));
    }

    #[test]
    fn named_parameters_are_left_out() {
        let removing = view(false, false, &["sid", "utm_*"]);
        assert_eq!(
            seen(&removing, "/?z=1&sid=7&a&utm_source=x&utm_=y"),
            "/?z=1&a"
        );
        assert_eq!(seen(&removing, "/?sid"), "/");
        assert_eq!(seen(&removing, "/?sid&"), "/");
        assert_eq!(
            seen(&removing, "/?side=1&SID=2&x=sid"),
            "/?side=1&SID=2&x=sid"
        );
    }

    proptest! {
        #[test]
        fn a_view_of_a_view_is_the_same(
            query in "[abcAB=&%1+/?]{0,40}",
            sort in any::<bool>(), info in any::<bool>(), remove in any::<bool>()
        ) {
            let view = view(info, sort, if remove { &["a", "b*"] } else { &[] });
            let once = seen(&view, &format!("/a.php/x?{query}"));
            prop_assert_eq!(&once, &seen(&view, &once));
            let pieces = |url: &str| {
                let query = url.split_once('?').map_or("", |(_, query)| query);
                let mut all: Vec<String> = query
                    .split('&')
                    .filter(|p| !p.is_empty())
                    .map(Into::into)
                    .collect();
                all.sort();
                all
            };
            if !remove {
                prop_assert_eq!(pieces(&once), pieces(canonical(&format!("/?{query}")).url()));
            }
        }
    }
}
