"""The verdict: what counts as there, what each purpose needs, and what the caller may say is unused."""

import pytest

from ckpt_core import Component, DType, Finding, Manifest, Severity, TensorEntry, TensorTable
from ckpt_core.schema.profiles import Verdict, assess
from ckpt_core.schema.roles import Presence, Profile, Role

WEIGHTS = TensorTable.of({"w": TensorEntry(DType.F32, (2,), ())})
NOTHING = TensorTable.of({})
SCHEDULED = {"state": {}, "param_groups": [{"initial_lr": 0.1, "params": [0]}]}
STATES = {"optimizer": SCHEDULED, "scheduler": {"last_epoch": 1}, "progress": {"step": 1}}
EXACT = {**STATES, "rng": [1], "sampler": {"seed": 0}}


def manifest(states, *roles):
    parts = [Component("model", WEIGHTS), *(Component(kind, NOTHING, state) for kind, state in states.items())]
    return Manifest(tuple(parts), roles=roles)


def verdicts(held, **more):
    return {profile.value: assess(held, profile, **more).verdict.value for profile in Profile}


def test_each_profile_needs_what_the_one_before_needs_and_more():
    assert verdicts(manifest({})) == {"inference": "COMPLETE", "resume": "PARTIAL", "exact-resume": "PARTIAL"}
    assert verdicts(manifest(STATES)) == {"inference": "COMPLETE", "resume": "COMPLETE", "exact-resume": "PARTIAL"}
    assert set(verdicts(manifest(EXACT)).values()) == {"COMPLETE"}


@pytest.mark.parametrize("kind", list(EXACT))
def test_a_missing_part_flips_its_own_line_and_no_other(kind):
    left = {name: state for name, state in EXACT.items() if name != kind}
    found = assess(manifest(left), Profile.EXACT_RESUME)
    assert [line.role.label for line in found.lacking] == [kind]
    assert found.verdict is Verdict.PARTIAL
    assert f"{kind} absent" in found.summary


@pytest.mark.parametrize("nothing", [None, {}, [], ()])
def test_nothing_in_the_place_of_a_part_is_not_that_part(nothing):
    found = assess(manifest({**STATES, "optimizer": nothing}), Profile.RESUME)
    assert [(line.role.label, line.role.note) for line in found.lacking] == [("optimizer", f"{nothing!r} in its place")]


def test_unreadable_is_corrupt_and_absent_is_partial():
    broken = Role("optimizer", Presence.UNREADABLE, "optimizer.pt")
    missing = Role("optimizer", Presence.ABSENT, "optimizer.pt")
    states = {kind: state for kind, state in STATES.items() if kind != "optimizer"}
    assert assess(manifest(states, broken), Profile.RESUME).verdict is Verdict.CORRUPT
    assert assess(manifest(states, missing), Profile.RESUME).verdict is Verdict.PARTIAL


def test_what_was_synthesized_is_no_exact_resume():
    invented = Role("rng", Presence.SYNTHESIZED, note="made by a repair")
    states = {kind: state for kind, state in EXACT.items() if kind != "rng"}
    held = manifest(states, invented)
    assert assess(held, Profile.RESUME).verdict is Verdict.COMPLETE
    assert assess(held, Profile.EXACT_RESUME).verdict is Verdict.PARTIAL


def test_what_the_training_never_had_is_not_missed():
    states = {kind: state for kind, state in STATES.items() if kind != "scheduler"}
    assert assess(manifest(states), Profile.RESUME).verdict is Verdict.PARTIAL
    assert assess(manifest(states), Profile.RESUME, without=["scheduler"]).verdict is Verdict.COMPLETE


def test_each_rank_has_a_line_of_its_own():
    roles = [Role("rng", Presence.PRESENT, "rng_state_0.pth", name="0"), Role("rng", Presence.ABSENT, name="1")]
    states = {kind: state for kind, state in EXACT.items() if kind != "rng"}
    found = assess(manifest(states, *roles), Profile.EXACT_RESUME)
    assert [line.role.label for line in found.lacking] == ["rng:1"]


def test_an_error_is_corrupt_whatever_is_there():
    error = Finding("CV005", Severity.ERROR, "a hole")
    assert set(verdicts(manifest(EXACT), findings=[error]).values()) == {"CORRUPT"}
    found = assess(None, Profile.RESUME)
    assert found.verdict is Verdict.CORRUPT
    assert {line.role.presence for line in found.lines} == {Presence.UNREADABLE}


def test_weights_that_cannot_be_read_are_missed_beside_others_that_can():
    lost = Finding("XX001", Severity.ERROR, "a part is gone", "b.bin", component="model:fp32")
    held = Manifest((Component("model", WEIGHTS, name="fp32"), Component("model", WEIGHTS)))
    found = assess(held, Profile.INFERENCE, [lost])
    assert found.summary == "CORRUPT for inference: model:fp32 unreadable (b.bin)"


def test_an_empty_ema_beside_a_model_is_no_lack_and_no_weights_are():
    held = Manifest((Component("model", WEIGHTS), Component("ema", NOTHING, None)))
    assert assess(held, Profile.INFERENCE).verdict is Verdict.COMPLETE
    assert assess(Manifest((Component("config", NOTHING, {"a": 1}),)), Profile.INFERENCE).verdict is Verdict.PARTIAL


def test_a_component_that_an_error_names_is_unreadable_and_no_other_line_flips():
    before = assess(manifest(STATES), Profile.RESUME)
    found = assess(
        manifest(STATES), Profile.RESUME, [Finding("XX001", Severity.ERROR, "…", "a.bin", component="model")]
    )
    assert found.verdict is Verdict.CORRUPT
    changed = [new for old, new in zip(before.lines, found.lines, strict=True) if old != new]
    assert [(line.role.label, line.role.presence, line.role.where, line.met) for line in changed] == [
        ("model", Presence.UNREADABLE, "a.bin", False)
    ]


def test_a_component_of_which_an_error_leaves_nothing_is_unreadable_and_not_absent():
    states = {kind: state for kind, state in STATES.items() if kind != "scheduler"}
    lost = Finding("XX001", Severity.ERROR, "…", "a.bin", component="scheduler")
    found = assess(manifest(states), Profile.RESUME, [lost])
    assert [(line.role.label, line.role.presence) for line in found.lacking] == [("scheduler", Presence.UNREADABLE)]
    unused = assess(manifest(states), Profile.RESUME, [lost], without=["scheduler"])
    assert unused.lacking == ()


def test_an_optimizer_without_state_is_empty_and_not_unreadable_unless_it_is_that_too():
    empty = Finding("RS003", Severity.ERROR, "…", component="optimizer")
    found = assess(manifest(STATES), Profile.RESUME, [empty])
    assert found.summary == "CORRUPT for resume: optimizer empty (no step was taken with it)"
    torn = Finding("XX001", Severity.ERROR, "…", "a.bin", component="optimizer")
    for findings in ([empty, torn], [torn, empty]):
        found = assess(manifest(STATES), Profile.RESUME, findings)
        assert [line.role.presence for line in found.lacking] == [Presence.UNREADABLE]


def test_a_warning_about_a_component_leaves_its_line():
    doubt = Finding("XX001", Severity.WARNING, "…", "a.bin", component="model")
    assert assess(manifest(STATES), Profile.RESUME, [doubt]).verdict is Verdict.COMPLETE


def test_a_verdict_is_one_line_whatever_names_are_in_it():
    """Where a part is said to be comes from a file."""
    role = Role("model", Presence.ABSENT, "\x1b[2J\nckpt: ok" + "x" * 10_000)
    shown = assess(Manifest((), roles=(role,)), Profile.INFERENCE).summary
    assert shown.isprintable()
    assert len(shown) < 300


def test_a_verdict_names_the_first_that_lack_and_counts_the_rest():
    roles = tuple(Role("rng", Presence.ABSENT, name=str(rank)) for rank in range(64))
    shown = assess(Manifest((), roles=roles), Profile.EXACT_RESUME).summary
    assert shown.endswith(" more")
    assert len(shown) < 300


def without(kind, **changed):
    return {name: state for name, state in {**STATES, **changed}.items() if name != kind}


def test_a_scheduler_is_needed_only_where_something_says_that_there_was_one():
    plain = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    unsaid = assess(manifest(without("scheduler", optimizer=plain)), Profile.RESUME)
    assert unsaid.verdict is Verdict.COMPLETE
    line = next(line for line in unsaid.lines if line.role.kind == "scheduler")
    assert (line.role.presence, line.role.note) == (Presence.NOT_NEEDED, "nothing says that there was one")


@pytest.mark.parametrize(
    ("optimizer", "run", "says"),
    [
        (SCHEDULED, {}, "initial_lr"),
        ({"g": SCHEDULED, "d": SCHEDULED}, {}, "initial_lr"),
        ([SCHEDULED], {}, "initial_lr"),
        ({"state": {}}, {"scheduler": "step_100.pt"}, "step_100.pt of the same run"),
    ],
)
def test_a_missing_scheduler_says_how_it_is_known_that_there_was_one(optimizer, run, says):
    found = assess(manifest(without("scheduler", optimizer=optimizer)), Profile.RESUME, run=run)
    assert found.verdict is Verdict.PARTIAL
    assert "scheduler absent" in found.summary and says in found.summary


def test_a_layout_that_has_a_rule_of_its_own_keeps_it():
    rule = Role("scheduler", Presence.ABSENT, "scheduler.pt")
    plain = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    assert assess(manifest(without("scheduler", optimizer=plain), rule), Profile.RESUME).verdict is Verdict.PARTIAL


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_nothing_in_the_place_of_a_scheduler_says_that_there_was_none(nothing):
    plain = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    held = manifest({**STATES, "optimizer": plain, "scheduler": nothing})
    assert assess(held, Profile.RESUME).verdict is Verdict.COMPLETE
    assert assess(manifest({**STATES, "scheduler": nothing}), Profile.RESUME).verdict is Verdict.PARTIAL


@pytest.mark.parametrize("nothing", [{"cpu": None, "cuda": []}, [None, None], {"a": {"b": (None,)}}])
def test_a_part_that_holds_only_none_is_absent_whatever_its_role_says(nothing):
    stored = Role("rng", Presence.PRESENT, "rng_state.pth")
    for roles in ((), (stored,)):
        found = assess(manifest({**EXACT, "rng": nothing}, *roles), Profile.EXACT_RESUME)
        assert [line.role.label for line in found.lacking] == ["rng"]
        assert found.lacking[0].role.note == "nothing but None in its place"


@pytest.mark.parametrize("label", ["model", "adapter", "ema"])
def test_weights_without_a_tensor_are_none(label):
    held = Manifest((Component(label, NOTHING, {"config": 1}),))
    assert assess(held, Profile.INFERENCE).verdict is Verdict.PARTIAL
