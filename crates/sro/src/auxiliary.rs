//! The auxiliary granules of a REC, where the command that creates it names all its memory (1.0).

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::rec::RecParamsPage;
use rmi_abi::{Command, GranuleSize};
use rmi_host::{Error, Platform, Rd, Rmm};

use crate::donated::Donated;
use crate::pool::Pool;

/// How many bytes of auxiliary granules a REC of a Realm needs; an error if the pool does not have
/// them and a granule for the REC itself.
pub(crate) fn check<P: Platform>(rmm: &Rmm<P>, rd: &Rd, pool: &mut Pool) -> Result<u64, Error> {
    let count = rmm.commands().rec_aux_granules(rd)?;
    let bytes = u64::from(count) * MIN_GRANULE;
    pool.check_granules(Command::RecCreate, bytes + MIN_GRANULE)?;
    Ok(bytes)
}

/// Takes auxiliary granules from the pool, in as few runs as it permits. After an error some may be
/// in `aux`.
pub(crate) fn take<P: Platform>(
    rmm: &Rmm<P>,
    pool: &mut Pool,
    mut bytes: u64,
    aux: &mut Donated,
) -> Result<(), Error> {
    while bytes > 0 {
        let run = pool.take_run(rmm, Command::RecCreate, bytes, MIN_GRANULE)?;
        bytes = bytes.saturating_sub(run.bytes());
        if let Err(run) = aux.record(run.into_use()) {
            // There is a place for each of the most granules that a REC has.
            pool.put_back(rmm, run.into_released());
            return Err(pool.need(Command::RecCreate, bytes, MIN_GRANULE));
        }
    }
    Ok(())
}

/// Names auxiliary granules in the parameters of a REC.
pub(crate) fn list(aux: &Donated, page: &mut RecParamsPage) {
    let runs = aux.iter().map(|run| run.base().raw()..run.top().raw());
    let granules = runs.flat_map(|run| run.step_by(1 << GranuleSize::Size4KiB.shift()));
    for (place, address) in page.aux.iter_mut().zip(granules) {
        *place = address;
        page.num_aux += 1;
    }
}

#[cfg(test)]
mod tests {
    use rmi_abi::rec::{MAX_REC_AUX_GRANULES, Mpidr, RecParams};

    use super::*;

    #[test]
    fn there_is_a_place_for_every_granule() {
        const { assert!(MAX_REC_AUX_GRANULES <= Donated::RANGES) };
        let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
        let mut page = params.encode();
        list(&Donated::new(), &mut page);
        assert_eq!((page.num_aux, page.aux), (0, [0; MAX_REC_AUX_GRANULES]));
    }
}
