"""A mean-pooled classifier whose layers have the names that they have in the encoder's checkpoint."""

from typing import Any

from torch import nn

from spectral_opt.tasks.classifier import MeanPooledClassifier, MeanPooledOutput


class PooledEncoder(nn.Module):
    """Compute what a `MeanPooledClassifier` computes, with the encoder's own modules under their own names.

    In the classifier every layer is "encoder." and its name; what is measured here and what is read from the
    files of the encoder, or of another checkpoint of it, are found under one name. The head is `classifier`.

    Parameters
    ----------
    inner : MeanPooledClassifier
        It is held, not copied.

    Examples
    --------
    >>> import torch
    >>> from transformers import BertConfig, BertModel
    >>> encoder = BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1,
    ...                                num_attention_heads=2, intermediate_size=16))
    >>> model = PooledEncoder(MeanPooledClassifier(encoder, num_labels=2))
    >>> sorted(dict(model.named_parameters()).keys() - dict(encoder.named_parameters()).keys())
    ['classifier.bias', 'classifier.weight']
    """

    def __init__(self, inner: MeanPooledClassifier) -> None:
        super().__init__()
        # In a tuple: as an attribute it would be a module of this one, with all names a second time.
        self._inner = (inner,)
        for name, child in inner.encoder.named_children():
            self.add_module(name, child)
        for name, parameter in inner.encoder.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.classifier = inner.classifier
        self.train(inner.training)

    @property
    def config(self) -> Any:
        """The encoder's configuration."""
        return self._inner[0].config

    def forward(self, **batch: Any) -> MeanPooledOutput:
        """Return logits, embeddings and, with labels, the loss.

        Parameters
        ----------
        **batch
            As for `MeanPooledClassifier`.

        Returns
        -------
        MeanPooledOutput
            That of the classifier.
        """
        output: MeanPooledOutput = self._inner[0](**batch)
        return output
