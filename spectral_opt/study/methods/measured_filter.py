"""The low-pass that measurements ask for: gains by band of the spectrum, from gradients of other texts of the task."""

from collections import defaultdict
from dataclasses import replace

import torch
from torch import Tensor

from paramgraph._checks import non_negative
from paramgraph.measures import measured
from paramgraph.sources import collect_batch_gradients
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import PreparedTable, make_filter, prepare
from spectral_opt.study import Method, Options, Training
from spectral_opt.study.methods._gradient_graph import FILTER, GRAPH, filter_fields, on_gradient_graph
from spectral_opt.tasks import for_pooling

# Momentum of .9 averages 19 batches: the noise that it removes is not the filter's to remove.
OPTIONS: Options = {"averaged": 19.0, "placement": FILTER["placement"], **GRAPH}


def _checked(options: Options) -> SpectralConfig:
    """Make the config whose response is to be measured."""
    if non_negative("averaged", options["averaged"]) < 1:
        raise ValueError(f"averaged is {options['averaged']!r}; a gradient is a mean of 1 batch or more")
    return on_gradient_graph(options, **filter_fields({"gamma": 1.0, **options}), penalty=0.0)[0]


def _configure(options: Options) -> tuple[SpectralConfig, ...]:
    _checked(options)
    return ()  # one for each matrix, once it is measured


def _prepare(training: Training) -> None:
    """Build graphs of a third of the task's other texts, and measure the gains on the rest."""
    setting = training.needed_setting()
    config = for_pooling(replace(_checked(training.options), seed=setting.seed), setting.start)

    def measure() -> dict[str, tuple[SpectralConfig, PreparedTable]]:
        batches = list(setting.calibration["task"])
        third = len(batches) // 3
        if len(batches) - third < 3 or not third:
            raise ValueError(
                f"measured_filter got {len(batches)} batches of other texts of the task; it needs 1 to build graphs of "
                "and 3 to measure on: make batches smaller, or take a task with more texts"
            )
        building, measuring = batches[:third], batches[third:]
        trained = [parameter for parameter in setting.start.parameters() if parameter.requires_grad]
        ready = prepare(setting.start, config, {"task": building}, parameters=trained, keep_spectra=True)
        tables = {one.table.group: one for one in ready if one.spectrum is not None}
        gradients: dict[str, list[Tensor]] = defaultdict(list)
        of_tables = {name: one.table for name, one in tables.items()}
        for found in collect_batch_gradients(setting.start, of_tables, measuring):
            for name, gradient in found.items():
                gradients[name].append(gradient)
        responses = measured(
            {name: one.spectrum for name, one in tables.items() if one.spectrum is not None},
            {name: torch.stack(gradients.pop(name)) for name in list(gradients)},
            batches_averaged=float(str(training.options["averaged"])),
            pool=True,
        )
        made = {}
        for one in ready:
            name = one.table.group
            own = replace(config, targets=[name.removesuffix(".weight")], exclude=None)
            # A matrix without a graph has its config too, so that the run tells that it is left alone.
            if name in responses:
                own = replace(own, response=responses[name], response_options={})
            graph_filter = None
            if name in responses and not own.runs_in_basis:
                assert one.operator is not None, "it has a spectrum"
                graph_filter = make_filter(one.operator, own, spectrum=one.spectrum)
            made[name] = own, replace(one, filter=graph_filter)
        return made

    key = "measured_filter", *(training.options[name] for name in OPTIONS)
    made = setting.once(key, measure)
    training.configs = tuple(own for own, _ in made.values())
    training.prepared = tuple((ready,) for _, ready in made.values())


METHOD = Method(
    name="measured_filter",
    title="measured filter",
    description="The Wiener response of the gradients' graph, pooled over matrices, in place of a fixed low-pass.",
    configure=_configure,
    prepare=_prepare,
    options=OPTIONS,
)
