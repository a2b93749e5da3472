import pytest


@pytest.fixture(scope="session")
def http():
    """The module of the loopback server. Its `serve` gives a server for a block."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("http_server", Path(__file__).with_name("http_server.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def memory():
    """A fresh in-memory filesystem: paths and bytes go in, `memory://` URLs come out of it."""
    from fsspec import filesystem

    place = filesystem("memory")
    place.store.clear()
    place.pseudo_dirs[:] = [""]
    yield place
    place.store.clear()
    place.pseudo_dirs[:] = [""]
