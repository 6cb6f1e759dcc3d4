/* When is a request put before the library, and what becomes of the answer? Order of the phases:
 * prepare and scrub first of all, access after every other access handler, enforcement once more
 * after that, because `satisfy any` can skip the access phase. */

#include "ngx_http_portcullis.h"


/* The library needs at most 8 rounds; more of them without waiting are a fault. */
#define NGX_HTTP_PORTCULLIS_ROUNDS  16


typedef struct {
    ngx_http_request_t        *request;
    ngx_http_portcullis_ctx_t *ctx;
    ngx_uint_t                 own;        /* the sub-request has its own header list */
    ngx_uint_t                 failed;     /* an edit could not be made: do not let it through */
} ngx_http_portcullis_edits_t;


ngx_http_output_header_filter_pt  ngx_http_portcullis_next_header_filter;


static void
ngx_http_portcullis_address(portcullis_address *to, struct sockaddr *from)
{
    ngx_memzero(to, sizeof(portcullis_address));

    switch (from->sa_family) {

    case AF_INET:
        to->family = 4;
        ngx_memcpy(to->bytes, &((struct sockaddr_in *) from)->sin_addr, 4);
        break;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        to->family = 6;
        ngx_memcpy(to->bytes, &((struct sockaddr_in6 *) from)->sin6_addr, 16);
        break;
#endif

    default:   /* a Unix socket has none: 0 */
        break;
    }
}


static ngx_http_portcullis_ctx_t *
ngx_http_portcullis_create(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t         *keep;
    ngx_http_cleanup_t         *cancel;
    ngx_http_portcullis_ctx_t  *ctx;

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_portcullis_ctx_t));
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
    ngx_http_portcullis_address(&ctx->peer, r->connection->sockaddr);

    if (r->host_start && r->host_end) {
        ctx->host.data = r->host_start;
        ctx->host.len = (r->port_end ? r->port_end : r->host_end) - r->host_start;

    } else if (r->headers_in.host) {
        ctx->host = r->headers_in.host->value;
    }

    if (ngx_array_init(&ctx->variables, r->pool, 4, sizeof(ngx_keyval_t)) != NGX_OK
        || ngx_array_init(&ctx->answers, r->pool, 4, sizeof(ngx_keyval_t)) != NGX_OK
        || ngx_http_portcullis_gather(r, &ctx->headers, &ctx->nheaders) != NGX_OK
        || ngx_http_portcullis_scrub(r, ctx->headers, &ctx->nheaders) != NGX_OK)
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

    cancel->handler = ngx_http_portcullis_cancel;
    cancel->data = ctx;
    keep->handler = ngx_http_portcullis_cancel;
    keep->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_http_portcullis_module);

    return ctx;
}


/* Runs in post_read; in the rewrite phases too, because the error page of a request that nginx
 * itself refused (400) enters there without having seen post_read. */

ngx_int_t
ngx_http_portcullis_prepare_handler(ngx_http_request_t *r)
{
    ngx_uint_t                       refused;
    ngx_http_portcullis_ctx_t       *ctx;
    ngx_http_portcullis_srv_conf_t  *scf;

    scf = ngx_http_get_module_srv_conf(r, ngx_http_portcullis_module);

    if (!scf->on || r != r->main || ngx_http_portcullis_ctx(r)) {
        return NGX_DECLINED;
    }

    refused = r->internal;

    ctx = ngx_http_portcullis_create(r);
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

static void
ngx_http_portcullis_edit(ngx_http_portcullis_edits_t *edits, portcullis_str name,
    portcullis_str *value)
{
    ngx_http_request_t  *r = edits->request;

    if (r != r->main && !edits->own) {
        if (ngx_http_portcullis_relist(r, NULL) != NGX_OK) {
            edits->failed = 1;
            return;
        }

        edits->own = 1;
    }

    if (ngx_http_portcullis_set_header(r, name, value) != NGX_OK) {
        edits->failed = 1;
    }
}


static void
ngx_http_portcullis_request_header(void *data, portcullis_str name, portcullis_str value)
{
    ngx_http_portcullis_edit(data, name, &value);
}


static void
ngx_http_portcullis_remove_request_header(void *data, portcullis_str name)
{
    ngx_http_portcullis_edit(data, name, NULL);
}


static void
ngx_http_portcullis_keep(ngx_http_portcullis_edits_t *edits, ngx_array_t *array,
    portcullis_str name, portcullis_str value)
{
    ngx_uint_t     i;
    ngx_keyval_t   kv, *kvs;

    if (ngx_http_portcullis_copy(edits->request->pool, name, &kv.key) != NGX_OK
        || ngx_http_portcullis_copy(edits->request->pool, value, &kv.value) != NGX_OK)
    {
        edits->failed = 1;
        return;
    }

    /* a second decision after a redirect says some things again */
    kvs = array->elts;
    for (i = 0; i < array->nelts; i++) {
        if (ngx_http_portcullis_same(&kvs[i].key, &kv.key)
            && ngx_http_portcullis_same(&kvs[i].value, &kv.value))
        {
            return;
        }
    }

    kvs = ngx_array_push(array);
    if (kvs == NULL) {
        edits->failed = 1;
        return;
    }

    *kvs = kv;
}


/* Variables, user and response belong to the main request: a sub-request has no say in them. */

static void
ngx_http_portcullis_variable(void *data, portcullis_str name, portcullis_str value)
{
    ngx_http_portcullis_edits_t  *edits = data;

    if (edits->request == edits->request->main) {
        ngx_http_portcullis_keep(edits, &edits->ctx->variables, name, value);
    }
}


static void
ngx_http_portcullis_user(void *data, portcullis_str name)
{
    ngx_http_portcullis_edits_t  *edits = data;

    if (edits->request == edits->request->main
        && ngx_http_portcullis_copy(edits->request->pool, name, &edits->ctx->user) != NGX_OK)
    {
        edits->failed = 1;
    }
}


static void
ngx_http_portcullis_response_header(void *data, portcullis_str name, portcullis_str value)
{
    ngx_http_portcullis_edits_t  *edits = data;

    if (edits->request == edits->request->main) {
        ngx_http_portcullis_keep(edits, &edits->ctx->answers, name, value);
    }
}


static void
ngx_http_portcullis_content(void *data, portcullis_str body)
{
    ngx_http_portcullis_edits_t  *edits = data;

    if (edits->request == edits->request->main
        && ngx_http_portcullis_copy(edits->request->pool, body, &edits->ctx->content) != NGX_OK)
    {
        edits->failed = 1;
    }
}


/* --- asking */

static portcullis_result
ngx_http_portcullis_ask(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx, uint32_t instance,
    ngx_str_t *target, ngx_str_t *path, portcullis_ticket **ticket, portcullis_verdict *verdict)
{
    ngx_connection_t             *c = r->connection;
    portcullis_result             rc;
    portcullis_sink               sink;
    portcullis_request            view;
    ngx_http_portcullis_edits_t   edits;

    ngx_memzero(&view, sizeof(view));
    view.size = sizeof(view);
    view.method.data = r->method_name.data;
    view.method.len = r->method_name.len;
    view.target.data = target->data;
    view.target.len = target->len;
    view.host.data = ctx->host.data;
    view.host.len = ctx->host.len;
    view.headers = ctx->headers;
    view.header_count = ctx->nheaders;
    view.path.data = path->data;
    view.path.len = path->len;
    view.peer = ctx->peer;
    ngx_http_portcullis_address(&view.client, c->sockaddr);
    view.stored_only = (r != r->main);
    view.tag = ctx;

#if (NGX_HTTP_SSL)
    view.tls = (c->ssl != NULL);
#endif

    if (ngx_connection_local_sockaddr(c, NULL, 0) == NGX_OK) {
        view.port = ngx_inet_get_port(c->local_sockaddr);
    }

    ngx_memzero(&edits, sizeof(edits));
    edits.request = r;
    edits.ctx = ctx;

    ngx_memzero(&sink, sizeof(sink));
    sink.size = sizeof(sink);
    sink.ctx = &edits;
    sink.request_header = ngx_http_portcullis_request_header;
    sink.remove_request_header = ngx_http_portcullis_remove_request_header;
    sink.variable = ngx_http_portcullis_variable;
    sink.user = ngx_http_portcullis_user;
    sink.response_header = ngx_http_portcullis_response_header;
    sink.body = ngx_http_portcullis_content;

    ngx_memzero(verdict, sizeof(portcullis_verdict));
    verdict->size = sizeof(portcullis_verdict);

    rc = portcullis_decide(ngx_http_portcullis_agent(r), instance, &view, &sink, ticket, verdict);

    return edits.failed ? PORTCULLIS_SYSTEM : rc;
}


/* The URL that an internal redirect or a sub-request asks for, written as a client would. */

static ngx_int_t
ngx_http_portcullis_rebuild_target(ngx_http_request_t *r, ngx_str_t *target)
{
    u_char  *p;
    size_t   escaped;

    escaped = 2 * ngx_escape_uri(NULL, r->uri.data, r->uri.len, NGX_ESCAPE_URI);

    p = ngx_pnalloc(r->pool, r->uri.len + escaped + 1 + r->args.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    target->data = p;
    p = (u_char *) ngx_escape_uri(p, r->uri.data, r->uri.len, NGX_ESCAPE_URI);

    if (r->args.len) {
        *p++ = '?';
        p = ngx_cpymem(p, r->args.data, r->args.len);
    }

    target->len = p - target->data;

    return NGX_OK;
}


/* nginx caches a variable's first value: one that was read before the decision is stale now. */

static void
ngx_http_portcullis_forget_variables(ngx_http_request_t *r)
{
    ngx_uint_t                  i;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].get_handler == ngx_http_portcullis_variable_user
            || v[i].get_handler == ngx_http_portcullis_variable_attribute)
        {
            r->variables[i].valid = 0;
            r->variables[i].not_found = 0;
        }
    }
}


/* Another question than the last one: another URL, method or instance. */

static ngx_int_t
ngx_http_portcullis_begin(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx,
    uint32_t instance)
{
    size_t             count;
    portcullis_header *headers;

    ngx_http_portcullis_cancel(ctx);

    /* what an earlier allow added must not stand beside what this one adds */
    if (ctx->state == NGX_HTTP_PORTCULLIS_ALLOWED
        && (ngx_http_portcullis_gather(r, &headers, &count) != NGX_OK
            || ngx_http_portcullis_scrub(r, headers, &count) != NGX_OK))
    {
        return NGX_ERROR;
    }

    ctx->state = NGX_HTTP_PORTCULLIS_ASKED;
    ctx->instance = instance;
    ctx->method = r->method_name;
    ctx->uri = r->uri;
    ctx->args = r->args;
    ctx->late = 0;
    ngx_str_null(&ctx->user);
    ctx->variables.nelts = 0;

    if (!ctx->redirected
        || (ngx_http_portcullis_same(&r->uri, &ctx->client_uri)
            && ngx_http_portcullis_same(&r->args, &ctx->client_args)))
    {
        ctx->target = r->unparsed_uri;
        ctx->path = ctx->client_uri;
        return NGX_OK;
    }

    ctx->path = r->uri;

    return ngx_http_portcullis_rebuild_target(r, &ctx->target);
}


static ngx_uint_t
ngx_http_portcullis_same_question(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx,
    uint32_t instance)
{
    return ctx->instance == instance
           && ngx_http_portcullis_same(&ctx->uri, &r->uri)
           && ngx_http_portcullis_same(&ctx->args, &r->args)
           && ngx_http_portcullis_same(&ctx->method, &r->method_name);
}


/* --- answering */

static ngx_uint_t
ngx_http_portcullis_has_error_page(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_uint_t                 i;
    ngx_http_err_page_t       *pages;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->error_page || r->uri_changes == 0 || clcf->error_pages == NULL) {
        return 0;
    }

    pages = clcf->error_pages->elts;
    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (pages[i].status == (ngx_int_t) status) {
            return 1;
        }
    }

    return 0;
}


/* Our own page. Its headers come from the header filter, except the type. */

static ngx_int_t
ngx_http_portcullis_send(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx)
{
    ngx_int_t      rc;
    ngx_buf_t     *b;
    ngx_uint_t     i;
    ngx_chain_t    out;
    ngx_keyval_t  *kv;

    r->expect_tested = 1;   /* no "100 Continue" for a body that goes to the bin */

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    r->err_status = 0;
    r->headers_out.status = ctx->status;
    r->headers_out.status_line.len = 0;
    r->headers_out.content_length_n = ctx->content.len;
    r->headers_out.content_type.len = 0;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.charset.len = 0;
    r->headers_out.last_modified_time = -1;

    kv = ctx->answers.elts;
    for (i = 0; i < ctx->answers.nelts; i++) {
        if (ngx_strcasecmp(kv[i].key.data, (u_char *) "Content-Type") == 0) {
            r->headers_out.content_type = kv[i].value;
            r->headers_out.content_type_len = kv[i].value.len;
        }
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    if (ctx->content.len == 0) {
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = ctx->content.data;
    b->last = ctx->content.data + ctx->content.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;
    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* Gives the denial out; the same one again when nginx comes back for an error page in a location
 * that we protect. Finalizes by itself, so `satisfy any` has no say. */

static ngx_int_t
ngx_http_portcullis_answer(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx)
{
    ngx_uint_t  first;

    first = !ctx->answered;
    ctx->answered = 1;

    r->access_code = 0;

    if (r->headers_out.www_authenticate) {
        r->headers_out.www_authenticate->hash = 0;
        r->headers_out.www_authenticate = NULL;
    }

    if (first && (ctx->bare || ngx_http_portcullis_has_error_page(r, ctx->status))) {
        ngx_http_finalize_request(r, ctx->status);

    } else {
        ngx_http_finalize_request(r, ngx_http_portcullis_send(r, ctx));
    }

    return NGX_DONE;
}


/* Denies without an answer of the library: nginx's own page. */

static ngx_int_t
ngx_http_portcullis_fail(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx, ngx_uint_t status)
{
    ngx_http_portcullis_cancel(ctx);

    ctx->state = NGX_HTTP_PORTCULLIS_DENIED;
    ctx->status = status;
    ctx->bare = 1;
    ctx->content.len = 0;

    return ngx_http_portcullis_answer(r, ctx);
}


static ngx_int_t
ngx_http_portcullis_pending(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx)
{
    uint64_t   limit;
    ngx_int_t  rc;

    if (ctx->ticket == NULL) {
        return ngx_http_portcullis_fail(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
    }

    limit = 0;

    if (portcullis_ticket_wants(ctx->ticket, &limit) == PORTCULLIS_WANTS_BODY) {
        rc = ngx_http_portcullis_read_body(ctx, limit);

    } else {
        rc = ngx_http_portcullis_suspend(ctx);
    }

    if (rc == NGX_ERROR) {
        return ngx_http_portcullis_fail(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
    }

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return ngx_http_portcullis_fail(r, ctx, rc);
    }

    return rc;
}


/* An allow with a user satisfies `satisfy any`, like any other authentication. One without (an
 * exempt page) has nothing to say there: what `deny` closed stays closed. */

static ngx_int_t
ngx_http_portcullis_allowed(ngx_http_portcullis_ctx_t *ctx)
{
    return ctx->user.len ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_portcullis_decide(ngx_http_request_t *r, ngx_http_portcullis_ctx_t *ctx)
{
    ngx_int_t           pending;
    ngx_uint_t          rounds;
    portcullis_result   rc;
    portcullis_verdict  verdict;

    for (rounds = 0; rounds < NGX_HTTP_PORTCULLIS_ROUNDS; rounds++) {
        rc = ngx_http_portcullis_ask(r, ctx, ctx->instance, &ctx->target, &ctx->path,
                                     &ctx->ticket, &verdict);

        if (rc == PORTCULLIS_PENDING) {
            pending = ngx_http_portcullis_pending(r, ctx);

            if (pending == NGX_OK) {
                continue;   /* a body that was there already */
            }

            return pending;
        }

        ngx_http_portcullis_forget_variables(r);

        if (rc == PORTCULLIS_OK && verdict.kind == PORTCULLIS_ALLOW) {
            ctx->state = NGX_HTTP_PORTCULLIS_ALLOWED;
            return ngx_http_portcullis_allowed(ctx);
        }

        if (rc == PORTCULLIS_OK && verdict.kind == PORTCULLIS_RESPOND
            && verdict.status >= NGX_HTTP_OK && verdict.status < 600)
        {
            ctx->state = NGX_HTTP_PORTCULLIS_DENIED;
            ctx->status = verdict.status;
            return ngx_http_portcullis_answer(r, ctx);
        }

        break;
    }

    return ngx_http_portcullis_fail(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
}


/* Access phase (last of its handlers). */

ngx_int_t
ngx_http_portcullis_access_handler(ngx_http_request_t *r)
{
    ngx_uint_t                       same;
    ngx_http_portcullis_ctx_t       *ctx;
    ngx_http_portcullis_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_portcullis_module);

    if (!lcf->on) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_portcullis_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->state == NGX_HTTP_PORTCULLIS_DENIED) {
        return ngx_http_portcullis_answer(r, ctx);
    }

    same = ngx_http_portcullis_same_question(r, ctx, lcf->instance);

    if (ctx->state == NGX_HTTP_PORTCULLIS_ALLOWED && same) {
        return ngx_http_portcullis_allowed(ctx);
    }

    if (r->post_action) {
        return NGX_HTTP_FORBIDDEN;   /* the client is gone: nobody to ask for */
    }

    if ((ctx->state != NGX_HTTP_PORTCULLIS_ASKED || !same)
        && ngx_http_portcullis_begin(r, ctx, lcf->instance) != NGX_OK)
    {
        return ngx_http_portcullis_fail(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }

    if (ctx->late) {
        return ngx_http_portcullis_fail(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
    }

    return ngx_http_portcullis_decide(r, ctx);
}


/* Precontent phase. Whoever opened the door (`satisfy any`), a request that the library has not
 * allowed does not come past here. */

ngx_int_t
ngx_http_portcullis_enforce_handler(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    rc = ngx_http_portcullis_access_handler(r);

    return rc == NGX_OK ? NGX_DECLINED : rc;   /* try_files is still to come */
}


/* Preaccess phase, sub-requests only: they never see the access phase. Decided from what is known
 * already; entering from a request that has no allow of ours is refused. */

ngx_int_t
ngx_http_portcullis_subrequest_handler(ngx_http_request_t *r)
{
    ngx_str_t                        target;
    portcullis_result                rc;
    portcullis_ticket               *ticket;
    portcullis_verdict               verdict;
    ngx_http_portcullis_ctx_t       *ctx;
    ngx_http_portcullis_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_portcullis_module);

    if (r == r->main || !lcf->on) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_portcullis_ctx(r->main);

    if (ctx == NULL || ctx->state != NGX_HTTP_PORTCULLIS_ALLOWED) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "portcullis: sub-request \"%V\" enters a protected location from a request "
                      "that was not allowed by the agent", &r->uri);
        return NGX_HTTP_FORBIDDEN;
    }

    if (ngx_http_portcullis_rebuild_target(r, &target) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ticket = NULL;
    rc = ngx_http_portcullis_ask(r, ctx, lcf->instance, &target, &r->uri, &ticket, &verdict);
    portcullis_ticket_free(ticket);

    if (rc == PORTCULLIS_OK && verdict.kind == PORTCULLIS_ALLOW) {
        return NGX_DECLINED;
    }

    return NGX_HTTP_FORBIDDEN;
}


/* Adds the library's response headers, here rather than at the decision: nginx empties the list
 * for some of its own answers (412), and error pages and 304 must carry them too. */

ngx_int_t
ngx_http_portcullis_header_filter(ngx_http_request_t *r)
{
    ngx_uint_t                       i;
    ngx_keyval_t                    *kv;
    ngx_table_elt_t                 *h;
    ngx_http_portcullis_ctx_t       *ctx;
    ngx_http_portcullis_srv_conf_t  *scf;

    scf = ngx_http_get_module_srv_conf(r, ngx_http_portcullis_module);

    if (!scf->on || r != r->main || (ctx = ngx_http_portcullis_ctx(r)) == NULL) {
        return ngx_http_portcullis_next_header_filter(r);
    }

    kv = ctx->answers.elts;

    for (i = 0; i < ctx->answers.nelts; i++) {
        if (ngx_strcasecmp(kv[i].key.data, (u_char *) "Content-Type") == 0) {
            continue;
        }

        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(h, sizeof(ngx_table_elt_t));
        h->hash = 1;
        h->key = kv[i].key;
        h->value = kv[i].value;

        if (ngx_strcasecmp(h->key.data, (u_char *) "Location") == 0) {
            ngx_http_clear_location(r);
            r->headers_out.location = h;
        }
    }

    return ngx_http_portcullis_next_header_filter(r);
}
