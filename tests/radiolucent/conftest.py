"""Small pipelines with random weights, saved as users have them."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import string
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

NO_TRANSFORMERS = "transformers is not installed (extra: evaluation)"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BoneSuppressionPipeline's folder with random weights, for images of 32 x 32 pixels."""
    from diffusion import BoneSuppressionPipeline, ThresholdedDDIMScheduler, build_unet
    from vqgan import VQGAN

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "suppression"
    unet = build_unet(
        base_channels=32,
        multipliers=(1, 2),
        residual_blocks=1,
        attention_levels=(),
        mid_attention=False,
        sample_size=16,
    )
    vqgan = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=32)
    scheduler = ThresholdedDDIMScheduler(prediction_type="sample")
    BoneSuppressionPipeline(vqgan, unet, scheduler).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BoneRegressionPipeline's folder, for images of 32 x 32 pixels, which a new process opens in no time."""
    from diffusion.networks.bone_unet import BoneUNet
    from diffusion.pipelines.regression import BoneRegressionPipeline

    torch.manual_seed(0)
    network = BoneUNet((8, 16), sigma=8.0)
    torch.nn.init.normal_(network.last.weight, 0, 0.1)
    folder = tmp_path_factory.mktemp("model") / "regression"
    BoneRegressionPipeline(network, 2, 32).save_pretrained(folder)
    return folder


@pytest.fixture
def start_command() -> Callable[..., BaseProcess]:
    """start(words, *modules) -> the process that runs `radiolucent words`.

    It is forked from a process that has imported `modules` and done nothing else, so that of several commands only the
    first waits for them. A fork of this process would lose the threads of torch and numba.
    """
    from radiolucent.cli import main

    context = multiprocessing.get_context("forkserver")

    def start(words: list[str], *modules: str) -> BaseProcess:
        context.set_forkserver_preload(list(modules))
        process = context.Process(target=main, args=(words,))
        process.start()
        return process

    return start


@pytest.fixture
def kill_a_ray_worker() -> Iterator[Callable[[Callable[[], bool]], list[int]]]:
    """start(when) -> killed: as soon as when() holds, kill -9 strikes one Ray worker at work, whose id is in `killed`.

    The cluster is this process's own, since another process would import everything once more before it starts one.
    """
    psutil = pytest.importorskip("psutil", reason="needs psutil to find Ray's workers")
    ray = pytest.importorskip("ray", reason="needs the ray extra")
    from radiolucent.batch.executors import worker_environment

    killed: list[int] = []
    over = threading.Event()

    def watch(when: Callable[[], bool]) -> None:
        while not over.is_set() and not killed:
            for child in psutil.Process().children(recursive=True) if when() else ():
                with suppress(psutil.NoSuchProcess):
                    if not killed and any("ray::RayWorker.attempt" in word for word in child.cmdline()):
                        os.kill(child.pid, signal.SIGKILL)
                        killed.append(child.pid)
            time.sleep(0.002)

    def start(when: Callable[[], bool]) -> list[int]:
        threading.Thread(target=watch, args=(when,), daemon=True).start()
        return killed

    ray.shutdown()
    environment = {"env_vars": worker_environment(2)}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    try:
        yield start
    finally:
        over.set()
        ray.shutdown()


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionPipeline's folder, 32 x 32 pixels, texts of 40 tokens, a token a letter."""
    pytest.importorskip("transformers", reason=NO_TRANSFORMERS)
    return save_stable_diffusion(tmp_path_factory.mktemp("model") / "roentgen", 40)


@pytest.fixture(scope="session")
def pixart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PixArtSigmaPipeline's folder, 16 x 16 pixels, with a T5 encoder."""
    pytest.importorskip("transformers", reason=NO_TRANSFORMERS)
    return save_pixart(tmp_path_factory.mktemp("model") / "pixart")


def clip_tokenizer(folder: Path, length: int) -> Any:
    """Letter by letter."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    letters = list(string.ascii_lowercase + ".,")
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=length, pad_token="<|endoftext|>"
    )


def save_stable_diffusion(folder: Path, length: int) -> Path:
    import transformers
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    tokenizer = clip_tokenizer(folder.parent / "words", length)
    text = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=length,
        eos_token_id=len(tokenizer) - 1,
        bos_token_id=len(tokenizer) - 2,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        latent_channels=4,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_pixart(folder: Path) -> Path:
    import transformers
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    words = {text: i for i, text in enumerate(["<pad>", "</s>", "<unk>", *string.ascii_lowercase, "▁"])}
    tokenizer = Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", model_max_length=512
    )
    t5 = transformers.T5Config(
        vocab_size=len(words), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=16,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        use_additional_conditions=False,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
    )
    PixArtSigmaPipeline(
        fast, transformers.T5EncoderModel(t5), vae, transformer, DPMSolverMultistepScheduler()
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def synthesis(stable_diffusion: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SynthesisPipeline's folder, 16 x 16 pixels, with Stable Diffusion's text encoder, texts of 20 tokens."""
    return save_synthesis(tmp_path_factory.mktemp("ours"), stable_diffusion)


@pytest.fixture(scope="session")
def placed_synthesis(stable_diffusion: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, told where findings shall be."""
    return save_synthesis(tmp_path_factory.mktemp("placed"), stable_diffusion, regions=5)


@pytest.fixture(scope="session")
def following_synthesis(stable_diffusion: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, which follows a prior and sees one more view."""
    return save_synthesis(tmp_path_factory.mktemp("following"), stable_diffusion, images=2)


def save_synthesis(folder: Path, stable_diffusion: Path, regions: int = 0, images: int = 0) -> Path:
    from diffusers import UNet2DConditionModel

    from diffusion import Conditioner, SynthesisPipeline, ThresholdedDDIMScheduler
    from diffusion.networks.text import TextEncoder
    from vqgan import VQGAN

    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(stable_diffusion / part, folder / "encoder", dirs_exist_ok=True)
    encoder = TextEncoder(str(folder / "encoder"))
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4 * (1 + images) + regions,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
        cross_attention_dim=16,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=16,
    )
    vqgan = VQGAN(channels=32, channel_multipliers=(1, 2), residual_blocks=1, resolution=16)
    conditioner = Conditioner(
        16,
        16,
        20,
        text_encoder=encoder.source,
        text_fingerprint=encoder.fingerprint,
        regions=regions,
        images=images,
        priors=images > 0,
    )
    scheduler = ThresholdedDDIMScheduler(prediction_type="v_prediction")
    SynthesisPipeline(vqgan, unet, scheduler, conditioner, image_size=16).save_pretrained(folder / "model")
    return folder / "model"
