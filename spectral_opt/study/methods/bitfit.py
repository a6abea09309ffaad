"""BitFit (arXiv 2106.10199): only biases, those of norms among them, and the head."""

from spectral_opt.study import Method, Training


def _prepare(training: Training) -> None:
    encoder = training.encoder
    for name, parameter in encoder.named_parameters():
        if not name.endswith("bias"):
            parameter.requires_grad_(False)
    # Nothing is thawed: a bias that is frozen in the start, of the embeddings, stays frozen.
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        raise ValueError(
            f"{type(encoder).__name__} has no bias that could be trained, so BitFit would train a head alone, or "
            "nothing: leave the method out"
        )


METHOD = Method(
    name="bitfit",
    title="BitFit",
    description="Only the biases of the encoder, those of its norms among them, and the head are trained.",
    prepare=_prepare,
    paper="arXiv 2106.10199",
)
