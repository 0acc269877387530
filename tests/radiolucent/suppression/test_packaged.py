"""The packaged models: on a pair drawn from the sample CT, which both know, ribs go and a nodule stays."""

from __future__ import annotations

import numpy as np
import pytest

from drr import ConeBeam, sample_ct
from drr.pairs.draw import Pair, PairOptions, draw_pair
from drr.pairs.layers import cast_layers, training_body
from evaluation.suppression.gains import LUNGS, GainMeter
from radiolucent import Suppressor
from radiolucent.suppression.model import PACKAGED, packaged_model

PIXEL_MM = 0.8


@pytest.fixture(scope="module")
def pair() -> Pair:
    body = training_body(sample_ct())
    layers = cast_layers(body, [ConeBeam.preset("PA", body, (512, 512), 512 * PIXEL_MM)])[0]
    options = PairOptions((PIXEL_MM, PIXEL_MM), clutter=False, girdle_turn=0.0, strengths=0.0)
    return draw_pair(layers, PIXEL_MM, 384, options, np.random.default_rng(3))


@pytest.mark.parametrize("name", PACKAGED)
def test_ribs_go_and_a_nodule_stays(name, pair):
    suppressor = Suppressor(packaged_model(name))
    soft = suppressor(pair.radiograph).soft
    assert GainMeter(pair.soft, pair.radiograph, pair.lungs)(soft)[LUNGS] > 0.7  # dB
    rows, columns = np.nonzero(pair.lungs)
    y, x = int(np.median(rows)), int(np.median(columns[columns < 170]))
    away = np.hypot(*np.ogrid[-y : 384 - y, -x : 384 - x]) * PIXEL_MM
    nodule = 0.1 * np.sqrt(np.clip(1 - (away / 8) ** 2, 0, None)).astype(np.float32)  # of 16 mm
    kept = ((suppressor(pair.radiograph + nodule).soft - soft) * nodule).sum() / (nodule**2).sum()
    assert 0.8 < kept < 1.25
