//! A guide: chapters with programs that are compiled and run.
//!
//! The programs use the model RMM (`rmm-model`) where hardware has the SMC instruction and memory.
//! `examples/vmm` in the repository combines them: four virtual CPUs on threads, an
//! allocator, an interrupt controller, devices, unplugging, a pause, a reset and a shutdown.
//! `examples/multi_vcpu` has eight virtual CPUs that do all of that at once, at random, and
//! `examples/bare-metal` is a host at EL2 of a real machine.

pub mod start {
    #![doc = include_str!("guide/start.md")]
}

pub mod share {
    #![doc = include_str!("guide/share.md")]
}

pub mod mmio {
    #![doc = include_str!("guide/mmio.md")]
}

pub mod vcpus {
    #![doc = include_str!("guide/vcpus.md")]
}

pub mod interrupts {
    #![doc = include_str!("guide/interrupts.md")]
}

pub mod out_of_memory {
    #![doc = include_str!("guide/out_of_memory.md")]
}

pub mod kexec {
    #![doc = include_str!("guide/kexec.md")]
}

pub mod storage {
    #![doc = include_str!("guide/storage.md")]
}

pub mod unplug {
    #![doc = include_str!("guide/unplug.md")]
}

pub mod report {
    #![doc = include_str!("guide/report.md")]
}

pub mod port {
    #![doc = include_str!("guide/port.md")]
}

pub mod dialects {
    #![doc = include_str!("guide/dialects.md")]
}

pub mod rmi_1_0 {
    #![doc = include_str!("guide/rmi_1_0.md")]
}

pub mod granules {
    #![doc = include_str!("guide/granules.md")]
}

pub mod hardware {
    #![doc = include_str!("guide/hardware.md")]
}
