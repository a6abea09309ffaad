"""SGP: steps scaled down in the subspace of the inputs of the preserved text, the more the stronger the direction."""

from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import non_negative
from spectral_opt.study import Method, Options, Training
from spectral_opt.study.methods._input_subspace import OPTIONS, keep_out, read_subspace


def _read(options: Options) -> float:
    read_subspace(options)
    return non_negative("alpha", options["alpha"])


def _prepare(training: Training) -> None:
    alpha = _read(training.options)

    def importance(singular_values: Float[Tensor, " modes"]) -> Float[Tensor, " modes"]:
        r"""Return (alpha + 1) sigma / (alpha sigma + max sigma), 1 for the strongest: the paper's equation 5."""
        return (alpha + 1) * singular_values / (alpha * singular_values + singular_values.max())

    keep_out(training, importance)


METHOD = Method(
    name="sgp",
    title="SGP",
    description="As GPM, with weak directions of the subspace freer than strong ones.",
    check=_read,
    prepare=_prepare,
    options={**OPTIONS, "alpha": 10.0},
    paper="arXiv 2302.01386",
)
