//! A session opened by one call, for examples and tests.

use rmi_host::{
    Discovered, Error, Platform, Progress, Rmm, SessionError, SessionOptions, Undelegated,
};

/// Opens a session on an RMM that takes no memory to become active, with the default options.
/// `page` is host memory of at least 4 KiB; it is lent only.
///
/// For examples and tests; `sro::open` is for everything else.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let mut memory = model.take_memory();
/// let rmm = rmm_model::open(model.host(), &mut memory)?;
/// assert_eq!(rmm.dialect(), Dialect::TfRmm2026_07);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`SessionError`]; [`Error::NeedMemory`] when the RMM asks for memory; the activation is then
/// left as it is.
pub fn open<P: Platform>(platform: P, page: &mut Undelegated) -> Result<Rmm<P>, SessionError> {
    open_with(platform, SessionOptions::default(), page)
}

/// As [`open`], with these options.
///
/// # Errors
///
/// As [`open`].
pub fn open_with<P: Platform>(
    platform: P,
    options: SessionOptions,
    page: &mut Undelegated,
) -> Result<Rmm<P>, SessionError> {
    let found = Discovered::probe(platform, options)?;
    let configured = found.configure(page)?;
    match configured.start_activation() {
        Ok(Progress::Done(_)) | Err(Error::Unsupported { .. }) => Ok(configured.into_active()),
        Ok(Progress::Pending(pending)) => {
            let command = pending.command();
            configured.into_active().commands().drop_pending(pending);
            Err(Error::need_memory(command, 0, 0).into())
        }
        Err(error) => Err(error.into()),
    }
}
