//! Boots an image in QEMU. What QEMU is told is data ([`Machine::argv`]); [`Guest`] runs it from the tools tree.
//!
//! QEMU itself, the devices it emulates and the firmware tables it makes belong to the host: nothing here is trusted
//! by the guest, and nothing here needs to be.

mod dist;
mod guest;
mod interrupts;
mod outputs;

pub use dist::{Dist, tools};
pub use guest::{Guest, Readiness, free_port};
pub use interrupts::Interrupts;

use base64ct::{Base64, Encoding as _};
use measure::Sha256;

/// The ports the agent listens on in the guest: for clients, and for metrics.
const GUEST_PORT: u16 = 8080;
const METRICS_PORT: u16 = 9100;

/// The CPU model of the first column of the shape table. It has AVX2 and runs under emulation as well.
const CPU: &str = "EPYC-v4";

/// A virtual machine, as QEMU is told about it. Paths are those QEMU sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Real hardware or emulation.
    pub platform: Platform,
    /// The kernel image.
    pub kernel: String,
    /// The initrd.
    pub initrd: String,
    /// The kernel's command line, byte for byte.
    pub command_line: String,
    /// The disk with the root file system and its hash tree.
    pub root: String,
    /// The disk with the model.
    pub model: String,
    /// The file that gets what the guest writes to its serial port.
    pub console: String,
    /// How many virtual CPUs; measured on real hardware.
    pub vcpus: u16,
    /// Memory in MiB; not measured.
    pub memory_mib: u32,
    /// The loopback port of the host that leads to the agent.
    pub port: u16,
    /// The one that leads to its metrics, if one does.
    pub metrics: Option<u16>,
    /// The virtio-serial ports.
    pub ports: Vec<Port>,
    /// The file that gets every packet between guest and host, as pcap.
    pub capture: Option<String>,
    /// The directory with a file for each port ([`Port::output`]), which gets what the guest writes to it; if that is
    /// recorded.
    pub record: Option<String>,
}

/// A virtio-serial port: what connects the guest with a program of the host's, and is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the guest, `vitrine.` and a word.
    pub name: &'static str,
    /// The socket where somebody listens for QEMU.
    pub socket: String,
}

impl Port {
    /// The file of a record that gets what the guest writes to this port.
    pub fn output(&self) -> String {
        format!("{}.out", self.id())
    }

    /// What QEMU calls it.
    fn id(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// What isolates the guest from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// AMD SEV-SNP, with kernel, initrd and command line in the launch digest.
    SevSnp {
        /// The measured firmware (OVMF's AmdSev build).
        firmware: String,
        /// POLICY (AMD 56860, table 9).
        policy: u64,
        /// HOST_DATA, if it is not to be zeros.
        host_data: Option<Sha256>,
    },
    /// Nothing: software emulation.
    Simulated(Firmware),
}

/// What runs before the kernel under emulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own BIOS.
    SeaBios,
    /// Any UEFI firmware in one file.
    Uefi(String),
    /// The measured firmware with the page of hashes that the secure processor would have put into memory. The
    /// firmware refuses kernel, initrd and command line unless they have these hashes.
    Measured {
        /// The firmware.
        firmware: String,
        /// The file with the 4 KiB page.
        page: String,
        /// Where the page belongs in guest memory.
        gpa: u64,
    },
}

impl Machine {
    /// QEMU's arguments, one group (an option and its value) after the other, without the program's name.
    pub fn argv(&self) -> Vec<Vec<String>> {
        let mut argv = Argv(Vec::new());
        argv.group(&["-no-user-config"]).group(&["-nodefaults"]).group(&["-no-reboot"]).group(&["-display", "none"]);
        match &self.platform {
            Platform::SevSnp { firmware, policy, host_data } => {
                let host_data =
                    host_data.map(|sha256| format!(",host-data={}", Base64::encode_string(sha256.as_bytes())));
                let host_data = host_data.as_deref().unwrap_or("");
                argv.group(&["-accel", "kvm"])
                    .group(&["-machine", "q35,confidential-guest-support=sev0,memory-backend=ram1"])
                    .group(&[
                        "-object",
                        &format!("memory-backend-memfd,id=ram1,size={}M,share=true,prealloc=false", self.memory_mib),
                    ])
                    .group(&[
                        "-object",
                        &format!(
                            "sev-snp-guest,id=sev0,policy={policy:#x},kernel-hashes=on,cbitpos=51,reduced-phys-bits=1{host_data}"
                        ),
                    ])
                    .group(&["-bios", firmware]);
            }
            Platform::Simulated(firmware) => {
                argv.group(&["-accel", "tcg,thread=multi"]).group(&["-machine", "q35"]);
                match firmware {
                    Firmware::SeaBios => {}
                    Firmware::Uefi(firmware) => {
                        argv.group(&["-bios", firmware]);
                    }
                    Firmware::Measured { firmware, page, gpa } => {
                        let loader = format!("loader,file={},addr={gpa:#x},force-raw=on", value(page));
                        argv.group(&["-bios", firmware]).group(&["-device", &loader]);
                    }
                }
            }
        }
        argv.group(&["-cpu", CPU])
            .group(&["-smp", &self.vcpus.to_string()])
            .group(&["-m", &format!("{}M", self.memory_mib)])
            .group(&["-kernel", &self.kernel])
            .group(&["-initrd", &self.initrd])
            .group(&["-append", &self.command_line])
            .disk("root", &self.root)
            .disk("model", &self.model)
            .group(&["-netdev", &format!("user,id=net,restrict=on{}", self.forwards())])
            // Without an empty romfile QEMU offers the firmware a network boot program.
            .group(&["-device", "virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on,romfile="])
            .group(&["-serial", &format!("file:{}", value(&self.console))]);
        if let Some(capture) = &self.capture {
            argv.group(&["-object", &format!("filter-dump,id=capture,netdev=net,file={}", value(capture))]);
        }
        let record = self.record.as_deref().map(value);
        if !self.ports.is_empty() {
            argv.group(&["-device", "virtio-serial-pci,disable-legacy=on,iommu_platform=on"]);
        }
        for port in &self.ports {
            let (Port { name, socket }, id) = (port, port.id());
            // Who listens may end a connection, such as a processor that was not understood.
            let log = record.as_ref().map(|directory| format!(",logfile={directory}/{}", port.output()));
            let socket = format!("socket,id={id},path={},reconnect-ms=1000{}", value(socket), log.unwrap_or_default());
            argv.group(&["-chardev", &socket]).group(&["-device", &format!("virtserialport,chardev={id},name={name}")]);
        }
        argv.0
    }

    /// From ports of the host's loopback interface to those of the guest.
    fn forwards(&self) -> String {
        let pairs = [(Some(self.port), GUEST_PORT), (self.metrics, METRICS_PORT)];
        let pairs = pairs.iter().filter_map(|(host, guest)| host.map(|host| (host, guest)));
        pairs.map(|(host, guest)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}")).collect()
    }
}

/// Arguments in groups.
struct Argv(Vec<Vec<String>>);

impl Argv {
    fn group(&mut self, group: &[&str]) -> &mut Self {
        self.0.push(group.iter().map(|&part| part.to_owned()).collect());
        self
    }

    /// A read-only disk whose serial number tells the guest what it is.
    fn disk(&mut self, name: &str, file: &str) -> &mut Self {
        let drive = format!("if=none,id={name},file={},format=raw,readonly=on", value(file));
        // A confidential guest shares only bounce buffers, which the driver uses when told of a platform IOMMU.
        let device = format!("virtio-blk-pci,drive={name},serial=vitrine-{name},disable-legacy=on,iommu_platform=on");
        self.group(&["-drive", &drive]).group(&["-device", &device])
    }
}

/// `text` as a value in QEMU's comma-separated options.
fn value(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(platform: Platform, ports: &[(&'static str, &str)]) -> Machine {
        Machine {
            platform,
            kernel: "/d/vmlinuz".into(),
            initrd: "/d/initrd".into(),
            command_line: "a b".into(),
            root: "/d/a,b".into(),
            model: "/d/model.raw".into(),
            console: "/w/console".into(),
            vcpus: 4,
            memory_mib: 1024,
            port: 1234,
            metrics: None,
            record: None,
            ports: ports.iter().map(|&(name, socket)| Port { name, socket: socket.to_owned() }).collect(),
            capture: None,
        }
    }

    fn lines(machine: &Machine) -> Vec<String> {
        machine.argv().iter().map(|group| group.join(" ")).collect()
    }

    const FIRST: [&str; 4] = ["-no-user-config", "-nodefaults", "-no-reboot", "-display none"];
    const LAST: [&str; 13] = [
        "-cpu EPYC-v4",
        "-smp 4",
        "-m 1024M",
        "-kernel /d/vmlinuz",
        "-initrd /d/initrd",
        "-append a b",
        "-drive if=none,id=root,file=/d/a,,b,format=raw,readonly=on",
        "-device virtio-blk-pci,drive=root,serial=vitrine-root,disable-legacy=on,iommu_platform=on",
        "-drive if=none,id=model,file=/d/model.raw,format=raw,readonly=on",
        "-device virtio-blk-pci,drive=model,serial=vitrine-model,disable-legacy=on,iommu_platform=on",
        "-netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:1234-:8080",
        "-device virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on,romfile=",
        "-serial file:/w/console",
    ];

    #[test]
    fn qemu_is_told_everything() {
        let snp = [
            "-accel kvm",
            "-machine q35,confidential-guest-support=sev0,memory-backend=ram1",
            "-object memory-backend-memfd,id=ram1,size=1024M,share=true,prealloc=false",
            "-object sev-snp-guest,id=sev0,policy=0x2020000,kernel-hashes=on,cbitpos=51,reduced-phys-bits=1",
            "-bios /d/ovmf.fd",
        ];
        let mut with_host_data = snp.map(str::to_owned);
        with_host_data[3] += &format!(",host-data={}A=", "QEBA".repeat(10) + "QE");
        let with_host_data = with_host_data.each_ref().map(String::as_str);
        let bios = ["-accel tcg,thread=multi", "-machine q35"];
        let uefi = ["-accel tcg,thread=multi", "-machine q35", "-bios /d/ovmf.fd"];
        let page = "-device loader,file=/w/page,addr=0x810000,force-raw=on";
        let measured = [uefi[0], uefi[1], uefi[2], page];
        let (firmware, policy) = (|| "/d/ovmf.fd".to_owned(), 0x202_0000);
        for (platform, middle) in [
            (Platform::SevSnp { firmware: firmware(), policy, host_data: None }, &snp[..]),
            (
                Platform::SevSnp { firmware: firmware(), policy, host_data: Some(Sha256::new([0x40; 32])) },
                &with_host_data[..],
            ),
            (Platform::Simulated(Firmware::SeaBios), &bios[..]),
            (Platform::Simulated(Firmware::Uefi(firmware())), &uefi[..]),
            (
                Platform::Simulated(Firmware::Measured {
                    firmware: firmware(),
                    page: "/w/page".into(),
                    gpa: 0x81_0000,
                }),
                &measured[..],
            ),
        ] {
            assert_eq!(lines(&machine(platform, &[])), [&FIRST[..], middle, &LAST[..]].concat());
        }
        let more = [
            "-object filter-dump,id=capture,netdev=net,file=/w/c,,d",
            "-device virtio-serial-pci,disable-legacy=on,iommu_platform=on",
            "-chardev socket,id=sim,path=/w/a,,b,reconnect-ms=1000",
            "-device virtserialport,chardev=sim,name=vitrine.sim",
            "-chardev socket,id=feed,path=/w/feed,reconnect-ms=1000",
            "-device virtserialport,chardev=feed,name=vitrine.feed",
        ];
        let platform = Platform::Simulated(Firmware::SeaBios);
        let machine = machine(platform, &[("vitrine.sim", "/w/a,b"), ("vitrine.feed", "/w/feed")]);
        let machine = Machine { capture: Some("/w/c,d".into()), ..machine };
        assert_eq!(lines(&machine), [&FIRST[..], &bios[..], &LAST[..], &more[..]].concat());

        let watched = lines(&Machine { metrics: Some(9), record: Some("/r,1".into()), ..machine });
        for line in [
            "-netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:1234-:8080,hostfwd=tcp:127.0.0.1:9-:9100",
            "-chardev socket,id=sim,path=/w/a,,b,reconnect-ms=1000,logfile=/r,,1/sim.out",
            "-chardev socket,id=feed,path=/w/feed,reconnect-ms=1000,logfile=/r,,1/feed.out",
        ] {
            assert!(watched.iter().any(|found| found == line), "{line}");
        }
    }
}
