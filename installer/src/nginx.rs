//! nginx's configuration: who the workers are, and where lines of the agent go in each layout.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{
    includes,
    server::{Change, Kind, Lines, Was, begin, end},
};

/// Bodies that nginx has to let through for `portcullis.postdata.body.max` to be the limit; that property's default.
const BODY_MAX: &str = "10m";

/// A directive, or the beginning of a block.
pub(crate) struct Directive {
    /// The blocks it stands in, outermost first.
    pub(crate) within: Vec<String>,
    pub(crate) words: Vec<String>,
    /// Behind its semicolon or brace.
    pub(crate) end: usize,
}

/// The directives of a text in their order; comments and quotes are understood.
pub(crate) fn directives(text: &str) -> Vec<Directive> {
    let (mut all, mut within, mut words, mut word) =
        (Vec::new(), Vec::new(), Vec::new(), String::new());
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (_, '\\') => word.extend(chars.next().map(|(_, c)| c)),
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') if word.is_empty() => quote = Some(c),
            (None, '#') if word.is_empty() => {
                chars.by_ref().find(|(_, c)| *c == '\n');
            }
            (None, '{') if word.ends_with('$') => {
                word.push(c);
                word.extend(chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}'));
                word.push('}');
            }
            (None, ';' | '{' | '}') | (None, ' ' | '\t' | '\r' | '\n') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                let name: Option<String> = words.first().cloned();
                if let (';' | '{', Some(name)) = (c, name) {
                    all.push(Directive {
                        within: within.clone(),
                        words: std::mem::take(&mut words),
                        end: at + 1,
                    });
                    if c == '{' {
                        within.push(name);
                    }
                } else if c == '}' {
                    words.clear();
                    within.pop();
                }
            }
            (None, c) => word.push(c),
        }
    }
    all
}

/// Where the `http` block begins: the byte behind its brace.
pub(crate) fn http_block(conf: &str) -> Option<usize> {
    let mut all = directives(conf).into_iter();
    let http =
        all.find(|d| d.within.is_empty() && d.words == ["http"] && conf[..d.end].ends_with('{'));
    http.map(|d| d.end)
}

/// `user NAME [GROUP];`
pub(crate) fn worker(conf: &str) -> Option<(String, String)> {
    let mut all = directives(conf).into_iter();
    let user = all
        .find(|d| d.within.is_empty() && d.words[0] == "user")?
        .words;
    let name = user.get(1)?.clone();
    let group = user.get(2).cloned().unwrap_or_else(|| name.clone());
    Some((name, group))
}

/// What has to change so that the agent is on everywhere: the module line and an include in `http`. Folders that
/// the file includes for such things are used, otherwise the file itself is edited.
///
/// # Errors
/// An agent is there already, or the `http` block is written so that nothing can be put into it.
pub(crate) fn changes(conf: &Path, text: &str, lines: &Lines) -> Result<Vec<Change>> {
    let mut loaded = false;
    for (path, text) in includes::files(Kind::Nginx, conf, text) {
        for words in directives(&text).into_iter().map(|d| d.words) {
            if words[0] == "openam_agent_configuration" {
                bail!(
                    "an agent is installed in this configuration already, in {}; remove it first",
                    path.display()
                );
            }
            if words[0] == "load_module" {
                let file = words.get(1).map(String::as_str).unwrap_or_default();
                if file.contains("openam_ngx_auth_module") {
                    bail!(
                        "another Web Agent is loaded already, in {}; --takeover puts this one in its place",
                        path.display()
                    );
                }
                loaded |= file.ends_with(Kind::Nginx.module());
            }
        }
    }
    let (begin, end) = (begin(&lines.name), end(&lines.name));
    let load = match loaded {
        true => String::new(),
        false => format!("{begin}\nload_module {};\n{end}\n", lines.module.display()),
    };
    let include = format!("{begin}\ninclude {};\n{end}\n", lines.include.display());
    let mut changes = Vec::new();
    let (mut top, mut inside) = (load.as_str(), include.as_str());
    if let Some(folder) = folder(conf, text, &[], "modules-enabled").filter(|_| !loaded) {
        changes.push(Change::New {
            path: folder.join("70-portcullis.conf"),
            text: load.clone(),
        });
        top = "";
    }
    if let Some(folder) = folder(conf, text, &["http"], "conf.d") {
        changes.push(Change::New {
            path: folder.join("portcullis.conf"),
            text: include.clone(),
        });
        inside = "";
    }
    if !(top.is_empty() && inside.is_empty()) {
        // The module has to be there before what needs it.
        let at = if top.is_empty() { changes.len() } else { 0 };
        changes.insert(
            at,
            Change::Edit(Was::read(conf, text), edited(text, top, inside)?),
        );
    }
    Ok(changes)
}

/// The folder of this name of which the file includes `*.conf` in these blocks.
fn folder(conf: &Path, text: &str, within: &[&str], name: &str) -> Option<PathBuf> {
    let root = includes::root(Kind::Nginx, conf, text);
    let mut all = directives(text).into_iter();
    all.find_map(|d| {
        let pattern = d
            .words
            .get(1)
            .filter(|_| d.words[0] == "include" && d.within == within)?;
        let folder = root.join(pattern).parent()?.to_path_buf();
        let usual = pattern.ends_with("/*.conf") && folder.file_name()? == name && folder.is_dir();
        usual.then_some(folder)
    })
}

fn edited(conf: &str, top: &str, inside: &str) -> Result<String> {
    let Some(at) = http_block(conf) else {
        bail!("there is no http block in this file")
    };
    let (head, tail) = conf.split_at(at);
    // Marks stand on lines of their own.
    match tail.strip_prefix('\n') {
        Some(rest) => Ok(format!("{top}{head}\n{inside}{rest}")),
        None if inside.is_empty() => Ok(format!("{top}{conf}")),
        None => bail!(
            "something follows the brace of http on its line; put it on a line of its own, or use --print and add the lines yourself"
        ),
    }
}

/// What is included in `http`. nginx refuses bodies beyond a limit before the agent sees them; unless the
/// configuration has one of its own, it is raised to what the agent keeps.
pub(crate) fn include(conf: &Path, text: &str, lines: &Lines) -> String {
    let own = includes::files(Kind::Nginx, conf, text)
        .into_iter()
        .any(|(path, text)| {
            directives(&text).iter().any(|d| {
                // In an included file nobody knows which block it is in; its own blocks are never http itself.
                let http = d.within == ["http"] || (d.within.is_empty() && path != conf);
                http && d.words[0] == "client_max_body_size"
            })
        });
    let limit = match own {
        true => "# client_max_body_size is set elsewhere: a longer POST is refused by nginx and cannot be kept.\n".to_owned(),
        false => format!(
            "# A POST is kept over a login up to portcullis.postdata.body.max; nginx refuses longer ones itself.\n\
             client_max_body_size {BODY_MAX};\n"
        ),
    };
    switched_on(&lines.agent_conf) + &limit
}

/// The part of it that switches the agent on; before the limit was raised, all of it.
pub(crate) fn switched_on(agent_conf: &Path) -> String {
    format!(
        "# Protects every server; `openam_agent off;` in a server or location switches it off there.\n\
         openam_agent on;\nopenam_agent_configuration {};\n",
        agent_conf.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_block_is_found_and_comments_are_not() {
        assert_eq!(http_block("# http {\nevents {}\n"), None);
        let conf = "events {}\n  http\t{\n";
        assert_eq!(http_block(conf), Some(conf.len() - 1));
        assert_eq!(http_block("log '{ http {';\nstream { http { } }\n"), None);
        assert_eq!(
            worker("user www-data;"),
            Some(("www-data".into(), "www-data".into()))
        );
        assert_eq!(worker("user a b; # x"), Some(("a".into(), "b".into())));
        assert_eq!(worker("http { user x; }"), None);
    }

    #[test]
    fn the_limit_for_bodies_is_raised_where_the_configuration_has_none() {
        let lines = Lines {
            name: "agent_1".into(),
            module: "/m.so".into(),
            agent_conf: "/a.conf".into(),
            include: "/i.conf".into(),
        };
        let include = |conf: &str| include(Path::new("/nonexistent/nginx.conf"), conf, &lines);
        assert!(
            include("http {\n server { client_max_body_size 2m; }\n}\n")
                .contains("client_max_body_size 10m;")
        );
        assert!(
            !include("http {\n client_max_body_size 2m;\n}\n")
                .contains("client_max_body_size 10m;")
        );
    }
}
