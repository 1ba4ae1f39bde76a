//! The Realm's side: an RMM that answers anything, and writes anything where it may write.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rmi_abi::rhi::{RhiFunction, SessionMode};
use rmi_abi::rsi::{
    HostCallBlock, MemPermission, PlaneRunPage1_1, PlaneRunPage2_0, RealmConfigPage, SysregAddress,
};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};
use rsi::rhi::SharedBuffer;
use rsi::{Conduit, Granule, Measurement, Psci, Registers, Rhi, Rsi};

/// X0 to X4 of an answer, and what is written to the start of what is lent.
#[derive(Arbitrary, Debug)]
struct Answer([u64; 5], [u64; 4]);

#[derive(Arbitrary, Debug)]
struct Input {
    base: u64,
    pages: u8,
    challenge: [u8; 64],
    answers: Vec<Answer>,
}

/// Gives the answers in turn, and then refuses everything.
struct Fuzzed(RefCell<(std::vec::IntoIter<Answer>, Option<*mut u64>)>);

// SAFETY: what is written is at the start of the object that is lent, which has 256 bytes or more.
unsafe impl Conduit for Fuzzed {
    unsafe fn call(&self, _: Registers) -> Registers {
        let (answers, lent) = &mut *self.0.borrow_mut();
        let mut registers = [0; 18];
        registers[0] = 1;
        let Some(Answer(values, written)) = answers.next() else { return registers };
        registers[..5].copy_from_slice(&values);
        if let Some(object) = lent.take() {
            for (word, value) in written.into_iter().enumerate() {
                // SAFETY: it is the object that is lent for this call.
                unsafe { object.add(word).write(value) };
            }
        }
        registers
    }

    fn ipa(&self, address: *mut u8) -> Option<Ipa> {
        self.0.borrow_mut().1 = Some(address.cast());
        Some(Ipa::new(address.addr() as u64))
    }
}

fuzz_target!(|input: Input| {
    let Input { base, pages, challenge, answers } = input;
    let conduit = Fuzzed(RefCell::new((answers.into_iter(), None)));
    let Ok(rsi) = Rsi::open(&conduit) else { return };
    let range = IpaRange::with_size(Ipa::new(base & !0xfff), u64::from(pages) << 12);
    let Ok(range) = range else { return };
    // SAFETY: the calls change no memory.
    unsafe {
        if let Err(stopped) = rsi.claim_ram(range) {
            assert!(range.base() <= stopped.reached && stopped.reached <= range.top());
        }
        let _ = rsi.enter_plane(1, &mut PlaneRunPage1_1::zeroed());
        let _ = rsi.enter_plane(1, &mut PlaneRunPage2_0::zeroed());
    }
    if let Ok(config) = rsi.realm_config(&mut RealmConfigPage::zeroed()) {
        assert!(config.space.shared_bit().is_power_of_two());
    }
    if let Ok(run) = rsi.ripas(range) {
        assert!(range.base() < run.top && run.top <= range.top());
    }
    let _ = (rsi.is_all(range, Ripas::Ram), rsi.measurement(Measurement::Initial));
    let _ = rsi.extend_measurement(Measurement::Extensible0, &challenge);
    let _ = (rsi.permission(1, 1), rsi.set_permission(1, 1, MemPermission::ReadOnly));
    if let Err(stopped) = rsi.change_permission_index(range, 1) {
        assert!(range.base() <= stopped.reached && stopped.reached <= range.top());
    }
    let _ = rsi.plane_register(1, SysregAddress(base));
    let _ = (Psci::new(&conduit).version(), Psci::new(&conduit).affinity_info(base));
    let mut block = HostCallBlock::zeroed();
    let mut rhi = Rhi::new(&rsi, &mut block);
    let buffer = SharedBuffer { ipa: Ipa::new(base), bytes: pages.into(), offset: 0 };
    let _ = (rhi.version(RhiFunction::DaVersion), rhi.open_session(0, SessionMode::Blocking));
    if let Ok(part) = rhi.read_activity_log(buffer) {
        assert!(part.copied <= pages.into());
    }
    let _ = (rhi.send(1, buffer), rhi.ipa_change_alignment());
    let Ok(mut token) = rsi.attestation_token(&challenge) else { return };
    let mut bytes = [0; 5000];
    while let Ok(part) = token.next_part(&mut Granule::zeroed(), &mut bytes) {
        assert!(part.bytes <= 4096);
        if part.is_complete {
            break;
        }
    }
});
