//! How many tests passed and failed, read from what the test programs print.

/// The sum over all test programs so far.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Tests that failed, with the program they are in.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Reads one line of the output of the test program `program`; whether it was the closing one.
    pub(crate) fn read(&mut self, program: &str, line: &str) -> bool {
        if let Some(counts) = line.trim_start().strip_prefix("test result:") {
            self.passed += number_before(counts, "passed");
            self.failed += number_before(counts, "failed");
            self.ignored += number_before(counts, "ignored");
            return true;
        }
        if let Some(test) = line.strip_prefix("test ")
            && line.contains("FAILED")
            && let Some((name, _)) = test.split_once(" ... ")
        {
            self.failures.push(format!("{program}: {name}"));
        }
        false
    }

    /// Adds what another counted.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
    }

    /// One more that passed.
    pub(crate) fn passed(&mut self) {
        self.passed += 1;
    }

    /// One more that failed; also a test program that ended badly without its closing line.
    pub(crate) fn broke(&mut self, program: &str, how: &str) {
        self.failed += 1;
        self.failures.push(format!("{program}: {how}"));
    }

    /// The closing line of the whole run.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.ignored > 0 {
            line += &format!(", {} skipped", self.ignored);
        }
        line
    }
}

/// The number right before `word` in `ok. 3 passed; 0 failed; …`.
fn number_before(counts: &str, word: &str) -> u64 {
    let mut last = 0;
    for part in counts.split([' ', ';']).filter(|p| !p.is_empty()) {
        if part == word {
            return last;
        }
        last = part.parse().unwrap_or(0);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn sums_results_and_names_failures() {
        let mut tally = Tally::default();
        assert!(tally.read("a", "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s"));
        assert!(!tally.read("b", "test x::y ... FAILED"));
        assert!(!tally.read("b", "test x::z ... ok"));
        assert!(tally.read(
            "b",
            "test result: \u{1b}[31mFAILED\u{1b}(B. 10 passed; 1 failed; 0 ignored; 0 measured"
        ));
        let mut other = Tally::default();
        other.broke("c", "signal 11");
        other.passed();
        tally.add(other);
        assert_eq!(tally.line(), "14 passed, 2 failed, 1 skipped");
        assert_eq!(tally.failures, ["b: x::y", "c: signal 11"]);
    }
}
