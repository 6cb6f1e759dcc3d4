/* The module: which hooks, and the life of the library's handles from start to stop.
 *
 * httpd unloads and loads modules at each restart; this one is linked with `-z nodelete`, so its
 * statics survive and are set anew. No thread may start before child_init. */

#include "mod_portcullis.h"

#include "ap_mpm.h"
#include "mpm_common.h"
#include "scoreboard.h"

#include <unistd.h>

/* Outlives every configuration of this parent. */
typedef struct pc_retained {
    portcullis_mapping *mapping;
    int started;           /* httpd serves: a bad configuration must not end it any more */
} pc_retained;

static const char retained_key[] = "portcullis";

static portcullis_agent *agent;    /* of this generation; NULL: none could be made */
static pid_t owner;                /* the parent: children must not free what they inherited */
static int generation;             /* httpd's, when this child started; -1 in the parent */
static volatile apr_uint32_t draining;
static int threaded;               /* the MPM runs requests in threads */

const portcullis_agent *pc_agent(void)
{
    return agent;
}

portcullis_str pc_str(const char *text)
{
    portcullis_str str = { (const uint8_t *)(text ? text : ""), text ? strlen(text) : 0 };

    return str;
}

static void write_log(void *ctx, portcullis_level level, portcullis_str line)
{
    static const int levels[] = { APLOG_ERR, APLOG_ERR, APLOG_WARNING, APLOG_INFO, APLOG_DEBUG };
    int known = level >= PORTCULLIS_ERROR && level <= PORTCULLIS_DEBUG;

    ap_log_error(APLOG_MARK, known ? levels[level] : APLOG_ERR, 0, (const server_rec *)ctx, "%.*s",
                 (int)line.len, (const char *)line.data);
}

static pc_retained *retained(void)
{
    pc_retained *kept = ap_retained_data_get(retained_key);

    return kept ? kept : ap_retained_data_create(retained_key, sizeof(*kept));
}

/* --- the parent */

static apr_status_t free_agent(void *unused)
{
    /* A child gets here through exit(), with prefork even inside a signal handler. */
    if (agent && owner == getpid()) {
        portcullis_agent_free(agent);
        agent = NULL;
    }
    return APR_SUCCESS;
}

static int failed(const server_rec *s, const char *what, portcullis_result result)
{
    portcullis_str why = portcullis_result_text(result);

    ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, "%s: %.*s", what, (int)why.len,
                 (const char *)why.data);
    return HTTP_INTERNAL_SERVER_ERROR;
}

static int add_instances(server_rec *main_server, int keep_broken)
{
    server_rec *s;
    int status = OK;

    for (s = main_server; s; s = s->next) {
        pc_server_conf *conf = pc_server_conf_of(s);
        portcullis_result result;

        if (conf->conf) {
            result = portcullis_agent_add(agent, pc_str(conf->conf), keep_broken, &conf->instance);
            conf->has_instance = result == PORTCULLIS_OK;
            if (!conf->has_instance) {
                status = failed(s, conf->conf, result);
            }
        }
        else if (pc_is_on_for(s)) {
            /* The main server may be there for its virtual hosts only. */
            int harmless = s == main_server && s->next;

            ap_log_error(APLOG_MARK, harmless ? APLOG_WARNING : APLOG_ERR, 0, s,
                         "AmAgent is On for server %s, but it has no AmAgentConf",
                         s->server_hostname ? s->server_hostname : "_default_");
            status = harmless ? status : HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    return status;
}

/* Here and not in post_config, which `httpd -t` does not run. */
static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    portcullis_agent_options options = { sizeof(options), PORTCULLIS_HTTPD, write_log, s,
                                         pc_str(ap_get_server_description()) };
    int restart = retained()->started;
    portcullis_result result;
    int status;

    agent = NULL;
    owner = getpid();
    generation = -1;
    draining = 0;
    result = portcullis_agent_new(&options, &agent);
    if (result != PORTCULLIS_OK) {
        agent = NULL;
        status = failed(s, "Web Agent", result);
    }
    else {
        apr_pool_cleanup_register(pconf, NULL, free_agent, apr_pool_cleanup_null);
        status = add_instances(s, restart);
    }
    /* An error here would end a server that is running; its requests get 503 instead. */
    return restart ? OK : status;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    pc_retained *kept = retained();
    portcullis_result result = PORTCULLIS_OK;

    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG || !agent) {
        return OK;
    }
    if (!kept->mapping) {
        result = portcullis_mapping_create(0, &kept->mapping);
    }
    if (result == PORTCULLIS_OK) {
        result = portcullis_agent_attach(agent, kept->mapping);
    }
    if (result != PORTCULLIS_OK) {
        int status = failed(s, "Web Agent", result);

        free_agent(NULL);
        return kept->started ? OK : status;
    }
    kept->started = 1;
    return OK;
}

/* --- a child */

static apr_status_t stop_worker(void *unused)
{
    if (agent) {
        portcullis_worker_stop(agent);
    }
    return APR_SUCCESS;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    portcullis_worker_options options = { sizeof(options), -1, 1 };
    portcullis_result result;
    int threads = 0;

    if (!agent) {
        return;
    }
    if (ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads) == APR_SUCCESS && threads > 0) {
        options.threads = (uint32_t)threads;
    }
    if (ap_mpm_query(AP_MPMQ_GENERATION, &generation) != APR_SUCCESS) {
        generation = -1;
    }
    result = portcullis_worker_start(agent, &options);
    if (result != PORTCULLIS_OK) {
        failed(s, "Web Agent: this process answers 503", result);
        return;
    }
    /* Prefork runs the cleanups inside its SIGTERM handler, where only draining is safe. */
    threaded = ap_mpm_query(AP_MPMQ_IS_THREADED, &threads) == APR_SUCCESS
               && threads != AP_MPMQ_NOT_SUPPORTED;
    if (threaded) {
        apr_pool_cleanup_register(pchild, NULL, stop_worker, apr_pool_cleanup_null);
    }
}

static void child_stopping(apr_pool_t *pchild, int graceful)
{
    if (agent) {
        portcullis_worker_drain(agent);
    }
}

void pc_drain_if_stopping(void)
{
    int state = 0;

    if (draining || !agent || generation == -1) {
        return;
    }
    /* Prefork tells a child of an old generation only when its request is over. */
    if ((ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING)
        || ap_get_scoreboard_global()->running_generation != generation) {
        draining = 1;
        portcullis_worker_drain(agent);
    }
}

/* Prefork is in that state only once it is in its last function, mostly called by SIGTERM. */
int pc_ends_in_handler(void)
{
    int state = 0;

    return !threaded && ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS
           && state == AP_MPMQ_STOPPING;
}

static void register_hooks(apr_pool_t *p)
{
    pc_register_filters();
    pc_register_provider(p);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    /* Before SetEnvIf or an expression can see a forged name. */
    ap_hook_post_read_request(pc_post_read_request, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_translate_name(pc_translate_name, NULL, NULL, APR_HOOK_REALLY_FIRST);
    /* Not ap_hook_check_access: httpd would skip us where the configuration of a sub-request or
     * redirect is that of its parent. */
    ap_hook_access_checker(pc_access_checker, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_check_user_id(pc_check_user, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(pc_fixups, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_insert_filter(pc_insert_filter, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

AP_DECLARE_MODULE(amagent) = {
    STANDARD20_MODULE_STUFF,
    pc_create_dir_conf,
    pc_merge_dir_conf,
    pc_create_server_conf,
    pc_merge_server_conf,
    pc_directives,
    register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
