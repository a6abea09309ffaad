"""Is the preserved text of the task's own domain? A classifier two-sample test."""

import numpy as np
from jaxtyping import Float

# Below, a linear classifier hardly tells the texts apart; texts of two domains are near 1.
ALIKE = 0.65
FOLDS = 5


def domain_auc(
    preserved: Float[np.ndarray, "preserved width"], task: Float[np.ndarray, "task width"], seed: int
) -> float:
    """Give the cross-validated AUC of logistic regression that tells two sets of embeddings apart.

    .. [1] D. Lopez-Paz and M. Oquab, "Revisiting classifier two-sample tests", arXiv 1610.06545.

    >>> draws = np.random.default_rng(0).normal(size=(100, 4))
    >>> domain_auc(draws[:50], draws[50:] + 9, 0)
    1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    of_task = np.repeat([0, 1], [len(preserved), len(task)])
    folds = StratifiedKFold(min(FOLDS, len(preserved), len(task)), shuffle=True, random_state=seed)
    # Strong regularisation: there are more dimensions than texts.
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    told = cross_val_predict(
        classifier, np.vstack([preserved, task]), of_task, cv=folds, method="decision_function"
    )
    return float(roc_auc_score(of_task, told))


def domain_remark(auc: float) -> str:
    """Say that both texts are of one domain; nothing where they are not."""
    if auc >= ALIKE:
        return ""
    return (
        f"the preserved text is hardly told from the task's (AUC {auc:.2f} of a linear classifier of the base's "
        "embeddings): it protects the task's own domain, and holds back what the fine-tune learned there"
    )
