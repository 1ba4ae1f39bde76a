//! The devices of the Realm: a UART, and a block device that serves requests in a shared buffer.

use realm_sdk::abi::Ipa;
use realm_sdk::builder::{Active, BuildError, Realm};
use realm_sdk::host::Platform;

use crate::output::say;

/// The UART's register for the next letter, from the start of the unprotected half.
pub(crate) const UART: u64 = 0x0900_0000;
/// The block device's register that starts a request, from there: the address of the buffer.
pub(crate) const DOORBELL: u64 = 0x0a00_0000;
/// Where in the buffer the content of a sector is written; its number is at the start.
pub(crate) const CONTENT: u64 = 8;

/// Letters of a line.
const LINE: usize = 200;

/// A UART as one virtual CPU sees it: each line is printed as a whole.
#[derive(Default)]
pub(crate) struct Uart {
    line: String,
}

impl Uart {
    pub(crate) fn write(&mut self, letter: u8) {
        match letter {
            b'\n' => say!("uart | {}", std::mem::take(&mut self.line)),
            // Whatever the Realm writes, the terminal gets printable letters only, and no line is
            // longer than this.
            _ if self.line.len() >= LINE => {}
            b' '..=b'~' => self.line.push(char::from(letter)),
            _ => self.line.push('.'),
        }
    }
}

/// Reads the sector whose number the Realm has written to `buffer`, which is shared with it.
pub(crate) fn read_sector<P: Platform>(
    realm: &Realm<'_, P, Active>,
    buffer: u64,
) -> Result<(), BuildError> {
    let mut sector = [0; 8];
    realm.read_shared(Ipa::new(buffer), &mut sector)?;
    let content = format!("sector {}\n", u64::from_le_bytes(sector) % 1000);
    realm.write_shared(Ipa::new(buffer.wrapping_add(CONTENT)), content.as_bytes())
}
