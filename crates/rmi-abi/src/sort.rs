//! A sort that does not recurse and cannot panic, for lists that an embedder lends.

/// Sorts by a key in place: heapsort, in O(n log n) steps and with a bounded stack. The order of
/// elements with equal keys may change.
///
/// For the crates of this SDK. `core`'s `sort_unstable_by_key` recurses.
pub fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    for root in (0..list.len()).rev() {
        sift_down(list, root, &key);
    }
    let mut heap = list;
    // Move the largest element of the heap to its end.
    while let Some(last) = heap.len().checked_sub(1) {
        if let Ok([first, last]) = heap.get_disjoint_mut([0, last]) {
            core::mem::swap(first, last);
        }
        let Some((_, rest)) = heap.split_last_mut() else { return };
        heap = rest;
        sift_down(heap, 0, &key);
    }
}

/// Moves the element at `at` down until neither of its children, at 2n + 1 and 2n + 2, is larger.
fn sift_down<T, K: Ord>(heap: &mut [T], mut at: usize, key: &impl Fn(&T) -> K) {
    loop {
        let element = |index: usize| heap.get(index).map(|element| (key(element), index));
        let child = |n: usize| element(at.checked_mul(2)?.checked_add(n)?);
        let Some((_, largest)) = element(at).max(child(1)).max(child(2)) else { return };
        // Not two elements if the parent is the largest.
        let Ok([parent, child]) = heap.get_disjoint_mut([at, largest]) else { return };
        core::mem::swap(parent, child);
        at = largest;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::sort_by_key;

    fn cases() -> ProptestConfig {
        // Miri is slow, and has no files.
        let cases = if cfg!(miri) { 8 } else { 256 };
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn sorts_as_core_does(mut list: Vec<(u8, u32)>) {
            let mut expected = list.clone();
            expected.sort_unstable();
            sort_by_key(&mut list, |element| *element);
            prop_assert_eq!(list, expected);
        }

        #[test]
        fn only_the_key_orders(mut list: Vec<(u8, u32)>) {
            let mut elements = list.clone();
            sort_by_key(&mut list, |(key, _)| *key);
            prop_assert!(list.is_sorted_by_key(|(key, _)| *key));
            elements.sort_unstable();
            list.sort_unstable();
            prop_assert_eq!(list, elements);
        }
    }
}
