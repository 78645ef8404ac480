"""Ask a registry of container images which image a tag stands for now.

Covered: registries that answer anybody, as Docker Hub does, and those to which docker or podman have
logged in; over HTTPS, or HTTP on this machine.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from reenact.errors import ReenactError
from reenact.interop.registry_login import HUB, login_for

_TIMEOUT_S = 20.0
_ACCEPTED = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_FIELD = re.compile(r'(\w+)="([^"]*)"')


def with_digest(image: str, env: Mapping[str, str]) -> str:
    """Return `image` with the digest of what its tag stands for now: `python:3.11@sha256:…`.

    Args:
        image: name and tag.
        env: the user's variables, which lead to the logins that docker and podman keep.

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
            raise _refused(image, registry, error) from None
        try:
            challenge = error.headers.get("WWW-Authenticate", "")
            digest = _ask(url, _answer_to(challenge, login_for(registry, env)))
        except urllib.error.HTTPError as again:
            raise _refused(image, registry, again) from None
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
        return HUB, rest, tag
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest, tag
    return HUB, name if slash else f"library/{name}", tag


def _ask(url: str, authorization: str | None) -> str:
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": _ACCEPTED})  # noqa: S310  # https, or this machine
    if authorization is not None:
        # Not for others: urllib would take it along to wherever it is sent on.
        request.add_unredirected_header("Authorization", authorization)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # as above
        digest = answer.headers.get("Docker-Content-Digest")
    if not isinstance(digest, str) or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise OSError("it names no digest")
    return digest


def _answer_to(challenge: str, login: str | None) -> str | None:
    """Return what a registry wants to hear: a login, or a token that it gives for one or to anybody."""
    basic = None if login is None else f"Basic {base64.b64encode(login.encode()).decode()}"
    if challenge[:6].lower() == "basic ":
        return basic
    fields = dict(_FIELD.findall(challenge))
    realm = fields.pop("realm", "")
    asked = urllib.parse.urlsplit(realm)
    is_here = asked.scheme == "http" and asked.hostname in ("localhost", "127.0.0.1")
    if asked.scheme != "https" and not is_here:
        return None
    request = urllib.request.Request(f"{realm}?{urllib.parse.urlencode(fields)}")  # noqa: S310  # as above
    if basic is not None:
        request.add_unredirected_header("Authorization", basic)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # as above
        try:
            content: Any = json.load(answer)
        except ValueError:
            raise OSError("what gives its tokens answers with no JSON") from None
    found = (
        content.get("token") or content.get("access_token") if isinstance(content, dict) else None
    )
    return f"Bearer {found}" if isinstance(found, str) else None


def _refused(image: str, registry: str, error: urllib.error.HTTPError) -> ReenactError:
    if error.code == 404:
        return ReenactError(f"there is no image `{image}`", hint="name another one with `--base`")
    if error.code in (401, 403):
        return ReenactError(
            f"{registry} refuses `{image}`: {error.code} {error.reason}",
            hint=f"`docker login {registry}`; or give `--base` with its digest, without `--resolve`",
        )
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
