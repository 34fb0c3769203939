"""The one chain from a source of samples to batches (Grain)."""

from collections.abc import Sequence

from d2f_jax import extras
from d2f_jax.training.data.transforms import Transform

with extras.needed("a loader of samples"):
    import grain


def make_loader(
    source: grain.sources.RandomAccessDataSource,
    *,
    batch_size: int,
    seed: int = 0,
    transforms: Sequence[Transform] = (),
    shuffle: bool = True,
    epochs: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 4,
) -> grain.IterDataset:
    """Shuffles, transforms, shares out and batches samples; reads in threads.

    Everything random depends on the seed and on a sample's place in the whole order, not on the
    number of processes: batch i of one process holds the samples of batch i of several, taken
    together. The iterator of the result has `get_state()` and `set_state()`, which Orbax stores.

    Args:
      source: Samples by position (a list, `Synthetic`, `FolderSource`, `ebb.EbbSource`), dicts of
        numpy arrays that are of one shape after the transforms.
      batch_size: Samples per batch in this process.
      seed: Of the order and of the random transforms.
      transforms: Applied one after the other, see `data.transforms`.
      shuffle: Whether to draw a new order in each epoch.
      epochs: Times through the source; None never ends.
      process_index: Which of the processes this is (`jax.process_index()`).
      process_count: Number of processes (`jax.process_count()`).
      threads: Threads that read.

    Returns:
      Batches: dicts of stacked arrays. A last batch that is not full is kept when there is one
      process and dropped when there are several, which must take the same number of steps.

    Raises:
      ValueError: if the source is empty, or there are fewer samples than one step of all
        processes takes and `epochs` is limited.
    """
    if len(source) == 0:
        raise ValueError("the data set is empty")
    if batch_size < 1 or not 0 <= process_index < process_count:
        raise ValueError(
            f"needs a batch size of 1 or more and a process index below the process count, got "
            f"batch_size={batch_size}, process_index={process_index}, process_count={process_count}"
        )
    step = batch_size * process_count
    if process_count > 1 and epochs is not None and epochs * len(source) < step:
        raise ValueError(
            f"{epochs} x {len(source)} samples do not fill one batch of {batch_size} in each of "
            f"{process_count} processes"
        )
    chain = grain.MapDataset.source(source).seed(seed)
    if shuffle:
        chain = chain.shuffle()
    chain = chain.repeat(epochs)
    for transform in transforms:
        chain = chain.random_map(transform)
    if process_count > 1:
        chain = chain[: len(chain) // step * step] if epochs is not None else chain
        chain = chain.slice(slice(process_index, None, process_count))
    chain = chain.batch(batch_size, drop_remainder=process_count > 1)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return chain.to_iter_dataset(options)
