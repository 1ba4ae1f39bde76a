//! The state of memory: claimed, shared, private again, partly and refused.

use rmi_abi::rsi::{Command, ReturnCode, RipasChangeFlags};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Dialect, Ipa, IpaRange};
use rsi::{Error, IpaSpace, RipasRun, RipasStep, RipasStopped, Rsi, WhyStopped};

use crate::model::{CpuConduit, Reply, Setup};
use crate::{on_each, pages, with};

const SPACE: IpaSpace = IpaSpace::new(40).unwrap();

fn setup(replies: &[Reply]) -> Setup {
    let mut setup = Setup::new(Dialect::TfRmm2026_07);
    setup.replies = replies.to_vec();
    setup
}

fn stopped(result: Result<(), RipasStopped>) -> (Ipa, WhyStopped) {
    let stopped = result.unwrap_err();
    (stopped.reached, stopped.why)
}

/// Pages 8 to 16 become EMPTY.
fn empty(rsi: &Rsi<CpuConduit<'_>>) {
    // SAFETY: nothing is there.
    unsafe { rsi.change_ripas(pages(8, 16), Ripas::Empty, RipasChangeFlags::empty()) }.unwrap();
}

#[test]
fn pages_are_shared_and_private_again() {
    on_each(|rsi| {
        let all = pages(0, 16);
        assert_eq!(rsi.is_all(all, Ripas::Ram), Ok(true));
        // SAFETY: nothing is in these pages.
        let shared = unsafe { rsi.share(&SPACE, pages(9, 11)) }.unwrap();
        assert_eq!(shared.base().raw(), pages(9, 11).base().raw() | 1 << 39);
        assert_eq!(shared.bytes(), 0x2000);
        assert_eq!(rsi.is_all(all, Ripas::Ram), Ok(false));
        assert_eq!(rsi.is_all(pages(9, 11), Ripas::Empty), Ok(true));
        assert_eq!(rsi.is_all(pages(8, 11), Ripas::Empty), Ok(false));
        assert_eq!(rsi.is_all(pages(9, 12), Ripas::Empty), Ok(false));
        let run = rsi.ripas(pages(4, 16)).unwrap();
        assert_eq!(run, RipasRun { ripas: Ripas::Ram, top: pages(9, 9).base() });
        // SAFETY: the alias is not used any more.
        unsafe { rsi.unshare(pages(9, 11)) }.unwrap();
        assert_eq!(rsi.is_all(all, Ripas::Ram), Ok(true));
        // SAFETY: the image is RAM already, and so stays as it is.
        unsafe { rsi.claim_ram(all) }.unwrap();
    });
}

#[test]
fn a_range_that_is_not_protected_is_not_shared() {
    with(setup(&[]), |rsi| {
        let range = IpaRange::with_size(Ipa::new((1 << 39) - 0x1000), 0x2000).unwrap();
        // SAFETY: nothing is there.
        let stopped = unsafe { rsi.share(&SPACE, range) }.unwrap_err();
        let command = Command::IpaStateSet;
        assert_eq!(stopped.reached, range.base());
        let WhyStopped::Call(error @ Error::Argument { value, .. }) = stopped.why else { panic!() };
        assert_eq!((error.command(), value), (command, range.base().raw()));
        // SAFETY: as above.
        let refused = unsafe { rsi.set_ripas(range, Ripas::Ram, RipasChangeFlags::empty()) };
        assert_eq!(refused.unwrap_err().status(), Some(ReturnCode::ErrorInput));
        assert_eq!(rsi.ripas(range).unwrap_err().status(), Some(ReturnCode::ErrorInput));
        assert_eq!(rsi.ripas(range).unwrap_err().command(), Command::IpaStateGet);
        assert!(rsi.is_all(range, Ripas::Ram).is_err());
        for (ripas, code) in [(Ripas::Destroyed, 2), (Ripas::Dev, 3), (Ripas::Unknown(9), 9)] {
            // SAFETY: as above.
            let refused = unsafe { rsi.set_ripas(pages(8, 9), ripas, RipasChangeFlags::empty()) };
            let Err(Error::Argument { value, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(value, code);
        }
    });
}

#[test]
fn one_call_may_do_a_part() {
    let replies = [Reply::Grant, Reply::GrantPages(3), Reply::Refuse(2), Reply::Grant];
    with(setup(&replies), |rsi| {
        empty(rsi);
        let set = |range| {
            // SAFETY: nothing is there.
            unsafe { rsi.set_ripas(range, Ripas::Ram, RipasChangeFlags::empty()) }.unwrap()
        };
        assert_eq!(set(pages(8, 16)), RipasStep::Partial(pages(11, 11).base()));
        assert_eq!(set(pages(11, 16)), RipasStep::Rejected(pages(13, 13).base()));
        assert_eq!(rsi.is_all(pages(8, 13), Ripas::Ram), Ok(true));
        assert_eq!(rsi.is_all(pages(13, 16), Ripas::Empty), Ok(true));
        assert_eq!(set(pages(13, 16)), RipasStep::Done);
    });
}

#[test]
fn a_loop_goes_on_where_the_host_stopped() {
    let mut replies = vec![Reply::Grant, Reply::GrantPages(1)];
    // As many calls without progress as may be, twice.
    let idle = || vec![Reply::GrantPages(0); 15];
    replies.extend([idle(), vec![Reply::GrantPages(2)], idle(), vec![Reply::Grant]].concat());
    with(setup(&replies), |rsi| {
        assert_eq!(Rsi::<CpuConduit<'_>>::CALLS_WITHOUT_PROGRESS, 16);
        empty(rsi);
        // SAFETY: nothing is there.
        unsafe { rsi.claim_ram(pages(8, 16)) }.unwrap();
        assert_eq!(rsi.is_all(pages(0, 16), Ripas::Ram), Ok(true));
    });
}

#[test]
fn a_loop_ends_without_progress() {
    let mut replies = vec![Reply::Grant, Reply::GrantPages(3)];
    replies.extend([Reply::GrantPages(0); 16]);
    // This one is not asked for.
    replies.push(Reply::Refuse(0));
    with(setup(&replies), |rsi| {
        empty(rsi);
        // SAFETY: nothing is there.
        let end = stopped(unsafe { rsi.claim_ram(pages(8, 16)) });
        assert_eq!(end, (pages(11, 11).base(), WhyStopped::NoProgress));
        // SAFETY: as above.
        let end = stopped(unsafe { rsi.claim_ram(pages(11, 16)) });
        assert_eq!(end, (pages(11, 11).base(), WhyStopped::Rejected));
    });
}

#[test]
fn a_refusal_says_how_far_it_came() {
    let replies = [Reply::Grant, Reply::GrantPages(1), Reply::Refuse(2)];
    with(setup(&replies), |rsi| {
        empty(rsi);
        // SAFETY: nothing is there.
        let end = stopped(unsafe { rsi.unshare(pages(8, 16)) });
        assert_eq!(end, (pages(11, 11).base(), WhyStopped::Rejected));
    });
}

#[test]
fn shared_addresses() {
    assert_eq!((IpaSpace::new(31), IpaSpace::new(53)), (None, None));
    for width in 32..=52 {
        let space = IpaSpace::new(width).unwrap();
        assert_eq!((space.width(), space.shared_bit()), (width, 1 << (width - 1)));
    }
    let ipa = Ipa::new(0x1234_5000);
    let shared = Ipa::new(0x80_1234_5000);
    assert_eq!((SPACE.shared(ipa), SPACE.private(shared)), (Some(shared), Some(ipa)));
    assert_eq!((SPACE.shared(shared), SPACE.private(ipa)), (None, None));
    assert_eq!(SPACE.private(Ipa::new(1 << 40)), None);
    let last = Ipa::new((1 << 39) - 0x1000);
    assert!(SPACE.is_protected(last) && !SPACE.is_protected(Ipa::new(1 << 39)));
    let range = IpaRange::with_size(last, 0x1000).unwrap();
    assert!(SPACE.range_is_protected(&range));
    assert_eq!(SPACE.shared_range(&range).unwrap().top(), Ipa::new(1 << 40));
    let range = IpaRange::with_size(last, 0x2000).unwrap();
    assert!(!SPACE.range_is_protected(&range));
    assert_eq!(SPACE.shared_range(&range), None);
    assert_eq!(SPACE.shared_range(&IpaRange::with_size(shared, 0x1000).unwrap()), None);
}
