//! Random calls of 1.0.

use super::*;

/// Writes sixteen auxiliary granules into the parameters of a REC; only 1.0 looks at them.
pub(super) fn name_aux(machine: &mut Machine, params: u64, aux: u64) {
    let words = core::iter::once(16).chain((0..16).map(|n| aux + n * PAGE));
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    machine.poke(params + 0x800, &bytes);
}

/// A call with valid arguments; the first one is the Realm, where it takes one.
fn plausible() -> impl Strategy<Value = (Command, Vec<u64>)> {
    let rec = || (0x18..0x1a_u64).prop_map(|page| DRAM + page * PAGE);
    let delegation = select(vec![Command::GranuleDelegate, Command::GranuleUndelegate]);
    let table = select(vec![Command::RttDestroy, Command::RttFold]);
    let shared = || (0..0x204_u64).prop_map(|page| SHARED + page * PAGE);
    prop_oneof![
        6 => (protected(), page()).prop_map(|(ipa, page)| {
            (Command::DataCreateUnknown, vec![RD, page, ipa])
        }),
        2 => (protected(), page(), 0..2_u64).prop_map(|(ipa, page, flags)| {
            (Command::DataCreate, vec![RD, page, ipa, PARAMS, flags])
        }),
        4 => protected().prop_map(|ipa| (Command::DataDestroy, vec![RD, ipa])),
        2 => (shared(), page(), 2..4_u64).prop_map(|(ipa, page, level)| {
            let size = 1 << (12 + 9 * (3 - level));
            let (ipa, page) = (ipa / size * size, page / size * size);
            (Command::RttMapUnprotected, vec![RD, ipa, level, page | 0xd8])
        }),
        2 => (shared(), 2..4_u64).prop_map(|(ipa, level)| {
            let size = 1 << (12 + 9 * (3 - level));
            (Command::RttUnmapUnprotected, vec![RD, ipa / size * size, level])
        }),
        1 => (protected(), 1..5_u64).prop_map(|(ipa, n)| {
            (Command::RttInitRipas, vec![RD, ipa, ipa + n * PAGE])
        }),
        1 => (rec(), protected(), 1..5_u64).prop_map(|(rec, ipa, n)| {
            (Command::RttSetRipas, vec![RD, rec, ipa, ipa + n * PAGE])
        }),
        2 => (page(), 0..3_u64).prop_map(|(page, n)| {
            (Command::RttCreate, vec![RD, page, n << 21, 3])
        }),
        1 => (table, 0..3_u64).prop_map(|(command, n)| (command, vec![RD, n << 21, 3])),
        4 => (delegation, page()).prop_map(|(command, page)| (command, vec![page])),
        3 => rec().prop_map(|rec| (Command::RecEnter, vec![rec, RUN])),
        1 => rec().prop_map(|rec| (Command::RecDestroy, vec![rec])),
        1 => (rec(), 0..2_usize).prop_map(|(rec, n)| {
            (Command::RecCreate, vec![RD, rec, REC_PARAMS[n]])
        }),
        1 => (0..2_u64).prop_map(|n| {
            (Command::PsciComplete, vec![DRAM + 0x18 * PAGE, DRAM + 0x19 * PAGE, n])
        }),
        1 => select(vec![
            (Command::RealmCreate, vec![RD, PARAMS]),
            (Command::RealmActivate, vec![RD]),
            (Command::RealmDestroy, vec![RD]),
        ]),
    ]
}

fn call() -> impl Strategy<Value = (Command, Vec<u64>)> {
    let spoilt = (plausible(), 0..5_usize, register()).prop_map(|((command, mut x), n, value)| {
        if let Some(argument) = x.get_mut(n) {
            *argument = value;
        }
        (command, x)
    });
    let wild = (select(Command::ALL.to_vec()), prop::collection::vec(register(), 7));
    prop_oneof![8 => plausible(), 3 => spoilt, 1 => wild]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(96)
    })]

    #[test]
    fn every_granule_has_one_owner_on_1_0(
        yields in any::<bool>(),
        calls in prop::collection::vec(call(), 1..150),
        actions in prop::collection::vec(action(), 0..60),
        is_active in any::<bool>(),
    ) {
        let mut options = Options::new(Dialect::V1_0);
        options.yield_every = NonZeroU32::new(if yields { 3 } else { 0 });
        let mut machine = Machine::new(options);
        machine.audit();
        assert_eq!(machine.monitor.recs.len(), 2);
        let mut actions = actions.into_iter();
        let guest = move |_: &crate::guest::GuestCpu| actions.next().unwrap_or(Action::Spin);
        machine.monitor.guests.insert((Pa::new(RD), 0, 0), Box::new(guest));
        if is_active {
            machine.call(Command::RealmActivate, &[RD]);
        }
        for (command, arguments) in calls {
            machine.call(command, &arguments);
            machine.audit();
        }
    }
}
