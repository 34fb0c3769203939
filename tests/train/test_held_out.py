import numpy as np
import pytest

from train import held_out


def test_separation_counts_ordered_pairs():
    defocus = np.array([[0.0, 0.2, 0.2, 0.9]])
    subject = np.array([[True, True, False, False]])
    # Of the four pairs three are in order and one is a tie.
    assert held_out.separation(defocus, subject) == pytest.approx(3.5 / 4)
    assert held_out.separation(-defocus, subject) == pytest.approx(0.5 / 4)
    with pytest.raises(ValueError, match="both subject and background"):
        held_out.separation(defocus, np.ones_like(subject))
