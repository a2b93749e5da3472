"""The plugin manager: core's and installed plugins, guarded.

The policy is its outermost wrapper. A plugin that cannot be imported, that asks for a newer core, or that implements a
hook wrongly costs only its own answers; `plugins` tells which and why.
"""

import importlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pluggy

from ckpt_core import knobs
from ckpt_core.errors import PluginError, UnsupportedFormatError
from ckpt_core.hookspecs import PROJECT, Hooks, Specs
from ckpt_core.manager.discovery import EntryPoint, find_entry_points, unmet_requirement
from ckpt_core.manager.guard import Failures, checked_answers, described, guarded, guarded_wrapper
from ckpt_core.manager.policy import Policy
from ckpt_core.schema.formats import Format
from ckpt_core.schema.text import did_you_mean, scrub
from ckpt_core.version import __version__

_HOOKS = tuple(name for name in vars(Specs) if not name.startswith("_"))
_BUILTIN = ("paths", "safetensors", "torch", "bundle.plugin", "versions", "checks", "seals.plugin")


class PluginStatus(NamedTuple):
    """One plugin as `ckpt plugins` shows it.

    `problem` is None where it works; `too_new` asks for a newer core.
    """

    name: str
    origin: str
    version: str
    formats: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    problem: str | None = None
    too_new: bool = False


class CkptPluginManager(pluggy.PluginManager):
    """A pluggy manager for ckpt.

    `register` guards a plugin and keeps the policy outermost, `hooks` is typed.
    """

    if TYPE_CHECKING:
        hook: Hooks  # type: ignore[assignment, misc]  # pluggy's relay, whose answers the policy merges

    def __init__(self) -> None:
        super().__init__(PROJECT)
        self.add_hookspecs(Specs)
        self.failures = Failures()
        self.statuses: list[PluginStatus] = []
        self._owners: dict[str, str] = {}
        self._formats: tuple[Format, ...] = ()
        self._policy = Policy(self, self.failures)
        super().register(self._policy, name="ckpt-core policy")

    @property
    def hooks(self) -> Hooks:
        """`pm.hook` with the types that a type checker needs."""
        return self.hook

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Register a plugin by hand: guarded, below the policy.

        The plugin owns its formats from now on.

        Raises:
            PluginError: Its name is taken, a hook it implements is not one of ours or asks for what we do not pass, or
                a format that it owns has an owner already.
        """
        label = name or self.get_canonical_name(plugin)
        if self.has_plugin(label):
            raise PluginError(f"plugin {label}: a plugin of this name is registered already; uninstall one of them")
        if self.is_registered(plugin):
            raise PluginError(f"plugin {label}: registered already, as {self.get_name(plugin)}; register it once")
        try:
            if super().register(plugin, name=name) is None:
                return None
            self.check_pending()
            self._own_formats(label, plugin)
            self._guard(label, plugin)
        except BaseException as error:
            if self.is_registered(plugin):
                self.unregister(plugin)
            if isinstance(error, pluggy.PluginValidationError):
                raise PluginError(
                    f"plugin {label}: {scrub(str(error))}; made for another version of ckpt-core?"
                ) from error
            raise
        self._put_policy_outermost()
        return label

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        """Return the marks of a hook implementation; see pluggy."""
        # pluggy takes care not to run properties, at 80 µs a name; a module has none, and hundreds of names.
        if isinstance(plugin, ModuleType) and not hasattr(vars(plugin).get(name), f"{PROJECT}_impl"):
            return None
        return super().parse_hookimpl_opts(plugin, name)

    def unregister(self, plugin: Any = None, name: str | None = None) -> Any:
        """Unregister a plugin, given by itself or by name.

        Its formats have no owner then.
        """
        label = name or self.get_name(plugin)
        self._formats = tuple(format for format in self._formats if self._owners[format.name] != label)
        self._owners = {format: owner for format, owner in self._owners.items() if owner != label}
        self.statuses[:] = [status for status in self.statuses if status.problem or status.name != label]
        return super().unregister(plugin, name)

    def status_report(self) -> list[PluginStatus]:
        """Return every plugin's status, with its failures as the problem.

        Plugins registered by hand are listed too.
        """
        listed = {status.name for status in self.statuses if not status.problem}
        by_hand = [
            self._status(name, plugin, "registered by hand", "")
            for name, plugin in self.list_name_plugin()
            if plugin is not None and plugin is not self._policy and name not in listed
        ]
        return [
            status if status.problem else status._replace(problem="; ".join(self.failures.of(status.name)) or None)
            for status in [*self.statuses, *by_hand]
        ]

    def formats(self) -> tuple[Format, ...]:
        """Return every format, sorted by name."""
        return self._formats

    def format(self, name: str) -> Format:
        """Return the format of that name.

        UnsupportedFormatError where no plugin owns it.
        """
        for format in self._formats:
            if format.name == name:
                return format
        known = [format.name for format in self._formats]
        message = f"{name}: no installed plugin owns this format; known are {', '.join(known)}"
        raise UnsupportedFormatError(message, hint=did_you_mean(name, known))

    def owner(self, format: str) -> str | None:
        """Return the plugin that owns a format.

        None where none does.
        """
        return self._owners.get(format)

    def _own_formats(self, label: str, plugin: Any) -> None:
        new: dict[str, Format] = {}
        for implementation in self._implementations(cast(pluggy.HookCaller, self.hook.formats), plugin):
            for format in [] if implementation.wrapper else checked_answers("formats", implementation.function()):
                owner = label if format.name in new else self._owners.get(format.name)
                if owner is not None:
                    claim = f"owns format {format.name!r}, which {owner} owns already"
                    raise PluginError(f"plugin {label}: {claim}; uninstall one of them")
                new[format.name] = format
        self._owners.update(dict.fromkeys(new, label))
        self._formats = tuple(sorted([*self._formats, *new.values()], key=lambda format: format.name))

    def _guard(self, label: str, plugin: Any) -> None:
        """Guard the functions that pluggy calls for a plugin.

        pluggy makes its HookImpl itself, so they are changed in place. They are plain attributes in pluggy 1.5 to 1.7;
        tests/manager/test_guard.py fails where that ends.
        """
        for caller in self.get_hookcallers(plugin) or ():
            assert caller.spec is not None
            given = tuple(caller.spec.argnames)
            for implementation in self._implementations(caller, plugin):
                if implementation.hookwrapper:
                    raise PluginError(
                        f"plugin {label}: {caller.name} is an old-style wrapper; use hookimpl(wrapper=True)"
                    )
                if implementation.wrapper:
                    function = guarded_wrapper(implementation.function, plugin=label, hook=caller.name)
                    implementation.function = function  # type: ignore[misc]
                    continue
                implementation.function = guarded(  # type: ignore[misc]
                    implementation.function,
                    plugin=label,
                    hook=caller.name,
                    takes=tuple(implementation.argnames),
                    optional=tuple(name for name in implementation.kwargnames if name in given),
                    given=given,
                    failures=self.failures,
                    owner=self.owner,
                )
                implementation.argnames = given  # type: ignore[misc]
                implementation.kwargnames = ()  # type: ignore[misc]

    @staticmethod
    def _implementations(caller: pluggy.HookCaller, plugin: Any) -> list[pluggy.HookImpl]:
        return [implementation for implementation in caller.get_hookimpls() if implementation.plugin is plugin]

    def _put_policy_outermost(self) -> None:
        # pluggy runs the wrapper that was registered last outermost, among those that ask to be first.
        super().unregister(self._policy)
        super().register(self._policy, name="ckpt-core policy")

    def load_builtin(self) -> None:
        """Register core's own plugins."""
        for path in _BUILTIN:
            module = importlib.import_module(f"ckpt_core.builtin.{path}")
            name = f"core.{path.removesuffix('.plugin')}"
            self.register(module, name=name)
            self.statuses.append(self._status(name, module, "ckpt-core", __version__))

    def load_installed(self, path: Sequence[str] | None = None) -> None:
        """Register every installed plugin, sorted by name.

        Failures are written down, not raised.
        """
        for point in find_entry_points(path):
            self.statuses.append(self._load(point))

    def _load(self, point: EntryPoint) -> PluginStatus:
        origin = f"{point.distribution} {point.version}"
        unmet = unmet_requirement(point, __version__)
        if unmet is not None:
            too_new = not unmet.startswith("<")
            cure = f"upgrade {'ckpt-core' if too_new else point.distribution}"
            problem = f"needs ckpt-core{unmet}, this is {__version__}; {cure}"
            return PluginStatus(point.name, origin, point.version, problem=problem, too_new=too_new)
        try:
            plugin: Any = importlib.import_module(point.module)
            for part in filter(None, point.attribute.split(".")):
                plugin = getattr(plugin, part)
            self.register(plugin, name=point.name)
        except (Exception, SystemExit) as error:
            return PluginStatus(point.name, origin, point.version, problem=_problem(error, point))
        if not self.get_hookcallers(plugin):
            self.unregister(plugin)
            return PluginStatus(point.name, origin, point.version, problem="no hooks: is @hookimpl missing?")
        return self._status(point.name, plugin, origin, point.version)

    def _status(self, name: str, plugin: Any, origin: str, version: str) -> PluginStatus:
        formats = tuple(format for format, owner in self._owners.items() if owner == name)
        hooks = {caller.name for caller in self.get_hookcallers(plugin) or ()}
        return PluginStatus(name, origin, version, formats, tuple(hook for hook in _HOOKS if hook in hooks))


def _problem(error: BaseException, point: EntryPoint) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        if point.module == error.name or point.module.startswith(f"{error.name}."):
            return f"its own module {error.name!r} is missing; install {point.distribution} again"
        return f"module {error.name!r} is missing; install it, or {point.distribution} again with what it depends on"
    return error.message if isinstance(error, PluginError) else described(error)


@cache
def get_plugin_manager() -> CkptPluginManager:
    """Return the process's plugin manager, made at the first call.

    It has core's plugins and every installed one.

    `CKPT_PLUGINS=none` leaves the installed ones out.
    """
    manager = CkptPluginManager()
    manager.load_builtin()
    if knobs.plugins():
        manager.load_installed()
    return manager
