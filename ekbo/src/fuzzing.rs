//! What the fuzzers in `fuzz/` call, by the names of their targets: a function each, which panics if
//! something does not hold that has to, whatever the input. It stands beside what it tests, which
//! nobody else can reach, and is compiled for fuzzers and tests only. Here the inputs in `fuzz/seeds`
//! run as ordinary tests.

pub use crate::upstream::fuzzing::upstream_answer;
#[cfg(feature = "zmq")]
pub use crate::zmtp::fuzzing::zmtp;

#[cfg(test)]
#[cfg(feature = "zmq")]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: &[(&str, Target)] = &[("upstream_answer", upstream_answer), ("zmtp", zmtp)];

    /// The names of what is in a directory under `fuzz/`.
    fn names(directory: &str) -> BTreeSet<String> {
        let stems = files(directory).into_iter().map(|path| {
            let stem = path.file_stem().expect("a name");
            stem.to_str().expect("a name in UTF-8").to_owned()
        });
        stems.collect()
    }

    fn files(directory: &str) -> Vec<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(directory);
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn every_target_is_run_and_has_seeds() {
        let here = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("fuzz_targets"), here);
        assert_eq!(names("seeds"), here);
    }

    #[test]
    fn seeds() {
        for (name, target) in TARGETS {
            let seeds = files(&format!("seeds/{name}"));
            assert!(!seeds.is_empty(), "{name} has no seeds");
            for seed in seeds {
                eprintln!("{}", seed.display());
                target(&fs::read(seed).unwrap());
            }
        }
    }
}
