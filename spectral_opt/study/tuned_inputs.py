"""What `paramgraph compare` runs on, by name, fine-tuned where that is asked for: the entry point names this module."""

import dataclasses

from paramgraph.inputs import ComparisonInputs, InputOptions
from spectral_opt.study.fine_tuning import fine_tune
from spectral_opt.study.method import Method
from spectral_opt.tasks import folder_of as folder_of, open_inputs as open_pretrained

ADAMW = Method("adamw", "AdamW", "The plain optimizer.")


def open_inputs(model: str, data: str, options: InputOptions) -> ComparisonInputs:
    """Load a model and make batches of a text; fine-tune a copy on further batches of it, if that is asked for.

    Parameters
    ----------
    model, data : str
        As in `spectral_opt.tasks.comparison_inputs.open_inputs`.
    options : InputOptions
        `tune_steps` steps of AdamW at a peak rate of `tune_rate`, with linear decay, one batch a step. No text of
        these is in the batches that are returned.

    Returns
    -------
    ComparisonInputs
        Deterministic under the seed; with `tuned` where there were steps.

    Raises
    ------
    ValueError
        If model or text cannot be had, there are too few texts, or there is no loss to train with.
    """
    steps = options.tune_steps
    if not steps:
        return open_pretrained(model, data, options)
    wanted = dataclasses.replace(options, batches=options.batches + steps, tune_steps=0)
    inputs = open_pretrained(model, data, wanted)
    if inputs.no_gradients:
        raise ValueError(f"there is nothing to fine-tune with: {inputs.no_gradients}")
    measuring, training = inputs.batches[: options.batches], inputs.batches[options.batches :]
    done = fine_tune(inputs.model, training, ADAMW, learning_rate=options.tune_rate, seed=options.seed)
    tenth = max(1, steps // 10)
    first, last = (sum(part) / tenth for part in (done.losses[:tenth], done.losses[-tenth:]))
    note = (
        f"fine-tuned for {steps} steps of {options.batch_size} other texts, AdamW, peak rate {options.tune_rate:g}, "
        f"linear decay: loss {first:.3f} in the first {tenth} steps, {last:.3f} in the last"
    )
    return dataclasses.replace(inputs, batches=measuring, tuned=done.model, notes=(*inputs.notes, note))
