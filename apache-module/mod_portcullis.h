/* What the five files of the Apache shim share.
 *
 * The shim translates between httpd and libportcullis and decides nothing: it parses no URL, cookie
 * or configuration and builds no text. Its one rule of its own is to fail closed: whatever goes
 * wrong where the agent is on, the request is not let through.
 *
 * Memory: all of it is httpd's (pconf for a configuration, the request's pool for a request), except
 * the three handles of the library, which only mod_portcullis.c and one call frame in
 * portcullis_request.c hold. */

#ifndef MOD_PORTCULLIS_H
#define MOD_PORTCULLIS_H

#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_log.h"
#include "http_protocol.h"
#include "http_request.h"
#include "util_filter.h"
#include "apr_strings.h"

#include "portcullis.h"

/* The one name the file exports (the rest is built with -fvisibility=hidden). */
extern __attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA amagent_module;

/* --- mod_portcullis.c: the process */

/* The generation in force; NULL when a restart could not make one (then everything is denied). */
const portcullis_agent *pc_agent(void);
portcullis_str pc_str(const char *text);
/* Tells the library once that this child is on its way out. */
void pc_drain_if_stopping(void);
/* Whether this child may be ending inside a signal handler, where nothing may be freed. */
int pc_ends_in_handler(void);

/* --- portcullis_conf.c: directives */

typedef struct pc_server_conf {
    const char *conf;      /* AmAgentConf, absolute; NULL: not set */
    const char *id;        /* AmAgentId as written; main server only */
    uint32_t instance;     /* of `conf`; set when the configuration is checked */
    int has_instance;
} pc_server_conf;

extern const command_rec pc_directives[];
void *pc_create_server_conf(apr_pool_t *p, server_rec *s);
void *pc_merge_server_conf(apr_pool_t *p, void *base, void *add);
void *pc_create_dir_conf(apr_pool_t *p, char *dir);
void *pc_merge_dir_conf(apr_pool_t *p, void *base, void *add);
pc_server_conf *pc_server_conf_of(const server_rec *s);
/* Whether AmAgent is On for what this request has been mapped to so far. */
int pc_is_on(const request_rec *r);
/* Whether AmAuthProvider is. */
int pc_is_provider(const request_rec *r);
/* Whether AmAuthErrorDocument is. */
int pc_decides_error_documents(const request_rec *r);
/* Whether AmAgent is On for the server as a whole. */
int pc_is_on_for(const server_rec *s);

/* --- portcullis_request.c: a request */

typedef enum pc_state {
    PC_UNDECIDED = 0,      /* must be 0: a fresh record has it */
    PC_ALLOWED,
    PC_ANSWERED,           /* the library's answer, or ours when it failed */
    PC_REPLACED,           /* a kept POST takes its place, by an internal redirect */
    PC_ERROR_DOCUMENT      /* httpd's page about a denial of ours: passes, without identity */
} pc_state;

struct pc_body;

/* What is remembered of one request_rec; internal redirects and sub-requests have their own. */
typedef struct pc_record {
    pc_state state;
    uint32_t instance;
    const char *method;
    const char *target;    /* as the client sent it, before any module could replace it */
    const char *path;      /* decoded by httpd, before mod_rewrite; "": not comparable */
    int open;              /* allowed by a rule: `Require AmAuth` has no say */
    int exempt;            /* and for everybody: mod_cache may keep the page */
    int refused;           /* allowed for Require lines to decide: the policy of AM refuses it */
    int handling;          /* the content handler runs: sub-requests from now on only list or include */
    int status;
    const portcullis_header *sent;   /* the client's headers when the library was first asked */
    size_t sent_count;
    apr_array_header_t *edits;   /* of pc_edit: what an allow does to the request */
    const char *user;
    apr_table_t *headers;        /* of the response */
    const char *content_type;
    const char *body;
    apr_size_t body_len;
    struct pc_body *kept;  /* the request body, when it was read here, or comes from the store */
    int consumed;          /* it went into the store: nobody can read it any more */
} pc_record;

pc_record *pc_record_of(request_rec *r);
/* Hooks, in the order in which httpd calls them. */
int pc_post_read_request(request_rec *r);
int pc_translate_name(request_rec *r);
int pc_access_checker(request_rec *r);
int pc_check_user(request_rec *r);
int pc_fixups(request_rec *r);
void pc_insert_filter(request_rec *r);
/* Takes out of `headers` what no client may send to this server; does nothing where it has no
 * instance. */
void pc_scrub(request_rec *r, apr_table_t *headers);
/* Writes the headers of a recorded allow into the request (again). */
void pc_apply_headers(request_rec *r, const pc_record *record);

/* --- portcullis_provider.c: `Require AmAuth` */

void pc_register_provider(apr_pool_t *p);

/* --- portcullis_body.c: the request body */

void pc_register_filters(void);
/* Watches for trailers that come after the body. */
void pc_watch_trailers(request_rec *r);
/* Reads the body up to `limit` bytes and leaves it to be read again. 1: complete, in `*data` (r's
 * pool); 0: larger than the limit, or it could not be read. */
int pc_body_read(request_rec *r, pc_record *record, uint64_t limit, portcullis_str *data);
/* Reads the body and hands it over piece by piece; it is not kept. */
void pc_body_parts(request_rec *r, portcullis_ticket *ticket);
/* The body that an internal redirect of `r` will read. */
void pc_body_give(request_rec *r, pc_record *record, portcullis_str data);
/* Lets `r`, an internal redirect, read the body that an earlier request kept. */
void pc_body_inherit(request_rec *r, pc_record *record, const pc_record *earlier);

#endif
