//! One rule about URLs, in whichever notation it was written.

use alloc::vec::Vec;

use super::{
    Parts, Pattern, PatternError,
    regex::{Regex, RegexError},
};

/// A rule about URLs.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // the large one is the usual one
pub enum UrlRule {
    /// Every URL.
    Any,
    /// With `*` or `-*-`.
    Wildcard(Pattern),
    /// A regular expression.
    Regex(Regex),
}

impl UrlRule {
    /// Compiles a rule with wildcards; `fold`: path and query without case.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn wildcard(text: &str, fold: bool) -> Result<UrlRule, PatternError> {
        Pattern::parse(text, fold).map(UrlRule::Wildcard)
    }

    /// Compiles a regular expression. `whole`: it has to stand for everything; `fold`: without case.
    ///
    /// # Errors
    /// See [`RegexError`].
    pub fn regex(text: &str, whole: bool, fold: bool) -> Result<UrlRule, RegexError> {
        Regex::parse(text, whole, fold).map(UrlRule::Regex)
    }

    /// Whether a URL matches.
    pub fn matches(&self, url: &Parts<'_>) -> bool {
        match self {
            UrlRule::Any => true,
            UrlRule::Wildcard(pattern) => pattern.matches_parts(url),
            UrlRule::Regex(regex) => regex.matches_parts(url),
        }
    }

    /// Whether the rule may be about how a name ends, as `*.gif` is (rule U1).
    pub fn is_by_extension(&self) -> bool {
        match self {
            UrlRule::Any => false,
            UrlRule::Wildcard(pattern) => pattern.is_by_extension(),
            UrlRule::Regex(_) => true,
        }
    }

    pub(super) fn prefix(&self) -> Vec<u8> {
        match self {
            UrlRule::Any => Vec::new(),
            UrlRule::Wildcard(pattern) => pattern.prefix(),
            UrlRule::Regex(regex) => regex.prefix(),
        }
    }

    pub(super) fn infix(&self) -> Vec<u8> {
        match self {
            UrlRule::Wildcard(pattern) => pattern.infix(),
            UrlRule::Any | UrlRule::Regex(_) => Vec::new(),
        }
    }

    pub(super) fn suffix(&self) -> Vec<u8> {
        match self {
            UrlRule::Any => Vec::new(),
            UrlRule::Wildcard(pattern) => pattern.suffix(),
            UrlRule::Regex(regex) => regex.suffix(),
        }
    }
}
