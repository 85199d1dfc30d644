/* Loaded before libc: writes and syncs of files whose path has "longwire.db" fail while the file $FAULT_FILE exists.
   Its text is the number of the error, such as 5 for EIO and 30 for EROFS; with " sync" behind it only syncs fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fault_of(int file, int is_sync) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (!strstr(path, "longwire.db")) return 0;
  const char *fault_file = getenv("FAULT_FILE");
  int fault = fault_file ? open(fault_file, O_RDONLY) : -1;
  if (fault < 0) return 0;
  char number[16] = {0};
  ssize_t count = read(fault, number, sizeof number - 1);
  close(fault);
  if (count <= 0 || (!is_sync && strstr(number, "sync"))) return 0;
  return atoi(number);
}

#define FAIL(file, is_sync)                  \
  do {                                       \
    int fault = fault_of(file, is_sync);     \
    if (fault) {                             \
      errno = fault;                         \
      return -1;                             \
    }                                        \
  } while (0)

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  FAIL(file, 0);
  ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
  return next(file, bytes, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
  return pwrite64(file, bytes, count, offset);
}

int fdatasync(int file) {
  FAIL(file, 1);
  int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
  return next(file);
}

int fsync(int file) {
  FAIL(file, 1);
  int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
  return next(file);
}
