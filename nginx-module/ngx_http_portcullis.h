/* What the files of this module share. No policy, no parsing: the library decides, this module
 * carries requests to it and its answers back. All of it runs on nginx's own thread, except the
 * log callback. */

#ifndef NGX_HTTP_PORTCULLIS_H
#define NGX_HTTP_PORTCULLIS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include <portcullis.h>

typedef struct {
    portcullis_agent  *agent;        /* this generation; freed with the cycle's pool */
    ngx_uint_t         noticed;      /* directives without effect that were already mentioned */
} pc_main_conf_t;

typedef struct {
    ngx_array_t  *instances;         /* uint32_t, of all locations of this server */
    ngx_flag_t    on;                /* some location has the agent on: scrub everywhere */
} pc_srv_conf_t;

typedef struct {
    ngx_flag_t  on;
    ngx_uint_t  instance;            /* NGX_CONF_UNSET_UINT: no configuration */
} pc_loc_conf_t;

typedef enum { PC_NONE = 0, PC_ASKED, PC_ALLOWED, PC_DENIED } pc_state_e;
typedef enum { PC_BODY_UNREAD = 0, PC_BODY_READING, PC_BODY_READ } pc_body_e;

/* Lives as long as the main request, over internal redirects too. */
typedef struct {
    ngx_http_request_t  *request;
    portcullis_ticket   *ticket;
    ngx_event_t          timer;

    /* what the client sent, taken before any other module could change it */
    portcullis_header   *headers;
    size_t               nheaders;
    ngx_str_t            host;
    ngx_str_t            client_uri;    /* decoded path of the request line */
    ngx_str_t            client_args;
    portcullis_address   peer;

    /* the last question and its answer */
    pc_state_e           state;
    uint32_t             instance;
    ngx_str_t            method, uri, args;
    ngx_str_t            target, path;
    ngx_uint_t           status;        /* of a denial */
    ngx_str_t            user;
    ngx_str_t            content;       /* body of our own answer */
    ngx_array_t          variables;     /* ngx_keyval_t */
    ngx_array_t          answers;       /* ngx_keyval_t: response headers */

    pc_body_e            body;
    unsigned             redirected:1;  /* nginx has left the client's URL */
    unsigned             waiting:1;     /* suspended until the wake or the timer */
    unsigned             late:1;        /* the timer came first */
    unsigned             bare:1;        /* denied without an answer of the library */
    unsigned             answered:1;    /* the denial was given out once */
    unsigned             exempt:1;      /* allowed by a rule, not for its user */
} pc_ctx_t;

extern ngx_module_t  ngx_http_portcullis_module;

#define pc_main_conf(r)  \
    ((pc_main_conf_t *) ngx_http_get_module_main_conf(r, ngx_http_portcullis_module))
#define pc_srv_conf(r)  \
    ((pc_srv_conf_t *) ngx_http_get_module_srv_conf(r, ngx_http_portcullis_module))
#define pc_loc_conf(r)  \
    ((pc_loc_conf_t *) ngx_http_get_module_loc_conf(r, ngx_http_portcullis_module))

static ngx_inline portcullis_str pc_str(ngx_str_t s)
{
    return (portcullis_str) { s.data, s.len };
}

#pragma GCC visibility push(hidden)   /* nothing but the module leaves the file */

/* module.c */
ngx_int_t pc_variable_user(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t pc_variable_attribute(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data);

/* request.c */
pc_ctx_t *pc_ctx(ngx_http_request_t *r);
ngx_int_t pc_prepare_handler(ngx_http_request_t *r);
ngx_int_t pc_access_handler(ngx_http_request_t *r);
ngx_int_t pc_enforce_handler(ngx_http_request_t *r);
ngx_int_t pc_subrequest_handler(ngx_http_request_t *r);

/* answer.c */
extern ngx_http_output_header_filter_pt  pc_next_header_filter;
ngx_int_t pc_header_filter(ngx_http_request_t *r);
ngx_int_t pc_answer(ngx_http_request_t *r, pc_ctx_t *ctx);
ngx_int_t pc_fail(ngx_http_request_t *r, pc_ctx_t *ctx, ngx_uint_t status);

/* headers.c */
ngx_uint_t pc_same(ngx_str_t *a, ngx_str_t *b);
ngx_int_t pc_copy(ngx_pool_t *pool, portcullis_str from, ngx_str_t *to);
ngx_int_t pc_gather(ngx_http_request_t *r, portcullis_header **headers, size_t *count);
ngx_int_t pc_scrub(ngx_http_request_t *r, portcullis_header *headers, size_t *count);
ngx_int_t pc_relist(ngx_http_request_t *r, u_char *remove);
ngx_int_t pc_set_header(ngx_http_request_t *r, portcullis_str name, portcullis_str *value);

/* resume.c */
ngx_int_t pc_start(ngx_cycle_t *cycle, portcullis_agent *agent);
void pc_stop(void);
ngx_uint_t pc_stopping(void);
ngx_int_t pc_suspend(pc_ctx_t *ctx);
void pc_cancel(void *data);

/* body.c */
ngx_int_t pc_read_body(pc_ctx_t *ctx, uint64_t limit);
ngx_int_t pc_give_body(ngx_http_request_t *r, portcullis_str body);

#pragma GCC visibility pop

#endif
