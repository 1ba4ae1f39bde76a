//! Round trips of a REC whose Realm has the whole GIC and a bus of devices.

use core::sync::atomic::{AtomicU64, Ordering};

use rec_runtime::exit::MmioLoad;
use rec_runtime::gic::RealmGic;
use rec_runtime::mmio::{AccessSize, ExternalAbort, MmioBus, MmioDevice};
use rec_runtime::set::RecSlot;
use rec_runtime::{Answer, Flow, Handler, Rec, RecSet, Timers};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::Rmm;
use test_support::CraftedHost;
use vgic_realm::{Affinity, Gic, GicConfig, GicStorage, SpiIntid};

use crate::cpu::Cpu;
use crate::{Counter, DEVICE, Measured, OneCpu, VTR, count_in_set};

const DISTRIBUTOR: Ipa = Ipa::new(0x80_0800_0000);
const REDISTRIBUTORS: Ipa = Ipa::new(0x80_080a_0000);
const PAGE: u64 = 0x1000;

/// `GICD_CTLR`, and its enables of both groups.
const GICD_CTLR: u64 = 0;
const ENABLE_GROUPS: u64 = 0b11;
/// `GICD_ISENABLER<1>`: SPIs 32 to 63.
const GICD_ISENABLER1: u64 = 0x104;
/// `GICR_ISENABLER0`, in the second frame.
const GICR_ISENABLER0: u64 = 0x1_0100;

/// A device with one register, which is a constant.
struct Constant;

impl MmioDevice for Constant {
    fn read(&self, _: u64, _: AccessSize) -> Result<u64, ExternalAbort> {
        Ok(7)
    }

    fn write(&self, _: u64, _: AccessSize, _: u64) -> Result<(), ExternalAbort> {
        Ok(())
    }
}

/// A virtual CPU with a GIC and devices.
struct Vcpu<'v> {
    cpu: Cpu,
    gic: RealmGic<'v>,
    bus: &'v MmioBus<'v, 4>,
    left: u32,
}

impl Measured for Vcpu<'_> {
    fn left(&mut self) -> &mut u32 {
        &mut self.left
    }
}

impl Handler for Vcpu<'_> {
    fn before_entry(&mut self, _: &Rec) {
        self.gic.load(0, &mut self.cpu);
    }

    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        let _ = self.gic.after_exit(0, &mut self.cpu, timers, pmu_overflow);
    }

    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        let answer = self.bus.load(load);
        self.go_on(answer)
    }

    fn interrupt(&mut self) -> Flow {
        self.go_on(Answer::resume())
    }
}

/// Round trips in a set, for a handler whose type is not known. With `pending`, an SPI and the
/// virtual timer's interrupt, whose exits report it, are in list registers.
pub(crate) fn round_trips(
    rmm: &Rmm<CraftedHost<'_>>,
    rec: Rec,
    rounds: u32,
    pending: bool,
    counter: &dyn Counter,
) {
    let storage = GicStorage::<1, 32>::new();
    let affinities = [Affinity::from_mpidr(0)];
    let gic = Gic::new(&storage, &GicConfig { affinities: &affinities, spis: 32, vtr: VTR });
    let gic = gic.unwrap();
    let time = AtomicU64::new(0);
    let clock = || time.fetch_add(1, Ordering::Relaxed);
    let mut slots = [RecSlot::new()];
    let mut set = RecSet::new(&mut slots, &OneCpu);
    set.set_clock(&clock);
    set.add(rec, true).unwrap();

    let realm = RealmGic::new(&gic, &set).unwrap();
    let (distributor, redistributors) = (realm.distributor(), realm.redistributors());
    let mut bus = MmioBus::new(Geometry::new(40).unwrap());
    let mut add = |base, bytes, device| {
        bus.add(IpaRange::with_size(base, bytes).unwrap(), device).unwrap();
    };
    add(DISTRIBUTOR, distributor.bytes(), &distributor);
    add(REDISTRIBUTORS, redistributors.bytes(), &redistributors);
    add(DEVICE, PAGE, &Constant);
    realm.notify(gic.gicd_write(GICD_CTLR, 4, ENABLE_GROUPS));
    realm.notify(gic.gicd_write(GICD_ISENABLER1, 4, u32::MAX.into()));
    realm.notify(gic.gicr_write(0, GICR_ISENABLER0, 4, u32::MAX.into()));
    realm.set_spi(SpiIntid::new(40).unwrap(), pending);

    let mut vcpu = Vcpu { cpu: Cpu::new(VTR), gic: realm, bus: &bus, left: 2 };
    count_in_set(rmm, &mut set.claim(0).unwrap(), &mut vcpu, rounds, counter);
    assert_eq!(set.statistics(0).unwrap().all_exits(), u64::from(rounds) + 2);
    assert_eq!(vcpu.cpu.in_use(), if pending { 2 } else { 0 }, "list registers");
}
