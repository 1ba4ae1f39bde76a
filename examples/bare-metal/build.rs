//! Links the program for each platform, at its address.

use std::path::PathBuf;
use std::{env, fs, io};

/// A platform: the name of its program ends with `name`.
struct Platform {
    name: &'static str,
    /// Where firmware loads the image.
    image: u64,
    /// Where the device tree is if firmware does not tell.
    device_tree: u64,
    /// Where an archive of files may have been loaded.
    files: u64,
}

const PLATFORMS: [Platform; 2] = [
    // QEMU's machine `virt`: what TF-A loads as BL33, and the start of RAM, where QEMU puts the
    // tree for firmware.
    Platform { name: "virt", image: 0x6000_0000, device_tree: 0x4000_0000, files: 0x8000_0000 },
    // Arm FVP Base: TF-A's BL33, and where its `HW_CONFIG` is for the Normal world.
    Platform { name: "fvp", image: 0x8800_0000, device_tree: 0x8200_0000, files: 0xa000_0000 },
];

/// The variable that names the payload of Realms.
const PAYLOAD: &str = "REALM_SDK_PAYLOAD";

/// Space for the image with its stacks and its heap, in bytes.
const IMAGE_BYTES: u64 = 0x0800_0000;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return Ok(());
    }
    // The image that Realms are given, a file; without one they are given none. A relative path
    // begins where the workspace is.
    let workspace = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    println!("cargo::rerun-if-env-changed={PAYLOAD}");
    let payload = match env::var_os(PAYLOAD).map(|file| workspace.join("../..").join(file)) {
        None => String::from("None"),
        Some(file) => {
            let file = file
                .canonicalize()
                .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
            println!("cargo::rerun-if-changed={}", file.display());
            format!("Some(include_bytes!({file:?}))")
        }
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for Platform { name, image, device_tree, files } in PLATFORMS {
        let constants = format!(
            "pub(crate) const IMAGE: usize = {image:#x};\n\
             pub(crate) const DEVICE_TREE: usize = {device_tree:#x};\n\
             pub(crate) const FILES: usize = {files:#x};\n\
             pub(crate) const PAYLOAD: Option<&[u8]> = {payload};\n"
        );
        fs::write(out.join(name).with_extension("rs"), constants)?;
        let path = out.join(name).with_extension("ld");
        let memory =
            format!("MEMORY {{ image : ORIGIN = {image:#x}, LENGTH = {IMAGE_BYTES:#x} }}\n");
        fs::write(&path, memory)?;
        // The sections are laid out by a script of the crate `aarch64-rt`.
        let binary = format!("bare-metal-{name}");
        println!("cargo::rustc-link-arg-bin={binary}=-T{}", path.display());
        println!("cargo::rustc-link-arg-bin={binary}=-Timage.ld");
    }
    Ok(())
}
