//! What an RMM accepts in list registers and in `ICH_HCR_EL2` when a REC or a plane is entered.

use rmi_abi::run::RecEnter;
use vgic_realm::Vtr;

use super::{EOI, HW, PRIORITY_SHIFT, STATE};

/// The bits of `ICH_HCR_EL2` that an RMM of 1.0 takes from the run page: UIE, LRENPIE, NPIE, the
/// four of group enables, TDIR.
pub(super) const RUN_PAGE_HCR: u64 = 0xfe | 1 << 14;
/// `ICH_LR<n>_EL2.pINTID`, bits 44:32.
const PINTID: u64 = 0x1fff << 32;

fn is_valid(list: u64) -> bool {
    list & STATE != 0
}

/// The virtual interrupt, bits 31:0.
fn interrupt(list: u64) -> u64 {
    list & 0xffff_ffff
}

/// Whether an RMM of 2.0 accepts these list registers: of those that are not invalid, none is a
/// hardware interrupt, and none names the same interrupt as another.
///
/// Source: TF-RMM of July 2026, `gic_validate_lrs`.
pub(crate) fn accepts(lists: impl Iterator<Item = u64> + Clone) -> bool {
    let valid = lists.filter(|list| is_valid(*list));
    let all = valid.clone().enumerate();
    let is_twice = |(n, list): (usize, u64)| {
        valid.clone().skip(n + 1).any(|other| interrupt(other) == interrupt(list))
    };
    valid.clone().all(|list| list & HW == 0) && !all.clone().any(is_twice)
}

/// Whether an RMM of 1.0 accepts the GIC's fields of a run page, on a CPU with this `ICH_VTR_EL2`;
/// it answers `RMI_ERROR_REC` otherwise.
///
/// * `gicv3_hcr` has no other bits than UIE, LRENPIE, NPIE, those of group enables, and TDIR.
/// * A list register that is not invalid is not a hardware interrupt, has no priority bits that the
///   CPU lacks, no bit of `pINTID` except EOI, and an interrupt that exists; no other names the
///   same interrupt.
/// * List registers that the CPU lacks are 0.
///
/// The model's RMM does as TF-RMM and does not look at list registers that the CPU lacks; a host
/// that follows the specification writes 0 there.
///
/// Source: DEN0137 1.0-rel0, "RMI_REC_ENTER"; TF-RMM v0.8.0, `gic_validate_state`.
#[must_use]
pub fn accepts_run_page(enter: &RecEnter, vtr: Vtr) -> bool {
    let mut lacking = enter.gicv3_lrs.iter().skip(vtr.list_registers());
    lacking.all(|list| *list == 0) && accepts_registers(enter, vtr)
}

/// The same for the list registers that the CPU has.
pub(crate) fn accepts_registers(enter: &RecEnter, vtr: Vtr) -> bool {
    let there = enter.gicv3_lrs.get(..vtr.list_registers()).unwrap_or_default();
    let lacking_priorities = 0xff_u64 >> vtr.priority_bits().min(8);
    let most = if vtr.raw() >> 23 & 0b111 == 0 { 0xffff } else { 0xff_ffff };
    let exists = |list: u64| {
        let id = interrupt(list);
        matches!(id, 0..=1019 | 1056..=1119 | 4096..=5119) || (8192..=most).contains(&id)
    };
    let is_acceptable = |list: u64| {
        list & PINTID & !EOI == 0
            && list >> PRIORITY_SHIFT & lacking_priorities == 0
            && exists(list)
    };
    enter.gicv3_hcr & !RUN_PAGE_HCR == 0
        && there.iter().filter(|list| is_valid(**list)).all(|list| is_acceptable(*list))
        && accepts(there.iter().copied())
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    const PENDING: u64 = 1 << 62;
    const ACTIVE: u64 = 1 << 63;

    #[test]
    fn no_hardware_interrupts_and_none_twice() {
        let accepts = |lists: &[u64]| accepts(lists.iter().copied());
        assert!(accepts(&[]));
        assert!(accepts(&[PENDING | 27, ACTIVE | 28, PENDING | ACTIVE | 29]));
        for state in [PENDING, ACTIVE, PENDING | ACTIVE] {
            assert!(!accepts(&[0, state | HW | 27]));
            assert!(!accepts(&[state | 27, 0, ACTIVE | 27]));
            assert!(!accepts(&[PENDING | 1, PENDING | 27, state | 27]));
        }
        // What is invalid does not count.
        assert!(accepts(&[PENDING | 27, 27, HW | 27, HW]));
        // All of the identifier is compared, and nothing else.
        assert!(accepts(&[PENDING | 27, PENDING | 27 | 1 << 31]));
        assert!(!accepts(&[PENDING | 27, PENDING | 27 | 1 << 60 | 0x80 << 48 | EOI]));
        // An RMM of 2.0 looks at nothing else.
        assert!(accepts(&[PENDING | 1020, PENDING | 0x1fff << 32 | 30]));
    }

    /// A run page with these list registers, on a CPU with 4 of them and 5 bits of priority.
    fn page(lists: &[u64]) -> bool {
        let mut enter = RecEnter::new_zeroed();
        for (to, from) in enter.gicv3_lrs.iter_mut().zip(lists) {
            *to = *from;
        }
        accepts_run_page(&enter, Vtr::of_run_page(3))
    }

    #[test]
    fn fields_of_a_run_page() {
        for bit in 0..64 {
            let mut enter = RecEnter::new_zeroed();
            enter.gicv3_hcr = 1 << bit;
            let permitted = matches!(bit, 1..=7 | 14);
            assert_eq!(accepts_run_page(&enter, Vtr::of_run_page(3)), permitted, "{bit}");
        }
        assert!(page(&[]) && page(&[PENDING | 27, 0, 0, ACTIVE | 30]));
        assert!(!page(&[0, 0, 0, 0, PENDING | 27]) && !page(&[0, 0, 0, 0, 27]));
        assert!(!page(&[PENDING | HW | 27]) && page(&[HW | 27]));
        assert!(!page(&[PENDING | 27, ACTIVE | 27]));
        assert!(page(&[PENDING | EOI | 27]));
        for bit in 32..=44 {
            assert_eq!(page(&[PENDING | 1 << bit | 27]), bit == 41, "{bit}");
        }
        for bit in 48..=55 {
            assert_eq!(page(&[PENDING | 1 << bit | 27]), bit > 50, "{bit}");
            assert!(page(&[1 << bit | 27]));
        }
    }

    #[test]
    fn interrupts_that_exist() {
        for (first, last) in [(0, 1019), (1056, 1119), (4096, 5119), (8192, 0xffff)] {
            assert!(page(&[PENDING | first]) && page(&[PENDING | last]));
            assert!(first == 0 || !page(&[PENDING | (first - 1)]));
            assert!(!page(&[PENDING | (last + 1)]));
        }
        let mut enter = RecEnter::new_zeroed();
        enter.gicv3_lrs[0] = PENDING | 0xff_ffff;
        let wide = Vtr::from_raw(Vtr::of_run_page(3).raw() | 1 << 23);
        assert!(accepts_run_page(&enter, wide));
        enter.gicv3_lrs[0] += 1;
        assert!(!accepts_run_page(&enter, wide));
    }
}
