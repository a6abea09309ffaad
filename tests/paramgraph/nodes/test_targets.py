import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from paramgraph.nodes import linear_layers, storage_key, targets_of_words


def names(model, *rule, **options):
    return [layer.module for layer in linear_layers(model, *rule, **options)]


def language_model(kind):
    with torch.device("meta"):
        if kind == "gpt2":
            return GPT2LMHeadModel(
                GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9, bos_token_id=0, eos_token_id=0)
            )
        return BertForMaskedLM(
            BertConfig(
                hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
            )
        )


class WithHead(nn.Module):
    def __init__(self, **layers):
        super().__init__()
        self.body = nn.Linear(2, 2)
        for name, layer in layers.items():
            setattr(self, name, layer)


# PEFT 0.21 asks transformers 5.23 for an attribute by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "targets",
    ["all-linear", ["query", "value"], ["output.dense"], r".*\.1\..*dense", r"bert\.encoder.*key"],
    ids=str,
)
def test_the_choice_is_that_of_peft(tiny_transformer, targets):
    config = LoraConfig(target_modules=targets, task_type="SEQ_CLS", r=2)
    chosen = names(tiny_transformer, targets)
    adapted = get_peft_model(tiny_transformer, config)
    prefix, suffix = "base_model.model.", ".lora_A.default"
    theirs = [n for n, _ in adapted.named_modules() if n.endswith(suffix)]
    assert chosen == [n.removeprefix(prefix).removesuffix(suffix) for n in theirs]


def test_a_regular_expression_must_match_the_whole_name(tiny_transformer):
    with pytest.raises(ValueError, match="no linear layer"):
        names(tiny_transformer, "query")


@pytest.mark.parametrize("exclude", [["query"], r".*\.query"])
def test_exclude_takes_the_same_forms(tiny_transformer, exclude):
    left = names(tiny_transformer, exclude=exclude)
    assert len(left) == 11
    assert not any(name.endswith("query") for name in left)


@pytest.mark.parametrize("kind", ["gpt2", "masked"])
def test_output_embeddings_are_left_out(kind):
    model = language_model(kind)
    head = model.get_output_embeddings()
    assert all(model.get_submodule(name) is not head for name in names(model))


def test_output_embeddings_inside_a_wrapper_are_left_out():
    assert "language.lm_head" not in names(WithHead(language=language_model("gpt2")))


@pytest.mark.parametrize("head", ["classifier", "score", "lm_head", "qa_outputs", "head"])
def test_named_heads_of_a_plain_module_are_left_out_with_all_they_contain(head):
    assert names(WithHead(**{head: nn.Linear(2, 2)})) == ["body"]
    assert names(WithHead(**{head: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))})) == ["body"]


def test_a_head_that_is_asked_for_by_name_is_taken():
    assert names(WithHead(head=nn.Linear(2, 2)), ["head"]) == ["head"]


def test_without_a_named_head_every_linear_layer_is_taken():
    assert names(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == ["0", "1"]


def test_a_tied_weight_is_counted_once_under_its_first_name():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    layers = linear_layers(nn.Sequential(first, second))
    assert [layer.parameter for layer in layers] == ["0.weight"]


def test_weights_that_share_memory_under_two_parameters_are_tied():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = nn.Parameter(first.weight.data)
    assert len(linear_layers(nn.Sequential(first, second))) == 1


def test_parts_of_one_storage_are_not_tied():
    whole = torch.zeros(4, 2)
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    first.weight, second.weight = nn.Parameter(whole[:2]), nn.Parameter(whole[2:])
    assert len(linear_layers(nn.Sequential(first, second))) == 2


def test_meta_weights_are_not_all_tied_together():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model.append(nn.Linear(2, 2, device="meta"))
    assert [layer.parameter for layer in linear_layers(model)] == ["0.weight", "2.weight"]
    assert storage_key(model[0].weight) != storage_key(model[2].weight)


def test_a_wrapped_model_has_the_same_layers():
    assert names(torch.compile(nn.DataParallel(nn.Sequential(nn.Linear(2, 2))))) == ["0"]


QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    "targets",
    [
        [QUERY],
        QUERY.replace(".", r"\."),
        [f"base_model.model.{QUERY}"],
        ["0.attention.self.query"],
        [f"{QUERY}.base_layer"],
    ],
    ids=["name", "expression", "name in the wrapper", "suffix", "name with base_layer"],
)
def test_an_adapted_layer_is_named_with_and_without_its_wrappers(lora_transformer, targets):
    (layer,) = linear_layers(lora_transformer, targets)
    assert layer.module == QUERY
    assert layer.parameter == f"base_model.model.{QUERY}.base_layer.weight"
    assert layer.parameter in dict(lora_transformer.named_parameters())


def test_layers_of_adapters_and_saved_heads_are_no_targets(lora_transformer):
    layers = linear_layers(lora_transformer)
    assert len(layers) == 2 * 6 + 1
    assert not any(part in layer.parameter for layer in layers for part in ("lora_", "classifier"))
    with pytest.raises(ValueError, match="no linear layer"):
        names(lora_transformer, ["lora_A.default"])


def test_a_saved_head_that_is_asked_for_is_the_trained_copy(lora_transformer):
    (layer,) = linear_layers(lora_transformer, ["classifier"])
    assert layer.parameter == "base_model.model.classifier.modules_to_save.default.weight"


@pytest.mark.parametrize(("targets", "near"), [(["qury"], "query"), (["outptu.dense"], "output.dense")])
def test_no_match_lists_near_names(tiny_transformer, targets, near):
    with pytest.raises(ValueError, match=f"matches targets=.*near names: .*{near}"):
        names(tiny_transformer, targets)


def test_no_match_without_near_names_lists_what_there_is():
    with pytest.raises(ValueError, match="it has 0"):
        names(nn.Sequential(nn.Linear(2, 2)), ["nothing like it"])


def test_a_model_without_linear_layers_is_an_error():
    with pytest.raises(ValueError, match="it has none"):
        names(nn.Sequential(nn.Tanh()))


def test_excluding_everything_is_an_error():
    with pytest.raises(ValueError, match=r"exclude=\['0'\]"):
        names(nn.Sequential(nn.Linear(2, 2)), exclude=["0"])


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"targets": ["query", "valeu"]}, r"'valeu' of targets=\['query', 'valeu'\]; near names: .*value"),
        ({"exclude": ["query", "poler.dense"]}, r"'poler.dense' of exclude=.*; near names: .*pooler.dense"),
        ({"exclude": ["poler.dense"]}, r"exclude=\['poler.dense'\]; near names: .*pooler.dense"),
        ({"exclude": r".*\.quary"}, r"exclude='.*quary'; "),
        ({"exclude": ["bert.encoder"]}, r"exclude=\['bert.encoder'\]; "),
    ],
    ids=["target", "exclude", "only exclude", "expression", "no linear layer"],
)
def test_every_single_entry_must_match(tiny_transformer, rule, told):
    with pytest.raises(ValueError, match=f"no linear layer of BertForSequenceClassification matches {told}"):
        names(tiny_transformer, **rule)


def test_a_head_that_is_no_target_may_be_excluded_all_the_same(tiny_transformer):
    assert names(tiny_transformer, exclude=["classifier"]) == names(tiny_transformer)


def test_what_only_the_scheme_of_heads_sees_may_be_excluded_in_all():
    model = nn.TransformerEncoderLayer(d_model=8, nhead=2)
    assert names(model, exclude=["self_attn"]) == names(model)


@pytest.mark.parametrize("nothing", [None, "", [], ()])
def test_excluding_nothing_is_allowed(tiny_transformer, nothing):
    assert names(tiny_transformer, exclude=nothing) == names(tiny_transformer)


@pytest.mark.parametrize(
    ("targets", "instead"),
    [
        ([r".*\.query"], r".*\.query"),
        ([r".*\.query", r".*\.key"], r".*\.query|.*\.key"),
        (["query", "lay.*value"], None),
    ],
    ids=["one", "two", "beside a name"],
)
def test_expressions_in_a_list_are_told_where_they_belong(tiny_transformer, targets, instead):
    with pytest.raises(ValueError, match="a list has names, and one string is a regular expression") as error:
        names(tiny_transformer, targets)
    if instead is not None:
        assert f"give targets={instead!r}" in str(error.value)
        assert names(tiny_transformer, instead)


def test_a_word_that_ends_in_a_bracket_is_an_expert_or_an_expression():
    class Stack(nn.Module):
        pass

    rule, stack = targets_of_words(["experts.down_proj[3]"]), Stack()
    stack.is_transposed = False
    stack.down_proj = nn.Parameter(torch.zeros(12, 4, 6))
    model = nn.ModuleDict({"experts": stack, "fc1": nn.Linear(2, 2), "fc2": nn.Linear(2, 2)})
    assert [layer.group for layer in linear_layers(model, rule)] == ["experts.down_proj[3]"]
    assert [layer.module for layer in linear_layers(model, targets_of_words(["fc[12]"]))] == ["fc1", "fc2"]
    assert targets_of_words([r".*down_proj\[3\]"]) == r".*down_proj\[3\]"


def test_a_broken_regular_expression_is_named(tiny_transformer):
    with pytest.raises(ValueError, match=r"targets='\(query' is not a regular expression"):
        names(tiny_transformer, "(query")


@pytest.mark.parametrize("targets", [[1, 2], 3, None])
def test_targets_of_another_type_are_refused(tiny_transformer, targets):
    with pytest.raises(TypeError):
        names(tiny_transformer, targets)


def odd_layers():
    """One layer that can be cut beside one that is lazy, one that is weight-normed and one of another shape."""
    flat = nn.Linear(4, 2)
    flat.weight = nn.Parameter(torch.zeros(8))
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    return nn.ModuleDict({"good": nn.Linear(4, 4), "lazy": nn.LazyLinear(2), "normed": normed, "flat": flat})


def test_one_odd_layer_does_not_stop_the_others():
    assert names(odd_layers()) == ["good"]
    assert names(odd_layers(), exclude=["lazy"]) == ["good"]
    assert names(odd_layers(), ".*") == ["good"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [("lazy", "run one batch"), ("normed", "weight norm"), ("flat", r"stored as torch.float32 \(8,\)")],
)
def test_an_odd_layer_that_is_asked_for_by_name_is_told_with_its_reason(target, reason):
    told = rf"'{target}' of targets=\['good', '{target}'\] cannot be cut into nodes: {target}: .*{reason}"
    with pytest.raises(ValueError, match=told):
        names(odd_layers(), ["good", target])


def test_where_nothing_is_left_the_reasons_are_told():
    with pytest.raises(
        ValueError, match=r"no linear layer .* is left of .*; 0: it has no weight yet: run one"
    ):
        names(nn.Sequential(nn.LazyLinear(2)))


def test_a_quantized_layer_has_the_sizes_it_was_made_for():
    layer = nn.Linear(4, 2)
    layer.weight = nn.Parameter(torch.zeros(4, 1, dtype=torch.uint8), requires_grad=False)
    (found,) = linear_layers(nn.Sequential(layer))
    assert (found.shape, found.quantized) == ((2, 4), "Parameter of torch.uint8")


def test_a_frozen_model_has_the_same_layers(tiny_transformer):
    before = names(tiny_transformer)
    assert names(tiny_transformer.requires_grad_(False)) == before
