//! The state of the fake kernel: files and what they stand for.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::behaviour::Behaviour;
use super::calls::Calls;
use super::facts::Facts;
use super::guest::{Guest, Script};
use super::memfd;
use super::vm::Vm;
use crate::Errno;

/// What a descriptor stands for. Numbers are indices of the machine's and the VM's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    System,
    Vm(usize),
    Gmem(usize, usize),
    Vgic(usize),
    Vcpu(usize, usize),
}

/// What the kernel can be asked to do otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Whether the kernel can run Realms at all.
    pub(super) has_realms: bool,
    /// Bits of an IPA: of ordinary VMs, and of Realms.
    pub(super) ipa_limit: u32,
    pub(super) realm_ipa_limit: u32,
    pub(super) max_vcpus: u64,
    /// How many pages one call populates at most.
    pub(super) pages_per_populate: u64,
    /// After how many more pages population fails, once, and with what.
    pub(super) page_failure: Option<(u64, Errno)>,
    /// How many pages of the next request for another RIPAS are changed before it is reported.
    pub(super) ripas_pages: Option<u64>,
    /// Whether memory can be converted in place, where attributes are those of guest_memfds.
    pub(super) converts_in_place: bool,
    /// Whether the RMM has SVE, and SHA-512.
    pub(super) has_sve: bool,
    pub(super) has_sha512: bool,
}

/// Makes the program of a vCPU, by its number.
pub(super) type MakeGuest = Box<dyn FnMut(u64) -> Box<dyn Guest> + Send>;

/// The state.
pub(super) struct Machine {
    pub(super) facts: Facts,
    pub(super) behaviour: Behaviour,
    pub(super) options: Options,
    pub(super) calls: Calls,
    pub(super) parameters: BTreeMap<String, String>,
    /// Capabilities that answer with another value than this kernel's.
    pub(super) capabilities: BTreeMap<u32, u32>,
    pub(super) vms: Vec<Vm>,
    pub(super) make_guest: MakeGuest,
    /// Whether a Realm was created: it changes the limit of IPAs for all.
    pub(super) has_had_realm: bool,
    /// The kernel's own descriptors of all files, by what identifies them.
    files: BTreeMap<(u64, u64), (Object, File)>,
}

impl Machine {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            behaviour: Behaviour::of(&facts),
            facts,
            options: Options {
                has_realms: true,
                ipa_limit: 48,
                realm_ipa_limit: 48,
                max_vcpus: 512,
                pages_per_populate: u64::MAX,
                page_failure: None,
                ripas_pages: None,
                converts_in_place: true,
                has_sve: true,
                has_sha512: true,
            },
            calls: Calls::default(),
            parameters: BTreeMap::new(),
            capabilities: BTreeMap::new(),
            vms: Vec::new(),
            make_guest: Box::new(|_| Box::new(Script::new([]))),
            has_had_realm: false,
            files: BTreeMap::new(),
        }
    }

    /// A new file of so many bytes that stands for an object.
    ///
    /// # Errors
    ///
    /// That of the system, when it has no more files.
    pub(super) fn open(&mut self, object: Object, bytes: u64) -> Result<OwnedFd, Errno> {
        let file = memfd::create(bytes)?;
        let metadata = file.metadata().map_err(Errno::of)?;
        let for_user = file.as_fd().try_clone_to_owned().map_err(Errno::of)?;
        self.files.insert((metadata.dev(), metadata.ino()), (object, file));
        Ok(for_user)
    }

    /// What a descriptor stands for, whichever duplicate it is.
    ///
    /// # Errors
    ///
    /// `ENOTTY` for one of something else.
    pub(super) fn object(&self, fd: BorrowedFd<'_>) -> Result<Object, Errno> {
        let duplicate = fd.try_clone_to_owned().map_err(Errno::of)?;
        let metadata = File::from(duplicate).metadata().map_err(Errno::of)?;
        let file = self.files.get(&(metadata.dev(), metadata.ino()));
        file.map(|(object, _)| *object).ok_or(Errno::ENOTTY)
    }

    /// The file of an object.
    pub(super) fn file(&self, object: Object) -> Option<&File> {
        self.files.values().find(|(of, _)| *of == object).map(|(_, file)| file)
    }

    /// A VM.
    ///
    /// # Errors
    ///
    /// `EIO` if it is dead.
    pub(super) fn vm(&mut self, vm: usize) -> Result<&mut Vm, Errno> {
        match self.vms.get_mut(vm) {
            Some(vm) if !vm.is_dead => Ok(vm),
            Some(_) => Err(Errno::EIO),
            None => Err(Errno::ENOTTY),
        }
    }

    /// Where this process has a descriptor or a mapping of an object, beside the kernel's own: a
    /// path in `/proc`. `known` is where it was found before.
    pub(super) fn holder(&self, object: Object, known: Option<PathBuf>) -> Option<PathBuf> {
        let file = self.file(object)?;
        let own = file.metadata().ok()?;
        let is_it = |path: &PathBuf| {
            let other = std::fs::metadata(path);
            other.is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()))
        };
        if known.as_ref().is_some_and(is_it) {
            return known;
        }
        let kernels = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let entries = std::fs::read_dir("/proc/self/fd").ok()?;
        let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        if let Some(path) = paths.find(|path| *path != kernels && is_it(path)) {
            return Some(path);
        }
        // Addresses, access, offset, device, inode, name.
        let (maps, inode) = (PathBuf::from("/proc/self/maps"), own.ino().to_string());
        let is_mapping = |line: &str| {
            let mut words = line.split_ascii_whitespace().skip(4);
            words.next() == Some(&inode)
                && words.next().is_some_and(|name| name.starts_with(memfd::PATH))
        };
        std::fs::read_to_string(&maps).ok()?.lines().any(is_mapping).then_some(maps)
    }

    /// How many descriptors of the kernel's files this process has, beside the kernel's own.
    pub(super) fn open_descriptors(&self) -> usize {
        let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return 0 };
        let is_ours = |path: std::path::PathBuf| {
            let metadata = std::fs::metadata(path);
            metadata.is_ok_and(|file| self.files.contains_key(&(file.dev(), file.ino())))
        };
        let all = entries.filter(|entry| entry.as_ref().is_ok_and(|entry| is_ours(entry.path())));
        all.count().saturating_sub(self.files.len())
    }
}
