"""The process variables of the model host. Only this module reads and writes them."""

import os
from pathlib import Path

from deployments.packages.package import Package
from tasks.outside_text import whole_number
from workers.host.model.loader import Surroundings


def apply_variables(package: Package) -> None:
    """Sets the `environment_variables` of the config. It runs before the model is imported, which may read them."""
    os.environ.update(package.environment_variables)


def read_surroundings(secrets_dir: Path, environment_file: Path) -> Surroundings:
    """The variables with the model's secrets (TRUSS_SECRET_<name>), its environment and the number of load retries."""
    variables = dict(os.environ)
    retries = whole_number(variables.get("NUM_LOAD_RETRIES_TRUSS", ""))
    return Surroundings(
        secrets_dir=secrets_dir,
        environment_file=environment_file,
        variables=variables,
        load_retries=1 if retries is None else retries,
    )
