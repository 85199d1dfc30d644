/* Loaded before libc: writes and syncs of files whose path has "longwire.db" fail while the file $FAULT_FILE exists.
   Its text is the number of the error, such as 5 for EIO and 30 for EROFS; with " sync" behind it only syncs fail, and
   with the end of a path behind that only those of one file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Its path, if it is one of the files that are watched; else "". */
static const char *path_of(int file, char path[4096]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, 4095);
  path[length < 0 ? 0 : length] = 0;
  return strstr(path, "longwire.db") ? path : "";
}

static int fault_of(int file, int is_sync) {
  char path[4096];
  if (!*path_of(file, path)) return 0;
  const char *fault_file = getenv("FAULT_FILE");
  int fault = fault_file ? open(fault_file, O_RDONLY) : -1;
  if (fault < 0) return 0;
  char text[64] = {0}, which[8] = {0}, end[32] = {0};
  int number = 0;
  if (read(fault, text, sizeof text - 1) < 0) abort();
  close(fault);
  sscanf(text, "%d %7s %31s", &number, which, end);
  size_t length = strlen(path), end_length = strlen(end);
  int is_other = length < end_length || strcmp(path + length - end_length, end) != 0;
  return (*which && !is_sync) || is_other ? 0 : number;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  int fault = fault_of(file, 0);
  if (fault) {
    errno = fault;
    return -1;
  }
  ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
  return next(file, bytes, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
  return pwrite64(file, bytes, count, offset);
}

/* A sync by the name of its function. */
static int sync_file(int file, const char *name) {
  int (*next)(int) = dlsym(RTLD_NEXT, name);
  int fault = fault_of(file, 1);
  if (!fault) return next(file);
  errno = fault;
  return -1;
}

int fdatasync(int file) { return sync_file(file, "fdatasync"); }

int fsync(int file) { return sync_file(file, "fsync"); }
