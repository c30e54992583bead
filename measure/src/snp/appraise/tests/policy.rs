//! What breaks the rules `snp.policy.*`, each alone.

use super::world::{Change, expected_policy};
use super::*;

pub(super) const BROKEN: &[(&str, Change)] = &[
    ("snp.policy.launch", |world| world.terms().launch_policy = Demand::Is(GuestPolicy(0x03b2_0037))),
    ("snp.policy.abi", |world| world.terms().abi_floor = AbiVersion { major: 1, minor: 0x38 }),
    ("snp.policy.abi", |world| world.terms().abi_floor = AbiVersion { major: 2, minor: 0 }),
    ("snp.policy.smt", |world| expected_policy(world, GuestPolicy::SMT)),
    ("snp.policy.reserved-one", |world| expected_policy(world, GuestPolicy::RESERVED_ONE)),
    ("snp.policy.migrate-ma", |world| expected_policy(world, GuestPolicy::MIGRATE_MA)),
    ("snp.policy.debug", |world| expected_policy(world, GuestPolicy::DEBUG)),
    ("snp.policy.single-socket", |world| expected_policy(world, GuestPolicy::SINGLE_SOCKET)),
    ("snp.policy.cxl", |world| expected_policy(world, GuestPolicy::CXL)),
    ("snp.policy.aes-256-xts", |world| expected_policy(world, GuestPolicy::AES_256_XTS)),
    ("snp.policy.rapl-disabled", |world| expected_policy(world, GuestPolicy::RAPL_DISABLED)),
    ("snp.policy.ciphertext-hiding", |world| expected_policy(world, GuestPolicy::CIPHERTEXT_HIDING)),
    ("snp.policy.page-swap-disabled", |world| expected_policy(world, GuestPolicy::PAGE_SWAP_DISABLED)),
    ("snp.policy.unknown-bits", |world| expected_policy(world, 1 << 26)),
    ("snp.policy.unknown-bits", |world| expected_policy(world, 1 << 63)),
];
