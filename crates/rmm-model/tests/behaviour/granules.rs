//! RMMs that are configured for granules of 16 KiB and 64 KiB.

use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Command, GranuleSize, Pa, PaRange, Status};
use rmm_model::Options;
use zerocopy::{FromZeros, IntoBytes};

use crate::host::{DIALECTS, Host, rtt_error};

const SIZES: [GranuleSize; 3] =
    [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB];
/// The page for the configuration and other parameters.
const PAGE: u64 = 0x8000_0000;

fn configure(host: &Host, code: u8) -> Status {
    let mut config = rmi_abi::realm::RmmConfigPage::new_zeroed();
    config.rmi_granule_size = code;
    host.write(PAGE, config.as_bytes());
    crate::host::status(host.call(Command::RmmConfigSet, &[PAGE]))
}

#[test]
fn the_granules_that_the_features_offer_are_configured() {
    for dialect in DIALECTS {
        let host = Host::cold(Options::new(dialect));
        for (code, expected) in
            [(0, Status::Success), (1, Status::ErrorInput), (2, Status::ErrorInput)]
        {
            assert_eq!(configure(&host, code), expected, "{dialect} {code}");
        }
        let host = Host::cold(Options::new(dialect).with_all_granules());
        assert_eq!(configure(&host, 3), Status::ErrorInput);
        for size in [2, 0, 1, 2] {
            assert_eq!(configure(&host, size), Status::Success, "{dialect} {size}");
            host.done(Command::RmmConfigGet, &[PAGE]);
            assert_eq!(host.words(PAGE, 2), [0, size.into()]);
        }
        // The page is a granule as well.
        host.fails(Status::ErrorInput, Command::RmmConfigGet, &[PAGE + 0x1000]);
        host.done(Command::RmmActivate, &[]);
        assert_eq!(configure(&host, 0), Status::ErrorGlobal);
    }
}

#[test]
fn memory_that_is_no_granule_of_an_offered_size_is_refused() {
    for (base, bytes, fits) in [
        (0x8000_0000, 0x10_0000, true),
        (0x8000_4000, 0x10_0000, false),
        (0x8000_0000, 0x10_4000, false),
    ] {
        let mut options = Options::new(DIALECTS[0]).with_all_granules();
        options.dram = PaRange::with_size(Pa::new(base), bytes).unwrap();
        assert_eq!(rmm_model::Model::new(options.clone()).is_ok(), fits, "{base:#x} {bytes:#x}");
        options.features[1] &= !0b110;
        assert!(rmm_model::Model::new(options).is_ok());
    }
}

#[test]
fn granules_tables_and_blocks_have_the_size() {
    for dialect in DIALECTS {
        for granule in SIZES {
            let mut options = Options::new(dialect).with_all_granules().range_capable();
            options.dram = PaRange::with_size(Pa::new(PAGE), 4 << 30).unwrap();
            let host = Host::cold(options);
            assert_eq!(configure(&host, granule.code()), Status::Success);
            host.done(Command::RmmActivate, &[]);
            let bytes = granule.bytes();
            let geometry = Geometry::with_granule(granule, 40).unwrap();
            let block = geometry.entry_bytes(Level::L2);
            // A granule is delegated as a whole, and nothing else is.
            let at = |n: u64| PAGE + n * bytes;
            host.delegate(at(1), bytes);
            assert_eq!(host.model.census().delegated, bytes / 0x1000);
            assert!(!host.can_read(at(2) - 8) && host.can_read(at(2)));
            host.undelegate(at(1), bytes);
            assert_eq!(host.model.census().delegated, 0);
            if granule != GranuleSize::Size4KiB {
                let part = [at(1), at(1) + 0x1000];
                host.fails(Status::ErrorInput, Command::GranuleRangeDelegate, &part);
                let begins = [at(1) + 0x1000, at(2)];
                host.fails(Status::ErrorInput, Command::GranuleRangeDelegate, &begins);
            }

            host.delegate(at(16), 16 * bytes);
            let (rd, root) = (at(31), at(16));
            let params = RealmParams::new(geometry, Pa::new(root));
            host.write(PAGE, params.encode(dialect).unwrap().as_bytes());
            host.done(Command::RealmCreate, &[rd, PAGE]);
            let start = u64::from(geometry.start_level().number().unsigned_abs());
            for (n, level) in (start + 1..=3).enumerate() {
                host.done(Command::RttCreate, &[rd, at(20 + n as u64), 0, level]);
            }
            let census = host.model.census();
            assert_eq!(census.rtt, (4 - start) * bytes / 0x1000, "{dialect} {granule:?}");

            // As many descriptors as a granule holds, each of a page; none is next to the one
            // before.
            let entries = geometry.entries_per_table();
            assert_eq!(entries, bytes / 8);
            let data = PAGE + block;
            let data = data.next_multiple_of(block);
            host.delegate(data, block);
            let page = |n: u64| (data + 3 * n % entries * bytes) | 1 << 2;
            let words: Vec<u64> = (0..entries).map(page).collect();
            let list = at(8);
            host.write(list, words.as_bytes());
            let count = (entries << 2) | 2;
            let answer = host.done(Command::RttDataMap, &[rd, 0, block, count, list]);
            assert_eq!(answer[1], block, "{dialect} {granule:?}");
            // A list ends with its granule.
            let answer = host.done(Command::RttDataUnmap, &[rd, 0, block, count, list + bytes - 8]);
            assert_eq!((answer[1], answer[3]), (bytes, 1));
            let answer = host.done(Command::RttDataUnmap, &[rd, bytes, block, count, list]);
            assert_eq!(answer[1], block);

            // A block takes the place of the table.
            host.done(Command::RttDestroy, &[rd, 0, 3]);
            let answer = host.done(Command::RttDataMap, &[rd, 0, block, 1, data | (1 << 2) | 1]);
            assert_eq!(answer[1], block);
            let answer = host.done(Command::RttReadEntry, &[rd, 0, 3]);
            assert_eq!((answer[1], answer[3]), (2, data));
            let inside = [rd, bytes, 2 * bytes, 1, 0];
            let answer = host.call(Command::RttDataUnmap, &inside);
            assert_eq!(answer[0], rtt_error(Level::L2));
            let answer = host.done(Command::RttDataUnmap, &[rd, 0, block, 1, 0]);
            assert_eq!(answer[1], block);
        }
    }
}
