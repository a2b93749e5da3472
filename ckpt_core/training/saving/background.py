"""A save that does not hold up the loop.

The state is copied into buffers that are kept, and written by a thread.
"""

from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ckpt_core.layouts.in_memory import LiveCheckpoint

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class HostBuffers:
    """Memory of this machine for one copy of a state.

    The same from save to save.
    """

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}

    def copied(self, live: LiveCheckpoint) -> LiveCheckpoint:
        """Return the checkpoint with its tensors copied; valid until the next call.

        Those of a device are copied through pinned memory; tensors that are tied are copied once.
        """
        import torch

        first: dict[tuple[Any, ...], str] = {}
        devices = set()
        found: dict[str, Any] = {}
        for path, value in live.memory.items():
            tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(value)
            place = (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
            known = first.setdefault(place, path) if tensor.numel() else path
            if known == path:
                found[path] = self._buffer(path, tensor).copy_(tensor, non_blocking=True)
                devices.add(tensor.device)
            else:
                found[path] = found[known]
        for device in devices:
            if device.type not in ("cpu", "meta"):
                torch.accelerator.synchronize(device)
        self._held = {path: found[path] for path in found if path in self._held}
        return live.held_in(found)

    def _buffer(self, path: str, tensor: "torch.Tensor") -> "torch.Tensor":
        import torch

        held = self._held.get(path)
        if held is None or held.dtype is not tensor.dtype or held.shape != tensor.shape:
            pinned = tensor.device.type in ("cuda", "xpu")
            held = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
            self._held[path] = held
        return held


class InBackground(Generic[T]):
    """One piece of work at a time in a thread.

    What it raised is raised by whoever asks next.
    """

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._result: T | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], T]) -> None:
        """Begin the work; what was begun before is waited for."""
        self.wait()

        def run() -> None:
            try:
                self._result = work()
            except BaseException as error:
                self._error = error

        self._thread = Thread(target=run, name="ckpt-save")
        self._thread.start()

    def wait(self) -> T | None:
        """Wait for the work and return its result.

        None where nothing was begun. Raises what the work raised, once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        result, error = self._result, self._error
        self._result = self._error = None
        if error is not None:
            raise error
        return result

    def check(self) -> None:
        """Raise what work that is over raised.

        Work that goes on is not waited for.
        """
        if self._thread is not None and not self._thread.is_alive() and self._error is not None:
            self.wait()
