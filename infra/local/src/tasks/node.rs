//! Which Node runs tasks.

use std::path::PathBuf;

use tokio::process::Command;

/// The oldest Node that runs tasks.
const OLDEST: u32 = 20;

/// The program: `ONCEKEY_NODE`, or `node` of the PATH.
///
/// # Errors
/// In words, when there is none, or it is too old.
pub(super) async fn find() -> Result<PathBuf, String> {
    let program = std::env::var_os("ONCEKEY_NODE").filter(|path| !path.is_empty());
    let program = program.map_or_else(|| PathBuf::from("node"), PathBuf::from);
    let shown = program.display();
    let advice =
        format!("tasks in TypeScript need Node {OLDEST} or newer (nodejs.org), on the PATH or in ONCEKEY_NODE");
    let said = Command::new(&program).arg("--version").kill_on_drop(true).output().await;
    let said = said.map_err(|error| format!("there is no Node: {shown}: {error}; {advice}"))?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    match major(&version) {
        Some(major) if major >= OLDEST => Ok(program),
        Some(_) => Err(format!("{shown} is Node {version}, which is too old; {advice}")),
        None => Err(format!("{shown} does not say which Node it is: {version:?}; {advice}")),
    }
}

fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_node_tells_it() {
        assert_eq!((major("v20.20.2"), major("v9.1.0"), major("24")), (Some(20), Some(9), None));
    }
}
