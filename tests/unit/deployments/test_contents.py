"""What a package holds, as the console and the API tell it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.packages import contents
from deployments.packages.archive import Limits
from deployments.packages.contents import PackageReader, of_archive, of_folder
from deployments.packages.store import PackageStore
from deployments.registry import verbs as registry
from kingpost.packing.files import files_of, selection_of
from kingpost.packing.gathering import gather
from tasks.settings import Settings
from tasks.store.job_store import JobStore

LIMITS = Limits(10_000, 1 << 30, 1 << 30)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    def make(**files: bytes) -> Path:
        for name, content in ({"config.yaml": b"model_name: m\n"} | files).items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(content)
        return tmp_path

    return make


def archived(root: Path) -> list[bytes]:
    named = {path.relative_to(root).as_posix(): path for path in files_of(root)}
    return list(selection_of(root, named).tar())


def test_an_archive_tells_the_same_as_the_folder(package: Callable[..., Path]) -> None:
    root = package(**{"model__model.py": b"class Model: ...\n", "data__w.bin": b"\0\1" * 9})
    found = of_archive(archived(root), LIMITS)
    assert found == of_folder(root) and found.complete
    assert [(file.name, file.size, file.text is None) for file in found.files] == [
        ("config.yaml", 14, False), ("data/w.bin", 18, True), ("model/model.py", 17, False),
    ]  # fmt: skip


def test_a_large_package_is_told_as_far_as_it_is_read(
    package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MOST_READ", 4 << 20)
    root = package(**{"data__w.bin": bytes(8 << 20), "model__model.py": b"x"})
    found = of_archive(archived(root), LIMITS)
    assert not found.complete
    assert "config.yaml" in {file.name for file in found.files}
    monkeypatch.setattr(contents, "MOST_FILES", 2)
    assert (len(of_folder(root).files), of_folder(root).complete) == (2, False)


@pytest.mark.parametrize(
    ("config", "model", "chats"),
    [
        (b"{}", b"class Model:\n    def chat_completions(self, body): ...\n", True),
        (b"{}", b"class Model:\n    async def chat_completions(self): ...\n", True),
        (b"{}", b"# def chat_completions(\nclass Model:\n    def predict(self): ...\n", False),
        (b"model_metadata: {tags: [openai-compatible]}", b"", True),
        (b"docker_server: {predict_endpoint: /v1/chat/completions}", b"", True),
        (b"docker_server: {predict_endpoint: /predict}", b"", False),
        (b"{model_metadata: [1], docker_server: 7}", b"", False),
        (b"a: b: c", b"", False),
    ],
)
def test_who_chats_is_seen_in_its_files(
    package: Callable[..., Path], config: bytes, model: bytes, chats: bool
) -> None:
    assert of_folder(package(**{"config.yaml": config, "model__model.py": model})).chats is chats


@pytest.mark.parametrize(
    ("config", "model", "other", "nothing"),
    [
        (b"{}", b"class Model:\n    def predict(self, i): ...\n", b"", True),
        (b"{}", b"class Model(object):\n    def predict(self, i): ...\n", b"", True),
        (b"{model_class_name: M}", b"class M():\n    def predict(self, i): ...\n", b"", True),
        (b"{}", b"class Model(Base):\n    def predict(self, i): ...\n", b"", False),  # inherited
        (b"{}", b"class Model:\n    responses = made()\n", b"", False),
        (b"{}", b"class Model:\n    def predict(self, i): ...\n", b"def chat_completions(): ...", False),
        (b"{}", b"class Model:\n    def __getattr__(self, name): ...\n", b"", False),
        (b"{}", b"class Model:\n    def predict(self, i): ...\n", b"#" * (200 << 10), False),  # unread
        (b"docker_server: {predict_endpoint: /p}", b"class Model:\n    pass\n", b"", False),
        (b"{}", b"", b"", False),
    ],
)  # fmt: skip
def test_only_a_model_that_surely_has_neither_method_is_said_to_answer_nothing(
    package: Callable[..., Path], config: bytes, model: bytes, other: bytes, nothing: bool
) -> None:
    files = {"config.yaml": config, "model__model.py": model, "model__other.py": other}
    assert of_folder(package(**files)).answers_nothing is nothing


def test_the_example_is_that_of_the_config(tmp_path: Path) -> None:
    assert of_folder(ROOT / "models" / "echo").example == {"hello": "world"}
    assert of_folder(tmp_path / "nothing") == contents.Contents((), False)


async def test_a_package_that_was_gone_is_found_once_it_is_back(
    settings: Settings, package: Callable[..., Path], store: JobStore
) -> None:
    selection = gather(package(), 1 << 30, settings.state_dir)
    deployment = store.run(registry.push("m", selection.content_hash, 1))
    reader = PackageReader(settings)
    assert not (await reader.of(deployment)).files
    PackageStore(settings).put(selection, lambda _: None)
    assert [file.name for file in (await reader.of(deployment)).files] == ["config.yaml"]
