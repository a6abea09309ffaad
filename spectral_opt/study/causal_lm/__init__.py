"""A task of a causal language model: documents in blocks of tokens, and the loss of the next token.

- `open_language_setting` makes a job real, a `LanguageSetting`, of its `LanguageTexts` by `read_language_texts`.
- What a state is worth: `LanguageMeasures`, by `token_loss`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.study.causal_lm._measures import (
        LanguageMeasures as LanguageMeasures,
        token_loss as token_loss,
    )
    from spectral_opt.study.causal_lm._opening import open_language_setting as open_language_setting
    from spectral_opt.study.causal_lm._setting import LanguageSetting as LanguageSetting
    from spectral_opt.study.causal_lm._texts import (
        LanguageTexts as LanguageTexts,
        read_language_texts as read_language_texts,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
