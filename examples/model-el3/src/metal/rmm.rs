//! The model as the RMM of this machine.
#![expect(unsafe_code, reason = "the model uses the memory of the machine")]

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::{fmt, str};

use dtoolkit::fdt::Fdt;
use model_el3::fw_cfg;
use rmi_abi::{Dialect, Pa, PaRange};
use rmm_model::{MemoryAccess, Model, Options, PhysicalMemory, RealCpu};
use vgic_realm::{HardwareInterface, VirtualInterface};

use super::mmio::devices::CONFIGURATION;
use super::{board, registers};

/// The option on QEMU's command line that names the dialect.
const DIALECT: &str = "opt/rmm-model/dialect";
/// How often a wait in a Realm looks for an interrupt before the run ends without one.
const WAIT_POLLS: u32 = 1 << 20;

/// The RMM.
pub(super) struct Rmm {
    model: Model,
    dialect: Dialect,
    memory: PaRange,
}

impl fmt::Display for Rmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model RMM, dialect {}, memory {}", self.dialect, self.memory)
    }
}

impl Rmm {
    /// The RMM of this machine, for all its memory.
    pub(super) fn new() -> Result<Self, String> {
        let memory = memory()?;
        let interface = HardwareInterface::of_monitor().map_err(|error| format!("{error}"))?;
        let dialect = dialect()?;
        let mut options = Options::new(dialect).with_vtr(interface.vtr());
        // Three auxiliary planes, with a tree each, as TF-RMM has them on this machine.
        options.features[3] = 3;
        options.dram = memory;
        options.wait_polls = WAIT_POLLS;
        // SAFETY: the device tree says that there is memory, at which this program has no
        // references: it is in the secure RAM. The host writes to it at any time.
        let all = unsafe { PhysicalMemory::identity(memory, MemoryAccess::Volatile) };
        let model = Model::with_memory(options, Box::new(all)).map_err(|why| format!("{why}"))?;
        model.set_counter(Box::new(registers::counter));
        model_guests::install(&model);
        Ok(Self { model, dialect, memory })
    }

    /// Whether the Normal world has memory at an address.
    pub(super) fn has_memory_at(&self, address: u64) -> bool {
        self.memory.contains(Pa::new(address))
    }

    /// A call from the host on this CPU, whose number is `number`.
    pub(super) fn call(&self, number: usize, x: [u64; 18]) -> [u64; 18] {
        let number = u32::try_from(number).unwrap_or(0);
        match HardwareInterface::of_monitor() {
            Ok(interface) => self.model.handle_on(number, &mut ThisCpu { interface }, x),
            // The host has turned the system registers off: it can load no virtual interrupts.
            Err(_) => self.model.handle(number, x),
        }
    }
}

/// The CPU that a call is made on.
struct ThisCpu {
    interface: HardwareInterface,
}

impl RealCpu for ThisCpu {
    fn interface(&mut self) -> &mut dyn VirtualInterface {
        &mut self.interface
    }

    fn is_interrupted(&mut self) -> bool {
        registers::pending_interrupts() != 0
    }
}

/// The memory of the Normal world, as the device tree says.
fn memory() -> Result<PaRange, String> {
    let tree = core::ptr::with_exposed_provenance(usize::try_from(board::DEVICE_TREE).unwrap_or(0));
    // SAFETY: QEMU has put a device tree at the start of RAM, and nothing writes to it before the
    // host starts.
    let tree = unsafe { Fdt::from_raw(tree) }.map_err(|error| format!("device tree: {error}"))?;
    let memory = tree.memory().map_err(|error| format!("device tree: {error}"))?;
    let mut ranges = memory
        .reg()
        .map_err(|error| format!("memory: {error}"))?
        .ok_or("memory without addresses")?;
    let range = ranges.next().ok_or("memory without addresses")?;
    let base = range.address::<u64>().map_err(|error| format!("memory: {error}"))?;
    let size = range.size::<u64>().map_err(|error| format!("memory: {error}"))?;
    PaRange::with_size(Pa::new(base), size).map_err(|error| format!("memory: {error}"))
}

/// The dialect that the command line names, or the first one of the model.
fn dialect() -> Result<Dialect, String> {
    let [first, ..] = Options::DIALECTS;
    let mut text = [0; 32];
    let Some(name) = fw_cfg::read(&mut Configuration, DIALECT, &mut text) else { return Ok(first) };
    let name = str::from_utf8(name).map_err(|error| format!("{DIALECT}: {error}"))?;
    name.parse().map_err(|_| format!("{DIALECT}: there is no dialect {name}"))
}

/// The device that has the options of the command line.
struct Configuration;

/// The register that selects an item, in big-endian order.
const SELECTOR: usize = 8;
/// The register of the next byte.
const DATA: usize = 0;

impl fw_cfg::Device for Configuration {
    fn select(&mut self, key: u16) {
        CONFIGURATION.write16(SELECTOR, key.to_be());
    }

    fn next(&mut self) -> u8 {
        CONFIGURATION.read8(DATA)
    }
}
