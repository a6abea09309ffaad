import pytest
import torch

from paramgraph import product_energy, rows
from spectral_opt.study import diagonal_fisher
from spectral_opt.tasks import PooledEncoder

from helpers.study_settings import state_of, tiny_setting


@pytest.fixture
def setting():
    return tiny_setting()


@pytest.fixture
def texts(setting):
    return setting.calibration["preserve"]


def test_it_is_the_mean_square_of_each_texts_own_gradient(setting, texts):
    weights = setting.start.classifier.weight

    def objective(model, batch):
        return model(**batch).logits[:, 0]

    found = diagonal_fisher(setting.start, texts, objective=objective)
    embeddings = torch.cat([setting.start.embed(**batch) for batch in texts])
    # The first logit is w_0 e + b_0.
    torch.testing.assert_close(found["classifier.weight"][0], embeddings.square().mean(0))
    torch.testing.assert_close(found["classifier.bias"], torch.tensor([1.0, 0.0]))
    assert found["classifier.weight"].shape == weights.shape


@pytest.mark.parametrize("objective", ["representation", "labels"])
def test_it_is_the_energy_of_the_product_graph_in_the_basis_of_the_entries(setting, texts, objective):
    tables = rows(setting.start.encoder, exclude=".*pooler.*")
    eyes = {name: tuple(torch.eye(size).double() for size in table.shape) for name, table in tables.items()}
    model = PooledEncoder(setting.start)
    energy = product_energy(model, tables, eyes, texts, objective=objective, seed=3)
    found = diagonal_fisher(setting.start, texts, objective=objective, seed=3)
    for name, of_mode in energy.items():
        torch.testing.assert_close(of_mode.values.float(), found[f"encoder.{name}"])


def test_texts_of_one_batch_and_one_by_one_are_the_same(setting, texts):
    single = [
        {key: value[row : row + 1] for key, value in batch.items()} for batch in texts for row in range(4)
    ]
    whole, apart = diagonal_fisher(setting.start, texts), diagonal_fisher(setting.start, single)
    assert all(torch.equal(whole[name], apart[name]) for name in whole)


def test_the_model_and_the_random_states_are_left_alone(setting, texts):
    setting.start.train()
    before, random_state = state_of(setting.start), torch.get_rng_state()
    found = diagonal_fisher(setting.start, texts)
    assert all(torch.equal(value, before[name]) for name, value in setting.start.state_dict().items())
    assert all(parameter.grad is None for parameter in setting.start.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in setting.start.modules())
    assert found.keys() == {name for name, p in setting.start.named_parameters() if p.requires_grad}


def test_a_head_has_no_part_in_a_representation_and_one_in_labels(setting, texts):
    assert not diagonal_fisher(setting.start, texts)["classifier.weight"].any()
    assert diagonal_fisher(setting.start, texts, objective="labels")["classifier.weight"].any()


def test_what_cannot_be_measured_is_refused(setting, texts):
    with pytest.raises(ValueError, match="no batches"):
        diagonal_fisher(setting.start, [])
    with pytest.raises(ValueError, match="no trainable parameter"):
        diagonal_fisher(setting.start.requires_grad_(False), texts)
