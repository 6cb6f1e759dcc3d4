//! What is in a folder, to the last byte?

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, lchown, symlink},
    },
    path::{Path, PathBuf},
};

/// The kind of a thing, in its mode.
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// A file, folder or link.
#[derive(Clone, PartialEq, Eq)]
pub struct Thing {
    /// Kind and rights.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// The bytes of a file, the target of a link, nothing of a folder.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (user, group) = self.owner;
        let text = String::from_utf8_lossy(&self.content);
        write!(f, "{:o} {user}:{group} {text:?}", self.mode)
    }
}

/// By their paths below a folder.
pub type Tree = BTreeMap<PathBuf, Thing>;

/// Everything below these folders, by its whole path.
///
/// # Panics
/// When something can't be read.
pub fn tree(folders: &[&Path]) -> Tree {
    let mut all = Tree::new();
    for folder in folders {
        add(folder, &mut all);
    }
    all
}

fn add(folder: &Path, all: &mut Tree) {
    for entry in fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        let there = fs::symlink_metadata(&path).expect("file");
        let content = if there.is_dir() {
            add(&path, all);
            Vec::new()
        } else if there.is_symlink() {
            let target = fs::read_link(&path).expect("link");
            target.into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).expect("file")
        };
        let (mode, owner) = (there.mode(), (there.uid(), there.gid()));
        all.insert(
            path,
            Thing {
                mode,
                owner,
                content,
            },
        );
    }
}

/// Makes a folder again what it was: what is there goes.
///
/// # Panics
/// When something can't be written.
pub fn restore(folder: &Path, things: &Tree) {
    fs::remove_dir_all(folder).expect("folder");
    fs::create_dir(folder).expect("folder");
    for (path, thing) in things {
        let (user, group) = thing.owner;
        if thing.mode & KIND == LINK {
            symlink(OsStr::from_bytes(&thing.content), path).expect("link");
            lchown(path, Some(user), Some(group)).expect("owner");
            continue;
        }
        match thing.mode & KIND {
            FOLDER => fs::create_dir(path).expect("folder"),
            _ => fs::write(path, &thing.content).expect("file"),
        }
        lchown(path, Some(user), Some(group)).expect("owner");
        fs::set_permissions(path, fs::Permissions::from_mode(thing.mode & !KIND)).expect("mode");
    }
}

/// Fails with what differs.
///
/// # Panics
/// When anything does.
pub fn assert_same(now: &Tree, before: &Tree, when: &str) {
    let mut differences = Vec::new();
    for path in before.keys().chain(now.keys()) {
        let (was, is) = (before.get(path), now.get(path));
        if was != is {
            differences.push(format!("{}: {was:?} became {is:?}", path.display()));
        }
    }
    differences.dedup();
    assert!(
        differences.is_empty(),
        "{when}:\n{}",
        differences.join("\n")
    );
}
