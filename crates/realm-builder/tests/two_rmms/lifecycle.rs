//! A Realm that is populated, measured and run, whose memory is mapped by faults, changes its
//! state, is shared, moved and folded, and that is destroyed.

use core::cell::RefCell;

use realm_builder::{
    Active, Content, FoldPolicy, MeasurementEvent, New, Realm, RealmConfig, RecStart, Region, Rim,
    Served,
};
use rmi_abi::esr::fault_page;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rsi::{Command as Rsi, Version};
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::run::{EntryRecord, ExitReason, ExitRecord};
use rmi_abi::{Ipa, IpaRange};
use rmi_host::Platform;
use rmi_host::command::{AuxTree, SharedAccess};
use sro::{CallbackMemory, FixedPool, RecObject};

use crate::rmms::Both;
use crate::step::show_shared;
use crate::{Heap, MIB, PAGE, Scenario};

/// The addresses of the Realm's memory: content, then unspecified RAM.
const CODE: u64 = 0x8000_0000;
const DATA: u64 = CODE + 4 * MIB;
const FREE: u64 = CODE + 6 * MIB;
/// RAM that has no memory when the Realm starts.
const UNBACKED: u64 = CODE + 16 * MIB;
const UNBACKED_BYTES: u64 = 4 * MIB + 3 * PAGE;
/// A write of X5, eight bytes, that found nothing mapped: a data abort with a valid syndrome at
/// level 3.
const STORE: u64 = 0x93c5_0047;
const SYSTEM_OFF: u64 = 0x8400_0008;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// What a scenario has to work with.
pub(crate) struct Fixture<'b, 'r, P: Platform> {
    pub(crate) both: &'b Both,
    pub(crate) realm: &'b Realm<'r, P, Active>,
    pub(crate) pool: &'b mut FixedPool<64>,
    pub(crate) heap: &'b mut Heap,
    pub(crate) rec: &'b RecObject,
}

/// The scenario with all operations.
pub(crate) struct Whole<'c> {
    pub(crate) config: &'c RealmConfig,
}

impl Scenario for Whole<'_> {
    fn run<P: Platform>(
        &self,
        both: &Both,
        mut realm: Realm<'_, P, New>,
        pool: &mut FixedPool<64>,
        heap: &mut Heap,
    ) {
        let kernel: Vec<u8> = (0..=250).cycle().take(0x5123).collect();
        let data = [7; 0x2801];
        let mut regions = [
            Region::without_memory(Ipa::new(UNBACKED), UNBACKED_BYTES),
            Region::new(Ipa::new(FREE), heap.take(4 * MIB, 2 * MIB).unwrap(), Content::Unspecified),
            Region::new(
                Ipa::new(DATA),
                heap.take(3 * PAGE, PAGE).unwrap(),
                Content::Unmeasured(&data),
            ),
            Region::new(
                Ipa::new(CODE),
                heap.take(6 * PAGE, PAGE).unwrap(),
                Content::Measured(&kernel),
            ),
        ];
        let at = regions.each_ref().map(|region| region.range().base());
        assert_eq!(at, [UNBACKED, FREE, DATA, CODE].map(Ipa::new));
        // In parts, which makes no difference to the measurement.
        while realm.populate_some(pool, &mut regions, 2 * MIB).unwrap() > 0 {}
        let start = RecStart { runnable: true, pc: Ipa::new(CODE), gprs: [1, 2, 3, 4, 5, 6, 7, 8] };
        let recs = vec![
            realm.create_rec(pool, &start).unwrap(),
            realm.create_rec(pool, &RecStart { runnable: false, ..start }).unwrap(),
        ];

        // The measurement that the Realm will report.
        let (dialect, ignore) = (realm.rmm().dialect(), &mut |_: &MeasurementEvent| {});
        let params = self.config.validate(realm.rmm().features(), dialect).unwrap();
        let mut rim = Rim::new(&params, dialect, ignore).unwrap();
        rim.add_measured(Ipa::new(CODE), &kernel, ignore).unwrap();
        rim.add_unmeasured(range(DATA, 3 * PAGE), ignore).unwrap();
        rim.add_ripas(range(FREE, 4 * MIB), Level::L2, ignore).unwrap();
        rim.add_ripas(range(UNBACKED, 4 * MIB), Level::L2, ignore).unwrap();
        rim.add_ripas(range(UNBACKED + 4 * MIB, 3 * PAGE), Level::L3, ignore).unwrap();
        for (index, runnable) in [(0, true), (1, false)] {
            let mpidr = Mpidr::from_index(index);
            let rec = RecParams { runnable, mpidr, pc: CODE, gprs: start.gprs };
            rim.add_rec(&rec, ignore).unwrap();
        }

        let realm = realm.activate().unwrap();
        let mut fixture = Fixture { both, realm: &realm, pool, heap, rec: recs.first().unwrap() };
        fixture.reads_its_measurement(rim.digest().as_bytes());
        fixture.faults();
        fixture.gives_memory_back();
        fixture.shares();
        fixture.is_moved();
        fixture.touches_ram_without_memory();
        fixture.shares_what_it_never_touched();
        fixture.permits();
        fixture.turns_itself_off();
        assert_eq!(
            realm
                .tear_down(
                    &mut CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap()),
                    recs
                )
                .error,
            None
        );
    }
}

impl<P: Platform> Fixture<'_, '_, P> {
    /// Enters the REC, which takes the actions that both RMMs were told; returns its exit.
    fn enter(&mut self) -> (ExitReason, ExitRecord) {
        let rmm = self.realm.rmm();
        let mut page = self.heap.take(PAGE, PAGE).unwrap();
        let exit = self
            .rec
            .enter(rmm, &mut page, &EntryRecord::default(), None, |exit, _| (*exit, false))
            .unwrap();
        self.heap.insert(page).unwrap();
        (ExitReason::decode(exit.exit_reason, rmm.dialect()), exit)
    }

    /// The Realm makes a call; returns the exit that follows.
    fn call(&mut self, command: Rsi, arguments: &[u64]) -> (ExitReason, ExitRecord) {
        let mut line = format!("guest smc {:x}", command.fid(Version::V1_1).unwrap().0);
        for argument in arguments {
            line.push_str(&format!(" {argument:x}"));
        }
        self.both.say(&line);
        self.enter()
    }

    /// The Realm writes to an address where nothing is mapped.
    fn store(&mut self, ipa: u64) -> ExitRecord {
        let line = format!(
            "guest sync esr={STORE:x} far={:x} hpfar={:x}",
            ipa & 0xfff,
            (ipa & !0xfff) >> 8
        );
        self.both.say(&line);
        let (reason, exit) = self.enter();
        assert_eq!(reason, ExitReason::Sync);
        assert_eq!(fault_page(exit.hpfar), Ipa::new(ipa).align_down(PAGE));
        exit
    }

    /// X0 to X8 of the Realm, as they were at its latest entry.
    fn saw(&self) -> [u64; 9] {
        let rows = self.both.say("glog").rows;
        let (_, words) = rows.last().unwrap().split_once(" x ").unwrap();
        let mut words = words.split(' ').map(|word| u64::from_str_radix(word, 16).unwrap());
        [(); 9].map(|()| words.next().unwrap())
    }

    fn take_back(&mut self, memory: Vec<rmi_host::Undelegated>) -> u64 {
        let bytes = memory.iter().map(rmi_host::Undelegated::bytes).sum();
        memory.into_iter().for_each(|memory| self.heap.insert(memory).unwrap());
        bytes
    }

    /// The Realm reads the measurement that the host predicted. TF-RMM does not change the
    /// registers that a short digest does not reach.
    pub(crate) fn reads_its_measurement(&mut self, digest: &[u8]) {
        // It is interrupted after its call.
        let (reason, _) = self.call(Rsi::MeasurementRead, &[0]);
        assert_eq!(reason, ExitReason::Fiq);
        let [status, words @ ..] = self.saw();
        let words = words.map(u64::to_le_bytes);
        assert_eq!((status, words.as_flattened().get(..digest.len())), (0, Some(digest)));
    }

    /// RAM that the host reclaims, and what is mapped by faults around it.
    fn faults(&mut self) {
        let (taken, mut back) = (range(FREE + 3 * PAGE, 20 * PAGE), Vec::new());
        let done = self
            .realm
            .reclaim(&mut CallbackMemory::freeing(self.pool, |memory| back.push(memory)), taken)
            .unwrap();
        assert_eq!(done, realm_builder::Reclaimed::Whole);
        assert_eq!(self.take_back(back), taken.bytes());
        // The content of those pages is lost, and the Realm is told: it faults only after it has
        // made them RAM again.
        for ripas in [Ripas::Empty, Ripas::Ram] {
            self.changes(taken, ripas);
        }
        let exit = self.store(FREE + 5 * PAGE + 8);
        let window = range(FREE, 2 * MIB);
        let heap = RefCell::new(&mut *self.heap);
        let served = self.realm.serve_fault(
            &mut CallbackMemory::new(
                self.pool,
                |hole| heap.borrow_mut().take(hole.bytes().min(8 * PAGE), PAGE),
                |memory| {
                    heap.borrow_mut().insert(memory).unwrap();
                    Ok(())
                },
            ),
            Ipa::new(fault_page(exit.hpfar).raw()),
            window,
        );
        let Served::Mapped(mapped) = served.unwrap() else { unreachable!("nothing was mapped") };
        assert!(mapped.contains(Ipa::new(FREE + 5 * PAGE)) && taken.contains_range(&mapped));
        // The rest of the hole, before and after that, with scattered pages.
        let before = IpaRange::new(taken.base(), mapped.base()).unwrap();
        let after = IpaRange::new(mapped.top(), taken.top()).unwrap();
        for hole in [before, after].into_iter().filter(|hole| !hole.is_empty()) {
            let pages = 0..hole.bytes() / PAGE;
            let mut pages: Vec<_> = pages.map(|_| self.heap.take(PAGE, PAGE).unwrap()).collect();
            pages.reverse();
            self.realm.map_scattered(self.pool, hole.base(), &mut pages).unwrap();
        }
        assert_eq!(self.realm.memory_bytes(), 4 * MIB + 9 * PAGE);
    }

    /// The Realm requests a change of RIPAS until all of it is done.
    fn changes(&mut self, range: IpaRange, ripas: Ripas) {
        let mut at = range.base().raw();
        while at < range.top().raw() {
            let value = u64::from(ripas == Ripas::Ram);
            // It may change what was destroyed.
            let (reason, exit) = self.call(Rsi::IpaStateSet, &[at, range.top().raw(), value, 1]);
            assert_eq!(reason, ExitReason::RipasChange);
            assert_eq!((exit.ripas_base, exit.ripas_top), (at, range.top().raw()));
            let asked = IpaRange::new(Ipa::new(exit.ripas_base), Ipa::new(exit.ripas_top)).unwrap();
            let name = self.rec.name();
            let ripas = Ripas::from(exit.ripas_value);
            let reached = self.realm.set_ripas_to(self.pool, name, asked, ripas, u32::MAX);
            assert_eq!(reached, Ok(asked.top()));
            assert_eq!(self.enter().0, ExitReason::Fiq);
            let [status, reached, response, ..] = self.saw();
            assert_eq!((status, response), (0, 0));
            assert!(reached > at);
            at = reached;
        }
    }

    /// The Realm makes memory EMPTY, in a block and in pages.
    fn gives_memory_back(&mut self) {
        let balloon = range(FREE + MIB, MIB + 12 * PAGE);
        let before = self.realm.memory_bytes();
        self.changes(balloon, Ripas::Empty);
        let mut back = Vec::new();
        let done = self
            .realm
            .reclaim(&mut CallbackMemory::freeing(self.pool, |memory| back.push(memory)), balloon)
            .unwrap();
        assert_eq!(done, realm_builder::Reclaimed::Whole);
        assert_eq!(self.take_back(back), balloon.bytes());
        assert_eq!(self.realm.memory_bytes(), before - balloon.bytes());
        self.changes(balloon, Ripas::Ram);
        let memory = self.heap.take(balloon.bytes(), 2 * MIB).unwrap();
        self.realm.map(self.pool, balloon.base(), memory).unwrap();
    }

    /// Memory becomes shared at its alias, read-only there, and private again.
    fn shares(&mut self) {
        let (realm, access) = (self.realm, SharedAccess::MEMORY);
        let swiotlb = range(FREE + 2 * MIB - 8 * PAGE, 16 * PAGE);
        self.changes(swiotlb, Ripas::Empty);
        let heap = RefCell::new(&mut *self.heap);
        let give_back = &mut |memory| heap.borrow_mut().insert(memory).unwrap();
        let converted = realm
            .convert_to_shared(
                &mut CallbackMemory::freeing(self.pool, &mut *give_back),
                swiotlb,
                access,
            )
            .unwrap();
        assert_eq!((converted.bytes, converted.without_memory), (swiotlb.bytes(), 0));
        assert_eq!(realm.shared_bytes(), swiotlb.bytes());
        let alias = swiotlb.base().raw() + realm.geometry().unprotected_base().raw();
        let mut read_only = access;
        read_only.permissions.write = false;
        realm
            .reshare(
                &mut CallbackMemory::freeing(self.pool, &mut *give_back),
                range(alias, 3 * PAGE),
                read_only,
            )
            .unwrap();
        realm
            .reshare(
                &mut CallbackMemory::freeing(self.pool, &mut *give_back),
                range(alias, 3 * PAGE),
                access,
            )
            .unwrap();
        let block = heap.borrow_mut().take(2 * MIB, 2 * MIB).unwrap();
        let window = range(alias.next_multiple_of(2 * MIB) + 2 * MIB, 2 * MIB);
        realm.share(self.pool, window.base(), block, access).unwrap();
        realm.unshare(&mut CallbackMemory::freeing(self.pool, &mut *give_back), window).unwrap();
        self.changes(swiotlb, Ripas::Ram);
        let heap = RefCell::new(&mut *self.heap);
        let give_back = &mut |memory| heap.borrow_mut().insert(memory).unwrap();
        let converted = realm
            .convert_to_private(&mut CallbackMemory::freeing(self.pool, &mut *give_back), swiotlb)
            .unwrap();
        assert_eq!((converted.bytes, converted.without_memory), (swiotlb.bytes(), 0));
        assert_eq!((realm.shared_bytes(), realm.memory_bytes()), (0, 4 * MIB + 9 * PAGE));
    }

    /// The Realm's memory is reclaimed and other memory is mapped; in the end what can be a block
    /// is one.
    fn is_moved(&mut self) {
        let all = range(FREE, 4 * MIB);
        let mut back = Vec::new();
        let done = self
            .realm
            .reclaim(&mut CallbackMemory::freeing(self.pool, |memory| back.push(memory)), all)
            .unwrap();
        assert_eq!(done, realm_builder::Reclaimed::Whole);
        assert_eq!(self.take_back(back), all.bytes());
        for ripas in [Ripas::Empty, Ripas::Ram] {
            self.changes(all, ripas);
        }
        let memory = self.heap.take(4 * MIB, 2 * MIB).unwrap();
        self.realm.map(self.pool, all.base(), memory).unwrap();
        let folded = self.realm.fold(self.pool, all, FoldPolicy::Blocks).unwrap();
        assert_eq!(folded.kept, 0);
        for block in [FREE, FREE + 2 * MIB] {
            assert_eq!(self.realm.memory_at(Ipa::new(block)), Some(range(block, 2 * MIB)));
        }
    }

    /// RAM without memory is mapped by faults, in a block and at the end; what is reclaimed from it
    /// then is DESTROYED.
    fn touches_ram_without_memory(&mut self) {
        let window = range(UNBACKED, UNBACKED_BYTES);
        for (touched, bytes, alignment) in
            [(UNBACKED + MIB, 2 * MIB, 2 * MIB), (UNBACKED + UNBACKED_BYTES - 8, 3 * PAGE, PAGE)]
        {
            let exit = self.store(touched);
            let at = fault_page(exit.hpfar);
            let heap = RefCell::new(&mut *self.heap);
            let served = self.realm.serve_fault(
                &mut CallbackMemory::new(
                    self.pool,
                    |hole| heap.borrow_mut().take(hole.bytes(), alignment),
                    |memory| {
                        heap.borrow_mut().insert(memory).unwrap();
                        Ok(())
                    },
                ),
                at,
                window,
            );
            let Served::Mapped(mapped) = served.unwrap() else {
                unreachable!("nothing was mapped")
            };
            assert!(mapped.contains(at));
            assert_eq!(mapped.bytes(), bytes);
        }
        let (taken, mut back) = (range(UNBACKED + MIB, PAGE), Vec::new());
        let done = self
            .realm
            .reclaim(&mut CallbackMemory::freeing(self.pool, |memory| back.push(memory)), taken)
            .unwrap();
        assert_eq!((done, self.take_back(back)), (realm_builder::Reclaimed::Whole, PAGE));
        for _ in 0..2 {
            let at = fault_page(self.store(UNBACKED + MIB).hpfar);
            let supply = &mut |_: IpaRange| unreachable!("no memory is of use");
            let served = self.realm.serve_fault(
                &mut CallbackMemory::new(self.pool, supply, |_| Ok(())),
                at,
                window,
            );
            assert_eq!(served, Ok(Served::Destroyed(taken)));
        }
    }

    /// A buffer that the Realm shares before it has touched it: the host maps memory there, and
    /// accesses it.
    fn shares_what_it_never_touched(&mut self) {
        let (realm, access) = (self.realm, SharedAccess::MEMORY);
        let buffer = range(UNBACKED + 2 * MIB + 5 * PAGE, 8 * PAGE);
        self.changes(buffer, Ripas::Empty);
        let mut asked = 0;
        for (given, without) in [(3, 5), (8, 0)] {
            let heap = RefCell::new(&mut *self.heap);
            let supply = &mut |_: IpaRange| {
                asked += 1;
                (asked <= given).then(|| heap.borrow_mut().take(PAGE, PAGE)).flatten()
            };
            let give_back = &mut |memory| heap.borrow_mut().insert(memory).unwrap();
            let converted = realm
                .convert_to_shared(
                    &mut CallbackMemory::new(self.pool, supply, |host| {
                        give_back(host);
                        Ok(())
                    }),
                    buffer,
                    access,
                )
                .unwrap();
            assert_eq!(converted.without_memory, without * PAGE);
            assert_eq!(converted.bytes, buffer.bytes() - without * PAGE);
            asked = 3;
        }
        let half = realm.geometry().unprotected_base().raw();
        let at = Ipa::new(half + buffer.base().raw() + PAGE - 3);
        realm.write_shared(at, b"buffer").unwrap();
        let mut read = [0; 6];
        realm.read_shared(at, &mut read).unwrap();
        assert_eq!(&read, b"buffer");
        self.changes(buffer, Ripas::Ram);
        let mut back = Vec::new();
        let give_back = &mut |memory| back.push(memory);
        let converted = realm
            .convert_to_private(&mut CallbackMemory::freeing(self.pool, &mut *give_back), buffer)
            .unwrap();
        assert_eq!((converted.bytes, back.len()), (buffer.bytes(), 0));
    }

    /// The Realm changes the permissions of its planes, in one tree after the other. What is mapped
    /// for a plane has them, too.
    fn permits(&mut self) {
        let trees = self.realm.aux_trees();
        if trees == 0 {
            return;
        }
        let tree = AuxTree::new(1).unwrap();
        let shown = self.realm.map_plane(self.pool, tree, range(FREE, 2 * PAGE)).unwrap();
        assert_eq!((shown.bytes, shown.not_ram), (2 * MIB, 0), "the block that they are in");
        let (plane, index, read_write) = (1, 1, 3);
        self.call(Rsi::MemSetPermValue, &[plane, index, read_write]);
        assert_eq!(self.saw()[0], 0);
        let parts = range(FREE + PAGE, 2 * MIB);
        let (mut base, top, mut cookie) = (parts.base().raw(), parts.top().raw(), 0);
        for left in (0..=trees).rev() {
            let (reason, exit) = self.call(Rsi::MemSetPermIndex, &[base, top, index, cookie]);
            assert_eq!(reason, ExitReason::S2apChange);
            assert_eq!((exit.s2ap_base, exit.s2ap_top), (parts.base().raw(), top));
            let name = self.rec.name();
            assert_eq!(
                self.realm.set_s2ap(self.pool, name, parts, u32::MAX).unwrap().top,
                parts.top()
            );
            assert_eq!(self.enter().0, ExitReason::Fiq);
            let [status, reached, response, next, ..] = self.saw();
            assert_eq!((status, response, next == 0), (0, 0, left == 0));
            assert!(left > 0 || reached == top);
            (base, cookie) = (reached, next);
        }
        let shown = self.realm.map_plane(self.pool, tree, range(FREE, 4 * PAGE)).unwrap();
        assert_eq!((shown.bytes, shown.not_ram), (4 * PAGE, 0), "the block is no more");
        self.realm.unmap_plane(tree, range(FREE + PAGE, PAGE)).unwrap();
        self.shows_what_is_shared(tree);
        let folded = self.realm.fold(self.pool, range(FREE, 4 * MIB), FoldPolicy::Blocks).unwrap();
        assert_eq!(folded.blocks, 2);
    }

    /// Plane 0 does not reach shared memory until its tree refers to it; from then on it reaches
    /// all of it. Some is left for teardown.
    fn shows_what_is_shared(&mut self, tree: AuxTree) {
        let (realm, half) = (self.realm, self.realm.geometry().unprotected_base().raw());
        for at in [half, half + 4 * MIB] {
            let memory = self.heap.take(2 * PAGE, PAGE).unwrap();
            let shared = realm.share(self.pool, Ipa::new(at), memory, SharedAccess::MEMORY);
            shared.unwrap();
            show_shared(realm, self.pool, tree, range(at, PAGE)).unwrap();
        }
        realm.unmap_plane_shared(tree, range(half, 1 << 30)).unwrap();
        show_shared(realm, self.pool, tree, range(half, 1 << 30)).unwrap();
        for at in [half + PAGE, half + 4 * MIB] {
            let give_back = &mut |memory| self.heap.insert(memory).unwrap();
            realm
                .unshare(&mut CallbackMemory::freeing(self.pool, &mut *give_back), range(at, PAGE))
                .unwrap();
        }
    }

    fn turns_itself_off(&mut self) {
        self.both.say(&format!("guest smc {SYSTEM_OFF:x}"));
        let (reason, exit) = self.enter();
        assert_eq!((reason, exit.gprs[0]), (ExitReason::Psci, SYSTEM_OFF));
    }
}
