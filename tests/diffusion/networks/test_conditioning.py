"""The conditioner: views, reports, demographics and other views as tokens; what is left out leaves no trace."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion import CONDITIONS, VIEWS, Conditioner


@pytest.fixture
def conditioner() -> Conditioner:
    torch.manual_seed(0)
    return Conditioner(
        width=16, text_width=6, text_length=5, demographics=True, images=2, latent_channels=4, regions=5, priors=True
    )


def everything(conditioner):
    torch.manual_seed(1)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    return conditioner.prepare(
        ["PA", "LL", None],
        torch.randn(3, 4, 6),
        mask,
        [{"age": 61, "sex": "F"}, {"age": None, "sex": "M"}, None],
        torch.randn(3, 2, 4, 2, 2),
        [["AP", None], [None, None], ["LL", "LATERAL"]],
        torch.rand(3, 5, 2, 2),
        [[True, False], [False, False], [False, True]],
    )


def test_views_are_those_of_the_readers_and_all_distinct(conditioner):
    assert {"PA", "AP", "LL", "LATERAL"} <= set(VIEWS)
    tokens, _, vector = conditioner(conditioner.prepare([*VIEWS, None]))
    for values in (tokens[:, 0], vector):
        apart = torch.cdist(values, values) + torch.eye(len(values)) * 9
        assert apart.min() > 0.5


def test_unknown_view_is_named(conditioner):
    with pytest.raises(ValueError, match="the view is 'pa'; expected one of PA, AP, LL, LATERAL, RL"):
        conditioner.prepare(["PA", "pa"])


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_left_out_is_as_if_it_had_never_been_given(conditioner, name):
    given = everything(conditioner)
    views = [None] * 3 if name == "view" else ["PA", "LL", None]
    people = None if name == "demographics" else [{"age": 61, "sex": "F"}, {"sex": "M"}, {}]
    torch.manual_seed(1)
    embeddings, latents, region = torch.randn(3, 4, 6), torch.randn(3, 2, 4, 2, 2), torch.rand(3, 5, 2, 2)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    text = (None, None) if name == "report" else (embeddings, mask)
    image = (latents, [[None] * 2] * 3) if name == "image" else (latents, [["AP", None], [None] * 2, ["LL", "LATERAL"]])
    priors = None if name == "image" else [[True, False], [False, False], [False, True]]
    never = conditioner.prepare(views, *text, people, *image, region * (name != "region"), priors)
    left_out = given.without(name)
    for field in given.__dataclass_fields__:
        assert torch.equal(getattr(left_out, field), getattr(never, field)), field
    for one, other in zip(conditioner(left_out), conditioner(never)):
        assert torch.equal(one, other)
    if name != "region":  # that goes to the network itself
        assert not torch.equal(conditioner(left_out)[2], conditioner(given)[2])


def test_only_the_rows_asked_for_are_dropped(conditioner):
    given = everything(conditioner)
    dropped = given.without("report", torch.tensor([False, True, False]))
    assert dropped.report_mask.sum(1).tolist() == [2, 0, 0]
    assert torch.equal(dropped.report[0], given.report[0])
    assert torch.equal(dropped.view, given.view)


def test_what_the_mask_hides_has_no_influence(conditioner):
    embeddings, mask = torch.randn(1, 4, 6), torch.tensor([[1, 1, 0, 0]]).bool()
    changed = embeddings.clone()
    changed[:, 2:] = float("nan")
    first, second = (conditioner.prepare(["PA"], e, mask) for e in (embeddings, changed))
    shorter = conditioner.prepare(["PA"], embeddings[:, :2])
    for one, *others in zip(conditioner(first), conditioner(second), conditioner(shorter)):
        assert all(torch.equal(one, other) for other in others)


def test_reports_are_normalized(conditioner):
    """Whatever an encoder's scale and offset, its embeddings' differences count the same."""
    embeddings = torch.randn(1, 3, 6)
    plain, scaled = (conditioner(conditioner.prepare(["PA"], e)) for e in (embeddings, 1000 * embeddings + 70))
    assert torch.allclose(plain[0], scaled[0], atol=1e-4) and torch.allclose(plain[2], scaled[2], atol=1e-4)


def test_weights_that_lack_a_part_are_not_filled_with_random_ones(conditioner, tmp_path):
    conditioner.save_pretrained(tmp_path)
    assert torch.equal(Conditioner.from_pretrained(tmp_path).report[1].weight, conditioner.report[1].weight)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = {name.replace("report.1.", "report."): weight for name, weight in load_file(path).items()}
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"lacks weights of its conditioner: .*report.1.weight.*an older version"):
        Conditioner.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embeddings": torch.zeros(1, 6, 6)}, "a report has 6 tokens and this model takes 5"),
        (
            {"embeddings": torch.zeros(1, 4, 7)},
            r"are \(1, 4, 7\) for 1 images; .* \(1, up to 5 tokens, 6",
        ),
        ({"embeddings": torch.zeros(1, 4, 6), "mask": torch.ones(1, 3)}, r"the mask is \(1, 3\)"),
        ({"demographics": [{"age": 200}]}, "the age is 200; expected years from 0 to 120"),
        ({"demographics": [{"sex": "female"}]}, "the sex is 'female'; expected F, M or none"),
        ({"demographics": [{"name": "x"}]}, "expected age and sex, no more"),
        ({"image": torch.zeros(1, 1, 4, 2, 2), "image_views": [["PA"]]}, r"this model needs \(1, 2, C, h, w\)"),
        ({"image": torch.zeros(1, 2, 4, 2, 2)}, "and the view of each"),
    ],
)
def test_bad_input_is_said(conditioner, arguments, message):
    with pytest.raises(ValueError, match=message):
        conditioner.prepare(["PA"], **arguments)


def test_a_model_without_a_condition_says_so():
    plain = Conditioner(width=8, text_width=0)
    assert plain.conditions == ("view",)
    with pytest.raises(ValueError, match="this model has no demographics"):
        plain.prepare(["PA"], demographics=[{"age": 3}])
    with pytest.raises(ValueError, match="this model takes none"):
        plain.prepare(["PA"], image=torch.zeros(1, 1, 4, 2, 2), image_views=[["PA"]])


def test_a_view_more_resizes_no_saved_model(tmp_path, monkeypatch):
    """A folder of five views, which does not say how many, is read with five and refuses the sixth."""
    Conditioner(width=8, text_width=0).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["views"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("diffusion.networks.conditions.VIEWS", (*VIEWS, "OBLIQUE"))
    model = Conditioner.from_pretrained(tmp_path)
    assert model.view.weight.shape == (6, 8)
    with pytest.raises(ValueError, match="the view is 'OBLIQUE'; expected one of PA, AP, LL, LATERAL, RL"):
        model.prepare(["OBLIQUE"])
    wider = Conditioner(width=8, text_width=0, views=6)
    assert wider.prepare(["OBLIQUE"]).view.tolist() == [6]


def test_a_prior_is_told_from_another_view(conditioner):
    latents = torch.randn(1, 2, 4, 2, 2)
    now, before = (
        conditioner(
            conditioner.prepare(["PA"], image=latents, image_views=[["PA", None]], image_priors=[[prior, True]])
        )
        for prior in (False, True)
    )
    changed = (now[0] != before[0]).any(2)[0].nonzero().flatten().tolist()
    assert len(changed) == 1 and not torch.equal(now[2], before[2])  # the place without an image is no prior
    plain = Conditioner(width=16, text_width=0, images=1)
    with pytest.raises(ValueError, match="this model knows none"):
        plain.prepare(["PA"], image=latents[:, :1], image_views=[["PA"]], image_priors=[[True]])
    with pytest.raises(ValueError, match="images must be 1 or more"):
        Conditioner(width=16, text_width=0, priors=True)


def test_a_plan_fills_in_what_nothing_is_said_of():
    torch.manual_seed(0)
    conditioner = Conditioner(width=16, text_width=6, text_length=5, regions=5, plan_side=4)
    words, there = torch.randn(3, 5, 6), torch.ones(3, 5, dtype=torch.bool)
    there[2] = False  # no report
    maps = torch.zeros(3, 5, 8, 8)
    maps[0, 1, 2:4] = 1
    given = conditioner.prepare(["PA", None, "LL"], words, there, region=maps)
    seen, logits = conditioner.planned(given)
    assert logits.shape == (3, 5, 4, 4) and logits.requires_grad and not seen.region.requires_grad
    assert torch.equal(seen.region[0, 1], maps[0, 1]) and not seen.region[2].any()
    others = [0, 2, 3, 4]
    assert ((seen.region[0, others] > 0) & (seen.region[0, others] < 1)).all()
    free, _ = conditioner.planned(conditioner.prepare(["PA", None, "LL"], words, there))
    torch.testing.assert_close(free.region, logits.detach().sigmoid() * torch.tensor([1, 1, 0])[:, None, None, None])
    left_out, _ = conditioner.planned(given.without("report"))
    assert torch.equal(left_out.region, maps)
    longer = torch.cat([words[:, :3], torch.randn(3, 2, 6)], dim=1)
    full, three = there.new_ones(3, 3), (torch.arange(5) < 3).expand(3, 5)
    short = conditioner.planner(words[:, :3], full, given.view)
    torch.testing.assert_close(conditioner.planner(longer, three, given.view), short)
    with pytest.raises(ValueError, match="plan_side needs reports and regions"):
        Conditioner(width=16, text_width=6, plan_side=4)
    plain = Conditioner(width=16, text_width=6, text_length=5, regions=5)
    same = plain.prepare(["PA"], words[:1], region=maps[:1])
    assert plain.planned(same) == (same, None)
