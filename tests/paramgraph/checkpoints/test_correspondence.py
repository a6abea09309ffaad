"""Which tensor of a fine-tuned checkpoint belongs to which of its base."""

import pytest
import torch

from paramgraph.checkpoints import correspond, open_checkpoint, told


def weights(*names, shape=(2,)):
    return open_checkpoint({name: torch.zeros(shape) for name in names})


BODY = (
    "encoder.layer.0.query.weight",
    "encoder.layer.0.query.bias",
    "embeddings.word.weight",
    "pooler.weight",
)


def led(prefix, names=BODY):
    return tuple(prefix + name for name in names)


@pytest.mark.parametrize("before", ["", "bert.", "model.", "model.bert.", "module.", "base_model.model."])
@pytest.mark.parametrize("after", ["", "bert.", "0.auto_model.", "_orig_mod.", "module.bert."])
def test_names_differ_by_one_prefix_on_each_side(before, after):
    found = correspond(weights(*led(before), "cls.dense.weight"), weights(*led(after), "classifier.weight"))
    assert dict(zip(led(before), led(after), strict=True)) == dict(found.pairs)
    assert found.base_only == ("cls.dense.weight",)
    assert found.tuned_only == ("classifier.weight",)
    assert found.strays == ()


def test_a_head_with_equal_names_belongs_together_beside_a_body_that_moved():
    found = correspond(
        weights(*led("bert."), "classifier.out.weight"), weights(*led("encoder."), "classifier.out.weight")
    )
    assert found.pairs["classifier.out.weight"] == "classifier.out.weight"
    assert found.pairs["bert.pooler.weight"] == "encoder.pooler.weight"
    assert found.remarks == ("'bert.*' of the base is 'encoder.*' of tuned",)


@pytest.mark.parametrize("one", ["query.", "model.query."])
@pytest.mark.parametrize("other", ["doc.", "model.doc."])
def test_a_part_that_fits_two_parts_equally_well_is_refused_with_both(one, other):
    two = weights(*led(one), *led(other))
    for first, second in ((two, weights(*led(""))), (weights(*led("")), two)):
        with pytest.raises(ValueError, match=f"{one}encoder.* or .*{other}encoder"):
            correspond(first, second)


def test_the_tower_that_has_more_of_the_names_is_the_one():
    vision = (*led("vision."), "vision.patch.weight", "vision.norm.weight")
    found = correspond(weights(*led("text."), *vision), weights(*BODY, "patch.weight", "norm.weight"))
    assert set(found.pairs) == set(vision)
    assert set(found.base_only) == set(led("text."))
    assert found.strays == ()


def test_equal_names_go_before_a_second_tower():
    found = correspond(weights(*led("query."), *led("doc.")), weights(*led("query.")))
    assert dict(found.pairs) == dict(zip(led("query."), led("query."), strict=True))


def test_no_layer_is_taken_for_another():
    found = correspond(
        weights("layers.0.a.weight", "layers.1.a.weight"), weights("blocks.0.a.weight", "blocks.1.a.weight")
    )
    assert found.pairs["layers.0.a.weight"] == "blocks.0.a.weight"
    assert found.pairs["layers.1.a.weight"] == "blocks.1.a.weight"


def test_two_tensors_with_one_plain_name_are_refused():
    with pytest.raises(ValueError, match=r"both 'a.b.weight' and 'module.a.b.weight'"):
        correspond(weights("a.b.weight", "module.a.b.weight"), weights("a.b.weight"))


@pytest.mark.parametrize(
    ("extra", "stray"),
    [
        ("encoder.layer.1.query.weight", True),  # another depth
        ("encoder.layer.0.query.scale", True),  # beside what both have
        ("encoder.layer.0.adapter.weight", True),
        ("cls.predictions.weight", False),
        ("classifier.0.weight", False),
        ("decoder.layer.0.query.weight", False),
    ],
)
def test_heads_and_other_parts_are_told_from_what_should_be_in_both(extra, stray):
    for found in (
        correspond(weights(*BODY, extra), weights(*led("bert."))),
        correspond(weights(*led("bert.")), weights(*BODY, extra)),
        correspond(weights(*BODY), weights(*BODY, extra)),
    ):
        assert found.strays == ((extra,) if stray else ())


def test_checkpoints_with_hardly_a_name_in_common_have_strays():
    found = correspond(weights(*BODY), weights("head.weight", "a.b.weight", "a.c.weight", "pooler.weight"))
    assert len(found.strays) == 6
    assert correspond(weights(*BODY), weights()).strays == BODY


def test_names_of_any_number_are_told_in_a_line():
    assert told(BODY[:2]) == ", ".join(BODY[:2])
    assert told([f"{layer}.{part}" for layer in range(300) for part in ("weight", "bias")]) == (
        "0 (2), 1 (2), 2 (2), 3 (2), 4 (2), 5 (2) and 294 more"
    )


def test_weights_that_only_the_base_ties_have_two_partners():
    tied = torch.ones(3, 2)
    model = torch.nn.ModuleDict(
        {"embed": torch.nn.Linear(2, 3, bias=False), "head": torch.nn.Linear(2, 3, bias=False)}
    )
    model["head"].weight = model["embed"].weight
    base = open_checkpoint(model)
    found = correspond(base, open_checkpoint({"embed.weight": tied, "head.weight": tied + 1}))
    assert found.partners("embed.weight") == ("embed.weight", "head.weight")
    assert found.origins("head.weight") == ("embed.weight",)
    with pytest.raises(ValueError, match="one tied weight in ModuleDict, and different ones"):
        found.partner("embed.weight")
    same = correspond(base, open_checkpoint({"embed.weight": tied, "head.weight": tied.clone()}))
    assert same.partner("embed.weight") == "embed.weight"
    back = correspond(open_checkpoint({"embed.weight": tied, "head.weight": tied + 1}), base)
    assert back.origins("embed.weight") == ("embed.weight", "head.weight")


@pytest.mark.parametrize("kept", ["embed.weight", "head.weight"])
def test_either_name_of_a_tied_weight_is_found(kept):
    model = torch.nn.ModuleDict(
        {"embed": torch.nn.Linear(2, 3, bias=False), "head": torch.nn.Linear(2, 3, bias=False)}
    )
    model["head"].weight = model["embed"].weight
    found = correspond(open_checkpoint(model), open_checkpoint({kept: torch.ones(3, 2)}))
    assert found.partner("embed.weight") == found.partner("head.weight") == kept
    assert (found.base_only, found.tuned_only) == ((), ())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder.layer.0.rotary.inv_freq", (4,)),
        ("encoder.layer.0.attn.bias", (1, 1, 8, 8)),
        ("encoder.layer.0.attn.masked_bias", ()),
        ("embeddings.position_ids", (1, 8)),
    ],
)
def test_old_buffers_are_ignored_and_said(name, shape):
    tuned = open_checkpoint({each: torch.zeros(2) for each in BODY} | {name: torch.zeros(shape)})
    found = correspond(weights(*BODY), tuned)
    assert found.ignored == (name,)
    assert (found.tuned_only, found.strays) == ((), ())
    assert any(name in remark for remark in found.remarks)


@pytest.mark.parametrize(
    "name",
    ["encoder.layer.0.query.lora_A.default.weight", "base_model.model.pooler.modules_to_save.default.weight"],
)
def test_an_adapter_beside_the_weights_is_refused_on_either_side(name):
    for pair in ((weights(*BODY), weights(*BODY, name)), (weights(*BODY, name), weights(*BODY))):
        with pytest.raises(
            ValueError, match=r"the mapping has an adapter beside its weights .*merge_and_unload"
        ):
            correspond(*pair)
