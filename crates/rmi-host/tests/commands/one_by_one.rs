//! The range commands of 2.0 in RMI 1.0: one call of a 1.0 command each, and nothing of 2.0.

use rmi_abi::desc::BlockSize;
use rmi_abi::flags::DataFlags;
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Pa, PaRange, ResultWord, Status};
use rmi_host::command::{Listed, Unmapped};
use rmi_host::{Error, PackedBlock, Registers, Subject, Violation};

use crate::cases::{BYTES, IPA, RD};
use crate::fixture::{Fake, PAGE, delegated, host, rd};

const V1: Dialect = Dialect::V1_0;
const PAGES: BlockSize = BlockSize::Page;
const LIST: u64 = 0x9000_0000;
const A: u64 = 0xa000_0000;
const B: u64 = 0xb000_0000;
const AT: Ipa = Ipa::new(IPA);

/// The registers of a call of 1.0.
pub(crate) fn call<const N: usize>(command: Command, args: [u64; N]) -> Registers {
    let mut registers = [0; 8];
    let fid = command.fid(V1).unwrap().0.into();
    for (register, value) in registers.iter_mut().zip([fid].into_iter().chain(args)) {
        *register = value;
    }
    registers
}

/// X0 of a refusal because of a table, with the level where the walk ended.
pub(crate) fn rtt(level: u64) -> u64 {
    ResultWord::from_status(Status::ErrorRtt).0 | level << 8
}

pub(crate) fn answers(x0: u64, x1: u64, x2: u64) -> Fake {
    let fake = Fake::default();
    fake.always([x0, x1, x2, 0, 0, 0, 0, 0]);
    fake
}

fn pages(base: u64, pages: u64) -> PaRange {
    PaRange::with_size(Pa::new(base), pages * PAGE).unwrap()
}

fn ipas(pages: u64) -> IpaRange {
    IpaRange::with_size(AT, pages * PAGE).unwrap()
}

fn is_argument(error: &Error) -> bool {
    matches!(error, Error::Argument { .. })
}

#[test]
fn data_is_mapped_page_by_page() {
    let fake = Fake::default();
    let channel = fake.channel(V1);
    let done = channel.rtt_data_map(&rd(RD), AT, delegated(A, 3 * PAGE), PAGES).unwrap();
    assert_eq!((done.mapped.range(), done.rest.range()), (pages(A, 1), pages(A + PAGE, 2)));
    assert_eq!(fake.calls(), [call(Command::DataCreateUnknown, [RD, A, IPA])]);
    // The last one.
    let next = Ipa::new(IPA + PAGE);
    let done = channel.rtt_data_map(&rd(RD), next, delegated(B, PAGE), PAGES).unwrap();
    assert_eq!((done.mapped.range(), done.rest.bytes()), (pages(B, 1), 0));
    assert_eq!(fake.calls()[1], call(Command::DataCreateUnknown, [RD, B, IPA + PAGE]));
}

#[test]
fn data_that_is_refused_is_returned_whole() {
    let fake = answers(rtt(2), 0, 0);
    let failed =
        fake.channel(V1).rtt_data_map(&rd(RD), AT, delegated(A, 3 * PAGE), PAGES).unwrap_err();
    assert_eq!(failed.kept.range(), pages(A, 3));
    let Error::Refused(refusal) = failed.error else { panic!("{}", failed.error) };
    assert_eq!(
        (refusal.status(), refusal.command()),
        (Status::ErrorRtt, Command::DataCreateUnknown)
    );
    assert_eq!(refusal.level().map(|level| level.number()), Some(2));
    assert_eq!(failed.error.subject(), Some(Subject::Ipa(AT)));
}

#[test]
fn data_is_not_mapped_by_blocks() {
    for size in [BlockSize::Level2, BlockSize::Level1, BlockSize::Level0] {
        let fake = Fake::default();
        let channel = fake.channel(V1);
        let failed = channel.rtt_data_map(&rd(RD), AT, delegated(A, BYTES), size).unwrap_err();
        assert!(is_argument(&failed.error), "{}", failed.error);
        assert_eq!(failed.kept.bytes(), BYTES);
        let mut memory = [delegated(A, BYTES)];
        let mut list = host(LIST, PAGE);
        let error = channel
            .rtt_data_map_list(&rd(RD), AT, &mut list, &mut memory, size, &mut |_| panic!())
            .unwrap_err();
        assert!(is_argument(&error), "{error}");
        assert!(fake.calls().is_empty());
    }
}

#[test]
fn a_list_of_data_is_mapped_from_its_first_page() {
    let fake = Fake::default();
    let channel = fake.channel(V1);
    let mut memory = [delegated(A, 2 * PAGE), delegated(B, PAGE)];
    let mut mapped = Vec::new();
    let mut list = host(LIST, PAGE);
    let mut note = |part: rmi_host::InUse| mapped.push(part.range());
    let top = channel.rtt_data_map_list(&rd(RD), AT, &mut list, &mut memory, PAGES, &mut note);
    assert_eq!(top, Ok(Ipa::new(IPA + PAGE)));
    assert_eq!(mapped, [pages(A, 1)]);
    assert_eq!(memory.map(|token| token.range()), [pages(A + PAGE, 1), pages(B, 1)]);
    assert_eq!(fake.calls(), [call(Command::DataCreateUnknown, [RD, A, IPA])]);
    // The list is not used.
    assert_eq!(fake.peek(LIST), 0);

    // No memory, and a refusal.
    let mut none = |_| panic!("nothing is mapped");
    let error = channel.rtt_data_map_list(&rd(RD), AT, &mut list, &mut [], PAGES, &mut none);
    assert!(is_argument(&error.unwrap_err()));
    fake.always([1, 0, 0, 0, 0, 0, 0, 0]);
    let mut memory = [delegated(A, PAGE)];
    let error = channel.rtt_data_map_list(&rd(RD), AT, &mut list, &mut memory, PAGES, &mut none);
    assert_eq!(error.unwrap_err().status(), Some(Status::ErrorInput));
    assert_eq!(memory[0].bytes(), PAGE);
}

#[test]
fn a_list_of_packed_blocks_has_one_page() {
    let fake = Fake::default();
    let channel = fake.channel(V1);
    let (first, next) = (packed(A), packed(A + PAGE));
    let mut page = host(LIST, PAGE);
    let mut list = channel.new_list(&mut page, PAGES);
    assert_eq!(channel.list_packed(&mut list, &first), Ok(Listed::Added));
    // It would follow the first.
    assert_eq!(channel.list_packed(&mut list, &next), Ok(Listed::Full));
    assert_eq!((list.bytes(), list.descriptors()), (PAGE, 1));
    assert_eq!(map_packed(&fake, list), Ok(PAGE));
    assert_eq!(fake.calls(), [call(Command::DataCreateUnknown, [RD, A, IPA])]);

    // An empty list, and one of another size.
    let list = channel.new_list(&mut page, PAGES);
    assert!(is_argument(&map_packed(&fake, list).unwrap_err()));
    let mut list = channel.new_list(&mut page, BlockSize::Level2);
    let block = PackedBlock::memory(delegated(0xa020_0000, 0x20_0000).into_use(), 0).unwrap();
    assert_eq!(channel.list_packed(&mut list, &block), Ok(Listed::Added));
    assert!(is_argument(&map_packed(&fake, list).unwrap_err()));
    assert_eq!(fake.calls().len(), 1);
}

fn packed(base: u64) -> PackedBlock {
    PackedBlock::memory(delegated(base, PAGE).into_use(), 0).unwrap()
}

#[expect(unsafe_code, reason = "the memory of the list is in packed blocks of the caller")]
fn map_packed(fake: &Fake, list: rmi_host::MapList<'_>) -> Result<u64, Error> {
    // SAFETY: nothing is behind the fake.
    unsafe { fake.channel(V1).rtt_data_map_packed(&rd(RD), AT, list) }
}

#[test]
fn initial_data_is_copied_from_the_source() {
    let fake = Fake::default();
    let source = host(LIST, 2 * PAGE);
    let flags = DataFlags::MEASURE;
    let data = delegated(A, PAGE);
    let used = fake.channel(V1).rtt_data_map_init(&rd(RD), data, AT, &source, PAGE, flags);
    assert_eq!(used.unwrap().range(), pages(A, 1));
    let args = [RD, A, IPA, LIST + PAGE, 1];
    assert_eq!(fake.calls(), [call(Command::DataCreate, args)]);

    fake.always([ResultWord::from_status(Status::ErrorRealm).0, 0, 0, 0, 0, 0, 0, 0]);
    let data = delegated(A, PAGE);
    let failed =
        fake.channel(V1).rtt_data_map_init(&rd(RD), data, AT, &source, 0, flags).unwrap_err();
    assert_eq!(failed.error.command(), Some(Command::DataCreate));
    assert_eq!(failed.kept.range(), pages(A, 1));
}

/// What unmapping three pages returns, by a run and by a list of runs.
fn unmap(x0: u64, x1: u64, x2: u64) -> [Result<Unmapped, Error>; 3] {
    let fake = answers(x0, x1, x2);
    let channel = fake.channel(V1);
    let single = channel.rtt_data_unmap(&rd(RD), ipas(3));
    let mut list = host(LIST, PAGE);
    let mut runs = [pages(0, 0); 2];
    let listed = channel.rtt_data_unmap_list(&rd(RD), ipas(3), &mut list, &mut runs);
    let listed = listed.map(|done| {
        assert!(done.runs < 2);
        Unmapped { top: done.top, memory: (done.runs == 1).then_some(runs[0]) }
    });
    let mut named = None;
    let each = channel.rtt_data_unmap_each(&rd(RD), ipas(3), &mut list, &mut |_, run| {
        named = Some(run);
        true
    });
    let each = each.map(|top| Unmapped { top, memory: named });
    assert_eq!(fake.calls(), [call(Command::DataDestroy, [RD, IPA]); 3]);
    assert_eq!(fake.peek(LIST), 0);
    [single, listed, each]
}

#[test]
fn data_is_unmapped_page_by_page() {
    let one = Unmapped { top: Ipa::new(IPA + PAGE), memory: Some(pages(A, 1)) };
    // Whatever the RMM reports about later entries.
    for top in [0, IPA, IPA + PAGE, IPA + 2 * PAGE, IPA + BYTES, u64::MAX] {
        assert_eq!(unmap(0, A, top), [Ok(one); 3]);
    }
}

#[test]
fn what_is_not_mapped_is_passed_over() {
    let gap = |top| Unmapped { top: Ipa::new(top), memory: None };
    for level in [1, 2, 3] {
        for (top, reached) in [
            (IPA + PAGE, IPA + PAGE),
            (IPA + 2 * PAGE, IPA + 2 * PAGE),
            (IPA + 3 * PAGE, IPA + 3 * PAGE),
            // The end of the table that the RMM looked at.
            (IPA + BYTES, IPA + 3 * PAGE),
            (u64::MAX - 0xfff, IPA + 3 * PAGE),
        ] {
            assert_eq!(unmap(rtt(level), 0, top), [Ok(gap(reached)); 3], "{level} {top:#x}");
        }
    }
}

#[test]
fn a_block_is_not_unmapped_and_nonsense_is_no_progress() {
    // The end of the gap is where it begins: a block is mapped there.
    for top in [IPA, IPA - PAGE, 0] {
        for error in unmap(rtt(2), 0, top).map(Result::unwrap_err) {
            let Error::Refused(refusal) = error else { panic!("{error}") };
            assert_eq!(refusal.status(), Status::ErrorRtt);
            assert_eq!(refusal.level().map(|level| level.number()), Some(2));
        }
    }
    for error in unmap(rtt(3), 0, IPA + 1).map(Result::unwrap_err) {
        let found =
            Error::violation(Command::DataDestroy, Violation::Progress, IPA + 1, Subject::Ipa(AT));
        assert_eq!(error, found);
    }
    // A page is at an address of one, and has an end.
    for address in [A + 1, u64::MAX - 0xfff] {
        for error in unmap(0, address, IPA + PAGE).map(Result::unwrap_err) {
            let violation = Violation::ForeignMemory;
            let found =
                Error::violation(Command::DataDestroy, violation, address, Subject::Ipa(AT));
            assert_eq!(error, found);
        }
    }
    for error in unmap(1, A, IPA + PAGE).map(Result::unwrap_err) {
        assert_eq!(error.status(), Some(Status::ErrorInput));
    }
}

#[test]
fn memory_that_was_not_mapped_there_is_foreign() {
    let fake = answers(0, A, IPA + PAGE);
    let channel = fake.channel(V1);
    let mut list = host(LIST, PAGE);
    let error = channel
        .rtt_data_unmap_each(&rd(RD), ipas(3), &mut list, &mut |top, run| {
            assert_eq!((top, run), (Ipa::new(IPA + PAGE), pages(A, 1)));
            false
        })
        .unwrap_err();
    let (violation, subject) = (Violation::ForeignMemory, Subject::Ipa(AT));
    assert_eq!(error, Error::violation(Command::DataDestroy, violation, A, subject));

    // No range, and no room for a run.
    let before = fake.calls().len();
    let empty = IpaRange::empty(AT);
    assert!(is_argument(&channel.rtt_data_unmap(&rd(RD), empty).unwrap_err()));
    let unmapped = channel.rtt_data_unmap_list(&rd(RD), ipas(3), &mut list, &mut []);
    assert!(is_argument(&unmapped.unwrap_err()));
    assert_eq!(fake.calls().len(), before);
}
