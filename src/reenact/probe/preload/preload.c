/* What a process opens and which hosts it looks up, in a log that all processes of a run share.
 *
 * Preloaded into every dynamically linked process of a run on Linux, whatever it is written in.
 * The log is a file that is mapped into memory: there is no descriptor that a program could close,
 * what is in it survives kill -9, and writers need no lock. docs/reference/format.md has its format.
 *
 * Promised: the program behaves as without us. The original is called exactly once; errno, and the
 * result, are its own. Safe in threads, forks, vfork, signal handlers and static constructors: no
 * allocation, no lock, nothing that waits. Without a log to write to, nothing is done.
 * Not covered: statically linked programs, raw system calls, programs with more rights than the
 * user (the loader ignores preloaded libraries there).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#undef open
#undef open64
#undef openat
#undef openat64
#undef fopen
#undef fopen64
#undef freopen
#undef freopen64
#undef creat
#undef creat64

#define EXPORT __attribute__((visibility("default")))
#define LONGEST 4096
#define VERSION 1
#define MARKER 0x6f746e72u /* "rnto" */
#define MAPPED (64u << 20)
#define STEP (1u << 20)

typedef struct {
    uint32_t marker, version;
    _Atomic uint64_t used;   /* where the next record goes; the first one is at 64 */
    _Atomic uint64_t room;   /* how far the file reaches on disk */
    _Atomic uint64_t lost;   /* records that found no room */
    _Atomic uint64_t system; /* openings below the directories of the system, which are not listed */
    uint64_t reserved[3];
} header;

typedef struct {
    _Atomic uint64_t done; /* marker, and length of the record in the upper half; written last */
    uint32_t pid;
    uint16_t kind;       /* 'o' opened, 'm' moved, 'p' process, 'h' host, 'c' connection */
    uint16_t base_bytes; /* the directory that the name is relative to; 0 for none */
    int32_t flags;
    uint32_t name_bytes;
    int64_t time_ns, size, mtime_ns, ctime_ns;
} record;

/* What was seen. Small, so that a process that opens little touches little memory. */
static _Atomic uint64_t few[1024];
static _Atomic uint64_t many[65536];

static header *log_;
static _Atomic int state; /* 0 nothing is known, 1 somebody is finding out, 2 on, 3 off */
static _Atomic uint32_t moves; /* how often the working directory changed */
static char path_of_log[LONGEST];

static int (*real_open)(const char *, int, ...);
static int (*real_open64)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_openat64)(int, const char *, int, ...);

/* --- the log --- */

static int64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static int make_room(uint64_t end)
{
    if (end > MAPPED)
        return 0;
    /* Allocated before it is touched: on a full disk, touching a hole would kill the program. */
    int file = real_open(path_of_log, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return 0;
    uint64_t wanted = (end + STEP - 1) / STEP * STEP;
    int failed = fallocate(file, 0, 0, (off_t)wanted) != 0;
    close(file);
    if (failed)
        return 0;
    uint64_t room = atomic_load(&log_->room);
    while (room < wanted && !atomic_compare_exchange_weak(&log_->room, &room, wanted))
        ;
    return 1;
}

static void write_record(int kind, const char *base, size_t base_bytes, const char *name,
                         size_t name_bytes, int flags, const struct stat *found)
{
    uint64_t bytes = (sizeof(record) + base_bytes + name_bytes + 7) & ~(uint64_t)7;
    uint64_t at = atomic_fetch_add_explicit(&log_->used, bytes, memory_order_relaxed);
    if (at + bytes > atomic_load_explicit(&log_->room, memory_order_relaxed) &&
        !make_room(at + bytes)) {
        atomic_fetch_add(&log_->lost, 1);
        return;
    }
    record *to = (record *)((char *)log_ + at);
    to->pid = (uint32_t)getpid();
    to->kind = (uint16_t)kind;
    to->base_bytes = (uint16_t)base_bytes;
    to->flags = flags;
    to->name_bytes = (uint32_t)name_bytes;
    to->time_ns = now_ns();
    to->size = found ? found->st_size : -1;
    to->mtime_ns = found ? (int64_t)found->st_mtim.tv_sec * 1000000000 + found->st_mtim.tv_nsec : 0;
    to->ctime_ns = found ? (int64_t)found->st_ctim.tv_sec * 1000000000 + found->st_ctim.tv_nsec : 0;
    memcpy(to + 1, base, base_bytes);
    memcpy((char *)(to + 1) + base_bytes, name, name_bytes);
    atomic_store_explicit(&to->done, bytes << 32 | MARKER, memory_order_release);
}

static int is_on(void);

static int begin(void)
{
    int nothing = 0;
    if (!atomic_compare_exchange_strong(&state, &nothing, 1))
        return nothing == 2;
    real_open = dlsym(RTLD_NEXT, "open");
    real_open64 = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat");
    real_openat64 = dlsym(RTLD_NEXT, "openat64");
    const char *directory = getenv("REENACT_RECORD_DIR");
    size_t length = directory ? strlen(directory) : 0;
    int next = 3;
    if (real_open && length && length < sizeof path_of_log - 8) {
        memcpy(path_of_log, directory, length);
        memcpy(path_of_log + length, "/opened", 8);
        int file = real_open(path_of_log, O_RDWR | O_CLOEXEC);
        if (file >= 0) {
            header *mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            struct stat found;
            if (mapped != MAP_FAILED) {
                if (fstat(file, &found) == 0 && found.st_size >= (off_t)sizeof(header) &&
                    mapped->marker == MARKER && mapped->version == VERSION) {
                    log_ = mapped;
                    madvise(mapped, MAPPED, MADV_DONTDUMP);
                    next = 2;
                } else
                    munmap(mapped, MAPPED);
            }
            close(file);
        }
    }
    atomic_store(&state, next);
    return next == 2;
}

static inline int is_on(void)
{
    int now = atomic_load_explicit(&state, memory_order_acquire);
    return now == 2 || (now == 0 && begin());
}

/* --- what was seen already --- */

static int insert(_Atomic uint64_t *table, uint64_t mask, uint64_t hash)
{
    for (uint64_t i = 0; i < 8; i++) {
        _Atomic uint64_t *place = &table[(hash + i) & mask];
        uint64_t held = atomic_load_explicit(place, memory_order_relaxed);
        if (held == 0 && atomic_compare_exchange_strong(place, &held, hash))
            return 1;
        if (held == hash)
            return 0;
    }
    return -1;
}

/* When both tables are full, things are listed more than once: that costs room, no truth. */
static int is_new(uint64_t hash)
{
    hash += hash == 0;
    int found = insert(few, 1023, hash);
    if (found < 0)
        found = insert(many, 65535, hash);
    return found != 0;
}

static uint64_t hash_of(const void *data, size_t bytes, uint64_t hash)
{
    const unsigned char *at = data;
    hash ^= 0x9e3779b97f4a7c15u + bytes;
    while (bytes >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
        at += 8;
        bytes -= 8;
    }
    while (bytes--)
        hash = (hash ^ *at++) * 0x100000001b3u;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}

/* --- files --- */

static int starts(const char *path, const char *with)
{
    return strncmp(path, with, strlen(with)) == 0;
}

static int is_system(const char *path)
{
    return starts(path, "/usr/") || starts(path, "/lib/") || starts(path, "/lib64/") ||
           starts(path, "/etc/");
}

/* Return the directory that a relative name starts from; 0 bytes where nobody knows. */
static size_t base_of(int directory, char *to)
{
    if (directory == AT_FDCWD)
        return getcwd(to, LONGEST) ? strlen(to) : 0;
    char link[32] = "/proc/self/fd/";
    char digits[12];
    int n = 0;
    do
        digits[n++] = (char)('0' + directory % 10);
    while (directory /= 10);
    size_t at = strlen(link);
    while (n)
        link[at++] = digits[--n];
    link[at] = 0;
    ssize_t length = readlink(link, to, LONGEST);
    return length > 0 && to[0] == '/' ? (size_t)length : 0;
}

static uint64_t hash_of_place(int directory, const char *path, size_t length, int is_write)
{
    uint64_t hash = (uint64_t)is_write + 1;
    if (path[0] == '/')
        return hash_of(path, length, hash);
    if (directory == AT_FDCWD) {
        hash += (uint64_t)atomic_load_explicit(&moves, memory_order_relaxed) << 8;
        return hash_of(path, length, hash);
    }
    /* The same number may be another directory by now. */
    struct stat of;
    if (fstat(directory, &of) == 0)
        hash = hash_of(&of.st_ino, sizeof of.st_ino, hash + of.st_dev);
    return hash_of(path, length, hash);
}

static void note_opened(int directory, const char *path, int flags, int file)
{
    int saved = errno;
    if (path && !(flags & (O_DIRECTORY | O_PATH)) && !starts(path, "/proc/") &&
        !starts(path, "/sys/") && !starts(path, "/dev/")) {
        int is_write = (flags & (O_ACCMODE | O_CREAT | O_TRUNC)) != O_RDONLY;
        if (!is_write && is_system(path)) {
            atomic_fetch_add_explicit(&log_->system, 1, memory_order_relaxed);
        } else {
            size_t length = strlen(path);
            struct stat found;
            if (length < LONGEST && is_new(hash_of_place(directory, path, length, is_write)) &&
                fstat(file, &found) == 0 && S_ISREG(found.st_mode)) {
                char base[LONGEST];
                size_t base_bytes = path[0] == '/' ? 0 : base_of(directory, base);
                if (base_bytes || path[0] == '/')
                    write_record('o', base, base_bytes, path, length, flags, &found);
            }
        }
    }
    errno = saved;
}

static void note_moved(int from, const char *old, int to, const char *new)
{
    int saved = errno;
    char both[2 * LONGEST + 2], base[LONGEST];
    size_t length = 0;
    const char *names[2] = {old, new};
    int directories[2] = {from, to};
    for (int i = 0; i < 2; i++) {
        size_t bytes = strlen(names[i]);
        if (bytes >= LONGEST / 2)
            goto end;
        if (names[i][0] != '/') {
            size_t base_bytes = base_of(directories[i], base);
            if (!base_bytes || base_bytes >= LONGEST / 2)
                goto end;
            memcpy(both + length, base, base_bytes);
            length += base_bytes;
            both[length++] = '/';
        }
        memcpy(both + length, names[i], bytes + 1);
        length += bytes + 1;
    }
    /* What is moved may be opened again under its old name. */
    atomic_fetch_add(&moves, 1);
    write_record('m', NULL, 0, both, length - 1, 0, NULL);
end:
    errno = saved;
}

#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }

/* Python's half asks by this name whether this library is in its process. */
static const char question[] = "/reenact/preload";

static int is_question(const char *path)
{
    return path && path[0] == '/' && path[1] == 'r' && strcmp(path, question) == 0;
}

static int opened(int directory, const char *path, int flags, int file)
{
    if (file >= 0 && is_on())
        note_opened(directory, path, flags, file);
    else if (file < 0 && is_question(path) && is_on())
        errno = EALREADY;
    return file;
}

/* Where another constructor opens a file while we are finding our feet, or the C library has no
 * such function, the name below is missing; then it is looked up for this one call. */
#define ORIGINAL(name, type)                                                                       \
    type original = real_##name;                                                                   \
    if (!original)                                                                                 \
        original = (type)dlsym(RTLD_NEXT, #name);                                                  \
    if (!original) {                                                                               \
        errno = ENOSYS;                                                                            \
        return -1;                                                                                 \
    }

typedef int (*open_type)(const char *, int, ...);
typedef int (*openat_type)(int, const char *, int, ...);

EXPORT int open(const char *path, int flags, ...)
{
    MODE(flags)
    ORIGINAL(open, open_type)
    return opened(AT_FDCWD, path, flags, original(path, flags, mode));
}

EXPORT int open64(const char *path, int flags, ...)
{
    MODE(flags)
    ORIGINAL(open64, open_type)
    return opened(AT_FDCWD, path, flags, original(path, flags, mode));
}

EXPORT int openat(int directory, const char *path, int flags, ...)
{
    MODE(flags)
    ORIGINAL(openat, openat_type)
    return opened(directory, path, flags, original(directory, path, flags, mode));
}

EXPORT int openat64(int directory, const char *path, int flags, ...)
{
    MODE(flags)
    ORIGINAL(openat64, openat_type)
    return opened(directory, path, flags, original(directory, path, flags, mode));
}

#define NEXT(result, name, ...)                                                                    \
    static result (*_Atomic original_)(__VA_ARGS__);                                               \
    result (*original)(__VA_ARGS__) = original_;                                                   \
    if (!original)                                                                                 \
        original_ = original = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

/* What programs compiled with -D_FORTIFY_SOURCE call. */
EXPORT int __open_2(const char *path, int flags)
{
    NEXT(int, "__open_2", const char *, int)
    return opened(AT_FDCWD, path, flags, original(path, flags));
}

EXPORT int __open64_2(const char *path, int flags)
{
    NEXT(int, "__open64_2", const char *, int)
    return opened(AT_FDCWD, path, flags, original(path, flags));
}

EXPORT int __openat_2(int directory, const char *path, int flags)
{
    NEXT(int, "__openat_2", int, const char *, int)
    return opened(directory, path, flags, original(directory, path, flags));
}

EXPORT int __openat64_2(int directory, const char *path, int flags)
{
    NEXT(int, "__openat64_2", int, const char *, int)
    return opened(directory, path, flags, original(directory, path, flags));
}

EXPORT int creat(const char *path, mode_t mode)
{
    NEXT(int, "creat", const char *, mode_t)
    return opened(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, original(path, mode));
}

EXPORT int creat64(const char *path, mode_t mode)
{
    NEXT(int, "creat64", const char *, mode_t)
    return opened(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, original(path, mode));
}

static FILE *opened_stream(const char *path, const char *mode, FILE *stream)
{
    if (stream && path && mode && is_on()) {
        int flags = mode[0] == 'r' ? O_RDONLY
                    : mode[0] == 'a' ? O_WRONLY | O_CREAT | O_APPEND
                                     : O_WRONLY | O_CREAT | O_TRUNC;
        if (strchr(mode, '+'))
            flags = (flags & ~O_ACCMODE) | O_RDWR;
        int saved = errno;
        int file = fileno(stream);
        errno = saved;
        if (file >= 0)
            note_opened(AT_FDCWD, path, flags, file);
    }
    return stream;
}

EXPORT FILE *fopen(const char *path, const char *mode)
{
    NEXT(FILE *, "fopen", const char *, const char *)
    return opened_stream(path, mode, original(path, mode));
}

EXPORT FILE *fopen64(const char *path, const char *mode)
{
    NEXT(FILE *, "fopen64", const char *, const char *)
    return opened_stream(path, mode, original(path, mode));
}

EXPORT FILE *freopen(const char *path, const char *mode, FILE *stream)
{
    NEXT(FILE *, "freopen", const char *, const char *, FILE *)
    return opened_stream(path, mode, original(path, mode, stream));
}

EXPORT FILE *freopen64(const char *path, const char *mode, FILE *stream)
{
    NEXT(FILE *, "freopen64", const char *, const char *, FILE *)
    return opened_stream(path, mode, original(path, mode, stream));
}

EXPORT int rename(const char *old, const char *new)
{
    NEXT(int, "rename", const char *, const char *)
    int result = original(old, new);
    if (result == 0 && is_on())
        note_moved(AT_FDCWD, old, AT_FDCWD, new);
    return result;
}

EXPORT int renameat(int from, const char *old, int to, const char *new)
{
    NEXT(int, "renameat", int, const char *, int, const char *)
    int result = original(from, old, to, new);
    if (result == 0 && is_on())
        note_moved(from, old, to, new);
    return result;
}

EXPORT int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    NEXT(int, "renameat2", int, const char *, int, const char *, unsigned)
    if (!original) {
        errno = ENOSYS;
        return -1;
    }
    int result = original(from, old, to, new, flags);
    if (result == 0 && is_on())
        note_moved(from, old, to, new);
    return result;
}

EXPORT int chdir(const char *path)
{
    NEXT(int, "chdir", const char *)
    atomic_fetch_add(&moves, 1);
    return original(path);
}

EXPORT int fchdir(int directory)
{
    NEXT(int, "fchdir", int)
    atomic_fetch_add(&moves, 1);
    return original(directory);
}

/* --- hosts --- */

static uint64_t hash_of_address(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return hash_of(&((const struct sockaddr_in *)address)->sin_addr, 4, 11);
    return hash_of(&((const struct sockaddr_in6 *)address)->sin6_addr, 16, 12);
}

static int is_far(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        uint32_t at = ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr);
        return at >> 24 != 127 && at != 0;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *at = &((const struct sockaddr_in6 *)address)->sin6_addr;
        return !IN6_IS_ADDR_LOOPBACK(at) && !IN6_IS_ADDR_UNSPECIFIED(at) &&
               !(IN6_IS_ADDR_V4MAPPED(at) && at->s6_addr[12] == 127);
    }
    return 0;
}

EXPORT int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    NEXT(int, "getaddrinfo", const char *, const char *, const struct addrinfo *,
         struct addrinfo **)
    int result = original(host, service, hints, found);
    if (result == 0 && host && is_on()) {
        int saved = errno;
        int far = 0;
        for (const struct addrinfo *at = *found; at; at = at->ai_next)
            if (at->ai_addr && is_far(at->ai_addr)) {
                far = 1;
                /* So that the connection that follows is not listed by its number as well. */
                is_new(hash_of_address(at->ai_addr));
            }
        size_t length = strlen(host), extra = service ? strlen(service) : 0;
        if (far && length + extra < 512) {
            char name[520];
            memcpy(name, host, length);
            name[length] = '\n';
            memcpy(name + length + 1, service ? service : "", extra);
            if (is_new(hash_of(name, length + extra + 1, 13)))
                write_record('h', NULL, 0, name, length + extra + 1, 0, NULL);
        }
        errno = saved;
    }
    return result;
}

EXPORT int connect(int socket, const struct sockaddr *address, socklen_t length)
{
    NEXT(int, "connect", int, const struct sockaddr *, socklen_t)
    if (address && length >= sizeof(sa_family_t) &&
        ((address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) ||
         (address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6))) &&
        is_far(address) && is_on()) {
        int saved = errno;
        char text[INET6_ADDRSTRLEN + 8] = "";
        int is_4 = address->sa_family == AF_INET;
        const void *at = is_4 ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                              : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
        unsigned port = ntohs(is_4 ? ((const struct sockaddr_in *)address)->sin_port
                                   : ((const struct sockaddr_in6 *)address)->sin6_port);
        /* Port 53 is the resolver's own; port 0 and datagrams only ask for a route. */
        int kind = 0;
        socklen_t bytes = sizeof kind;
        if (port && port != 53 && getsockopt(socket, SOL_SOCKET, SO_TYPE, &kind, &bytes) == 0 &&
            kind == SOCK_STREAM && is_new(hash_of_address(address)) &&
            inet_ntop(address->sa_family, at, text, INET6_ADDRSTRLEN))
            write_record('c', NULL, 0, text, strlen(text), (int)port, NULL);
        errno = saved;
    }
    return original(socket, address, length);
}

/* --- processes --- */

__attribute__((constructor)) static void say_hello(void)
{
    int saved = errno;
    if (is_on()) {
        char program[LONGEST];
        ssize_t length = readlink("/proc/self/exe", program, sizeof program);
        if (length > 0)
            write_record('p', NULL, 0, program, (size_t)length, (int)getppid(), NULL);
    }
    errno = saved;
}
