"""The `secrets` of a model. Only declared names exist. A value is read when the model asks for it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

VARIABLE_PREFIX = "TRUSS_SECRET_"
SECRETS_DIR = Path("/secrets")  # where Truss's server finds them, too


class SecretNotFound(Exception):
    """The secret is not declared in config.yaml, or has no value."""


class Secrets(Mapping[str, str]):
    """The secrets. A value comes from the file `folder`/name, else from TRUSS_SECRET_name, else from the config."""

    def __init__(
        self, declared: Mapping[str, str | None], folder: Path, variables: Mapping[str, str]
    ) -> None:
        self._declared = declared
        self._folder = folder
        self._variables = variables

    def __getitem__(self, key: str) -> str:
        value = self._look_up(key) if key in self._declared else None
        if not value:
            raise SecretNotFound(
                f"Secret '{key}' not found: declare it under `secrets` in config.yaml and give it a value."
            )
        return value

    def _look_up(self, key: str) -> str | None:
        file = self._folder / key
        if file.is_file():
            return file.read_text()
        return self._variables.get(VARIABLE_PREFIX + key, self._declared[key])

    def __contains__(self, key: object) -> bool:
        return key in self._declared

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("Secrets are meant for lookup and can't be iterated on")

    def __len__(self) -> int:
        return len(self._declared)
