"""The first baseline: a logistic regression on the frozen embeddings, which is every run's start."""

from spectral_opt.study import CLASSIFICATION, Method

METHOD = Method(
    name="linear_probe",
    title="linear probe",
    description="Nothing is trained but the head, on frozen embeddings: the start of every other method.",
    trains=False,
    kinds=(CLASSIFICATION,),
)
