//! The registers of the distributor and of the redistributors, as a Realm accesses them.

use lock_api::RawMutex;

use crate::gic::{Bank, Field, Gic, Route};
use crate::intid::SpiIntid;
use crate::kicks::Kicks;
use crate::register_map::{self, Fields, Kind, Part, Register};

/// The size of the distributor's frame.
///
/// Source: Arm IHI 0069, "The Distributor register map".
pub const DISTRIBUTOR_BYTES: u64 = 0x1_0000;
/// The size of a redistributor, and the distance of two: the RD frame and the SGI frame.
///
/// Source: Arm IHI 0069, "The Redistributor register map", of a GIC without virtual LPIs.
pub const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

/// `GICD_CTLR`: DS (one security state) and ARE (affinity routing), which are always set.
const CTLR_FIXED: u64 = 1 << 6 | 1 << 4;
/// `GICD_TYPER`: RSS (aff0 above 15 in SGIs), A3V (affinity 3), and `IDbits`: INTIDs of 10 bits.
const TYPER_FIXED: u64 = 1 << 26 | 1 << 24 | 9 << 19;
/// `GICR_TYPER.Last`.
const TYPER_LAST: u64 = 1 << 4;
const TYPER_PROCESSOR_SHIFT: u32 = 8;
const TYPER_AFFINITY_SHIFT: u32 = 32;
/// `GICR_WAKER.ProcessorSleep` and `ChildrenAsleep`.
const WAKER_SLEEP: u64 = 1 << 1;
const WAKER_ASLEEP: u64 = 1 << 2;

/// # Registers
///
/// A Realm accesses them at unprotected IPAs that the host chooses, and its accesses exit: the host
/// passes the offset in the frame, the width in bytes (1, 2, 4 or 8), and the value. Accesses do
/// not depend on the REC that makes them.
///
/// There is one security state, and affinity routing is always on: `GICD_CTLR.DS` and `ARE` are 1
/// and read-only, registers for a second security state or for a GICv2 read as zero and ignore
/// writes, and so do the distributor's registers of INTIDs 0 to 31, which are in the
/// redistributors. There are no extended SPIs and PPIs, no LPIs, no ITS, no message-based SPIs, and
/// `GICD_STATUSR` and `GICR_STATUSR` report nothing.
///
/// | Access | What happens |
/// |---|---|
/// | 4 bytes, aligned | any register of 32 bits, and either half of `GICD_IROUTER<n>` and `GICR_TYPER` |
/// | 8 bytes, aligned | `GICD_IROUTER<n>` and `GICR_TYPER` |
/// | 1 byte | one priority in `GICD_IPRIORITYR<n>` and `GICR_IPRIORITYR<n>` |
/// | any other width, alignment or offset | a read is zero, a write has no effect |
///
/// Writes take effect at once: `RWP` is always 0. `GICD_ISPENDR<n>` and `GICD_ICPENDR<n>` of a
/// level-sensitive interrupt set and clear its latch; it is pending while its latch is set or its
/// line is up. `GICD_IROUTER<n>` with `Interrupt_Routing_Mode` 1 reads as zero in its affinity.
/// `GICR_WAKER.ChildrenAsleep` follows `ProcessorSleep`.
///
/// For a device tree, `interrupt-controller` has `compatible = "arm,gic-v3"` and the `reg` of
/// [`Gic::device_tree_reg`].
///
/// ```
/// use vgic_realm::{Affinity, Gic, GicConfig, GicStorage, SpiIntid, Vtr};
///
/// # fn main() -> Result<(), vgic_realm::GicConfigError> {
/// static STORAGE: GicStorage<2, 32> = GicStorage::new();
/// let affinities = [0, 1].map(Affinity::from_mpidr);
/// # let vtr = Vtr::from_raw(0x9008_0003);
/// // `vtr` is what the CPUs implement.
/// let gic = Gic::new(&STORAGE, &GicConfig { affinities: &affinities, spis: 32, vtr })?;
///
/// // REC 0 stores 4 bytes at the distributor's base + 0x104, `GICD_ISENABLER1`: it enables SPI 40.
/// let kicks = gic.gicd_write(0x104, 4, 1 << 8);
/// assert!(kicks.is_empty(), "no REC runs");
/// // A device raises its line; REC 1 loads 4 bytes at base + 0x204, `GICD_ISPENDR1`.
/// let _ = gic.set_spi(SpiIntid::new(40).unwrap(), true);
/// assert_eq!(gic.gicd_read(0x204, 4), 1 << 8);
/// # Ok(())
/// # }
/// ```
///
/// Source: Arm IHI 0069, "Programmers' Model"; the registers that Linux (`irq-gic-v3.c`) and EDK2
/// (`ArmGicV3Dxe.c`) use.
impl<L: RawMutex> Gic<'_, L> {
    /// Reads a register of the distributor.
    ///
    /// Takes the lock of the SPIs, for a register that is about them.
    #[must_use]
    #[doc(alias = "GICD_CTLR")]
    pub fn gicd_read(&self, offset: u64, bytes: u8) -> u64 {
        match register_map::distributor(offset, bytes) {
            Register::Control => {
                let (group0, group1) = self.group_enables();
                CTLR_FIXED | u64::from(group1) << 1 | u64::from(group0)
            }
            Register::DistributorType => TYPER_FIXED | self.spis().div_ceil(32) as u64,
            Register::Identification(value) => value.into(),
            Register::Fields(fields) => self.read_fields(Bank::Shared, fields).into(),
            Register::Route(intid, part) => {
                let route = SpiIntid::new(intid).and_then(|spi| self.route(spi));
                part.read(route.map_or(0, Route::irouter))
            }
            Register::RedistributorType(_) | Register::Waker | Register::Reserved => 0,
        }
    }

    /// Writes a register of the distributor. Of `value`, the low `bytes` bytes count.
    ///
    /// Takes the lock of the SPIs, for a register that is about them; for `GICD_CTLR`, also that of
    /// each REC.
    pub fn gicd_write(&self, offset: u64, bytes: u8, value: u64) -> Kicks {
        match register_map::distributor(offset, bytes) {
            Register::Control => self.set_group_enables(value & 1 != 0, value & 2 != 0),
            Register::Fields(fields) => self.write_fields(Bank::Shared, fields, value),
            Register::Route(intid, part) => self.write_route(intid, part, value),
            _ => Kicks::NONE,
        }
    }

    /// Reads a register of the redistributor of a REC: its RD frame is at 0, its SGI frame at
    /// `0x1_0000`. That of a REC that does not exist reads as zero.
    ///
    /// Takes the REC's lock, for a register that is about interrupts.
    #[must_use]
    #[doc(alias = "GICR_TYPER")]
    #[doc(alias = "GICR_WAKER")]
    pub fn gicr_read(&self, rec: usize, offset: u64, bytes: u8) -> u64 {
        let Some(affinity) = self.affinity(rec) else { return 0 };
        match register_map::redistributor(offset, bytes) {
            Register::RedistributorType(part) => {
                let last = if rec + 1 == self.recs() { TYPER_LAST } else { 0 };
                part.read(
                    u64::from(affinity.packed()) << TYPER_AFFINITY_SHIFT
                        | (rec as u64) << TYPER_PROCESSOR_SHIFT
                        | last,
                )
            }
            Register::Waker if self.is_asleep(rec) => WAKER_SLEEP | WAKER_ASLEEP,
            Register::Identification(value) => value.into(),
            Register::Fields(fields) => self.read_fields(Bank::Private(rec), fields).into(),
            _ => 0,
        }
    }

    /// Writes a register of the redistributor of a REC, which is ignored if the REC does not exist.
    /// Of `value`, the low `bytes` bytes count.
    ///
    /// Takes the REC's lock, for a register that is about interrupts; for `GICR_WAKER`, also that
    /// of the SPIs.
    pub fn gicr_write(&self, rec: usize, offset: u64, bytes: u8, value: u64) -> Kicks {
        match register_map::redistributor(offset, bytes) {
            Register::Waker => self.set_asleep(rec, value & WAKER_SLEEP != 0),
            Register::Fields(fields) => self.write_fields(Bank::Private(rec), fields, value),
            _ => Kicks::NONE,
        }
    }

    /// The REC and the offset in its redistributor, of an offset in the region that has the
    /// redistributors of all RECs one after the other; `None` behind the last.
    #[must_use]
    pub fn redistributor_at(&self, offset: u64) -> Option<(usize, u64)> {
        let rec = usize::try_from(offset / REDISTRIBUTOR_BYTES).ok()?;
        (rec < self.recs()).then_some((rec, offset % REDISTRIBUTOR_BYTES))
    }

    /// The size of the region that has the redistributors of all RECs, in bytes.
    #[must_use]
    pub const fn redistributors_bytes(&self) -> u64 {
        self.recs() as u64 * REDISTRIBUTOR_BYTES
    }

    /// The `reg` property of a device tree, with two cells for each address and each size: the base
    /// and the size of the distributor, those of the redistributors. The bases are IPAs that the
    /// host chooses, multiples of 64 KiB; in a device tree each value is big-endian.
    #[must_use]
    pub const fn device_tree_reg(&self, distributor: u64, redistributors: u64) -> [u64; 4] {
        [distributor, DISTRIBUTOR_BYTES, redistributors, self.redistributors_bytes()]
    }
}

impl<L: RawMutex> Gic<'_, L> {
    fn read_fields(&self, bank: Bank, fields: Fields) -> u32 {
        let word = (fields.first / 32) as usize;
        match fields.kind {
            Kind::Group => self.bits(bank, word, Field::Group1),
            Kind::SetEnable | Kind::ClearEnable => self.bits(bank, word, Field::Enabled),
            Kind::SetPending | Kind::ClearPending => self.bits(bank, word, Field::Pending),
            Kind::SetActive | Kind::ClearActive => self.bits(bank, word, Field::Active),
            Kind::Priority => fields
                .interrupts()
                .fold(0, |value, (intid, at)| value | u32::from(self.priority(bank, intid)) << at),
            Kind::Config => {
                let level = self.bits(bank, word, Field::Level) >> (fields.first % 32);
                let end = match bank {
                    Bank::Private(_) => 32,
                    Bank::Shared => 32 + self.spis(),
                };
                fields
                    .interrupts()
                    .zip(0..)
                    .filter(|((intid, _), n)| level >> n & 1 == 0 && (*intid as usize) < end)
                    .fold(0, |value, ((_, at), _)| value | 0b10 << at)
            }
        }
    }

    fn write_fields(&self, bank: Bank, fields: Fields, value: u64) -> Kicks {
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        let (word, value) = ((fields.first / 32) as usize, u32::from_le_bytes([b0, b1, b2, b3]));
        let set = |field, is_set| self.set_bits(bank, word, field, value, is_set);
        match fields.kind {
            Kind::Group => self.write_bits(bank, word, Field::Group1, u32::MAX, value),
            Kind::SetEnable => set(Field::Enabled, true),
            Kind::ClearEnable => set(Field::Enabled, false),
            Kind::SetPending => set(Field::Pending, true),
            Kind::ClearPending => set(Field::Pending, false),
            Kind::SetActive => set(Field::Active, true),
            Kind::ClearActive => set(Field::Active, false),
            Kind::Priority => {
                let mut kicks = Kicks::NONE;
                for (intid, at) in fields.interrupts() {
                    let [priority, ..] = (value >> at).to_le_bytes();
                    kicks.add_all(self.set_priority(bank, intid, priority));
                }
                kicks
            }
            Kind::Config => {
                let first = fields.first % 32;
                let level = fields
                    .interrupts()
                    .zip(first..)
                    .filter(|((_, at), _)| value >> at & 0b10 == 0)
                    .fold(0, |level, (_, bit)| level | 1 << bit);
                self.write_bits(bank, word, Field::Level, 0xffff << first, level)
            }
        }
    }

    fn write_route(&self, intid: u32, part: Part, value: u64) -> Kicks {
        let Some(spi) = SpiIntid::new(intid) else { return Kicks::NONE };
        self.change_route(spi, |route| Route::from_irouter(part.write(route.irouter(), value)))
    }
}
