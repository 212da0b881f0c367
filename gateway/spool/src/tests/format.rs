//! `docs/spec/spool.md`, taken at its word: a segment written from that page alone is read, and a
//! segment of ours is what the page says.

use super::*;

const SALT: u64 = 0x0123_4567_89ab_cdef;

fn crc(salt: u64, bytes: &[u8]) -> u32 {
    let covered = [&salt.to_le_bytes(), bytes].concat();
    crc32c::crc32c(&covered)
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn frame(kind: u8, sequence: u64, count: u32, salt: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = b"LBsf".to_vec();
    frame.extend([kind, 0, 0, 0]);
    frame.extend(sequence.to_le_bytes());
    frame.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    frame.extend(count.to_le_bytes());
    frame.extend(crc(salt, body).to_le_bytes());
    frame.extend(crc(salt, &frame).to_le_bytes());
    frame.extend(body);
    frame.resize(frame.len().next_multiple_of(512), 0);
    frame
}

fn row(id: u32, name: &str, cursor: u64) -> Vec<u8> {
    let mut row = id.to_le_bytes().to_vec();
    row.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    row.extend(cursor.to_le_bytes());
    row.extend(name.as_bytes());
    padded(row)
}

fn entry(payload: &[u8], wants: &[(u32, u32, u32)]) -> Vec<u8> {
    let mut entry = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    entry.extend(u32::try_from(wants.len()).unwrap().to_le_bytes());
    for (id, records, bytes) in wants {
        entry.extend([id, records, bytes].into_iter().flat_map(|word| word.to_le_bytes()));
    }
    entry.extend(payload);
    padded(entry)
}

fn segment() -> Vec<u8> {
    let mut header = 1_u32.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend([7; 16]);
    header.extend(SALT.to_le_bytes());
    let header = frame(1, 40, 0, 0, &header);
    let mut bytes = header.clone();
    bytes.resize(512, 0);
    bytes.extend(header);
    bytes.resize(1024, 0);
    bytes.extend(frame(2, 40, 2, SALT, &[row(3, "a", 40), row(9, "other", 41)].concat()));
    let entries = [
        entry(b"first", &[(3, 2, 5), (9, 1, 4)]),
        entry(b"the second one", &[(9, 1, 14)]),
        entry(b"", &[(3, 1, 1)]),
    ];
    bytes.extend(frame(3, 40, 3, SALT, &entries.concat()));
    bytes.extend([0; 4096]);
    bytes
}

#[test]
fn a_segment_written_from_the_specification_is_read() {
    let sim = Sim::new(9);
    sim.put(&Path::new(DIR).join("seg-00000000000000000040.lb"), segment());
    let mut spool = Stepped::open(&sim, small());
    assert_eq!(spool.shared.uuid, [7; 16]);
    let (a, other) = (spool.shared.destination("a"), spool.shared.destination("other"));
    assert_eq!(spool.shared.waiting(a).records, 3);
    assert_eq!(spool.shared.waiting(other).bytes, 14);
    assert_eq!(spool.read_all(a), [(40, b"first".to_vec()), (42, Vec::new())]);
    assert_eq!(spool.read_all(other), [(41, b"the second one".to_vec())]);
    assert_eq!(spool.recovery.next_sequence, 1 << 32);
}

#[test]
fn a_sealed_segment_is_as_the_specification_says() {
    let sim = Sim::new(10);
    sim.put(&Path::new(DIR).join("seg-00000000000000000040.lb"), segment());
    // Opening seals it.
    drop(Stepped::open(&sim, small()));
    let bytes = sim
        .files()
        .into_iter()
        .find(|(path, _)| path.ends_with("seg-00000000000000000040.lb"))
        .unwrap()
        .1;
    let used = segment().len() - 4096;
    assert_eq!(bytes[..used], segment()[..used]);

    let trailer = &bytes[bytes.len() - 32..];
    let mut expected = b"LBse\0\0\0\0".to_vec();
    expected.extend(u64::try_from(used).unwrap().to_le_bytes());
    expected.extend(SALT.to_le_bytes());
    expected.extend(crc(0, &expected).to_le_bytes());
    expected.extend([0; 4]);
    assert_eq!(trailer, expected);

    let mut body: Vec<u8> = [0_u32, 2, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend(43_u64.to_le_bytes());
    for (totals, row) in [([2_u64, 3, 6], row(3, "a", 40)), ([2, 2, 18], row(9, "other", 41))] {
        body.extend(totals.iter().flat_map(|number| number.to_le_bytes()));
        body.extend(row);
    }
    assert_eq!(bytes[used..bytes.len() - 32], frame(4, 43, 2, SALT, &body));
}
