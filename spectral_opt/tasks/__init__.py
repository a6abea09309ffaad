"""Models and labelled text through one door: embedded, any local folder or file, any Hugging Face name."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_exports, typed_imports

if TYPE_CHECKING:
    from spectral_opt.tasks.batches import (
        TokenizedBatches as TokenizedBatches,
        tokenize_batches as tokenize_batches,
    )
    from spectral_opt.tasks.classifier import (
        MeanPooledClassifier as MeanPooledClassifier,
        MeanPooledOutput as MeanPooledOutput,
    )
    from spectral_opt.tasks.labelled import LabelledText as LabelledText, UnlabelledText as UnlabelledText
    from spectral_opt.tasks.loading import (
        list_texts as list_texts,
        load_labelled_text as load_labelled_text,
        load_text as load_text,
    )
    from spectral_opt.tasks.models import LoadedModel as LoadedModel, load_model as load_model
    from spectral_opt.tasks.probing import (
        embed_texts as embed_texts,
        fit_linear_probe as fit_linear_probe,
        predict_logits as predict_logits,
    )
    from spectral_opt.tasks.provenance import Provenance as Provenance
    from spectral_opt.tasks.splits import Split as Split, few_shot_split as few_shot_split
    from spectral_opt.tasks.wheels import Wheel as Wheel, cache_folder as cache_folder, fetch as fetch

__getattr__, __dir__ = lazy_exports(__name__, typed_imports(__name__, __file__))
__all__ = __dir__()
