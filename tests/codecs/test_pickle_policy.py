"""Names that would run code are told from data and from what is merely unknown."""

import pytest

from ckpt_core.codecs.pickle_policy import Verdict, canonical, judge

_UNSAFE = """
    os.system posix.system nt.system subprocess.Popen builtins.eval builtins.exec builtins.getattr builtins.__import__
    builtins.open builtins.compile importlib.import_module runpy._run_code pkgutil.resolve_name operator.attrgetter
    functools.partial shutil.rmtree socket.socket ctypes.CDLL commands.getoutput urllib2.urlopen cPickle.loads
    torch.load torch.hub.load torch.serialization.load torch.storage._load_from_bytes
    torch.jit.unsupported_tensor_ops.execWrapper
    numpy.testing._private.utils.runstring numpy.f2py.crackfortran.getlincoef numpy.load
    collections.namedtuple webbrowser.open timeit.timeit pty.spawn asyncio.unix_events._UnixSubprocessTransport._start
    _codecs.decode codecs.open
"""
_BENIGN = """
    builtins.set builtins.dict datetime.datetime pathlib.PosixPath argparse.Namespace types.SimpleNamespace
    collections.Counter collections.deque uuid.UUID decimal.Decimal torch.nn.modules.linear.Linear torch.device
    torch.distributed.remote_device._remote_device torch.nn.modules.module._IncompatibleKeys
    torch.optim.adam.Adam torch.float32 torch.nn.functional.relu
    torch.distributed.checkpoint.metadata.MetadataIndex torch.distributed.checkpoint.filesystem._StorageInfo
    deepspeed.runtime.zero.config.ZeroStageEnum deepspeed.utils.tensor_fragment.fragment_address
    deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler
    numpy.float64 numpy.random._mt19937.MT19937 numpy.ndarray numpy.random._pickle.__randomstate_ctor
"""


@pytest.mark.parametrize("name", _UNSAFE.split())
def test_functions_of_python_torch_and_numpy_are_unsafe(name):
    assert judge(name) is Verdict.UNSAFE


@pytest.mark.parametrize("name", _BENIGN.split())
def test_data_classes_of_python_torch_and_numpy_are_benign(name):
    assert judge(name) is Verdict.BENIGN


@pytest.mark.parametrize("name", ["__main__.Args", "transformers.training_args.TrainingArguments", "omegaconf.x.y"])
def test_names_of_other_packages_are_unknown(name):
    assert judge(name) is Verdict.UNKNOWN


def test_modules_of_python_2_have_their_new_names():
    assert canonical("__builtin__", "eval") == "builtins.eval"
    assert canonical("copy_reg", "_reconstructor") == "copyreg._reconstructor"
