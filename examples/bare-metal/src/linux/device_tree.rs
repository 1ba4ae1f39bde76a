//! The device tree of the guest.
//!
//! Source: the Devicetree Specification 0.4; the bindings `arm,gic-v3`, `arm,armv8-timer`,
//! `arm,psci`, `arm,pl011`, and `Documentation/arch/arm64/booting.rst` of Linux.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use realm_sdk::vgic::REDISTRIBUTOR_BYTES;
use vm_fdt::{Error, FdtWriter};

use super::layout::{DISTRIBUTOR, FIRST_SPI, Layout, REDISTRIBUTORS, UART, UART_INTID};

/// What the device tree says, beside addresses that are always the same.
#[derive(Clone, Copy, Debug)]
pub struct Description<'d> {
    /// Where the files are.
    pub layout: &'d Layout,
    /// The affinities of the virtual CPUs, as `MPIDR_EL1` has them.
    pub mpidrs: &'d [u64],
    /// The kernel's command line.
    pub command_line: &'d str,
    /// How PSCI is reached, `smc` or `hvc`. That of a Realm is served by the RMM, by SMC.
    pub psci_method: &'d str,
}

const GIC: u32 = 1;
const CLOCK: u32 = 2;
/// Cells of an interrupt of the GIC: its type, …
const SPI: u32 = 0;
const PPI: u32 = 1;
/// … and its trigger.
const LEVEL_HIGH: u32 = 4;
const DISTRIBUTOR_BYTES: u64 = 0x1_0000;
const UART_BYTES: u64 = 0x1000;
/// The clock of the UART in hertz. The emulated one has no baud rate.
const UART_CLOCK: u32 = 24_000_000;
/// The PPIs of the timers: secure physical, physical, virtual, hypervisor physical.
const TIMERS: [u32; 4] = [13, 14, 11, 10];

impl Description<'_> {
    /// The blob.
    ///
    /// # Errors
    ///
    /// That of `vm-fdt`, for a string that contains NUL.
    pub fn blob(&self) -> Result<Vec<u8>, Error> {
        let mut tree = FdtWriter::new()?;
        let root = tree.begin_node("")?;
        tree.property_u32("#address-cells", 2)?;
        tree.property_u32("#size-cells", 2)?;
        tree.property_string("compatible", "linux,dummy-virt")?;
        tree.property_u32("interrupt-parent", GIC)?;
        self.chosen(&mut tree)?;
        self.memory(&mut tree)?;
        self.cpus(&mut tree)?;
        self.firmware(&mut tree)?;
        self.interrupt_controller(&mut tree)?;
        Self::timer(&mut tree)?;
        Self::uart(&mut tree)?;
        tree.end_node(root)?;
        tree.finish()
    }

    fn chosen(&self, tree: &mut FdtWriter) -> Result<(), Error> {
        let (base, bytes) = (self.layout.initramfs.base().raw(), self.layout.initramfs_bytes);
        let node = tree.begin_node("chosen")?;
        tree.property_string("bootargs", self.command_line)?;
        tree.property_string("stdout-path", &uart_path())?;
        if bytes > 0 {
            tree.property_u64("linux,initrd-start", base)?;
            tree.property_u64("linux,initrd-end", base.saturating_add(bytes))?;
        }
        tree.end_node(node)
    }

    fn memory(&self, tree: &mut FdtWriter) -> Result<(), Error> {
        let ram = self.layout.ram;
        let node = tree.begin_node(&format!("memory@{:x}", ram.base().raw()))?;
        tree.property_string("device_type", "memory")?;
        tree.property_array_u64("reg", &[ram.base().raw(), ram.bytes()])?;
        tree.end_node(node)
    }

    fn cpus(&self, tree: &mut FdtWriter) -> Result<(), Error> {
        let node = tree.begin_node("cpus")?;
        tree.property_u32("#address-cells", 2)?;
        tree.property_u32("#size-cells", 0)?;
        for mpidr in self.mpidrs {
            let cpu = tree.begin_node(&format!("cpu@{mpidr:x}"))?;
            tree.property_string("device_type", "cpu")?;
            tree.property_string("compatible", "arm,armv8")?;
            tree.property_string("enable-method", "psci")?;
            tree.property_u64("reg", *mpidr)?;
            tree.end_node(cpu)?;
        }
        tree.end_node(node)
    }

    fn firmware(&self, tree: &mut FdtWriter) -> Result<(), Error> {
        let node = tree.begin_node("psci")?;
        tree.property_string_list("compatible", strings(&["arm,psci-1.0", "arm,psci-0.2"]))?;
        tree.property_string("method", self.psci_method)?;
        tree.end_node(node)
    }

    fn interrupt_controller(&self, tree: &mut FdtWriter) -> Result<(), Error> {
        let node = tree.begin_node(&format!("interrupt-controller@{DISTRIBUTOR:x}"))?;
        tree.property_string("compatible", "arm,gic-v3")?;
        tree.property_u32("#interrupt-cells", 3)?;
        tree.property_null("interrupt-controller")?;
        let redistributors = REDISTRIBUTOR_BYTES * self.mpidrs.len() as u64;
        let frames = [DISTRIBUTOR, DISTRIBUTOR_BYTES, REDISTRIBUTORS, redistributors];
        tree.property_array_u64("reg", &frames)?;
        tree.property_phandle(GIC)?;
        tree.end_node(node)
    }

    fn timer(tree: &mut FdtWriter) -> Result<(), Error> {
        let node = tree.begin_node("timer")?;
        tree.property_string("compatible", "arm,armv8-timer")?;
        let cells = TIMERS.map(|ppi| [PPI, ppi, LEVEL_HIGH]);
        tree.property_array_u32("interrupts", cells.as_flattened())?;
        tree.property_null("always-on")?;
        tree.end_node(node)
    }

    fn uart(tree: &mut FdtWriter) -> Result<(), Error> {
        let clock = tree.begin_node("uart-clock")?;
        tree.property_string("compatible", "fixed-clock")?;
        tree.property_u32("#clock-cells", 0)?;
        tree.property_u32("clock-frequency", UART_CLOCK)?;
        tree.property_phandle(CLOCK)?;
        tree.end_node(clock)?;
        let node = tree.begin_node(uart_path().trim_start_matches('/'))?;
        tree.property_string_list("compatible", strings(&["arm,pl011", "arm,primecell"]))?;
        tree.property_array_u64("reg", &[UART, UART_BYTES])?;
        tree.property_array_u32("interrupts", &[SPI, UART_INTID - FIRST_SPI, LEVEL_HIGH])?;
        tree.property_array_u32("clocks", &[CLOCK, CLOCK])?;
        tree.property_string_list("clock-names", strings(&["uartclk", "apb_pclk"]))?;
        tree.end_node(node)
    }
}

fn uart_path() -> String {
    format!("/serial@{UART:x}")
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_string()).collect()
}
