"""The process variables of the model host: the one place that writes and reads it."""

import os
from pathlib import Path

from deployments.packages.package import Package
from tasks.outside_text import whole_number
from workers.host.model.loader import Surroundings


def apply_variables(package: Package) -> None:
    """Sets config's `environment_variables`; before the model is imported, as it may read them then."""
    os.environ.update(package.environment_variables)


def surroundings(secrets_dir: Path, environment_file: Path) -> Surroundings:
    """Where the model's secrets (TRUSS_SECRET_<name>), environment and number of load retries are."""
    variables = dict(os.environ)
    retries = whole_number(variables.get("NUM_LOAD_RETRIES_TRUSS", ""))
    return Surroundings(
        secrets_dir=secrets_dir,
        environment_file=environment_file,
        variables=variables,
        load_retries=1 if retries is None else retries,
    )
