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
