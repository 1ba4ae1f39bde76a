//! The programs, and the registers at the start of a virtual CPU.

/// A program. [`crate::programs`] says what each of them does, and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[non_exhaustive]
pub enum Program {
    /// Tells who it is: measurement, configuration, personalization value.
    Identify = 1,
    /// Compares memory with the content that the host gave it.
    Content = 2,
    /// Writes and reads RAM.
    Touch = 3,
    /// Changes the RIPAS of RAM.
    Ripas = 4,
    /// Shares memory with the host.
    Share = 5,
    /// Causes every exit.
    Exits = 6,
    /// Waits for its timers.
    Timers = 7,
    /// Sends SGIs and takes an SPI.
    Interrupts = 8,
    /// Runs without an exit until it is told to end.
    Spin = 9,
    /// Turns CPUs on and off.
    Power = 10,
    /// Fetches its attestation token.
    Token = 11,
    /// Makes calls of the RMM that do not exit, right and wrong ones.
    Calls = 12,
    /// Runs an auxiliary plane.
    Planes = 13,
    /// What runs in that plane.
    InPlane = 14,
    /// Accesses a device again and again.
    RoundTrips = 15,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Identify,
        Self::Content,
        Self::Touch,
        Self::Ripas,
        Self::Share,
        Self::Exits,
        Self::Timers,
        Self::Interrupts,
        Self::Spin,
        Self::Power,
        Self::Token,
        Self::Calls,
        Self::Planes,
        Self::InPlane,
        Self::RoundTrips,
    ];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The program with a number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.number() == number)
    }

    /// The personalization value of a Realm that runs it: its number in the first two bytes, little
    /// endian, and `salt` in the next eight.
    #[must_use]
    pub fn personalization(self, salt: u64) -> [u8; 64] {
        let mut value = [0; 64];
        let bytes = self.number().to_le_bytes().into_iter().chain(salt.to_le_bytes());
        for (to, from) in value.iter_mut().zip(bytes) {
            *to = from;
        }
        value
    }

    /// The program of a Realm with this personalization value.
    #[must_use]
    pub fn from_personalization(value: &[u8; 64]) -> Option<Self> {
        let [low, high, ..] = *value;
        Self::from_number(u16::from_le_bytes([low, high]))
    }
}

/// What a virtual CPU starts with: X0 to X7.
///
/// | Register | Contents |
/// |---|---|
/// | X0 | bits 15:0: the program; bits 31:16: the index of the virtual CPU; the rest is zero |
/// | X1 to X7 | the arguments of the program; zero for a CPU that another one turned on |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The program.
    pub program: Program,
    /// The index of the virtual CPU.
    pub index: u16,
    /// The arguments.
    pub arguments: [u64; 7],
}

impl Entry {
    /// The registers.
    #[must_use]
    pub fn registers(&self) -> [u64; 8] {
        let [a, b, c, d, e, f, g] = self.arguments;
        [Self::context(self.program, self.index), a, b, c, d, e, f, g]
    }

    /// X0: also the context with which a virtual CPU turns another one on.
    #[must_use]
    pub fn context(program: Program, index: u16) -> u64 {
        u64::from(program.number()) | u64::from(index) << 16
    }

    /// What the registers say; `None` if X0 names no program.
    #[must_use]
    pub fn from_registers(x: [u64; 8]) -> Option<Self> {
        let [x0, arguments @ ..] = x;
        let program = Program::from_number(u16::try_from(x0 & 0xffff).ok()?)?;
        let index = u16::try_from(x0 >> 16).ok()?;
        Some(Self { program, index, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_found_by_its_number_and_by_the_personalization_value() {
        for program in Program::ALL {
            assert_eq!(Program::from_number(program.number()), Some(program));
            let value = program.personalization(0x1122_3344_5566_7788);
            assert_eq!(Program::from_personalization(&value), Some(program));
            assert_eq!(value[2..10], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        }
        assert_eq!(Program::from_number(0), None);
        assert_eq!(Program::from_personalization(&[0xff; 64]), None);
    }

    #[test]
    fn registers_are_read_back() {
        let entry = Entry { program: Program::Power, index: 3, arguments: [1, 2, 3, 4, 5, 6, 7] };
        let registers = entry.registers();
        assert_eq!(registers, [0x3_000a, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Entry::from_registers(registers), Some(entry));
        assert_eq!(Entry::from_registers([0; 8]), None);
        assert_eq!(Entry::from_registers([1 << 32 | 1, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
