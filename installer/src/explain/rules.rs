//! How a rule is called: `property[index]=value`, as it stands in the file.

use portcullis_engine::config::{PROPERTIES, Properties};

const LOGOUT: &str = "com.sun.identity.agents.config.agent.logout.url";
const SSO_ONLY: &str = "com.sun.identity.agents.config.sso.only";
const FILTER_MODE: &str = "portcullis.filter.mode";

/// Settings of a file that decide, by name. The engine itself knows how its lists of rules are called.
pub(super) struct Rules {
    logout: Vec<String>,
    sso_only: Option<String>,
}

impl Rules {
    /// Of the lines that a configuration was read from.
    pub(super) fn of(files: &Properties) -> Rules {
        Rules {
            logout: written(files, LOGOUT),
            sso_only: written(files, FILTER_MODE)
                .into_iter()
                .chain(written(files, SSO_ONLY))
                .rfind(|line| !line.contains('[')),
        }
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

/// Every entry of a property.
fn written(files: &Properties, name: &str) -> Vec<String> {
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
        all.push(format!("{}{index}={}", line.name, line.value));
    }
    all
}

#[cfg(test)]
mod tests {
    use portcullis_engine::config::Source;

    use super::*;

    #[test]
    fn a_rule_is_called_as_it_is_written() {
        let text = "com.forgerock.agents.agent.logout.url[0]=http://a:80/out\n\
                    com.sun.identity.agents.config.agent.logout.url[] =\n";
        let rules = Rules::of(&Properties::parse(text, Source::File("agent.conf".into())));
        assert_eq!(
            rules.logout(0),
            "com.forgerock.agents.agent.logout.url[0]=http://a:80/out"
        );
        assert_eq!(rules.logout_rules().len(), 1);
    }
}
