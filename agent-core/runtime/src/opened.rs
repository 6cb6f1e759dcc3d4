//! Which session did this sealed cookie name the last time? Saves opening it again.
//!
//! A thread's own, of fixed size, digests only: no token and no cookie is in it. What it says never
//! becomes wrong: the name of an entry covers all that decides what the cookie opens to, but for the
//! time, which the engine looks at. It must not say whether the session is alive.

use std::cell::Cell;

use portcullis_engine::contract::{CookieKey, Opened};

/// Visitors of one thread that are remembered; a newer one takes the place of an older one. With
/// keyed digests nobody can choose whose.
const SLOTS: usize = 64;

type Slot = Cell<Option<(CookieKey, Opened)>>;

thread_local! {
    static SEEN: [Slot; SLOTS] = const { [const { Cell::new(None) }; SLOTS] };
}

fn slot<T>(of: CookieKey, act: impl FnOnce(&Slot) -> T) -> T {
    SEEN.with(|seen| act(&seen[of.0 as usize % SLOTS]))
}

/// What was found in this cookie, if that was lately.
pub(crate) fn get(of: CookieKey) -> Option<Opened> {
    let entry = slot(of, Cell::get);
    entry
        .filter(|(key, _)| *key == of)
        .map(|(_, opened)| opened)
}

/// Remembers what was found in a cookie.
pub(crate) fn put(of: CookieKey, opened: Opened) {
    slot(of, |slot| slot.set(Some((of, opened))));
}

#[cfg(test)]
mod tests {
    use portcullis_engine::contract::{SessionKey, UnixMillis};

    use super::*;

    #[test]
    fn only_the_very_cookie_is_known() {
        let of = |session| Opened {
            session: SessionKey(session),
            expires: UnixMillis(1),
        };
        let (one, same_slot) = (CookieKey(5), CookieKey(5 + SLOTS as u128));
        assert_eq!(get(one), None);
        put(one, of(1));
        assert_eq!((get(one), get(same_slot)), (Some(of(1)), None));
        put(same_slot, of(2));
        assert_eq!((get(one), get(same_slot)), (None, Some(of(2))));
        let elsewhere = std::thread::spawn(move || get(same_slot)).join();
        assert_eq!(elsewhere.unwrap(), None);
    }
}
