"""What `paramgraph compare` runs on, fine-tuned where that is asked for: the entry point names this module."""

import dataclasses

from paramgraph.inputs import ComparisonInputs, InputOptions
from spectral_opt.study.fine_tuning import fine_tune
from spectral_opt.study.method import get_method
from spectral_opt.tasks import folder_of as folder_of, open_inputs as open_pretrained


def open_inputs(model: str, data: str, options: InputOptions) -> ComparisonInputs:
    """Load a model and make batches of a text; with `tune_steps`, fine-tune a copy on other batches.

    The copy is tuned by AdamW as every method of a study is, on `tune_steps` batches of which none is
    measured. ValueError says if model or text cannot be had, or there is no loss to tune with.
    """
    steps = options.tune_steps
    if not steps:
        return open_pretrained(model, data, options)
    wanted = dataclasses.replace(options, batches=options.batches + steps, tune_steps=0)
    inputs = open_pretrained(model, data, wanted)
    if inputs.no_gradients:
        raise ValueError(f"there is nothing to fine-tune with: {inputs.no_gradients}")
    measuring, training = inputs.batches[: options.batches], inputs.batches[options.batches :]
    method = get_method("adamw")
    done = fine_tune(inputs.model, training, method, learning_rate=options.tune_rate, seed=options.seed)
    tenth = max(1, steps // 10)
    first, last = (sum(part) / tenth for part in (done.losses[:tenth], done.losses[-tenth:]))
    note = (
        f"fine-tuned for {steps} steps of {options.batch_size} other texts, AdamW, peak rate {options.tune_rate:g}, "
        f"linear decay: loss {first:.3f} in the first {tenth} steps, {last:.3f} in the last"
    )
    return dataclasses.replace(inputs, batches=measuring, tuned=done.model, notes=(*inputs.notes, note))
