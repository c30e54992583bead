//! Firmware files made for tests.

use measure::guid::Guid;

pub(crate) const FOOTER: Guid = Guid::new(0x96b582de_1fb2_45f7_baea_a366c55a082d);
pub(crate) const HASH_TABLE: Guid = Guid::new(0x7255371f_3a3b_4b04_927b_1da6efa8d454);
pub(crate) const RESET_BLOCK: Guid = Guid::new(0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
pub(crate) const METADATA: Guid = Guid::new(0xdc886566_984a_4798_a75e_5585a7bf67cc);
/// Where the metadata stands, in bytes before the end.
pub(crate) const METADATA_OFFSET: u32 = 1024;

/// What the file is made of; tests change one part.
#[derive(Clone)]
pub(crate) struct Firmware {
    pub(crate) pages: usize,
    pub(crate) footer: Guid,
    /// Added to the length that the footer gives.
    pub(crate) footer_excess: i16,
    /// GUID, data, and what is added to the entry's length; last one first.
    pub(crate) entries: Vec<(Guid, Vec<u8>, i16)>,
    pub(crate) signature: [u8; 4],
    /// Length, version, number of sections.
    pub(crate) header: [u32; 3],
    /// Address, size, type.
    pub(crate) sections: Vec<[u32; 3]>,
}

fn data(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Firmware {
    /// One that supports kernel hashes, with sections as OVMF's AmdSev build has them.
    pub(crate) fn amd_sev() -> Self {
        let sections = vec![
            [0x80_0000, 0x9000, 1],
            [0x80_a000, 0x3000, 1],
            [0x80_d000, 0x1000, 2],
            [0x80_e000, 0x1000, 3],
            [0x80_f000, 0x1000, 4],
            [0x81_1000, 0xf000, 1],
            [0x81_0000, 0x1000, 0x10],
        ];
        Self {
            pages: 12,
            footer: FOOTER,
            footer_excess: 0,
            entries: vec![
                (RESET_BLOCK, data(&[0x80_b004]), 0),
                (HASH_TABLE, data(&[0x81_0c00, 0x400]), 0),
                (METADATA, data(&[METADATA_OFFSET]), 0),
            ],
            signature: *b"ASEV",
            header: [16 + 12 * sections.len() as u32, 1, sections.len() as u32],
            sections,
        }
    }

    /// One that does not, as OVMF's general build.
    pub(crate) fn general() -> Self {
        let mut firmware = Self::amd_sev();
        firmware.set(HASH_TABLE, &[0, 0]);
        firmware.sections.pop();
        firmware.header = [16 + 12 * 6, 1, 6];
        firmware
    }

    /// Replaces an entry's data.
    pub(crate) fn set(&mut self, guid: Guid, words: &[u32]) {
        for entry in self.entries.iter_mut().filter(|entry| entry.0 == guid) {
            entry.1 = data(words);
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut table = Vec::new();
        let lengthened = |length: usize, excess| (length as u16).wrapping_add_signed(excess).to_le_bytes();
        for (guid, data, excess) in self.entries.iter().rev() {
            table.extend(data);
            table.extend(lengthened(data.len() + 18, *excess));
            table.extend(guid.to_mixed_endian());
        }
        table.extend(lengthened(table.len() + 18, self.footer_excess));
        table.extend(self.footer.to_mixed_endian());

        let metadata = [self.signature.to_vec(), data(&self.header), data(&self.sections.concat())].concat();
        // Pages 0 to 3 all differ, the following ones are the same, zeros but for the end.
        let mut image: Vec<u8> = (0..4 * 4096_u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        image.resize(self.pages * 4096, 0);
        let end = image.len();
        let mut put = |from_end: usize, bytes: &[u8]| image[end - from_end..][..bytes.len()].copy_from_slice(bytes);
        put(METADATA_OFFSET as usize, &metadata);
        put(32 + table.len(), &table);
        put(16, b"\x0f\x20\xc0\xa8\x01\x74\x05\xe9\x0c\xff\xff\xff\xe9\xf1\xfe\x90");
        image
    }
}
