//! Which words of the run page are written and read.

extern crate std;

use std::format;
use std::vec::Vec;

use super::*;
use crate::describe::Structure;
use crate::dialect::DialectSet;

/// A word that tells where it is, with another value in each byte.
fn word(offset: usize) -> u64 {
    (0x0101_0101_0101_0101 * (offset as u64 / 8)) ^ 0x8877_6655_4433_2211
}

/// What is read of a page with an exit of this code: the record, and the offsets of the words.
fn read(dialect: Dialect, code: u8) -> (ExitRecord, Vec<usize>) {
    let mut offsets = Vec::new();
    // What was in the record before is gone.
    let mut record = ExitRecord { vsmmu: 1, gprs: [1; RUN_GPRS], ..ExitRecord::ZERO };
    let result = record.read(dialect, |offset, words| {
        for (offset, into) in (offset..).step_by(8).zip(words) {
            // The word of the reason has other bytes as well.
            *into = if offset == 0 { 0xabcd_ef00 | u64::from(code) } else { word(offset) };
            offsets.push(offset);
        }
        Ok::<(), ()>(())
    });
    result.unwrap();
    (record, offsets)
}

/// The fields of a structure that contain these words, each in a dialect that has it.
fn fields(of: &Structure<DialectSet>, dialect: Dialect, offsets: &[usize]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for offset in offsets {
        let has = |field: &&crate::describe::Field<DialectSet>| {
            (field.offset & !7..field.offset + field.width).contains(offset)
        };
        let field = of.fields.iter().find(has).unwrap();
        assert!(field.dialects.contains(dialect), "{dialect}: {}", field.name);
        if names.last() != Some(&field.name) {
            names.push(field.name);
        }
    }
    names
}

/// The fields that only exits of a reason have, in the order in which they are read.
fn own_fields(reason: ExitReason, dialect: Dialect) -> &'static [&'static str] {
    match reason {
        ExitReason::Sync if dialect == Dialect::V1_0 => &["esr", "far", "hpfar", "gprs"],
        ExitReason::Sync => &["esr", "far", "hpfar", "rtt_tree", "gprs"],
        ExitReason::Psci => &["gprs"],
        ExitReason::RipasChange => &["ripas_base", "ripas_top", "ripas_value"],
        ExitReason::HostCall if dialect == Dialect::V1_0 => &["imm", "gprs"],
        ExitReason::HostCall => &["imm", "plane", "gprs"],
        ExitReason::SError => &["esr"],
        ExitReason::S2apChange => &["s2ap_base", "s2ap_top"],
        ExitReason::VdevRequest => &["vdev_id_1"],
        ExitReason::VdevValidateMapping => {
            &["vdev_id_1", "dev_mem_base", "dev_mem_top", "dev_mem_pa"]
        }
        ExitReason::VdevP2pBinding => &["vdev_id_1", "vdev_id_2"],
        ExitReason::VsmmuCommand => &["vsmmu"],
        ExitReason::Irq | ExitReason::Fiq | ExitReason::Unknown(_) => &[],
    }
}

#[test]
fn an_exit_has_the_fields_of_its_reason_and_each_is_read_once() {
    for dialect in Dialect::ALL {
        for code in 0..=u8::MAX {
            let reason = ExitReason::decode(code, dialect);
            let (record, offsets) = read(dialect, code);
            let gic = ["gicv3_hcr", "gicv3_lrs", "gicv3_misr", "gicv3_vmcr"];
            let gic = if dialect == Dialect::V1_0 { &gic[..] } else { &[] };
            let timers = ["cntp_ctl", "cntp_cval", "cntv_ctl", "cntv_cval"];
            let expected = [
                &["exit_reason"],
                &timers[..],
                &["pmu_ovf_status"],
                gic,
                own_fields(reason, dialect),
            ];
            let names = fields(&RecExit::LAYOUT, dialect, &offsets);
            assert_eq!(names, expected.concat(), "{dialect} {reason:?}");
            assert_eq!(record.exit_reason, code);
            let gprs = match reason {
                ExitReason::Sync => 1,
                ExitReason::Psci => 2,
                ExitReason::HostCall => RUN_GPRS,
                _ => 0,
            };
            for (n, value) in record.gprs.into_iter().enumerate() {
                let expected = if n < gprs { word(0x200 + 8 * n) } else { 0 };
                assert_eq!(value, expected, "{dialect} {reason:?} X{n}");
            }
        }
    }
}

#[test]
fn each_field_has_its_own_word() {
    let code = |reason: ExitReason, dialect| reason.encode(dialect).unwrap();
    let v1 = Dialect::V1_0;
    let (exit, _) = read(v1, code(ExitReason::HostCall, v1));
    let mut lrs = [0; LIST_REGISTERS];
    for (n, value) in lrs.iter_mut().enumerate() {
        *value = word(0x308 + 8 * n);
    }
    let gic = GicExit { hcr: word(0x300), lrs, misr: word(0x388), vmcr: word(0x390) };
    assert_eq!(exit.gic, Some(gic));
    let timers = [exit.cntp_ctl, exit.cntp_cval, exit.cntv_ctl, exit.cntv_cval];
    assert_eq!(timers, [0x400, 0x408, 0x410, 0x418].map(word));
    assert_eq!(exit.pmu_ovf_status, word(0x700).to_ne_bytes()[0]);
    assert_eq!(exit.imm.to_ne_bytes(), word(0x600).to_ne_bytes()[..2]);
    assert_eq!(exit.plane, 0);

    let bet0 = Dialect::V2_0Bet0;
    let of = |reason| read(bet0, code(reason, bet0)).0;
    let exit = of(ExitReason::Sync);
    let syndrome = [exit.esr, exit.far, exit.hpfar, exit.rtt_tree];
    assert_eq!(syndrome, [0x100, 0x108, 0x110, 0x118].map(word));
    assert_eq!((exit.gic, exit.imm, exit.ripas_base), (None, 0, 0));
    assert_eq!(read(v1, 0).0.rtt_tree, 0);
    assert_eq!(read(v1, 0).0.hpfar, word(0x110));
    assert_eq!(of(ExitReason::HostCall).plane, word(0x608));
    assert_eq!(of(ExitReason::SError).esr, word(0x100));
    let exit = of(ExitReason::RipasChange);
    assert_eq!([exit.ripas_base, exit.ripas_top], [0x500, 0x508].map(word));
    assert_eq!(exit.ripas_value, word(0x510).to_ne_bytes()[0]);
    let exit = of(ExitReason::S2apChange);
    assert_eq!([exit.s2ap_base, exit.s2ap_top], [0x520, 0x528].map(word));
    assert_eq!(of(ExitReason::VdevRequest).vdev_id_1, word(0x530));
    let exit = of(ExitReason::VdevValidateMapping);
    let words = [exit.vdev_id_1, exit.dev_mem_base, exit.dev_mem_top, exit.dev_mem_pa];
    assert_eq!(words, [0x530, 0x540, 0x548, 0x550].map(word));
    let exit = of(ExitReason::VdevP2pBinding);
    assert_eq!([exit.vdev_id_1, exit.vdev_id_2], [0x530, 0x538].map(word));
    assert_eq!(of(ExitReason::VsmmuCommand).vsmmu, word(0x710));
}

#[test]
fn a_page_that_cannot_be_read_is_reported_at_once() {
    for most in 0..5 {
        let mut reads = 0;
        let mut record = ExitRecord::ZERO;
        let result = record.read(Dialect::V2_0Bet3, |offset, _| {
            reads += 1;
            if reads > most { Err(offset) } else { Ok(()) }
        });
        let offsets = [0, 0x400, 0x700, 0x100, 0x200];
        assert_eq!((result, reads), (Err(offsets[most]), most + 1));
    }
}

/// What is written for an entry: offsets and words.
fn written(entry: &EntryRecord<'_>, dialect: Dialect) -> Vec<(usize, u64)> {
    let mut all = Vec::new();
    entry
        .write(dialect, |offset, words| {
            all.extend((offset..).step_by(8).zip(words.iter().copied()));
            Ok::<(), ()>(())
        })
        .unwrap();
    let offsets: Vec<_> = all.iter().map(|(offset, _)| *offset).collect();
    let _ = fields(&RecEnter::LAYOUT, dialect, &offsets);
    all
}

#[test]
fn an_entry_has_flags_and_the_registers_that_are_used() {
    for dialect in Dialect::ALL {
        let mut lrs = [0; LIST_REGISTERS];
        lrs[15] = 15;
        let all: Vec<u64> = (100..140).collect();
        for (gprs, used) in [(0, 0), (1, 1), (30, 30), (31, 31), (32, 31), (40, 31)] {
            // The last one exists in 2.0.
            let flags = RecEnterFlags::from_bits_retain(0b1000_1001);
            let gic = GicEntry { hcr: 2, lrs };
            let entry = EntryRecord { flags, gprs: &all[..gprs], gic: Some(&gic) };
            let v1 = dialect == Dialect::V1_0;
            let mut expected = Vec::from([(0, if v1 { 0b1001 } else { 0b1000_1001 })]);
            expected.extend((0x200..).step_by(8).zip(100..100 + used));
            if v1 {
                expected.push((0x300, 2));
                expected.extend((0x308..0x388).step_by(8).zip(lrs));
            }
            assert_eq!(written(&entry, dialect), expected, "{dialect} {gprs}");
        }
        let nothing = written(&EntryRecord::default(), dialect);
        assert!(nothing.iter().all(|(_, word)| *word == 0), "{nothing:?}");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_reported_at_once() {
    for most in 0..4 {
        let mut writes = 0;
        let entry = EntryRecord { gprs: &[7], ..EntryRecord::default() };
        let result = entry.write(Dialect::V1_0, |offset, _| {
            writes += 1;
            if writes > most { Err(offset) } else { Ok(()) }
        });
        let offsets = [0, 0x200, 0x300, 0x308];
        assert_eq!((result, writes), (Err(offsets[most]), most + 1));
    }
}

#[test]
fn registers_are_not_printed() {
    let secrets = [0x5ec2_e7ed; RUN_GPRS];
    let entry = EntryRecord { gprs: &secrets, ..EntryRecord::default() };
    let exit = ExitRecord { gprs: secrets, esr: 0x24, ..ExitRecord::ZERO };
    let text = format!("{entry:?} {exit:?} {exit:#x?}");
    assert!(!text.contains("5ec2e7ed") && !text.contains(&format!("{}", 0x5ec2_e7edu32)));
    assert!(text.contains("esr: 0x24") && text.contains("flags"), "{text}");
}
