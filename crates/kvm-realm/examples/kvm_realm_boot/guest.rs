//! Where the guest's files are, and its device tree.

use bare_metal::linux::device_tree::Description;
use bare_metal::linux::layout::Layout;
use realm_sdk::abi::Ipa;

use crate::options::{Failure, Files, Options};

const MIB: u64 = 1 << 20;

/// The guest's files at their places.
#[derive(Debug)]
pub(crate) struct Guest<'f> {
    pub(crate) layout: Layout,
    files: &'f Files,
    tree: Vec<u8>,
}

impl<'f> Guest<'f> {
    /// Places the files and describes the machine.
    pub(crate) fn new(
        options: &Options,
        files: &'f Files,
        affinities: &[u64],
    ) -> Result<Self, Failure> {
        let ram = options.memory.saturating_mul(MIB);
        let layout = Layout::new(&files.kernel, files.initramfs.len() as u64, ram)?;
        let tree = Description {
            layout: &layout,
            mpidrs: affinities,
            command_line: &options.command_line,
            // The RMM is reached by SMC, KVM by HVC.
            psci_method: if options.is_plain { "hvc" } else { "smc" },
        };
        let tree = tree.blob().map_err(|error| format!("the device tree: {error}"))?;
        if tree.len() as u64 > layout.tree.bytes() {
            return Err("the device tree is too long".into());
        }
        Ok(Self { layout, files, tree })
    }

    /// What is in memory when the guest starts: where, and the bytes.
    pub(crate) fn contents(&self) -> Vec<(Ipa, &[u8])> {
        let all = [
            (self.layout.entry, self.files.kernel.as_slice()),
            (self.layout.tree.base(), self.tree.as_slice()),
            (self.layout.initramfs.base(), self.files.initramfs.as_slice()),
        ];
        all.into_iter().filter(|(_, content)| !content.is_empty()).collect()
    }
}
