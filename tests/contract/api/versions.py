"""A model of two versions for the console's tests, beside the live stack. No node runs them."""

import json
from collections.abc import Iterator

import pytest

from deployments.packages.store import PackageStore
from deployments.registry import verbs as registry
from deployments.registry.records import Deployment
from kingpost.packing.files import files_of, selection_of
from tasks.store.job_store import JobStore
from tests.contract.api.conftest import Live

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
FILES = (
    {"config.yaml": "model_name: MODEL\nresources: {memory: 1Gi}\n", "model/model.py": "class Model:\n    def predict(self, i): return 1\n"},
    {"config.yaml": f"model_name: MODEL\ndescription: {json.dumps(HOSTILE)}\nresources: {{memory: 2Gi}}\n",
     "model/model.py": f"class Model:\n    def predict(self, i): return 2  # {HOSTILE}\n", f"data/{HOSTILE.replace('/', ' ')}.txt": "x"},
)  # fmt: skip


@pytest.fixture(scope="module")
def versions(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Deployment]]:
    """Two versions of a model that no node runs; the second is on its way to production."""
    store, made = JobStore(live.settings), list[Deployment]()
    for files in FILES:
        root = tmp_path_factory.mktemp("package")
        for name, text in files.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        named = {path.relative_to(root).as_posix(): path for path in files_of(root)}
        selection = selection_of(root, named)
        PackageStore(live.settings).put(selection, lambda _: None)
        made.append(store.run(registry.push("versions", selection.content_hash, 1)))
        store.run(registry.promote(made[-1], "production"))
    yield made
    with live.client(live.new_key(scope="admin")) as http:
        http.delete("/v1/models/versions?force=true").raise_for_status()


def serve(live: Live, deployment: Deployment) -> None:
    """Ends the warming: that version takes over production."""
    store = JobStore(live.settings)
    assert store.run(registry.switch(deployment.model_id, "production", deployment.id))
    store.close()
