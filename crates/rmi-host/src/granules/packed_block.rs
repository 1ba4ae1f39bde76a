//! A token in eight bytes.

use core::fmt;

use rmi_abi::{Pa, PaRange};

use super::{AnyGranules, Busy, Granules, InUse, Machine, PhantomData};

const MEMORY: u64 = 1;
const SIZE_SHIFT: u32 = 1;
const TAG_SHIFT: u32 = 3;
const FIELD: u64 = 0b11;
const FLAG: u64 = 1 << 63;
/// The machine: its low bits below the address, the others above it and below the flag.
const LOW_SHIFT: u32 = 5;
const LOW_BITS: u32 = 7;
const HIGH_SHIFT: u32 = 52;
const HIGH_BITS: u32 = 63 - HIGH_SHIFT;
const BASE: u64 = (1 << HIGH_SHIFT) - 0x1000;
/// Bits of the address that are zero in every block except one of 4 KiB: which of the sizes of the
/// code it has.
const CLASS_SHIFT: u32 = 12;

/// Code and class of a block whose length has this logarithm; only 4 KiB have the code 0.
const fn size_of_shift(shift: u32) -> Option<(u64, u64)> {
    Some(match shift {
        12 => (0, 0),
        21 => (1, 0),
        30 => (2, 0),
        39 => (3, 0),
        25 => (1, 1),
        36 => (2, 1),
        14 => (3, 1),
        29 => (1, 2),
        42 => (2, 2),
        16 => (3, 2),
        _ => return None,
    })
}

const _: () = assert!(LOW_BITS + HIGH_BITS == Machine::BITS);

/// A machine, in the bits that are not used otherwise.
const fn place_machine(machine: Machine) -> u64 {
    let code = machine.code() as u64;
    (code & ((1 << LOW_BITS) - 1)) << LOW_SHIFT | (code >> LOW_BITS) << HIGH_SHIFT
}

/// A block of memory in use, or a number, packed into eight bytes: for an owner that has one for
/// each entry of a translation table.
///
/// A block is what an entry of translation tables maps, aligned to that: 4 KiB, 2 MiB, 1 GiB or 512
/// GiB; 16 KiB, 32 MiB or 64 GiB; 64 KiB, 512 MiB or 4 TiB. It has a tag of two bits, whose meaning
/// is up to its owner. It is a token like [`InUse`]: the memory is taken out once, and a
/// value that is dropped with memory in it leaks that and counts it.
///
/// Each value also has a flag for its owner, which stays when the memory is taken out.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_host::PackedBlock;
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// let page = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?.into_use();
/// let range = page.range();
/// let mut packed = PackedBlock::memory(page, 2).expect("one granule");
/// assert_eq!((packed.range(), packed.tag(), packed.as_number()), (Some(range), 2, None));
///
/// let page = packed.take().expect("it is there");
/// assert_eq!(packed.as_number(), Some(0));
/// rmm.undelegate(page.into_released())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(hidden)]
pub struct PackedBlock(u64);

impl PackedBlock {
    /// The number 0.
    pub const VACANT: Self = Self(0);

    /// A number.
    #[must_use]
    pub const fn number(number: u32) -> Self {
        Self((number as u64) << 1)
    }

    /// A block of memory, with a tag of 0 to 3; higher bits of the tag are dropped.
    ///
    /// # Errors
    ///
    /// The memory is returned unless it is one aligned block of a size that translation tables map,
    /// at an address below 2^52.
    pub fn memory(memory: InUse, tag: u8) -> Result<Self, InUse> {
        let size = match memory.bytes().is_power_of_two() {
            true => size_of_shift(memory.bytes().trailing_zeros()),
            false => None,
        };
        match size {
            Some((code, class))
                if memory.base().is_aligned(memory.bytes()) && memory.base().raw() & !BASE == 0 =>
            {
                let (base, machine) = (memory.base().raw(), place_machine(memory.machine()));
                core::mem::forget(memory);
                let tag = (u64::from(tag) & FIELD) << TAG_SHIFT;
                let size = code << SIZE_SHIFT | class << CLASS_SHIFT;
                Ok(Self(base | machine | tag | size | MEMORY))
            }
            _ => Err(memory),
        }
    }

    const fn has_memory(&self) -> bool {
        self.0 & MEMORY != 0
    }

    /// Logarithm of the length of the memory: the opposite of [`size_of_shift`].
    const fn shift(&self) -> u32 {
        let code = (self.0 >> SIZE_SHIFT & FIELD) as u32;
        let class = if code == 0 { 0 } else { (self.0 >> CLASS_SHIFT & FIELD) as u32 };
        let levels_up = if class != 0 && code == 3 { 0 } else { code };
        // An address has as many bits for each level as a granule of the class has for its entries.
        let granule = 12 + 2 * class;
        granule + (granule - 3) * levels_up
    }

    /// The number; `None` if the value has memory.
    #[must_use]
    pub fn as_number(&self) -> Option<u32> {
        if self.has_memory() { None } else { u32::try_from((self.0 & !FLAG) >> 1).ok() }
    }

    /// The memory; `None` if the value has a number.
    #[must_use]
    pub fn range(&self) -> Option<PaRange> {
        if !self.has_memory() {
            return None;
        }
        let bytes = 1 << self.shift();
        PaRange::with_size(Pa::new(self.0 & BASE & !(bytes - 1)), bytes).ok()
    }

    /// The machine whose memory it is; `None` if the value has a number.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        let low = self.0 >> LOW_SHIFT & ((1 << LOW_BITS) - 1);
        let code = u32::try_from((self.0 & !FLAG) >> HIGH_SHIFT << LOW_BITS | low).ok()?;
        self.has_memory().then_some(Machine::from_code(code))
    }

    /// The tag; 0 if the value has a number.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        if self.has_memory() { (self.0 >> TAG_SHIFT & FIELD) as u8 } else { 0 }
    }

    /// Changes the tag; does nothing if the value has a number.
    pub const fn set_tag(&mut self, tag: u8) {
        if self.has_memory() {
            self.0 = self.0 & !(FIELD << TAG_SHIFT) | (tag as u64 & FIELD) << TAG_SHIFT;
        }
    }

    /// The flag; false in a new value.
    #[must_use]
    pub const fn flag(&self) -> bool {
        self.0 & FLAG != 0
    }

    /// Changes the flag.
    pub const fn set_flag(&mut self, flag: bool) {
        self.0 = if flag { self.0 | FLAG } else { self.0 & !FLAG };
    }

    /// Takes the memory out and leaves the number 0, with the same flag; `None` (and nothing
    /// happens) if the value has a number.
    pub fn take(&mut self) -> Option<InUse> {
        let (range, machine) = (self.range()?, self.machine()?);
        self.0 &= FLAG;
        Some(Granules {
            any: AnyGranules::new(range, machine, super::any::BUSY),
            owner: PhantomData::<Busy>,
        })
    }
}

impl Default for PackedBlock {
    fn default() -> Self {
        Self::VACANT
    }
}

impl Drop for PackedBlock {
    fn drop(&mut self) {
        // A token that is dropped counts itself.
        drop(self.take());
    }
}

impl fmt::Debug for PackedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.range(), self.as_number()) {
            (Some(range), _) => write!(f, "PackedBlock{range}"),
            (None, number) => write!(f, "PackedBlock({})", number.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::super::tests::counting;
    use super::super::{Undelegated, leaked};
    use super::*;

    fn block(base: u64, bytes: u64) -> InUse {
        block_of(Machine::REAL, base, bytes)
    }

    fn block_of(machine: Machine, base: u64, bytes: u64) -> InUse {
        let range = PaRange::with_size(Pa::new(base), bytes).unwrap();
        // SAFETY: no test touches the memory.
        let host = unsafe { Undelegated::of_machine(machine, range) };
        host.into_delegated().into_use()
    }

    fn free(memory: InUse) {
        let _ = memory.into_released().into_undelegated();
    }

    fn cases() -> ProptestConfig {
        // Miri is slow, and has no access to files.
        let cases = if cfg!(miri) { 8 } else { 256 };
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(cases())]
        #[test]
        fn what_goes_in_comes_out(
            page in 0u64..1 << 40,
            shift in proptest::sample::select(
                &[12u32, 21, 30, 39, 14, 25, 36, 16, 29, 42][..]
            ),
            tag in 0u8..4,
            other in 0u8..4,
            machine in 0u32..1 << 18,
            flag: bool,
        ) {
            let machine = Machine::from_code(machine);
            let bytes = 1u64 << shift;
            let base = (page << 12) & !(bytes - 1);
            let mut packed = PackedBlock::memory(block_of(machine, base, bytes), tag).unwrap();
            let range = PaRange::with_size(Pa::new(base), bytes).unwrap();
            prop_assert_eq!(
                (packed.range(), packed.tag(), packed.as_number()),
                (Some(range), tag, None)
            );
            packed.set_tag(other);
            prop_assert_eq!(
                (packed.range(), packed.tag(), packed.machine()),
                (Some(range), other, Some(machine))
            );
            // Twice: it is set, not changed.
            packed.set_flag(flag);
            packed.set_flag(flag);
            prop_assert_eq!(
                (packed.range(), packed.machine(), packed.flag()),
                (Some(range), Some(machine), flag)
            );
            let memory = packed.take().unwrap();
            prop_assert_eq!((memory.range(), memory.machine()), (range, machine));
            free(memory);
            prop_assert_eq!(
                (packed.as_number(), packed.range(), packed.take().is_none()),
                (Some(0), None, true)
            );
            prop_assert_eq!(packed.flag(), flag);
            packed.set_flag(false);
            prop_assert!(!packed.flag());
        }

        #[test]
        fn a_number_is_no_memory(number: u32, tag: u8) {
            let mut packed = PackedBlock::number(number);
            packed.set_tag(tag);
            packed.set_flag(tag & 1 == 0);
            prop_assert_eq!(
                (packed.as_number(), packed.range(), packed.tag()),
                (Some(number), None, 0)
            );
            prop_assert_eq!(packed.flag(), tag & 1 == 0);
            prop_assert!(packed.take().is_none());
        }
    }

    #[test]
    fn what_is_no_block_comes_back() {
        for (base, bytes) in [
            (0x1000, 0x2000),
            (0x1000, 0x20_0000),
            (1 << 52, 0x1000),
            (0x1000, 0x4000),
            (0x4000, 0x1_0000),
            (0, 0x8000),
            (0, 1 << 47),
        ] {
            let memory = PackedBlock::memory(block(base, bytes), 0).unwrap_err();
            assert_eq!((memory.base().raw(), memory.bytes()), (base, bytes));
            free(memory);
        }
        let _alone = counting();
        let before = leaked();
        drop(PackedBlock::memory(block(0x20_0000, 0x20_0000), 0).unwrap());
        assert_eq!(leaked(), before + 512);
    }

    #[test]
    fn a_block_prints_what_it_has() {
        let mut packed = PackedBlock::memory(block(0x20_0000, 0x20_0000), 1).unwrap();
        assert_eq!(format!("{packed:?}"), "PackedBlock[0x200000, 0x400000)");
        free(packed.take().unwrap());
        assert_eq!(
            format!("{:?} {:?}", packed, PackedBlock::number(7)),
            "PackedBlock(0) PackedBlock(7)"
        );
    }
}
