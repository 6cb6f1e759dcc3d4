/* A web server in miniature: parent, fork, worker, requests. Built and run by c_client.rs.
 *
 *   client AGENT_CONF SESSION_COOKIE
 *
 * AGENT_CONF is an instance whose AM does not answer; SESSION_COOKIE is "name=value", sealed for it.
 * Ends with 0 when everything held. */

#define _POSIX_C_SOURCE 200809L

#include "portcullis.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) check((what) != 0, #what, __LINE__)
/* Generous: it only bounds a test that has failed. */
#define LIMIT_MS 60000

static atomic_int log_lines;
static atomic_int log_secrets;

static void check(int held, const char *what, int line) {
    if (!held) {
        fprintf(stderr, "client.c:%d: %s\n", line, what);
        exit(1);
    }
}

static portcullis_str str(const char *text) {
    portcullis_str s = {(const uint8_t *)text, strlen(text)};
    return s;
}

/* May be called on the worker's thread too. */
static void log_line(void *ctx, portcullis_level level, portcullis_str line) {
    char text[512];
    size_t len = line.len < sizeof text - 1 ? line.len : sizeof text - 1;
    memcpy(text, line.data, len);
    text[len] = 0;
    if (ctx != (void *)&log_lines || level < PORTCULLIS_ERROR || level > PORTCULLIS_DEBUG ||
        strchr(text, '\n') || strstr(text, "not-a-real-Password") || strstr(text, "AQIC5")) {
        atomic_fetch_add(&log_secrets, 1);
    }
    atomic_fetch_add(&log_lines, 1);
    fprintf(stderr, "log %d: %s\n", (int)level, text);
}

/* --- what a decision says */

struct answer {
    portcullis_verdict verdict;
    char cookie[4096];  /* what the Cookie request header becomes */
    int cookie_removed;
    char location[4096];
    char set_cookie[4096];
    char cache_control[256];
    char retry_after[32];
    char user[256];
    size_t body;
    int calls;
};

static void copy(char *to, size_t size, portcullis_str from) {
    CHECK(from.len < size);
    memcpy(to, from.data, from.len);
    to[from.len] = 0;
}

static int is(portcullis_str name, const char *wanted) {
    return name.len == strlen(wanted) && memcmp(name.data, wanted, name.len) == 0;
}

static void on_request_header(void *ctx, portcullis_str name, portcullis_str value) {
    struct answer *a = ctx;
    a->calls++;
    if (is(name, "Cookie")) copy(a->cookie, sizeof a->cookie, value);
}

static void on_remove(void *ctx, portcullis_str name) {
    struct answer *a = ctx;
    a->calls++;
    if (is(name, "Cookie")) a->cookie_removed = 1;
}

static void on_variable(void *ctx, portcullis_str name, portcullis_str value) {
    struct answer *a = ctx;
    (void)name, (void)value;
    a->calls++;
}

static void on_user(void *ctx, portcullis_str name) {
    struct answer *a = ctx;
    a->calls++;
    copy(a->user, sizeof a->user, name);
}

static void on_response_header(void *ctx, portcullis_str name, portcullis_str value) {
    struct answer *a = ctx;
    a->calls++;
    if (is(name, "Location")) copy(a->location, sizeof a->location, value);
    if (is(name, "Set-Cookie")) copy(a->set_cookie, sizeof a->set_cookie, value);
    if (is(name, "Cache-Control")) copy(a->cache_control, sizeof a->cache_control, value);
    if (is(name, "Retry-After")) copy(a->retry_after, sizeof a->retry_after, value);
}

static void on_body(void *ctx, portcullis_str body) {
    struct answer *a = ctx;
    a->calls++;
    a->body += body.len;
}

static void on_replay(void *ctx, portcullis_str method, portcullis_str body) {
    (void)method;
    on_body(ctx, body);
}

/* --- a request */

struct request {
    portcullis_request view;
    portcullis_header headers[8];
    portcullis_ticket *ticket;
};

static struct request *request(const char *method, const char *target, const char *path) {
    /* One after the other on the heap, so that a read behind the end is seen. */
    struct request *r = calloc(1, sizeof *r);
    portcullis_address local = {4, {127, 0, 0, 1}};
    CHECK(r);
    r->view.size = sizeof r->view;
    r->view.method = str(method);
    r->view.target = str(target);
    r->view.host = str("www.example.com");
    r->view.headers = r->headers;
    r->view.path = str(path);
    r->view.peer = local;
    r->view.client = local;
    r->view.port = 80;
    r->view.tag = r;
    return r;
}

static void header(struct request *r, const char *name, const char *value) {
    r->headers[r->view.header_count].name = str(name);
    r->headers[r->view.header_count].value = str(value);
    r->view.header_count++;
}

static portcullis_result decide(portcullis_agent *agent, struct request *r, struct answer *a) {
    portcullis_sink sink = {sizeof sink,        a,       on_request_header,  on_remove,
                            on_variable,        on_user, on_response_header, on_body,
                            on_replay};
    memset(a, 0, sizeof *a);
    a->verdict.size = sizeof a->verdict;
    return portcullis_decide(agent, 0, &r->view, &sink, &r->ticket, &a->verdict);
}

/* Decides a request that must not have to wait, and frees it. */
static void decide_now(portcullis_agent *agent, struct request *r, struct answer *a) {
    CHECK(decide(agent, r, a) == PORTCULLIS_OK);
    CHECK(r->ticket == NULL);
    free(r);
}

/* --- the checks of a worker */

static void exempt_page(portcullis_agent *agent) {
    struct answer a;
    struct request *r = request("GET", "/open/page?q=1", "/open/page");
    header(r, "Accept", "*/*");
    header(r, "Cookie", "a=1; am-auth-jwt=AQIC5-ours; b=2");
    decide_now(agent, r, &a);
    CHECK(a.verdict.kind == PORTCULLIS_ALLOW && a.verdict.exempt == 1);
    CHECK(a.verdict.reason == 101);
    CHECK(strcmp(a.cookie, "a=1; b=2") == 0 && !a.cookie_removed);
    CHECK(a.user[0] == 0 && a.body == 0);

    r = request("GET", "/open/page", "/open/page");
    header(r, "Cookie", "am-auth-jwt=AQIC5-ours");
    decide_now(agent, r, &a);
    CHECK(a.verdict.kind == PORTCULLIS_ALLOW && a.cookie_removed);

    r = request("GET", "/open/page", "/open/page");
    header(r, "Cookie", "a=1");
    decide_now(agent, r, &a);
    CHECK(a.verdict.kind == PORTCULLIS_ALLOW && a.calls == 0);
}

/* What AM's form has to bring back, out of the redirect that begins a login. */
struct login {
    char state[256];
    char cookie[4096];
};

static void cut(char *to, size_t size, const char *from, const char *ends) {
    size_t len = strcspn(from, ends);
    CHECK(len > 0 && len < size);
    memcpy(to, from, len);
    to[len] = 0;
}

static struct login login(portcullis_agent *agent) {
    struct answer a;
    struct login begun;
    const char *state;
    decide_now(agent, request("GET", "/closed?x=1", "/closed"), &a);
    CHECK(a.verdict.kind == PORTCULLIS_RESPOND && a.verdict.status == 302);
    CHECK(a.verdict.reason == 200 && a.verdict.exempt == 0);
    CHECK(strstr(a.location, "http://127.0.0.1:1/openam/oauth2/authorize?") == a.location);
    CHECK(strstr(a.location, "client_id=wa-ffi"));
    CHECK(strstr(a.cache_control, "no-store"));
    CHECK(strstr(a.set_cookie, "agent-authn-tx") == a.set_cookie);
    CHECK(strstr(a.set_cookie, "HttpOnly"));
    state = strstr(a.location, "state=");
    CHECK(state);
    cut(begun.state, sizeof begun.state, state + strlen("state="), "&");
    cut(begun.cookie, sizeof begun.cookie, a.set_cookie, ";");
    return begun;
}

static void ambiguous_address(portcullis_agent *agent) {
    static const char *const targets[] = {"/open/..%2fclosed", "/open/%00", "/open//..\\closed",
                                          "open", ""};
    struct answer a;
    size_t i;
    for (i = 0; i < sizeof targets / sizeof *targets; i++) {
        decide_now(agent, request("GET", targets[i], "/open/page"), &a);
        CHECK(a.verdict.kind == PORTCULLIS_RESPOND && a.verdict.status == 400);
        CHECK(a.verdict.reason == 310 && a.body > 0);
    }
}

/* Hands `form` to the agent's own address (NULL: it could not be read) and wants this refusal. */
static void callback(portcullis_agent *agent, const struct login *begun, const char *form,
                     uint16_t status, uint32_t reason) {
    struct answer a;
    struct request *r = request("POST", "/agent/cdsso-oauth2", "/agent/cdsso-oauth2");
    uint64_t limit = 0;
    char *body = NULL;
    header(r, "Content-Type", "application/x-www-form-urlencoded");
    if (begun) header(r, "Cookie", begun->cookie);
    CHECK(decide(agent, r, &a) == PORTCULLIS_PENDING && r->ticket && a.calls == 0);
    CHECK(portcullis_ticket_wants(r->ticket, &limit) == PORTCULLIS_WANTS_BODY);
    CHECK(limit >= 1024 && (!form || strlen(form) < limit));
    if (form) {
        body = malloc(strlen(form)); /* exactly as long, and gone before the decision */
        CHECK(body);
        memcpy(body, form, strlen(form));
    }
    CHECK(portcullis_ticket_body(r->ticket, (const uint8_t *)body, form ? strlen(form) : 0) ==
          PORTCULLIS_OK);
    free(body);
    CHECK(decide(agent, r, &a) == PORTCULLIS_OK && r->ticket == NULL);
    CHECK(a.verdict.kind == PORTCULLIS_RESPOND && a.body > 0);
    if (a.verdict.status != status || a.verdict.reason != reason) {
        fprintf(stderr, "callback: %u %u\n", (unsigned)a.verdict.status, (unsigned)a.verdict.reason);
        exit(1);
    }
    free(r);
}

static void callbacks(portcullis_agent *agent) {
    struct login begun = login(agent);
    char form[1024];
    struct answer a;
    snprintf(form, sizeof form, "id_token=eyJhbGciOiJub25lIn0.e30.e30&state=%s", begun.state);
    callback(agent, NULL, form, 403, 214);            /* without its cookie */
    callback(agent, &begun, "state=x", 400, 212);     /* a field is missing */
    callback(agent, &begun, NULL, 413, 514);          /* larger than the limit */
    callback(agent, &begun, "error=access_denied", 403, 213);
    callback(agent, &begun, form, 403, 221);          /* not signed by AM */
    decide_now(agent, request("GET", "/agent/cdsso-oauth2", "/agent/cdsso-oauth2"), &a);
    CHECK(a.verdict.status == 400 && a.verdict.reason == 210);
}

static void made_up_cookie(portcullis_agent *agent) {
    struct answer a;
    struct request *r = request("GET", "/closed", "/closed");
    header(r, "Cookie", "am-auth-jwt=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    decide_now(agent, r, &a);
    CHECK(a.verdict.kind == PORTCULLIS_RESPOND && a.verdict.status == 302);
    CHECK(a.verdict.reason == 202);
}

static void scrub(portcullis_agent *agent) {
    static const struct {
        const char *name;
        uint8_t removed;
    } cases[] = {{"Remote_User", 1}, {"REMOTE-USER", 1}, {"X-User", 1}, {"x_user", 1},
                 {"X-Users", 0},     {"User-Agent", 0},  {"Cookie", 0}, {"", 0}};
    enum { N = sizeof cases / sizeof *cases };
    portcullis_header headers[N];
    uint8_t remove[N];
    const uint32_t first = 0;
    size_t i;
    for (i = 0; i < N; i++) {
        headers[i].name = str(cases[i].name);
        headers[i].value = str("admin");
        remove[i] = 7;
    }
    CHECK(portcullis_scrub(agent, &first, 1, headers, N, remove) == PORTCULLIS_OK);
    for (i = 0; i < N; i++) check(remove[i] == cases[i].removed, cases[i].name, __LINE__);
}

/* A request that has to ask AM about the session. */
static struct request *asking(const char *cookie, const char *target) {
    struct request *r = request("GET", target, target);
    header(r, "Cookie", cookie);
    return r;
}

static void suspend(portcullis_agent *agent, struct request *r) {
    struct answer a;
    uint64_t limit = 0;
    uint32_t deadline;
    CHECK(decide(agent, r, &a) == PORTCULLIS_PENDING && r->ticket && a.calls == 0);
    CHECK(portcullis_ticket_wants(r->ticket, &limit) == PORTCULLIS_WANTS_AM);
    deadline = portcullis_ticket_deadline_ms(r->ticket);
    CHECK(deadline > 0 && deadline <= LIMIT_MS);
}

static void refused_without_am(portcullis_agent *agent, struct request *r) {
    struct answer a;
    decide_now(agent, r, &a);
    CHECK(a.verdict.kind == PORTCULLIS_RESPOND && a.verdict.status == 503);
    CHECK(a.verdict.reason >= 500 && a.verdict.reason < 600);
    CHECK(a.retry_after[0] && a.body > 0 && a.user[0] == 0);
}

/* The next request that can go on, once the eventfd says that there is one. */
static struct request *woken(portcullis_agent *agent, int wake) {
    void *tag = NULL;
    while (portcullis_completed(agent, &tag) == PORTCULLIS_NONE) {
        struct pollfd fd = {wake, POLLIN, 0};
        uint64_t count;
        CHECK(poll(&fd, 1, LIMIT_MS) == 1);
        CHECK(read(wake, &count, sizeof count) == sizeof count && count > 0);
    }
    CHECK(tag);
    return tag;
}

static void suspended(portcullis_agent *agent, int wake, const char *cookie) {
    struct request *freed, *one, *two, *first, *second;
    struct answer a;
    void *tag = NULL;

    one = asking(cookie, "/closed/one");
    suspend(agent, one);
    CHECK(woken(agent, wake) == one);
    refused_without_am(agent, one);
    CHECK(portcullis_completed(agent, &tag) == PORTCULLIS_NONE);

    /* A client that goes away: its ticket is freed, its tag never comes. */
    freed = asking(cookie, "/closed/freed");
    one = asking(cookie, "/closed/one");
    two = asking(cookie, "/closed/two");
    suspend(agent, freed);
    suspend(agent, one);
    suspend(agent, two);
    portcullis_ticket_free(freed->ticket);
    free(freed);
    first = woken(agent, wake);
    second = woken(agent, wake);
    CHECK((first == one && second == two) || (first == two && second == one));
    refused_without_am(agent, first);
    refused_without_am(agent, second);
    CHECK(portcullis_completed(agent, &tag) == PORTCULLIS_NONE);

    /* A body that never comes. */
    one = request("POST", "/agent/cdsso-oauth2", "/agent/cdsso-oauth2");
    header(one, "Content-Type", "application/x-www-form-urlencoded");
    CHECK(decide(agent, one, &a) == PORTCULLIS_PENDING);
    portcullis_ticket_free(one->ticket);
    free(one);

    /* A thread of its own for each request waits instead. */
    one = asking(cookie, "/closed/waits");
    suspend(agent, one);
    CHECK(portcullis_ticket_wait(one->ticket) == PORTCULLIS_OK);
    refused_without_am(agent, one);

    /* A sub-request never waits. */
    one = asking(cookie, "/closed/part");
    one->view.stored_only = 1;
    decide_now(agent, one, &a);
    CHECK(a.verdict.kind == PORTCULLIS_RESPOND && a.verdict.status == 403);
    CHECK(a.verdict.reason == 513);
}

static int worker(portcullis_agent *agent, const char *cookie) {
    portcullis_worker_options options = {sizeof options, -1, 1};
    struct answer a;
    int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(wake >= 0);
    options.wake_fd = wake;
    CHECK(portcullis_worker_start(agent, &options) == PORTCULLIS_OK);
    exempt_page(agent);
    login(agent);
    ambiguous_address(agent);
    callbacks(agent);
    made_up_cookie(agent);
    scrub(agent);
    suspended(agent, wake, cookie);
    portcullis_worker_drain(agent);
    portcullis_worker_stop(agent);
    close(wake);
    /* What needs no AM is still decided while the last requests finish. */
    decide_now(agent, request("GET", "/open/page", "/open/page"), &a);
    CHECK(a.verdict.kind == PORTCULLIS_ALLOW);
    portcullis_agent_free(agent);
    CHECK(atomic_load(&log_secrets) == 0);
    return 0;
}

int main(int argc, char **argv) {
    portcullis_agent_options options = {sizeof options, PORTCULLIS_NGINX, log_line, &log_lines,
                                        {NULL, 0}};
    portcullis_mapping *mapping = NULL;
    portcullis_agent *agent = NULL;
    uint32_t index = 99;
    struct answer a;
    struct request *r;
    pid_t child;
    int status = -1;

    check(argc == 3, "usage: client AGENT_CONF SESSION_COOKIE", __LINE__);
    CHECK(portcullis_abi() == PORTCULLIS_ABI);
    options.server_version = str("client/1");
    CHECK(portcullis_mapping_create(1 << 20, &mapping) == PORTCULLIS_OK);
    CHECK(portcullis_mapping_fd(mapping) >= 0);
    CHECK(portcullis_agent_new(&options, &agent) == PORTCULLIS_OK);
    CHECK(portcullis_agent_add(agent, str("/nowhere/agent.conf"), 0, &index) == PORTCULLIS_CONFIG);
    CHECK(index == 99 && atomic_load(&log_lines) > 0);
    CHECK(portcullis_agent_add(agent, str(argv[1]), 0, &index) == PORTCULLIS_OK && index == 0);
    index = 99;
    CHECK(portcullis_agent_add(agent, str(argv[1]), 0, &index) == PORTCULLIS_OK && index == 0);
    CHECK(portcullis_agent_attach(agent, mapping) == PORTCULLIS_OK);

    r = request("GET", "/open/page", "/open/page");
    CHECK(decide(agent, r, &a) == PORTCULLIS_NOT_STARTED && r->ticket == NULL);
    free(r);

    child = fork();
    CHECK(child >= 0);
    if (child == 0) exit(worker(agent, argv[2]));
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* A master that starts anew takes the mapping over. */
    {
        portcullis_mapping *adopted = NULL;
        CHECK(portcullis_mapping_adopt((uint32_t) getpid(), &adopted) == PORTCULLIS_OK);
        portcullis_mapping_free(adopted);
    }
    portcullis_mapping_free(mapping);
    portcullis_agent_free(agent);
    CHECK(atomic_load(&log_secrets) == 0);
    return 0;
}
