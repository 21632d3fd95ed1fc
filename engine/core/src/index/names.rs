//! Tenants, issuers and sources as small numbers.
//!
//! Rows refer to them by number. Numbers are given in order of arrival, so they differ between
//! replicas and mean nothing outside one process. Names are few (thousands at most) and new ones
//! are rare, so a new name copies the map once.

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
    numbers: Arc<HashMap<Name, Number, Seeded>>,
}

impl Names {
    pub(crate) fn new(seed: u64) -> Self {
        Self { numbers: Arc::new(HashMap::with_hasher(Seeded(seed))) }
    }

    /// The number of a name that is known.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<Number> {
        self.numbers.get(name).copied()
    }

    /// The number of a name, given now where it has none.
    pub(crate) fn intern(&mut self, name: &Name) -> Number {
        if let Some(number) = self.get(name.as_str()) {
            return number;
        }
        // At one name a nanosecond, four billion names take longer than the index has memory for.
        let number = Number::try_from(self.numbers.len()).unwrap_or(Number::MAX);
        Arc::make_mut(&mut self.numbers).insert(name.clone(), number);
        number
    }

    /// The name of a number. Looks at every name.
    pub(crate) fn name(&self, number: Number) -> Option<&Name> {
        self.iter().find(|(_, known)| *known == number).map(|(name, _)| name)
    }

    /// Every name with its number, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, Number)> {
        self.numbers.iter().map(|(name, number)| (name, *number))
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// Hashes text with xxh3 under a seed.
#[derive(Clone)]
struct Seeded(u64);

/// Each write is hashed under the hash of those before it, the first one under the seed.
struct TextHasher {
    hash: u64,
}

impl BuildHasher for Seeded {
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
        assert_eq!(names.get("contoso"), None);
        assert_eq!(names.intern(&name("contoso")), 0);
        let before = names.clone();
        assert_eq!(names.intern(&name("fabrikam")), 1);
        assert_eq!(names.intern(&name("contoso")), 0);
        assert_eq!(names.get("fabrikam"), Some(1));
        assert_eq!(before.get("fabrikam"), None, "a clone does not change");
        assert_eq!(names.len(), 2);
    }
}
