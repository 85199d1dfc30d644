/* Loaded before libc: records what a program does to the files of $JOURNAL_DIRECTORY in $JOURNAL_FILE, in order.
   seccomp traps the system calls, because Bun makes its own without libc. `-shm` is memory and no file; `lock` and `reserve`
   hold nothing that is read again. A record is a head, the name within the directory and the data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* The sixth argument of this file's own calls, which the filter lets through. None of them has six. */
#define OWN_CALL 0x4a52

enum { WRITE, TRUNCATE, UNLINK, RENAME, SYNC_BEGIN, SYNC_END, NOTE };

struct head {
  int32_t kind, thread, name_length, result;
  int64_t offset, data_length;
};

static int journal = -1;
static const char *directory;
static size_t directory_length;
/* Syncs that fail from now on, and the end of the names of their files. */
static int failing_syncs;
static char failing_end[32];

static long own_call(long number, const long arguments[5]) {
  long result = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], OWN_CALL);
  return result < 0 ? -errno : result;
}

static int ends_with(const char *name, const char *end) {
  size_t length = strlen(name), end_length = strlen(end);
  return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

/* The name within the directory, "" for the directory itself; 0 for what is not recorded. */
static const char *name_of(const char *path) {
  if (strncmp(path, directory, directory_length) != 0) return 0;
  const char *rest = path + directory_length;
  if (*rest == 0) return rest;
  if (*rest++ != '/' || strcmp(rest, "reserve") == 0 || strncmp(rest, "lock", 4) == 0 || ends_with(rest, "-shm")) return 0;
  return rest;
}

static const char *name_of_file(int file, char path[4096]) {
  char link[32] = "/proc/self/fd/";
  char digits[12], *digit = digits + sizeof digits;
  *--digit = 0;
  for (unsigned rest = (unsigned)file; *digit == 0 || rest > 0; rest /= 10) *--digit = (char)('0' + rest % 10);
  strcat(link, digit);
  ssize_t length = readlink(link, path, 4095);
  path[length < 0 ? 0 : length] = 0;
  return name_of(path);
}

static void record(int kind, const char *name, int64_t offset, const void *data, size_t length, int result) {
  struct head head = {kind, (int32_t)syscall(SYS_gettid), (int32_t)strlen(name), result, offset, (int64_t)length};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)name, strlen(name)}, {(void *)data, length}};
  ssize_t all = (ssize_t)(sizeof head + strlen(name) + length);
  if (writev(journal, parts, 3) != all) abort();
}

static long sync_file(long number, const long arguments[5], const char *name) {
  record(SYNC_BEGIN, name, 0, "", 0, 0);
  int fails = __atomic_load_n(&failing_syncs, __ATOMIC_SEQ_CST) > 0 && *name && ends_with(name, failing_end);
  if (fails) __atomic_sub_fetch(&failing_syncs, 1, __ATOMIC_SEQ_CST);
  long result = fails ? -EIO : own_call(number, arguments);
  record(SYNC_END, name, 0, "", 0, (int)result);
  return result;
}

static int64_t position_of(int file) {
  struct stat status;
  int appends = fcntl(file, F_GETFL) & O_APPEND;
  return appends && fstat(file, &status) == 0 ? status.st_size : lseek(file, 0, SEEK_CUR);
}

/* A write is recorded before it is made: a sync that begins meanwhile need not include it, so none is taken for durable early. */
static long act(long number, const long arguments[5]) {
  char path[4096];
  int file = (int)arguments[0];
  const char *name = 0, *other = 0;
  switch (number) {
    case SYS_write:
      if ((name = name_of_file(file, path)))
        record(WRITE, name, position_of(file), (void *)arguments[1], (size_t)arguments[2], 0);
      break;
    case SYS_pwrite64:
      if ((name = name_of_file(file, path)))
        record(WRITE, name, arguments[3], (void *)arguments[1], (size_t)arguments[2], 0);
      break;
    case SYS_ftruncate:
      if ((name = name_of_file(file, path))) record(TRUNCATE, name, arguments[1], "", 0, 0);
      break;
    case SYS_fsync:
    case SYS_fdatasync:
      if ((name = name_of_file(file, path))) return sync_file(number, arguments, name);
      break;
#ifdef SYS_unlink
    case SYS_unlink:
      if ((name = name_of((char *)arguments[0])) && access((char *)arguments[0], F_OK) == 0) record(UNLINK, name, 0, "", 0, 0);
      break;
    case SYS_rename:
      if ((name = name_of((char *)arguments[0])) && (other = name_of((char *)arguments[1])))
        record(RENAME, name, 0, other, strlen(other), 0);
      break;
#endif
    case SYS_unlinkat:
      if ((name = name_of((char *)arguments[1])) && access((char *)arguments[1], F_OK) == 0) record(UNLINK, name, 0, "", 0, 0);
      break;
    case SYS_renameat:
    case SYS_renameat2:
      if ((name = name_of((char *)arguments[1])) && (other = name_of((char *)arguments[3])))
        record(RENAME, name, 0, other, strlen(other), 0);
      break;
  }
  return own_call(number, arguments);
}

static void trapped(int signal, siginfo_t *information, void *context) {
  (void)signal;
  int before = errno;
  mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
  greg_t *r = machine->gregs;
  const long arguments[5] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8]};
  r[REG_RAX] = act(information->si_syscall, arguments);
#elif defined(__aarch64__)
  const long arguments[5] = {machine->regs[0], machine->regs[1], machine->regs[2], machine->regs[3], machine->regs[4]};
  machine->regs[0] = (unsigned long)act(information->si_syscall, arguments);
#endif
  errno = before;
}

/* For the program, by FFI: an event of its own in the same order. */
void note(const char *text, int length) { record(NOTE, "", 0, text, (size_t)length, 0); }

/* For the program, by FFI: so many syncs of files with such an end of the name fail with EIO. */
void fail_syncs(int count, const char *end) {
  strncpy(failing_end, end, sizeof failing_end - 1);
  __atomic_store_n(&failing_syncs, count, __ATOMIC_SEQ_CST);
}

/* Bun has a handler of its own for calls that a filter forbids, and would set it in place of this one. */
int sigaction(int signal, const struct sigaction *action, struct sigaction *former) {
  int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
  return signal == SIGSYS && action && action->sa_sigaction != trapped ? 0 : next(signal, action, former);
}

#define TRAP(number) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)

__attribute__((constructor)) static void begin(void) {
  directory = getenv("JOURNAL_DIRECTORY");
  const char *path = getenv("JOURNAL_FILE");
  if (!directory || !path) return;
  directory_length = strlen(directory);
  journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
  struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_CALL, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    TRAP(SYS_write), TRAP(SYS_pwrite64), TRAP(SYS_ftruncate), TRAP(SYS_fsync), TRAP(SYS_fdatasync),
#ifdef SYS_unlink
    TRAP(SYS_unlink), TRAP(SYS_rename),
#endif
    TRAP(SYS_unlinkat), TRAP(SYS_renameat), TRAP(SYS_renameat2),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (journal < 0 || sigaction(SIGSYS, &action, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
    abort();
}
