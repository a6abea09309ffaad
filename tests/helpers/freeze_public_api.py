"""Write the public names and signatures of both packages to public_api.txt, after a deliberate change."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

RECORD = Path(__file__).parents[1] / "architecture" / "public_api.txt"


def public_api() -> Iterator[str]:
    """Yield one line for each public name: package, name, and the parameters with their defaults."""
    for package in ("paramgraph", "spectral_opt", "spectral_opt.tasks"):
        module = importlib.import_module(package)
        for name in sorted(set(dir(module))):
            if not name.startswith("_"):
                yield f"{package}.{name}{_parameters(getattr(module, name))}"


def _parameters(target: object) -> str:
    if not callable(target) or (isinstance(target, type) and issubclass(target, BaseException)):
        return ""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(target).parameters.values()
    ]
    return str(inspect.Signature(parameters))


if __name__ == "__main__":
    RECORD.write_text("\n".join(public_api()) + "\n", encoding="utf-8")
