//! Looking paths up in a composed tree the way the guest's kernel will.

use crate::contents::provenance::Traced;
use crate::formats::listing::{Kind, TreePath};
use std::collections::BTreeMap;

/// Links followed in one look-up, as Linux has it.
const MAX_LINKS: usize = 40;

/// A composed tree by path.
pub(super) struct Tree(pub(super) BTreeMap<TreePath, Traced>);

impl Tree {
    /// What `text` names for something in `directory`, every link on the way followed; `None` if nothing is there.
    pub(super) fn resolve(&self, directory: &TreePath, text: &[u8]) -> Option<&Traced> {
        let mut at = directory.clone();
        let mut rest = components(text);
        if text.starts_with(b"/") {
            at = TreePath::ROOT;
        }
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                at = at.parent().unwrap_or(TreePath::ROOT);
                continue;
            }
            let next = at.join(&name).ok()?;
            match &self.0.get(&next)?.entry.kind {
                Kind::Symlink { target } => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        at = TreePath::ROOT;
                    }
                    rest.extend(components(target));
                }
                Kind::Directory => at = next,
                _ if rest.is_empty() => at = next,
                _ => return None,
            }
        }
        self.0.get(&at)
    }
}

/// The path that the link at `link` points to, read without looking: `None` if it leaves the tree.
pub(super) fn target(link: &TreePath, target: &[u8]) -> Option<TreePath> {
    let mut at = if target.starts_with(b"/") { TreePath::ROOT } else { link.parent()? };
    let mut rest = components(target);
    while let Some(name) = rest.pop() {
        at = if name == b".." { at.parent()? } else { at.join(&name).ok()? };
    }
    Some(at)
}

/// The components of a path as Linux reads it, last one first.
fn components(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|&byte| byte == b'/').rev().filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()
}
