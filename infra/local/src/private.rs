//! Files and folders for their owner alone: payloads and keys are kept in them. No link is followed, so that nothing is
//! written where a link leads, and nothing is truncated.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Makes a folder, and those above it, unless it is there. Where that leads through links is for whoever named it.
///
/// # Errors
/// The system's.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Makes a folder inside one of ours, unless it is there, and closes it to others.
///
/// # Errors
/// The system's, and one in words for a link.
pub(crate) fn folder_inside(path: &Path) -> io::Result<()> {
    if path.is_symlink() {
        return Err(link(path));
    }
    folder(path)?;
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

/// Opens a file to read and write, made if it is not there, and its owner's alone from here on if it was.
///
/// # Errors
/// The system's, and one in words for a link.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = opened(options.read(true).write(true).create(true).truncate(false), path)?;
    close_to_others(&file)?;
    Ok(file)
}

/// Closes a file to others, if it is there.
///
/// # Errors
/// The system's, and one in words for a link.
pub(crate) fn close(path: &Path) -> io::Result<()> {
    match opened(OpenOptions::new().read(true), path) {
        Ok(file) => close_to_others(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a file holds.
///
/// # Errors
/// The system's, and one in words for a link.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut opened(OpenOptions::new().read(true), path)?, &mut bytes)?;
    Ok(bytes)
}

/// Puts a file in place, whole or not at all, in the place of what was there.
///
/// # Errors
/// The system's.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{:016x}", fastrand::u64(..)));
    // A new one: what is there already, a link or not, is not opened.
    let mut file = opened(OpenOptions::new().write(true).create_new(true), &draft)?;
    let written = file.write_all(bytes).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

fn opened(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    }
    options.open(path).map_err(|error| match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => link(path),
        _ => error,
    })
}

fn link(path: &Path) -> io::Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    io::Error::other(format!("{name} is a link, and links are not followed here: remove it"))
}

fn close_to_others(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
