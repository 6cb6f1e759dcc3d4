/* Which directives are there, where do the handlers hook in, and what lives as long as a
 * configuration or a process? What happens to a request is in the other files. */

#include "ngx_http_portcullis.h"

#include <dirent.h>


#define NGX_HTTP_PORTCULLIS_MEMFD  "/memfd:portcullis"


static void *ngx_http_portcullis_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_portcullis_create_srv_conf(ngx_conf_t *cf);
static void *ngx_http_portcullis_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_portcullis_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);
static char *ngx_http_portcullis_configuration(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_portcullis_no_effect(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_portcullis_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_portcullis_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_portcullis_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_portcullis_init_process(ngx_cycle_t *cycle);
static void ngx_http_portcullis_exit_process(ngx_cycle_t *cycle);


/* Of the process tree: made once by the master, kept over reloads, inherited by the workers. */
static portcullis_mapping             *mapping;

/* nginx's own $remote_user, for the locations where the agent is off. */
static ngx_http_get_variable_pt        original_remote_user;


static ngx_str_t  ngx_http_portcullis_prefix = ngx_string("portcullis_attr_");


#define NGX_HTTP_PORTCULLIS_ANYWHERE  (NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF)

static ngx_command_t  ngx_http_portcullis_commands[] = {

    { ngx_string("openam_agent"),
      NGX_HTTP_PORTCULLIS_ANYWHERE|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_portcullis_loc_conf_t, on),
      NULL },

    { ngx_string("openam_agent_configuration"),
      NGX_HTTP_PORTCULLIS_ANYWHERE|NGX_CONF_TAKE1,
      ngx_http_portcullis_configuration,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("openam_configuration"),
      NGX_HTTP_PORTCULLIS_ANYWHERE|NGX_CONF_TAKE1,
      ngx_http_portcullis_configuration,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("openam_agent_instance"),
      NGX_HTTP_PORTCULLIS_ANYWHERE|NGX_CONF_TAKE1,
      ngx_http_portcullis_no_effect,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      (void *) 1 },

    { ngx_string("openam_threadpool"),
      NGX_HTTP_PORTCULLIS_ANYWHERE|NGX_CONF_TAKE1,
      ngx_http_portcullis_no_effect,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      (void *) 2 },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_portcullis_module_ctx = {
    ngx_http_portcullis_preconfiguration,
    ngx_http_portcullis_postconfiguration,
    ngx_http_portcullis_create_main_conf,
    NULL,
    ngx_http_portcullis_create_srv_conf,
    NULL,
    ngx_http_portcullis_create_loc_conf,
    ngx_http_portcullis_merge_loc_conf
};


ngx_module_t  ngx_http_portcullis_module = {
    NGX_MODULE_V1,
    &ngx_http_portcullis_module_ctx,
    ngx_http_portcullis_commands,
    NGX_HTTP_MODULE,
    NULL,                                  /* init master */
    ngx_http_portcullis_init_module,
    ngx_http_portcullis_init_process,
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_portcullis_exit_process,
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* Lines of the library, from any thread of this process. nginx's thread pools log in the same way:
 * the line is put together on the stack, the time is a consistent snapshot, one write() goes out.
 * ngx_cycle is read each time because its log ends with its cycle. */

static void
ngx_http_portcullis_log(void *ctx, portcullis_level level, portcullis_str line)
{
    ngx_uint_t  to;

    switch (level) {
    case PORTCULLIS_ERROR:
        to = NGX_LOG_ERR;
        break;
    case PORTCULLIS_WARNING:
        to = NGX_LOG_WARN;
        break;
    case PORTCULLIS_INFO:
        to = NGX_LOG_NOTICE;   /* nginx's own "info" is about single clients */
        break;
    default:
        to = NGX_LOG_DEBUG;
    }

    ngx_log_error(to, ngx_cycle->log, 0, "portcullis: %*s", line.len, line.data);
}


static void *
ngx_http_portcullis_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_portcullis_main_conf_t));
}


static void *
ngx_http_portcullis_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_portcullis_srv_conf_t  *scf;

    scf = ngx_pcalloc(cf->pool, sizeof(ngx_http_portcullis_srv_conf_t));
    if (scf == NULL) {
        return NULL;
    }

    scf->instances = ngx_array_create(cf->pool, 2, sizeof(uint32_t));

    return scf->instances ? scf : NULL;
}


static void *
ngx_http_portcullis_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_portcullis_loc_conf_t  *lcf;

    lcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_portcullis_loc_conf_t));
    if (lcf == NULL) {
        return NULL;
    }

    lcf->on = NGX_CONF_UNSET;
    lcf->instance = NGX_CONF_UNSET_UINT;

    return lcf;
}


/* Runs for each server and each of its locations; what they use is collected in the server. */

static char *
ngx_http_portcullis_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    uint32_t                        *instances;
    ngx_uint_t                       i;
    ngx_http_portcullis_loc_conf_t  *prev = parent;
    ngx_http_portcullis_loc_conf_t  *lcf = child;
    ngx_http_portcullis_srv_conf_t  *scf;

    ngx_conf_merge_value(lcf->on, prev->on, 0);
    ngx_conf_merge_uint_value(lcf->instance, prev->instance, NGX_CONF_UNSET_UINT);

    if (lcf->instance == NGX_CONF_UNSET_UINT) {
        if (lcf->on) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"openam_agent on\" needs an \"openam_agent_configuration\"");
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    scf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_portcullis_module);

    if (lcf->on) {
        scf->on = 1;
    }

    instances = scf->instances->elts;
    for (i = 0; i < scf->instances->nelts; i++) {
        if (instances[i] == lcf->instance) {
            return NGX_CONF_OK;
        }
    }

    instances = ngx_array_push(scf->instances);
    if (instances == NULL) {
        return NGX_CONF_ERROR;
    }

    *instances = lcf->instance;

    return NGX_CONF_OK;
}


/* With the cycle's pool. A process that is about to end leaves it to the kernel, because the
 * library's thread may still be on its way out. */

static void
ngx_http_portcullis_free_agent(void *data)
{
    if (!ngx_http_portcullis_stopping()) {
        portcullis_agent_free(data);
    }
}


static portcullis_result
ngx_http_portcullis_new_agent(ngx_conf_t *cf, ngx_http_portcullis_main_conf_t *mcf)
{
    ngx_pool_cleanup_t       *cln;
    portcullis_result         rc;
    portcullis_agent_options  options;

    if (portcullis_abi() != PORTCULLIS_ABI) {
        return PORTCULLIS_BAD_SIZE;
    }

    ngx_memzero(&options, sizeof(options));
    options.size = sizeof(options);
    options.server = PORTCULLIS_NGINX;
    options.log = ngx_http_portcullis_log;
    options.server_version.data = (const uint8_t *) NGINX_VER;
    options.server_version.len = sizeof(NGINX_VER) - 1;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return PORTCULLIS_SYSTEM;
    }

    rc = portcullis_agent_new(&options, &mcf->agent);

    if (rc == PORTCULLIS_OK) {
        cln->handler = ngx_http_portcullis_free_agent;
        cln->data = mcf->agent;
    }

    return rc;
}


static char *
ngx_http_portcullis_configuration(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    uint32_t                          index;
    ngx_str_t                         path, *value;
    portcullis_str                    text, where;
    portcullis_result                 rc;
    ngx_http_portcullis_loc_conf_t   *lcf = conf;
    ngx_http_portcullis_main_conf_t  *mcf;

    if (lcf->instance != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_portcullis_module);

    value = cf->args->elts;
    path = value[1];

    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    where.data = path.data;
    where.len = path.len;

    rc = mcf->agent ? PORTCULLIS_OK : ngx_http_portcullis_new_agent(cf, mcf);

    if (rc == PORTCULLIS_OK) {
        rc = portcullis_agent_add(mcf->agent, where, 0, &index);
    }

    if (rc != PORTCULLIS_OK) {
        text = portcullis_result_text(rc);
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\": %*s", &path, text.len, text.data);
        return NGX_CONF_ERROR;
    }

    lcf->instance = index;

    return NGX_CONF_OK;
}


static char *
ngx_http_portcullis_no_effect(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_uint_t                        bit = (ngx_uint_t) cmd->post;
    ngx_http_portcullis_main_conf_t  *mcf = conf;

    if (!(mcf->noticed & bit)) {
        mcf->noticed |= bit;
        ngx_conf_log_error(NGX_LOG_NOTICE, cf, 0, "\"%V\" is accepted without effect", &cmd->name);
    }

    return NGX_CONF_OK;
}


/* --- variables */

static ngx_int_t
ngx_http_portcullis_preconfiguration(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    var = ngx_http_add_variable(cf, &ngx_http_portcullis_prefix,
                                NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_portcullis_variable_attribute;

    return NGX_OK;
}


/* nginx copies the handlers out of these keys after postconfiguration. */

static void
ngx_http_portcullis_take_remote_user(ngx_http_core_main_conf_t *cmcf)
{
    ngx_uint_t            i;
    ngx_str_t             name = ngx_string("remote_user");
    ngx_hash_key_t       *key;
    ngx_http_variable_t  *var;

    key = cmcf->variables_keys->keys.elts;

    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        if (ngx_http_portcullis_same(&key[i].key, &name)) {
            var = key[i].value;
            original_remote_user = var->get_handler;
            var->get_handler = ngx_http_portcullis_variable_user;
            var->flags |= NGX_HTTP_VAR_NOCACHEABLE;
        }
    }
}


static void
ngx_http_portcullis_value(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    v->len = value->len;
    v->data = value->data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
}


static ngx_http_portcullis_ctx_t *
ngx_http_portcullis_allowed_here(ngx_http_request_t *r, ngx_http_portcullis_loc_conf_t *lcf)
{
    ngx_http_portcullis_ctx_t  *ctx;

    ctx = ngx_http_portcullis_ctx(r->main);

    return (ctx && ctx->state == NGX_HTTP_PORTCULLIS_ALLOWED && ctx->instance == lcf->instance)
           ? ctx : NULL;
}


ngx_int_t
ngx_http_portcullis_variable_user(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_http_portcullis_ctx_t       *ctx;
    ngx_http_portcullis_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_portcullis_module);

    if (!lcf->on) {
        return original_remote_user(r, v, data);
    }

    ctx = ngx_http_portcullis_allowed_here(r, lcf);

    if (ctx && ctx->user.len) {
        ngx_http_portcullis_value(v, &ctx->user);

    } else {
        v->not_found = 1;
    }

    return NGX_OK;
}


/* `name` can be written in a variable's name in one way only: folded as rule U3 says. */

static ngx_uint_t
ngx_http_portcullis_folded_same(u_char *variable, size_t len, ngx_str_t *name)
{
    u_char  ch;
    size_t  i;

    if (len != name->len) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        ch = ngx_tolower(name->data[i]);

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9'))) {
            ch = '_';
        }

        if (ngx_tolower(variable[i]) != ch) {
            return 0;
        }
    }

    return 1;
}


ngx_int_t
ngx_http_portcullis_variable_attribute(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t                       *name = (ngx_str_t *) data;
    ngx_uint_t                       i;
    ngx_keyval_t                    *kv;
    ngx_http_portcullis_ctx_t       *ctx;
    ngx_http_portcullis_loc_conf_t  *lcf;

    v->not_found = 1;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_portcullis_module);

    if (!lcf->on || (ctx = ngx_http_portcullis_allowed_here(r, lcf)) == NULL) {
        return NGX_OK;
    }

    kv = ctx->variables.elts;

    for (i = 0; i < ctx->variables.nelts; i++) {
        if (ngx_http_portcullis_folded_same(name->data + ngx_http_portcullis_prefix.len,
                                            name->len - ngx_http_portcullis_prefix.len,
                                            &kv[i].key))
        {
            ngx_http_portcullis_value(v, &kv[i].value);
            return NGX_OK;
        }
    }

    return NGX_OK;
}


/* --- looking things up */

portcullis_agent *
ngx_http_portcullis_agent(ngx_http_request_t *r)
{
    ngx_http_portcullis_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_portcullis_module);

    return mcf->agent;
}


/* The context of a main request, NULL when there is none. nginx clears r->ctx at each internal
 * redirect; the pool remembers, and that is how a redirect is noticed. */

ngx_http_portcullis_ctx_t *
ngx_http_portcullis_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t         *cln;
    ngx_http_portcullis_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_portcullis_module);
    if (ctx) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_portcullis_cancel) {
            ctx = cln->data;
            ctx->redirected = 1;
            ngx_http_set_ctx(r, ctx, ngx_http_portcullis_module);
            return ctx;
        }
    }

    return NULL;
}


/* --- hooking in */

static ngx_int_t
ngx_http_portcullis_hook(ngx_http_core_main_conf_t *cmcf, ngx_http_phases phase,
    ngx_http_handler_pt handler)
{
    ngx_http_handler_pt  *h;

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    if (phase == NGX_HTTP_ACCESS_PHASE) {
        /* handlers run from the last to the first: ours must be the last to run */
        h = cmcf->phases[phase].handlers.elts;
        ngx_memmove(h + 1, h,
                    (cmcf->phases[phase].handlers.nelts - 1) * sizeof(ngx_http_handler_pt));
        h[0] = handler;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_portcullis_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t        *cmcf;
    ngx_http_portcullis_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_portcullis_module);

    if (mcf->agent == NULL) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    ngx_http_portcullis_take_remote_user(cmcf);

    ngx_http_portcullis_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_portcullis_header_filter;

    if (ngx_http_portcullis_hook(cmcf, NGX_HTTP_POST_READ_PHASE,
                                 ngx_http_portcullis_prepare_handler) != NGX_OK
        || ngx_http_portcullis_hook(cmcf, NGX_HTTP_SERVER_REWRITE_PHASE,
                                    ngx_http_portcullis_prepare_handler) != NGX_OK
        || ngx_http_portcullis_hook(cmcf, NGX_HTTP_REWRITE_PHASE,
                                    ngx_http_portcullis_prepare_handler) != NGX_OK
        || ngx_http_portcullis_hook(cmcf, NGX_HTTP_PREACCESS_PHASE,
                                    ngx_http_portcullis_subrequest_handler) != NGX_OK
        || ngx_http_portcullis_hook(cmcf, NGX_HTTP_ACCESS_PHASE,
                                    ngx_http_portcullis_access_handler) != NGX_OK
        || ngx_http_portcullis_hook(cmcf, NGX_HTTP_PRECONTENT_PHASE,
                                    ngx_http_portcullis_enforce_handler) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* --- processes */

/* After an upgrade of the binary the old master still runs, is our parent, and keeps the mapping
 * open. NGX_DECLINED: there is none that we can use. */

static ngx_int_t
ngx_http_portcullis_adopt(ngx_log_t *log)
{
    int                 fd;
    DIR                *dir;
    u_char              folder[64], name[128], target[128];
    ssize_t             n;
    ngx_int_t           rc;
    struct dirent      *entry;

    ngx_sprintf(folder, "/proc/%P/fd%Z", getppid());

    dir = opendir((char *) folder);
    if (dir == NULL) {
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;

    while (rc == NGX_DECLINED && (entry = readdir(dir)) != NULL) {
        ngx_snprintf(name, sizeof(name), "%s/%s%Z", folder, entry->d_name);

        n = readlink((char *) name, (char *) target, sizeof(target));

        if (n < (ssize_t) sizeof(NGX_HTTP_PORTCULLIS_MEMFD) - 1
            || ngx_memcmp(target, NGX_HTTP_PORTCULLIS_MEMFD,
                          sizeof(NGX_HTTP_PORTCULLIS_MEMFD) - 1) != 0)
        {
            continue;
        }

        fd = open((char *) name, O_RDWR|O_CLOEXEC);
        if (fd == -1) {
            ngx_log_error(NGX_LOG_WARN, log, ngx_errno, "open(\"%s\") failed", name);
            continue;
        }

        if (portcullis_mapping_adopt(fd, &mapping) == PORTCULLIS_OK) {
            rc = NGX_OK;
        }

        (void) close(fd);
    }

    (void) closedir(dir);

    return rc;
}


static portcullis_result
ngx_http_portcullis_attach(ngx_cycle_t *cycle, portcullis_agent *agent)
{
    portcullis_result  rc;

    if (mapping == NULL && getenv("NGINX") && ngx_http_portcullis_adopt(cycle->log) != NGX_OK) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "portcullis: the old master's cache cannot be taken over");
    }

    if (mapping == NULL) {
        rc = portcullis_mapping_create(0, &mapping);

        if (rc != PORTCULLIS_OK) {
            mapping = NULL;
            return rc;
        }
    }

    return portcullis_agent_attach(agent, mapping);
}


/* In the master, before it forks (and before it becomes a daemon). An error at a reload would end
 * the running master, so there it is only logged, and requests are answered 503. */

static ngx_int_t
ngx_http_portcullis_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                        first;
    portcullis_str                    text;
    portcullis_result                 rc;
    ngx_http_portcullis_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_portcullis_module);

    if (ngx_test_config || mcf == NULL || mcf->agent == NULL) {
        return NGX_OK;
    }

    first = ngx_is_init_cycle(cycle->old_cycle);

    rc = ngx_http_portcullis_attach(cycle, mcf->agent);

    if (rc != PORTCULLIS_OK) {
        text = portcullis_result_text(rc);
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "portcullis: %*s", text.len, text.data);
        return first ? NGX_ERROR : NGX_OK;
    }

    if (!first && ngx_process == NGX_PROCESS_SINGLE) {
        /* master_process off: nobody will call init_process for this generation */
        (void) ngx_http_portcullis_start(cycle, mcf->agent);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_portcullis_init_process(ngx_cycle_t *cycle)
{
    ngx_http_portcullis_main_conf_t  *mcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE) {
        return NGX_OK;   /* the cache manager and loader come by too */
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_portcullis_module);

    if (mcf && mcf->agent) {
        (void) ngx_http_portcullis_start(cycle, mcf->agent);
    }

    return NGX_OK;
}


static void
ngx_http_portcullis_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_portcullis_stop();
}
