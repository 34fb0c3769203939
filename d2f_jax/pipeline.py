"""The whole line of Algorithm 1 (Luo et al. 2023): image -> defocus, radiance -> render -> fuse.

`load()` gives a ready `D2F`; `apply` is the same as a pure function of configuration, parameters
and image, for use inside other jitted code.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax import budget, render
from d2f_jax.models import architectures, fusion, radiance, resize, strips, weights
from d2f_jax.models import defocus as hallucination
from d2f_jax.render import arrays, kernels
from d2f_jax.types import Kernels


class D2FOutput(NamedTuple):
    """Everything that the pipeline makes on its way.

    Attributes:
      bokeh: Final picture at the size of the input, `... h w 3` in [0, 1].
      rendered: Rendered bokeh at working size (about half), `... p q 3`.
      defocus: Defocus map at working size, `... p q`; 0 in focus.
      weight: Radiance weight at working size, `... p q 3`.
      fusion_mask: 1 keeps the sharp input, 0 takes the rendered bokeh, `... h w`.
      moved: By how much the network's map was lowered so that something is sharp, `...`; 0 with a
        disparity map.
    """

    bokeh: Float[Array, "*b h w 3"]
    rendered: Float[Array, "*b p q 3"]
    defocus: Float[Array, "*b p q"]
    weight: Float[Array, "*b p q 3"]
    fusion_mask: Float[Array, "*b h w"]
    moved: Float[Array, "*b"]


DEFAULT_WEIGHTS = Path(__file__).parent / "models" / "assets" / "d2f-lite.safetensors"
"""The weights that come with the package."""


GLANCE_SIDE = 256
"""Long side at which `D2F.glance` shows a picture to networks that see any size [px]."""


def working_size(height: int, width: int) -> tuple[int, int]:
    """Half size, each side rounded to a multiple of 64 (errata k), at least 64."""
    return max(1, round(height / 128)) * 64, max(1, round(width / 128)) * 64


def apply(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    image: Float[Array, "*b h w 3"],
    *,
    kernels: Kernels,
    disparity: Float[Array, "*b p q"] | None = None,
    seen: Float[Array, "*b p q"] | None = None,
    focus: float | Float[Array, "..."] | None = None,
    clip: bool = True,
    always_sharp: bool = True,
    layer_batch: int | None = None,
    strip: int | None = None,
    tile: int | None = None,
) -> D2FOutput:
    """Algorithm 1 as a pure function, to be jitted with `config` and the options static.

    Args:
      config: Networks and constants.
      params: Their variables.
      image: All-in-focus picture, sRGB in [0, 1], any size from 64 pixels.
      kernels: Bank for the layers (`kernels.kernel_bank(config.sizes, blur=...)`).
      disparity: Inverse depth on any affine scale and at any size, greater = nearer; it takes the
        place of the network's map through Eq. 1.
      seen: What `hallucinate` made of this picture before: the network does not run again.
      focus: Where the focus lies: a value of the disparity map when there is one (None: its
        nearest), else a value of the network's defocus map (None: 0, as trained). Moving it orders
        the layers by depth (Sec. 4.5).
      clip: Whether to cut the network's map to [0, 1]; False gives the released code's behaviour,
        in which pixels outside of all layers turn black (errata g).
      always_sharp: Whether the network's map is lowered where it finds nothing in focus, so that
        what it blurs least is sharp (`defocus.least_blurred`); never where `clip` is False.
      layer_batch: Layers rendered at a time, see `render.layered_render`.
      strip: Full-size rows that the last, largest layers of the networks run at a time, which
        bounds their memory; None takes all. The result is the same.
      tile: Side of the tiles that are rendered one after the other [px at working size], which
        bounds the renderer's memory; None renders in one piece. The result is the same.

    Returns:
      The picture and every intermediate.
    """
    height, width = image.shape[-3:-1]
    size = working_size(height, width)
    small = resize.bilinear(image, size) if strip is None else _shrunk(image, size)

    moved = jnp.zeros(image.shape[:-3], jnp.float32)
    if disparity is not None:
        near = disparity.max(axis=(-2, -1))
        disparity = resize.bilinear(disparity[..., None], size)[..., 0]
        signed = hallucination.from_disparity(disparity, near if focus is None else focus)
        defocus, order = jnp.abs(signed), "depth"
    else:
        if seen is None:
            defocus, moved = hallucinate(
                config, params, small, clip=clip, always_sharp=always_sharp, strip=strip
            )
        else:
            defocus = seen
        signed, order = defocus, "released"
        if focus is not None:  # the network's map grows with distance, a signed one falls
            signed = jnp.asarray(focus, defocus.dtype)[..., None, None] - defocus
            defocus, order = jnp.abs(signed), "depth"

    def weigh(parts: list[Array], _: Array) -> Array:
        virtual: Any = config.radiance_net.apply(params.radiance, parts[0])
        return radiance.highlight_weight(
            parts[0], virtual, alpha=config.alpha, beta=config.beta, threshold=config.highlight
        )

    weight = strips.over_rows(weigh, (small,), rows=strip, halo=0)
    rendered = render.weighted_layered_render(
        small,
        weight,
        signed,
        kernels=kernels,
        sharpness=config.sharpness,
        layer_batch=layer_batch,
        tile=tile,
        order=order,
    )

    blend = fusion.blend(
        config.fusion_net,
        params.fusion,
        image,
        rendered,
        defocus,
        theta=config.theta,
        strip=strip,
    )
    return D2FOutput(blend.bokeh, rendered, defocus, weight, blend.fusion_mask, moved)


def hallucinate(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    small: Float[Array, "*b p q 3"],
    *,
    clip: bool = True,
    always_sharp: bool = True,
    strip: int | None = None,
) -> tuple[Float[Array, "*b p q"], Float[Array, "*b"]]:
    """The defocus map that the first network imagines of a picture at working size.

    Returns:
      The map, and by how much it was lowered; see `apply` for both options.
    """
    # Smaller strips were slower: pictures of a few megapixels should run in one piece.
    net = config.defocus_net.clone(strip=strip and 8 * strip)
    raw: Any = net.apply(params.defocus, _seen(small, config.defocus_side))
    height, width = small.shape[-3:-1]
    defocus = resize.bilinear(raw[..., None], (height, width))[..., 0]
    defocus = jnp.clip(defocus, 0, 1) if clip else defocus
    if not (clip and always_sharp):
        return defocus, jnp.zeros(defocus.shape[:-2], defocus.dtype)
    moved = hallucination.least_blurred(jnp.clip(raw, 0, 1))
    return jnp.maximum(defocus - moved[..., None, None], 0), moved


def _shrunk(image: Array, size: tuple[int, int]) -> Array:
    """The picture at working size, made 64 rows at a time, which bounds what is gathered for it."""
    rows = jnp.arange(size[0]).reshape(-1, 64)
    parts = jax.lax.map(lambda row: resize.bilinear(image, size, row=row), rows)
    return jnp.moveaxis(parts, 0, -4).reshape(*image.shape[:-3], *size, 3)


def _seen(small: Array, side: int | None) -> Array:
    """The picture as the defocus network sees it: its long side brought to `side`."""
    if side is None:
        return small
    scale = side / max(small.shape[-3:-1])
    size = [max(1, round(scale * length / 32)) * 32 for length in small.shape[-3:-1]]
    return jax.image.resize(small, (*small.shape[:-3], *size, 3), "linear")


_jitted = jax.jit(
    apply, static_argnames=("config", "clip", "always_sharp", "layer_batch", "strip", "tile")
)


@functools.partial(jax.jit, static_argnames=("config", "strip"))
def _hallucinated(config, params, image, *, strip):
    size = working_size(*image.shape[-3:-1])
    return hallucinate(config, params, _shrunk(image, size), strip=strip)[0]


@dataclass(frozen=True)
class D2F:
    """A configuration with its parameters: call it with an image.

    Attributes:
      config: Networks and constants.
      params: Their variables.
      metadata: What the weights file says of itself.
    """

    config: architectures.D2FConfig
    params: architectures.D2FParams
    metadata: dict[str, str]

    def __call__(
        self,
        image: Float[Array, "*b h w 3"],
        *,
        disparity: Float[Array, "*b p q"] | None = None,
        seen: Float[Array, "*b p q"] | None = None,
        focus: float | None = None,
        blur: float = 1.0,
        clip: bool = True,
        always_sharp: bool = True,
        layer_batch: int | None = None,
        strip: int | None = None,
        tile: int | None = None,
    ) -> D2FOutput:
        """Turns a sharp picture into a wide-aperture one (Algorithm 1).

        Args:
          image: All-in-focus picture, sRGB in [0, 1], one or a batch, each side 64 pixels or more.
          disparity: Inverse depth that takes the network's place, see `apply`.
          seen: What `defocus` made of this picture before: that network does not run again.
          focus: Where the focus lies, see `apply`.
          blur: Factor on all kernel sizes (Fig. 14), any number from 0 up.
          clip: Whether to cut the network's map to [0, 1], see `apply`.
          always_sharp: Whether something is sharp in every picture, see `apply`.
          layer_batch: Layers rendered at a time; None chooses by device and size (`budget`).
          strip: Rows that the networks' largest layers run at a time; None chooses by size.
          tile: Side of the tiles that are rendered one after the other [px at working size]; None
            takes tiles where one piece would need gigabytes. The result is the same.

        Returns:
          The picture and every intermediate.

        Raises:
          ValueError: for a picture that is no float RGB array or under 64 pixels, for values that
            are not finite, for a negative blur, or for kernels larger than the picture.
        """
        image = _checked_image(image)
        if disparity is not None:
            disparity = _checked_disparity(disparity, image)
        if focus is not None and not np.isfinite(focus):
            raise ValueError(f"focus must be a finite number, got {focus}")
        bank = _bank(self.config.sizes, float(blur))
        *batch, height, width, _ = image.shape
        radius, size = bank.shape[-1] // 2, working_size(height, width)
        if radius >= min(size):
            raise ValueError(
                f"blur={blur} needs kernels of radius {radius} px, too large for a "
                f"{height}x{width} image at its working size {size}"
            )
        room = -radius % 16
        if blur != 1 and radius + room < min(size):  # other amounts share what is compiled
            bank, radius = np.pad(bank, ((0, 0), (room, room), (room, room))), radius + room
        pieces = budget.rendering((*batch, *size), radius, len(bank), tile)
        return _jitted(
            self.config,
            self.params,
            image,
            kernels=bank,
            disparity=disparity,
            seen=seen,
            focus=focus,
            clip=clip,
            always_sharp=always_sharp,
            layer_batch=pieces.layer_batch if layer_batch is None else layer_batch,
            strip=budget.strip(width) if strip is None else strip,
            tile=pieces.tile,
        )

    def defocus(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b p q"]:
        """The defocus map of the first network alone, for many calls with the same picture.

        Args:
          image: As in a call.

        Returns:
          The map at working size, 0 in focus, in [0, 1].
        """
        image = _checked_image(image)
        return _hallucinated(self.config, self.params, image, strip=budget.strip(image.shape[-2]))

    def glance(self, image: Float[Array, "h w 3"]) -> Float[Array, "p q"]:
        """The defocus map of a small copy of the picture, for a first look.

        Args:
          image: All-in-focus picture, sRGB in [0, 1], each side 64 pixels or more.

        Returns:
          The map in [0, 1], 0 in focus, as large as the network saw the picture: its long side is
          the configuration's `defocus_side`, or `GLANCE_SIDE` for networks that see any size.

        Raises:
          ValueError: as `__call__` for the picture.
        """
        image = _checked_image(image)
        side = self.config.defocus_side or GLANCE_SIDE
        step = max(1, max(image.shape) // (4 * side))  # resizing antialiases what is left
        seen = _seen(image[step // 2 :: step, step // 2 :: step], side)
        return _glance(self.config.defocus_net, self.params.defocus, seen)


@functools.partial(jax.jit, static_argnames="net")
def _glance(net: hallucination.DefocusNet, params: Any, seen: Array) -> Array:
    raw: Any = net.apply(params, seen)
    return jnp.clip(raw, 0, 1)


def load(path: str | os.PathLike[str] | None = None) -> D2F:
    """Loads weights: the given safetensors file, or those of the package (docs/weights.md).

    Raises:
      ValueError: if the file is missing, damaged, no weights file of this library, or does not fit
        the architecture that it names.
    """
    path = DEFAULT_WEIGHTS if path is None else path
    tree, metadata = weights.load(path)
    name = metadata.get("architecture")
    if name not in architectures.ARCHITECTURES:
        known = ", ".join(architectures.ARCHITECTURES)
        raise ValueError(f"{path}: weights for {name!r}; this version knows {known}")
    config = architectures.ARCHITECTURES[name]
    if path != DEFAULT_WEIGHTS:  # whose checksum was right; tracing takes a third of a second
        like = jax.eval_shape(
            functools.partial(architectures.init, config), jax.random.key(0)
        )._asdict()
        if "fusion" not in tree:  # a stage-1 file
            like.pop("fusion")
        weights.check(tree, like, f"{path} for {name}")
    params = architectures.D2FParams(tree["defocus"], tree["radiance"], tree.get("fusion"))
    return D2F(config, jax.device_put(params), metadata)


@functools.lru_cache(maxsize=8)
def _bank(sizes: tuple[int, ...], blur: float) -> np.ndarray:
    return kernels.kernel_bank(sizes, blur=blur)


def _checked_image(image: Any) -> Array:
    shape = np.shape(image)
    if len(shape) < 3 or shape[-1] != 3 or min(shape[-3:-1]) < 64:
        raise ValueError(
            f"image must be '... h w 3' with sides of at least 64 pixels, got shape {shape}"
        )
    image = jnp.asarray(image)
    arrays.check_image(image)
    return arrays.scaled(image).astype(jnp.float32)


def _checked_disparity(disparity: Any, image: Array) -> Array:
    shape = np.shape(disparity)
    if len(shape) != image.ndim - 1 or shape[:-2] != image.shape[:-3]:
        raise ValueError(f"disparity must be '... h w' beside image {image.shape}, got {shape}")
    disparity = jnp.asarray(disparity, jnp.float32)
    if not bool(jnp.isfinite(disparity).all()):
        raise ValueError("disparity holds NaN or infinite values: fill them first")
    return disparity
