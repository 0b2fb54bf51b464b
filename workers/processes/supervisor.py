"""Keeps processes running: starts them, restarts those that die, and ends them in order."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tasks.process.loops import Guard, keep
from workers.processes.ends import adopt_orphans, end_orphans, exit_words

BACKOFF_FIRST, BACKOFF_LAST = 0.5, 4.0  # s, until a part that died early starts again
SPAWN_BACKOFF_LAST = 4.0  # s, between tries while the machine cannot start a process
# A part that lived so long was able to start, and starts again at once. If somebody else ended it, that says little about the part.
HEALTHY_SECONDS, HEALTHY_SECONDS_IF_KILLED = 30.0, 1.0
KILLERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
DIED = "died"  # how the words for `changed` begin when a part has died


@dataclass
class Part:
    """One process of the stack. `role` groups the parts that stop together, such as "replica"."""

    role: str
    name: str
    command: list[str]
    log: Path  # its output is appended
    env: Mapping[str, str]
    descriptors: Sequence[int] = ()  # of ours that it inherits, such as a listening socket
    umask: int = -1  # -1: ours
    process: Process | None = None
    starts: int = 0
    exit_code: int | None = None
    stopping: bool = False
    keeper: asyncio.Task[None] | None = field(default=None, repr=False)  # restarts it

    @property
    def pid(self) -> int | None:
        """The process id while the process lives."""
        alive = self.process is not None and self.process.returncode is None
        return self.process.pid if self.process and alive else None

    @property
    def title(self) -> str:
        """What it is called in a sentence: its role and its name, once if both are the same."""
        return self.name if self.name == self.role else f"{self.role} {self.name}"

    def last_line(self) -> str:
        """The last line that it logged, for an error in one sentence."""
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("kingpost: ") if lines else "it said nothing"


class Supervisor:
    """The parts, in the order in which they were started.

    `changed` is called at every start and death, with words such as "started" or "died (SIGKILL)". With `ends_orphans`, the
    supervisor also ends the orphans of dead parts. Those are our child processes that have sessions of their own and are not parts.
    """

    def __init__(self, changed: Callable[[Part, str], None], ends_orphans: bool = False) -> None:
        self.parts: list[Part] = []
        self._orphans = Guard("orphans of parts") if ends_orphans else None
        if ends_orphans:
            adopt_orphans()
        self._changed = changed
        self._told = Guard("supervisor's observer")
        self._starting = 0  # children that are no parts yet, and must not be taken for orphans
        self._orphans_put_off = False  # they were not ended, because a part was being started

    async def start(self, part: Part) -> None:
        """Starts a part and keeps it alive. Raises OSError if it cannot be started at all."""
        await self._spawn(part)
        self.parts.append(part)
        self._end_orphans_put_off()
        part.keeper = asyncio.create_task(keep(f"keeper of {part.name}", lambda: self._keep(part)))

    async def _spawn(self, part: Part) -> None:
        part.log.parent.mkdir(parents=True, exist_ok=True)
        self._starting += 1
        try:
            await self._spawn_into(part)
        finally:
            self._starting -= 1
        part.starts += 1
        self._tell(part, "started" if part.starts == 1 else "started again")

    async def _spawn_into(self, part: Part) -> None:
        with part.log.open("ab") as log:
            part.process = await asyncio.create_subprocess_exec(
                *part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(part.env),
                pass_fds=part.descriptors,
                umask=part.umask,
                start_new_session=True,  # Ctrl-C is for us, who then end the parts in order
                preexec_fn=_die_with_us if sys.platform == "linux" else None,
            )

    def _tell(self, part: Part, what: str) -> None:
        with self._told.round():  # a failure of the observer must not end the keeper
            self._changed(part, what)

    async def _keep(self, part: Part) -> None:
        delay = 0.0
        while True:
            began = monotonic()
            assert part.process
            part.exit_code = await part.process.wait()
            if part.stopping:
                return
            self._end_orphans()
            self._tell(part, f"{DIED} ({exit_words(part.exit_code)})")
            delay = delay_after(part.exit_code, monotonic() - began, delay)
            await asyncio.sleep(delay)
            await self._spawn_again(part)

    async def _spawn_again(self, part: Part) -> None:
        """Tries until the part starts. A full disk or too many processes may prevent it now and not later."""
        guard, starts = Guard(f"start of {part.name}", SPAWN_BACKOFF_LAST), part.starts
        while part.starts == starts and not part.stopping:
            with guard.round():
                await self._spawn(part)
            self._end_orphans_put_off()
            await asyncio.sleep(guard.delay)

    async def stop(self, role: str, seconds: float) -> None:
        """Stops all parts of a role: SIGTERM, and after `seconds` SIGKILL for their process groups. The parts are then forgotten."""
        parts = [part for part in self.parts if part.role == role]
        await asyncio.gather(*(self.stop_part(part, seconds) for part in parts))

    async def stop_part(self, part: Part, seconds: float) -> None:
        """The same for one part, which is then forgotten."""
        assert part.keeper
        part.stopping = True
        if part.process and part.pid:
            part.process.terminate()
        if part.pid is None:
            part.keeper.cancel()  # dead already, waiting for its next start
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(part.keeper), seconds)
        self.kill(part)
        await asyncio.wait([part.keeper])  # raises nothing: the other parts have to be stopped, too
        self.parts.remove(part)
        self._end_orphans()

    def _end_orphans(self) -> None:
        if self._orphans is None:
            return
        self._orphans_put_off = self._starting > 0
        if not self._orphans_put_off:
            with self._orphans.round():
                end_orphans([part.process.pid for part in self.parts if part.process])

    def _end_orphans_put_off(self) -> None:
        if self._orphans_put_off:
            self._end_orphans()

    @staticmethod
    def kill(part: Part) -> None:
        """Sends SIGKILL to the rest of a part's process group."""
        if part.process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(part.process.pid, signal.SIGKILL)


def _die_with_us() -> None:
    """Runs in the child: the kernel sends SIGTERM when the supervisor is gone for any reason."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def delay_after(exit_code: int, lived: float, last_delay: float) -> float:
    """Seconds until the next start: 0 after a life of enough seconds, else twice the last delay, within bounds."""
    enough = HEALTHY_SECONDS_IF_KILLED if -exit_code in KILLERS else HEALTHY_SECONDS
    if lived >= enough:
        return 0.0
    return min(max(last_delay * 2, BACKOFF_FIRST), BACKOFF_LAST)
