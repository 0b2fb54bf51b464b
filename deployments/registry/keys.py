"""The table of all Redis keys of the registry, like that of the job store in tasks/store/keys.py."""

from tasks.store.keys import TAG

# name -> what it holds; `:` and the argument follow the name where the key is one of many
PLAIN = {
    "models": "hash name -> model id, of models and chains",
    "chainlets": "the same of chainlets, which only their chain knows by name",
    "deployments": "set of deployment ids",
    "aliases": "set of the names that `alias` has",
    "needy": "zset deployment -> ms since when it has work and no replica",
    "switches": "string, counts replicas that were stopped so that another deployment could run",
    "autoscaler": "string, who scales now; a few seconds",
    "revision": "string, grows with each change of how models, deployments and environments are shown",
    "edits": "string, counts the changes of deployments' records",
    "edited": "zset deployment -> the number of the latest change of its record",
    "vacant": "set of deployments that may have a free seat; who finds none takes it out",
    "warming": "set of models that may have a candidate for an environment; who finds none takes it out",
    "demanded": "set of deployments that may have a `demand`",
    "unused_packages": "zset content hash -> ms since when no deployment uses that stored package",
    "nodes": "zset node id -> ms when it last reported",
    "replicas": "set of replica ids; those whose entry has ended are dropped when another one reports",
    "replica_ends": "zset replica -> ms when its entry ends, unless it reports again",
    "replica_edits": "string, counts the changes of replicas' entries",
    "edited_replicas": "zset replica -> the number of the latest change of its entry",
}
KEYED = {
    "model": "hash of one model: name, kind, created",
    "environments": "hash environment -> deployment id, of one model",
    "environment": "hash of model:environment: candidate, previous, created, switched",
    "deployments_of": "zset deployment id -> created ms, of one model",
    "deployment": "hash of one deployment; see deployments/registry/records.py",
    "seats": "zset replica id -> ms until when it may run, of one deployment",
    "chainlets_of": "hash display name -> deployment id, of one deployment of a chain that was pushed",
    "alias": "set of the ids of the chains whose entrypoint has this name, where theirs is another",
    "load-counts": "hash, what was counted of the loads of one deployment; see deployments/registry/load_counts.py",
    "demand": "string, somebody waits for a replica of one deployment; seconds",
    "node": "string, JSON of what one node said last; ten minutes",
    "replica": "string, JSON of what one replica said last; three heartbeats",
    "going_package": "string while the stored package of that content hash is being deleted; a minute",
    "host-token": "string, the token of a replica's gate, by reference: entries are shown and logged; three heartbeats",
}
# The fields of a deployment that are about failed loads. A change of the deployment deletes them all.
FAILURE = ("failure", "cause", "alike", "failed", "rests", "gave_up")
RELOADS = f"{TAG}:reloads"  # pub/sub channel: a deployment whose folder has changed
# pub/sub channel: a replica that is new, has changed or has gone
CHANGES = f"{TAG}:replica-changes"


def plain(name: str) -> str:
    """The key with that name. Raises KeyError for a name that is not in PLAIN."""
    PLAIN[name]
    return f"{TAG}:{name}"


def keyed(name: str, argument: str) -> str:
    """The key with that name for a model, environment, deployment or replica. Raises KeyError for a name that is not in KEYED."""
    KEYED[name]
    return f"{TAG}:{name}:{argument}"


def lua() -> str:
    """The table `R` for the scripts: `R.models`, `R.deployment(id)` and so on. A hyphen in a name becomes an underscore."""
    rows = [f"{name} = '{plain(name)}'," for name in PLAIN]
    rows += [f"reloads = '{RELOADS}',", f"replica_changes = '{CHANGES}',"]
    for name in KEYED:
        rows.append(f"{name.replace('-', '_')} = function(a) return '{keyed(name, '')}' .. a end,")
    failure = ", ".join(f"'{name}'" for name in FAILURE)
    return "local R = {\n  " + "\n  ".join(rows) + f"\n}}\nlocal FAILURE = {{{failure}}}\n"
