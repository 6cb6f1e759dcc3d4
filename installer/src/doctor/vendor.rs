//! The checks as the vendor's validator names and prints them.

use std::path::{Path, PathBuf};

use super::*;

/// `--V` and `--Vi`: instance, and a user with password file and realm where sessions are to be looked at.
pub(crate) fn validate(arguments: &[String], worker: bool) -> Result<ExitCode> {
    let user = match arguments {
        [_] => None,
        [_, name, file, realm] => Some(User {
            name: name.clone(),
            password: secrets::read_password(Path::new(file))?,
            realm: realm.clone(),
        }),
        _ => bail!(
            "--V takes an instance, or an instance, a user, a file with the password and a realm"
        ),
    };
    let instance = arguments.first().map(PathBuf::from);
    let wish = Wish {
        instance: Instance::find(instance.as_deref())?,
        user,
        key: None,
        worker,
        nginx_dump: None,
        patience: patience()?,
    };
    let name = wish.instance.called();
    let mut patient = Patient::new(wish)?;
    let file = log::file(&patient);
    match &file {
        Ok((path, _)) => println!("Saving output to {}", path.display()),
        Err(error) => eprintln!("no log can be written: {error:#}"),
    }
    println!("Running configuration validation for {name}:");
    let wanted = |check: &Check| check.vendor.is_some();
    let found = examine(&mut patient, wanted, |_| {});
    let (mut passed, mut run, mut skipped) = (0, 0, 0);
    for line in Vendor::ALL {
        if line == Vendor::Worker && !worker {
            continue;
        }
        let verdict = one(line, &found);
        println!("{}: {}", line.name(), verdict.words());
        match verdict {
            Verdict::Skipped => skipped += 1,
            Verdict::Ok => (passed, run) = (passed + 1, run + 1),
            Verdict::NotOk => run += 1,
        }
    }
    if let Ok((_, mut file)) = file {
        let _ = log::fill(&mut file, &patient, &found); // what was found is on the screen
    }
    println!("Result: {passed} out of {run} tests passed, {skipped} skipped.");
    Ok(match passed == run {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NOT_WELL),
    })
}

/// Prints what belongs to one line, and gives its verdict.
fn one(line: Vendor, found: &[Examined]) -> Verdict {
    let mine: Vec<&Examined> = found
        .iter()
        .filter(|r| r.check.vendor == Some(line))
        .collect();
    for result in &mine {
        let finding = &result.finding;
        if let Some(words) = &finding.vendor {
            println!("{words}");
        }
        if finding.verdict == Verdict::NotOk {
            let evidence = finding.evidence.join("; ");
            println!("{}: {evidence}", result.check.id);
            if let Some(remedy) = &finding.remedy {
                println!("remedy: {remedy}");
            }
        }
    }
    let any = |verdict| mine.iter().any(|r| r.finding.verdict == verdict);
    // A line that some of its checks could not be asked for has not passed.
    let blocked = mine
        .iter()
        .any(|r| r.finding.verdict == Verdict::Skipped && !r.finding.open);
    match (any(Verdict::NotOk), blocked, any(Verdict::Ok)) {
        (true, _, _) => Verdict::NotOk,
        (_, false, true) => Verdict::Ok,
        _ => Verdict::Skipped,
    }
}
