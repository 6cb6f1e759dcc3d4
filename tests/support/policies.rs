//! What tests with several policy sets need: more of them.

use serde_json::json;

use crate::site::Site;

/// Resource types of URLs in the root realm and in others.
const URL_TYPES: [&str; 2] = ["76656a38-5f8e-401b-83aa-4ccb74ce88d2", "UrlResourceType"];

/// Makes a policy set with one policy: this method, everywhere below `/app`.
///
/// # Panics
/// When AM refuses it.
pub fn policy_set(site: &Site, realm: &str, name: &str, method: &str) {
    let kind = URL_TYPES[usize::from(realm != "/")];
    let set = json!({ "name": name, "resourceTypeUuids": [kind] });
    let am = site.am.simulator();
    am.create_policy_set(realm, &set).expect("policy set");
    let members = json!({
        "applicationName": name, "resourceTypeUuid": kind, "actionValues": { method: true },
    });
    let pattern = format!("{}/app/*", site.url());
    let admin = site.am.admin();
    admin
        .create_policy(realm, name, &[&pattern], &members)
        .expect("policy");
}
