"""Let a model give its attention probabilities for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# transformers installs its recording hooks when attentions are asked for the first time, and never removes them.
HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
INSTALLED = "_output_capturing_hooks_installed"


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Switch a model to eager attention and `output_attentions`, and back.

    Fused kernels (sdpa, flash) never form the probabilities. Only configs are written, those of all submodules,
    and no call of the model is changed.

    Parameters
    ----------
    model : nn.Module
        Any module; one without a Hugging Face config is left alone. Afterwards, also after an exception, its
        configs and forward hooks are what they were.

    Yields
    ------
    None
        Nothing; the model runs eager attention.

    Examples
    --------
    >>> from transformers import BertConfig, BertModel
    >>> shape = dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> model = BertModel(BertConfig(**shape, intermediate_size=8)).eval()
    >>> with eager_attention(model):
    ...     model.config._attn_implementation
    'eager'
    >>> model.config._attn_implementation
    'sdpa'
    """
    configs: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            configs[id(config)] = config
    kept = [(config, dict(config.__dict__)) for config in configs.values()]
    hooks = [
        (module, {name: list(getattr(module, name)) for name in HOOKS}, INSTALLED in module.__dict__)
        for module in model.modules()
    ]
    try:
        for config in configs.values():
            # The internal field: the property would write to configs of parts that are not here as well.
            config._attn_implementation_internal = "eager"
            config.output_attentions = True
        yield
    finally:
        for config, fields in kept:
            config.__dict__.clear()
            config.__dict__.update(fields)
        for module, before, installed in hooks:
            for name, keys in before.items():
                present = getattr(module, name)
                for key in [key for key in present if key not in keys]:
                    del present[key]
            if not installed:
                module.__dict__.pop(INSTALLED, None)
