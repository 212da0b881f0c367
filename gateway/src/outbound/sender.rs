//! As whom a spool sends: the name under which receivers know its entries.
//!
//! An entry is named by its sender and its sequence, and a receiver that has it does not take it again.
//! So no two spools may send under one name, and a copy of a spool is another spool: from the copying on
//! both give the same sequences to different records. The name is drawn at random and kept in a file in
//! the spool's folder, together with what tells the folder from a copy: the machine's id, and the
//! number of the folder on its file system. Where that does not fit, a new name is drawn. What was not
//! acknowledged then comes twice; the other way it would not come at all.
//!
//! ```text
//!  sender   32 hex digits, drawn at random │ newline │ 32 hex digits, of the place │ newline
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::random;

/// The file in the spool's folder.
const FILE: &str = "sender";
/// Where systemd, and D-Bus before it, say which machine this is.
const MACHINES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The name of the spool with that number, in that folder; told anew if it cannot be kept.
#[must_use]
pub fn sender(folder: &Path, uuid: [u8; 16]) -> [u8; 16] {
    let place = place(folder);
    let drawn = match known(folder) {
        Some((drawn, found)) if found == place => drawn,
        found => {
            let path = folder.join(FILE);
            if found.is_some() {
                tracing::warn!(
                    path = %path.display(),
                    "the spool is a copy, or was moved to another machine or file system: it sends \
                     under a new name, and what was not acknowledged before may come twice"
                );
            }
            let drawn = random();
            if let Err(error) = keep(folder, drawn, place) {
                tracing::error!(
                    path = %path.display(),
                    %error,
                    "the spool's name cannot be kept: after a restart, what was not acknowledged may \
                     come twice"
                );
            }
            drawn
        }
    };
    digest([&uuid[..], &drawn])
}

/// The first half of a digest.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let all = parts.into_iter().fold(Sha256::new(), Digest::chain_update).finalize();
    let mut half = [0; 16];
    half.iter_mut().zip(all).for_each(|(byte, of)| *byte = of);
    half
}

/// What tells the folder from a copy of it.
fn place(folder: &Path) -> [u8; 16] {
    let machine = MACHINES.iter().find_map(|path| fs::read_to_string(path).ok());
    // Some systems have neither; a folder on the same one is told by its number all the same.
    let machine = machine.unwrap_or_default();
    let number = fs::metadata(folder).map_or(0, |found| found.ino());
    digest([machine.trim().as_bytes(), &[0], &number.to_le_bytes()])
}

/// What was drawn, and where; none if there is no file, or none that can be read.
fn known(folder: &Path) -> Option<([u8; 16], [u8; 16])> {
    let text = fs::read_to_string(folder.join(FILE)).ok()?;
    let mut lines = text.lines().map(|line| {
        let is_whole = line.len() == 32;
        is_whole.then(|| u128::from_str_radix(line, 16).ok()).flatten().map(u128::to_be_bytes)
    });
    Some((lines.next()??, lines.next()??))
}

/// Writes the file, whole or not at all.
fn keep(folder: &Path, drawn: [u8; 16], place: [u8; 16]) -> io::Result<()> {
    let new = folder.join(format!("{FILE}.new"));
    let mut file = File::create(&new)?;
    let [drawn, place] = [drawn, place].map(u128::from_be_bytes);
    writeln!(file, "{drawn:032x}\n{place:032x}")?;
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = [7; 16];

    #[test]
    fn a_spool_keeps_its_name_and_a_copy_gets_its_own() {
        let root = std::env::temp_dir().join(format!("logboom-sender-{}", std::process::id()));
        let [own, copy, moved] = ["own", "copy", "moved"].map(|name| root.join(name));
        fs::create_dir_all(&own).unwrap();
        let name = sender(&own, UUID);
        assert_eq!(sender(&own, UUID), name);
        // Another spool in the same folder, as after its segments were removed.
        assert_ne!(sender(&own, [8; 16]), name);
        fs::create_dir_all(&copy).unwrap();
        fs::copy(own.join(FILE), copy.join(FILE)).unwrap();
        let other = sender(&copy, UUID);
        assert_ne!(other, name);
        assert_eq!((sender(&copy, UUID), sender(&own, UUID)), (other, name));
        // On one file system a folder that is moved is the same.
        fs::rename(&own, &moved).unwrap();
        assert_eq!(sender(&moved, UUID), name);
        fs::write(moved.join(FILE), "nothing of use").unwrap();
        let drawn = sender(&moved, UUID);
        assert_ne!(drawn, name);
        assert_eq!(sender(&moved, UUID), drawn);
        fs::remove_dir_all(&root).unwrap();
    }
}
