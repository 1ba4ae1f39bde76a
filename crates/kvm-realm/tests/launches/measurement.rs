//! The prediction of the measurement, against what the kernels asked the RMM for.

use std::collections::BTreeSet;

use kvm_realm::fake::RmiCall;
use kvm_realm::launch::{BootRegisters, predict};
use realm_measurement::{MeasurementEvent, Rim};
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, IpaRange, Pa};

use super::*;

fn params() -> RealmParams {
    RealmParams::new(Geometry::new(IPA_BITS).unwrap(), Pa::new(0))
}

/// The measurement that an RMM of this dialect makes of these calls. Slots here are so small that
/// all RIPAS changes are of pages.
fn measured(dialect: Dialect, calls: &[RmiCall]) -> Rim {
    let log = &mut |_: &MeasurementEvent| {};
    let mut rim = Rim::new(&params(), dialect, log).unwrap();
    let mut populated = BTreeSet::new();
    for call in calls {
        match call {
            RmiCall::RealmCreate { ipa_bits, hash_algo, .. } => {
                assert_eq!((*ipa_bits, *hash_algo), (u32::from(IPA_BITS), 0));
            }
            RmiCall::InitRipas { base, top } => {
                // What has content is RAM already, and is left out.
                for page in (*base..*top).step_by(0x1000) {
                    let range = IpaRange::with_size(Ipa::new(page), 0x1000).unwrap();
                    if !populated.contains(&page) {
                        rim.add_ripas(range, Level::L3, log).unwrap();
                    }
                }
            }
            RmiCall::DataCreate { ipa, is_measured: true, content } => {
                populated.insert(*ipa);
                rim.add_measured(Ipa::new(*ipa), content, log).unwrap();
            }
            RmiCall::DataCreate { ipa, .. } => {
                populated.insert(*ipa);
                let page = IpaRange::with_size(Ipa::new(*ipa), 0x1000).unwrap();
                rim.add_unmeasured(page, log).unwrap();
            }
            RmiCall::RecCreate { mpidr, gprs, pc, is_runnable } => {
                let mpidr = Mpidr::from_raw(*mpidr).unwrap();
                let rec = RecParams { runnable: *is_runnable, mpidr, pc: *pc, gprs: *gprs };
                rim.add_rec(&rec, log).unwrap();
            }
            _ => {}
        }
    }
    rim
}

#[test]
fn predictions_are_what_kernels_ask_for() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        assert_eq!(end(&kernel, generation), End::Ran);
        let calls = kernel.rmi_calls(0);
        let dialect = generation.facts().dialect;
        let slots = SLOTS.map(|base| IpaRange::with_size(Ipa::new(base), BYTES as u64).unwrap());
        let boot = BootRegisters { pc: RAM, x: [DATA, 0, 0, 0, 0, 0, 0, 0] };
        let mut regions = plan().regions;
        let mut events = Vec::new();
        let mut log = |event: &MeasurementEvent| events.push(*event);
        let rim =
            predict(generation, dialect, &params(), &slots, &mut regions, &boot, &mut log).unwrap();
        assert_eq!(rim, measured(dialect, &calls), "{generation}: {calls:#?}");
        assert_eq!(Rim::replay(&events).unwrap(), rim);
        // Another byte, another register or another slot is another measurement.
        let other = BootRegisters { pc: RAM + 4, ..boot };
        let mut log = |_: &MeasurementEvent| {};
        let changed =
            predict(generation, dialect, &params(), &slots, &mut regions, &other, &mut log);
        assert_ne!(changed.unwrap(), rim);
    }
}
