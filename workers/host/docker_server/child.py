"""The `start_command` of a docker_server package as a child process that never outlives its host."""

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable

from deployments.packages.package import Package
from workers.processes.lines import bounded_lines
from workers.processes.parent_death import die_with_parent_thread

TAIL_LINES = 20  # kept for the reason why a server did not start
STOP_SECONDS = 5.0  # between SIGTERM and SIGKILL


# The kernel ends the shell with the host, but not what the shell started, which would keep the GPU. So a watcher in the same group
# reads from a pipe that only the host can write to. However the host ends, the read ends, and the watcher kills the whole group.
WATCHER = "(read -r _ < /dev/fd/{pipe}; kill -9 -$$) > /dev/null 2>&1 &\n"


class ServerChild:
    """One run of the command at that port. Its output is printed line by line, and so reaches the log."""

    def __init__(self, package: Package, port: int, on_exit: Callable[[int], object]) -> None:
        assert package.docker_server, "only docker_server packages have a command"
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        watched, self._alive = os.pipe()  # the kernel closes the second end when the host ends
        command = package.docker_server.command_at(port)
        script = f"{WATCHER.format(pipe=watched)}export PORT={port}\n{command}"
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            pass_fds=(watched,),
            cwd=package.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: `stop` reaches what the shell started
            preexec_fn=die_with_parent_thread,
            user=package.docker_server.run_as_user_id,
        )
        os.close(watched)
        pump = threading.Thread(target=self._pump, args=(on_exit,), name="server", daemon=True)
        pump.start()

    @property
    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self._tail)

    def stop(self) -> None:
        """Sends SIGTERM, then SIGKILL, to the whole process group. Returns when the command has ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
                return

    def _pump(self, on_exit: Callable[[int], object]) -> None:
        assert self._process.stdout
        for text in bounded_lines(self._process.stdout):
            self._tail.append(text)
            print(text)
        on_exit(self._process.wait())
