//! A dialect that changes while calls are made.

use core::sync::atomic::{AtomicU8, Ordering};

use rmi_abi::Dialect;

/// A dialect that threads share.
#[derive(Debug)]
pub(crate) struct AtomicDialect(AtomicU8);

impl AtomicDialect {
    pub(crate) const fn new(dialect: Dialect) -> Self {
        Self(AtomicU8::new(dialect.index()))
    }

    pub(crate) fn set(&self, dialect: Dialect) {
        self.0.store(dialect.index(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Dialect {
        // No other number is ever stored.
        Dialect::from_index(self.0.load(Ordering::Relaxed)).unwrap_or(Dialect::V2_0Bet3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read() {
        let shared = AtomicDialect::new(Dialect::V1_0);
        assert_eq!(shared.get(), Dialect::V1_0);
        for dialect in Dialect::ALL {
            shared.set(dialect);
            assert_eq!(shared.get(), dialect);
        }
    }
}
