//! The Debian packages, as far as they can be looked at without building them.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use portcullis_tests::{
    modules::{self, root},
    sbom,
};
use serde_json::Value;

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The fields of each paragraph of a control file, continuation lines joined.
fn paragraphs(control: &str) -> Vec<BTreeMap<String, String>> {
    let fields = |paragraph: &str| {
        let mut fields = BTreeMap::new();
        let mut last = String::new();
        for line in paragraph.lines() {
            if line.starts_with(' ') {
                let value: &mut String = fields.get_mut(&last).expect("a field before");
                value.push_str(line);
            } else {
                let (name, value) = line.split_once(':').expect("a field");
                last = name.to_owned();
                fields.insert(last.clone(), value.trim().to_owned());
            }
        }
        fields
    };
    control.split("\n\n").map(fields).collect()
}

#[test]
fn the_packages_have_the_workspace_version() {
    let changelog = text("packaging/debian/changelog");
    let begins = format!("portcullis ({}) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&begins), "{changelog}");
}

#[test]
fn the_control_file_names_what_is_needed() {
    let all = paragraphs(&text("packaging/debian/control"));
    let names: Vec<&str> = all[1..].iter().map(|p| p["Package"].as_str()).collect();
    assert_eq!(
        names,
        [
            "libapache2-mod-portcullis",
            "libnginx-mod-http-portcullis",
            "portcullis-tools"
        ]
    );
    let source = &all[0]["Build-Depends"];
    for needed in [
        "debhelper-compat (= 13)",
        "apache2-dev",
        "dh-apache2",
        "nginx-dev",
    ] {
        assert!(source.contains(needed), "{needed}");
    }
    for package in &all[1..] {
        assert_eq!(package["Architecture"], "any");
        // The ABI packages of httpd and nginx come in here, by the helpers.
        for needed in ["${misc:Depends}", "${shlibs:Depends}"] {
            assert!(
                package["Depends"].contains(needed),
                "{}",
                package["Package"]
            );
        }
    }
}

#[test]
fn a_loaded_module_alone_switches_no_agent_on() {
    let load = text("packaging/debian/portcullis.load");
    let lines: Vec<&str> = load.lines().filter(|l| !l.starts_with('#')).collect();
    // For nginx the helper writes that line.
    assert_eq!(
        lines,
        ["LoadModule amagent_module /usr/lib/apache2/modules/mod_portcullis.so"]
    );
}

#[test]
fn every_file_that_is_packaged_is_there() {
    let folder = root().join("packaging/debian");
    for entry in fs::read_dir(folder).expect("packaging/debian") {
        let path = entry.expect("entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let column = match path.extension().and_then(|e| e.to_str()) {
            Some("install" | "docs") => 0,
            Some("apache2") => 1,
            _ => continue,
        };
        for line in text(&format!("packaging/debian/{name}")).lines() {
            let file = line.split_whitespace().nth(column).expect("a file");
            let made = file == "debian/mod_portcullis.so";
            // `debian` is `packaging/debian` in the tree that is built.
            let file = file.replace("debian/", "packaging/debian/");
            let file = file.strip_suffix("/*.md").unwrap_or(&file);
            assert!(made || root().join(file).exists(), "{name}: {file}");
        }
    }
}

#[test]
fn where_packages_put_things_is_where_agentadmin_looks() {
    let home = text("installer/src/home.rs");
    for place in [
        r#"PACKAGED: &str = "/usr/bin/agentadmin""#,
        r#"PACKAGED_HOME: &str = "/var/lib/portcullis""#,
        r#"PACKAGED_MODULES: &str = "/usr/lib/portcullis""#,
    ] {
        assert!(home.contains(place), "{place}");
    }
    let dirs = text("packaging/debian/portcullis-tools.dirs");
    assert_eq!(dirs.trim(), "/var/lib/portcullis/instances");
    for package in ["libapache2-mod-portcullis", "libnginx-mod-http-portcullis"] {
        let links = text(&format!("packaging/debian/{package}.links"));
        let link = links.split_whitespace().nth(1).expect("a link");
        assert!(link.starts_with("/usr/lib/portcullis/"), "{link}");
    }
}

#[test]
fn scripts_and_rules_can_be_read() {
    for script in [
        "packaging/debian/portcullis-tools.postrm",
        "tests/driver/install-packages.sh",
    ] {
        let checked = Command::new("sh")
            .arg("-n")
            .arg(root().join(script))
            .output();
        let checked = checked.expect("sh");
        assert!(checked.status.success(), "{script}: {checked:?}");
    }
    // Debian's word for a build that is soon done; what ships is the other.
    for (options, profile) in [("", "release"), ("nocheck noopt", "quick")] {
        let rules = Command::new("make")
            .current_dir(root())
            .env("DEB_BUILD_OPTIONS", options)
            .args([
                "-n",
                "-f",
                "packaging/debian/rules",
                "override_dh_auto_build",
            ])
            .output()
            .expect("make");
        let said = String::from_utf8_lossy(&rules.stdout).into_owned();
        assert!(rules.status.success(), "{rules:?}");
        let build = format!("cargo build --locked --profile {profile} ");
        assert!(said.contains(&build), "{said}");
    }
}

/// Name and version in cargo's identifier of a package.
fn package(id: &str) -> String {
    let (place, fragment) = id.rsplit_once('#').expect("an identifier");
    match fragment.contains('@') {
        true => fragment.to_owned(),
        // The folder's name is the package's.
        false => format!(
            "{}@{fragment}",
            place.rsplit('/').next().unwrap_or_default()
        ),
    }
}

/// What cargo compiles for the modules and agentadmin is what the bill of materials names: neither less, nor
/// anything of the tests, which need more of the same crates and others besides.
#[test]
fn the_bill_of_materials_names_what_is_compiled() {
    modules::built();
    let output = modules::library_build()
        .arg("--message-format=json")
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{output:?}");
    let messages = String::from_utf8(output.stdout).expect("text");
    let compiled: BTreeSet<String> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .map(|message| package(message["package_id"].as_str().expect("an identifier")))
        .collect();
    let bom = sbom::bom().expect("the bill");
    let components = bom["components"].as_array().expect("components");
    let reference = |one: &Value| one["bom-ref"].as_str().expect("a reference").to_owned();
    let mut named: BTreeSet<String> = components.iter().map(reference).collect();
    assert_eq!(named.len(), components.len(), "twice the same");
    assert!(named.remove("rust-std"));
    assert_eq!(named, compiled);
    let find = |name: &str| components.iter().find(|one| one["name"] == name);
    for (name, scope) in [
        ("portcullis-engine", "required"),
        ("aws-lc-sys", "required"),
        ("serde_derive", "excluded"), // a macro
        ("cc", "excluded"),           // of a build script
    ] {
        let one = find(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(one["scope"], scope, "{name}");
    }
    for name in ["am-simulator", "axum", "proptest", "ring", "tempfile"] {
        assert_eq!(find(name), None);
    }
    for one in components.iter().filter(|one| one.get("purl").is_some()) {
        let sum = one["hashes"][0]["content"].as_str().unwrap_or_default();
        assert_eq!(sum.len(), 64, "{one}");
        assert!(one["licenses"][0]["expression"].is_string(), "{one}");
    }
    for line in bom["dependencies"].as_array().expect("dependencies") {
        for needed in line["dependsOn"].as_array().expect("a list") {
            assert!(
                compiled.contains(needed.as_str().unwrap_or_default()),
                "{line}"
            );
        }
    }
}
