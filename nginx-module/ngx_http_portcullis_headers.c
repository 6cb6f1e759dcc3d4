/* How do headers leave and enter nginx's list of request headers? The list is rebuilt rather than
 * edited: nginx forwards an entry whose hash is 0, and typed pointers such as headers_in.cookies
 * must follow. Which names go is the library's business. */

#include "ngx_http_portcullis.h"


ngx_uint_t
ngx_http_portcullis_same(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->data == b->data || ngx_memcmp(a->data, b->data, a->len) == 0);
}


static ngx_uint_t
ngx_http_portcullis_same_name(ngx_str_t *a, u_char *name, size_t len)
{
    return a->len == len && ngx_strncasecmp(a->data, name, len) == 0;
}


/* nginx expects header values to end with a NUL byte. */

ngx_int_t
ngx_http_portcullis_copy(ngx_pool_t *pool, portcullis_str from, ngx_str_t *to)
{
    to->data = ngx_pnalloc(pool, from.len + 1);
    if (to->data == NULL) {
        return NGX_ERROR;
    }

    if (from.len) {
        ngx_memcpy(to->data, from.data, from.len);
    }

    to->data[from.len] = '\0';
    to->len = from.len;

    return NGX_OK;
}


/* The list's entries in order; the strings stay nginx's. */

ngx_int_t
ngx_http_portcullis_gather(ngx_http_request_t *r, portcullis_header **headers, size_t *count)
{
    size_t              n;
    ngx_uint_t          i;
    ngx_list_part_t    *part;
    ngx_table_elt_t    *h;
    portcullis_header  *out;

    n = 0;
    for (part = &r->headers_in.headers.part; part; part = part->next) {
        n += part->nelts;
    }

    out = ngx_palloc(r->pool, (n + 1) * sizeof(portcullis_header));
    if (out == NULL) {
        return NGX_ERROR;
    }

    *headers = out;
    *count = n;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++, out++) {
            out->name.data = h[i].key.data;
            out->name.len = h[i].key.len;
            out->value.data = h[i].value.data;
            out->value.len = h[i].value.len;
        }
    }

    return NGX_OK;
}


/* Takes what a client may not send to this server out of the request and out of `headers`, which
 * must be the list as it is now. */

ngx_int_t
ngx_http_portcullis_scrub(ngx_http_request_t *r, portcullis_header *headers, size_t *count)
{
    size_t                           i, kept;
    u_char                          *remove;
    ngx_http_portcullis_srv_conf_t  *scf;

    if (*count == 0) {
        return NGX_OK;
    }

    scf = ngx_http_get_module_srv_conf(r, ngx_http_portcullis_module);

    remove = ngx_pcalloc(r->pool, *count);
    if (remove == NULL) {
        return NGX_ERROR;
    }

    /* on any trouble the library has marked all that could be an identity: go on with that */
    (void) portcullis_scrub(ngx_http_portcullis_agent(r), scf->instances->elts,
                            scf->instances->nelts, headers, *count, remove);

    kept = 0;
    for (i = 0; i < *count; i++) {
        if (!remove[i]) {
            headers[kept++] = headers[i];
        }
    }

    if (kept == *count) {
        return NGX_OK;
    }

    *count = kept;

    return ngx_http_portcullis_relist(r, remove);
}


/* Points the typed field of `known` at its entries in the list. */

static ngx_int_t
ngx_http_portcullis_link(ngx_http_request_t *r, ngx_http_header_t *known)
{
    ngx_uint_t         i;
    ngx_list_part_t   *part;
    ngx_table_elt_t   *h, **field;
#if (nginx_version < 1023000)
    ngx_array_t       *array;
    ngx_table_elt_t  **item;
#endif

    field = (ngx_table_elt_t **) ((char *) &r->headers_in + known->offset);

#if (nginx_version < 1023000)
    array = NULL;

    if (known->offset == offsetof(ngx_http_headers_in_t, cookies)
#if (NGX_HTTP_X_FORWARDED_FOR)
        || known->offset == offsetof(ngx_http_headers_in_t, x_forwarded_for)
#endif
       )
    {
        array = (ngx_array_t *) field;

        if (ngx_array_init(array, r->pool, 1, sizeof(ngx_table_elt_t *)) != NGX_OK) {
            return NGX_ERROR;
        }

    } else
#endif
    {
        *field = NULL;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (!ngx_http_portcullis_same_name(&h[i].key, known->name.data, known->name.len)) {
                continue;
            }

#if (nginx_version < 1023000)
            if (array) {
                item = ngx_array_push(array);
                if (item == NULL) {
                    return NGX_ERROR;
                }

                *item = &h[i];

            } else if (*field == NULL) {
                *field = &h[i];
            }
#else
            *field = &h[i];
            field = &h[i].next;
            *field = NULL;
#endif
        }
    }

    return NGX_OK;
}


/* Rebuilds the list without the marked entries (NULL: a private copy for a sub-request, which
 * shares its parent's entries until then). */

ngx_int_t
ngx_http_portcullis_relist(ngx_http_request_t *r, u_char *remove)
{
    ngx_uint_t          i, n;
    ngx_list_t          old;
    ngx_list_part_t    *part;
    ngx_table_elt_t    *h, *to;
    ngx_http_header_t  *known;

    old = r->headers_in.headers;

    if (ngx_list_init(&r->headers_in.headers, r->pool, 20, sizeof(ngx_table_elt_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    n = 0;
    for (part = &old.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++, n++) {
            if (remove && remove[n]) {
                continue;
            }

            to = ngx_list_push(&r->headers_in.headers);
            if (to == NULL) {
                return NGX_ERROR;
            }

            *to = h[i];
        }
    }

    for (known = ngx_http_headers_in; known->name.len; known++) {
        if (ngx_http_portcullis_link(r, known) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_portcullis_add_header(ngx_http_request_t *r, portcullis_str name, ngx_str_t *value)
{
    ngx_table_elt_t    *h;
    ngx_http_header_t  *known;

    h = ngx_list_push(&r->headers_in.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    /* an entry without its name must not stay behind */
    if (ngx_http_portcullis_copy(r->pool, name, &h->key) != NGX_OK) {
        return NGX_ERROR;
    }

    h->value = *value;
    h->lowcase_key = ngx_pnalloc(r->pool, name.len + 1);
    if (h->lowcase_key == NULL) {
        return NGX_ERROR;
    }

    /* proxy_set_header looks for it by this hash */
    h->hash = ngx_hash_strlow(h->lowcase_key, h->key.data, h->key.len);

    for (known = ngx_http_headers_in; known->name.len; known++) {
        if (ngx_http_portcullis_same_name(&h->key, known->name.data, known->name.len)) {
            return ngx_http_portcullis_link(r, known);
        }
    }

    return NGX_OK;
}


/* Replaces a request header: one entry of that name stays. `value` NULL: none stays. */

ngx_int_t
ngx_http_portcullis_set_header(ngx_http_request_t *r, portcullis_str name, portcullis_str *value)
{
    u_char           *remove;
    size_t            n, count;
    ngx_str_t         copy;
    ngx_uint_t        i, extra;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *first;

    ngx_str_null(&copy);

    if (value && ngx_http_portcullis_copy(r->pool, *value, &copy) != NGX_OK) {
        return NGX_ERROR;
    }

    count = 0;
    for (part = &r->headers_in.headers.part; part; part = part->next) {
        count += part->nelts;
    }

    remove = NULL;
    first = NULL;
    extra = 0;
    n = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++, n++) {
            if (!ngx_http_portcullis_same_name(&h[i].key, (u_char *) name.data, name.len)) {
                continue;
            }

            if (value && first == NULL) {
                first = &h[i];
                continue;
            }

            if (remove == NULL) {
                remove = ngx_pcalloc(r->pool, count);
                if (remove == NULL) {
                    return NGX_ERROR;
                }
            }

            remove[n] = 1;
            extra = 1;
        }
    }

    if (first) {
        first->value = copy;

    } else if (value && ngx_http_portcullis_add_header(r, name, &copy) != NGX_OK) {
        return NGX_ERROR;
    }

    return extra ? ngx_http_portcullis_relist(r, remove) : NGX_OK;
}
