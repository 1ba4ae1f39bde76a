//! The virtual CPU interface belongs to a REC: Realms that share physical CPUs, and threads that
//! share a session.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use realm_sdk::abi::esr::SysReg;
use realm_sdk::abi::realm::OptionalParameter;
use realm_sdk::abi::run::{GicEntry, GicExit};
use realm_sdk::abi::{Dialect, Ipa};
use realm_sdk::builder::{Active, Realm, RealmConfig, RealmStorage, RecStart};
use realm_sdk::host::{Host, Platform, Rmm, SessionOptions, Undelegated};
use realm_sdk::rec::gic::RecInterface;
use realm_sdk::rec::{Answer, Event, Exit, Handler, Kick, Rec, RunEnd, Timers};
use realm_sdk::sro::{CallbackMemory, FixedPool, Pool, Session, open};
use realm_sdk::vgic::{InterfaceState, Intid, Saved, State, VirtualInterface, Vtr};
use rmm_model::{Action, Cpu, GuestCpu, Model, Options, Outcome};

/// Those in which the virtual CPU interface is the CPU's.
fn with_registers_of_the_cpu() -> impl Iterator<Item = Dialect> {
    Dialect::ALL.into_iter().filter(|dialect| !dialect.gic_in_run_page())
}

fn model(dialect: Dialect) -> Model {
    // As QEMU's `virt` machine.
    Model::new(Options::new(dialect).with_vtr(Vtr::of_run_page(3))).unwrap()
}

fn session<P: Platform>(platform: P, pool: &mut FixedPool<8>) -> Session<P> {
    open(platform, SessionOptions::default(), pool).unwrap()
}

/// Fills a pool with enough for one Realm and the session.
fn fill(pool: &mut FixedPool<8>, memory: &mut Undelegated) {
    pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
}

/// An active Realm with one REC, whose program does these actions; the values that it reads are
/// sent to the receiver. No other Realm has its number.
fn realm<'r, P: Platform>(
    rmm: &'r Rmm<P>,
    number: u16,
    storage: &'r mut RealmStorage<8, 8>,
    pool: &mut FixedPool<8>,
    model: &Model,
    run: Undelegated,
    actions: Vec<Action>,
) -> (Realm<'r, P, Active>, Rec, Receiver<u64>) {
    let mut config = RealmConfig::new(40);
    if OptionalParameter::Vmid.exists_in(rmm.dialect()) {
        config.vmid = number;
    }
    let mut realm = Realm::create(rmm, &config, storage, pool).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let object = realm.create_rec(pool, &start).unwrap();
    let (sender, values) = channel();
    let mut actions = actions.into_iter();
    let mut reads = false;
    let guest = move |cpu: &GuestCpu| {
        if let (true, Outcome::Read(value)) = (reads, cpu.last) {
            let _ = sender.send(value);
        }
        let action = actions.next().unwrap_or(Action::Spin);
        reads = matches!(action, Action::SysRegRead { .. });
        action
    };
    model.set_guest(realm.rd().pa(), 0, Box::new(guest));
    let realm = realm.activate().unwrap();
    let rec = Rec::new(object, run, realm.geometry());
    (realm, rec, values)
}

type Interface<'m> = RecInterface<Cpu<'m>>;

/// One entry with the REC's interface loaded; returns the exit.
fn enter<P: Platform>(
    rmm: &Rmm<P>,
    rec: &mut Rec,
    state: &mut InterfaceState,
    interface: &mut Interface<'_>,
) -> (Event, Saved) {
    state.load(interface);
    if let Some(page) = interface.run_page() {
        let (hcr, lrs) = page.enter();
        rec.set_gic(GicEntry { hcr, lrs }).unwrap();
    }
    let event = rec.enter(rmm, Answer::resume()).unwrap();
    if let (Some(page), Some(gic)) = (interface.run_page(), rec.gic().unwrap()) {
        page.exit(gic.hcr, gic.lrs, gic.misr, gic.vmcr);
    }
    (event, state.save(interface))
}

fn state_for(interface: &impl VirtualInterface) -> InterfaceState {
    InterfaceState::new(interface.vtr())
}

/// Two Realms on one CPU, entered by `enter`, each with its own state: Realm A sets its mask and
/// holds the timer's interrupt active while Realm B runs and waits for its own. Returns what A and
/// B read.
fn two_realms_on_one_cpu(
    dialect: Dialect,
    enter: impl Fn(&Rmm<Host<&Model, &Model>>, &mut Rec, &mut InterfaceState, &mut Interface<'_>),
) -> [Vec<u64>; 2] {
    let model = model(dialect);
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    fill(&mut pool, &mut memory);
    fill(&mut pool, &mut memory);
    let rmm = session(model.host(), &mut pool);
    let (mut a_storage, mut b_storage) = (RealmStorage::new(), RealmStorage::new());
    let read = |register| Action::read_register(register);
    let a_actions = vec![
        Action::set_priority_mask(0xf0),
        Action::enable_group_1(true),
        Action::acknowledge(),
        Action::Interrupt,
        read(SysReg::ICC_PMR_EL1),
        read(SysReg::ICC_IGRPEN1_EL1),
        read(SysReg::ICC_RPR_EL1),
        Action::end_of_interrupt(27),
        read(SysReg::ICC_RPR_EL1),
    ];
    let b_actions = vec![
        read(SysReg::ICC_PMR_EL1),
        read(SysReg::ICC_IGRPEN1_EL1),
        Action::set_priority_mask(0xe0),
        Action::enable_group_1(true),
        Action::acknowledge(),
        Action::enable_group_1(false),
        Action::set_priority_mask(0),
    ];
    let mut page = || memory.take_front(0x1000).unwrap();
    let (a_page, b_page) = (page(), page());
    let (a_realm, mut a, a_values) =
        realm(&rmm, 1, &mut a_storage, &mut pool, &model, a_page, a_actions);
    let (b_realm, mut b, b_values) =
        realm(&rmm, 2, &mut b_storage, &mut pool, &model, b_page, b_actions);

    // Each Realm's, where they are in run pages.
    let [mut a_interface, mut b_interface] = [RecInterface::new(&rmm, model.cpu(0)); 2];
    let (mut a_state, mut b_state) = (state_for(&a_interface), state_for(&b_interface));
    for state in [&mut a_state, &mut b_state] {
        state.list_registers_mut().set_pending(Intid::VIRTUAL_TIMER, 0x80).unwrap();
    }
    enter(&rmm, &mut a, &mut a_state, &mut a_interface);
    enter(&rmm, &mut b, &mut b_state, &mut b_interface);
    enter(&rmm, &mut a, &mut a_state, &mut a_interface);
    let read = [a_values, b_values].map(|values| values.try_iter().collect());

    for (realm, rec) in [(a_realm, a), (b_realm, b)] {
        let (object, _page) = rec.into_parts();
        assert_eq!(
            realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [object]).error,
            None
        );
    }
    read
}

#[test]
fn each_realm_has_its_own_interface_on_a_shared_cpu() {
    for dialect in Dialect::ALL {
        let [a, b] = two_realms_on_one_cpu(dialect, |rmm, rec, state, interface| {
            let (event, saved) = enter(rmm, rec, state, interface);
            assert!(matches!(event.exit, Exit::Irq | Exit::Fiq));
            assert_eq!(saved, Saved::Used);
        });
        assert_eq!(a, [27, 0xf0, 1, 0x80, 0xff], "{dialect}");
        assert_eq!(b, [0, 0, 27], "{dialect}");
    }
}

#[test]
fn a_host_that_swaps_list_registers_alone_fails_on_the_model() {
    for dialect in with_registers_of_the_cpu() {
        let [a, b] = two_realms_on_one_cpu(dialect, |rmm, rec, state, cpu| {
            for n in 0..4 {
                let register = state.list_registers().iter().nth(n);
                cpu.set_list_register(n, register.map_or(0, |register| register.raw()));
            }
            cpu.set_hcr(1);
            let _ = rec.enter(rmm, Answer::resume()).unwrap();
            let _ = state.save(cpu);
        });
        // B finds A's mask and groups, and A's active priority blocks B's timer interrupt; A then
        // finds B's.
        assert_eq!(b, [0xf0, 1, 1023], "{dialect}");
        assert_eq!(a, [27, 0, 0, 0x80, 0xff], "{dialect}");
    }
}

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn threads_that_share_a_session_run_recs_on_their_own_cpus() {
    for dialect in Dialect::ALL {
        three_threads(dialect);
    }
}

fn three_threads(dialect: Dialect) {
    const THREADS: usize = 3;
    let model = model(dialect);
    let conduit = model.calling_cpu(|| CPU.get());
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    let rmm = {
        fill(&mut pool, &mut memory);
        session(conduit.host(), &mut pool)
    };
    let parts: Vec<_> = (0..THREADS).map(|_| memory.take_front(1 << 20).unwrap()).collect();
    thread::scope(|scope| {
        for ((number, vmid), mut memory) in (1..).zip(1..).zip(parts) {
            let (rmm, model, conduit) = (&rmm, &model, &conduit);
            scope.spawn(move || {
                CPU.set(number);
                let pages = memory.take_front(Pool::PAGES).unwrap();
                let mut pool = FixedPool::<8>::new();
                pool.add(pages).unwrap();
                fill(&mut pool, &mut memory);
                let mut storage = RealmStorage::new();
                let mut actions = vec![Action::enable_group_1(true)];
                let mask = 0x90 + 8 * u8::try_from(number).unwrap();
                actions.push(Action::set_priority_mask(mask));
                for _ in 0..20 {
                    actions.extend([
                        Action::Interrupt,
                        Action::acknowledge(),
                        Action::end_of_interrupt(26 + number),
                        Action::read_register(SysReg::ICC_PMR_EL1),
                    ]);
                }
                let page = memory.take_front(0x1000).unwrap();
                let (realm, mut rec, values) =
                    realm(rmm, vmid, &mut storage, &mut pool, model, page, actions);
                let mut interface = RecInterface::new(rmm, conduit.cpu());
                let mut state = state_for(&interface);
                let intid = Intid::new(26 + number).unwrap();
                for _ in 0..21 {
                    let (_, saved) = enter(rmm, &mut rec, &mut state, &mut interface);
                    assert_eq!(saved, Saved::Used);
                    state.list_registers_mut().set_pending(intid, 0x80).unwrap();
                }
                let read: Vec<_> = values.try_iter().collect();
                let expected = [u64::from(26 + number), mask.into()];
                assert_eq!(read.chunks(2).filter(|pair| **pair == expected).count(), 20);
                let pending = state.list_registers().get(intid).unwrap();
                assert_eq!(pending.state(), State::Pending);
                let (object, _page) = rec.into_parts();
                assert_eq!(
                    realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [object]).error,
                    None
                );
            });
        }
    });
}

#[test]
fn an_interface_that_the_entry_did_not_use_is_reported() {
    for dialect in with_registers_of_the_cpu() {
        on_another_cpu(dialect);
    }
}

fn on_another_cpu(dialect: Dialect) {
    let model = model(dialect);
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    fill(&mut pool, &mut memory);
    // The session's calls come from CPU 1, and the host loads the registers of CPU 2.
    let conduit = model.cpu(1);
    let rmm = session(conduit.host(), &mut pool);
    let mut storage = RealmStorage::new();
    let page = memory.take_front(0x1000).unwrap();
    let actions =
        vec![Action::set_priority_mask(0xf0), Action::enable_group_1(true), Action::acknowledge()];
    let (realm, mut rec, values) = realm(&rmm, 1, &mut storage, &mut pool, &model, page, actions);
    let [mut used, mut other] = [conduit, model.cpu(2)].map(RecInterface::Cpu);
    let mut state = state_for(&used);
    state.list_registers_mut().set_pending(Intid::VIRTUAL_TIMER, 0x80).unwrap();
    let (_, saved) = enter(&rmm, &mut rec, &mut state, &mut other);
    assert_eq!((saved, values.try_iter().collect()), (Saved::Unused, vec![1023]));
    // The host still has to deliver the interrupt.
    let timer = state.list_registers().get(Intid::VIRTUAL_TIMER).unwrap();
    assert_eq!(timer.state(), State::Pending);
    let (_, saved) = enter(&rmm, &mut rec, &mut state, &mut used);
    assert_eq!(saved, Saved::Used);
    let (object, _page) = rec.into_parts();
    assert_eq!(
        realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [object]).error,
        None
    );
}

/// A host that only runs a REC with its interface, on one CPU.
struct Board<'m> {
    interface: Interface<'m>,
    state: InterfaceState,
    exits: u32,
}

impl Handler for Board<'_> {
    fn before_entry(&mut self, _: &Rec) {
        self.state.load(&mut self.interface);
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        let _ = self.state.save(&mut self.interface);
    }

    fn gic_entry(&mut self, gic: &mut GicEntry) {
        if let Some(page) = self.interface.run_page() {
            (gic.hcr, gic.lrs) = page.enter();
        }
    }

    fn gic_exit(&mut self, gic: &GicExit) {
        if let Some(page) = self.interface.run_page() {
            page.exit(gic.hcr, gic.lrs, gic.misr, gic.vmcr);
        }
    }

    fn after_exit(&mut self, _: Timers, _: bool) {
        assert_eq!(self.state.save(&mut self.interface), Saved::Used);
        self.exits += 1;
    }
}

#[test]
fn a_kick_and_an_interrupt_end_a_run_from_another_thread() {
    for dialect in Dialect::ALL {
        kicked(dialect);
    }
}

fn kicked(dialect: Dialect) {
    let model = model(dialect);
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    fill(&mut pool, &mut memory);
    let cpu = model.cpu(3);
    let rmm = session(cpu.host(), &mut pool);
    let mut storage = RealmStorage::new();
    let page = memory.take_front(0x1000).unwrap();
    let (realm, rec, _) = realm(&rmm, 1, &mut storage, &mut pool, &model, page, Vec::new());
    // It would run for a minute before the model takes it off the CPU.
    let (running, runs) = channel();
    let mut actions = 0_u64;
    let busy = move |_: &GuestCpu| {
        actions += 1;
        if actions == 5 {
            let _ = running.send(());
        }
        thread::sleep(Duration::from_millis(1));
        Action::Set { register: 0, value: actions }
    };
    model.set_guest(realm.rd().pa(), 0, Box::new(busy));
    let kick = Kick::new();
    let interface = RecInterface::new(&rmm, cpu);
    let mut board = Board { interface, state: state_for(&interface), exits: 0 };
    let started = Instant::now();
    let stopped = thread::scope(|scope| {
        let kick = &kick;
        scope.spawn(move || {
            runs.recv().unwrap();
            kick.request();
            cpu.interrupt();
        });
        rec.run(&rmm, Answer::resume(), &mut board, kick).unwrap()
    });
    assert!(matches!(stopped, RunEnd::Kicked(_)));
    assert_eq!((board.exits, cpu.take_interrupt(), cpu.hcr()), (1, false, 0));
    assert!(started.elapsed() < Duration::from_secs(30));
    let (object, _page) = rec.into_parts();
    assert_eq!(
        realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [object]).error,
        None
    );
}
