/* The C library's functions that the simulation stands in for (the linker's --wrap): __wrap_X is
 * called in place of X, __real_X is the library's. The list is in CMakeLists.txt, too. */
#ifndef TESTS_SIM_WRAP_H
#define TESTS_SIM_WRAP_H

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"

/* main.c: several daemons in one process cannot each have their own heap's settings. */
int __wrap_mallopt(int parameter, int value);
int __real_mallopt(int parameter, int value);
/* main.c: nor does a pool of each want huge pages. */
int __wrap_madvise(void *address, size_t size, int advice);
int __real_madvise(void *address, size_t size, int advice);
/* Once is enough. */
LILIO_MUST_USE enum lilio_err __wrap_codec_self_test(struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err __real_codec_self_test(struct lilio_errinfo *info);

/* fds.c */
int __wrap_eventfd(unsigned count, int flags);
int __wrap_close(int number);
ssize_t __wrap_read(int number, void *buffer, size_t size);
ssize_t __wrap_write(int number, const void *buffer, size_t size);
int __wrap_poll(struct pollfd *items, nfds_t count, int timeout_ms);
int __real_close(int number);
ssize_t __real_read(int number, void *buffer, size_t size);
ssize_t __real_write(int number, const void *buffer, size_t size);

/* clock.c */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
                           struct timespec *ret_left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *ret_left);
int __wrap_usleep(useconds_t us);
time_t __wrap_time(time_t *ret);
ssize_t __wrap_getrandom(void *ret, size_t size, unsigned flags);

/* threads.c */
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*fn)(void *),
                          void *argument);
int __wrap_pthread_join(pthread_t thread, void **ret_result);
int __wrap_pthread_detach(pthread_t thread);
pthread_t __wrap_pthread_self(void);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_destroy(pthread_cond_t *cond);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);

/* paths.c */
int __wrap_open(const char *path, int flags, ...);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_fsync(int number);
int __wrap_stat(const char *path, struct stat *ret);
int __wrap_lstat(const char *path, struct stat *ret);
int __wrap_access(const char *path, int mode);
int __wrap_rename(const char *from, const char *to);
int __wrap_rmdir(const char *path);
int __wrap_unlink(const char *path);
DIR *__wrap_opendir(const char *path);
int __real_open(const char *path, int flags, ...);
int __real_mkdir(const char *path, mode_t mode);
int __real_fsync(int number);
int __real_stat(const char *path, struct stat *ret);
int __real_lstat(const char *path, struct stat *ret);
int __real_access(const char *path, int mode);
int __real_rename(const char *from, const char *to);
int __real_rmdir(const char *path);
int __real_unlink(const char *path);
DIR *__real_opendir(const char *path);

/* memory.c */
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
void __wrap_free(void *address);
void __real_free(void *address);

#endif
