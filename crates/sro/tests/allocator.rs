//! Memory of an allocator that threads share: what it allocates, when it fills its pool, and that
//! nothing is lost where the allocator refuses.
// Uses a machine of 1 GiB, which is too large for Miri.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::{Cell, RefCell};

use rmi_abi::{Dialect, Ipa, IpaRange};
use rmi_host::Undelegated;
use rmi_host::granules::{AnyGranules, HostOwned};
use sro::{AllocatorMemory, GranuleSet, HostAllocator, HostMemory, Pool};
use test_support::{model, open};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const STOCK: u64 = 64 * PAGE;

/// Free memory, which can be made to refuse.
struct Heap {
    free: RefCell<GranuleSet<HostOwned, Vec<AnyGranules>>>,
    allocations: Cell<u32>,
    refuses: Cell<bool>,
}

impl Heap {
    fn new(memory: Undelegated) -> Self {
        let mut free = GranuleSet::growing();
        free.insert(memory).unwrap();
        Self { free: RefCell::new(free), allocations: Cell::new(0), refuses: Cell::new(false) }
    }

    fn bytes(&self) -> u64 {
        self.free.borrow().bytes()
    }
}

impl HostAllocator for Heap {
    fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        self.allocations.set(self.allocations.get() + 1);
        self.free.borrow_mut().take(bytes, alignment)
    }

    fn free(&self, memory: Undelegated) -> Result<(), Undelegated> {
        match self.refuses.get() {
            true => Err(memory),
            false => self.free.borrow_mut().insert(memory),
        }
    }
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

#[test]
fn a_pool_is_filled_when_it_has_less_than_half() {
    let model = model(Dialect::TfRmm2026_07);
    let heap = Heap::new(model.take_memory());
    let mut memory = AllocatorMemory::<_, 4>::new(&heap, STOCK);
    assert_eq!(memory.pool().bytes(), (STOCK, 0));
    assert_eq!(heap.bytes(), (1 << 30) - STOCK - Pool::PAGES);
    let filled = heap.allocations.get();
    let half = memory.pool().take_host(STOCK / 2, PAGE).unwrap();
    assert_eq!((memory.pool().bytes().0, heap.allocations.get()), (STOCK / 2, filled));
    let page = memory.pool().take_host(PAGE, PAGE).unwrap();
    assert_eq!((memory.pool().bytes().0, heap.allocations.get()), (STOCK, filled + 1));
    for memory in [half, page] {
        heap.free(memory).unwrap();
    }
    memory.drain_host();
    assert_eq!(heap.bytes(), 1 << 30);
}

#[test]
fn a_pool_is_filled_with_what_there_is() {
    for (free, expected) in [(STOCK + Pool::PAGES, STOCK), (34 * PAGE, 32 * PAGE), (Pool::PAGES, 0)]
    {
        let model = model(Dialect::TfRmm2026_07);
        let mut all = model.take_memory();
        let heap = Heap::new(all.take_front(free).unwrap());
        let mut memory = AllocatorMemory::<_, 4>::new(&heap, STOCK);
        assert_eq!(memory.pool().bytes(), (expected, 0), "{free:#x}");
        memory.drain_host();
        assert_eq!(heap.bytes(), free);
    }
    // None at all.
    let model = model(Dialect::TfRmm2026_07);
    let mut all = model.take_memory();
    let heap = Heap::new(all.take_front(PAGE).unwrap());
    let one = heap.allocate(PAGE, PAGE).unwrap();
    let mut memory = AllocatorMemory::<_, 4>::new(&heap, STOCK);
    assert_eq!(memory.pool().bytes(), (0, 0));
    assert!(memory.allocate(range(0, BLOCK)).is_none());
    heap.free(one).unwrap();
}

#[test]
fn a_pool_is_filled_with_pieces_where_there_is_no_larger_one() {
    let model = model(Dialect::TfRmm2026_07);
    let mut all = model.take_memory();
    let heap = Heap::new(all.take_front(4 * PAGE).unwrap());
    for _ in 0..20 {
        drop(all.take_front(PAGE));
        heap.free(all.take_front(3 * PAGE).unwrap()).unwrap();
    }
    let free = heap.bytes();
    let mut memory = AllocatorMemory::<_, 16>::new(&heap, 24 * PAGE);
    assert_eq!(memory.pool().bytes(), (24 * PAGE, 0));
    assert_eq!(heap.bytes(), free - 24 * PAGE - Pool::PAGES);
    memory.drain_host();
    assert_eq!(heap.bytes(), free);
    // As many pieces as there are slots, and no more.
    let mut memory = AllocatorMemory::<_, 2>::new(&heap, 24 * PAGE);
    let taken = memory.pool().bytes().0;
    assert!((2 * PAGE..24 * PAGE).contains(&taken), "{taken:#x}");
    assert_eq!(heap.bytes(), free - taken - Pool::PAGES);
    memory.drain_host();
    assert_eq!(heap.bytes(), free);
}

#[test]
fn a_realm_gets_the_largest_block_that_fits() {
    let model = model(Dialect::TfRmm2026_07);
    // Host memory that no block of 2 MiB fits into twice.
    let mut all = model.take_memory();
    let heap = Heap::new(all.take_front(BLOCK + 0x2_0000).unwrap());
    let mut memory = AllocatorMemory::<_, 4>::new(&heap, 0);
    let mut give = |range| memory.allocate(range).map(|memory| memory.bytes());
    assert_eq!(give(range(BLOCK + PAGE, BLOCK)), Some(PAGE));
    assert_eq!(give(range(0x4000, BLOCK)), Some(0x4000));
    assert_eq!(give(range(BLOCK, 0x8000)), Some(0x4000));
    // The block that is free is not aligned any more; 64 KiB of it are.
    let bytes = give(range(BLOCK, 2 * BLOCK)).unwrap();
    assert!([BLOCK, 0x1_0000].contains(&bytes), "{bytes:#x}");
}

#[test]
fn what_the_allocator_refuses_stays_in_the_pool() {
    let model = model(Dialect::TfRmm2026_07);
    let heap = Heap::new(model.take_memory());
    let mut memory = AllocatorMemory::<_, 4>::new(&heap, STOCK);
    let session = open(model.host(), memory.pool());
    memory.pool().prefill(&session, 4 * PAGE, PAGE).unwrap();
    heap.refuses.set(true);
    let free = heap.bytes();
    memory.drain(&session);
    assert_eq!(heap.bytes(), free);
    assert_eq!(memory.pool().bytes(), (STOCK, 0));
    heap.refuses.set(false);
    let _ = session.close(memory.pool()).unwrap();
    memory.drain_host();
    assert_eq!(heap.bytes(), 1 << 30);
}

#[test]
fn a_pool_without_slots_frees_what_it_was_filled_with() {
    let model = model(Dialect::TfRmm2026_07);
    let heap = Heap::new(model.take_memory());
    let mut memory = AllocatorMemory::<_, 1>::new(&heap, STOCK);
    // What is left in the pool is not adjacent to what is free.
    let taken = memory.pool().take_host(STOCK - PAGE, PAGE).unwrap();
    let gap = heap.allocate(PAGE, PAGE).unwrap();
    let free = heap.bytes();
    assert_eq!(memory.pool().bytes().0 + heap.bytes(), free + PAGE);
    for memory in [taken, gap] {
        heap.free(memory).unwrap();
    }
    memory.drain_host();
    assert_eq!(heap.bytes(), 1 << 30);
}

/// All memory that a machine has.
fn replace_by(heap: &Heap, model: &rmm_model::Model) -> u64 {
    let mut other = GranuleSet::growing();
    other.insert(model.take_memory()).unwrap();
    heap.free.replace(other).bytes()
}

#[test]
fn sound_3_an_emptied_pool_takes_memory_of_another_machine() {
    let (first, second) = (model(Dialect::TfRmm2026_07), model(Dialect::TfRmm2026_07));
    let heap = Heap::new(first.take_memory());
    let mut memory = AllocatorMemory::<_, 4>::new(&heap, STOCK);
    assert_eq!(memory.pool().bytes(), (STOCK, 0));
    memory.drain_host();
    assert_eq!(replace_by(&heap, &second), 1 << 30);
    assert_eq!(memory.pool().bytes(), (STOCK, 0));
    memory.drain_host();
    assert_eq!(heap.bytes(), 1 << 30);
}

#[test]
fn sound_3_a_pool_that_kept_its_pages_takes_no_memory_of_another_machine() {
    let (first, second) = (model(Dialect::TfRmm2026_07), model(Dialect::TfRmm2026_07));
    let heap = Heap::new(first.take_memory());
    let mut memory = AllocatorMemory::<_, 4>::new(&heap, 0);
    assert_eq!(memory.pool().bytes(), (0, 0));
    heap.refuses.set(true);
    memory.drain_host();
    heap.refuses.set(false);
    // It has its two pages, and nothing else.
    assert_eq!(replace_by(&heap, &second), (1 << 30) - Pool::PAGES);
    let other = heap.allocate(PAGE, PAGE).unwrap();
    let other = memory.pool().add(other).unwrap_err();
    heap.free(other).unwrap();
    assert_eq!(heap.bytes(), 1 << 30);
}

#[test]
fn memory_is_freed_to_the_allocator_also_through_a_reference() {
    let model = model(Dialect::TfRmm2026_07);
    let heap = Heap::new(model.take_memory());
    let reference = &heap;
    let mut memory = AllocatorMemory::<&Heap, 4>::new(&reference, 0);
    let block = memory.allocate(range(0, BLOCK)).unwrap();
    assert_eq!((block.bytes(), heap.bytes()), (BLOCK, (1 << 30) - BLOCK));
    memory.free(block).unwrap();
    assert_eq!(heap.bytes(), 1 << 30);
    heap.refuses.set(true);
    let block = memory.allocate(range(0, BLOCK)).unwrap();
    let block = memory.free(block).unwrap_err();
    heap.refuses.set(false);
    assert_eq!(block.bytes(), BLOCK);
    heap.free(block).unwrap();
    let text = format!("{memory:?}");
    assert!(text.starts_with("AllocatorMemory { pool: "), "{text}");
}
