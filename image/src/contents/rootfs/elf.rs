//! What an ELF file needs to be loaded.

use anyhow::{Context as _, bail, ensure};
use object::Endianness;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, EM_X86_64, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

/// What an ELF file asks the loader for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The loader itself; none for libraries and static programs.
    pub(super) interpreter: Option<Vec<u8>>,
    /// Libraries, by the names the loader searches for.
    pub(super) libraries: Vec<Vec<u8>>,
    /// Directories it searches before its own.
    pub(super) directories: Vec<Vec<u8>>,
}

/// Reads an x86-64 ELF file's needs.
pub(super) fn needs(bytes: &[u8]) -> anyhow::Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes).context("reading its ELF header")?;
    let endian = header.endian().context("reading its ELF header")?;
    let machine = header.e_machine(endian);
    ensure!(machine == EM_X86_64, "it is for ELF machine {machine}; expected {EM_X86_64} (x86-64)");
    let mut needs = Needs::default();
    let mut is_dynamic = false;
    for segment in header.program_headers(endian, bytes).context("reading its program headers")? {
        if let Some(path) = segment.interpreter(endian, bytes).context("reading its interpreter")? {
            needs.interpreter = Some(path.to_vec());
        }
        is_dynamic |= segment.dynamic(endian, bytes).context("reading its dynamic segment")?.is_some();
    }
    if !is_dynamic {
        return Ok(needs);
    }
    let sections = header.sections(endian, bytes).context("reading its sections")?;
    let Some((dynamic, strings)) = sections.dynamic(endian, bytes).context("reading its dynamic section")? else {
        bail!("it has a dynamic segment but no dynamic section, so its libraries cannot be checked");
    };
    let strings = sections.strings(endian, bytes, strings).context("reading its dynamic strings")?;
    for entry in dynamic {
        let tag = entry.tag(endian);
        let list = match tag {
            DT_NEEDED => &mut needs.libraries,
            DT_RPATH | DT_RUNPATH => &mut needs.directories,
            _ => continue,
        };
        let text = entry.string(endian, strings).context("reading a name of its dynamic section")?;
        if tag == DT_NEEDED {
            list.push(text.to_vec());
        } else {
            list.extend(text.split(|&byte| byte == b':').map(<[u8]>::to_vec));
        }
    }
    Ok(needs)
}
