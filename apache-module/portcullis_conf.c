/* Which directives there are and how they merge. What agent.conf says is none of its business. */

#include "mod_portcullis.h"

/* Flags; -1: not set */
typedef struct pc_dir_conf {
    int on;
    int provider;
    int error_documents;
} pc_dir_conf;

void *pc_create_server_conf(apr_pool_t *p, server_rec *s)
{
    return apr_pcalloc(p, sizeof(pc_server_conf));
}

void *pc_merge_server_conf(apr_pool_t *p, void *base_, void *add_)
{
    const pc_server_conf *base = base_, *add = add_;
    pc_server_conf *merged = apr_pcalloc(p, sizeof(*merged));

    merged->conf = add->conf ? add->conf : base->conf;
    return merged;
}

void *pc_create_dir_conf(apr_pool_t *p, char *dir)
{
    pc_dir_conf *conf = apr_pcalloc(p, sizeof(*conf));

    conf->on = conf->provider = conf->error_documents = -1;
    return conf;
}

void *pc_merge_dir_conf(apr_pool_t *p, void *base_, void *add_)
{
    const pc_dir_conf *base = base_, *add = add_;
    pc_dir_conf *merged = apr_pcalloc(p, sizeof(*merged));

    merged->on = add->on != -1 ? add->on : base->on;
    merged->provider = add->provider != -1 ? add->provider : base->provider;
    merged->error_documents = add->error_documents != -1 ? add->error_documents
                                                         : base->error_documents;
    return merged;
}

pc_server_conf *pc_server_conf_of(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &amagent_module);
}

static const pc_dir_conf *dir_conf_of(const request_rec *r)
{
    static const pc_dir_conf unset = { -1, -1, -1 };
    const pc_dir_conf *conf = ap_get_module_config(r->per_dir_config, &amagent_module);

    return conf ? conf : &unset;
}

int pc_is_on(const request_rec *r)
{
    return dir_conf_of(r)->on == 1;
}

int pc_is_provider(const request_rec *r)
{
    return dir_conf_of(r)->provider == 1;
}

int pc_decides_error_documents(const request_rec *r)
{
    return dir_conf_of(r)->error_documents == 1;
}

int pc_is_on_for(const server_rec *s)
{
    const pc_dir_conf *conf = ap_get_module_config(s->lookup_defaults, &amagent_module);

    return conf && conf->on == 1;
}

static const char *set_flag(cmd_parms *cmd, void *dir, int on)
{
    const char *misplaced = ap_check_cmd_context(cmd, NOT_IN_LIMIT);

    /* <Limit> would look as if the flag counted for some methods only. */
    return misplaced ? misplaced : ap_set_flag_slot(cmd, dir, on);
}

/* The parent opens what workers need before it gives up its rights; there is no check to bypass. */
static const char *set_bypass(cmd_parms *cmd, void *dir, int on)
{
    return ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
}

static const char *set_conf(cmd_parms *cmd, void *dir, const char *path)
{
    const char *misplaced = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    pc_server_conf *conf = pc_server_conf_of(cmd->server);

    if (misplaced) {
        return misplaced;
    }
    conf->conf = ap_server_root_relative(cmd->pool, path);
    return conf->conf ? NULL : "AmAgentConf: not a usable path";
}

static const char *set_id(cmd_parms *cmd, void *dir, const char *id)
{
    const char *misplaced = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    pc_server_conf *conf = pc_server_conf_of(cmd->server);

    if (misplaced) {
        return misplaced;
    }
    if (!*id || id[strspn(id, "0123456789")]) {
        return "AmAgentId: a number is needed";
    }
    if (conf->id && strcmp(conf->id, id)) {
        return "AmAgentId: set twice, to different numbers";
    }
    conf->id = id;
    return NULL;
}

/* Neither scope includes .htaccess: whoever may write there must not switch the agent off. */
const command_rec pc_directives[] = {
    AP_INIT_FLAG("AmAgent", set_flag, (void *)APR_OFFSETOF(pc_dir_conf, on),
                 RSRC_CONF | ACCESS_CONF,
                 "On or Off: whether the Web Agent protects this server, directory or location"),
    AP_INIT_FLAG("AmAuthProvider", set_flag, (void *)APR_OFFSETOF(pc_dir_conf, provider),
                 RSRC_CONF | ACCESS_CONF,
                 "On or Off: whether Require lines decide where the policy of AM refuses a user"),
    AP_INIT_FLAG("AmAuthErrorDocument", set_flag,
                 (void *)APR_OFFSETOF(pc_dir_conf, error_documents), RSRC_CONF | ACCESS_CONF,
                 "On or Off: whether pages shown for refusals of the Web Agent are decided too"),
    AP_INIT_FLAG("AmBypassPreflightChecks", set_bypass, NULL, RSRC_CONF,
                 "accepted without effect: there are no such checks"),
    AP_INIT_TAKE1("AmAgentConf", set_conf, NULL, RSRC_CONF,
                  "path of the agent.conf of this server"),
    AP_INIT_TAKE1("AmAgentId", set_id, NULL, RSRC_CONF,
                  "number of the agent group of this httpd"),
    { NULL }
};
