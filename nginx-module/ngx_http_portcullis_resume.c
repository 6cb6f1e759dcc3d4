/* How does a request wait without holding nginx up, and who wakes it? The library's thread writes
 * an eventfd; a timer of the request's own makes sure that it ends in any case, and that a worker
 * that quits waits for it. */

#include "ngx_http_portcullis.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>

static struct {
    portcullis_agent  *agent;        /* whose completions are asked for */
    ngx_connection_t  *connection;   /* of the eventfd; NULL: no worker in this process */
    ngx_uint_t         stopping;
} worker;

static void run(pc_ctx_t *ctx)
{
    ngx_http_request_t  *r = ctx->request;
    ngx_connection_t    *c = r->connection;

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

static void on_timeout(ngx_event_t *ev)
{
    pc_ctx_t  *ctx = ev->data;

    ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                  "portcullis: no decision in time");
    pc_cancel(ctx);
    ctx->late = 1;
    run(ctx);
}

ngx_int_t pc_suspend(pc_ctx_t *ctx)
{
    ngx_http_request_t  *r = ctx->request;
    ngx_event_t         *rev = r->connection->read;

    /* a client that has gone already sends no further event */
    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->waiting = 1;
    ctx->timer.handler = on_timeout;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;
    ngx_add_timer(&ctx->timer, portcullis_ticket_deadline_ms(ctx->ticket));

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    return NGX_AGAIN;
}

/* Also the cleanup of request and pool: runs more than once. */
void pc_cancel(void *data)
{
    pc_ctx_t  *ctx = data;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }
    ctx->waiting = 0;
    portcullis_ticket_free(ctx->ticket);
    ctx->ticket = NULL;
}

static void on_wake(ngx_event_t *ev)
{
    void              *tag;
    uint64_t           count;
    ngx_connection_t  *c = ev->data;

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
        if (((pc_ctx_t *) tag)->waiting) {
            run(tag);
        }
    }
}

static ngx_int_t open_wake(ngx_cycle_t *cycle)
{
    int                fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    ngx_connection_t  *c;

    if (fd == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno, "eventfd() failed");
        return NGX_ERROR;
    }
    c = ngx_get_connection(fd, cycle->log);
    if (c == NULL) {
        (void) close(fd);
        return NGX_ERROR;
    }

    c->read->handler = on_wake;
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
    return NGX_OK;
}

/* In a worker. With `master_process off` also at a reload: the next generation takes over. What
 * fails here is logged; requests are then answered 503. */
ngx_int_t pc_start(ngx_cycle_t *cycle, portcullis_agent *agent)
{
    ngx_str_t                  text;
    ngx_core_conf_t           *ccf;
    portcullis_str             why;
    portcullis_result          rc;
    portcullis_worker_options  options = { .size = sizeof(options) };

    /* nginx makes its workers dumpable, and then any process of the same user can read the
     * sessions in them */
    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    if ((ccf->rlimit_core == NGX_CONF_UNSET || ccf->rlimit_core == 0)
        && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno, "prctl(PR_SET_DUMPABLE) failed");
    }

    if (worker.connection == NULL && open_wake(cycle) != NGX_OK) {
        return NGX_ERROR;
    }
    options.wake_fd = worker.connection->fd;

    rc = portcullis_worker_start(agent, &options);
    if (rc != PORTCULLIS_OK) {
        why = portcullis_result_text(rc);
        text.data = (u_char *) why.data;
        text.len = why.len;
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "portcullis: the worker does not start: %V",
                      &text);
        return NGX_ERROR;
    }
    worker.agent = agent;
    return NGX_OK;
}

void pc_stop(void)
{
    worker.stopping = 1;
    if (worker.agent) {
        portcullis_worker_stop(worker.agent);
    }
}

/* This process is about to end: the thread may still be on its way out, so what it uses stays. */
ngx_uint_t pc_stopping(void)
{
    return worker.stopping;
}
