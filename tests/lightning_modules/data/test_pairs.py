"""PairDataModule: layouts, splits, deterministic and resumable order, paired augmentation."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lightning_modules import PairDataModule
from radiographs import fit, read_radiograph, write_radiograph

PATIENTS, VIEWS = 10, 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty pairs in the BS-LDM layout, without lists; soft = radiograph - 0.1."""
    for patient in range(PATIENTS):
        for view in range(VIEWS):
            name = f"p{patient}_{view}.png"
            pixels = np.random.default_rng([patient, view]).uniform(-0.5, 0.5, (21, 33))
            write_radiograph(tmp_path / "CXR" / name, pixels, 16)
            write_radiograph(tmp_path / "BS" / name, pixels - 0.1, 16)
    return tmp_path


def module(root: Path, **options: Any) -> PairDataModule:
    return PairDataModule(root=str(root), **{"image_size": 16, "batch_size": 3, "seed": 7, **options})


def names(loader: Any, epoch: int = 0) -> list[str]:
    loader.sampler.set_epoch(epoch)
    return [name for batch in loader for name in batch["name"]]


def test_batches_hold_the_files_fitted_without_squashing(root: Path) -> None:
    data = module(root, augment=False)
    batch = next(iter(data.train_dataloader()))
    assert batch["radiograph"].shape == batch["soft"].shape == (3, 1, 16, 16)
    for i, name in enumerate(batch["name"]):
        expected, _ = fit(read_radiograph(root / "CXR" / name).pixels, 16)
        torch.testing.assert_close(batch["radiograph"][i, 0], torch.from_numpy(expected), rtol=0, atol=0)
    image = batch["radiograph"][:, :, 3:13]  # 21x33 on 16 is 10x16, the rest is black
    assert (batch["radiograph"][:, :, :3] == -1).all() and (batch["radiograph"][:, :, 13:] == -1).all()
    torch.testing.assert_close(image - batch["soft"][:, :, 3:13], torch.full_like(image, 0.1), rtol=0, atol=1e-4)


def test_lists_are_taken_as_they_are(root: Path) -> None:
    test = [f"p{patient}_{view}.png" for patient in (9, 4) for view in (1, 0)]
    train = [f"p{patient}_{view}.png" for patient in (3, 0, 1, 2, 5) for view in range(VIEWS)]
    (root / "train_set.txt").write_text("\n".join(train))
    (root / "test_set.txt").write_text("\n".join(test))
    data = module(root, patient_pattern=r"p(\d+)_", validation_fraction=0.0)
    data.setup()
    assert names(data.test_dataloader()) == test
    assert [pair.name for pair in data.splits["train"]] == train and data.val_dataloader() == []
    data = module(root, patient_pattern=r"p(\d+)_", validation_fraction=0.5, seed=1)
    data.setup()
    parts = {split: {pair.name for pair in pairs} for split, pairs in data.splits.items()}
    assert parts["train"] | parts["validation"] == set(train) and parts["test"] == set(test)
    assert not {n.split("_")[0] for n in parts["train"]} & {n.split("_")[0] for n in parts["validation"]}


def test_lists_that_share_patients_are_refused(root: Path) -> None:
    (root / "train_set.txt").write_text("p0_0.png\np1_0.png\np2_0.png\n")
    (root / "test_set.txt").write_text("p0_1.png\np2_1.png\n")
    with pytest.raises(ValueError, match=r"2 patients .*: 0 \(test_set.txt, train_set.txt\), 2 "):
        module(root, patient_pattern=r"p(\d+)_").setup()
    (root / "test_set.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test_set\.txt"):
        module(root).setup()


def test_plain_folders_and_patients_from_a_csv(root: Path) -> None:
    rows = "".join(f"p{p}_{v}.png,{p}\n" for p in range(PATIENTS) for v in range(VIEWS))
    (root / "patients.csv").write_text("name,patient\n" + rows)
    fractions = {"validation_fraction": 0.3, "test_fraction": 0.3}
    plain = PairDataModule(
        radiographs=str(root / "CXR"), softs=str(root / "BS"), patients_csv=str(root / "patients.csv"), **fractions
    )
    plain.setup()
    regular = PairDataModule(root=str(root), patient_pattern=r"p(\d+)_", **fractions)
    regular.setup()
    assert plain.splits == regular.splits
    assert sorted(len(pairs) % VIEWS for pairs in plain.splits.values()) == [0, 0, 0]


def test_order_and_augmentation_depend_on_seed_and_epoch_alone(root: Path) -> None:
    first, again = module(root, batch_size=4), module(root, batch_size=2)
    a, b = (list(m.train_dataloader()) for m in (first, again))
    a_pixels, b_pixels = (torch.cat([batch["radiograph"] for batch in batches]) for batches in (a, b))
    count = min(len(a_pixels), len(b_pixels))
    assert torch.equal(a_pixels[:count], b_pixels[:count])
    loader = first.train_dataloader()
    assert (
        names(loader, 0) != names(loader, 1) and names(loader, 1) == names(again.train_dataloader(), 1)[: len(a_pixels)]
    )
    assert names(module(root, seed=8).train_dataloader()) != names(loader, 0)


def test_workers_change_nothing(root: Path) -> None:
    here, there = (module(root, workers=workers, batch_size=2).train_dataloader() for workers in (0, 2))
    for epoch in (0, 1):
        for loader in (here, there):
            loader.sampler.set_epoch(epoch)
        for one, two in zip(here, there, strict=True):
            assert one["name"] == two["name"] and torch.equal(one["radiograph"], two["radiograph"])


def test_pairs_come_again_with_all_but_the_lungs_black(root: Path) -> None:
    lungs = np.full((21, 33), -1, np.float32)
    lungs[4:16, 6:14] = lungs[4:16, 20:28] = 1
    for path in (root / "CXR").iterdir():
        write_radiograph(root / "Mask" / path.name, lungs, 8)
    options = {"augment": False, "image_size": 33, "batch_size": 20, "validation_fraction": 0.5, "test_fraction": 0.1}
    data, plain = module(root, masks="Mask", **options), module(root, **options)
    (_, whole), (_, seen) = ((d.setup(), next(iter(d.val_dataloader()))) for d in (plain, data))
    count = len(whole["name"])
    assert seen["name"] == whole["name"] + [f"lungs/{name}" for name in whole["name"]]
    inside = torch.zeros(33, 33, dtype=torch.bool)
    inside[10:22, 6:14] = inside[10:22, 20:28] = True  # 21 rows on 33 leave 6 above
    for key in ("radiograph", "soft"):
        assert torch.equal(seen[key][:count], whole[key])
        assert torch.equal(seen[key][count:], torch.where(inside, whole[key], -1.0))
    assert len(data.train_dataloader().dataset) == 2 * len(plain.train_dataloader().dataset)
    assert len(data.test_dataloader().dataset) == len(data.splits["test"])  # measured whole

    with pytest.raises(ValueError, match="give false"):
        module(root, masks="Mask")
    write_radiograph(root / "Mask" / "p3_0.png", lungs[:, :30], 8)
    (root / "Mask" / "p4_1.png").unlink()
    with pytest.raises(ValueError, match=r"p4_1\.png: no mask"):
        for loader in (data.train_dataloader(), data.val_dataloader()):
            next(iter(loader))
    write_radiograph(root / "Mask" / "p4_1.png", lungs, 8)
    with pytest.raises(ValueError, match="the lung mask has 21 x 30 pixels, the radiograph 21 x 33"):
        for loader in (data.train_dataloader(), data.val_dataloader()):
            list(loader)


class Recorder(LightningModule):
    """Keeps what it was given; its loss depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(256, 1)
        self.seen: list[tuple[str, float]] = []

    def training_step(self, batch: dict[str, Any], index: int) -> torch.Tensor:
        loss = self.layer(batch["radiograph"].flatten(1)).square().mean()
        self.seen.append((",".join(batch["name"]), loss.item()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise InterruptedError


@pytest.mark.parametrize("stop", [6, 8, 9])
def test_a_stopped_run_goes_on_with_the_next_batch_to_the_same_losses(root: Path, tmp_path: Path, stop: int) -> None:
    def train(folder: Path, callbacks: list[Callback], checkpoint: str | None = None) -> list[tuple[str, float]]:
        torch.manual_seed(0)
        model = Recorder()
        data = module(root, validation_fraction=0.0, test_fraction=0.1)
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        saver = ModelCheckpoint(dirpath=folder, every_n_train_steps=1, save_last=True)
        trainer = Trainer(max_epochs=4, callbacks=[saver, *callbacks], **options)  # type: ignore[arg-type]
        with contextlib.suppress(InterruptedError):
            trainer.fit(model, data, ckpt_path=checkpoint)
        return model.seen

    whole = train(tmp_path / "whole", [])
    begun = train(tmp_path / "cut", [StopAt(stop)])
    rest = train(tmp_path / "cut", [], checkpoint=str(tmp_path / "cut" / "last.ckpt"))
    assert begun == whole[: len(begun)]
    assert rest == whole[-len(rest) :] and len(begun) - 1 <= len(whole) - len(rest) <= len(begun)


class Measured(Recorder):
    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        pass


class Validated(Callback):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.epochs.append(trainer.current_epoch)


@pytest.mark.parametrize(("before", "after"), [(2, 4), (2, 3), (3, 2), (3, 1), (2, 5)])
def test_a_run_resumes_at_the_right_image_with_another_batch_size(
    root: Path, tmp_path: Path, before: int, after: int
) -> None:
    def train(size: int, callbacks: list[Callback], checkpoint: str | None = None) -> list[str]:
        model = Measured()
        data = module(root, validation_fraction=0.1, test_fraction=0.1, batch_size=size, augment=False)
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        saver = ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=1, save_last=True)
        trainer = Trainer(max_epochs=2, callbacks=[saver, *callbacks], num_sanity_val_steps=0, **options)  # type: ignore
        with contextlib.suppress(InterruptedError):
            trainer.fit(model, data, ckpt_path=checkpoint)
        return [name for names, _ in model.seen for name in names.split(",")]

    data = module(root, validation_fraction=0.1, test_fraction=0.1, batch_size=1, augment=False)
    loader = data.train_dataloader()
    order = [names(loader, epoch) for epoch in (0, 1)]
    total = len(order[0])
    assert total == 17
    train(before, [StopAt(4)])  # the fourth batch is not saved
    seen = 3 * before
    validated = Validated()
    rest = train(after, [validated], str(tmp_path / "last.ckpt"))
    left = (total - seen) // after * after
    assert rest == order[0][seen : seen + left] + order[1][: total // after * after]
    assert validated.epochs == [0, 1]  # each epoch is ended as one


def test_too_few_images_for_a_batch_are_no_rest_to_resume_with(root: Path) -> None:
    loader = module(root, validation_fraction=0.1, test_fraction=0.1, batch_size=8).train_dataloader()
    loader.load_state_dict({"images": 8})
    assert len(list(loader)) == 1
    with pytest.raises(ValueError, match=r"saved 12 images into an epoch of 17, and 1 x batch_size 8 is more than"):
        loader.load_state_dict({"images": 12})
    loader.load_state_dict({"delivered": 1})  # of an earlier version
    assert len(list(loader)) == 1


def test_bad_settings_and_empty_splits(root: Path) -> None:
    with pytest.raises(ValueError, match="`root`"):
        PairDataModule()
    with pytest.raises(ValueError, match="batch_size is 0"):
        module(root, batch_size=0)
    with pytest.raises(ValueError, match="sum to 1"):
        module(root, validation_fraction=0.9, test_fraction=0.9).setup()
    with pytest.raises(ValueError, match="no pairs for test"):
        module(root, test_fraction=0.0).test_dataloader()
    (root / "BS" / "p3_0.png").unlink()
    with pytest.raises(ValueError, match=r"p3_0\.png: no partner"):
        module(root).setup()
