//! What tests of a step-up need: a page that asks for a level, a way in that gives it, and what AM's login
//! page does with the agent's advices.

use portcullis_openam::{
    http::fields,
    seed::{Form, form_of},
};
use serde_json::json;

use crate::{
    client::Response,
    contract::world::STRONG_MODULE,
    site::{AmServer, Builder, Site},
};

/// Name of the simulator's module.
const MODULE: &str = "Strong";

/// Has the site's server pass `/strong` on to the application: no policy of every site covers it.
#[must_use]
pub fn with_strong_pages(builder: Builder) -> Builder {
    builder.host(
        "ProxyPass /strong http://@BACKEND@/strong\n",
        "location /strong { proxy_pass http://@BACKEND@; }\n",
    )
}

/// Gives AM a way in at level 2, and the pages below `/strong` a policy that asks for it.
///
/// # Panics
/// When AM refuses it.
pub fn ask_for_more(site: &Site) {
    let admin = site.am.admin();
    match &site.am {
        AmServer::Simulated(am) => am.add_module("/", MODULE, 2).expect("module"),
        // Others use that AM as well: of two ways in its login page would have the user choose.
        AmServer::Real(_) => admin
            .create_module(STRONG_MODULE.0, STRONG_MODULE.1)
            .expect("module"),
    }
    let members = json!({ "actionValues": { "GET": true, "POST": true }, "condition": { "type": "AuthLevel", "authLevel": 2 } });
    let name = policy(site);
    let _ = admin.delete_policy("/", &name);
    let patterns = ["*", "*?*"].map(|end| format!("{}/strong/{end}", site.url()));
    let patterns = patterns.each_ref().map(String::as_str);
    admin
        .create_policy("/", &name, &patterns, &members)
        .expect("policy");
}

/// Takes the policy of [`ask_for_more`] out of a server that others use, too.
pub fn ask_for_no_more(site: &Site) {
    let _ = site.am.admin().delete_policy("/", &policy(site));
}

fn policy(site: &Site) -> String {
    format!("strong-{}", site.agent)
}

/// What the agent sends to AM's login page for a step-up.
pub struct StepUp {
    /// The address that the login page leads to.
    pub goto: String,
    /// The advices.
    pub advices: String,
}

impl StepUp {
    /// Follows the agent's answer, a redirect or a form, to AM's login page, which is a program that reads
    /// its own address; `None` for another answer.
    ///
    /// # Panics
    /// When AM says something else than where its page is.
    pub fn of(site: &Site, answer: &Response) -> Option<StepUp> {
        let am = site.am.client();
        let request = match (answer.status, form_of(&answer.text())) {
            (302, _) => am.client().get(&path_below(site, answer.location())),
            (200, Some(Form { action, fields })) => {
                let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (&**n, &**v)).collect();
                am.client().post(&path_below(site, &action)).form(&fields)
            }
            _ => return None,
        };
        let page = request.send().expect("AM's answer");
        assert_eq!(page.status, 302, "{page:?}");
        let address = page.header("location").expect("where the page is");
        assert!(address.contains("/XUI"), "{address}");
        let query = address.split(['?', '#']).nth(1).unwrap_or_default();
        let fields = fields(query);
        let value = |name: &str| {
            let found = fields.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(
            value("authIndexType").as_deref(),
            Some("composite_advice"),
            "{address}"
        );
        Some(StepUp {
            goto: value("goto").expect("goto"),
            advices: value("authIndexValue").expect("advices"),
        })
    }
}

fn path_below(site: &Site, url: &str) -> String {
    let am = site.am.client();
    let below = url
        .strip_prefix(am.url())
        .unwrap_or_else(|| panic!("not AM's: {url}"));
    am.target(below)
}
