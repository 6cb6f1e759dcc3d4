//! Stamps the version that the acceptance suite expects the modules to report; nothing else.

fn main() {
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!(
        "cargo:rustc-env=PORTCULLIS_VERSION={}",
        env!("CARGO_PKG_VERSION")
    );
}
