//! The keys that the guest is known by, and when they are replaced.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use channel::Seed;
use channel::server::{About, Identity};

use crate::limits::Limits;

/// The set of keys that new sessions begin with. Older ones live as long as the sessions that began with them.
pub(crate) struct Identities {
    about: About,
    lifetime: Duration,
    most: u32,
    current: Arc<Identity>,
    since: Duration,
    sessions: u32,
}

impl Identities {
    /// The first set, made at `now`.
    pub(crate) fn new(about: About, limits: &Limits, now: Duration) -> io::Result<Self> {
        let current = make(&about)?;
        let (lifetime, most) = (limits.identity_time, limits.identity_sessions);
        Ok(Self { about, lifetime, most, current, since: now, sessions: 0 })
    }

    /// The keys for one more handshake, which begins at `now`; and their epoch.
    pub(crate) fn of_handshake(&mut self, now: Duration) -> io::Result<(Arc<Identity>, u64)> {
        if self.sessions >= self.most || now.saturating_sub(self.since) >= self.lifetime {
            let next = About { epoch: self.about.epoch.saturating_add(1), ..self.about.clone() };
            self.current = make(&next)?;
            (self.about, self.since, self.sessions) = (next, now, 0);
        }
        Ok((Arc::clone(&self.current), self.about.epoch))
    }

    /// Counts a session that begins with these keys. What only looks like the beginning of a handshake is none, and
    /// replaces no keys.
    pub(crate) fn count(&mut self, identity: &Arc<Identity>) {
        if Arc::ptr_eq(identity, &self.current) {
            self.sessions = self.sessions.saturating_add(1);
        }
    }

    /// The newest set, for what is not a session.
    pub(crate) fn current(&self) -> &Identity {
        &self.current
    }
}

fn make(about: &About) -> io::Result<Arc<Identity>> {
    let identity = Identity::new(seed()?, about.clone()).map_err(io::Error::other)?;
    Ok(Arc::new(identity))
}

/// Randomness from the kernel, which waits until it has been seeded.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// A seed that is used once.
pub(crate) fn seed() -> io::Result<Seed> {
    random().map(Seed::new)
}

#[cfg(test)]
mod tests {
    use channel::KeyStatement;

    use super::*;

    #[test]
    fn keys_are_replaced_by_time_and_by_number() {
        let about = About { boot_id: [1; 16], epoch: 0, models: [].into(), operator: None };
        let limits = Limits { identity_sessions: 3, identity_time: Duration::from_secs(10), ..Limits::GUEST };
        let mut identities = Identities::new(about, &limits, Duration::from_secs(100)).unwrap();
        let mut statements = Vec::new();
        for (at, epoch) in [(100, 0), (109, 0), (109, 0), (109, 1), (118, 1), (119, 2), (119, 2), (1000, 3)] {
            let (identity, of) = identities.of_handshake(Duration::from_secs(at)).unwrap();
            identities.count(&identity);
            let statement = KeyStatement::parse(identity.statement()).unwrap();
            assert_eq!((of, statement.epoch, statement.boot_id), (epoch, epoch, [1; 16]), "{at}");
            statements.push((epoch, statement.x25519, statement.ml_kem, statement.receipts));
        }
        // Handshakes that come to nothing replace none.
        assert!((0..10).all(|_| identities.of_handshake(Duration::from_secs(1000)).unwrap().1 == 3));
        // A set is the same for its sessions, and no key of it is in another.
        for one in &statements {
            for other in &statements {
                let same = [one.1 == other.1, one.2 == other.2, one.3 == other.3];
                assert_eq!(same, [one.0 == other.0; 3]);
            }
        }
    }
}
