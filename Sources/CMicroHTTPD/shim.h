#ifndef CMICROHTTPD_SHIM_H
#define CMICROHTTPD_SHIM_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

// Everything a daemon is started with. The options are variadic, which Swift cannot call.
struct cmicrohttpd_options {
    void *_Nullable context;
    unsigned connection_timeout;
    size_t connection_memory;
    // PEM, for a daemon that speaks TLS; all NULL for one that does not. `authority` may be.
    const char *_Nullable certificate;
    const char *_Nullable key;
    const char *_Nullable authority;
    MHD_AccessHandlerCallback _Nullable access;
    MHD_RequestCompletedCallback _Nullable completed;
    MHD_NotifyConnectionCallback _Nullable connection;
    void *_Nullable (*_Nullable target)(void *_Nullable context, const char *_Nullable target,
                                        struct MHD_Connection *_Nullable connection);
    void (*_Nullable log)(void *_Nullable context, const char *_Nonnull line);
};

// The logger receives a va_list, which Swift cannot format.
static inline void
cmicrohttpd_format_log(void *context, const char *format, va_list arguments) {
    const struct cmicrohttpd_options *options = (const struct cmicrohttpd_options *) context;
    char line[512];
    (void) vsnprintf(line, sizeof line, format, arguments);
    options->log(options->context, line);
}

// The library decodes in place what it hands over; this leaves every byte as it was sent.
static inline size_t
cmicrohttpd_keep_escapes(void *context, struct MHD_Connection *connection, char *text) {
    (void) context;
    (void) connection;
    size_t count = 0;
    while (text[count] != '\0') count++;
    return count;
}

// `options` must outlive the daemon: the logger reads it.
static inline struct MHD_Daemon *_Nullable
cmicrohttpd_start(const struct cmicrohttpd_options *_Nonnull options) {
    const int is_secure = options->certificate != NULL;
    // A daemon without TLS would complain of these, so its list is empty.
    struct MHD_OptionItem security[] = {
        {is_secure ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *) options->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *) options->key},
        {MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *) options->authority},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *) "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(
        (is_secure ? MHD_USE_TLS : 0) |
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        options->access, options->context,
        MHD_OPTION_EXTERNAL_LOGGER, cmicrohttpd_format_log, (void *) options,
        MHD_OPTION_CONNECTION_LIMIT, UINT_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, options->connection_timeout,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, options->connection_memory,
        // How much must be free in the buffer that is read into lest it be made larger. It is cut to what came each
        // time, so that after a short piece of a body all that follow would be as short.
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, options->connection_memory,
        MHD_OPTION_NOTIFY_COMPLETED, options->completed, options->context,
        MHD_OPTION_NOTIFY_CONNECTION, options->connection, options->context,
        MHD_OPTION_URI_LOG_CALLBACK, options->target, options->context,
        MHD_OPTION_UNESCAPE_CALLBACK, cmicrohttpd_keep_escapes, NULL,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_ARRAY, security,
        MHD_OPTION_END);
}

// The getters are variadic.
static inline int
cmicrohttpd_epoll_descriptor(struct MHD_Daemon *_Nonnull daemon) {
    return MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->listen_fd;
}

static inline int
cmicrohttpd_descriptor(struct MHD_Connection *_Nonnull connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static inline void *_Nullable
cmicrohttpd_socket_context(struct MHD_Connection *_Nonnull connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static inline gnutls_session_t _Nonnull
cmicrohttpd_session(struct MHD_Connection *_Nonnull connection) {
    return (gnutls_session_t) MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
}

// Has a connection take its certificate from here rather than from the daemon. Call it before the handshake;
// `credentials` must outlive the connection.
static inline int
cmicrohttpd_use_credentials(struct MHD_Connection *_Nonnull connection,
                            gnutls_certificate_credentials_t _Nonnull credentials) {
    return gnutls_credentials_set(cmicrohttpd_session(connection), GNUTLS_CRD_CERTIFICATE, credentials);
}

// The library only asks for a certificate. This has the handshake fail without one that the authority made for
// clients. Call it before the handshake.
static inline void
cmicrohttpd_require_certificate(struct MHD_Connection *_Nonnull connection) {
    static gnutls_typed_vdata_st purpose = {
        GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *) GNUTLS_KP_TLS_WWW_CLIENT, 0};
    const gnutls_session_t session = cmicrohttpd_session(connection);
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_cert2(session, &purpose, 1, 0);
}

// Bytes that were received, and neither decrypted by the kernel's word nor handed over yet.
static inline size_t
cmicrohttpd_pending(struct MHD_Connection *_Nonnull connection) {
    return gnutls_record_check_pending(cmicrohttpd_session(connection));
}

// Sends past the library, as the answer's last bytes.
static inline ssize_t
cmicrohttpd_send_last(struct MHD_Connection *_Nonnull connection, const void *_Nullable bytes, size_t count) {
    const gnutls_session_t session = cmicrohttpd_session(connection);
    const ssize_t sent = gnutls_record_send(session, bytes, count);
    (void) gnutls_bye(session, GNUTLS_SHUT_WR);
    return sent;
}

// Copies memory of this process by the kernel, which answers a page that is gone with EFAULT and with what it could
// copy before it.
static inline ssize_t
cmicrohttpd_copy(const void *_Nonnull from, void *_Nonnull to, size_t count) {
    const struct iovec source = {(void *) from, count}, target = {to, count};
    return syscall(SYS_process_vm_readv, getpid(), &target, 1UL, &source, 1UL, 0UL);
}

// Also true of the answers that the library gives by itself.
static inline int
cmicrohttpd_has_answer(struct MHD_Connection *_Nonnull connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_HTTP_STATUS) != NULL;
}

// GNU only. `address` has room for an address of any kind.
static inline int
cmicrohttpd_accept(int listener, struct sockaddr_storage *_Nonnull address) {
    socklen_t size = sizeof *address;
    return (int) syscall(SYS_accept4, listener, address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

// Who connected a Unix socket; the record is declared for GNU sources only.
static inline int
cmicrohttpd_peer_credentials(int descriptor, int *_Nonnull pid, unsigned *_Nonnull uid, unsigned *_Nonnull gid) {
    struct { int pid; unsigned uid, gid; } credentials = {0, UINT_MAX, UINT_MAX};
    socklen_t size = sizeof credentials;
    const int result = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
    *pid = credentials.pid;
    *uid = credentials.uid;
    *gid = credentials.gid;
    return result;
}

// The process that connected a Unix socket, held by the kernel since then; new in Linux 6.5.
static inline int
cmicrohttpd_peer_process(int descriptor) {
    enum { peer_process = 77 };  // SO_PEERPIDFD
    int process = -1;
    socklen_t size = sizeof process;
    const int result = getsockopt(descriptor, SOL_SOCKET, peer_process, &process, &size);
    return result == 0 ? process : -1;
}

// Not in this C library.
static inline int
cmicrohttpd_open_process(int process) {
    return (int) syscall(SYS_pidfd_open, process, 0);
}

// Variadic; and the only way to send a body of unknown length without chunks.
static inline void
cmicrohttpd_close_delimited(struct MHD_Response *_Nonnull response) {
    (void) MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
}

// Macros with casts, which Swift does not import.
static const uint64_t cmicrohttpd_size_unknown = UINT64_MAX;
static const ssize_t cmicrohttpd_end_of_stream = MHD_CONTENT_READER_END_OF_STREAM;
static const ssize_t cmicrohttpd_end_with_error = MHD_CONTENT_READER_END_WITH_ERROR;

// The kernel's event record is packed and holds a union; this one is neither.
struct cmicrohttpd_event {
    uint64_t token;
    uint32_t events;
};

static const uint32_t cmicrohttpd_readable = EPOLLIN;
// For a socket that several threads listen on: wakes one of them.
static const uint32_t cmicrohttpd_readable_by_one = EPOLLIN | EPOLLEXCLUSIVE;
// Told once: bytes that come for a connection with this alone wake nobody.
static const uint32_t cmicrohttpd_hang_up = EPOLLRDHUP | EPOLLET;

static inline int
cmicrohttpd_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static inline int
cmicrohttpd_epoll_remove(int epoll, int descriptor) {
    return epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL);
}

enum { cmicrohttpd_event_capacity = 256 };

static inline int
cmicrohttpd_epoll_wait(int epoll, struct cmicrohttpd_event *_Nonnull events, int milliseconds) {
    struct epoll_event found[cmicrohttpd_event_capacity];
    const int count = epoll_wait(epoll, found, cmicrohttpd_event_capacity, milliseconds);
    for (int i = 0; i < count; i++) {
        events[i].token = found[i].data.u64;
        events[i].events = found[i].events;
    }
    return count;
}

// POLLRDHUP is spelled only for GNU sources; Linux gives it the value of EPOLLRDHUP.
static inline int
cmicrohttpd_is_hung_up(int descriptor) {
    struct pollfd entry = {.fd = descriptor, .events = EPOLLRDHUP};
    return poll(&entry, 1, 0) > 0;
}

// Variadic.
static inline void
cmicrohttpd_name_thread(const char *_Nonnull name) {
    (void) prctl(PR_SET_NAME, name, 0, 0, 0);
}

#endif
