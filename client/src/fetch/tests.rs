use super::server::{Reply, Server};
use super::*;
use measure::snp::product::Product;
use simulate::{Leaf, Processor, Tcb};
use verify::bundle::SnpEvidence;

/// 2026-11-23, when the simulated list of revoked certificates is in force.
const NOW: Time = Time(1_795_392_000);

fn processor(product: simulate::Product) -> Processor {
    Processor {
        product,
        leaf: Leaf::Vcek,
        report_version: 3,
        chip_id: [0xab; 64],
        tcb: Tcb { fmc: u8::from(product == simulate::Product::Turin), bootloader: 3, tee: 0, snp: 14, microcode: 209 },
        firmware: [21, 55, 1],
        platform_info: 0,
        mitigations: 0,
        csp: "example",
        policy: 0x30000,
        measurement: [1; 48],
        host_data: [0; 32],
    }
}

fn pem(ders: &[&Vec<u8>]) -> Vec<u8> {
    let one = |der: &&Vec<u8>| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec()));
    ders.iter().map(one).collect::<String>().into_bytes()
}

fn file(bytes: &[u8]) -> Reply {
    Reply::File(bytes.to_vec(), String::new())
}

/// The paths that AMD's service has for this processor, and what it answers.
fn replies(processor: &Processor) -> [(String, Reply); 3] {
    let simulate::Certificates { ark, intermediate, leaf, crl } = processor.certificates();
    let product = processor.product;
    let (hwid, fmc) = match product {
        simulate::Product::Turin => ("ab".repeat(8), "fmcSPL=01&"),
        _ => ("ab".repeat(64), ""),
    };
    let key = format!("/vcek/v1/{product}/{hwid}?{fmc}blSPL=03&teeSPL=00&snpSPL=14&ucodeSPL=209");
    [
        (key, file(&leaf)),
        (format!("/vcek/v1/{product}/cert_chain"), file(&pem(&[&intermediate, &ark]))),
        (format!("/vcek/v1/{product}/crl"), file(&crl)),
    ]
}

fn complete(processor: &Processor) -> SnpEvidence {
    let simulate::Certificates { ark, intermediate, leaf, crl } = processor.certificates();
    let [leaf, ask, ark, crl] = [leaf, intermediate, ark, crl].map(Some);
    SnpEvidence { report: processor.report([7; 64]), leaf, ask, ark, crl }
}

/// One use of the program: with the server or, without it, offline; this long after the files were written.
struct Use<'a> {
    dir: &'a tempfile::TempDir,
    url: &'a str,
    online: bool,
    later: Duration,
}

impl Use<'_> {
    fn fill(&self, processor: &Processor) -> anyhow::Result<(SnpEvidence, usize)> {
        self.fill_with(processor, &Certificates::default(), None)
    }

    fn fill_with(
        &self,
        processor: &Processor,
        given: &Certificates,
        product: Option<Product>,
    ) -> anyhow::Result<(SnpEvidence, usize)> {
        let pause = Duration::from_millis(1);
        let [connect, stall, total] = [10, 10, 30].map(Duration::from_secs);
        let patience = Patience { attempts: 2, pause, connect, stall, total };
        let sources = Sources {
            cache: Cache::new(self.dir.path().join("collateral")),
            http: self.online.then(|| Client::new(patience, &|_line| ())),
            now: host::clock() + self.later,
            used: RefCell::default(),
        };
        let report = processor.report([7; 64]);
        let filled = kds::fill(report, given, product, self.url, &sources, &roots::simulated(), NOW)?;
        Ok((filled, sources.keep()?.len()))
    }
}

#[test]
fn what_was_fetched_once_is_not_fetched_again() {
    for product in simulate::Product::ALL {
        let (processor, dir) = (processor(product), tempfile::tempdir().unwrap());
        let server = Server::new(replies(&processor));
        let mut uses = Use { dir: &dir, url: &server.url, online: true, later: Duration::ZERO };
        assert_eq!(uses.fill(&processor).unwrap(), (complete(&processor), 3));
        assert_eq!(server.seen(), replies(&processor).map(|(path, _)| path));
        uses.later = FRESH / 2;
        assert_eq!(uses.fill(&processor).unwrap(), (complete(&processor), 0));
        // After a day the list is asked for again, if anybody may be asked.
        uses.later = FRESH * 2;
        uses.online = false;
        assert_eq!(uses.fill(&processor).unwrap(), (complete(&processor), 0));
        assert!(server.seen().is_empty());
        uses.online = true;
        assert_eq!(uses.fill(&processor).unwrap(), (complete(&processor), 1));
        assert_eq!(server.seen(), [format!("/vcek/v1/{product}/crl")]);
    }
}

#[test]
fn an_old_list_is_better_than_none_and_no_server_is_no_reason_to_lose_it() {
    let (processor, dir) = (processor(simulate::Product::Genoa), tempfile::tempdir().unwrap());
    let [leaf, chain, (crl, once)] = replies(&processor);
    let once = Reply::First(Box::new(once), Box::new(Reply::Status(503, String::new())));
    let server = Server::new([leaf, chain, (crl, once)]);
    let mut uses = Use { dir: &dir, url: &server.url, online: true, later: Duration::ZERO };
    uses.fill(&processor).unwrap();
    uses.later = FRESH * 2;
    assert_eq!(uses.fill(&processor).unwrap(), (complete(&processor), 0));
}

#[test]
fn what_does_not_lead_to_a_root_is_neither_used_nor_kept() {
    let honest = processor(simulate::Product::Genoa);
    let other = Processor { chip_id: [1; 64], ..honest.clone() };
    let lower = Processor { tcb: Tcb { snp: 13, ..honest.tcb }, ..honest.clone() };
    let strange = simulate::chain::crl(honest.product).sign(&simulate::keys::stranger());
    let [leaf, chain, crl] = [0, 1, 2];
    for (at, lie, rule) in [
        (leaf, file(&other.certificates().leaf), "snp.chain.leaf.chip"),
        (leaf, file(&lower.certificates().leaf), "snp.chain.leaf.tcb"),
        (leaf, file(b"not a certificate"), "snp.chain.leaf."),
        (chain, file(&pem(&[&honest.certificates().intermediate])), "(ARK) is missing"),
        (chain, file(b"not a certificate"), "cert_chain: expected a certificate"),
        (crl, file(&strange), "snp.chain.crl.signature"),
        (crl, Reply::Truncated(honest.certificates().crl, 100), "crl: "),
        (crl, Reply::File(vec![b'x'; 1 << 20], String::new()), "crl: "),
        (crl, Reply::Status(404, String::new()), "crl: answered 404"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut lies = replies(&honest);
        lies[at].1 = lie;
        let server = Server::new(lies);
        let uses = Use { dir: &dir, url: &server.url, online: true, later: Duration::ZERO };
        let error = format!("{:#}", uses.fill(&honest).map(|_filled| ()).expect_err(rule));
        assert!(error.contains(rule), "{error}");
        assert!(!dir.path().join("collateral").exists(), "{rule}");
    }
}

#[test]
fn what_is_kept_is_not_believed() {
    let (processor, dir) = (processor(simulate::Product::Turin), tempfile::tempdir().unwrap());
    let server = Server::new(replies(&processor));
    let mut uses = Use { dir: &dir, url: &server.url, online: true, later: Duration::ZERO };
    uses.fill(&processor).unwrap();
    let mut kept = 0;
    for entry in std::fs::read_dir(dir.path().join("collateral")).unwrap() {
        kept += 1;
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        uses.online = false;
        assert!(uses.fill(&processor).is_err(), "{}", path.display());
        uses.online = true;
        assert_eq!(uses.fill(&processor).unwrap(), (complete(&processor), 3));
    }
    assert_eq!(kept, 3);
}

#[test]
fn what_is_there_already_is_not_asked_for() {
    let processor = Processor { leaf: Leaf::Vlek, ..processor(simulate::Product::Milan) };
    let dir = tempfile::tempdir().unwrap();
    let [_, (_, chain), (_, crl)] = replies(&processor);
    let server = Server::new([("/vlek/v1/Milan/cert_chain", chain), ("/vlek/v1/Milan/crl", crl)]);
    let uses = Use { dir: &dir, url: &format!("{}/", server.url), online: true, later: Duration::ZERO };
    let error = uses.fill(&processor).map(|_filled| ()).unwrap_err().to_string();
    assert!(error.contains("pass it with --cert"), "{error}");
    let lent = Certificates { leaf: complete(&processor).leaf, ..Certificates::default() };
    assert_eq!(uses.fill_with(&processor, &lent, None).unwrap(), (complete(&processor), 2));

    let old = Processor { report_version: 2, ..self::processor(simulate::Product::Milan) };
    let error = uses.fill(&old).map(|_filled| ()).unwrap_err().to_string();
    assert!(error.contains("pass --product"), "{error}");
    let server = Server::new(replies(&old));
    let uses = Use { url: &server.url, ..uses };
    assert_eq!(uses.fill_with(&old, &Certificates::default(), Some(Product::Milan)).unwrap(), (complete(&old), 3));
}
