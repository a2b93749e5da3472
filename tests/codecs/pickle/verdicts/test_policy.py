"""Names are told apart by what they would do: attacks are never data or harmless, and what frameworks save is read."""

import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core.codecs.pickle.reader import read_pickle
from ckpt_core.codecs.pickle.verdicts.policy import canonical
from ckpt_core.codecs.pickle.verdicts.table import NameVerdict, judge, table
from ckpt_core.errors import CkptError, UnsafeContentError
from ckpt_core.schema.findings import Severity

# Names of the deny lists and advisories of picklescan, fickling and modelscan, and of write-ups of their bypasses.
# `module:Class.method` is a dotted name within its module.
_ATTACKS = """
    builtins.eval builtins.exec builtins.compile builtins.open builtins.getattr builtins.setattr builtins.delattr
    builtins.hasattr builtins.__import__ builtins.breakpoint builtins.globals builtins.locals builtins.vars
    builtins.input builtins.map builtins.filter builtins.exit builtins.quit builtins.help builtins.memoryview
    __builtin__.eval __builtin__.apply __builtin__.execfile __builtin__.file __builtin__.compile __builtin__.open
    os.system os.popen os.execl os.execv os.execvp os.spawnl os.spawnlp os.remove os.rename os.mkdir os.kill
    os.fork os.putenv os._wrap_close posix.system posix.popen posix.fork posix.open nt.system nt.startfile
    os.path.join subprocess.call subprocess.run subprocess.Popen subprocess.check_call subprocess.check_output
    subprocess.getoutput subprocess.getstatusoutput _posixsubprocess.fork_exec commands.getoutput
    commands.getstatusoutput popen2.popen3 sys.exit sys.modules sys.settrace sys.setprofile pty.spawn pty.fork
    runpy.run_path runpy.run_module runpy._run_code importlib.import_module importlib.__import__ importlib.reload
    importlib.util.find_spec importlib._bootstrap._load importlib.machinery.SourceFileLoader
    _frozen_importlib._find_and_load _frozen_importlib_external.SourceFileLoader imp.load_source imp.load_module
    imp.load_dynamic _imp.create_dynamic pkgutil.resolve_name pkgutil.get_loader zipimport.zipimporter
    site.addsitedir site.execsitecustomize marshal.loads marshal.load pickle.loads pickle.load pickle.Unpickler
    _pickle.loads _pickle.load _pickle.Unpickler cPickle.loads dill.loads dill._dill._create_function
    cloudpickle.loads cloudpickle.cloudpickle._builtin_type cloudpickle.cloudpickle._make_function
    cloudpickle.cloudpickle._function_setstate cloudpickle.cloudpickle._make_cell cloudpickle.cloudpickle.subimport
    cloudpickle.cloudpickle._make_empty_cell joblib.load joblib.numpy_pickle.load shelve.open
    shelve.DbfilenameShelf code.interact code.InteractiveInterpreter code:InteractiveInterpreter.runcode
    code:InteractiveConsole.push codeop.compile_command codeop.Compile bdb.Bdb bdb:Bdb.run bdb:Bdb.runeval pdb.run
    pdb.runeval pdb.Pdb profile.run profile.runctx profile:Profile.run profile:Profile.runctx cProfile.run
    cProfile.runctx cProfile:Profile.run trace.Trace trace:Trace.run trace:Trace.runctx timeit.timeit timeit.repeat
    timeit.Timer timeit.main timeit:Timer.timeit doctest.debug_script doctest.debug doctest.testfile
    doctest:DocTestRunner.run pydoc.locate pydoc.pipepager pydoc.tempfilepager pydoc.ttypager pydoc.pager
    pydoc.writedoc pydoc.importfile _pyrepl.pager.pipe_pager _pyrepl.pager.tempfile_pager _osx_support._read_output
    _osx_support._find_build_tool _aix_support._read_cmd_output uuid._get_command_stdout uuid._popen uuid.getnode
    imaplib.IMAP4_stream imaplib.IMAP4 ensurepip._run_pip ensurepip.bootstrap pip.main pip._internal.main
    venv.create venv.main idlelib:autocomplete.AutoComplete.get_entity idlelib.autocomplete:AutoComplete.get_entity
    idlelib.autocomplete:AutoComplete.fetch_completions idlelib.calltip.get_entity
    idlelib.calltip:Calltip.fetch_tip idlelib.debugobj:ObjectTreeItem.SetText idlelib.pyshell.ModifiedInterpreter
    idlelib.pyshell:ModifiedInterpreter.runcode idlelib.pyshell:ModifiedInterpreter.runcommand
    idlelib.run:Executive.runcode lib2to3.pgen2.grammar:Grammar.loads lib2to3.pgen2.pgen.ParserGenerator
    lib2to3.pgen2.pgen:ParserGenerator.make_label distutils.file_util.write_file distutils.spawn.spawn
    distutils.core.run_setup test.support.script_helper.assert_python_ok test.support.run_in_subinterp
    types.CodeType types.FunctionType types.LambdaType types.MethodType types.ModuleType types.new_class
    ctypes.CDLL ctypes.cdll ctypes.PyDLL ctypes.CFUNCTYPE ctypes:cdll.LoadLibrary _ctypes.dlopen
    ctypes.util.find_library operator.attrgetter operator.methodcaller operator.itemgetter operator.call
    _operator.attrgetter _operator.methodcaller _operator.itemgetter functools.reduce functools.partialmethod
    functools.singledispatch functools.lru_cache itertools.starmap weakref.finalize gc.get_objects gc.get_referrers
    inspect.getattr_static inspect.currentframe inspect.getmodule unittest.mock._importer unittest.mock.patch
    unittest.main asyncio.create_subprocess_shell asyncio.unix_events._UnixSubprocessTransport asyncio.run
    asyncio.unix_events:_UnixSubprocessTransport._start multiprocessing.Process multiprocessing.Pool
    multiprocessing.util.spawnv_passfds concurrent.futures.ProcessPoolExecutor threading.Thread threading.Timer
    _thread.start_new_thread atexit.register signal.signal _signal.signal sched.scheduler socket.socket
    socket.create_connection socket.gethostbyname ssl.get_server_certificate ssl.SSLContext
    http.client.HTTPSConnection http.client.HTTPConnection http.server.HTTPServer httplib.HTTPSConnection
    urllib.request.urlopen urllib.request.urlretrieve urllib2.urlopen urllib.urlopen ftplib.FTP smtplib.SMTP
    poplib.POP3 telnetlib.Telnet nntplib.NNTP socketserver.TCPServer xmlrpc.client.ServerProxy
    xmlrpc.server.SimpleXMLRPCServer webbrowser.open webbrowser.get webbrowser.BackgroundBrowser requests.get
    requests.api.post aiohttp.ClientSession aiohttp.client.ClientSession httpx.get antigravity.geohash this.s
    select.select selectors.DefaultSelector shutil.rmtree shutil.copyfile shutil.move shutil.make_archive
    tempfile.mkstemp tempfile.NamedTemporaryFile filecmp.cmp fileinput.input fileinput.FileInput glob.glob
    linecache.getline linecache.updatecache difflib.SequenceMatcher platform.popen platform._syscmd_ver
    platform.system mmap.mmap sqlite3.connect _sqlite3.connect sqlite3.Connection tarfile.open tarfile.TarFile
    zipfile.ZipFile zipfile:ZipFile.extractall gzip.open bz2.open lzma.open bz2.BZ2File io.open io.FileIO
    _io.FileIO _io.open io.open_code codecs.open codecs.lookup _codecs.decode _codecs.lookup
    pathlib:Path.write_text pathlib:Path.touch pathlib:Path.unlink pathlib:PosixPath.read_bytes logging.FileHandler
    logging.basicConfig logging.config.dictConfig logging.config.listen logging.handlers.SocketHandler
    logging.handlers.RotatingFileHandler syslog.syslog compileall.compile_dir py_compile.compile tokenize.open
    modulefinder.ModuleFinder pyclbr.readmodule rlcompleter.Completer readline.read_init_file curses.initscr
    tkinter.Tk turtle.textinput cgitb.enable getpass.getpass mailbox.mbox netrc.netrc pipes.Template
    wsgiref.simple_server.make_server copyreg.add_extension copyreg.pickle typing._eval_type typing.get_type_hints
    dataclasses.make_dataclass dataclasses._create_fn collections.namedtuple ast.literal_eval ast.parse dis.dis
    symtable.symtable gettext.c2py _xxsubinterpreters.run_string _interpreters.run_string _interpreters.exec
    _testcapi.run_in_subinterp pstats.Stats pprint.saferepr random._urandom builtins:object.__subclasses__
    builtins:dict.__class__ collections:_sys.modules collections:_sys.exit pathlib:os.system shutil:os.system
    logging:os.system inspect:builtins.getattr torch:os.system transformers:os.system
    accelerate.utils:subprocess.Popen torch.load torch.save torch.compile torch.from_file torch.serialization.load
    torch.serialization._legacy_load torch.serialization:os.system torch.storage._load_from_bytes
    torch.storage:UntypedStorage.from_file torch.hub.load torch.hub.load_state_dict_from_url
    torch.hub.download_url_to_file torch.jit.load torch.jit.script torch.jit.unsupported_tensor_ops.execWrapper
    torch._C._jit_script_compile torch.ops.load_library torch._ops:_OpNamespace.load_library
    torch.classes.load_library torch.package.PackageImporter torch.package.PackageExporter
    torch._C.PyTorchFileReader torch._C.PyTorchFileWriter torch._dynamo.guards:GuardBuilder.get
    torch._dynamo.optimize torch._inductor.codecache.compile_file torch._inductor.codecache:PyCodeCache.load
    torch.fx.graph_module._forward_from_src torch.fx._symbolic_trace.CodeType
    torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression torch.fx.Interpreter
    torch.utils._config_module.ConfigModule torch.utils._config_module:ConfigModule.load_config
    torch.utils.bottleneck.__main__.run_cprofile torch.utils.bottleneck.__main__.run_autograd_prof
    torch.utils.collect_env.run torch.utils.data.datapipes.utils.decoder.basichandlers
    torch.utils.cpp_extension.load_inline torch.utils.cpp_extension.load torch.utils.benchmark.Timer
    torch.utils.model_zoo.load_url torch.utils.tensorboard.SummaryWriter torch.distributed.rpc.rpc_sync
    torch.distributed.elastic.rendezvous.api.basichandlers torch.distributed.TCPStore torch.distributed.FileStore
    torch.distributed.run.main torch.distributed.launch.main torch.multiprocessing.Pool torch.multiprocessing.spawn
    torch.multiprocessing.reductions.rebuild_storage_fd torch.multiprocessing.reductions.rebuild_cuda_tensor
    torch.testing._internal.common_utils.run_tests torch.onnx.export torch.export.load
    torch.nn.functional:importlib.import_module numpy.load numpy.save numpy.fromfile numpy.memmap numpy.loadtxt
    numpy.genfromtxt numpy.savetxt numpy.DataSource numpy.lib.npyio.load numpy.lib._npyio_impl.load
    numpy.lib._npyio_impl:os.system numpy.testing._private.utils.runstring numpy.testing.utils.runstring
    numpy.testing.rundocs numpy.f2py.compile numpy.f2py.crackfortran.getlincoef
    numpy.f2py.crackfortran._eval_length numpy.f2py.crackfortran.myeval numpy.f2py.crackfortran._eval_scalar
    numpy.distutils.exec_command.exec_command numpy.ctypeslib.load_library numpy.vectorize numpy.frompyfunc
    numpy.ndarray.tofile numpy:ndarray.tofile numpy.apply_along_axis pandas.read_pickle
    pandas.io.pickle.read_pickle pandas.eval yaml.load yaml.unsafe_load yaml.full_load jsonpickle.decode
    ruamel.yaml.load IPython.utils.process.system setuptools.sandbox.run_setup pkg_resources.run_script
    pexpect.spawn paramiko.SSHClient invoke.run plumbum.local psutil.Popen numba.jit
"""

# What checkpoints of real frameworks name, beside what is read as data.
_REAL = """
    typing.Any typing.Union typing.Optional functools.partial io.BytesIO _io.BytesIO _io.StringIO re._compile
    logging.getLogger enum.Enum enum.IntEnum collections.defaultdict collections.OrderedDict collections.Counter
    collections.deque datetime.datetime datetime.timedelta zoneinfo.ZoneInfo decimal.Decimal fractions.Fraction
    uuid.UUID pathlib.PosixPath pathlib.WindowsPath argparse.Namespace optparse.Values types.SimpleNamespace
    types.MappingProxyType random.Random array._array_reconstructor dataclasses._MISSING_TYPE operator.add
    operator.mul builtins.max builtins.sum builtins.sorted builtins.ValueError builtins.KeyError
    builtins.FileNotFoundError builtins.complex builtins.slice math.sqrt time.time numpy.float64 numpy.int64
    numpy.ndarray numpy.dtype numpy.random._pickle.__generator_ctor numpy.random._mt19937.MT19937
    numpy.ma.core._mareconstruct numpy.mean torch.device torch.Size torch.float32 torch.bfloat16
    torch.float8_e4m3fn torch.relu torch.sigmoid torch.tanh torch.return_types.max torch.return_types.topk
    torch.nn.functional.relu torch.nn.functional.gelu torch.nn.functional.silu torch._C._nn.gelu
    torch.nn.modules.activation.SiLU torch.nn.modules.activation.GELU torch.nn.modules.linear.Linear
    torch.nn.modules.container.Sequential torch.nn.modules.batchnorm.BatchNorm2d torch.optim.adamw.AdamW
    torch.optim.sgd.SGD torch.optim.lr_scheduler.LambdaLR torch.optim.swa_utils.AveragedModel
    torch.amp.grad_scaler.OptState torch.distributions.normal.Normal torch.utils.data.sampler.RandomSampler
    torch.distributed.checkpoint.metadata.TensorStorageMetadata torch.distributed.device_mesh.DeviceMesh
    torch.distributed.tensor.placement_types.Shard torch.distributed.checkpoint.metadata.BytesStorageMetadata
    omegaconf.dictconfig.DictConfig omegaconf.listconfig.ListConfig omegaconf.base.ContainerMetadata
    omegaconf.base.Metadata omegaconf.nodes.AnyNode omegaconf.nodes.IntegerNode
    transformers.training_args.TrainingArguments transformers.trainer_utils.IntervalStrategy
    transformers.trainer_utils.SchedulerType transformers.training_args.OptimizerNames
    transformers.trainer_pt_utils.AcceleratorConfig transformers.training_args_seq2seq.Seq2SeqTrainingArguments
    accelerate.state.PartialState accelerate.utils.dataclasses.DistributedType
    accelerate.utils.dataclasses.DeepSpeedPlugin peft.utils.peft_types.TaskType peft.tuners.lora.config.LoraConfig
    pytorch_lightning.utilities.parsing.AttributeDict lightning_fabric.utilities.data.AttributeDict
    easydict.EasyDict yacs.config.CfgNode mmengine.config.config.ConfigDict fvcore.common.config.CfgNode
    deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler deepspeed.runtime.zero.config.ZeroStageEnum
    fairseq.data.dictionary.Dictionary fairseq.dataclass.configs.FairseqConfig ultralytics.nn.tasks.DetectionModel
    ultralytics.nn.modules.conv.Conv models.yolo.Model models.common.Conv
    timm.models.vision_transformer.VisionTransformer detectron2.config.config.CfgNode
    mmengine.logging.message_hub.MessageHub mmengine.logging.history_buffer.HistoryBuffer
    transformer_engine.common.recipe.DelayedScaling megatron.core.enums.ModelType megatron.model.enums.AttnMaskType
    trl.trainer.sft_config.SFTConfig wandb.sdk.wandb_run.Run __main__.Args __main__.Config
"""


def split(name):
    """Module and name: what stands behind a colon is looked up within the module."""
    module, mark, inner = name.partition(":")
    return (module, inner) if mark else tuple(name.rsplit(".", 1))


def verdict(name):
    module, inner = split(name)
    return judge(canonical(module, inner), inner)


def asked_for(name, *, called):
    """A pickle that names something, or calls it with a text."""
    texts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in split(name))
    return b"\x80\x04" + texts + b"\x93" + (b"\x8c\x01x\x85R." if called else b".")


@pytest.mark.parametrize("name", [name for name in _ATTACKS.split() if name != "functools.partial"])
def test_an_attack_is_dangerous_or_unknown_by_its_name(name):
    assert verdict(name) >= NameVerdict.UNKNOWN


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("name", _ATTACKS.split())
def test_an_attack_is_refused_or_warned_of_named_and_called(name, called):
    try:
        found = read_pickle(asked_for(name, called=called), path="x").findings
    except UnsafeContentError as error:
        assert error.exit_code == 7
    else:
        assert [note.severity for note in found if note.code == "PK004"] == [Severity.WARNING]
        assert "PK007" not in [note.code for note in found]


def test_the_tables_are_as_large_as_they_should_be():
    assert len(set(_ATTACKS.split())) > 300
    assert len(set(_REAL.split())) > 100


@pytest.mark.parametrize("name", _REAL.split())
def test_what_real_frameworks_save_is_not_refused(name):
    assert read_pickle(asked_for(name, called=False), path="x").tree.root is not None or name


@pytest.mark.parametrize("name", ["__main__.Args", "mine.trainer.Config", "os2emx.x", "torch.whatever", "string.Thing"])
def test_a_name_that_is_not_in_the_table_is_unknown(name):
    assert verdict(name) in (NameVerdict.UNKNOWN, NameVerdict.DANGEROUS)
    assert verdict("mine.trainer.Config") is NameVerdict.UNKNOWN


def test_modules_of_python_2_have_their_new_names():
    assert canonical("__builtin__", "eval") == "builtins.eval"
    assert canonical("copy_reg", "_reconstructor") == "copyreg._reconstructor"


_DANGEROUS = ["posix.system", "builtins.eval", "builtins.getattr", "subprocess.Popen", "torch.load", "pickle.loads"]


@st.composite
def hostile(draw):
    """A dangerous name, put anywhere in a value."""
    name = draw(st.sampled_from(_DANGEROUS))
    module, inner = split(name)
    by_text = (
        b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(inner)]) + inner.encode() + b"\x93"
    )
    body = draw(st.sampled_from([b"c" + f"{module}\n{inner}\n".encode(), by_text]))
    if draw(st.booleans()):
        body += b"\x8c\x01x\x85R"
    places = [
        lambda item: b"](" + item + b"e",
        lambda item: b"(" + item + b"K\x01t",
        lambda item: b"}\x8c\x01k" + item + b"s",
        lambda item: b"cargparse\nNamespace\n)\x81}\x8c\x01k" + item + b"sb",
        lambda item: b"cfunctools\npartial\n" + item + b"\x85R",
        lambda item: b"cmine\nThing\n" + item + b"\x85R",
        lambda item: item + b"0}",
        lambda item: item + b"\x940h\x00",
        lambda item: b"(" + item + b"1}",
        lambda item: b"\x8f(" + item + b"\x90",
        lambda item: b"}" + item + b"K\x01s",
        lambda item: item + b"Q",
        lambda item: b"ccopyreg\n_reconstructor\n" + item + b"cbuiltins\nobject\nN\x87R",
        lambda item: b"cbuiltins\ngetattr\n" + item + b"\x8c\x03run\x86R",
    ]
    for place in draw(st.lists(st.sampled_from(places), max_size=4)):
        body = place(body)
    return b"\x80\x04" + body + b"."


@given(hostile())
@settings(max_examples=300, deadline=None)
def test_a_dangerous_name_is_never_passed_wherever_it_stands(stream):
    with pytest.raises(CkptError) as refused:
        read_pickle(stream, path="x")
    assert refused.value.exit_code in (4, 7)


@pytest.mark.parametrize("code", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_codes_of_the_extension_registry_are_refused(code):
    with pytest.raises(CkptError):
        read_pickle(b"\x80\x04" + code + b"X\x01\x00\x00\x00x\x85R.", path="x")


def test_a_pickle_in_bytes_stays_bytes():
    inner = asked_for("posix.system", called=True)
    assert read_pickle(pickle.dumps({"a": inner}, 4), path="x").tree.root == {"a": inner}


def test_the_table_is_in_the_documentation():
    text = (Path(__file__).parents[4] / "docs" / "pickles.md").read_text(encoding="utf-8")
    assert text.endswith(table())


# What was refused before verdicts were of arguments, `functools.partial` aside.
_STAY_DANGEROUS = """
    os.system posix.system nt.system subprocess.Popen builtins.eval builtins.exec builtins.getattr builtins.__import__
    builtins.open builtins.compile importlib.import_module runpy._run_code pkgutil.resolve_name operator.attrgetter
    shutil.rmtree socket.socket ctypes.CDLL commands.getoutput urllib2.urlopen cPickle.loads
    torch.load torch.hub.load torch.serialization.load torch.storage._load_from_bytes
    torch.jit.unsupported_tensor_ops.execWrapper
    numpy.testing._private.utils.runstring numpy.f2py.crackfortran.getlincoef numpy.load
    collections.namedtuple webbrowser.open timeit.timeit pty.spawn asyncio.unix_events._UnixSubprocessTransport._start
    _codecs.decode codecs.open
"""


@pytest.mark.parametrize("name", _STAY_DANGEROUS.split())
def test_functions_that_run_open_or_import_are_dangerous(name):
    assert judge(name) is NameVerdict.DANGEROUS


_STAY_READABLE = """
    builtins.set builtins.dict datetime.datetime pathlib.PosixPath argparse.Namespace types.SimpleNamespace
    collections.Counter collections.deque uuid.UUID decimal.Decimal torch.nn.modules.linear.Linear torch.device
    torch.distributed.remote_device._remote_device torch.nn.modules.module._IncompatibleKeys
    torch.optim.adam.Adam torch.float32 torch.nn.functional.relu
    torch.distributed.checkpoint.metadata.MetadataIndex torch.distributed.checkpoint.filesystem._StorageInfo
    deepspeed.runtime.zero.config.ZeroStageEnum deepspeed.utils.tensor_fragment.fragment_address
    deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler
    numpy.float64 numpy.random._mt19937.MT19937 numpy.ndarray numpy.random._pickle.__randomstate_ctor
"""


@pytest.mark.parametrize("name", _STAY_READABLE.split())
def test_classes_of_data_are_data_or_harmless(name):
    assert judge(name) <= NameVerdict.HARMLESS


# Reached through families of classes: modules, what a module imports, and classes that set something up.
_REACHED_IN_FAMILIES = """
    torch.nn.functional.importlib torch.nn.functional:importlib.import_module torch.nn.functional.boolean_dispatch
    torch.nn.functional.handle_torch_function torch.nn.functional.dataclasses torch.nn.functional._VF
    torch.nn.functional._add_docstr torch.nn.functional._overload torch.nn.modules.activation.F
    torch.nn.modules.activation:F.importlib torch.nn.attention.bias.F torch.nn.attention._fa3.Library
    torch.nn.parallel.distributed.DistributedDataParallel torch.nn.parallel.distributed.RRef
    torch.nn.cpp.ModuleWrapper torch.optim.swa_utils.itertools torch.return_types.pytree_register_structseq
    torch.return_types.register_pytree_node torch.distributed._shard.checkpoint.filesystem.FileSystemWriter
    torch.distributed._shard.checkpoint._async_process_executor._AsyncCheckpointProcess
    torch.distributed._shard.checkpoint._experimental.checkpoint_process.CheckpointProcess
    torch.distributed._shard.checkpoint._experimental.barriers.TCPStoreBarrier
    torch.distributed._shard.checkpoint.utils.Stats torch.distributed.tensor._op_schema.OpOverload
    torch.distributed.tensor.debug.CommDebugMode transformers.trainer_pt_utils.StreamHandler
    transformers.utils.import_utils._LazyModule transformers.debug_utils.DebugUnderflowOverflow
    transformers.trainer_utils.PeftModel transformers.training_args:TrainingArguments.from_pretrained
    accelerate.utils.dataclasses.ProfileKwargs omegaconf.omegaconf.OmegaConf omegaconf:OmegaConf.load
    peft.tuners.lora.config.PeftConfig numpy.random.bit_generator.RLock typing.ForwardRef typing.NamedTuple
    numpy._core._ufunc_reconstruct torch._utils._import_dotted_name operator.methodcaller
"""


@pytest.mark.parametrize("name", _REACHED_IN_FAMILIES.split())
def test_a_family_covers_neither_modules_nor_what_they_import(name):
    assert verdict(name) >= NameVerdict.UNKNOWN


# Classes that are inert where an object is restored, and set something up, or check what they are given, when called.
_NOT_TO_BE_CALLED = """
    transformers.training_args.TrainingArguments accelerate.state.PartialState accelerate.state.AcceleratorState
    torch.distributed.device_mesh.DeviceMesh torch.nn.modules.linear.Linear torch.optim.adam.Adam typing.TypeVar
    mmengine.config.config.Config builtins.max math.sqrt torch.nn.functional.relu numpy.zeros enum.Enum
"""


@pytest.mark.parametrize("name", _NOT_TO_BE_CALLED.split())
@pytest.mark.parametrize(
    ("end", "warned"),
    [
        (b".", False),  # named
        (b")\x81.", False),  # restored
        (b")\x81}\x8c\x01kK\x01sb.", False),  # with a state
        (b")R.", True),  # called
        (b"\x8c\x01x\x85R.", True),
        (b"\x8c\x01x\x85\x81.", True),  # restored with an argument
        (b")}\x8c\x01kK\x01s\x92.", True),
    ],
)
def test_a_call_of_a_harmless_name_is_unknown(name, end, warned):
    module, inner = split(name)
    found = read_pickle(b"\x80\x04c" + f"{module}\n{inner}\n".encode() + end, path="x").findings
    assert ("PK004" in [note.code for note in found]) is warned


@pytest.mark.parametrize("base", ["builtins.object", "builtins.dict"])
def test_an_object_of_an_old_protocol_is_restored_and_not_called(base):
    module, inner = split(base)
    stream = (
        b"\x80\x02ccopyreg\n_reconstructor\n(ctransformers.training_args\nTrainingArguments\n"
        + f"c{module}\n{inner}\nNtR.".encode()
    )
    assert [note.code for note in read_pickle(stream, path="x").findings] == ["PK007"]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("transformers.trainer_utils.IntervalStrategy", b"\x8c\x02no\x85"),
        ("builtins.ValueError", b"\x8c\x02no\x85"),
        ("torch.return_types.max", b"K\x01K\x02\x86}\x86"),
        ("io.BytesIO", b"C\x01x\x85"),
    ],
)
def test_what_is_pickled_as_a_call_is_harmless_called(name, args):
    module, inner = split(name)
    found = read_pickle(b"\x80\x04c" + f"{module}\n{inner}\n".encode() + args + b"R.", path="x").findings
    assert "PK004" not in [note.code for note in found]


@pytest.mark.parametrize("kind", [typing.Any, typing.Optional[int], dict[str, list[int]], typing.Dict[str, typing.Any]])  # noqa: UP006, UP045  # as others pickle it
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_types_of_annotations_are_harmless(kind, protocol):
    found = read_pickle(pickle.dumps({"ref_type": kind}, protocol), path="x").findings
    assert {note.code for note in found} <= {"PK007"}


@pytest.mark.parametrize("origin", [b"cmine\nThing\n", b"}", b"cbuiltins\nvars\n)R"])
def test_an_item_of_anything_else_is_unknown_or_refused(origin):
    try:
        found = read_pickle(b"\x80\x04c_operator\ngetitem\n" + origin + b"\x8c\x01x\x86R.", path="x").findings
    except UnsafeContentError:
        return
    assert "PK004" in [note.code for note in found]


@pytest.mark.parametrize(
    "name",
    ["torch._utils._rebuild_tensor_v2", "torch.Size", "torch.FloatStorage", "collections.OrderedDict",
     "builtins.getattr", "functools.partial", "mine.Thing", "numpy.core.multiarray._reconstruct"],
)  # fmt: skip
@pytest.mark.parametrize("state", [b"}\x8c\x01kK\x01s", b"N}\x8c\x0c__defaults__)s\x86", b"N}\x8c\x01kK\x01s\x86"])
def test_a_state_set_on_a_function_or_class_is_refused(name, state):
    module, inner = split(name)
    with pytest.raises(CkptError) as refused:
        read_pickle(b"\x80\x04c" + f"{module}\n{inner}\n".encode() + state + b"b.", path="x")
    assert refused.value.exit_code in (4, 7)


_PUBLIC_NAMES = str(Path(__file__).with_name("public_names.py"))


def test_no_public_name_of_a_family_is_a_module_or_a_function_of_another():
    """In a process of its own: importing old homes of torch's classes changes what the new ones are."""
    ran = subprocess.run([sys.executable, _PUBLIC_NAMES], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found, *strangers = ran.stdout.splitlines()
    assert int(found) > 500
    assert not strangers
