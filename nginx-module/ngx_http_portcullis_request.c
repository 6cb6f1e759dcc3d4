/* When is a request put before the library, and with which words? Order of the phases: prepare and
 * scrub first of all, access after every other access handler, enforcement once more after that,
 * because `satisfy any` can skip the access phase. */

#include "ngx_http_portcullis.h"

/* The library needs at most 8 rounds; more of them without waiting are a fault. */
#define PC_ROUNDS  16

typedef struct {
    ngx_http_request_t  *request;
    pc_ctx_t            *ctx;
    ngx_uint_t           own;        /* the sub-request has its own header list */
    ngx_uint_t           failed;     /* an edit could not be made: do not let it through */
} edits_t;

static void to_address(portcullis_address *to, struct sockaddr *from)
{
    ngx_memzero(to, sizeof(portcullis_address));   /* a Unix socket has none: 0 */

    if (from->sa_family == AF_INET) {
        to->family = 4;
        ngx_memcpy(to->bytes, &((struct sockaddr_in *) from)->sin_addr, 4);
    }
#if (NGX_HAVE_INET6)
    if (from->sa_family == AF_INET6) {
        to->family = 6;
        ngx_memcpy(to->bytes, &((struct sockaddr_in6 *) from)->sin6_addr, 16);
    }
#endif
}

static pc_ctx_t *create_ctx(ngx_http_request_t *r)
{
    pc_ctx_t            *ctx;
    ngx_pool_cleanup_t  *keep;
    ngx_http_cleanup_t  *cancel;

    ctx = ngx_pcalloc(r->pool, sizeof(pc_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    /* HTTP/0.9 and broken requests come without a list */
    if (r->headers_in.headers.last == NULL
        && ngx_list_init(&r->headers_in.headers, r->pool, 20, sizeof(ngx_table_elt_t)) != NGX_OK)
    {
        return NULL;
    }

    ctx->request = r;
    ctx->client_uri = r->uri;
    ctx->client_args = r->args;
    to_address(&ctx->peer, r->connection->sockaddr);

    if (r->host_start && r->host_end) {
        /* absolute form: outranks the Host header. A port ends where the path begins (which is
         * before the host when the URL has none) */
        ctx->host.data = r->host_start;
        ctx->host.len = r->host_end - r->host_start;
        if (r->http_version < NGX_HTTP_VERSION_20 && r->uri_start > r->host_end) {
            ctx->host.len = r->uri_start - r->host_start;
        }
    } else if (r->headers_in.host) {
        ctx->host = r->headers_in.host->value;
    }

    if (ngx_array_init(&ctx->variables, r->pool, 4, sizeof(ngx_keyval_t)) != NGX_OK
        || ngx_array_init(&ctx->answers, r->pool, 4, sizeof(ngx_keyval_t)) != NGX_OK
        || pc_gather(r, &ctx->headers, &ctx->nheaders) != NGX_OK
        || pc_scrub(r, ctx->headers, &ctx->nheaders) != NGX_OK)
    {
        return NULL;
    }

    /* the pool's entry is how the context is found again after a redirect has cleared r->ctx;
     * the request's one runs earlier, when a dying request may still wait for disk threads */
    cancel = ngx_http_cleanup_add(r, 0);
    keep = ngx_pool_cleanup_add(r->pool, 0);
    if (cancel == NULL || keep == NULL) {
        return NULL;
    }
    cancel->handler = pc_cancel;
    cancel->data = ctx;
    keep->handler = pc_cancel;
    keep->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_http_portcullis_module);
    return ctx;
}

/* The context of a main request, NULL when there is none. nginx clears r->ctx at each internal
 * redirect; the pool remembers, and that is how a redirect is noticed. */
pc_ctx_t *pc_ctx(ngx_http_request_t *r)
{
    pc_ctx_t            *ctx = ngx_http_get_module_ctx(r, ngx_http_portcullis_module);
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; ctx == NULL && cln; cln = cln->next) {
        if (cln->handler == pc_cancel) {
            ctx = cln->data;
            ctx->redirected = 1;
            ngx_http_set_ctx(r, ctx, ngx_http_portcullis_module);
        }
    }
    return ctx;
}

/* Runs in post_read; in the rewrite phases too, because the error page of a request that nginx
 * itself refused (400) enters there without having seen post_read. */
ngx_int_t pc_prepare_handler(ngx_http_request_t *r)
{
    pc_ctx_t    *ctx;
    ngx_uint_t   refused = r->internal;

    if (!pc_srv_conf(r)->on || r != r->main || pc_ctx(r)) {
        return NGX_DECLINED;
    }

    ctx = create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (refused) {
        ctx->redirected = 1;
        ngx_str_null(&ctx->client_uri);
    }
    return NGX_DECLINED;
}

/* --- the library's edits */

static void edit_request(edits_t *edits, portcullis_str name, portcullis_str *value)
{
    ngx_http_request_t  *r = edits->request;

    if (r != r->main && !edits->own) {
        edits->own = 1;
        if (pc_relist(r, NULL) != NGX_OK) {
            edits->failed = 1;
        }
    }
    if (edits->failed || pc_set_header(r, name, value) != NGX_OK) {
        edits->failed = 1;
    }
}

static void on_request_header(void *data, portcullis_str name, portcullis_str value)
{
    edit_request(data, name, &value);
}

static void on_remove_request_header(void *data, portcullis_str name)
{
    edit_request(data, name, NULL);
}

/* Variables, user and response belong to the main request: a sub-request has no say in them. */
static void keep_pair(edits_t *edits, ngx_array_t *array, portcullis_str name,
    portcullis_str value)
{
    ngx_uint_t     i;
    ngx_keyval_t   kv, *kvs = array->elts;

    if (edits->request != edits->request->main) {
        return;
    }
    if (pc_copy(edits->request->pool, name, &kv.key) != NGX_OK
        || pc_copy(edits->request->pool, value, &kv.value) != NGX_OK)
    {
        edits->failed = 1;
        return;
    }

    for (i = 0; i < array->nelts; i++) {
        if (pc_same(&kvs[i].key, &kv.key) && pc_same(&kvs[i].value, &kv.value)) {
            return;   /* a second decision after a redirect says some things again */
        }
    }

    kvs = ngx_array_push(array);
    if (kvs == NULL) {
        edits->failed = 1;
        return;
    }
    *kvs = kv;
}

static void keep_text(edits_t *edits, ngx_str_t *to, portcullis_str text)
{
    if (edits->request == edits->request->main
        && pc_copy(edits->request->pool, text, to) != NGX_OK)
    {
        edits->failed = 1;
    }
}

static void on_variable(void *data, portcullis_str name, portcullis_str value)
{
    keep_pair(data, &((edits_t *) data)->ctx->variables, name, value);
}

static void on_response_header(void *data, portcullis_str name, portcullis_str value)
{
    keep_pair(data, &((edits_t *) data)->ctx->answers, name, value);
}

static void on_user(void *data, portcullis_str name)
{
    keep_text(data, &((edits_t *) data)->ctx->user, name);
}

static void on_content(void *data, portcullis_str body)
{
    keep_text(data, &((edits_t *) data)->ctx->content, body);
}

static void on_replay(void *data, portcullis_str method, portcullis_str body)
{
    edits_t  *edits = data;

    if (edits->request != edits->request->main
        || pc_copy(edits->request->pool, method, &edits->request->method_name) != NGX_OK
        || pc_give_body(edits->request, body) != NGX_OK)
    {
        edits->failed = 1;
    }
}

/* --- asking */

static portcullis_result ask(ngx_http_request_t *r, pc_ctx_t *ctx, uint32_t instance,
    ngx_str_t *target, ngx_str_t *path, portcullis_ticket **ticket, portcullis_verdict *verdict)
{
    edits_t              edits = { r, ctx, 0, 0 };
    ngx_connection_t    *c = r->connection;
    portcullis_result    rc;
    portcullis_sink      sink = { .size = sizeof(sink), .ctx = &edits,
                                  .request_header = on_request_header,
                                  .remove_request_header = on_remove_request_header,
                                  .variable = on_variable, .user = on_user,
                                  .response_header = on_response_header, .body = on_content,
                                  .replay = on_replay };
    portcullis_request   view = { .size = sizeof(view) };

    view.method = pc_str(r->method_name);
    view.target = pc_str(*target);
    view.host = pc_str(ctx->host);
    view.headers = ctx->headers;
    view.header_count = ctx->nheaders;
    view.path = pc_str(*path);
    view.peer = ctx->peer;
    to_address(&view.client, c->sockaddr);
    view.stored_only = (r != r->main);
    view.tag = ctx;
    view.socket = r->http_version <= NGX_HTTP_VERSION_20 ? c->fd : 0;   /* not a UDP socket */
#if (NGX_HTTP_SSL)
    view.tls = (c->ssl != NULL);
#endif
    if (ngx_connection_local_sockaddr(c, NULL, 0) == NGX_OK) {
        view.port = ngx_inet_get_port(c->local_sockaddr);
    }

    ngx_memzero(verdict, sizeof(portcullis_verdict));
    verdict->size = sizeof(portcullis_verdict);

    rc = portcullis_decide(pc_main_conf(r)->agent, instance, &view, &sink, ticket, verdict);

    return edits.failed ? PORTCULLIS_SYSTEM : rc;
}

/* The URL that an internal redirect or a sub-request asks for, written as a client would. */
static ngx_int_t rebuild_target(ngx_http_request_t *r, ngx_str_t *target)
{
    u_char  *p;
    size_t   escaped = 2 * ngx_escape_uri(NULL, r->uri.data, r->uri.len, NGX_ESCAPE_URI);

    target->data = p = ngx_pnalloc(r->pool, r->uri.len + escaped + 1 + r->args.len);
    if (p == NULL) {
        return NGX_ERROR;
    }
    p = (u_char *) ngx_escape_uri(p, r->uri.data, r->uri.len, NGX_ESCAPE_URI);
    if (r->args.len) {
        *p++ = '?';
        p = ngx_cpymem(p, r->args.data, r->args.len);
    }
    target->len = p - target->data;
    return NGX_OK;
}

/* nginx caches a variable's first value: one that was read before the decision is stale now. */
static void forget_variables(ngx_http_request_t *r)
{
    ngx_uint_t                  i;
    ngx_http_core_main_conf_t  *cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    ngx_http_variable_t        *v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].get_handler == pc_variable_user || v[i].get_handler == pc_variable_attribute) {
            r->variables[i].valid = 0;
            r->variables[i].not_found = 0;
        }
    }
}

/* Another question than the last one: another URL, method or instance. */
static ngx_int_t begin(ngx_http_request_t *r, pc_ctx_t *ctx, uint32_t instance)
{
    size_t              count;
    portcullis_header  *headers;

    pc_cancel(ctx);

    /* what an earlier allow added must not stand beside what this one adds */
    if (ctx->state == PC_ALLOWED && (pc_gather(r, &headers, &count) != NGX_OK
                                     || pc_scrub(r, headers, &count) != NGX_OK))
    {
        return NGX_ERROR;
    }

    ctx->state = PC_ASKED;
    ctx->instance = instance;
    ctx->method = r->method_name;
    ctx->uri = r->uri;
    ctx->args = r->args;
    ctx->late = 0;
    ngx_str_null(&ctx->user);
    ctx->variables.nelts = 0;

    if (!ctx->redirected
        || (pc_same(&r->uri, &ctx->client_uri) && pc_same(&r->args, &ctx->client_args)))
    {
        ctx->target = r->unparsed_uri;
        ctx->path = ctx->client_uri;
        return NGX_OK;
    }
    ctx->path = r->uri;
    return rebuild_target(r, &ctx->target);
}

static ngx_int_t wait_for(ngx_http_request_t *r, pc_ctx_t *ctx)
{
    uint64_t   limit = 0;
    ngx_int_t  rc;

    if (ctx->ticket == NULL) {
        return pc_fail(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
    }
    if (portcullis_ticket_wants(ctx->ticket, &limit) != PORTCULLIS_WANTS_AM) {
        rc = pc_read_body(ctx, limit);
    } else {
        rc = pc_suspend(ctx);
    }
    if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return pc_fail(r, ctx, rc == NGX_ERROR ? NGX_HTTP_SERVICE_UNAVAILABLE : rc);
    }
    return rc;
}

/* An allow with a user satisfies `satisfy any`, like any other authentication. An exempt page has
 * nothing to say there, whoever asks for it: what `deny` closed stays closed. */
static ngx_int_t allowed(pc_ctx_t *ctx)
{
    return ctx->user.len && !ctx->exempt ? NGX_OK : NGX_DECLINED;
}

/* The kept POST is in the request's place now: nginx chooses a location for it, and the library is
 * asked about it, as if the client had sent it. */
static ngx_int_t start_over(ngx_http_request_t *r, pc_ctx_t *ctx)
{
    ngx_http_core_srv_conf_t   *cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    ngx_http_core_main_conf_t  *cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    r->method = NGX_HTTP_POST;   /* it is no other */
    r->uri = ctx->client_uri;
    r->args = ctx->client_args;
    ngx_http_set_exten(r);

    ngx_memzero(r->ctx, sizeof(void *) * ngx_http_max_module);
    ngx_http_set_ctx(r, ctx, ngx_http_portcullis_module);
    ngx_memzero(r->variables, cmcf->variables.nelts * sizeof(ngx_http_variable_value_t));

    r->loc_conf = cscf->ctx->loc_conf;
    ngx_http_update_location_config(r);
    r->phase_handler = cmcf->phase_engine.server_rewrite_index;
    ngx_http_core_run_phases(r);
    return NGX_DONE;
}

static ngx_int_t decide(ngx_http_request_t *r, pc_ctx_t *ctx)
{
    ngx_int_t           waiting;
    ngx_uint_t          rounds;
    portcullis_result   rc = PORTCULLIS_PENDING;
    portcullis_verdict  verdict;

    for (rounds = 0; rc == PORTCULLIS_PENDING && rounds < PC_ROUNDS; rounds++) {
        rc = ask(r, ctx, ctx->instance, &ctx->target, &ctx->path, &ctx->ticket, &verdict);

        if (rc == PORTCULLIS_PENDING && (waiting = wait_for(r, ctx)) != NGX_OK) {
            return waiting;
        }
    }

    forget_variables(r);

    if (rc == PORTCULLIS_OK && verdict.kind == PORTCULLIS_ALLOW) {
        ctx->state = PC_ALLOWED;
        ctx->exempt = verdict.exempt != 0;
        return allowed(ctx);
    }
    if (rc == PORTCULLIS_OK && verdict.kind == PORTCULLIS_REPLAY && r == r->main) {
        return start_over(r, ctx);
    }
    if (rc == PORTCULLIS_OK && verdict.kind == PORTCULLIS_RESPOND
        && verdict.status >= NGX_HTTP_OK && verdict.status < 600)
    {
        ctx->state = PC_DENIED;
        ctx->status = verdict.status;
        return pc_answer(r, ctx);
    }
    return pc_fail(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
}

/* Access phase, the last of its handlers. */
ngx_int_t pc_access_handler(ngx_http_request_t *r)
{
    pc_ctx_t       *ctx;
    ngx_uint_t      same;
    pc_loc_conf_t  *lcf = pc_loc_conf(r);

    if (!lcf->on) {
        return NGX_DECLINED;
    }
    ctx = pc_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (ctx->state == PC_DENIED) {
        return pc_answer(r, ctx);
    }

    same = ctx->instance == lcf->instance && pc_same(&ctx->uri, &r->uri)
           && pc_same(&ctx->args, &r->args) && pc_same(&ctx->method, &r->method_name);

    if (ctx->state == PC_ALLOWED && same) {
        return allowed(ctx);
    }
    if (r->post_action) {
        return NGX_HTTP_FORBIDDEN;   /* the client is gone: nobody to ask for */
    }
    if ((ctx->state != PC_ASKED || !same) && begin(r, ctx, lcf->instance) != NGX_OK) {
        return pc_fail(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
    if (ctx->late) {
        return pc_fail(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
    }
    return decide(r, ctx);
}

/* Precontent phase. Whoever opened the door (`satisfy any`), a request that the library has not
 * allowed does not come past here. */
ngx_int_t pc_enforce_handler(ngx_http_request_t *r)
{
    ngx_int_t  rc = (r == r->main) ? pc_access_handler(r) : NGX_DECLINED;

    return rc == NGX_OK ? NGX_DECLINED : rc;   /* try_files is still to come */
}

/* Preaccess phase, sub-requests only: they never see the access phase. Decided from what is known
 * already; entering from a request that has no allow of ours is refused. */
ngx_int_t pc_subrequest_handler(ngx_http_request_t *r)
{
    pc_ctx_t            *ctx;
    ngx_str_t            target;
    portcullis_result    rc;
    portcullis_ticket   *ticket = NULL;
    portcullis_verdict   verdict;

    if (r == r->main || !pc_loc_conf(r)->on) {
        return NGX_DECLINED;
    }

    ctx = pc_ctx(r->main);
    if (ctx == NULL || ctx->state != PC_ALLOWED) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "portcullis: sub-request \"%V\" enters a protected location from a request "
                      "that was not allowed by the agent", &r->uri);
        return NGX_HTTP_FORBIDDEN;
    }
    if (rebuild_target(r, &target) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ask(r, ctx, pc_loc_conf(r)->instance, &target, &r->uri, &ticket, &verdict);
    portcullis_ticket_free(ticket);

    return (rc == PORTCULLIS_OK && verdict.kind == PORTCULLIS_ALLOW) ? NGX_DECLINED
                                                                     : NGX_HTTP_FORBIDDEN;
}
