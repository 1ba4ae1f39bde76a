//! Lists of memory, shared memory, and what is refused before any call.

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::device::{DevCommStatus, PdevCategory, PdevParams, PdevState};
use rmi_abi::flags::DataFlags;
use rmi_abi::realm::{HashAlgorithm, RealmParamsPage};
use rmi_abi::rtt::Level;
use rmi_abi::run::EntryRecord;
use rmi_abi::{Command, Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_host::command::{DevCommBuffers, PdevGranule, ShareAt, Shared, SharedAccess, VdevGranule};
use rmi_host::{Error, Failed, RecGranule, SharedMemory, Undelegated, Violation};
use zerocopy::FromZeros;

use crate::cases::{BLOCKS, BYTES, IPA, MEMORY, RD, create_pdev, range, share_at, shared};
use crate::fixture::{Fake, PAGE, delegated, host, rd};

const GRANULE: GranuleSize = GranuleSize::Size4KiB;
const PAGES: BlockSize = BlockSize::Page;
const LIST: u64 = 0x9000_0000;
const BET3: Dialect = Dialect::V2_0Bet3;
const A: u64 = 0xa000_0000;
const B: u64 = 0xb000_0000;

fn word(base: u64, pages: u64, state: OpMemState, dialect: Dialect) -> u64 {
    let range = PaRange::with_size(Pa::new(base), pages * PAGE).unwrap();
    let desc = AddrRangeDesc::from_range(&range, BlockSize::Page, state, GRANULE).unwrap();
    desc.encode(dialect, GRANULE).unwrap()
}

fn reaches(top: u64) -> Fake {
    let fake = Fake::default();
    fake.always([0, top, 0, 0, 0, 0, 0, 0]);
    fake
}

/// Two pieces of shared memory, one after the other in the Realm: three pages at `A`, two at `B`.
fn two_pieces(rd: &rmi_host::Rd) -> [SharedMemory; 2] {
    [(A, 3, 0), (B, 2, 3)].map(|(base, pages, before)| {
        let ipa = Ipa::new(IPA + before * PAGE);
        let at = ShareAt { rd, ipa, access: SharedAccess::MEMORY };
        let fake = reaches(ipa.raw() + pages * PAGE);
        fake.channel(BET3).rtt_unprot_map(at, host(base, pages * PAGE), PAGES).unwrap().shared
    })
}

#[test]
fn a_list_of_data_is_mapped_as_far_as_the_rmm_says() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.is_2_0()) {
        for (pages, left) in [(0, [3, 2]), (2, [1, 2]), (4, [0, 1]), (5, [0, 0])] {
            let fake = reaches(IPA + pages * PAGE);
            let mut memory = [delegated(A, 3 * PAGE), delegated(B, 2 * PAGE)];
            let mut mapped = Vec::new();
            let top = fake.channel(dialect).rtt_data_map_list(
                &rd(RD),
                Ipa::new(IPA),
                &mut host(LIST, PAGE),
                &mut memory,
                PAGES,
                &mut |part| mapped.push((part.base().raw(), part.bytes() / PAGE)),
            );
            assert_eq!(top, Ok(Ipa::new(IPA + pages * PAGE)));
            let fid = Command::RttDataMap.fid(dialect).unwrap().0.into();
            let flags = 2 | 2 << 2;
            assert_eq!(fake.calls(), [[fid, RD, IPA, IPA + 5 * PAGE, flags, LIST, 0, 0]]);
            assert_eq!(fake.peek(LIST), word(A, 3, OpMemState::Delegated, dialect));
            assert_eq!(fake.peek(LIST + 8), word(B, 2, OpMemState::Delegated, dialect));
            assert_eq!(memory.map(|token| token.bytes() / PAGE), left);
            let expected: &[_] = match pages {
                0 => &[],
                2 => &[(A, 2)],
                4 => &[(A, 3), (B, 1)],
                _ => &[(A, 3), (B, 2)],
            };
            assert_eq!(mapped, expected);
        }
    }
}

#[test]
fn impossible_progress_of_a_map_leaves_the_tokens() {
    for top in [0, IPA - PAGE, IPA + 1, IPA + BYTES / 2 + PAGE, IPA + BYTES + PAGE, u64::MAX] {
        let fake = reaches(top);
        let mut memory = [delegated(MEMORY, BYTES)];
        let error = fake
            .channel(BET3)
            .rtt_data_map_list(
                &rd(RD),
                Ipa::new(IPA),
                &mut host(LIST, PAGE),
                &mut memory,
                BLOCKS,
                &mut |_| panic!("nothing is known to be mapped"),
            )
            .unwrap_err();
        let violation = Violation::Progress;
        assert!(matches!(
            error,
            Error::Violation { violation: v, value, .. } if v == violation && value == top
        ));
        assert_eq!(memory[0].bytes(), BYTES);
    }
}

#[test]
fn an_unclear_share_counts_as_shared() {
    let rd = rd(RD);
    // An unknown status, an end that is impossible, a memory transfer that does not exist.
    for answer in [[99, 0], [0, 1], [0x10d, 7]] {
        let fake = Fake::default();
        let [x0, x1] = answer;
        fake.always([x0, x1, 0, 0, 0, 0, 0, 0]);
        let channel = fake.channel(BET3);
        let failed =
            channel.rtt_unprot_map(share_at(&rd), host(MEMORY, BYTES), BLOCKS).unwrap_err();
        assert!(!failed.error.is_clean());
        assert_eq!((failed.shared.bytes(), failed.host.bytes()), (BYTES, 0));
        assert_eq!(failed.shared.ipa_range(), range());

        let mut memory = [host(A, 3 * PAGE), host(B, 2 * PAGE)].map(Shared::new);
        let list = &mut host(LIST, PAGE);
        let answer = channel.rtt_unprot_map_list(share_at(&rd), list, &mut memory, PAGES);
        assert!(!answer.unwrap_err().is_clean());
        assert!(memory.iter().all(|part| part.rest.is_empty()));
        let place = |part: &Shared| {
            (part.shared.ipa().raw(), part.shared.range().base().raw(), part.shared.bytes())
        };
        let shared: Vec<_> = memory.iter().map(place).collect();
        assert_eq!(shared, [(IPA, A, 3 * PAGE), (IPA + 3 * PAGE, B, 2 * PAGE)]);
    }
    // A refusal changes nothing.
    for x0 in [1, 0x204, 10, u64::MAX] {
        let fake = Fake::default();
        fake.always([x0, 0, 0, 0, 0, 0, 0, 0]);
        let failed = fake
            .channel(BET3)
            .rtt_unprot_map(share_at(&rd), host(MEMORY, BYTES), BLOCKS)
            .unwrap_err();
        assert!(failed.shared.is_empty());
        assert_eq!(failed.host.bytes(), BYTES);
    }
}

#[test]
fn a_list_of_shared_memory_is_mapped_and_unmapped_piece_by_piece() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.is_2_0()) {
        let rd = rd(RD);
        let fake = reaches(IPA + 4 * PAGE);
        let mut memory = [host(A, 3 * PAGE), host(B, 2 * PAGE)].map(Shared::new);
        let top = fake.channel(dialect).rtt_unprot_map_list(
            share_at(&rd),
            &mut host(LIST, PAGE),
            &mut memory,
            PAGES,
        );
        assert_eq!(top, Ok(Ipa::new(IPA + 4 * PAGE)));
        assert_eq!([0, 1].map(|n: usize| memory[n].rest.bytes()), [0, PAGE]);
        let mut shared = memory.map(|part| part.shared);
        let fid = Command::RttUnprotMap.fid(dialect).unwrap().0.into();
        let flags = 2 | 2 << 2 | 6 << 16 | 3 << 19;
        assert_eq!(fake.calls(), [[fid, RD, IPA, IPA + 5 * PAGE, flags, LIST, 0, 0]]);
        assert_eq!(fake.peek(LIST), word(A, 3, OpMemState::Undelegated, dialect));

        // The RMM gives back three of the four pages; it may list them in any order, and merged.
        fake.always([0, IPA + 3 * PAGE, 0, 0, 0, 0, 0, 0]);
        let mut returned = Vec::new();
        let top = fake.channel(dialect).rtt_unprot_unmap_list(
            &rd,
            &mut shared,
            &mut host(LIST, PAGE),
            &mut |memory| returned.push((memory.base().raw(), memory.bytes())),
        );
        assert_eq!(top, Ok(Ipa::new(IPA + 3 * PAGE)));
        assert_eq!(returned, [(A, 3 * PAGE)]);
        assert!(shared[0].is_empty());
        assert_eq!((shared[1].ipa().raw(), shared[1].bytes()), (IPA + 3 * PAGE, PAGE));
        let fid = Command::RttUnprotUnmap.fid(dialect).unwrap().0.into();
        let flags = 2 | 512 << 2;
        assert_eq!(fake.calls()[1], [fid, RD, IPA, IPA + 4 * PAGE, flags, LIST, 0, 0]);
        assert_eq!(fake.peek(LIST), 0, "the list is empty before the call");
    }
}

/// An RMM that writes a list before it answers.
mod writing {
    #![expect(unsafe_code, reason = "a conduit that writes to a map")]

    use rmi_host::{Channel, Conduit, Host, Registers, RetryBudget};

    use super::*;

    pub(super) struct Writer<'f> {
        pub(super) fake: &'f Fake,
        pub(super) words: &'f [u64],
    }

    // SAFETY: only simulated memory is behind it.
    unsafe impl Conduit for Writer<'_> {
        fn open_sessions(&self) -> &rmi_host::OpenSessions {
            self.fake.open_sessions()
        }

        unsafe fn call(&self, registers: Registers) -> Registers {
            self.fake.poke(LIST, self.words);
            // SAFETY: the caller's promise is passed on unchanged.
            unsafe { self.fake.call(registers) }
        }
    }

    pub(super) type Chan<'f> = Channel<Host<Writer<'f>, &'f Fake>>;

    pub(super) fn channel<'f>(fake: &'f Fake, words: &'f [u64]) -> Chan<'f> {
        // SAFETY: nothing real is behind a fake.
        unsafe {
            Channel::new(Host::new(Writer { fake, words }, fake), BET3, GRANULE, RetryBudget::NONE)
        }
    }
}

#[test]
fn runs_of_an_unmap_are_checked_against_what_was_shared() {
    let state = OpMemState::Undelegated;
    let cases: &[(&[u64], bool)] = &[
        (&[word(A, 3, state, BET3), word(B, 2, state, BET3)], true),
        // Another order, in parts, and an empty entry.
        (&[word(B + PAGE, 1, state, BET3), 0, word(A + PAGE, 2, state, BET3)], true),
        (&[], true),
        // Memory that was not given: before, after, next to it.
        (&[word(A - PAGE, 2, state, BET3)], false),
        (&[word(A, 4, state, BET3)], false),
        (&[word(A, 3, state, BET3), word(0xc000_0000, 1, state, BET3)], false),
    ];
    for (words, ours) in cases {
        let fake = Fake::default();
        fake.always([0, IPA + 5 * PAGE, 0, words.len() as u64, 0, 0, 0, 0]);
        let rd = rd(RD);
        let mut pieces = two_pieces(&rd);
        let mut returned = 0;
        let answer = writing::channel(&fake, words).rtt_unprot_unmap_list(
            &rd,
            &mut pieces,
            &mut host(LIST, PAGE),
            &mut |memory| returned += memory.bytes(),
        );
        if *ours {
            assert_eq!((answer, returned), (Ok(Ipa::new(IPA + 5 * PAGE)), 5 * PAGE));
        } else {
            let violation = Violation::ForeignMemory;
            assert!(matches!(answer, Err(Error::Violation { violation: v, .. }) if v == violation));
            assert_eq!(returned, 0, "nothing comes back from an RMM that talks nonsense");
            assert_eq!(pieces.map(|piece| piece.bytes()), [3 * PAGE, 2 * PAGE]);
        }
    }
    // One descriptor.
    for (word, ours) in [
        (word(A, 3, OpMemState::Delegated, BET3), true),
        (0, true),
        (word(B, 3, OpMemState::Delegated, BET3), false),
        (word(A, 4, OpMemState::Delegated, BET3), false),
    ] {
        let fake = Fake::default();
        fake.always([0, IPA + 3 * PAGE, word, 0, 0, 0, 0, 0]);
        let rd = rd(RD);
        let [piece, _] = two_pieces(&rd);
        match fake.channel(BET3).rtt_unprot_unmap(&rd, piece) {
            Ok(unshared) => assert!(ours && unshared.host.bytes() == 3 * PAGE),
            Err(Failed { kept, .. }) => assert!(!ours && kept.bytes() == 3 * PAGE),
        }
    }
}

#[test]
fn runs_of_data_fill_the_callers_buffer() {
    let state = OpMemState::Delegated;
    let words = [word(A, 3, state, BET3), 0, word(B, 2, state, BET3)];
    let fake = Fake::default();
    fake.always([0, IPA + BYTES, 0, 3, 0, 0, 0, 0]);
    let empty = PaRange::empty(Pa::new(0));
    let mut runs = [empty; 4];
    let channel = writing::channel(&fake, &words);
    let mut list = host(LIST, PAGE);
    let unmapped = channel.rtt_data_unmap_list(&rd(RD), range(), &mut list, &mut runs).unwrap();
    assert_eq!((unmapped.top, unmapped.runs), (Ipa::new(IPA + BYTES), 2));
    let run = |base, pages| PaRange::with_size(Pa::new(base), pages * PAGE).unwrap();
    assert_eq!(runs, [run(A, 3), run(B, 2), empty, empty]);
    assert_eq!(fake.calls()[0][4], 2 | 4 << 2);

    // More entries than the list can hold.
    fake.always([0, IPA + BYTES, 0, 5, 0, 0, 0, 0]);
    let error = channel.rtt_data_unmap_list(&rd(RD), range(), &mut list, &mut runs);
    assert!(matches!(error, Err(Error::Violation { violation: Violation::Count, value: 5, .. })));
    // A list for no entries.
    let error = channel.rtt_dev_unmap_list(&rd(RD), range(), &mut list, &mut []);
    assert!(matches!(error, Err(Error::Argument { .. })));
}

#[test]
fn what_cannot_be_is_refused_before_any_call() {
    let fake = Fake::default();
    let channel = fake.channel(BET3);
    let (realm, other) = (rd(RD), rd(RD + PAGE));
    let argument = |error: Error| assert!(matches!(error, Error::Argument { .. }), "{error}");
    let mut list = host(LIST, PAGE);
    let none = |()| panic!("nothing moves");
    let ipa = Ipa::new(IPA);

    argument(channel.rtt_unprot_unmap(&other, shared(&realm)).unwrap_err().error);
    let v1 = fake.channel(Dialect::V1_0);
    argument(v1.rtt_unmap_unprotected(&other, shared(&realm), Level::L2).unwrap_err().error);
    argument(v1.rtt_unmap_unprotected(&realm, shared(&realm), Level::L1).unwrap_err().error);
    argument(v1.granule_delegate(host(A, 2 * PAGE)).unwrap_err().error);
    let memory = host(A, PAGE);
    argument(v1.rtt_map_unprotected(share_at(&realm), Level::L2, memory, false).unwrap_err().error);
    let high = host(1 << 48, PAGE);
    argument(v1.rtt_map_unprotected(share_at(&realm), Level::L3, high, false).unwrap_err().error);
    let source = host(B, PAGE);
    let data = delegated(A, PAGE);
    let flags = rmi_abi::flags::DataFlags::MEASURE;
    argument(v1.data_create(&realm, data, ipa, &source, 1, flags).unwrap_err().error);

    // Memory that is not a whole number of blocks, too many tokens, no token, pieces with a hole
    // between them.
    let mut odd = [delegated(A, PAGE)];
    argument(
        channel
            .rtt_data_map_list(&realm, ipa, &mut list, &mut odd, BLOCKS, &mut |_| none(()))
            .unwrap_err(),
    );
    argument(
        channel
            .rtt_data_map_list(&realm, ipa, &mut list, &mut [], BLOCKS, &mut |_| none(()))
            .unwrap_err(),
    );
    let mut many: Vec<_> = (0..513).map(|n| Shared::new(host(A + n * PAGE, PAGE))).collect();
    let at = share_at(&realm);
    argument(channel.rtt_unprot_map_list(at, &mut list, &mut many, PAGES).unwrap_err());
    assert_eq!(many.iter().map(|part| part.rest.bytes()).sum::<u64>(), 513 * PAGE);
    let mut twice = [Shared { shared: shared(&realm), rest: host(B, PAGE) }];
    argument(channel.rtt_unprot_map_list(at, &mut list, &mut twice, PAGES).unwrap_err());
    let [first, _] = two_pieces(&realm);
    argument(
        channel
            .rtt_unprot_unmap_list(&realm, &mut [first, shared(&realm)], &mut list, &mut |_| {
                none(());
            })
            .unwrap_err(),
    );
    // A page for the list that the caller has no memory for.
    let mut small = Undelegated::empty();
    let mut page = [delegated(A, PAGE)];
    let error = channel
        .rtt_data_map_list(&realm, ipa, &mut small, &mut page, PAGES, &mut |_| none(()))
        .unwrap_err();
    assert_eq!(error, Error::need_memory(Command::RttDataMap, PAGE, PAGE));
    assert!(fake.calls().is_empty());
}

#[test]
fn shared_memory_is_written_by_copying_and_cut_on_both_sides() {
    let fake = Fake::default();
    let channel = fake.channel(BET3);
    let mut memory = shared(&rd(RD));
    channel.write_shared(&mut memory, BYTES - 8, &7u64.to_le_bytes()).unwrap();
    assert_eq!(fake.peek(MEMORY + BYTES - 8), 7);
    assert!(channel.write_shared(&mut memory, BYTES - 7, &[0; 8]).is_err());
    let mut word = [0; 8];
    channel.read_host(memory.memory(), BYTES - 8, &mut word).unwrap();
    assert_eq!(word, 7u64.to_le_bytes());

    let mut front = memory.take_front(PAGE).unwrap();
    assert_eq!(front.ipa_range(), IpaRange::with_size(Ipa::new(IPA), PAGE).unwrap());
    assert_eq!(memory.ipa(), Ipa::new(IPA + PAGE));
    assert!(memory.take_front(1).is_none());
    let memory = memory.append(front.take_front(0).unwrap()).map(|()| memory).unwrap_err();
    assert!(memory.is_empty());
}

#[test]
fn a_step_of_a_communication_names_only_the_buffers_lent() {
    let fake = Fake::default();
    let channel = fake.channel(BET3);
    let pdev = PdevGranule::new(delegated(0x8000_4000, PAGE));
    let vdev = VdevGranule::new(delegated(0x8000_6000, PAGE));
    let (mut data, mut request) = (host(LIST, PAGE), host(A, PAGE));
    let response = host(B, PAGE);
    let mut buffers =
        DevCommBuffers { data: &mut data, request: &mut request, response: &response };
    let answer = (DevCommStatus::Response, 0x123);
    channel.pdev_communicate(&pdev, &mut buffers, answer).unwrap();
    let record = [0, 8, 0x10, 0x18].map(|offset| fake.peek(LIST + offset));
    assert_eq!(record, [1, A, B, 0x123]);
    let long = (DevCommStatus::Response, PAGE + 1);
    let error = channel.vdev_communicate(&rd(RD), &pdev, &vdev, &mut buffers, long).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }));
    let channel = fake.channel_of(BET3, GranuleSize::Size16KiB);
    let error = channel.pdev_communicate(&pdev, &mut buffers, answer).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }));
    assert_eq!(fake.calls().len(), 1);

    fake.always([0, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(channel.pdev_get_state(&pdev), Ok(PdevState::Ready));
}

/// A descriptor counts granules: on this RMM, one page would be read as blocks from another
/// address.
#[test]
fn sound_4_less_than_a_granule_is_offered_to_no_rmm() {
    let fake = reaches(IPA + 0x1_0000);
    let channel = fake.channel_of(BET3, GranuleSize::Size64KiB);
    let (rd, size) = (rd(RD), BlockSize::Page);
    let failed = channel.rtt_unprot_map(share_at(&rd), host(A, PAGE), size).unwrap_err();
    assert!(matches!(failed.error, Error::Argument { .. }), "{}", failed.error);
    assert_eq!((failed.host.bytes(), failed.shared.bytes()), (PAGE, 0));
    let mut parts = [Shared::new(failed.host)];
    let at = share_at(&rd);
    let error = channel.rtt_unprot_map_list(at, &mut host(LIST, PAGE), &mut parts, size);
    assert!(matches!(error, Err(Error::Argument { .. })), "{error:?}");
    assert_eq!(parts[0].rest.bytes(), PAGE);
    let failed = channel.rtt_data_map(&rd, Ipa::new(IPA), delegated(A, PAGE), size).unwrap_err();
    assert!(matches!(failed.error, Error::Argument { .. }), "{}", failed.error);
    assert!(fake.calls().is_empty());
    // 0x1_0000 bytes are one granule of this size.
    let mapped = channel.rtt_data_map(&rd, Ipa::new(IPA), delegated(A, 0x1_0000), size).unwrap();
    assert_eq!(mapped.mapped.bytes(), 0x1_0000);
}

/// The RMM reads a whole granule of the source, and maps a whole granule.
#[test]
fn sound_4_no_rmm_reads_or_takes_more_than_the_token() {
    const GRANULE: u64 = 0x1_0000;
    let fake = reaches(IPA + GRANULE);
    let channel = fake.channel_of(BET3, GranuleSize::Size64KiB);
    let (rd, ipa, flags) = (rd(RD), Ipa::new(IPA), DataFlags::MEASURE);
    let mut data = delegated(A, GRANULE);
    for (bytes, source, offset) in [
        (GRANULE, PAGE, 0),
        (PAGE, PAGE, 0),
        (PAGE, GRANULE, 0),
        (GRANULE, GRANULE, PAGE),
        (GRANULE, 2 * GRANULE - PAGE, GRANULE),
    ] {
        let part = data.take_front(bytes).unwrap();
        let source = host(B, source);
        let failed = channel.rtt_data_map_init(&rd, part, ipa, &source, offset, flags).unwrap_err();
        assert!(matches!(failed.error, Error::Argument { .. }), "{}", failed.error);
        assert_eq!(failed.kept.bytes(), bytes);
        data.merge(failed.kept).unwrap();
    }
    let table = channel.rtt_create(&rd, delegated(B, PAGE), ipa, Level::L3).unwrap_err();
    assert!(matches!(table.error, Error::Argument { .. }), "{}", table.error);
    assert!(fake.calls().is_empty());
    let source = host(B, 2 * GRANULE);
    let mapped = channel.rtt_data_map_init(&rd, data, ipa, &source, GRANULE, flags).unwrap();
    assert_eq!((mapped.bytes(), fake.calls().len()), (GRANULE, 1));
    assert_eq!(fake.calls()[0][4], B + GRANULE);
}

#[test]
fn device_parameters_that_a_dialect_lacks_are_named() {
    let params = PdevParams {
        spdm: false,
        category: PdevCategory::RootPort,
        p2p: true,
        hb_base: 0,
        pdev_id: 0,
        routing_id: 0,
        id_index: 0,
        rid_base: 0,
        rid_top: 0,
        hash: HashAlgorithm::Sha256,
        max_vdevs_order: 0,
    };
    let create = |dialect, params: &PdevParams| {
        create_pdev(&Fake::default().channel(dialect), params).map(drop)
    };
    assert_eq!(create(Dialect::V2_0Bet0, &params), Ok(()));
    let error = create(BET3, &params).unwrap_err();
    assert!(error.to_string().contains("peer to peer"), "{error}");
    assert_eq!(error.command(), Some(Command::PdevCreate));
    let bridge = PdevParams { p2p: false, hb_base: 1, ..params };
    assert_eq!(create(BET3, &bridge), Ok(()));
    let error = create(Dialect::V2_0Bet0, &bridge).unwrap_err();
    assert!(error.to_string().contains("host bridge"), "{error}");
    assert_eq!(create(Dialect::V1_0, &params).unwrap_err().status(), None::<Status>);
}

/// A page that the RMM reads or writes is one of its granules.
#[test]
fn less_than_a_granule_is_no_page() {
    let at = 0x1_0000 + LIST;
    for (size, bytes) in [(GranuleSize::Size16KiB, 0x4000), (GranuleSize::Size64KiB, 0x1_0000)] {
        // Too small, by a page; and as large, but at no granule.
        for (base, length, is_whole) in [
            (at, PAGE, false),
            (at, bytes - PAGE, false),
            (at + PAGE, 2 * bytes, false),
            (at, bytes, true),
        ] {
            let fake = reaches(IPA + bytes);
            let channel = fake.channel_of(BET3, size);
            let what = format!("{size:?} {base:#x} {length:#x}");
            let is_refused = |error: Option<Error>| match error {
                Some(Error::Argument { what, .. }) => what == "the page is no whole granule",
                _ => false,
            };
            let page = || host(base, length);
            let mut runs = [PaRange::empty(Pa::new(0)); 8];
            let unmapped = IpaRange::with_size(Ipa::new(IPA), bytes).unwrap();
            let (rd, rec) = (rd(RD), RecGranule::new(delegated(A, bytes)));
            let mut outcomes = vec![
                ("clear", channel.clear_run_page(&mut page()).err()),
                (
                    "enter",
                    channel.rec_enter(&rec, &mut page(), &EntryRecord::default(), |_| ()).err(),
                ),
                (
                    "realm",
                    channel
                        .realm_create(
                            &delegated(B, bytes),
                            &mut page(),
                            &RealmParamsPage::new_zeroed(),
                        )
                        .err(),
                ),
                ("unmap", channel.rtt_data_unmap_list(&rd, unmapped, &mut page(), &mut runs).err()),
            ];
            let mut list = page();
            let list = channel.new_list(&mut list, BlockSize::Page);
            #[expect(unsafe_code, reason = "the list is empty")]
            // SAFETY: the list is empty.
            let packed = unsafe { channel.rtt_data_map_packed(&rd, Ipa::new(IPA), list) };
            outcomes.push(("packed", packed.err()));
            for (command, error) in outcomes {
                assert_eq!(is_refused(error), !is_whole, "{command}: {what}: {error:?}");
            }
            assert_eq!(fake.calls().is_empty(), !is_whole, "{what}");
        }
    }
}

/// Buffers of a device are whole granules, too.
#[test]
fn less_than_a_granule_is_no_buffer() {
    let fake = reaches(IPA);
    let channel = fake.channel_of(BET3, GranuleSize::Size16KiB);
    let pdev = PdevGranule::new(delegated(RD, 0x4000));
    let answer = (DevCommStatus::None, 0);
    for (request, response, is_whole) in [
        ((A, 0x3000), (B, 0x4000), false),
        ((A, 0x4000), (B, 0x3000), false),
        ((A + PAGE, 0x8000), (B, 0x4000), false),
        ((A, 0x4000), (B + PAGE, 0x8000), false),
        ((A, 0x4000), (B, 0x4000), true),
    ] {
        let (request, response) = (host(request.0, request.1), host(response.0, response.1));
        let mut data = host(LIST & !0x3fff, 0x4000);
        let mut buffers =
            DevCommBuffers { data: &mut data, request: &mut { request }, response: &response };
        let done = channel.pdev_communicate(&pdev, &mut buffers, answer);
        assert_eq!(matches!(done, Err(Error::Argument { .. })), !is_whole, "{done:?}");
    }
    assert_eq!(fake.calls().len(), 1);
}
