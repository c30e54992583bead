//! The examples that C2SP's specifications print, byte for byte. Their keys are not printed, so that only forms and
//! messages can be compared; a published key and its signature are in the tests of `note`.

use log_client::Checkpoint;
use log_client::cosignature::message;
use log_client::note::Note;
use log_client::witness::AddCheckpoint;

/// signed-note.
const NOTE: &str = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
/// tlog-checkpoint.
const CHECKPOINT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const SIGNED: &str = "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
/// tlog-cosignature, the line below that one.
const COSIGNED: &str = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
/// tlog-witness: what is asked of a witness, before the checkpoint, and a line that a second key of the log adds.
const REQUEST: &str = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n";
const SECOND: &str = "— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";

#[test]
fn notes() {
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.unverified_text().lines().count(), 4);
    let [line] = note.unverified_lines() else { panic!() };
    assert_eq!((line.name, line.id.to_string().as_str()), ("quasimodo.example/salvatore", "367ba04b"));
    assert_eq!(line.signature.len(), 64);
}

#[test]
fn checkpoints_and_cosignatures() {
    let note = format!("{CHECKPOINT}\n{SIGNED}{COSIGNED}");
    let note = Note::parse(note.as_bytes()).unwrap();
    let checkpoint: Checkpoint = note.unverified_text().parse().unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.to_string(), CHECKPOINT);
    // The time is in the cosignature's line and in what it signs.
    let [_, cosigned] = note.unverified_lines() else { panic!() };
    let (time, signature) = cosigned.signature.split_first_chunk().unwrap();
    let time = u64::from_be_bytes(*time);
    assert_eq!((time, signature.len()), (1_679_315_147, 64));
    assert_eq!(message(time, CHECKPOINT), format!("cosignature/v1\ntime 1679315147\n{CHECKPOINT}"));
}

#[test]
fn requests() {
    let text = format!("{REQUEST}{CHECKPOINT}\n{SIGNED}{SECOND}");
    let request = AddCheckpoint::parse(text.as_bytes()).unwrap();
    assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
    assert_eq!(request.unverified_origin().unwrap(), "example.com/behind-the-sofa");
    assert_eq!(request.to_string(), text);
}
