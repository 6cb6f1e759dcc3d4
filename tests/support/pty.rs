//! Somebody at a terminal: types, reads what is shown, and sees whether what he types is shown.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    process::{Child, Command, ExitStatus},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

/// Ctrl+C.
pub const INTERRUPT: &str = "\x03";
/// Longest time until something is shown.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// A terminal with a program.
pub struct Terminal {
    here: File,
    /// The program's side, kept open: the terminal's settings go with the last one.
    there: File,
    child: Child,
    shown: String,
    /// How much of it was waited for.
    seen: usize,
}

impl Terminal {
    /// Runs a program at a terminal of its own, whose Ctrl+C reaches it.
    ///
    /// # Panics
    /// When there is no terminal to be had, or the program can't be run.
    pub fn run(command: &Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("terminal");
        grantpt(&master).expect("terminal");
        unlockpt(&master).expect("terminal");
        let name = ptsname(&master, Vec::new()).expect("name");
        let there = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(OsStr::from_bytes(name.to_bytes()))
            .expect("terminal");
        let copy = || there.try_clone().expect("terminal");
        let mut leader = Command::new("setsid");
        // Whoever runs the tests in the background may have had Ctrl+C ignored, and that is inherited.
        leader.args(["--ctty", "env", "--default-signal=INT"]);
        leader.arg(command.get_program());
        leader.args(command.get_args());
        for (name, value) in command.get_envs() {
            leader.env(name, value.unwrap_or_default());
        }
        let child = leader.stdin(copy()).stdout(copy()).stderr(copy()).spawn();
        Terminal {
            child: child.expect("setsid, of Debian's package util-linux"),
            here: File::from(master),
            there,
            shown: String::new(),
            seen: 0,
        }
    }

    /// Waits until this is shown, after all that was waited for before.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(self.read(PATIENCE), "no {text:?} in\n{}", self.shown);
        }
    }

    /// Reads what is there; whether it was anything.
    fn read(&mut self, patience: Timespec) -> bool {
        let mut ready = [PollFd::new(&self.here, PollFlags::IN)];
        let count = poll(&mut ready, Some(&patience)).expect("poll");
        let mut bytes = [0; 4096];
        let read = match count {
            0 => 0,
            _ => self.here.read(&mut bytes).unwrap_or(0),
        };
        self.shown += &String::from_utf8_lossy(&bytes[..read]);
        read > 0
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn types(&mut self, keys: &str) {
        self.here.write_all(keys.as_bytes()).expect("terminal");
    }

    /// Waits for a question and answers it.
    ///
    /// # Panics
    /// When it is not asked.
    pub fn answers(&mut self, question: &str, answer: &str) {
        self.wait_for(question);
        self.wait_for("]: ");
        self.types(&format!("{answer}\n"));
    }

    /// Whether the terminal shows what is typed, and hands Ctrl+C on.
    ///
    /// # Panics
    /// When it has no settings.
    pub fn shows_what_is_typed(&self) -> bool {
        let modes = tcgetattr(&self.there).expect("settings").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ISIG)
    }

    /// All that was shown until now.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Waits for the program's end; how it ended, and all that was shown.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut status = None;
        crate::wait_until("the program's end", || {
            // It may wait for what it shows to be read.
            while self.read(Timespec::default()) {}
            status = self.child.try_wait().expect("program");
            status.is_some()
        });
        while self.read(Timespec::default()) {}
        (status.expect("its end"), std::mem::take(&mut self.shown))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
