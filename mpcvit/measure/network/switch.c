/* A switch with slow cables: joins new network namespaces and delays what passes between them.
 *
 *     switch HOSTS DELAY_NS BYTES_PER_S FIRST_ADDRESS MTU
 *
 * Makes HOSTS network namespaces. Host i gets a device link0 with address FIRST_ADDRESS + i. A packet leaves its host
 * after everything that the host sent before it, at BYTES_PER_S (0: no limit), and arrives DELAY_NS later. Cables hold
 * any number of packets, and none overtakes another.
 *
 * Prints "ready REALTIME FD..." : whether it got a real-time priority, and for each host the descriptor of its
 * namespace, which others enter as /proc/PID/fd/FD. Runs until standard input ends or SIGTERM arrives, then prints how
 * many packets were lost (there should be none) and the bytes that each host sent. The namespaces have no names: they
 * vanish with this process and the last one inside.
 *
 * Three things keep it cheap and exact:
 *  - Packets carry the virtio header, so the kernel hands over up to 64 KiB of a TCP stream at once and leaves
 *    segmentation and checksums aside; connections still see the MTU's segment size.
 *  - It sleeps in ppoll until the next packet is due, with nanosecond timers.
 *  - SCHED_FIFO: parties that compute on every core do not delay it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_HOSTS = 16,
    MAX_FRAME = 65536 + sizeof(struct virtio_net_hdr),
    READS_PER_WAKE = 64, /* of one host, before others and due packets get their turn */
    TRANSMIT_QUEUE = 10000,
};
static const char DEVICE[] = "link0";
static const int64_t SECOND = 1000000000;

struct frame {
    int64_t due_ns;
    int to;
    size_t length;
    unsigned char bytes[]; /* virtio header, IPv4 packet */
};

/* Frames under way from one host. The delay is the same for all, so the order of sending is the order of arrival. */
struct cable {
    struct frame **ring;
    size_t head, tail, capacity; /* capacity is a power of two; head and tail count on without wrapping */
    int64_t free_ns;             /* when the host has sent everything so far */
    uint64_t bytes;
};

static int tunnels[MAX_HOSTS];
static struct cable cables[MAX_HOSTS];
static int hosts;
static int64_t delay_ns;
static double bytes_per_s;
static uint32_t first_address;
static uint64_t lost; /* frames that the kernel did not take back */
static volatile sig_atomic_t stopped;

static void stop(int signal_number) {
    (void)signal_number;
    stopped = 1;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static struct ifreq request_for(const char *device) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    return request;
}

static void change(int socket_fd, unsigned long what, struct ifreq *request, const char *name) {
    if (ioctl(socket_fd, what, request) < 0) die(name);
}

static void set_address(int socket_fd, unsigned long what, uint32_t address) {
    struct ifreq request = request_for(DEVICE);
    struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(address);
    change(socket_fd, what, &request, "address of link0");
}

static void bring_up(int socket_fd, const char *device) {
    struct ifreq request = request_for(device);
    change(socket_fd, SIOCGIFFLAGS, &request, "state of a device");
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    change(socket_fd, SIOCSIFFLAGS, &request, "state of a device");
}

/* Opens link0 in the current namespace; returns the descriptor through which its packets come and go. */
static int open_tunnel(uint32_t address, int mtu) {
    int tunnel = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tunnel < 0) die("/dev/net/tun");
    struct ifreq request = request_for(DEVICE);
    request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    change(tunnel, TUNSETIFF, &request, "TUNSETIFF");
    if (ioctl(tunnel, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0) die("TUNSETOFFLOAD");

    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) die("socket");
    set_address(control, SIOCSIFADDR, address);
    set_address(control, SIOCSIFNETMASK, 0xffffff00);
    request = request_for(DEVICE);
    request.ifr_mtu = mtu;
    change(control, SIOCSIFMTU, &request, "MTU of link0");
    request = request_for(DEVICE);
    request.ifr_qlen = TRANSMIT_QUEUE;
    change(control, SIOCSIFTXQLEN, &request, "queue of link0");
    bring_up(control, "lo");
    bring_up(control, DEVICE);
    close(control);
    return tunnel;
}

/* Makes host's namespace, enters it and opens its tunnel; returns the namespace's descriptor. */
static int make_host(int host, int mtu) {
    if (unshare(CLONE_NEWNET) < 0) die("a network namespace");
    int namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (namespace < 0) die("/proc/self/ns/net");
    tunnels[host] = open_tunnel(first_address + host, mtu);
    cables[host].capacity = 1024;
    cables[host].ring = calloc(cables[host].capacity, sizeof *cables[host].ring);
    if (!cables[host].ring) die("memory");
    return namespace;
}

/* Bytes of a packet once it is cut into segments, each with headers of its own. */
static size_t bytes_on_wire(const struct virtio_net_hdr *header, const unsigned char *packet, size_t length) {
    if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE || header->gso_size == 0) return length;
    size_t ip_header = (packet[0] & 15) * 4;
    if (length < ip_header + 20) return length;
    size_t headers = ip_header + (packet[ip_header + 12] >> 4) * 4;
    if (length <= headers) return length;
    size_t segments = (length - headers + header->gso_size - 1) / header->gso_size;
    return length + (segments - 1) * headers;
}

/* Host to which an IPv4 packet is addressed; -1 if there is none or it is something else. */
static int destination(const unsigned char *packet, size_t length) {
    if (length < 20 || packet[0] >> 4 != 4) return -1;
    uint32_t address;
    memcpy(&address, packet + 16, sizeof address);
    uint32_t host = ntohl(address) - first_address;
    return host < (uint32_t)hosts ? (int)host : -1;
}

static void append(struct cable *cable, struct frame *frame) {
    if (cable->tail - cable->head == cable->capacity) {
        size_t capacity = cable->capacity * 2;
        struct frame **ring = calloc(capacity, sizeof *ring);
        if (!ring) die("memory");
        for (size_t i = cable->head; i != cable->tail; i++)
            ring[i & (capacity - 1)] = cable->ring[i & (cable->capacity - 1)];
        free(cable->ring);
        cable->ring = ring;
        cable->capacity = capacity;
    }
    cable->ring[cable->tail++ & (cable->capacity - 1)] = frame;
}

/* Puts one frame that host sent on its cable. */
static void send_frame(int host, const unsigned char *bytes, size_t length) {
    const size_t offset = sizeof(struct virtio_net_hdr);
    if (length <= offset) return;
    int to = destination(bytes + offset, length - offset);
    if (to < 0) return;
    struct frame *frame = malloc(sizeof *frame + length);
    if (!frame) die("memory");
    struct virtio_net_hdr header;
    memcpy(&header, bytes, sizeof header);
    size_t size = bytes_on_wire(&header, bytes + offset, length - offset);

    struct cable *cable = &cables[host];
    int64_t t = now();
    if (cable->free_ns < t) cable->free_ns = t;
    if (bytes_per_s > 0) cable->free_ns += (int64_t)(size * 1e9 / bytes_per_s);
    cable->bytes += size;
    frame->due_ns = cable->free_ns + delay_ns;
    frame->to = to;
    frame->length = length;
    memcpy(frame->bytes, bytes, length);
    append(cable, frame);
}

/* Hands over all frames that are due; returns when the next one is, or -1 if none is under way. */
static int64_t deliver(void) {
    int64_t next = -1;
    for (int host = 0; host < hosts; host++) {
        struct cable *cable = &cables[host];
        while (cable->head != cable->tail) {
            struct frame *frame = cable->ring[cable->head & (cable->capacity - 1)];
            if (frame->due_ns > now()) {
                if (next < 0 || frame->due_ns < next) next = frame->due_ns;
                break;
            }
            if (write(tunnels[frame->to], frame->bytes, frame->length) < 0) lost++;
            free(frame);
            cable->head++;
        }
    }
    return next;
}

/* Sleeps until a frame is due or something arrives, and takes in what arrived. */
static void collect(struct pollfd *polls, int64_t next) {
    static unsigned char bytes[MAX_FRAME];
    struct timespec wait, *limit = NULL;
    if (next >= 0) {
        int64_t left = next - now();
        if (left < 0) left = 0;
        wait = (struct timespec){.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
        limit = &wait;
    }
    if (ppoll(polls, hosts + 1, limit, NULL) <= 0) return;
    if (polls[hosts].revents && read(STDIN_FILENO, bytes, sizeof bytes) <= 0) stopped = 1;
    for (int host = 0; host < hosts; host++) {
        if (!(polls[host].revents & POLLIN)) continue;
        for (int i = 0; i < READS_PER_WAKE; i++) {
            ssize_t length = read(tunnels[host], bytes, sizeof bytes);
            if (length <= 0) break;
            send_frame(host, bytes, length);
        }
    }
}

int main(int count, char **arguments) {
    struct in_addr address;
    if (count != 6 || inet_pton(AF_INET, arguments[4], &address) != 1) {
        fprintf(stderr, "switch HOSTS DELAY_NS BYTES_PER_S FIRST_ADDRESS MTU\n");
        return 2;
    }
    hosts = atoi(arguments[1]);
    delay_ns = atoll(arguments[2]);
    bytes_per_s = atof(arguments[3]);
    first_address = ntohl(address.s_addr);
    if (hosts < 1 || hosts > MAX_HOSTS) {
        fprintf(stderr, "1 to %d hosts\n", MAX_HOSTS);
        return 2;
    }
    signal(SIGTERM, stop);
    signal(SIGINT, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL);
    struct sched_param priority = {.sched_priority = 10};
    int realtime = sched_setscheduler(0, SCHED_FIFO, &priority) == 0;

    struct pollfd polls[MAX_HOSTS + 1];
    int namespaces[MAX_HOSTS];
    for (int host = 0; host < hosts; host++) {
        namespaces[host] = make_host(host, atoi(arguments[5]));
        polls[host] = (struct pollfd){.fd = tunnels[host], .events = POLLIN};
    }
    polls[hosts] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    printf("ready %d", realtime);
    for (int host = 0; host < hosts; host++) printf(" %d", namespaces[host]);
    printf("\n");
    fflush(stdout);

    while (!stopped) collect(polls, deliver());
    printf("%llu", (unsigned long long)lost);
    for (int host = 0; host < hosts; host++) printf(" %llu", (unsigned long long)cables[host].bytes);
    printf("\n");
    return 0;
}
