//! Numbers that look random and are the same in every run, so that every server gets the same work.

/// Marsaglia's xorshift with 64 bits.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_moves_everything_and_loses_nothing() {
        let mut items: Vec<usize> = (0..1000).collect();
        Random::new().shuffle(&mut items);
        let in_place = items.iter().enumerate().filter(|(n, item)| n == *item).count();
        assert!(in_place < 20, "{in_place} items stayed in place");
        items.sort_unstable();
        assert!(items.into_iter().eq(0..1000));
    }
}
