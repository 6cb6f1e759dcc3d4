//! The bytes of a fact in shared memory: how an answer of AM is written once and read in place.
//!
//! Reading copies nothing and allocates nothing; whatever does not parse is `None`, which the caller
//! treats as "not known". Names and values are looked at when they are asked for, not before: most
//! requests want two of a dozen. A record says nothing about its own age: the table keeps that
//! beside it.

use alloc::vec::Vec;

/// First byte of every record; another layout gets another number, and old records become misses.
const LAYOUT: u8 = 3;
/// Longest single string.
const MAX_STRING: usize = u16::MAX as usize;

const KIND_SESSION: u8 = 1;
const KIND_POLICY: u8 = 2;
const KIND_ATTRIBUTES: u8 = 3;
const KIND_KEYS: u8 = 4;

/// A reader over the bytes of one record.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes: [u8; 8] = self.take(8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes: [u8; 4] = self.take(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The bytes of a string.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()? as usize;
        self.take(n)
    }

    fn string(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    /// A name and its values, see [`Writer::pair`].
    #[inline]
    fn pair(&mut self) -> Option<(&'a [u8], Values<'a>)> {
        let (lengths, rest) = self.0.split_first_chunk()?;
        let lengths = u64::from_le_bytes(*lengths);
        let (name, rest) = rest.split_at_checked((lengths & 0xffff) as usize)?;
        let (values, rest) = rest.split_at_checked((lengths >> 32) as usize)?;
        self.0 = rest;
        Some((name, Values(Reader(values))))
    }

    /// A stretch that can be stepped over as a whole.
    fn block(&mut self) -> Option<Reader<'a>> {
        let n = self.u32()? as usize;
        self.take(n).map(Reader)
    }

    fn header(&mut self, kind: u8) -> Option<()> {
        (self.byte()? == LAYOUT && self.byte()? == kind).then_some(())
    }
}

/// Writes one record. Strings beyond 64 KiB make the record unusable instead of cutting them.
struct Writer {
    bytes: Vec<u8>,
    fits: bool,
}

impl Writer {
    fn new(kind: u8) -> Writer {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&[LAYOUT, kind]);
        Writer { bytes, fits: true }
    }

    fn u16(&mut self, n: usize) {
        self.fits &= n <= MAX_STRING;
        self.bytes.extend_from_slice(&(n as u16).to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.bytes.extend_from_slice(&n.to_le_bytes());
    }

    fn string(&mut self, s: &str) {
        self.u16(s.len());
        self.bytes.extend_from_slice(s.as_bytes());
    }

    /// What `inside` writes, with its length in front.
    fn block(&mut self, inside: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        inside(self);
        let n = self.bytes.len() - start - 4;
        self.fits &= n <= u32::MAX as usize;
        self.bytes[start..start + 4].copy_from_slice(&(n as u32).to_le_bytes());
    }

    fn pairs<'p>(&mut self, pairs: impl Iterator<Item = (&'p str, &'p [&'p str])>) {
        self.block(|w| pairs.for_each(|(name, values)| w.pair(name, values)));
    }

    /// A name and its values, both lengths in front: whoever looks for another name steps over it.
    fn pair(&mut self, name: &str, values: &[&str]) {
        let size: usize = values.iter().map(|value| 2 + value.len()).sum();
        self.fits &= name.len() <= MAX_STRING && size <= u32::MAX as usize;
        self.u64(name.len() as u64 | (size as u64) << 32);
        self.bytes.extend_from_slice(name.as_bytes());
        values.iter().for_each(|value| self.string(value));
    }

    fn done(self) -> Option<Vec<u8>> {
        self.fits.then_some(self.bytes)
    }
}

/// Names with one or more values each, read in place. From where one does not parse, there are none.
#[derive(Clone, Copy)]
pub struct Pairs<'a>(Reader<'a>);

impl<'a> Pairs<'a> {
    fn read(r: &mut Reader<'a>) -> Option<Pairs<'a>> {
        r.block().map(Pairs)
    }

    fn raw(&self) -> impl Iterator<Item = (&'a [u8], Values<'a>)> + use<'a> {
        let mut rest = self.0;
        core::iter::from_fn(move || rest.pair())
    }

    /// Every (name, values) in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Values<'a>)> + use<'a> {
        self.raw()
            .map_while(|(name, values)| Some((core::str::from_utf8(name).ok()?, values)))
    }

    /// The values of one name, compared exactly.
    pub fn get(&self, name: &str) -> Option<Values<'a>> {
        let found = self.raw().find(|(n, _)| *n == name.as_bytes());
        found.map(|(_, values)| values)
    }

    /// The first value of one name.
    pub fn first(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|mut v| v.next())
    }

    /// The first value of one name as bytes.
    pub fn first_bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.get(name).and_then(|v| v.bytes().next())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }
}

/// The values of one name.
#[derive(Clone, Copy)]
pub struct Values<'a>(Reader<'a>);

impl<'a> Values<'a> {
    /// The values as bytes: for those who copy them and need not know that they are UTF-8.
    pub fn bytes(mut self) -> impl Iterator<Item = &'a [u8]> {
        core::iter::from_fn(move || self.0.bytes())
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.string()
    }
}

/// What kind of identity a session belongs to (rule L5: only users count).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A person.
    User,
    /// An application or agent.
    Application,
}

/// A live session of AM.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// Whose it is.
    pub kind: SessionKind,
    /// The token is a client-side session: AM goes on calling it valid after a logout (rule S1).
    pub client_side: bool,
    /// End by AM's total limit, wall clock milliseconds.
    pub max_end: u64,
    /// End by AM's idle limit as it was when asked, wall clock milliseconds.
    pub idle_end: u64,
    /// Realm, beginning with `/`.
    pub realm: &'a str,
    /// Universal id, `id=demo,ou=user,…`.
    pub universal_id: &'a str,
    /// Session properties.
    pub properties: Pairs<'a>,
}

impl<'a> Session<'a> {
    /// Reads a session record.
    pub fn decode(bytes: &'a [u8]) -> Option<Session<'a>> {
        let mut r = Reader(bytes);
        r.header(KIND_SESSION)?;
        let flags = r.byte()?;
        Some(Session {
            kind: if flags & 1 == 1 {
                SessionKind::User
            } else {
                SessionKind::Application
            },
            client_side: flags & 2 == 2,
            max_end: r.u64()?,
            idle_end: r.u64()?,
            realm: r.string()?,
            universal_id: r.string()?,
            properties: Pairs::read(&mut r)?,
        })
    }

    /// Whether both say the same but for when it ends: what was decided about one holds for the other
    /// (rule S6).
    pub fn is_like(&self, other: &Session<'_>) -> bool {
        (self.kind, self.realm, self.universal_id) == (other.kind, other.realm, other.universal_id)
            && self.properties.0.0 == other.properties.0.0
    }
}

/// A session as an adapter learnt it, to be written.
pub struct NewSession<'a> {
    /// See [`Session::kind`].
    pub kind: SessionKind,
    /// See [`Session::client_side`].
    pub client_side: bool,
    /// See [`Session::max_end`].
    pub max_end: u64,
    /// See [`Session::idle_end`].
    pub idle_end: u64,
    /// See [`Session::realm`].
    pub realm: &'a str,
    /// See [`Session::universal_id`].
    pub universal_id: &'a str,
    /// See [`Session::properties`].
    pub properties: &'a [(&'a str, &'a str)],
}

impl NewSession<'_> {
    /// The record; `None` when a string is longer than 64 KiB.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut w = Writer::new(KIND_SESSION);
        let user = u8::from(self.kind == SessionKind::User);
        w.bytes.push(user | (u8::from(self.client_side) << 1));
        w.u64(self.max_end);
        w.u64(self.idle_end);
        w.string(self.realm);
        w.string(self.universal_id);
        w.block(|w| {
            for (name, value) in self.properties {
                w.pair(name, &[value]);
            }
        });
        w.done()
    }
}

/// AM's answer about one resource for one session.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// When AM's answer ends, wall clock milliseconds; `u64::MAX` for never.
    pub ttl: u64,
    actions: Pairs<'a>,
    /// Response attributes.
    pub attributes: Pairs<'a>,
    /// Advices; empty when there is none.
    pub advices: Pairs<'a>,
}

impl<'a> Policy<'a> {
    /// Reads a policy record.
    pub fn decode(bytes: &'a [u8]) -> Option<Policy<'a>> {
        let mut r = Reader(bytes);
        r.header(KIND_POLICY)?;
        Some(Policy {
            ttl: r.u64()?,
            actions: Pairs::read(&mut r)?,
            attributes: Pairs::read(&mut r)?,
            advices: Pairs::read(&mut r)?,
        })
    }

    /// Whether AM allows this action; an action AM does not mention is not allowed.
    pub fn allows(&self, action: &[u8]) -> bool {
        self.actions
            .raw()
            .any(|(name, values)| name == action && values.bytes().next() == Some(b"1"))
    }

    /// Every action that AM mentions, with whether it is allowed.
    pub fn actions(&self) -> impl Iterator<Item = (&'a str, bool)> + use<'a> {
        let allowed = |mut values: Values<'_>| values.next() == Some("1");
        self.actions.iter().map(move |(name, v)| (name, allowed(v)))
    }

    /// Whether AM attached advices.
    pub fn has_advices(&self) -> bool {
        !self.advices.is_empty()
    }
}

/// A policy answer as an adapter learnt it, to be written.
pub struct NewPolicy<'a> {
    /// See [`Policy::ttl`].
    pub ttl: u64,
    /// Action name → allowed.
    pub actions: &'a [(&'a str, bool)],
    /// See [`Policy::attributes`].
    pub attributes: &'a [(&'a str, &'a [&'a str])],
    /// See [`Policy::advices`].
    pub advices: &'a [(&'a str, &'a [&'a str])],
}

impl NewPolicy<'_> {
    /// The record; `None` when a string is longer than 64 KiB.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut w = Writer::new(KIND_POLICY);
        w.u64(self.ttl);
        w.block(|w| {
            for (name, allowed) in self.actions {
                w.pair(name, &[if *allowed { "1" } else { "0" }]);
            }
        });
        w.pairs(self.attributes.iter().copied());
        w.pairs(self.advices.iter().copied());
        w.done()
    }
}

/// Profile attributes of a user.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    /// The attributes asked for; one that the profile lacks is absent.
    pub values: Pairs<'a>,
}

impl<'a> Attributes<'a> {
    /// Reads an attributes record.
    pub fn decode(bytes: &'a [u8]) -> Option<Attributes<'a>> {
        let mut r = Reader(bytes);
        r.header(KIND_ATTRIBUTES)?;
        Some(Attributes {
            values: Pairs::read(&mut r)?,
        })
    }

    /// The record; `None` when a string is longer than 64 KiB.
    pub fn encode(values: &[(&str, &[&str])]) -> Option<Vec<u8>> {
        let mut w = Writer::new(KIND_ATTRIBUTES);
        w.pairs(values.iter().copied());
        w.done()
    }
}

/// How a published key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with SHA-256, `RS256` (RFC 7518, 3.3).
    Rs256,
    /// ECDSA on P-256 with SHA-256, `ES256` (RFC 7518, 3.4).
    Es256,
}

impl KeyKind {
    /// As `alg` has it.
    pub const fn word(self) -> &'static str {
        match self {
            KeyKind::Rs256 => "RS256",
            KeyKind::Es256 => "ES256",
        }
    }

    /// The kind that an `alg` names; there is none for any other.
    pub fn named(word: &str) -> Option<KeyKind> {
        [KeyKind::Rs256, KeyKind::Es256]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// A public key of AM's, its numbers in base64url as AM writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedKey<'a> {
    /// `kid`
    pub id: &'a str,
    /// How it signs.
    pub kind: KeyKind,
    /// Modulus and exponent, or the coordinates.
    pub numbers: [&'a str; 2],
}

/// The keys that AM publishes, as far as ID tokens are signed with such.
#[derive(Clone, Copy)]
pub struct PublishedKeys<'a>(Pairs<'a>);

impl<'a> PublishedKeys<'a> {
    /// No key at all.
    pub const NONE: PublishedKeys<'static> = PublishedKeys(Pairs(Reader(&[])));

    /// Reads a record of keys.
    pub fn decode(bytes: &'a [u8]) -> Option<PublishedKeys<'a>> {
        let mut r = Reader(bytes);
        r.header(KIND_KEYS)?;
        Some(PublishedKeys(Pairs::read(&mut r)?))
    }

    /// The record; `None` when a text is longer than 64 KiB.
    pub fn encode(keys: &[PublishedKey<'_>]) -> Option<Vec<u8>> {
        let mut w = Writer::new(KIND_KEYS);
        w.block(|w| {
            for key in keys {
                w.pair(key.id, &[key.kind.word(), key.numbers[0], key.numbers[1]]);
            }
        });
        w.done()
    }

    /// Every key.
    pub fn iter(&self) -> impl Iterator<Item = PublishedKey<'a>> + use<'a> {
        self.0.iter().map_while(|(id, mut values)| {
            Some(PublishedKey {
                id,
                kind: KeyKind::named(values.next()?)?,
                numbers: [values.next()?, values.next()?],
            })
        })
    }

    /// The key of this name and kind.
    pub fn find(&self, id: &str, kind: KeyKind) -> Option<PublishedKey<'a>> {
        self.iter().find(|key| key.id == id && key.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_session_reads_back_as_written(
            realm in ".{0,40}", id in ".{0,80}", max in any::<u64>(), idle in any::<u64>(),
            props in proptest::collection::vec((".{0,20}", ".{0,60}"), 0..8), user in any::<bool>(),
        ) {
            let borrowed: Vec<(&str, &str)> =
                props.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let kind = if user { SessionKind::User } else { SessionKind::Application };
            let bytes = NewSession {
                kind, client_side: !user, max_end: max, idle_end: idle,
                realm: &realm, universal_id: &id, properties: &borrowed,
            }.encode().unwrap();
            let s = Session::decode(&bytes).unwrap();
            prop_assert_eq!((s.kind, s.client_side, s.max_end, s.idle_end), (kind, !user, max, idle));
            prop_assert_eq!((s.realm, s.universal_id), (realm.as_str(), id.as_str()));
            let read: Vec<(String, String)> = s.properties.iter()
                .map(|(n, mut v)| (n.into(), v.next().unwrap().into())).collect();
            prop_assert_eq!(read, props);
            for cut in 0..bytes.len() {
                prop_assert!(Session::decode(&bytes[..cut]).is_none());
            }
        }

        #[test]
        fn rubbish_is_never_a_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let of_session = Session::decode(&bytes).map(|s| s.properties);
            let of_policy = Policy::decode(&bytes).map(|p| p.attributes);
            let of_user = Attributes::decode(&bytes).map(|a| a.values);
            for pairs in [of_session, of_policy, of_user].into_iter().flatten() {
                prop_assert!(pairs.iter().flat_map(|(_, values)| values).count() <= bytes.len());
            }
        }
    }

    #[test]
    fn keys_are_found_by_name_and_kind() {
        let key = |id, kind, n| PublishedKey {
            id,
            kind,
            numbers: [n, "AQAB"],
        };
        let all = [
            key("a", KeyKind::Rs256, "n1"),
            key("a", KeyKind::Es256, "x1"),
            key("b", KeyKind::Rs256, "n2"),
        ];
        let bytes = PublishedKeys::encode(&all).unwrap();
        let keys = PublishedKeys::decode(&bytes).unwrap();
        assert!(keys.iter().eq(all));
        assert_eq!(keys.find("a", KeyKind::Es256), Some(all[1]));
        assert_eq!(keys.find("b", KeyKind::Es256), None);
        assert_eq!(PublishedKeys::NONE.iter().count(), 0);
        for cut in 0..bytes.len() {
            assert!(PublishedKeys::decode(&bytes[..cut]).is_none());
        }
        assert!(Attributes::decode(&bytes).is_none());
    }

    #[test]
    fn an_action_that_am_does_not_mention_is_not_allowed() {
        let bytes = NewPolicy {
            ttl: u64::MAX,
            actions: &[("GET", true), ("POST", false)],
            attributes: &[("mail", &["a@example.com", "b@example.com"])],
            advices: &[],
        }
        .encode()
        .unwrap();
        let p = Policy::decode(&bytes).unwrap();
        assert!(p.allows(b"GET") && !p.allows(b"POST") && !p.allows(b"PUT") && !p.allows(b"get"));
        assert_eq!(p.attributes.get("mail").unwrap().count(), 2);
        assert!(!p.has_advices());
    }
}
