"""The command `d2f`. Only parsing happens here, before anything heavy is imported.

Exit codes: 0 all done, 1 some of several files failed, 2 nothing done (wrong usage, or the only
file is bad), 130 interrupted. Each failure is one line on stderr that begins with `d2f:`.
"""

import contextlib
import difflib
import io
import os
import platform
import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import arg

from d2f_jax import __version__
from d2f_jax.photo.settings import MapSettings, Settings


@dataclass(frozen=True, kw_only=True)
class Bokeh(Settings):
    """Give photographs the shallow depth of field of a wide aperture.

    Writes NAME_bokeh.EXT beside every photograph, in its format. A photograph is never replaced,
    the result of an earlier run is.
    """

    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        arg(
            metavar="IMAGE [IMAGE ...]",
            help_behavior_hint="",
            help="Photographs (JPEG, HEIC, PNG, TIFF, WebP, AVIF, EXR and others), folders of "
            "them, or patterns such as '*.jpg'.",
        ),
    ] = ()
    output: Annotated[
        str | None,
        arg(
            metavar="FILE|DIR",
            help_behavior_hint="",
            help="File to write for one photograph, or a folder to write to.",
        ),
    ] = None
    save_maps: Annotated[
        bool,
        arg(
            help_behavior_hint="",
            help="Also write the maps made on the way: as PNG pictures in the photograph's "
            "proportions, and exactly as they were computed as NPZ.",
        ),
    ] = False
    skip: Annotated[
        bool,
        arg(
            help_behavior_hint="",
            help="Leave photographs alone whose result is there already, instead of replacing it.",
        ),
    ] = False
    recursive: Annotated[
        bool,
        arg(
            help_behavior_hint="",
            help="Look into the subfolders of folders too; a folder named with --output gets the "
            "same ones.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Depth(MapSettings):
    """Write the map that a photograph would be developed with, and show its range.

    That is the depth in its file, else what the networks imagine; or the map that is named.
    """

    image: Annotated[tyro.conf.Positional[str], arg(metavar="IMAGE", help="A photograph.")]
    output: Annotated[
        str | None,
        arg(
            metavar="MAP",
            help_behavior_hint="",
            help="PNG of 16 bits or NPZ to write instead of NAME_depth.png. Both say what their "
            "values are, and are read by --disparity.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Convert the authors' two released checkpoints to one weights file."""

    out: Annotated[
        tyro.conf.Positional[Path], arg(metavar="OUT.safetensors", help="Weights file to write.")
    ]
    stage1: Annotated[
        Path, arg(metavar="A.pth", help="First stage: defocus hallucination and radiance.")
    ]
    stage2: Annotated[Path, arg(metavar="B.pth", help="Second stage: fusion.")]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score pictures against the ground truth of the same names: PSNR and SSIM.

    Prints the means under every convention in use, side by side.
    """

    predictions: Annotated[
        tyro.conf.Positional[Path], arg(metavar="PREDICTIONS", help="Folder of pictures.")
    ]
    truths: Annotated[
        tyro.conf.Positional[Path], arg(metavar="TRUTHS", help="Folder of ground truth.")
    ]
    output: Annotated[
        Path | None,
        arg(
            metavar="DIR",
            help_behavior_hint="",
            help="Folder for scores.json, scores.md and worst.jpg.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class App:
    """Show a page in the browser: click into a photograph where it should be sharp.

    Listens on this machine only, unless --host says otherwise. Needs the extra `app`.
    """

    folder: Annotated[
        tyro.conf.Positional[Path | None],
        arg(
            metavar="[FOLDER]",
            help_behavior_hint="",
            help="Photographs to offer, instead of an example.",
        ),
    ] = None
    host: Annotated[
        str,
        arg(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 is for everyone in reach."),
    ] = "127.0.0.1"
    port: Annotated[int, arg(metavar="N", help="Port to listen on; 0 takes a free one.")] = 7860
    depth_model: Annotated[
        str | None,
        arg(
            metavar="NAME|FILE.onnx",
            help_behavior_hint="",
            help="A depth network to offer as a source of maps, as in `d2f bokeh`.",
        ),
    ] = None
    max_upload: Annotated[float, arg(metavar="MB", help="Largest file that is taken.")] = 100.0
    max_megapixels: Annotated[float, arg(metavar="N", help="Largest photograph.")] = 60.0
    warm_up: Annotated[
        bool,
        arg(
            help_behavior_hint="",
            help="Compile what moves need when they need it, instead of at the start.",
        ),
    ] = True


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Print versions, devices, caches and optional parts, for a report of what went wrong."""


Command = Bokeh | Depth | App | Convert | Evaluate | Doctor

COMMANDS = ("bokeh", "depth", "app", "convert", "evaluate", "doctor")


def parse(arguments: Sequence[str]) -> Command:
    """Turns the words of a command line into options.

    Raises:
      ValueError: saying in one line what is wrong.
      SystemExit: after printing the help that was asked for.
    """
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise ValueError(_no_command(arguments[0]))
    return read(
        Annotated[Bokeh, tyro.conf.subcommand("bokeh")]
        | Annotated[Depth, tyro.conf.subcommand("depth")]
        | Annotated[App, tyro.conf.subcommand("app")]
        | Annotated[Convert, tyro.conf.subcommand("convert")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")],
        arguments,
        program="d2f",
        called=" ".join(["d2f", *(word for word in arguments[:1] if word in COMMANDS)]),
        description="Wide-aperture pictures from sharp photographs (Defocus to Focus).",
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def read(
    form: Any,
    words: Sequence[str] | None,
    *,
    program: str,
    called: str | None = None,
    **options: Any,
) -> Any:
    """The words of a command line (None: of this process) as `form` has them, by `tyro.cli`.

    Args:
      form: A dataclass, or a union of them.
      words: The words.
      program: What the command is called.
      called: The same with its subcommand, whose help is named where something is wrong.
      **options: What else `tyro.cli` takes.

    Raises:
      ValueError: saying in one line what is wrong.
      SystemExit: after printing the help that was asked for.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(form, args=words, prog=program, **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(_unboxed(errors.getvalue(), called or program)) from None


def command() -> int:
    """Runs the words of this process; what it compiles for pictures is kept for the next one."""
    if sys.argv[1:2] in (["bokeh"], ["depth"], ["app"], ["doctor"]):
        _keep_compiled()
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough; Python would complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(f"d2f {__version__}")
        return 0
    try:
        return _run(parse(arguments))
    except SystemExit:
        return 0  # the help was printed
    except ValueError as error:
        print(f"d2f: {_in_one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("d2f: interrupted", file=sys.stderr)
        return 130


def _run(options: Command) -> int:
    if isinstance(options, Convert):
        if options.out.resolve() in (options.stage1.resolve(), options.stage2.resolve()):
            raise ValueError(f"{options.out}: would replace a checkpoint; name another file")
        from d2f_jax.models import convert

        convert.convert_checkpoints(options.stage1, options.stage2, options.out)
        print(options.out)
        return 0

    if isinstance(options, Evaluate):
        from d2f_jax.training import evaluation

        scores = evaluation.evaluate_folders(options.predictions, options.truths)
        if options.output is not None:
            scores.write(options.output)
        print(scores.table())
        return 0

    if isinstance(options, Doctor):
        from d2f_jax import doctor

        return doctor.run()

    if isinstance(options, App):
        from d2f_jax import extras

        with extras.needed("the page"):
            from d2f_jax.app import launch

        return launch.run(
            options.folder,
            host=options.host,
            port=options.port,
            depth_model=options.depth_model,
            max_upload=options.max_upload,
            max_megapixels=options.max_megapixels,
            warm_up=options.warm_up,
        )

    from d2f_jax.photo import batch

    if isinstance(options, Depth):
        return batch.write_map(options.image, options, output=options.output)
    return batch.run(
        options.images,
        options,
        output=options.output,
        save_maps=options.save_maps,
        skip=options.skip,
        recursive=options.recursive,
    )


def _keep_compiled() -> None:
    """Names a folder for JAX to keep compiled code in, which halves the next cold start.

    One for each jaxlib and processor, which a home may be shared by: code of another is refused
    at best.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        processor = platform.processor()
        with contextlib.suppress(OSError):  # Linux alone lists what a processor can do
            processor = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]
        place = f"{version('jaxlib')}-{zlib.crc32(processor.encode()):08x}"
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "d2f_jax" / place
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return
    if os.access(folder, os.W_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
        # Code that XLA refuses it compiles anew; it would say so on the screen first.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _no_command(word: str) -> str:
    """What to say to a first word that is no command."""
    if Path(word).exists():
        return f"{word}: name a command first, as in d2f bokeh {word}; see d2f --help"
    return f"no command {word}: there are {_listed(word, COMMANDS)}"


def _listed(word: str, known: Sequence[str]) -> str:
    """What there is, and which of it a word seems to mean."""
    alike = difflib.get_close_matches(word, known, n=1)
    return ", ".join(known) + (f"; did you mean {alike[0]}?" if alike else "")


def _in_one_line(text: str) -> str:
    """Several lines, of which the first may announce the others, as one."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "; ".join(line for line in lines if line).replace(":; ", ": ")


def _unboxed(text: str, program: str) -> str:
    """Brings tyro's box of several lines to one, without the help of options that it repeats."""
    rows = [row[2:].rstrip("│ ") for row in text.strip("\n").splitlines()[1:-1]]
    rules = [n for n, row in enumerate(rows) if row and not row.strip("─-")] or [len(rows)]
    kept = [row for n, row in enumerate(rows) if n < rules[-1] and n not in rules]
    kept = [row for row in kept if not row.startswith(" " * 8)]
    said = " ".join(" ".join(kept).split())
    helps = re.findall(rf"{re.escape(program)}(?: [\w-]+)* --help", " ".join(rows))
    if wrong := re.match(r"Error parsing (--\S+): .*?(?:from \['|: ')(.*?)'\]?", said):
        kinds = {
            "FLOAT": "a number",
            "float": "a number",
            "INT": "a whole number",
            "int(": "a whole number",
        }
        kind = next((kind for word, kind in kinds.items() if word in said), "another value")
        said = f"{wrong[1]} {wrong[2]}: give {kind}"
    if extra := re.fullmatch(r"Unrecognized options: ((?!-)\S+(?:, (?!-)\S+)*)", said):
        said = f"{extra[1]}: more than this command takes"
    choice = r"invalid choice '(.*?)' for argument '(.*?)'.*?Expected one of \((.*?)\)"
    if wrong := re.match(choice, said, re.I):
        known = _listed(wrong[1], re.findall(r"'(.*?)'", wrong[3]))
        option = f"{wrong[2]} " if wrong[2].startswith("-") else ""
        said = f"{option}{wrong[1]}: give one of {known}"
    said = re.sub(r" Argument helptext: .*", "", said).replace(" Unrecognized", "; Unrecognized")
    said = re.sub(r"[.;]? Perhaps you meant: (--[\w.-]+).*", r"; did you mean \1?", said)
    return f"{said.rstrip('.')}; see {helps[-1] if helps else f'{program} --help'}"
