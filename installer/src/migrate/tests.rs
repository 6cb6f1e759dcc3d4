use super::*;

const HTTPD: &str = r#"
LoadModule auth_openidc_module modules/mod_auth_openidc.so
<VirtualHost *:443>
  ServerName www.example.com
  OIDCProviderMetadataURL https://am.example.com/openam/oauth2/realms/root/realms/staff/.well-known/openid-configuration
  OIDCClientID intranet
  OIDCClientSecret "s3cret of the client"
  OIDCRedirectURI https://www.example.com/protected/redirect_uri
  OIDCCryptoPassphrase s3cret-passphrase
  OIDCScope "openid email profile"
  OIDCRemoteUserClaim email
  OIDCCookieDomain example.com
  OIDCCookieSameSite On
  OIDCOutgoingProxy proxy.example.com:3128
  OIDCSessionMaxDuration 28800
  OIDCSSLValidateServer Off
  OIDCFancyNewThing On
  <Location "/app">
    AuthType openid-connect
    Require valid-user
  </Location>
  <Location /admin>
    AuthType openid-connect
    OIDCUnAuthAction 401
    Require claim:groups:admins \
            claim:email:root@example.com
  </Location>
  <LocationMatch "^/(a|b)/">
    AuthType openid-connect
    Require valid-user
  </LocationMatch>
  <Location /assets>
    Require all granted
  </Location>
</VirtualHost>
"#;

fn httpd(text: &str) -> Migration {
    let (mut found, mut all) = (Migration::default(), mod_auth_openidc::Reader::default());
    all.file(&mut found, "www.conf", text);
    all.finish(&mut found);
    found
}

fn proxy(cfg: &str, nginx: &str) -> Migration {
    let mut found = Migration::default();
    oauth2_proxy::file(&mut found, "oauth2-proxy.cfg", cfg).unwrap();
    super::nginx::file(&mut found, "nginx.conf", nginx);
    found
}

fn hand(found: &Migration, words: &str) -> bool {
    let mut all = found.by_hand.iter();
    all.any(|(at, what)| format!("{}:{} {} {what}", at.file, at.line, at.name).contains(words))
}

fn typed(found: &Migration) -> config::Config {
    let files = Properties::parse(&found.agent_conf(), Source::File("agent.conf".into()));
    config::read(&files, None).0
}

#[test]
fn a_site_of_mod_auth_openidc_is_taken_over() {
    let found = httpd(HTTPD);
    for (property, value) in [
        (NAMING, "https://am.example.com/openam/"),
        (REALM, "/staff"),
        (PREFIX, "https://www.example.com:443/amagent"),
        (FQDN, "www.example.com"),
        (
            "sunIdentityServerDeviceKeyValue[0]",
            "agentRootURL=https://www.example.com:443/",
        ),
        (
            "com.sun.identity.agents.config.cdsso.cookie.domain[0]",
            "example.com",
        ),
        (SAME_SITE, "Lax"),
        ("com.sun.identity.agents.config.forward.proxy.port", "3128"),
        ("com.sun.identity.agents.config.userid.param", "mail"),
        (
            "com.sun.identity.agents.config.profile.attribute.mapping[mail]",
            "OIDC_CLAIM_email",
        ),
        (
            "com.sun.identity.agents.config.profile.attribute.mapping[cn]",
            "OIDC_CLAIM_name",
        ),
        ("portcullis.filter.mode[/app]", "SSO_ONLY"),
        ("portcullis.filter.mode[/admin]", "URL_POLICY"),
    ] {
        assert_eq!(found.value(property), Some(value), "{property}");
    }
    for words in [
        "www.conf:16 OIDCSSLValidateServer not taken over",
        "www.conf:17 OIDCFancyNewThing not known",
        "Require claim:groups:admins claim:email:root@example.com: make a policy",
        "www.conf:24 OIDCUnAuthAction the agent answers 401",
        "www.conf:28 <LocationMatch ^/(a|b)/>",
        "set portcullis.filter.mode[/assets] = NONE",
        "set portcullis.filter.mode[/] = NONE",
    ] {
        assert!(hand(&found, words), "{words}\n{}", found.report());
    }
    let conf = typed(&found);
    assert_eq!(conf.naming_url, ["https://am.example.com/openam/"]);
    assert_eq!(conf.organization_name, "/staff");
    let (report, conf) = (found.report(), found.agent_conf());
    assert!(
        !report.contains("s3cret") && !conf.contains("s3cret"),
        "{report}"
    );
    // What nobody can know stays a word that the agent refuses.
    assert!(conf.contains(&format!("{AGENT_NAME} = AM_AGENT_NAME\n")));
    assert!(
        report.contains("What the agent says of the file as it is\n  agent.conf line"),
        "{report}"
    );
}

#[test]
fn another_provider_and_unclear_values_are_named_and_not_set() {
    let found = httpd(
        "OIDCProviderMetadataURL https://login.example.net/.well-known/openid-configuration\n\
         OIDCRedirectURI /callback\nOIDCCookieDomain ${DOMAIN}\nOIDCClientSecret ${SECRET}\n\
         OIDCProviderIssuer https://am.example.com/am/oauth2\nOIDCProviderIssuer https://am2.example.com/am/oauth2\n\
         Include more.conf\n<Directory /srv/www>\nAuthType openid-connect\nRequire valid-user\n</Directory>\n",
    );
    assert_eq!(found.value(NAMING), Some("https://am.example.com/am/"));
    assert_eq!((found.value(PREFIX), found.value(SSO_ONLY)), (None, None));
    for words in [
        "www.conf:1 OIDCProviderMetadataURL this is no address of an AM",
        "www.conf:2 OIDCRedirectURI a path without a host",
        "www.conf:3 OIDCCookieDomain the value is made up at run time",
        "www.conf:6 OIDCProviderIssuer com.sun.identity.agents.config.naming.url is",
        "more.conf was not read",
        "www.conf:8 <Directory /srv/www>",
    ] {
        assert!(hand(&found, words), "{words}\n{}", found.report());
    }
    assert!(
        found
            .set
            .iter()
            .all(|(_, property, _)| !property.starts_with("portcullis.filter.mode"))
    );
}

const NGINX: &str = r#"
http {
  server {
    location /oauth2/ { proxy_pass http://127.0.0.1:4180; }
    location / {
      auth_request /oauth2/auth; # asks
      error_page 401 = /oauth2/sign_in;
      auth_request_set $mail $upstream_http_x_auth_request_email;
      proxy_set_header "X-Mail" $mail;
      auth_request_set $token $upstream_http_x_auth_request_access_token;
      proxy_pass http://127.0.0.1:8080;
    }
    location /open/ { auth_request off; }
  }
}
"#;

#[test]
fn a_site_of_oauth2_proxy_and_auth_request_is_taken_over() {
    let found = proxy(
        "provider = \"oidc\"\noidc_issuer_url = \"https://am.example.com:8443/openam/oauth2/realms/root\"\n\
         client_id = \"x\"\nclient_secret = \"s3cret\"\ncookie_secret = \"s3cret-too\"\n\
         redirect_url = \"https://www.example.com/oauth2/callback\"\nemail_domains = [\"*\"]\n\
         cookie_domains = [\n  \".example.com\",\n  \".example.org\"\n]\ncookie_samesite = \"lax\"\n\
         skip_auth_routes = [\"GET=^/health$\", \"^/public/\", \"robots.txt\", \"POST!=^/x\", \"^/a|b\"]\n\
         skip_auth_preflight = true\ntrusted_ips = [\"192.0.2.0/24\"]\nreverse_proxy = true\n\
         pass_access_token = true\nallowed_widgets = 3\n",
        NGINX,
    );
    for (property, value) in [
        (NAMING, "https://am.example.com:8443/openam/"),
        (REALM, "/"),
        (FQDN, "www.example.com"),
        (SSO_ONLY, "true"),
        (SAME_SITE, "Lax"),
        (
            "com.sun.identity.agents.config.cdsso.cookie.domain[1]",
            ".example.org",
        ),
        ("com.forgerock.agents.notenforced.url.regex.enable", "true"),
        (
            "com.sun.identity.agents.config.notenforced.url[GET,0]",
            "/health",
        ),
        (
            "com.sun.identity.agents.config.notenforced.url[1]",
            "/public/.*",
        ),
        (
            "com.sun.identity.agents.config.notenforced.url[OPTIONS,2]",
            "/.*",
        ),
        (
            "com.sun.identity.agents.config.notenforced.ip[0]",
            "192.0.2.0/24",
        ),
        (
            "com.sun.identity.agents.config.profile.attribute.mapping[mail]",
            "X-Mail",
        ),
    ] {
        assert_eq!(
            found.value(property),
            Some(value),
            "{property}\n{}",
            found.report()
        );
    }
    for words in [
        "robots.txt: found anywhere",
        "POST!=^/x: all methods but one",
        "^/a|b: only one of its alternatives",
        "reverse_proxy name the proxies",
        "allowed_widgets not known",
        "nginx.conf:4 proxy_pass location /oauth2/: take it out",
        "nginx.conf:6 auth_request in location /: write openam_agent on;",
        "nginx.conf:7 error_page in location /: take it out",
        "nginx.conf:10 auth_request_set $upstream_http_x_auth_request_access_token",
        "nginx.conf:13 auth_request in location /open/: write openam_agent off;",
    ] {
        assert!(hand(&found, words), "{words}\n{}", found.report());
    }
    assert!(!found.report().contains("s3cret") && !found.agent_conf().contains("s3cret"));
}

#[test]
fn environment_and_command_line_are_read_as_well() {
    let environment = "OAUTH2_PROXY_OIDC_ISSUER_URL=https://am.example.com/am/oauth2\n\
        OAUTH2_PROXY_EMAIL_DOMAINS=example.com,example.org\nOAUTH2_PROXY_UPSTREAMS=http://127.0.0.1:8080\n";
    let line = "ExecStart=/usr/bin/oauth2-proxy --oidc-issuer-url=https://am.example.com/am/oauth2 \\\n\
        --email-domain example.com --email-domain=example.org --upstream http://127.0.0.1:8080\n";
    for text in [environment, line] {
        let found = proxy(text, "");
        assert_eq!(
            found.value(NAMING),
            Some("https://am.example.com/am/"),
            "{text}"
        );
        assert_eq!(found.value(SSO_ONLY), None);
        assert!(
            hand(&found, "email_domain make policies in AM"),
            "{}",
            found.report()
        );
        assert_eq!(
            found.value(&format!("{SESSION_MAP}[UserToken]")),
            Some("X-Forwarded-User")
        );
    }
    let nothing = oauth2_proxy::file(&mut Migration::default(), "x", "nothing\n");
    assert!(nothing.unwrap_err().to_string().contains("no setting"));
}

#[test]
fn an_address_of_am_names_its_realm() {
    for (address, expected) in [
        ("https://a.b/am/oauth2", Some(("https://a.b/am/", "/"))),
        (
            "https://a.b/am/oauth2/realms/root/realms/x/realms/y/authorize",
            Some(("https://a.b/am/", "/x/y")),
        ),
        (
            "https://a.b:8/am/oauth2/x/.well-known/openid-configuration",
            Some(("https://a.b:8/am/", "/x")),
        ),
        (
            "https://a.b/am/oauth2/authorize?realm=%2Fx",
            Some(("https://a.b/am/", "/x")),
        ),
        ("https://a.b/am/oauth2x", None),
        ("https://a.b/realms/x", None),
        ("am/oauth2", None),
    ] {
        let am = am_of(address);
        let am = am.as_ref().map(|(am, realm)| (am.as_str(), realm.as_str()));
        assert_eq!(am, expected, "{address}");
    }
}
