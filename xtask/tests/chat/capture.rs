//! What a guest sent, read from a packet capture: as much of pcap, Ethernet and IPv4 as it takes to see whether anything is
//! there that nobody asked for.

/// The guest's network card, as QEMU numbers the first one.
const GUEST: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
/// pcap with microseconds, least significant byte first (draft-ietf-opsawg-pcap, section 4).
const MAGIC: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
const ETHERNET: u32 = 1;
/// EtherTypes.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
/// Protocols of IP.
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// All that a guest sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// DHCP messages.
    pub(crate) dhcp: usize,
    /// Connections that it took, by its port.
    pub(crate) accepted: Vec<u16>,
    /// What it should not have sent, in words.
    pub(crate) unasked: Vec<String>,
}

/// Reads a capture. What cannot be read is an error: it may be anything.
pub(crate) fn sent(capture: &[u8]) -> Result<Sent, String> {
    let header = capture.first_chunk::<24>().ok_or("the header is cut off")?;
    if header[..4] != MAGIC || little(&header[20..24]) != ETHERNET {
        return Err("expected a pcap of Ethernet frames".into());
    }
    let mut sent = Sent::default();
    let mut rest = &capture[24..];
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(16).ok_or("a packet's head is cut off")?;
        let (kept, length) = (little(&head[8..12]) as usize, little(&head[12..16]) as usize);
        let (frame, behind) = behind.split_at_checked(kept).ok_or("a packet is cut off")?;
        if kept != length {
            return Err(format!("a packet of {length} bytes was captured as {kept}"));
        }
        rest = behind;
        sent.frame(frame)?;
    }
    Ok(sent)
}

impl Sent {
    fn frame(&mut self, frame: &[u8]) -> Result<(), String> {
        let (head, packet) = frame.split_at_checked(14).ok_or("a frame without a head")?;
        if head[6..12] != GUEST {
            return Ok(());
        }
        match big(&head[12..14]) {
            ARP => {}
            IPV4 => self.packet(packet).ok_or("a packet from the guest that is cut off")?,
            other => self.unasked.push(format!("a frame of EtherType {other:#06x}")),
        }
        Ok(())
    }

    /// `None` if it is cut off.
    fn packet(&mut self, packet: &[u8]) -> Option<()> {
        let size = usize::from(packet.first()? & 0xf) * 4;
        let (protocol, to) = (*packet.get(9)?, packet.get(16..20)?);
        // A fragment that is not the first has no ports, and nothing of ours is that long.
        let fragment = big(packet.get(6..8)?) & 0x3fff != 0;
        let body = packet.get(size..)?;
        let to = to.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
        match protocol {
            _ if fragment => self.unasked.push(format!("a fragment to {to}")),
            UDP => match (big(body.get(..2)?), big(body.get(2..4)?)) {
                (68, 67) => self.dhcp += 1,
                (_, port) => self.unasked.push(format!("UDP to {to}:{port}")),
            },
            TCP => {
                let (own, port) = (big(body.get(..2)?), big(body.get(2..4)?));
                match body.get(13)? & (SYN | ACK) {
                    SYN => self.unasked.push(format!("a connection to {to}:{port}")),
                    flags if flags == SYN | ACK => self.accepted.push(own),
                    _ => {}
                }
            }
            other => self.unasked.push(format!("IP protocol {other} to {to}")),
        }
        Some(())
    }
}

fn little(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn big(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |number, byte| number << 8 | u16::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture of these frames.
    fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut capture = [&MAGIC[..], &[2, 0, 4, 0], &[0; 8], &65_535_u32.to_le_bytes(), &[1, 0, 0, 0]].concat();
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            capture.extend([&[0; 8][..], &length, &length, frame].concat());
        }
        capture
    }

    fn frame(from: [u8; 6], kind: u16, packet: &[u8]) -> Vec<u8> {
        [&[0xff; 6][..], &from, &kind.to_be_bytes(), packet].concat()
    }

    fn ip(protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
        let [high, low] = fragment.to_be_bytes();
        [&[0x45, 0, 0, 0, 0, 0, high, low, 64, protocol, 0, 0, 10, 0, 2, 15, 192, 0, 2, 1][..], body].concat()
    }

    fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
        ip(TCP, 0x4000, &[&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 8], &[0x50, flags], &[0; 6]].concat())
    }

    fn udp(from: u16, to: u16) -> Vec<u8> {
        ip(UDP, 0, &[&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 4]].concat())
    }

    #[test]
    fn everything_that_was_not_asked_for_is_seen() {
        for (kind, packet, unasked) in [
            (IPV4, tcp(40_000, 443, SYN), "a connection to 192.0.2.1:443"),
            // With options of congestion control the bits beside SYN are set.
            (IPV4, tcp(40_000, 443, SYN | 0xc0), "a connection to 192.0.2.1:443"),
            (IPV4, udp(40_000, 53), "UDP to 192.0.2.1:53"),
            (IPV4, udp(68, 53), "UDP to 192.0.2.1:53"),
            (IPV4, ip(1, 0, &[8, 0]), "IP protocol 1 to 192.0.2.1"),
            (IPV4, ip(UDP, 0x2000, &[0, 68, 0, 67]), "a fragment to 192.0.2.1"),
            (IPV4, ip(UDP, 0x0010, &[0, 68, 0, 67]), "a fragment to 192.0.2.1"),
            (0x86dd, vec![0x60; 40], "a frame of EtherType 0x86dd"),
            (0x88cc, vec![], "a frame of EtherType 0x88cc"),
        ] {
            let (unasked, nothing) = (vec![unasked.to_owned()], Sent::default());
            assert_eq!(sent(&capture(&[frame(GUEST, kind, &packet)])), Ok(Sent { unasked, ..Sent::default() }));
            assert_eq!(sent(&capture(&[frame([2; 6], kind, &packet)])), Ok(nothing), "the host may");
        }
        let frames = [(ARP, vec![0; 28]), (IPV4, udp(68, 67)), (IPV4, tcp(8080, 40_000, SYN | ACK))];
        let others = [(IPV4, tcp(8080, 40_000, ACK)), (IPV4, tcp(8080, 40_000, ACK | 0x01))];
        let frames: Vec<_> = frames.iter().chain(&others).map(|(kind, packet)| frame(GUEST, *kind, packet)).collect();
        assert_eq!(sent(&capture(&frames)), Ok(Sent { dhcp: 1, accepted: vec![8080], unasked: vec![] }));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let whole = capture(&[frame(GUEST, IPV4, &udp(68, 67))]);
        for cut in [0, 23, 25, 40, whole.len() - 1] {
            assert!(sent(&whole[..cut]).is_err(), "{cut}");
        }
        let mut shortened = whole.clone();
        shortened[24 + 12] += 1;
        let mut other = whole.clone();
        other[20] = 113;
        let cut_inside = capture(&[frame(GUEST, IPV4, &udp(68, 67)[..21])]);
        for wrong in [shortened, other, cut_inside] {
            assert!(sent(&wrong).is_err());
        }
        assert!(sent(&whole).is_ok());
    }
}
