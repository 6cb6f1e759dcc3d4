//! Under which number is a refusal found, and which node of a farm gave it?
//!
//! The number is random; the mark says where to look for it. It must not tell who was refused, or why.

use alloc::{format, string::String};
use core::fmt::{self, Display};

use sha2::{Digest, Sha256};

/// Crockford's base 32: no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The five bits that begin at this one, as a letter.
fn letter(bytes: &[u8], bit: usize) -> u8 {
    let at = |i: usize| u16::from(*bytes.get(i).unwrap_or(&0));
    let pair = at(bit / 8) << 8 | at(bit / 8 + 1);
    ALPHABET[usize::from(pair >> (11 - bit % 8) & 31)]
}

/// Stands for one instance on one machine: four letters, the same after each start. Two nodes of a farm of
/// ten have the same one in a farm out of 23 000; the log of either then has the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeMark([u8; 4]);

impl NodeMark {
    /// Where nobody knows the node.
    pub const NONE: NodeMark = NodeMark([0; 4]);

    /// That of the instance with this `agent.conf` on a node of this name. Neither can be read from it.
    pub fn of(node: &str, agent_conf: &str) -> NodeMark {
        let digest = Sha256::digest(format!("portcullis node\0{node}\0{agent_conf}"));
        NodeMark([0, 5, 10, 15].map(|bit| letter(&digest, bit)))
    }

    /// Its letters; empty for [`NodeMark::NONE`].
    pub fn text(&self) -> &str {
        match *self {
            NodeMark::NONE => "",
            _ => core::str::from_utf8(&self.0).unwrap_or_default(),
        }
    }
}

/// What the page, the line in the log, the audit event and the trace of one refusal have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incident {
    /// Random (rule W2).
    pub number: [u8; 10],
    /// Where it was given.
    pub node: NodeMark,
}

impl Incident {
    /// Of what needs no number.
    pub const NONE: Incident = Incident {
        number: [0; 10],
        node: NodeMark::NONE,
    };

    /// Number and mark of an incident as somebody wrote or read it aloud: in capitals, and with the digits
    /// that a letter was taken for. The mark is empty where none was given.
    pub fn read(text: &str) -> (String, String) {
        let (number, mark) = text.trim().split_once('-').unwrap_or((text.trim(), ""));
        let plain = |part: &str| {
            let letters = part.chars().filter(|c| !c.is_whitespace());
            letters
                .map(|c| match c.to_ascii_uppercase() {
                    'O' => '0',
                    'I' | 'L' => '1',
                    other => other,
                })
                .collect()
        };
        (plain(number), plain(mark))
    }
}

impl Display for Incident {
    /// 16 letters, and behind a dash the mark where there is one; nothing for [`Incident::NONE`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Incident::NONE {
            return Ok(());
        }
        let number: [u8; 16] = core::array::from_fn(|i| letter(&self.number, i * 5));
        f.write_str(core::str::from_utf8(&number).unwrap_or_default())?;
        match self.node {
            NodeMark::NONE => Ok(()),
            mark => write!(f, "-{}", mark.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn an_incident_id_uses_all_its_bits() {
        let text = |number: [u8; 10]| {
            let node = NodeMark::NONE;
            Incident { number, node }.to_string()
        };
        assert_eq!(text([255; 10]), "ZZZZZZZZZZZZZZZZ");
        assert_eq!(text([0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "0000000000000001");
        assert_eq!(text([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "G000000000000000");
        assert_eq!(text([0; 10]), "", "there is none");
    }

    #[test]
    fn a_mark_names_machine_and_instance() {
        let mark = NodeMark::of("web1", "/srv/agent_1/config/agent.conf");
        assert_eq!(mark, NodeMark::of("web1", "/srv/agent_1/config/agent.conf"));
        assert_ne!(mark, NodeMark::of("web2", "/srv/agent_1/config/agent.conf"));
        assert_ne!(mark, NodeMark::of("web1", "/srv/agent_2/config/agent.conf"));
        assert_eq!(mark.text().len(), 4);
        let id = Incident {
            number: [255; 10],
            node: mark,
        };
        assert_eq!(id.to_string(), format!("ZZZZZZZZZZZZZZZZ-{}", mark.text()));
        assert_eq!(NodeMark::NONE.text(), "");
    }

    #[test]
    fn an_incident_is_read_as_people_write_it() {
        let read = |text| Incident::read(text);
        let both = |number: &str, mark: &str| (number.to_string(), mark.to_string());
        assert_eq!(read("7Q2W0H5M3R9T1B4C"), both("7Q2W0H5M3R9T1B4C", ""));
        assert_eq!(
            read(" 7q2wOh5m3r9tIb4c-aBl2\n"),
            both("7Q2W0H5M3R9T1B4C", "AB12")
        );
        assert_eq!(read("7Q2W 0H5M 3R9T 1B4C"), both("7Q2W0H5M3R9T1B4C", ""));
    }
}
