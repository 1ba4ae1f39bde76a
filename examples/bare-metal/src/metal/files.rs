//! Files that were loaded into memory beside the program.
#![expect(unsafe_code, reason = "memory that something else has written")]

use bare_metal::archive::Archive;
use bare_metal::board::Board;
use realm_sdk::abi::{Pa, PaRange};

use crate::platform;

/// An archive that claims to be longer than this is not used.
const MAX_BYTES: u64 = 512 << 20;

/// The archive at the address that the platform has for it, if one is there, and the memory that it
/// takes.
///
/// # Safety
///
/// The memory of the board is mapped, and nothing else uses it: that of the archive is never used
/// for anything else, and what is after it is not used before this returns.
pub(crate) unsafe fn find(board: &Board) -> Option<(Archive<'static>, PaRange)> {
    let base = Pa::new(platform::FILES as u64);
    let memory = board.accessible_memory().into_iter().find(|range| range.contains(base))?;
    let bytes = memory.after(base).bytes().min(MAX_BYTES);
    let first = core::ptr::with_exposed_provenance::<u8>(platform::FILES);
    let slice = |bytes: usize| {
        // SAFETY: it is mapped memory by the check above, which is initialised as hardware is, and
        // by the caller's promise nothing writes to it while the slice is used.
        unsafe { core::slice::from_raw_parts(first, bytes) }
    };
    let bytes = Archive::find(slice(usize::try_from(bytes).ok()?))?.bytes();
    // Again, with a slice of no more than the archive.
    let archive = Archive::find(slice(bytes))?;
    let granules = (bytes as u64).checked_next_multiple_of(0x1000)?;
    Some((archive, PaRange::with_size(base, granules).ok()?))
}
