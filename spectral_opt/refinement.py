r"""refine(): filter the delta of a finished fine-tune, without training.

With X the delta of one table, :math:`\Delta = \Theta_{tuned} - \Theta_{base}`, the refined weights are
:math:`\Theta_{base} + h(L) \Delta`. With the dense Gram matrix C of the activations of text to be preserved, on
columns, and a Tikhonov response this is :math:`\Delta (I + \gamma C)^{-1}`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.responses import get_response
from paramgraph.targets import unwrap
from spectral_opt.calibration import as_configs, calibration_sets, check_calibration
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import PreparedTable, make_filter, prepare
from spectral_opt.table_filter import filter_in_place_of


class Refiner:
    """Prepare graphs and spectra of a base model once, then refine any number of checkpoints and strengths.

    Parameters
    ----------
    base : nn.Module, str or Path
        The model before fine-tuning, or its local folder. Its graphs are built here; it is not changed. Its weights
        must not be trained while the refiner is in use.
    configs : SpectralConfig or sequence of SpectralConfig
        Filters in the order in which they act. Penalty and placement play no part, but `response` must be there.
    batches : iterable, mapping of str to iterable, or None
        Calibration sets, as in `attach`.
    loss : callable, optional
        As in `attach`.

    Raises
    ------
    ValueError
        If a config has no response or no builder, matches nothing, or lacks its calibration set.

    Examples
    --------
    >>> base, tuned = nn.Sequential(nn.Linear(3, 8)), nn.Sequential(nn.Linear(3, 8))
    >>> refiner = Refiner(base, SpectralConfig(builder="ring", response="heat", response_options={"t": 1.0}))
    >>> sweep = [refiner.apply(tuned, [lambda x, t=t: torch.exp(-t * x)]) for t in (0.0, 1.0, 2.0)]
    >>> torch.equal(sweep[0]["0.weight"], tuned[0].weight)
    True
    """

    def __init__(self, base: Any, configs: Any, batches: Any = None, loss: Any = None) -> None:
        self.configs = as_configs(configs)
        for config in self.configs:
            if config.response is None or config.builder is None:
                raise ValueError(
                    f"refinement filters the delta: a config needs a response and a builder, this one has response="
                    f"{config.response!r}, builder={config.builder!r}"
                )
        model = unwrap(_load(base))
        sets = calibration_sets(batches)
        for config in self.configs:
            check_calibration(config, sets, loss)
        # Only the filter is used: without this the config's default penalty would have its operator checked.
        filters = [_only_filter(config) for config in self.configs]
        self.prepared: tuple[tuple[PreparedTable, ...], ...] = tuple(
            prepare(model, config, sets, loss, keep_spectra=True) for config in filters
        )
        self._aliases = _aliases(model)
        self._base = model.state_dict()

    def apply(self, tuned: Any, responses: Sequence[Any] | None = None) -> dict[str, Tensor]:
        r"""Refine one fine-tuned checkpoint.

        .. math:: \Theta = \Theta_{tuned} + (h(L) - I) (\Theta_{tuned} - \Theta_{base})

        Parameters
        ----------
        tuned : nn.Module, mapping of str to Tensor, str or Path
            The fine-tuned model, its state dict, or its local folder; never changed.
        responses : sequence, optional
            One response per config, by name or callable on eigenvalues, in place of the config's own: a sweep of
            strengths costs neither a graph nor an eigenbasis.

        Returns
        -------
        dict of str to Tensor
            A state dict with the keys and dtypes of `tuned`, sharing no memory with it (tied names share theirs).
            What no config targets, and what the filter does not change, is `tuned` to the last bit.

        Raises
        ------
        ValueError
            If keys or shapes differ from those of the base, or `responses` has another length.
        """
        if responses is not None and len(responses) != len(self.configs):
            raise ValueError(f"{len(responses)} responses for {len(self.configs)} configs; give one for each")
        state = dict(tuned) if isinstance(tuned, Mapping) else unwrap(_load(tuned)).state_dict()
        complete = self._with_tied_names(state)
        _check_same(self._base, complete)
        refined = {name: value.detach().clone() for name, value in complete.items()}
        for index, (config, tables) in enumerate(zip(self.configs, self.prepared, strict=True)):
            for ready in tables:
                response = None if responses is None else responses[index]
                graph_filter = _with_response(ready, response, config)
                self._refine_table(refined, ready, graph_filter, config.norm_matching)
        return {name: refined[name] for name in state}

    def _with_tied_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add the names that saved files leave out, because another name has the same weight."""
        complete = dict(state)
        for names in self._aliases.values():
            present = next((name for name in names if name in state), None)
            if present is not None:
                complete |= {name: state[present] for name in names if name not in state}
        return complete

    def _refine_table(
        self, refined: dict[str, Tensor], ready: PreparedTable, graph_filter: Any, norm_matching: bool
    ) -> None:
        names = ready.table.parameters
        delta = {
            name: _wide(refined[name]) - _wide(self._base[name]).to(refined[name].device) for name in names
        }
        filtered = filter_in_place_of(delta, ready.table, graph_filter, norm_matching)
        for name in names:
            change = filtered[name] - delta[name]
            value = refined[name]
            # Where the filter changes nothing, tuned stays tuned bit for bit.
            result = torch.where(change == 0, value, (_wide(value) + change).to(value.dtype))
            for alias in self._aliases.get(name, (name,)):
                refined[alias] = result


def refine(base: Any, tuned: Any, configs: Any, batches: Any = None, loss: Any = None) -> dict[str, Tensor]:
    r"""Filter the delta of a finished fine-tune with the graphs of its base model.

    .. math:: \Theta = \Theta_{base} + h(L) (\Theta_{tuned} - \Theta_{base})

    Parameters
    ----------
    base : nn.Module, str or Path
        The model before fine-tuning, or its local folder; graphs are built from it.
    tuned : nn.Module, mapping of str to Tensor, str or Path
        The fine-tuned model, its state dict, or its local folder.
    configs : SpectralConfig or sequence of SpectralConfig
        Filters in the order in which they act; `placement` plays no part, `response` must be there.
    batches : iterable, mapping of str to iterable, or None
        Calibration sets: what is to be preserved under "preserve".
    loss : callable, optional
        As in `attach`.

    Returns
    -------
    dict of str to Tensor
        State dict of plain tensors with the keys and dtypes of `tuned`; base and tuned are not changed.

    Raises
    ------
    ValueError
        If base and tuned do not match, a config has no response, or its calibration set is missing.

    References
    ----------
    .. [1] M. Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903: the response h = constant.

    Examples
    --------
    >>> base, tuned = nn.Sequential(nn.Linear(3, 8)), nn.Sequential(nn.Linear(3, 8))
    >>> refined = refine(base, tuned, SpectralConfig(builder="ring"))
    >>> torch.equal(refined["0.bias"], tuned[0].bias), torch.equal(refined["0.weight"], tuned[0].weight)
    (True, False)
    """
    return Refiner(base, configs, batches, loss).apply(tuned)


def _only_filter(config: SpectralConfig) -> SpectralConfig:
    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    return SpectralConfig(**(values | {"penalty": 0.0, "placement": "update"}))


def _with_response(ready: PreparedTable, response: Any, config: SpectralConfig) -> Any:
    if response is None or ready.filter is None or ready.operator is None:
        return ready.filter
    return make_filter(ready.operator, config, get_response(response), ready.spectrum)


def _wide(value: Tensor) -> Tensor:
    return value.detach().float() if value.dtype in (torch.bfloat16, torch.float16) else value.detach()


def _aliases(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """All names of each parameter in the state dict, under the name that the tables use."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return {names[0]: tuple(names) for names in groups.values()}


def _check_same(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(set(base) - set(tuned)), sorted(set(tuned) - set(base))
    shapes = [
        f"{name} {tuple(base[name].shape)} against {tuple(tuned[name].shape)}"
        for name in base
        if name in tuned and base[name].shape != tuned[name].shape
    ]
    if missing or extra or shapes:
        parts = [
            f"tuned lacks {missing[:3]}" if missing else "",
            f"base lacks {extra[:3]}" if extra else "",
            f"shapes differ: {', '.join(shapes[:3])}" if shapes else "",
        ]
        raise ValueError(
            f"base and tuned are not two states of one model: {'; '.join(filter(None, parts))}; "
            "give the model from which the fine-tuning started, with the same head"
        )


def _load(source: Any) -> nn.Module:
    """Take a module as it is, and load a local folder in the dtype in which it was saved."""
    if isinstance(source, nn.Module):
        return source
    if not isinstance(source, (str, Path)):
        raise TypeError(f"expected a module or a local folder, got {type(source).__name__}")
    file = Path(source) / "config.json"
    if not file.is_file():
        raise ValueError(f"no model in {str(source)!r}: a local folder with config.json is needed")
    import transformers

    names = json.loads(file.read_text(encoding="utf-8")).get("architectures") or []
    found = getattr(transformers, names[0], None) if names else None
    if found is None:
        raise ValueError(f"{str(file)!r} names the architectures {names}, which transformers does not have")
    model: nn.Module = found.from_pretrained(source, dtype="auto", local_files_only=True)
    return model
