//! The first exits of Linux in a Realm, in their order, as a function of the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bare_metal::linux::layout::{DISTRIBUTOR, IPA_WIDTH, RAM, REDISTRIBUTORS, UART};
use realm_sdk::abi::esr::SysReg;
use realm_sdk::abi::psci::PsciReturnCode;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Ipa, IpaRange};
use rmm_model::{Action, AsyncVcpu, Exception, ForgedExit, TimerKind};

/// What the program finds and does.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) plan: Plan,
    pub(crate) counts: Counts,
}

/// What the kernel is to find, and how it ends.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) ram: u64,
    pub(crate) vcpus: u64,
    pub(crate) initramfs: Vec<u8>,
    pub(crate) resets: u32,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Off,
    /// It never ends.
    Idle,
    /// The last CPU turns itself off.
    CpuOff,
    /// An exit for a reason that no specification has.
    Strange,
    /// Memory after the end of RAM becomes EMPTY, as if it were to be shared.
    Greedy,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) boots: AtomicU32,
    pub(crate) online: AtomicU32,
    pub(crate) ipis: AtomicU32,
    console: AtomicBool,
}

const UNPROTECTED: u64 = 1 << (IPA_WIDTH - 1);
const FRAME: u64 = 0x2_0000;
const SGI: u32 = 3;
const TIMER: u32 = 27;
/// The bounce buffer, from the end of RAM: 4 MiB and a page, so that it is not whole blocks.
const BOUNCE: u64 = 0x40_1000;

pub(crate) const LINE: &str = "Booting Linux on physical CPU 0x0000000000";

/// One CPU of the kernel.
pub(crate) struct Cpu {
    pub(crate) cpu: AsyncVcpu,
    pub(crate) number: u64,
    pub(crate) kernel: Arc<Kernel>,
}

type Done = Result<(), Exception>;

const fn device(offset: u64) -> Ipa {
    Ipa::new(UNPROTECTED + offset)
}

impl Cpu {
    pub(crate) async fn run(mut self) {
        let done = match self.number {
            0 => self.boot().await,
            _ => self.secondary().await,
        };
        assert_eq!(done, Ok(()), "an access aborted");
    }

    async fn read(&mut self, offset: u64) -> Result<u64, Exception> {
        self.cpu.load(device(offset), 4).await
    }

    async fn write(&mut self, offset: u64, value: u64) -> Done {
        self.cpu.store(device(offset), 4, value).await
    }

    /// Two accesses for each letter: the flags, and the data.
    async fn print(&mut self, text: &str) -> Done {
        const FLAGS: u64 = 0x18;
        const FULL: u64 = 1 << 5;
        while self.kernel.counts.console.swap(true, Ordering::Acquire) {
            self.cpu.nop().await;
        }
        for letter in text.bytes().chain(*b"\r\n") {
            assert_eq!(self.read(UART + FLAGS).await? & FULL, 0);
            self.cpu.store(device(UART), 1, letter.into()).await?;
        }
        self.kernel.counts.console.store(false, Ordering::Release);
        Ok(())
    }

    async fn boot(&mut self) -> Done {
        let tree = self.cpu.x()[0];
        self.kernel.counts.boots.fetch_add(1, Ordering::SeqCst);
        self.check_files(tree).await?;
        self.print(LINE).await?;
        self.touch_ram().await?;
        self.claim_ram().await;
        self.share().await?;
        self.probe_gic().await?;
        self.tick().await?;
        for cpu in 1..self.kernel.plan.vcpus {
            self.start(cpu).await?;
        }
        self.exchange_ipis().await?;
        self.end().await
    }

    /// The magic of the device tree, of the kernel, and the initial RAM file system.
    async fn check_files(&mut self, tree: u64) -> Done {
        let magic = self.cpu.load(Ipa::new(tree), 4).await?;
        assert_eq!(u32::try_from(magic).unwrap().swap_bytes(), 0xd00d_feed);
        let magic = self.cpu.load(Ipa::new(RAM.raw() + 56), 4).await?;
        assert_eq!(magic.to_le_bytes()[..4], *b"ARM\x64");
        let kernel = Arc::clone(&self.kernel);
        let initramfs = tree + (2 << 20);
        for (at, chunk) in (0..).step_by(8).zip(kernel.plan.initramfs.chunks_exact(8)) {
            let found = self.cpu.load(Ipa::new(initramfs + at), 8).await?;
            assert_eq!(found.to_le_bytes(), chunk, "at {at}");
        }
        Ok(())
    }

    /// Memory in each block of RAM after the files.
    async fn touch_ram(&mut self) -> Done {
        let top = RAM.raw() + self.kernel.plan.ram;
        for at in (RAM.raw() + (16 << 20)..top).step_by(2 << 20) {
            self.cpu.store(Ipa::new(at + 8), 8, at).await?;
        }
        for at in (RAM.raw() + (16 << 20)..top).step_by(2 << 20) {
            assert_eq!(self.cpu.load(Ipa::new(at + 8), 8).await, Ok(at));
        }
        Ok(())
    }

    /// `RSI_IPA_STATE_SET`, until all of a range has that state.
    async fn set_ripas(&mut self, range: IpaRange, ripas: Ripas) {
        let mut base = range.base();
        while base < range.top() {
            let call = Action::ipa_state_set(base, range.top(), ripas, 0);
            let [result, reached, response, ..] = self.cpu.call(call).await;
            assert_eq!((result, response), (0, 0), "at {base}");
            base = Ipa::new(reached);
        }
    }

    /// `arm64_rsi_setup_memory`
    async fn claim_ram(&mut self) {
        let ram = IpaRange::with_size(RAM, self.kernel.plan.ram).unwrap();
        self.set_ripas(ram, Ripas::Ram).await;
    }

    /// `set_memory_decrypted` of the bounce buffer, and back.
    async fn share(&mut self) -> Done {
        let base = Ipa::new(RAM.raw() + self.kernel.plan.ram - BOUNCE);
        let range = IpaRange::with_size(base, BOUNCE).unwrap();
        self.set_ripas(range, Ripas::Empty).await;
        for at in (base.raw()..range.top().raw()).step_by(0x10_0000) {
            self.cpu.store(Ipa::new(at | UNPROTECTED), 8, !at).await?;
            assert_eq!(self.cpu.load(Ipa::new(at | UNPROTECTED), 8).await, Ok(!at));
        }
        let page = IpaRange::with_size(base, 0x1000).unwrap();
        self.set_ripas(page, Ripas::Ram).await;
        self.cpu.store(base, 8, 0x5eed).await?;
        assert_eq!(self.cpu.load(base, 8).await, Ok(0x5eed));
        Ok(())
    }

    async fn probe_gic(&mut self) -> Done {
        const PIDR2: u64 = 0xffe8;
        assert_eq!(self.read(DISTRIBUTOR + PIDR2).await? & 0xf0, 0x30);
        assert_ne!(self.read(DISTRIBUTOR + 0x4).await? & 0x1f, 0, "SPIs");
        self.write(DISTRIBUTOR, 0x13).await?;
        self.set_up_cpu().await
    }

    /// Finds the redistributor of this CPU, and enables its interrupts.
    async fn set_up_cpu(&mut self) -> Done {
        let mut rd = REDISTRIBUTORS;
        loop {
            assert_eq!(self.read(rd + 0xffe8).await? & 0xf0, 0x30);
            let typer = self.cpu.load(device(rd + 8), 8).await?;
            if typer >> 32 == self.number {
                break;
            }
            assert_eq!(typer & 1 << 4, 0, "no redistributor of CPU {}", self.number);
            rd += FRAME;
        }
        self.write(rd + 0x14, 0).await?;
        assert_eq!(self.read(rd + 0x14).await? & 0b100, 0, "GICR_WAKER.ChildrenAsleep");
        let sgis = rd + FRAME / 2;
        self.write(sgis + 0x80, 0xffff_ffff).await?;
        for register in (0x400..0x420).step_by(4) {
            self.write(sgis + register, 0xa0a0_a0a0).await?;
        }
        self.write(sgis + 0x100, 1 << TIMER | 1 << SGI).await?;
        self.cpu.act(Action::set_priority_mask(0xf0)).await;
        self.cpu.act(Action::enable_group_1(true)).await;
        Ok(())
    }

    /// Takes interrupts until the one with this number.
    async fn take(&mut self, wanted: u32) {
        loop {
            let intid = self.cpu.next_interrupt().await;
            if intid == TIMER {
                self.cpu.stop_timer(TimerKind::Virtual).await;
            }
            self.cpu.end_of_interrupt(intid).await;
            if intid == SGI {
                self.kernel.counts.ipis.fetch_add(1, Ordering::SeqCst);
            }
            if intid == wanted {
                return;
            }
        }
    }

    async fn tick(&mut self) -> Done {
        for _ in 0..3 {
            let now = self.cpu.counter().await;
            self.cpu.set_timer(TimerKind::Virtual, now + 3_000_000).await;
            self.take(TIMER).await;
            assert!(self.cpu.counter().await >= now + 3_000_000);
        }
        Ok(())
    }

    async fn start(&mut self, cpu: u64) -> Done {
        let before = self.kernel.counts.online.load(Ordering::SeqCst);
        assert_eq!(self.cpu.cpu_on(cpu, RAM, cpu).await, PsciReturnCode::Success);
        while self.kernel.counts.online.load(Ordering::SeqCst) == before {
            self.cpu.wfe().await;
        }
        Ok(())
    }

    /// An IPI to each other CPU, and one back; then they turn themselves off.
    async fn exchange_ipis(&mut self) -> Done {
        for cpu in 1..self.kernel.plan.vcpus {
            self.send_ipi(cpu).await;
            self.take(SGI).await;
        }
        for cpu in 1..self.kernel.plan.vcpus {
            while self.cpu.affinity_info(cpu).await != 1 {
                self.cpu.nop().await;
            }
        }
        Ok(())
    }

    async fn send_ipi(&mut self, cpu: u64) {
        let value = u64::from(SGI) << 24 | 1 << cpu;
        self.cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, value).await.unwrap();
    }

    async fn secondary(&mut self) -> Done {
        loop {
            self.set_up_cpu().await?;
            self.print(&format!("CPU{}: Booted secondary processor", self.number)).await?;
            self.kernel.counts.online.fetch_add(1, Ordering::SeqCst);
            self.take(SGI).await;
            self.send_ipi(0).await;
            self.cpu.cpu_off().await;
        }
    }

    async fn end(&mut self) -> Done {
        self.print("end").await?;
        if self.kernel.counts.boots.load(Ordering::SeqCst) <= self.kernel.plan.resets {
            self.cpu.call(Action::psci_system_reset()).await;
        }
        match self.kernel.plan.end {
            End::Off => self.cpu.system_off().await,
            End::Idle => loop {
                self.cpu.wfi().await;
            },
            End::CpuOff => {
                self.cpu.cpu_off().await;
                Ok(())
            }
            End::Strange => {
                self.cpu.act(Action::Forge(ForgedExit::new(0x7f))).await;
                Ok(())
            }
            End::Greedy => {
                let top = Ipa::new(RAM.raw() + self.kernel.plan.ram);
                self.set_ripas(IpaRange::with_size(top, 0x1000).unwrap(), Ripas::Empty).await;
                self.cpu.system_off().await
            }
        }
    }
}
