import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2f_jax.render import kernels
from tests.tolerances import EXACT


@pytest.mark.optimised
def test_paper_sizes_are_the_released_ones():
    expected = (1, 3, 5, 7, 11, 15, 19, 23, 27, 33, 39, 45, 53, 61, 69)
    assert expected == kernels.PAPER_SIZES
    assert kernels.growing_sizes(15, 69) == kernels.PAPER_SIZES


def test_soft_disk_closed_form():
    """Values of Eq. 13 before normalisation (checked in the released code)."""
    small = kernels.soft_disk(3) * 6.2316
    np.testing.assert_allclose(small[1, 1], 0.8176, atol=1e-4)
    np.testing.assert_allclose(small[0, 1], 0.7311, atol=1e-4)
    np.testing.assert_allclose(small[0, 0], 0.6225, atol=1e-4)
    for size, total in ((3, 6.2316), (7, 33.8715), (69, 3634.83)):
        centre = 0.5 + 0.5 * np.tanh(0.25 * (size // 2) ** 2 + 0.5)
        np.testing.assert_allclose(
            centre / kernels.soft_disk(size)[size // 2, size // 2], total, rtol=1e-5
        )


def test_hard_disk_counts_pixels():
    np.testing.assert_allclose(kernels.hard_disk(5).max(), 1 / 13, atol=EXACT)
    assert (kernels.hard_disk(5) > 0).sum() == 13


@pytest.mark.parametrize("aperture", [kernels.soft_disk, kernels.hard_disk])
@given(radius=st.integers(0, 40))
def test_kernels_keep_energy_and_symmetry(aperture, radius):
    kernel = aperture(2 * radius + 1)
    np.testing.assert_allclose(kernel.sum(), 1, atol=EXACT)
    assert kernel.min() >= 0
    np.testing.assert_array_equal(kernel, kernel.T)
    np.testing.assert_array_equal(kernel, kernel[::-1])


def test_bank_centres_every_kernel():
    bank = kernels.kernel_bank((1, 3, 7))
    assert bank.shape == (3, 7, 7)
    np.testing.assert_array_equal(bank[0], np.eye(7)[3][:, None] * np.eye(7)[3])
    np.testing.assert_array_equal(bank[1, 2:5, 2:5], kernels.soft_disk(3))
    np.testing.assert_array_equal(bank[2], kernels.soft_disk(7))


@given(blur=st.floats(0, 3))
def test_blur_scales_the_second_moment_and_keeps_energy(blur):
    bank = kernels.kernel_bank((1, 11, 41), blur=blur)
    np.testing.assert_allclose(bank.sum((1, 2)), 1, atol=1e-5)
    axis = np.arange(bank.shape[-1]) - bank.shape[-1] // 2
    moment = (bank * (axis[:, None] ** 2 + axis**2)).sum((1, 2))
    # A disk of radius r has the second moment r^2 / 2; pixels and soft rims add a little.
    np.testing.assert_allclose(moment[2], (20 * blur) ** 2 / 2, rtol=0.12, atol=2.0)


def test_blur_of_one_gives_the_table_and_nearby_blurs_nearby_kernels():
    one = kernels.kernel_bank(blur=1.0)
    np.testing.assert_array_equal(one, kernels.kernel_bank())
    near = kernels.kernel_bank(blur=1.0001)
    margin = (near.shape[-1] - one.shape[-1]) // 2
    np.testing.assert_allclose(near[:, margin:-margin, margin:-margin], one, atol=1e-4)


@pytest.mark.parametrize("layers", [11, 13, 15, 17, 19])
@pytest.mark.parametrize("largest", [49, 59, 69, 79, 89])
def test_growing_schedules_of_figure_8(layers, largest):
    sizes = kernels.growing_sizes(layers, largest)
    assert len(sizes) == layers
    assert sizes[0] == 1
    assert sizes[-1] == largest
    assert all(size % 2 for size in sizes)
    assert list(sizes) == sorted(sizes)
    assert kernels.kernel_bank(sizes).shape == (layers, largest, largest)


def test_uniform_schedule_of_table_6():
    assert kernels.uniform_sizes(15, 4)[-1] == 57
    assert set(np.diff(kernels.uniform_sizes(15, 4))) == {4}


@pytest.mark.parametrize(
    "call",
    [
        lambda: kernels.soft_disk(4),
        lambda: kernels.hard_disk(0),
        lambda: kernels.kernel_bank((3, 5)),
        lambda: kernels.kernel_bank((1, 5, 3)),
        lambda: kernels.kernel_bank((1,)),
        lambda: kernels.kernel_bank((1, 4)),
        lambda: kernels.kernel_bank(blur=-1.0),
        lambda: kernels.kernel_bank(blur=float("nan")),
        lambda: kernels.growing_sizes(1, 69),
        lambda: kernels.growing_sizes(15, 68),
        lambda: kernels.uniform_sizes(15, 3),
    ],
)
def test_senseless_sizes_are_refused(call):
    with pytest.raises(ValueError, match=r"got|grow"):
        call()


@pytest.mark.parametrize(
    "aperture",
    [
        kernels.Circle(),
        kernels.Polygon(blades=5, roundness=0.3, rotation=20.0),
        kernels.Ring(inner=0.6),
        kernels.Squeeze(ratio=0.5),
        kernels.Vignetted(shift=(0.7, 0.0)),
        kernels.Picture(np.tri(16, dtype=np.float32)),
        kernels.Picture(np.ones((4, 24), np.float32)),
        kernels.Picture(np.ones((24, 4), np.float32)),
    ],
)
def test_lens_kernels_keep_energy_and_turn_in_front_of_the_focus(aperture):
    for radius in (0.0, 1.0, 7.5):
        far = np.fft.fftshift(kernels.lens_kernel(aperture, -radius, (33, 33)))
        near = np.fft.fftshift(kernels.lens_kernel(aperture, radius, (33, 33)))
        np.testing.assert_allclose(far.sum(), 1, atol=EXACT * 10)
        assert far.min() >= 0
        reach = np.abs(np.argwhere(far > 1e-6) - 16).max()
        assert reach <= np.ceil(radius)  # what is drawn of an opening holds all of it
        np.testing.assert_allclose(near, far[::-1, ::-1], atol=EXACT)
    np.testing.assert_array_equal(kernels.lens_kernel(aperture, 0.0, (8, 8)).ravel()[:2], [1, 0])


def test_wrong_apertures_are_refused():
    for make in (
        lambda: kernels.Polygon(blades=2),
        lambda: kernels.Ring(inner=1.0),
        lambda: kernels.Squeeze(ratio=0.0),
        lambda: kernels.Picture(np.zeros((3, 3), np.float32)),
    ):
        with pytest.raises(ValueError, match=r"aperture|polygon|ring"):
            make()
