//! `portcullis-hot-path LIBRARY FOLDER again|anew TIMES`: has a shared library decide so often, for a profiler
//! to watch. The instance is made in the empty FOLDER.

use std::{path::Path, process::ExitCode};

use portcullis_hot_path::{Asked, Library, Scene, Told};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (library, folder, asked, times) = match arguments.as_slice() {
        [library, folder, asked, times] => (library, folder, asked.as_str(), times.parse()),
        _ => return usage(),
    };
    let asked = [Asked::Again, Asked::Anew]
        .into_iter()
        .find(|a| a.word() == asked);
    let (Some(asked), Ok(times)) = (asked, times) else {
        return usage();
    };
    let told =
        Scene::new(Library::open(Path::new(library)), Path::new(folder)).decide(asked, times);
    assert_eq!(told, Told::EACH.times(times), "what the host was told");
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: portcullis-hot-path LIBRARY FOLDER again|anew TIMES");
    ExitCode::from(2)
}
