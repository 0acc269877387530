"""What diffusion asks of its parts, whoever wrote them: the autoencoder, the network and the noise schedule.

What a whole suppression model is stands in diffusion.pipelines.suppression_model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from typing_extensions import Self


class AutoencoderConfig(Protocol):
    """What an autoencoder records of itself."""

    @property
    def scaling_factor(self) -> float:
        """What its latents are multiplied by, so that their deviation is about 1."""


@runtime_checkable
class Autoencoder(Protocol):
    """Between images and latents; vqgan.VQGAN and diffusion.PixelSpace are two."""

    @property
    def config(self) -> AutoencoderConfig:
        """Its configuration."""

    @property
    def downsampling(self) -> int:
        """f: image pixels per latent pixel along a side."""

    def encode(self, x: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch channels rows columns"]:
        """Latents, not scaled, of images in [-1, 1] whose height and width f divides.

        Args:
            x: Images in [-1, 1].

        Returns:
            Latents of a side of 1 / f; multiply them by `scaling_factor` for a deviation of about 1.
        """
        ...

    def quantize(
        self, z: Float[Tensor, "batch channels rows columns"]
    ) -> tuple[
        Float[Tensor, "batch channels rows columns"], Float[Tensor, ""], Int[Tensor, "batch rows columns"] | None
    ]:
        """(the nearest codes, codebook loss, their indices); the latents themselves, 0 and None without a codebook.

        Args:
            z: Latents, not scaled.

        Returns:
            Codes of the shape of `z`, a scalar loss, and which codes they are.
        """
        ...

    def decode(self, z: Float[Tensor, "batch channels rows columns"], /) -> Float[Tensor, "batch 1 height width"]:
        """Images, about [-1, 1] but not clipped, of latents that are not scaled, quantised or not.

        Args:
            z: Latents, not scaled.

        Returns:
            Images with sides f times as long; clip them before they are saved.
        """
        ...


@runtime_checkable
class AutoencoderModel(Autoencoder, Protocol):
    """An autoencoder of diffusers' form, as trainings and pipelines hold it."""

    @property
    def dtype(self) -> torch.dtype:
        """Its precision; inputs come in it."""

    @property
    def register_to_config(self) -> Any:
        """Takes values by name, such as `scaling_factor`, and records them in its configuration."""

    def eval(self) -> Self:
        """Torch's: the model itself, in evaluation mode.

        Returns:
            The same model.
        """
        ...

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Torch's: whether training changes its weights.

        Args:
            requires_grad: Whether it does.

        Returns:
            The same model.
        """
        ...


class Answer(Protocol):
    """What a network of diffusers' form returns."""

    @property
    def sample(self) -> Float[Tensor, "batch channels rows columns"]:
        """Its prediction: the noise, x0 or v, as it was trained."""


class Denoiser(Protocol):
    """A network that predicts from noisy latents, with the condition's channels behind them."""

    @property
    def dtype(self) -> torch.dtype:
        """Its precision; inputs come in it."""

    def __call__(self, inputs: Float[Tensor, "batch channels rows columns"], timestep: Tensor, /) -> Answer:
        """The prediction at a timestep, () or (B,)."""
        ...


@runtime_checkable
class NoiseSchedule(Protocol):
    """A scheduler of diffusers' form; which of diffusers' are served says diffusion.schedulers.served."""

    @property
    def config(self) -> Any:
        """Its configuration, a mapping with `prediction_type` and `num_train_timesteps`."""

    timesteps: Tensor  # (steps,) of sampling, the noisiest first, once set_timesteps has made them

    @property
    def set_timesteps(self) -> Any:
        """Takes the number of sampling steps and `device`, and makes `timesteps`; schedulers take more besides."""

    @property
    def step(self) -> Any:
        """Takes a prediction, its timestep, x and return_dict=False; the first of what it gives is x a step on."""


class VarianceSchedule(NoiseSchedule, Protocol):
    """A noise schedule of diffusers by its variances; the Brownian bridge and flow matching have none."""

    @property
    def alphas_cumprod(self) -> Tensor:
        """(T,): alpha_bar of each timestep of training, in [0, 1]."""
