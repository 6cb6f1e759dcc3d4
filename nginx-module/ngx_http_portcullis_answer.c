/* How is a denial given out, and how do the library's response headers reach the client on every
 * kind of answer? */

#include "ngx_http_portcullis.h"

ngx_http_output_header_filter_pt  pc_next_header_filter;

static ngx_uint_t is_content_type(ngx_str_t *name)
{
    return ngx_strcasecmp(name->data, (u_char *) "Content-Type") == 0;
}

static ngx_uint_t has_error_page(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_uint_t                 i;
    ngx_http_err_page_t       *pages;
    ngx_http_core_loc_conf_t  *clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

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
static ngx_int_t send_page(ngx_http_request_t *r, pc_ctx_t *ctx)
{
    ngx_int_t      rc;
    ngx_buf_t     *b;
    ngx_uint_t     i;
    ngx_chain_t    out;
    ngx_keyval_t  *kv = ctx->answers.elts;

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

    for (i = 0; i < ctx->answers.nelts; i++) {
        if (is_content_type(&kv[i].key)) {
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
ngx_int_t pc_answer(ngx_http_request_t *r, pc_ctx_t *ctx)
{
    ngx_uint_t  first = !ctx->answered;

    ctx->answered = 1;
    r->access_code = 0;
    if (r->headers_out.www_authenticate) {
        r->headers_out.www_authenticate->hash = 0;
        r->headers_out.www_authenticate = NULL;
    }

    if (first && (ctx->bare || has_error_page(r, ctx->status))) {
        ngx_http_finalize_request(r, ctx->status);
    } else {
        ngx_http_finalize_request(r, send_page(r, ctx));
    }
    return NGX_DONE;
}

/* Denies without an answer of the library: nginx's own page. */
ngx_int_t pc_fail(ngx_http_request_t *r, pc_ctx_t *ctx, ngx_uint_t status)
{
    pc_cancel(ctx);
    ctx->state = PC_DENIED;
    ctx->status = status;
    ctx->bare = 1;
    ctx->content.len = 0;
    return pc_answer(r, ctx);
}

/* Adds the library's response headers, here rather than at the decision: nginx empties the list
 * for some of its own answers (412), and error pages and 304 must carry them too. */
ngx_int_t pc_header_filter(ngx_http_request_t *r)
{
    pc_ctx_t         *ctx;
    ngx_uint_t        i;
    ngx_keyval_t     *kv;
    ngx_table_elt_t  *h;

    if (!pc_srv_conf(r)->on || r != r->main || (ctx = pc_ctx(r)) == NULL) {
        return pc_next_header_filter(r);
    }

    kv = ctx->answers.elts;
    for (i = 0; i < ctx->answers.nelts; i++) {
        if (is_content_type(&kv[i].key)) {
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
    return pc_next_header_filter(r);
}
