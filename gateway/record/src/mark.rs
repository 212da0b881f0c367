//! What a sender calls a batch, so that one that comes again is known.

/// A sender's number, drawn at random or derived from something that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub [u8; 16]);

/// How far a producer's own log has got. Of two positions the one with the later entry is later; in
/// one entry, the one with more records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The entry of its log.
    pub entry: u64,
    /// Records of that entry, counted from 1, up to which it has got.
    pub record: u32,
}

/// A batch as its sender calls it: the position behind its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub producer: ProducerId,
    /// Behind its last record.
    pub position: Position,
}

/// Bytes of a position in files and on the wire.
pub const POSITION_BYTES: usize = 12;

impl Position {
    /// Entry (8 bytes), record (4 bytes), big endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; POSITION_BYTES] {
        let mut bytes = [0; POSITION_BYTES];
        let (entry, record) = bytes.split_at_mut(8);
        entry.copy_from_slice(&self.entry.to_be_bytes());
        record.copy_from_slice(&self.record.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] writes.
    #[must_use]
    pub fn of_bytes(bytes: [u8; POSITION_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self {
            entry: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            record: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_in_order_and_survive_their_bytes() {
        let positions = [(0, 0), (0, 1), (1, 0), (1, u32::MAX), (u64::MAX, 7)];
        let positions = positions.map(|(entry, record)| Position { entry, record });
        assert!(positions.is_sorted());
        for position in positions {
            assert_eq!(Position::of_bytes(position.to_bytes()), position);
        }
        assert!(positions.map(Position::to_bytes).is_sorted());
    }
}
