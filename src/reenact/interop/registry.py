"""Ask a registry of container images which image a tag stands for now.

Covered: registries that answer anybody, as Docker Hub does, over HTTPS, or HTTP on this machine.
Not covered: registries that want a password.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from reenact.errors import ReenactError

_HUB = "registry-1.docker.io"
_TIMEOUT_S = 20.0
_ACCEPTED = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_FIELD = re.compile(r'(\w+)="([^"]*)"')


def with_digest(image: str) -> str:
    """Return `image` with the digest of what its tag stands for now: `python:3.11@sha256:…`.

    Raises:
        ReenactError: the registry cannot be reached, or does not know the image.
    """
    if "@" in image:
        return image
    registry, name, tag = split_image(image)
    scheme = "http" if registry.split(":")[0] in ("localhost", "127.0.0.1") else "https"
    url = f"{scheme}://{registry}/v2/{name}/manifests/{tag}"
    try:
        digest = _ask(url, None)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise _refused(image, error) from None
        try:
            digest = _ask(url, _token(error.headers.get("WWW-Authenticate", "")))
        except urllib.error.HTTPError as again:
            raise _refused(image, again) from None
        except OSError as again:
            raise _unreachable(registry, again) from None
    except OSError as error:
        raise _unreachable(registry, error) from None
    return f"{image}@{digest}"


def split_image(image: str) -> tuple[str, str, str]:
    """Return registry, name and tag of an image."""
    name, _, tag = image.rpartition(":")
    if not name or "/" in tag:
        name, tag = image, "latest"
    first, slash, rest = name.partition("/")
    if slash and first in ("docker.io", "index.docker.io"):
        return _HUB, rest, tag
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest, tag
    return _HUB, name if slash else f"library/{name}", tag


def _ask(url: str, token: str | None) -> str:
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": _ACCEPTED})  # noqa: S310  # https, or this machine
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # as above
        digest = answer.headers.get("Docker-Content-Digest")
    if not isinstance(digest, str) or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise OSError("it names no digest")
    return digest


def _token(challenge: str) -> str | None:
    """Get the token that a registry gives to anybody."""
    fields = dict(_FIELD.findall(challenge))
    realm = fields.pop("realm", "")
    if not realm.startswith(("https://", "http://localhost", "http://127.0.0.1")):
        return None
    url = f"{realm}?{urllib.parse.urlencode(fields)}"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # as above
        content: Any = json.load(answer)
    found = (
        content.get("token") or content.get("access_token") if isinstance(content, dict) else None
    )
    return found if isinstance(found, str) else None


def _refused(image: str, error: urllib.error.HTTPError) -> ReenactError:
    if error.code == 404:
        return ReenactError(f"there is no image `{image}`", hint="name another one with `--base`")
    return ReenactError(
        f"the registry refuses `{image}`: {error.code} {error.reason}",
        hint="give `--base` with its digest, and leave out `--resolve`",
    )


def _unreachable(registry: str, error: OSError) -> ReenactError:
    reason = getattr(error, "reason", None) or error
    return ReenactError(
        f"{registry} cannot be reached: {reason}",
        hint="leave out `--resolve`: the recipe then names a tag; or give `--base` with a digest",
    )
