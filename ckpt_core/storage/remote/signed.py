"""Addresses of objects of S3 and Google Cloud Storage.

Signing is the client's own, reading is ours.

A client's public call signs a URL, good for every range of an object; or gives the token that goes with the question.
Where a client is set up in a way that the question could not keep to, its object has no address, and is read by it.
"""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ckpt_core import knobs
from ckpt_core.storage.remote.addresses import Address, AddressSource, ListedObject
from ckpt_core.storage.remote.connections import proxy_for
from ckpt_core.storage.remote.http import WebFilesystem

_SIGNED_FOR = 3600
"""Seconds that a signature is good for; it is made anew after half of them."""


def listed_object(filesystem: Any, name: str, found: Mapping[str, Any], place: str) -> ListedObject | None:
    """Return an object of a filesystem as it was listed.

    None where it is to be read by the filesystem itself.

    Args:
        filesystem: That of the object's URL.
        name: What it calls the object.
        found: What it says of it.
        place: What messages call it.
    """
    if isinstance(filesystem, WebFilesystem):
        return filesystem.listed(name, found)
    package = type(filesystem).__module__.partition(".")[0]
    size = found.get("size")
    if getattr(filesystem, "signs_anew", False):
        try:
            return ListedObject(place, _signed_by(filesystem, name), size)
        except NotImplementedError:
            return None
    if package == "s3fs" and found.get("ETag") and is_plain_s3(filesystem):
        return ListedObject(place, _Presigned(filesystem, name), size, {"ETag": found["ETag"]}, stored=True)
    if package == "gcsfs" and found.get("generation") and _is_plain_gcs(filesystem):
        marks = {"x-goog-generation": str(found["generation"])}
        return ListedObject(place, _WithToken(filesystem, name), size, marks, stored=True)
    return None


class _Presigned:
    """Presigned URLs of an object of S3. Source: s3fs, `S3FileSystem.url`; botocore, `generate_presigned_url`."""

    def __init__(self, filesystem: Any, name: str) -> None:
        self._filesystem, self._name = filesystem, name
        self._address: Address | None = None
        self._until = 0.0

    def __call__(self, fresh: bool) -> Address:
        if self._address is None or fresh or time.monotonic() > self._until:
            url = self._filesystem.url(self._name, expires=_SIGNED_FOR, timeout=knobs.remote_timeout())
            self._until = time.monotonic() + _SIGNED_FOR / 2
            self._address = Address(url, certificates=self._filesystem.session.get_config_variable("ca_bundle"))
        return self._address


def _signed_by(filesystem: Any, name: str) -> AddressSource:
    """Return the addresses of a filesystem that signs its URLs.

    It says so (`signs_anew`): `sign(name, fresh=True)`.

    NotImplementedError where it has none for that name.
    """
    last = Address(filesystem.sign(name))

    def address(fresh: bool) -> Address:
        nonlocal last
        last = Address(filesystem.sign(name, fresh=True)) if fresh else last
        return last

    return address


class _WithToken:
    """The address of an object of Google Cloud Storage.

    Each question has the token of now.
    """

    def __init__(self, filesystem: Any, name: str) -> None:
        self._filesystem, self._url = filesystem, filesystem.url(name)
        self._address: Address | None = None

    def __call__(self, fresh: bool) -> Address:
        headers: dict[str, str] = {}
        self._filesystem.credentials.apply(headers)
        made = Address(self._url, headers)
        if self._address != made:
            self._address = made
        return self._address or made


def is_plain_s3(filesystem: Any) -> bool:
    """Return whether a signed URL is all that S3 needs.

    It is all that the client would send.
    """
    odd = filesystem.req_kw or filesystem.s3_additional_kwargs or "verify" in filesystem.client_kwargs
    config = filesystem.s3.meta.config
    return not (odd or config.proxies or config.client_cert) and _is_direct(filesystem.s3.meta.endpoint_url)


def _is_plain_gcs(filesystem: Any) -> bool:
    odd = filesystem.requester_pays or filesystem.session_kwargs
    return not odd and _is_direct(filesystem.base)


def _is_direct(endpoint: str) -> bool:
    return proxy_for(urlsplit(endpoint)) is None
