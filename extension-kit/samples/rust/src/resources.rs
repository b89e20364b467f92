//! Memory and files that are counted, so that it can be seen from outside that nothing is
//! left.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

static BYTES: AtomicUsize = AtomicUsize::new(0);
static FILES: AtomicUsize = AtomicUsize::new(0);

/// How many bytes and how many files there are now.
pub(crate) fn live() -> (usize, usize) {
    (BYTES.load(Ordering::Relaxed), FILES.load(Ordering::Relaxed))
}

/// A vector whose length does not change.
pub(crate) struct Memory<T>(Vec<T>);

impl<T> Memory<T> {
    pub(crate) fn new(items: Vec<T>) -> Memory<T> {
        BYTES.fetch_add(size_of_val(&items[..]), Ordering::Relaxed);
        Memory(items)
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        BYTES.fetch_sub(size_of_val(&self.0[..]), Ordering::Relaxed);
    }
}

impl<T> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

/// A file that is there as long as this lives.
pub(crate) struct TempFile {
    file: File,
    path: PathBuf,
}

impl TempFile {
    pub(crate) fn create(directory: &Path) -> io::Result<TempFile> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);

        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("sample_rust-{}-{number}", process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        FILES.fetch_add(1, Ordering::Relaxed);
        Ok(TempFile { file, path })
    }

    pub(crate) fn write(&mut self, number: f64) -> io::Result<()> {
        writeln!(self.file, "{number}")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Nobody is left who could be told. Then the file is still there, and counted.
        if remove_file(&self.path).is_ok() {
            FILES.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
