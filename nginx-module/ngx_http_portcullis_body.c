/* How does the library get a request body that it asked for? nginx reads it (to memory or to its
 * temporary file) and keeps it for the content handler; the library takes a copy. */

#include "ngx_http_portcullis.h"

static ngx_int_t collect(ngx_http_request_t *r, u_char *p, size_t size)
{
    size_t        n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;
        n = ngx_buf_size(b);
        if (n > size) {
            return NGX_ERROR;
        }
        if (ngx_buf_in_memory(b)) {
            ngx_memcpy(p, b->pos, n);
        } else if (n && ngx_read_file(b->file, p, n, b->file_pos) != (ssize_t) n) {
            return NGX_ERROR;
        }
        p += n;
        size -= n;
    }
    return size ? NGX_ERROR : NGX_OK;
}

/* Hands the body over; one that was not read, cannot be had or is too large as "none". */
static void hand_over(pc_ctx_t *ctx, uint64_t limit)
{
    off_t                size = 0;
    u_char              *data = NULL;
    ngx_chain_t         *cl;
    ngx_http_request_t  *r = ctx->request;

    if (r->request_body && ctx->body == PC_BODY_READ) {
        for (cl = r->request_body->bufs; cl; cl = cl->next) {
            size += ngx_buf_size(cl->buf);
        }
        if ((uint64_t) size <= limit) {
            data = ngx_alloc(size + 1, r->connection->log);
        }
    }

    if (data == NULL || (size && collect(r, data, size) != NGX_OK)) {
        (void) portcullis_ticket_body(ctx->ticket, NULL, 0);
    } else {
        (void) portcullis_ticket_body(ctx->ticket, data, size);
    }

    if (data) {
        ngx_explicit_memzero(data, size);   /* it may hold a password */
        ngx_free(data);
    }
}

static void body_ready(ngx_http_request_t *r)
{
    uint64_t   limit = 0;
    pc_ctx_t  *ctx = pc_ctx(r);

    if (ctx) {
        ctx->body = PC_BODY_READ;
        if (ctx->ticket
            && portcullis_ticket_wants(ctx->ticket, &limit) == PORTCULLIS_WANTS_BODY)
        {
            hand_over(ctx, limit);
        }
    }

    r->preserve_body = 1;
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

/* NGX_OK: handed over, ask again. NGX_DONE: the phases run again when it is there (perhaps they
 * already did). NGX_ERROR or a status: it cannot be read. */
ngx_int_t pc_read_body(pc_ctx_t *ctx, uint64_t limit)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r = ctx->request;

    if (ctx->body == PC_BODY_READ
        || (r->headers_in.content_length_n > 0
            && (uint64_t) r->headers_in.content_length_n > limit))
    {
        hand_over(ctx, limit);   /* there already, or not worth reading: it would be refused */
        return NGX_OK;
    }
    if (ctx->body == PC_BODY_READING) {
        return NGX_ERROR;        /* reading broke off, and this is its error page */
    }

    ctx->body = PC_BODY_READING;
    rc = ngx_http_read_client_request_body(r, body_ready);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }
    ngx_http_finalize_request(r, NGX_DONE);
    return NGX_DONE;
}
