//! The harness: the files in JavaScript that run tasks and bundle them. They are in this binary, and are written out where
//! Node can read them.

use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/harness.rs"));

/// Where this binary keeps what it needs between runs, for all projects: `$XDG_CACHE_HOME/oncekey`, or `~/.cache/oncekey`.
pub(super) fn cache() -> PathBuf {
    let folder = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || folder("HOME").or_else(|| folder("USERPROFILE")).map(|home| home.join(".cache"));
    folder("XDG_CACHE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir).join("oncekey")
}

/// The folder with the harness, written out if it is not there. Its name tells its content, so that two versions of this
/// binary do not write over each other's.
///
/// # Errors
/// The system's.
pub(super) fn folder(cache: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (name, text) in FILES {
        hash.update(name);
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    let name = HEXLOWER.encode(hash.finalize().get(..8).unwrap_or_default());
    let folder = cache.join(format!("harness-{name}"));
    if folder.join("harness.mjs").exists() {
        return Ok(folder);
    }
    // Whole or not at all: another process may be writing the same.
    let draft = cache.join(format!("harness-{name}.{:016x}", fastrand::u64(..)));
    for (name, text) in FILES {
        let file = draft.join(name);
        std::fs::create_dir_all(file.parent().unwrap_or(&draft))?;
        std::fs::write(file, text)?;
    }
    match std::fs::rename(&draft, &folder) {
        Err(_) if folder.join("harness.mjs").exists() => drop(std::fs::remove_dir_all(&draft)),
        renamed => renamed?,
    }
    Ok(folder)
}
