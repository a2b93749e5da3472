"""The tour of the README with everything in a store: the same commands, by URLs, and the same answers.

Python blocks that only make files do so on a disk, from where they are put into the store; every command runs in an
empty folder. What differs is listed here, each with its reason.
"""

import re

import pytest

from tests.docs.test_readme import matches, run, tour

_NAMES = re.compile(
    r"(?<![\w/.'-])(out/full_sft_64\.pth|full_sft\.safetensors|damaged\.pth|half\.safetensors|mine\.pth|hostile\.pth)\b"
)

_OTHERWISE = {
    # The second place to look in is the store itself, and nothing is in the folder here.
    "remote_dir=backup": ("remote_dir={url}/out", None),
    "-> local        found        out": (None, "   local        not probed   out"),
    "   remote       missing      backup/full_sft_64.pth": (None, "-> remote       found        out/full_sft_64.pth"),
    "ckpt locate run ": ("ckpt locate {url}/run ", None),
    # A store has no empty folders.
    "ckpt: passed over run/step_300: an empty folder: its save was stopped before the first file, or its files were"
    " removed\n": (None, ""),
    "ls half.*": ("""python -c "import fsspec; print('\\n'.join(map(str, {names})))" """, None),
    '"full_sft", hints={"hidden_size": 64}': (
        '"full_sft", hints={{"hidden_size": 64, "remote_dir": "{url}/out"}}',
        None,
    ),
    # What is not on this machine cannot be mapped.
    "to_torch(mapped=True)": ("to_torch()", None),
    '"full_sft.safetensors"': ('"{url}/full_sft.safetensors"', None),
    '"mine.pth"': ('"{url}/mine.pth"', None),
}


@pytest.fixture(params=["s3", pytest.param("gcs", marks=pytest.mark.long)])
def store(request):
    return request.getfixturevalue(request.param)


def in_the_store(text, url):
    """A block with URLs in place of the names of checkpoints."""
    names = f"sorted(p.split('/')[-1] for p in fsspec.filesystem('{url[:2]}').glob('{url}/half.*'))"
    for before, (after, _) in _OTHERWISE.items():
        if after is not None:
            text = text.replace(before, after.format(url=url, names=names))
    return _NAMES.sub(lambda name: f"{url}/{name[0]}", text)


def as_promised(text):
    for before, (_, after) in _OTHERWISE.items():
        if after is not None:
            text = text.replace(before, after)
    return text


def words(text):
    """Columns are as wide as what stands in them."""
    return re.sub(r" +", " ", text)


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # gcsfs does
def test_the_tour_says_the_same_of_a_store(store, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "empty").mkdir()
    shown = 0
    for language, text, promised in tour():
        makes_files = language == "python" and "load_into" not in text
        folder = tmp_path / ("disk" if makes_files else "empty")
        done = run(language, text if makes_files else in_the_store(text, store.url), folder)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        if makes_files:
            put_new(folder, store)
        elif promised is not None:
            came = done.stdout.replace(f"{store.url}/", "")
            assert matches(words(as_promised(promised)), words(came)), f"{text}\npromised:\n{promised}\ncame:\n{came}"
            shown += 1
    assert shown >= 6
    assert [path.name for path in (tmp_path / "empty").iterdir()] == []


def put_new(folder, store):
    client, there = store.filesystem, set(store.names())
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in there:
            client.pipe_file(f"{store.url}/{name}", path.read_bytes())


@pytest.mark.long
def test_what_the_tour_only_tells_of_works_there_too(store, tmp_path):
    """Sealing, mending as a copy and in place, and undoing that; a directory that is made, replaced and copied."""
    weights = tmp_path / "weights.py"
    weights.write_text(
        "import numpy as np, safetensors.numpy as s\n"
        "s.save_file({f'{n}.weight': np.full((64, 64), i, np.float32) for i, n in enumerate('abc')}, 'm.safetensors')\n"
    )
    assert run("bash", f"python {weights}", tmp_path).returncode == 0
    store.put("m.safetensors", (tmp_path / "m.safetensors").read_bytes())
    store.put("config.json", b'{"model_type": "llama"}')
    url = store.url
    for command, code, said in (
        (f"ckpt seal {url}/m.safetensors", 0, ""),
        (f"ckpt verify {url}/m.safetensors --depth bytes", 0, ""),
        (f"ckpt convert {url}/m.safetensors {url}/model --to hf --max-shard-size 20KB", 0, "sealed"),
        (f"ckpt convert {url}/m.safetensors {url}/model --to hf", 9, "exists"),
        (f"ckpt convert {url}/m.safetensors {url}/model --to hf --max-shard-size 20KB --force", 0, "sealed"),
        (f"ckpt inspect {url}/model", 0, ".ckpt-generation-"),
        (f"ckpt copy {url}/model {url}/flat", 0, ""),
        (f"ckpt verify {url}/flat --depth bytes", 0, ""),
        (f"ckpt diff {url}/m.safetensors {url}/flat", 0, "identical"),
        (f"ckpt repair {url}/flat", 0, ""),
    ):
        done = run("bash", f"{command} 2>&1", tmp_path)
        assert done.returncode == code and said in done.stdout, f"{command}\n{done.stdout}"
    store.filesystem.rm_file(f"{url}/flat/model.safetensors.index.json")
    for command, code in (
        (f"ckpt repair {url}/flat", 1),
        (f"ckpt repair {url}/flat --apply --output {url}/mended", 0),
        (f"ckpt repair {url}/flat --apply --in-place", 0),
        (f"ckpt verify {url}/flat {url}/mended --depth bytes", 0),
        (f"ckpt repair {url}/flat --undo", 0),
        (f"ckpt repair {url}/flat", 1),
        (f"ckpt clean {url}", 0),
    ):
        done = run("bash", f"{command} 2>&1", tmp_path)
        assert done.returncode == code, f"{command}\n{done.stdout}"
