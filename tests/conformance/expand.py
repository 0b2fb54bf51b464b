"""Expands config.yaml files by Truss's own reader, one per line of stdin: source, tab, target.

A process that stays, since importing truss takes seconds. Started with the Python of Truss's environment; it answers
each line with the `environment_variables` as JSON, which Truss's Dockerfile sets in the image.
"""

import json
import sys
from pathlib import Path

import yaml
from truss.base.truss_config import TrussConfig  # pyright: ignore


def main() -> None:
    """Until stdin ends."""
    for line in sys.stdin:
        source, target = line.rstrip("\n").split("\t")
        config = TrussConfig.from_yaml(Path(source))
        with Path(target).open("w") as file:
            yaml.dump(config.to_dict(verbose=True), file)
        print(json.dumps(config.environment_variables), flush=True)


if __name__ == "__main__":
    main()
