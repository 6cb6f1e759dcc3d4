//! A plan that is killed or fails before each single operation on the disk, and what the next run makes of it.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{disk::Disk, *};
use crate::server::{begin, end};

/// Lets some operations pass, then fails one, or that and all that follow: the process is dead.
pub(super) struct Fault {
    left: Cell<u32>,
    dead: bool,
}

impl Fault {
    pub(super) fn next(&self) -> io::Result<()> {
        let left = self.left.get();
        if left == 0 && self.dead {
            return Err(io::Error::other("killed"));
        }
        self.left.set(left.wrapping_sub(1));
        match left {
            0 => Err(io::Error::other("the disk is full")),
            _ => Ok(()),
        }
    }
}

/// Everything below a folder: kind, mode and content by path.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, String)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap().flatten() {
        let path = entry.path();
        let there = fs::symlink_metadata(&path).unwrap();
        let content = if there.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if there.is_dir() {
            all.extend(tree(&path));
            String::new()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        all.insert(path, (there.permissions().mode(), content));
    }
    all
}

fn rights(path: &Path) -> Rights {
    Rights::of(&fs::symlink_metadata(path).unwrap())
}

/// A machine before an installation, and a plan with every kind of step.
fn machine() -> (tempfile::TempDir, Vec<Step>) {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("instances")).unwrap();
    fs::create_dir_all(at("old/config")).unwrap();
    fs::create_dir(at("kept")).unwrap();
    fs::set_permissions(at("kept"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("old/config/agent.conf"), "old = true\n").unwrap();
    fs::write(at("server.conf"), "Listen 80\n").unwrap();
    fs::set_permissions(at("server.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(at("register"), "agent_1\n").unwrap();
    let (begin, end) = (begin("agent_2"), end("agent_2"));
    let now = format!("Listen 80\n{begin}\nAmAgent On\n{end}\n");
    let steps = vec![
        Step::folder(&at("instances/agent_2"), 0o755, None),
        Step::folder(&at("instances/agent_2/config"), 0o750, None),
        Step::file(
            &at("instances/agent_2/config/agent-key.conf"),
            0o600,
            None,
            "secret\n",
        ),
        Step::replace(&at("register"), "agent_1\n", "agent_2\n"),
        Step::Link {
            path: at("link"),
            target: at("server.conf"),
        },
        Step::away(&at("old")),
        Step::Rights {
            path: at("kept"),
            before: rights(&at("kept")),
            now: Rights {
                mode: 0o700,
                ..rights(&at("kept"))
            },
        },
        Step::Replace {
            path: at("server.conf"),
            copy: at("server.conf_amagent_1"),
            keep: true,
            before: "Listen 80\n".into(),
            now,
        },
    ];
    (root, steps)
}

fn run(root: &Path, steps: Vec<Step>, fault: Option<Fault>) -> Result<()> {
    let work = Work::with(&root.join("instances"), Disk { fault })?;
    work.carry_out(Plan {
        what: "a test".into(),
        steps,
    })
}

/// The number of operations of the whole plan, its result, and that of the next run.
fn outcomes(dead: bool) -> (u32, Vec<(bool, bool)>) {
    let mut seen = Vec::new();
    for left in 0.. {
        let (root, steps) = machine();
        let before = tree(root.path());
        let (whole, same) = machine();
        run(whole.path(), same, None).unwrap();
        let fault = Fault {
            left: Cell::new(left),
            dead,
        };
        let done = run(root.path(), steps.clone(), Some(fault)).is_ok();
        if !dead && !done {
            // A failure is put right at once; unless cleaning up failed, which the next run does.
            let journal = root.path().join("instances").join(JOURNAL);
            assert!(journal.exists() || tree(root.path()) == before, "{left}");
        }
        repair(&root.path().join("instances")).unwrap();
        let after = tree(root.path());
        let relative = |tree: BTreeMap<PathBuf, (u32, String)>, root: &Path| -> Vec<_> {
            let text = root.display().to_string();
            tree.into_iter()
                .map(|(path, (mode, content))| {
                    (
                        path.strip_prefix(root).unwrap().to_path_buf(),
                        mode,
                        content.replace(&text, "@"),
                    )
                })
                .collect()
        };
        let undone = after == before;
        let finished = relative(after, root.path()) == relative(tree(whole.path()), whole.path());
        assert!(undone != finished, "{left}: neither as before nor done");
        seen.push((done, finished));
        // And it can be done again.
        if undone {
            run(root.path(), steps, None).unwrap();
        }
        if done {
            return (left, seen);
        }
    }
    unreachable!()
}

#[test]
fn killed_before_any_operation_the_next_run_puts_back_or_finishes() {
    let (count, seen) = outcomes(true);
    assert!(count > 40, "{count}");
    assert!(!seen[0].1 && seen.last().unwrap().1);
    // Once it is finished it stays so.
    let first = seen.iter().position(|(_, finished)| *finished).unwrap();
    assert!(seen[first..].iter().all(|(_, finished)| *finished));
    assert!(first + 2 < seen.len(), "killed while cleaning up");
}

#[test]
fn a_failure_of_any_operation_leaves_everything_as_it_was() {
    let (count, _) = outcomes(false);
    assert!(count > 40, "{count}");
}

#[test]
fn killed_while_taking_back_the_next_run_goes_on() {
    for left in 0..200 {
        let (root, steps) = machine();
        let before = tree(root.path());
        // Dies at the last step, before it is marked as done.
        let journal = root.path().join("instances").join(JOURNAL);
        let work = Work::with(&root.path().join("instances"), Disk::default()).unwrap();
        let disk = Disk::default();
        work.write(&Journal {
            what: "a test".into(),
            done: false,
            steps: steps.clone(),
        })
        .unwrap();
        for step in &steps {
            disk.apply(step).unwrap();
        }
        drop(work);
        let fault = Some(Fault {
            left: Cell::new(left),
            dead: true,
        });
        let taken_back = Work::with(&root.path().join("instances"), Disk { fault }).is_ok();
        repair(&root.path().join("instances")).unwrap();
        assert!(!journal.exists());
        assert_eq!(tree(root.path()), before, "{left}");
        if taken_back {
            return;
        }
    }
    panic!("never taken back");
}

#[test]
fn no_secret_gets_into_the_journal() {
    let (root, steps) = machine();
    let work = Work::begin(&root.path().join("instances")).unwrap();
    work.write(&Journal {
        what: "a test".into(),
        done: false,
        steps,
    })
    .unwrap();
    let journal = root.path().join("instances").join(JOURNAL);
    assert!(!fs::read_to_string(&journal).unwrap().contains("secret"));
    assert_eq!(
        fs::metadata(&journal).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

/// What somebody writes into the server's configuration after a run was killed is not lost.
#[test]
fn edits_of_others_survive_taking_back() {
    let (root, steps) = machine();
    let at = |name: &str| root.path().join(name);
    let work = Work::begin(&at("instances")).unwrap();
    work.write(&Journal {
        what: "a test".into(),
        done: false,
        steps: steps.clone(),
    })
    .unwrap();
    for step in &steps {
        work.disk.apply(step).unwrap();
    }
    drop(work);
    let with = fs::read_to_string(at("server.conf")).unwrap();
    fs::write(at("server.conf"), format!("{with}Timeout 5\n")).unwrap();
    repair(&at("instances")).unwrap();
    assert_eq!(
        fs::read_to_string(at("server.conf")).unwrap(),
        "Listen 80\nTimeout 5\n"
    );
    assert!(!at("server.conf_amagent_1").exists());
}

#[test]
fn what_somebody_else_has_made_is_not_taken_away() {
    let (root, steps) = machine();
    fs::write(root.path().join("link"), "theirs").unwrap();
    let before = tree(root.path());
    assert!(run(root.path(), steps, None).is_err());
    assert_eq!(tree(root.path()), before);
}

/// Workers own the folder of their logs, and can put there what they like.
#[test]
fn rights_are_given_to_nothing_behind_another_name() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::write(at("secret"), "of somebody else").unwrap();
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(at("secret"), at("link")).unwrap();
    fs::hard_link(at("secret"), at("other")).unwrap();
    let before = rights(&at("secret"));
    for name in ["link", "other"] {
        let now = Rights {
            mode: 0o666,
            ..before
        };
        let path = at(name);
        let step = Step::Rights { path, before, now };
        assert!(Disk::default().apply(&step).is_err(), "{name}");
    }
    assert_eq!(rights(&at("secret")), before);
}

#[test]
fn one_at_a_time() {
    let (root, _) = machine();
    let folder = root.path().join("instances");
    let first = Work::begin(&folder).unwrap();
    let other = std::thread::spawn(move || Work::begin(&folder).map(|_| ()));
    let journal = root.path().join("instances").join(JOURNAL);
    fs::write(&journal, "{}").unwrap();
    // Had it not waited, it would have found something that is no journal.
    fs::remove_file(&journal).unwrap();
    drop(first);
    other.join().unwrap().unwrap();
}
