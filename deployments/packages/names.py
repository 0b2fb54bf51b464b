"""Checks the names of models. Names are only shown and looked up; paths, sockets, logs and queues use ids."""

from kingpost.packing.config_file import PackageError

MOST_CHARACTERS, MOST_BYTES = 200, 400


def check_model_name(name: str) -> None:
    """Raises PackageError with the rule if the name is not allowed."""
    # A lone surrogate is not printable, so the encoding cannot fail.
    fits = name.strip() and name.isprintable()
    if not fits or len(name) > MOST_CHARACTERS or len(name.encode()) > MOST_BYTES:
        rule = f"printable text of 1 to {MOST_CHARACTERS} characters and at most {MOST_BYTES} bytes"
        raise PackageError(f"A model's name is {rule}; {_wrong(name)}.")


def _wrong(name: str) -> str:
    size = len(name.encode(errors="surrogatepass"))
    if size > MOST_BYTES or len(name) > MOST_CHARACTERS:
        return f"this one has {len(name)} characters and {size} bytes ({name[:30]!r}...)"
    return f"{name!r} is not"
