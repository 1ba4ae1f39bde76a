//! A Realm from an RMM that is not activated to all memory back with the host.

use rmi_abi::measurement::{DataDescriptor, RecDescriptor};
use rmi_abi::{Command, Dialect, Pa, Status};
use rmm_model::{GranuleState, Options};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use crate::host::{DIALECTS, Host, PAGE, status};

#[test]
fn an_inactive_rmm_accepts_little() {
    for dialect in DIALECTS {
        let host = Host::cold(Options::new(dialect));
        assert_eq!(host.done(Command::Version, &[0x2_0000])[1..3], [0x2_0000, 0x2_0000]);
        host.fails(Status::ErrorInput, Command::Version, &[0x1_0000]);
        let features = host.model.options().features;
        for (index, value) in (0..).zip(features) {
            assert_eq!(host.done(Command::Features, &[index])[1], value);
        }
        assert_eq!(host.done(Command::Features, &[5])[1], 0);
        let page = host.page();
        host.write(page, &[0xff; 0x1000]);
        host.done(Command::RmmConfigGet, &[page]);
        assert_eq!(host.read::<0x1000>(page), [0; 0x1000]);
        host.fails(Status::ErrorGlobal, Command::GranuleRangeDelegate, &[page, page + PAGE]);
        host.fails(Status::ErrorGlobal, Command::OpContinue, &[0, 0]);
        host.done(Command::RmmConfigSet, &[page]);
        host.done(Command::RmmActivate, &[]);
        host.fails(Status::ErrorGlobal, Command::RmmActivate, &[]);
        host.fails(Status::ErrorGlobal, Command::RmmConfigSet, &[page]);
        host.done(Command::GranuleRangeDelegate, &[page, page + PAGE]);
    }
}

#[test]
fn unknown_functions_are_answered_as_smccc_says() {
    let host = Host::tf_rmm();
    let call = |fid: u64| {
        #[expect(unsafe_code, reason = "a raw call")]
        // SAFETY: the model has memory of its own only.
        unsafe {
            rmi_host::Conduit::call(&*host.model, [fid, 1, 2, 3, 4, 5, 6, 7])
        }
    };
    for fid in [0xc400_0151, 0x8400_0150, 0xc402_0150, 0, u64::MAX, 0xc400_020f] {
        assert_eq!(call(fid), [u64::MAX, 0, 0, 0, 4, 5, 6, 7], "{fid:#x}");
    }
    let features = host.model.options().features;
    assert_eq!(call(0xc401_0165), [0, features[1], 0, 0, 4, 5, 6, 7], "with the SVE hint");
    // Bit 16 is the only bit above the number that may be set, and only the low half of X0 counts.
    assert_eq!(call(0xffff_ffff_c400_0165)[0], 0);
}

#[test]
fn a_whole_lifecycle() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let before = host.model.census();
        let realm = host.realm();
        let base = host.model.measurement(Pa::new(realm.rd), 0).unwrap();
        assert_eq!(base == [0; 64], dialect != Dialect::TfRmm2026_07);

        host.done(Command::RttInitRipas, &[realm.rd, 0x1000, 0x8000]);
        assert_eq!(host.model.measurement(Pa::new(realm.rd), 0), Some(base));
        let data = host.populate(realm, 0x1000, 0xa5, 1);
        let unmeasured = host.populate(realm, 0x2000, 0xa5, 0);
        let empty = host.map(realm, 0x3000);
        let rec = host.rec(realm, 0, true);
        let idle = host.rec(realm, 1, false);

        // The measurement is what a verifier computes from the same steps.
        let mut rim = base;
        let mut extend = |descriptor: &[u8]| {
            rim = [0; 64];
            rim[..32].copy_from_slice(&Sha256::digest(descriptor));
            rim
        };
        let mut content = [0; 64];
        content[..32].copy_from_slice(&Sha256::digest([0xa5; 0x1000]));
        let rim1 = extend(DataDescriptor::new(base, 0x1000, 1, content).as_bytes());
        let rim2 = extend(DataDescriptor::new(rim1, 0x2000, 0, [0; 64]).as_bytes());
        let mut params = [0; 0x1000];
        params[0] = 1;
        params[0x201] = 0x10;
        content[..32].copy_from_slice(&Sha256::digest(params));
        let expected = extend(RecDescriptor::new(rim2, content).as_bytes());
        assert_eq!(host.model.measurement(Pa::new(realm.rd), 0), Some(expected));

        host.done(Command::RealmActivate, &[realm.rd]);
        let census = host.model.census();
        assert_eq!((census.rd, census.rec, census.rec_aux), (1, 2, 32));
        assert_eq!((census.rtt, census.data), (7, 3));
        for granule in [realm.rd, realm.root, data, rec] {
            assert!(!host.can_read(granule));
        }
        let run = host.page();
        host.done(Command::RecEnter, &[rec, run]);
        host.fails(Status::ErrorRec, Command::RecEnter, &[idle, run]);

        host.done(Command::RealmTerminate, &[realm.rd]);
        host.fails(Status::ErrorRealm, Command::RecEnter, &[rec, run]);
        host.fails(Status::ErrorRealm, Command::RealmDestroy, &[realm.rd]);
        host.destroy_rec(rec);
        host.destroy_rec(idle);
        for (ipa, pa) in [(0x1000, data), (0x2000, unmeasured), (0x3000, empty)] {
            let answer = host.done(Command::RttDataUnmap, &[realm.rd, ipa, ipa + PAGE, 1, 0]);
            assert_eq!(answer[1..4], [ipa + PAGE, pa | 1 << 2, 0]);
        }
        for base in [0, crate::host::SHARED] {
            for level in [3, 2, 1] {
                host.done(Command::RttDestroy, &[realm.rd, base, level]);
            }
        }
        host.done(Command::RealmDestroy, &[realm.rd]);
        let census = host.model.census();
        assert_eq!(census.delegated + census.undelegated, census.total);
        for granule in 0..0x100 {
            let pa = 0x8000_0000 + granule * PAGE;
            if host.model.granule_state(Pa::new(pa)) == Some(GranuleState::Delegated) {
                host.undelegate(pa, PAGE);
            }
        }
        assert_eq!(host.model.census(), before);
        assert_eq!(host.model.open_operations(), 0);
    }
}

#[test]
fn delegation_poisons_and_undelegation_wipes() {
    let host = Host::tf_rmm();
    let page = host.page();
    host.write(page, &[7; 16]);
    host.delegate(page, PAGE);
    let mut seen = [0; 16];
    host.model.peek(Pa::new(page), &mut seen);
    assert!(seen.iter().all(|byte| *byte != 7 && *byte != 0));
    host.undelegate(page, PAGE);
    assert_eq!(host.read::<16>(page), [0; 16]);
}

#[test]
fn the_host_reaches_host_memory_only() {
    let host = Host::tf_rmm();
    let (mine, taken) = (host.page(), host.fresh(1));
    let fault = |at: u64, bytes: usize| {
        #[expect(unsafe_code, reason = "the host's view")]
        // SAFETY: the model has memory of its own only.
        let read =
            unsafe { rmi_host::HostAccess::read(&*host.model, Pa::new(at), &mut vec![0; bytes]) };
        read.err().map(|fault| fault.at.raw())
    };
    assert_eq!(fault(mine, 0x1000), None);
    assert_eq!(fault(mine + 0xffc, 8), Some(taken));
    assert_eq!(fault(taken + 8, 1), Some(taken + 8));
    assert_eq!(fault(0x1000, 1), Some(0x1000));
    assert_eq!(fault(0xbfff_ffff, 2), Some(0xc000_0000));
    assert_eq!(fault(u64::MAX, 8), Some(u64::MAX));
}

#[test]
fn only_bet3_can_be_deactivated() {
    let host = Host::new(Options::new(Dialect::V2_0Bet3));
    assert_eq!(host.done(Command::RmmStateGet, &[])[1], 2);
    let page = host.fresh(1);
    host.fails(Status::ErrorGlobal, Command::RmmDeactivate, &[]);
    host.undelegate(page, PAGE);
    host.done(Command::RmmDeactivate, &[]);
    assert_eq!(host.done(Command::RmmStateGet, &[])[1], 0);
    host.fails(Status::ErrorGlobal, Command::RmmDeactivate, &[]);
    host.done(Command::RmmActivate, &[]);
    assert_eq!(Command::RmmDeactivate.fid(Dialect::TfRmm2026_07), None);
}

#[test]
fn gpt_and_tracking_are_the_platforms() {
    let gib = 1 << 30;
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let answer = host.done(Command::GranuleTrackingGet, &[2 * gib, 3 * gib]);
        // 2.0-bet0 takes an address, and says nothing about a range.
        let is_bet0 = dialect == Dialect::V2_0Bet0;
        assert_eq!(answer[1..4], [0, 2, if is_bet0 { 0 } else { 3 * gib }]);
        assert_eq!(host.done(Command::GranuleTrackingGet, &[0, gib])[2], 1);
        let empty = host.call(Command::GranuleTrackingGet, &[gib, gib]);
        let ends = if is_bet0 { Status::Success } else { Status::ErrorInput };
        assert_eq!(status(empty), ends, "{dialect}");
        for base in [8, 1 << 48] {
            let range = [base, (1 << 48) + PAGE];
            host.fails(Status::ErrorInput, Command::GranuleTrackingGet, &range);
        }
        assert_eq!(status(host.call(Command::GranuleTrackingGet, &[(1 << 48) - PAGE])), ends);
        assert_ne!(status(host.call(Command::GptL1Create, &[2 * gib])), Status::Success);
        host.fails(Status::ErrorInput, Command::GptL1Create, &[PAGE]);
    }
    let host = Host::new(Options::new(Dialect::V2_0Bet3));
    assert_eq!(host.done(Command::GptInfo, &[2 * gib, 8 * gib])[1..3], [3 * gib, 1]);
    assert_eq!(host.done(Command::GptInfo, &[0, gib])[1..3], [gib, 0]);
    host.fails(Status::ErrorInput, Command::GptInfo, &[0, 0]);
    host.done(Command::GranuleTrackingSet, &[2 * gib, 0, 2]);
    host.fails(Status::ErrorInput, Command::GranuleTrackingSet, &[2 * gib, 0, 3]);
}
