"""Finds out whether the parts of a stack are ready."""

import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.stack.found import Broken
from cli.tables import last_line
from deployments.packages.weights import FETCHES
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment, Replica
from tasks.settings import Settings
from tasks.store.job_store import JobStore

ANSWER_SECONDS = 2.0  # for an HTTP answer
# No proxy: it is this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http_answers(url: str) -> bool:
    """Whether a GET there answers 200."""
    try:
        with DIRECT.open(url, timeout=ANSWER_SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class Models:
    """Follows models until they are ready, and reports each step once.

    `kingpost up` waits only for the models of its folders. For models that are pushed while it runs, it reports the steps too.
    """

    def __init__(self, settings: Settings, leaders: Sequence[Deployment]) -> None:
        self._store = JobStore(settings)
        self._not_ready = {deployment.id: deployment for deployment in leaders}
        self._of_folders = set(self._not_ready)  # ids; the others were pushed
        # Ids of all deployments at the last look; None before the first.
        self._seen: set[str] | None = None
        self._reported: set[tuple[str, str]] = set()
        self.waiting = len(leaders)  # how many models of the folders are being built or loaded
        self.came_up: set[str] = set()  # names of models that were ready at some look
        self.failed: dict[str, Broken] = {}  # by deployment id; one that comes up later is removed

    def look(self) -> list[str]:
        """The news since the last look, one line each. Raises StoreUnavailable."""
        replicas: dict[str, list[Replica]] = defaultdict(list)
        for replica in self._store.run(registry.replicas()):
            replicas[replica.deployment_id].append(replica)
            if replica.state == "ready":
                self.came_up.add(replica.model_name)
        deployments = self._store.run(registry.deployments())
        known = {deployment.id: deployment for deployment in deployments}
        self._add_pushed(known)
        states = {id_: _state(known.get(id_), replicas[id_]) for id_ in self._not_ready}
        self.waiting = sum(
            state in ("building", "loading")
            for id_, (state, _) in states.items()
            if id_ in self._of_folders
        )
        lines = [self._news(id_, *state) for id_, state in states.items()]
        return [line for line in lines if line]

    def _add_pushed(self, known: Mapping[str, Deployment]) -> None:
        """Follows the deployments that were pushed since the last look."""
        for id_ in known.keys() - (known.keys() if self._seen is None else self._seen):
            if not known[id_].package and not known[id_].leader:
                self._not_ready[id_] = known[id_]
        self._seen = set(known)

    def _news(self, deployment_id: str, state: str, why: str) -> str | None:
        """The line for that state. None if it was reported before, or needs no line."""
        deployment = self._not_ready[deployment_id]
        name = deployment.model_name
        if state == "ready":
            del self._not_ready[deployment_id]
            self.failed.pop(deployment_id, None)
            return f"{name} is ready."
        if state == "failed" and deployment_id in self._of_folders:
            self.failed[deployment_id] = Broken(name, Path(deployment.package), why)
        fetched, said, _ = why.partition(": ")
        about = f"{state} {fetched}" if state == "building" and said else state
        if (deployment_id, about) in self._reported:
            return None
        self._reported.add((deployment_id, about))
        return {
            "building": f"Preparing {name}{f': {why}' if why else ''}; `kingpost logs {name} -f` shows more.",
            "failed": f"{name} could not be loaded: {why}",
            "asleep": f"{name} is asleep until it is called.",
            "inactive": f"{name} is inactive: kingpost activate {deployment_id}",
        }.get(state)


class Deaths:
    """Notices from the directory that a replica or a model host was replaced without being told to end.

    The directory has the process id of each replica, and counts how often its host ended. So a death between two looks is not missed.
    """

    def __init__(self) -> None:
        self._known: dict[str, Replica] = {}  # by id

    def look(self, replicas: Sequence[Replica]) -> list[str]:
        """One line for each death since the last look."""
        lines: list[str] = []
        for replica in replicas:
            before = self._known.pop(replica.id, replica)
            if replica.state != "draining":
                self._known[replica.id] = replica
                lines += _death(before, replica)
        return list(dict.fromkeys(lines))


def _death(before: Replica, now: Replica) -> list[str]:
    logs = f"`kingpost logs {now.model_name}` shows more"
    if now.pid != before.pid:
        return [f"The replica of {now.model_name} died and is started again; {logs}."]
    if now.host_ends > before.host_ends:
        return [f"The model host of {now.model_name} ended and is started again; {logs}."]
    return []


def _state(deployment: Deployment | None, replicas: Sequence[Replica]) -> tuple[str, str]:
    """The state in one word, and the reason if it failed."""
    states = {replica.state for replica in replicas}
    if "ready" in states:
        return "ready", ""
    failure = deployment.failure if deployment else ""
    if failure or "failed" in states:
        return "failed", last_line(
            failure or next((replica.error for replica in replicas if replica.error), None)
        )
    if "building" in states:
        notes = [replica.note for replica in replicas if replica.note]
        # A download is worth a line of its own, the lines of an installer are not.
        return "building", next((note for note in notes if note.startswith(FETCHES)), "")
    if deployment and not deployment.active and not replicas:
        return "inactive", ""
    asleep = deployment is None or not deployment.wanted
    return "asleep" if asleep and not replicas else "loading", ""
