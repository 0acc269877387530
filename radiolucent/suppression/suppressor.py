"""`Suppressor`: bones out of a radiograph in Python, as `radiolucent suppress` does it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radiographs import Radiograph, write_radiograph
from radiolucent.suppression.compose import find_bone, suppress_pixels, take_away
from radiolucent.suppression.input_check import as_checked, read_checked
from radiolucent.suppression.memory_images import from_array, from_dataset
from radiolucent.suppression.model import load_model, look_again, model_folder, model_sizes, predict_square
from radiolucent.suppression.strength import bone_slope, strength_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from matplotlib.figure import Figure

    from diffusion.pipelines.contract import SuppressionModel

__all__ = ["COMPOSE", "MAX_STRENGTH", "Suppressed", "Suppressor", "suppress_pixels"]
COMPOSE = ("subtract", "direct")
MAX_STRENGTH = 2.0


@dataclass(frozen=True)
class Suppressed:
    """A radiograph without its bones.

    Attributes:
        soft: float32 (H, W), the soft tissue, in the grey scale of what was given.
        bone: float32 (H, W), what was taken away: radiograph - soft.
        uncertainty: float32 (H, W), standard deviation of the samples, or None for a single one.
        strength: The factor on the model's own answer: what the image asks for times what the user asked for.
        source: The radiograph as it was read, for `save`; None for arrays of no uint8 or uint16.
        levels: The grey levels that -1 and 1 of the source stand for in `soft`.
        warnings: What is odd about the input, in sentences: a negative (turned before, and back after), a lateral, no
            chest, ...; the same as in the command's manifest.
    """

    soft: Float[np.ndarray, "height width"]
    bone: Float[np.ndarray, "height width"]
    uncertainty: Float[np.ndarray, "height width"] | None
    strength: float
    source: Radiograph | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    levels: tuple[float, float] = (-1.0, 1.0)

    def save(self, path: str | Path) -> None:
        """Write the soft tissue in the format of the suffix, with the depth (and, for DICOM, the header) of the input.

        Args:
            path: The file, whose folder is made; .png, .tif, .jpg or .dcm.

        Raises:
            ValueError: An array of no uint8 or uint16 was given: the caller knows how to write its grey scale.
        """
        if self.source is None:
            given = "save() writes what came from a file, uint8 or uint16; this came from an array of another type"
            raise ValueError(f"{given}, whose grey scale is yours: write `.soft` as you need it")
        note = f"Bones suppressed by Radiolucent (strength {self.strength:.2f})"
        low, high = self.levels
        own = (low, high) == (-1, 1)
        pixels = self.soft if own else (self.soft - np.float32(low)) * np.float32(2 / (high - low)) - 1
        write_radiograph(path, pixels, self.source.bits, source=self.source, description=note)

    def figure(self) -> Figure:
        """Before, after and what was taken away, side by side.

        Returns:
            Three panels; the last shows `bone` with more contrast.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError("figure() draws with matplotlib: pip install matplotlib") from None

        figure = Figure(figsize=(12, 4.4), layout="constrained")
        before = self.soft + self.bone
        low, high = float(before.min()), float(before.max())
        shown = ((before, low, high), (self.soft, low, high), (self.bone, -(high - low) / 8, (high - low) / 4))
        for axes, title, (image, black, white) in zip(
            figure.subplots(1, 3), ("radiograph", "suppressed", "removed"), shown
        ):
            axes.imshow(image, cmap="gray", vmin=black, vmax=white)
            axes.set_title(title)
            axes.set_axis_off()
        return figure


class Suppressor:
    """Removes the bones from frontal chest radiographs. Research use only: not a medical device.

    Example:
        >>> from radiolucent import Suppressor
        >>> suppressor = Suppressor()
        >>> result = suppressor("radiograph.png")  # doctest: +SKIP
        >>> result.save("without_bones.png")  # doctest: +SKIP

    Args:
        model: A pipeline's folder, a packaged model's name, or OWNER/NAME on Hugging Face; None is the packaged one.
        device: "auto", "cpu" or "cuda".
        size: Longest side in pixels that the model sees; by default as in training, and then once more at twice that,
            if the radiograph has it, for edges that are finer.
        tile: Side in pixels of overlapping tiles, for models that see larger images in tiles.
        strength: Multiplies what is taken away, 0 (nothing) to 2.
        estimate: Whether the image's own display of bone is estimated and counted in, for models that record how.
        steps: Of models that sample.
        samples: How many answers are averaged.
        seed: Of the first answer's noise; of a regression, of small changes of size and tone (none with seed 0).
        compose: "subtract" takes the predicted bone from the image at its own size; "direct" is what the model drew.
        trust_remote_code: Whether code that lies in the model's folder may run; needed for models whose class is not
            Radiolucent's. Read it first.
        precision: "float32", or "bfloat16", which takes half the time on a processor that has it and changes an answer
            by a thousandth of the grey range at most; for regressions.

    Raises:
        ValueError: Options that the model cannot take.
        OSError: No such folder or model.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        size: int | None = None,
        tile: int | None = None,
        strength: float = 1.0,
        estimate: bool = True,
        steps: int | None = None,
        samples: int = 1,
        seed: int = 0,
        compose: str = "subtract",
        trust_remote_code: bool = False,
        precision: str = "float32",
    ) -> None:
        for name, value in (("steps", steps), ("samples", samples)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        if not 0 <= strength <= MAX_STRENGTH:
            raise ValueError(f"strength is {strength:g}: it must lie between 0 (nothing is taken) and {MAX_STRENGTH:g}")
        if compose not in COMPOSE:
            raise ValueError(f"compose is {compose!r}: give one of {', '.join(COMPOSE)}")
        self.folder = model_folder(model)
        found = load_model(self.folder, device, trust_remote_code, precision)
        self._use(found, size, tile, steps, range(seed, seed + samples))
        self.compose, self.strength, self.estimate = compose, strength, estimate

    @classmethod
    def of(cls, pipeline: SuppressionModel) -> Suppressor:
        """One that uses a pipeline in memory, as it is when saved and given by its folder.

        Args:
            pipeline: Any suppression model, on the device where it shall compute.

        Returns:
            The suppressor, at strength 1, with one answer an image.
        """
        made = cls.__new__(cls)
        made.folder = ""
        made._use(pipeline, None, None, None, range(1))
        made.compose, made.strength, made.estimate = "subtract", 1.0, True
        return made

    def _use(
        self, pipeline: SuppressionModel, size: int | None, tile: int | None, steps: int | None, seeds: range
    ) -> None:
        self.pipeline, self.seeds = pipeline, seeds
        self.steps = None if pipeline.default_steps is None else steps or pipeline.default_steps
        self.size, self.tile = model_sizes(pipeline, size, tile)
        self.detail = pipeline.detail_size if size is None else None
        self.law = pipeline.strength_law

    def __call__(self, image: Any) -> Suppressed | list[Suppressed]:
        """Suppress one radiograph, or each of a list of them.

        Args:
            image: A path; a pydicom Dataset; a PIL image, turned as EXIF says; a grey array or tensor (H, W): uint8 and
                uint16 from 0 to the bits in use, other real types from the least to the largest value. A certain
                negative is turned before and back after. A list or tuple gives a list.

        Returns:
            For a path or Dataset, images in [-1, 1] of the file's size; for arrays and PIL images, in their own scale.

        Raises:
            ValueError: No single grey image, or values that are not finite.
        """
        if isinstance(image, (list, tuple)):
            return [self._one(item) for item in image]
        return self._one(image)

    def _one(self, image: Any) -> Suppressed:
        if isinstance(image, (str, Path)):
            return self._file(*read_checked(image))
        if hasattr(image, "file_meta") or hasattr(image, "PixelData"):
            return self._file(*as_checked(from_dataset(image), "the dataset"))
        pixels, (low, high), bits = from_array(image)
        container = 8 if bits is not None and bits <= 8 else 16
        source = Radiograph(pixels, 16 if bits is None else bits, "png", container_bits=container)
        result = self._file(*as_checked(source, "the image"))
        half = np.float32((high - low) / 2)
        return replace(
            result,
            soft=(result.soft + 1) * half + np.float32(low),
            bone=result.bone * half,
            uncertainty=None if result.uncertainty is None else result.uncertainty * half,
            levels=(low, high),
            source=None if bits is None else result.source,
        )

    def _file(self, source: Radiograph, notes: dict[str, Any]) -> Suppressed:
        """Of what was read for suppression, see radiographs.for_suppression."""
        result = self.suppress(source.pixels, source=source)
        result = replace(result, warnings=tuple(notes.get("warnings", ())))
        if not notes.get("inverted"):
            return result
        return replace(result, soft=-result.soft, bone=-result.bone)  # a negative gets a negative back

    def suppress(
        self,
        pixels: Float[np.ndarray, "height width"],
        lungs: Bool[np.ndarray, "size size"] | None = None,
        source: Radiograph | None = None,
    ) -> Suppressed:
        """Suppress an image in memory.

        Args:
            pixels: float32 (H, W) in [-1, 1], bones bright.
            lungs: bool (size, size), for the second path of GL-LCM's models.
            source: What was read, for `Suppressed.save`.

        Returns:
            Images float32 (H, W): `soft` in [-1, 1], and `bone`, which is what was taken away.
        """
        bone, spread, own = self.find_bone(pixels, lungs)
        strength = self.strength * own
        soft = take_away(pixels, bone, strength)
        return Suppressed(soft, pixels - soft, spread if len(self.seeds) > 1 else None, strength, source)

    def find_bone(
        self, pixels: Float[np.ndarray, "height width"], lungs: Bool[np.ndarray, "size size"] | None = None
    ) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"], float]:
        """What the model would take away: all of `suppress` that is slow, and does not depend on the strength.

        Args:
            pixels: float32 (H, W) in [-1, 1], bones bright.
            lungs: bool (size, size), for the second path of GL-LCM's models.

        Returns:
            As `radiolucent.suppression.compose.find_bone`.
        """
        predict = partial(predict_square, self.pipeline, lungs=lungs, steps=self.steps, tile=self.tile)
        detail = (
            None
            if self.detail is None or self.compose != "subtract"
            else (partial(look_again, self.pipeline, steps=self.steps), self.detail)
        )
        return find_bone(
            predict,
            pixels,
            compose=self.compose,
            seeds=self.seeds,
            size=self.size,
            own_strength=self._own_strength,
            detail=detail,
        )

    def description(self, strength: float) -> str:
        """What was done, for a result's metadata.

        Args:
            strength: The factor on the model's own answer.

        Returns:
            A sentence.
        """
        sampled = f"{self.steps} steps, seed {self.seeds[0]}, samples {len(self.seeds)}"
        how = self.pipeline.method if self.steps is None else sampled
        return f"Bones suppressed by Radiolucent ({self.compose}, {how}, strength {strength:.2f})"

    def _own_strength(self, fitted: np.ndarray, bone: np.ndarray) -> float:
        """The factor that this image asks for; 1 where the model does not record how, or no lungs are found."""
        if self.law is None or not self.estimate:
            return 1.0
        from radiographs.lungs import lung_mask

        try:
            lungs = lung_mask(fitted)
        except ValueError:
            return 1.0
        return strength_of(bone_slope(fitted, bone, lungs), self.law["gain"], self.law["offset"], self.law["bounds"])
