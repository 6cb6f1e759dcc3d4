//! Removes an instance: its lines in the server's configuration, then its folder.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::{Context, Result, bail};

use crate::{home::Home, server};

/// Asks, then removes.
pub(crate) fn remove(home: &Home, name: &str) -> Result<()> {
    let entries = home.entries()?;
    let Some(entry) = entries.iter().find(|e| e.name == name) else {
        bail!("there is no instance {name}; agentadmin --l lists them");
    };
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
    match fs::read_to_string(&entry.conf) {
        Ok(text) => {
            let without = entry.kind.without_agent(&text, name);
            if without != text {
                let copy = server::back_up(&entry.conf)?;
                server::replace(&entry.conf, &without)?;
                println!(
                    "{}: the agent's lines are out (before: {})",
                    entry.conf.display(),
                    copy.display()
                );
            }
        }
        // The server is gone already; the instance can go too.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", entry.conf.display())),
    }
    let rest: Vec<_> = entries.iter().filter(|e| e.name != name).cloned().collect();
    home.write_entries(&rest)?;
    let folder = home.instance(name);
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    println!("{name} is removed. Restart the web server.");
    Ok(())
}
