import numpy as np
import pytest

from d2f_jax.training.data import loader, transforms


class Numbers:
    """Ten tiny samples that know their number."""

    def __init__(self, length=10):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        picture = np.random.default_rng(index).random((4, 6, 3), np.float32)
        return {"image": picture, "bokeh": picture, "number": np.int32(index)}


RANDOM = (
    transforms.RandomCrop(size=(2, 3)),
    transforms.RandomFlip(),
    transforms.RandomExposure(),
)


def batches(count, **options):
    iterator = iter(loader.make_loader(Numbers(), transforms=RANDOM, **options))
    return [next(iterator) for _ in range(count)]


def by_number(batch):
    order = np.argsort(
        [f"{n}-{x.sum():.6f}" for n, x in zip(batch["number"], batch["image"], strict=True)]
    )
    return {name: value[order] for name, value in batch.items()}


def test_each_epoch_holds_every_sample_once_in_its_own_order():
    numbers = np.concatenate([b["number"] for b in batches(10, batch_size=2)]).reshape(2, 10)
    np.testing.assert_array_equal(np.sort(numbers), [range(10)] * 2)
    assert not np.array_equal(numbers[0], numbers[1])


def test_the_seed_decides_order_and_transforms():
    for one, two in zip(batches(4, batch_size=3), batches(4, batch_size=3), strict=True):
        np.testing.assert_array_equal(one["image"], two["image"])
    other = batches(4, batch_size=3, seed=1)
    assert not np.array_equal(batches(4, batch_size=3)[0]["number"], other[0]["number"])


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batches_of_one(processes):
    whole = batches(6, batch_size=4)
    parts = [
        batches(6, batch_size=4 // processes, process_index=i, process_count=processes)
        for i in range(processes)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        joined = {n: np.concatenate([s[n] for s in shares]) for n in batch}
        for name, value in by_number(batch).items():
            np.testing.assert_array_equal(value, by_number(joined)[name])


@pytest.mark.parametrize("threads", [1, 8])
def test_an_iterator_goes_on_where_its_state_was_taken(threads):
    chain = loader.make_loader(Numbers(), batch_size=4, transforms=RANDOM, threads=threads)
    iterator = iter(chain)
    for _ in range(3):
        next(iterator)
    state = iterator.get_state()
    wanted = [next(iterator) for _ in range(4)]
    resumed = iter(chain)
    resumed.set_state(state)
    for batch in wanted:
        np.testing.assert_array_equal(next(resumed)["image"], batch["image"])


def test_one_ordered_pass_for_evaluation():
    chain = loader.make_loader(Numbers(), batch_size=4, shuffle=False, epochs=1)
    assert [b["number"].tolist() for b in chain] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_processes_take_the_same_number_of_steps():
    passes = [
        [
            b["number"].tolist()
            for b in loader.make_loader(
                Numbers(11),
                batch_size=2,
                shuffle=False,
                epochs=1,
                process_index=i,
                process_count=2,
            )
        ]
        for i in range(2)
    ]
    assert passes == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]


@pytest.mark.parametrize(
    ("length", "options", "message"),
    [
        (0, {"batch_size": 2}, "the data set is empty"),
        (5, {"batch_size": 0}, "batch size of 1 or more"),
        (5, {"batch_size": 2, "process_index": 2, "process_count": 2}, "below the process count"),
        (3, {"batch_size": 2, "process_count": 2, "epochs": 1}, "do not fill one batch"),
    ],
)
def test_impossible_chains_are_refused(length, options, message):
    with pytest.raises(ValueError, match=message):
        loader.make_loader(Numbers(length), **options)
