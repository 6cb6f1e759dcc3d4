/* Portcullis: the C boundary of the Web Agent. Generated from ffi/src by cbindgen; do not edit.
 *
 * Every struct that may grow begins with `size`: set it to sizeof the struct. Strings have a length
 * and no NUL at the end. No function lets a panic out, and none follows a NULL. */

#ifndef PORTCULLIS_H
#define PORTCULLIS_H

#include <stddef.h>
#include <stdint.h>

// Raised by one whenever a struct or the meaning of a function changes.
#define PORTCULLIS_ABI 1

// Most instances one generation may hold.
#define PORTCULLIS_MAX_INSTANCES 32

// What a call did. Numbers never change their meaning.
typedef enum portcullis_result {
    // Done.
    PORTCULLIS_OK = 0,
    // Not decided yet: see the ticket.
    PORTCULLIS_PENDING = 1,
    // Nothing there.
    PORTCULLIS_NONE = 2,
    // A pointer that must not be NULL was NULL.
    PORTCULLIS_NULL_PARAMETER = 8001,
    // A fault inside; it went no further.
    PORTCULLIS_PANIC = 8002,
    // `size` of a struct is not one this library knows.
    PORTCULLIS_BAD_SIZE = 8003,
    // No such instance.
    PORTCULLIS_BAD_INDEX = 8004,
    // A configuration cannot be used; each mistake was logged.
    PORTCULLIS_CONFIG = 8010,
    // The shared mapping could not be made or adopted.
    PORTCULLIS_MAPPING = 8011,
    // Too many instances.
    PORTCULLIS_FULL = 8012,
    // No worker runs in this process.
    PORTCULLIS_NOT_STARTED = 8013,
    // The operating system refused a thread or a file.
    PORTCULLIS_SYSTEM = 8014,
} portcullis_result;

// The web server that loads the library.
typedef enum portcullis_server {
    // Apache httpd.
    PORTCULLIS_HTTPD = 1,
    // nginx.
    PORTCULLIS_NGINX = 2,
} portcullis_server;

// Levels of log lines.
typedef enum portcullis_level {
    // Somebody has to act.
    PORTCULLIS_ERROR = 1,
    // Somebody may have to act.
    PORTCULLIS_WARNING = 2,
    // Worth knowing.
    PORTCULLIS_INFO = 3,
    // One line a request.
    PORTCULLIS_DEBUG = 4,
} portcullis_level;

// What a decision is.
typedef enum portcullis_verdict_kind {
    // Apply the edits and let the request through.
    PORTCULLIS_ALLOW = 1,
    // Answer with what the sink received.
    PORTCULLIS_RESPOND = 2,
    // Put the request that the sink received in the place of this one, and decide it from the beginning, as if
    // the client had sent it.
    PORTCULLIS_REPLAY = 3,
} portcullis_verdict_kind;

// What a ticket waits for.
typedef enum portcullis_wants {
    // The worker's thread is at it; wait, or be woken.
    PORTCULLIS_WANTS_AM = 1,
    // Read the request body and hand it over.
    PORTCULLIS_WANTS_BODY = 2,
    // Read the request body and hand it over piece by piece, with `portcullis_ticket_part`; nobody else
    // will want to read it.
    PORTCULLIS_WANTS_PARTS = 3,
} portcullis_wants;

// One generation of the host's configuration: its instances. Made by the parent, inherited.
typedef struct portcullis_agent portcullis_agent;

// The shared mapping of one host process tree: made by the parent before it forks.
typedef struct portcullis_mapping portcullis_mapping;

// A request that waits, or one that was let in and whose connection is cut when its session ends. One
// owner; free it exactly once.
typedef struct portcullis_ticket portcullis_ticket;

// Bytes with a length; not NUL-terminated. `data` may be NULL when `len` is 0.
typedef struct portcullis_str {
    // First byte.
    const uint8_t *data;
    // Number of bytes.
    size_t len;
} portcullis_str;

// Called on any thread that calls into the library, and on the worker's own thread: it must be safe
// there. `line` has no line end and no secret in it.
typedef void (*portcullis_log_fn)(void *ctx, enum portcullis_level level, struct portcullis_str line);

// How a generation is made.
typedef struct portcullis_agent_options {
    // `sizeof` this struct.
    size_t size;
    // The web server.
    enum portcullis_server server;
    // Receives lines for the host's error log.
    portcullis_log_fn log;
    // First argument of `log`; must live as long as the generation.
    void *log_ctx;
    // For example `nginx/1.22.1`.
    struct portcullis_str server_version;
} portcullis_agent_options;

// How a process works.
typedef struct portcullis_worker_options {
    // `sizeof` this struct.
    size_t size;
    // An eventfd that is written when a ticket is ready (it is duplicated); -1: wait on tickets.
    int32_t wake_fd;
    // Request threads of this process (httpd); 0 on nginx.
    uint32_t threads;
} portcullis_worker_options;

// One header field.
typedef struct portcullis_header {
    // Field name.
    struct portcullis_str name;
    // Field value.
    struct portcullis_str value;
} portcullis_header;

// An IP address.
typedef struct portcullis_address {
    // 4 or 6.
    uint8_t family;
    // Network order; the first 4 for family 4.
    uint8_t bytes[16];
} portcullis_address;

// A request.
typedef struct portcullis_request {
    // `sizeof` this struct.
    size_t size;
    // Method.
    struct portcullis_str method;
    // Request target exactly as the client sent it; after an internal redirect the new one.
    struct portcullis_str target;
    // Effective host with optional port.
    struct portcullis_str host;
    // Header fields in order.
    const struct portcullis_header *headers;
    // Number of header fields.
    size_t header_count;
    // The host's decoded path of `target`, path info included; empty: cannot be compared.
    struct portcullis_str path;
    // The host's path info, the end of `path`; anything else counts as none.
    struct portcullis_str path_info;
    // Peer of the socket.
    struct portcullis_address peer;
    // Client after realip or remoteip.
    struct portcullis_address client;
    // Local port.
    uint16_t port;
    // The connection is protected by TLS.
    uint8_t tls;
    // The host has merged duplicate headers.
    uint8_t merged;
    // A sub-request: only what is already known may be used.
    uint8_t stored_only;
    // Where AM's policy refuses a user, the host's own rules decide (httpd's `AmAuthProvider`): such a
    // request is allowed, and the verdict says that policy refused it.
    uint8_t authorizes;
    // Descriptor of the connection to the client, open until the ticket of this request is freed; 0:
    // none that could be cut.
    int32_t socket;
    // Comes back from `portcullis_completed`.
    void *tag;
} portcullis_request;

// Receives the edits of a decision during `portcullis_decide`, on the calling thread. Strings live
// for the length of the callback: copy them into the request's pool. No member may be NULL but `ctx`.
typedef struct portcullis_sink {
    // `sizeof` this struct.
    size_t size;
    // First argument of every callback.
    void *ctx;
    // Replace a request header.
    void (*request_header)(void *ctx, struct portcullis_str name, struct portcullis_str value);
    // Remove a request header.
    void (*remove_request_header)(void *ctx, struct portcullis_str name);
    // Set a variable that no client can forge.
    void (*variable)(void *ctx, struct portcullis_str name, struct portcullis_str value);
    // Set the authenticated user.
    void (*user)(void *ctx, struct portcullis_str name);
    // Add a response header, also to an error response.
    void (*response_header)(void *ctx, struct portcullis_str name, struct portcullis_str value);
    // The body of an answer of the agent's own.
    void (*body)(void *ctx, struct portcullis_str body);
    // Method and body of a request that takes the place of this one; its headers came before.
    void (*replay)(void *ctx, struct portcullis_str method, struct portcullis_str body);
} portcullis_sink;

// The decision.
typedef struct portcullis_verdict {
    // `sizeof` this struct.
    size_t size;
    // Let through, or answer.
    enum portcullis_verdict_kind kind;
    // Status of an answer of the agent's own.
    uint16_t status;
    // 1: allowed for everybody by a rule, so a shared cache of the host may keep the answer; 2: allowed
    // by a rule that looks at more than method and URL, or with a user's attributes; 0: an allow is
    // for this user only.
    uint8_t exempt;
    // 1: AM's policy refuses this allowed request, see `portcullis_request.authorizes`.
    uint8_t refused;
    // Number of the stable code.
    uint32_t reason;
} portcullis_verdict;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The ABI of this library; compare it with `PORTCULLIS_ABI` of the header compiled against.
uint32_t portcullis_abi(void);

// The version as text; static.
struct portcullis_str portcullis_version(void);

// A few words for a result; static. A number that is none of ours must not be passed.
struct portcullis_str portcullis_result_text(enum portcullis_result result);

// Makes a mapping. `cache_bytes` 0 means `AM_MAX_SESSION_CACHE_SIZE`, or 16 MiB.
//
// # Safety
// `out` must be NULL or writable. Free what it receives with `portcullis_mapping_free`.
enum portcullis_result portcullis_mapping_create(uint64_t cache_bytes,
                                                 struct portcullis_mapping **out);

// Takes over the mapping that another process keeps open: the old master, after an upgrade of nginx's
// binary. NONE: it has none, or none that this version can use, or it may not be looked into.
//
// # Safety
// `out` must be NULL or writable. Free what it receives with `portcullis_mapping_free`.
enum portcullis_result portcullis_mapping_adopt(uint32_t pid,
                                                struct portcullis_mapping **out);

// The mapping's fd, or -1. It belongs to the mapping.
//
// # Safety
// `mapping` must be NULL or one of ours.
int32_t portcullis_mapping_fd(const struct portcullis_mapping *mapping);

// Frees a handle; generations that use the mapping keep it.
//
// # Safety
// `mapping` must be NULL or a handle of ours that is not used again.
void portcullis_mapping_free(struct portcullis_mapping *mapping);

// Makes a generation without instances.
//
// # Safety
// `options` must be NULL or valid; `out` NULL or writable. Free with `portcullis_agent_free`.
enum portcullis_result portcullis_agent_new(const struct portcullis_agent_options *options,
                                            struct portcullis_agent **out);

// Reads `agent.conf` and the two files beside it. The same path gives the same index. With
// `keep_broken` a configuration that cannot be used still gets an index: it answers 503 to all.
// Only before `portcullis_worker_start`.
//
// # Safety
// `agent` and `index` must be NULL or valid; `path` must be valid for the call.
enum portcullis_result portcullis_agent_add(struct portcullis_agent *agent,
                                            struct portcullis_str path,
                                            int32_t keep_broken,
                                            uint32_t *index);

// After the last instance: opens logs, binds the generation to the mapping. Never asks AM.
//
// # Safety
// Both must be NULL or handles of ours.
enum portcullis_result portcullis_agent_attach(struct portcullis_agent *agent,
                                               const struct portcullis_mapping *mapping);

// Frees a generation; stop its worker first.
//
// # Safety
// `agent` must be NULL or a handle of ours that is not used again.
void portcullis_agent_free(struct portcullis_agent *agent);

// Starts this process's one thread. Call after the fork only.
//
// # Safety
// Both must be NULL or valid; `wake_fd` must be -1 or open for the call.
enum portcullis_result portcullis_worker_start(struct portcullis_agent *agent,
                                               const struct portcullis_worker_options *options);

// This worker takes no new duties and cuts waits to 1 s. One atomic store: safe in a signal handler.
//
// # Safety
// `agent` must be NULL or a handle of ours.
void portcullis_worker_drain(const struct portcullis_agent *agent);

// Ends the thread without waiting for it. Not for signal handlers.
//
// # Safety
// `agent` must be NULL or a handle of ours.
void portcullis_worker_stop(struct portcullis_agent *agent);

// Sets `remove[i]` to 1 for each header that a client must not send to a server block with these
// instances, to 0 for the others. Without a generation (`agent` NULL) the built-in names hold; after
// a fault all become 1: nothing forged gets through.
//
// # Safety
// `instances`, `headers` and `remove` must be NULL or hold as many elements as their counts say.
enum portcullis_result portcullis_scrub(const struct portcullis_agent *agent,
                                        const uint32_t *instances,
                                        size_t instance_count,
                                        const struct portcullis_header *headers,
                                        size_t header_count,
                                        uint8_t *remove);

// Decides a request. `*ticket` is NULL at first.
//
// PENDING: `*ticket` is set; satisfy it and call again with the same request. OK: decided, the sink
// was walked, `*ticket` is NULL again, or stands for a request that was let in and is cut when its
// session ends: free it when the request is over, before its socket is closed. Any other result: answer 503 and do not let the request
// through; `*ticket` is NULL.
//
// # Safety
// All pointers must be NULL or valid for the call, with everything that `request` and `sink` point
// to. One request is decided by one thread at a time.
enum portcullis_result portcullis_decide(const struct portcullis_agent *agent,
                                         uint32_t instance,
                                         const struct portcullis_request *request,
                                         const struct portcullis_sink *sink,
                                         struct portcullis_ticket **ticket,
                                         struct portcullis_verdict *verdict);

// What a ticket waits for; `body_limit` receives the most bytes of a body. NULL waits for AM.
//
// # Safety
// `ticket` must be NULL or a ticket of ours; `body_limit` NULL or writable.
enum portcullis_wants portcullis_ticket_wants(const struct portcullis_ticket *ticket,
                                              uint64_t *body_limit);

// Blocks until the ticket can go on; bounded by the instance's deadline.
//
// # Safety
// `ticket` must be NULL or a ticket of ours that nobody else uses.
enum portcullis_result portcullis_ticket_wait(struct portcullis_ticket *ticket);

// Milliseconds after which a timer should give up on this ticket although nothing woke it.
//
// # Safety
// `ticket` must be NULL or a ticket of ours.
uint32_t portcullis_ticket_deadline_ms(const struct portcullis_ticket *ticket);

// Hands the body over (copied). `data` NULL: it could not be read or was larger than the limit.
//
// # Safety
// `ticket` must be NULL or a ticket of ours; `data` NULL or `len` readable bytes.
enum portcullis_result portcullis_ticket_body(struct portcullis_ticket *ticket,
                                              const uint8_t *data,
                                              size_t len);

// Hands the next piece of the body over (copied). OK: go on; NONE: no more of it is wanted; in any case
// `portcullis_ticket_parts_end` follows.
//
// # Safety
// `ticket` must be NULL or a ticket of ours; `data` NULL or `len` readable bytes.
enum portcullis_result portcullis_ticket_part(struct portcullis_ticket *ticket,
                                              const uint8_t *data,
                                              size_t len);

// Ends the pieces. `complete` not 0: they are the whole body.
//
// # Safety
// `ticket` must be NULL or a ticket of ours.
enum portcullis_result portcullis_ticket_parts_end(struct portcullis_ticket *ticket,
                                                   uint8_t complete);

// Cancels and frees; NULL is fine.
//
// # Safety
// `ticket` must be NULL or a ticket of ours that is not used again.
void portcullis_ticket_free(struct portcullis_ticket *ticket);

// The next ready ticket's tag after the wake fd fired; NONE when there is none. Tags of freed
// tickets never come.
//
// # Safety
// `agent` must be NULL or a handle of ours; `tag` NULL or writable.
enum portcullis_result portcullis_completed(const struct portcullis_agent *agent, void **tag);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PORTCULLIS_H */
