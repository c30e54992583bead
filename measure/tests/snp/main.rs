//! SEV-SNP launch digests against those of sev-snp-measure 0.0.13, and everything that must be refused.

mod firmware;
mod shapes;

use firmware::{FOOTER, Firmware, HASH_TABLE, METADATA, METADATA_OFFSET, RESET_BLOCK};
use measure::guid::Guid;
use measure::snp::{KernelHashes, Launch, Ovmf, PageType, SectionType, SevFeatures, Shape, Vcpus, VmmProfile};

const KERNEL: &[u8] = b"a kernel\n";
const INITRD: &[u8] = b"an initrd\n";

fn shape(vcpus: u32, cpu: &str, sev_features: u64) -> Shape {
    let vcpus = Vcpus::try_from(vcpus).unwrap();
    Shape { vcpus, cpu: cpu.parse().unwrap(), sev_features: SevFeatures(sev_features) }
}

fn launch(firmware: &[u8], kernel: Option<&KernelHashes>) -> Launch {
    Launch::new(&Ovmf::parse(firmware).unwrap(), kernel, &VmmProfile::QEMU).unwrap()
}

/// What is booted: firmware, and whether there is a kernel, an initrd and a command line.
#[derive(Clone, Copy)]
enum Boot {
    General,
    NoKernel,
    Kernel(Option<&'static [u8]>, &'static str),
}

/// The digests, one a line in the order of the cases, are from
/// `sev-snp-measure --mode snp --ovmf FIRMWARE [--kernel kernel [--initrd initrd] --append TEXT] --vcpus N
/// --vcpu-sig SIG --guest-features F`; this test leaves the files in `target/tmp`.
#[test]
fn equals_sev_snp_measure() {
    use Boot::{General, Kernel, NoKernel};
    let write = |name, bytes| std::fs::write(format!("{}/{name}", env!("CARGO_TARGET_TMPDIR")), bytes).unwrap();
    let [amd_sev, general] = [Firmware::amd_sev(), Firmware::general()].map(|firmware| firmware.bytes());
    write("amd-sev.fd", amd_sev.as_slice());
    write("general.fd", &general);
    write("kernel", KERNEL);
    write("initrd", INITRD);
    let cases = [
        (General, 1, "EPYC-v4", 0x1),
        (General, 5, "0xdeadbeef", 0x1),
        (NoKernel, 1, "EPYC-v4", 0x1),
        (NoKernel, 2, "EPYC-Rome", 0x21),
        (NoKernel, 4096, "Turin", 0x1),
        (Kernel(Some(INITRD), "console=ttyS0 quiet"), 1, "EPYC-v4", 0x1),
        (Kernel(Some(INITRD), "console=ttyS0 quiet"), 1, "EPYC-v4", 0x21),
        (Kernel(Some(INITRD), "console=ttyS0 quiet"), 4, "Milan", 0x1),
        (Kernel(Some(INITRD), "console=ttyS0 quiet"), 64, "Genoa", 0x1),
        (Kernel(Some(INITRD), "console=ttyS0 quiet"), 3, "Turin", u64::MAX),
        (Kernel(Some(INITRD), " console=ttyS0 quiet\n "), 1, "EPYC-v4", 0x1),
        (Kernel(Some(INITRD), ""), 1, "EPYC-v4", 0x1),
        (Kernel(None, ""), 1, "EPYC-v4", 0x1),
        (Kernel(None, "é"), 2, "0x0", 0x0),
    ];
    let digests: Vec<_> = include_str!("digests.txt").lines().collect();
    assert_eq!(digests.len(), cases.len());
    for ((boot, vcpus, cpu, features), expected) in cases.into_iter().zip(digests) {
        let launch = match boot {
            General => launch(&general, None),
            NoKernel => launch(&amd_sev, None),
            Kernel(initrd, cmdline) => launch(&amd_sev, Some(&KernelHashes::of(KERNEL, initrd, cmdline.as_bytes()))),
        };
        let shape = shape(vcpus, cpu, features);
        assert_eq!(launch.before_vmsas.digest(&shape).to_string(), expected, "{shape:?}");
        let trace = launch.trace(&shape);
        assert_eq!(trace.last().map(|step| step.launch_digest.to_string()).as_deref(), Some(expected));
        assert_eq!(trace.len() - launch.steps.len(), vcpus as usize);
    }
}

#[test]
fn trace_lists_pages_in_launch_order() {
    let firmware = Firmware::amd_sev();
    let image = firmware.bytes();
    let trace = launch(&image, None).trace(&shape(2, "Milan", 1));
    let mut expected: Vec<_> = (0..12).map(|page| (PageType::Normal, 0xffff_4000 + page * 0x1000)).collect();
    for [gpa, size, value] in firmware.sections {
        let page_type = match value {
            2 => PageType::Secrets,
            3 => PageType::Cpuid,
            _ => PageType::Zero,
        };
        expected.extend((0..size / 0x1000).map(|page| (page_type, u64::from(gpa + page * 0x1000))));
    }
    expected.extend([(PageType::Vmsa, 0xffff_ffff_f000); 2]);
    assert_eq!(trace.iter().map(|step| (step.page_type, step.gpa)).collect::<Vec<_>>(), expected);
    for step in trace {
        let measured = matches!(step.page_type, PageType::Normal | PageType::Vmsa);
        assert_eq!(step.contents.as_bytes() != &[0; 48], measured, "{step:?}");
    }
}

#[test]
fn hashes_page_is_where_the_firmware_looks() {
    let image = Firmware::amd_sev().bytes();
    let hashes = KernelHashes::of(KERNEL, Some(INITRD), b"quiet ");
    let page = hashes.page(&Ovmf::parse(&image).unwrap()).unwrap();
    assert_eq!(page.gpa, 0x81_0000);
    let (table, rest) = page.bytes[0xc00..].split_at(168);
    assert!(page.bytes[..0xc00].iter().chain(rest).all(|&byte| byte == 0));
    // Each digest ends its entry of 50 bytes, after a header of 18.
    for (end, digest) in [(68, hashes.cmdline), (118, hashes.initrd), (168, hashes.kernel)] {
        assert_eq!(&table[end - 32..end], digest.as_bytes());
    }
    // The last place in the page that is large enough.
    let mut at_end = Firmware::amd_sev();
    at_end.set(HASH_TABLE, &[0x81_0f50, 176]);
    assert_eq!(hashes.page(&Ovmf::parse(&at_end.bytes()).unwrap()).unwrap().bytes[0xf50..][..168], *table);
    // Nothing is trimmed, and a zero byte ends the command line.
    assert_eq!(hashes.cmdline, measure::Sha256::of(b"quiet \0"));
    assert_eq!(KernelHashes::of(KERNEL, None, b"").initrd, measure::Sha256::of(b""));
    let step = launch(&image, Some(&hashes)).steps.pop().unwrap();
    assert_eq!((step.page_type, step.gpa), (PageType::Normal, 0x81_0000));
    assert_eq!(step.contents, measure::Sha384::of(&page.bytes));
}

#[test]
fn parse_shows_structure() {
    let image = Firmware::amd_sev().bytes();
    let ovmf = Ovmf::parse(&image).unwrap();
    assert_eq!((ovmf.gpa(), ovmf.ap_reset()), (0xffff_4000, Some(0x80_b004)));
    assert_eq!(ovmf.hash_table().map(|table| (table.gpa, table.size)), Some((0x81_0c00, 0x400)));
    let names: Vec<_> = ovmf.entries().iter().map(|entry| entry.name()).collect();
    assert_eq!(names, [Some("SEV_ES_RESET_BLOCK"), Some("SEV_HASH_TABLE_RV"), Some("SEV_METADATA")]);
    assert_eq!(ovmf.sections().unwrap()[6].section_type, SectionType::KernelHashes);
    // A firmware without any of this is one, too.
    let bare = Firmware { entries: vec![], ..Firmware::amd_sev() }.bytes();
    let ovmf = Ovmf::parse(&bare).unwrap();
    assert_eq!((ovmf.ap_reset(), ovmf.hash_table(), ovmf.sections()), (None, None, None));
    assert_eq!(Ovmf::parse(&Firmware::general().bytes()).unwrap().hash_table(), None);
}

/// Each firmware differs in one thing.
#[test]
fn malformed_firmware_is_refused() {
    let refused = |edit: &dyn Fn(&mut Firmware), expected: &str| {
        let mut firmware = Firmware::amd_sev();
        edit(&mut firmware);
        let error = Ovmf::parse(&firmware.bytes()).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    let other = Guid::new(0x1111_2222);
    refused(
        &|f| f.footer = other,
        &format!("expected the table footer GUID {FOOTER} 48 bytes before the end, found {other}"),
    );
    refused(
        &|f| f.footer_excess = -89,
        &format!("expected the table entry {FOOTER} to have 18 to 49120 bytes, found 65535"),
    );
    refused(
        &|f| f.footer_excess = -71,
        &format!("expected the table entry {FOOTER} to have 18 to 49120 bytes, found 17"),
    );
    refused(&|f| f.footer_excess = 3, "expected nothing before the first table entry, found 3 bytes");
    refused(&|f| f.entries[2].2 = 1, &format!("expected the table entry {METADATA} to have 18 to 22 bytes, found 23"));
    refused(&|f| f.entries[2].2 = -5, &format!("expected the table entry {METADATA} to have 18 to 22 bytes, found 17"));
    refused(&|f| f.entries.push((METADATA, vec![0; 4], 0)), &format!("expected one table entry {METADATA}, found two"));
    for (guid, expected) in [(RESET_BLOCK, 4), (HASH_TABLE, 8), (METADATA, 4)] {
        for words in [0, 1, 2, 3] {
            if words * 4 != expected {
                let text = format!("expected {expected} bytes in the table entry {guid}, found {}", words * 4);
                refused(&|f| f.set(guid, &vec![1; words]), &text);
            }
        }
    }
    for offset in [0, 15, 12 * 4096 + 1, u32::MAX] {
        let text =
            format!("expected the SEV metadata inside the file, found 16 bytes at {offset} bytes before the end");
        refused(&|f| f.set(METADATA, &[offset]), &text);
    }
    refused(&|f| f.signature = *b"ASEW", "expected the SEV metadata to begin with `ASEV`, found [41, 53, 45, 57]");
    refused(&|f| f.header[1] = 2, "expected version 1 of the SEV metadata, found 2");
    for (count, length) in [(6, 100), (8, 100), (7, 99), (7, 101), (65, 796), (u32::MAX, u32::MAX), (0, 0)] {
        refused(
            &|f| f.header = [length, 1, count],
            &format!(
                "expected at most 64 sections in an SEV metadata of 16 + 12 each, found {count} in {length} bytes"
            ),
        );
    }
    for value in [0, 5, 0xf, 0x11, u32::MAX] {
        let text = format!("unknown type {value:#x} of the SEV metadata section at 0x800000");
        refused(&|f| f.sections[0][2] = value, &text);
    }
    let ranges = [
        (0, 0x80_0001, 0x1000, "whole pages below 4 GiB for the SecMem"),
        (0, 0x80_0000, 0, "whole pages below 4 GiB for the SecMem"),
        (0, 0x80_0000, 0x1001, "whole pages below 4 GiB for the SecMem"),
        (0, 0xffff_f000, 0x2000, "whole pages below 4 GiB for the SecMem"),
        (2, 0x80_d000, 0x2000, "exactly one page below 4 GiB for the Secrets"),
        (3, 0x80_e000, 0x2000, "exactly one page below 4 GiB for the Cpuid"),
        (6, 0x81_0000, 0x2000, "exactly one page below 4 GiB for the KernelHashes"),
        (6, 0x81_0000, 0x400, "exactly one page below 4 GiB for the KernelHashes"),
    ];
    for (index, gpa, size, expected) in ranges {
        let text = format!("expected {expected} section, found {size:#x} bytes at {gpa:#x}");
        refused(&|f| f.sections[index][..2].copy_from_slice(&[gpa, size]), &text);
    }
    refused(
        &|f| f.sections[0][1] = 64 << 20,
        "expected at most 67108864 bytes in all SEV metadata sections, found more",
    );
}

#[test]
fn metadata_that_runs_over_the_end_is_refused() {
    let mut firmware = Firmware::amd_sev();
    let mut image = firmware.bytes();
    // The header fits in the last 16 bytes, the sections do not.
    let end = image.len();
    image.copy_within(end - METADATA_OFFSET as usize..end - METADATA_OFFSET as usize + 16, end - 16);
    firmware.set(METADATA, &[16]);
    let table = firmware.bytes();
    image[end - 256..end - 16].copy_from_slice(&table[end - 256..end - 16]);
    let expected = "expected the SEV metadata inside the file, found 100 bytes at 16 bytes before the end";
    assert_eq!(Ovmf::parse(&image).unwrap_err().to_string(), expected);
}

#[test]
fn launches_that_qemu_or_the_guest_would_refuse() {
    let refused = |edit: &dyn Fn(&mut Firmware), kernel: bool, expected: &str| {
        let mut firmware = Firmware::amd_sev();
        edit(&mut firmware);
        let (image, hashes) = (firmware.bytes(), KernelHashes::of(KERNEL, None, b""));
        let ovmf = Ovmf::parse(&image).unwrap();
        let error = Launch::new(&ovmf, kernel.then_some(&hashes), &VmmProfile::QEMU).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    let without = |part| format!("expected a firmware for SEV-SNP, found one without {part}");
    refused(&|f| drop(f.entries.remove(2)), false, &without("SEV metadata"));
    refused(&|f| drop(f.entries.remove(0)), false, &without("SEV-ES reset address"));
    refused(&|f| f.set(RESET_BLOCK, &[0]), false, &without("SEV-ES reset address"));

    let unsupported = |missing| {
        format!("the firmware does not check kernel hashes (no {missing}), so a kernel given to it is not measured")
    };
    refused(&|f| *f = Firmware::general(), true, &unsupported("SEV_HASH_TABLE_RV entry"));
    refused(&|f| drop(f.entries.remove(1)), true, &unsupported("SEV_HASH_TABLE_RV entry"));
    refused(&|f| f.sections[6][2] = 1, true, &unsupported("KERNEL_HASHES section"));
    for (gpa, size) in [(0x80_ffff, 0x400), (0x81_0f51, 0x400), (0x81_1000, 0x400), (0x81_0c00, 175)] {
        let text =
            format!("expected 176 bytes for kernel hashes inside the page at 0x810000, found {size} bytes at {gpa:#x}");
        refused(&|f| f.set(HASH_TABLE, &[gpa, size]), true, &text);
    }
}

/// No file makes the parser panic; one that it accepts can be measured.
#[test]
fn every_truncation_and_every_changed_byte() {
    let image = Firmware::amd_sev().bytes();
    for length in 0..image.len() {
        assert!(Ovmf::parse(&image[..length]).is_err(), "the first {length} bytes");
    }
    let too_large = [vec![0; 16 << 20], image.clone()].concat();
    assert!(Ovmf::parse(&too_large).unwrap_err().to_string().contains("at most 16777216"));
    let largest = &too_large[image.len()..];
    assert!(Ovmf::parse(largest).is_ok());

    let hashes = KernelHashes::of(KERNEL, None, b"");
    let mut accepted = 0;
    for at in image.len() - METADATA_OFFSET as usize..image.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut image = image.clone();
            image[at] = value;
            if let Ok(ovmf) = Ovmf::parse(&image) {
                let _refused_or_not = Launch::new(&ovmf, Some(&hashes), &VmmProfile::QEMU);
                accepted += 1;
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}
