/* Drops or delays the RTP packets that a process sends.  For LD_PRELOAD; see packet_loss.py.
 *
 * The file named by PACKET_LOSS_FILE is shared with whoever controls the losses:
 *   0  packets of a million that are dropped        (read at each packet)
 *   1  most microseconds that a packet is delayed   (read at each packet; 0 for none)
 *   2  RTP packets that were sent                   (written)
 *   3  RTP packets that were dropped                (written)
 * Each is a 64-bit integer in the machine's order.  RTCP, STUN, DTLS and TCP pass.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LOSS, DELAY, SENT, DROPPED, FIELDS };
enum { LONGEST = 2048, MOST_WAITING = 4096 };

static volatile uint64_t *shared;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t state = 88172645463325252ull;

typedef ssize_t (*sendto_t)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
typedef ssize_t (*sendmsg_t)(int, const struct msghdr *, int);
static sendto_t real_sendto;
static sendmsg_t real_sendmsg;

struct waiting {
    struct timespec due;
    int socket, flags;
    size_t length;
    socklen_t address_length;
    struct sockaddr_storage address;
    unsigned char packet[LONGEST];
};
static struct waiting *queue[MOST_WAITING]; /* In no order: it is short. */
static int queued, running;
static pthread_cond_t news;

__attribute__((constructor)) static void begin(void) {
    pthread_condattr_t steady;
    real_sendto = (sendto_t)dlsym(RTLD_NEXT, "sendto");
    real_sendmsg = (sendmsg_t)dlsym(RTLD_NEXT, "sendmsg");
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&news, &steady);
    const char *path = getenv("PACKET_LOSS_FILE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, FIELDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) shared = page;
}

/* xorshift64: the same packets in each run. */
static uint64_t draw(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static int is_udp(int socket) {
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
}

/* RFC 7983: 128 to 191 is RTP or RTCP.  RFC 5761: types 64 to 95 are RTCP's. */
static int is_rtp(const unsigned char *packet, size_t length) {
    return length >= 12 && packet[0] >= 128 && packet[0] < 192 &&
           !((packet[1] & 127) >= 64 && (packet[1] & 127) <= 95);
}

static int is_before(const struct timespec *one, const struct timespec *other) {
    return one->tv_sec != other->tv_sec ? one->tv_sec < other->tv_sec
                                        : one->tv_nsec < other->tv_nsec;
}

static void *send_later(void *nothing) {
    pthread_mutex_lock(&lock);
    for (;;) {
        struct timespec now;
        int first = -1;
        for (int i = 0; i < queued; i++)
            if (first < 0 || is_before(&queue[i]->due, &queue[first]->due)) first = i;
        if (first < 0) {
            pthread_cond_wait(&news, &lock);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (is_before(&now, &queue[first]->due)) {
            struct timespec due = queue[first]->due;
            pthread_cond_timedwait(&news, &lock, &due);
            continue;
        }
        struct waiting *one = queue[first];
        queue[first] = queue[--queued];
        pthread_mutex_unlock(&lock);
        real_sendto(one->socket, one->packet, one->length, one->flags,
                    one->address_length ? (struct sockaddr *)&one->address : NULL,
                    one->address_length);
        free(one);
        pthread_mutex_lock(&lock);
    }
    return nothing;
}

/* 1 where the packet was taken: dropped, or sent later. */
static int take(int socket, const unsigned char *packet, size_t length, int flags,
                const struct sockaddr *address, socklen_t address_length) {
    if (!shared || !is_rtp(packet, length) || !is_udp(socket)) return 0;
    int taken = 0;
    pthread_mutex_lock(&lock);
    uint64_t delay = shared[DELAY];
    if (draw() % 1000000 < shared[LOSS]) {
        shared[DROPPED]++;
        taken = 1;
    } else {
        shared[SENT]++;
        struct waiting *one = NULL;
        if (delay && length <= LONGEST && address_length <= sizeof one->address &&
            queued < MOST_WAITING)
            one = malloc(sizeof *one);
        if (one) {
            clock_gettime(CLOCK_MONOTONIC, &one->due);
            one->due.tv_nsec += (long)(draw() % delay) * 1000;
            one->due.tv_sec += one->due.tv_nsec / 1000000000;
            one->due.tv_nsec %= 1000000000;
            one->socket = socket, one->flags = flags, one->length = length;
            one->address_length = address ? address_length : 0;
            memcpy(one->packet, packet, length);
            if (address) memcpy(&one->address, address, address_length);
            queue[queued++] = one;
            pthread_t thread;
            if (!running && pthread_create(&thread, NULL, send_later, NULL) == 0) {
                pthread_detach(thread);
                running = 1;
            }
            pthread_cond_signal(&news);
            taken = 1;
        }
    }
    pthread_mutex_unlock(&lock);
    return taken;
}

ssize_t sendto(int socket, const void *packet, size_t length, int flags,
               const struct sockaddr *address, socklen_t address_length) {
    if (take(socket, packet, length, flags, address, address_length)) return (ssize_t)length;
    return real_sendto(socket, packet, length, flags, address, address_length);
}

ssize_t send(int socket, const void *packet, size_t length, int flags) {
    return sendto(socket, packet, length, flags, NULL, 0);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
    unsigned char packet[LONGEST];
    size_t length = 0;
    for (size_t i = 0; shared && i < (size_t)message->msg_iovlen; i++) {
        const struct iovec *part = &message->msg_iov[i];
        if (length + part->iov_len > LONGEST) {
            length = 0;
            break;
        }
        memcpy(packet + length, part->iov_base, part->iov_len);
        length += part->iov_len;
    }
    if (length && take(socket, packet, length, flags, message->msg_name, message->msg_namelen))
        return (ssize_t)length;
    return real_sendmsg(socket, message, flags);
}
