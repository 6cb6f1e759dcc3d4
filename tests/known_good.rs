//! What AM said last of the configuration counts at a start without AM (rule O3), shows its date, and is
//! thrown away when AM refuses the agent.

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use am_simulator::{Damage, Fault};
use portcullis_tests::{
    both_servers,
    site::{AGENT, Builder, Site, site},
    wait_until,
};
use serde_json::json;

const EXEMPT: &str = "com.sun.identity.agents.config.notenforced.url";

fn file(site: &Site) -> PathBuf {
    site.instance.join("config/last-known-good")
}

/// A site that has heard its profile from AM, and announces what an outage brings.
fn started(builder: Builder) -> Site {
    let mut site = builder.start();
    for code in ["PCL05", "PCL0607", "PCL0608", "PCL065"] {
        site.server.expect(code);
    }
    assert_eq!(site.get("/public/a.html").status, 200);
    wait_until("the profile on the disk", || {
        fs::metadata(file(&site)).is_ok_and(|meta| meta.len() > 0)
    });
    site
}

/// Stops the server and starts it again, with an AM that does not answer like this.
fn restart_without_am(site: &mut Site, damage: Damage) {
    site.am.simulator().add_fault(Fault::on("", damage));
    site.server.restart();
}

both_servers! {
    fn a_start_without_am_goes_on_with_what_am_said_last(kind: Kind) {
        let mut site = started(site(kind));
        assert_eq!(fs::metadata(file(&site)).expect("file").mode() & 0o777, 0o600);
        for damage in [Damage::Reset, Damage::Status { status: 503 }] {
            restart_without_am(&mut site, damage);
            assert_eq!(site.get("/public/a.html").status, 200, "exempt as before");
            assert_eq!(site.get("/docs/a.html").status, 302, "a login needs no AM here");
            site.wait_for_line("PCL0650");
            assert!(site.debug_log().contains("Z, 0 min ago"), "{}", site.debug_log());
            site.am.simulator().clear_faults();
        }
        // What AM says counts as soon as it says it.
        let other = json!({ EXEMPT: [format!("[0]={}/app/*", site.url())] });
        restart_without_am(&mut site, Damage::Reset);
        site.am.simulator().update_agent("/", AGENT, &other).expect("profile");
        assert_eq!(site.get("/public/a.html").status, 200);
        site.am.simulator().clear_faults();
        wait_until("the profile of now", || site.get("/app/a.html").status == 200);
        wait_until("it in all workers", || (0..20).all(|_| site.get("/public/a.html").status == 302));
        site.stop();
    }

    fn what_am_said_does_not_outlive_a_refusal(kind: Kind) {
        let mut site = started(site(kind));
        site.server.expect("PCL0606");
        restart_without_am(&mut site, Damage::Reset);
        assert_eq!(site.get("/public/a.html").status, 200);
        // Meanwhile somebody has locked the agent out.
        let other = json!({ "userpassword": ["another-password-of-AM-01"] });
        site.am.simulator().update_agent("/", AGENT, &other).expect("password");
        site.am.simulator().clear_faults();
        wait_until("no configuration", || site.get("/public/a.html").status == 503);
        site.wait_for_line("PCL0652");
        wait_until("it in all workers", || (0..20).all(|_| site.get("/public/a.html").status == 503));
        assert_eq!(fs::metadata(file(&site)).expect("file").len(), 0);
        // Nor at the next start.
        restart_without_am(&mut site, Damage::Reset);
        assert_eq!(site.get("/public/a.html").status, 503);
        site.stop();
    }

    fn what_am_said_counts_for_nothing_else_than_its_absence(kind: Kind) {
        let mut site = started(site(kind));
        // Something answers that is not AM.
        restart_without_am(&mut site, Damage::Garbage);
        assert_eq!(site.get("/public/a.html").status, 503);
        site.am.simulator().clear_faults();
        wait_until("the profile", || site.get("/public/a.html").status == 200);
        // A file that somebody has altered.
        site.am.simulator().add_fault(Fault::on("", Damage::Reset));
        let mut text = fs::read(file(&site)).expect("file");
        text.iter_mut().skip(200).step_by(3).for_each(|byte| *byte ^= 1);
        fs::write(file(&site), text).expect("file");
        site.server.restart();
        assert_eq!(site.get("/public/a.html").status, 503);
        site.wait_for_line("PCL0651");
        site.stop();
    }

    fn what_am_said_is_not_kept_where_told(kind: Kind) {
        let age = "portcullis.config.last.known.good.max.age";
        let mut site = site(kind).property(age, "0").start();
        for code in ["PCL05", "PCL0607"] {
            site.server.expect(code);
        }
        assert_eq!(site.get("/public/a.html").status, 200);
        restart_without_am(&mut site, Damage::Reset);
        assert_eq!(site.get("/public/a.html").status, 503);
        assert!(!file(&site).exists());
        site.stop();
    }

    fn what_outlives_the_server_may_lie_elsewhere(kind: Kind) {
        let mut site = site(kind).prepare();
        for code in ["PCL05", "PCL0607", "PCL0608", "PCL0630"] {
            site.server.expect(code);
        }
        let folder = site.instance.join("state");
        site.append(&format!("portcullis.state.dir = {}", folder.display()));
        // It is not there: one line says so, for all files, and what to do.
        site.server.start();
        assert_eq!(site.get("/public/a.html").status, 200);
        site.wait_for_line("PCL0630");
        let log = site.debug_log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("PCL0630")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for text in ["ended-sessions, untold-logouts, last-known-good in ", "state", "portcullis.state.dir"] {
            assert!(lines[0].contains(text), "{lines:?}");
        }
        fs::create_dir(&folder).expect("folder");
        site.server.restart();
        assert_eq!(site.get("/public/a.html").status, 200);
        let kept = folder.join("last-known-good");
        wait_until("the profile on the disk", || fs::metadata(&kept).is_ok_and(|meta| meta.len() > 0));
        for name in ["ended-sessions", "untold-logouts"] {
            assert_eq!(fs::metadata(folder.join(name)).expect(name).mode() & 0o777, 0o600);
        }
        assert!(!file(&site).exists());
        restart_without_am(&mut site, Damage::Reset);
        assert_eq!(site.get("/public/a.html").status, 200);
        site.stop();
    }
}
