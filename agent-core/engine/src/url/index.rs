//! Which of many rules matches first? As cheap for ten thousand rules as for ten.
//!
//! Rules are found by what a matching URL must begin with (`host:port/path…`, or `/path…` for rules
//! about any host) or, where that says little, by a part of the path that it must have, or by what it
//! must end with. What the look-up finds is then compared in full, so the index can only be slow,
//! never wrong. Rules of which nothing of this is known (`*a*`) are compared one by one.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use memchr::{memchr, memchr_iter};

use super::{Parts, UrlRule};

/// So many rules with the same weak beginning are compared one by one before anything else of them is
/// used.
const CROWD: u32 = 8;

/// An immutable, ordered list of rules.
pub struct Index {
    rules: Vec<UrlRule>,
    prefixes: Trie,
    infixes: Trie,
    suffixes: Trie,
    loose: Vec<u32>,
}

impl Index {
    /// Takes the rules in file order.
    pub fn build(rules: Vec<UrlRule>) -> Index {
        let mut sharing = BTreeMap::<Vec<u8>, u32>::new();
        for rule in &rules {
            *sharing.entry(rule.prefix()).or_default() += 1;
        }
        let (mut prefixes, mut infixes) = (Vec::new(), Vec::new());
        let (mut suffixes, mut loose) = (Vec::new(), Vec::new());
        for (id, rule) in (0u32..).zip(&rules) {
            let (prefix, infix, mut suffix) = (rule.prefix(), rule.infix(), rule.suffix());
            let crowded = is_weak(&prefix) && sharing.get(&prefix).is_some_and(|n| *n > CROWD);
            if !prefix.is_empty() && (!crowded || infix.is_empty() && suffix.is_empty()) {
                prefixes.push((prefix, id));
            } else if !infix.is_empty() {
                infixes.push((infix, id));
            } else if !suffix.is_empty() {
                suffix.reverse();
                suffixes.push((suffix, id));
            } else {
                loose.push(id);
            }
        }
        Index {
            rules,
            prefixes: Trie::build(prefixes),
            infixes: Trie::build(infixes),
            suffixes: Trie::build(suffixes),
            loose,
        }
    }

    /// The first rule in file order that matches this URL and that `accept` takes as well; it is asked
    /// about rules that match only. Allocates nothing.
    pub fn find(&self, url: &Parts<'_>, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut best = u32::MAX;
        let mut look = |ids: &[u32]| {
            for &id in ids.iter().take_while(|id| **id < best) {
                if self.rule(id).is_some_and(|rule| rule.matches(url)) && accept(id) {
                    best = id;
                    break;
                }
            }
        };
        if !self.prefixes.is_empty() {
            self.prefixes.visit(url.from_host, End::Front, &mut look);
            self.prefixes.visit(url.path, End::Front, &mut look);
        }
        if !self.infixes.is_empty() {
            for slash in memchr_iter(b'/', url.before_query) {
                self.infixes
                    .visit(&url.before_query[slash..], End::Front, &mut look);
            }
        }
        self.suffixes.visit(url.before_query, End::Back, &mut look);
        look(&self.loose);
        (best != u32::MAX).then_some(best)
    }

    /// A rule by its number.
    pub fn rule(&self, id: u32) -> Option<&UrlRule> {
        self.rules.get(id as usize)
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Whether a beginning says nothing of the path.
fn is_weak(prefix: &[u8]) -> bool {
    memchr(b'/', prefix).is_none_or(|slash| slash + 1 == prefix.len())
}

/// A radix tree over lower-case keys. The children of a node stand side by side.
#[derive(Default)]
struct Trie {
    nodes: Vec<Node>,
    /// First byte of each node's label, in the order of `nodes`: found with `memchr`.
    firsts: Vec<u8>,
    labels: Vec<u8>,
    ids: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Node {
    label: (u32, u32),
    ids: (u32, u32),
    children: (u32, u32),
}

fn slice<T>(all: &[T], (start, end): (u32, u32)) -> &[T] {
    all.get(start as usize..end as usize).unwrap_or(&[])
}

impl Trie {
    fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn build(mut entries: Vec<(Vec<u8>, u32)>) -> Trie {
        let mut trie = Trie::default();
        if entries.is_empty() {
            return trie;
        }
        entries.sort_unstable();
        trie.nodes.push(Node::default());
        trie.firsts.push(0);
        // Breadth first: no recursion whose depth the configuration decides.
        let mut todo = VecDeque::from([(0usize, entries.as_slice(), 0usize)]);
        while let Some((node, entries, depth)) = todo.pop_front() {
            let (here, mut deeper) =
                entries.split_at(entries.partition_point(|(key, _)| key.len() == depth));
            let ids = trie.ids.len() as u32;
            trie.ids.extend(here.iter().map(|(_, id)| *id));
            trie.nodes[node].ids = (ids, trie.ids.len() as u32);

            let children = trie.nodes.len() as u32;
            while let Some((key, _)) = deeper.first() {
                let size = deeper.partition_point(|(other, _)| other[depth] == key[depth]);
                let (group, rest) = deeper.split_at(size);
                let last = group.last().map_or(key, |(last, _)| last);
                // Sorted: what the first and the last have in common, all have.
                let common = key.iter().zip(last).take_while(|(a, b)| a == b).count();
                let label = trie.labels.len() as u32;
                trie.labels.extend_from_slice(&key[depth..common]);
                todo.push_back((trie.nodes.len(), group, common));
                trie.firsts.push(key[depth]);
                let label = (label, trie.labels.len() as u32);
                trie.nodes.push(Node {
                    label,
                    ..Node::default()
                });
                deeper = rest;
            }
            trie.nodes[node].children = (children, trie.nodes.len() as u32);
        }
        trie
    }

    /// Hands out the rules of every key that `text` begins with when it is read from `end`, ignoring
    /// case.
    fn visit(&self, mut text: &[u8], end: End, look: &mut impl FnMut(&[u32])) {
        let Some(mut node) = self.nodes.first() else {
            return;
        };
        loop {
            look(slice(&self.ids, node.ids));
            let Some(byte) = end.first(text).map(u8::to_ascii_lowercase) else {
                return;
            };
            let Some(child) = memchr(byte, slice(&self.firsts, node.children)) else {
                return;
            };
            let Some(next) = self.nodes.get(node.children.0 as usize + child) else {
                return;
            };
            node = next;
            let Some(rest) = end.strip(text, slice(&self.labels, node.label)) else {
                return;
            };
            text = rest;
        }
    }
}

/// From where a text is read.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

impl End {
    fn first(self, text: &[u8]) -> Option<&u8> {
        match self {
            End::Front => text.first(),
            End::Back => text.last(),
        }
    }

    /// What is left behind a label (in lower case) that `text` begins with.
    fn strip<'t>(self, text: &'t [u8], label: &[u8]) -> Option<&'t [u8]> {
        let beyond = text.len().checked_sub(label.len())?;
        match self {
            End::Front => {
                let (here, rest) = text.split_at(label.len());
                here.eq_ignore_ascii_case(label).then_some(rest)
            }
            End::Back => {
                let (rest, here) = text.split_at(beyond);
                let mut pairs = here.iter().rev().zip(label);
                let same = pairs.all(|(byte, expected)| byte.to_ascii_lowercase() == *expected);
                same.then_some(rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{format, string::String};

    use proptest::prelude::*;

    use super::*;

    fn wildcard(text: &str) -> UrlRule {
        UrlRule::wildcard(text, true).unwrap()
    }

    fn index(rules: &[&str]) -> Index {
        Index::build(rules.iter().map(|text| wildcard(text)).collect())
    }

    fn find(index: &Index, url: &str) -> Option<u32> {
        index.find(&Parts::split(url)?, |_| true)
    }

    #[test]
    fn the_first_rule_in_file_order_wins() {
        let i = index(&[
            "*/free/*",
            "http://h/a/*",
            "/a/b/*",
            "http://h:80/a/b/c",
            "*.gif",
            "http://*.h/x",
        ]);
        let get = |url: &str| {
            // Rule 1 is for somebody else.
            i.find(&Parts::split(url)?, |id| id != 1)
        };
        assert_eq!(get("http://h:80/a/b/c"), Some(2));
        assert_eq!(find(&i, "http://h:80/a/b/c"), Some(1));
        assert_eq!(get("http://h:80/a/free/b/c"), Some(0));
        assert_eq!(get("http://h:80/A/B/x.gif"), Some(2));
        assert_eq!(get("http://h:80/x.gif"), Some(4));
        assert_eq!(get("http://w.h:80/x"), Some(5));
        assert_eq!(get("http://h:80/a/x"), None);
        assert_eq!(get("nonsense"), None);
        assert_eq!(find(&Index::build(Vec::new()), "http://h:80/"), None);
    }

    #[test]
    fn ten_thousand_rules_are_found_each() {
        let kinds: [fn(u32) -> String; 7] = [
            |n| format!("http://h:80/app{n}/*"),
            |n| format!("/app{n}/*.html"),
            |n| format!("*.x{n}e"),
            |n| format!("http://h{n}.example.com/*"),
            |n| format!("/{}b", "a".repeat(n as usize % 300)),
            |n| format!("*/app{n}/*"),
            |n| format!("http://h:80/*/app{n}/*.html"),
        ];
        for (kind, urls) in kinds.iter().zip([
            "http://h:80/app4711/x",
            "https://h:443/app4711/x.html",
            "http://h:80/x/y.x4711e",
            "http://h4711.example.com:80/x",
            "http://h:80/aaaaab",
            "http://h:80/x/app4711/y",
            "http://h:80/x/app4711/y.html",
        ]) {
            let rules = (0..10_000).map(|n| wildcard(&kind(n))).collect::<Vec<_>>();
            let parts = Parts::split(urls).unwrap();
            let linear = rules.iter().position(|rule| rule.matches(&parts)).unwrap();
            let i = Index::build(rules);
            assert_eq!(find(&i, urls), Some(linear as u32));
            assert!(i.loose.is_empty() && i.len() == 10_000);
        }
    }

    fn rules() -> impl Strategy<Value = Vec<UrlRule>> {
        let text = prop_oneof![
            "(http|https|http\\*)://(h|g|\\*|h\\*|\\*g)(:80|:8\\*)?(/[ab\\*]{0,3}){0,3}(\\?\\*)?",
            "(/[abA\\*]{0,3}){1,3}(\\?a\\*)?",
            "\\*[ab/\\*]{0,4}[ab]",
            "\\*/[ab]{1,2}/\\*[ab]?",
            "(/[ab]{0,2}|/-\\*-){1,4}",
        ];
        let expression = "(https?://h:(80|443))?(/[ab.]{0,2}\\*?){1,3}(\\?.*)?";
        let wild = (text, any::<bool>()).prop_map(|(t, c)| UrlRule::wildcard(&t, c).ok());
        let regex = (expression, any::<bool>(), any::<bool>())
            .prop_map(|(t, whole, c)| UrlRule::regex(&t, whole, c).ok());
        let rule = prop_oneof![8 => wild, 2 => regex, 1 => Just(Some(UrlRule::Any))];
        prop::collection::vec(rule, 0..40).prop_map(|rules| rules.into_iter().flatten().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn agrees_with_a_linear_scan(
            rules in rules(), skipped in 0u32..8, any_query in any::<bool>(),
            urls in prop::collection::vec("https?://(h|g|hg|gh):(80|81|443)/([abAB]{0,2}/){0,3}[ab]{0,2}(\\?a?)?", 1..12),
        ) {
            let i = Index::build(rules.clone());
            for url in urls {
                let mut parts = Parts::split(&url).unwrap();
                parts.any_query = any_query;
                let taken = |id: u32| id % 8 != skipped;
                let linear = (0u32..).zip(&rules).find(|(id, rule)| taken(*id) && rule.matches(&parts));
                prop_assert_eq!(i.find(&parts, taken), linear.map(|(id, _)| id), "{}", url);
            }
        }
    }
}
