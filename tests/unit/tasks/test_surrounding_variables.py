"""What the variables around a process of ours may do to it."""

import os

import pytest

from tasks.errors import SettingsError
from tasks.process import variables as module
from tasks.process.variables import child_variables, inherited_variables, prepare_variables
from tasks.settings import Settings


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_set_aside", {})
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_variables_of_other_celery_projects_are_set_aside_and_models_see_them() -> None:
    theirs = {"CELERY_BROKER_URL": "amqp://them", "FLOWER_PORT": "tcp://1.2.3.4:5", "KOMBU_X": "1"}
    os.environ.update(theirs)
    prepare_variables()
    assert not theirs.keys() & os.environ.keys()
    assert theirs.items() <= inherited_variables().items()
    assert theirs.items() <= child_variables().items()
    assert module.set_aside() == sorted(theirs)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", "localhost,127.0.0.1,::1"),
        ("example.com, 127.0.0.1", "example.com,127.0.0.1,localhost,::1"),
        ("*", "*"),
    ],
)
def test_a_proxy_is_never_asked_for_loopback(said: str, wanted: str) -> None:
    os.environ["HTTPS_PROXY"], os.environ["NO_PROXY"] = "http://proxy:3128", said
    prepare_variables()
    assert os.environ["NO_PROXY"] == wanted


def test_without_a_proxy_nothing_is_added() -> None:
    prepare_variables()
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KINGPOST_PORT", "tcp://10.0.0.1:8000"),
        ("KINGPOST_SERVICE_HOST", "10.0.0.1"),
        ("KINGPOST_SERVICE_PORT_HTTP", "8000"),
        ("KINGPOST_API_PORT_8000_TCP_PROTO", "tcp"),
        ("KINGPOST_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
    ],
)
def test_service_links_of_kubernetes_are_no_settings(name: str, value: str) -> None:
    assert Settings.load({name: value}) == Settings.load({})


@pytest.mark.parametrize("name", ["KINGPOST_PORT", "KINGPOST_PROT", "KINGPOST_SERVICE"])
def test_other_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.load({name: "8000"})
