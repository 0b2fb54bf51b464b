"""The model host as a child process: started, watched, started again, and ended for good."""

import contextlib
import math
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from deployments.packages.package import Package
from tasks.process.logs import get_logger, write_line
from tasks.process.loops import Guard
from tasks.process.private_files import users_umask
from tasks.settings import Settings
from workers.hosting import client as host_client
from workers.hosting.extras import HostExtras
from workers.hosting.memory import HostMemory
from workers.hosting.sockets import HostSocket
from workers.hosting.surroundings import surroundings
from workers.processes.ends import adopt_orphans, children, end_orphans
from workers.processes.lines import bounded_lines, json_line, message_of
from workers.processes.turns import ReplicaStops, Turns
from workers.virtualenvs.build import VirtualenvFailed
from workers.virtualenvs.shared import HostPython, Virtualenvs
from workers.weights.prepared import Weights
from workers.weights.remote import WeightsFailed
from workers.wire.calls import HostState

log = get_logger("host")

TAIL_LINES = 20  # of a host's output, kept for the message that says why it died
TAIL_CHARACTERS = 200  # kept of each of these lines
STATE_EVERY = 0.05  # s, between two questions to a host that loads
PRINTED = "The model host printed last, before it died:"
BACKOFF_FIRST, BACKOFF_LAST = 0.1, 30.0  # s, between starts of a host that never gets ready
# s, between builds of a virtualenv, or fetches of weights, that fail. They are longer, because each may download and compile.
BUILD_BACKOFF_FIRST, BUILD_BACKOFF_LAST = 2.0, 300.0
WAITS_TO_LOAD = "waits for its turn to load"
LOADS_LONG = "has been loading for longer than {:g} s"
NOTE_EVERY = 1.0  # s, between notes of an installer or a download to the directory
EXIT_SECONDS = 0.5  # s, from a broken connection until the exit code is known
TERM_SECONDS = 5.0  # s, for a host to leave on SIGTERM when the replica stops


class HostProcess:
    """One model host after the other on the same sockets. `generation` is the number of the current one, from 1.

    Chainlets that share a host get ready together. If one of them cannot be loaded, all of them have failed.
    Its state is "building", "loading", "ready", "unhealthy" or "failed".
    """

    def __init__(
        self,
        sockets: Sequence[HostSocket],
        settings: Settings,
        on_change: Callable[[], None],
        extras: HostExtras | None = None,
        on_failure: Callable[[], None] | None = None,
        any_python: bool = False,
        has_served: bool = False,
    ) -> None:
        self.sockets = sockets
        self.ready = threading.Event()
        self.state = "loading"
        self.error: str | None = None
        self.note: str | None = None  # what it does or waits for, or why the last host was stopped
        self.sick: str | None = None  # why the host that runs gets no calls, until it is well
        self.generation = 0
        self.ready_since = 0.0  # of the monotonic clock
        self.load_seconds = 0.0  # how long the last load took
        # The health watch asks the host for its state every second, and sets these two.
        self.answers = True  # whether the host answered the last time, on all sockets
        self.sync_calls = 0  # how many sync calls ran in the host at that time
        self._started_at = 0.0
        self._began_ms = 0  # the same in Unix time
        # how many hosts ended after they were ready, not counting the stop of the replica
        self.ends = 0
        self._failed_socket: HostSocket | None = None  # the package whose load failed
        self._settings = settings
        self._on_change = on_change
        self._on_failure = on_failure or (lambda: None)  # hears of each load that failed
        self._extras = extras or HostExtras()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_because: dict[int, str] = {}  # generations that `end` ended, and why
        # generations that were killed because they did not load
        self._ended_unloaded: set[int] = set()
        self._over_memory: set[int] = set()  # generations that used more than `resources.memory`
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)  # the last lines of the current host
        self._exits: dict[int, str] = {}  # how each generation ended
        self._exited = threading.Condition()
        self._stopping = threading.Event()
        self._no_successor = threading.Event()  # once it is set, no further host is started
        self._virtualenvs = Virtualenvs(sockets[0].package, settings, self._stopping, any_python)
        self._weights = Weights([each.package for each in sockets], settings, self._stopping)
        self._noted_at = 0.0  # when a line of progress was last noted, of the monotonic clock
        # Of those that wait, one that is known to work goes before those that may hang.
        name = self._extras.name or sockets[0].name
        self._load_turns = Turns.to_load(settings, name, goes_first=has_served)
        self._callback_guard = Guard("host's observer")  # of on_change and on_failure
        self._log_guard = Guard("host's log")
        self._orphans_guard = Guard("orphans of the host")
        # The kernel ends the host when the *thread* that started it ends, so one thread does both for good.
        self._thread = threading.Thread(target=self._supervise, name="host", daemon=True)

    @property
    def pid(self) -> int | None:
        """The host's process id, None while there is none."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def load_began(self) -> int | None:
        """When the load that goes on began, in ms of Unix time. None while none does."""
        return self._began_ms if self.state == "loading" and self.pid else None

    def error_of(self, socket: HostSocket) -> str | None:
        """What is wrong, as this package's users should read it. None if nothing is wrong."""
        if self._failed_socket is None or self._failed_socket is socket or self.error is None:
            return self.error
        why = self.error.strip().splitlines()[-1]
        return f"{self._failed_socket.name}, in the same process, could not be loaded: {why}"

    def start(self) -> None:
        """Starts the first host and keeps one alive from then on."""
        self._thread.start()

    def drain(self) -> None:
        """Keeps the current host until `stop`, and starts no further one."""
        self._no_successor.set()

    def stop(self) -> None:
        """Ends the host and starts no further one. It waits 10 s at most."""
        self._no_successor.set()
        self._stopping.set()
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(TERM_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join(TERM_SECONDS)

    def suspend(self, generation: int, why: str) -> None:
        """Keeps further calls from the host of that generation. Does nothing if it is not the current one, or not ready.

        `why` is a sentence for users.
        """
        if generation == self.generation and self.ready.is_set() and self.sick is None:
            log.warning("host.suspended", why=why, pid=self.pid)
            self.sick = why
            self._change("unhealthy", why)

    def was_sick(self, generation: int) -> bool:
        """Whether the host of that generation gets no calls because it is sick, or was ended by `end` or `stop`."""
        suspended = generation == self.generation and self.sick is not None
        return suspended or self.ended_by_us(generation)

    def resume(self, generation: int) -> None:
        """Lets a host that was suspended have calls again. Does nothing if it is not the current one."""
        if generation == self.generation and self.ready.is_set() and self.sick is not None:
            log.info("host.resumed", pid=self.pid)
            self.sick = None
            self._change("ready", None)

    def end(self, generation: int, why: str) -> None:
        """Ends the host of that generation with SIGKILL, and another one follows. Does nothing if it is not the current one.

        `why` is a clause that completes "The model host was stopped because".
        """
        if generation == self.generation and self._process and self.pid:
            log.info("host.ended", why=why, pid=self._process.pid)
            self._ended_because[generation] = why
            self.ready.clear()
            self._process.send_signal(signal.SIGKILL)

    def ended_by_us(self, generation: int) -> bool:
        """Whether that host was ended by `end` or `stop`, not by itself."""
        return self.ended_because(generation) is not None

    def ended_because(self, generation: int) -> str | None:
        """Why `end` or `stop` ended that host, None when it ended by itself."""
        stops = "its replica stops" if self._stopping.is_set() else None
        return self._ended_because.get(generation, stops)

    def death(self, generation: int) -> str:
        """One sentence on how that host ended. If its end is not known yet, it waits EXIT_SECONDS at most.

        It leaves out what the host printed, because that may be about other people's requests.
        """
        with self._exited:
            self._exited.wait_for(lambda: generation in self._exits, EXIT_SECONDS)
            how = self._exits.get(generation, "connection lost")
        names = [socket.name for socket in self.sockets]
        of = f" of {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else ""
        return f"The model host{of} died ({how})."

    def ran_out_of_memory(self, generation: int) -> bool:
        """Whether that host was ended because it used more than `resources.memory`. Call `death` first, which waits for its end."""
        return generation in self._over_memory

    def _last_words(self) -> str:
        """Text for operators: the last lines that the host printed, then how it ended and its very last line again."""
        died, said = self.death(self.generation), list(self._tail)
        return "\n".join([PRINTED, *said, f"{died} It said last: {said[-1]}"]) if said else died

    def _supervise(self) -> None:
        adopt_orphans()
        delay = BACKOFF_FIRST
        while not self._no_successor.is_set():
            was_ready, failed, longest = False, True, BACKOFF_LAST
            try:
                with (
                    self._virtualenvs.use(
                        partial(self._preparing, "virtualenv.progress")
                    ) as python,
                    self._weights.use(partial(self._preparing, "weights.progress")) as weights,
                ):
                    was_ready = self._run_host(python.given(weights.variables, weights.prefix))
                failed = not was_ready and not self.ended_by_us(self.generation)
            except ReplicaStops:
                return
            except (VirtualenvFailed, WeightsFailed) as error:
                delay, longest = max(delay, BUILD_BACKOFF_FIRST), BUILD_BACKOFF_LAST
                what = "weights" if isinstance(error, WeightsFailed) else "virtualenv"
                log.warning(f"{what}.failed", error=str(error))
                self._change("failed", str(error))
            except Exception as error:  # the machine has no process or no disk space left, say
                log.error("host.not_started", error=repr(error), exc_info=error)
                self._change("failed", f"The model host could not be started: {error!r}")
            if failed:
                with self._callback_guard.round():
                    self._on_failure()
            delay = BACKOFF_FIRST if was_ready else min(delay * 2, longest)
            self._no_successor.wait(0 if was_ready else delay)

    def _preparing(self, event: str, line: str) -> None:
        """Takes a line of an installer, or of a download. Each goes to the log. The directory gets one a second."""
        if line == self.note:
            return
        log.info(event, message=line)
        self.note = line
        if time.monotonic() - self._noted_at > NOTE_EVERY:
            self._noted_at = time.monotonic()
            # After one that failed, the next one still shows "failed" until it succeeds.
            self._change(self.state if self.state == "failed" else "building", self.error)

    def _run_host(self, python: HostPython) -> bool:
        """Starts a host and returns when it has ended. The result is True if its models became ready.

        Raises ReplicaStops if no host may start any more.
        """
        # The follower of a host that served does not wait: its callers had a replica until now.
        first = self.ready_since == 0
        taken = self._load_turns.taken(self._no_successor, self._note_wait, waits=first)
        with taken as give_back:
            if self._no_successor.is_set():
                raise ReplicaStops
            packages = [Package.load(socket.package) for socket in self.sockets]
            before = children()
            process = self._started(
                python.given(surroundings(self._settings, packages, python.variables))
            )
            memory = HostMemory(process, packages)
            became_ready = self._watch_load(process, packages, give_back)
        process.wait()
        _end_group(process.pid)
        with self._orphans_guard.round():
            end_orphans(before)
        self.ready.clear()
        how, over_memory = memory.end_words()
        if over_memory:
            self._over_memory.add(self.generation)
        self._note_exit(how, became_ready)
        return became_ready

    def _note_wait(self, at_work: str) -> None:
        """Says for whom it waits: `at_work`, '' if that is not known."""
        if self.state != "failed":
            are = "are" if " and " in at_work else "is"
            self.note = f"{WAITS_TO_LOAD}: {at_work} {are} loading" if at_work else WAITS_TO_LOAD
            self._change("loading", None)

    def _started(self, python: HostPython) -> subprocess.Popen[bytes]:
        command = [*python.command, "--log-level", self._settings.log_level]
        for socket in self.sockets:
            for address in (socket.address, socket.worker_address):
                Path(address).unlink(missing_ok=True)
            command += ["--package", str(socket.package), "--uds", socket.address]
            command += ["--worker-uds", socket.worker_address]
        command += ["--parent-pid", str(os.getpid()), *self._extras.arguments]
        if self._extras.name:
            # With "=", because the name may begin with a hyphen.
            command.append(f"--name={self._extras.name}")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=users_umask(),
            env={**python.variables, "PYTHONUNBUFFERED": "1", **self._extras.variables},
        )
        self._process, self.generation = process, self.generation + 1
        self._started_at, self._began_ms = time.monotonic(), int(time.time() * 1000)
        self._tail = deque(maxlen=TAIL_LINES)
        threading.Thread(
            target=self._pump,
            args=(process, self._extras.name or python.model, self._tail),
            name="host-log",
            daemon=True,
        ).start()
        # "failed" with a note is a build of the virtualenv that failed, and it has now succeeded.
        if self.state != "failed" or self.note:
            self.note = None
            self._change("loading", None)
        return process

    def _note_exit(self, how: str, became_ready: bool) -> None:
        with self._exited:
            self._exits[self.generation] = how
            self._exited.notify_all()
        if self._stopping.is_set():
            return
        self.ends += became_ready
        because = self.ended_because(self.generation)
        if because is None and self.generation not in self._ended_unloaded:
            log.warning("host.died", exit=how)
        if because is None:
            why = self.error or self._last_words()
            if became_ready:
                self._change("loading", why)
            else:
                self._fail(why)
        else:
            self.note = f"The model host was stopped because {because}."
            self._change("loading", None)

    def _watch_load(
        self,
        process: subprocess.Popen[bytes],
        packages: Sequence[Package],
        give_back: Callable[[], None],
    ) -> bool:
        """Waits until the models are ready (True) or have failed. A long load gives its turn back, and goes on."""
        seconds, key = load_seconds(packages, self._settings)
        turn_ends = self._started_at + self._settings.load_turn_seconds
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            said = [(socket, host_client.state(socket.worker_address)) for socket in self.sockets]
            failed = next((pair for pair in said if pair[1] and pair[1].state == "failed"), None)
            if failed:
                self._failed_socket = failed[0]
                self._fail(_why(failed[1]))
                break
            if all(state and state.state == "ready" for _, state in said):
                self._become_ready(said)
                return True
            if time.monotonic() > turn_ends:
                turn_ends = math.inf
                give_back()
                self._note_long_load()
            self._stopping.wait(STATE_EVERY)
        else:
            if process.poll() is None and not self._stopping.is_set():
                self._fail(f"The model was not loaded within {seconds:g} s ({key}).")
        # A load that failed or takes too long is tried again in a new process.
        if process.poll() is None:
            log.info("host.ended", why="its model was not loaded", pid=process.pid)
            self._ended_unloaded.add(self.generation)
            process.kill()
        return False

    def _note_long_load(self) -> None:
        """Says that the load no longer counts as one of those that run at once: a hanging one must not stop all others."""
        self.note = LOADS_LONG.format(self._settings.load_turn_seconds)
        log.warning("load.outlasted_turn", seconds=self._settings.load_turn_seconds)
        self._change(self.state, self.error)

    def _fail(self, why: str | None) -> None:
        self.note = None
        self._change("failed", why)

    def _become_ready(self, said: list[tuple[HostSocket, HostState | None]]) -> None:
        self.sick, self.answers, self.sync_calls = None, True, 0
        self.ready_since = time.monotonic()
        self.load_seconds = self.ready_since - self._started_at
        for socket, state in said:
            socket.slots = state.slots if state else socket.slots
        self._failed_socket = None
        self.note = None
        self.ready.set()
        self._change("ready", None)

    def _change(self, state: str, error: str | None) -> None:
        if (state, error) != (self.state, self.error):
            log.info("host.changed", state=state, error=error, pid=self.pid)
        self.state, self.error = state, error
        with self._callback_guard.round():
            self._on_change()

    def _pump(self, process: subprocess.Popen[bytes], model: str, tail: deque[str]) -> None:
        assert process.stdout
        for text in bounded_lines(process.stdout):
            # A failure here must not end the reading: a host whose output nobody reads blocks when it prints.
            with self._log_guard.round():
                self._take_line(text, model, tail)

    def _take_line(self, text: str, model: str, tail: deque[str]) -> None:
        tail.append(message_of(text)[:TAIL_CHARACTERS])
        write_line(json_line(text, model))


def load_seconds(packages: Sequence[Package], settings: Settings) -> tuple[float, str]:
    """The seconds that a load may take, and the name of the key or setting that says so.

    The longest limit of several packages counts. The setting holds if one of them has no limit of its own.
    """
    said = [p.runtime.health_checks.startup_threshold_seconds for p in packages]
    limits = [seconds for seconds in said if seconds is not None]
    if len(limits) == len(packages):
        return float(max(limits)), "runtime.health_checks.startup_threshold_seconds"
    return settings.load_timeout_seconds, "KINGPOST_LOAD_TIMEOUT_SECONDS"


def _why(state: HostState | None) -> str | None:
    return host_client.failure_text(state.error) if state and state.error else None


def _end_group(leader: int) -> None:
    """Kills all processes of the host's group. A child that the model left behind would keep the GPU's memory."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
