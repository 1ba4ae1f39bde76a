//! CPUs that are turned on and turn themselves off, again and again.

use rmi_abi::Ipa;
use rmi_abi::psci::PsciReturnCode;

use super::{Failure, Realm};
use crate::entry::{Entry, Program};
use crate::host_call::values;
use crate::vcpu::Vcpu;

/// Where the page is in which CPUs count their starts: CPU 0 writes it to the page of its own
/// calls, as a CPU that is turned on has no arguments.
const COUNTS: u64 = crate::layout::CALLS + 0x800;
/// What PSCI_AFFINITY_INFO returns for a CPU that is off.
const OFF: u64 = 1;

pub(super) async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    let me = realm.index();
    if me != 0 {
        let page = realm.load(140, Ipa::new(COUNTS), 8).await?;
        let own = Ipa::new(page + 8 * me);
        let starts = realm.load(141, own, 8).await?;
        return realm.store(142, own, 8, starts + 1).await;
    }
    let [rounds, cpus, page, ..] = realm.entry().arguments;
    realm.store(143, Ipa::new(COUNTS), 8, page).await?;
    for cpu in 1..cpus {
        realm.store(144, Ipa::new(page + 8 * cpu), 8, 0).await?;
    }
    let mut denied = 0;
    for round in 1..=rounds {
        for cpu in 1..cpus {
            denied += turn_on(realm, cpu).await?;
        }
        for cpu in 1..cpus {
            // It turns itself off, after it has counted.
            while realm.cpu.affinity_info(cpu).await != OFF {
                realm.cpu.relax().await;
            }
            let starts = realm.load(145, Ipa::new(page + 8 * cpu), 8).await?;
            realm.expect(146, round, starts)?;
        }
    }
    realm.tell(values::COUNT, [rounds * cpus.saturating_sub(1), denied]).await
}

/// Turns a CPU on that is off, as often as the host denies it: how often that was.
async fn turn_on<V: Vcpu>(realm: &mut Realm<'_, V>, cpu: u64) -> Result<u64, Failure> {
    let context = Entry::context(Program::Power, u16::try_from(cpu).unwrap_or(0));
    let mut denied = 0;
    loop {
        match realm.cpu.cpu_on(cpu, context).await {
            PsciReturnCode::Success => return Ok(denied),
            PsciReturnCode::Denied => denied += 1,
            other => {
                realm.expect(147, 0, other.to_register())?;
            }
        }
    }
}
