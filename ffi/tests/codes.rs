//! The numbers of results are frozen: C code compiled against an older header compares them.

use std::collections::HashSet;

use portcullis::{portcullis_result, portcullis_result_text};

/// Append here; never change a line.
const FROZEN: &[(u32, &str)] = &[
    (0, "PORTCULLIS_OK"),
    (1, "PORTCULLIS_PENDING"),
    (2, "PORTCULLIS_NONE"),
    (8001, "PORTCULLIS_NULL_PARAMETER"),
    (8002, "PORTCULLIS_PANIC"),
    (8003, "PORTCULLIS_BAD_SIZE"),
    (8004, "PORTCULLIS_BAD_INDEX"),
    (8010, "PORTCULLIS_CONFIG"),
    (8011, "PORTCULLIS_MAPPING"),
    (8012, "PORTCULLIS_FULL"),
    (8013, "PORTCULLIS_NOT_STARTED"),
    (8014, "PORTCULLIS_SYSTEM"),
];

#[test]
fn numbers_never_change() {
    let now: Vec<(u32, String)> = portcullis_result::ALL
        .iter()
        .map(|&r| (r as u32, format!("{r:?}")))
        .collect();
    let now: Vec<(u32, &str)> = now.iter().map(|(n, name)| (*n, name.as_str())).collect();
    assert_eq!(now, FROZEN);
}

#[test]
fn every_result_has_a_text_of_its_own() {
    let mut texts = HashSet::new();
    for &result in portcullis_result::ALL {
        let text = portcullis_result_text(result);
        // SAFETY: the text is static and its length is its own.
        let bytes = unsafe { std::slice::from_raw_parts(text.data, text.len) };
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(!text.is_empty() && text.is_ascii(), "{result:?}");
        assert_eq!(text, result.text());
        assert!(texts.insert(text), "{result:?}: {text}");
    }
}
