#define _GNU_SOURCE
#include "CSharedMemory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

union semun {
    int val;
    struct semid_ds *buf;
};

const char *csharedmemory_error_name(int number) { return strerrorname_np(number); }

const char *csharedmemory_error_text(int number) { return strerrordesc_np(number); }

ptrdiff_t csharedmemory_find(const void *bytes, size_t count, const void *sought, size_t sought_count) {
    const char *found = memmem(bytes, count, sought, sought_count);
    return found ? found - (const char *)bytes : -1;
}

// MARK: Processes

int csharedmemory_pidfd_open(int process) { return syscall(SYS_pidfd_open, process, 0); }

int csharedmemory_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

// Swift does not import what the linker tells of the parts of a program. Whole pages of segments
// that cannot be written to: nothing in them differs from the file. (What is only read once it is
// relocated lies in the others.)
static int forget_code_of(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    const uintptr_t page = sysconf(_SC_PAGESIZE);
    for (int index = 0; index < object->dlpi_phnum; index++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[index];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;
        uintptr_t start = object->dlpi_addr + part->p_vaddr, end = start + part->p_memsz;
        start = (start + page - 1) & -page;
        end &= -page;
        if (start < end) madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void csharedmemory_forget_code(void) { dl_iterate_phdr(forget_code_of, NULL); }

// MARK: System V semaphores

int csharedmemory_semctl_value(int semid) { return semctl(semid, 0, GETVAL); }

int csharedmemory_semctl_last_pid(int semid) { return semctl(semid, 0, GETPID); }

int csharedmemory_semctl_waiters(int semid) { return semctl(semid, 0, GETNCNT); }

int csharedmemory_semctl_set_value(int semid, int value) {
    return semctl(semid, 0, SETVAL, (union semun){.val = value});
}

int csharedmemory_semctl_remove(int semid) { return semctl(semid, 0, IPC_RMID); }

int csharedmemory_semctl_times(int semid, int64_t *last_operation, int64_t *last_change) {
    struct semid_ds status = {0};
    int result = semctl(semid, 0, IPC_STAT, (union semun){.buf = &status});
    *last_operation = status.sem_otime;
    *last_change = status.sem_ctime;
    return result;
}

int csharedmemory_semop_undo(int semid, short change, short flags, const struct timespec *timeout) {
    struct sembuf operation = {.sem_num = 0, .sem_op = change, .sem_flg = (short) (SEM_UNDO | flags)};
    return semtimedop(semid, &operation, 1, timeout);
}

// MARK: Files of /dev/shm

int csharedmemory_lease_write(int fd) {
    if (fcntl(fd, F_SETSIG, SIGURG) == -1) return -1;
    return fcntl(fd, F_SETLEASE, F_WRLCK);
}

int csharedmemory_lease_release(int fd) { return fcntl(fd, F_SETLEASE, F_UNLCK); }

int csharedmemory_lease_is_whole(int fd) { return fcntl(fd, F_GETLEASE) == F_WRLCK; }

int csharedmemory_open_unnamed(const char *directory, unsigned mode) {
    return open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
}

int csharedmemory_rename_without_replacing(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

int csharedmemory_birth_time(const char *path, int64_t *seconds, int64_t *nanoseconds) {
    struct statx status;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &status) == -1) return -1;
    *seconds = status.stx_btime.tv_sec;
    *nanoseconds = status.stx_btime.tv_nsec;
    return (status.stx_mask & STATX_BTIME) != 0;
}

int csharedmemory_file_system(const char *path, int64_t *kind, int64_t *size, int64_t *free) {
    struct statfs status;
    if (statfs(path, &status) == -1) return -1;
    *kind = status.f_type;
    *size = (int64_t) status.f_blocks * status.f_bsize;
    *free = (int64_t) status.f_bavail * status.f_bsize;
    return 0;
}

int64_t csharedmemory_kind_of_file_system(int descriptor) {
    struct statfs status;
    return fstatfs(descriptor, &status) == -1 ? -1 : status.f_type;
}

// MARK: Memory that a peer may truncate
//
// Touching a page behind the end of a truncated file raises SIGBUS. There is no other way to learn
// of it without a race, so the few accesses that must touch such memory run between `guarded` and
// its end; the handler jumps back there. A SIGBUS from anywhere else goes to whoever handled it
// before. Nothing with a destructor or a lock may run inside a guard: the functions below hold to
// that (in particular, none of them is a blocking call of the C library).

static _Thread_local sigjmp_buf *volatile guard;
static struct sigaction previous_action;

static void on_bus_error(int number, siginfo_t *info, void *context) {
    sigjmp_buf *target = guard;
    if (target != NULL) {
        guard = NULL;
        siglongjmp(*target, 1);
    }
    if (previous_action.sa_flags & SA_SIGINFO) {
        previous_action.sa_sigaction(number, info, context);
    } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
        previous_action.sa_handler(number);
    } else {
        sigaction(SIGBUS, &previous_action, NULL);  // the access is repeated, and now it ends us
    }
}

static void install_handler(void) {
    struct sigaction action = {.sa_sigaction = on_bus_error,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous_action);
}

static void prepare(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install_handler);
}

#define GUARDED(statement)                \
    ({                                    \
        sigjmp_buf here;                  \
        volatile int result_ = EFAULT;    \
        prepare();                        \
        if (sigsetjmp(here, 0) == 0) {    \
            guard = &here;                \
            __asm__ volatile("" ::: "memory"); \
            result_ = (statement);        \
            __asm__ volatile("" ::: "memory"); \
            guard = NULL;                 \
        }                                 \
        result_;                          \
    })

int csharedmemory_copy(void *to, const void *from, size_t byte_count) {
    return GUARDED((memcpy(to, from, byte_count), 0));
}

int csharedmemory_look(const void *byte) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);  // a processor might look before it has copied
    return GUARDED(((void)*(const volatile char *)byte, 0));
}

int csharedmemory_store(void *word, uint64_t value) {
    return GUARDED((__atomic_store_n((uint64_t *)word, value, __ATOMIC_RELEASE), 0));
}

// MARK: POSIX semaphores
//
// The semaphores are glibc's, the operations are not. sem_clockwait registers a clean-up handler
// that would run, and touch the memory again, when a guard is left through it. And none of the C
// library's functions can say who took a semaphore, which has to be told after a kill. So its
// protocol is followed by hand: a 64-bit word with the value in its lower half and the number of
// waiters in its upper one, and a futex on the value. Behind it stand two halves of a second word,
// one that tells whether processes share the semaphore, and one that the C library leaves at 0 and
// never reads: there stands, while the semaphore is taken by a process of ours, that process's
// mark. Both words change in one step. This layout has been shared between processes of different
// glibc versions since 2.21 and cannot change.

_Static_assert(sizeof(sem_t) == 32 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "written for glibc's semaphores on 64-bit little-endian machines");

static const uint64_t one_waiter = (uint64_t)1 << 32;

typedef unsigned __int128 both_words;

// The instruction is as old as 64-bit processors are, but for the very first; the compiler takes it
// only where it is told to, and in all functions that the others may end up in.
#ifdef __x86_64__
#pragma clang attribute push(__attribute__((target("cx16"))), apply_to = function)
#endif

static both_words look(void *semaphore) {
    uint64_t word = __atomic_load_n((uint64_t *)semaphore, __ATOMIC_RELAXED);
    uint64_t rest = __atomic_load_n((uint64_t *)semaphore + 1, __ATOMIC_RELAXED);
    return (both_words)rest << 64 | word;
}

static both_words swap(void *semaphore, both_words from, both_words to) {
    return __sync_val_compare_and_swap((both_words *)semaphore, from, to);
}

static both_words joined(uint64_t word, both_words rest, uint32_t mark) {
    return (both_words)((uint32_t)(rest >> 64) | (uint64_t)mark << 32) << 64 | word;
}

static int take(void *semaphore, uint32_t mark) {
    for (both_words seen = look(semaphore);;) {
        uint64_t word = (uint64_t)seen;
        if ((uint32_t)word == 0) return EAGAIN;
        both_words next = joined(word - 1, seen, (uint32_t)word == 1 ? mark : 0);
        both_words found = swap(semaphore, seen, next);
        if (found == seen) return 0;
        seen = found;
    }
}

// Answers 0, or EPERM where the semaphore is to be given back for a mark that it does not bear.
static int give(void *semaphore, const uint32_t *mark, volatile int *has_waiters) {
    for (both_words seen = look(semaphore);;) {
        uint64_t word = (uint64_t)seen;
        if (mark != NULL && ((uint32_t)word != 0 || (uint32_t)(seen >> 96) != *mark)) return EPERM;
        if ((uint32_t)word == INT_MAX) return EOVERFLOW;
        both_words found = swap(semaphore, seen, joined(word + 1, seen, 0));
        if (found == seen) {
            *has_waiters = word >> 32 != 0;
            return 0;
        }
        seen = found;
    }
}

size_t csharedmemory_semaphore_size(void) { return sizeof(sem_t); }

int csharedmemory_semaphore_initialise(void *bytes, unsigned value) {
    memset(bytes, 0, sizeof(sem_t));
    return sem_init(bytes, 1, value);
}

int csharedmemory_semaphore_try(void *semaphore, uint32_t mark) {
    return GUARDED(take(semaphore, mark));
}

static int give_back(void *semaphore, const uint32_t *mark) {
    volatile int has_waiters = 0;
    int result = GUARDED(give(semaphore, mark, &has_waiters));
    if (result == 0 && has_waiters) syscall(SYS_futex, semaphore, FUTEX_WAKE, 1, NULL, NULL, 0);
    return result;
}

int csharedmemory_semaphore_post(void *semaphore) { return give_back(semaphore, NULL); }

int csharedmemory_semaphore_post_for(void *semaphore, uint32_t mark) {
    return give_back(semaphore, &mark);
}

int csharedmemory_semaphore_state(void *semaphore, unsigned *value, unsigned *waiters,
                                  uint32_t *mark) {
    volatile uint64_t word = 0, rest = 0;
    int result = GUARDED((rest = (uint64_t)(look(semaphore) >> 64), word = (uint64_t)look(semaphore),
                          0));
    *value = (unsigned)word;
    *waiters = (unsigned)(word >> 32);
    *mark = (uint32_t)(rest >> 32);
    return result;
}

int csharedmemory_semaphore_wait(void *semaphore, uint32_t mark, const struct timespec *deadline) {
    uint64_t *word = semaphore;
    for (;;) {
        int result = csharedmemory_semaphore_try(semaphore, mark);
        if (result != EAGAIN) return result;

        if (GUARDED((__atomic_fetch_add(word, one_waiter, __ATOMIC_RELAXED), 0))) return EFAULT;
        // The kernel looks at the word itself and answers a missing page with EFAULT.
        long woken = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, 0, deadline, NULL,
                             FUTEX_BITSET_MATCH_ANY);
        int why = woken == 0 ? 0 : errno;
        if (GUARDED((__atomic_fetch_sub(word, one_waiter, __ATOMIC_RELAXED), 0))) return EFAULT;

        if (why == ETIMEDOUT) {
            result = csharedmemory_semaphore_try(semaphore, mark);
            return result == EAGAIN ? ETIMEDOUT : result;
        }
        if (why != 0 && why != EAGAIN && why != EINTR) return why;
    }
}

#ifdef __x86_64__
#pragma clang attribute pop
#endif
