//! Says `cfg(loom)` for this package alone: dependencies are compiled as ever.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(loom)");
    println!("cargo::rustc-cfg=loom");
}
