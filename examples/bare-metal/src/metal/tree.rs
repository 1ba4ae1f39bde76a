//! Finding the device tree.

use alloc::vec::Vec;

use bare_metal::{board, transfer_list};

use crate::metal::{boot, cpu};
use crate::platform;

/// A tree or a list that claims to be longer than this is not read.
const MAX_BYTES: usize = 2 << 20;

/// A device tree: its bytes, and where it is.
pub(crate) struct DeviceTree {
    pub(crate) address: usize,
    pub(crate) bytes: Vec<u8>,
}

/// Finds the tree by the registers at entry: at X0; in a transfer list at X3; or at the address
/// that the platform's firmware is known to use. It is copied.
pub(crate) fn find(registers: [u64; 4]) -> Option<DeviceTree> {
    let [x0, x1, _, x3] = registers;
    let at = |address: u64| usize::try_from(address).ok();
    at(x0)
        .and_then(copy_tree)
        .or_else(|| from_list(at(transfer_list::address(x1, x3)?)?))
        .or_else(|| copy_tree(platform::DEVICE_TREE))
}

fn from_list(address: usize) -> Option<DeviceTree> {
    let list = copy(address, 24)?;
    let list = copy(address, transfer_list::used_size(&list)?)?;
    let bytes = transfer_list::device_tree(&list)?.to_vec();
    Some(DeviceTree { address, bytes })
}

fn copy_tree(address: usize) -> Option<DeviceTree> {
    let header = copy(address, 8)?;
    let bytes = copy(address, board::total_size(&header)?)?;
    Some(DeviceTree { address, bytes })
}

/// Copies memory by words, if all of it can be read.
fn copy(address: usize, bytes: usize) -> Option<Vec<u8>> {
    let last = address.checked_add(bytes)?.checked_sub(1)?;
    if address == 0 || !address.is_multiple_of(8) || bytes > MAX_BYTES {
        return None;
    }
    if !boot::map_gib(address) || !boot::map_gib(last) {
        return None;
    }
    let mut copy = Vec::with_capacity(bytes.next_multiple_of(4));
    for at in (address..=last).step_by(4) {
        copy.extend(cpu::probe(at)?.to_le_bytes());
    }
    copy.truncate(bytes);
    Some(copy)
}
