"""The table of all Redis keys of the job store. All have the same hash tag.

The scripts get the same names: `lua()` renders this table as a Lua table `K` of functions.
"""

TAG = "{kingpost}"

# name -> what it holds; `:` and the argument follow the name where the key is one of many
PLAIN = {
    "sequence": "string, counts arrivals",
    "epoch": "string, a random id written once: a store that lost its data has none, or another one",
    "clock": "string 'wall ms, ms that the clock of leases is behind it', as of the latest second",
    "ticks": "hash boot id of a machine, or 'last' -> 'its clock, ours, the wall's' in ms, when a sweeper compared them",
    "swept": "string, ms when a sweeper last finished a round",
    "grace": "string, there for one lease after the clock was put forward; meanwhile leases that ran out are left alone",
    "leases": "zset request_id -> lease deadline ms; from claim to the end of the model call",
    "expiry": "zset request_id -> ms when it expires; from submit to the first claim",
    "outbox": "zset request_id -> ms when its webhook is due; from a final state to the end of the delivery",
    "exhausted": "zset request_id -> ms when its webhook was given up; until redelivered or forgotten",
    "forget": "zset request_id -> ms when the record goes; of jobs that stay beyond their retention, and of those that an earlier version ended",
    "ended_buckets": "zset number of a set `ended` -> ms when the first record of that set goes",
    "ended_count": "string, counts final states",
    "retries": "zset deployment -> ms when the first of its `delayed` attempts may go on, or before; until none waits",
    "garbage": "zset payload -> ms when it may be deleted, unless a job has adopted it by then",
    "files": "zset file -> ms when it may go; files that no request uses",
    "file-secret": "string, signs the URLs of files",
    "batches": "zset batch -> ms when maintenance goes on with it; until it has ended",
    "open_batches": "hash api key -> how many of its batches have not ended",
    "purged": "zset request_id -> ms when it was purged; until its log lines are gone",
    "paused": "set of deployments whose jobs wait until they are resumed",
    "unfinished": "hash api key -> how many of its jobs are not final",
    "running_limits": "hash api key -> how many of its jobs may run at once on a deployment; a setting says it for keys that are not here",
    "api-keys": "hash key id -> JSON of an ApiKey",
    "webhook-secrets": "string, JSON list of WebhookSecret, newest first",
    "audit": "stream of what was changed, by whom; the days of a setting",
    "logged": "zset deployment -> ms of its latest log line; until that line goes",
    "log_end": "string, the id of the latest log line of all deployments",
    "all_jobs": "zset member, as in the queue -> created ms of every API key's jobs; until forgotten",
    "backlog": "set of deployments that may have queued jobs; the sweeper drops empty ones",
}
KEYED = {
    "job": "hash, the record of one job; until forgotten",
    "ended": "zset request_id -> ms when the record goes, of up to 100 jobs that ended one after the other; from the final state on",
    "input": "string, the model input's bytes if they are not in the record; until forgotten, or by a setting until the final state",
    "output": "string, the result's bytes if they are not in the record; until forgotten",
    "events": "stream of the progress and the output chunks of one job, if it has any; a while beyond its end",
    "delivery": "hash, the webhook delivery of one job; until forgotten",
    "queue": "zset member -> score of one deployment: the order",
    "delayed": "zset member -> not_before ms of one deployment: attempts that wait out their backoff",
    "held": "zset member -> score of one deployment: jobs whose API key runs as many as it may",
    "held_by": "the same for deployment:api key",
    "busy": "hash api key -> how many of its jobs run on one deployment",
    "rate": "string, the theoretical arrival time in ms of what:api key (GCRA); until it is past",
    "running": "set of request_ids of one deployment whose model call has not ended",
    "vtime": "hash level -> virtual time of one deployment",
    "flows": "hash level:api key -> finish tag of one deployment; dropped when the queue runs empty",
    "claims": "hash claimer -> 'fence request_id' of one deployment, the claim made last",
    "runtimes": "list of recent run times in ms of one deployment",
    "history": "hash 'deployment:final status' or 'deployment:wN' -> how many in one minute, which is counted from 1970; an hour",
    "totals": "hash, what was counted of one deployment since its first job, see tasks/store/totals.py; until it is deleted",
    "jobs": "zset member -> created ms of one API key's jobs; until forgotten",
    "session": "hash, a login of the console, by the SHA-256 of its token; some hours",
    "sessions": "zset SHA-256 of a token -> ms of the login, of one API key's logins; as long",
    "operation": "hash, how far a bulk operation of api key:name has come; a day after its last step",
    "log": "stream of the latest log lines of one deployment; within the limits of settings",
    "log_bytes": "string, the bytes that these lines count for; as long as they",
    "idempotency": "string 'body_hash request_id'; 24 h",
    "uploads": "zset upload id -> ms when it is dropped, of packages or of files that are on their way",
    "upload": "hash of one upload: kind, api_key, what, size, offset, sender, sending_until; of a transfer, see tasks/files/transfers.py",
    "upload_pieces": "list of payloads, the pieces of one upload in their order",
    "upload_parts": "hash number -> bytes, MD5 and payloads of one part of a transfer, in one text",
    "file": "hash of one file: key, ref, size, ending, type, expires, uses; until it expires and no request uses it",
    "files_of": "hash bytes, count of the files of one API key",
    "listed_files": "zset file -> created ms of one API key's files at /v1/files; until they go",
    "batch": "hash, one batch, see tasks/batches/verbs.py; a retention beyond its end",
    "batch_parts": "set, the numbers of those parts of one batch whose lines are jobs now",
    "batch_sizes": "hash number -> 'bytes of results, of errors' of the parts of one batch that are written; until it ends",
    "batches_of": "zset batch -> created ms of one API key's batches; as long as they",
    "wakeups": "list that Celery reads: the wake-ups of one deployment",
}
CANCELS = f"{TAG}:cancels:"  # with a replica's id a pub/sub channel: request_id of a job that runs there and was cancelled


def plain(name: str) -> str:
    """The key with that name. Raises KeyError for a name that is not in PLAIN."""
    PLAIN[name]
    return f"{TAG}:{name}"


def keyed(name: str, argument: str) -> str:
    """The key with that name for a job, deployment or API key. Raises KeyError for a name that is not in KEYED."""
    KEYED[name]
    return wakeup_queue(argument) if name == "wakeups" else f"{TAG}:{name}:{argument}"


def wakeup_queue(deployment_id: str) -> str:
    """The Celery queue of a deployment. kombu's Redis list has the same name."""
    return f"kingpost.{deployment_id}"


def lua() -> str:
    """The table `K` for the scripts: `K.leases`, `K.job(request_id)` and so on. A hyphen in a name becomes an underscore."""
    rows = [f"{name.replace('-', '_')} = '{TAG}:{name}'," for name in PLAIN]
    rows.append(f"cancels = function(a) return '{CANCELS}' .. a end,")
    for name in KEYED:
        prefix = keyed(name, "")
        rows.append(f"{name} = function(a) return '{prefix}' .. a end,")
    return "local K = {\n  " + "\n  ".join(rows) + "\n}\n"
