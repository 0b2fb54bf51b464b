"""A module beside the entrypoint: the chain's whole folder is importable in every chainlet."""


def shout(text: str) -> str:
    return text.upper()
