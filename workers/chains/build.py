"""Generates a package for each chainlet of a chain, with Truss's generator: `python -P -m workers.chains.build FILE OUT`.

It imports the user's FILE, so it runs in a separate process. If it fails, the last line on stderr is the error.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml
from truss_chains import framework
from truss_chains.deployment import code_gen
from truss_chains.private_types import ABCChainlet, ChainletAPIDescriptor

from deployments.chains import Member
from deployments.packages.package import Package, PackageError
from workers.chains.processes import check, process_name

NAME = re.compile(
    r"[\w-][\w. -]{0,99}"
)  # it becomes part of file names and of a Celery node's name
TRUSS = re.compile(r"truss\s*([=<>!~].*)?")  # what the generator adds by itself


class ChainError(Exception):
    """The chain cannot be built."""


def main() -> None:
    """Builds the chain. If it cannot be built, the process ends with code 1 and the error as the last line on stderr."""
    file, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    try:
        build(file, out)
    except Exception as error:  # whatever the user's file raises
        message = " ".join(str(error).split())
        ours = isinstance(error, ChainError | PackageError)
        print(message if ours else f"{type(error).__name__}: {message}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)  # truss_chains' own report at exit would follow our line


def build(file: Path, out: Path) -> None:
    """Writes the packages below `out`, each in a folder with the chainlet's display name.

    The entrypoint's model has the name of the chain; any other is called CHAIN.CHAINLET. Raises ChainError, PackageError, and what
    the user's file raises.
    """
    with framework.ChainletImporter.import_target(file) as entrypoint:
        name = entrypoint.meta_data.chain_name or entrypoint.display_name
        if not NAME.fullmatch(name):
            raise ChainError(f"The chain's name {name!r} may only have letters, digits, `_-. `.")
        # A chainlet comes before those that it calls. Chainlets of one process drain in this order.
        chainlets = list(_chainlets(framework.get_descriptor(entrypoint), set()))[::-1]
        _check(chainlets)
        models = {
            chainlet.display_name: f"{name}.{chainlet.display_name}" for chainlet in chainlets
        }
        models[entrypoint.display_name] = name
        for chainlet in chainlets:
            _write_package(file, name, chainlet, models[chainlet.display_name], out)
        folders = _folders_by_process(chainlets, out)
        peers = {display: model for display, model in models.items() if model != name}
        for chainlet in chainlets:
            kind = "chain" if chainlet.chainlet_cls is entrypoint else "chainlet"
            process = _process_of(chainlet)
            shares = folders.get(process, ())
            member = Member(name, kind, peers)
            if len(shares) > 1:
                member = replace(member, process=process, shares=shares)
            member.write(out / chainlet.display_name)


def _process_of(chainlet: ChainletAPIDescriptor) -> str:
    """The name of the process that the chainlet shares, '' if it has its own."""
    name = process_name(chainlet.display_name, chainlet.chainlet_cls.remote_config.options.metadata)
    if name and chainlet.is_truss_chainlet:
        raise ChainError(
            f"{chainlet.display_name} wraps a Truss package, which always has a process of its own; "
            "remove `process` from its metadata."
        )
    return name


def _folders_by_process(
    chainlets: list[ChainletAPIDescriptor], out: Path
) -> dict[str, tuple[str, ...]]:
    """The folders of the packages that want to share each named process. Raises PackageError if they cannot share it."""
    found: dict[str, tuple[str, ...]] = {}
    for chainlet in chainlets:
        name = _process_of(chainlet)
        if name:
            found[name] = (*found.get(name, ()), chainlet.display_name)
    for name, folders in found.items():
        check(name, [Package.load(out / folder) for folder in folders])
        if name in (chainlet.display_name for chainlet in chainlets):
            raise ChainError(
                f"The process {name!r} has the name of a chainlet; give it another name."
            )
    return found


def _chainlets(
    descriptor: ChainletAPIDescriptor, seen: set[type[ABCChainlet]]
) -> Iterator[ChainletAPIDescriptor]:
    """The chainlets, each after those that it calls."""
    if descriptor.chainlet_cls not in seen:
        seen.add(descriptor.chainlet_cls)
        for dependency in framework.get_dependencies(descriptor):
            yield from _chainlets(dependency, seen)
        yield descriptor


def _check(chainlets: list[ChainletAPIDescriptor]) -> None:
    names = [chainlet.display_name for chainlet in chainlets]
    for chainlet in chainlets:
        if names.count(chainlet.display_name) > 1:
            raise ChainError(
                f"Two chainlets have the name {chainlet.display_name}; rename one of them."
            )
        if framework.is_engine_builder_chainlet(chainlet.chainlet_cls):
            raise ChainError(f"{chainlet.name}: engine builder chainlets run on Baseten only.")


def _write_package(
    file: Path, chain: str, chainlet: ChainletAPIDescriptor, model: str, out: Path
) -> None:
    generated = code_gen.gen_truss_chainlet(file.parent, chain, chainlet, model_name=model)
    folder = out / chainlet.display_name
    shutil.move(generated, folder)
    if not chainlet.is_truss_chainlet:
        _drop_truss_requirement(folder)


def _drop_truss_requirement(folder: Path) -> None:
    """Removes a requirements file that only lists truss: our own installation has it, so no virtualenv is needed."""
    config_file = folder / "config.yaml"
    config = cast("dict[str, Any]", yaml.safe_load(config_file.read_text()))
    listed = config.get("requirements_file")
    if not listed or not str(listed).endswith(".txt"):
        return
    lines = [line.strip() for line in (folder / listed).read_text().splitlines()]
    if all(TRUSS.fullmatch(line) for line in lines if line):
        config["requirements_file"] = None
        config_file.write_text(yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    main()
