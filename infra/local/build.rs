//! Puts the harness, which runs tasks in TypeScript, into the binary: the `.mjs` files of `shared/node/src`.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/node/src");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    if folder.is_dir() {
        collect(&folder, "", &mut files)?;
    }
    files.sort();
    let mut code = String::from("&[\n");
    for name in files {
        let file = folder.join(&name).canonicalize()?;
        let _ = writeln!(code, "    ({name:?}, include_str!({file:?})),");
    }
    code.push(']');
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("harness.rs"), code)
}

fn collect(folder: &Path, under: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else if name.ends_with(".mjs") {
            files.push(name);
        }
    }
    Ok(())
}
