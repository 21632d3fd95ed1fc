//! Who the users, sessions and devices are, by number.
//!
//! An id is a GUID that its kind and number determine, so that ten million of them need no memory
//! and any of them can be drawn again.

use caed_core::ids::ObjectKey;

use crate::scenario::Drawn;

/// Everything drawn follows from this.
pub const SEED: u64 = 20_261_121;

/// What an id identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A user.
    User,
    /// A user whose account is disabled.
    DisabledUser,
    /// A session.
    Session,
    /// A device.
    Device,
}

/// The bits of the id of the `number`th of its kind.
pub const fn bits(kind: Kind, number: u64) -> [u64; 2] {
    let place = SEED ^ (kind as u64) << 56 ^ number << 1;
    [mixed(place), mixed(place ^ 1)]
}

/// The id of the `number`th of its kind, as text.
pub fn id(kind: Kind, number: u64) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(36);
    for half in bits(kind, number) {
        for digit in (0..16).rev().map(|nibble| half >> (4 * nibble) & 15) {
            if matches!(text.len(), 8 | 13 | 18 | 23) {
                text.push('-');
            }
            text.extend(DIGITS.get(usize::try_from(digit).unwrap_or(0)));
        }
    }
    text
}

/// The key of the `number`th of its kind.
#[expect(clippy::expect_used, reason = "a GUID is an identifier")]
#[expect(clippy::missing_panics_doc, reason = "a GUID is an identifier")]
pub fn key(kind: Kind, number: u64) -> ObjectKey {
    ObjectKey::parse(&id(kind, number)).expect("a GUID")
}

/// The number of the user at this place of an endless sequence of users, drawn among so many.
pub fn drawn(users: u64, drawn: Drawn, place: u64) -> u64 {
    let place = match drawn {
        Drawn::FromAll => place,
        // Each of these is where that many places are, so the same ones come again and again.
        Drawn::FromSome(some) => mixed(SEED ^ place) % some,
    };
    mixed(!SEED ^ place) % users
}

/// Numbers that look drawn, one for each place: the last step of splitmix64.
/// SOURCE: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
pub const fn mixed(place: u64) -> u64 {
    let mut mixed = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_guids_and_differ() {
        let kinds = [Kind::User, Kind::DisabledUser, Kind::Session, Kind::Device];
        let all: HashSet<String> =
            kinds.iter().flat_map(|kind| (0..1000).map(|number| id(*kind, number))).collect();
        assert_eq!(all.len(), 4000);
        for text in all {
            let groups: Vec<usize> = text.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{text}");
            assert_eq!(key_of(&text), key_of(&text.to_uppercase()), "{text}");
        }
    }

    #[test]
    fn some_users_are_drawn_from_all_and_come_again() {
        let users = |among: Drawn| {
            let drawn = (0..5000).map(|place| drawn(1_000_000, among, place));
            drawn.collect::<HashSet<u64>>()
        };
        let (all, some) = (users(Drawn::FromAll), users(Drawn::FromSome(100)));
        assert!((4900..=5000).contains(&all.len()), "{}", all.len());
        assert_eq!(some.len(), 100);
        assert!(some.iter().any(|user| *user > 900_000), "they are not the first ones");
    }

    fn key_of(text: &str) -> ObjectKey {
        ObjectKey::parse(text).expect("a GUID")
    }
}
