//! Distributor and redistributors as devices.

use rec_runtime::mmio::{AccessSize, MmioDevice};
use vgic_realm::{Bank, Field, Route};

use crate::fixture::{DIALECTS, realm, script};
use crate::{SPI, spi, with_gic};

#[test]
fn accesses_reach_the_registers_of_the_gic() {
    use AccessSize::{Byte, Doubleword, Word};
    realm(DIALECTS[0], vec![script(vec![]), script(vec![])], |fixture| {
        with_gic(fixture.model, fixture.set, |gic| {
            let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
            assert_eq!((distributor.bytes(), redistributors.bytes()), (0x1_0000, 0x4_0000));
            // GICD_IROUTER, GICD_IPRIORITYR.
            let irouter = 0x6000 + 8 * u64::from(SPI);
            distributor.write(irouter, Doubleword, 1 << 31).unwrap();
            assert_eq!(gic.gic().route(spi()), Some(Route::Any));
            assert_eq!(distributor.read(irouter, Doubleword), Ok(1 << 31));
            assert_eq!(distributor.read(irouter + 4, Word), Ok(0));
            distributor.write(0x400 + u64::from(SPI), Byte, 0xa0).unwrap();
            assert_eq!(gic.gic().priority(Bank::Shared, SPI), 0xa0);
            assert_eq!(distributor.read(0x400 + u64::from(SPI), Word), Ok(0xa0));
            // GICR_TYPER of both RECs: number, affinity, and which is the last.
            assert_eq!(redistributors.read(8, Doubleword), Ok(0));
            assert_eq!(redistributors.read(0x2_0008, Doubleword), Ok(1 << 32 | 1 << 8 | 1 << 4));
            // GICR_ISENABLER0 of REC 1.
            redistributors.write(0x3_0100, Word, 1 << 9).unwrap();
            let enabled = |rec| gic.gic().bits(Bank::Private(rec), 0, Field::Enabled);
            assert_eq!((enabled(0), enabled(1)), (0, 1 << 9));
            assert_eq!(redistributors.read(0x3_0100, Word), Ok(1 << 9));
            assert_eq!(redistributors.read(0x1_0100, Word), Ok(0));
            // After the last.
            redistributors.write(0x5_0100, Word, 1).unwrap();
            assert_eq!(redistributors.read(0x5_0100, Word), Ok(0));
            assert_eq!((enabled(0), enabled(1)), (0, 1 << 9));
            assert!(format!("{gic:?}").starts_with("RealmGic { gic: Gic { recs: 2"));
            assert!(format!("{distributor:?}").starts_with("Distributor(RealmGic"));
            assert!(format!("{redistributors:?}").starts_with("Redistributors(RealmGic"));
            assert!(std::ptr::eq(gic.set(), fixture.set));
        });
    });
}
