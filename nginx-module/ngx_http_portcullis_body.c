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

/* Hands the body over piece by piece, from memory or from nginx's temporary file. */
static void hand_over_parts(pc_ctx_t *ctx)
{
    off_t                left;
    u_char               piece[16384];
    ssize_t              n;
    ngx_buf_t           *b;
    ngx_uint_t           ok = ctx->body == PC_BODY_READ && ctx->request->request_body;
    ngx_chain_t         *cl;

    for (cl = ok ? ctx->request->request_body->bufs : NULL; ok && cl; cl = cl->next) {
        b = cl->buf;
        if (ngx_buf_in_memory(b)) {
            ok = portcullis_ticket_part(ctx->ticket, b->pos, b->last - b->pos) == PORTCULLIS_OK;
            continue;
        }
        for (left = ngx_buf_size(b); ok && left; left -= n) {
            n = ngx_read_file(b->file, piece, ngx_min(left, (off_t) sizeof(piece)),
                              b->file_last - left);
            ok = n > 0 && portcullis_ticket_part(ctx->ticket, piece, n) == PORTCULLIS_OK;
        }
    }
    ngx_explicit_memzero(piece, sizeof(piece));
    (void) portcullis_ticket_parts_end(ctx->ticket, ok);
}

/* Hands the body over; one that was not read, cannot be had or is too large as "none". */
static void hand_over(pc_ctx_t *ctx, uint64_t limit)
{
    off_t                size = 0;
    u_char              *data = NULL;
    ngx_chain_t         *cl;
    ngx_http_request_t  *r = ctx->request;

    if (portcullis_ticket_wants(ctx->ticket, NULL) == PORTCULLIS_WANTS_PARTS) {
        hand_over_parts(ctx);
        return;
    }

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
            && portcullis_ticket_wants(ctx->ticket, &limit) != PORTCULLIS_WANTS_AM)
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

/* The body of the request that takes the place of this one, which has none. */
ngx_int_t pc_give_body(ngx_http_request_t *r, portcullis_str body)
{
    ngx_buf_t                *b = ngx_create_temp_buf(r->pool, body.len + 1);
    ngx_chain_t              *cl = ngx_alloc_chain_link(r->pool);
    ngx_http_request_body_t  *rb = ngx_pcalloc(r->pool, sizeof(ngx_http_request_body_t));

    if (b == NULL || cl == NULL || rb == NULL) {
        return NGX_ERROR;
    }
    if (body.len) {
        b->last = ngx_cpymem(b->last, body.data, body.len);
        cl->buf = b;
        cl->next = NULL;
        rb->bufs = cl;
    }
    r->request_body = rb;
    r->preserve_body = 1;
    r->headers_in.content_length_n = body.len;
    r->headers_in.chunked = 0;
    return NGX_OK;
}
