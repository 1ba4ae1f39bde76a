//! The model as the RMM of the machine that it runs on: calls arrive as SMCs, and the registers of
//! the GIC are those of the CPU.

use rmi_host::Registers;
use vgic_realm::VirtualInterface;

use super::Model;

/// The CPU that a call is made on, where it is a real one.
pub trait RealCpu {
    /// Its virtual CPU interface: `ICH_*_EL2`. Its `ICH_VTR_EL2` and the options must agree
    /// ([`with_vtr`](crate::Options::with_vtr)).
    fn interface(&mut self) -> &mut dyn VirtualInterface;

    /// Whether a physical interrupt is pending (`ISR_EL1` is not 0), which ends a run. It is asked
    /// before an entry and before each action of the Realm's program.
    fn is_interrupted(&mut self) -> bool;
}

impl Model {
    /// One SMC from the Normal world, made on a physical CPU: X0 to X17 before it, and after it.
    /// For an RMM that is called by a real SMC instruction; a host that is linked with the model
    /// calls through [`Conduit`](rmi_host::Conduit).
    ///
    /// Results are in X0 to X7, X8 and up keep what they held. A function that the RMM does not
    /// have, which includes those of PSCI, answers -1 in X0.
    ///
    /// # Panics
    ///
    /// As the conduit of that CPU, if two RECs are entered on it at once.
    ///
    /// ```
    /// use rmi_abi::{Command, Dialect};
    /// use rmm_model::{Model, Options};
    ///
    /// let dialect = Dialect::TfRmm2026_07;
    /// let model = Model::new(Options::new(dialect))?;
    /// let mut x = [0; 18];
    /// x[0] = Command::Version.fid(dialect).map_or(0, |fid| fid.0.into());
    /// x[1] = 0x2_0000;
    /// x[17] = 17;
    /// let x = model.handle(3, x);
    /// assert_eq!((x[0], x[1], x[2], x[17]), (0, 0x2_0000, 0x2_0000, 17));
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    #[must_use]
    pub fn handle(&self, cpu: u32, x: [u64; 18]) -> [u64; 18] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = x;
        joined(self.call_from(cpu, [a, b, c, d, e, f, g, h]), rest)
    }

    /// The same on a real CPU, with its GIC: a REC gets the virtual interrupts that the host loaded
    /// into the CPU's registers, and leaves there what is left of them. [`Cpu`](crate::Cpu) of that
    /// number has nothing to do with it: its registers are overwritten, and its interrupts lost.
    ///
    /// # Panics
    ///
    /// As [`Model::handle`].
    #[must_use]
    pub fn handle_on(&self, number: u32, cpu: &mut dyn RealCpu, x: [u64; 18]) -> [u64; 18] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = x;
        let registers = [a, b, c, d, e, f, g, h];
        if !self.monitor.lock().enters_rec(&registers) {
            return self.handle(number, x);
        }
        let interrupted = cpu.is_interrupted();
        self.with_monitor(|monitor| {
            let modelled = monitor.cpu(number);
            modelled.load(cpu.interface());
            modelled.interrupted = interrupted;
        });
        let answer = self.call_interruptible(number, registers, &mut || cpu.is_interrupted());
        self.with_monitor(|monitor| monitor.cpu(number).save(cpu.interface()));
        joined(answer, rest)
    }
}

/// X0 to X17, of which a call changes the first eight.
fn joined(answer: Registers, rest: [u64; 10]) -> [u64; 18] {
    let [a, b, c, d, e, f, g, h] = answer;
    let [i, j, k, l, m, n, o, p, q, r] = rest;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r]
}
