//! Calls that the RMM answers itself.

use rmi_abi::Ipa;
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rsi::ReturnCode;

use super::{Failure, Realm};
use crate::layout::{RAM, call_page};
use crate::vcpu::Vcpu;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let [cpus, ..] = realm.entry().arguments;
    let version = realm.cpu.psci_version().await;
    realm.expect(160, 1, version >> 16)?;
    let unknown = realm.cpu.unknown_call(0xc400_01ff).await;
    realm.expect(161, u64::MAX, unknown)?;

    let read = realm.cpu.measurement_read(5).await;
    realm.refused(162, ReturnCode::ErrorInput, read)?;
    let configured = realm.cpu.realm_config(Ipa::new(RAM + 8)).await;
    realm.refused(163, ReturnCode::ErrorInput, configured)?;
    let called = realm.cpu.host_call(Ipa::new(call_page(0).raw() + 8)).await;
    realm.refused(164, ReturnCode::ErrorInput, called)?;
    let got = realm.cpu.ipa_state_get(Ipa::new(RAM + 0x1000), Ipa::new(RAM)).await;
    realm.refused(165, ReturnCode::ErrorInput, got)?;

    // A CPU that is on, and one that does not exist.
    let on = realm.cpu.cpu_on(0, 0).await;
    realm.expect(166, PsciReturnCode::AlreadyOn.to_register(), on.to_register())?;
    let on = realm.cpu.cpu_on(cpus, 0).await;
    realm.expect(167, PsciReturnCode::InvalidParameters.to_register(), on.to_register())?;
    let state = realm.cpu.affinity_info(cpus).await;
    realm.expect(168, PsciReturnCode::InvalidParameters.to_register(), state)
}
