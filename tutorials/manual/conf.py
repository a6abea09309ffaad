"""Settings of the documentation site: `make docs` builds it in build/site from tutorials/, and runs no notebook.

The site asks nothing of another host, so that it reads the same from a disk: formulas are MathML. Of the inventories of
other projects only those that can be fetched are used; without a connection names of theirs stay text.
"""

import importlib
import inspect
import re
import threading
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import latex2mathml.converter
from docutils import nodes
from numpydoc.xref import DEFAULT_LINKS
from sphinx.application import Sphinx

import paramgraph
from paramgraph.comparison.report import GLOSSARY

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = ("paramgraph", "spectral_opt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]

project = "paramgraph"
author = "The paramgraph developers"
version = release = paramgraph.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
]
exclude_patterns = ["records", "manual/templates", "manual/static", "manual/reference/*.md"]
templates_path = [str(HERE / "templates")]  # autosummary reads it beside the sources

# Markdown: anchors as GitHub makes them, so that links work in both places.
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
# Notebooks show what is committed; their sources in percent format are no pages.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}

autosummary_generate = [f"manual/reference/{package}.rst" for package in PACKAGES]
default_role = "py:obj"  # names in docstrings lead to their pages
autodoc_typehints = "none"  # types and shapes stand in the parameters' descriptions
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = {"of", "shape", "or", "default", "optional", "from", "to", "a", "the"}
numpydoc_xref_aliases = {
    # Its own links name an inventory that may not be there, and would show the name.
    **{name: name for name, link in DEFAULT_LINKS.items() if "python:" in link},
    "Tensor": "torch.Tensor",
    "Module": "torch.nn.Module",
    "Optimizer": "torch.optim.Optimizer",
    "Data": "torch_geometric.data.Data",
    "ndarray": "numpy.ndarray",
}

INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "torch_geometric": "https://pytorch-geometric.readthedocs.io/en/latest/",
    "networkx": "https://networkx.org/documentation/stable/",
    "transformers": "https://huggingface.co/docs/transformers/main/en/",
    "peft": "https://huggingface.co/docs/peft/main/en/",
}
# In seconds, for all inventories together: a name server that does not answer must not hold up a build.
PATIENCE = 5

html_theme = "furo"
html_title = "paramgraph"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
project_copyright = "The paramgraph developers, Apache-2.0"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def inventories() -> dict[str, tuple[str, str]]:
    """Fetch what can be fetched of the inventories of other projects, into the build folder."""
    folder = ROOT / "build" / "inventories"
    folder.mkdir(parents=True, exist_ok=True)

    def fetch(name: str, address: str) -> None:
        try:
            with urllib.request.urlopen(f"{address}objects.inv", timeout=PATIENCE) as answer:
                found = answer.read()
        except OSError:
            return
        if found.startswith(b"# Sphinx inventory"):  # and no page of a network that asks to log in
            (folder / f"{name}.inv").write_bytes(found)

    threads = [
        threading.Thread(target=fetch, args=one, daemon=True)
        for one in INVENTORIES.items()
        if not (folder / f"{one[0]}.inv").exists()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return {
        name: (address, str(folder / f"{name}.inv"))
        for name, address in INVENTORIES.items()
        if (folder / f"{name}.inv").exists()
    }


intersphinx_mapping = inventories()


def write_reference(app: Sphinx) -> None:
    """Write a page for each package that lists its public names by the rooms that they come from."""
    words = [
        f"{term.name}\n: {term.meaning}" + (f" It cannot tell {term.limit}" if term.limit else "")
        for term in GLOSSARY
    ]
    _write(HERE / "reference" / "words_of_a_comparison.md", "\n\n".join(words) + "\n")
    for package in PACKAGES:
        face = importlib.import_module(package)
        rooms: dict[str, list[str]] = {}
        for name in face.__all__:
            rooms.setdefault(getattr(face, name).__module__.split(".")[1], []).append(name)
        lines = [package, "=" * len(package), "", *_paragraph(face), f".. currentmodule:: {package}", ""]
        for room in sorted(rooms):
            lines += [
                room.capitalize(),
                "-" * len(room),
                "",
                *_paragraph(importlib.import_module(f"{package}.{room}")),
            ]
            lines += [".. autosummary::", f"   :toctree: {package}", ""]
            lines += [*(f"   {name}" for name in rooms[room]), ""]
        _write(HERE / "reference" / f"{package}.rst", "\n".join(lines))


def _write(page: Path, text: str) -> None:
    page.parent.mkdir(exist_ok=True)
    if not page.exists() or page.read_text(encoding="utf-8") != text:  # what is the same is not read again
        page.write_text(text, encoding="utf-8")


def _paragraph(module: Any) -> list[str]:
    """Give the first paragraph of a module's docstring, its code spans as reStructuredText has them."""
    first = (inspect.getdoc(module) or "").split("\n\n")[0]
    return [*re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", first).splitlines(), ""]


def adapt_source(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn links to what is no page of the site, as records, into links to the repository; badges into their words.

    What a page includes is on that page: GitHub shows no includes, so that pages link to the file.
    """
    included = {
        (page.parent / path).resolve(): f"/{page.relative_to(app.srcdir).as_posix()}"
        for page in HERE.glob("*.md")
        for path in re.findall(r"^```\{include\} (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }

    def outside(found: re.Match[str]) -> str:
        path = (Path(app.srcdir) / name).parent.joinpath(found[1]).resolve()
        if path in included:
            return f"]({included[path]}"
        if not path.exists() or path.suffix in (".md", ".ipynb", ".svg"):
            return found[0]
        return f"]({REPOSITORY}/blob/main/{path.relative_to(ROOT).as_posix()}"

    # Cells of notebooks may begin with % and !, which only IPython's lexer knows.
    source[0] = source[0].replace('"language_info": {', '"language_info": {"pygments_lexer": "ipython3", ', 1)
    source[0] = re.sub(r"!\[([^\]]*)\]\(https?://[^)\s]+\)", r"\1", source[0])
    source[0] = re.sub(r"\]\((\.\.?/[^)#:\s]+)(?=[)#])", outside, source[0])


def write_formula(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line as MathML, which browsers show by themselves."""
    translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def write_displayed_formula(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    made = latex2mathml.converter.convert(node.astext(), display="block")
    translator.body.append(f'<div class="math">{made}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add what the settings above name."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_displayed_formula, None))
    app.connect("builder-inited", write_reference, priority=100)  # before autosummary looks for names
    app.connect("source-read", adapt_source)
