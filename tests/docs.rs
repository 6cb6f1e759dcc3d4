//! What the operator's guide says is so: its configurations are loaded and used, its commands are typed.

// Scenarios are functions of their own: Clippy does not take them for tests.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use am_simulator::Dialect;
use portcullis_openam::seed::{Form, form_of};
use portcullis_tests::{
    both_servers,
    client::{Request, Response},
    guide::{self, Setup, Shell},
    modules,
    outage::stop_am,
    outcome::logs_in,
    second::{agentadmin, am_on_localhost, words},
    server::Kind,
    site::{AGENT, AmServer, HOST, Site, USER, USER_PASSWORD, site},
    stepping::{StepUp, ask_for_more, with_strong_pages},
    visitor::{Visitor, origin_of, path_of},
};
use serde_json::json;

/// The pages whose every block is tried here.
const PAGES: [&str; 13] = [
    "docs/README.md",
    "docs/am-versions.md",
    "docs/doctor.md",
    "docs/farm.md",
    "docs/login.md",
    "docs/post-data.md",
    "docs/quick-start.md",
    "docs/report-mode.md",
    "docs/security.md",
    "docs/selinux.md",
    "docs/sizing.md",
    "docs/troubleshooting.md",
    "docs/upgrade.md",
];
/// AM's own cookie.
const AM_COOKIE: &str = "iPlanetDirectoryPro";

fn named(name: &str) -> Setup {
    Setup::named(&PAGES, name)
}

/// A running site with this set-up.
fn started(kind: Kind, name: &str) -> Site {
    let mut site = named(name).prepare(kind);
    site.server.start();
    site
}

/// The site's other name.
fn on(host: &str, site: &Site, request: Request) -> Request {
    let port = site.server.address().port();
    request.header("Host", &format!("{host}.test.example.org:{port}"))
}

fn am_cookie(site: &Site) -> String {
    let token = site.am.client().login("/", USER, USER_PASSWORD);
    format!("{AM_COOKIE}={}", token.expect("login at AM"))
}

/// Names of all set-ups, with the place of their first block.
fn setups() -> Vec<(String, String)> {
    let all = PAGES.iter().flat_map(|page| guide::blocks(page));
    all.map(|block| (block.setup, block.place)).collect()
}

#[test]
fn every_block_of_the_guide_is_tried() {
    let tests = include_str!("docs.rs");
    for (setup, place) in setups() {
        let tried = tests.contains(&format!("\"{setup}\""));
        assert!(tried, "{place}: nothing tries {setup}");
    }
}

#[test]
fn every_property_of_the_guide_is_taken_as_it_stands() {
    modules::built();
    let needed = "com.sun.identity.agents.config.repository.location = local\n";
    let others = [
        (
            "com.sun.identity.agents.config.naming.url",
            "https://am.example.com:8443/openam",
        ),
        ("com.sun.identity.agents.config.username", "wa1"),
        (
            "com.sun.identity.agents.config.agenturi.prefix",
            "https://www.example.com:443/",
        ),
    ];
    let all = PAGES.iter().flat_map(|page| guide::blocks(page));
    for block in all.filter(|block| block.language == "properties") {
        let mut text = needed.to_owned() + &block.text;
        for (name, value) in others {
            if !text.contains(&format!("{name} = ")) {
                text += &format!("{name} = {value}\n");
            }
        }
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(text.as_bytes()).expect("file");
        let output = Command::new(modules::agentadmin())
            .args(["explain", "--conf"])
            .arg(file.path())
            .stdin(Stdio::null())
            .output()
            .expect("agentadmin");
        let said = words(&output);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            block.place
        );
    }
}

/// The pages in `docs/`, and what else links to them.
fn pages() -> Vec<PathBuf> {
    let docs = modules::root().join("docs");
    let entries = fs::read_dir(docs)
        .expect("docs")
        .flatten()
        .map(|e| e.path());
    let written = entries.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let roots = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    let roots = roots.iter().map(|name| modules::root().join(name));
    roots.chain(written).collect()
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        });
    kept.collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("page");
        let folder = page.parent().expect("folder");
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() {
                page.clone()
            } else {
                folder.join(file)
            };
            let there = fs::read_to_string(&to);
            let there = there.unwrap_or_else(|e| panic!("{}: {link}: {e}", page.display()));
            let found = place.is_empty()
                || there
                    .lines()
                    .any(|l| l.starts_with('#') && anchor(l) == place);
            assert!(found, "{}: {link}", page.display());
        }
    }
}

both_servers! {
    fn the_quick_start_leads_to_a_login(kind: Kind) {
        let (install, start, upgrade, server) = match kind {
            Kind::Httpd => ("install_httpd", "start_httpd", "upgrade_httpd", "apache"),
            Kind::Nginx => ("install_nginx", "start_nginx", "upgrade_nginx", "nginx"),
        };
        let am = AmServer::Simulated(Box::new(am_on_localhost()));
        let mut site = site(kind).am(am).unrecorded().prepare();
        // The machine as it was before anybody installed an agent.
        remove_the_harness_s(&site);
        let bare = fs::read(site.server.conf()).expect("configuration");
        let mut shell = Shell::bare(&mut site);
        shell.types(&named("install"));
        let password = fs::read_to_string(shell.file("wa1.password")).expect("password");
        assert_eq!(password.trim().len(), 32);
        let known = json!({ "userpassword": [password.trim()] });
        shell.site().am.admin().update_agent("/", AGENT, &known).expect("AM's administrator");
        shell.types(&named(install));
        shell.types(&named("installed"));
        let installed = fs::read(shell.site().server.conf()).expect("configuration");
        guide::add_to_host(shell.site(), &named("switched_off").lines(server));
        shell.types(&named(start));
        shell.types(&named("first_request"));
        assert_eq!(shell.site().get("/off/a.html").status, 200);
        let mut visitor = shell.site().visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let cookies = visitor.cookie_header();
        let refused = shell.site().visitor().log_in("/secret/a.html");
        assert_eq!(refused.status, 403, "{refused:?}");
        shell.waits_for("PCL0300");
        shell.types(&named("log"));
        shell.types(&named(upgrade));
        let known = Request::get("/docs/a.html").header("Cookie", &cookies);
        assert_eq!(shell.site().send(&known).status, 200, "logins survive an upgrade");
        fs::write(shell.site().server.conf(), installed).expect("configuration");
        shell.types(&named("remove"));
        assert_eq!(fs::read(shell.site().server.conf()).expect("configuration"), bare);
        site.stop();
    }

    fn a_login_works_in_any_domain(kind: Kind) {
        let site = started(kind, "cross_domain");
        let redirect = site.get("/app/page");
        let to = format!("{}/oauth2/authorize?", site.am.url());
        assert!(redirect.location().starts_with(&to), "{redirect:?}");
        assert!(redirect.all("set-cookie").all(|c| c.starts_with("agent-authn-tx")), "{redirect:?}");
        let mut visitor = site.visitor();
        let redirect = visitor.get("/app/page");
        let form = visitor.form(&redirect);
        assert_eq!(path_of(&form.action), "/agent/cdsso-oauth2");
        assert!(logs_in(&visitor.post(&form)));
        assert_eq!(visitor.get("/app/page").status, 200);
        site.stop();
    }

    fn ams_own_cookie_serves_a_domain(kind: Kind) {
        let site = started(kind, "both_cookies");
        let request = Request::get("/app/page").header("Cookie", &am_cookie(&site));
        assert_eq!(site.send(&request).status, 200);
        assert_eq!(site.visitor().log_in("/app/page").status, 200);
        site.stop();
        let site = started(kind, "same_domain");
        let to = format!("{}/UI/Login?", site.am.url());
        let redirect = site.get("/app/page");
        assert!(redirect.status == 302 && redirect.location().starts_with(&to), "{redirect:?}");
        assert!(redirect.location().contains("goto="), "{redirect:?}");
        let request = Request::get("/app/page").header("Cookie", &am_cookie(&site));
        assert_eq!(site.send(&request).status, 200);
        site.stop();
    }

    fn one_agent_serves_several_hosts(kind: Kind) {
        let site = several(kind, "several_hosts");
        let mut shop = site.visitor();
        let cookie = logs_in_at_shop(&site, &mut shop);
        assert!(!cookie.to_lowercase().contains("domain="), "{cookie}");
        let here = Request::get("/docs/a.html").header("Cookie", &shop.cookie_header());
        assert_eq!(site.send(&here).status, 302, "each host has its own");
        // Under another name users are led to the first.
        let other = site.send(&on("other", &site, Request::get("/docs/a.html")));
        assert_eq!((other.status, other.location()), (302, format!("{}/docs/a.html", site.url()).as_str()));
        site.stop();
        let site = several(kind, "shared_cookie");
        let mut shop = site.visitor();
        let cookie = logs_in_at_shop(&site, &mut shop);
        assert!(cookie.to_lowercase().contains("domain="), "{cookie}");
        assert_eq!(shop.get("/docs/a.html").status, 200, "the domain's hosts share it");
        site.stop();
    }

    fn a_step_up_needs_no_configuration(kind: Kind) {
        for redirect in [false, true] {
            let site = match redirect {
                true => {
                    let mut site = named("step_up").prepare_on(with_strong_pages(site(kind)));
                    site.server.start();
                    site
                }
                false => with_strong_pages(site(kind)).start(),
            };
            ask_for_more(&site);
            let mut visitor = site.visitor();
            assert_eq!(visitor.log_in("/app/page").status, 200);
            let denied = visitor.get("/strong/page");
            assert_eq!(denied.status, if redirect { 302 } else { 200 }, "{denied:?}");
            let asked = StepUp::of(&site, &denied).expect("a step-up");
            let am = site.am.client();
            let token = am.step_up(&visitor.am_token(), &asked.advices, USER, USER_PASSWORD).expect("login");
            visitor.use_am_token(&token);
            let form = am.authorize(&token, &asked.goto).expect("AM's form");
            assert_eq!(visitor.post(&form).status, 302);
            assert_eq!(visitor.get("/strong/page").status, 200);
            site.stop();
        }
    }

    fn programs_get_what_they_can_use(kind: Kind) {
        let setup = named("programs");
        let mut site = setup.prepare(kind);
        site.server.start();
        Shell::at(&mut site).types(&setup);
        let preflight = Request::new("OPTIONS", "/api/orders")
            .header("Origin", "https://spa.test.example.org")
            .header("Access-Control-Request-Method", "PUT");
        assert_eq!(site.send(&preflight).status, 200);
        let cookie = am_cookie(&site);
        let token = cookie.split_once('=').expect("a token").1;
        let request = Request::get("/api/orders").header("X-Session-Token", token);
        assert_eq!(site.send(&request).status, 200);
        let answer = site.send(&Request::new("POST", "/agent/exchange").header("Cookie", &cookie));
        assert!(answer.status == 204 && logs_in(&answer), "{answer:?}");
        assert_eq!(site.visitor().log_in("/app/page").status, 200);
        site.stop();
    }

    fn users_come_back_through_a_load_balancer(kind: Kind) {
        for setup in ["behind_balancer", "forwarded"] {
            let mut site = named(setup).seen_from_outside().prepare(kind);
            known_outside(&site);
            site.server.start();
            let balanced = |request: Request| request
                .header("Host", "www.test.example.org")
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-For", "203.0.113.9");
            let mut visitor = site.visitor();
            let redirect = visitor.send(balanced(Request::get("/app/page")));
            let callback = "redirect_uri=https%3A%2F%2Fwww.test.example.org%3A443%2F";
            assert!(redirect.location().contains(callback), "{setup}: {redirect:?}");
            assert!(redirect.all("set-cookie").all(|c| c.contains("Secure")), "{setup}: {redirect:?}");
            let form = visitor.form(&redirect);
            let origin = origin_of(&site.am.url());
            let posting = visitor.posting(&form, Some(&origin));
            let back = visitor.send(balanced(posting));
            assert_eq!(back.status, 302, "{setup}: {back:?}");
            let page = visitor.send(balanced(Request::get("/app/page")));
            assert_eq!(page.status, 200, "{setup}: {page:?}");
            site.stop();
        }
    }

    fn am_may_be_behind_the_same_server(kind: Kind) {
        let mut site = named("am_behind").am_named(HOST).prepare(kind);
        site.server.start();
        let info = site.get("/openam/json/serverinfo/*");
        assert_eq!(info.status, 200, "AM without a login: {info:?}");
        let mut visitor = site.visitor();
        let redirect = visitor.get("/app/page");
        let to = format!("{}/openam/oauth2/authorize?", site.url());
        assert!(redirect.location().starts_with(&to), "{redirect:?}");
        let form = through_the_site(&site, redirect.location());
        let posting = visitor.posting(&form, Some(&site.url()));
        let back = visitor.send(posting);
        assert!(back.status == 302 && logs_in(&back), "{back:?}");
        assert_eq!(visitor.get("/app/page").status, 200);
        site.stop();
    }

    fn trouble_is_found_as_the_guide_says(kind: Kind) {
        let mut site = named("more_lines").prepare(kind);
        guide::set(&site, "portcullis.monitor.enable = true");
        Shell::at(&mut site).types(&named("doctor_worker"));
        site.server.start();
        let mut visitor = site.visitor();
        let refused = visitor.log_in("/secret/a.html");
        let cookies = visitor.cookie_header();
        go_round(&mut site.visitor());
        for text in ["PCL05", "PCL0600", "agent.conf", "configuration"] {
            site.server.expect(text);
        }
        let mut shell = Shell::at(&mut site);
        shell.types(&named(match kind {
            Kind::Httpd => "size_httpd",
            Kind::Nginx => "size_nginx",
        }));
        shell.waits_for("PCL0312");
        shell.has_read(&refused.text());
        shell.keeps("demo.password", USER_PASSWORD);
        for setup in ["incident", "circles", "ask", "ask_am", "health", "doctor"] {
            shell.types(&named(setup));
        }
        stop_am(shell.site());
        assert_eq!(shell.site().send(&unknown(&cookies)).status, 503);
        shell.waits_for("PCL0515");
        shell.types(&named("unavailable"));
        shell.types(&named("doctor_finds"));
        guide::set(shell.site(), "com.sun.identity.agents.config.sso.only = perhaps");
        shell.types(&named(match kind {
            Kind::Httpd => "no_start_httpd",
            Kind::Nginx => "no_start_nginx",
        }));
        site.stop();
    }

    fn what_was_typed_is_kept(kind: Kind) {
        for setup in ["lost_post", "sticky_post"] {
            let builder = site(kind).host(
                "ProxyPass /post http://@BACKEND@/post\n",
                "location /post { proxy_pass http://@BACKEND@; }\n",
            );
            let mut site = named(setup).prepare_on(builder);
            let pages = format!("{}/post/*", site.url());
            let allow = json!({ "actionValues": { "GET": true, "POST": true } });
            site.am.admin().create_policy("/", "post", &[&pages], &allow).expect("policy");
            site.server.start();
            let mut visitor = site.visitor();
            let post = Request::new("POST", "/post/form")
                .header("Origin", &site.url())
                .header("Sec-Fetch-Mode", "navigate")
                .body("application/x-www-form-urlencoded", "a=1");
            let redirect = visitor.send(post);
            let mark = visitor.cookies.get("lb").map(String::as_str);
            assert_eq!(mark, (setup == "sticky_post").then_some("node1"));
            let form = visitor.form(&redirect);
            let back = visitor.post(&form);
            assert_eq!(visitor.get(&path_of(back.location())).status, 200);
            let arrived = site.backend.requests();
            assert!(arrived.iter().any(|r| r == "POST /post/form"), "{arrived:?}");
            site.stop();
        }
    }

    fn what_is_known_is_served_while_am_is_down(kind: Kind) {
        let mut site = started(kind, "grace");
        site.server.expect("PCL05");
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/app/page").status, 200);
        let cookies = visitor.cookie_header();
        stop_am(&mut site);
        assert_eq!(site.send(&unknown(&cookies)).status, 503);
        site.wait_for_line("PCL0515");
        let known = Request::get("/app/page").header("Cookie", &cookies);
        assert_eq!(site.send(&known).status, 200);
        site.stop();
    }

    fn nodes_of_a_farm_share_logins(kind: Kind) {
        let setup = named("farm").seen_from_outside();
        let mut first = setup.prepare(kind);
        known_outside(&first);
        first.server.start();
        let mut second = named("farm").seen_from_outside().prepare(kind);
        let mut shell = Shell::at(&mut second);
        fs::create_dir(shell.file("node1")).expect("folder");
        for name in ["agent-key.conf", "agent-password.conf"] {
            let from = first.instance.join("config").join(name);
            fs::copy(from, shell.file("node1").join(name)).expect("copy");
        }
        shell.types(&named("farm"));
        let am = format!("com.sun.identity.agents.config.naming.url = {}", first.am.url());
        guide::set(&second, &am);
        second.server.start();
        let balanced = |request: Request| request.header("Host", "www.test.example.org");
        let mut visitor = first.visitor();
        let redirect = visitor.send(balanced(Request::get("/app/page")));
        let form = visitor.form(&redirect);
        let posting = visitor.posting(&form, Some(&origin_of(&first.am.url())));
        let cookies = visitor.cookie_header();
        let back = second.send(&balanced(posting).header("Cookie", &cookies));
        assert!(back.status == 302 && logs_in(&back), "{back:?}");
        visitor.take(&back);
        for node in [&first, &second] {
            let page = balanced(Request::get("/app/page")).header("Cookie", &visitor.cookie_header());
            assert_eq!(node.send(&page).status, 200);
        }
        second.stop();
        first.stop();
    }

    fn security_settings_are_those_of_a_working_site(kind: Kind) {
        let setup = named("state_dir");
        let mut site = setup.prepare(kind);
        Shell::at(&mut site).types(&setup);
        Shell::at(&mut site).types(&named("owners"));
        site.server.start();
        assert_eq!(site.visitor().log_in("/app/page").status, 200);
        assert!(fs::read_dir(site.instance.join("state")).expect("folder").count() > 0);
        site.stop();
        for setup in ["tls", "cut"] {
            let site = started(kind, setup);
            assert_eq!(site.visitor().log_in("/app/page").status, 200, "{setup}");
            site.stop();
        }
    }

    fn decisions_are_watched_before_they_count(kind: Kind) {
        let site = started(kind, "report");
        assert_eq!(site.get("/secret/a.html").status, 200);
        site.wait_for_line("PCL0240");
        site.wait_for_line("PCL0420");
        assert_eq!(site.get("/app/admin/x").status, 302, "enforced already");
        site.stop();
        let site = started(kind, "shadow");
        assert_eq!(site.visitor().log_in("/app/page").status, 200);
        site.wait_for_line("PCL0431");
        site.stop();
    }

    fn pingam_is_spoken_to_as_the_guide_says(kind: Kind) {
        let mut site = named("pingam").speaking(Dialect::PingAm).prepare(kind);
        site.server.start();
        assert_eq!(site.visitor().log_in("/app/page").status, 200);
        site.stop();
    }
}

/// A page that nobody has asked for yet: AM has to be asked about it.
fn unknown(cookies: &str) -> Request {
    Request::get("/app/unknown").header("Cookie", cookies)
}

/// A browser that does not keep the session cookie, until the agent ends it.
fn go_round(visitor: &mut Visitor<'_>) {
    for _ in 0..10 {
        let answer = visitor.get("/app/page");
        if answer.status == 403 {
            return;
        }
        let form = visitor.form(&answer);
        assert_eq!(visitor.post(&form).status, 302);
        visitor.cookies.remove("am-auth-jwt");
    }
    panic!("it goes round and round");
}

/// Removes the agent that the harness has installed.
fn remove_the_harness_s(site: &Site) {
    let mut remove = agentadmin(site, &["--r", "agent_1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("agentadmin");
    let mut input = remove.stdin.take().expect("input");
    input.write_all(b"yes\n").expect("answer");
    drop(input);
    let output = remove.wait_with_output().expect("agentadmin");
    assert!(output.status.success(), "{}", words(&output));
}

/// A site whose other host AM knows as well.
fn several(kind: Kind, setup: &str) -> Site {
    let mut site = named(setup).prepare(kind);
    let urls = ["www", "shop"].map(|host| site.url().replace("www.", &format!("{host}.")));
    let roots: Vec<String> = urls
        .iter()
        .map(|url| format!("agentRootURL={url}/"))
        .collect();
    let roots = json!({ "sunIdentityServerDeviceKeyValue": roots });
    let admin = site.am.admin();
    admin.update_agent("/", AGENT, &roots).expect("root URLs");
    let pages = format!("{}/docs/*", urls[1]);
    let allow = json!({ "actionValues": { "GET": true } });
    admin
        .create_policy("/", "shop", &[&pages], &allow)
        .expect("policy");
    site.server.start();
    site
}

/// Logs in under the second name; what became the session cookie.
fn logs_in_at_shop(site: &Site, visitor: &mut Visitor<'_>) -> String {
    let redirect = visitor.send(on("shop", site, Request::get("/docs/a.html")));
    assert!(
        redirect.location().contains("shop.test.example.org"),
        "{redirect:?}"
    );
    let form = visitor.form(&redirect);
    let posting = visitor.posting(&form, Some(&origin_of(&site.am.url())));
    let back: Response = visitor.send(on("shop", site, posting));
    let cookie = back
        .all("set-cookie")
        .find(|c| c.starts_with("am-auth-jwt="));
    let cookie = cookie.unwrap_or_else(|| panic!("{back:?}")).to_owned();
    let page = visitor.send(on("shop", site, Request::get("/docs/a.html")));
    assert_eq!(page.status, 200, "{page:?}");
    cookie
}

/// Lets AM know the site under the URL that browsers use, and its pages there.
fn known_outside(site: &Site) {
    const OUTSIDE: &str = "https://www.test.example.org:443";
    let admin = site.am.admin();
    let roots = json!({ "sunIdentityServerDeviceKeyValue": [format!("agentRootURL={OUTSIDE}/")] });
    admin.update_agent("/", AGENT, &roots).expect("root URLs");
    let pages = format!("{OUTSIDE}/app/*");
    let allow = json!({ "actionValues": { "GET": true } });
    admin
        .create_policy("/", "outside", &[&pages], &allow)
        .expect("policy");
}

/// AM's form for a logged-in user, asked for where the browser is sent: at the site itself.
fn through_the_site(site: &Site, address: &str) -> Form {
    let request = Request::get(&path_of(address)).header("Cookie", &am_cookie(site));
    let answer = site.send(&request);
    form_of(&answer.text()).unwrap_or_else(|| panic!("{answer:?}"))
}
