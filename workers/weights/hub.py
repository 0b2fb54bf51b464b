"""Repositories of the Hugging Face hub, or of a server that speaks its API (HF_ENDPOINT)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deployments.packages.weights import Wish
from workers.weights import web
from workers.weights.remote import (
    CONNECT_SECONDS,
    Digest,
    Listing,
    RemoteFile,
    Unreachable,
    WeightsFailed,
    is_wanted,
    safe_name,
)

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

MISSING = (
    "hf:// needs the package huggingface_hub on the machine of the node; "
    "install it there with: pip install 'kingpost[weights]'"
)
ENDPOINT = "https://huggingface.co"


def listed(wish: Wish, token: str, variables: Mapping[str, str]) -> Listing:
    """The files of a repository at its revision. Raises Unreachable and WeightsFailed."""
    try:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise WeightsFailed(MISSING) from error
    endpoint = variables.get("HF_ENDPOINT") or ENDPOINT
    info = _info(wish, token, endpoint)
    commit = safe_name(info.sha or wish.revision)  # a folder of the cache has this name
    if "/" in commit:
        raise WeightsFailed(f"The hub does not say which commit {wish} is.")
    headers = build_hf_headers(token=token or None)
    files: list[RemoteFile] = []
    for sibling in info.siblings or []:
        name = safe_name(sibling.rfilename)
        if is_wanted(name, wish):
            url = hf_hub_url(wish.rest, name, revision=commit, endpoint=endpoint)
            files.append(_file(sibling, web.reader(url, headers, wish)))
    if not files:
        raise WeightsFailed(f"{wish} has no file that its patterns let through.")
    return Listing(files, commit)


def _file(sibling: "RepoSibling", read: "web.Reader") -> RemoteFile:
    if sibling.lfs:
        digest = Digest("sha256", sibling.lfs.sha256)
    elif sibling.blob_id:
        digest = Digest("git", sibling.blob_id)
    else:
        raise WeightsFailed(f"The hub does not say what {sibling.rfilename} must hash to.")
    identity = f"{digest.kind} {digest.value}"
    return RemoteFile(sibling.rfilename, sibling.size, identity, read, digest)


def _info(wish: Wish, token: str, endpoint: str) -> "ModelInfo":
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    try:
        return HfApi(endpoint=endpoint, token=token or None).model_info(
            wish.rest, revision=wish.revision or None, files_metadata=True, timeout=CONNECT_SECONDS
        )
    except hub.GatedRepoError as error:
        text = f"{wish} is gated: accept its terms on the hub, and name a secret with a token that may read it."
        raise WeightsFailed(text) from error
    except hub.RevisionNotFoundError as error:
        raise WeightsFailed(f"The hub has no revision {wish.revision!r} of {wish.rest}.") from error
    except hub.RepositoryNotFoundError as error:
        token_said = (
            f"the token of the secret {wish.secret} may not read it"
            if token
            else "it is private: name a secret in auth_secret_name"
        )
        raise WeightsFailed(f"The hub has no repository {wish.rest}, or {token_said}.") from error
    except hub.HFValidationError as error:
        raise WeightsFailed(f"{wish} is no name of a repository: {error}") from error
    except hub.HfHubHTTPError as error:
        code = error.response.status_code
        if code in web.REFUSED:
            raise WeightsFailed(web.refused(str(wish), wish.secret, code)) from error
        raise Unreachable(f"The hub answered with {code} for {wish}.") from error
    except Exception as error:  # of its HTTP library, which differs between its releases
        raise Unreachable(f"The hub could not be asked for {wish}: {error}") from error
