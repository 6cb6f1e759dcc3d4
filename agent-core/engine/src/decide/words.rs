//! What does a page say to the person who sees it?
//!
//! What they can do, in plain words. Causes that only an operator can mend are in the log, under the
//! incident id (rule L8).

use crate::event::Code;

/// Title and text.
pub(super) type Words = (&'static str, &'static str);

const CIRCLES: &str = "The login goes round in circles";

/// The words for a refusal.
pub(super) fn words(code: Code, status: u16) -> Words {
    by_code(code).unwrap_or_else(|| match status {
        400 => (
            "Bad request",
            "The address could not be understood. Check it and try again.",
        ),
        401 => (
            "Login needed",
            "Open the page in a browser and log in there, then try again.",
        ),
        413 => ("Too large", "What you sent is larger than this page takes."),
        429 => (
            "Too many logins",
            "Too many logins were begun from your network. Wait a minute, then try again.",
        ),
        503 => (
            "Not available",
            "The login service cannot be reached now. Try again in a moment.",
        ),
        _ if (210..240).contains(&code.number()) || (390..395).contains(&code.number()) => (
            "Login did not work",
            "The login could not be completed. Open the page you wanted again.",
        ),
        _ => ("No access", "You may not see this page."),
    })
}

fn by_code(code: Code) -> Option<Words> {
    let text = match code {
        Code::LoopTwoCookies => {
            "Your browser holds two login cookies that contradict each other. Delete the cookies of this \
             site and of its domain, then try again."
        }
        Code::LoopCookieLost | Code::LoopBadCookie => {
            "Your browser does not keep the login cookie of this site as it was set. Allow cookies for this \
             site, switch off what changes or clears them, then try again."
        }
        Code::LoopNoCookies => {
            "Your browser sends no cookies. Allow cookies for this site, then try again."
        }
        Code::LoopSessionDead => {
            "Each time you log in, your session ends at once. You may be logged in elsewhere too often: log \
             out there, then try again."
        }
        Code::LoopTooSlow => {
            "Each login took longer than is allowed. Try again, and complete the login without a break."
        }
        Code::LoopCookieDomain
        | Code::LoopCookieSecure
        | Code::LoopCookieSameSite
        | Code::LoopUnknownKey
        | Code::LoopOtherAddress
        | Code::LoopAmCookieLost => {
            "A setting of this site keeps you from logging in, and you cannot change it. Ask for help."
        }
        Code::TokenUnknownKey => {
            return Some((
                "Login did not work",
                "The login could not be verified. Wait a moment, then open the page you wanted again. If that \
                 does not help, ask for help.",
            ));
        }
        // Whoever goes back to AM's login page after a login ends here, too, or loads this address again.
        Code::CallbackNoCookie
        | Code::CallbackState
        | Code::CallbackReplayed
        | Code::CallbackNotPost => {
            return Some((
                "This login is over",
                "It was finished before, it took too long, or your browser did not send back its cookie. Open \
                 the page you wanted again. If that does not help, allow cookies for this site.",
            ));
        }
        Code::LoginCookieTooLarge => {
            return Some((
                "Login did not work",
                "Your session is larger than a browser keeps. You cannot change that: ask for help.",
            ));
        }
        Code::TokenExpired | Code::TokenNotYetValid | Code::LaresTime => {
            return Some((
                "Login did not work",
                "The login took too long, or the clocks of two servers differ. Try again; if it repeats, ask \
                 for help.",
            ));
        }
        Code::TokenRealm | Code::DeniedRealm => {
            return Some((
                "No access",
                "You are logged in with an account of another area than this site's. Log out there, then \
                 log in with the right account.",
            ));
        }
        Code::DeniedAdviceAgain => {
            return Some((
                "No access",
                "You logged in again as this page asks for, and it is still not enough.",
            ));
        }
        Code::DeniedAddress => {
            return Some((
                "No access",
                "Your network address has changed since you logged in. Log in again.",
            ));
        }
        _ => return None,
    };
    Some((CIRCLES, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of an incident is all that a page says about the inside (rule W2).
    #[test]
    fn words_are_for_people() {
        for code in Code::ALL {
            for status in [400, 401, 403, 413, 429, 500, 503] {
                let (title, text) = words(*code, status);
                assert!(!title.is_empty() && text.ends_with('.'), "{code:?}");
                assert!(!text.contains("PCL") && !text.contains('<'), "{code:?}");
            }
        }
    }

    #[test]
    fn each_loop_has_words_of_its_own_title() {
        let loops = Code::ALL
            .iter()
            .filter(|c| c.row().text.starts_with("stopped a login that goes round"));
        let mut count = 0;
        for code in loops {
            assert_eq!(words(*code, 403).0, CIRCLES, "{code:?}");
            count += 1;
        }
        assert_eq!(count, 12);
    }
}
