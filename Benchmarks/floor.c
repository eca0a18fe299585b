// What libmicrohttpd costs by itself: a server of canned answers, started with the daemon flags of
// segmentd and driven by a loop of the same shape. Whatever segmentd takes beyond it is segmentd's.
//
//     floor PORT
//
//     GET /N      N bytes from memory, with the headers of a segment's data
//     PUT /N      takes a body in, copies it to memory once it is here whole, answers 204
//
// Prints "ready" when it listens; SIGTERM ends it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { sizes = 40, capacity = 1 << 30 };

static char *memory;
static struct MHD_Response *answers[sizes];
static unsigned long answer_sizes[sizes];
static struct MHD_Response *done;
static int outer;

struct upload {
    char *bytes;
    size_t count, length;
};

static void *fail(const char *what) {
    perror(what);
    exit(1);
}

static void add_common(struct MHD_Response *response) {
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "X-Request-Id", "1a2b3c4d-123456");
}

// One answer a size, made once.
static struct MHD_Response *answer(unsigned long size) {
    for (int i = 0; i < sizes; i++) {
        if (answers[i] != NULL && answer_sizes[i] == size) return answers[i];
        if (answers[i] != NULL) continue;
        struct MHD_Response *response =
            MHD_create_response_from_buffer(size, memory, MHD_RESPMEM_PERSISTENT);
        char range[80];
        snprintf(range, sizeof range, "bytes 0-%lu/%d", size - 1, capacity);
        add_common(response);
        MHD_add_response_header(response, "Content-Type", "application/octet-stream");
        MHD_add_response_header(response, "Accept-Ranges", "bytes");
        MHD_add_response_header(response, "Content-Range", range);
        answer_sizes[i] = size;
        return answers[i] = response;
    }
    return NULL;
}

static enum MHD_Result queue(struct MHD_Connection *connection, const char *url) {
    struct MHD_Response *response = answer(strtoul(url + 1, NULL, 10));
    if (response == NULL) return MHD_NO;
    return MHD_queue_response(connection, 206, response);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *count, void **request) {
    (void) context;
    (void) version;
    static char seen;
    if (method[0] == 'G') {
        if (*request == NULL) {
            *request = &seen;
            return MHD_YES;
        }
        return queue(connection, url);
    }
    struct upload *upload = *request;
    if (upload == NULL) {
        const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
        upload = calloc(1, sizeof *upload);
        upload->length = length == NULL ? 0 : strtoul(length, NULL, 10);
        if (upload->length > capacity) return MHD_NO;
        upload->bytes = malloc(upload->length + 1);
        *request = upload;
        return MHD_YES;
    }
    if (*count > 0) {
        if (*count > upload->length - upload->count) return MHD_NO;
        memcpy(upload->bytes + upload->count, data, *count);
        upload->count += *count;
        *count = 0;
        return MHD_YES;
    }
    memcpy(memory, upload->bytes, upload->count);
    return MHD_queue_response(connection, 204, done);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code) {
    (void) context;
    (void) code;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    (void) info;
    struct upload *upload = *request;
    if (upload != NULL && (char *) upload->bytes != NULL && upload->length > 0) {
        free(upload->bytes);
        free(upload);
    }
    *request = NULL;
}

// Hang-ups are watched for beside libmicrohttpd, which does not see them while a request waits.
static void on_connection(void *context, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode code) {
    (void) context;
    (void) slot;
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data = {.u64 = 2}};
    epoll_ctl(outer, code == MHD_CONNECTION_NOTIFY_STARTED ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event);
}

static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text) {
    (void) context;
    (void) connection;
    return strlen(text);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    size_t pool = count > 2 ? strtoul(arguments[2], NULL, 10) * 1024 : 20 * 1024;
    memory = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap");
    done = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    add_common(done);
    signal(SIGPIPE, SIG_IGN);

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t) atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *) &address, sizeof address) != 0) fail("bind");
    if (listen(listener, SOMAXCONN) != 0) fail("listen");

    outer = epoll_create1(EPOLL_CLOEXEC);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, NULL,
        MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT, 16384u,
        MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, pool, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (daemon == NULL) fail("MHD_start_daemon");
    int inner = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->listen_fd;
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = 0}};
    epoll_ctl(outer, EPOLL_CTL_ADD, bell, &event);
    event.data.u64 = 1;
    epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        MHD_UNSIGNED_LONG_LONG timeout;
        int wait = 1000;
        if (MHD_get_timeout(daemon, &timeout) == MHD_YES && timeout < 1000) wait = (int) timeout;
        struct epoll_event events[256];
        epoll_wait(outer, events, 256, wait);
        MHD_run(daemon);
    }
}
