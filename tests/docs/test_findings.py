import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"[A-Z]{2}[0-9]{3}")


def codes_in_source():
    """Every string of the source that is a finding code and nothing else, with the modules that have it."""
    found = {}
    for path in [*ROOT.glob("ckpt_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                found.setdefault(node.value, set()).add(path.relative_to(ROOT).as_posix())
    return found


def paragraphs():
    """Text below each `### CODE`, of the page and of what is still to be merged into it."""
    pages = [ROOT / "docs" / "findings.md", *sorted((ROOT / "docs").glob("findings.d-*.md"))]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    found = re.split(r"^### (.+)$|^## .+$", text, flags=re.MULTILINE)
    pairs = [(code, body) for code, body in zip(found[1::2], found[2::2], strict=True) if code]
    assert len(pairs) == len({code for code, _ in pairs}), "a code is described twice"
    return dict(pairs)


def test_every_code_of_the_source_has_a_paragraph_and_no_other_has():
    assert set(paragraphs()) == set(codes_in_source())


def test_every_paragraph_names_cause_and_cure():
    for code, body in paragraphs().items():
        assert body.index("*Cause.*") < body.index("*Cure.*"), code
        assert len(body.split()) > 20, code


def test_the_source_was_searched():
    codes = codes_in_source()
    assert "ckpt_core/builtin/carried_files.py" in codes["CK006"]
    assert any(path.startswith("plugins/") for paths in codes.values() for path in paths)
