"""Which system calls a confined decoder may make: an allow-list as a compiled seccomp filter.

A list of what is allowed, not of what is dangerous: a decoder needs some eighty calls (files that are already
in its sight, memory, threads, time), and a list of dangers is out of date with every new kernel. All else,
sockets of every family, ptrace, mount, bpf, keyctl, userfaultfd, io_uring, perf_event_open, namespaces and
new processes among it, answers ENOSYS. That answer, rather than death, lets the C library fall back where a
newer one tries a newer call first (clone3, faccessat2, rseq), so the list need not follow it.
"""

import errno
import os
from functools import cache
from typing import Any

from dockwarden.media.errors import MediaError

ALLOWED = (
    # files: those in sight are read-only, but for the named outputs
    *("access", "close", "close_range", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64"),
    *("fallocate", "fcntl", "fdatasync", "fstat", "fstatfs", "fsync", "ftruncate", "getcwd", "getdents64"),
    *("lseek", "lstat", "newfstatat", "fstatat64", "open", "openat", "pipe", "pipe2", "poll", "ppoll"),
    *("pread64", "preadv", "pselect6", "pwrite64", "pwritev", "read", "readlink", "readlinkat", "readv"),
    *("select", "stat", "statfs", "statx", "write", "writev"),
    # memory
    *("brk", "get_mempolicy", "madvise", "mlock", "mmap", "mprotect", "mremap", "munlock", "munmap"),
    "set_mempolicy",
    # threads of this one process, and its end
    *("arch_prctl", "execve", "exit", "exit_group", "futex", "get_robust_list", "getrandom", "gettid"),
    *("membarrier", "rseq", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_yield"),
    *("set_robust_list", "set_tid_address", "wait4", "waitid"),
    # signals, all within its own process namespace
    *("kill", "pause", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn"),
    *("rt_sigtimedwait", "sigaltstack", "tgkill"),
    # time
    *("alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday"),
    *("nanosleep", "setitimer", "time", "times"),
    # who and where it is
    *("getegid", "geteuid", "getgid", "getpgrp", "getpid", "getppid", "getpriority", "getresgid"),
    *("getresuid", "getrlimit", "getrusage", "getuid", "sysinfo", "uname"),
)

_CLONE_THREAD = 0x00010000
# CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
_NAMESPACES = 0x00000080 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x60000000
_PR_SET_NAME = 15


@cache
def compiled_filter() -> bytes:
    """The filter as BPF for this machine's architecture, as `bwrap --seccomp` reads it.

    Raises MediaError no-sandbox where libseccomp is missing.
    """
    try:
        import pyseccomp  # noqa: PLC0415 - fails on import where libseccomp2 is not installed
    except (ImportError, RuntimeError, OSError) as error:
        raise MediaError("no-sandbox", f"the system call filter cannot be built: {error}", "seccomp") from error
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
    for name in ALLOWED:
        _allow(pyseccomp, rules, name)
    # A new thread is fine, a new process or namespace is not: so no fork bomb, not even for root.
    thread = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD | _NAMESPACES, _CLONE_THREAD)
    _allow(pyseccomp, rules, "clone", thread)
    _allow(pyseccomp, rules, "prctl", pyseccomp.Arg(0, pyseccomp.EQ, _PR_SET_NAME))
    _allow(pyseccomp, rules, "prlimit64", pyseccomp.Arg(0, pyseccomp.EQ, 0))  # its own limits only
    return _export(rules)


def _allow(pyseccomp: Any, rules: Any, name: str, *conditions: Any) -> None:
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number >= 0:  # negative: not a call of this architecture, or newer than this libseccomp
        rules.add_rule(pyseccomp.ALLOW, number, *conditions)


def _export(rules: Any) -> bytes:
    with os.fdopen(os.memfd_create("filter"), "w+b", buffering=0) as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
