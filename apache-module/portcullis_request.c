/* Carries a request to the library and its decision back. The decision is made in access_checker and
 * enforced once more in fixups, because `Satisfy Any` turns a refusal there into a permission. */

#include "mod_portcullis.h"

#include "apr_portable.h"
#include "http_ssl.h"
#include "mod_core.h"

APLOG_USE_MODULE(amagent);

/* More rounds than the engine may ask for (8), with body and waiting counted apart. */
#define MAX_ROUNDS 32

typedef enum pc_edit_kind { PC_SET, PC_REMOVE, PC_VARIABLE } pc_edit_kind;

typedef struct pc_edit {
    pc_edit_kind kind;
    const char *name;
    const char *value;
} pc_edit;

typedef struct pc_sink_ctx {
    request_rec *r;
    apr_pool_t *pool;
    pc_record *record;
} pc_sink_ctx;

pc_record *pc_record_of(request_rec *r)
{
    pc_record *record = ap_get_module_config(r->request_config, &amagent_module);

    if (!record) {
        record = apr_pcalloc(r->pool, sizeof(*record));
        record->target = r->unparsed_uri;
        ap_set_module_config(r->request_config, &amagent_module, record);
    }
    return record;
}

static request_rec *earlier_request(const request_rec *r)
{
    return r->prev ? r->prev : r->main;
}

/* --- before the decision */

static portcullis_header *headers_of(request_rec *r, const apr_table_t *table, size_t *count)
{
    const apr_array_header_t *all = apr_table_elts(table);
    const apr_table_entry_t *entry = (const apr_table_entry_t *)all->elts;
    portcullis_header *headers = apr_palloc(r->pool, sizeof(*headers) * (all->nelts + 1));
    int i;

    for (i = 0, *count = 0; i < all->nelts; i++) {
        if (entry[i].key) {
            headers[*count].name = pc_str(entry[i].key);
            headers[*count].value = pc_str(entry[i].val);
            ++*count;
        }
    }
    return headers;
}

void pc_scrub(request_rec *r, apr_table_t *table)
{
    const pc_server_conf *conf = pc_server_conf_of(r->server);
    portcullis_header *headers;
    uint8_t *remove;
    size_t count, i;

    if (!conf->has_instance || apr_is_empty_table(table)) {
        return;
    }
    headers = headers_of(r, table, &count);
    remove = apr_pcalloc(r->pool, count + 1);
    portcullis_scrub(pc_agent(), &conf->instance, 1, headers, count, remove);
    for (i = 0; i < count; i++) {
        if (remove[i]) {
            /* The entries' texts outlive the entries. */
            apr_table_unset(table, (const char *)headers[i].name.data);
        }
    }
}

int pc_post_read_request(request_rec *r)
{
    pc_record *record = pc_record_of(r);

    /* Also on internal redirects: what an earlier allow added goes, the next one adds its own. */
    pc_scrub(r, r->headers_in);
    pc_scrub(r, r->trailers_in);
    if (pc_server_conf_of(r->server)->has_instance) {
        if (r->prev) {
            pc_body_inherit(r, record, pc_record_of(r->prev));
        }
        pc_watch_trailers(r);
    }
    return DECLINED;
}

int pc_translate_name(request_rec *r)
{
    /* A file name at this point comes from `ProxyPass … mapping=encoded`: then the path was never
     * decoded. */
    pc_record_of(r)->path = r->filename ? "" : apr_pstrdup(r->pool, r->uri);
    return DECLINED;
}

/* --- the sink */

static const char *copy(const pc_sink_ctx *ctx, portcullis_str text)
{
    return apr_pstrmemdup(ctx->pool, (const char *)text.data, text.len);
}

static void add_edit(void *ctx_, pc_edit_kind kind, portcullis_str name, portcullis_str value)
{
    const pc_sink_ctx *ctx = ctx_;
    pc_edit *edit = apr_array_push(ctx->record->edits);

    edit->kind = kind;
    edit->name = copy(ctx, name);
    edit->value = copy(ctx, value);
}

static void sink_request_header(void *ctx, portcullis_str name, portcullis_str value)
{
    add_edit(ctx, PC_SET, name, value);
}

static void sink_remove_request_header(void *ctx, portcullis_str name)
{
    add_edit(ctx, PC_REMOVE, name, pc_str(""));
}

static void sink_variable(void *ctx, portcullis_str name, portcullis_str value)
{
    add_edit(ctx, PC_VARIABLE, name, value);
}

static void sink_user(void *ctx_, portcullis_str name)
{
    const pc_sink_ctx *ctx = ctx_;

    ctx->record->user = copy(ctx, name);
}

static void sink_response_header(void *ctx_, portcullis_str name, portcullis_str value)
{
    const pc_sink_ctx *ctx = ctx_;
    const char *header = copy(ctx, name);

    if (!ap_cstr_casecmp(header, "Content-Type")) {
        ctx->record->content_type = copy(ctx, value);
    }
    else {
        apr_table_addn(ctx->record->headers, header, copy(ctx, value));
    }
}

static void sink_body(void *ctx_, portcullis_str body)
{
    const pc_sink_ctx *ctx = ctx_;

    ctx->record->body = copy(ctx, body);
    ctx->record->body_len = body.len;
}

static void sink_replay(void *ctx_, portcullis_str method, portcullis_str body)
{
    const pc_sink_ctx *ctx = ctx_;

    ctx->record->method = copy(ctx, method);
    pc_body_give(ctx->r, ctx->record, body);
}

/* --- deciding */

static portcullis_address address_of(const apr_sockaddr_t *from)
{
    portcullis_address to = { 0 };

    if (from && from->family == APR_INET) {
        to.family = 4;
        memcpy(to.bytes, &from->sa.sin.sin_addr, 4);
    }
    else if (from && from->family == APR_INET6) {
        const uint8_t *bytes = from->sa.sin6.sin6_addr.s6_addr;
        int mapped = IN6_IS_ADDR_V4MAPPED(&from->sa.sin6.sin6_addr);

        to.family = mapped ? 4 : 6;
        memcpy(to.bytes, mapped ? bytes + 12 : bytes, mapped ? 4 : 16);
    }
    return to;
}

/* A look-up made while a content handler runs can only fill a listing or an inclusion, and one page
 * may make hundreds: no call to AM for those. One made earlier (mod_dir, mod_negotiation) chooses
 * what the client gets. */
static int only_fills(const request_rec *r)
{
    for (; r && r->main; r = r->main) {
        if (pc_record_of(r->main)->handling) {
            return 1;
        }
    }
    return 0;
}

/* The headers that the library decides on: the client's. Those of a redirected request or of a
 * sub-request are what an earlier allow has made of them, without the cookies of the session. */
static void fill_headers(request_rec *r, pc_record *record, portcullis_request *view)
{
    const pc_record *first = record;
    request_rec *q;

    record->sent = headers_of(r, r->headers_in, &record->sent_count);
    for (q = earlier_request(r); q; q = earlier_request(q)) {
        const pc_record *other = pc_record_of(q);

        first = other->sent ? other : first;
    }
    record->sent = view->headers = first->sent;
    record->sent_count = view->header_count = first->sent_count;
}

static void fill_view(request_rec *r, pc_record *record, portcullis_request *view)
{
    const char *host = apr_table_get(r->headers_in, "Host");
    conn_rec *c = r->connection;
    apr_socket_t *socket = ap_get_conn_socket(c->master ? c->master : c);

    memset(view, 0, sizeof(*view));
    view->size = sizeof(*view);
    view->method = pc_str(r->method);
    /* A look-up of a file elsewhere has no URL. */
    view->target = pc_str(r->uri && *r->uri ? record->target : "");
    /* httpd has put the host of an absolute target there. */
    view->host = pc_str(host ? host : r->hostname);
    fill_headers(r, record, view);
    view->path = pc_str(record->path ? record->path : r->uri);
    view->path_info = pc_str(r->path_info);
    view->peer = address_of(r->connection->client_addr);
    view->client = address_of(r->useragent_addr);
    view->port = r->connection->local_addr->port;
    view->tls = ap_ssl_conn_is_ssl(r->connection) != 0;
    view->merged = 1;
    view->stored_only = only_fills(r) != 0;
    view->authorizes = pc_is_provider(r) != 0;
    if (socket && !r->main) {
        apr_os_sock_get(&view->socket, socket);
    }
}

static void hand_over_body(request_rec *r, pc_record *record, portcullis_request *view,
                           portcullis_ticket *ticket, uint64_t limit)
{
    portcullis_str body = { NULL, 0 };

    if (pc_body_read(r, record, limit, &body)) {
        portcullis_ticket_body(ticket, body.data, body.len);
    }
    else {
        portcullis_ticket_body(ticket, NULL, 0);
    }
    /* Trailers may have replaced the table of headers. */
    fill_headers(r, record, view);
}

static void start_over(request_rec *r, pc_record *record)
{
    record->edits = apr_array_make(r->pool, 8, sizeof(pc_edit));
    record->headers = apr_table_make(r->pool, 4);
    record->user = record->body = record->content_type = NULL;
    record->body_len = 0;
}

static apr_status_t free_ticket(void *ticket)
{
    if (!pc_ends_in_handler()) {
        portcullis_ticket_free(ticket);
    }
    return APR_SUCCESS;
}

static void ask(request_rec *r, pc_record *record)
{
    pc_sink_ctx ctx = { r, r->pool, record };
    portcullis_sink sink = { sizeof(sink), &ctx, sink_request_header, sink_remove_request_header,
                             sink_variable, sink_user, sink_response_header, sink_body,
                             sink_replay };
    portcullis_verdict verdict = { sizeof(verdict), PORTCULLIS_RESPOND, 0, 0, 0, 0 };
    portcullis_result result = PORTCULLIS_PENDING;
    portcullis_ticket *ticket = NULL;
    portcullis_request view;
    uint64_t limit = 0;
    int round;

    pc_drain_if_stopping();
    fill_view(r, record, &view);
    for (round = 0; result == PORTCULLIS_PENDING && round < MAX_ROUNDS; round++) {
        start_over(r, record);
        result = portcullis_decide(pc_agent(), record->instance, &view, &sink, &ticket, &verdict);
        if (result != PORTCULLIS_PENDING) {
            break;
        }
        if (portcullis_ticket_wants(ticket, &limit) == PORTCULLIS_WANTS_BODY) {
            hand_over_body(r, record, &view, ticket, limit);
        }
        else if (portcullis_ticket_wants(ticket, NULL) == PORTCULLIS_WANTS_PARTS) {
            record->consumed = 1;
            pc_body_parts(r, ticket);
            fill_headers(r, record, &view);
        }
        else {
            portcullis_ticket_wait(ticket);
        }
    }
    if (ticket && result == PORTCULLIS_OK) {
        /* It is let in, and ends with the session or here. */
        apr_pool_cleanup_register(r->pool, ticket, free_ticket, apr_pool_cleanup_null);
    }
    else {
        portcullis_ticket_free(ticket);
    }
    if (result == PORTCULLIS_OK && verdict.kind == PORTCULLIS_REPLAY && record->kept) {
        record->state = PC_REPLACED;
        return;
    }
    if (result == PORTCULLIS_OK && verdict.kind == PORTCULLIS_ALLOW && !record->consumed) {
        record->open = verdict.exempt != 0;
        record->exempt = verdict.exempt == 1;
        record->refused = verdict.refused != 0;
        record->state = PC_ALLOWED;
        return;
    }
    record->state = PC_ANSWERED;
    record->status = verdict.status;
    if (result != PORTCULLIS_OK || verdict.kind != PORTCULLIS_RESPOND || verdict.status < 200) {
        portcullis_str why = portcullis_result_text(result);

        start_over(r, record);
        record->status = HTTP_SERVICE_UNAVAILABLE;
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "Web Agent: no decision, denied: %.*s",
                      (int)why.len, (const char *)why.data);
    }
}

/* The allow that an earlier request of the same client request got for the very same thing. */
static const pc_record *shared_allow(request_rec *r, const pc_record *record)
{
    request_rec *q;

    for (q = earlier_request(r); q; q = earlier_request(q)) {
        const pc_record *other = pc_record_of(q);

        if (other->state == PC_ALLOWED && !other->refused && other->instance == record->instance
            && !strcmp(other->method, record->method) && !strcmp(other->target, record->target)) {
            return other;
        }
    }
    return NULL;
}

/* What httpd shows for a denial of ours: passes, without identity, unless AmAuthErrorDocument is On.
 * An ErrorDocument for anybody else's error is decided like any other page. */
static int shows_our_denial(request_rec *r)
{
    const pc_record *denied = r->prev && !r->main ? pc_record_of(r->prev) : NULL;

    return denied && !pc_decides_error_documents(r) && ap_is_HTTP_ERROR(r->prev->status)
           && (denied->state == PC_ERROR_DOCUMENT
               || (denied->state == PC_ANSWERED && denied->status == r->prev->status));
}

static pc_record *decided(request_rec *r)
{
    const pc_server_conf *conf = pc_server_conf_of(r->server);
    pc_record *record = pc_record_of(r);
    const pc_record *shared;

    if (record->state != PC_UNDECIDED) {
        return record;
    }
    record->instance = conf->instance;
    record->method = r->method;
    if (!conf->has_instance) {
        start_over(r, record);
        record->state = PC_ANSWERED;
        record->status = HTTP_SERVICE_UNAVAILABLE;
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "AmAgent is On, but this server has no AmAgentConf: denied");
    }
    else if (shows_our_denial(r)) {
        record->state = PC_ERROR_DOCUMENT;
    }
    else if ((shared = shared_allow(r, record)) != NULL && *r->uri) {
        record->edits = shared->edits;
        record->user = shared->user;
        record->open = shared->open;
        record->exempt = shared->exempt;
        record->state = PC_ALLOWED;
    }
    else {
        ask(r, record);
    }
    return record;
}

/* --- carrying it out */

static void edit_headers(request_rec *r, const pc_record *record)
{
    const pc_edit *edit;
    int i;

    for (i = 0; i < record->edits->nelts; i++) {
        edit = &APR_ARRAY_IDX(record->edits, i, pc_edit);
        if (edit->kind == PC_SET) {
            apr_table_setn(r->headers_in, edit->name, edit->value);
        }
        else if (edit->kind == PC_REMOVE) {
            apr_table_unset(r->headers_in, edit->name);
        }
    }
}

void pc_apply_headers(request_rec *r, const pc_record *record)
{
    if (record->state == PC_ALLOWED) {
        edit_headers(r, record);
    }
}

static void take_user(request_rec *r, const pc_record *record)
{
    if (record->user) {
        r->user = (char *)record->user;
        r->ap_auth_type = (char *)"OpenAM";
    }
}

/* Everything but the response's headers, which would double: this runs twice. */
static void let_through(request_rec *r, const pc_record *record)
{
    const pc_edit *edit;
    request_rec *q;
    int i;

    if (record->state != PC_ALLOWED) {
        return;
    }
    pc_apply_headers(r, record);
    for (i = 0; i < record->edits->nelts; i++) {
        edit = &APR_ARRAY_IDX(record->edits, i, pc_edit);
        if (edit->kind == PC_VARIABLE) {
            apr_table_setn(r->subprocess_env, edit->name, edit->value);
        }
    }
    if (!record->open) {
        take_user(r, record);
    }
    /* mod_cache asks its store before anyone asks us: nothing protected may get in there, not even
     * as a part of another page. */
    for (q = record->exempt ? NULL : r; q; q = earlier_request(q)) {
        q->no_cache = 1;
    }
}

static void add_headers(request_rec *r, const pc_record *record)
{
    if (record->headers) {
        r->err_headers_out = apr_table_overlay(r->pool, r->err_headers_out, record->headers);
    }
}

static int write_page(request_rec *r, const pc_record *record)
{
    r->status = record->status;
    if (ap_status_drops_connection(r->status)) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }
    /* Filters that were meant for the page behind us go; `Header always` still applies. */
    r->output_filters = r->proto_output_filters;
    ap_run_insert_error_filter(r);
    if (record->content_type) {
        ap_set_content_type(r, record->content_type);
    }
    ap_set_content_length(r, record->body_len);
    if (record->body_len) {
        ap_rwrite(record->body, (int)record->body_len, r);
    }
    return DONE;
}

/* Answers instead of the host. Returns what the hook has to return. */
static int answer(request_rec *r, const pc_record *record)
{
    int error = ap_is_HTTP_ERROR(record->status);

    r->no_cache = 1;
    if (r->main) {
        /* mod_dir passes a redirection on to the client; mod_autoindex would list the entry. */
        if (only_fills(r) || !ap_is_HTTP_REDIRECT(record->status)) {
            return error ? record->status : HTTP_FORBIDDEN;
        }
        add_headers(r, record);
        return record->status;
    }
    if (r->prev && r->prev->status != HTTP_OK) {
        return HTTP_FORBIDDEN;   /* an ErrorDocument: httpd falls back to its own page */
    }
    add_headers(r, record);
    if (error && ap_response_code_string(r, ap_index_of_response(record->status))) {
        return record->status;
    }
    if (!record->body && !ap_is_HTTP_SUCCESS(record->status)) {
        return record->status;
    }
    return write_page(r, record);
}

/* The kept POST goes through httpd from the beginning, as if the client had sent it: rules and handlers
 * that look at the method see its own. */
static int replace(request_rec *r, const pc_record *record)
{
    if (r->main) {
        return HTTP_FORBIDDEN;
    }
    edit_headers(r, record);
    r->method = record->method;
    r->method_number = ap_method_number_of(r->method);
    r->no_cache = 1;
    add_headers(r, record);
    /* httpd asks nobody again where the configuration is that of the request before, by its address:
     * a copy is another one. */
    r->per_dir_config = ap_merge_per_dir_configs(r->pool, r->per_dir_config,
                                                 ap_create_request_config(r->pool));
    ap_internal_redirect(record->target, r);
    return DONE;
}

int pc_access_checker(request_rec *r)
{
    const pc_record *record;

    if (!pc_is_on(r)) {
        return DECLINED;
    }
    record = decided(r);
    if (record->state == PC_REPLACED) {
        return replace(r, record);
    }
    if (record->state != PC_ANSWERED) {
        let_through(r, record);
        return OK;
    }
    if (ap_satisfies(r) == SATISFY_ANY) {
        return HTTP_FORBIDDEN;   /* fixups answers, if nobody else refuses before */
    }
    return answer(r, record);
}

int pc_check_user(request_rec *r)
{
    const pc_record *record = pc_record_of(r);

    if (!pc_is_on(r) || record->state != PC_ALLOWED || !record->user || record->open) {
        return DECLINED;
    }
    take_user(r, record);
    return OK;
}

int pc_fixups(request_rec *r)
{
    const pc_record *record;

    if (!pc_is_on(r)) {
        return DECLINED;
    }
    record = decided(r);
    if (record->state == PC_REPLACED) {
        return replace(r, record);
    }
    if (record->state == PC_ANSWERED) {
        return answer(r, record);
    }
    if (record->refused && !pc_is_provider(r)) {
        return HTTP_FORBIDDEN;   /* another place than the one it was decided for */
    }
    let_through(r, record);
    /* The name on an exempt page proves nothing. httpd's own authentication would be content with it,
     * and whom it found stays who they are. */
    if (record->state == PC_ALLOWED && record->open && !r->user) {
        take_user(r, record);
    }
    if (record->state == PC_ALLOWED && !r->main) {
        add_headers(r, record);
    }
    return OK;
}

void pc_insert_filter(request_rec *r)
{
    pc_record *record = pc_record_of(r);

    record->handling = 1;
    if (record->state != PC_UNDECIDED && !(record->state == PC_ALLOWED && record->exempt)) {
        r->no_cache = 1;   /* mod_dir's switch to an index page may have taken it back */
    }
}
