/* Which directives are there, where do the handlers hook in, and what lives as long as a
 * configuration or a process? What happens to a request is in the other files. */

#include "ngx_http_portcullis.h"

#define PC_ANYWHERE  (NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF)

/* Of the process tree: made once by the master, kept over reloads, inherited by the workers. */
static portcullis_mapping       *mapping;

/* nginx's own $remote_user, for the locations where the agent is off. */
static ngx_http_get_variable_pt  original_remote_user;

static ngx_str_t  attribute_prefix = ngx_string("portcullis_attr_");

/* Lines of the library, from any thread of this process. nginx's thread pools log in the same way:
 * the line is put together on the stack, the time is a consistent snapshot, one write() goes out.
 * ngx_cycle is read each time because its log ends with its cycle. nginx's own "info" is about
 * single clients, so ours becomes "notice". */
static void write_log(void *ctx, portcullis_level level, portcullis_str line)
{
    ngx_str_t   text = { line.len, (u_char *) line.data };
    ngx_uint_t  to = level == PORTCULLIS_ERROR ? NGX_LOG_ERR
                   : level == PORTCULLIS_WARNING ? NGX_LOG_WARN
                   : level == PORTCULLIS_INFO ? NGX_LOG_NOTICE : NGX_LOG_DEBUG;

    ngx_log_error(to, ngx_cycle->log, 0, "portcullis: %V", &text);
}

static ngx_str_t result_text(portcullis_result rc)
{
    portcullis_str  text = portcullis_result_text(rc);

    return (ngx_str_t) { text.len, (u_char *) text.data };
}

/* --- configuration */

static void *create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(pc_main_conf_t));
}

static void *create_srv_conf(ngx_conf_t *cf)
{
    pc_srv_conf_t  *scf = ngx_pcalloc(cf->pool, sizeof(pc_srv_conf_t));

    if (scf == NULL) {
        return NULL;
    }
    scf->instances = ngx_array_create(cf->pool, 2, sizeof(uint32_t));
    return scf->instances ? scf : NULL;
}

static void *create_loc_conf(ngx_conf_t *cf)
{
    pc_loc_conf_t  *lcf = ngx_pcalloc(cf->pool, sizeof(pc_loc_conf_t));

    if (lcf == NULL) {
        return NULL;
    }
    lcf->on = NGX_CONF_UNSET;
    lcf->instance = NGX_CONF_UNSET_UINT;
    return lcf;
}

/* Runs for each server and each of its locations; what they use is collected in the server. */
static char *merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    uint32_t       *instances;
    ngx_uint_t      i;
    pc_loc_conf_t  *prev = parent, *lcf = child;
    pc_srv_conf_t  *scf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_portcullis_module);

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
static void free_agent(void *data)
{
    if (!pc_stopping()) {
        portcullis_agent_free(data);
    }
}

static portcullis_result new_agent(ngx_conf_t *cf, pc_main_conf_t *mcf)
{
    portcullis_result         rc;
    ngx_pool_cleanup_t       *cln = ngx_pool_cleanup_add(cf->pool, 0);
    portcullis_agent_options  options = { .size = sizeof(options), .server = PORTCULLIS_NGINX,
                                          .log = write_log };

    if (cln == NULL) {
        return PORTCULLIS_SYSTEM;
    }
    if (portcullis_abi() != PORTCULLIS_ABI) {
        return PORTCULLIS_BAD_SIZE;
    }
    options.server_version = pc_str((ngx_str_t) ngx_string(NGINX_VER));
    rc = portcullis_agent_new(&options, &mcf->agent);
    if (rc == PORTCULLIS_OK) {
        cln->handler = free_agent;
        cln->data = mcf->agent;
    }
    return rc;
}

static char *set_configuration(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    uint32_t            index = 0;
    ngx_str_t           path = ((ngx_str_t *) cf->args->elts)[1], text;
    pc_loc_conf_t      *lcf = conf;
    pc_main_conf_t     *mcf;
    portcullis_result   rc;

    if (lcf->instance != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }
    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_portcullis_module);
    rc = mcf->agent ? PORTCULLIS_OK : new_agent(cf, mcf);
    if (rc == PORTCULLIS_OK) {
        rc = portcullis_agent_add(mcf->agent, pc_str(path), 0, &index);
    }
    if (rc != PORTCULLIS_OK) {
        text = result_text(rc);
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\": %V", &path, &text);
        return NGX_CONF_ERROR;
    }
    lcf->instance = index;
    return NGX_CONF_OK;
}

static char *set_no_effect(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_uint_t       bit = (ngx_uint_t) cmd->post;
    pc_main_conf_t  *mcf = conf;

    if (!(mcf->noticed & bit)) {
        mcf->noticed |= bit;
        ngx_conf_log_error(NGX_LOG_NOTICE, cf, 0, "\"%V\" is accepted without effect", &cmd->name);
    }
    return NGX_CONF_OK;
}

/* --- variables */

static ngx_int_t preconfiguration(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    var = ngx_http_add_variable(cf, &attribute_prefix,
                                NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX);
    if (var == NULL) {
        return NGX_ERROR;
    }
    var->get_handler = pc_variable_attribute;
    return NGX_OK;
}

/* nginx copies the handlers out of these keys after postconfiguration. */
static void take_remote_user(ngx_http_core_main_conf_t *cmcf)
{
    ngx_str_t             name = ngx_string("remote_user");
    ngx_uint_t            i;
    ngx_hash_key_t       *key = cmcf->variables_keys->keys.elts;
    ngx_http_variable_t  *var;

    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        if (pc_same(&key[i].key, &name)) {
            var = key[i].value;
            original_remote_user = var->get_handler;
            var->get_handler = pc_variable_user;
            var->flags |= NGX_HTTP_VAR_NOCACHEABLE;
        }
    }
}

static ngx_int_t give_value(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    v->len = value->len;
    v->data = value->data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    return NGX_OK;
}

static pc_ctx_t *allowed_here(ngx_http_request_t *r)
{
    pc_ctx_t       *ctx;
    pc_loc_conf_t  *lcf = pc_loc_conf(r);

    if (!lcf->on || (ctx = pc_ctx(r->main)) == NULL) {
        return NULL;
    }
    return (ctx->state == PC_ALLOWED && ctx->instance == lcf->instance) ? ctx : NULL;
}

ngx_int_t pc_variable_user(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    pc_ctx_t  *ctx;

    if (!pc_loc_conf(r)->on) {
        return original_remote_user(r, v, data);
    }
    ctx = allowed_here(r);
    if (ctx && ctx->user.len) {
        return give_value(v, &ctx->user);
    }
    v->not_found = 1;
    return NGX_OK;
}

ngx_int_t pc_variable_attribute(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    pc_ctx_t      *ctx = allowed_here(r);
    ngx_str_t     *name = (ngx_str_t *) data;
    ngx_uint_t     i;
    ngx_keyval_t  *kv = ctx ? ctx->variables.elts : NULL;

    for (i = 0; ctx && i < ctx->variables.nelts; i++) {
        /* the library gives the whole name, folded as rule U3 says; nginx lower-cases the one that
         * the configuration asks for */
        if (pc_same(name, &kv[i].key)) {
            return give_value(v, &kv[i].value);
        }
    }
    v->not_found = 1;
    return NGX_OK;
}

/* --- hooking in */

static const struct {
    ngx_http_phases      phase;
    ngx_http_handler_pt  handler;
} hooks[] = {
    { NGX_HTTP_POST_READ_PHASE, pc_prepare_handler },
    { NGX_HTTP_SERVER_REWRITE_PHASE, pc_prepare_handler },
    { NGX_HTTP_REWRITE_PHASE, pc_prepare_handler },
    { NGX_HTTP_PREACCESS_PHASE, pc_subrequest_handler },
    { NGX_HTTP_ACCESS_PHASE, pc_access_handler },
    { NGX_HTTP_PRECONTENT_PHASE, pc_enforce_handler }
};

static ngx_int_t hook(ngx_http_core_main_conf_t *cmcf, ngx_http_phases phase,
    ngx_http_handler_pt handler)
{
    ngx_array_t          *handlers = &cmcf->phases[phase].handlers;
    ngx_http_handler_pt  *h = ngx_array_push(handlers);

    if (h == NULL) {
        return NGX_ERROR;
    }
    *h = handler;

    if (phase == NGX_HTTP_ACCESS_PHASE) {
        /* handlers run from the last to the first: ours must be the last to run */
        h = handlers->elts;
        ngx_memmove(h + 1, h, (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));
        h[0] = handler;
    }
    return NGX_OK;
}

static ngx_int_t postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    pc_main_conf_t             *mcf;
    ngx_http_core_main_conf_t  *cmcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_portcullis_module);
    if (mcf->agent == NULL) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    take_remote_user(cmcf);
    pc_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = pc_header_filter;

    for (i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
        if (hook(cmcf, hooks[i].phase, hooks[i].handler) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    return NGX_OK;
}

/* --- processes */

static portcullis_result attach(ngx_cycle_t *cycle, portcullis_agent *agent)
{
    portcullis_result  rc;

    if (mapping == NULL && getenv("NGINX")) {
        /* an upgrade of the binary: the old master still runs, and is our parent */
        if (portcullis_mapping_adopt(getppid(), &mapping) != PORTCULLIS_OK) {
            mapping = NULL;
            ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                          "portcullis: the old master's cache cannot be taken over");
        }
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

static portcullis_agent *agent_of(ngx_cycle_t *cycle)
{
    pc_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_portcullis_module);
    return mcf ? mcf->agent : NULL;
}

/* In the master, before it forks (and before it becomes a daemon). An error at a reload would end
 * the running master, so there it is only logged, and requests are answered 503. */
static ngx_int_t init_module(ngx_cycle_t *cycle)
{
    ngx_str_t           text;
    ngx_uint_t          first = ngx_is_init_cycle(cycle->old_cycle);
    portcullis_agent   *agent = agent_of(cycle);
    portcullis_result   rc;

    if (ngx_test_config || agent == NULL) {
        return NGX_OK;
    }

    rc = attach(cycle, agent);
    if (rc != PORTCULLIS_OK) {
        text = result_text(rc);
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "portcullis: %V", &text);
        return first ? NGX_ERROR : NGX_OK;
    }

    if (!first && ngx_process == NGX_PROCESS_SINGLE) {
        /* master_process off: nobody will call init_process for this generation */
        (void) pc_start(cycle, agent);
    }
    return NGX_OK;
}

/* The cache manager and loader come by too, and get no worker. */
static ngx_int_t init_process(ngx_cycle_t *cycle)
{
    portcullis_agent  *agent = agent_of(cycle);

    if (agent && (ngx_process == NGX_PROCESS_WORKER || ngx_process == NGX_PROCESS_SINGLE)) {
        (void) pc_start(cycle, agent);
    }
    return NGX_OK;
}

static void exit_process(ngx_cycle_t *cycle)
{
    pc_stop();
}

static ngx_command_t  commands[] = {
    { ngx_string("openam_agent"), PC_ANYWHERE|NGX_CONF_FLAG, ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET, offsetof(pc_loc_conf_t, on), NULL },
    { ngx_string("openam_agent_configuration"), PC_ANYWHERE|NGX_CONF_TAKE1, set_configuration,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },
    { ngx_string("openam_configuration"), PC_ANYWHERE|NGX_CONF_TAKE1, set_configuration,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },
    { ngx_string("openam_agent_instance"), PC_ANYWHERE|NGX_CONF_TAKE1, set_no_effect,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, (void *) 1 },
    { ngx_string("openam_threadpool"), PC_ANYWHERE|NGX_CONF_TAKE1, set_no_effect,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, (void *) 2 },
    ngx_null_command
};

static ngx_http_module_t  module_ctx = {
    preconfiguration, postconfiguration, create_main_conf, NULL, create_srv_conf, NULL,
    create_loc_conf, merge_loc_conf
};

ngx_module_t  ngx_http_portcullis_module = {
    NGX_MODULE_V1,
    &module_ctx,
    commands,
    NGX_HTTP_MODULE,
    NULL,            /* init master */
    init_module,
    init_process,
    NULL,            /* init thread */
    NULL,            /* exit thread */
    exit_process,
    NULL,            /* exit master */
    NGX_MODULE_V1_PADDING
};
