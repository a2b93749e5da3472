from pathlib import Path

import pytest

from ckpt_core import (
    CheckpointNotFoundError,
    CkptError,
    Detection,
    FormatMatch,
    LoadRequest,
    PluginError,
    Query,
    RepairPlan,
    RepairRequest,
    Resolution,
    UnsupportedFormatError,
    UsageError,
    VerifyReport,
    VerifyRequest,
    hookimpl,
    list_files,
    locate,
)
from ckpt_core.schema.formats import Confidence, Format
from ckpt_core.schema.locations import Candidate, Priority

BROKEN = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "misses": ("import nowhere_to_be_found", "'nowhere_to_be_found' is missing; install it"),
    "unknown_hook": ("@hookimpl\ndef compress(files): ...", "unknown hook 'compress'"),
    "unknown_argument": ("@hookimpl\ndef locate(query, depth): ...", "depth"),
    "taken": (
        "@hookimpl\ndef formats(): return [Format('safetensors', 'mine')]",
        "which core.safetensors owns already",
    ),
    "twice": ("@hookimpl\ndef formats(): return [Format('f', ''), Format('f', '')]", "owns format 'f'"),
    "formats_crash": ("@hookimpl\ndef formats(): 1 / 0", "ZeroDivisionError"),
    "not_formats": ("@hookimpl\ndef formats(): return ['f']", "answered with str where Format belongs"),
    "no_hooks": ("def formats(): return [Format('f', '')]", "no hooks: is @hookimpl missing?"),
    "empty": ("", "no hooks: is @hookimpl missing?"),
    "of_another_project": ("import pluggy\n@pluggy.HookimplMarker('x')\ndef formats(): return []", "no hooks"),
    "old_wrapper": ("@hookimpl(hookwrapper=True)\ndef locate(query): yield", "old-style wrapper"),
    "leaks": ("raise RuntimeError('https://me:hunter2@h/x?t=s3cr3t')", "https://h/x"),
}
HEALTHY = "@hookimpl\ndef formats(): return [Format('{0}', 'of a plugin')]"


def detects(manager, checkpoint):
    detection = manager.hook.detect_format(files=list_files(checkpoint))
    return detection.best is not None and detection.best.format == "safetensors"


def status(manager, name):
    (found,) = [status for status in manager.status_report() if status.name == name]
    return found


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_named_with_its_reason_and_costs_nothing_else(install, site, manager, checkpoint, name):
    code, reason = BROKEN[name]
    install(name, code)
    install("zz_healthy", HEALTHY.format("zz"))
    manager.load_installed([site])
    broken = status(manager, name)
    assert reason in broken.problem
    assert (broken.origin, broken.version) == (f"dist-{name.replace('_', '-')} 1.0", "1.0")
    assert (broken.formats, broken.hooks) == ((), ())
    assert "\n" not in broken.problem
    assert "hunter2" not in broken.problem
    assert not manager.has_plugin(name)
    assert status(manager, "zz_healthy").problem is None
    assert [format.name for format in manager.formats()] == ["bundle", "safetensors", "torch", "versions", "zz"]
    assert detects(manager, checkpoint)
    assert manager.hook.locate(query=Query(checkpoint)).found


def test_a_plugin_whose_own_module_is_missing_says_so(install, site, manager):
    install("gone", None)
    manager.load_installed([site])
    assert status(manager, "gone").problem == "its own module 'plugin_gone' is missing; install dist-gone again"


@pytest.mark.parametrize(("requirement", "cure"), [(">=99", "upgrade ckpt-core"), ("<0.1", "upgrade dist-fussy")])
def test_a_plugin_for_another_core_is_not_imported(install, site, manager, requirement, cure):
    install("fussy", "raise SystemError('imported')", requires=[f"ckpt-core{requirement}"])
    manager.load_installed([site])
    found = status(manager, "fussy")
    assert found.problem == f"needs ckpt-core{requirement}, this is 0.1.0; {cure}"
    assert found.too_new is (requirement == ">=99")


def test_an_entry_point_may_be_an_object(install, site, manager):
    install(
        "thing",
        "class Inner:\n  @hookimpl\n  def formats(self): return [Format('obj', '')]\nclass holder: inner = Inner()",
        entry="plugin_thing:holder.inner",
    )
    manager.load_installed([site])
    found = status(manager, "thing")
    assert (found.problem, found.formats, found.hooks) == (None, ("obj",), ("formats",))


def test_two_plugins_of_one_name_or_one_module_are_told_apart(install, site, manager):
    install("a", HEALTHY.format("x"))
    install("b", None, entry="plugin_a")
    install("c", HEALTHY.format("y"))
    (Path(site) / "dist_c-1.0.dist-info" / "entry_points.txt").write_text("[ckpt_core.plugins]\na = plugin_c\n")
    manager.load_installed([site])
    problems = [status.problem for status in manager.status_report() if status.origin.startswith("dist-")]
    assert problems[0] is None
    assert "a plugin of this name is registered already" in problems[1]
    assert "registered already, as a" in problems[2]


def test_formats_of_an_unregistered_plugin_are_free(manager):
    class Plugin:
        @hookimpl
        def formats(self):
            return (Format("mine", "x"),)

    first, second = Plugin(), Plugin()
    manager.register(first, name="first")
    with pytest.raises(PluginError, match="second: owns format 'mine', which first owns already") as caught:
        manager.register(second, name="second")
    assert caught.value.exit_code == 10
    assert not manager.is_registered(second)
    manager.unregister(name="first")
    assert manager.owner("mine") is None
    manager.register(second, name="second")
    assert manager.owner("mine") == "second"
    assert [format.name for format in manager.hook.formats()] == ["bundle", "mine", "safetensors", "torch", "versions"]


def test_a_format_of_no_plugin_is_unsupported_and_names_those_that_are(manager):
    with pytest.raises(UnsupportedFormatError, match="known are bundle, safetensors, torch"):
        manager.format("nope")


def test_a_plugin_registered_by_hand_is_in_the_report(manager):
    class Plugin:
        @hookimpl
        def verify(self, files):
            raise ValueError("bad")

    manager.register(Plugin(), name="mine")
    assert status(manager, "mine").origin == "registered by hand"
    assert status(manager, "mine").problem is None
    manager.hook.verify(files=None, checkpoint=None, request=VerifyRequest())
    assert status(manager, "mine").problem == "verify failed: ValueError: bad"
    assert [status.name for status in manager.status_report()][:-1] == [
        "core.paths",
        "core.safetensors",
        "core.torch",
        "core.bundle",
        "core.versions",
        "core.checks",
        "core.seals",
    ]


def test_a_plugin_is_registered_once(manager):
    class Plugin:
        pass

    plugin = Plugin()
    manager.register(plugin, name="one")
    with pytest.raises(PluginError, match="registered already, as one"):
        manager.register(plugin, name="two")
    with pytest.raises(PluginError, match="of this name"):
        manager.register(Plugin(), name="one")
    manager.set_blocked("blocked")
    assert manager.register(Plugin(), name="blocked") is None


@pytest.mark.parametrize("exception", [ValueError, SystemExit, PluginError])
def test_a_plugin_that_fails_to_register_leaves_nothing_behind(manager, exception):
    class Plugin:
        @hookimpl
        def locate(self, query):
            raise AssertionError("asked")

        @hookimpl
        def formats(self):
            raise exception("no")

    plugin = Plugin()
    with pytest.raises(exception):
        manager.register(plugin, name="bad")
    assert not manager.is_registered(plugin)
    manager.hook.locate(query=Query("x"))
    assert len(manager.failures) == 0


def test_a_half_known_plugin_leaves_nothing_behind(manager):
    class Plugin:
        @hookimpl
        def detect_format(self, files):
            raise AssertionError("asked")

        @hookimpl
        def verify(self, files, sums):
            """`sums` is not passed by this core."""

    with pytest.raises(PluginError, match="sums"):
        manager.register(Plugin(), name="half")
    assert not manager.has_plugin("half")
    assert "half" not in [implementation.plugin_name for implementation in manager.hook.detect_format.get_hookimpls()]


def test_each_hook_returns_the_merged_answer(manager, checkpoint):
    files = list_files(checkpoint)
    resolution = manager.hook.locate(query=Query(checkpoint))
    assert isinstance(resolution, Resolution)
    assert resolution.found
    detection = manager.hook.detect_format(files=files)
    assert isinstance(detection, Detection)
    report = manager.hook.verify(files=files, checkpoint=None, request=VerifyRequest())
    assert isinstance(report, VerifyReport)
    plan = manager.hook.repair(files=files, report=report, request=RepairRequest())
    assert plan == RepairPlan(())
    formats = manager.hook.formats()
    assert isinstance(formats, tuple)
    assert [format.name for format in formats] == ["bundle", "safetensors", "torch", "versions"]
    opened = manager.hook.load(files=files, match=detection.best, request=LoadRequest())
    assert list(opened.manifest.components[0].tensors) == ["w"]


def test_policy_stays_outside_of_a_wrapper_that_asks_to_be_first(manager):
    seen = []

    class Eager:
        @hookimpl(wrapper=True, tryfirst=True)
        def locate(self, query):
            answers = yield
            seen.append(answers)
            return [*answers, [Candidate("elsewhere", Priority.FALLBACK, "added by a wrapper")]]

    manager.register(Eager(), name="eager")
    resolution = manager.hook.locate(query=Query("nothing-here"))
    assert isinstance(seen[0], list)
    assert [str(attempt.candidate) for attempt in resolution.attempts] == ["nothing-here", "elsewhere"]


def test_a_wrapper_that_crashes_is_named(manager):
    class Bad:
        @hookimpl(wrapper=True)
        def locate(self, query):
            yield
            raise KeyError("oops")

    manager.register(Bad(), name="bad-wrapper")
    with pytest.raises(PluginError, match="plugin bad-wrapper: locate failed") as caught:
        manager.hook.locate(query=Query("x"))
    assert isinstance(caught.value.__cause__, KeyError)


def test_only_the_owner_loads_a_format(manager, checkpoint):
    class Greedy:
        @hookimpl(tryfirst=True)
        def load(self, files, match, request):
            raise AssertionError("asked")

    manager.register(Greedy(), name="greedy")
    files = list_files(checkpoint)
    best = manager.hook.detect_format(files=files).best
    assert manager.hook.load(files=files, match=best, request=LoadRequest()) is not None
    nobody = FormatMatch("nobody", Confidence.CERTAIN, "x")
    assert manager.hook.load(files=files, match=nobody, request=LoadRequest()) is None


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(2)])
def test_a_crash_in_load_is_a_plugin_error_with_its_cause(manager, checkpoint, error):
    class Owner:
        @hookimpl
        def formats(self):
            return (Format("mine", ""),)

        @hookimpl
        def load(self, files):
            raise error

    manager.register(Owner(), name="owner")
    match = FormatMatch("mine", Confidence.CERTAIN, "x")
    with pytest.raises(PluginError, match="plugin owner: load failed") as caught:
        manager.hook.load(files=list_files(checkpoint), match=match, request=LoadRequest())
    assert caught.value.exit_code == 10
    assert caught.value.__cause__ is error
    assert manager.failures.plugins() == ["owner"]


def test_an_error_of_ours_comes_out_of_load_as_it_is_and_a_wrong_answer_does_not(manager, checkpoint):
    answers = [UnsupportedFormatError("not this version"), "a string"]

    class Owner:
        @hookimpl
        def formats(self):
            return (Format("mine", ""),)

        @hookimpl
        def load(self, files):
            answer = answers.pop(0)
            if isinstance(answer, CkptError):
                raise answer
            return answer

    manager.register(Owner(), name="owner")
    asked = {
        "files": list_files(checkpoint),
        "match": FormatMatch("mine", Confidence.CERTAIN, "x"),
        "request": LoadRequest(),
    }
    with pytest.raises(UnsupportedFormatError, match="not this version"):
        manager.hook.load(**asked)
    with pytest.raises(PluginError, match="answered with str where Checkpoint belongs"):
        manager.hook.load(**asked)


@pytest.mark.parametrize("how", ["at once", "midway", "SystemExit", "wrong type", "not iterable"])
def test_a_crash_in_detect_format_costs_only_that_answer(manager, checkpoint, how):
    class Bad:
        @hookimpl
        def detect_format(self, files):
            return {
                "midway": self.midway,
                "wrong type": lambda: ["safetensors"],
                "not iterable": lambda: FormatMatch("x", Confidence.CERTAIN, ""),
            }.get(how, self.crash)()

        def midway(self):
            yield FormatMatch("rival", Confidence.CERTAIN, "half an answer")
            raise RuntimeError("https://me:hunter2@host/x?t=s3cr3t")

        def crash(self):
            raise SystemExit(1) if how == "SystemExit" else ValueError("x")

    manager.register(Bad(), name="bad")
    assert detects(manager, checkpoint)
    (line,) = manager.failures.of("bad")
    assert line.startswith("detect_format failed: ")
    assert "hunter2" not in line


def test_a_crash_in_verify_is_an_error_beside_what_was_found_before(manager, tmp_path):
    from ckpt_core.schema.findings import Finding, Severity

    class Bad:
        @hookimpl
        def verify(self):
            yield Finding("XX001", Severity.WARNING, "found first")
            raise ZeroDivisionError("then this")

    manager.register(Bad(), name="bad")
    report = manager.hook.verify(files=list_files(str(tmp_path)), checkpoint=None, request=VerifyRequest())
    mine = [finding for finding in report.findings if finding.code in ("PL001", "XX001")]
    assert [finding.code for finding in mine] == ["PL001", "XX001"]
    assert mine[0].severity is Severity.ERROR
    assert "plugin bad could not verify (ZeroDivisionError: then this)" in mine[0].message
    assert not report.ok


def test_an_error_of_ours_in_verify_is_a_finding_with_its_code(manager, tmp_path):
    from ckpt_core.errors import CorruptError

    class Strict:
        @hookimpl
        def verify(self, files):
            raise CorruptError("it is broken", code="XX002", path="a.bin")

    manager.register(Strict(), name="strict")
    report = manager.hook.verify(files=list_files(str(tmp_path)), checkpoint=None, request=VerifyRequest())
    assert ("XX002", "a.bin") in [(finding.code, finding.path) for finding in report.findings]
    assert manager.failures.plugins() == []


def test_a_wrong_question_reaches_its_asker_and_other_errors_are_noted(manager):
    errors = [UsageError("--step: not a number"), UnsupportedFormatError("no wandb here"), OSError("disk on fire")]

    class Asking:
        @hookimpl
        def locate(self, query):
            raise errors.pop(0)

    manager.register(Asking(), name="asking")
    with pytest.raises(UsageError, match="--step"):
        manager.hook.locate(query=Query("x"))
    first = manager.hook.locate(query=Query("x"))
    assert first.notes == ("plugin asking: locate failed: UnsupportedFormatError: no wandb here",)
    second = manager.hook.locate(query=Query("x"))
    assert second.notes == ("plugin asking: locate failed: OSError: disk on fire",)
    assert "disk on fire" in second.explain()


def test_a_candidate_whose_url_is_no_text_costs_only_that_answer(manager, checkpoint, tmp_path):
    class Careless:
        @hookimpl
        def locate(self, query):
            return [Candidate(tmp_path, Priority.EXPLICIT, "a Path, not its text")]

    manager.register(Careless(), name="careless")
    assert manager.hook.locate(query=Query(checkpoint)).found
    assert "PosixPath, not str" in manager.failures.of("careless")[0]


def test_what_a_plugin_that_knows_a_place_says_is_missing_reaches_its_asker(manager):
    class Knowing:
        @hookimpl
        def locate(self, query):
            raise CheckpointNotFoundError("no artifact mm; did you mean m?")

    manager.register(Knowing(), name="knowing")
    with pytest.raises(CheckpointNotFoundError, match="did you mean m"):
        manager.hook.locate(query=Query("x"))


def test_only_who_wants_the_reasons_is_told_what_else_there_is(manager, checkpoint):
    asked = []

    class Asked:
        @hookimpl
        def locate(self, query):
            asked.append(query.explain)

    manager.register(Asked(), name="asked")
    locate(checkpoint, manager=manager)
    locate(checkpoint, explain=True, manager=manager)
    assert asked == [False, True]
