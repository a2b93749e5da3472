"""What docs/design.md says of folders is so: each has one idea, is small, and holds the file a question asks for."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
PACKAGES = [
    folder.parent.relative_to(ROOT)
    for source in ("ckpt_core", "plugins/*/src")
    for folder in sorted(ROOT.glob(f"{source}/**/__init__.py"))
]
ROOMS = [ROOT / "ckpt_core", *sorted(ROOT.glob("plugins/*/src"))]


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_folder_says_its_idea_and_holds_at_most_twenty_files(package):
    assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8")))
    assert len(list((ROOT / package).glob("*.py"))) <= 20


def test_each_question_leads_to_a_file():
    rows = re.findall(r"^\| [^|]+\? \| `([^`]+)` \|$", DESIGN, re.MULTILINE)
    assert len(rows) == 10
    assert [row for row in rows if not (ROOT / row).is_file()] == []


def test_every_folder_of_core_stands_in_the_drawing():
    drawn = DESIGN[DESIGN.index("## The house") : DESIGN.index("Where is …")]
    for package in PACKAGES:
        if package.parts[0] == "ckpt_core" and len(package.parts) > 1:
            name = package.name if len(package.parts) == 2 else f"{package.name}/"
            assert name in drawn, package


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_docstring_begins_with_a_plain_sentence_of_at_most_twelve_words(room):
    lines = list(_first_lines(room))
    assert [one for one in lines if len(one[1].split()) > 12 or re.match(CLAUSES, one[1])] == []


CLAUSES = r"(What|Which|Whether|Where|How|Who|That)\b"


def _first_lines(room):
    for path in sorted(room.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield path.name, text.partition("\n")[0]
