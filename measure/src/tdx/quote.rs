//! A quote, as the quoting enclave wrote it (Intel "SGX Data Center Attestation Primitives: ECDSA Quote Library API",
//! appendix A.3 for version 4 and A.4 for version 5): a view of the bytes received.
//!
//! A quote is a header, a body, which both are signed, and a signature with what leads from its key to Intel. Numbers
//! are little-endian.

use crate::digest::{Digest, Sha384, digest_newtype};
use std::fmt;

/// The longest quote. Real ones have 5 KB; some come padded with zeros to 8 KB.
pub const MAX_QUOTE: usize = 16 << 10;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;

/// ECDSA on P-256 with SHA-256.
const KEY_TYPE: u16 = 2;
/// TDX, in the header.
const TEE_TYPE: u32 = 0x81;
/// Intel's quoting enclave, in the header.
pub(super) const VENDOR: Digest<16> =
    Digest::new([0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07]);
/// Certification data that is a report of the quoting enclave, with certification data of its own.
const QE_REPORT: u16 = 6;
/// Certification data that is a chain of certificates.
const PCK_CHAIN: u16 = 5;
/// What the quoting enclave hashes with its key.
const AUTHENTICATION_BYTES: usize = 32;

digest_newtype! {
    /// Family, model, stepping, platform type and customisation of a processor: what Intel's statements are about.
    Fmspc(Digest<6>)
}
digest_newtype! {
    /// Which machine: the platform provisioning identifier that its PCK certificate names.
    Ppid(Digest<16>)
}

/// A quote that is laid out as it should be; everything else about it is unexamined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote<'a> {
    /// 4 or 5.
    pub version: u16,
    /// Which of the layouts the body has.
    pub kind: BodyKind,
    /// The report.
    pub body: Body,
    /// Header and body, with the body's type and size if it is of version 5: what the signature is over.
    pub signed: &'a [u8],
    /// r and s of the signature over `signed`, 32 bytes each.
    pub signature: &'a [u8; 64],
    /// x and y of the key that signed.
    pub key: &'a [u8; 64],
    /// What the quoting enclave says of itself and of `key`: an SGX report.
    pub qe_report: &'a [u8; 384],
    /// r and s of the signature over `qe_report`.
    pub qe_signature: &'a [u8; 64],
    /// Hashed with `key` into `qe_report`.
    pub authentication: &'a [u8; AUTHENTICATION_BYTES],
    /// The certificates of the key that signed `qe_report`, PEM.
    pub pck_chain: &'a [u8],
}

/// The layouts of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyKind {
    /// 584 bytes. The only one of version 4, type 2 in version 5.
    Td10,
    /// Type 3, 648 bytes.
    Td15,
    /// Type 4, 885 bytes: `sgx_report2_body_v1_5_ex_t` in Intel's `sgx_quote_5.h`.
    Td15Extended,
}

/// What the TDX module reports of a guest and of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// TEE_TCB_SVN (offset 0): security versions of the module when the guest was launched.
    pub tee_tcb_svn: Digest<16>,
    /// MRSEAM (16): the TDX module.
    pub mrseam: Sha384,
    /// MRSIGNERSEAM (64): who signed the module, zero for Intel.
    pub mrsignerseam: Sha384,
    /// SEAMATTRIBUTES (112).
    pub seam_attributes: u64,
    /// TDATTRIBUTES (120).
    pub attributes: TdAttributes,
    /// XFAM (128): which processor features the guest has, as in XCR0 and IA32_XSS.
    pub xfam: u64,
    /// MRTD (136).
    pub mrtd: Sha384,
    /// MRCONFIGID (184).
    pub mrconfigid: Sha384,
    /// MROWNER (232).
    pub mrowner: Sha384,
    /// MROWNERCONFIG (280).
    pub mrownerconfig: Sha384,
    /// RTMR0 to RTMR3 (328, 48 bytes each).
    pub rtmr: [Sha384; 4],
    /// REPORTDATA (520).
    pub report_data: Digest<64>,
    /// What TDX 1.5 added.
    pub td15: Option<Td15>,
}

/// What TDX 1.5 added to the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Td15 {
    /// TEE_TCB_SVN2 (584): security versions of the module as it is now.
    pub tee_tcb_svn2: Digest<16>,
    /// MRSERVICETD (600): the service guests bound at launch.
    pub mrservicetd: Sha384,
    /// What came later.
    pub extended: Option<Td15Extended>,
}

/// What was added to the body after TDX 1.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Td15Extended {
    /// VMID (648): 0, unless it is about a guest inside the guest.
    pub vmid: u8,
    /// TD_ID (649): another at each launch.
    pub td_id: Digest<32>,
    /// DEV_INFO (681): hash over the devices that are part of the guest.
    pub dev_info: Sha384,
    /// INIT_SERVTD_HASH (729), INIT_SERVTD_ATTR (777), INIT_CPUSVN (785), INIT_TEE_TCB_SVN (801), INIT_TEE_FMSPC (817):
    /// where and with which service guests the guest began. Zero without the attribute SERVTD_EXT.
    pub initial: Digest<100>,
    /// CUR_SERVTD_HASH (829): the service guests bound now.
    pub current_services: Sha384,
    /// CUR_SERVTD_ATTR (877).
    pub current_attributes: u64,
}

/// TDATTRIBUTES (Intel TDX Module ABI Specification 348551, table 3.23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TdAttributes(pub u64);

impl TdAttributes {
    /// Bit 0: the host reads the guest's state and memory.
    pub const DEBUG: Self = Self(1);
    /// Bits 0 to 7, "TD under debug": with any of them, debugging or profiling, the guest is not to be trusted.
    pub const UNDER_DEBUG: Self = Self(0xff);
    /// Bit 16: a defence against single-stepping.
    pub const ICSSD: Self = Self(1 << 16);
    /// Bit 17: the report carries more about service guests.
    pub const SERVTD_EXT: Self = Self(1 << 17);
    /// Bit 27: linear address space separation.
    pub const LASS: Self = Self(1 << 27);
    /// Bit 28: a page that the host took away stops the guest, rather than raise an exception in it.
    pub const SEPT_VE_DISABLE: Self = Self(1 << 28);
    /// Bit 29: the guest can be migrated.
    pub const MIGRATABLE: Self = Self(1 << 29);
    /// Bit 30: supervisor protection keys.
    pub const PKS: Self = Self(1 << 30);
    /// Bit 31: Key Locker; reserved in newer specifications.
    pub const KL: Self = Self(1 << 31);
    /// Bit 62: a provisioning agent of TDX Connect.
    pub const TPA: Self = Self(1 << 62);
    /// Bit 63: performance monitoring.
    pub const PERFMON: Self = Self(1 << 63);
    /// The bits with a name, which is the specification's.
    pub const NAMED: [(Self, &'static str); 10] = [
        (Self::DEBUG, "DEBUG"),
        (Self::ICSSD, "ICSSD"),
        (Self::SERVTD_EXT, "SERVTD_EXT"),
        (Self::LASS, "LASS"),
        (Self::SEPT_VE_DISABLE, "SEPT_VE_DISABLE"),
        (Self::MIGRATABLE, "MIGRATABLE"),
        (Self::PKS, "PKS"),
        (Self::KL, "KL"),
        (Self::TPA, "TPA"),
        (Self::PERFMON, "PERFMON"),
    ];

    /// The bits that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The bits that are in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits that are in this one only.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The names of the bits, and what is left in hexadecimal.
impl fmt::Display for TdAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        let mut words = Vec::new();
        for (bit, name) in Self::NAMED {
            if rest.and(bit) == bit {
                words.push(name.to_owned());
                rest = rest.without(bit);
            }
        }
        if rest.0 != 0 || words.is_empty() {
            words.push(format!("{:#x}", rest.0));
        }
        f.write_str(&words.join(" "))
    }
}

/// Why bytes are not a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Longer than any real one.
    #[error("expected at most {MAX_QUOTE} bytes, found {found}")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// It ends before the part that is named.
    #[error("ends inside {part}: {found} bytes")]
    TooShort {
        /// Where it ends.
        part: &'static str,
        /// How many bytes there are.
        found: usize,
    },
    /// A format that nothing here knows. Version 3 is for SGX only.
    #[error("expected quote version 4 or 5, found {found}")]
    Version {
        /// The version in the header.
        found: u16,
    },
    /// Another kind of signature.
    #[error("expected attestation key type {KEY_TYPE}, found {found}")]
    KeyType {
        /// The type in the header.
        found: u16,
    },
    /// Something else than a TDX guest.
    #[error("expected TEE type {TEE_TYPE:#x}, found {found:#x}")]
    TeeType {
        /// The type in the header.
        found: u32,
    },
    /// Somebody else's quoting enclave.
    #[error("expected QE vendor {VENDOR}, found {found}")]
    Vendor {
        /// The identifier in the header.
        found: Digest<16>,
    },
    /// A body that nothing here knows, or one with another size than its type has.
    #[error("expected a body of type 2, 3 or 4 with 584, 648 or 885 bytes, found type {kind} with {size} bytes")]
    Body {
        /// Its type.
        kind: u16,
        /// Its declared size in bytes.
        size: u32,
    },
    /// Certification data of another type.
    #[error("expected certification data of type {expected}, found {found}")]
    Certification {
        /// The type that has a reader here.
        expected: u16,
        /// The type in the quote.
        found: u16,
    },
    /// Authentication data of another length.
    #[error("expected {AUTHENTICATION_BYTES} bytes of authentication data, found {found}")]
    Authentication {
        /// Their number.
        found: u16,
    },
    /// A part that does not fill what holds it.
    #[error("{extra} bytes left over in {part}")]
    LeftOver {
        /// What holds it.
        part: &'static str,
        /// How many.
        extra: usize,
    },
    /// Bytes after the quote that are not zero: nothing covers them.
    #[error("bytes other than zero after the quote's {end} bytes")]
    Trailing {
        /// Where the quote ends.
        end: usize,
    },
}

impl<'a> Quote<'a> {
    /// The quote in these bytes. Zeros may follow it, as real quoting services pad with them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        let found = bytes.len();
        if found > MAX_QUOTE {
            return Err(QuoteError::TooLong { found });
        }
        let mut quote = Reader { rest: bytes, part: "the quote", length: found };
        let version = quote.header()?;
        let kind = match version {
            4 => BodyKind::Td10,
            _ => BodyKind::of(quote.u16()?, quote.u32()?)?,
        };
        let body = quote.body(kind)?;
        let signed = bytes.get(..found.saturating_sub(quote.rest.len())).unwrap_or(bytes);

        let mut section = quote.section("the signature")?;
        let end = found.saturating_sub(quote.rest.len());
        if quote.rest.iter().any(|byte| *byte != 0) {
            return Err(QuoteError::Trailing { end });
        }
        let signature = section.take()?;
        let key = section.take()?;
        let mut outer = section.certification(QE_REPORT, "the QE report's data")?;
        section.end()?;
        let qe_report = outer.take()?;
        let qe_signature = outer.take()?;
        let found = outer.u16()?;
        if usize::from(found) != AUTHENTICATION_BYTES {
            return Err(QuoteError::Authentication { found });
        }
        let authentication = outer.take()?;
        let pck_chain = outer.certification(PCK_CHAIN, "the PCK certificates")?.rest;
        outer.end()?;
        Ok(Self { version, kind, body, signed, signature, key, qe_report, qe_signature, authentication, pck_chain })
    }
}

impl BodyKind {
    fn of(kind: u16, size: u32) -> Result<Self, QuoteError> {
        match (kind, size) {
            (2, 584) => Ok(Self::Td10),
            (3, 648) => Ok(Self::Td15),
            (4, 885) => Ok(Self::Td15Extended),
            _ => Err(QuoteError::Body { kind, size }),
        }
    }
}

impl fmt::Display for BodyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Td10 => "TD 1.0",
            Self::Td15 => "TD 1.5",
            Self::Td15Extended => "TD 1.5 extended",
        })
    }
}

/// What has not been read yet of a part of the quote.
struct Reader<'a> {
    rest: &'a [u8],
    part: &'static str,
    /// Of the whole quote, for messages.
    length: usize,
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], QuoteError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.too_short(self.part))?;
        self.rest = rest;
        Ok(head)
    }

    fn u16(&mut self) -> Result<u16, QuoteError> {
        self.take().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, QuoteError> {
        self.take().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, QuoteError> {
        self.take().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn digest<const N: usize>(&mut self) -> Result<Digest<N>, QuoteError> {
        self.take().map(|bytes| Digest::new(*bytes))
    }

    const fn too_short(&self, part: &'static str) -> QuoteError {
        QuoteError::TooShort { part, found: self.length }
    }

    /// What a length of four bytes announces.
    fn section(&mut self, part: &'static str) -> Result<Self, QuoteError> {
        let size = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let (inside, rest) = self.rest.split_at_checked(size).ok_or(self.too_short(part))?;
        self.rest = rest;
        Ok(Self { rest: inside, part, length: self.length })
    }

    fn certification(&mut self, expected: u16, part: &'static str) -> Result<Self, QuoteError> {
        let found = self.u16()?;
        if found != expected {
            return Err(QuoteError::Certification { expected, found });
        }
        self.section(part)
    }

    fn end(&self) -> Result<(), QuoteError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(QuoteError::LeftOver { part: self.part, extra }),
        }
    }

    /// Reads the header and returns its version.
    fn header(&mut self) -> Result<u16, QuoteError> {
        self.rest.get(..HEADER_BYTES).ok_or(self.too_short("the header"))?;
        let version = self.u16()?;
        if !matches!(version, 4 | 5) {
            return Err(QuoteError::Version { found: version });
        }
        let found = self.u16()?;
        if found != KEY_TYPE {
            return Err(QuoteError::KeyType { found });
        }
        let found = self.u32()?;
        if found != TEE_TYPE {
            return Err(QuoteError::TeeType { found });
        }
        // QE_SVN and PCE_SVN: reserved in version 4, and the certificate and the QE's report say what they would.
        self.take::<4>()?;
        let found = self.digest()?;
        if found != VENDOR {
            return Err(QuoteError::Vendor { found });
        }
        // Of the quoting service's choice.
        self.take::<20>()?;
        Ok(version)
    }

    fn body(&mut self, kind: BodyKind) -> Result<Body, QuoteError> {
        self.part = "the body";
        Ok(Body {
            tee_tcb_svn: self.digest()?,
            mrseam: self.digest()?,
            mrsignerseam: self.digest()?,
            seam_attributes: self.u64()?,
            attributes: TdAttributes(self.u64()?),
            xfam: self.u64()?,
            mrtd: self.digest()?,
            mrconfigid: self.digest()?,
            mrowner: self.digest()?,
            mrownerconfig: self.digest()?,
            rtmr: [self.digest()?, self.digest()?, self.digest()?, self.digest()?],
            report_data: self.digest()?,
            td15: match kind {
                BodyKind::Td10 => None,
                BodyKind::Td15 | BodyKind::Td15Extended => Some(Td15 {
                    tee_tcb_svn2: self.digest()?,
                    mrservicetd: self.digest()?,
                    extended: (kind == BodyKind::Td15Extended).then(|| self.extended()).transpose()?,
                }),
            },
        })
    }

    fn extended(&mut self) -> Result<Td15Extended, QuoteError> {
        let [vmid] = *self.take()?;
        Ok(Td15Extended {
            vmid,
            td_id: self.digest()?,
            dev_info: self.digest()?,
            initial: self.digest()?,
            current_services: self.digest()?,
            current_attributes: self.u64()?,
        })
    }
}
