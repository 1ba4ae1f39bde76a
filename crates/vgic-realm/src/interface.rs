//! The CPU's side of a virtual GIC.

/// The virtual interface control registers of the calling CPU.
///
/// On hardware these are `ICH_LR<n>_EL2` and `ICH_HCR_EL2`. A host that loses them across the world switch (nVHE, or firmware that switches them) cannot run Realms of 2.0.
pub trait VirtualInterface {
    /// Reads `ICH_LR<n>_EL2`.
    fn list_register(&self, n: usize) -> u64;
    /// Writes `ICH_LR<n>_EL2`.
    fn set_list_register(&mut self, n: usize, value: u64);
    /// Reads `ICH_HCR_EL2`.
    fn hcr(&self) -> u64;
    /// Writes `ICH_HCR_EL2`.
    fn set_hcr(&mut self, value: u64);
}
