"""Padding is no text, however a model lays tokens out: what padded texts give is what they give one by one."""

import importlib

import pytest
import torch

from paramgraph import activations, attention_maps, columns, gradients, heads, output_gradients, rows

from helpers.tiny_architectures import ARCHITECTURES, DECODER, ENCODER, SMALL, Architecture

EXPERTS = {"moe_intermediate_size": 24, "num_experts_per_tok": 2}
LATENT = {
    **{"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8},
    **{
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
}
WINDOW = {"attention_window": [4, 4], "pad_token_id": 1}
MORE = {
    "OPT": Architecture("OPTForCausalLM", {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "Qwen2-MoE": Architecture(
        "Qwen2MoeForCausalLM", {**DECODER, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 40}
    ),
    "Mixtral": Architecture("MixtralForCausalLM", {**DECODER, "num_local_experts": 4}),
    "DeepSeek-V3": Architecture("DeepseekV3ForCausalLM", {**ENCODER, **EXPERTS, **LATENT}),
    "Llama 4": Architecture(
        "Llama4ForCausalLM", {**DECODER, "intermediate_size_mlp": 64, "num_local_experts": 4}
    ),
    "XLNet": Architecture(
        "XLNetModel", {"vocab_size": 40, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
    ),
    "Longformer": Architecture("LongformerModel", {**ENCODER, **WINDOW}),
    "XLM": Architecture("XLMModel", {"vocab_size": 40, "emb_dim": 32, "n_layers": 1, "n_heads": 4}),
    "Switch": Architecture(
        "SwitchTransformersEncoderModel",
        {
            "vocab_size": 40,
            "d_model": 32,
            "d_kv": 16,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "num_experts": 4,
            "num_sparse_encoder_layers": 1,
        },
    ),
}
# Each way in which layers are given tokens; the other architectures repeat them under names of their own.
LAYOUTS = (
    *("BERT", "RoBERTa", "DistilBERT", "ALBERT (shared layers)", "DeBERTa", "ModernBERT"),
    *("GPT-2", "GPT-BigCode (multi-query)", "GPT-BigCode (multi-head)", "GPT-NeoX", "Bloom"),
    *("Falcon (grouped queries)", "Falcon (multi-query)", "MPT", "Phi-3", "Llama", "Qwen2", "Qwen3"),
    *("Mistral", "Gemma", "T5", "BART"),
)
EVERY = {name: ARCHITECTURES[name] for name in LAYOUTS} | MORE
OF_TEXT = [name for name in EVERY if name != "Switch"]  # it is asked for below


def make(name):
    architecture = EVERY[name]
    kind = getattr(importlib.import_module("transformers"), architecture.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(kind.config_class(**architecture.config)).eval()


def texts(model, count, length, seed=0):
    """Make one padded batch, and its texts one by one."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 40, (count, length), generator=generator)
    lengths = torch.tensor([length, length - 3, 2, 4, 1, 3])[:count].clamp(max=length)
    mask = (torch.arange(length) < lengths[:, None]).long()
    ids = torch.where(mask == 1, ids, 1)
    batch = {"input_ids": ids, "attention_mask": mask}
    alone = [{"input_ids": one[None, : int(n)]} for one, n in zip(ids, lengths, strict=True)]
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = torch.randint(3, 40, (count, 5), generator=generator)
        for place, one in enumerate(alone):
            one["decoder_input_ids"] = batch["decoder_input_ids"][place][None]
    return batch, alone


def tables_of_some(model):
    """Take one table of columns for each kind of layer."""
    kinds = {}
    for table in columns(model).values():
        kinds.setdefault(table.group.split(".")[-2], table)
    return [table for kind, table in kinds.items() if not kind.endswith(("_global", "router"))]


@pytest.mark.parametrize("shape", [(3, 7), (5, 5)], ids=["3 texts of 7", "as many texts as tokens"])
@pytest.mark.parametrize("name", OF_TEXT)
def test_padded_texts_give_what_they_give_one_by_one(name, shape):
    model = make(name)
    batch, alone = texts(model, *shape)
    for table in tables_of_some(model):
        found = activations(model, table, [batch])
        wanted = activations(model, table, alone)
        if "shared" not in name:  # a layer that is called twice has the tokens of all texts twice
            torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
        assert found.shape == wanted.shape
        torch.testing.assert_close(found @ found.T, wanted @ wanted.T, atol=1e-3, rtol=1e-3)
        one = activations(model, table, [batch], compress=True)
        torch.testing.assert_close(one @ one.T, found @ found.T, atol=1e-3, rtol=1e-3)


class Flattening(torch.nn.Module):
    """Give a layer all tokens in one, ordered by texts or by their places."""

    def __init__(self, tokens_first):
        super().__init__()
        self.tokens_first = tokens_first
        self.embed = torch.nn.Embedding(40, 6)
        self.layer = torch.nn.Linear(6, 5)

    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids)
        return self.layer((x.transpose(0, 1) if self.tokens_first else x).reshape(-1, 6)).sum()


@pytest.mark.parametrize("shape", [(3, 7), (5, 5), (2, 3), (1, 6)])
@pytest.mark.parametrize("tokens_first", [True, False], ids=["token by token", "text by text"])
def test_texts_and_tokens_in_one_are_told_apart_by_running(tokens_first, shape):
    model = Flattening(tokens_first)
    generator = torch.Generator().manual_seed(1)
    batches, alone = [], []
    for _ in range(2):  # what was found in the first batch holds for the second
        ids = torch.randint(3, 40, shape, generator=generator)
        lengths = torch.tensor([shape[1], 2, 1, shape[1], 2])[: shape[0]]
        mask = (torch.arange(shape[1]) < lengths[:, None]).long()
        batches.append({"input_ids": ids, "attention_mask": mask})
        alone += [{"input_ids": one[None, :n]} for one, n in zip(ids, lengths.tolist(), strict=True)]
    table = columns(model)["layer.weight"]
    torch.testing.assert_close(
        activations(model, table, batches, loss=lambda model, batch: model(**batch)),
        activations(model, table, alone, loss=lambda model, batch: model(**batch)),
    )


def test_tokens_that_attend_to_all_are_one_row_a_text():
    model = make("Longformer")
    batch, alone = texts(model, 3, 7)
    for one in (batch, *alone):
        one["global_attention_mask"] = torch.zeros_like(one["input_ids"])
        one["global_attention_mask"][:, 0] = 1
    for part in ("query_global", "key_global"):
        table = columns(model)[f"encoder.layer.0.attention.self.{part}.weight"]
        found, wanted = activations(model, table, [batch]), activations(model, table, alone)
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_outputs_follow_the_mask_as_inputs_do():
    model = make("OPT")
    batch, alone = texts(model, 3, 7)
    table = rows(model)["model.decoder.layers.0.fc1.weight"]
    torch.testing.assert_close(
        activations(model, table, [batch]), activations(model, table, alone), atol=2e-5, rtol=1e-4
    )


def test_later_batches_of_other_shapes_and_without_padding_are_placed_too():
    model = make("BERT")
    batches, alone = zip(
        *(texts(model, *shape, seed) for seed, shape in enumerate([(3, 7), (2, 6), (4, 4)])), strict=True
    )
    flat = [one for some in alone for one in some]
    for table in columns(model).values():
        torch.testing.assert_close(
            activations(model, table, batches), activations(model, table, flat), atol=2e-5, rtol=1e-4
        )


def test_experts_that_are_given_some_tokens_are_refused_with_padding_and_read_without():
    model = make("Switch")
    batch, _ = texts(model, 3, 7)
    table = next(table for name, table in columns(model).items() if ".experts." in name)
    with pytest.raises(ValueError, match=r"which of them are padding cannot be told.*exclude="):
        activations(model, table, [batch])
    whole = {"input_ids": batch["input_ids"], "attention_mask": torch.ones_like(batch["input_ids"])}
    found = [
        activations(model, one, [whole]).shape[1]
        for name, one in columns(model).items()
        if ".experts." in name and name.endswith("wi.weight")
    ]
    assert sum(found) == batch["input_ids"].numel()


@pytest.mark.parametrize("length", [7, 5], ids=["other lengths", "as many places in an image as tokens"])
def test_layers_of_an_image_beside_padded_texts_are_read_whole(length):
    from transformers import CLIPConfig, CLIPModel

    part = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**part, "vocab_size": 40, "max_position_embeddings": 16, "eos_token_id": 39},
        vision_config={**part, "image_size": 8, "patch_size": 4},
        projection_dim=16,
    )
    model = CLIPModel(config).eval()
    batch, _ = texts(model, 3, length)
    batch["pixel_values"] = torch.linspace(-1, 1, 3 * 3 * 8 * 8).reshape(3, 3, 8, 8)
    for name, table in columns(model).items():
        found = activations(model, table, [batch]).shape[1]
        rows_of = {"text_model.encoder": int(batch["attention_mask"].sum()), "vision_model.encoder": 15}
        wanted = next((count for part, count in rows_of.items() if name.startswith(part)), 3)
        assert found == wanted, name
    of_image = heads(model, targets=r"vision_model\.encoder.*")["query"]
    assert attention_maps(model, of_image, [batch]).shape[1] == 3 * 5 * 5
    of_text = heads(model, targets=r"text_model\.encoder.*")["query"]
    pairs = int(batch["attention_mask"].sum(dim=1).square().sum())
    assert attention_maps(model, of_text, [batch]).shape[1] == pairs

    def both(model, batch):
        output = model(**batch)
        return (output.image_embeds * output.text_embeds).sum(dim=1)

    for part, count in rows_of.items():
        table = rows(model)[f"{part}.layers.0.mlp.fc1.weight"]
        assert output_gradients(model, table, [batch], both).shape[1] == count


def test_windows_of_attention_are_no_maps():
    model = make("Longformer")
    batch, _ = texts(model, 3, 7)
    with pytest.raises(
        ValueError, match="comes as 3 maps of 4 queries and 5 keys, not as the 3 texts of 7 tokens"
    ):
        attention_maps(model, heads(model)["query"], [batch])


def test_gradients_do_not_depend_on_what_the_padding_holds():
    model = make("OPT")
    batch, _ = texts(model, 3, 7)
    mask = batch["attention_mask"]
    batch["labels"] = torch.where(mask == 1, batch["input_ids"], -100)
    other = {**batch, "input_ids": torch.where(mask == 1, batch["input_ids"], 17)}
    for table in tables_of_some(model):
        torch.testing.assert_close(gradients(model, table, [batch]), gradients(model, table, [other]))


def test_the_model_and_random_states_are_as_before_where_a_batch_was_run_again():
    model = make("Longformer")
    batch, _ = texts(model, 3, 7)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    copy = {key: value.clone() for key, value in batch.items()}
    activations(model, columns(model)["encoder.layer.0.attention.self.query.weight"], [batch])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(batch[key], copy[key]) for key in copy)


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_mask_is_read_where_it_is_given_by_position(tiny_transformer, kind):
    ids = torch.randint(1, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor([[7], [4], [5]])).long()
    named, positioned = [{"input_ids": ids, "attention_mask": mask}], [kind((ids, mask))]
    table = rows(tiny_transformer)["bert.encoder.layer.0.intermediate.dense.weight"]
    for source, of in ((activations, table), (attention_maps, heads(tiny_transformer)["query"])):
        assert torch.equal(source(tiny_transformer, of, positioned), source(tiny_transformer, of, named))


CALLS = {
    "by position": lambda model, ids, mask: model(ids, mask).logits.sum(dim=1),
    "to a part": lambda model, ids, mask: model.bert(ids, attention_mask=mask).last_hidden_state.sum(
        dim=(1, 2)
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_mask_of_any_name_is_read_where_the_model_or_a_part_is_given_it(tiny_transformer, call):
    ids = torch.randint(1, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor([[7], [4], [5]])).long()
    named, other = [{"input_ids": ids, "attention_mask": mask}], [{"ids": ids, "seen": mask}]

    def told(model, batch):
        return call(model, batch["input_ids"], batch["attention_mask"])

    def own(model, batch):
        return call(model, batch["ids"], batch["seen"])

    table, query = rows(tiny_transformer)["bert.encoder.layer.0.output.dense.weight"], heads(tiny_transformer)
    for source, of in (
        *((activations, table), (attention_maps, query["query"]), (output_gradients, table)),
        # One row a text, which is found where the call is given other tokens.
        (activations, rows(tiny_transformer)["bert.pooler.dense.weight"]),
    ):
        assert torch.equal(
            source(tiny_transformer, of, other, own), source(tiny_transformer, of, named, told)
        )
    assert not any(module._forward_pre_hooks for module in tiny_transformer.modules())


def test_a_mask_is_read_through_an_adapter_that_hands_on_what_it_is_given():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(make("BERT"), LoraConfig(target_modules=["query"])).eval()
    batch, _ = texts(model, 3, 7)
    table = next(iter(columns(model).values()))
    found = activations(model, table, [(batch["input_ids"], batch["attention_mask"])])
    assert torch.equal(found, activations(model, table, [batch]))


def test_texts_of_nothing_but_padding_are_refused(tiny_transformer):
    ids = torch.ones(2, 4, dtype=torch.int64)
    batch = {"input_ids": ids, "attention_mask": torch.zeros_like(ids)}
    table = columns(tiny_transformer)["bert.encoder.layer.0.output.dense.weight"]
    for source, of in ((activations, table), (attention_maps, heads(tiny_transformer)["query"])):
        with pytest.raises(ValueError, match="none of the texts has a token that is no padding"):
            source(tiny_transformer, of, [batch])


def test_attention_is_read_of_tokens_that_are_the_only_argument(tiny_transformer):
    ids = torch.randint(1, 40, (3, 7), generator=torch.Generator().manual_seed(0))
    table = heads(tiny_transformer)["query"]
    named = attention_maps(tiny_transformer, table, [{"input_ids": ids}])
    assert torch.equal(attention_maps(tiny_transformer, table, [ids]), named)


class OfPairs(torch.nn.Module):
    """A model that is given all in one dictionary, as sentence-transformers has it."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(40, 6)
        self.layer = torch.nn.Linear(6, 5)

    def forward(self, input):
        return self.layer(self.embed(input["input_ids"]))


def test_masks_under_other_names_are_read_where_a_loss_gives_them_to_the_model():
    model = OfPairs()
    ids = torch.randint(3, 40, (2, 2, 4), generator=torch.Generator().manual_seed(0))
    masks = torch.tensor([[[1, 1, 1, 1], [1, 1, 0, 0]], [[1, 0, 0, 0], [1, 1, 1, 0]]])
    batch = {
        f"{name}_{kind}": value[place]
        for place, name in enumerate(("anchor", "positive"))
        for kind, value in (("input_ids", ids), ("attention_mask", masks))
    }

    def loss(model, batch):
        given = [
            {kind: batch[f"{name}_{kind}"] for kind in ("input_ids", "attention_mask")}
            for name in ("anchor", "positive")
        ]
        return sum(model(each).square().mean() for each in given)

    found = activations(model, columns(model)["layer.weight"], [batch], loss)
    assert torch.equal(found, model.embed(ids[masks == 1]).detach().T)
    assert not model._forward_pre_hooks
    with pytest.raises(ValueError, match="OfPairs does not take a batch with anchor_input_ids"):
        activations(model, columns(model)["layer.weight"], [batch])
