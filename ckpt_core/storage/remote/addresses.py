"""Addresses of an object's bytes.

A URL, what goes with the question, and how to come by a fresh one.

Whoever can give such addresses (a store, a registry of artifacts, a hub) is read by the same ranged reader. An address
may expire, as a presigned URL does or a token: the source of it is asked again, once, before that is an error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Address:
    """An address to ask.

    Its text may be a secret: it is in no message, log or repr.

    Attributes:
        url: `http://` or `https://`; a user and password in it are sent as basic authentication.
        headers: What the question carries. They are never sent to another origin than that of `url`.
        certificates: A file of the authorities that may vouch for the host; None for those of this machine.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificates: str | None = None


AddressSource = Callable[[bool], Address]
"""Gives an object's address; told True where the last one was refused, so that a fresh one is needed."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as it was listed, which every answer is compared with.

    Attributes:
        place: What messages call it; without secrets.
        address: Gives where to ask for it.
        size: In bytes; None where nobody has said so yet.
        marks: Headers by which an answer is known to be of this content, such as an ETag, with their values.
        stored: Whether the server sends the bytes as they are stored, whatever it says of their encoding.
    """

    place: str
    address: AddressSource
    size: int | None = None
    marks: Mapping[str, str | None] = field(default_factory=dict)
    stored: bool = False
