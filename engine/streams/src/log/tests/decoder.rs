//! Any bytes can stand in a segment: decoding them is total and bounded.

use super::super::disk::Disk;
use super::super::error::Flaw;
use super::super::frame::{self, Checksum, Frame, HEADER_BYTES, Item, SEAL_BYTES, Seal};
use super::super::limits;
use super::super::scan::{Scan, Step};
use super::super::simulated::Dice;
use super::*;

fn checksum() -> Checksum {
    Checksum::of(IDENTITY.incarnation)
}

/// Walks through `bytes` and returns how many whole items they begin with.
fn count_items(bytes: &[u8]) -> usize {
    let disk = SimulatedDisk::new(0);
    disk.tamper("any", bytes.to_vec());
    let file = disk.open("any").unwrap();
    let mut scan = Scan::new(&*file, checksum(), 0, bytes.len() as u64);
    let mut items = 0;
    while let Step::Item(..) = scan.next().unwrap() {
        items += 1;
    }
    assert!(scan.position() <= bytes.len() as u64);
    items
}

#[test]
fn random_bytes_never_panic_and_never_pass() {
    let mut dice = Dice::new(1);
    for _ in 0..20_000 {
        let length = usize::try_from(dice.below(200)).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| dice.throw().to_le_bytes()[0]).collect();
        // Every other time with a length that could be true.
        if length > 8 && dice.one_in(2) {
            bytes[4..8].copy_from_slice(&u32::try_from(dice.below(200)).unwrap().to_le_bytes());
        }
        assert!(frame::decode(&bytes, checksum()).is_err());
        assert_eq!(count_items(&bytes), 0);
    }
}

#[test]
fn frames_with_a_right_checksum_and_wrong_fields_never_panic() {
    let mut dice = Dice::new(2);
    for _ in 0..20_000 {
        let length = usize::try_from(dice.below(120)).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| dice.throw().to_le_bytes()[0]).collect();
        if length > 8 {
            let claimed =
                if dice.one_in(2) { u32::MAX } else { u32::try_from(dice.below(90)).unwrap() };
            bytes[4..8].copy_from_slice(&claimed.to_le_bytes());
        }
        checksum().fill(&mut bytes);
        match frame::decode(&bytes, checksum()) {
            Ok(Item::Frame(frame)) => assert_eq!(frame.size(), bytes.len()),
            Ok(Item::Seal(_)) => assert_eq!(bytes.len(), SEAL_BYTES),
            Err(_) => {}
        }
        count_items(&bytes);
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
    let mut prefix = [0; 8];
    prefix[4..].copy_from_slice(&(limits::PAYLOAD_BYTES_MAX + 1).to_le_bytes());
    assert_eq!(frame::size(prefix), Err(Flaw::Length));
    prefix[4..].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    assert_eq!(frame::size(prefix), Err(Flaw::Length));
}

#[test]
fn zeros_are_no_frame() {
    for length in 0..200 {
        assert_eq!(count_items(&vec![0; length]), 0);
    }
    assert_eq!(frame::decode(&[0; HEADER_BYTES], checksum()), Err(Flaw::Checksum));
}

#[test]
fn whole_items_are_read_back_wherever_the_buffer_ends() {
    let mut bytes = Vec::new();
    let payload = vec![5; 3000];
    for offset in 0..100 {
        let frame = Frame {
            offset: Offset(offset),
            append_time: UnixMillis::from_millis(offset * 10),
            batch_index: u32::try_from(offset % 3).unwrap(),
            key: [3; 16],
            payload: &payload[..usize::try_from(offset * 29).unwrap()],
        };
        let start = bytes.len();
        frame.encode(checksum(), &mut bytes).unwrap();
        assert_eq!(frame::decode(&bytes[start..], checksum()), Ok(Item::Frame(frame)));
    }
    let seal = Seal { end: Offset(100), append_time: UnixMillis::from_millis(990) };
    let seal_bytes = seal.encode(checksum());
    assert_eq!(frame::decode(&seal_bytes, checksum()), Ok(Item::Seal(seal)));
    bytes.extend(seal_bytes);
    assert_eq!(count_items(&bytes), 101);
}
