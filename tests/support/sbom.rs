//! What is in the things that ship? Every package that is compiled for the modules and `agentadmin`, written down as
//! CycloneDX for whoever has to watch over them.
//!
//! Cargo's own tree is asked. The usual tools read `cargo metadata`, which merges the features that tests and other
//! members of the workspace ask for, and so they name packages that never ship.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::modules::root;

/// What ships, by package.
pub const SHIPPED: [&str; 2] = ["portcullis-ffi", "agentadmin"];

/// Name and version of a package.
pub type Package = (String, String);

/// One package of the tree.
#[derive(Default)]
struct Node {
    licence: String,
    repository: String,
    needs: BTreeSet<Package>,
}

/// The bill of materials, CycloneDX 1.6 in JSON. It has no date and no number of its own: the same tree gives the
/// same bytes.
///
/// # Errors
/// When cargo does not tell, or `Cargo.lock` can't be read.
pub fn bom() -> anyhow::Result<Value> {
    let all = tree("normal,build")?;
    let linked = tree("normal,no-proc-macro")?;
    let sums = checksums()?;
    let mut components = vec![standard_library()?];
    let mut dependencies = Vec::new();
    for (package, node) in &all {
        // What runs only while it is compiled is no part of the result.
        let scope = match linked.contains_key(package) {
            true => "required",
            false => "excluded",
        };
        components.push(component(package, node, scope, sums.get(package)));
        let needs: Vec<String> = node.needs.iter().map(reference).collect();
        dependencies.push(json!({ "ref": reference(package), "dependsOn": needs }));
    }
    let version = env!("CARGO_PKG_VERSION");
    let shipped: Vec<String> = all
        .keys()
        .filter(|(name, _)| SHIPPED.contains(&name.as_str()))
        .map(reference)
        .collect();
    dependencies.push(json!({ "ref": "portcullis", "dependsOn": shipped }));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{ "phase": "build" }],
            "component": {
                "type": "application",
                "bom-ref": "portcullis",
                "name": "portcullis",
                "version": version,
                "licenses": [{ "expression": "Apache-2.0" }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(package: &Package, node: &Node, scope: &str, checksum: Option<&String>) -> Value {
    let (name, version) = package;
    let mut one = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "scope": scope,
    });
    if !node.licence.is_empty() {
        // An older way to write a choice.
        let expression = node.licence.replace('/', " OR ").replace("  ", " ");
        one["licenses"] = json!([{ "expression": expression }]);
    }
    if !node.repository.is_empty() {
        one["externalReferences"] = json!([{ "type": "vcs", "url": node.repository }]);
    }
    // What comes from the registry; the rest is of this tree.
    if let Some(checksum) = checksum {
        one["purl"] = json!(format!("pkg:cargo/{name}@{version}"));
        one["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    one
}

/// Rust's own library is linked in, too, and `Cargo.lock` does not name it.
fn standard_library() -> anyhow::Result<Value> {
    let said = says(Command::new("rustc").arg("--version"))?;
    let version = said.split(' ').nth(1).context("rustc --version")?;
    Ok(json!({
        "type": "library",
        "bom-ref": "rust-std",
        "name": "rust-std",
        "version": version,
        "scope": "required",
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        "externalReferences": [{ "type": "vcs", "url": "https://github.com/rust-lang/rust" }],
    }))
}

fn reference((name, version): &Package) -> String {
    format!("{name}@{version}")
}

/// The packages of what ships over edges of these kinds, with the features that it has.
fn tree(edges: &str) -> anyhow::Result<BTreeMap<Package, Node>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["tree", "--locked", "--edges", edges, "--prefix", "depth"])
        .args(["--format", "{p}\t{l}\t{r}"])
        .args(SHIPPED.iter().flat_map(|name| ["--package", name]))
        .current_dir(root());
    let mut all: BTreeMap<Package, Node> = BTreeMap::new();
    let mut above: Vec<Package> = Vec::new();
    for line in says(&mut command)?.lines().filter(|l| !l.is_empty()) {
        let name_at = line.find(|c: char| !c.is_ascii_digit()).context("a name")?;
        let depth: usize = line[..name_at].parse().context("a depth")?;
        // A package that was shown before has a star and no lines below.
        let line = line[name_at..].trim_end_matches(" (*)");
        let mut columns = line.split('\t');
        let mut words = columns.next().unwrap_or_default().split(' ');
        let name = words.next().context("a name")?;
        let version = words.next().and_then(|v| v.strip_prefix('v'));
        let package = (name.to_owned(), version.context("a version")?.to_owned());
        let mut column = || columns.next().unwrap_or_default().trim().to_owned();
        let (licence, repository) = (column(), column());
        above.truncate(depth);
        if let Some(user) = above.last().and_then(|user| all.get_mut(user)) {
            user.needs.insert(package.clone());
        }
        let node = all.entry(package.clone()).or_default();
        (node.licence, node.repository) = (licence, repository);
        above.push(package);
    }
    Ok(all)
}

/// Digests of the packages that come from a registry.
fn checksums() -> anyhow::Result<BTreeMap<Package, String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    let mut all = BTreeMap::new();
    for block in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = block.lines().find_map(|l| l.strip_prefix(name));
            line.map(|value| value.trim_start_matches(" = ").trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(sum)) =
            (field("name"), field("version"), field("checksum"))
        {
            all.insert((name, version), sum);
        }
    }
    Ok(all)
}

fn says(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
