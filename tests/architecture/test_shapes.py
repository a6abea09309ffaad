"""The suite checks the shapes that signatures tell, at every call."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from spectral_opt.study.statistics import smoothed_losses


def test_a_wrong_shape_fails() -> None:
    with pytest.raises(TypeCheckError, match="evaluations"):
        smoothed_losses(np.zeros((2, 2)))
