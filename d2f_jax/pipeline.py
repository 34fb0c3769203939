"""The whole line of Algorithm 1 (Luo et al. 2023): image -> defocus, radiance -> render -> fuse.

`load()` gives a ready `D2F`; `apply` is the same as a pure function of configuration, parameters
and image, for use inside other jitted code.
"""

import functools
import math
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
from d2f_jax.models import architectures, fusion, imagination, radiance, resize, strips, weights
from d2f_jax.models import defocus as hallucination
from d2f_jax.render import arrays, kernels
from d2f_jax.types import Extent, Kernels


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


KERNELS_SIDE = 768
"""Long side of the working size that the kernels of the paper are meant for [px]."""


def working_size(height: int, width: int) -> tuple[int, int]:
    """Half size, each side rounded to a multiple of 64 (errata k), at least 64."""
    return max(1, round(height / 128)) * 64, max(1, round(width / 128)) * 64


def largest_blur(config: architectures.D2FConfig, height: int, width: int) -> float:
    """The largest factor `blur` that a picture of this size takes: kernels must fit into it."""
    most = (min(working_size(height, width)) - 1) / (config.sizes[-1] // 2)
    return math.nextafter(most, 0)  # so that no product of it is rounded up


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
        in which pixels outside of all layers turn black (errata g); of one decoder, as the mean
        of several is in [0, 1] anyway. A map that is not cut gets no outlines and no ground.
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
    size = working_size(*image.shape[-3:-1])
    small = resize.bilinear(image, size) if strip is None else resize.in_strips(image, size)

    moved, near = jnp.zeros(image.shape[:-3], jnp.float32), None
    if disparity is not None:
        near = disparity.max(axis=(-2, -1))
        disparity = resize.bilinear(disparity[..., None], size)[..., 0]
    elif seen is None:
        seen, moved = imagination.hallucinate(
            config, params, small, clip=clip, always_sharp=always_sharp, strip=strip
        )
    return _developed(
        config,
        params,
        image,
        small,
        moved,
        kernels=kernels,
        disparity=disparity,
        near=near,
        defocus=seen,
        focus=focus,
        layer_batch=layer_batch,
        strip=strip,
        tile=tile,
    )


def _developed(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    image: Array,
    small: Array,
    moved: Array,
    *,
    kernels: Kernels,
    disparity: Any,
    near: Any,
    defocus: Any,
    focus: float | Array | None,
    layer_batch: int | None,
    strip: int | None,
    tile: int | None,
    extents: tuple[Extent, Extent] | None = None,
) -> D2FOutput:
    """All that follows the first network.

    `small`, the disparity (whose nearest is `near`) or the defocus map are at working size;
    `extents` say where the picture ends in them and in `image` (`fusion.blend`).
    """
    if disparity is not None:
        signed = hallucination.from_disparity(disparity, near if focus is None else focus)
        defocus, order = jnp.abs(signed), "depth"
    else:
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
        extent=extents and extents[0],
    )
    blend = fusion.blend(
        config.fusion_net,
        params.fusion,
        image,
        rendered,
        defocus,
        theta=config.theta,
        sharp=config.sharp if disparity is None else 0.0,  # a given map is taken at its word
        strip=strip,
        extents=extents,
    )
    return D2FOutput(blend.bokeh, rendered, defocus, weight, blend.fusion_mask, moved)


_jitted = jax.jit(
    apply, static_argnames=("config", "clip", "always_sharp", "layer_batch", "strip", "tile")
)
_jitted_rest = jax.jit(_developed, static_argnames=("config", "layer_batch", "strip", "tile"))


@functools.partial(jax.jit, static_argnames=("config", "strip"))
def _hallucinated(config, params, image, *, strip):
    size = working_size(*image.shape[-3:-1])
    small = resize.in_strips(image, size)
    return imagination.hallucinate(config, params, small, strip=strip)[0]


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
        image: Float[Array | np.ndarray, "*b h w 3"],
        *,
        disparity: Float[Array | np.ndarray, "*b p q"] | None = None,
        seen: Float[Array | np.ndarray, "*b p q"] | None = None,
        focus: float | None = None,
        blur: float = 1.0,
        clip: bool = True,
        always_sharp: bool = True,
        layer_batch: int | None = None,
        strip: int | None = None,
        tile: int | None = None,
        canvas: tuple[int, int] | None = None,
    ) -> D2FOutput:
        """Turns a sharp picture into a wide-aperture one (Algorithm 1).

        A picture that is an array of numpy is laid on a canvas that others share, so that little is
        compiled for a new size; an array of JAX is compiled for its own size and stays where it is.

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
          canvas: Height and width of the least canvas, for pictures that are to share one.

        Returns:
          The picture and every intermediate.

        Raises:
          ValueError: for a picture that is no float RGB array or under 64 pixels, for values that
            are not finite, for a focus that the network's map cannot have, for a negative blur, or
            for kernels larger than the picture.
        """
        image = arrays.checked(image)
        if disparity is not None:
            disparity = arrays.checked_map(disparity, "disparity", image)
        if focus is not None and not np.isfinite(focus):
            raise ValueError(f"focus must be a finite number, got {focus}")
        if clip and focus is not None and disparity is None and not 0 <= focus <= 1:
            raise ValueError(f"focus is a value of the network's map, from 0 to 1, got {focus:g}")
        *batch, height, width, _ = image.shape
        most = largest_blur(self.config, height, width)
        if blur > most:
            raise ValueError(
                f"blur={blur:g} needs kernels larger than the picture of {width}x{height} pixels; "
                f"{math.floor(100 * most) / 100:g} is the most"
            )
        bank = kernels.kept_bank(self.config.sizes, float(blur))
        radius, size = bank.shape[-1] // 2, working_size(height, width)
        shared = self._is_shared(image)
        whole = height, width
        if shared and not budget.is_large(whole):
            whole = arrays.shared_size(whole, canvas)
        held = working_size(*whole)
        # Amounts of blur share what is compiled, and pictures of one canvas the default of theirs.
        default = -(-(self.config.sizes[-1] // 2) * max(held) // KERNELS_SIDE) if shared else -1
        room = -radius % 16 if radius > default else default + -default % 4 - radius
        if (shared or blur != 1) and radius + room < min(held):
            bank, radius = np.pad(bank, ((0, 0), (room, room), (room, room))), radius + room
        pieces = budget.rendering((*batch, *held), radius, len(bank), tile)
        options: dict[str, Any] = {
            "kernels": bank,
            "focus": focus,
            "layer_batch": pieces.layer_batch if layer_batch is None else layer_batch,
            "strip": budget.strip(whole[1]) if strip is None else strip,
            "tile": pieces.tile,
        }
        if not shared:
            options |= {"clip": clip, "always_sharp": always_sharp}
            return _jitted(
                self.config, self.params, image, disparity=disparity, seen=seen, **options
            )
        small = resize.in_strips(image, size)
        moved: Any = np.zeros((), np.float32)
        near: Any = None
        if disparity is not None:
            near = disparity.max()
            disparity = arrays.extended(resize.in_strips(disparity[..., None], size)[..., 0], held)
        elif seen is None:
            imagine = functools.partial(imagination.on_host, self.config, self.params)
            seen, moved = imagine(small, clip=clip, always_sharp=always_sharp)
        out = _jitted_rest(
            self.config,
            self.params,
            arrays.extended(image, whole, 0),
            arrays.extended(small, held, 0),
            moved,
            disparity=disparity,
            near=near,
            defocus=None if seen is None else arrays.extended(np.asarray(seen), held),
            extents=(size, (height, width)),
            **options,
        )
        ends = ((height, width), size, size, size, (height, width))
        parts = (arrays.cut(x, end) for x, end in zip(out[:5], ends, strict=True))
        return D2FOutput._make((*parts, out.moved))

    def _is_shared(self, image: Array | np.ndarray) -> bool:
        """Whether a picture lies on the host, and on a canvas."""
        on_host = isinstance(image, np.ndarray) and image.ndim == 3
        return on_host and self.config.defocus_side is not None

    def defocus(self, image: Float[Array | np.ndarray, "*b h w 3"]) -> Float[Array, "*b p q"]:
        """The defocus map of the first network alone, for many calls with the same picture.

        Args:
          image: As in a call.

        Returns:
          The map at working size, 0 in focus, in [0, 1].
        """
        image = arrays.checked(image)
        if self._is_shared(image):
            small = resize.in_strips(image, working_size(*image.shape[:2]))
            return jnp.asarray(imagination.on_host(self.config, self.params, small)[0])
        return _hallucinated(self.config, self.params, image, strip=budget.strip(image.shape[-2]))

    def glance(self, image: Float[Array | np.ndarray, "h w 3"]) -> Float[Array, "p q"]:
        """The defocus map of a small copy of the picture, for a first look.

        Args:
          image: All-in-focus picture, sRGB in [0, 1], each side 64 pixels or more.

        Returns:
          The map in [0, 1], 0 in focus, as large as the network saw the picture: its long side is
          the configuration's `defocus_side`, or `GLANCE_SIDE` for networks that see any size.

        Raises:
          ValueError: as `__call__` for the picture.
        """
        image = arrays.checked(image)
        side = self.config.defocus_side or GLANCE_SIDE
        step = max(1, max(image.shape) // (4 * side))  # resizing antialiases what is left
        image = image[step // 2 :: step, step // 2 :: step]
        return jnp.asarray(imagination.glance(self.config, self.params, image, side))


def load(path: str | os.PathLike[str] | None = None) -> D2F:
    """Loads weights: the given safetensors file, or those of the package (docs/weights.md).

    Raises:
      ValueError: if the file is missing, damaged, no weights file of this library, or does not fit
        the architecture that it names.
    """
    path = DEFAULT_WEIGHTS if path is None else path
    tree, metadata = weights.load(path)
    name = metadata.get("architecture")
    if name is None or name not in architectures.ARCHITECTURES:
        known = ", ".join(architectures.ARCHITECTURES)
        raise ValueError(f"{path}: weights for {name!r}; this version knows {known}")
    start = "defocus/params/decoder"
    decoders = {n.split("/")[2] for n in weights.flatten(tree) if n.startswith(start)}
    config = architectures.named(name, max(1, len(decoders)))
    if path != DEFAULT_WEIGHTS:  # whose checksum was right; tracing takes a third of a second
        like = jax.eval_shape(functools.partial(architectures.init, config), jax.random.key(0))
        like = like._asdict()
        if "fusion" not in tree:  # a stage-1 file
            like.pop("fusion")
        weights.check(tree, like, f"{path} for {name}")
    params = architectures.D2FParams(tree["defocus"], tree["radiance"], tree.get("fusion"))
    return D2F(config, jax.device_put(params), metadata)
