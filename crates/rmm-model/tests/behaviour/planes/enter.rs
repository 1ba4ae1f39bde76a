//! Planes that run: how plane 0 enters them, and what they exit with, to it and to the host.

use std::future::Future;

use rmi_abi::esr::{Esr, fault_page};
use rmi_abi::run::{ExitReason, RecEnter, RecEnterFlags};
use rmi_abi::{Command, Dialect, Ipa, Pa, Status};
use rmm_model::{Action, AsyncGuest, AsyncVcpu, Exception, Outcome, SysReg, TimerKind};
use zerocopy::{FromZeros, IntoBytes};

use super::{aux_tables, host, ram, realm, shared_realm, show};
use crate::host::{DIALECTS, Host, PAGE, Realm, Running, SHARED};

/// The run page, and a page that plane 1 may read and write once plane 0 has said so.
const RUN: u64 = PAGE;
const DATA: u64 = 2 * PAGE;

const EMUL_MMIO: u64 = RecEnterFlags::EMUL_MMIO.bits();
const FORCE_P0: u64 = RecEnterFlags::FORCE_P0.bits();
const TRAP_WFI: u64 = RecEnterFlags::TRAP_WFI.bits();

/// Fields of the run page.
const FLAGS: u64 = 0;
const PC: u64 = 8;
const PSTATE: u64 = 0x10;
const GPRS: u64 = 0x100;
const HCR: u64 = 0x200;
const LRS: u64 = 0x208;
const ELR_EL1: u64 = 0x400;
const EXIT: u64 = 0x800;

/// An active Realm with this program of plane 0.
fn run<P>(
    host: &Host,
    realm: Realm,
    program: impl FnOnce(AsyncVcpu) -> P + Send + 'static,
) -> Running<'_>
where
    P: Future<Output = ()> + Send + 'static,
{
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(AsyncGuest::new(program)));
    Running { host, realm, rec, run: host.page() }
}

/// Gives plane `plane` its program.
fn plane<P>(running: &Running<'_>, plane: u8, program: impl FnOnce(AsyncVcpu) -> P + Send + 'static)
where
    P: Future<Output = ()> + Send + 'static,
{
    let guest = Box::new(AsyncGuest::new(program));
    running.host.model.set_plane_guest(Pa::new(running.realm.rd), 0, plane, guest);
}

/// A Realm with two auxiliary planes in one tree, and both pages.
fn prepared(host: &Host) -> Realm {
    let realm = shared_realm(host, 2);
    ram(host, realm, RUN);
    ram(host, realm, DATA);
    realm
}

async fn put(cpu: &mut AsyncVcpu, field: u64, value: u64) {
    cpu.store(Ipa::new(RUN + field), 8, value).await.unwrap();
}

async fn get(cpu: &mut AsyncVcpu, field: u64) -> u64 {
    cpu.load(Ipa::new(RUN + field), 8).await.unwrap()
}

/// Enters plane 1; X0 to X3, and reason, `elr_el2` and `esr_el2` of its exit.
async fn enter(cpu: &mut AsyncVcpu) -> ([u64; 4], [u64; 3]) {
    let [a, b, c, d, ..] = cpu.call(Action::plane_enter(1, Ipa::new(RUN))).await;
    let exit = [
        cpu.load(Ipa::new(RUN + EXIT), 1).await.unwrap(),
        get(cpu, EXIT + 8).await,
        get(cpu, EXIT + 0x200).await,
    ];
    ([a, b, c, d], exit)
}

/// Copies the registers of the exit to where the plane takes them from.
async fn keep_registers(cpu: &mut AsyncVcpu) {
    for n in 0..31 {
        let value = get(cpu, EXIT + 0x100 + 8 * n).await;
        put(cpu, GPRS + 8 * n, value).await;
    }
}

/// The reason of an exit that the host forces.
fn forced(host: &Host) -> u64 {
    if host.dialect == Dialect::TfRmm2026_07 { 0 } else { 2 }
}

#[test]
fn calls_and_waits_of_a_plane_go_to_plane_0() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = prepared(&host);
        let forced = forced(&host);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            put(&mut cpu, PC, 0x4000).await;
            put(&mut cpu, PSTATE, 0x3c5).await;
            put(&mut cpu, GPRS + 8 * 3, 7).await;
            put(&mut cpu, ELR_EL1, 0x55).await;
            let before = cpu.state();
            assert_eq!((before.plane, before.fiq), (0, None));
            let smc = 0x5e00_0000;
            assert_eq!(enter(&mut cpu).await, ([0; 4], [0, 0x4000, smc]));
            // The loads after the call are instructions, too.
            assert_eq!(cpu.state().pc, before.pc + 4 * 4);
            assert_eq!(get(&mut cpu, EXIT + 0x100).await, 0xc400_0190);
            assert_eq!(get(&mut cpu, EXIT + 0x100 + 8 * 20).await, 55);
            assert_eq!(get(&mut cpu, EXIT + 0x10).await, 0x3c5);
            assert_eq!(get(&mut cpu, EXIT + 0x510).await, 0x55);
            // It answers the call.
            put(&mut cpu, PC, 0x4004).await;
            put(&mut cpu, GPRS, 0x99).await;
            assert_eq!(enter(&mut cpu).await, ([0; 4], [0, 0x4008, 0x5a00_0000]));
            put(&mut cpu, PC, 0x4008).await;
            put(&mut cpu, FLAGS, 1).await;
            assert_eq!(enter(&mut cpu).await.1, [0, 0x400c, 0x07e0_0000]);
            put(&mut cpu, PC, 0x400c).await;
            put(&mut cpu, FLAGS, 2).await;
            assert_eq!(enter(&mut cpu).await.1, [0, 0x4010, 0x07e0_0001]);
            put(&mut cpu, PC, 0x4010).await;
            put(&mut cpu, FLAGS, 0).await;
            // The host takes the plane away.
            let (x, exit) = enter(&mut cpu).await;
            assert_eq!((x, exit), ([0; 4], [forced, 0x4014, 0]));
            // Somewhere else: what it did before is over.
            put(&mut cpu, PC, 0x5000).await;
            assert_eq!(enter(&mut cpu).await.1, [0, 0x5000, smc]);
            cpu.system_off().await
        });
        plane(&running, 1, |mut cpu: AsyncVcpu| async move {
            let start = cpu.state();
            assert_eq!((start.plane, start.pc, start.x[3]), (1, 0x4000, 7));
            cpu.act(Action::Set { register: 20, value: 55 }).await;
            let answered = cpu.call(Action::rsi_version(1)).await;
            assert_eq!((answered[0], cpu.state().last), (0x99, Outcome::Returned));
            assert_eq!(cpu.act(Action::Hvc).await.last, Outcome::Done);
            cpu.wfi().await;
            cpu.wfe().await;
            assert_eq!(cpu.state().pc, 0x4010);
            cpu.wfi().await;
            assert_eq!((cpu.state().pc, cpu.state().last), (0x5000, Outcome::None));
            cpu.call(Action::rsi_version(1)).await;
        });
        assert_eq!(running.enter(0, &[]).0, ExitReason::Irq, "the plane waits");
        assert_eq!(running.enter(FORCE_P0, &[]).0, ExitReason::Psci);
    }
}

#[test]
fn what_plane_0_must_not_ask_for() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = prepared(&host);
        host.done(Command::RttInitRipas, &[realm.rd, 3 * PAGE, 4 * PAGE]);
        let forced = forced(&host);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            for (index, run) in [
                (0, RUN),
                (3, RUN),
                (u64::MAX, RUN),
                (1, RUN + 8),
                (1, SHARED),
                // EMPTY.
                (1, 8 * PAGE),
            ] {
                let x = cpu.call(Action::plane_enter(index, Ipa::new(run))).await;
                assert_eq!(x[..4], [1, 0, 0, 0], "{index} {run:x}");
            }
            let call = Action::plane_enter(1, Ipa::new(RUN));
            put(&mut cpu, PSTATE, 0x1d3).await;
            assert_eq!(cpu.call(call).await[0], 1, "AArch32");
            put(&mut cpu, PSTATE, 0x3c5).await;
            put(&mut cpu, LRS + 8 * 15, 1 << 62 | 1 << 61 | 40).await;
            assert_eq!(cpu.call(call).await[0], 1);
            // Not looked at if the plane owns the GIC. Plane 1 has no program.
            put(&mut cpu, FLAGS, 8).await;
            assert_eq!(cpu.call(call).await[0], 0);
            // A page that is not mapped: the host is asked for it, and the call is made again.
            cpu.call(Action::plane_enter(1, Ipa::new(3 * PAGE))).await;
            assert_eq!(cpu.load(Ipa::new(3 * PAGE + EXIT), 1).await, Ok(forced));
            cpu.system_off().await
        });
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq, "plane 1 spins");
        let (reason, exit) = running.enter(FORCE_P0, &[]);
        assert_eq!(
            (reason, exit.esr, fault_page(exit.hpfar).raw()),
            (ExitReason::Sync, 0x9000_0007, 3 * PAGE)
        );
        host.map(realm, 3 * PAGE);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        assert_eq!(running.enter(FORCE_P0, &[]).0, ExitReason::Psci);
    }
}

/// Aborts of a plane that are plane 0's, and where they happen.
const RAW: [(u64, u64); 4] =
    [(0x9380_000f, DATA), (0x9380_0007, 8 * PAGE), (0x8200_000f, DATA), (0x8200_0007, SHARED)];

#[test]
fn memory_of_a_plane_is_what_plane_0_permits() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = prepared(&host);
        host.done(Command::RttInitRipas, &[realm.rd, 3 * PAGE, 4 * PAGE]);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            put(&mut cpu, PC, 0x4000).await;
            // Nothing is permitted at first: a permission fault at level 3, of a load of 4 bytes.
            let (_, [reason, pc, esr]) = enter(&mut cpu).await;
            assert_eq!((reason, pc, esr), (0, 0x4000, 0x9380_000f));
            assert_eq!(get(&mut cpu, EXIT + 0x208).await, DATA + 4);
            assert_eq!(get(&mut cpu, EXIT + 0x210).await, DATA >> 12 << 4);
            // Emulated.
            put(&mut cpu, PC, 0x4004).await;
            put(&mut cpu, GPRS, 0x1_2345_6789).await;
            assert_eq!(enter(&mut cpu).await.1, [0, 0x4004, 0x9380_000f]);
            // Permitted to read and to write.
            cpu.call(Action::mem_set_perm_value(1, 1, 12)).await;
            let range = (Ipa::new(DATA), Ipa::new(DATA + PAGE));
            cpu.call(Action::mem_set_perm_index(range.0, range.1, 1, 0)).await;
            // It still must not execute there.
            assert_eq!(enter(&mut cpu).await.1, [0, 0x400c, 0x8200_000f]);
            assert_eq!(cpu.load(Ipa::new(DATA + 4), 4).await, Ok(0xbb));
            // EMPTY memory, and a fetch from shared memory.
            put(&mut cpu, PC, 0x4010).await;
            assert_eq!(enter(&mut cpu).await.1, [0, 0x4010, 0x93c0_8047]);
            put(&mut cpu, PC, 0x4014).await;
            assert_eq!(enter(&mut cpu).await.1[..2], [0, 0x4014]);
            for (n, (esr, ipa)) in RAW.into_iter().enumerate() {
                let pc = 0x4018 + 4 * n as u64;
                put(&mut cpu, PC, pc).await;
                assert_eq!(enter(&mut cpu).await.1, [0, pc, esr]);
                assert_eq!(get(&mut cpu, EXIT + 0x208).await, ipa);
            }
            put(&mut cpu, PC, 0x4018 + 4 * RAW.len() as u64).await;
            enter(&mut cpu).await;
        });
        plane(&running, 1, |mut cpu: AsyncVcpu| async move {
            let data = Ipa::new(DATA + 4);
            assert_eq!(cpu.load(data, 4).await, Ok(0x2345_6789));
            assert_eq!(cpu.load(data, 4).await, Ok(0));
            assert_eq!(cpu.store(data, 4, 0xbb).await, Ok(()));
            assert_eq!(cpu.fetch(data).await, Ok(()));
            let store = Action::Store { ipa: Ipa::new(8 * PAGE), bytes: 8, value: 1 };
            assert_eq!(cpu.act(store).await.last, Outcome::Stored);
            let fetch = Action::Fetch { ipa: Ipa::new(SHARED) };
            assert_eq!(cpu.act(fetch).await.last, Outcome::Fetched);
            // As the hardware reports them: of permissions, of EMPTY memory, outside the protected
            // half. What plane 0 skips is done.
            for (esr, ipa) in RAW {
                let raw = Action::Sync { esr, far: ipa, hpfar: ipa >> 12 << 4 };
                assert_eq!(cpu.act(raw).await.last, Outcome::Done);
            }
            // The host's: memory that is not mapped, and a device.
            cpu.store(Ipa::new(SHARED + 8), 4, 0x77).await.unwrap();
            assert_eq!(cpu.load(Ipa::new(SHARED), 4).await, Err(Exception::Aborted));
            assert_eq!(cpu.load(Ipa::new(1 << 45), 4).await, Err(Exception::Aborted));
            cpu.fetch(Ipa::new(3 * PAGE)).await.unwrap();
        });
        let (reason, _) = running.enter(0, &[]);
        assert_eq!(reason, ExitReason::S2apChange);
        let set = [realm.rd, running.rec, DATA, DATA + PAGE];
        host.done(Command::RttSetS2ap, &set);
        let (reason, exit) = running.enter(0, &[]);
        let esr = Esr(exit.esr);
        assert_eq!((reason, esr.is_write(), exit.gprs[0]), (ExitReason::Sync, true, 0x77));
        assert_eq!((exit.rtt_tree, fault_page(exit.hpfar).raw()), (2, SHARED));
        let (reason, exit) = running.enter(EMUL_MMIO, &[]);
        assert_eq!((reason, Esr(exit.esr).is_write()), (ExitReason::Sync, false));
        // With INJECT_SEA the abort is the plane's, and plane 0 runs.
        assert_eq!(running.enter(RecEnterFlags::INJECT_SEA.bits(), &[]).0, ExitReason::Fiq);
    }
}

#[test]
fn a_host_call_of_a_plane_goes_where_plane_0_says() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = prepared(&host);
        let forced = forced(&host);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            cpu.store(Ipa::new(DATA), 2, 0x1234).await.unwrap();
            cpu.store(Ipa::new(DATA + 8), 8, 42).await.unwrap();
            put(&mut cpu, PC, 0x4000).await;
            let (_, [reason, pc, _]) = enter(&mut cpu).await;
            assert_eq!((reason, pc), (forced, 0x4004));
            assert_eq!(cpu.load(Ipa::new(DATA + 8), 8).await, Ok(7));
            put(&mut cpu, PC, 0x4004).await;
            put(&mut cpu, FLAGS, 4).await;
            assert_eq!(enter(&mut cpu).await.1, [0, 0x4004, 0x5e00_0000]);
            assert_eq!(get(&mut cpu, EXIT + 0x108).await, DATA);
            cpu.host_call(Ipa::new(DATA)).await;
        });
        plane(&running, 1, |mut cpu: AsyncVcpu| async move {
            assert_eq!(cpu.host_call(Ipa::new(DATA)).await, 0);
            cpu.host_call(Ipa::new(DATA)).await;
        });
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!((reason, exit.plane), (ExitReason::HostCall, 1));
        assert_eq!((exit.imm, exit.gprs[0]), (0x1234, 42));
        let (reason, exit) = running.enter(FORCE_P0, &[7]);
        assert_eq!((reason, exit.plane), (ExitReason::HostCall, 0));
    }
}

/// A pending interrupt of group 1.
const PENDING: u64 = 1 << 62 | 1 << 60 | 0x80 << 48;

async fn enable_interrupts(cpu: &mut AsyncVcpu) {
    cpu.act(Action::set_priority_mask(0xf0)).await;
    cpu.act(Action::enable_group_1(true)).await;
}

#[test]
fn a_plane_has_a_gic_of_its_own_unless_it_owns_the_hosts() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = prepared(&host);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            enable_interrupts(&mut cpu).await;
            assert_eq!(cpu.irq(), None);
            put(&mut cpu, PC, 0x4000).await;
            put(&mut cpu, HCR, 1).await;
            put(&mut cpu, LRS, PENDING | 40).await;
            // Until the host has an interrupt for plane 0.
            let (x, [reason, ..]) = enter(&mut cpu).await;
            assert_eq!((x, reason, cpu.irq()), ([0; 4], 1, Some(27)));
            assert_eq!(get(&mut cpu, EXIT + 0x308).await, PENDING ^ 3 << 62 | 40);
            assert_eq!(get(&mut cpu, EXIT + 0x300).await, 1);
            assert_eq!(get(&mut cpu, EXIT + 0x388).await, 0);
            assert_eq!(get(&mut cpu, EXIT + 0x390).await >> 24, 0xe0);
            assert_eq!(cpu.acknowledge().await, Some(27));
            cpu.end_of_interrupt(27).await;
            // What it has active stays; the list registers are new.
            let elr = get(&mut cpu, EXIT + 8).await;
            put(&mut cpu, PC, elr).await;
            put(&mut cpu, LRS, 0).await;
            put(&mut cpu, FLAGS, 8).await;
            assert_eq!(enter(&mut cpu).await.1[0], 0);
            assert_eq!(get(&mut cpu, EXIT + 0x308 + 8 * 4).await, PENDING ^ 3 << 62 | 28);
            assert_eq!(get(&mut cpu, EXIT + 0x390).await >> 24, 0xf0);
            cpu.act(Action::Fiq).await;
        });
        plane(&running, 1, |mut cpu: AsyncVcpu| async move {
            assert_eq!(cpu.irq(), None, "its mask is its own");
            cpu.act(Action::set_priority_mask(0xe0)).await;
            cpu.act(Action::enable_group_1(true)).await;
            assert_eq!(cpu.acknowledge().await, Some(40));
            cpu.act(Action::Fiq).await;
            cpu.act(Action::Fiq).await;
            // The host's, with the mask of plane 0.
            assert_eq!(cpu.irq(), Some(28));
            assert_eq!(cpu.acknowledge().await, Some(28));
            cpu.call(Action::rsi_version(1)).await;
        });
        let cpu = host.model.cpu(0);
        cpu.set_hcr(1);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        // What the host finds is what it loaded, and the Realm's mask of plane 0.
        assert_eq!((cpu.list_register(0), cpu.vmcr() >> 24, cpu.hcr()), (0, 0xf0, 0));
        cpu.set_hcr(1);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq, "nothing for plane 0");
        cpu.set_list_register(3, PENDING | 27);
        cpu.set_list_register(4, PENDING | 28);
        cpu.set_hcr(1);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        // The interface stays that of the plane that owned it.
        assert_eq!(
            (cpu.list_register(3), cpu.list_register(4) >> 62),
            (PENDING & !(3 << 62) | 27, 2)
        );
    }
}

#[test]
fn timers_of_planes() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = prepared(&host);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            cpu.set_timer(TimerKind::Physical, 500).await;
            put(&mut cpu, PC, 0x4000).await;
            let (x, [reason, ..]) = enter(&mut cpu).await;
            assert_eq!((x, reason), ([0; 4], 1));
            assert_eq!(get(&mut cpu, EXIT + 0x410).await, 5);
            assert_eq!(get(&mut cpu, EXIT + 0x418).await, 100);
            assert_eq!(get(&mut cpu, EXIT + 0x400).await, 1);
            assert_eq!(get(&mut cpu, EXIT + 0x408).await, 900);
            let elr = get(&mut cpu, EXIT + 8).await;
            put(&mut cpu, PC, elr).await;
            enter(&mut cpu).await;
            cpu.act(Action::Fiq).await;
        });
        plane(&running, 1, |mut cpu: AsyncVcpu| async move {
            cpu.set_timer(TimerKind::Virtual, 100).await;
            cpu.set_timer(TimerKind::Physical, 900).await;
            cpu.act(Action::Fiq).await;
            cpu.act(Action::Fiq).await;
            cpu.act(Action::Fiq).await;
        });
        let timers = |flags| {
            let (reason, exit) = running.enter(flags, &[]);
            (reason, [exit.cntv_ctl, exit.cntv_cval, exit.cntp_ctl, exit.cntp_cval])
        };
        // Of the physical timers that of plane 0 is the earlier one; it has no virtual one.
        assert_eq!(timers(0), (ExitReason::Fiq, [1, 100, 1, 500]));
        host.model.advance(100);
        // The plane's timer fires before it runs on; as the host has loaded nothing for it, plane 0
        // runs next.
        assert_eq!(timers(0), (ExitReason::Irq, [5, 100, 1, 500]));
        assert_eq!(timers(0), (ExitReason::Fiq, [5, 100, 1, 500]));
        // That of plane 0 ends runs of the plane, and is shown as it was left.
        host.model.advance(400);
        for _ in 0..2 {
            assert_eq!(timers(0), (ExitReason::Irq, [5, 100, 1, 500]));
        }
        assert_eq!(timers(FORCE_P0), (ExitReason::Irq, [0, 0, 5, 500]));
        assert_eq!(timers(0).0, ExitReason::Fiq);
    }
}

#[test]
fn registers_of_a_plane_are_accessible_to_plane_0() {
    let vbar = SysReg { op0: 3, op1: 0, crn: 12, crm: 0, op2: 0 };
    let sctlr = SysReg { op0: 3, op1: 0, crn: 1, crm: 0, op2: 0 };
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = prepared(&host);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            let read = |plane, register| Action::plane_sysreg_read(plane, register);
            let write = |plane, register, value| Action::plane_sysreg_write(plane, register, value);
            assert_eq!(cpu.call(read(1, vbar)).await[..4], [0, 0, 0, 0]);
            assert_eq!(cpu.call(write(1, vbar, 0x8_0000)).await[..4], [0, 0, 0, 0]);
            cpu.call(write(1, sctlr, 0x33)).await;
            assert_eq!(cpu.call(read(1, vbar)).await[..4], [0, 0x8_0000, 0, 0]);
            assert_eq!(cpu.call(read(2, vbar)).await[..2], [0, 0]);
            cpu.call(write(1, SysReg::CNTV_CVAL_EL0, 700)).await;
            assert_eq!(cpu.call(read(1, SysReg::CNTV_CVAL_EL0)).await[1], 700);
            for (plane, register) in [(0, vbar), (3, vbar), (1, SysReg::ICC_PMR_EL1)] {
                assert_eq!(cpu.call(read(plane, register)).await[..2], [1, 0]);
                assert_eq!(cpu.call(write(plane, register, 1)).await[..2], [1, 0]);
            }
            // 128 bits; the first and the last event counter, and beyond; PMCCFILTR.
            for (register, expected) in [
                (0x1_c600, 1),
                (0xdf3f, 1),
                (0xdf40, 0),
                (0xdf5e, 0),
                (0xdf5f, 1),
                (0xdf60, 0),
                (0xdf7e, 0),
                (0xdf7f, 0),
                (0xdf80, 1),
                (0xdf18, 1),
            ] {
                let x = cpu.smc(0xc400_01ae, &[1, register]).await;
                assert_eq!(x[0], expected, "{register:x}");
            }
            put(&mut cpu, PC, 0x4000).await;
            enter(&mut cpu).await;
            assert_eq!(get(&mut cpu, EXIT + 0x508).await, 0x8_0000);
            assert_eq!(get(&mut cpu, EXIT + 0x500).await, 0x33);
            keep_registers(&mut cpu).await;
            cpu.system_off().await
        });
        plane(&running, 1, |mut cpu: AsyncVcpu| async move {
            assert_eq!(cpu.read_sysreg(SysReg::CNTV_CVAL_EL0).await, Ok(700));
            cpu.call(Action::rsi_version(1)).await;
        });
        assert_eq!(running.enter(0, &[]).0, ExitReason::Psci);
    }
}

#[test]
fn each_plane_is_translated_by_its_own_tree() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 2);
        for page in [RUN, DATA] {
            ram(&host, realm, page);
        }
        aux_tables(&host, realm, 1);
        assert_eq!(show(&host, realm, 1, RUN)[0], 0);
        let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
            put(&mut cpu, PC, 0x4000).await;
            enter(&mut cpu).await;
            // No permissions: with direct encoding the tree says so. Plane 2 has the primary tree.
            put(&mut cpu, PC, 0x6000).await;
            cpu.call(Action::plane_enter(2, Ipa::new(RUN))).await;
            assert_eq!(get(&mut cpu, EXIT + 0x200).await, 0x9380_000f);
            assert_eq!(get(&mut cpu, EXIT + 8).await, 0x6000);
            cpu.system_off().await
        });
        for index in [1, 2] {
            plane(&running, index, move |mut cpu: AsyncVcpu| async move {
                assert_eq!(cpu.state().plane, index.into());
                let _ = cpu.load(Ipa::new(DATA), 4).await;
            });
        }
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!((reason, exit.rtt_tree, exit.esr & 0x3f), (ExitReason::Sync, 2, 4));
        assert_eq!(running.enter(FORCE_P0, &[]).0, ExitReason::Psci);
    }
}

#[test]
fn a_plane_is_not_left_without_its_run_page() {
    let host = host(Dialect::TfRmm2026_07);
    let realm = prepared(&host);
    let running = run(&host, realm, move |mut cpu: AsyncVcpu| async move {
        put(&mut cpu, PC, 0x4000).await;
        let x = cpu.call(Action::plane_enter(1, Ipa::new(RUN))).await;
        assert_eq!(x[..4], [0; 4]);
        cpu.system_off().await
    });
    plane(&running, 1, |mut cpu: AsyncVcpu| async move {
        cpu.act(Action::Fiq).await;
        cpu.act(Action::Hvc).await;
    });
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    host.done(Command::RttDataUnmap, &[realm.rd, RUN, RUN + PAGE, 0, 0]);
    // Destroyed: the host cannot force plane 0, and the plane cannot exit.
    let mut enter = RecEnter::new_zeroed();
    enter.flags = FORCE_P0;
    host.write(running.run, enter.as_bytes());
    host.fails(Status::ErrorInput, Command::RecEnter, &[running.rec, running.run]);
    for _ in 0..2 {
        let (reason, exit) = running.enter(TRAP_WFI, &[]);
        assert_eq!((reason, exit.esr), (ExitReason::Sync, 0x9000_0007));
        assert_eq!(fault_page(exit.hpfar).raw(), RUN);
    }
}
