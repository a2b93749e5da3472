"""The W&B client, asked by its public calls alone.

It is held to our deadline, and its errors are put in our words.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ckpt_core import remote_timeout
from ckpt_wandb.deadlines import within_deadline
from ckpt_wandb.failures import as_ours, no_key

T = TypeVar("T")


class Client:
    """The client for one server and key.

    Args:
        base_url: The server; it may hold a user and password, and is in no message.

    Attributes:
        base_url: As given.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._made: dict[str, Any] = {}

    def api(self, entity: str, place: str) -> Any:
        """Return the client's `Api` for an entity.

        With an entity it need not ask for one.

        Raises:
            NoAnswerError: There is no key, it is refused, or the server does not answer.
        """
        if entity not in self._made:
            if not self._has_key():
                raise no_key(place, self.host)
            import wandb

            settings = {"entity": entity, "base_url": self.base_url}
            self._made[entity] = self.ask(place, lambda: wandb.Api(settings, timeout=remote_timeout()))
        return self._made[entity]

    def ask(self, place: str, call: Callable[[], T]) -> T:
        """Return what a call of the client returns.

        Raises:
            AbsentError: The server has nothing of that name.
            NoAnswerError: It did not answer, or refused.
        """
        try:
            return within_deadline(place, self.host, call)
        except Exception as error:
            raise as_ours(error, place, self.host) from None

    @property
    def host(self) -> str:
        """The server's URL without what may be secret in it."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def _has_key(self) -> bool:
        """Return whether the client would find a key.

        Without one it asks the terminal, which is no part of a command.
        """
        import wandb
        from requests.utils import get_netrc_auth

        if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
            return True
        return bool(wandb.setup().settings.api_key or get_netrc_auth(self.base_url))


def client() -> Client:
    """The client for the server and key that the environment names now."""
    import wandb

    base_url = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
    return _client(base_url.rstrip("/"), os.environ.get("WANDB_API_KEY", ""), os.getpid())


@lru_cache(4)
def _client(base_url: str, key: str, process: int) -> Client:
    return Client(base_url)
