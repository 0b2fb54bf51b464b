"""What the console says has changed between two versions of a model."""

import difflib
import hashlib
from typing import Any

import pytest

from api.console import changes as module
from api.console.changes import KeyChange, changes
from deployments.packages.contents import Contents, PackageFile


def package(complete: bool = True, **files: str | bytes) -> Contents:
    found: list[PackageFile] = []
    for name, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        text = content if isinstance(content, str) else None
        digest = hashlib.sha256(raw).hexdigest()
        found.append(PackageFile(name.replace("_", "."), len(raw), digest, text))
    return Contents(tuple(found), complete)


def test_keys_are_told_by_their_paths() -> None:
    before = package(config_yaml="model_name: m\nresources: {cpu: 1, memory: 2Gi}\nold: [1]\n")
    after = package(config_yaml="resources: {memory: 4Gi, cpu: 1}\nmodel_name: m\nnew: {}\n")
    assert changes(before, after).keys == (
        KeyChange("new", None, "{}"),
        KeyChange("old", "[1]", None),
        KeyChange("resources.memory", '"2Gi"', '"4Gi"'),
    )
    assert changes(before, before) == module.Changes((), (), True)


def test_files_are_told_with_their_lines() -> None:
    before = package(same_py="x", model_py="a\nb\nc\n", gone_txt="x\n", w_bin=b"\0")
    after = package(same_py="x", model_py="a\nB\nc\n", new_txt="y\n", w_bin=b"\1")
    found = {file.name: file for file in changes(before, after).files}
    assert sorted(found) == ["gone.txt", "model.py", "new.txt", "w.bin"]
    shown = [line for line in found["model.py"].lines if line[0] in ("add", "cut")]
    assert shown == [("cut", "-b"), ("add", "+B")]
    assert found["new.txt"].before is None and ("add", "+y") in found["new.txt"].lines
    assert found["gone.txt"].after is None and ("cut", "-x") in found["gone.txt"].lines
    assert found["w.bin"].lines == ()


def test_only_what_differs_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    diff = difflib.unified_diff

    def counted(old: list[str], new: list[str], **how: Any) -> Any:
        compared.extend((len(old), len(new)))
        return diff(old, new, **how)

    monkeypatch.setattr(difflib, "unified_diff", counted)
    lines = [f"line {n % 100}" for n in range(20_000)]
    changed = [*lines[:10_000], "other", *lines[10_001:]]
    (file,) = changes(package(m_py="\n".join(lines)), package(m_py="\n".join(changed))).files
    assert max(compared) <= 2 * module.CONTEXT + 1
    assert [text for kind, text in file.lines if kind == "at"] == ["@@ -9998,7 +9998,7 @@"]
    assert ("add", "+other") in file.lines and ("cut", "-line 0") in file.lines


def test_the_work_is_bounded() -> None:
    old, new = ("\n".join(f"{part} {n}" for n in range(3000)) for part in ("old", "new"))
    (file,) = changes(package(m_py=old), package(m_py=new)).files
    assert file.lines == (("at", module.TOO_DIFFERENT),)
    (file,) = changes(package(m_py=""), package(m_py=new + "\n" + "x" * 1000)).files
    assert len(file.lines) == module.MOST_LINES + 1 and "more lines" in file.lines[-1][1]
    keys = "\n".join(f"k{n}: {n}" for n in range(1000))
    found = changes(package(config_yaml=""), package(config_yaml=keys))
    assert (len(found.keys), found.complete) == (module.MOST_KEYS, False)
    assert not changes(package(False), package()).complete
