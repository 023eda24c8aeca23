"""Python that has started already: it forks itself for each job, which saves the job the start.

    zygote.py SOCKET IDLE_SECONDS JOBS_MAX [MODULE]...

Whoever connects to SOCKET (a socket of packets) sends one job: a packet with four descriptors, its stdin, stdout and stderr, and a
file with texts, each with a NUL behind it: its folder, the number of its arguments, these, and `NAME=VALUE` of its environment. What is said in return, a packet each: the zygote `forked`, with a pidfd of the job, and the job
`started`, in any order, or either `failed WHY`; then the zygote `code N` or `signal N`, when nothing is left of the job. Who has said it is known from the packet's credentials. When the other side
closes the connection, the job is killed.

Jobs are the zygote's children, and each is the reaper of what it starts: what a job leaves behind stays below it as long as it runs,
and comes to the zygote when it ends. So whatever is below the zygote and is no running job has been left by one that has ended,
and is killed.

A zygote takes JOBS_MAX jobs, or none for IDLE_SECONDS, and ends when the last has ended.
"""

# Only what is needed: each module is memory that each fork has to set up.
import atexit
import builtins
import ctypes
import gc
import os
import select
import signal
import socket
import sys

SET_PARENT_DEATH_SIGNAL = 1
SET_CHILD_SUBREAPER = 36
# How soon those that were killed are looked at again, milliseconds. They are gone at once, unless the kernel is busy with them.
SWEEP_MS = 1
# What is longer is no job.
PACKET_BYTES = 16
JOB_FDS = 4

prctl = ctypes.CDLL(None, use_errno=True).prctl


def tell(link, words):
    try:
        link.send(words.encode(errors="replace"))
    except OSError:
        # Whoever is gone is missed where it is read from.
        pass


class Zygote:
    def __init__(self, path, idle_seconds, jobs_max):
        self.path = path
        self.idle_ms = idle_seconds * 1000
        self.jobs_left = jobs_max
        self.poller = select.poll()
        # Connections without a job yet, by their descriptors.
        self.callers = {}
        # Running jobs by their process's number: (link, pidfd).
        self.jobs = {}
        # The numbers of those that somebody still wants, by their link's descriptor.
        self.links = {}
        # How ended jobs are told of, once nothing is left of them.
        self.ended = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path + ".new")
        self.listener.listen(128)
        # Whoever finds it may connect.
        os.rename(path + ".new", path)
        self.poller.register(self.listener, select.POLLIN)

    def run(self):
        """Returns in each job as well, with its connection and its descriptors; `None` in the zygote, when it is over."""
        has_orphans = False
        while self.jobs or self.callers or self.ended or self.jobs_left > 0:
            wait_ms = self.idle_ms if not (self.jobs or self.ended) else None
            ready = self.poller.poll(SWEEP_MS if has_orphans else wait_ms)
            if not ready and wait_ms is not None:
                break
            for fd, _ in ready:
                if self.jobs_left > 0 and fd == self.listener.fileno():
                    self.accept()
                elif fd in self.callers:
                    job = self.start(self.callers.pop(fd))
                    if job is not None:
                        return job
                elif fd in self.links:
                    # Nobody wants it any more; nothing else is said there.
                    self.poller.unregister(fd)
                    os.kill(self.links.pop(fd), signal.SIGKILL)
            has_orphans = self.reap() and self.sweep()
            if self.ended and not has_orphans:
                for link, ended in self.ended:
                    tell(link, ended)
                    link.close()
                self.ended.clear()
        if self.jobs_left > 0:
            self.close()
        return None

    def close(self):
        """No more jobs are taken."""
        os.unlink(self.path)
        self.poller.unregister(self.listener)
        self.listener.close()

    def accept(self):
        link, _ = self.listener.accept()
        link.setblocking(False)
        self.call(link)
        self.jobs_left -= 1
        if self.jobs_left == 0:
            self.close()

    def call(self, link):
        """Has it among those of whom a job may come."""
        self.callers[link.fileno()] = link
        self.poller.register(link, select.POLLIN)

    def start(self, link):
        """Forks, if a job has come. Returns something in the job only."""
        self.poller.unregister(link)
        try:
            _, fds, _, _ = socket.recv_fds(link, PACKET_BYTES, JOB_FDS)
        except BlockingIOError:
            # It was another connection that had something to say, and this has its number now.
            self.call(link)
            return None
        except OSError:
            fds = []
        if len(fds) != JOB_FDS:
            link.close()
            for fd in fds:
                os.close(fd)
            return None
        try:
            job = os.fork()
        except OSError as error:
            tell(link, f"failed the system starts no more processes: {error}")
            link.close()
            job = None
        if job == 0:
            self.leave()
            return link, fds
        for fd in fds:
            os.close(fd)
        if job is not None:
            pidfd = os.pidfd_open(job)
            self.jobs[job] = (link, pidfd)
            self.links[link.fileno()] = job
            self.poller.register(link, select.POLLIN)
            self.poller.register(pidfd, select.POLLIN)
            try:
                socket.send_fds(link, [b"forked"], [pidfd])
            except OSError:
                # Then the link says so as well.
                pass
        return None

    def leave(self):
        """In a job: what is the zygote's is none of the job's."""
        if self.listener.fileno() >= 0:
            self.listener.close()
        for link in self.callers.values():
            link.close()
        for link, _ in self.ended:
            link.close()
        for link, pidfd in self.jobs.values():
            link.close()
            os.close(pidfd)

    def reap(self):
        """Takes note of all that have ended. Says whether there are children left that may be nobody's."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                break
            if pid in self.jobs:
                link, pidfd = self.jobs.pop(pid)
                self.poller.unregister(pidfd)
                os.close(pidfd)
                if self.links.pop(link.fileno(), None) is not None:
                    self.poller.unregister(link)
                code = os.waitstatus_to_exitcode(status)
                self.ended.append((link, f"code {code}" if code >= 0 else f"signal {-code}"))
        return True

    def sweep(self):
        """Kills all below us that is no job's. Says whether there was something."""
        orphans = [pid for pid in children() if pid not in self.jobs]
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return bool(orphans)


def children():
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb", 0) as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        # A kernel without that file.
        return list(children_of_all())


def children_of_all():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                    if int(stat.read().rpartition(") ")[2].split()[1]) == os.getpid():
                        yield int(entry)
            except OSError:
                pass


def main(path, idle_seconds, jobs_max, modules):
    for module in modules:
        __import__(module)
    if len(os.listdir("/proc/self/task")) != 1:
        sys.exit(f"a module among {', '.join(modules)} has started threads, which a fork does not have")
    prctl(SET_CHILD_SUBREAPER, 1)
    # The first code that is compiled makes the types of all syntax there is, which is 2 ms and 1 MiB in each fork that does it itself.
    compile("", "<string>", "exec")
    zygote = Zygote(path, idle_seconds, jobs_max)
    # What is here now is never looked at again, so it stays in memory that all share.
    gc.collect()
    gc.disable()
    gc.freeze()
    print("ready", flush=True)
    return zygote.run()


def become(link, fds):
    """Has this process look like one that was started for the job. Gives what it is to run."""
    try:
        prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        prctl(SET_CHILD_SUBREAPER, 1)
        folder, count, *texts = os.fsdecode(os.pread(fds[3], os.fstat(fds[3]).st_size, 0)).split("\0")
        argv, env = texts[: int(count)], texts[int(count) : -1]
        os.close(fds[3])
        for nth in range(3):
            os.dup2(fds[nth], nth)
            os.close(fds[nth])
        os.setsid()
        if os.isatty(0):
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # Mostly it is what we have already, and what is not written is shared.
        env = dict(variable.split("=", 1) for variable in env)
        for name in [name for name in os.environ if name not in env]:
            del os.environ[name]
        for name, value in env.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        os.chdir(folder)
        sys.stdout.reconfigure(line_buffering=os.isatty(1))
        gc.enable()
        link.send(b"started")
    except (OSError, ValueError) as error:
        tell(link, f"failed {error}")
        os._exit(1)
    # What the job runs has no way to speak for it.
    link.close()
    return argv


def run(argv):
    """As `python ARGV[1]...` would. Gives the exit code."""
    global_names = type(sys)("__main__")
    global_names.__builtins__ = builtins
    global_names.__annotations__ = {}
    sys.modules["__main__"] = global_names
    kind = argv[1]
    try:
        if kind == "-m":
            sys.argv = [kind, *argv[3:]]
            first_path(os.getcwd())
            import runpy

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
                with open(path, "rb") as file:
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
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
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
