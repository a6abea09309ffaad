"""The plain optimizer, which every other method has to beat."""

from spectral_opt.study import Method

METHOD = Method(name="adamw", title="AdamW", description="The plain optimizer.")
