//! The virtual CPU interface of a CPU, in memory.

use crate::vgic::{VirtualInterface, Vtr};

pub(crate) struct Cpu {
    vtr: Vtr,
    list: [u64; 16],
    ap0r: [u64; 4],
    ap1r: [u64; 4],
    hcr: u64,
    vmcr: u64,
    misr: u64,
}

#[allow(dead_code, reason = "for the benches that have one")]
impl Cpu {
    pub(crate) const fn new(vtr: Vtr) -> Self {
        Self { vtr, list: [0; 16], ap0r: [0; 4], ap1r: [0; 4], hcr: 0, vmcr: 0, misr: 0 }
    }

    /// How many list registers are not free.
    pub(crate) fn in_use(&self) -> usize {
        self.list.iter().filter(|register| **register >> 62 != 0).count()
    }
}

fn read(registers: &[u64], n: usize) -> u64 {
    registers.get(n).copied().unwrap_or_default()
}

fn write(registers: &mut [u64], n: usize, value: u64) {
    if let Some(register) = registers.get_mut(n) {
        *register = value;
    }
}

impl VirtualInterface for Cpu {
    fn vtr(&self) -> Vtr {
        self.vtr
    }
    fn list_register(&self, n: usize) -> u64 {
        read(&self.list, n)
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        write(&mut self.list, n, value);
    }
    fn hcr(&self) -> u64 {
        self.hcr
    }
    fn set_hcr(&mut self, value: u64) {
        self.hcr = value;
    }
    fn vmcr(&self) -> u64 {
        self.vmcr
    }
    fn set_vmcr(&mut self, value: u64) {
        self.vmcr = value;
    }
    fn ap0r(&self, n: usize) -> u64 {
        read(&self.ap0r, n)
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        write(&mut self.ap0r, n, value);
    }
    fn ap1r(&self, n: usize) -> u64 {
        read(&self.ap1r, n)
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        write(&mut self.ap1r, n, value);
    }
    fn misr(&self) -> u64 {
        self.misr
    }
}
