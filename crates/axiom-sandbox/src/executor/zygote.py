"""Python that has started already: it forks itself for each job, which saves the job the start.

    zygote.py SOCKET IDLE_SECONDS JOBS_MAX [MODULE]...

For each connection to SOCKET (a socket of packets) two processes are forked. The first, the job's keeper, takes the job: a packet
with four descriptors, its stdin, stdout and stderr, and JSON with `argv`, `env` and `folder`. The second becomes the job. Everything
that a job leaves behind becomes the keeper's child, so whoever wants to end the job finds all of it below its keeper.

What is said over the connection, one JSON object a packet: the keeper {"kept": true}, with a pidfd of the job, and the job
{"started": true}, in any order, or either {"failed": WHY}; the keeper {"ended": {"code": N}} or {"ended": {"signal": N}}, with {"left": true} if the job has left processes behind.
Who has said it is known from the packet's credentials. When the other side closes the connection, the keeper ends all that is left
of the job, and itself.

Zygotes take JOBS_MAX jobs, or none for IDLE_SECONDS, and end when the last has ended.
"""

import atexit
import builtins
import ctypes
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import termios
import threading
import types

SET_PARENT_DEATH_SIGNAL = 1
SET_CHILD_SUBREAPER = 36
# How long whoever has connected may take to say what the job is.
JOB_SECONDS = 10

prctl = ctypes.CDLL(None, use_errno=True).prctl


def main(path, idle_seconds, jobs_max, modules):
    """Returns in each job as well, with what it is to run; `None` in the zygote, when it is over."""
    for module in modules:
        importlib.import_module(module)
    if len(os.listdir("/proc/self/task")) != 1:
        sys.exit(f"a module among {', '.join(modules)} has started threads, which a fork does not have")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path + ".new")
    listener.listen(128)
    # Whoever finds it may connect.
    os.rename(path + ".new", path)
    # Keepers leave nothing behind that somebody would have to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is here now is never looked at again, so it stays in memory that all share.
    gc.collect()
    gc.disable()
    gc.freeze()
    print("ready", flush=True)
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    jobs = 0
    while jobs < jobs_max:
        if not poller.poll(idle_seconds * 1000):
            if has_no_children():
                break
            continue
        link, _ = listener.accept()
        try:
            is_keeper = os.fork() == 0
        except OSError as error:
            link.send(say(failed=f"the system starts no more processes: {error}"))
            continue
        if is_keeper:
            listener.close()
            return keep(link)
        link.close()
        jobs += 1
    os.unlink(path)
    listener.close()
    try:
        # Since nobody waits for keepers, this waits for all of them.
        os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    return None


def has_no_children():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def say(**what):
    return json.dumps(what).encode()


def keep(link):
    """The life of a keeper. Returns in the job."""
    prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    prctl(SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    link.settimeout(JOB_SECONDS)
    try:
        _, fds, _, _ = socket.recv_fds(link, 16, 4)
        if len(fds) != 4:
            os._exit(1)
        job = os.fork()
    except OSError as error:
        tell_last(link, f"it cannot be forked: {error}")
        os._exit(1)
    if job == 0:
        return link, fds
    for fd in fds:
        os.close(fd)
    watch(link, job)
    os._exit(0)


def tell_last(link, why):
    try:
        link.send(say(failed=why))
    except OSError:
        pass


def watch(link, job):
    """Until nobody is interested in the job any more."""
    poller = select.poll()
    poller.register(link, select.POLLIN)
    pidfd = os.pidfd_open(job)
    poller.register(pidfd, select.POLLIN)
    socket.send_fds(link, [say(kept=True)], [pidfd])
    has_ended = False
    while True:
        ready = [fd for fd, _ in poller.poll(1000)]
        # Orphans too, which nobody else waits for.
        status, has_children = reap(job)
        if status is not None:
            has_ended = True
            poller.unregister(pidfd)
            os.close(pidfd)
            code = os.waitstatus_to_exitcode(status)
            ended = {"code": code} if code >= 0 else {"signal": -code}
            # From now on each is gone as soon as it ends.
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            try:
                link.send(say(ended=ended, left=has_children))
            except OSError:
                break
        elif link.fileno() in ready:
            break
    if not has_ended:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Those below a killed one become ours.
    while not has_no_children():
        for pid in children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        select.select([], [], [], 0.001)


def reap(job):
    """The job's status, if it has ended; and whether there are children left."""
    status = None
    try:
        while True:
            pid, ended = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return status, True
            if pid == job:
                status = ended
    except ChildProcessError:
        return status, False


def children():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                    if int(stat.read().rpartition(") ")[2].split()[1]) == os.getpid():
                        yield int(entry)
            except OSError:
                pass


def become(link, fds):
    """Has this process look like one that was started for the job. Gives what it is to run."""
    try:
        prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        with open(fds[3], "rb") as file:
            job = json.load(file)
        for nth in range(3):
            os.dup2(fds[nth], nth)
            os.close(fds[nth])
        os.setsid()
        is_terminal = os.isatty(0)
        if is_terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["folder"])
        sys.stdout.reconfigure(line_buffering=os.isatty(1))
        gc.enable()
        link.send(say(started=True))
    except (OSError, ValueError, KeyError) as error:
        tell_last(link, str(error))
        os._exit(1)
    # What the job runs has no way to speak for it.
    link.close()
    return job["argv"]


def run(argv):
    """As `python ARGV[1]...` would. Gives the exit code."""
    global_names = types.ModuleType("__main__")
    global_names.__builtins__ = builtins
    global_names.__annotations__ = {}
    sys.modules["__main__"] = global_names
    kind = argv[1]
    try:
        if kind == "-m":
            sys.argv = [kind, *argv[3:]]
            first_path(os.getcwd())
            runpy._run_module_as_main(argv[2])
            return 0
        if kind == "-c":
            sys.argv = [kind, *argv[3:]]
            first_path("")
            code = compile(argv[2], "<string>", "exec")
        else:
            sys.argv = argv[1:]
            first_path(os.path.dirname(os.path.realpath(kind)))
            path = os.path.abspath(kind)
            global_names.__file__ = path
            global_names.__cached__ = None
            try:
                with io.open_code(path) as file:
                    text = file.read()
            except OSError as error:
                print(
                    f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}",
                    file=sys.stderr,
                )
                return 2
            code = compile(text, path, "exec")
        exec(code, global_names.__dict__)
        return 0
    except SystemExit as exit:
        if exit.code is None or isinstance(exit.code, int):
            return (exit.code or 0) & 0xFF
        print(exit.code, file=sys.stderr)
        return 1
    except BaseException as error:
        # Our own lines are none of theirs.
        if error.__traceback__ is not None:
            error = error.with_traceback(error.__traceback__.tb_next)
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def first_path(folder):
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)


def finish(code):
    """Ends as an interpreter does, but for taking every object apart."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                code = code or 120
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)


if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        # The folder of this file.
        del sys.path[0]
    forked = main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    if forked is not None:
        finish(run(become(*forked)))
