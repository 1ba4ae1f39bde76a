//! Plane 0, which runs an auxiliary plane, and what that does.

use rmi_abi::rsi::{MemPermission, PlaneEnterFlags, ReturnCode, fid};
use rmi_abi::{Ipa, IpaRange};

use super::{Failure, Realm};
use crate::entry::{Entry, Program};
use crate::host_call::VERDICT;
use crate::layout::{CALLS_BYTES, IMAGE, IMAGE_BYTES, MOST_VCPUS, call_page, word_at};
use crate::vcpu::Vcpu;

/// The plane.
const PLANE: u64 = 1;
/// The overlay index of memory that the plane may use.
const INDEX: u64 = 1;
/// The index that the program in the plane has, so that it has a stack and a page of its own: that
/// of a virtual CPU which the Realm does not have.
const INSIDE: u16 = 15;
const _: () = assert!(INSIDE as usize == MOST_VCPUS - 1);

// Fields of the run page, as in the 2.0 draft.
const FLAGS: u64 = 0x00;
const PC: u64 = 0x08;
const PSTATE: u64 = 0x10;
const GPRS: u64 = 0x100;
const EXIT_REASON: u64 = 0x800;
const EXIT_PC: u64 = 0x808;
const EXIT_GPRS: u64 = 0x900;
const EXIT_ESR: u64 = 0xa00;

/// EL1 with its own stack pointer, all interrupts masked.
const EL1H: u64 = 0x3c5;
/// The class of SMC in `ESR_EL2`.
const CLASS_SMC: u64 = 0x17;
/// Most exits that the plane may have.
const EXITS: u32 = 20;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [page, ..] = realm.entry().arguments;
    let (run, data) = (page, page + 0x1000);
    for address in [run, data, call_page(INSIDE.into()).raw()] {
        realm.store(170, Ipa::new(address), 8, 0).await?;
    }
    realm.store(171, Ipa::new(data), 8, word_at(data)).await?;

    // The plane has no access to anything before that.
    let permission = u64::from(u8::from(MemPermission::ReadWriteUpx));
    let set = realm.cpu.set_permission(PLANE, INDEX, permission).await;
    realm.done(172, set)?;
    for (base, bytes) in [(IMAGE, IMAGE_BYTES + CALLS_BYTES), (page, 0x2000)] {
        let range = IpaRange::with_size_or_empty(Ipa::new(base), bytes);
        let set = realm.cpu.set_permission_index(range, INDEX).await;
        realm.done(173, set)?;
    }
    // Not for index 0, and for no plane that does not exist.
    let set = realm.cpu.set_permission(PLANE, 0, permission).await;
    realm.refused(174, ReturnCode::ErrorInput, set)?;
    let set = realm.cpu.set_permission(9, INDEX, permission).await;
    realm.refused(175, ReturnCode::ErrorInput, set)?;

    let context = Entry::context(Program::InPlane, INSIDE);
    let trap_host_calls = PlaneEnterFlags::TRAP_HC.bits();
    for (field, value) in
        [(FLAGS, trap_host_calls), (PC, IMAGE), (PSTATE, EL1H), (GPRS, context), (GPRS + 8, data)]
    {
        realm.store(176, Ipa::new(run + field), 8, value).await?;
    }
    for _ in 0..EXITS {
        let entered = realm.cpu.plane_enter(PLANE, Ipa::new(run)).await;
        realm.done(177, entered)?;
        let reason = realm.load(178, Ipa::new(run + EXIT_REASON), 1).await?;
        realm.expect(179, 0, reason)?;
        let esr = realm.load(180, Ipa::new(run + EXIT_ESR), 8).await?;
        realm.expect(181, CLASS_SMC, esr >> 26 & 0x3f)?;
        let function = realm.load(182, Ipa::new(run + EXIT_GPRS), 8).await?;
        if function == u64::from(fid::HOST_CALL.0) {
            return check_verdict(realm, data).await;
        }
        realm.expect(183, fid::VERSION.0.into(), function)?;
        answer_version(realm, run).await?;
    }
    realm.expect(184, 1, 0)
}

/// Answers the plane's call of `RSI_VERSION`, with the version that it asks for.
async fn answer_version<V: Vcpu>(realm: &mut Realm<'_, V>, run: u64) -> Result<(), Failure> {
    for register in 0..31 {
        let value = realm.load(185, Ipa::new(run + EXIT_GPRS + 8 * register), 8).await?;
        realm.store(186, Ipa::new(run + GPRS + 8 * register), 8, value).await?;
    }
    let wanted = realm.load(187, Ipa::new(run + EXIT_GPRS + 8), 8).await?;
    let pc = realm.load(188, Ipa::new(run + EXIT_PC), 8).await?;
    for (field, value) in [(GPRS, 0), (GPRS + 8, wanted), (GPRS + 16, wanted), (PC, pc + 4)] {
        realm.store(189, Ipa::new(run + field), 8, value).await?;
    }
    Ok(())
}

/// Checks what the plane has told, and what it did.
async fn check_verdict<V: Vcpu>(realm: &mut Realm<'_, V>, data: u64) -> Result<(), Failure> {
    let page = call_page(INSIDE.into());
    let immediate = realm.load(190, page, 2).await?;
    realm.expect(191, VERDICT.into(), immediate)?;
    let step = realm.load(192, Ipa::new(page.raw() + 8), 8).await?;
    let found = realm.load(193, Ipa::new(page.raw() + 24), 8).await?;
    if step != 0 {
        return Err(Failure { step, expected: 0, found });
    }
    let inverted = realm.load(194, Ipa::new(data + 8), 8).await?;
    realm.expect(195, !word_at(data), inverted)
}

/// In the plane.
pub(super) async fn run_inside<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [data, ..] = realm.entry().arguments;
    let word = realm.load(196, Ipa::new(data), 8).await?;
    realm.expect(197, word_at(data), word)?;
    realm.store(198, Ipa::new(data + 8), 8, !word).await
}
