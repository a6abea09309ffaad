"""Models and texts through one door: embedded ones, any local folder or file, any Hugging Face name.

A name becomes a `LoadedModel` (`load_model`), `LabelledText` or `UnlabelledText` (`load_labelled_text`, `load_text`),
each with its `Provenance`; nothing is dropped, truncated or fetched in silence. `few_shot_split` cuts texts into
parts without a common text or group, `tokenize_batches` makes batches that know their order, and
`MeanPooledClassifier` with a linear probe is the start of a run and its first baseline.

- Models and texts by name: `load_model`, `load_labelled_text`, `load_text`, `read_paragraphs`, beside
  other data: `read_text_beside`, by which column: `column_beside`; `list_texts`, `text_licences`, all that is embedded:
  `describe_embedded`; which two are the same: `is_same_source`; which are looked for elsewhere: `is_on_hub`; where a
  model is: `locate_named`; for conversations they take a `TokenizerLike`; what they return: `LoadedModel` under a
  `Head`, `LabelledText`, `UnlabelledText`, `Provenance`; conversations as `Answers`: `load_answers`,
  `render_conversation`. That a model is a decoder: `check_causal`.
- From texts to batches: `few_shot_split`, `Split`, a test part that no seed changes: `with_test_part`, what a split
  leaves: `rest_of_split`, `tokenize_batches`, for each step one: `tokenize_epochs` in an `epoch_order`,
  `TokenizedBatches`; for causal language models `token_blocks`, `TokenBlocks`; tokenizers made ready
  for them: `load_tokenizer`, `give_padding`, `pad_alike`, `limit_to_positions`, `usable_length`.
- Classifiers: `MeanPooledClassifier`, `MeanPooledOutput`, `PooledEncoder` (the same under the encoder's own names),
  `match_classes`; what the mean leaves unused: `UNUSED_BY_MEAN_POOLING`, `unused_by_mean_pooling`, `for_pooling`; what
  few examples should not move: `freeze_embeddings`.
- Frozen embeddings and a head fitted to them: `embed_texts`, `predict_logits`, `fit_linear_probe`, `fit_best_probe`;
  labels of its own: `draw_labels`.
- What an accuracy stands beside: `score_classes`, `ClassScores`, `majority_baseline`, `MajorityBaseline`.
- What `paramgraph compare` runs on: `folder_of`, `open_inputs`.
- Inside: the pinned wheels of the embedded models and texts (`Wheel`, `fetch`, `cache_folder`, `embedded_folder`).
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.tasks._conversations import render_conversation as render_conversation
    from spectral_opt.tasks.answers import Answers as Answers
    from spectral_opt.tasks.batches import (
        TokenizedBatches as TokenizedBatches,
        epoch_order as epoch_order,
        tokenize_batches as tokenize_batches,
        tokenize_epochs as tokenize_epochs,
    )
    from spectral_opt.tasks.blocks import TokenBlocks as TokenBlocks, token_blocks as token_blocks
    from spectral_opt.tasks.classifier import (
        UNUSED_BY_MEAN_POOLING as UNUSED_BY_MEAN_POOLING,
        MeanPooledClassifier as MeanPooledClassifier,
        MeanPooledOutput as MeanPooledOutput,
        PooledEncoder as PooledEncoder,
        for_pooling as for_pooling,
        freeze_embeddings as freeze_embeddings,
        match_classes as match_classes,
        unused_by_mean_pooling as unused_by_mean_pooling,
    )
    from spectral_opt.tasks.comparison_inputs import folder_of as folder_of, open_inputs as open_inputs
    from spectral_opt.tasks.embedded_sources import describe_embedded as describe_embedded
    from spectral_opt.tasks.labelled import LabelledText as LabelledText, UnlabelledText as UnlabelledText
    from spectral_opt.tasks.loading import (
        column_beside as column_beside,
        is_on_hub as is_on_hub,
        is_same_source as is_same_source,
        list_texts as list_texts,
        load_answers as load_answers,
        load_labelled_text as load_labelled_text,
        load_text as load_text,
        read_paragraphs as read_paragraphs,
        read_text_beside as read_text_beside,
        text_licences as text_licences,
    )
    from spectral_opt.tasks.models import (
        Head as Head,
        LoadedModel as LoadedModel,
        check_causal as check_causal,
        embedded_folder as embedded_folder,
        load_model as load_model,
        load_tokenizer as load_tokenizer,
        locate_named as locate_named,
    )
    from spectral_opt.tasks.probing import (
        draw_labels as draw_labels,
        embed_texts as embed_texts,
        fit_best_probe as fit_best_probe,
        fit_linear_probe as fit_linear_probe,
        predict_logits as predict_logits,
    )
    from spectral_opt.tasks.provenance import Provenance as Provenance
    from spectral_opt.tasks.scores import (
        ClassScores as ClassScores,
        MajorityBaseline as MajorityBaseline,
        majority_baseline as majority_baseline,
        score_classes as score_classes,
    )
    from spectral_opt.tasks.splits import (
        Split as Split,
        few_shot_split as few_shot_split,
        rest_of_split as rest_of_split,
        with_test_part as with_test_part,
    )
    from spectral_opt.tasks.tokenizers import (
        TokenizerLike as TokenizerLike,
        give_padding as give_padding,
        limit_to_positions as limit_to_positions,
        pad_alike as pad_alike,
        usable_length as usable_length,
    )
    from spectral_opt.tasks.wheels import (
        Wheel as Wheel,
        cache_folder as cache_folder,
        fetch as fetch,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
