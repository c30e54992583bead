//! What comes from the helper: reports, of which each is looked at before a client gets it, the operator document, and the
//! feed, which is not looked at.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attest::{Answer, HEAD, Head, Kind, Request};
use channel::evidence::report_data;
use measure::snp::report::{GuestPolicy, Report};
use measure::{Digest, Sha256, Sha384};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::limits::Limits;
use crate::readiness::Readiness;

/// The helper, and what its reports have to say of this guest.
pub(crate) struct Attester {
    socket: PathBuf,
    time: Duration,
    feed_age: Duration,
    feed: Mutex<Option<(Instant, Arc<[u8]>)>>,
}

/// A report of a session that says what it must.
pub(crate) struct Attested {
    /// Its bytes.
    pub(crate) report: Vec<u8>,
    /// The guest's measurement, as it says it.
    pub(crate) measurement: Sha384,
}

impl Attester {
    pub(crate) fn new(socket: PathBuf, limits: &Limits) -> Self {
        Self { socket, time: limits.report_time, feed_age: limits.feed_age, feed: Mutex::new(None) }
    }

    /// A report of the session with these hashes, by a guest that was given the operator document with this hash.
    ///
    /// # Errors
    /// The first thing that is wrong with it, or that there is none.
    pub(crate) async fn report(
        &self,
        handshake: Sha256,
        statement: Sha256,
        operator: Option<Sha256>,
    ) -> Result<Attested, Readiness> {
        match self.ask(&Request::Report { handshake, statement }).await {
            Ok(Answer::Report { kind, bytes }) => check(kind, bytes, report_data(&handshake, &statement), operator),
            _ => Err(Readiness::NoReport),
        }
    }

    /// The operator document, if there is one.
    pub(crate) async fn operator(&self) -> io::Result<Option<Vec<u8>>> {
        match self.ask(&Request::Operator).await? {
            Answer::Operator(document) => Ok(document),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The feed, which is asked for anew every few seconds.
    pub(crate) async fn feed(&self) -> io::Result<Arc<[u8]>> {
        let mut newest = self.feed.lock().await;
        if let Some((at, feed)) = &*newest
            && at.elapsed() < self.feed_age
        {
            return Ok(Arc::clone(feed));
        }
        let Answer::Feed(feed) = self.ask(&Request::Feed).await? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let feed: Arc<[u8]> = feed.into();
        *newest = Some((Instant::now(), Arc::clone(&feed)));
        Ok(feed)
    }

    async fn ask(&self, request: &Request) -> io::Result<Answer> {
        timeout(self.time, async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(&request.to_bytes()).await?;
            let mut head = [0; HEAD];
            stream.read_exact(&mut head).await?;
            let head = Head::parse(&head).map_err(io::Error::other)?;
            let mut body = vec![0; head.body_len()];
            stream.read_exact(&mut body).await?;
            head.answer(&body).map_err(io::Error::other)
        })
        .await?
    }
}

/// Whether this is a report that the guest can show: of a guest at VMPL 0 that nobody debugs, with this data, started with
/// the operator document of this hash or with none. What the guest's measurement should be is not known in it.
fn check(kind: Kind, bytes: Vec<u8>, data: Digest<64>, operator: Option<Sha256>) -> Result<Attested, Readiness> {
    let report = Some(()).filter(|()| kind == Kind::Snp).and_then(|()| Report::parse(&bytes).ok());
    let report = report.ok_or(Readiness::NoReport)?;
    let expected = operator.unwrap_or(Digest::new([0; 32]));
    for (holds, otherwise) in [
        (report.report_data() == data, Readiness::ReportOfOther),
        (report.vmpl() == 0, Readiness::ReportNotVmpl0),
        (report.policy().0 & GuestPolicy::DEBUG == 0, Readiness::ReportDebug),
        (report.host_data() == expected, Readiness::ReportOtherOperator),
    ] {
        if !holds {
            return Err(otherwise);
        }
    }
    let measurement = report.measurement().0;
    Ok(Attested { report: bytes, measurement })
}

#[cfg(test)]
mod tests {
    use simulate::{Guest, Processor, Product};

    use super::*;

    #[test]
    fn only_the_right_report_is_shown() {
        let (handshake, statement, document) = (Sha256::of(b"h"), Sha256::of(b"s"), Sha256::of(b"document"));
        let data = report_data(&handshake, &statement);
        let guest = Guest { policy: 0x3_0000, measurement: [9; 48], host_data: *document.as_bytes() };
        let good = Processor::patched(Product::Genoa, guest).report(*data.as_bytes());
        let attested = check(Kind::Snp, good.clone(), data, Some(document)).ok().unwrap();
        assert!(attested.measurement == Digest::new([9; 48]) && attested.report == good);
        let mut debugged = good.clone();
        debugged[0x0a] |= 8;
        let mut vmpl = good.clone();
        vmpl[0x30] = 1;
        let mut other = good.clone();
        other[0x50] ^= 1;
        let other_document = Sha256::of(b"other");
        for (kind, bytes, operator, reason) in [
            (Kind::Snp, other, Some(document), Readiness::ReportOfOther),
            (Kind::Snp, vmpl, Some(document), Readiness::ReportNotVmpl0),
            (Kind::Snp, debugged, Some(document), Readiness::ReportDebug),
            (Kind::Snp, good.clone(), Some(other_document), Readiness::ReportOtherOperator),
            (Kind::Snp, good.clone(), None, Readiness::ReportOtherOperator),
            (Kind::Snp, good[1..].to_vec(), Some(document), Readiness::NoReport),
            (Kind::Tdx, good.clone(), Some(document), Readiness::NoReport),
        ] {
            assert_eq!(check(kind, bytes, data, operator).err(), Some(reason));
        }
        let alone = Processor::patched(Product::Genoa, Guest { host_data: [0; 32], ..guest });
        assert!(check(Kind::Snp, alone.report(*data.as_bytes()), data, None).is_ok());
    }
}
