//! A Realm's timers through its virtual GIC: each time that one is set it interrupts the program
//! once, whenever it fires, and whether or not the host raises it before an entry.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use realm_sdk::abi::esr::SysReg;
use realm_sdk::abi::run::GicEntry;
use realm_sdk::abi::{Dialect, Ipa};
use realm_sdk::builder::{Realm, RealmConfig, RealmStorage, RecStart};
use realm_sdk::host::SessionOptions;
use realm_sdk::rec::exit::PsciNotice;
use realm_sdk::rec::gic::RecInterface;
use realm_sdk::rec::{Answer, Exit, PpiLine, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool, Pool, open};
use realm_sdk::vgic::{
    Affinity, Bank, Field, Gic, GicConfig, GicStorage, PpiIntid, Saved, VirtualInterface, Vtr,
};
use rmm_model::{Action, AsyncGuest, AsyncVcpu, Model, Options, TimerKind};

/// How often the program sets a timer.
const ROUNDS: u64 = 60;

/// Numbers that look random.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Sets both timers in turn, now and in the future; takes each interrupt once, and nothing else.
async fn program(mut cpu: AsyncVcpu, mut seed: u64) {
    cpu.write_sysreg(SysReg::ICC_PMR_EL1, 0xff).await.unwrap();
    cpu.write_sysreg(SysReg::ICC_IGRPEN1_EL1, 1).await.unwrap();
    for round in 0..ROUNDS {
        let (kind, intid) = if round.is_multiple_of(3) {
            (TimerKind::Physical, 30)
        } else {
            (TimerKind::Virtual, 27)
        };
        let ticks = next(&mut seed) % 8;
        let deadline = cpu.counter().await + ticks;
        cpu.set_timer(kind, deadline).await;
        let taken = loop {
            match cpu.acknowledge().await {
                Some(taken) => break taken,
                // Whatever ends the wait: the host's interrupts do as well.
                None => cpu.wfi().await,
            }
        };
        assert_eq!(taken, intid, "round {round}");
        assert!(cpu.counter().await >= deadline, "it has fired");
        assert_eq!(cpu.acknowledge().await, None, "it is active");
        // An exit while the interrupt is active and its line is up.
        if next(&mut seed).is_multiple_of(2) {
            cpu.act(Action::Fiq).await;
        }
        // Linux stops the timer, or sets it anew, before it ends the interrupt.
        cpu.stop_timer(kind).await;
        if next(&mut seed).is_multiple_of(2) {
            cpu.act(Action::Fiq).await;
        }
        cpu.end_of_interrupt(taken).await;
        assert_eq!(cpu.acknowledge().await, None, "its line is down");
    }
    cpu.system_off().await
}

/// Runs the program until it turns the Realm off.
fn run(dialect: Dialect, list_registers: u8, seed: u64, raises_early: bool, traps: bool) {
    let options = Options::new(dialect).with_vtr(Vtr::of_run_page(list_registers - 1));
    let model = Model::new(options).unwrap();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
    let rmm = open(model.host(), SessionOptions::default(), &mut pool).unwrap();
    let mut storage = RealmStorage::<8, 8>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let object = realm.create_rec(&mut pool, &start).unwrap();
    let guest = AsyncGuest::new(move |cpu: AsyncVcpu| program(cpu, seed));
    model.set_guest(realm.rd().pa(), 0, Box::new(guest));
    let realm = realm.activate().unwrap();
    let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), realm.geometry());
    rec.trap_waiting(traps, traps).unwrap();

    let mut registers = RecInterface::new(&rmm, model.cpu(0));
    let storage = GicStorage::<1, 0>::new();
    let affinities = [Affinity::default()];
    let config = GicConfig { affinities: &affinities, spis: 0, vtr: registers.vtr() };
    let gic = Gic::new(&storage, &config).unwrap();
    let mut kicks = gic.set_group_enables(false, true);
    kicks.add_all(gic.set_bits(Bank::Private(0), 0, Field::Enabled, u32::MAX, true));
    let raise = |lines: &[PpiLine]| {
        for line in lines {
            // There is no thread to be woken.
            let _ = gic.set_ppi(0, PpiIntid::new(line.intid).unwrap(), line.is_up);
        }
    };
    let (mut seed, mut answer) = (seed, Answer::resume());
    for entries in 0.. {
        assert!(entries < 50 * ROUNDS, "no progress");
        gic.load(0, &mut registers);
        if let Some(page) = registers.run_page() {
            let (hcr, lrs) = page.enter();
            rec.set_gic(GicEntry { hcr, lrs }).unwrap();
        }
        let event = rec.enter(&rmm, answer).unwrap();
        if let (Some(page), Some(gic)) = (registers.run_page(), rec.gic().unwrap()) {
            page.exit(gic.hcr, gic.lrs, gic.misr, gic.vmcr);
        }
        assert_eq!(gic.save(0, &mut registers).saved, Saved::Used);
        raise(&event.lines());
        // The host does something else for a while, in which the timers may fire.
        model.advance(next(&mut seed) % 3);
        answer = Answer::resume();
        match event.exit {
            Exit::PsciNotice(PsciNotice::SystemOff) => break,
            Exit::Wait(_) if !gic.has_pending(0) => {
                let deadline = event.timers.deadline().expect("it would sleep for ever");
                model.advance(deadline.saturating_sub(model.now()));
                // The line is up at the deadline, without an entry.
                if raises_early {
                    raise(&event.timers.at(model.now()).lines());
                    assert!(gic.has_pending(0));
                }
            }
            Exit::Wait(_) | Exit::Irq | Exit::Fiq => {
                if raises_early {
                    raise(&event.timers.at(model.now()).lines());
                }
            }
            other => unreachable!("{other:?}"),
        }
    }
    assert_eq!(gic.bits(Bank::Private(0), 0, Field::Pending), 0);
    assert_eq!(gic.bits(Bank::Private(0), 0, Field::Active), 0);
    let mut freed = CallbackMemory::freeing(&mut pool, drop);
    assert_eq!(realm.tear_down(&mut freed, [rec.into_parts().0]).error, None);
}

#[test]
fn a_timer_interrupts_once_each_time_that_it_is_set() {
    for dialect in Dialect::ALL {
        let is_whole = [Dialect::TfRmm2026_07, Dialect::V1_0].contains(&dialect);
        for seed in 1..if is_whole { 16 } else { 4 } {
            for list_registers in [1, 4] {
                for (raises_early, traps) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let seed = 0x9e37_79b9_7f4a_7c15 ^ seed << 32;
                    run(dialect, list_registers, seed, raises_early, traps);
                }
            }
        }
    }
}
