//! A vector whose elements are shared between snapshots: changing one copies the pointers of its
//! chunk and of the chunks, and nothing else.

use std::sync::Arc;

/// Elements of a chunk.
const CHUNK: usize = 64;

/// Elements by number; some may be absent.
#[derive(Clone)]
pub(crate) struct Slots<T> {
    chunks: Arc<Vec<Arc<Chunk<T>>>>,
}

type Chunk<T> = Vec<Option<Arc<T>>>;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { chunks: Arc::default() }
    }
}

impl<T: Clone + Default> Slots<T> {
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)?.as_deref()
    }

    /// The element to change, made now where it is absent.
    pub(crate) fn change<R>(&mut self, number: u32, change: impl FnOnce(&mut T) -> R) -> R {
        let number = number as usize;
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.len() <= number / CHUNK {
            chunks.resize_with(number / CHUNK + 1, Arc::default);
        }
        let Some(chunk) = chunks.get_mut(number / CHUNK).map(Arc::make_mut) else {
            return change(&mut T::default());
        };
        if chunk.len() <= number % CHUNK {
            chunk.resize_with(number % CHUNK + 1, || None);
        }
        match chunk.get_mut(number % CHUNK) {
            Some(slot) => change(Arc::make_mut(slot.get_or_insert_default())),
            None => change(&mut T::default()),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).filter_map(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_saw_and_shares_the_rest() {
        let mut slots = Slots::<u32>::default();
        slots.change(130, |value| *value = 1);
        let before = slots.clone();
        slots.change(130, |value| *value = 2);
        slots.change(5, |value| *value = 3);
        assert_eq!((before.get(130), before.get(5), before.get(9999)), (Some(&1), None, None));
        assert_eq!((slots.get(130), slots.get(5)), (Some(&2), Some(&3)));
        assert_eq!(slots.iter().copied().collect::<Vec<_>>(), [3, 2]);
    }
}
