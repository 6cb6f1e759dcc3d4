//! Who looks at the agent's numbers, and are they in the form that a scraper reads?

use std::{collections::BTreeMap, fs};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    client::{Request, Response},
    second::{agentadmin, words},
    site::Site,
};

/// The password of the tests' scraper.
pub const PASSWORD: &str = "5c1d2f60a9-scrapes";

/// Switches the pages on, for the machine's own addresses and [`PASSWORD`]; before the site starts.
///
/// # Panics
/// When the password can't be encrypted or written.
pub fn switch_on(site: &Site) {
    site.append("portcullis.monitor.enable = true");
    let config = site.instance.join("config");
    let plain = config.join("plain");
    fs::write(&plain, format!("{PASSWORD}\n")).expect("password");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&plain, private).expect("mode");
    let mut encrypt = agentadmin(site, &["--p"]);
    encrypt.arg(config.join("agent-key.conf")).arg(&plain);
    let said = words(&encrypt.output().expect("agentadmin"));
    let value = said.lines().find_map(|line| line.split_once(" value: "));
    let value = value.unwrap_or_else(|| panic!("{said}")).1;
    let path = config.join("agent-password.conf");
    let text = fs::read_to_string(&path).expect("agent-password.conf");
    fs::write(
        &path,
        format!("{text}portcullis.monitor.password = {value}\n"),
    )
    .expect("password");
}

/// Asks for a page with these credentials.
pub fn ask(site: &Site, page: &str, credentials: &str) -> Response {
    let basic = format!("Basic {}", STANDARD.encode(credentials));
    site.send(&Request::get(page).header("Authorization", &basic))
}

/// Asks for a page as one who may.
pub fn look(site: &Site, page: &str) -> Response {
    ask(site, page, &format!("monitor:{PASSWORD}"))
}

/// Samples by name and labels, as written.
pub struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// One sample; 0 where there is none, as counters begin.
    #[must_use]
    pub fn of(&self, sample: &str) -> f64 {
        self.0.get(sample).copied().unwrap_or_default()
    }

    /// The sum of all samples that begin so.
    #[must_use]
    pub fn all(&self, begin: &str) -> f64 {
        let samples = self.0.iter().filter(|(name, _)| name.starts_with(begin));
        samples.map(|(_, value)| value).sum()
    }

    /// Whether there is such a sample.
    #[must_use]
    pub fn has(&self, sample: &str) -> bool {
        self.0.contains_key(sample)
    }
}

/// The numbers of a site.
///
/// # Panics
/// When they are not shown, or not in the format.
#[must_use]
pub fn scrape(site: &Site) -> Samples {
    let page = look(site, "/agent/metrics");
    assert_eq!(page.status, 200, "{}", page.text());
    let kind = page.header("content-type").expect("a content type");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    parse(&page.text()).unwrap_or_else(|why| panic!("{why}\n{}", page.text()))
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads the text format of Prometheus 0.0.4, strictly: every family once, with its type before its
/// samples and all of them together; every sample once; histograms whole and rising.
///
/// # Errors
/// The first line that is wrong, and why.
pub fn parse(text: &str) -> Result<Samples, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let (mut samples, mut family) = (BTreeMap::new(), String::new());
    let mut histogram: Option<(String, f64, f64)> = None;
    for line in text.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line:?}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            if !rest
                .split_once(' ')
                .is_some_and(|(name, help)| is_name(name) && !help.is_empty())
            {
                return wrong("no help");
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else {
                return wrong("no type");
            };
            if !is_name(name) || !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("no type");
            }
            if families.insert(name.to_owned(), kind.to_owned()).is_some() {
                return wrong("a family twice");
            }
            name.clone_into(&mut family);
            continue;
        }
        let Some((sample, value)) = line.rsplit_once(' ') else {
            return wrong("no value");
        };
        let Ok(value) = value.parse::<f64>() else {
            return wrong("the value is no number");
        };
        let (name, labels) = match sample.split_once('{') {
            None => (sample, Vec::new()),
            Some((name, labels)) => (
                name,
                self::labels(labels).ok_or(format!("labels: {line:?}"))?,
            ),
        };
        let endings: &[&str] = match families.get(&family).map(String::as_str) {
            Some("histogram") => &["_bucket", "_sum", "_count"],
            Some("counter") => &["", "_total"],
            Some(_) => &[""],
            None => return wrong("a sample without a type"),
        };
        let ending = name
            .strip_prefix(&family)
            .filter(|end| endings.contains(end));
        let Some(ending) = ending.filter(|_| is_name(name) && value >= 0.0) else {
            return wrong("a sample out of its family");
        };
        if samples.insert(sample.to_owned(), value).is_some() {
            return wrong("a sample twice");
        }
        match (ending, labels.iter().find(|(label, _)| label == "le")) {
            ("_bucket", Some((_, end))) => {
                let Ok(end) = end.parse::<f64>() else {
                    return wrong("le is no number");
                };
                let others = others(&labels);
                if let Some((of, before, count)) = &histogram
                    && (*of != others || end <= *before || value < *count)
                {
                    return wrong("buckets do not rise");
                }
                histogram = Some((others, end, value));
            }
            ("_bucket", None) => return wrong("a bucket without its end"),
            ("_count", _) => match histogram.take() {
                Some((of, end, count))
                    if of == others(&labels) && end.is_infinite() && count == value => {}
                _ => return wrong("a histogram that is not whole"),
            },
            ("_sum", _) => {}
            _ if histogram.is_some() => return wrong("a histogram without its count"),
            _ => {}
        }
    }
    Ok(Samples(samples))
}

/// All labels but the end of a bucket.
fn others(labels: &[(String, String)]) -> String {
    let others = labels.iter().filter(|(label, _)| label != "le");
    others
        .map(|(label, value)| format!("{label}={value},"))
        .collect()
}

/// Labels up to and with the closing brace. Their values hold nothing that would have to be escaped.
fn labels(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.strip_suffix('}')?.split(',');
    let pair = |pair: &str| {
        let (label, value) = pair.split_once('=')?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        let plain = !value.is_empty() && !value.contains(['"', '\\', '\n']);
        (is_name(label) && plain).then(|| (label.to_owned(), value.to_owned()))
    };
    pairs.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_format_is_refused() {
        let good = "# HELP a_total Some.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\
                    # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
        assert!(parse(good).is_ok());
        for (old, new) in [
            ("# TYPE a_total counter\n", ""),
            ("{b=\"c\"}", "{b=c}"),
            ("h_count 2", "h_count 3"),
            ("h_bucket{le=\"+Inf\"} 2\n", ""),
            ("h_bucket{le=\"+Inf\"} 2", "h_bucket{le=\"+Inf\"} 0"),
            (
                "a_total{b=\"c\"} 1\n",
                "a_total{b=\"c\"} 1\na_total{b=\"c\"} 1\n",
            ),
            ("a_total{b=\"c\"} 1", "a_total{b=\"c\"} x"),
            ("h_count 2\n", "h_count 2"),
        ] {
            assert!(parse(&good.replace(old, new)).is_err(), "{new:?}");
        }
    }
}
