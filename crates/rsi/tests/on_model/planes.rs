//! Planes and their permissions.

use rmi_abi::realm::OptionalParameter;
use rmi_abi::rsi::{
    Command, MemPermission, PlaneEnter, PlaneEnterFlags, PlaneExitReason, PlaneRunPage2_0,
    ReturnCode, SysregAddress, Version,
};
use rmi_abi::{Dialect, Ipa};
use rmm_model::{Action, Script};
use rsi::{Error, PermissionCookie, PermissionStep, PlaneRunPage, Rsi, WhyStopped};

use crate::model::{self, CpuConduit, Reply, Setup};
use crate::{pages, with};

/// Those in which Realms have planes.
fn with_planes() -> impl Iterator<Item = Dialect> {
    Dialect::ALL.into_iter().filter(|dialect| OptionalParameter::NumAuxPlanes.exists_in(*dialect))
}

/// Three auxiliary planes with indirect permissions in one tree, or with a tree each.
fn setup(dialect: Dialect, tree_per_plane: bool, replies: &[Reply]) -> Setup {
    let mut setup = Setup::new(dialect);
    setup.options.features[3] = 3 | 1 << 4 | 1 << 6;
    setup.planes = 2;
    setup.tree_per_plane = tree_per_plane;
    setup.replies = replies.to_vec();
    setup
}

#[test]
fn a_plane_runs_and_exits() {
    for dialect in with_planes() {
        let plane =
            Script::new(vec![Action::Set { register: 5, value: 0x5555 }, Action::Wfi, Action::Hvc]);
        let program = |conduit: CpuConduit<'_>| {
            let rsi = Rsi::open(conduit).unwrap();
            let mut page = PlaneRunPage2_0::zeroed();
            let enter = PlaneEnter {
                flags: PlaneEnterFlags::TRAP_WFI,
                pc: model::RAM + 0x3000,
                pstate: 0x3c5,
                gprs: std::array::from_fn(|register| register as u64),
                gicv3_hcr: 0,
                gicv3_lrs: [0; 16],
            };
            page.enter = enter.encode_2_0();
            // SAFETY: the program of the plane stores nothing.
            let exit = unsafe { rsi.enter_plane(1, &mut page) }.unwrap();
            assert_eq!(exit.reason, PlaneExitReason::Sync);
            // A trapped WFI.
            assert_eq!(exit.esr_el2 >> 26, 1);
            assert_eq!((exit.gprs[5], exit.gprs[6]), (0x5555, 6));
            assert_eq!(page.plane_exit(), exit);
            page.enter.gprs = exit.gprs;
            page.enter.pc = exit.elr_el2;
            // SAFETY: as above.
            let exit = unsafe { rsi.enter_plane(1, &mut page) }.unwrap();
            assert_eq!((exit.esr_el2 >> 26, exit.elr_el2), (0x16, page.enter.pc + 4));

            let elr = SysregAddress::new(3, 0, 4, 0, 1);
            rsi.set_plane_register(1, elr, 0x8_0000_1234).unwrap();
            assert_eq!(rsi.plane_register(1, elr), Ok(0x8_0000_1234));
            assert_eq!(rsi.plane_register(2, elr), Ok(0));
            let refused = Some(ReturnCode::ErrorInput);
            assert_eq!(rsi.plane_register(0, elr).unwrap_err().status(), refused);
            assert_eq!(rsi.set_plane_register(3, elr, 0).unwrap_err().status(), refused);
            // SAFETY: nothing runs.
            let error = unsafe { rsi.enter_plane(0, &mut page) }.unwrap_err();
            assert_eq!((error.command(), error.status()), (Command::PlaneEnter, refused));
        };
        let setup = setup(dialect, false, &[]);
        model::run(setup, program, |_| (), Some(Box::new(plane)));
    }
}

#[test]
fn permissions_are_read_set_and_locked() {
    for dialect in with_planes() {
        with(setup(dialect, false, &[]), |rsi| {
            assert_eq!(rsi.permission(0, 3), Ok(MemPermission::ReadWriteUpx));
            assert_eq!(rsi.permission(1, 14), Ok(MemPermission::None));
            assert_eq!(rsi.set_permission(1, 3, MemPermission::ReadOnlyPx), Ok(()));
            assert_eq!(rsi.permission(1, 3), Ok(MemPermission::ReadOnlyPx));
            let refused = |error: Error| (error.command(), error.status());
            let input = Some(ReturnCode::ErrorInput);
            let error = rsi.permission(1, 15).unwrap_err();
            assert_eq!(refused(error), (Command::MemGetPermValue, input));
            let error = rsi.set_permission(1, 0, MemPermission::ReadOnly).unwrap_err();
            assert_eq!(refused(error), (Command::MemSetPermValue, input));
            assert_eq!(rsi.change_permission_index(pages(4, 8), 3), Ok(()));
            assert!(rsi.set_permission(1, 3, MemPermission::ReadOnly).is_err());
            let stopped = rsi.change_permission_index(pages(4, 8), 15).unwrap_err();
            let WhyStopped::Call(error) = stopped.why else { panic!("{stopped}") };
            assert_eq!(stopped.reached, pages(4, 4).base());
            assert_eq!(refused(error), (Command::MemSetPermIndex, input));
        });
    }
}

#[test]
fn an_index_is_given_in_parts() {
    let replies = [Reply::GrantPages(2), Reply::GrantPages(1), Reply::Grant, Reply::Refuse(1)];
    for dialect in with_planes() {
        with(setup(dialect, false, &replies), |rsi| {
            let first = PermissionCookie::default();
            let step = rsi.set_permission_index(pages(4, 8), 3, first).unwrap();
            let PermissionStep::Partial(reached, _) = step else { panic!("{step:?}") };
            assert_eq!(reached, pages(6, 6).base());
            assert_eq!(rsi.change_permission_index(pages(6, 8), 3), Ok(()));
            let step = rsi.set_permission_index(pages(4, 8), 4, first).unwrap();
            assert_eq!(step, PermissionStep::Rejected(pages(5, 5).base()));
        });
    }
}

#[test]
fn a_refused_index_stops() {
    let mut replies = vec![Reply::GrantPages(1)];
    replies.extend([Reply::GrantPages(0); 16]);
    replies.push(Reply::Refuse(2));
    with(setup(Dialect::TfRmm2026_07, false, &replies), |rsi| {
        let stopped = rsi.change_permission_index(pages(4, 8), 3).unwrap_err();
        let reached = pages(5, 5).base();
        assert_eq!((stopped.reached, stopped.why), (reached, WhyStopped::NoProgress));
        let stopped = rsi.change_permission_index(pages(4, 8), 3).unwrap_err();
        let reached = pages(6, 6).base();
        assert_eq!((stopped.reached, stopped.why), (reached, WhyStopped::Rejected));
    });
}

/// With a tree for each plane, the RMM goes through the range once for each.
#[test]
fn an_index_is_given_in_every_tree() {
    for dialect in with_planes() {
        with(setup(dialect, true, &[]), |rsi| {
            assert_eq!(rsi.change_permission_index(pages(4, 8), 3), Ok(()));
            let first = PermissionCookie::default();
            let step = rsi.set_permission_index(pages(4, 8), 3, first).unwrap();
            let PermissionStep::Partial(again, cookie) = step else { panic!("{step:?}") };
            assert_eq!(again, pages(4, 4).base());
            assert_ne!(cookie, first);
        });
    }
}

#[test]
fn older_versions_have_no_planes() {
    let mut old = Setup::new(Dialect::TfRmm2026_07);
    old.options.rsi = Version::V1_0;
    with(old, |rsi| {
        let mut page = PlaneRunPage2_0::zeroed();
        // SAFETY: nothing runs.
        let missing = unsafe { rsi.enter_plane(1, &mut page) }.unwrap_err();
        assert!(matches!(missing, Error::NotSupported { .. }), "{missing}");
        assert_eq!(missing.command(), Command::PlaneEnter);
        assert_eq!(missing.status(), Some(ReturnCode::NOT_SUPPORTED));
        assert!(matches!(rsi.permission(0, 0), Err(Error::NotSupported { .. })));
        assert_eq!(Ipa::new(model::RAM), pages(0, 0).base());
    });
}
