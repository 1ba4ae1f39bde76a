//! Realms that run: which accesses reach memory, which reach the host, and what the Realm sees of
//! the answers.

use std::sync::{Arc, Mutex};

use rmi_abi::esr::{Esr, ExceptionClass, fault_address, fault_page};
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmi_abi::{Command, Ipa, Pa, Status};
use rmm_model::{Action, GuestCpu, Options, Outcome, SysReg, TimerKind};

use crate::host::{ALL, DIALECTS, Host, PAGE, SHARED};

const EMUL_MMIO: u64 = RecEnterFlags::EMUL_MMIO.bits();
const INJECT_SEA: u64 = RecEnterFlags::INJECT_SEA.bits();

/// A script that records what it sees before each action.
fn recorded(actions: Vec<Action>) -> (impl FnMut(&GuestCpu) -> Action, Arc<Mutex<Vec<GuestCpu>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut actions = actions.into_iter();
    let guest = move |cpu: &GuestCpu| {
        log.lock().unwrap().push(*cpu);
        actions.next().unwrap_or(Action::Spin)
    };
    (guest, seen)
}

fn outcomes(seen: &Mutex<Vec<GuestCpu>>) -> Vec<Outcome> {
    seen.lock().unwrap().iter().skip(1).map(|cpu| cpu.last).collect()
}

fn load(ipa: u64) -> Action {
    Action::Load { ipa: Ipa::new(ipa), bytes: 4 }
}

fn store(ipa: u64, value: u64) -> Action {
    Action::Store { ipa: Ipa::new(ipa), bytes: 4, value }
}

#[test]
fn memory_of_the_realm_is_real() {
    let host = Host::tf_rmm();
    let (guest, seen) = recorded(vec![
        Action::Store { ipa: Ipa::new(0x1008), bytes: 8, value: 0x1122_3344_5566_7788 },
        Action::Load { ipa: Ipa::new(0x100c), bytes: 2 },
        load(0x1000),
        Action::Load { ipa: Ipa::new(0x1001), bytes: 4 },
        Action::Fetch { ipa: Ipa::new(0x1000) },
    ]);
    let realm = host.realm();
    let data = host.populate(realm, 0x1000, 0xa5, 1);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = crate::host::Running { host: &host, realm, rec, run: host.page() };
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    assert_eq!(
        outcomes(&seen),
        [
            Outcome::Stored,
            Outcome::Loaded(0x3344),
            Outcome::Loaded(0xa5a5_a5a5),
            Outcome::Aborted,
            Outcome::Fetched,
        ]
    );
    let mut word = [0; 8];
    host.model.peek(Pa::new(data + 8), &mut word);
    assert_eq!(u64::from_le_bytes(word), 0x1122_3344_5566_7788);
}

#[test]
fn emulated_devices() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let (guest, seen) = recorded(vec![
            store(SHARED + 0x5008, 0xfff_ffff_1234),
            Action::Load { ipa: Ipa::new(SHARED + 0x5010), bytes: 2 },
            load(SHARED + 0x6000),
        ]);
        let running = host.running(guest);
        let (reason, exit) = running.enter(0, &[]);
        let esr = Esr(exit.esr);
        assert_eq!((reason, esr.class()), (ExitReason::Sync, ExceptionClass::DataAbort));
        assert!(esr.is_valid_syndrome() && esr.is_write() && !esr.is_64_bit_register());
        assert_eq!((esr.access_bytes(), exit.gprs[0]), (4, 0xffff_1234));
        assert_eq!(fault_address(exit.hpfar, exit.far), Ipa::new(SHARED + 0x5008));
        // When it is not answered, the instruction is executed again.
        assert_eq!(running.enter(0, &[]).1.esr, exit.esr);
        let (_, exit) = running.enter(EMUL_MMIO, &[]);
        assert!(!Esr(exit.esr).is_write() && Esr(exit.esr).access_bytes() == 2);
        assert_eq!(fault_address(exit.hpfar, exit.far), Ipa::new(SHARED + 0x5010));
        running.enter(EMUL_MMIO, &[0xdead_beef]);
        running.enter(INJECT_SEA | EMUL_MMIO, &[]);
        let expected = [Outcome::Stored, Outcome::Loaded(0xbeef), Outcome::Aborted];
        assert_eq!(outcomes(&seen), expected);
        running.refused(EMUL_MMIO, Status::ErrorRec);
        running.refused(INJECT_SEA, Status::ErrorRec);
    }
}

#[test]
fn mapped_host_memory_is_shared() {
    let host = Host::tf_rmm();
    let (guest, seen) = recorded(vec![
        store(SHARED, 0x77),
        store(SHARED + PAGE, 1),
        load(SHARED + 2 * PAGE),
        Action::Fetch { ipa: Ipa::new(SHARED) },
    ]);
    let running = host.running(guest);
    let (page, read_only, delegated) = (host.page(), host.page(), host.page());
    for (n, flags, pa) in
        [(0, 0x1e_0001, page), (1, 0x16_0001, read_only), (2, 0x1e_0001, delegated)]
    {
        let ipa = SHARED + n * PAGE;
        host.done(Command::RttUnprotMap, &[running.realm.rd, ipa, ipa + PAGE, flags, pa | 4]);
    }
    host.delegate(delegated, PAGE);
    let (_, exit) = running.enter(0, &[]);
    assert_eq!(host.words(page, 1), [0x77]);
    assert_eq!((Esr(exit.esr).fault_status(), Esr(exit.esr).is_write()), (0x0f, true));
    running.enter(EMUL_MMIO, &[]);
    // An access to a page that the host has delegated aborts in the Realm, as a granule protection
    // fault would.
    let expected = [Outcome::Stored, Outcome::Stored, Outcome::Aborted, Outcome::Aborted];
    assert_eq!(outcomes(&seen), expected);
}

#[test]
fn missing_empty_and_destroyed_memory() {
    let host = Host::tf_rmm();
    let (guest, seen) = recorded(vec![
        load(0x3000),
        store(0x1000, 5),
        Action::Fetch { ipa: Ipa::new(0x2000) },
        load(1 << 45),
    ]);
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, 0x1000, 0x3000]);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = crate::host::Running { host: &host, realm, rec, run: host.page() };
    for _ in 0..2 {
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!((reason, exit.esr, exit.far), (ExitReason::Sync, 0x9000_0007, 0));
        assert_eq!(fault_page(exit.hpfar), Ipa::new(0x1000));
        running.refused(INJECT_SEA, Status::ErrorRec);
    }
    let data = host.map(realm, 0x1000);
    let (_, exit) = running.enter(0, &[]);
    assert_eq!((exit.esr, fault_page(exit.hpfar)), (0x8000_0007, Ipa::new(0x2000)));
    let mut word = [0; 1];
    host.model.peek(Pa::new(data), &mut word);
    assert_eq!(word, [5]);
    // Destroyed memory keeps faulting, even after new memory is mapped.
    host.map(realm, 0x2000);
    host.done(Command::RttDataUnmap, &[realm.rd, 0x2000, 0x3000, 0, 0]);
    host.map(realm, 0x2000);
    assert_eq!(running.enter(0, &[]).1.esr, 0x8000_0007);
    assert_eq!(outcomes(&seen), [Outcome::Aborted, Outcome::Stored]);
}

#[test]
fn the_realm_changes_its_ripas() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let (base, top) = (Ipa::new(0x4000), Ipa::new(0x8000));
        let (guest, seen) = recorded(vec![
            Action::ipa_state_set(base, top, Ripas::Ram, 0),
            Action::ipa_state_set(base, top, Ripas::Ram, 0),
            Action::ipa_state_get(base, top),
            Action::ipa_state_set(base, top, Ripas::Destroyed, 0),
        ]);
        let running = host.running(guest);
        let (rd, rec) = (running.realm.rd, running.rec);
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!(reason, ExitReason::RipasChange);
        assert_eq!((exit.ripas_base, exit.ripas_top, exit.ripas_value), (0x4000, 0x8000, 1));
        host.fails(Status::ErrorInput, Command::RttSetRipas, &[rd, rec, 0x5000, 0x8000]);
        host.fails(Status::ErrorInput, Command::RttSetRipas, &[rd, rec, 0x4000, 0x9000]);
        host.fails(Status::ErrorInput, Command::RttSetRipas, &[rd, rec, 0x4000, 0x4000]);
        let half = [rd, rec, 0x4000, 0x6000];
        assert_eq!(host.done(Command::RttSetRipas, &half)[1], 0x6000);
        host.fails(Status::ErrorInput, Command::RttSetRipas, &half);
        // A partial change, accepted as far as it goes; then one that is rejected.
        running.enter(0, &[]);
        let (reason, _) = running.enter(RecEnterFlags::RIPAS_REJECT.bits(), &[]);
        assert_eq!(reason, ExitReason::Fiq);
        let x: Vec<[u64; 3]> =
            seen.lock().unwrap().iter().map(|cpu| [cpu.x[0], cpu.x[1], cpu.x[2]]).collect();
        let expected = [[0, 0x6000, 0], [0, 0x4000, 1], [0, 0x6000, 1], [1, 0, 0]];
        assert_eq!(x[1..], expected);
        host.fails(Status::ErrorInput, Command::RttSetRipas, &[rd, rec, 0x4000, 0x6000]);
    }
}

#[test]
fn destroyed_memory_becomes_ram_only_if_the_realm_asks() {
    let host = Host::tf_rmm();
    let (base, top) = (Ipa::new(0x4000), Ipa::new(0x5000));
    let script = [0, 1].map(|flags| Action::ipa_state_set(base, top, Ripas::Ram, flags));
    let running = host.script(script.to_vec());
    let rd = running.realm.rd;
    host.done(Command::RttDestroy, &[rd, 0, 3]);
    host.table(running.realm, 0, 3);
    running.enter(0, &[]);
    let set = [rd, running.rec, 0x4000, 0x5000];
    host.fails(Status::ErrorRtt, Command::RttSetRipas, &set);
    running.enter(0, &[]);
    host.done(Command::RttSetRipas, &set);
    assert_eq!(host.entry(running.realm, 0x4000, 3), (0, 0, 1));
}

#[test]
fn a_host_call_there_and_back() {
    let host = Host::tf_rmm();
    let (guest, seen) = recorded(vec![
        Action::host_call(Ipa::new(0x1080)),
        Action::host_call(Ipa::new(SHARED)),
        Action::Store { ipa: Ipa::new(0x1100), bytes: 2, value: 0x1234 },
        Action::Store { ipa: Ipa::new(0x1108), bytes: 8, value: 42 },
        Action::host_call(Ipa::new(0x1100)),
        Action::Load { ipa: Ipa::new(0x1110), bytes: 8 },
    ]);
    let realm = host.realm();
    host.populate(realm, 0x1000, 0, 0);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = crate::host::Running { host: &host, realm, rec, run: host.page() };
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.imm, exit.gprs[0]), (ExitReason::HostCall, 0x1234, 42));
    // The structure is unmapped, so the reply cannot be written: the REC exits with an abort there
    // and does not run.
    let data = host.entry(realm, 0x1000, 3).1;
    host.done(Command::RttDataUnmap, &[realm.rd, 0x1000, 0x2000, 0, 0]);
    let count = seen.lock().unwrap().len();
    let (reason, exit) = running.enter(0, &[7, 8]);
    assert_eq!((reason, exit.esr), (ExitReason::Sync, 0x9000_0007));
    assert_eq!(fault_page(exit.hpfar), Ipa::new(0x1000));
    assert_eq!(seen.lock().unwrap().len(), count);
    host.undelegate(data, PAGE);
    let results: Vec<u64> = seen.lock().unwrap().iter().map(|cpu| cpu.x[0]).collect();
    assert_eq!(results[1..3], [1, 1], "unaligned, and not protected");
}

#[test]
fn a_host_call_is_answered_in_memory() {
    let host = Host::tf_rmm();
    let (guest, seen) = recorded(vec![
        Action::host_call(Ipa::new(0x1100)),
        Action::Load { ipa: Ipa::new(0x1110), bytes: 8 },
    ]);
    let realm = host.realm();
    host.populate(realm, 0x1000, 0, 0);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = crate::host::Running { host: &host, realm, rec, run: host.page() };
    assert_eq!(running.enter(0, &[]).0, ExitReason::HostCall);
    running.enter(0, &[7, 8]);
    assert_eq!(outcomes(&seen), [Outcome::Returned, Outcome::Loaded(8)]);
}

#[test]
fn cpu_on_with_both_forms_of_psci_complete() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let (guest, seen) = recorded(vec![
            Action::psci_cpu_on(9, 0x2000, 0),
            Action::psci_cpu_on(1, SHARED, 0),
            Action::psci_cpu_on(0, 0x2000, 0),
            Action::psci_cpu_on(1, 0x2000, 99),
            Action::psci_cpu_on(1, 0x2000, 99),
        ]);
        let realm = host.realm();
        let (rec, second) = (host.rec(realm, 0, true), host.rec(realm, 1, false));
        host.done(Command::RealmActivate, &[realm.rd]);
        host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
        let (other, started) = recorded(vec![Action::psci_cpu_off()]);
        host.model.set_guest(Pa::new(realm.rd), 1, Box::new(other));
        let running = crate::host::Running { host: &host, realm, rec, run: host.page() };
        let target = crate::host::Running { host: &host, realm, rec: second, run: host.page() };
        let complete = |status: PsciReturnCode| {
            let status = status.to_register();
            if dialect.psci_complete_names_target() {
                vec![rec, second, status]
            } else {
                vec![rec, status]
            }
        };
        target.refused(0, Status::ErrorRec);
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!(reason, ExitReason::Psci);
        assert_eq!(exit.gprs[..3], [0xc400_0003, 1, 0]);
        running.refused(0, Status::ErrorRec);
        let wrong = complete(PsciReturnCode::OnPending);
        host.fails(Status::ErrorInput, Command::PsciComplete, &wrong);
        host.done(Command::PsciComplete, &complete(PsciReturnCode::Success));
        let again = complete(PsciReturnCode::Success);
        host.fails(Status::ErrorInput, Command::PsciComplete, &again);
        let (reason, exit) = target.enter(0, &[]);
        assert_eq!((reason, exit.gprs[0]), (ExitReason::Psci, 0x8400_0002));
        let first = started.lock().unwrap()[0];
        assert_eq!((first.pc, first.x[0]), (0x2000, 99));
        target.refused(0, Status::ErrorRec);
        // Off again, so the host may deny it now.
        running.enter(0, &[]);
        host.done(Command::PsciComplete, &complete(PsciReturnCode::Denied));
        running.enter(0, &[]);
        let codes: Vec<i64> =
            seen.lock().unwrap().iter().map(|cpu| cpu.x[0].cast_signed()).collect();
        assert_eq!(codes[1..], [-2, -9, -4, 0, -3]);
    }
}

#[test]
fn a_realm_that_turns_itself_off() {
    for action in [Action::psci_system_off(), Action::psci_system_reset()] {
        let host = Host::tf_rmm();
        let running = host.script(vec![Action::psci_cpu_suspend(), action]);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Psci);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Psci);
        running.refused(0, Status::ErrorRealm);
        host.fails(Status::ErrorRealm, Command::RealmActivate, &[running.realm.rd]);
        host.done(Command::RealmTerminate, &[running.realm.rd]);
    }
}

#[test]
fn waiting_is_trapped_or_not() {
    let host = Host::tf_rmm();
    let running =
        host.script(vec![Action::Wfi, Action::Wfe, Action::Wfe, Action::Wfi, Action::Wfi]);
    let trap = (RecEnterFlags::TRAP_WFI | RecEnterFlags::TRAP_WFE).bits();
    for kind in [0, 1] {
        let (reason, exit) = running.enter(trap, &[]);
        assert_eq!((reason, Esr(exit.esr).class()), (ExitReason::Sync, ExceptionClass::Wfx));
        assert_eq!(Esr(exit.esr).wfx_kind(), kind);
    }
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq, "the host's next interrupt");
    // A virtual interrupt that is signalled ends a WFI at once.
    let cpu = host.model.cpu(0);
    cpu.set_list_register(0, 1 << 62 | 1 << 60 | 27);
    cpu.set_vmcr(0xf8 << 24 | 1 << 1);
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}

#[test]
fn a_wait_with_a_deadline_shows_what_the_dialect_has() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let running =
            host.script(vec![Action::Wfit { deadline: 77 }, Action::Wfet { deadline: 88 }]);
        let trap = (RecEnterFlags::TRAP_WFI | RecEnterFlags::TRAP_WFE).bits();
        for (kind, deadline) in [(0, 77), (1, 88)] {
            let (_, exit) = running.enter(trap, &[]);
            let told = dialect.tells_wait_deadline();
            assert_eq!(exit.esr, 1 << 26 | kind | if told { 0b110 } else { 0 });
            assert_eq!(exit.gprs[0], if told { deadline } else { 0 });
        }
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    }
}

#[test]
fn external_aborts_report_no_address() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let sync = |esr| Action::Sync { esr, far: 0x1234, hpfar: 0x560 };
        // Of a load at level 2 of a walk, recoverable, with everything else that may be set; of an
        // instruction fetch, restartable.
        let (guest, seen) = recorded(vec![
            sync(0x24 << 26 | 0x1ff_e7d6),
            sync(0x20 << 26 | 1 << 25 | 3 << 11 | 0x10),
        ]);
        let running = host.running(guest);
        for esr in [0x24 << 26 | 0x616, 0x20 << 26 | 3 << 11 | 0x10] {
            let (reason, exit) = running.enter(0, &[]);
            assert_eq!((reason, exit.esr, exit.far, exit.hpfar), (ExitReason::Sync, esr, 0, 0));
            running.refused(EMUL_MMIO, Status::ErrorRec);
        }
        running.enter(0, &[]);
        assert_eq!(outcomes(&seen), [Outcome::Aborted, Outcome::Done]);
        assert_eq!(seen.lock().unwrap()[1].pc, 0x200);
    }
}

#[test]
fn a_fetch_that_is_not_permitted_aborts_in_the_realm() {
    let host = Host::tf_rmm();
    let fetch = Action::Sync { esr: 0x20 << 26 | 0x0f, far: 0, hpfar: 0x10 };
    let (guest, seen) = recorded(vec![fetch]);
    assert_eq!(host.running(guest).enter(0, &[]).0, ExitReason::Fiq);
    assert_eq!(outcomes(&seen), [Outcome::Aborted]);
}

#[test]
fn timers_leave_when_their_output_changes() {
    let host = Host::tf_rmm();
    let timer = |kind, ctl| Action::Timer { kind, ctl, cval: 1000 };
    let running = host.script(vec![
        timer(TimerKind::Virtual, 1),
        timer(TimerKind::Virtual, 5),
        timer(TimerKind::Virtual, 5),
        timer(TimerKind::Virtual, 7),
        Action::rsi_version(0),
        timer(TimerKind::Physical, 5),
    ]);
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.cntv_ctl, exit.cntv_cval), (ExitReason::Irq, 5, 1000));
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.cntv_ctl, exit.cntp_ctl), (ExitReason::Irq, 7, 0));
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.cntp_ctl, exit.cntp_cval), (ExitReason::Irq, 5, 1000));
}

#[test]
fn virtual_interrupts() {
    let host = Host::tf_rmm();
    let (guest, seen) = recorded(vec![
        Action::set_priority_mask(0xf0),
        Action::enable_group_1(true),
        Action::Interrupt,
        Action::acknowledge(),
        Action::acknowledge(),
        Action::end_of_interrupt(27),
    ]);
    let running = host.running(guest);
    let cpu = host.model.cpu(0);
    let pending = 1 << 62 | 1 << 60 | 0x80 << 48 | 27;
    cpu.set_list_register(1, pending);
    cpu.set_list_register(2, pending);
    running.refused(0, Status::ErrorRec);
    cpu.set_list_register(2, 0);
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!(seen.lock().unwrap()[2].irq, Some(27));
    assert_eq!((cpu.hcr(), cpu.list_register(1)), (0, pending));
    cpu.set_hcr(1);
    running.enter(0, &[]);
    assert_eq!(cpu.list_register(1), pending & !(1 << 62));
    let seen = seen.lock().unwrap();
    let outcomes: Vec<Outcome> = seen.iter().map(|cpu| cpu.last).collect();
    assert_eq!(outcomes[4..7], [Outcome::Read(27), Outcome::Read(1023), Outcome::Done]);
    assert_eq!(host.model.cpu(1).list_register(1), 0, "every CPU has its own");
}

#[test]
fn software_generated_interrupts_are_the_hosts() {
    let host = Host::tf_rmm();
    let value = 0x1_0000_0002;
    let other = SysReg { op0: 3, op1: 0, crn: 1, crm: 0, op2: 0 };
    let (guest, seen) = recorded(vec![
        Action::SysRegWrite { register: other, value: 1 },
        Action::SysRegWrite { register: SysReg::ICC_SGI1R_EL1, value },
    ]);
    let running = host.running(guest);
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, Esr(exit.esr).class()), (ExitReason::Sync, ExceptionClass::SysReg));
    assert_eq!(Esr(exit.esr).sysreg(), (3, 0, 12, 11, 5));
    assert_eq!((exit.gprs[0], Esr(exit.esr).sysreg_is_read()), (value, false));
    running.enter(0, &[]);
    assert_eq!(outcomes(&seen), [Outcome::Done, Outcome::Done]);
}

#[test]
fn a_program_that_never_exits_is_interrupted() {
    let host = Host::tf_rmm();
    let running = host.running(|_: &GuestCpu| Action::smc(0xc400_0191, &[0]));
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}

#[test]
fn other_calls_are_served_while_a_rec_runs() {
    let host = Host::tf_rmm();
    let (inside, outside) =
        (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let (i, o) = (Arc::clone(&inside), Arc::clone(&outside));
    let running = host.running(move |_: &GuestCpu| {
        i.wait();
        o.wait();
        Action::Fiq
    });
    let (rd, rec, run) = (running.realm.rd, running.rec, running.run);
    let model = &host.model;
    let enter = Command::RecEnter.fid(host.dialect).unwrap().0.into();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            #[expect(unsafe_code, reason = "a raw call")]
            // SAFETY: the model has memory of its own only.
            let answer =
                unsafe { rmi_host::Conduit::call(&model.cpu(1), [enter, rec, run, 0, 0, 0, 0, 0]) };
            assert_eq!(answer[0], 0);
        });
        inside.wait();
        host.fails(Status::ErrorRec, Command::RecEnter, &[rec, run]);
        host.fails(Status::ErrorRec, Command::RecDestroy, &[rec]);
        host.fails(Status::ErrorRealm, Command::RealmTerminate, &[rd]);
        outside.wait();
    });
    host.done(Command::RealmTerminate, &[rd]);
}
