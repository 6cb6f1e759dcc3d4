/* `Require AmAuth`: what was decided about a request, as one of the words of httpd's own rules. It
 * decides nothing itself, and only ever refuses where AmAuthProvider is Off. */

#include "mod_portcullis.h"

#include "mod_auth.h"

static authz_status check_provider(request_rec *r, const char *line, const void *parsed)
{
    const pc_record *record = pc_record_of(r);

    if (!pc_is_on(r) || record->state == PC_UNDECIDED || record->state == PC_ANSWERED) {
        return AUTHZ_DENIED;
    }
    if (record->refused) {
        return AUTHZ_DENIED;
    }
    return record->open ? AUTHZ_NEUTRAL : AUTHZ_GRANTED;
}

static const char *parse_provider(cmd_parms *cmd, const char *line, const void **parsed)
{
    return *line ? "Require AmAuth takes no arguments" : NULL;
}

void pc_register_provider(apr_pool_t *p)
{
    static const authz_provider provider = { check_provider, parse_provider };

    /* For each URL: a sub-request of the same configuration may be refused where its parent is not. */
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "AmAuth", AUTHZ_PROVIDER_VERSION, &provider,
                              AP_AUTH_INTERNAL_PER_URI);
}
