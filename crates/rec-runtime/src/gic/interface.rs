//! Where the registers of the virtual CPU interface are.

use rmi_host::{Platform, Rmm};
use vgic_realm::{RunPage, VirtualInterface, Vtr};

/// The registers of the virtual CPU interface, where the RMM wants them: in the CPU (RMI 2.0) or in
/// the run page (1.0).
///
/// For a host that drives RMMs of both: the [`GicHandler`](super::GicHandler) of each REC has one.
/// `I` is the registers of the CPU; a host of 1.0 only uses [`RunPage`] itself.
///
/// ```
/// use rec_runtime::gic::RecInterface;
/// use rmi_host::{Platform, Rmm};
/// use vgic_realm::{Affinity, GicConfig, VirtualInterface};
///
/// /// `cpu` is a `HardwareInterface`, for instance.
/// fn config<'a, P: Platform>(
///     rmm: &Rmm<P>,
///     cpu: impl VirtualInterface,
///     affinities: &'a [Affinity],
/// ) -> GicConfig<'a> {
///     GicConfig { affinities, spis: 64, vtr: RecInterface::new(rmm, cpu).vtr() }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum RecInterface<I> {
    /// They are those of the CPU that enters the REC.
    Cpu(I),
    /// They are in the run page of the REC.
    RunPage(RunPage),
}

impl<I: VirtualInterface> RecInterface<I> {
    /// Those that the RMM uses; `cpu` if these are those of the CPU. An RMM that has them in the
    /// run page tells how many list registers there are.
    pub fn new<P: Platform>(rmm: &Rmm<P>, cpu: I) -> Self {
        match rmm.features().gic_num_lrs() {
            None => Self::Cpu(cpu),
            Some(count) => Self::RunPage(RunPage::new(Vtr::of_run_page(count.saturating_sub(1)))),
        }
    }
}

macro_rules! either {
    ($self:ident, $interface:ident => $result:expr) => {
        match $self {
            Self::Cpu($interface) => $result,
            Self::RunPage($interface) => $result,
        }
    };
}

impl<I: VirtualInterface> VirtualInterface for RecInterface<I> {
    fn vtr(&self) -> Vtr {
        either!(self, interface => interface.vtr())
    }
    fn list_register(&self, n: usize) -> u64 {
        either!(self, interface => interface.list_register(n))
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        either!(self, interface => interface.set_list_register(n, value));
    }
    fn hcr(&self) -> u64 {
        either!(self, interface => interface.hcr())
    }
    fn set_hcr(&mut self, value: u64) {
        either!(self, interface => interface.set_hcr(value));
    }
    fn vmcr(&self) -> u64 {
        either!(self, interface => interface.vmcr())
    }
    fn set_vmcr(&mut self, value: u64) {
        either!(self, interface => interface.set_vmcr(value));
    }
    fn ap0r(&self, n: usize) -> u64 {
        either!(self, interface => interface.ap0r(n))
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        either!(self, interface => interface.set_ap0r(n, value));
    }
    fn ap1r(&self, n: usize) -> u64 {
        either!(self, interface => interface.ap1r(n))
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        either!(self, interface => interface.set_ap1r(n, value));
    }
    fn misr(&self) -> u64 {
        either!(self, interface => interface.misr())
    }
    fn run_page(&mut self) -> Option<&mut RunPage> {
        either!(self, interface => interface.run_page())
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};
    use std::{format, vec::Vec};

    use super::*;

    /// Registers whose values tell which they are.
    #[derive(Default)]
    struct Named(Vec<String>);

    impl VirtualInterface for Named {
        fn vtr(&self) -> Vtr {
            Vtr::from_raw(3)
        }
        fn list_register(&self, n: usize) -> u64 {
            0x100 + n as u64
        }
        fn set_list_register(&mut self, n: usize, value: u64) {
            self.0.push(format!("lr{n} {value}"));
        }
        fn hcr(&self) -> u64 {
            0x200
        }
        fn set_hcr(&mut self, value: u64) {
            self.0.push(format!("hcr {value}"));
        }
        fn vmcr(&self) -> u64 {
            0x300
        }
        fn set_vmcr(&mut self, value: u64) {
            self.0.push(format!("vmcr {value}"));
        }
        fn ap0r(&self, n: usize) -> u64 {
            0x400 + n as u64
        }
        fn set_ap0r(&mut self, n: usize, value: u64) {
            self.0.push(format!("ap0r{n} {value}"));
        }
        fn ap1r(&self, n: usize) -> u64 {
            0x500 + n as u64
        }
        fn set_ap1r(&mut self, n: usize, value: u64) {
            self.0.push(format!("ap1r{n} {value}"));
        }
        fn misr(&self) -> u64 {
            0x600
        }
    }

    #[test]
    fn registers_of_the_cpu_are_its_own() {
        let mut interface = RecInterface::Cpu(Named::default());
        assert_eq!(interface.vtr(), Vtr::from_raw(3));
        let of_all = (interface.hcr(), interface.vmcr(), interface.misr());
        assert_eq!(of_all, (0x200, 0x300, 0x600));
        let of_one = (interface.list_register(1), interface.ap0r(2), interface.ap1r(3));
        assert_eq!(of_one, (0x101, 0x402, 0x503));
        assert!(interface.run_page().is_none());
        interface.set_list_register(1, 2);
        interface.set_hcr(3);
        interface.set_vmcr(4);
        interface.set_ap0r(5, 6);
        interface.set_ap1r(7, 8);
        let RecInterface::Cpu(Named(written)) = interface else { unreachable!() };
        let all = ["lr1 2", "hcr 3", "vmcr 4", "ap0r5 6", "ap1r7 8"].map(|write| write.to_string());
        assert_eq!(written, all);
    }

    #[test]
    fn registers_of_a_run_page_are_in_it() {
        let mut interface = RecInterface::<Named>::RunPage(RunPage::new(Vtr::of_run_page(1)));
        assert_eq!(interface.vtr(), Vtr::of_run_page(1));
        interface.set_list_register(1, 2);
        interface.set_hcr(3);
        assert_eq!((interface.list_register(1), interface.hcr()), (2, 3));
        let page = interface.run_page().unwrap();
        page.exit(3, [5; 16], 6, 7);
        let read = (interface.list_register(0), interface.misr(), interface.vmcr());
        assert_eq!(read, (5, 6, 7));
    }
}
