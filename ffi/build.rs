//! Gives the shared library its name, so that what links to it finds the right generation.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libportcullis.so.1");
    // The runtime's thread-local destructors must never run in unmapped code.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
