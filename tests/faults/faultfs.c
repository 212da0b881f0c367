/* Makes file operations of a program fail, and notes which bytes have been made durable. To be
 * preloaded (LD_PRELOAD); sees what goes through libc, not bare system calls.
 *
 *   FAULTFS        rules, separated by ';': CALL PART FIRST COUNT ERROR
 *                  fails calls number FIRST to FIRST + COUNT - 1 (COUNT 0: all from FIRST on) of CALL
 *                  (pwrite, write, fdatasync, fsync, rename, unlink) on paths that contain PART;
 *                  ERROR is EIO, ENOSPC, EROFS, EINTR, SHORT (half of the bytes are written), or
 *                  DELAY (nothing fails, 50 ms later)
 *   FAULTFS_ARMED  where set: rules count and apply only while this file exists
 *   FAULTFS_LOG    gets a line for each failed call, "failed CALL PATH", and for each sync that
 *                  succeeded, "synced END PATH": bytes written before END of PATH are durable
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RULES 16
#define FILES 4096

static struct rule { char call[16], part[128]; long first, count, seen; int error; } rules[RULES];
static int rule_count;
static const char *armed, *log_path;
/* The end of what was written, by descriptor, with the path it belongs to. */
static struct { char path[512]; off_t end; } files[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
enum { SHORT = -1, DELAY = -2 };

static int error_of(const char *name) {
  if (!strcmp(name, "EIO")) return EIO;
  if (!strcmp(name, "ENOSPC")) return ENOSPC;
  if (!strcmp(name, "EROFS")) return EROFS;
  if (!strcmp(name, "EINTR")) return EINTR;
  if (!strcmp(name, "SHORT")) return SHORT;
  if (!strcmp(name, "DELAY")) return DELAY;
  dprintf(2, "faultfs: unknown error %s\n", name);
  abort();
}

__attribute__((constructor)) static void load(void) {
  const char *text = getenv("FAULTFS");
  armed = getenv("FAULTFS_ARMED");
  log_path = getenv("FAULTFS_LOG");
  while (text && *text && rule_count < RULES) {
    struct rule *rule = &rules[rule_count];
    char error[16];
    if (sscanf(text, "%15s %127s %ld %ld %15[^;]", rule->call, rule->part, &rule->first,
               &rule->count, error) != 5) {
      dprintf(2, "faultfs: no rule: %s\n", text);
      abort();
    }
    rule->error = error_of(error);
    rule_count++;
    text = strchr(text, ';');
    if (text) text++;
  }
}

static void note(const char *what, const char *detail, const char *path) {
  if (!log_path) return;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return;
  char line[1024];
  int length = snprintf(line, sizeof line, "%s %s %s\n", what, detail, path);
  if (length > 0) syscall(SYS_write, fd, line, (size_t)length);
  syscall(SYS_close, fd);
}

/* 0, or the error with which this call is to fail. */
static int fault(const char *call, const char *path) {
  if (armed && syscall(SYS_faccessat, AT_FDCWD, armed, F_OK) != 0) return 0;
  int error = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < rule_count && !error; i++) {
    struct rule *rule = &rules[i];
    if (strcmp(rule->call, call) || !strstr(path, rule->part)) continue;
    long number = ++rule->seen;
    int ends = rule->count > 0 && number >= rule->first + rule->count;
    if (number >= rule->first && !ends) error = rule->error;
  }
  pthread_mutex_unlock(&lock);
  if (error) note("failed", call, path);
  if (error == DELAY) usleep(50 * 1000);
  return error;
}

static void path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  path[length < 0 ? 0 : length] = 0;
}

static void *next(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

static void written(int fd, const char *path, off_t end) {
  if (fd < 0 || fd >= FILES) return;
  pthread_mutex_lock(&lock);
  if (strcmp(files[fd].path, path)) {
    snprintf(files[fd].path, sizeof files[fd].path, "%s", path);
    files[fd].end = 0;
  }
  if (end > files[fd].end) files[fd].end = end;
  pthread_mutex_unlock(&lock);
}

static int sync_with(const char *call, int (*real)(int), int fd) {
  char path[512], end[32] = "0";
  path_of(fd, path, sizeof path);
  int error = fault(call, path);
  if (error > 0) { errno = error; return -1; }
  /* A file may be open several times; a sync is of the file. */
  off_t last = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < FILES; i++)
    if (files[i].end > last && !strcmp(files[i].path, path)) last = files[i].end;
  pthread_mutex_unlock(&lock);
  snprintf(end, sizeof end, "%lld", (long long)last);
  int result = real(fd);
  if (result == 0) note("synced", end, path);
  return result;
}

int fdatasync(int fd) { return sync_with("fdatasync", (int (*)(int))next("fdatasync"), fd); }
int fsync(int fd) { return sync_with("fsync", (int (*)(int))next("fsync"), fd); }

static ssize_t pwrite_with(int fd, const void *bytes, size_t size, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = (ssize_t (*)(int, const void *, size_t, off_t))next("pwrite64");
  char path[512];
  path_of(fd, path, sizeof path);
  int error = fault("pwrite", path);
  if (error > 0) { errno = error; return -1; }
  ssize_t result = real(fd, bytes, error == SHORT && size > 1 ? size / 2 : size, at);
  if (result > 0) written(fd, path, at + result);
  return result;
}
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { return pwrite_with(fd, bytes, size, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t at) { return pwrite_with(fd, bytes, size, at); }

ssize_t write(int fd, const void *bytes, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t (*)(int, const void *, size_t))next("write");
  char path[512];
  path_of(fd, path, sizeof path);
  /* Sockets and pipes are no files. */
  if (path[0] != '/' || !strncmp(path, "/dev/", 5)) return real(fd, bytes, size);
  int error = fault("write", path);
  if (error > 0) { errno = error; return -1; }
  ssize_t result = real(fd, bytes, error == SHORT && size > 1 ? size / 2 : size);
  off_t end = result > 0 ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) : -1;
  if (end >= 0) written(fd, path, end);
  return result;
}

int rename(const char *from, const char *to) {
  int error = fault("rename", to);
  if (error > 0) { errno = error; return -1; }
  return ((int (*)(const char *, const char *))next("rename"))(from, to);
}

int unlink(const char *path) {
  int error = fault("unlink", path);
  if (error > 0) { errno = error; return -1; }
  return ((int (*)(const char *))next("unlink"))(path);
}
