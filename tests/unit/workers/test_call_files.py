"""Files of calls in the host: received whatever the cuts, never left behind, and never somewhere else."""

import fcntl
import os
from pathlib import Path

import pytest
from starlette.types import Message, Receive

from deployments import attached
from deployments.attached import Attached
from deployments.output_files import Link, Token
from tasks.settings import Settings
from workers.host import files_folder
from workers.host.call.files import contents, received
from workers.host.errors import ClientGone, FilesNotStored, FilesRefused
from workers.host.model.files import taken_out
from workers.hosting.extras import files_dir
from workers.wire.calls import FILES

FIRST, SECOND = Attached("a" * 32, 5, "png"), Attached("b" * 32, 0)


def body(*chunks: bytes, cut: bool = False) -> Receive:
    last = {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b""}
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    left = iter([*messages, last])

    async def receive() -> Message:
        return next(left)

    return receive


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


def test_the_header_is_the_same_on_both_sides() -> None:
    assert attached.FILES == FILES
    assert attached.read(attached.written([FIRST, SECOND])) == [FIRST, SECOND]
    for wrong in ("x", "../x:1:", f"{'a' * 32}:1:a/b", f"{'a' * 32}:-1:", f"{'a' * 32}:1"):
        with pytest.raises(ValueError, match="names no files"):
            attached.read(wrong)


@pytest.mark.parametrize("step", [1, 2, 5, 7, 100])
async def test_files_and_input_are_told_apart_whatever_the_cuts(tmp_path: Path, step: int) -> None:
    whole = b"12345" + b'{"a": 1}'
    chunks = [whole[at : at + step] for at in range(0, len(whole), step)]
    files, rest = await received(body(*chunks), [FIRST, SECOND], tmp_path)
    assert rest == b'{"a": 1}'
    assert files.paths[FIRST.id].read_bytes() == b"12345"
    assert files.paths[FIRST.id].name == f"{FIRST.id}.png"
    assert files.paths[SECOND.id].read_bytes() == b""
    refers = {"x": [attached.reference(FIRST.id)]}
    assert files.in_place(refers, b"") == {"x": [files.paths[FIRST.id]]}
    await files.remove()
    assert nothing_in(tmp_path)


async def test_what_breaks_off_or_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ClientGone):
        await received(body(b"123", cut=True), [FIRST], tmp_path)
    with pytest.raises(ClientGone):
        await received(body(b"123"), [FIRST], tmp_path)
    assert nothing_in(tmp_path)
    no_folder = tmp_path / "file"
    no_folder.touch()
    with pytest.raises(FilesNotStored):
        await received(body(b"12345{}"), [FIRST], no_folder)
    with pytest.raises(FilesRefused):
        await received(body(b"12345{}"), [FIRST], None)


def test_folders_of_hosts_that_are_gone_go_and_others_stay(tmp_path: Path) -> None:
    root = tmp_path / "call-files"
    gone, alive = root / "gone", root / "alive"
    for folder in (gone, alive):
        (folder / "call").mkdir(parents=True)
        folder.with_name(f"{folder.name}.lock").touch()
    held = os.open(root / "alive.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    (root / "mine" / "old").mkdir(parents=True)
    assert files_folder.take(root / "mine") == root / "mine"
    assert not list((root / "mine").iterdir())
    assert not gone.exists() and (alive / "call").is_dir()
    os.close(held)


async def test_files_are_taken_out_of_an_output_wherever_they_are(tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    path = tmp_path / "made.txt"
    path.write_text("made")
    link = Link.signed(b"secret", "c" * 30, 1_900_000_000)
    image = images.new("RGB", (2, 2))
    told, files = taken_out({"a": [image, (b"raw",)], "b": path, "c": "text"}, link)
    assert told["c"] == "text" and told["a"][0]["$ref"] == f"kingpost-file:{'c' * 30}00"
    assert told["b"] == {
        "$ref": f"kingpost-file:{'c' * 30}02", "url": link.url_of(2), "size": 4
    }  # fmt: skip
    sent = [piece async for piece in contents(files)]
    assert sent[0].startswith(b"\x89PNG") and sent[1:] == [b"raw", b"made"]
    path.write_text("")
    with pytest.raises(OSError, match="became shorter"):
        [piece async for piece in contents(files)]


def test_a_url_opens_for_its_own_secret_alone() -> None:
    link = Link.signed(b"secret", "c" * 30, 1_900_000_000)
    token = Token.read(link.url_of(7).rpartition("/")[2])
    assert token and token.is_genuine(b"secret") and not token.is_genuine(b"other")
    assert Link.read(str(link)) == link


def test_hosts_whose_sockets_have_long_paths_have_folders_of_their_own(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    # As the replica names them: in the state folder, or each in a temporary folder where that path is too long.
    configs = [tmp_path / "run" / f"d{number}-r.config" for number in (1, 2)]
    configs += [tmp_path / f"kingpost-{name}" / "host.config" for name in ("a1b2", "c3d4")]
    folders = {files_dir(settings, config) for config in configs}
    assert len(folders) == len(configs)
    assert {folder.parent for folder in folders} == {tmp_path / "call-files"}


def test_a_folder_that_another_process_holds_is_refused_and_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_folder, "LOCK_SECONDS", 0.2)
    files_folder.take(tmp_path / "mine")
    with pytest.raises(OSError, match="Another process holds this folder"):
        files_folder.take(tmp_path / "mine")
