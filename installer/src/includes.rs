//! Which files make up a web server's configuration? Follows includes as far as an installer needs it: patterns
//! with one asterisk in the last part of a path. Must not change anything.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{nginx, server::Kind};

/// Files that include files that include files; more is a circle.
const DEEPEST: usize = 6;

/// The text of a file and of all that it includes, with their paths. A file that cannot be read is left out: the
/// server will say so itself.
pub(crate) fn files(kind: Kind, conf: &Path, text: &str) -> Vec<(PathBuf, String)> {
    let root = root(kind, conf, text);
    let mut all = Vec::new();
    follow(
        kind,
        &root,
        (conf.to_path_buf(), text.to_owned()),
        DEEPEST,
        &mut all,
    );
    all
}

/// What relative names in the configuration are relative to.
pub(crate) fn root(kind: Kind, conf: &Path, text: &str) -> PathBuf {
    let folder = conf.parent().unwrap_or(Path::new("/"));
    match kind {
        Kind::Nginx => folder.to_path_buf(),
        Kind::Httpd => {
            let said = words(text).find(|w| w[0].eq_ignore_ascii_case("ServerRoot"));
            let said =
                said.and_then(|w| w.get(1).map(|root| PathBuf::from(root.trim_matches('"'))));
            // Debian compiles its own in, which is the folder of the file; elsewhere it is the one above conf.
            said.unwrap_or_else(|| match folder.file_name() {
                Some(name) if name == "conf" => folder.parent().unwrap_or(folder).to_path_buf(),
                _ => folder.to_path_buf(),
            })
        }
    }
}

/// The files that a pattern stands for, in the order that servers read them.
pub(crate) fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let path = root.join(pattern.trim_matches(['"', '\'']));
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    let Some((begins, ends)) = name.split_once('*') else {
        return vec![path];
    };
    let folder = path.parent().unwrap_or(root);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            name.len() >= begins.len() + ends.len()
                && name.starts_with(begins)
                && name.ends_with(ends)
        })
        .collect();
    found.sort();
    found
}

/// The lines of httpd's configuration in words, without comments.
pub(crate) fn words(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
}

fn follow(
    kind: Kind,
    root: &Path,
    (path, text): (PathBuf, String),
    left: usize,
    all: &mut Vec<(PathBuf, String)>,
) {
    let patterns: Vec<String> = match kind {
        Kind::Httpd => words(&text)
            .filter(|w| {
                ["include", "includeoptional"].contains(&w[0].to_ascii_lowercase().as_str())
            })
            .filter_map(|w| w.get(1).map(|pattern| (*pattern).to_owned()))
            .collect(),
        Kind::Nginx => nginx::directives(&text)
            .into_iter()
            .filter(|d| d.words[0] == "include")
            .filter_map(|d| d.words.into_iter().nth(1))
            .collect(),
    };
    all.push((path, text));
    if left == 0 {
        return;
    }
    for file in patterns.iter().flat_map(|pattern| matching(root, pattern)) {
        if all.iter().any(|(known, _)| *known == file) {
            continue;
        }
        if let Ok(text) = fs::read_to_string(&file) {
            follow(kind, root, (file, text), left - 1, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_followed_on_both_servers() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("conf.d")).unwrap();
        fs::write(at("conf.d/b.conf"), "B\n").unwrap();
        fs::write(at("conf.d/a.conf"), "A\n").unwrap();
        fs::write(at("conf.d/a.conf.old"), "old\n").unwrap();
        let names = |files: Vec<(PathBuf, String)>| -> Vec<String> {
            files
                .into_iter()
                .map(|(_, text)| text.trim().to_owned())
                .collect()
        };
        let httpd = "# Include none\nIncludeOptional conf.d/*.conf";
        assert_eq!(
            names(files(Kind::Httpd, &at("httpd.conf"), httpd)),
            [httpd, "A", "B"]
        );
        let nginx = "http { include conf.d/*.conf; include nginx.conf; }";
        fs::write(at("nginx.conf"), nginx).unwrap();
        fs::write(at("conf.d/a.conf"), "a on;").unwrap();
        assert_eq!(
            names(files(Kind::Nginx, &at("nginx.conf"), nginx)),
            [nginx, "a on;", "B"]
        );
        let conf = Path::new("/etc/httpd/conf/httpd.conf");
        assert_eq!(root(Kind::Httpd, conf, ""), Path::new("/etc/httpd"));
        assert_eq!(
            root(Kind::Httpd, conf, "ServerRoot \"/opt/x\""),
            Path::new("/opt/x")
        );
    }
}
