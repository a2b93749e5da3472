"""The plugin manager: core's own plugins, the installed ones, each guarded, and the policy outermost.

A plugin that cannot be imported, that asks for a newer core, or that implements a hook wrongly costs only its own
answers; `plugins` tells which and why.
"""

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import pluggy

import ckpt_core
from ckpt_core.errors import PluginError, UnsupportedFormatError
from ckpt_core.hookspecs import PROJECT, Hooks, Specs, hookimpl
from ckpt_core.manager.discovery import EntryPoint, find_entry_points, unmet_requirement
from ckpt_core.manager.guard import Failures, guarded
from ckpt_core.manager.policy import Policy
from ckpt_core.schema.formats import Format

_HOOKS = tuple(name for name in vars(Specs) if not name.startswith("_"))
_BUILTIN = ("paths", "safetensors", "torch", "checks")


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One plugin as `ckpt plugins` shows it. `problem` is None where it works."""

    name: str
    origin: str
    version: str
    formats: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    problem: str | None = None


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
        label = name or getattr(plugin, "__name__", None) or type(plugin).__name__
        registered = super().register(_guarded_copy(plugin, label, self.failures), name=label)
        try:
            self._check(label, plugin)
        except Exception:
            self.unregister(name=label)
            raise
        self._put_policy_outermost()
        return registered

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

    def owner(self, format: str) -> str:
        """The plugin that owns a format."""
        self.format(format)
        return self._owners[format]

    def of_owner(self, format: str) -> Hooks:
        """The hooks of the owner of a format alone, for `load` and `save`: nobody else may answer."""
        owner = self.owner(format)
        others = [plugin for plugin in self.get_plugins() if self.get_name(plugin) != owner]
        return cast(Hooks, SimpleNamespace(**{n: self.subset_hook_caller(n, others) for n in ("load", "save")}))

    def _check(self, label: str, plugin: Any) -> None:
        try:
            self.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"plugin {label}: {error}; is it made for a newer ckpt-core?") from error
        offered = getattr(plugin, "formats", None)
        if not _is_hook(offered):
            return
        new = tuple(offered() or ())
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
            return PluginStatus(point.name, version, point.version, problem=problem)
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


def _guarded_copy(plugin: Any, label: str, failures: Failures) -> Any:
    """A namespace with the plugin's hook implementations, each guarded; wrappers are passed on as they are."""
    copy = SimpleNamespace(__name__=label, plugin=plugin)
    for name in dir(plugin):
        function = getattr(plugin, name, None)
        if not _is_hook(function):
            continue
        options = getattr(function, f"{PROJECT}_impl")
        if options.get("wrapper") or options.get("hookwrapper"):
            setattr(copy, name, function)
        else:
            guard = guarded(function, plugin=label, hook=options.get("specname") or name, failures=failures)
            setattr(copy, name, hookimpl(**options)(guard))
    return copy


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
