//! Values that the architecture, or this crate, fixes; and what the host makes of addresses.

use vgic_realm::{
    Affinity, DISTRIBUTOR_BYTES, Gic, GicConfig, GicStorage, Kicks, PpiIntid, REDISTRIBUTOR_BYTES,
    VirtualInterface,
};

use crate::cpu::Cpu;

type Register = (u8, u8, u8, u8, u8);
const SGI1R: Register = (3, 0, 12, 11, 5);
const ASGI1R: Register = (3, 0, 12, 11, 6);
const SGI0R: Register = (3, 0, 12, 11, 7);
const DIR: Register = (3, 0, 12, 11, 1);
const SRE: Register = (3, 0, 12, 12, 5);

/// With two RECs, and as many SPIs as told.
fn with_spis(spis: usize, check: impl FnOnce(&Gic<'_>)) {
    let storage = GicStorage::<2, 988>::new();
    let affinities = [0x4_0003_0201, 0x1].map(Affinity::from_mpidr);
    let config = GicConfig { affinities: &affinities, spis, vtr: Cpu::new(4).vtr() };
    check(&Gic::new(&storage, &config).unwrap());
}

#[test]
fn the_distributor_tells_what_it_has() {
    for (spis, lines) in [(0, 0), (1, 1), (32, 1), (33, 2), (960, 30), (961, 31), (988, 31)] {
        with_spis(spis, |gic| {
            assert_eq!(gic.gicd_read(0x4, 4), 0x0548_0000 | lines, "{spis} SPIs");
        });
    }
    with_spis(988, |gic| {
        // The last SPI is 1019: the last four bits of the last registers have no interrupt.
        let _ = gic.gicd_write(0x17c, 4, u64::MAX);
        assert_eq!((gic.gicd_read(0x17c, 4), gic.gicd_read(0xfc, 4)), (0x0fff_ffff, 0x0fff_ffff));
        let _ = gic.gicd_write(0xcfc, 4, u64::MAX);
        assert_eq!(gic.gicd_read(0xcfc, 4), 0x00aa_aaaa);
        assert_eq!(gic.gicd_read(0x0, 4), 0x50, "GICD_CTLR: DS, ARE");
        let _ = gic.gicd_write(0x0, 4, 0x13);
        assert_eq!((gic.gicd_read(0x0, 4), gic.group_enables()), (0x53, (true, true)));
        let _ = gic.gicd_write(0x0, 4, 0xffff_fffe);
        assert_eq!((gic.gicd_read(0x0, 4), gic.group_enables()), (0x52, (false, true)));
        let _ = gic.gicd_write(0x0, 4, 0xffff_fffd);
        assert_eq!((gic.gicd_read(0x0, 4), gic.group_enables()), (0x51, (true, false)));
        assert_eq!(gic.gicd_read(0x8, 4), 0x5200_043b, "GICD_IIDR");
        assert_eq!(gic.gicd_read(0xffe8, 4), 0x3b, "GICD_PIDR2");
    });
}

#[test]
fn redistributors_are_found_by_affinity_and_the_last_bit() {
    with_spis(0, |gic| {
        assert_eq!(gic.gicr_read(0, 0x8, 8), 0x0403_0201_0000_0000);
        assert_eq!(gic.gicr_read(1, 0x8, 8), 0x0000_0001_0000_0110);
        assert_eq!((gic.gicr_read(1, 0x8, 4), gic.gicr_read(1, 0xc, 4)), (0x110, 0x1));
        assert_eq!((gic.gicr_read(0, 0x4, 4), gic.gicr_read(0, 0xffe8, 4)), (0x5200_043b, 0x3b));
        // There is no third one.
        assert_eq!((gic.gicr_read(2, 0x8, 8), gic.gicr_read(2, 0xffe8, 4)), (0, 0));
        assert_eq!(gic.gicr_write(2, 0x1_0100, 4, 1), Kicks::NONE);
    });
}

#[test]
fn a_redistributor_sleeps_and_wakes() {
    with_spis(0, |gic| {
        assert_eq!(gic.gicr_read(0, 0x14, 4), 0);
        let _ = gic.gicr_write(0, 0x14, 4, 0x8000_0002);
        assert_eq!((gic.gicr_read(0, 0x14, 4), gic.is_asleep(0)), (0b110, true));
        assert_eq!(gic.gicr_read(1, 0x14, 4), 0);
        let _ = gic.gicr_write(0, 0x14, 4, 0xffff_fffd);
        assert_eq!((gic.gicr_read(0, 0x14, 4), gic.is_asleep(0)), (0, false));
    });
}

#[test]
fn frames_have_their_places() {
    assert_eq!((DISTRIBUTOR_BYTES, REDISTRIBUTOR_BYTES), (0x1_0000, 0x2_0000));
    with_spis(0, |gic| {
        assert_eq!(gic.redistributors_bytes(), 0x4_0000);
        let offsets = [0, 0x1_ffff, 0x2_0000, 0x3_0100, 0x3_ffff];
        let places = [(0, 0), (0, 0x1_ffff), (1, 0), (1, 0x1_0100), (1, 0x1_ffff)];
        assert_eq!(offsets.map(|offset| gic.redistributor_at(offset)), places.map(Some));
        assert_eq!((gic.redistributor_at(0x4_0000), gic.redistributor_at(u64::MAX)), (None, None));
        let reg = gic.device_tree_reg(0x800_0000, 0x80a_0000);
        assert_eq!(reg, [0x800_0000, 0x1_0000, 0x80a_0000, 0x4_0000]);
    });
}

#[test]
fn reads_of_trapped_registers_have_a_value() {
    with_spis(0, |gic| {
        assert_eq!(gic.read_sysreg(SRE), Some(7));
        for register in [SGI1R, DIR, (3, 0, 4, 6, 0), (3, 0, 12, 8, 0), (3, 0, 12, 15, 7)] {
            assert_eq!(gic.read_sysreg(register), Some(0), "{register:?}");
            assert_eq!(gic.write_sysreg(0, register, 0), Some(Kicks::NONE), "{register:?}");
        }
        let others = [(3, 0, 4, 6, 1), (3, 0, 12, 7, 0), (3, 1, 12, 8, 0), (2, 0, 12, 8, 0)];
        for register in others {
            assert_eq!((gic.read_sysreg(register), gic.write_sysreg(0, register, 0)), (None, None));
        }
        assert_eq!(gic.write_sysreg(0, SRE, 0), Some(Kicks::NONE));
    });
}

#[test]
fn sgis_are_sent_by_three_registers() {
    with_spis(0, |gic| {
        let pending = |rec| gic.gicr_read(rec, 0x1_0200, 4);
        // SGI 3 is of group 0 at REC 1, the others are of group 1.
        let _ = gic.gicr_write(1, 0x1_0080, 4, !(1 << 3));
        for (register, expected) in [(SGI1R, 1 << 3 | 1 << 4), (SGI0R, 1 << 3), (ASGI1R, 1 << 3)] {
            for sgi in [3, 4] {
                assert!(gic.write_sysreg(0, register, sgi << 24 | 0b10).is_some());
            }
            assert_eq!((pending(0), pending(1)), (0, expected), "{register:?}");
            let _ = gic.gicr_write(1, 0x1_0280, 4, u64::MAX);
        }
        let _ = gic.write_sysreg(1, SGI1R, 1 << 40 | 9 << 24);
        assert_eq!((pending(0), pending(1)), (1 << 9, 0));
        let _ = gic.write_sysreg(1, SGI1R, 4 << 48 | 3 << 32 | 2 << 16 | 5 << 24 | 0b10);
        assert_eq!((pending(0), pending(1)), (1 << 9 | 1 << 5, 0));
    });
}

#[test]
fn deactivation_names_an_interrupt_by_24_bits() {
    with_spis(0, |gic| {
        let mut cpu = Cpu::new(4);
        gic.load(0, &mut cpu);
        cpu.start(true);
        cpu.leave();
        let _ = gic.save(0, &mut cpu);
        let active = || gic.gicr_read(0, 0x1_0300, 4);
        let _ = gic.gicr_write(0, 0x1_0300, 4, 0b11 << 27);
        let _ = gic.write_sysreg(0, DIR, 0xff00_0000 | u64::from(PpiIntid::VIRTUAL_TIMER.number()));
        assert_eq!(active(), 1 << 28);
        let _ = gic.write_sysreg(0, DIR, 1 << 16 | 28);
        assert_eq!(active(), 1 << 28, "65564 is another");
    });
}
