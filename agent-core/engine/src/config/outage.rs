//! What the operator wants while AM is away. Every strategy refuses what is not known; they differ in
//! how much of what is known still counts, and in the status.

macro_rules! strategies {
    ($($(#[$doc:meta])* $name:ident $word:literal rules $rules:literal cache $cache:literal $status:literal;)*) => {
        /// `portcullis.strategy.when.am.unavailable`
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Strategy {
            $($(#[$doc])* $name,)*
        }

        impl Strategy {
            /// All strategies.
            pub const ALL: &'static [Strategy] = &[$(Strategy::$name,)*];
            /// The words of the property.
            pub const WORDS: &'static [(&'static str, Strategy)] = &[$(($word, Strategy::$name),)*];

            /// The word of the property.
            pub const fn word(self) -> &'static str {
                match self { $(Strategy::$name => $word,)* }
            }

            /// Whether not-enforced rules still let everybody in.
            pub const fn rules_count(self) -> bool {
                match self { $(Strategy::$name => $rules,)* }
            }

            /// Whether what AM said before still counts, for as long as it would anyway.
            pub const fn cache_counts(self) -> bool {
                match self { $(Strategy::$name => $cache,)* }
            }

            /// Status of a refusal because AM is away.
            pub const fn status(self) -> u16 {
                match self { $(Strategy::$name => $status,)* }
            }
        }
    };
}

strategies! {
    /// Everything is refused with 403.
    Immediate403 "IMMEDIATE_403" rules false cache false 403;
    /// Everything is refused with 503.
    Immediate503 "IMMEDIATE_503" rules false cache false 503;
    /// Not-enforced rules count, everything else is refused with 403.
    Rules403 "EVAL_NER_ELSE_403" rules true cache false 403;
    /// Not-enforced rules count, everything else is refused with 503.
    Rules503 "EVAL_NER_ELSE_503" rules true cache false 503;
    /// Rules and what is stored count, everything else is refused with 403.
    Cache403 "EVAL_NER_USE_CACHE_UNTIL_EXPIRED_ELSE_403" rules true cache true 403;
    /// Rules and what is stored count, everything else is refused with 503.
    Cache503 "EVAL_NER_USE_CACHE_UNTIL_EXPIRED_ELSE_503" rules true cache true 503;
}

/// Why nothing but the not-enforced rules counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesOnly {
    /// `portcullis.autonomous.mode`: AM is never asked; what no rule names gets 403 (rule O5).
    Autonomous,
    /// `fallback.mode`: there is no configuration yet; what no rule names gets 503 (rule O4).
    Fallback,
}
