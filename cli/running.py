"""The settings of whatever runs here: commands find the store of a running `kingpost up` by themselves."""

import json

from tasks.settings import Settings


def current_settings() -> Settings:
    """From the environment; without KINGPOST_REDIS_URL, the store that STATE/up.json names."""
    settings = Settings.load()
    up = settings.state_dir / "up.json"
    if "redis_url" in settings.model_fields_set or not up.exists():
        return settings
    return settings.model_copy(update={"redis_url": json.loads(up.read_text())["redis_url"]})
