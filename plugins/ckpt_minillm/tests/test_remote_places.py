import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import ckpt_core
from ckpt_core import Depth, UnreachableError


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder with ranges, as object stores and release pages do, and notes what was asked."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        if self.server.refuses:
            self.send_error(self.server.refuses)
            return
        path = self.translate_path(self.path)
        asked = self.headers.get("Range", "")
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            self.send_error(404)
            return
        status, part, total = 200, data, len(data)
        if asked.startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start = int(first)
            part = data[start : int(last) + 1 if last else None]
            status = 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{total}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    do_HEAD = do_GET  # noqa: N815 - http.server calls it so


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    (folder / "out").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.asked, server.folder, server.refuses = [], folder, None
    server.url = f"http://127.0.0.1:{server.server_port}/out"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def memory():
    from fsspec.implementations.memory import MemoryFileSystem

    filesystem = MemoryFileSystem()
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def test_a_stage_is_found_and_read_over_http(server, minimind):
    import torch

    path = minimind.save(server.folder / "out" / "pretrain_16.pth")
    hints = {"hidden_size": 16, "remote_dir": server.url}
    checkpoint = ckpt_core.load("pretrain", hints=hints)
    assert checkpoint.location.url == f"{server.url}/pretrain_16.pth"
    assert checkpoint.match.format == "minillm"
    expected = torch.load(path, weights_only=True)
    read = checkpoint.to_torch("model")
    assert {name: value.tolist() for name, value in read.items()} == {n: v.tolist() for n, v in expected.items()}


def test_locating_asks_a_server_for_one_file_only(server, minimind):
    minimind.save(server.folder / "out" / "pretrain_16.pth")
    minimind.save(server.folder / "out" / "full_sft_16.pth")
    assert ckpt_core.locate("pretrain", hints={"hidden_size": 16, "remote_dir": server.url}).found
    assert {path for _, path in server.asked} == {"/out/pretrain_16.pth"}
    assert len(server.asked) <= 2


def test_a_file_the_server_does_not_have_is_missing(server, minimind):
    local = minimind.save("out/pretrain_16.pth")
    resolution = ckpt_core.locate("pretrain", hints={"hidden_size": 16, "remote_dir": server.url})
    assert resolution.require().url == str(local)
    assert [attempt.outcome.value for attempt in resolution.attempts][1:] == ["missing", "found"]


def test_a_server_that_is_down_ends_the_search_before_the_local_file(minimind):
    minimind.save("out/pretrain_16.pth")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/out"
    resolution = ckpt_core.locate("pretrain", hints={"hidden_size": 16, "remote_dir": url})
    assert [attempt.outcome.value for attempt in resolution.attempts] == ["missing", "unreachable", "not probed"]
    with pytest.raises(UnreachableError) as caught:
        resolution.require()
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_server_that_refuses_ends_the_search_too(server, minimind, status):
    minimind.save("out/pretrain_16.pth")
    server.refuses = status
    with pytest.raises(UnreachableError):
        ckpt_core.locate("pretrain", hints={"hidden_size": 16, "remote_dir": server.url}).require()


def test_a_stage_is_found_and_read_in_memory(memory, minimind, tmp_path):
    path = minimind.save(tmp_path / "made.pth", minimind.tensors(moe=True))
    memory.pipe_file("/home/out/grpo_16_moe.pth", path.read_bytes())
    hints = {"hidden_size": 16, "use_moe": "yes", "remote_dir": "memory://home/out"}
    verification = ckpt_core.verify("grpo", hints=hints, depth=Depth.BYTES)
    assert verification.report.ok
    assert verification.place.files.location.url == "memory://home/out/grpo_16_moe.pth"


def test_an_empty_store_is_passed_over_or_ends_where_nothing_else_was_asked(memory, minimind):
    local = minimind.save("out/grpo_16.pth")
    hints = {"hidden_size": 16, "remote_dir": "memory://home/out"}
    assert ckpt_core.locate("grpo", hints=hints).require().url == str(local)
    with pytest.raises(ckpt_core.CheckpointNotFoundError, match="memory://home/out/grpo_16"):
        ckpt_core.locate("grpo", hints={**hints, "remote_only": True}).require()


def test_the_variable_may_hold_a_url(memory, minimind, tmp_path):
    memory.pipe_file("/elsewhere/pretrain_16.pth", minimind.save(tmp_path / "made.pth").read_bytes())
    env = {"MINILLM_PRETRAINED_PATH": "memory://elsewhere/pretrain_16.pth"}
    resolution = ckpt_core.locate("rlhf", env=env)
    assert resolution.require().url == env["MINILLM_PRETRAINED_PATH"]
    assert "is a pretrain file, asked was rlhf" in resolution.explain()


def test_a_place_of_an_unlisted_scheme_is_refused():
    with pytest.raises(ckpt_core.UnsafeContentError):
        ckpt_core.locate("sft", hints={"remote_dir": "ftp://host/out"})
