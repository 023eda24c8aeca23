//! Any bytes as a block of the event log, with and without a checksum that is right: no panic, no more memory than the format
//! allows, and what is decoded can be read from end to end.
#![no_main]

use axiom_events::Block;
use libfuzzer_sys::fuzz_target;

const HEAD_BYTES: usize = 96;

fuzz_target!(|input: &[u8]| {
    read(input);
    if input.len() < HEAD_BYTES {
        return;
    }
    let mut bytes = input.to_vec();
    bytes[..4].copy_from_slice(b"AXB\x01");
    let Ok(stored) = u32::try_from(bytes.len() - HEAD_BYTES) else {
        return;
    };
    bytes[44..48].copy_from_slice(&stored.to_le_bytes());
    if bytes[10] == 0 {
        bytes[40..44].copy_from_slice(&stored.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    read(&bytes);
});

fn read(bytes: &[u8]) {
    let Ok(block) = Block::decode(bytes) else {
        return;
    };
    let mut offset = block.offsets().start;
    for recorded in block.events() {
        assert_eq!(recorded.offset, offset);
        assert_eq!(block.event(offset), Some(recorded));
        offset += 1;
    }
    assert_eq!(offset, block.offsets().end);
    assert_eq!(block.event(offset), None);
}
