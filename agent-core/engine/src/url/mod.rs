//! URLs: the one form in which a request's URL is judged, the patterns it is compared with, and the
//! addresses a browser may be sent to.

mod authority;
mod escape;
mod forms;

pub mod address;
mod address_index;
pub mod canonical;
pub mod host_check;
pub mod index;
pub mod outside;
mod page;
pub mod pattern;
pub mod regex;
pub mod return_url;
mod rule;
pub mod view;

pub use address::{AddressError, AddressSet};
pub use address_index::AddressIndex;
pub use canonical::{Canonical, Refusal};
pub use forms::{Forms, Room};
pub use host_check::HostCheck;
pub use index::Index;
pub use outside::{Outside, Overrides};
pub use page::Page;
pub(crate) use pattern::{Glob, Part};
pub use pattern::{Parts, Pattern, PatternError};
pub use regex::{Regex, RegexError};
pub use return_url::{AllowedHostError, AllowedHosts, ReturnUrl, ReturnUrlError};
pub use rule::UrlRule;
pub use view::View;
pub(crate) use view::has_parameter;
