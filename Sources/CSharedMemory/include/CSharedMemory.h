#ifndef CSHAREDMEMORY_H
#define CSHAREDMEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

// The few calls that Swift cannot make itself: variadic ones, GNU-only ones, and the three that
// touch memory which a peer may take away. Unless said otherwise the answer is the system's own
// and the error is in errno.

/// `ENOENT` and the like; null for a number that has no name.
const char *csharedmemory_error_name(int number);
const char *csharedmemory_error_text(int number);

/// Where some bytes begin in others, or -1: memmem is GNU-only.
ptrdiff_t csharedmemory_find(const void *bytes, size_t count, const void *sought, size_t sought_count);

// MARK: System V semaphores. semctl is variadic.

int csharedmemory_semctl_value(int semid);
int csharedmemory_semctl_last_pid(int semid);
int csharedmemory_semctl_waiters(int semid);
int csharedmemory_semctl_set_value(int semid, int value);
int csharedmemory_semctl_remove(int semid);
/// Seconds since the epoch of the last semop (0: never one) and of the creation or last change.
int csharedmemory_semctl_times(int semid, int64_t *last_operation, int64_t *last_change);
/// One operation on the only semaphore of the array, undone by the kernel when the process dies.
/// The flags are IPC_NOWAIT or none. A null timeout waits without limit.
int csharedmemory_semop_undo(int semid, short change, short flags, const struct timespec *timeout);

// MARK: Files of /dev/shm. F_SETLEASE, O_TMPFILE and renameat2 are GNU-only; fcntl is variadic.

/// Asks for a write lease; granted only while no other open file description of the inode exists.
/// A lease being broken raises SIGURG, which processes ignore by default, not SIGIO, which kills.
int csharedmemory_lease_write(int fd);
int csharedmemory_lease_release(int fd);
/// 1 while the write lease is whole, 0 once somebody waits for it to end.
int csharedmemory_lease_is_whole(int fd);
/// Opens a file without a name in a directory, for reading and writing.
int csharedmemory_open_unnamed(const char *directory, unsigned mode);
int csharedmemory_rename_without_replacing(const char *from, const char *to);
/// Birth time; 1 when the file system knows it, 0 when not.
int csharedmemory_birth_time(const char *path, int64_t *seconds, int64_t *nanoseconds);
/// What statfs says of the file system at a path: the magic number of its kind, and bytes.
int csharedmemory_file_system(const char *path, int64_t *kind, int64_t *size, int64_t *free);
/// The magic number of the kind of file system that a file lies on; -1 when that cannot be told.
int64_t csharedmemory_kind_of_file_system(int descriptor);

// MARK: Processes

/// A descriptor that means this process whoever gets its number later; it can be polled for its exit.
int csharedmemory_pidfd_open(int process);
/// A descriptor to wake a thread by that polls.
int csharedmemory_eventfd(void);
/// Unmaps the pages of code and constants, of the program and its libraries; what is used again
/// comes back from where it was mapped from.
void csharedmemory_forget_code(void);

// MARK: Memory that a peer may truncate. A fault there is answered, not a signal.

/// Copies, and answers 0, or EFAULT when a page of either side is not there any more.
int csharedmemory_copy(void *to, const void *from, size_t byte_count);
/// Looks at a byte after whatever was copied before, and answers 0, or EFAULT when its page is not there.
int csharedmemory_look(const void *byte);
/// Stores a word in one step, and answers as above.
int csharedmemory_store(void *word, uint64_t value);

// MARK: The semaphores behind sem_open, in a mapping of ours. Answers are 0 or an error number:
// EAGAIN (not free), ETIMEDOUT, EFAULT (a peer truncated the file).

/// How many bytes the file of a semaphore has.
size_t csharedmemory_semaphore_size(void);
/// Fills `bytes` with a semaphore that processes share.
int csharedmemory_semaphore_initialise(void *bytes, unsigned value);
/// Takes the semaphore, and in the same step leaves a mark in it that tells by whom; 0 leaves none.
int csharedmemory_semaphore_try(void *semaphore, uint32_t mark);
/// Waits until an instant of CLOCK_MONOTONIC.
int csharedmemory_semaphore_wait(void *semaphore, uint32_t mark, const struct timespec *deadline);
int csharedmemory_semaphore_post(void *semaphore);
/// Gives back what was taken with this mark; EPERM when that is not how it stands.
int csharedmemory_semaphore_post_for(void *semaphore, uint32_t mark);
/// The value, the number of processes that wait (one that was killed stays counted), and the mark.
int csharedmemory_semaphore_state(void *semaphore, unsigned *value, unsigned *waiters,
                                  uint32_t *mark);

#endif
