//! A granule of the Realm's own memory.

use core::fmt;

/// A granule, 4 KiB, aligned to its size: what a call that fills a page is lent.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct Granule([u8; Self::BYTES]);

impl Granule {
    /// Bytes of a granule.
    pub const BYTES: usize = 4096;

    /// A granule that contains zeros.
    #[must_use]
    pub const fn zeroed() -> Self {
        Self([0; Self::BYTES])
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Its bytes, to be changed.
    #[must_use]
    pub const fn bytes_mut(&mut self) -> &mut [u8; Self::BYTES] {
        &mut self.0
    }
}

impl Default for Granule {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl fmt::Debug for Granule {
    /// Omits the content, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granule").finish_non_exhaustive()
    }
}
