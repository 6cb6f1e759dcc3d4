/* How does a request wait without holding nginx up, and who wakes it? The library's thread writes
 * an eventfd; a timer of the request's own makes sure that it ends in any case, and that a worker
 * that quits waits for it. */

#include "ngx_http_portcullis.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>


static struct {
    portcullis_agent  *agent;        /* whose completions are asked for */
    ngx_connection_t  *connection;   /* of the eventfd; NULL: no worker in this process */
    int                fd;
    ngx_uint_t         stopping;
} worker = { NULL, NULL, -1, 0 };


static void
ngx_http_portcullis_run(ngx_http_portcullis_ctx_t *ctx)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ctx->waiting = 0;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    ngx_http_set_log_request(c->log, r);

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_portcullis_timeout(ngx_event_t *ev)
{
    ngx_http_portcullis_ctx_t  *ctx = ev->data;

    ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                  "portcullis: no decision in time");

    portcullis_ticket_free(ctx->ticket);
    ctx->ticket = NULL;
    ctx->late = 1;

    ngx_http_portcullis_run(ctx);
}


ngx_int_t
ngx_http_portcullis_suspend(ngx_http_portcullis_ctx_t *ctx)
{
    ngx_event_t         *rev;
    ngx_http_request_t  *r;

    r = ctx->request;
    rev = r->connection->read;

    /* a client that has gone already sends no further event */
    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);

    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->waiting = 1;
    ctx->timer.handler = ngx_http_portcullis_timeout;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;
    ngx_add_timer(&ctx->timer, portcullis_ticket_deadline_ms(ctx->ticket));

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


/* Also the cleanup of request and pool: runs more than once. */

void
ngx_http_portcullis_cancel(void *data)
{
    ngx_http_portcullis_ctx_t  *ctx = data;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    ctx->waiting = 0;

    portcullis_ticket_free(ctx->ticket);
    ctx->ticket = NULL;
}


static void
ngx_http_portcullis_woken(ngx_event_t *ev)
{
    void                       *tag;
    uint64_t                    count;
    ngx_connection_t           *c;
    ngx_http_portcullis_ctx_t  *ctx;

    c = ev->data;

    if (c->close) {
        /* the worker was told to quit: nginx closes idle connections, and this one passes for
         * such so that it hears of it. It stays: requests may still wait. */
        c->close = 0;

        if (worker.agent) {
            portcullis_worker_drain(worker.agent);
        }

        return;
    }

    while (read(c->fd, &count, sizeof(count)) == -1 && ngx_errno == NGX_EINTR) { /* again */ }

    /* one request's end can take others of its connection along: their tags then never come */
    while (worker.agent && portcullis_completed(worker.agent, &tag) == PORTCULLIS_OK) {
        ctx = tag;

        if (ctx->waiting) {
            ngx_http_portcullis_run(ctx);
        }
    }
}


static ngx_int_t
ngx_http_portcullis_open(ngx_cycle_t *cycle)
{
    int                fd;
    ngx_connection_t  *c;

    fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    if (fd == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno, "eventfd() failed");
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, cycle->log);
    if (c == NULL) {
        (void) close(fd);
        return NGX_ERROR;
    }

    c->read->handler = ngx_http_portcullis_woken;
    c->read->log = cycle->log;
    c->read->channel = 1;      /* not an "open socket left" when the worker ends */
    c->write->log = cycle->log;
    c->idle = 1;

    if (ngx_add_event(c->read, NGX_READ_EVENT, 0) != NGX_OK) {
        ngx_free_connection(c);
        (void) close(fd);
        return NGX_ERROR;
    }

    worker.connection = c;
    worker.fd = fd;

    return NGX_OK;
}


/* nginx makes its workers dumpable, and then any process of the same user can read the sessions
 * in them. */

static void
ngx_http_portcullis_hide(ngx_cycle_t *cycle)
{
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (ccf->rlimit_core != NGX_CONF_UNSET && ccf->rlimit_core > 0) {
        return;
    }

    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno, "prctl(PR_SET_DUMPABLE) failed");
    }
}


/* In a worker. With `master_process off` also at a reload: the next generation takes over. What
 * fails here is logged; requests are then answered 503. */

ngx_int_t
ngx_http_portcullis_start(ngx_cycle_t *cycle, portcullis_agent *agent)
{
    portcullis_str             text;
    portcullis_result          rc;
    portcullis_worker_options  options;

    ngx_http_portcullis_hide(cycle);

    if (worker.connection == NULL && ngx_http_portcullis_open(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&options, sizeof(options));
    options.size = sizeof(options);
    options.wake_fd = worker.fd;

    rc = portcullis_worker_start(agent, &options);

    if (rc != PORTCULLIS_OK) {
        text = portcullis_result_text(rc);
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "portcullis: the worker does not start: %*s",
                      text.len, text.data);
        return NGX_ERROR;
    }

    worker.agent = agent;

    return NGX_OK;
}


void
ngx_http_portcullis_stop(void)
{
    worker.stopping = 1;

    if (worker.agent) {
        portcullis_worker_stop(worker.agent);
    }
}


/* This process is about to end: the thread may still be on its way out, so what it uses stays. */

ngx_uint_t
ngx_http_portcullis_stopping(void)
{
    return worker.stopping;
}
