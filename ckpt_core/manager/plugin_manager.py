"""The plugin manager: core's own plugins, the installed ones, each guarded, and the policy outermost.

A plugin that cannot be imported, that asks for a newer core, or that implements a hook wrongly costs only its own
answers; `plugins` tells which and why.
"""

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import pluggy

import ckpt_core
from ckpt_core.errors import PluginError, UnsupportedFormatError
from ckpt_core.hookspecs import PROJECT, Hooks, Specs
from ckpt_core.manager.discovery import EntryPoint, find_entry_points, unmet_requirement
from ckpt_core.manager.guard import Failures, guarded
from ckpt_core.manager.policy import Policy
from ckpt_core.schema.formats import Format

_HOOKS = tuple(name for name in vars(Specs) if not name.startswith("_"))
_BUILTIN = ("paths", "safetensors", "torch", "checks")


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One plugin as `ckpt plugins` shows it. `problem` is None where it works; `too_new` asks for a newer core."""

    name: str
    origin: str
    version: str
    formats: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    problem: str | None = None
    too_new: bool = False


class CkptPluginManager(pluggy.PluginManager):
    """A pluggy manager for ckpt. `pm.hook` is typed as `Hooks`; `register` guards a plugin and keeps policy outermost."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        self.add_hookspecs(Specs)
        self.failures = Failures()
        self.statuses: list[PluginStatus] = []
        self._owners: dict[str, str] = {}
        self._formats: tuple[Format, ...] = ()
        self._policy = Policy(self)
        super().register(self._policy, name="ckpt-core policy")

    @property
    def hooks(self) -> Hooks:
        """`pm.hook`, with the types a checker needs."""
        return cast(Hooks, self.hook)

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Register a plugin by hand: guarded, its formats owned, the policy outermost.

        Raises:
            PluginError: A hook it implements is not one of ours or asks for what we do not pass, or a format that it
                owns has an owner already.
        """
        label = super().register(plugin, name=name)
        if label is None:
            return None
        try:
            self._check(label)
            self._guard(label, plugin)
            self._own_formats(label, plugin)
        except Exception:
            self.unregister(plugin)
            raise
        self._put_policy_outermost()
        return label

    def unregister(self, plugin: Any = None, name: str | None = None) -> Any:
        """Unregister a plugin, by itself or by name; its formats have no owner then."""
        label = name or self.get_name(plugin)
        self._formats = tuple(format for format in self._formats if self._owners[format.name] != label)
        self._owners = {format: owner for format, owner in self._owners.items() if owner != label}
        return super().unregister(plugin, name)

    def formats(self) -> tuple[Format, ...]:
        """Every format, by name."""
        return self._formats

    def format(self, name: str) -> Format:
        """The format of that name. UnsupportedFormatError where no plugin owns it."""
        for format in self._formats:
            if format.name == name:
                return format
        known = ", ".join(format.name for format in self._formats)
        raise UnsupportedFormatError(f"{name}: no installed plugin owns this format; known are {known}")

    def owner(self, format: str) -> str | None:
        """The plugin that owns a format; None where none does."""
        return self._owners.get(format)

    def _check(self, label: str) -> None:
        try:
            self.check_pending()
        except pluggy.PluginValidationError as error:
            reason = " ".join(str(error).split())
            raise PluginError(f"plugin {label}: {reason}; is it made for another version of ckpt-core?") from error

    def _guard(self, label: str, plugin: Any) -> None:
        for caller in self.get_hookcallers(plugin) or ():
            assert caller.spec is not None
            for implementation in caller.get_hookimpls():
                if implementation.plugin is not plugin or implementation.hookwrapper or implementation.wrapper:
                    continue
                # pluggy calls implementations made by register() itself; this is the one place to stand between.
                implementation.function = guarded(  # type: ignore[misc]
                    implementation.function,
                    plugin=label,
                    hook=caller.name,
                    takes=tuple(implementation.argnames),
                    given=tuple(caller.spec.argnames),
                    failures=self.failures,
                    owner=self.owner,
                )
                implementation.argnames = tuple(caller.spec.argnames)  # type: ignore[misc]

    def _own_formats(self, label: str, plugin: Any) -> None:
        if not _is_hook(getattr(plugin, "formats", None)):
            return
        new = tuple(plugin.formats() or ())
        for format in new:
            if format.name in self._owners:
                raise PluginError(
                    f"plugin {label}: owns format {format.name!r}, which {self._owners[format.name]} owns already; "
                    "uninstall one of them"
                )
        self._owners.update({format.name: label for format in new})
        self._formats = tuple(sorted([*self._formats, *new], key=lambda format: format.name))

    def _put_policy_outermost(self) -> None:
        # pluggy runs the wrapper that was registered last outermost, among those that ask to be first.
        super().unregister(self._policy)
        super().register(self._policy, name="ckpt-core policy")

    def load_builtin(self) -> None:
        """Register core's own plugins."""
        for name in _BUILTIN:
            module = importlib.import_module(f"ckpt_core.builtin.{name}")
            self.register(module, name=f"core.{name}")
            self.statuses.append(self._status(f"core.{name}", module, "ckpt-core", ckpt_core.__version__))

    def load_installed(self, path: Sequence[str] | None = None) -> None:
        """Register every installed plugin, in the order of their names; whatever fails is written down, not raised."""
        for point in find_entry_points(path):
            self.statuses.append(self._load(point))

    def _load(self, point: EntryPoint) -> PluginStatus:
        version = f"{point.distribution} {point.version}"
        unmet = unmet_requirement(point, ckpt_core.__version__)
        if unmet is not None:
            problem = f"needs ckpt-core{unmet}, this is {ckpt_core.__version__}; upgrade ckpt-core"
            return PluginStatus(point.name, version, point.version, problem=problem, too_new=True)
        try:
            plugin: Any = importlib.import_module(point.module)
            for part in filter(None, point.attribute.split(".")):
                plugin = getattr(plugin, part)
            self.register(plugin, name=point.name)
        except (Exception, SystemExit) as error:
            return PluginStatus(point.name, version, point.version, problem=_problem(error))
        return self._status(point.name, plugin, version, point.version)

    def _status(self, name: str, plugin: Any, origin: str, version: str) -> PluginStatus:
        formats = tuple(format for format, owner in self._owners.items() if owner == name)
        hooks = tuple(hook for hook in _HOOKS if _is_hook(getattr(plugin, hook, None)))
        return PluginStatus(name, origin, version, formats, hooks)


def _problem(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"module {error.name!r} is missing; pip install it"
    return f"{type(error).__name__}: {error}"


def _is_hook(function: Any) -> bool:
    return callable(function) and getattr(function, f"{PROJECT}_impl", None) is not None


@cache
def get_plugin_manager() -> CkptPluginManager:
    """The process's plugin manager, made at the first call: core's plugins and every installed one.

    `CKPT_PLUGINS=none` leaves the installed ones out.
    """
    manager = CkptPluginManager()
    manager.load_builtin()
    if os.environ.get("CKPT_PLUGINS") != "none":
        manager.load_installed()
    return manager
