//! A virtual CPU that executes instructions, for the programs.
//!
//! Programs name structures by IPA, which is where they are mapped. What is as `rsi` wants it goes
//! by way of its functions; what is wrong on purpose, to see it refused, is a call by number.
#![expect(unsafe_code, reason = "memory is named by address, and given up")]

use realm_guest::layout;
use realm_guest::vcpu::{Aborted, Timer, Vcpu};
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rsi::{
    Command, HostCallBlock, PlaneRunPage2_0, RealmConfigPage, ReturnCode, RipasChangeFlags,
};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};
use rsi::smc::SmcConduit;
use rsi::{
    AttestationToken, Conduit, CpuPower, Error, Granule, Psci, PsciError, Registers, RipasStep,
    Rsi, WhyStopped,
};

use super::{access, registers};

/// A virtual CPU.
pub(super) struct Cpu<'r> {
    rsi: &'r Rsi<SmcConduit>,
    entry: [u64; 8],
    token: OfThisCpu<Option<AttestationToken<'r, SmcConduit>>>,
}

/// A value that stays on this CPU.
struct OfThisCpu<T>(T);

// SAFETY: a program never leaves the CPU that it started on; there is nothing that could move it.
unsafe impl<T> Send for OfThisCpu<T> {}

impl<'r> Cpu<'r> {
    /// The CPU that executes this.
    pub(super) const fn new(rsi: &'r Rsi<SmcConduit>, entry: [u64; 8]) -> Self {
        Self { rsi, entry, token: OfThisCpu(None) }
    }

    fn psci(&self) -> Psci<&SmcConduit> {
        registers::barrier();
        Psci::new(self.rsi.conduit())
    }

    /// A call by number: X0 to X17 after success.
    fn call(&self, command: Command, arguments: [u64; 3]) -> Result<Registers, ReturnCode> {
        let mut x: Registers = [0; 18];
        let [x0, x1, x2, x3, ..] = &mut x;
        let [a, b, c] = arguments;
        (*x0, *x1, *x2, *x3) = (command.form().fid().0.into(), a, b, c);
        // SAFETY: programs make such calls with what the RMM has to refuse.
        let after = unsafe { self.rsi.conduit().call(x) };
        let [x0, ..] = after;
        match ReturnCode::from(x0) {
            ReturnCode::Success => Ok(after),
            code => Err(code),
        }
    }
}

/// The return code of an error; what no RMM answers has one of its own.
fn code(error: Error) -> ReturnCode {
    match error {
        Error::Refused { status, .. } => status,
        Error::NotSupported { .. } => ReturnCode::NOT_SUPPORTED,
        _ => ReturnCode::Unknown(0xbad),
    }
}

fn psci_code<T>(result: Result<T, PsciError>) -> PsciReturnCode {
    result.map_or_else(|error| error.code, |_| PsciReturnCode::Success)
}

/// An object of a program at an address; `None` if it is not aligned.
///
/// # Safety
///
/// There is private memory, which nothing else uses meanwhile. Any content is valid.
unsafe fn object<'p, T>(at: Ipa) -> Option<&'p mut T> {
    let at = usize::try_from(at.raw()).ok()?;
    let pointer = core::ptr::with_exposed_provenance_mut::<T>(at);
    // SAFETY: the caller's promise, and the alignment is checked.
    pointer.is_aligned().then(|| unsafe { &mut *pointer })
}

impl Vcpu for Cpu<'_> {
    fn entry(&self) -> [u64; 8] {
        self.entry
    }

    async fn load(&mut self, ipa: Ipa, bytes: u8) -> Result<u64, Aborted> {
        access::load(ipa, bytes)
    }

    async fn store(&mut self, ipa: Ipa, bytes: u8, value: u64) -> Result<(), Aborted> {
        access::store(ipa, bytes, value)
    }

    async fn relax(&mut self) {
        core::hint::spin_loop();
    }

    async fn realm_config(&mut self, page: Ipa) -> Result<(), ReturnCode> {
        // SAFETY: the page is RAM of the program, which waits for the call.
        match unsafe { object::<RealmConfigPage>(page) } {
            Some(page) => self.rsi.realm_config(page).map(|_| ()).map_err(code),
            None => self.call(Command::RealmConfig, [page.raw(), 0, 0]).map(|_| ()),
        }
    }

    async fn measurement_read(&mut self, index: u64) -> Result<[u64; 8], ReturnCode> {
        let Some(which) = measurement(index) else {
            return self.call(Command::MeasurementRead, [index, 0, 0]).map(|_| [0; 8]);
        };
        let bytes = self.rsi.measurement(which).map_err(code)?;
        let mut words = [0; 8];
        for (to, word) in words.iter_mut().zip(bytes.as_chunks().0) {
            *to = u64::from_le_bytes(*word);
        }
        Ok(words)
    }

    async fn measurement_extend(
        &mut self,
        index: u64,
        bytes: u64,
        value: [u64; 8],
    ) -> Result<(), ReturnCode> {
        let mut all = [0; 64];
        for (to, word) in all.as_chunks_mut().0.iter_mut().zip(value) {
            *to = word.to_le_bytes();
        }
        let value = usize::try_from(bytes).ok().and_then(|bytes| all.get(..bytes));
        match (measurement(index), value) {
            (Some(which), Some(value)) => self.rsi.extend_measurement(which, value).map_err(code),
            _ => self.call(Command::MeasurementExtend, [index, bytes, 0]).map(|_| ()),
        }
    }

    async fn ipa_state_get(&mut self, base: Ipa, top: Ipa) -> Result<(Ipa, Ripas), ReturnCode> {
        let Ok(range) = IpaRange::new(base, top) else {
            let refused = self.call(Command::IpaStateGet, [base.raw(), top.raw(), 0]);
            return refused.map(|_| (base, Ripas::Empty));
        };
        self.rsi.ripas(range).map(|run| (run.top, run.ripas)).map_err(code)
    }

    async fn ipa_state_set(
        &mut self,
        base: Ipa,
        top: Ipa,
        ripas: Ripas,
        destroyed: bool,
    ) -> Result<(Ipa, bool), ReturnCode> {
        registers::barrier();
        let range = IpaRange::new(base, top);
        let (Ok(range), Ripas::Empty | Ripas::Ram) = (range, ripas) else {
            let arguments = [base.raw(), top.raw(), u8::from(ripas).into()];
            return self.call(Command::IpaStateSet, arguments).map(|_| (base, true));
        };
        let flags = if destroyed { RipasChangeFlags::DESTROYED } else { RipasChangeFlags::empty() };
        // SAFETY: programs change RAM that is theirs by the layout, in which no object is.
        let step = unsafe { self.rsi.set_ripas(range, ripas, flags) };
        Ok(match step.map_err(code)? {
            RipasStep::Done => (top, true),
            RipasStep::Partial(reached) => (reached, true),
            RipasStep::Rejected(reached) => (reached, false),
        })
    }

    async fn host_call(&mut self, structure: Ipa) -> Result<(), ReturnCode> {
        registers::barrier();
        // SAFETY: the structure is in the page of this CPU's calls.
        let called = match unsafe { object::<HostCallBlock>(structure) } {
            Some(block) => self.rsi.host_call(block).map_err(code),
            None => self.call(Command::HostCall, [structure.raw(), 0, 0]).map(|_| ()),
        };
        registers::barrier();
        called
    }

    async fn token_init(&mut self, challenge: [u64; 8]) -> Result<u64, ReturnCode> {
        let mut bytes = [0; 64];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(challenge) {
            *to = word.to_le_bytes();
        }
        let token = self.rsi.attestation_token(&bytes).map_err(code)?;
        let bound = token.size_bound();
        self.token = OfThisCpu(Some(token));
        Ok(bound)
    }

    async fn token_continue(
        &mut self,
        page: Ipa,
        offset: u64,
        bytes: u64,
    ) -> Result<(u64, bool), ReturnCode> {
        let at = usize::try_from(offset).ok().zip(usize::try_from(bytes).ok());
        let at = at.and_then(|(offset, bytes)| Some(offset..offset.checked_add(bytes)?));
        // SAFETY: the page is RAM of the program, which waits for the call.
        let place = unsafe { object::<Granule>(page) };
        let place = place.zip(at).and_then(|(page, at)| page.bytes_mut().get_mut(at));
        let (Some(token), Some(place)) = (&mut self.token.0, place) else {
            let refused = self.call(Command::AttestationTokenContinue, [page.raw(), offset, bytes]);
            return refused.map(|_| (0, true));
        };
        let part = token.next_part(&mut Granule::zeroed(), place).map_err(code)?;
        if part.is_complete {
            self.token = OfThisCpu(None);
        }
        Ok((part.bytes as u64, part.is_complete))
    }

    async fn set_permission(
        &mut self,
        plane: u64,
        index: u64,
        permission: u64,
    ) -> Result<(), ReturnCode> {
        let permission = u8::try_from(permission).unwrap_or(u8::MAX);
        self.rsi.set_permission(plane, index, permission.into()).map_err(code)
    }

    async fn set_permission_index(
        &mut self,
        range: IpaRange,
        index: u64,
    ) -> Result<(), ReturnCode> {
        self.rsi.change_permission_index(range, index).map_err(|stopped| match stopped.why {
            WhyStopped::Call(error) => code(error),
            _ => ReturnCode::Incomplete,
        })
    }

    async fn plane_enter(&mut self, plane: u64, run: Ipa) -> Result<(), ReturnCode> {
        registers::barrier();
        // SAFETY: the page is RAM of the program, which waits for the call.
        let Some(page) = (unsafe { object::<PlaneRunPage2_0>(run) }) else {
            return self.call(Command::PlaneEnter, [plane, run.raw(), 0]).map(|_| ());
        };
        // SAFETY: what runs in the plane is the payload, on a stack of its own.
        let entered = unsafe { self.rsi.enter_plane(plane, page) };
        registers::barrier();
        entered.map(|_| ()).map_err(code)
    }

    async fn unknown_call(&mut self, function: u64) -> u64 {
        let mut x: Registers = [0; 18];
        let [x0, ..] = &mut x;
        *x0 = function;
        // SAFETY: no function has this number.
        let [x0, ..] = unsafe { self.rsi.conduit().call(x) };
        x0
    }

    async fn wait_for_interrupt(&mut self) {
        registers::wait_for_interrupt();
    }

    async fn wait_for_event(&mut self) {
        registers::wait_for_event();
    }

    async fn enable_interrupts(&mut self) {
        registers::enable_interrupts();
    }

    async fn acknowledge(&mut self) -> Option<u32> {
        registers::acknowledge()
    }

    async fn end_of_interrupt(&mut self, intid: u32) {
        registers::end_of_interrupt(intid);
    }

    async fn send_sgi(&mut self, value: u64) {
        registers::send_sgi(value);
    }

    async fn counter(&mut self) -> u64 {
        registers::counter()
    }

    async fn set_timer(&mut self, timer: Timer, cval: u64) {
        registers::set_timer(timer, Some(cval));
    }

    async fn stop_timer(&mut self, timer: Timer) {
        registers::set_timer(timer, None);
    }

    async fn psci_version(&mut self) -> u64 {
        self.psci().version().map_or_else(|error| error.code.to_register(), |version| version.0)
    }

    async fn cpu_on(&mut self, mpidr: u64, context: u64) -> PsciReturnCode {
        // SAFETY: at the image is the start of a CPU, which has its own stack by the index in
        // `context`.
        psci_code(unsafe { self.psci().cpu_on(mpidr, Ipa::new(layout::IMAGE), context) })
    }

    async fn affinity_info(&mut self, mpidr: u64) -> u64 {
        let state = self.psci().affinity_info(mpidr);
        registers::barrier();
        match state {
            Ok(CpuPower::On) => 0,
            Ok(CpuPower::Off) => 1,
            Ok(CpuPower::OnPending) => 2,
            Err(error) => error.code.to_register(),
        }
    }

    async fn cpu_suspend(&mut self) -> PsciReturnCode {
        psci_code(self.psci().cpu_suspend())
    }

    async fn cpu_off(&mut self) {
        let _ = self.psci().cpu_off();
    }

    async fn system_off(&mut self) {
        let _ = self.psci().system_off();
    }
}

/// The measurement with an index.
fn measurement(index: u64) -> Option<rsi::Measurement> {
    rsi::Measurement::ALL.into_iter().find(|which| which.index() == index)
}
