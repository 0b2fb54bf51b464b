"""Packages that cannot run, one of each kind, and the sentence that a push must say: the matrix of bad packages."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GOOD_MODEL = "class Model:\n    def predict(self, x):\n        return x\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
DEEP = "model_metadata: " + "[" * 400 + "]" * 400


@dataclass(frozen=True)
class Bad:
    """`said` is the beginning of the sentence or a part of it."""

    kind: str
    said: str
    config: str | bytes = ""
    model: str | bytes = GOOD_MODEL
    make: Callable[[Path], None] = lambda folder: None

    def write(self, folder: Path) -> Path:
        """The package in that folder."""
        (folder / "model").mkdir(parents=True)
        _write(folder / "model" / "model.py", self.model)
        _write(folder / "config.yaml", self.config)
        self.make(folder)
        return folder


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _links_to_parents(folder: Path) -> None:
    (folder / "model" / "up").symlink_to("..")
    (folder / "model" / "again").symlink_to("..")


def _link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def _ignore(content: bytes) -> Callable[[Path], None]:
    return lambda folder: _write(folder / ".gitignore", content)


def _circle(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")


def _yml(folder: Path) -> None:
    (folder / "config.yaml").rename(folder / "config.yml")


def _outside(folder: Path) -> None:
    for name in ("shared", "linked"):
        (folder.parent / name).mkdir(exist_ok=True)
    (folder.parent / "shared" / "shared.py").write_text("theirs = 1")
    (folder / "packages").mkdir()
    (folder / "packages" / "shared.py").write_text("mine = 1")
    (folder.parent / "linked" / "secret").symlink_to("/etc/hostname")


def _bytes_name(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("x")


BAD = [
    Bad("unknown_key", "requirments is no key of config.yaml; did you mean requirements?", "requirments: []"),
    Bad("unknown_nested", "did you mean runtime.predict_concurrency?", "runtime: {predict_concurency: 2}"),
    Bad("wrong_type", "runtime.predict_concurrency must be an integer", "runtime: {predict_concurrency: many}"),
    Bad("below_bound", "runtime.predict_concurrency must be an integer of at least 1, not 0.", "runtime: {predict_concurrency: 0}"),
    Bad("not_a_section", "runtime must be a mapping of names to values, not 5.", "runtime: 5"),
    Bad("accelerator", "resources.accelerator must name a GPU", "resources: {accelerator: A1000G}"),
    Bad("gpu_count", "resources.accelerator must have a count", "resources: {accelerator: 'H100:x'}"),
    Bad("gpu_memory", "resources.gpu_memory must be a size", "resources: {gpu_memory: 5Zi}"),
    Bad("python", "python_version must be py39", "python_version: py999"),
    Bad("trt_llm", "trt_llm needs Baseten's engine builder", "trt_llm: {build: {base_model: llama}}"),
    Bad("grpc", "runtime.transport.kind grpc is not supported", "runtime: {transport: {kind: grpc}}"),
    Bad("egress", "runtime.egress_restrictions are not enforced", "runtime: {egress_restrictions: {}}"),
    Bad("weights_source", "weights[0].source must begin with one of hf://", "weights: [{source: 'ftp://a/b', mount_location: /m}]"),
    Bad("weights_place", "weights[0].mount_location must be an absolute path below /", "weights: [{source: 'hf://a/b', mount_location: m}]"),
    Bad("weights_twice", "weights[1].mount_location: /m/n and /m overlap", "weights: [{source: 'hf://a/b', mount_location: /m}, {source: 'hf://a/c', mount_location: /m/n}]"),
    Bad("weights_secret", "weights[0].auth.auth_secret_name is required", "weights: [{source: 's3://a', mount_location: /m, auth: {auth_method: custom_secret}}]"),
    Bad("weights_identity", "weights[0].auth.auth_method needs the identity", "weights: [{source: 's3://a', mount_location: /m, auth: {auth_method: AWS_OIDC, aws_oidc_role_arn: x, aws_oidc_region: y}}]"),
    Bad("model_cache_revision", "model_cache[0].revision is required with use_volume", "model_cache: [{repo_id: a/b, use_volume: true, volume_folder: x}]"),
    Bad("model_cache_branch", "model_cache[0].revision must be a branch, a tag or a commit", "model_cache: [{repo_id: a/b, revision: ../../../../escaped}]"),
    Bad("weights_branch", "weights[0].source has a revision after the @ that must be a branch", "weights: [{source: 'hf://a/b@x/../../y', mount_location: /m}]"),
    Bad("model_cache_place", "model_cache[0].repo_id must be an absolute path below /", "model_cache: [{repo_id: a/b, revision: main, use_volume: true, volume_folder: ../x}]"),
    Bad("external_data", "external_data is not downloaded", "external_data: [{url: u, local_data_path: p}]"),
    Bad("no_build", "docker_server.no_build needs Docker", "docker_server: {start_command: x, server_port: 9, predict_endpoint: /, readiness_endpoint: /, liveness_endpoint: /, no_build: true}"),
    Bad("endpoint", "docker_server.readiness_endpoint must be a path that begins with /", 'docker_server: {start_command: x, server_port: 9, predict_endpoint: /, readiness_endpoint: "/a HTTP/1.1\\r\\nx: y", liveness_endpoint: /}'),
    Bad("two_lists", "Set either requirements or requirements_file", "requirements: [a]\nrequirements_file: r.txt"),
    Bad("lost_list", "requirements_file: gone.txt is not in the package.", "requirements_file: gone.txt"),
    Bad("lost_folder", "external_package_dirs: ", "external_package_dirs: [gone]"),
    Bad("outer_folder", "would replace packages/shared.py of the package", "external_package_dirs: [../shared]", make=_outside),
    Bad("outer_link", "secret is a link out of the folder", "external_package_dirs: [../linked]", make=_outside),
    Bad("outermost", "holds the package itself", "external_package_dirs: [..]"),
    Bad("utf16", "config.yaml is UTF-16; save it as UTF-8.", "model_name: x".encode("utf-16")),
    Bad("utf32", "config.yaml is UTF-32; save it as UTF-8.", "model_name: x".encode("utf-32")),
    Bad("cp1252", "config.yaml line 2 has the byte 0xe9, which is not UTF-8", "model_name: x\ndescription: café".encode("cp1252")),
    Bad("not_utf8", "config.yaml line 1 has the byte 0xff", b"model_name: \xff\xfa"),
    Bad("control", "config.yaml is not valid YAML", "model_name: a\x01b"),
    Bad("no_date", "config.yaml:1:40 is not valid YAML: '2024-02-30' is no timestamp", "model_metadata: {example_model_input:  2024-02-30}"),
    Bad("no_number", "config.yaml:1:22 is not valid YAML: '0b_' is no int", "model_metadata: {a:  0b_}"),
    Bad("tab", "config.yaml:2:1 is not valid YAML: found character '\\t'", "runtime:\n\tpredict_concurrency: 2"),
    Bad("colon", "config.yaml:1:14 is not valid YAML: mapping values are not allowed here", "model_name: a: b"),
    Bad("open_list", "config.yaml:1:16 is not valid YAML", "requirements: ["),
    Bad("alias", "config.yaml:1:13 is not valid YAML: found undefined alias", "model_name: *nobody"),
    Bad("tag", "config.yaml:1:13 is not valid YAML: could not determine a constructor", "model_name: !!python/object:os.system x"),
    Bad("two_documents", "config.yaml:2:1 is not valid YAML", "model_name: a\n---\nmodel_name: b"),
    Bad("top_list", "config.yaml must be a mapping of keys to values.", "- a"),
    Bad("top_text", "config.yaml must be a mapping of keys to values.", "hello"),
    Bad("bomb", "config.yaml has more than 100000 values, with what its anchors repeat.", BOMB),
    Bad("endless", "config.yaml has an anchor that contains itself.", "model_metadata: &a {b: *a}"),
    Bad("deep", "nested", DEEP),
    Bad("huge", "config.yaml has ", "description: " + "x" * (1 << 20)),
    Bad("yml", "rename config.yml to config.yaml", make=_yml),
    Bad("unhashable", "config.yaml:1:3 is not valid YAML: found unhashable key", "? [a]\n: b"),
    Bad("null_name", "A model's name is printable text", 'model_name: ""'),
    Bad("long_name", "A model's name is printable text", f"model_name: {'n' * 270}"),
    Bad("control_name", "A model's name is printable text", 'model_name: "a\\nb"'),
    Bad("surrogate_name", "A model's name is printable text", 'model_name: "\\ud800"'),
    Bad("no_model", "There is no model/model.py in ", make=lambda folder: (folder / "model" / "model.py").unlink()),
    Bad("syntax", "model/model.py:2:27: invalid syntax.", model="class Model:\n    def predict(self, x): -> int\n        return x\n"),
    Bad("indent", "model/model.py:2:1: expected an indented block", model="class Model:\nx = 1\n"),
    Bad("null_byte", "model/model.py", model=b"x = 1\x00\n"),
    Bad("model_cp1252", "model/model.py", model="x = 'é'\n".encode("cp1252")),
    Bad("parents", "is a link to a folder; copy that folder instead.", make=_links_to_parents),
    Bad("parent", "model/up is a link to a folder; copy that folder instead.", make=_link("model/up", "..")),
    Bad("link_out", "secret is a link out of the folder", make=_link("secret", "/etc/hostname")),
    Bad("link_folder_out", "etc is a link out of the folder", make=_link("etc", "/etc")),
    Bad("link_to_nothing", "gone is a link to nothing", make=_link("gone", "nowhere")),
    Bad("link_circle", "is a link to nothing or to itself", make=_circle),
    Bad("pipe", "pipe is neither a file nor a folder", make=lambda folder: os.mkfifo(folder / "pipe")),
    Bad("latin_ignore", ".gitignore line 1 has the byte 0xe9", make=_ignore("café\n".encode("latin-1"))),
    Bad("utf16_ignore", ".gitignore is UTF-16", make=_ignore("a\n".encode("utf-16"))),
    Bad("file_name", "is not UTF-8; rename it.", make=_bytes_name),
]  # fmt: skip
