//! URLs: the one form in which a request's URL is judged, the patterns it is compared with, and the
//! addresses a browser may be sent to.

mod authority;
mod escape;

pub mod address;
pub mod canonical;
pub mod host_check;
pub mod index;
pub mod outside;
mod page;
pub mod pattern;
pub mod return_url;
pub mod view;

pub use address::{AddressError, AddressSet};
pub use canonical::{Canonical, Refusal};
pub use host_check::HostCheck;
pub use index::Index;
pub use outside::{Outside, Overrides};
pub use page::Page;
pub use pattern::{Pattern, PatternError};
pub use return_url::{AllowedHostError, AllowedHosts, ReturnUrl, ReturnUrlError};
pub use view::View;
