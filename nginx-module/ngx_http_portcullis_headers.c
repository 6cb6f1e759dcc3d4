/* How do headers leave and enter nginx's list of request headers? The list is rebuilt rather than
 * edited: nginx forwards an entry whose hash is 0, and typed pointers such as headers_in.cookies
 * must follow. Which names go is the library's business. */

#include "ngx_http_portcullis.h"

ngx_uint_t pc_same(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->data == b->data || ngx_memcmp(a->data, b->data, a->len) == 0);
}

static ngx_uint_t same_name(ngx_str_t *a, const u_char *name, size_t len)
{
    return a->len == len && ngx_strncasecmp(a->data, (u_char *) name, len) == 0;
}

/* nginx expects header values to end with a NUL byte. */
ngx_int_t pc_copy(ngx_pool_t *pool, portcullis_str from, ngx_str_t *to)
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

static size_t list_size(ngx_list_t *list)
{
    size_t            n = 0;
    ngx_list_part_t  *part;

    for (part = &list->part; part; part = part->next) {
        n += part->nelts;
    }
    return n;
}

/* The list's entries in order; the strings stay nginx's. */
ngx_int_t pc_gather(ngx_http_request_t *r, portcullis_header **headers, size_t *count)
{
    ngx_uint_t          i;
    ngx_list_part_t    *part;
    ngx_table_elt_t    *h;
    portcullis_header  *out;

    *count = list_size(&r->headers_in.headers);
    *headers = out = ngx_palloc(r->pool, (*count + 1) * sizeof(portcullis_header));
    if (out == NULL) {
        return NGX_ERROR;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        for (h = part->elts, i = 0; i < part->nelts; i++, out++) {
            out->name = pc_str(h[i].key);
            out->value = pc_str(h[i].value);
        }
    }
    return NGX_OK;
}

/* Takes what a client may not send to this server out of the request and out of `headers`, which
 * must be the list as it is now. */
ngx_int_t pc_scrub(ngx_http_request_t *r, portcullis_header *headers, size_t *count)
{
    size_t          i, kept = 0;
    u_char         *remove;
    pc_srv_conf_t  *scf = pc_srv_conf(r);

    remove = ngx_pcalloc(r->pool, *count + 1);
    if (remove == NULL) {
        return NGX_ERROR;
    }

    /* on any trouble the library has marked all that could be an identity: go on with that */
    (void) portcullis_scrub(pc_main_conf(r)->agent, scf->instances->elts, scf->instances->nelts,
                            headers, *count, remove);

    for (i = 0; i < *count; i++) {
        if (!remove[i]) {
            headers[kept++] = headers[i];
        }
    }
    if (kept == *count) {
        return NGX_OK;
    }
    *count = kept;
    return pc_relist(r, remove);
}

/* Before 1.23 the lines of these headers were arrays, since then all are chains. */
static ngx_array_t *array_of(ngx_http_request_t *r, ngx_http_header_t *known)
{
#if (nginx_version < 1023000)
    if (known->offset == offsetof(ngx_http_headers_in_t, cookies)) {
        return &r->headers_in.cookies;
    }
#if (NGX_HTTP_X_FORWARDED_FOR)
    if (known->offset == offsetof(ngx_http_headers_in_t, x_forwarded_for)) {
        return &r->headers_in.x_forwarded_for;
    }
#endif
#endif
    return NULL;
}

static ngx_table_elt_t **field_of(ngx_http_request_t *r, ngx_http_header_t *known)
{
    return (ngx_table_elt_t **) ((char *) &r->headers_in + known->offset);
}

/* The typed field of `known` has no entries now. */
static ngx_int_t unlink_known(ngx_http_request_t *r, ngx_http_header_t *known)
{
    ngx_array_t  *array = array_of(r, known);

    if (array == NULL) {
        *field_of(r, known) = NULL;
        return NGX_OK;
    }
    return ngx_array_init(array, r->pool, 1, sizeof(ngx_table_elt_t *));
}

/* The typed field of the entry's name, if it has one, has this entry, too; found as nginx itself does. */
static ngx_int_t link_entry(ngx_http_request_t *r, ngx_table_elt_t *h)
{
    ngx_array_t                *array;
    ngx_table_elt_t           **field;
    ngx_http_header_t          *known;
    ngx_http_core_main_conf_t  *cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    known = ngx_hash_find(&cmcf->headers_in_hash, h->hash, h->lowcase_key, h->key.len);
    if (known == NULL) {
        return NGX_OK;
    }

    field = field_of(r, known);
    array = array_of(r, known);
    if (array) {
        field = ngx_array_push(array);
        if (field == NULL) {
            return NGX_ERROR;
        }
        *field = h;
        return NGX_OK;
    }
#if (nginx_version < 1023000)
    if (*field == NULL) {
        *field = h;
    }
#else
    while (*field) {
        field = &(*field)->next;
    }
    *field = h;
    h->next = NULL;
#endif
    return NGX_OK;
}

/* Rebuilds the list without the marked entries (NULL: a private copy for a sub-request, which
 * shares its parent's entries until then). */
ngx_int_t pc_relist(ngx_http_request_t *r, u_char *remove)
{
    ngx_uint_t          i, n = 0;
    ngx_list_t          old = r->headers_in.headers;
    ngx_list_part_t    *part;
    ngx_table_elt_t    *h, *to;
    ngx_http_header_t  *known;

    if (ngx_list_init(&r->headers_in.headers, r->pool, 20, sizeof(ngx_table_elt_t)) != NGX_OK) {
        return NGX_ERROR;
    }
    for (known = ngx_http_headers_in; known->name.len; known++) {
        if (unlink_known(r, known) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    for (part = &old.part; part; part = part->next) {
        for (h = part->elts, i = 0; i < part->nelts; i++, n++) {
            if (remove && remove[n]) {
                continue;
            }
            to = ngx_list_push(&r->headers_in.headers);
            if (to == NULL) {
                return NGX_ERROR;
            }
            *to = h[i];
            if (link_entry(r, to) != NGX_OK) {
                return NGX_ERROR;
            }
        }
    }
    return NGX_OK;
}

static ngx_int_t add_header(ngx_http_request_t *r, portcullis_str name, ngx_str_t *value)
{
    ngx_str_t         key;
    u_char           *lowcase;
    ngx_table_elt_t  *h;

    lowcase = ngx_pnalloc(r->pool, name.len + 1);
    if (lowcase == NULL || pc_copy(r->pool, name, &key) != NGX_OK
        || (h = ngx_list_push(&r->headers_in.headers)) == NULL)
    {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));
    h->key = key;
    h->value = *value;
    h->lowcase_key = lowcase;
    h->hash = ngx_hash_strlow(lowcase, key.data, key.len);   /* proxy_set_header looks by it */

    return link_entry(r, h);
}

/* Replaces a request header: one entry of that name stays. `value` NULL: none stays. */
ngx_int_t pc_set_header(ngx_http_request_t *r, portcullis_str name, portcullis_str *value)
{
    u_char           *remove = NULL;
    size_t            n = 0;
    ngx_str_t         copy = ngx_null_string;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *first = NULL;

    if (value && pc_copy(r->pool, *value, &copy) != NGX_OK) {
        return NGX_ERROR;
    }

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        for (h = part->elts, i = 0; i < part->nelts; i++, n++) {
            if (!same_name(&h[i].key, name.data, name.len)) {
                continue;
            }
            if (value && first == NULL) {
                first = &h[i];
                continue;
            }
            if (remove == NULL) {
                remove = ngx_pcalloc(r->pool, list_size(&r->headers_in.headers));
                if (remove == NULL) {
                    return NGX_ERROR;
                }
            }
            remove[n] = 1;
        }
    }

    if (first) {
        first->value = copy;
    } else if (value) {
        return add_header(r, name, &copy);
    }
    return remove ? pc_relist(r, remove) : NGX_OK;
}
