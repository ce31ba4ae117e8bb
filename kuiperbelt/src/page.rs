//! A page of something sorted, picked from what is not: the least few of many.

use std::collections::BinaryHeap;

/// The least `limit` of what is offered.
pub(crate) struct Page<T> {
    limit: usize,
    /// The greatest of those picked on top.
    picked: BinaryHeap<T>,
}

impl<T: Ord> Page<T> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, picked: BinaryHeap::new() }
    }

    /// Whether an item is picked for now, given whether it is less than another: who makes items
    /// from many others need not make those that are not.
    pub(crate) fn picks(&self, is_less_than: impl FnOnce(&T) -> bool) -> bool {
        self.picked.len() < self.limit || self.picked.peek().is_some_and(is_less_than)
    }

    pub(crate) fn offer(&mut self, item: T) {
        if self.picked.len() < self.limit {
            self.picked.push(item);
        } else if let Some(mut greatest) = self.picked.peek_mut()
            && item < *greatest
        {
            *greatest = item;
        }
    }

    pub(crate) fn into_sorted(self) -> Vec<T> {
        self.picked.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_few_in_order() {
        for (limit, expected) in [(0, &[][..]), (3, &[1, 2, 3]), (9, &[1, 2, 3, 5, 8])] {
            let mut page = Page::new(limit);
            for item in [5, 1, 8, 3, 2] {
                let picks = page.picks(|greatest| item < *greatest);
                let before = page.picked.clone().into_sorted_vec();
                page.offer(item);
                assert_eq!(picks, page.picked.clone().into_sorted_vec() != before, "{item}");
            }
            assert_eq!(page.into_sorted(), expected, "limit {limit}");
        }
    }
}
