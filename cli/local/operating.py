"""Pause, resume, keys and webhooks on the store that this machine reaches. The audit log gets entries with the same actions as by the API."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cli.auditing import audited
from cli.client.operator import SECRET_EXISTS, NewKey
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from kingpost.operating import NOT_RESENT, ApiKey, GivenUp, OnItsWay, Webhooks, WebhookSecret
from kingpost.records import BulkProgress
from tasks.access import keys
from tasks.access.audit import COMMAND_LINE
from tasks.access.keys import KeyUse
from tasks.api_keys import SCOPES, Limits, key_id, said
from tasks.errors import KeyRefused, NotFound, SettingsError
from tasks.settings import Settings
from tasks.steering import verbs as steering
from tasks.steering.filters import JobFilter, Place
from tasks.steering.verbs import Progress
from tasks.store import verbs
from tasks.store.job_store import JobStore
from tasks.webhooks import secrets, signatures
from tasks.webhooks import verbs as outbox
from tasks.webhooks.verbs import Redelivery


class OperatorOnStore:
    """The operator on the store that this machine reaches. Every method raises StoreUnavailable, too."""

    def __init__(self, settings: Settings) -> None:
        self._store, self._keep_ms = JobStore(settings), int(settings.idempotency_seconds * 1000)

    def pause(self, model: str) -> int:
        """Holds a model's queued requests back. Returns how many wait. Raises NotFound."""
        return self._set_paused(model, True)

    def resume(self, model: str) -> int:
        """Lets a model's queued requests run again. Returns how many wait. Raises NotFound."""
        return self._set_paused(model, False)

    def _set_paused(self, model: str, paused: bool) -> int:
        with audited(self._store, "model.pause" if paused else "model.resume", model):
            return sum(
                self._store.run(verbs.pause(deployment.id, paused))
                for deployment in self._deployments(model)
            )

    def _deployments(self, model: str) -> list[Deployment]:
        known = self._store.run(registry.deployments())
        found = [each for each in known if model in (each.model_name, each.model_id)]
        if not found:
            names = ", ".join(sorted({each.model_name for each in known})) or "none"
            raise NotFound(f"There is no model {model!r} (deployed: {names}).")
        return found

    def keys(self) -> list[ApiKey]:
        """Every key, oldest first."""
        return [_shown(use) for use in self._store.run(keys.known())]

    def create_key(self, wish: NewKey) -> str:
        """Makes a key. Returns the key itself. Raises KeyRefused."""
        plain, days = keys.fresh(), wish.expires_in_days
        seconds = None if days is None else days * 86_400
        target = f"{key_id(plain)} {wish.scope} {wish.name}".rstrip()
        with audited(self._store, "key.create", target):
            if wish.scope not in SCOPES:
                raise KeyRefused(f"--scope must be one of {', '.join(SCOPES)}, not {wish.scope!r}.")
            call = keys.create(
                plain,
                wish.name,
                wish.scope,
                models=tuple(wish.models),
                environments=tuple(wish.environments),
                expires_in_seconds=seconds,
                limits=Limits(**wish.limits),
            )
            self._store.run(call)
        return plain

    def limit_key(
        self, identity: str, limits: Mapping[str, int | None]
    ) -> Mapping[str, int | None]:
        """Changes the named limits of a key. None means that of the settings. Returns all of its limits. Raises NotFound and KeyRefused."""
        with audited(self._store, "key.limit", f"{identity} {said(limits)}".rstrip()):
            return vars(self._store.run(keys.limit(identity, limits)).limits)

    def revoke_key(self, identity: str) -> None:
        """Revokes a key for good. Raises NotFound."""
        with audited(self._store, "key.revoke", identity):
            self._store.run(keys.revoke(identity))

    def secrets(self) -> list[WebhookSecret]:
        """The secrets that sign webhooks now, newest first."""
        return [
            WebhookSecret(
                secret=secret.hidden,
                created_at=_time(secret.created),
                signs_until=_time(secret.expires),
            )
            for secret in self._store.run(secrets.signing())
        ]

    def new_secret(self, first: bool) -> str:
        """Makes a secret and returns it. With `first`, it raises SettingsError if there is one already."""
        fresh = signatures.new_secret()
        with audited(self._store, "webhook_secret.rotate"):
            if not self._store.run(secrets.rotate(fresh, first)):
                raise SettingsError(SECRET_EXISTS)
        return fresh

    def webhooks(self, limit: int) -> Webhooks:
        """How many webhooks are on their way, how many were given up, and the `limit` that were given up last."""
        status = self._store.run(outbox.outbox_status(limit))
        latest = [
            GivenUp(
                request_id=row.request_id,
                url=row.url,
                given_up_at=_time(row.at / 1000),
                attempts=row.attempts,
            )
            for row in status.latest
        ]
        following = [
            OnItsWay(
                request_id=row.request_id,
                url=row.url,
                next_attempt_at=None
                if row.next_in is None
                else _time(time.time() + row.next_in / 1000),
                attempts=row.attempts,
            )
            for row in status.following
        ]
        return Webhooks(status.pending, status.exhausted, latest, following)

    def latest_requests(self, most: int) -> list[str]:
        """The ids of so many requests at most, the newest first."""
        found: list[str] = []
        place, ended = Place(), False
        while not ended and len(found) < most:
            page = self._store.run(steering.find(JobFilter(), place, most - len(found)))
            found += [job.request_id for job in page.jobs]
            place, ended = page.at, page.ended
        return found

    def resend(self, request_id: str) -> None:
        """Sends a request's webhook again. Raises NotFound if there is none to send."""
        with audited(self._store, "webhook.redeliver", request_id):
            word = self._store.run(outbox.redeliver(request_id))
            if word is not Redelivery.QUEUED:
                raise NotFound(f"The request {request_id} {NOT_RESENT[word]}.")

    def resend_all(self, dry_run: bool, operation: str) -> Iterator[BulkProgress]:
        """Sends all webhooks again that were given up before, and says how far it has come, until it is finished."""
        if dry_run:
            count = self._store.run(outbox.outbox_status()).exhausted
            yield _said(operation, Progress(True, count, count, 0, 0))
            return
        with audited(self._store, "webhook.redeliver_all", f"operation={operation}") as change:
            name, digest = f"{COMMAND_LINE}:{operation}", "redrive_all"
            self._store.run(steering.open_operation(name, digest, self._keep_ms))
            ended = False
            while not ended:
                progress = self._store.run(steering.redeliver_many(name))
                ended = progress.ended
                change.target = f"operation={operation}: {progress.done} sent again"
                yield _said(operation, progress)


def _said(operation: str, progress: Progress) -> BulkProgress:
    """The same as the API says it."""
    return BulkProgress.of(
        {
            "operation": operation,
            "finished": progress.ended,
            "examined": progress.seen,
            "matched": progress.matched,
            "done": progress.done,
            "failed": progress.failed,
        }
    )


def _shown(use: KeyUse) -> ApiKey:
    key = use.key
    expired = key.expires is not None and key.expires < datetime.now(UTC).timestamp()
    return ApiKey(
        id=key.id,
        scope=key.scope,
        name=key.name,
        state="revoked" if key.revoked else "expired" if expired else "valid",
        created_at=_time(key.created),
        expires_at=_time(key.expires),
        models=key.models,
        environments=key.environments,
        limits=vars(key.limits),
        unfinished_requests=use.unfinished,
        kept_requests=use.requests,
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
