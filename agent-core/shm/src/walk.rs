//! Which records are in a table?
//!
//! For tools, which have no keys. Takes no lock and looks only where something was ever written: a table may be
//! a gigabyte, and memory that nobody has touched would begin to cost. Must not judge: what has expired is told
//! of as well.

use std::{io, ops::Range};

use crate::{
    Key, Mapping, Stamp, Table, atomic::Ordering, layout::Region, layout::TAGS, slot::Slot,
};

/// Bytes in a word.
const WORD: usize = 8;

impl Table<'_> {
    /// Tells of every record, in no order. One that is written meanwhile may be left out.
    pub fn each(&self, mut tell: impl FnMut(Key, Stamp, &[u8])) {
        let touched = touched(self.mapping);
        let mut record = Vec::new();
        for region in self.classes {
            let first_of = |set: usize| region.first + set * region.set_words;
            let written = |set: &usize| touched.iter().any(|range| range.contains(&first_of(*set)));
            for set in (0..region.sets).filter(written) {
                for slot in slots(self.mapping, region, first_of(set)) {
                    let key = slot.key();
                    if let Some(stamp) = slot.read(key, &mut record) {
                        tell(key, stamp, &record);
                    }
                }
            }
        }
    }
}

/// The slots of a set that hold something.
fn slots<'m>(
    mapping: &'m Mapping,
    region: &'m Region,
    first: usize,
) -> impl Iterator<Item = Slot<'m>> {
    let tags = mapping.words(first, region.ways).iter().enumerate();
    let taken = tags.filter(|(_, tag)| tag.load(Ordering::Relaxed) != 0);
    taken.filter_map(move |(way, _)| {
        let at = first + TAGS + way * region.slot_words;
        Slot::new(mapping.words(at, region.slot_words))
    })
}

/// The words of the file that have memory; all where the kernel does not say.
fn touched(mapping: &Mapping) -> Vec<Range<usize>> {
    let bytes = mapping.layout().total_bytes();
    let everything = || std::iter::once(0..bytes / WORD).collect();
    let (mut all, mut at) = (Vec::new(), 0);
    while at < bytes {
        let begin = match next(mapping, at, libc::SEEK_DATA) {
            Ok(begin) => begin,
            // Nothing from here on.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => break,
            Err(_) => return everything(),
        };
        let Ok(end) = next(mapping, begin, libc::SEEK_HOLE) else {
            return everything();
        };
        all.push(begin / WORD..end.div_ceil(WORD));
        at = end.max(begin + 1);
    }
    all
}

/// The next byte of the file from there on that has memory, or that has none.
fn next(mapping: &Mapping, from: usize, what: libc::c_int) -> io::Result<usize> {
    let closed = || io::Error::from(io::ErrorKind::Unsupported);
    let fd = mapping.fd().ok_or_else(closed)?;
    let from = libc::off_t::try_from(from).map_err(|_| closed())?;
    // SAFETY: it moves the place at which the file is read, and nobody reads it by that.
    let found = unsafe { libc::lseek(fd, from, what) };
    usize::try_from(found).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Put;

    #[test]
    fn every_record_is_told_of_and_untouched_memory_stays_so() {
        let mapping = Mapping::create(0).unwrap();
        let table = mapping.sessions();
        let stamp = |n| Stamp {
            stored_at: n,
            expires_at: n + 10,
            epoch: 0,
            revocations: 0,
        };
        let memory = |mapping: &Mapping| -> usize { touched(mapping).iter().map(Range::len).sum() };
        let before = memory(&mapping);
        table.each(|_, _, _| panic!("there is nothing"));
        assert_eq!(memory(&mapping), before, "looking costs nothing");
        assert!(before * WORD < mapping.layout().total_bytes());
        let mut wanted = Vec::new();
        for n in 1..=20_u64 {
            let key = Key(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            // Of several classes.
            let length = if n % 10 == 0 { n * 300 } else { n };
            let value = vec![n as u8; length as usize];
            assert_eq!(table.put(key, stamp(n), &value), Put::Stored);
            wanted.push((key.0, n, value.len()));
        }
        let mut found = Vec::new();
        table.each(|key, stamp, value| found.push((key.0, stamp.stored_at, value.len())));
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
        assert!(table.remove(Key(wanted[0].0)));
        let mut count = 0;
        table.each(|_, _, _| count += 1);
        assert_eq!(count, 19);
    }
}
