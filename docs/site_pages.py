"""Hooks of mkdocs: the pages of the site are the repository's own, where they lie, and the API from docstrings.

A link to a folder leads to its README; one to another file of the repository becomes its name, since the site has no
source. A link to what does not exist is left as it is, and fails the build.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "plugins/*/README.md", "examples/*/README.md")
MODULES = ("ckpt_core", "ckpt_core.codecs", "ckpt_core.layouts", "ckpt_core.training", "ckpt_core.testing")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
HOOKS = "::: ckpt_core.hookspecs.Specs\n\n::: ckpt_core.hookspecs.Hooks\n"


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the repository, and a page for each public module."""
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, content=_within_site(path)))
    for module in MODULES:
        name = module.removeprefix("ckpt_core.")
        files.append(File.generated(config, f"api/{name}.md", content=_reference(module)))
    files.append(File.generated(config, "api/hookspecs.md", content=f"# The hooks\n\n{HOOKS}"))
    return files


def _within_site(page: Path) -> str:
    def changed(link: re.Match[str]) -> str:
        label, target, anchor = link[1], link[2], link[3] or ""
        path = page.parent / target
        if "://" in target or path.suffix == ".md" or not path.exists():
            return link[0]
        if (path / "README.md").is_file():
            return f"[{label}]({target.rstrip('/')}/README.md{anchor})"
        return label

    return LINK.sub(changed, page.read_text(encoding="utf-8"))


def _reference(module: str) -> str:
    """A page that names each public thing where it is defined; constants without a docstring are listed."""
    where = import_module(module)
    told = getattr(where, "_WHERE", None) or {name: getattr(where, name).__module__ for name in _classes(where)}
    names = [name for name in where.__all__ if name in told]
    summary = (where.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return "\n\n".join([f"# {module}", summary, *[f"::: {told[name]}.{name}" for name in names]])


def _classes(module: Any) -> list[str]:
    return [name for name in module.__all__ if hasattr(getattr(module, name), "__module__")]
