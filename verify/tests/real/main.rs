//! Evidence from real processors. It is other people's, so it is not committed: the set `vectors` of `image.lock` names
//! the packages that carry it, `cargo xtask fetch` fetches them, and `cargo xtask ci` runs these tests, or
//! `cargo test -p verify --test real -- --ignored` with the cache's path in `VITRINE_CACHE`.

mod snp;
mod tdx;
mod vectors;

use measure::appraise::{Finding, Outcome};

/// The rules that do not permit acceptance, each with `failed` or `not performed`.
fn refusing(findings: &[Finding]) -> Vec<(&'static str, String)> {
    let refusing = findings.iter().filter(|finding| !finding.permits());
    refusing.map(|finding| (finding.rule.id, finding.outcome.to_string())).collect()
}

/// The rules that were not asked, or have no meaning for this evidence.
fn unasked(findings: &[Finding]) -> Vec<&'static str> {
    let unasked = findings.iter().filter(|finding| finding.outcome == Outcome::NotPerformed { needed: false });
    unasked.map(|finding| finding.rule.id).collect()
}

/// `count` positions of single bits in `length` bytes, the same in every run and spread over all of them.
fn bits(length: usize, count: usize) -> impl Iterator<Item = (usize, u8)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count).map(move |nth| {
        // xorshift64*, one draw in each of `count` equal parts.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let drawn = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let (from, to) = (nth * length / count, (nth + 1) * length / count);
        let at = from + (drawn as usize >> 3) % (to - from).max(1);
        (at.min(length - 1), 1 << (drawn & 7))
    })
}
