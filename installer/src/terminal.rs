//! How is a secret typed? Nobody sees it on the screen, and however the question ends, the terminal is then as before.
//! Must not know what the secret is for.

use std::io::{self, BufRead};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// Ctrl+C.
const CANCEL: u8 = 3;

/// The terminal as it was, until dropped.
struct Hidden {
    before: Option<Termios>,
}

impl Hidden {
    /// Nothing is shown from here on. Ctrl+C ends the line and nothing else, or the terminal would stay so.
    fn begin(terminal: bool) -> io::Result<Hidden> {
        if !terminal {
            return Ok(Hidden { before: None });
        }
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        now.local_modes
            .insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::IEXTEN);
        now.special_codes[SpecialCodeIndex::VEOL2] = CANCEL;
        tcsetattr(&stdin, OptionalActions::Flush, &now)?;
        Ok(Hidden {
            before: Some(before),
        })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Whether somebody types what is read from standard input.
pub(crate) fn is_typed() -> bool {
    isatty(io::stdin())
}

/// The next line of `input`. Where it is `typed`, at the terminal of standard input, it is not shown, and `ask` is called
/// when it would not be. `None` at the end of the input, and for Ctrl+C.
///
/// # Errors
/// It cannot be read, or is no text.
pub(crate) fn hidden_line(
    input: &mut dyn BufRead,
    typed: bool,
    ask: impl FnOnce() -> io::Result<()>,
) -> io::Result<Option<Zeroizing<String>>> {
    let hidden = Hidden::begin(typed)?;
    ask()?;
    let mut line = Zeroizing::new(Vec::new());
    loop {
        let read = input.fill_buf()?;
        let end = |byte: &u8| *byte == b'\n' || (*byte == CANCEL && hidden.before.is_some());
        let (used, last) = match read.iter().position(end) {
            Some(at) => (at + 1, Some(read[at])),
            None => (read.len(), None),
        };
        line.extend_from_slice(&read[..used - usize::from(last.is_some())]);
        let over = used == 0;
        input.consume(used);
        match last {
            Some(CANCEL) => return Ok(None),
            Some(_) => break,
            None if over && line.is_empty() => return Ok(None),
            None if over => break,
            None => {}
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(Zeroizing::new(text.trim_end_matches('\r').to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_not_typed_are_read_as_they_are() {
        let mut input: &[u8] = b"one\x03\r\n\nlast";
        let mut next = || {
            let line = hidden_line(&mut input, false, || Ok(())).unwrap();
            line.map(|line| line.to_string())
        };
        assert_eq!(next().as_deref(), Some("one\x03"));
        assert_eq!(next().as_deref(), Some(""));
        assert_eq!(next().as_deref(), Some("last"));
        assert_eq!(next(), None);
    }
}
