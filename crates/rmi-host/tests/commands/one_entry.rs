//! Shared memory in RMI 1.0: one entry per call.

use rmi_abi::desc::BlockSize;
use rmi_abi::flags::{MemAttr, S2Access};
use rmi_abi::realm::S2apEncoding;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Ipa, Pa, PaRange, ResultWord, Status};
use rmi_host::command::{ShareAt, Shared, SharedAccess};
use rmi_host::{Error, Rd, SharedMemory, Subject, Violation};

use crate::cases::RD;
use crate::fixture::{Fake, PAGE, host, rd};
use crate::one_by_one::{answers, call, rtt};

const V1: Dialect = Dialect::V1_0;
const L2: u64 = 0x20_0000;
const L1: u64 = 0x4000_0000;
const LIST: u64 = 0x9000_0000;
/// Both are aligned to 1 GiB.
const IPA: u64 = 0x80_4000_0000;
const A: u64 = 0xc000_0000;
/// Read-write, write-back.
const ATTRIBUTES: u64 = 0b110 << 2 | 0b11 << 6;
/// As registers have it.
const LEVELS: [(BlockSize, u64, u64); 3] =
    [(BlockSize::Page, 3, PAGE), (BlockSize::Level2, 2, L2), (BlockSize::Level1, 1, L1)];

fn at(rd: &Rd) -> ShareAt<'_> {
    ShareAt { rd, ipa: Ipa::new(IPA), access: SharedAccess::MEMORY }
}

fn memory(base: u64, bytes: u64) -> PaRange {
    PaRange::with_size(Pa::new(base), bytes).unwrap()
}

fn is_argument(error: &Error) -> bool {
    matches!(error, Error::Argument { .. })
}

/// Memory that is shared from `IPA + offset` on, as the SDK believes.
fn shared(rd: &Rd, offset: u64, bytes: u64) -> SharedMemory {
    let yes = Fake::default();
    let channel = yes.channel(Dialect::V2_0Bet3);
    let mut shared: Option<SharedMemory> = None;
    let mut from = offset;
    while from < offset + bytes {
        let left = offset + bytes - from;
        // One descriptor has at most 512 blocks or so.
        let (size, part) = match from.is_multiple_of(L2) && left >= L2 {
            true => (BlockSize::Level2, L2),
            false => (BlockSize::Page, (L2 - from % L2).min(left)),
        };
        let ipa = Ipa::new(IPA + from);
        yes.always([0, ipa.raw() + part, 0, 0, 0, 0, 0, 0]);
        let next = channel.rtt_unprot_map(ShareAt { ipa, ..at(rd) }, host(A + from, part), size);
        let next = next.unwrap().shared;
        match &mut shared {
            Some(shared) => shared.append(next).unwrap(),
            None => shared = Some(next),
        }
        from += part;
    }
    shared.unwrap()
}

#[test]
fn memory_is_shared_block_by_block() {
    for (size, level, bytes) in LEVELS {
        let (fake, rd) = (Fake::default(), rd(RD));
        let answer = fake.channel(V1).rtt_unprot_map(at(&rd), host(A, 2 * bytes), size).unwrap();
        assert_eq!(answer.shared.range(), memory(A, bytes));
        assert_eq!(answer.shared.ipa(), Ipa::new(IPA));
        assert_eq!(answer.shared.realm(), Some(rd.number()));
        assert_eq!(answer.rest.range(), memory(A + bytes, bytes));
        let args = [RD, IPA, level, A | ATTRIBUTES];
        assert_eq!(fake.calls(), [call(Command::RttMapUnprotected, args)]);
    }
}

/// Addresses beyond 48 bits exist with LPA2 only; bits 51:50 are in bits 9:8 of the descriptor.
#[test]
fn the_descriptor_has_addresses_of_52_bits() {
    let (fake, rd) = (Fake::default(), rd(RD));
    let high = 0xd_0000_0000_1000;
    let answer = fake.channel(V1).rtt_unprot_map(at(&rd), host(high, PAGE), BlockSize::Page);
    assert_eq!(answer.unwrap().shared.range(), memory(high, PAGE));
    let desc = 0x1_0000_0000_1000 | 0b11 << 8 | ATTRIBUTES;
    assert_eq!(fake.calls(), [call(Command::RttMapUnprotected, [RD, IPA, 3, desc])]);
}

#[test]
fn access_is_as_asked_for() {
    let (fake, rd) = (Fake::default(), rd(RD));
    let access = SharedAccess {
        memattr: MemAttr::NormalNonCacheable,
        permissions: S2Access { read: true, write: false },
        encoding: S2apEncoding::Direct,
    };
    let at = ShareAt { access, ..at(&rd) };
    let share = |at| fake.channel(V1).rtt_unprot_map(at, host(A, PAGE), BlockSize::Page);
    assert_eq!(share(at).unwrap().shared.bytes(), PAGE);
    let desc = A | 0b101 << 2 | 0b01 << 6;
    assert_eq!(fake.calls(), [call(Command::RttMapUnprotected, [RD, IPA, 3, desc])]);
    // What 1.0 has no bits for.
    for access in [
        SharedAccess { encoding: S2apEncoding::Indirect, ..access },
        SharedAccess { memattr: MemAttr::Reserved(4), ..access },
        SharedAccess { memattr: MemAttr::Reserved(8 | 6), ..access },
    ] {
        let failed = share(ShareAt { access, ..at }).unwrap_err();
        assert!(is_argument(&failed.error), "{}", failed.error);
        assert_eq!((failed.host.range(), failed.shared.bytes()), (memory(A, PAGE), 0));
    }
    assert_eq!(fake.calls().len(), 1);
}

#[test]
fn what_is_not_shared_stays_the_hosts() {
    let rd = rd(RD);
    let share = |x0| {
        let fake = answers(x0, 0, 0);
        let answer = fake.channel(V1).rtt_unprot_map(at(&rd), host(A, 3 * PAGE), BlockSize::Page);
        answer.unwrap_err()
    };
    let failed = share(rtt(2));
    assert_eq!(failed.error.status(), Some(Status::ErrorRtt));
    assert_eq!(failed.error.command(), Some(Command::RttMapUnprotected));
    assert_eq!((failed.host.range(), failed.shared.bytes()), (memory(A, 3 * PAGE), 0));
    // An unclear answer is about the block that was named.
    let failed = share(200);
    assert!(!failed.error.is_clean());
    assert_eq!(failed.shared.range(), memory(A, PAGE));
    assert_eq!(failed.host.range(), memory(A + PAGE, 2 * PAGE));

    // No whole number of blocks; nothing at all; the end of the address space.
    let fake = Fake::default();
    let channel = fake.channel(V1);
    for bytes in [PAGE, L2 - PAGE, L2 + PAGE] {
        let failed = channel.rtt_unprot_map(at(&rd), host(A, bytes), BlockSize::Level2);
        let failed = failed.unwrap_err();
        assert!(is_argument(&failed.error));
        assert_eq!((failed.host.range(), failed.shared.bytes()), (memory(A, bytes), 0));
    }
    let nothing = rmi_host::Undelegated::empty();
    assert!(is_argument(
        &channel.rtt_unprot_map(at(&rd), nothing, BlockSize::Page).unwrap_err().error
    ));
    let end = ShareAt { ipa: Ipa::new(u64::MAX - 0xfff), ..at(&rd) };
    let failed = channel.rtt_unprot_map(end, host(A, 2 * PAGE), BlockSize::Page).unwrap_err();
    assert!(is_argument(&failed.error));
    assert_eq!(failed.host.bytes(), 2 * PAGE);
    assert!(fake.calls().is_empty());
}

#[test]
fn a_list_is_shared_from_its_first_block() {
    let (fake, rd) = (Fake::default(), rd(RD));
    let channel = fake.channel(V1);
    let mut list = host(LIST, PAGE);
    let mut parts = [Shared::new(host(A, 2 * PAGE)), Shared::new(host(A + L2, PAGE))];
    let top = channel.rtt_unprot_map_list(at(&rd), &mut list, &mut parts, BlockSize::Page);
    assert_eq!(top, Ok(Ipa::new(IPA + PAGE)));
    let ranges = parts.each_ref().map(|part| (part.shared.bytes(), part.rest.bytes()));
    assert_eq!(ranges, [(PAGE, PAGE), (0, PAGE)]);
    let args = [RD, IPA, 3, A | ATTRIBUTES];
    assert_eq!(fake.calls(), [call(Command::RttMapUnprotected, args)]);
    assert_eq!(fake.peek(LIST), 0);
    // A part is shared already; there is no part.
    let again = channel.rtt_unprot_map_list(at(&rd), &mut list, &mut parts, BlockSize::Page);
    assert!(is_argument(&again.unwrap_err()));
    let none = channel.rtt_unprot_map_list(at(&rd), &mut list, &mut [], BlockSize::Page);
    assert!(is_argument(&none.unwrap_err()));
    assert_eq!(fake.calls().len(), 1);
    // It is refused, and it is unclear.
    for (x0, sizes) in [(1, (0, 2 * PAGE)), (200, (PAGE, PAGE))] {
        fake.always([x0, 0, 0, 0, 0, 0, 0, 0]);
        let mut parts = [Shared::new(host(A, 2 * PAGE))];
        let shared = channel.rtt_unprot_map_list(at(&rd), &mut list, &mut parts, BlockSize::Page);
        assert_eq!(shared.unwrap_err().is_clean(), x0 == 1);
        let [part] = parts;
        assert_eq!((part.shared.bytes(), part.rest.bytes()), sizes);
    }
}

/// Takes back memory that is shared from `IPA + offset` on, with these answers. Returns how much
/// came back and the levels that were named.
fn unshare(
    (offset, bytes): (u64, u64),
    largest: Option<Level>,
    replies: &[(u64, u64)],
) -> (Result<u64, Error>, Vec<u64>) {
    let (fake, rd) = (Fake::default(), rd(RD));
    for (x0, top) in replies {
        fake.next([*x0, *top, 0, 0, 0, 0, 0, 0]);
    }
    let (channel, ipa) = (fake.channel(V1), IPA + offset);
    let mut shared = shared(&rd, offset, bytes);
    let answer = match largest {
        None => channel.rtt_unprot_unmap_some(&rd, &mut shared),
        Some(largest) => channel.rtt_unprot_unmap_entry(&rd, &mut shared, largest),
    };
    let answer = answer.map(|host| {
        assert_eq!(host.range(), memory(A + offset, host.bytes()));
        host.bytes()
    });
    let back = answer.unwrap_or(0);
    assert_eq!((shared.ipa().raw(), shared.bytes()), (ipa + back, bytes - back));
    let levels = fake.calls().into_iter().map(|registers| {
        assert_eq!(registers, call(Command::RttUnmapUnprotected, [RD, ipa, registers[3]]));
        registers[3]
    });
    let levels = levels.collect();
    assert_eq!(fake.calls().len(), replies.len());
    (answer, levels)
}

#[test]
fn shared_memory_comes_back_by_the_largest_entry_that_fits() {
    for ((offset, bytes), level, entry) in [
        ((0, PAGE), 3, PAGE),
        ((0, L2 - PAGE), 3, PAGE),
        ((0, L2), 2, L2),
        ((0, L2 + PAGE), 2, L2),
        ((L2, L1), 2, L2),
        ((PAGE, L2), 3, PAGE),
        ((0, L1 - PAGE), 2, L2),
        ((0, L1), 1, L1),
    ] {
        // The RMM may report that more is not live.
        for top in [entry, entry + 2 * L1] {
            let (back, levels) = unshare((offset, bytes), None, &[(0, IPA + offset + top)]);
            assert_eq!((back, levels), (Ok(entry), vec![level]), "{offset:#x} {bytes:#x}");
        }
    }
}

/// An entry maps memory that is aligned to it, at an address that is aligned to it.
#[test]
fn an_entry_fits_where_both_addresses_are_aligned() {
    let rd = rd(RD);
    for (ipa, base, bytes) in [(IPA, A + PAGE, L2), (IPA + PAGE, A, L2), (IPA, A + L2, L1)] {
        let yes = Fake::default();
        yes.always([0; 8]);
        let channel = yes.channel(V1);
        let mut shared: Option<SharedMemory> = None;
        for offset in (0..bytes).step_by(0x1000) {
            let at = ShareAt { ipa: Ipa::new(ipa + offset), ..at(&rd) };
            let next = channel.rtt_unprot_map(at, host(base + offset, PAGE), BlockSize::Page);
            let next = next.unwrap().shared;
            match &mut shared {
                Some(shared) => shared.append(next).unwrap(),
                None => shared = Some(next),
            }
        }
        let mut shared = shared.unwrap();
        let fake = answers(0, ipa + L1, 0);
        let host = fake.channel(V1).rtt_unprot_unmap_some(&rd, &mut shared).unwrap();
        let (level, entry) = if bytes == L1 { (2, L2) } else { (3, PAGE) };
        assert_eq!(host.range(), memory(base, entry));
        assert_eq!(fake.calls(), [call(Command::RttUnmapUnprotected, [RD, ipa, level])]);
    }
}

#[test]
fn a_caller_that_knows_the_tables_names_the_level() {
    for (largest, level, entry) in [(Level::L1, 1, L1), (Level::L2, 2, L2), (Level::L3, 3, PAGE)] {
        let answer = unshare((0, L1), Some(largest), &[(0, IPA + entry)]);
        assert_eq!(answer, (Ok(entry), vec![level]));
    }
    // It knows that only blocks of 1 GiB can be there, but the memory is less.
    let answer = unshare((0, L2), Some(Level::L1), &[(0, IPA + L2)]);
    assert_eq!(answer, (Ok(L2), vec![2]));
    // Where a call takes a range, that is all it needs.
    let rd = rd(RD);
    let fake = answers(0, IPA + 2 * PAGE, 0);
    let channel = fake.channel(Dialect::V2_0Bet3);
    let mut shared = shared(&rd, 0, 2 * PAGE);
    let host = channel.rtt_unprot_unmap_entry(&rd, &mut shared, Level::L3).unwrap();
    assert_eq!((host.bytes(), shared.bytes(), fake.calls().len()), (2 * PAGE, 0, 1));
}

#[test]
fn an_entry_of_another_level_is_found() {
    // A table at 1, and at 2.
    let replies = [(rtt(1), IPA), (rtt(2), IPA), (0, IPA + PAGE)];
    assert_eq!(unshare((0, L1), None, &replies), (Ok(PAGE), vec![1, 2, 3]));
    // Blocks that are larger than the caller thought.
    let replies = [(rtt(1), IPA), (0, IPA + L1)];
    assert_eq!(unshare((0, L1), Some(Level::L3), &replies), (Ok(L1), vec![3, 1]));
    let replies = [(rtt(2), IPA), (0, IPA + L2)];
    assert_eq!(unshare((0, L1), Some(Level::L3), &replies), (Ok(L2), vec![3, 2]));
}

#[test]
fn an_entry_that_does_not_fit_or_changes_is_refused() {
    let refused = |answer: (Result<u64, Error>, Vec<u64>), levels: &[u64]| {
        assert_eq!(answer.0.unwrap_err().status(), Some(Status::ErrorRtt));
        assert_eq!(answer.1, levels);
    };
    // A block that maps more than this memory, or begins before it, or above level 1.
    refused(unshare((0, L2 - PAGE), None, &[(rtt(2), IPA)]), &[3]);
    refused(unshare((PAGE, L2), None, &[(rtt(2), IPA + PAGE)]), &[3]);
    refused(unshare((0, L1), None, &[(rtt(0), IPA)]), &[1]);
    refused(unshare((0, L1), None, &[(rtt(0xff), IPA)]), &[1]);
    // It says that there is a table at level 3.
    refused(unshare((0, PAGE), None, &[(rtt(3), IPA)]), &[3]);
    // It contradicts itself.
    refused(unshare((0, L1), None, &[(rtt(1), IPA), (rtt(1), IPA)]), &[1, 2]);
    let replies = [(rtt(1), IPA), (rtt(2), IPA), (rtt(2), IPA)];
    refused(unshare((0, L1), None, &replies), &[1, 2, 3]);
    // It says neither.
    refused(unshare((0, L1), None, &[(rtt(1), IPA - PAGE)]), &[1]);
    let (answer, levels) = unshare((0, L1), None, &[(1, IPA)]);
    assert_eq!((answer.unwrap_err().status(), levels), (Some(Status::ErrorInput), vec![1]));
}

#[test]
fn what_is_not_mapped_comes_back_as_well() {
    for (top, back) in [(PAGE, PAGE), (L2, L2), (L1, L1), (L1 + L2, L1), (5 * L1, L1)] {
        let (answer, levels) = unshare((0, L1), None, &[(rtt(1), IPA + top)]);
        assert_eq!((answer, levels), (Ok(back), vec![1]));
    }
    let (answer, _) = unshare((0, L1), None, &[(rtt(1), IPA + 1)]);
    let violation = |value| {
        let subject = Subject::Ipa(Ipa::new(IPA));
        Error::violation(Command::RttUnmapUnprotected, Violation::Progress, value, subject)
    };
    assert_eq!(answer, Err(violation(IPA + 1)));
    // A success after which something is left in the entry.
    for top in [0, IPA - PAGE, IPA, IPA + L2, IPA + L1 - PAGE] {
        let (answer, levels) = unshare((0, L1), None, &[(0, top)]);
        assert_eq!((answer, levels), (Err(violation(top)), vec![1]));
    }
}

#[test]
fn shared_memory_of_another_realm_is_refused() {
    let (mine, other) = (rd(RD), rd(RD + PAGE));
    let fake = Fake::default();
    let channel = fake.channel(V1);
    let failed = channel.rtt_unprot_unmap(&other, shared(&mine, 0, PAGE)).unwrap_err();
    assert!(is_argument(&failed.error));
    assert_eq!(failed.kept.bytes(), PAGE);
    let (mut list, none) = (host(LIST, PAGE), &mut |_| panic!("nothing comes back"));
    let mut pieces = [shared(&mine, 0, PAGE)];
    let error = channel.rtt_unprot_unmap_list(&other, &mut pieces, &mut list, none).unwrap_err();
    assert!(is_argument(&error));
    let error = channel.rtt_unprot_unmap_list(&mine, &mut [], &mut list, none).unwrap_err();
    assert!(is_argument(&error));
    let mut apart = [shared(&mine, 0, PAGE), shared(&mine, 2 * PAGE, PAGE)];
    let error = channel.rtt_unprot_unmap_list(&mine, &mut apart, &mut list, none).unwrap_err();
    assert!(is_argument(&error));
    assert!(fake.calls().is_empty());
}

#[test]
fn pieces_come_back_one_entry_at_a_time() {
    let rd = rd(RD);
    let fake = answers(0, IPA + L1, 0);
    let channel = fake.channel(V1);
    let (mut list, mut back) = (host(LIST, PAGE), Vec::new());
    let mut pieces = [shared(&rd, 0, 2 * PAGE), shared(&rd, 2 * PAGE, PAGE)];
    let top = channel.rtt_unprot_unmap_list(&rd, &mut pieces, &mut list, &mut |host| {
        back.push(host.range());
    });
    assert_eq!((top, back), (Ok(Ipa::new(IPA + PAGE)), vec![memory(A, PAGE)]));
    assert_eq!(pieces.each_ref().map(SharedMemory::bytes), [PAGE, PAGE]);
    assert_eq!(fake.calls(), [call(Command::RttUnmapUnprotected, [RD, IPA, 3])]);
    let answer = channel.rtt_unprot_unmap(&rd, shared(&rd, 0, 2 * PAGE)).unwrap();
    assert_eq!((answer.host.bytes(), answer.rest.bytes()), (PAGE, PAGE));
    // An RMM that is busy, which none of 1.0 is.
    fake.always([ResultWord::from_status(Status::Busy).0, 0, 0, 0, 0, 0, 0, 0]);
    let failed = channel.rtt_unprot_unmap(&rd, shared(&rd, 0, PAGE)).unwrap_err();
    assert!(failed.error.is_clean());
    assert_eq!(failed.kept.bytes(), PAGE);
}
