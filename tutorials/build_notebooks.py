"""Make the notebooks from their sources: each `NN_name.py` is run in a fresh kernel and kept as `NN_name.ipynb`.

    python tutorials/build_notebooks.py                  all notebooks, in full
    python tutorials/build_notebooks.py 01 04            those whose names begin so
    python tutorials/build_notebooks.py --check          make them again and compare every byte; write nothing

A notebook is never edited by hand: edit its source (jupytext's percent format) and make it again. The same source and
the same versions give the same bytes: cells are numbered, times and versions left out. What would make a notebook
differ from run to run, or tell of the machine that it ran on, is refused with the line in question.
"""

import argparse
import base64
import difflib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

TUTORIALS = Path(__file__).resolve().parent
# A notebook is fetched whole to be read: figures are kept moderate.
MOST_BYTES = 600_000
# Absolute paths, of any machine and of this one; what stands within a longer path ("a/home/b") is nobody's place.
ROOTS = "home|root|work|tmp|Users|mnt|opt|private|usr|var"
HERE = sorted({str(Path.home()), sys.prefix, str(TUTORIALS.parent), tempfile.gettempdir()})
PLACES = re.compile(rf"(?<![\w.~/-])(?:/(?:{ROOTS})/|[A-Za-z]:\\\w|(?:{'|'.join(map(re.escape, HERE))})\b)")
ADDRESSES = re.compile(r"\bat 0x[0-9a-f]{6,}")
# What bitsandbytes says of some processors where it is imported.
NOISE = re.compile(r"(Failed to load CPU \w+ from kernels-community: .*\n)+")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# As in the Makefile: spinning threads cost five times the work that they do on small machines.
SETTINGS = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def sources(prefixes: list[str] | None = None) -> list[Path]:
    """List the sources of the notebooks, in order; those that begin with a prefix, where there are any."""
    found = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))
    return [path for path in found if not prefixes or path.stem.startswith(tuple(prefixes))]


def read_source(source: Path) -> Any:
    """Read a percent source as a notebook without outputs, its cells named by their places."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place:02d}"
    return notebook


def execute(source: Path) -> Any:
    """Run a source from top to bottom in a kernel of its own, in the folder of the notebooks; a cell may raise."""
    notebook = read_source(source)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(TUTORIALS)}},
        record_timing=False,
        # Text printed in two goes is one output: where it is parted depends on time.
        coalesce_streams=True,
    )
    client.execute()
    return notebook


def run(source: Path) -> Any:
    """Run a source, and leave out of its outputs what differs from run to run."""
    notebook = execute(source)
    notebook.metadata.language_info = nbformat.from_dict({"name": "python"})  # the kernel adds its version
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if "outputs" in cell:
            cell.outputs = [one for one in cell.outputs if not NOISE.fullmatch(one.get("text", ""))]
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    return notebook


def smaller(picture: str) -> str:
    """Give a PNG in 256 colours, a third of its bytes: enough for drawings, and no eye sees the difference."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    packed = io.BytesIO()
    Image.alpha_composite(ground, image).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        packed, "PNG", optimize=True
    )
    return base64.b64encode(packed.getvalue()).decode() + "\n"


def texts(cell: Any) -> Iterator[str]:
    """Give all text that the outputs of a cell hold; not the bytes of pictures, which may spell anything."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield "\n".join([output.ename, output.evalue, *output.traceback])
        else:
            for kind, data in output.data.items():
                if kind == "image/svg+xml" or not kind.startswith("image/"):
                    yield data if isinstance(data, str) else repr(data)


def faults(notebook: Any) -> list[str]:
    """Tell what does not belong into the outputs of a notebook, each with its cell and line."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                found.append(f"{cell.id} raised {output.ename}: {output.evalue}")
            elif output.output_type == "stream" and output.name != "stdout":
                found.append(f"{cell.id} wrote to {output.name}: {output.text.strip()}")
        for line in (line for text in texts(cell) for line in text.splitlines()):
            if PLACES.search(line):
                found.append(f"{cell.id} shows a path of this machine: {line.strip()}")
            elif ADDRESSES.search(line):
                found.append(f"{cell.id} shows an address in memory, another one in each run: {line.strip()}")
    return found


def build(source: Path) -> str:
    """Make one notebook: the text of its file.

    Raises
    ------
    ValueError
        If an output holds what no notebook may, or the file would be too large.
    """
    notebook = run(source)
    wrong = faults(notebook)
    text = nbformat.writes(notebook) + "\n"
    if len(text) > MOST_BYTES:
        wrong.append(f"{len(text):,} bytes, at most {MOST_BYTES:,}: draw fewer or smaller figures")
    if wrong:
        raise ValueError("\n".join([f"{source.name} makes no notebook to keep:", *wrong]))
    return text


def main(arguments: list[str] | None = None) -> int:
    """Make or check the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description="Make the notebooks from their sources.")
    parser.add_argument(
        "prefixes", nargs="*", help="beginnings of names, such as 01; all where none is given"
    )
    parser.add_argument("--check", action="store_true", help="compare with what is there, and write nothing")
    options = parser.parse_args(arguments)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.pop("PARAMGRAPH_FAST", None)  # what is kept was run in full
    different = False
    for source in sources(options.prefixes):
        target = source.with_suffix(".ipynb")
        text = build(source)
        if not options.check:
            target.write_text(text, encoding="utf-8")
            print(f"{target.name}: {len(text):,} bytes")
            continue
        kept = target.read_text(encoding="utf-8") if target.exists() else ""
        if kept == text:
            print(f"{target.name}: the same")
            continue
        different = True
        print(f"{target.name}: differs from what {source.name} gives now")
        lines = difflib.unified_diff(
            kept.splitlines(), text.splitlines(), "kept", "made now", lineterm="", n=1
        )
        print("\n".join(line[:160] for line in list(lines)[:40]))
    return int(different)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, CellExecutionError) as error:
        sys.exit(str(error))
