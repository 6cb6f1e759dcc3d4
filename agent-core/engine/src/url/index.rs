//! Which of many rules matches first? As cheap for ten thousand rules as for ten.
//!
//! Rules are found by what a matching URL must begin with (`host:port/path…`, or `/path…` for rules
//! about any host) or, where that says little, by what it must end with. What the look-up finds is
//! then compared in full, so the index can only be slow, never wrong. Rules of which nothing is
//! known at either end (`*/free/*`) are compared one by one.

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

use memchr::memchr;

use super::pattern::{Parts, Pattern};

/// So many rules with the same weak beginning are compared one by one before their ends are used.
const CROWD: u32 = 8;

/// An immutable, ordered list of rules.
pub struct Index {
    rules: Vec<(Pattern, Option<String>)>,
    prefixes: Trie,
    suffixes: Trie,
    loose: Vec<u32>,
}

impl Index {
    /// Takes the rules in file order; a rule with a method counts for that method only.
    pub fn build(rules: Vec<(Pattern, Option<String>)>) -> Index {
        let mut sharing = BTreeMap::<Vec<u8>, u32>::new();
        for (pattern, _) in &rules {
            *sharing.entry(pattern.prefix()).or_default() += 1;
        }
        let (mut prefixes, mut suffixes, mut loose) = (Vec::new(), Vec::new(), Vec::new());
        for (id, (pattern, _)) in (0u32..).zip(&rules) {
            let prefix = pattern.prefix();
            let mut suffix = pattern.suffix();
            let crowded =
                pattern.path_prefix_len() == 0 && sharing.get(&prefix).is_some_and(|n| *n > CROWD);
            if prefix.is_empty() && suffix.is_empty() {
                loose.push(id);
            } else if !prefix.is_empty() && (!crowded || suffix.is_empty()) {
                prefixes.push((prefix, id));
            } else {
                suffix.reverse();
                suffixes.push((suffix, id));
            }
        }
        Index {
            rules,
            prefixes: Trie::build(prefixes),
            suffixes: Trie::build(suffixes),
            loose,
        }
    }

    /// The first rule in file order that matches this canonical URL and method; methods are
    /// compared exactly. Allocates nothing.
    pub fn find(&self, method: &[u8], url: &str) -> Option<u32> {
        let parts = Parts::split(url)?;
        let mut best = u32::MAX;
        let mut look = |ids: &[u32]| {
            for &id in ids.iter().take_while(|id| **id < best) {
                if self.matches(id as usize, method, &parts) {
                    best = id;
                    break;
                }
            }
        };
        self.prefixes.visit(parts.from_host, End::Front, &mut look);
        self.prefixes.visit(parts.path, End::Front, &mut look);
        self.suffixes
            .visit(parts.before_query, End::Back, &mut look);
        look(&self.loose);
        (best != u32::MAX).then_some(best)
    }

    /// Whether one rule, by its place in the list, matches.
    pub fn rule_matches(&self, rule: usize, method: &[u8], url: &str) -> bool {
        Parts::split(url).is_some_and(|parts| self.matches(rule, method, &parts))
    }

    #[inline]
    fn matches(&self, rule: usize, method: &[u8], parts: &Parts<'_>) -> bool {
        self.rules.get(rule).is_some_and(|(pattern, only)| {
            only.as_ref().is_none_or(|m| m.as_bytes() == method) && pattern.matches_parts(parts)
        })
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
    use std::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;

    fn index(rules: &[(&str, Option<&str>)]) -> Index {
        let rule = |(p, m): &(&str, Option<&str>)| {
            (Pattern::parse(p, true).unwrap(), m.map(ToString::to_string))
        };
        Index::build(rules.iter().map(rule).collect())
    }

    #[test]
    fn the_first_rule_in_file_order_wins() {
        let i = index(&[
            ("*/free/*", None),
            ("http://h/a/*", Some("POST")),
            ("/a/b/*", None),
            ("http://h:80/a/b/c", None),
            ("*.gif", None),
            ("http://*.h/x", None),
        ]);
        let get = |url: &str| i.find(b"GET", url);
        assert_eq!(get("http://h:80/a/b/c"), Some(2));
        assert_eq!(i.find(b"POST", "http://h:80/a/b/c"), Some(1));
        assert_eq!(i.find(b"post", "http://h:80/a/b/c"), Some(2));
        assert_eq!(get("http://h:80/a/free/b/c"), Some(0));
        assert_eq!(get("http://h:80/A/B/x.gif"), Some(2));
        assert_eq!(get("http://h:80/x.gif"), Some(4));
        assert_eq!(get("http://w.h:80/x"), Some(5));
        assert_eq!(get("http://h:80/a/x"), None);
        assert_eq!(get("nonsense"), None);
        assert_eq!(Index::build(Vec::new()).find(b"GET", "http://h:80/"), None);
    }

    #[test]
    fn ten_thousand_rules_are_found_each() {
        let kinds: [fn(u32) -> String; 5] = [
            |n| format!("http://h:80/app{n}/*"),
            |n| format!("/app{n}/*.html"),
            |n| format!("*.x{n}e"),
            |n| format!("http://h{n}.example.com/*"),
            |n| format!("/{}b", "a".repeat(n as usize % 300)),
        ];
        for (kind, urls) in kinds.iter().zip([
            "http://h:80/app4711/x",
            "https://h:443/app4711/x.html",
            "http://h:80/x/y.x4711e",
            "http://h4711.example.com:80/x",
            "http://h:80/aaaaab",
        ]) {
            let rules = (0..10_000)
                .map(|n| (Pattern::parse(&kind(n), true).unwrap(), None))
                .collect::<Vec<_>>();
            let linear = rules.iter().position(|(p, _)| p.matches(urls)).unwrap();
            let i = Index::build(rules);
            assert_eq!(i.find(b"GET", urls), Some(linear as u32));
            assert!(i.loose.is_empty() && i.len() == 10_000);
        }
    }

    fn rules() -> impl Strategy<Value = Vec<(Pattern, Option<String>)>> {
        let text = prop_oneof![
            "(http|https|http\\*)://(h|g|\\*|h\\*|\\*g)(:80|:8\\*)?(/[ab\\*]{0,3}){0,3}(\\?\\*)?",
            "(/[abA\\*]{0,3}){1,3}(\\?a\\*)?",
            "\\*[ab/\\*]{0,4}[ab]",
            "(/[ab]{0,2}|/-\\*-){1,4}",
        ];
        let rule = (text, prop::option::of("GET|POST"), any::<bool>());
        prop::collection::vec(rule, 0..40).prop_map(|rules| {
            rules
                .into_iter()
                .filter_map(|(t, m, c)| Some((Pattern::parse(&t, c).ok()?, m)))
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn agrees_with_a_linear_scan(
            rules in rules(), method in "GET|POST|PUT",
            urls in prop::collection::vec("https?://(h|g|hg|gh):(80|81|443)/([abAB]{0,2}/){0,3}[ab]{0,2}(\\?a?)?", 1..12),
        ) {
            let i = Index::build(rules.clone());
            for url in urls {
                let linear = rules.iter().position(|(p, m)| {
                    m.as_ref().is_none_or(|m| *m == method) && p.matches(&url)
                });
                prop_assert_eq!(i.find(method.as_bytes(), &url), linear.map(|n| n as u32), "{}", url);
            }
        }
    }
}
