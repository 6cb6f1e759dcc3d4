//! Does this URL match this regular expression? Each byte of the URL is looked at once.
//!
//! An expression is compiled to a complete automaton when the configuration is read, so a match
//! allocates nothing, takes no lock and cannot run long; what would need more (look-around, back
//! references, an automaton beyond its size) is no expression here and is reported.
//!
//! An expression that lets somebody in must stand for the *whole* of what it is compared with: with
//! `/public/` somewhere in a URL nobody can widen it. One that protects counts wherever it is found.
//! What it is compared with is the path when it begins with `/`, else the URL; the query belongs to
//! it only where the expression has a literal `?` (`\?`).

use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};

use memchr::{memchr, memmem};
use regex_automata::{
    Anchored, Input, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::syntax,
};
use regex_syntax::hir::{
    Hir, Look,
    literal::{ExtractKind, Extractor},
};

use super::pattern::Parts;

/// Longest expression in bytes.
const MAX_TEXT: usize = 8192;
/// Most bytes of one automaton.
const MAX_SIZE: usize = 1 << 20;
/// Most bytes that making one may take.
const MAX_EFFORT: usize = 8 << 20;

/// Why a regular expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// Nothing there.
    #[error("the expression is empty")]
    Empty,
    /// It has a mistake, or something that cannot be matched in linear time.
    #[error("{0}")]
    Syntax(String),
    /// Its automaton would be too large.
    #[error("the expression would need more than {} KiB", MAX_SIZE >> 10)]
    TooLarge,
}

/// One compiled expression.
#[derive(Clone, Debug)]
pub struct Regex {
    whole: bool,
    of_path: bool,
    with_query: bool,
    automaton: Box<dense::DFA<Vec<u32>>>,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

impl Regex {
    /// Compiles an expression. `whole`: it has to stand for everything; `fold`: without case.
    ///
    /// # Errors
    /// See [`RegexError`].
    pub fn parse(text: &str, whole: bool, fold: bool) -> Result<Regex, RegexError> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(RegexError::Empty);
        }
        if text.len() > MAX_TEXT {
            return Err(RegexError::TooLarge);
        }
        let exact = hir(text, false)?;
        let automaton = automaton(hir(text, fold)?, whole)?;
        let known = |kind| match whole {
            true => common(&exact, kind),
            false => Vec::new(),
        };
        Ok(Regex {
            whole,
            of_path: text.trim_start_matches('^').starts_with('/'),
            with_query: text.contains("\\?") || text.contains("[?]"),
            automaton: Box::new(automaton),
            prefix: known(ExtractKind::Prefix),
            suffix: known(ExtractKind::Suffix),
        })
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.automaton.memory_usage()
    }

    /// Whether a text matches, as the expression was compiled: whole, or somewhere in it.
    pub fn is_match(&self, text: &[u8]) -> bool {
        let anchored = match self.whole {
            true => Anchored::Yes,
            false => Anchored::No,
        };
        let input = Input::new(text).anchored(anchored).earliest(true);
        // It fails on bytes at which an automaton was told to give up; this one never was.
        matches!(self.automaton.try_search_fwd(&input), Ok(Some(_)))
    }

    pub(super) fn matches_parts(&self, url: &Parts<'_>) -> bool {
        let (path, all) = if self.with_query {
            // Where path info was cut out, path and query do not belong together.
            let Some(all) = url.all else { return false };
            (&all[url.before_query.len() - url.path.len()..], all)
        } else if url.query.is_none() || url.any_query {
            (url.path, url.before_query)
        } else {
            return false;
        };
        match (self.of_path, self.whole) {
            (true, true) => self.is_match(path),
            (true, false) => self.is_match(path) || self.is_match(all),
            (false, _) => self.is_match(all),
        }
    }

    /// Lower-case text with which `host:port/path`, or for an expression about paths `/path`, begins
    /// in every URL that matches; empty when nothing is known.
    pub(super) fn prefix(&self) -> Vec<u8> {
        // What the index looks at ends before the query.
        let end = memchr(b'?', &self.prefix).unwrap_or(self.prefix.len());
        let text = &self.prefix[..end];
        match memmem::find(text, b"://") {
            _ if self.of_path => text.to_vec(),
            Some(at) => text[at + 3..].to_vec(),
            None => Vec::new(),
        }
    }

    /// Lower-case text with which the URL without its query ends in every URL that matches; empty
    /// when nothing is known.
    pub(super) fn suffix(&self) -> Vec<u8> {
        match self.with_query {
            true => Vec::new(),
            false => self.suffix.clone(),
        }
    }
}

/// Bytes, not characters: canonical URLs are ASCII.
fn hir(text: &str, fold: bool) -> Result<Hir, RegexError> {
    let config = syntax::Config::new().unicode(false).utf8(false);
    syntax::parse_with(text, &config.case_insensitive(fold)).map_err(|error| {
        // The crate draws the place under the expression; a log line has room for the reason only.
        let reason = match &error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            _ => error.to_string(),
        };
        RegexError::Syntax(reason)
    })
}

fn automaton(hir: Hir, whole: bool) -> Result<dense::DFA<Vec<u32>>, RegexError> {
    let (hir, start) = match whole {
        true => {
            let ends = [Hir::look(Look::Start), hir, Hir::look(Look::End)];
            (Hir::concat(ends.into()), StartKind::Anchored)
        }
        false => (hir, StartKind::Unanchored),
    };
    let nfa = thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(MAX_SIZE));
    let dfa = dense::Config::new()
        .start_kind(start)
        .match_kind(MatchKind::All)
        .dfa_size_limit(Some(MAX_SIZE))
        .determinize_size_limit(Some(MAX_EFFORT));
    let nfa = thompson::Compiler::new()
        .configure(nfa)
        .build_from_hir(&hir);
    let nfa = nfa.map_err(|_| RegexError::TooLarge)?;
    let dfa = dense::Builder::new().configure(dfa).build_from_nfa(&nfa);
    dfa.map_err(|_| RegexError::TooLarge)
}

/// What everything that matches begins or ends with, in lower case. Of an expression with case: with
/// or without it the same texts match but for their case.
fn common(hir: &Hir, kind: ExtractKind) -> Vec<u8> {
    let prefix = matches!(kind, ExtractKind::Prefix);
    let literals = Extractor::new().kind(kind).extract(hir);
    let common = match prefix {
        true => literals.longest_common_prefix(),
        false => literals.longest_common_suffix(),
    };
    common.unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Regex {
        Regex::parse(text, true, false).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// Whether an expression matches a URL without path info.
    fn matches(regex: &Regex, url: &str, any_query: bool) -> bool {
        let mut parts = Parts::split(url).unwrap();
        parts.any_query = any_query;
        regex.matches_parts(&parts)
    }

    #[test]
    fn an_exemption_stands_for_the_whole_url_or_the_whole_path() {
        let row = |text, url| matches(&whole(text), url, false);
        for (text, url) in [
            ("http://h:80/img/[^/]+\\.png", "http://h:80/img/a.png"),
            ("^http://h:80/img/.*$", "http://h:80/img/"),
            ("https?://h:(80|443)/(css|js)/.*", "https://h:443/js/a/b"),
            ("/public/.*", "http://any:8080/public/x"),
            (".*/health", "http://h:80/app/health"),
            ("/a\\?b=\\d+", "http://h:80/a?b=12"),
            ("/a(\\?.*)?", "http://h:80/a"),
        ] {
            assert!(row(text, url), "{text} must match {url}");
        }
        for (text, url) in [
            ("/public/", "http://h:80/public/x"),
            ("/public/", "http://h:80/secret/public/"),
            ("public", "http://h:80/public"),
            ("/a|/b", "http://h:80/ab"),
            ("/a", "http://h:80/A"),
            (".*\\.gif", "http://h:80/secret?x=.gif"),
            ("/a\\?b=\\d+", "http://h:80/a?b=12c"),
            ("/a", "http://h:80/a?b"),
        ] {
            assert!(!row(text, url), "{text} must not match {url}");
        }
        assert!(matches(&whole("/a"), "http://h:80/a?b", true));
        assert!(!matches(&whole(".*\\.gif"), "http://h:80/a?b.gif", true));
        assert!(
            Regex::parse("/A/[b-c]", true, true)
                .unwrap()
                .is_match(b"/a/C")
        );
    }

    #[test]
    fn what_protects_counts_wherever_it_is_found() {
        let found =
            |text: &str, url: &str| matches(&Regex::parse(text, false, true).unwrap(), url, true);
        assert!(found("/secret/", "http://h:80/a/Secret/b?c"));
        assert!(found("http://h:80/", "http://h:80/a"));
        assert!(found("^/admin", "http://h:80/admin/x"));
        assert!(!found("^/admin", "http://h:80/x/admin"));
    }

    #[test]
    fn what_is_not_linear_or_not_sound_is_refused() {
        let refused = |text: &str| match Regex::parse(text, true, true) {
            Ok(_) => panic!("{text} is taken"),
            Err(error) => error.to_string(),
        };
        assert!(refused("/(?=x)").contains("look-around"));
        assert!(refused("/(?<!x)y").contains("look-around"));
        assert!(refused("(a)\\1").contains("backreferences"));
        for text in ["(", "a)|(b", "[z-a]", "*", "a{2,1}", "\\Qx\\E", ""] {
            refused(text);
        }
        assert_eq!(refused("(.*a.{20}){4}"), RegexError::TooLarge.to_string());
        assert_eq!(
            refused("[a-z]{1000}{1000}"),
            RegexError::TooLarge.to_string()
        );
    }

    #[test]
    fn what_all_matches_share_is_known() {
        let keys = |text: &str| {
            let regex = whole(text);
            [regex.prefix(), regex.suffix()].map(|k| String::from_utf8(k).unwrap())
        };
        assert_eq!(keys("^http://H:80/Static/.*"), ["h:80/static/", ""]);
        assert_eq!(keys("/a/(b|bc)/.*\\.html"), ["/a/b", ".html"]);
        assert_eq!(keys("https?://h:80/x"), ["", "://h:80/x"]);
        assert_eq!(keys("/a\\?b"), ["/a", ""]);
    }

    proptest! {
        #[test]
        fn whatever_matches_has_the_known_ends(text in "(/|ab?|[Ab]|\\.|a\\*|\\(a\\|b\\))(/|a|b|\\.\\*|\\(a\\|bb\\)|[^a]){0,5}", path in "/?[abAB/]{0,6}", fold in any::<bool>()) {
            let Ok(regex) = Regex::parse(&text, true, fold) else { return Ok(()) };
            let url = format!("http://h:80/{path}");
            let parts = Parts::split(&url).unwrap();
            if regex.matches_parts(&parts) {
                let lower = |text: &[u8]| text.to_ascii_lowercase();
                let prefix = regex.prefix();
                prop_assert!(lower(parts.from_host).starts_with(&prefix) || lower(parts.path).starts_with(&prefix));
                prop_assert!(lower(parts.before_query).ends_with(&regex.suffix()));
            }
        }
    }
}
