//! Read-only device-mapper devices (linux/dm-ioctl.h, protocol version 4), as far as one verity target needs.
//!
//! The crate's only unsafe code: the ioctls have no safe wrapper.
#![expect(unsafe_code, reason = "DM_* ioctls; see the SAFETY comment")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;

use crate::{Doing as _, Failure};

/// Bytes of `struct dm_ioctl`: version, sizes, counters, flags, device number, name, uuid, padding.
const HEADER: usize = 312;
/// Bytes of `struct dm_target_spec`.
const TARGET: usize = 40;
const NAME_OFFSET: usize = 48;
const NAME_LEN: usize = 128;
const READ_ONLY: u32 = 1;

const VERSION: u8 = 0;
const DEV_CREATE: u8 = 3;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;

/// The device-mapper's control device.
pub(crate) struct Control(File);

impl Control {
    /// Opens it and has the kernel check the protocol version.
    pub(crate) fn open() -> Result<Self, Failure> {
        let path = "/dev/mapper/control";
        let control = Self(OpenOptions::new().read(true).write(true).open(path).doing(format!("opening {path}"))?);
        control.call(VERSION, &mut request("", None)).doing("device-mapper: agreeing on protocol version 4")?;
        Ok(control)
    }

    /// Creates the read-only device `name` with one target over `sectors` units of 512 bytes, and activates it.
    pub(crate) fn create(&self, name: &str, target: &str, sectors: u64, params: &str) -> Result<PathBuf, Failure> {
        let mut created = request(name, None);
        self.call(DEV_CREATE, &mut created).doing(format!("device-mapper: creating {name}"))?;
        self.call(TABLE_LOAD, &mut request(name, Some((target, sectors, params))))
            .doing(format!("device-mapper: loading the {target} table \"{params}\" of {name}"))?;
        // Suspend without the suspend flag is "resume": the loaded table becomes the live one.
        self.call(DEV_SUSPEND, &mut request(name, None)).doing(format!("device-mapper: activating {name}"))?;
        Ok(PathBuf::from(format!("/dev/dm-{}", minor(&created))))
    }

    fn call(&self, command: u8, buffer: &mut [u8]) -> Result<(), Errno> {
        let code = nix::request_code_readwrite!(0xfd, command, HEADER);
        // SAFETY: the kernel reads and writes at most the `data_size` bytes at the pointer. `request` sets that
        // field to the buffer's length, and the buffer is borrowed exclusively for the whole call.
        let status = unsafe { libc::ioctl(self.0.as_raw_fd(), code, buffer.as_mut_ptr()) };
        Errno::result(status).map(drop)
    }
}

/// The buffer of one command: the header, and for a table one target with its parameters.
fn request(name: &str, target: Option<(&str, u64, &str)>) -> Vec<u8> {
    let tail = target.map_or_else(Vec::new, |(kind, sectors, params)| {
        let mut spec = Vec::with_capacity(TARGET + params.len() + 8);
        spec.extend(0u64.to_ne_bytes()); // first sector
        spec.extend(sectors.to_ne_bytes());
        spec.extend([0; 8]); // status and offset of the next target: none
        spec.extend(padded::<16>(kind));
        spec.extend(params.as_bytes());
        spec.resize((spec.len() + 1).next_multiple_of(8), 0); // ends in NUL
        spec
    });
    let mut buffer = Vec::with_capacity(HEADER + tail.len());
    for word in [4, 0, 0, (HEADER + tail.len()) as u32, HEADER as u32, u32::from(target.is_some()), 0, READ_ONLY, 0, 0]
    {
        buffer.extend(word.to_ne_bytes());
    }
    buffer.extend(0u64.to_ne_bytes()); // device number, filled in by the kernel
    buffer.extend(padded::<NAME_LEN>(name));
    buffer.resize(HEADER, 0);
    buffer.extend(tail);
    buffer
}

/// `text` and NULs; our names are shorter than `N`.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().take(N - 1).zip(text.bytes()) {
        *to = from;
    }
    field
}

/// Minor number out of the header's device number (`huge_encode_dev`: bits 0-7 and 20-31).
fn minor(header: &[u8]) -> u64 {
    let bytes = header.get(40..NAME_OFFSET).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 8]);
    let device = u64::from_ne_bytes(bytes);
    device & 0xff | device >> 12 & 0xf_ff00
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_of_a_table_request() {
        let buffer = request("vitrine-root", Some(("verity", 16, "1 a b")));
        assert_eq!(buffer.len(), HEADER + TARGET + 8);
        let word = |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(12), word(16), word(20), word(28)], [4, 360, 312, 1, READ_ONLY]);
        assert!(buffer[NAME_OFFSET..].starts_with(b"vitrine-root\0"));
        assert_eq!(buffer[HEADER + 8..HEADER + 16], 16u64.to_ne_bytes());
        assert!(buffer[HEADER + 24..].starts_with(b"verity\0"));
        assert_eq!(buffer[HEADER + TARGET..], *b"1 a b\0\0\0");
        assert_eq!(request("x", Some(("verity", 1, "12345678")))[HEADER + TARGET..], *b"12345678\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn minor_numbers_above_255() {
        let mut header = request("x", None);
        header[40..48].copy_from_slice(&0x1234_fd56u64.to_ne_bytes());
        assert_eq!(minor(&header), 0x1_2356);
    }
}
