//! What runs on every request must not allocate: the URL, the rules, the cookies and the seals.

#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
};

use arrayvec::ArrayVec;
use portcullis_engine::{
    contract::{Local, RequestView, UnixMillis},
    token::{
        Secret, cookie,
        sealed::{KeyRing, Purpose, SealKey},
    },
    url::{Canonical, Forms, Index, Room, UrlRule},
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system allocator unchanged; the counter is a plain cell of the
// calling thread and allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);
}

#[test]
fn urls_and_rules_allocate_nothing() {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut url = Canonical::new();
    let texts = [
        "http://www.example.com:8080/a/*",
        "/b/-*-",
        "*.gif",
        "*/free/*?*",
        "http://*/c*",
    ];
    let wildcards = texts
        .iter()
        .map(|text| UrlRule::wildcard(text, true).unwrap());
    let regexes = [
        "http://www\\.example\\.com:8080/a/.*",
        ".*/x[0-9]+",
        "/b/(c|d)*",
    ]
    .iter()
    .map(|text| UrlRule::regex(text, true, true).unwrap());
    let index = Index::build(wildcards.chain(regexes).collect());
    let targets: [(&[u8], &[u8]); 6] = [
        (b"/a/b/c.html?d=e", b"/a/b/c.html"),
        (b"/x//./y/../%41%c3%a5;p=1?q=%zz", b""),
        (b"http://www.example.com:8080/b/x", b"/b/x"),
        (b"/x/free/y?z", b""),
        (b"/%2f", b""),
        (b"/x.GIF", b"/x.GIF"),
    ];
    for (target, path) in targets {
        let req = RequestView {
            method: b"GET",
            target,
            host: b"WWW.Example.com:8080",
            headers: &[],
            merged: false,
            peer,
            client: peer,
            local: Local {
                tls: false,
                port: 8080,
                path,
                path_info: b"",
                authorizes: false,
            },
        };
        let count = allocations(|| {
            let _ = std::hint::black_box(url.set(&req));
            let mut room = Room::new();
            let forms = Forms::of(&url, true, &mut room);
            std::hint::black_box(index.find(&forms.asked(), |_| true));
            for parts in forms.protected() {
                std::hint::black_box(index.find(&parts, |_| true));
            }
        });
        assert_eq!(count, 0, "{}", String::from_utf8_lossy(target));
    }
}

#[test]
fn cookies_and_seals_allocate_nothing() {
    let key = |root: &[u8]| SealKey::derive(&Secret::new(root.to_vec()), Purpose::SessionCookie);
    let ring = KeyRing::new(key(b"new")).with_previous(key(b"old"), UnixMillis(u64::MAX));
    let sealed = ring.seal(&[1; 16], "h", UnixMillis(2), &[b'x'; 1000], [3; 12]);
    let header = format!("a=1; am-auth-jwt={sealed}; b=\"2\", c=3");
    let mut plain = ArrayVec::<u8, 4096>::new();
    let mut rest = Vec::with_capacity(header.len());
    let count = allocations(|| {
        let fields = || [header.as_bytes(), b"d=4"];
        let cookie::One::One(value) = cookie::only(fields(), b"am-auth-jwt") else {
            return;
        };
        assert!(
            ring.open(&[1; 16], "h", UnixMillis(1), value, &mut plain)
                .is_ok()
        );
        assert!(
            ring.open(&[1; 16], "other", UnixMillis(1), value, &mut plain)
                .is_err()
        );
        assert!(cookie::without(
            fields(),
            |name| name == b"am-auth-jwt",
            &mut rest
        ));
    });
    assert_eq!(count, 0);
    assert_eq!(rest, b"a=1; b=\"2\", c=3; d=4");
}
