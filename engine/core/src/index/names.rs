//! Tenants, issuers and sources as small numbers.
//!
//! Rows refer to them by number. Numbers are given in order of arrival, so they differ between
//! replicas and mean nothing outside one process. Names are few (thousands at most) and new ones
//! are rare, so a new name copies the map once. Where they are a handful, as in most deployments, a name is
//! compared with each of them, which takes less than hashing it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::Name;

/// The number of a name.
pub(crate) type Number = u32;

/// Names and their numbers, cheap to clone.
#[derive(Clone)]
pub(crate) struct Names {
    /// By number.
    names: Arc<Vec<Name>>,
    numbers: Arc<HashMap<Name, Number, TextHashes>>,
}

/// So many names are compared and not hashed.
const FEW: usize = 4;

impl Names {
    pub(crate) fn new(seed: u64) -> Self {
        let numbers = Arc::new(HashMap::with_hasher(TextHashes(seed)));
        Self { names: Arc::default(), numbers }
    }

    /// The number of a name that is known.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<Number> {
        if self.names.len() <= FEW {
            return (0..)
                .zip(self.names.iter())
                .find(|(_, known)| known.as_str() == name)
                .map(|(number, _)| number);
        }
        self.numbers.get(name).copied()
    }

    /// The number of a name, given now where it has none.
    pub(crate) fn intern(&mut self, name: &Name) -> Number {
        if let Some(number) = self.get(name.as_str()) {
            return number;
        }
        // At one name a nanosecond, four billion names take longer than the index has memory for.
        let number = Number::try_from(self.names.len()).unwrap_or(Number::MAX);
        Arc::make_mut(&mut self.names).push(name.clone());
        Arc::make_mut(&mut self.numbers).insert(name.clone(), number);
        number
    }

    /// The name of a number.
    pub(crate) fn name(&self, number: Number) -> Option<&Name> {
        self.names.get(number as usize)
    }

    /// Every name with its number, in the order of the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, Number)> {
        self.names.iter().zip(0..)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// Hashes text with xxh3 under a seed. The default one is for names that stand in configuration, which nobody
/// else chooses.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextHashes(u64);

/// Each write is hashed under the hash of those before it, the first one under the seed.
pub(crate) struct TextHasher {
    hash: u64,
}

impl BuildHasher for TextHashes {
    type Hasher = TextHasher;

    fn build_hasher(&self) -> TextHasher {
        TextHasher { hash: self.0 }
    }
}

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
    }

    /// The end mark that `str` writes after its bytes: the one text is all there is.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_no_two_share_one() {
        let name = |text: &str| Name::parse(text).expect("a valid name");
        let mut names = Names::new(3);
        assert_eq!(names.get("0"), None);
        // As many as are compared, and more, which are hashed.
        for number in 0..2 * FEW {
            let before = names.clone();
            let text = number.to_string();
            let number = u32::try_from(number).expect("a small number");
            assert_eq!(names.intern(&name(&text)), number);
            assert_eq!(names.intern(&name("0")), 0);
            assert_eq!(names.get(&text), Some(number));
            assert_eq!(names.name(number), Some(&name(&text)));
            assert_eq!(before.get(&text), None, "a clone does not change");
        }
        assert_eq!((names.len(), names.get("none")), (2 * FEW, None));
    }
}
