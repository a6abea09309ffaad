"""Models and labelled text through one door: embedded, any local folder or file, any Hugging Face name."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_exports, typed_imports

if TYPE_CHECKING:
    from spectral_opt.tasks.batches import TokenizedBatches as TokenizedBatches
    from spectral_opt.tasks.batches import tokenize_batches as tokenize_batches
    from spectral_opt.tasks.classifier import MeanPooledClassifier as MeanPooledClassifier
    from spectral_opt.tasks.classifier import MeanPooledOutput as MeanPooledOutput
    from spectral_opt.tasks.labelled import LabelledText as LabelledText
    from spectral_opt.tasks.labelled import UnlabelledText as UnlabelledText
    from spectral_opt.tasks.loading import list_texts as list_texts
    from spectral_opt.tasks.loading import load_labelled_text as load_labelled_text
    from spectral_opt.tasks.loading import load_text as load_text
    from spectral_opt.tasks.models import LoadedModel as LoadedModel
    from spectral_opt.tasks.models import load_model as load_model
    from spectral_opt.tasks.probing import embed_texts as embed_texts
    from spectral_opt.tasks.probing import fit_linear_probe as fit_linear_probe
    from spectral_opt.tasks.probing import predict_logits as predict_logits
    from spectral_opt.tasks.provenance import Provenance as Provenance
    from spectral_opt.tasks.splits import Split as Split
    from spectral_opt.tasks.splits import few_shot_split as few_shot_split
    from spectral_opt.tasks.wheels import Wheel as Wheel
    from spectral_opt.tasks.wheels import cache_folder as cache_folder
    from spectral_opt.tasks.wheels import fetch as fetch

__getattr__, __dir__ = lazy_exports(__name__, typed_imports(__name__, __file__))
__all__ = __dir__()
