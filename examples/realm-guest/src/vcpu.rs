//! What a program needs of its CPU.

use core::future::Future;

use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rsi::ReturnCode;
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

/// An access took a synchronous external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

/// Which of the EL1 timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// `CNTV_*`, PPI 27.
    Virtual,
    /// `CNTP_*`, PPI 30.
    Physical,
}

/// A virtual CPU of a Realm.
///
/// Interrupts stay masked (PSTATE.I): a program waits with WFI, and acknowledges what is pending.
/// On a CPU that executes instructions every future is ready at once. The calls are those of the
/// RSI and of PSCI; what an RMM refuses is the error.
pub trait Vcpu: Send {
    /// X0 to X7 at the start of this virtual CPU, or when it was turned on last.
    fn entry(&self) -> [u64; 8];

    /// Loads 1, 2, 4 or 8 bytes, by one instruction with a valid syndrome, zero-extended.
    fn load(&mut self, ipa: Ipa, bytes: u8) -> impl Future<Output = Result<u64, Aborted>> + Send;

    /// Stores the low 1, 2, 4 or 8 bytes of a value, by one such instruction.
    fn store(
        &mut self,
        ipa: Ipa,
        bytes: u8,
        value: u64,
    ) -> impl Future<Output = Result<(), Aborted>> + Send;

    /// Does something without effect, which takes some time.
    fn relax(&mut self) -> impl Future<Output = ()> + Send;

    /// `RSI_REALM_CONFIG` into a page.
    fn realm_config(&mut self, page: Ipa) -> impl Future<Output = Result<(), ReturnCode>> + Send;

    /// `RSI_MEASUREMENT_READ`.
    fn measurement_read(
        &mut self,
        index: u64,
    ) -> impl Future<Output = Result<[u64; 8], ReturnCode>> + Send;

    /// `RSI_MEASUREMENT_EXTEND` by the low `bytes` bytes of a value.
    fn measurement_extend(
        &mut self,
        index: u64,
        bytes: u64,
        value: [u64; 8],
    ) -> impl Future<Output = Result<(), ReturnCode>> + Send;

    /// `RSI_IPA_STATE_GET`: the state of the addresses from `base` on, and how far it reaches.
    fn ipa_state_get(
        &mut self,
        base: Ipa,
        top: Ipa,
    ) -> impl Future<Output = Result<(Ipa, Ripas), ReturnCode>> + Send;

    /// One call of `RSI_IPA_STATE_SET`, also of destroyed memory if `destroyed`: how far it came,
    /// and whether the host accepted it.
    fn ipa_state_set(
        &mut self,
        base: Ipa,
        top: Ipa,
        ripas: Ripas,
        destroyed: bool,
    ) -> impl Future<Output = Result<(Ipa, bool), ReturnCode>> + Send;

    /// `RSI_HOST_CALL` with the structure at an address.
    fn host_call(&mut self, structure: Ipa) -> impl Future<Output = Result<(), ReturnCode>> + Send;

    /// `RSI_ATTESTATION_TOKEN_INIT`: an upper bound of the token's size.
    fn token_init(
        &mut self,
        challenge: [u64; 8],
    ) -> impl Future<Output = Result<u64, ReturnCode>> + Send;

    /// One call of `RSI_ATTESTATION_TOKEN_CONTINUE`: up to `bytes` bytes of the token, written to
    /// the page at `page` from `offset` on. How many were written, and whether the token is
    /// complete.
    fn token_continue(
        &mut self,
        page: Ipa,
        offset: u64,
        bytes: u64,
    ) -> impl Future<Output = Result<(u64, bool), ReturnCode>> + Send;

    /// `RSI_MEM_SET_PERM_VALUE`.
    fn set_permission(
        &mut self,
        plane: u64,
        index: u64,
        permission: u64,
    ) -> impl Future<Output = Result<(), ReturnCode>> + Send;

    /// `RSI_MEM_SET_PERM_INDEX` of a range, by as many calls as it takes.
    fn set_permission_index(
        &mut self,
        range: IpaRange,
        index: u64,
    ) -> impl Future<Output = Result<(), ReturnCode>> + Send;

    /// `RSI_PLANE_ENTER` with the run page at an address.
    fn plane_enter(
        &mut self,
        plane: u64,
        run: Ipa,
    ) -> impl Future<Output = Result<(), ReturnCode>> + Send;

    /// An SMC with a function that neither RSI nor PSCI have: X0.
    fn unknown_call(&mut self, function: u64) -> impl Future<Output = u64> + Send;

    /// WFI.
    fn wait_for_interrupt(&mut self) -> impl Future<Output = ()> + Send;

    /// WFE.
    fn wait_for_event(&mut self) -> impl Future<Output = ()> + Send;

    /// Lets interrupts of group 1 through the CPU interface: all priorities but the lowest.
    fn enable_interrupts(&mut self) -> impl Future<Output = ()> + Send;

    /// Acknowledges the most urgent interrupt of group 1 (`ICC_IAR1_EL1`); `None` if none is
    /// pending.
    fn acknowledge(&mut self) -> impl Future<Output = Option<u32>> + Send;

    /// Ends an interrupt (`ICC_EOIR1_EL1`).
    fn end_of_interrupt(&mut self, intid: u32) -> impl Future<Output = ()> + Send;

    /// Writes `ICC_SGI1R_EL1`.
    fn send_sgi(&mut self, value: u64) -> impl Future<Output = ()> + Send;

    /// The virtual counter, in ticks.
    fn counter(&mut self) -> impl Future<Output = u64> + Send;

    /// Sets a timer: its interrupt is signalled when the counter has reached `cval`.
    fn set_timer(&mut self, timer: Timer, cval: u64) -> impl Future<Output = ()> + Send;

    /// Turns a timer off.
    fn stop_timer(&mut self, timer: Timer) -> impl Future<Output = ()> + Send;

    /// `PSCI_VERSION`.
    fn psci_version(&mut self) -> impl Future<Output = u64> + Send;

    /// `PSCI_CPU_ON` of the virtual CPU with that MPIDR, at [`IMAGE`](crate::layout::IMAGE), which
    /// gets `context` in X0.
    fn cpu_on(&mut self, mpidr: u64, context: u64) -> impl Future<Output = PsciReturnCode> + Send;

    /// `PSCI_AFFINITY_INFO`: 0 for on, 1 for off, 2 for on pending.
    fn affinity_info(&mut self, mpidr: u64) -> impl Future<Output = u64> + Send;

    /// `PSCI_CPU_SUSPEND`, a standby state.
    fn cpu_suspend(&mut self) -> impl Future<Output = PsciReturnCode> + Send;

    /// `PSCI_CPU_OFF`. Ends when another CPU has turned this one on again and it runs functions of
    /// the model; a CPU that executes instructions starts at the image then, and this never ends.
    fn cpu_off(&mut self) -> impl Future<Output = ()> + Send;

    /// `PSCI_SYSTEM_OFF`.
    fn system_off(&mut self) -> impl Future<Output = ()> + Send;
}
