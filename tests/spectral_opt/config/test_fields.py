import numpy as np
import pytest

from spectral_opt.config import check_refresh, refresh_schedule

from helpers.names import shown


@pytest.mark.parametrize(
    ("refresh", "schedule"),
    [("never", (0, 0.0)), (7, (7, 0.0)), (np.int64(7), (7, 0.0)), ("drift:0.25", (0, 0.25))],
    ids=shown,
)
def test_a_schedule_is_read(refresh, schedule):
    assert refresh_schedule(refresh) == schedule
    assert check_refresh(refresh) == refresh
    assert not isinstance(check_refresh(refresh), np.integer)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "refresh", [0, -1, True, False, None, 1.0, "drift", "drift:x", "drift:inf", []], ids=shown
)
def test_what_is_no_schedule_raises(refresh):
    with pytest.raises(ValueError, match="refresh is"):
        refresh_schedule(refresh)
