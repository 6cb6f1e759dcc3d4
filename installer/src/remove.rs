//! Removes an instance: its lines in the server's configuration, its line of the register, its folder; one plan.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    home::Home,
    includes,
    plan::{self, Plan, Step, Work},
    server::{Receipt, without_marked},
};

/// Asks, then removes.
pub(crate) fn remove(home: &Home, name: &str) -> Result<()> {
    // A removal that was killed may have taken the name from the register.
    plan::repair(&home.instances())?;
    let find = || -> Result<_> {
        let entries = home.entries()?;
        let Some(entry) = entries.iter().find(|e| e.name == name).cloned() else {
            bail!("there is no instance {name}; agentadmin --l lists them");
        };
        Ok((entry, entries))
    };
    let (entry, _) = find()?;
    print!(
        "Remove {name} of {}? (yes/no): [no]: ",
        entry.conf.display()
    );
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        println!("Nothing was removed.");
        return Ok(());
    }
    let work = Work::begin(&home.instances())?;
    // Somebody else may have been faster than the answer.
    let (entry, entries) = find()?;
    let folder = home.instance(name);
    let receipt = Receipt::read(&folder, &entry.conf)?;
    let mut steps = out_of_server(&receipt, name)?;
    let rest: Vec<_> = entries.into_iter().filter(|e| e.name != name).collect();
    steps.push(home.register(&rest)?);
    if folder.exists() {
        steps.push(Step::away(&folder));
    }
    work.carry_out(Plan {
        what: format!("removing {name}"),
        steps,
    })?;
    for (path, copy) in &receipt.edited {
        if copy.exists() {
            println!(
                "{}: changed since the installation; as it was before: {}",
                path.display(),
                copy.display()
            );
        }
    }
    println!("{name} is removed. Restart the web server.");
    for (path, line) in mentions(&folder, entry.kind, &entry.conf) {
        println!("  delete in {} yourself: {line}", path.display());
    }
    Ok(())
}

/// The steps that take an instance out of the server's configuration. The copies of the time before it go with
/// it where they say nothing new: what is there then is the same, byte for byte.
pub(crate) fn out_of_server(receipt: &Receipt, name: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (path, copy) in &receipt.edited {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // The server is gone already; the instance can go too.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let before = fs::read_to_string(copy).ok();
        let mut without = without_marked(&text, Some(name));
        if let Some(before) = &before {
            // A last line without an end got one.
            if without.strip_suffix('\n') == Some(before) {
                without.pop();
            }
            if without == *before {
                steps.push(Step::away(copy));
            }
        }
        if without != text {
            steps.push(Step::replace(&fs::canonicalize(path)?, &text, &without));
        }
    }
    // What was made last goes first: links before what they lead to, the agent before its module.
    let made = receipt.made.iter().rev();
    let there = made.filter(|path| fs::symlink_metadata(path).is_ok());
    steps.extend(there.map(|path| Step::away(path)));
    Ok(steps)
}

/// Lines that somebody has written by hand and that lead to the instance.
fn mentions(folder: &Path, kind: crate::server::Kind, conf: &Path) -> Vec<(PathBuf, String)> {
    let Ok(text) = fs::read_to_string(conf) else {
        return Vec::new();
    };
    let place = format!("{}/", folder.display());
    let files = includes::files(kind, conf, &text);
    let lines = files.iter().flat_map(|(path, text)| {
        let found = text.lines().filter(|line| line.contains(&place));
        found.map(|line| (path.clone(), line.trim().to_owned()))
    });
    lines.collect()
}
