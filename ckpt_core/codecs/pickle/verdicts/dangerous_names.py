"""The dangerous half of the table of verdicts.

Names stand by what they would do: run, open, connect, import, compile, reach. They are collected from the lists and
advisories of picklescan, fickling and modelscan, and from the standard library's own index.
"""

RUNS = "would run code"
OPENS = "would open or write files"
CONNECTS = "would connect to other machines"
IMPORTS = "would import modules"
COMPILES = "would compile code"
UNPICKLES = "would unpickle more"
REACHED = "would reach into modules and objects"

MODULES: dict[str, str] = {
    RUNS: """
        IPython _aix_support _asyncio _bootsubprocess _ctypes _interpreters _interpchannels _interpqueues _lsprof
        _multiprocessing _osx_support _overlapped _posixsubprocess _pyrepl _sitebuiltins _testcapi
        _testinternalcapi _thread _threading_local _tkinter _winapi _xxinterpchannels _xxsubinterpreters asyncio atexit
        bdb cProfile cgitb cmd code commands concurrent ctypes curses distutils doctest ensurepip faulthandler fcntl gc
        idlelib invoke lib2to3 msvcrt multiprocessing nt os os2 pdb pexpect pip pipes pkg_resources platform plumbum
        popen2 posix profile pty readline resource rlcompleter runpy sched setuptools sh signal _signal subprocess sys
        sysconfig termios test threading timeit tkinter trace tty turtle turtledemo unittest user venv wsgiref
        numpy.distutils numpy.f2py numpy.testing
        torch._dynamo torch._inductor torch._ops torch._custom_op torch._custom_ops torch._library torch.library
        torch.distributed.elastic torch.distributed.launch torch.distributed.launcher torch.distributed.run
        torch.distributed.rpc torch.distributed.nn torch.multiprocessing torch.ops torch.testing torch.utils.benchmark
        torch.utils.bottleneck torch.utils.collect_env torch.utils.cpp_extension torch.utils.cpp_backtrace
        torch.utils.hipify torch.utils._config_module torch.utils._python_dispatch
    """,
    OPENS: """
        _bz2 _curses _dbm _gdbm _lzma _pyio _sqlite3 aifc binhex bz2 cgi chunk dbm filecmp fileinput getpass glob
        grp gzip imghdr linecache logging.config logging.handlers lzma mailbox mmap netrc nis ossaudiodev pwd shelve
        shutil sndhdr spwd sqlite3 sunau syslog tarfile tempfile wave winreg zipapp zipfile
        numpy.lib._datasource numpy.lib._npyio_impl numpy.lib.format numpy.lib.npyio
        torch.utils.data.datapipes torch.utils.model_dump torch.utils.tensorboard torch.utils.file_baton torch.onnx
        torch.profiler torch.autograd.profiler
    """,
    CONNECTS: """
        _socket _ssl aiohttp asynchat asyncore ftplib http httplib httpx imaplib nntplib paramiko poplib requests select
        selectors smtpd smtplib socket socketserver ssl telnetlib urllib urllib2 urllib3 webbrowser xml xmlrpc xmlrpclib
        torch.hub torch.utils.model_zoo
    """,
    IMPORTS: """
        _frozen_importlib _frozen_importlib_external _imp antigravity imp importlib inspect modulefinder pkgutil pyclbr
        pydoc pydoc_data site this zipimport numpy.ctypeslib torch.classes torch._classes torch.package
    """,
    COMPILES: """
        _ast _symtable codeop compileall compiler dis gettext py_compile symtable tabnanny tokenize
        torch._export torch.compiler torch.export torch.fx torch.jit torch._jit_internal
    """,
    UNPICKLES: "_pickle cPickle cloudpickle copy_reg dill jsonpickle marshal pickle pstats",
}

NAMES: dict[str, str] = {
    RUNS: """
        builtins.__build_class__ builtins.apply builtins.breakpoint builtins.eval builtins.exec builtins.execfile
        builtins.exit builtins.filter builtins.help builtins.input builtins.map builtins.quit builtins.raw_input
        collections.namedtuple dataclasses.make_dataclass dataclasses._create_fn functools.reduce operator.call
        copyreg.add_extension copyreg.constructor copyreg.pickle typing._eval_type typing.get_type_hints
        typing_extensions.get_type_hints types.FunctionType types.LambdaType types.MethodType types.ModuleType
        types.new_class types.coroutine types.DynamicClassAttribute uuid._get_command_stdout uuid._popen uuid.getnode
        uuid.uuid1 uuid._ifconfig_getter uuid._ip_getter uuid._arp_getter uuid._lanscan_getter uuid._netstat_getter
        weakref.finalize pandas.eval pandas.core.computation.eval.eval torch._C._jit_script_compile
        torch.utils._pytree.tree_map torch.distributed.init_process_group
        torch.distributed.distributed_c10d.init_process_group imp.load_source
    """,
    OPENS: """
        _io.FileIO _io.BufferedRandom _io.BufferedReader _io.BufferedWriter _io.TextIOWrapper _io.open _io.open_code
        argparse.FileType argparse.ArgumentParser builtins.file builtins.open codecs.open io.BufferedRandom
        io.BufferedReader io.BufferedWriter io.FileIO io.TextIOWrapper io.open io.open_code logging.FileHandler
        logging.basicConfig numpy.DataSource numpy.core.records.fromfile numpy.fromfile numpy.genfromtxt
        numpy.loadtxt numpy.memmap numpy.core.memmap.memmap numpy._core.memmap.memmap numpy.rec.fromfile
        numpy.fromregex numpy.save numpy.savetxt numpy.savez numpy.savez_compressed pathlib.os torch.from_file
        torch.save torch.serialization.save torch._C.PyTorchFileReader torch._C.PyTorchFileWriter
    """,
    IMPORTS: """
        builtins.__import__ builtins.reload codecs.lookup _codecs.lookup _codecs.decode codecs.decode
        numpy._core._ufunc_reconstruct numpy.core._ufunc_reconstruct torch._utils._import_dotted_name
    """,
    COMPILES: "_sre.compile ast.parse builtins.compile torch.compile types.CodeType numba.jit numba.njit",
    UNPICKLES: """
        joblib.load joblib.numpy_pickle.load numpy.load pandas.read_pickle pandas.io.pickle.read_pickle
        torch.load torch.serialization._legacy_load torch.serialization._load torch.serialization.load
        torch.storage._load_from_bytes torch.hub.load yaml.full_load yaml.load yaml.load_all yaml.unsafe_load
        yaml.unsafe_load_all ruamel.yaml.load sklearn.externals.joblib.load
        torch.distributed.checkpoint.state_dict_loader.load
    """,
    REACHED: """
        builtins.delattr builtins.dir builtins.getattr builtins.globals builtins.hasattr builtins.locals
        builtins.memoryview builtins.setattr builtins.super builtins.vars copyreg.__reduce_ex__ operator.attrgetter
        operator.methodcaller
    """,
}

_CLASSES: dict[str, str] = {
    RUNS: """
        BuildExtension CDLL ExecutionTraceObserver FunctionType LambdaType MethodType ModuleType Pool Popen Process
        ProcessPoolExecutor PyDLL Thread ThreadPool ThreadPoolExecutor Timer
    """,
    OPENS: "FileStore PackageExporter PyTorchFileReader PyTorchFileWriter ScriptModuleSerializer SummaryWriter",
    CONNECTS: "TCPStore",
    IMPORTS: "PackageImporter",
    COMPILES: "CodeType CompilationUnit",
}
"""Classes that start programs, write files, connect or compile, in whatever module they are found."""

_REACHED = "builtins codecs ctypes importlib marshal nt os pickle posix pty runpy shutil socket subprocess sys"
DANGEROUS = frozenset(_REACHED.split())
"""Modules that nearly every other module imports: a name that leads to one of them is taken for what lies there."""


def _by_name(table: dict[str, str]) -> dict[str, str]:
    return {name: deed for deed, names in table.items() for name in names.split()}


DEED_OF_MODULE = _by_name(MODULES)
DANGEROUS_MODULES = frozenset(DEED_OF_MODULE)
DEED_OF_NAME = _by_name(NAMES)
ACTIVE_CLASSES = _by_name(_CLASSES)
