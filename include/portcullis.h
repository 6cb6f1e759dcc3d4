/* Portcullis: the C boundary of the Web Agent. Generated from ffi/src by cbindgen; do not edit.
 * Every struct begins with `size`: set it to sizeof the struct. Strings are not NUL-terminated. */

#ifndef PORTCULLIS_H
#define PORTCULLIS_H

#include <stddef.h>
#include <stdint.h>

/* Raised by one whenever a struct or the meaning of a function changes. */
#define PORTCULLIS_ABI 1

/* Most instances one generation may hold. */
#define PORTCULLIS_MAX_INSTANCES 32

/* What a call did. Numbers never change their meaning. */
typedef enum portcullis_result {
    PORTCULLIS_OK = 0,
    PORTCULLIS_PENDING = 1,          /* not decided yet: see the ticket */
    PORTCULLIS_NONE = 2,             /* nothing there (no completion, no such thing) */
    PORTCULLIS_NULL_PARAMETER = 8001,
    PORTCULLIS_PANIC = 8002,
    PORTCULLIS_BAD_SIZE = 8003,      /* `size` of a struct is not one this library knows */
    PORTCULLIS_BAD_INDEX = 8004,
    PORTCULLIS_CONFIG = 8010,        /* a configuration cannot be used; each mistake was logged */
    PORTCULLIS_MAPPING = 8011,       /* the shared mapping could not be made or adopted */
    PORTCULLIS_FULL = 8012,          /* too many instances */
    PORTCULLIS_NOT_STARTED = 8013,   /* no worker runs in this process */
    PORTCULLIS_SYSTEM = 8014         /* the operating system refused (thread, file) */
} portcullis_result;

typedef enum portcullis_level {
    PORTCULLIS_ERROR = 1, PORTCULLIS_WARNING = 2, PORTCULLIS_INFO = 3, PORTCULLIS_DEBUG = 4
} portcullis_level;

typedef enum portcullis_server { PORTCULLIS_HTTPD = 1, PORTCULLIS_NGINX = 2 } portcullis_server;

/* What a ticket waits for. */
typedef enum portcullis_wants {
    PORTCULLIS_WANTS_AM = 1,         /* the worker's thread is at it; wait, or be woken */
    PORTCULLIS_WANTS_BODY = 2        /* read the request body and hand it over */
} portcullis_wants;

typedef enum portcullis_verdict_kind {
    PORTCULLIS_ALLOW = 1,            /* apply the edits and let the request through */
    PORTCULLIS_RESPOND = 2           /* answer with what the sink received */
} portcullis_verdict_kind;

/* The shared mapping of one host process tree: made by the parent before it forks. */
typedef struct portcullis_mapping portcullis_mapping;
/* One generation of the host's configuration: its instances. Made by the parent, inherited. */
typedef struct portcullis_agent portcullis_agent;
/* A request that waits. One owner, free it exactly once. */
typedef struct portcullis_ticket portcullis_ticket;

typedef struct portcullis_str { const uint8_t *data; size_t len; } portcullis_str;
typedef struct portcullis_header { portcullis_str name; portcullis_str value; } portcullis_header;
typedef struct portcullis_address { uint8_t family; /* 4 or 6 */ uint8_t bytes[16]; } portcullis_address;

/* Called on any thread that calls into the library, and on the worker's own thread: it must be
 * safe there. `line` has no line end and no secret in it. */
typedef void (*portcullis_log_fn)(void *ctx, portcullis_level level, portcullis_str line);

typedef struct portcullis_agent_options {
    size_t size;
    portcullis_server server;
    portcullis_log_fn log;
    void *log_ctx;
    portcullis_str server_version;   /* e.g. "nginx/1.22.1", for the start line */
} portcullis_agent_options;

typedef struct portcullis_worker_options {
    size_t size;
    int wake_fd;                     /* eventfd written when a ticket is ready; -1: wait on tickets */
    uint32_t threads;                /* request threads of this process (httpd), 0 on nginx */
} portcullis_worker_options;

/* A request; everything is borrowed for the length of one call. */
typedef struct portcullis_request {
    size_t size;
    portcullis_str method;
    portcullis_str target;           /* exactly as the client sent it (after an internal redirect: the new one) */
    portcullis_str host;             /* effective host with optional port */
    const portcullis_header *headers;
    size_t header_count;
    portcullis_str path;             /* the host's decoded path of `target`; empty: cannot be compared */
    portcullis_str path_info;
    portcullis_address peer;         /* of the socket */
    portcullis_address client;       /* after realip / remoteip */
    uint16_t port;                   /* local */
    uint8_t tls;
    uint8_t merged;                  /* duplicate headers were merged by the host */
    uint8_t stored_only;             /* sub-request: only what is already known may be used */
    void *tag;                       /* comes back from portcullis_completed */
} portcullis_request;

/* Receives the edits of a decision during portcullis_decide, on the calling thread. Strings live
 * for the length of the callback: copy them into the request's pool. */
typedef struct portcullis_sink {
    size_t size;
    void *ctx;
    void (*request_header)(void *ctx, portcullis_str name, portcullis_str value); /* replace */
    void (*remove_request_header)(void *ctx, portcullis_str name);
    void (*variable)(void *ctx, portcullis_str name, portcullis_str value);
    void (*user)(void *ctx, portcullis_str name);
    void (*response_header)(void *ctx, portcullis_str name, portcullis_str value); /* add; on errors too */
    void (*body)(void *ctx, portcullis_str body);                                  /* of our own answer */
} portcullis_sink;

typedef struct portcullis_verdict {
    size_t size;
    portcullis_verdict_kind kind;
    uint16_t status;                 /* of our own answer */
    uint32_t reason;                 /* number of the stable code */
} portcullis_verdict;

uint32_t portcullis_abi(void);
portcullis_str portcullis_version(void);
portcullis_str portcullis_result_text(portcullis_result result);

/* --- parent, before the fork */
portcullis_result portcullis_mapping_create(uint64_t cache_bytes /* 0: default or environment */,
                                            portcullis_mapping **out);
/* Takes over the mapping behind an open fd of the previous master; the fd stays the caller's. */
portcullis_result portcullis_mapping_adopt(int fd, portcullis_mapping **out);
int portcullis_mapping_fd(const portcullis_mapping *mapping);
void portcullis_mapping_free(portcullis_mapping *mapping);

portcullis_result portcullis_agent_new(const portcullis_agent_options *options, portcullis_agent **out);
/* Reads agent.conf and the two files beside it. The same path gives the same index. With
 * `keep_broken` a configuration that cannot be used still gets an index: it answers 503 to all. */
portcullis_result portcullis_agent_add(portcullis_agent *agent, portcullis_str path, int keep_broken,
                                       uint32_t *index);
/* After the last instance: opens logs, binds the generation to the mapping. Never asks AM. */
portcullis_result portcullis_agent_attach(portcullis_agent *agent, const portcullis_mapping *mapping);
void portcullis_agent_free(portcullis_agent *agent);

/* --- worker */
/* Starts this process's one thread. Call in child_init / init_process only. */
portcullis_result portcullis_worker_start(portcullis_agent *agent, const portcullis_worker_options *options);
/* This worker takes no new duties and cuts waits to 1 s. Safe in a signal handler. */
void portcullis_worker_drain(const portcullis_agent *agent);
/* Ends the thread without waiting for it. Not for signal handlers. */
void portcullis_worker_stop(portcullis_agent *agent);

/* Sets remove[i] to 1 for each header that a client must not send to this server block. `agent`
 * may have no worker (then the names of the start configuration hold). Never fails open: on any
 * trouble every remove[i] becomes 1 for names that could be an identity. */
portcullis_result portcullis_scrub(const portcullis_agent *agent, const uint32_t *instances,
                                   size_t instance_count, const portcullis_header *headers,
                                   size_t header_count, uint8_t *remove);

/* The one hot call. `*ticket` is NULL at first. PENDING: `*ticket` is set; satisfy it and call again
 * with the same request. OK: decided, the sink was walked, `*ticket` is NULL again. Any other result:
 * answer 503 and do not let the request through. */
portcullis_result portcullis_decide(const portcullis_agent *agent, uint32_t instance,
                                    const portcullis_request *request, const portcullis_sink *sink,
                                    portcullis_ticket **ticket, portcullis_verdict *verdict);
portcullis_wants portcullis_ticket_wants(const portcullis_ticket *ticket, uint64_t *body_limit);
/* Blocks until the ticket can go on; bounded by the instance's deadline. */
portcullis_result portcullis_ticket_wait(portcullis_ticket *ticket);
/* Milliseconds after which a timer should give up on this ticket although nothing woke it. */
uint32_t portcullis_ticket_deadline_ms(const portcullis_ticket *ticket);
/* Hands the body over (copied). data NULL: it could not be read or was larger than the limit. */
portcullis_result portcullis_ticket_body(portcullis_ticket *ticket, const uint8_t *data, size_t len);
/* Cancels and frees; NULL is fine. */
void portcullis_ticket_free(portcullis_ticket *ticket);
/* Next ready ticket's tag after the wake_fd fired; NONE when there is none. Tags of freed tickets
 * never come. */
portcullis_result portcullis_completed(const portcullis_agent *agent, void **tag);

#endif
