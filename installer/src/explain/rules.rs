//! How a rule is called: `property[index]=value`, as it stands in the file.

use portcullis_engine::config::{PROPERTIES, Properties};

const NOT_ENFORCED: &str = "com.sun.identity.agents.config.notenforced.url";
const INVERT: &str = "com.sun.identity.agents.config.notenforced.url.invert";
const LOGOUT: &str = "com.sun.identity.agents.config.agent.logout.url";
const SSO_ONLY: &str = "com.sun.identity.agents.config.sso.only";

/// The rules of a file, by name.
pub(super) struct Rules {
    not_enforced: Vec<String>,
    invert: Option<String>,
    logout: Vec<String>,
    sso_only: Option<String>,
}

impl Rules {
    /// Of the lines that a configuration was read from.
    pub(super) fn of(files: &Properties) -> Rules {
        Rules {
            not_enforced: written(files, NOT_ENFORCED, true),
            invert: written(files, INVERT, false).pop(),
            logout: written(files, LOGOUT, false),
            sso_only: written(files, SSO_ONLY, false).pop(),
        }
    }

    /// A not-enforced rule by the engine's number; a number beyond the list means that the list is
    /// inverted and nothing in it matched.
    pub(super) fn not_enforced(&self, rule: u32) -> Option<String> {
        let by_number = self.not_enforced.get(rule as usize);
        by_number.or(self.invert.as_ref()).cloned()
    }

    pub(super) fn not_enforced_rules(&self) -> &[String] {
        &self.not_enforced
    }

    pub(super) fn logout(&self, rule: usize) -> String {
        self.logout.get(rule).cloned().unwrap_or_default()
    }

    pub(super) fn logout_rules(&self) -> &[String] {
        &self.logout
    }

    pub(super) fn sso_only(&self) -> Option<String> {
        self.sso_only.clone()
    }
}

/// Every entry of a property. A line of a not-enforced list may hold several patterns, each of which
/// is a rule.
fn written(files: &Properties, name: &str, several: bool) -> Vec<String> {
    let row = PROPERTIES.iter().find(|row| row.name == name);
    let lines = files.lines().iter();
    let lines = lines.filter(|l| row.is_some_and(|row| row.is_called(&l.name)));
    let mut all = vec![];
    for line in lines.filter(|l| !l.value.is_empty()) {
        let index = line
            .index
            .as_ref()
            .map(|i| format!("[{i}]"))
            .unwrap_or_default();
        let mut add = |value: &str| all.push(format!("{}{index}={value}", line.name));
        match several {
            true => line.value.split_whitespace().for_each(&mut add),
            false => add(&line.value),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use portcullis_engine::config::Source;

    use super::*;

    #[test]
    fn a_rule_is_called_as_it_is_written() {
        let text = "com.sun.identity.agents.config.notenforced.url[GET,1] = /a/*  /b\n\
                    com.forgerock.agents.agent.logout.url[0]=http://a:80/out\n\
                    com.sun.identity.agents.config.notenforced.url[] =\n";
        let rules = Rules::of(&Properties::parse(text, Source::File("agent.conf".into())));
        let name = "com.sun.identity.agents.config.notenforced.url[GET,1]";
        assert_eq!(
            rules.not_enforced_rules(),
            [format!("{name}=/a/*"), format!("{name}=/b")]
        );
        assert_eq!(
            rules.logout(0),
            "com.forgerock.agents.agent.logout.url[0]=http://a:80/out"
        );
        assert_eq!(rules.not_enforced(7), None);
    }
}
