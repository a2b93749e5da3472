"""Wheels of ckpt-core and its plugins in clean environments without torch, one for each interpreter that is named.

    python -m tests.wheels python3.11 python3.12 python3.13

Builds the wheels, installs them with what they depend on, and uses them as a person would: inspect, verify, diff,
convert safetensors to a Hugging Face directory, to DCP, and back. A missing interpreter is a failure.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECTS = (ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml")))


def main(interpreters: list[str]) -> None:
    """Check every interpreter; SystemExit with the first thing that fails."""
    if not interpreters:
        raise SystemExit("name the interpreters to check")
    with tempfile.TemporaryDirectory() as folder:
        wheels = _build(Path(folder))
        for number, interpreter in enumerate(interpreters):
            _check(interpreter, wheels, Path(folder, f"env{number}"))
    print(f"{len(interpreters)} passed, 0 failed")


def _build(folder: Path) -> list[str]:
    for project in PROJECTS:
        _run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(project)])
    wheels = sorted(map(str, folder.glob("*.whl")))
    if len(wheels) != len(PROJECTS):
        raise SystemExit(f"built {wheels}")
    return wheels


def _check(interpreter: str, wheels: list[str], place: Path) -> None:
    _run([interpreter, "-m", "venv", str(place)])
    python, ckpt = place / "bin" / "python", place / "bin" / "ckpt"
    _run([python, "-m", "pip", "install", "-q", *wheels])
    version = _run([python, "-c", "import sys; print(sys.version.split()[0])"]).strip()
    absent = (
        "import importlib.util as u; print([m for m in ('torch', 'safetensors', 'transformers') if u.find_spec(m)])"
    )
    if _run([python, "-c", absent]).strip() != "[]":
        raise SystemExit("the environment is not clean")
    source, model, back = place / "a.safetensors", place / "model", place / "back.safetensors"
    sharded = place / "sharded"
    _write_sample(source)
    for arguments in (
        ["inspect", source],
        ["verify", source, "--depth", "values"],
        ["convert", source, model, "--to", "hf", "--max_shard_size", "1KB"],
        ["inspect", model],
        ["verify", model, "--depth", "values"],
        ["diff", source, model, "--component", "model"],
        ["convert", source, sharded, "--to", "dcp", "--ranks", "3"],
        ["verify", sharded, "--depth", "bytes"],
        ["diff", source, sharded],
        ["convert", sharded, back, "--component", "model"],
        ["diff", source, back],
        ["verify", back, "--certificate", "--depth", "bytes"],
        ["plugins"],
    ):
        _run([ckpt, *arguments])
    shards = len(list(model.glob("*.safetensors")))
    if shards < 2:
        raise SystemExit(f"{shards} shards, several were asked for")
    print(f"Python {version}: wheels installed without torch; inspect, verify, diff, convert work ({shards} shards)")


def _write_sample(path: Path) -> None:
    """A safetensors file made of bytes: the environment has no library that writes one."""
    header, data = {}, b""
    for number in range(8):
        content = bytes((number * 7 + index) % 64 for index in range(512))
        header[f"layers.{number}.w"] = {
            "dtype": "F32",
            "shape": [8, 16],
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _run(command: list[object]) -> str:
    argv = [str(part) for part in command]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"{argv[0]}: {error.strerror}: install it, or name another interpreter") from None
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
