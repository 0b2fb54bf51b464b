"""Every Redis key of the registry, spelt once, as tasks/store/keys.py has those of the job store."""

from tasks.store.keys import TAG

# name -> what it holds; `:` and the argument follow the name where the key is one of many
PLAIN = {
    "models": "hash name -> model id, of models and chains",
    "chainlets": "the same of chainlets, which only their chain knows by name",
    "deployments": "set of deployment ids",
    "needy": "zset deployment -> ms since when it has work and no replica",
    "switches": "string, counts replicas that were stopped so that another deployment could run",
    "autoscaler": "string, who scales now; a few seconds",
}
KEYED = {
    "model": "hash of one model: name, kind, created",
    "environments": "hash environment -> deployment id, of one model",
    "environment": "hash of model:environment: candidate, previous, created, switched",
    "deployments_of": "zset deployment id -> created ms, of one model",
    "deployment": "hash of one deployment; see deployments/registry/records.py",
    "seats": "zset replica id -> ms until when it may run, of one deployment",
    "alias": "set of the ids of the chains whose entrypoint has this name, where theirs is another",
    "demand": "string, somebody waits for a replica of one deployment; seconds",
}
# The fields of a deployment that are about failed loads; what changes it forgets them all.
FAILURE = ("failure", "cause", "alike", "failed", "rests", "gave_up")
RELOADS = f"{TAG}:reloads"  # pub/sub channel: a deployment whose folder has changed


def plain(name: str) -> str:
    """The key of that name; KeyError for a name that is not in the table."""
    PLAIN[name]
    return f"{TAG}:{name}"


def keyed(name: str, argument: str) -> str:
    """The key of that name for one model, environment or deployment."""
    return f"{TAG}:{KEYED[name] and name}:{argument}"


def lua() -> str:
    """The table `R` for the scripts: `R.models`, `R.deployment(id)` and so on."""
    rows = [f"{name} = '{plain(name)}'," for name in PLAIN]
    rows += [f"{name} = function(a) return '{keyed(name, '')}' .. a end," for name in KEYED]
    failure = ", ".join(f"'{name}'" for name in FAILURE)
    return "local R = {\n  " + "\n  ".join(rows) + f"\n}}\nlocal FAILURE = {{{failure}}}\n"
