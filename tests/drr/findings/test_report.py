"""Findings: put where they were asked for, with labels and words that agree."""

from __future__ import annotations

import numpy as np
import pytest

from drr.anatomy.structures import project_mask
from drr.anatomy.tissue import isolate_body
from drr.findings.heart import add_cardiomegaly, cardiothoracic_ratio
from drr.findings.lung import LOBES, add_consolidation, add_nodule
from drr.findings.pleura import add_pleural_effusion, add_pneumothorax, lung_mask
from drr.findings.report import CHEXPERT, chexpert_labels, report, truth
from drr.geometry import ConeBeam
from drr.io.read import sample_ct
from drr.projection.projector import project
from drr.volume import Volume


@pytest.fixture(scope="module")
def ct() -> Volume:
    return isolate_body(sample_ct())


def rng():
    return np.random.default_rng(7)


def ml(mask):
    return mask.sum() * 2.5**3 / 1000


@pytest.mark.parametrize("lobe", LOBES)
def test_nodule_lies_in_its_lobe_and_has_its_size(ct, lobe):
    volume, finding = add_nodule(ct, lobe, rng(), diameter_mm=16, hu=60)
    changed = volume.hu != ct.hu
    assert changed[~ct.mask(LOBES[lobe])].sum() < 0.02 * changed.sum()
    assert ml(finding.mask) == pytest.approx(4 / 3 * np.pi * 8**3 / 1000, rel=0.3)
    assert np.median(volume.hu[finding.mask]) == pytest.approx(60, abs=25)
    assert (volume.hu >= ct.hu).all()  # vessels stay
    assert finding.place == lobe and finding.side == lobe.split()[0]


def test_spikes_and_seed(ct):
    smooth = add_nodule(ct, "left upper lobe", rng(), 24)[1]
    spiked = add_nodule(ct, "left upper lobe", rng(), 24, spiculation=1)[1]

    def reach(mask):
        points = np.argwhere(mask)
        return np.linalg.norm((points - points.mean(axis=0)) * 2.5, axis=1).max()

    assert reach(spiked.mask) > reach(smooth.mask) + 2.5
    again = add_nodule(ct, "left upper lobe", rng(), 24)[1]
    np.testing.assert_array_equal(smooth.mask, again.mask)


def test_consolidation_stays_in_its_lobe(ct):
    volume, finding = add_consolidation(ct, "right middle lobe", rng(), lobe_fraction=0.5)
    lobe = ct.mask(LOBES["right middle lobe"])
    assert not (volume.hu != ct.hu)[~lobe].any()
    assert finding.size["lobe_fraction"] == pytest.approx(0.5, abs=0.1)
    assert volume.hu[finding.mask].mean() > -350 > -700 > ct.hu[finding.mask].mean()


@pytest.mark.parametrize(("side", "amount"), [("right", 800), ("left", 200)])
def test_effusion_fills_from_below_with_a_meniscus(ct, side, amount):
    volume, finding = add_pleural_effusion(ct, side, amount)
    lung, fluid = lung_mask(ct, side), finding.mask
    assert ml(fluid) == pytest.approx(amount, rel=0.06)
    assert not fluid[~lung].any() and not (volume.hu != ct.hu)[~lung].any()
    assert np.median(volume.hu[fluid]) == pytest.approx(12, abs=15)
    # seen from the front, the opaque part reaches higher at the lateral chest wall than in the middle of the lung
    opaque = fluid.sum(axis=1) > 0.5 * lung.sum(axis=1)
    column = np.flatnonzero(fluid.any(axis=(0, 1)))
    outward = column if side == "left" else column[::-1]
    wall, middle = outward[-6:], outward[len(column) // 2 - 3 : len(column) // 2 + 3]
    opaque &= lung.any(axis=1)
    surface = [2.5 * np.median([np.flatnonzero(opaque[:, c]).max() for c in part]) for part in (wall, middle)]
    assert surface[0] > surface[1] + 10  # mm


def test_more_fluid_than_lung_is_refused(ct):
    with pytest.raises(ValueError, match="do not fit"):
        add_pleural_effusion(ct, "left", 9000)


def test_pneumothorax_is_air_under_the_apex(ct):
    volume, finding = add_pneumothorax(ct, "left", gap_mm=30)
    lung = lung_mask(ct, "left")
    assert not (volume.hu != ct.hu)[~lung].any()
    assert finding.mask.sum() > 5000 and np.median(volume.hu[finding.mask]) < -940
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    share = [finding.mask[part].sum() / lung[part].sum() for part in (slices[-10:-5], slices[len(slices) // 3 :][:5])]
    assert share[0] > 2 * share[1]  # widest at the apex
    inside = lung & ~finding.mask
    assert volume.hu[inside].mean() > ct.hu[inside].mean() + 10  # the lung gave way, and is denser
    mass = [(v.hu[lung].astype(float) + 1000).sum() for v in (ct, volume)]
    assert mass[1] == pytest.approx(mass[0], rel=0.15)


def test_cardiomegaly_reaches_the_ratio(ct):
    volume, finding = add_cardiomegaly(ct, ratio=0.6)
    assert 0.45 < cardiothoracic_ratio(ct) < 0.55
    assert cardiothoracic_ratio(volume) == pytest.approx(0.6, abs=0.02) == finding.size["cardiothoracic_ratio"]
    for name in ("rib_left_5", "vertebrae_T8", "sternum"):
        bone = ct.mask(name)
        np.testing.assert_array_equal(volume.hu[bone], ct.hu[bone])
    with pytest.raises(ValueError, match="must exceed"):
        add_cardiomegaly(ct, ratio=0.3)


def test_projected_truth_is_where_the_image_changes(ct):
    volume, finding = add_nodule(ct, "right lower lobe", rng(), diameter_mm=30)
    beam = ConeBeam.preset("PA", ct, (128, 128))
    before, after = (project(v, [beam], ("total",), backend="cpu")[0, 0].numpy() for v in (ct, volume))
    seen = project_mask(volume, finding.mask, beam, backend="cpu")
    changed = after - before
    assert changed[seen.mask].mean() > 0.15 and changed[~seen.mask].max() < 0.15
    assert seen.box is not None
    left, top, right, bottom = seen.box
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert left <= column <= right and top <= row <= bottom and right < 64  # the right lung is on the viewer's left


def test_labels_are_the_fourteen_of_chexpert(ct):
    _, nodule = add_nodule(ct, "right upper lobe", rng())
    _, air = add_pneumothorax(ct, "right")
    labels = chexpert_labels([nodule, air])
    assert list(labels) == list(CHEXPERT) and len(CHEXPERT) == 14
    assert {name for name, value in labels.items() if value == 1} == {"Lung Lesion", "Lung Opacity", "Pneumothorax"}
    assert labels["No Finding"] == 0 and labels["Fracture"] is None
    assert set(chexpert_labels([]).values()) == {None}


def test_report_agrees_with_finding_and_view(ct):
    volume, nodule = add_nodule(ct, "left lower lobe", rng(), diameter_mm=20, spiculation=0.9)
    _, fluid = add_pleural_effusion(ct, "right", 200)
    frontal = report([nodule, fluid], "PA")
    assert "20 mm spiculated nodule in the left lower lobe" in frontal
    assert "right costophrenic angle" in frontal and "Small right pleural effusion" in frontal
    lateral = report([nodule, fluid], "LL")
    assert lateral.startswith("Lateral") and "posterior costophrenic angle" in lateral
    assert "left" not in lateral and "right" not in lateral  # a lateral does not tell the side
    mass = add_nodule(ct, "left lower lobe", rng(), diameter_mm=45)[1]
    assert "45 mm mass in the left lower lobe" in report([mass], "PA") and "Mass of 45 mm" in report([mass], "LL")
    assert "nodule" not in report([mass], "PA") + report([mass], "LL")
    heart = add_cardiomegaly(volume, 0.55)[1]
    assert "AP magnification" in report([heart], "AP") and "AP" not in report([heart], "PA").split("\n", 1)[1]
    assert "No finding was added" in report([], "PA")
    with pytest.raises(ValueError, match="no view"):
        report([], "OBLIQUE")


def test_findings_out_of_the_picture_are_left_out(ct):
    volume, nodule = add_nodule(ct, "right upper lobe", rng())
    beam = ConeBeam.preset("PA", ct, (64, 64))
    assert truth(volume, [nodule], beam, "PA").labels["Lung Lesion"] == 1
    corner = ConeBeam(beam.source, beam.origin + 60 * beam.dv, beam.du, beam.dv, (4, 64))
    cut = truth(volume, [nodule], corner, "PA")
    assert cut.findings == [] and cut.labels["Lung Lesion"] is None and "nodule" not in cut.report


def test_bad_input(ct):
    with pytest.raises(ValueError, match="no lobe"):
        add_nodule(ct, "left middle lobe", rng())
    with pytest.raises(ValueError, match="4 to 60"):
        add_nodule(ct, "left upper lobe", rng(), diameter_mm=200)
    with pytest.raises(ValueError, match="right or left"):
        add_pneumothorax(ct, "both")
    with pytest.raises(ValueError, match="no label map"):
        add_consolidation(ct.replace(labels=None), "left upper lobe", rng())
