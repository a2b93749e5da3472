"""What a `FaultProxy` can do to a request: each is a function of an `Exchange`, or makes one."""

import os
import signal
import time
from collections.abc import Callable

from tests.servers.fault_proxy import Exchange

Fault = Callable[[Exchange], None]


def delay(seconds: float) -> Fault:
    """The request waits before the server gets it."""

    def delay(exchange: Exchange) -> None:
        exchange.server.stopping.wait(seconds)
        exchange.pass_on()

    return delay


def reset(exchange: Exchange) -> None:
    """The connection breaks before the server gets the request."""
    exchange.reset()


def silent(exchange: Exchange) -> None:
    """The server does not get the request, and no answer comes."""
    exchange.wait()


def lost_answer(exchange: Exchange) -> None:
    """The server does what it is asked; the connection breaks before the answer."""
    answer = exchange.ask()
    answer.body.read()
    exchange.reset()


def late_answer(seconds: float) -> Fault:
    """The server does what it is asked; its answer takes so long."""

    def late_answer(exchange: Exchange) -> None:
        answer = exchange.ask()
        exchange.server.stopping.wait(seconds)
        exchange.give(answer)

    return late_answer


def cut(at: int) -> Fault:
    """The head and so many bytes of the answer's body come, then the connection breaks."""

    def cut(exchange: Exchange) -> None:
        exchange.give(exchange.ask(), cut=at)
        time.sleep(0.05)  # a reset throws away what the client has not read
        exchange.reset()

    return cut


def stall(at: int) -> Fault:
    """The head and so many bytes of the answer's body come, then nothing more; the connection stays."""

    def stall(exchange: Exchange) -> None:
        exchange.give(exchange.ask(), cut=at)
        exchange.wait()

    return stall


def wrong_length(by: int) -> Fault:
    """The head tells a Content-Length that is so much more than the body's; then the connection is closed."""

    def wrong_length(exchange: Exchange) -> None:
        exchange.give(exchange.ask(), longer=by)
        exchange.close_connection = True

    return wrong_length


def shorter(by: int) -> Fault:
    """The body lacks its last bytes, and the Content-Length says the same."""

    def shorter(exchange: Exchange) -> None:
        answer = exchange.ask()
        exchange.give(answer, longer=-by, cut=answer.length - by)

    return shorter


def flip(at: int) -> Fault:
    """One bit of the answer's body is another."""

    def flip(exchange: Exchange) -> None:
        exchange.give(exchange.ask(), change=_flipped(at))

    return flip


def flip_sent(at: int) -> Fault:
    """One bit of the request's body is another when the server gets it."""

    def flip_sent(exchange: Exchange) -> None:
        exchange.give(exchange.ask(change=_flipped(at)))

    return flip_sent


def cut_sent(at: int) -> Fault:
    """Both connections break after so many bytes of the request's body."""

    def cut_sent(exchange: Exchange) -> None:
        exchange.ask(cut=at)
        exchange.reset()

    return cut_sent


def page(exchange: Exchange) -> None:
    """A page of HTML with status 200 comes in place of the answer; the server does not get the request."""
    exchange.reply(200, b"<html><title>Log in</title><p>Please log in to go on.</html>", Content_Type="text/html")


def status(code: int, error: str = "", *, done: bool = False) -> Fault:
    """A status in place of the answer.

    Args:
        code: As in 503.
        error: What S3 calls it, as in `SlowDown`; empty sends no body.
        done: Whether the server does what it is asked before.
    """
    body = f"<?xml version='1.0'?><Error><Code>{error}</Code><Message>a test</Message></Error>".encode()

    def status(exchange: Exchange) -> None:
        if done:
            exchange.ask().body.read()
        exchange.reply(code, body if error else b"", Content_Type="application/xml")

    return status


def before(action: Callable[[], object]) -> Fault:
    """Something happens, such as an object's replacement, before the server gets the request."""

    def before(exchange: Exchange) -> None:
        action()
        exchange.pass_on()

    return before


def after(action: Callable[[], object]) -> Fault:
    """Something happens when the server has done what it is asked, before the client learns of it."""

    def after(exchange: Exchange) -> None:
        answer = exchange.ask()
        action()
        exchange.give(answer)

    return after


def kill(process: Callable[[], int], *, done: bool = False) -> Fault:
    """The client is killed by SIGKILL, before the server gets the request or when it has done what it is asked."""

    def kill(exchange: Exchange) -> None:
        if done:
            exchange.ask().body.read()
        os.kill(process(), signal.SIGKILL)
        exchange.wait()

    return kill


DISTURBANCES = ("killed before", "killed after", "answer lost", "500", "412")
"""What may come of a request that changes a store."""


def disturbance(how: str, process: Callable[[], int]) -> Fault:
    """One of `DISTURBANCES`; `process` is the client."""
    return {
        "killed before": kill(process),
        "killed after": kill(process, done=True),
        "answer lost": lost_answer,
        "500": status(500, "InternalError"),
        "412": status(412, "PreconditionFailed"),
    }[how]


def _flipped(at: int) -> Callable[[int, bytes], bytes]:
    def change(start: int, data: bytes) -> bytes:
        if not start <= at < start + len(data):
            return data
        changed = bytearray(data)
        changed[at - start] ^= 1
        return bytes(changed)

    return change
