//! The virtual CPU of the model as the programs use it.

use realm_guest::vcpu::{Aborted, Timer};
use realm_guest::{Vcpu, layout};
use rmi_abi::esr::SysReg;
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rsi::ReturnCode;
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};
use rmm_model::{Action, AsyncVcpu, TimerKind};

/// Most calls for one change of permission indices.
const PERMISSION_CALLS: u32 = 10_000;

/// A virtual CPU of the model.
#[derive(Debug)]
pub(crate) struct ModelVcpu {
    cpu: AsyncVcpu,
    entry: [u64; 8],
}

impl ModelVcpu {
    pub(crate) fn new(cpu: AsyncVcpu) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = cpu.x();
        Self { cpu, entry: [a, b, c, d, e, f, g, h] }
    }

    /// Makes a call of the Realm: X1 and up, or its return code.
    async fn call(&mut self, call: Action) -> Result<[u64; 8], ReturnCode> {
        let [x0, a, b, c, d, e, f, g, h, ..] = self.cpu.call(call).await;
        match ReturnCode::from(x0) {
            ReturnCode::Success => Ok([a, b, c, d, e, f, g, h]),
            code => Err(code),
        }
    }
}

const fn kind(timer: Timer) -> TimerKind {
    match timer {
        Timer::Virtual => TimerKind::Virtual,
        Timer::Physical => TimerKind::Physical,
    }
}

impl Vcpu for ModelVcpu {
    fn entry(&self) -> [u64; 8] {
        self.entry
    }

    async fn load(&mut self, ipa: Ipa, bytes: u8) -> Result<u64, Aborted> {
        self.cpu.load(ipa, bytes).await.map_err(|_| Aborted)
    }

    async fn store(&mut self, ipa: Ipa, bytes: u8, value: u64) -> Result<(), Aborted> {
        self.cpu.store(ipa, bytes, value).await.map_err(|_| Aborted)
    }

    async fn relax(&mut self) {
        self.cpu.nop().await;
    }

    async fn realm_config(&mut self, page: Ipa) -> Result<(), ReturnCode> {
        self.call(Action::realm_config(page)).await.map(|_| ())
    }

    async fn measurement_read(&mut self, index: u64) -> Result<[u64; 8], ReturnCode> {
        self.call(Action::measurement_read(index)).await
    }

    async fn measurement_extend(
        &mut self,
        index: u64,
        bytes: u64,
        value: [u64; 8],
    ) -> Result<(), ReturnCode> {
        self.call(Action::measurement_extend(index, bytes, value)).await.map(|_| ())
    }

    async fn ipa_state_get(&mut self, base: Ipa, top: Ipa) -> Result<(Ipa, Ripas), ReturnCode> {
        let [reached, ripas, ..] = self.call(Action::ipa_state_get(base, top)).await?;
        // The state is the low byte of the register.
        let [ripas, ..] = ripas.to_le_bytes();
        Ok((Ipa::new(reached), Ripas::from(ripas)))
    }

    async fn ipa_state_set(
        &mut self,
        base: Ipa,
        top: Ipa,
        ripas: Ripas,
        destroyed: bool,
    ) -> Result<(Ipa, bool), ReturnCode> {
        let call = Action::ipa_state_set(base, top, ripas, destroyed.into());
        let [reached, response, ..] = self.call(call).await?;
        Ok((Ipa::new(reached), response == 0))
    }

    async fn host_call(&mut self, structure: Ipa) -> Result<(), ReturnCode> {
        self.call(Action::host_call(structure)).await.map(|_| ())
    }

    async fn token_init(&mut self, challenge: [u64; 8]) -> Result<u64, ReturnCode> {
        let [bound, ..] = self.call(Action::attestation_token_init(challenge)).await?;
        Ok(bound)
    }

    async fn token_continue(
        &mut self,
        page: Ipa,
        offset: u64,
        bytes: u64,
    ) -> Result<(u64, bool), ReturnCode> {
        let call = Action::attestation_token_continue(page, offset, bytes);
        let [x0, written, ..] = self.cpu.call(call).await;
        match ReturnCode::from(x0) {
            ReturnCode::Success => Ok((written, true)),
            ReturnCode::Incomplete => Ok((written, false)),
            code => Err(code),
        }
    }

    async fn set_permission(
        &mut self,
        plane: u64,
        index: u64,
        permission: u64,
    ) -> Result<(), ReturnCode> {
        self.call(Action::mem_set_perm_value(plane, index, permission)).await.map(|_| ())
    }

    async fn set_permission_index(
        &mut self,
        range: IpaRange,
        index: u64,
    ) -> Result<(), ReturnCode> {
        // The RMM says where to go on, in this tree or the next, and the host may refuse.
        let (mut base, mut cookie) = (range.base(), 0);
        for _ in 0..PERMISSION_CALLS {
            let call = Action::mem_set_perm_index(base, range.top(), index, cookie);
            let [reached, response, next, ..] = self.call(call).await?;
            if response != 0 {
                return Err(ReturnCode::ErrorState);
            }
            if next == 0 && reached == range.top().raw() {
                return Ok(());
            }
            (base, cookie) = (Ipa::new(reached), next);
        }
        Err(ReturnCode::Incomplete)
    }

    async fn plane_enter(&mut self, plane: u64, run: Ipa) -> Result<(), ReturnCode> {
        self.call(Action::plane_enter(plane, run)).await.map(|_| ())
    }

    async fn unknown_call(&mut self, function: u64) -> u64 {
        let [x0, ..] = self.cpu.smc(function, &[]).await;
        x0
    }

    async fn wait_for_interrupt(&mut self) {
        self.cpu.wfi().await;
    }

    async fn wait_for_event(&mut self) {
        self.cpu.wfe().await;
    }

    async fn enable_interrupts(&mut self) {
        self.cpu.act(Action::set_priority_mask(0xf0)).await;
        self.cpu.act(Action::enable_group_1(true)).await;
    }

    async fn acknowledge(&mut self) -> Option<u32> {
        self.cpu.acknowledge().await
    }

    async fn end_of_interrupt(&mut self, intid: u32) {
        self.cpu.end_of_interrupt(intid).await;
    }

    async fn send_sgi(&mut self, value: u64) {
        let _ = self.cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, value).await;
    }

    async fn counter(&mut self) -> u64 {
        self.cpu.counter().await
    }

    async fn set_timer(&mut self, timer: Timer, cval: u64) {
        self.cpu.set_timer(kind(timer), cval).await;
    }

    async fn stop_timer(&mut self, timer: Timer) {
        self.cpu.stop_timer(kind(timer)).await;
    }

    async fn psci_version(&mut self) -> u64 {
        let [x0, ..] = self.cpu.smc(0x8400_0000, &[]).await;
        x0
    }

    async fn cpu_on(&mut self, mpidr: u64, context: u64) -> PsciReturnCode {
        self.cpu.cpu_on(mpidr, Ipa::new(layout::IMAGE), context).await
    }

    async fn affinity_info(&mut self, mpidr: u64) -> u64 {
        self.cpu.affinity_info(mpidr).await
    }

    async fn cpu_suspend(&mut self) -> PsciReturnCode {
        let [x0, ..] = self.cpu.call(Action::psci_cpu_suspend()).await;
        PsciReturnCode::from_register(x0)
    }

    async fn cpu_off(&mut self) {
        let [x0, ..] = self.cpu.cpu_off().await.x;
        self.entry = [x0, 0, 0, 0, 0, 0, 0, 0];
    }

    async fn system_off(&mut self) {
        self.cpu.system_off().await
    }
}
