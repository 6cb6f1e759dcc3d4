//! `include/portcullis.h` says what the crate says, and C and C++ compilers take it.
//!
//! `BLESS=1 cargo test -p portcullis-ffi --test header` writes it anew.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The header as the sources have it. Only these files are read: nothing of another crate, and no
/// attribute that depends on how the test is built, gets into it.
fn generated() -> String {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_dir.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for module in ["types", "result", "mapping", "agent", "decide"] {
        builder = builder.with_src(crate_dir.join(format!("src/{module}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let (file, text) = (root().join("include/portcullis.h"), generated());
    if env::var_os("BLESS").is_some() {
        fs::write(&file, text).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&file).unwrap() == text,
        "include/portcullis.h is not what ffi/src says; run this test with BLESS=1"
    );
}

#[test]
fn compilers_take_the_header_alone() {
    let header = root().join("include/portcullis.h");
    for (compiler, language, standard) in [
        ("cc", "c", "-std=c99"),
        ("cc", "c", "-std=c11"),
        ("c++", "c++", "-std=c++11"),
    ] {
        let output = Command::new(compiler)
            .args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
            .args([standard, "-x", language])
            .arg(&header)
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}"));
        assert!(
            output.status.success(),
            "{compiler} {standard}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn versions_are_constants_of_the_preprocessor() {
    let header = fs::read_to_string(root().join("include/portcullis.h")).unwrap();
    for (name, value) in [
        ("PORTCULLIS_ABI", portcullis::PORTCULLIS_ABI),
        (
            "PORTCULLIS_MAX_INSTANCES",
            portcullis::PORTCULLIS_MAX_INSTANCES,
        ),
    ] {
        let line = format!("#define {name} {value}");
        assert!(header.lines().any(|l| l == line), "{line}");
    }
    assert_eq!(
        portcullis::PORTCULLIS_MAX_INSTANCES as usize,
        portcullis_runtime::MAX_INSTANCES
    );
}
