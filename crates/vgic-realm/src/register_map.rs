//! Which register of the distributor or of a redistributor an access reaches.
//!
//! Total: every offset and width has a register, which is [`Register::Reserved`] where the
//! architecture has none for an access of that width.
//!
//! Source: Arm IHI 0069, "The GIC Distributor register map", "The GIC Redistributor register map",
//! "GIC memory-mapped register access".

/// The SGI frame follows the RD frame of a redistributor.
const SGI_FRAME: u64 = 0x1_0000;

/// A register, as far as it is in reach of one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    /// `GICD_CTLR`
    Control,
    /// `GICD_TYPER`
    DistributorType,
    /// `GICR_TYPER`
    RedistributorType(Part),
    /// `GICR_WAKER`
    Waker,
    /// A register of identification, with its value.
    Identification(u32),
    /// A register with a field for each of some interrupts.
    Fields(Fields),
    /// `GICD_IROUTER<n>` of the interrupt with that number.
    Route(u32, Part),
    /// Reads as zero, and writes have no effect.
    Reserved,
}

/// The part of a 64-bit register that an access reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bits 31:0.
    Low,
    /// Bits 63:32.
    High,
    /// All bits.
    Whole,
}

impl Part {
    /// The part of a register at a multiple of 8 that an access at `offset` reaches.
    const fn of(offset: u64, bytes: u8) -> Self {
        match (bytes, offset & 4) {
            (8, _) => Self::Whole,
            (_, 0) => Self::Low,
            _ => Self::High,
        }
    }

    /// What a read of this part of a register gives.
    pub(crate) const fn read(self, register: u64) -> u64 {
        match self {
            Self::Low => register & 0xffff_ffff,
            Self::High => register >> 32,
            Self::Whole => register,
        }
    }

    /// The register after a write of this part.
    pub(crate) const fn write(self, register: u64, value: u64) -> u64 {
        match self {
            Self::Low => register & !0xffff_ffff | value & 0xffff_ffff,
            Self::High => register & 0xffff_ffff | value << 32,
            Self::Whole => value,
        }
    }
}

/// Fields of the interrupts from `first` on, `kind.bits()` for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    /// What the fields mean.
    pub(crate) kind: Kind,
    /// The interrupt of the lowest field.
    pub(crate) first: u32,
    /// The number of fields.
    pub(crate) count: u32,
}

impl Fields {
    /// The fields in `bytes` bytes that begin `at` bytes behind the first register of that kind.
    #[expect(clippy::cast_possible_truncation, reason = "an offset in a frame")]
    const fn at(kind: Kind, at: u64, bytes: u8) -> Register {
        let bits = kind.bits();
        let first = (at as u32 * 8) >> bits.trailing_zeros();
        let count = (bytes as u32 * 8) >> bits.trailing_zeros();
        Register::Fields(Self { kind, first, count })
    }

    /// The interrupts, each with the position of its lowest bit in the register.
    pub(crate) fn interrupts(self) -> impl Iterator<Item = (u32, u32)> {
        let bits = self.kind.bits();
        (0..self.count).map(move |n| (self.first + n, n * bits))
    }
}

/// The meaning of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `IGROUPR`: 1 for group 1.
    Group,
    /// `ISENABLER`: 1 if enabled; a write of 1 enables.
    SetEnable,
    /// `ICENABLER`: 1 if enabled; a write of 1 disables.
    ClearEnable,
    /// `ISPENDR`: 1 if pending; a write of 1 makes pending.
    SetPending,
    /// `ICPENDR`: 1 if pending; a write of 1 makes not pending, except by a line that is up.
    ClearPending,
    /// `ISACTIVER`: 1 if active; a write of 1 activates.
    SetActive,
    /// `ICACTIVER`: 1 if active; a write of 1 deactivates.
    ClearActive,
    /// `IPRIORITYR`.
    Priority,
    /// `ICFGR`: bit 1 is 1 if edge-triggered, 0 if level-sensitive; bit 0 is reserved.
    Config,
}

impl Kind {
    /// The bits of a field.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Priority => 8,
            Self::Config => 2,
            _ => 1,
        }
    }
}

/// The register that an access to the frame of the distributor reaches.
///
/// Registers of interrupts below 32 are reserved in the distributor, as those interrupts belong to
/// the redistributors.
#[expect(clippy::cast_possible_truncation, reason = "an offset in a frame")]
pub(crate) const fn distributor(offset: u64, bytes: u8) -> Register {
    let register = match (offset, bytes) {
        (0x0400..=0x07fb, 1) => return of_spis(Fields::at(Kind::Priority, offset - 0x400, 1)),
        (0x6100..=0x7fdf, 4 | 8) if offset & (bytes as u64 - 1) == 0 => {
            return Register::Route(((offset - 0x6000) >> 3) as u32, Part::of(offset, bytes));
        }
        (_, 4) if offset & 3 == 0 => offset,
        _ => return Register::Reserved,
    };
    match register {
        0x0000 => Register::Control,
        0x0004 => Register::DistributorType,
        0x0008 => Register::Identification(IIDR),
        0xffd0..=0xffff => identification(offset - 0xffd0, DISTRIBUTOR_PART),
        _ => of_spis(interrupts(offset)),
    }
}

/// The register that an access to a redistributor reaches; its SGI frame follows its RD frame.
pub(crate) const fn redistributor(offset: u64, bytes: u8) -> Register {
    match (offset, bytes) {
        (0x0008..=0x000f, 4 | 8) if offset & (bytes as u64 - 1) == 0 => {
            Register::RedistributorType(Part::of(offset, bytes))
        }
        (0x0004, 4) => Register::Identification(IIDR),
        (0x0014, 4) => Register::Waker,
        (0xffd0..=0xffff, 4) if offset & 3 == 0 => {
            identification(offset - 0xffd0, REDISTRIBUTOR_PART)
        }
        (0x1_0400..=0x1_041f, 1) => Fields::at(Kind::Priority, offset - 0x1_0400, 1),
        (SGI_FRAME..=0x1_ffff, 4) if offset & 3 == 0 => of_private(interrupts(offset - SGI_FRAME)),
        _ => Register::Reserved,
    }
}

/// The registers of 32 bits that have fields of interrupts: at the same offsets in the distributor
/// and in the SGI frame of a redistributor.
const fn interrupts(offset: u64) -> Register {
    let (kind, first) = match offset {
        0x0080..=0x00ff => (Kind::Group, 0x0080),
        0x0100..=0x017f => (Kind::SetEnable, 0x0100),
        0x0180..=0x01ff => (Kind::ClearEnable, 0x0180),
        0x0200..=0x027f => (Kind::SetPending, 0x0200),
        0x0280..=0x02ff => (Kind::ClearPending, 0x0280),
        0x0300..=0x037f => (Kind::SetActive, 0x0300),
        0x0380..=0x03ff => (Kind::ClearActive, 0x0380),
        0x0400..=0x07fb => (Kind::Priority, 0x0400),
        0x0c00..=0x0cff => (Kind::Config, 0x0c00),
        _ => return Register::Reserved,
    };
    Fields::at(kind, offset - first, 4)
}

/// The register, if its interrupts are SPIs.
const fn of_spis(register: Register) -> Register {
    match register {
        Register::Fields(Fields { first: 32.., .. }) => register,
        _ => Register::Reserved,
    }
}

/// The register, if its interrupts are SGIs or PPIs.
const fn of_private(register: Register) -> Register {
    match register {
        Register::Fields(Fields { first: 0..32, .. }) => register,
        _ => Register::Reserved,
    }
}

/// `GICD_IIDR` and `GICR_IIDR`: product `R`, variant 0, revision 0; the implementer is Arm's code,
/// as in other virtual GICs.
const IIDR: u32 = 0x5200_043b;

/// The part number of a distributor, in `GICD_PIDR0`.
const DISTRIBUTOR_PART: u32 = 0x92;
/// The part number of a redistributor, in `GICR_PIDR0`.
const REDISTRIBUTOR_PART: u32 = 0x93;

/// PIDR4 to PIDR7, PIDR0 to PIDR3 and CIDR0 to CIDR3: GICv3, in a frame of 64 KiB.
const fn identification(at: u64, part: u32) -> Register {
    Register::Identification(match at >> 2 {
        0 => 0x44,
        4 => part,
        5 => 0xb4,
        // ArchRev 3 (bits 7:4): GICv3.
        6 => 0x3b,
        8 => 0x0d,
        9 => 0xf0,
        10 => 0x05,
        11 => 0xb1,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [u8; 4] = [1, 2, 4, 8];

    const fn fields(kind: Kind, first: u32, count: u32) -> Register {
        Register::Fields(Fields { kind, first, count })
    }

    /// One row of the architecture's register map: from the offset of the first register to the
    /// last byte of the last.
    type Row = (u64, u64, Kind, u32);

    const MAP: [Row; 9] = [
        (0x0080, 0x00ff, Kind::Group, 32),
        (0x0100, 0x017f, Kind::SetEnable, 32),
        (0x0180, 0x01ff, Kind::ClearEnable, 32),
        (0x0200, 0x027f, Kind::SetPending, 32),
        (0x0280, 0x02ff, Kind::ClearPending, 32),
        (0x0300, 0x037f, Kind::SetActive, 32),
        (0x0380, 0x03ff, Kind::ClearActive, 32),
        (0x0400, 0x07fb, Kind::Priority, 4),
        (0x0c00, 0x0cff, Kind::Config, 16),
    ];

    /// The fields that an access reaches in a table of the architecture, of interrupts in a range.
    fn in_map(offset: u64, bytes: u8, interrupts: core::ops::Range<u32>) -> Option<Register> {
        let (from, _, kind, per_word) =
            MAP.into_iter().find(|(from, to, _, _)| (*from..=*to).contains(&offset))?;
        let per_byte = u64::from(per_word) / 4;
        let is_allowed = match kind {
            Kind::Priority => bytes == 1 || bytes == 4,
            _ => bytes == 4,
        };
        let is_aligned = offset.is_multiple_of(u64::from(bytes));
        // Fewer than one field in a byte does not occur.
        let first = u32::try_from((offset - from) * per_byte).unwrap();
        let count = u32::from(bytes) * u32::try_from(per_byte).unwrap();
        (is_allowed && is_aligned && interrupts.contains(&first))
            .then(|| fields(kind, first, count))
    }

    fn id(offset: u64, bytes: u8, part: u32) -> Option<Register> {
        let values = [0x44, 0, 0, 0, part, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
        let at = offset.checked_sub(0xffd0)?;
        let value = values.get(usize::try_from(at / 4).unwrap()).copied()?;
        (bytes == 4 && at % 4 == 0).then_some(Register::Identification(value))
    }

    #[test]
    fn the_distributor_has_the_registers_of_the_architecture() {
        for (offset, bytes) in (0..0x1_0010_u64).flat_map(|at| WIDTHS.map(|bytes| (at, bytes))) {
            let whole = offset.is_multiple_of(u64::from(bytes));
            let special = match (offset, bytes) {
                (0, 4) => Some(Register::Control),
                (4, 4) => Some(Register::DistributorType),
                (8, 4) => Some(Register::Identification(0x5200_043b)),
                (0x6100..=0x7fdf, 8) if whole => {
                    let intid = u32::try_from(offset / 8 - 0xc00).unwrap();
                    Some(Register::Route(intid, Part::Whole))
                }
                (0x6100..=0x7fdf, 4) if whole => {
                    let intid = u32::try_from(offset / 8 - 0xc00).unwrap();
                    let part = if offset % 8 == 0 { Part::Low } else { Part::High };
                    Some(Register::Route(intid, part))
                }
                _ => None,
            };
            let expected = special
                .or_else(|| in_map(offset, bytes, 32..u32::MAX))
                .or_else(|| id(offset, bytes, 0x92))
                .unwrap_or(Register::Reserved);
            assert_eq!(distributor(offset, bytes), expected, "{offset:#x}, {bytes} bytes");
        }
        assert_eq!(distributor(0x6100, 8), Register::Route(32, Part::Whole));
        assert_eq!(distributor(0x7fdc, 4), Register::Route(1019, Part::High));
        assert_eq!(distributor(0x0420, 1), fields(Kind::Priority, 32, 1));
        assert_eq!(distributor(0x0c08, 4), fields(Kind::Config, 32, 16));
    }

    #[test]
    fn a_redistributor_has_the_registers_of_the_architecture() {
        for (offset, bytes) in (0..0x2_0010_u64).flat_map(|at| WIDTHS.map(|bytes| (at, bytes))) {
            let expected = match (offset, bytes) {
                (4, 4) => Register::Identification(0x5200_043b),
                (8, 4) => Register::RedistributorType(Part::Low),
                (0xc, 4) => Register::RedistributorType(Part::High),
                (8, 8) => Register::RedistributorType(Part::Whole),
                (0x14, 4) => Register::Waker,
                (0x1_0000..=0x1_ffff, _) => {
                    in_map(offset - 0x1_0000, bytes, 0..32).unwrap_or(Register::Reserved)
                }
                _ => id(offset, bytes, 0x93).unwrap_or(Register::Reserved),
            };
            assert_eq!(redistributor(offset, bytes), expected, "{offset:#x}, {bytes} bytes");
        }
        assert_eq!(redistributor(0x1_041f, 1), fields(Kind::Priority, 31, 1));
        assert_eq!(redistributor(0x1_0420, 1), Register::Reserved);
    }

    #[test]
    fn other_widths_and_offsets_reach_nothing() {
        for bytes in [0, 3, 5, 7, 9, 16, 64, u8::MAX] {
            for offset in [0, 4, 8, 0x104, 0x420, 0x6100, 0xffe8, 0x1_0100] {
                assert_eq!(distributor(offset, bytes), Register::Reserved);
                assert_eq!(redistributor(offset, bytes), Register::Reserved);
            }
        }
        for offset in [0x1_0000, 0x2_0000, 1 << 32, u64::MAX - 3, u64::MAX] {
            for bytes in WIDTHS {
                assert_eq!(distributor(offset, bytes), Register::Reserved);
            }
        }
        for offset in [0x2_0000, (1 << 32) + 0x1_0100, u64::MAX - 3, u64::MAX] {
            for bytes in WIDTHS {
                assert_eq!(redistributor(offset, bytes), Register::Reserved);
            }
        }
    }

    #[test]
    fn parts_of_a_register_are_read_and_written_alone() {
        let register = 0x0123_4567_89ab_cdef;
        assert_eq!(Part::Low.read(register), 0x89ab_cdef);
        assert_eq!(Part::High.read(register), 0x0123_4567);
        assert_eq!(Part::Whole.read(register), register);
        let value = 0xfedc_ba98_7654_3210;
        assert_eq!(Part::Low.write(register, value), 0x0123_4567_7654_3210);
        assert_eq!(Part::High.write(register, value), 0x7654_3210_89ab_cdef);
        assert_eq!(Part::Whole.write(register, value), value);
    }

    #[test]
    fn fields_are_in_the_order_of_interrupts() {
        let of = |kind, first, count| Fields { kind, first, count }.interrupts();
        assert!(of(Kind::Group, 64, 32).eq((0..32).map(|n| (64 + n, n))));
        assert!(of(Kind::Config, 16, 16).eq((0..16).map(|n| (16 + n, 2 * n))));
        assert!(of(Kind::Priority, 4, 4).eq([(4, 0), (5, 8), (6, 16), (7, 24)]));
    }
}
