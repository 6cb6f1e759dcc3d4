/* Reads the request body before the content handler does, and lets the handler read it again. Also
 * takes identity headers out of trailers, which arrive after everything else was scrubbed. */

#include "mod_portcullis.h"

APLOG_USE_MODULE(amagent);

typedef struct pc_body {
    const char *data;      /* in the request's pool */
    apr_size_t len;
    apr_size_t given;      /* how much of it was read again */
    int complete;          /* the end of the body was seen; else the rest follows from the client */
} pc_body;

static ap_filter_rec_t *replay_filter, *trailer_filter;

/* Copies the data of `from` behind `to`. 1: the end of the body was among it. */
static int keep(apr_bucket_brigade *to, apr_bucket_brigade *from, uint64_t *total, apr_status_t *rv)
{
    apr_bucket *b;

    for (b = APR_BRIGADE_FIRST(from); b != APR_BRIGADE_SENTINEL(from); b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t len;

        if (APR_BUCKET_IS_EOS(b)) {
            return 1;
        }
        if (APR_BUCKET_IS_METADATA(b)) {
            continue;
        }
        *rv = apr_bucket_read(b, &data, &len, APR_BLOCK_READ);
        if (*rv == APR_SUCCESS) {
            *rv = apr_brigade_write(to, NULL, NULL, data, len);
        }
        if (*rv != APR_SUCCESS) {
            return 0;
        }
        *total += len;
    }
    return 0;
}

int pc_body_read(request_rec *r, pc_record *record, uint64_t limit, portcullis_str *data)
{
    apr_bucket_brigade *in, *all;
    apr_status_t rv = APR_SUCCESS;
    uint64_t total = 0;
    pc_body *body = record->kept;

    if (r->main) {
        return 0;          /* the body is the main request's */
    }
    if (!body) {
        body = apr_pcalloc(r->pool, sizeof(*body));
        in = apr_brigade_create(r->pool, r->connection->bucket_alloc);
        all = apr_brigade_create(r->pool, r->connection->bucket_alloc);
        while (!body->complete && rv == APR_SUCCESS && total <= limit) {
            rv = ap_get_brigade(r->input_filters, in, AP_MODE_READBYTES, APR_BLOCK_READ,
                                HUGE_STRING_LEN);
            if (rv == APR_SUCCESS) {
                body->complete = keep(all, in, &total, &rv);
            }
            apr_brigade_cleanup(in);
        }
        if (rv != APR_SUCCESS) {
            ap_log_rerror(APLOG_MARK, APLOG_INFO, rv, r, "could not read the request body");
        }
        rv = apr_brigade_pflatten(all, (char **)&body->data, &body->len, r->pool);
        apr_brigade_destroy(all);
        if (rv != APR_SUCCESS) {
            return 0;
        }
        record->kept = body;
        ap_add_input_filter_handle(replay_filter, body, r, r->connection);
    }
    data->data = (const uint8_t *)(body->len ? body->data : "");
    data->len = body->len;
    return body->complete && body->len <= limit;
}

/* Hands the data over. 1: go on; 0: the end of the body was among it, or no more is wanted. */
static int hand_over(portcullis_ticket *ticket, apr_bucket_brigade *from, int *complete,
                     apr_status_t *rv)
{
    apr_bucket *b;

    for (b = APR_BRIGADE_FIRST(from); b != APR_BRIGADE_SENTINEL(from); b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t len;

        if (APR_BUCKET_IS_EOS(b)) {
            *complete = 1;
            return 0;
        }
        if (APR_BUCKET_IS_METADATA(b)) {
            continue;
        }
        *rv = apr_bucket_read(b, &data, &len, APR_BLOCK_READ);
        if (*rv != APR_SUCCESS
            || portcullis_ticket_part(ticket, (const uint8_t *)data, len) != PORTCULLIS_OK) {
            return 0;
        }
    }
    return 1;
}

void pc_body_parts(request_rec *r, portcullis_ticket *ticket)
{
    apr_bucket_brigade *in = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_status_t rv = APR_SUCCESS;
    int complete = 0, more = !r->main;

    while (more) {
        rv = ap_get_brigade(r->input_filters, in, AP_MODE_READBYTES, APR_BLOCK_READ,
                            HUGE_STRING_LEN);
        more = rv == APR_SUCCESS && hand_over(ticket, in, &complete, &rv);
        apr_brigade_cleanup(in);
    }
    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, rv, r, "could not read the request body");
    }
    apr_brigade_destroy(in);
    portcullis_ticket_parts_end(ticket, complete != 0);
}

void pc_body_give(request_rec *r, pc_record *record, portcullis_str data)
{
    pc_body *body = apr_pcalloc(r->pool, sizeof(*body));

    body->data = apr_pmemdup(r->pool, data.data, data.len);
    body->len = data.len;
    body->complete = 1;
    record->kept = body;
    /* httpd discards what is left of each request's body, and the headers of this one say that it has
     * one now: what comes next on the connection is another request. */
    ap_add_input_filter_handle(replay_filter, body, r, r->connection);
}

void pc_body_inherit(request_rec *r, pc_record *record, const pc_record *earlier)
{
    /* An internal redirect starts with the protocol's filters only. */
    if (earlier->kept) {
        record->kept = earlier->kept;
        ap_add_input_filter_handle(replay_filter, record->kept, r, r->connection);
    }
}

static apr_status_t replay(ap_filter_t *f, apr_bucket_brigade *out, ap_input_mode_t mode,
                           apr_read_type_e block, apr_off_t wanted)
{
    pc_body *body = f->ctx;
    apr_size_t len = body->len - body->given;

    if (len == 0 && !body->complete) {
        return ap_get_brigade(f->next, out, mode, block, wanted);
    }
    if (mode != AP_MODE_READBYTES && mode != AP_MODE_SPECULATIVE && mode != AP_MODE_EXHAUSTIVE) {
        return APR_ENOTIMPL;
    }
    if (mode != AP_MODE_EXHAUSTIVE && wanted >= 0 && (apr_off_t)len > wanted) {
        len = (apr_size_t)wanted;
    }
    if (len) {
        APR_BRIGADE_INSERT_TAIL(out, apr_bucket_pool_create(body->data + body->given, len,
                                                            f->r->pool, out->bucket_alloc));
    }
    if (body->complete && body->given + len == body->len) {
        APR_BRIGADE_INSERT_TAIL(out, apr_bucket_eos_create(out->bucket_alloc));
    }
    if (mode != AP_MODE_SPECULATIVE) {
        body->given += len;
    }
    return APR_SUCCESS;
}

static apr_status_t scrub_trailers(ap_filter_t *f, apr_bucket_brigade *bb, ap_input_mode_t mode,
                                   apr_read_type_e block, apr_off_t wanted)
{
    request_rec *r = f->r;
    apr_status_t rv = ap_get_brigade(f->next, bb, mode, block, wanted);

    if (rv != APR_SUCCESS || APR_BRIGADE_EMPTY(bb) || !APR_BUCKET_IS_EOS(APR_BRIGADE_LAST(bb))) {
        return rv;
    }
    ap_remove_input_filter(f);
    if (!apr_is_empty_table(r->trailers_in)) {
        /* With MergeTrailers they are among the headers by now, over what an allow wrote there. */
        pc_scrub(r, r->trailers_in);
        pc_scrub(r, r->headers_in);
        pc_apply_headers(r, pc_record_of(r));
    }
    return rv;
}

void pc_watch_trailers(request_rec *r)
{
    if (apr_table_get(r->headers_in, "Transfer-Encoding") || r->proto_num >= HTTP_VERSION(2, 0)) {
        ap_add_input_filter_handle(trailer_filter, NULL, r, r->connection);
    }
}

void pc_register_filters(void)
{
    /* Right above the protocol: filters that decode the body must see it again as it came. */
    replay_filter = ap_register_input_filter("PORTCULLIS_BODY", replay, NULL,
                                             AP_FTYPE_PROTOCOL - 1);
    trailer_filter = ap_register_input_filter("PORTCULLIS_TRAILERS", scrub_trailers, NULL,
                                              AP_FTYPE_PROTOCOL - 1);
}
