# %% [markdown]
# # Training on synthetic data
#
# The authors released no training code and EBB! may not be redistributed, so the project makes its
# own pairs: layers of shapes photographed through a thin lens, with exact distance. Here is stage 1
# in the smallest preset, cut to forty steps; all of it is
#
#     .venv/bin/python -m train.stage1 smoke --workdir runs/first

# %%
import dataclasses
import json
import tempfile
from pathlib import Path

from matplotlib import pyplot

from d2f_jax.training.data import synthetic
from train import config as settings
from train import stage1

# %%
scenes = synthetic.SyntheticConfig(size=(128, 128), radius=(6, 16))
samples = [synthetic.make_sample(scenes, index) for index in range(4)]
figure, axes = pyplot.subplots(3, 4, figsize=(12, 9), layout="constrained")
for column, sample in zip(axes.T, samples, strict=True):
    for place, name in zip(column, ("image", "bokeh", "defocus"), strict=True):
        place.imshow(sample[name], cmap="magma", vmin=0, vmax=1)
        place.set_title(name)
        place.axis("off")
pyplot.show()

# %% [markdown]
# The smoke preset: pictures of 64×64, a defocus network of 346 thousand parameters. The score is
# that of the bokeh on pairs that are not trained on, beside the input's own, that is, of doing
# nothing.

# %%
smoke = settings.STAGE1["smoke"]
print(smoke.data.size, "batch", smoke.data.batch_size, smoke.steps, "steps")
short = dataclasses.replace(smoke, steps=40, save_every=20, log_every=2)

with tempfile.TemporaryDirectory() as folder:
    scores = stage1.run(short, folder)
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]

# %%
steps = [line["step"] for line in lines if "loss" in line]
losses = [line["loss"] for line in lines if "loss" in line]
figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
axes.plot(steps, losses)
axes.set(xlabel="step", ylabel="loss")
pyplot.show()
print({name: round(float(value), 3) for name, value in scores.items()})
assert scores["val_psnr"] > scores["val_psnr_input"]
