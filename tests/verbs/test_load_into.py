"""Loading into a model: in place, reported, or refused with the model unchanged."""

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ckpt_core
from ckpt_core.errors import LoadRefusedError, ReplacedError


def model(width=8, layers=2):
    torch.manual_seed(0)
    stack = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)), nn.BatchNorm1d(width))
    return stack.eval()


def other(*args, **kwargs):
    torch.manual_seed(1)
    made = model(*args, **kwargs)
    for tensor in made.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape).to(tensor.dtype) * 3 + 1)
    return made


def saved(tmp_path, module, prefix="", name="x.safetensors"):
    path = tmp_path / name
    save_file({prefix + key: tensor.contiguous() for key, tensor in module.state_dict().items()}, path)
    return str(path)


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def refused(module, ref, **how):
    before = snapshot(module)
    with pytest.raises(LoadRefusedError) as caught:
        ckpt_core.load_into(module, ref, **how)
    assert same(snapshot(module), before), "a refused load changed the model"
    assert caught.value.message.endswith(("nothing was loaded", "if that is meant", "first"))
    return caught.value


def test_parameters_and_buffers_are_filled_in_place(tmp_path):
    module, source = model(), other()
    places = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    report = ckpt_core.load_into(module, saved(tmp_path, source))
    assert same(module.state_dict(), source.state_dict())
    assert {name: tensor.data_ptr() for name, tensor in module.state_dict().items()} == places
    assert report.coverage == 1.0 and not report.missing and not report.unexpected and not report.stripped


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.module.", "_fsdp_wrapped_module."])
def test_wrapper_prefixes_are_stripped_and_said(tmp_path, prefix):
    module, source = model(), other()
    report = ckpt_core.load_into(module, saved(tmp_path, source, prefix))
    assert same(module.state_dict(), source.state_dict())
    assert sum(report.stripped.values()) == prefix.count(".") * len(source.state_dict())
    assert "stripped" in report.summary()


def test_a_compiled_model_meets_plain_names(tmp_path):
    module = nn.Module()
    module._orig_mod = model()
    ckpt_core.load_into(module, saved(tmp_path, other()))
    assert same(module._orig_mod.state_dict(), other().state_dict())


def test_zero_matches_are_refused_whatever_is_allowed(tmp_path):
    error = refused(nn.Linear(3, 3), saved(tmp_path, other()), min_coverage=0.0, allow_unexpected=True)
    assert "no tensor of it fits" in error.message


def test_a_missing_tensor_is_refused_and_allowed_on_request(tmp_path):
    module, source = model(layers=3), other(layers=2)
    error = refused(module, saved(tmp_path, source), allow_unexpected=True)
    assert error.report.mismatched or error.report.missing
    partial = {name: tensor for name, tensor in other(layers=3).state_dict().items() if not name.startswith("2.")}
    save_file(partial, tmp_path / "partial.safetensors")
    error = refused(module, str(tmp_path / "partial.safetensors"))
    assert set(error.report.missing) == {"2.weight", "2.bias"}
    report = ckpt_core.load_into(module, str(tmp_path / "partial.safetensors"), min_coverage=0.5)
    assert 0.5 < report.coverage < 1 and set(report.missing) == {"2.weight", "2.bias"}


def test_a_deeper_checkpoint_is_not_cut_silently(tmp_path):
    extra = {**other().state_dict(), "9.weight": torch.zeros(2)}
    save_file(extra, tmp_path / "deep.safetensors")
    error = refused(model(), str(tmp_path / "deep.safetensors"))
    assert error.report.unexpected == ("9.weight",)
    report = ckpt_core.load_into(model(), str(tmp_path / "deep.safetensors"), allow_unexpected=["9.*"])
    assert report.unexpected == ("9.weight",)


def test_another_shape_is_refused_and_named(tmp_path):
    error = refused(model(8), saved(tmp_path, other(9)))
    assert "0.weight: stored [9, 9], module [8, 8]" in error.message and error.exit_code == 4


def test_types_are_cast_and_said(tmp_path):
    module, source = model().half(), other()
    report = ckpt_core.load_into(module, saved(tmp_path, source))
    expected = {name: tensor.to(module.state_dict()[name].dtype) for name, tensor in source.state_dict().items()}
    assert same(module.state_dict(), expected)
    assert report.cast["0.weight"] == ("F32", "float16")


def test_a_non_contiguous_parameter_is_filled(tmp_path):
    module, source = nn.Linear(4, 6), nn.Linear(4, 6)
    module.weight = nn.Parameter(torch.zeros(4, 6).t())
    assert not module.weight.is_contiguous()
    ckpt_core.load_into(module, saved(tmp_path, source))
    assert module.weight.equal(source.weight)


def test_a_tied_parameter_need_not_be_stored_twice(tmp_path):
    module = nn.Module()
    module.embed, module.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    module.head.weight = module.embed.weight
    save_file({"embed.weight": torch.randn(5, 4)}, tmp_path / "x.safetensors")
    report = ckpt_core.load_into(module, str(tmp_path / "x.safetensors"))
    assert report.tied == {"head.weight": "embed.weight"} and not report.missing and report.coverage == 1.0


def test_parameters_without_memory_are_refused(tmp_path):
    with torch.device("meta"):
        module = model()
    with pytest.raises(LoadRefusedError, match="to_empty"):
        ckpt_core.load_into(module, saved(tmp_path, other()))


def big(layers=4):
    return nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(layers)))


def shortened(tmp_path, module):
    """An open checkpoint whose file loses its second half before it is read."""
    path = saved(tmp_path, module, name="big.safetensors")
    checkpoint = ckpt_core.load(path)
    os.truncate(path, os.path.getsize(path) // 2)
    return checkpoint


def test_a_file_that_was_shortened_since_it_was_opened_changes_nothing(tmp_path):
    module, source = big(), big()
    before = snapshot(module)
    with pytest.raises(ReplacedError, match=r"was replaced while it was read; run it again"):
        ckpt_core.load_into(module, shortened(tmp_path, source))
    assert same(snapshot(module), before)


def test_an_atomic_load_that_fails_changes_nothing(tmp_path):
    module = big()
    before = snapshot(module)
    with pytest.raises(ReplacedError):
        ckpt_core.load_into(module, shortened(tmp_path, big()), atomic=True)
    assert same(snapshot(module), before)


def test_an_atomic_load_fills_all(tmp_path):
    module, source = model(), other()
    ckpt_core.load_into(module, saved(tmp_path, source), atomic=True)
    assert same(module.state_dict(), source.state_dict())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_truncated_file_is_refused_before_the_first_write(tmp_path):
    path = saved(tmp_path, other())
    os.truncate(path, os.path.getsize(path) - 1)
    module = model()
    before = snapshot(module)
    with pytest.raises(ckpt_core.CkptError):
        ckpt_core.load_into(module, path)
    assert same(snapshot(module), before)


def test_a_chosen_component_is_loaded(tmp_path):
    main, ema = other(), model()
    torch.save({"model": main.state_dict(), "ema": ema.state_dict(), "step": 3}, tmp_path / "x.pt")
    module = model()
    ckpt_core.load_into(module, str(tmp_path / "x.pt"), component="ema")
    assert same(module.state_dict(), ema.state_dict())
    ckpt_core.load_into(module, str(tmp_path / "x.pt"))
    assert same(module.state_dict(), main.state_dict())


def test_no_second_copy_of_the_model_is_made(tmp_path):
    module, source = big(16), big(16)
    path = saved(tmp_path, source)
    ckpt_core.load_into(module, path)

    def anonymous():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

    before = anonymous()
    ckpt_core.load_into(module, path)
    assert anonymous() - before < 4 << 20 < os.path.getsize(path) // 3
