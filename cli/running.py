"""The settings of whatever runs here: commands find the store of a running `kingpost up` by themselves."""

import json

from cli.embedded_valkey import EmbeddedValkey
from tasks.settings import Settings


def current_settings() -> Settings:
    """From the environment; without KINGPOST_REDIS_URL, the store that STATE/up.json names.

    While `kingpost up` still starts there is no such file: then the embedded store, if there is one.
    """
    settings = Settings.load()
    if "redis_url" in settings.model_fields_set:
        return settings
    up, valkey = settings.state_dir / "up.json", EmbeddedValkey.known(settings.state_dir / "valkey")
    if up.exists():
        return settings.model_copy(update={"redis_url": json.loads(up.read_text())["redis_url"]})
    return settings.model_copy(update={"redis_url": valkey.url}) if valkey else settings
