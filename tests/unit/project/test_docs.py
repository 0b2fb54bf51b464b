"""The docs name what exists, and all of it."""

import re
from pathlib import Path
from typing import Any

from deployments.packages.package import Package
from tasks.process.variables import PREFIX
from tasks.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_settings_page_lists_every_setting_and_no_other() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    listed = set(re.findall(r"^\| `(KINGPOST_[A-Z_]+)`", page, re.M))
    assert listed == {PREFIX + name.upper() for name in Settings.model_fields}


def test_every_link_between_our_pages_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*/README.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_the_api_lists_every_error_code_with_its_status() -> None:
    code = "".join(path.read_text() for path in sorted((ROOT / "api").rglob("*.py")))
    said = set(re.findall(r'Problem\(\s*(\d{3}),\s*"([a-z_]+)"', code))
    assert ("410", "application_error") in said
    page = (ROOT / "docs" / "api.md").read_text().partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d{3}[^|]*)\|([^|]*)\|", page, re.M)
    listed = {
        (status, name)
        for cell, names in rows
        for status in re.findall(r"\d{3}", cell)
        for name in re.findall(r"`([a-z_]+)`", names)
    }
    assert listed == said


def test_the_readme_s_smallest_package_loads_and_answers(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (config,) = re.findall(r"```yaml\n(.*?)```", readme, re.S)
    (model,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "model" / "model.py").write_text(model)
    package = Package.load(tmp_path)
    assert (package.model_name, package.slots) == ("hello", 1)
    names: dict[str, Any] = {}
    exec(model, names)
    assert names["Model"]().predict({"name": "Ada"}) == {
        "text": "Hello, Ada!"
    }  # as `kingpost init` has it


def test_the_readme_s_times_are_ranges() -> None:
    section = (ROOT / "README.md").read_text().partition("## Two commands")[2].partition("\n## ")[0]
    sentences = re.split(r"\.\s", section.rpartition("```")[2])
    timed = [text for text in sentences if re.search(r"\b(s|seconds?|minutes?)\b", text)]
    assert len(timed) == 3
    assert all(re.search(r"\w+ to \w+ (s|minutes)\b", text) for text in timed), timed


def test_the_readme_installs_the_torch_that_is_pinned() -> None:
    (pinned,) = re.findall(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.M)
    assert f"pip install {pinned}" in (ROOT / "README.md").read_text()
